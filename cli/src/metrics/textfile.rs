//! `--textfile`: metrics in a file, which readers see whole at any time.
//!
//! After confinement no file can be opened, nor made. So there are two files, both open: the metrics are written to the one
//! that has the spare name, and then the two exchange their names (`RENAME_EXCHANGE`, renameat2(2)). A reader that has the
//! former file open still sees it whole until the interval after the next begins.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Permissions},
    io::Write,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use nix::{
    fcntl::{AT_FDCWD, AtFlags, Flock, OFlag, openat},
    sys::stat::{Mode, fstatat},
};
use rustix::fs::{RenameFlags, renameat_with};

use crate::output_file;

/// Bits of the flags of renameat2(2) that [`TextFile`] uses.
pub(crate) const RENAME_EXCHANGE: u32 = RenameFlags::EXCHANGE.bits();

/// The file of metrics that readers see, and the spare file.
pub(crate) struct TextFile {
    path: PathBuf,
    folder: OwnedFd,
    name: OsString,
    spare: OsString,
    /// The file that has the spare name, and the one that readers see.
    files: [File; 2],
    /// No other command writes to these files.
    _locks: [Option<Flock<File>>; 2],
}

impl TextFile {
    /// Makes the files, which are empty.
    ///
    /// # Errors
    /// Where the path is no regular file's, or the file system cannot exchange names.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::make(path).with_context(|| format!("cannot write metrics to '{}'", path.display()))
    }

    fn make(path: &Path) -> Result<Self> {
        let name = path.file_name().context("no name of a file")?.to_owned();
        let mut spare = name.clone();
        // node_exporter reads what ends in `.prom`.
        spare.push(".next");
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let spare_path = path.with_file_name(&spare);
        for path in [path, &spare_path] {
            let is_other = path.symlink_metadata().is_ok_and(|found| !found.is_file());
            ensure!(!is_other, "'{}' is no regular file", path.display());
        }
        let files = [output_file::create(&spare_path)?, output_file::create(path)?];
        let folder = openat(
            AT_FDCWD,
            parent.unwrap_or(Path::new(".")),
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        for (file, name) in files.iter().zip([&spare, &name]) {
            ensure!(is_at(file, &folder, name)?, "{} is no regular file", quoted(name));
        }
        let locks = [output_file::claim(&files[0])?, output_file::claim(&files[1])?];
        // Another user reads the files: node_exporter's.
        files.iter().try_for_each(|file| file.set_permissions(Permissions::from_mode(0o644)))?;
        let mut text_file = Self { path: path.to_owned(), folder, name, spare, files, _locks: locks };
        text_file.write("")?;
        Ok(text_file)
    }

    /// The folder in which names are exchanged.
    pub(crate) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// The descriptors of the files.
    pub(crate) fn descriptors(&self) -> [RawFd; 2] {
        [self.files[0].as_raw_fd(), self.files[1].as_raw_fd()]
    }

    /// Replaces the text that readers see by this one.
    ///
    /// # Errors
    /// Where the file system is full, or somebody has taken a file away.
    pub(crate) fn write(&mut self, text: &str) -> Result<()> {
        self.write_spare(text)?;
        self.rename(RenameFlags::EXCHANGE)?;
        self.files.swap(0, 1);
        Ok(())
    }

    /// Writes the text for the last time: the spare file takes the place of the other, and no second file is left.
    ///
    /// # Errors
    /// The same as for [`TextFile::write`].
    pub(crate) fn finish(mut self, text: &str) -> Result<()> {
        self.write_spare(text)?;
        self.rename(RenameFlags::empty())
    }

    fn write_spare(&mut self, text: &str) -> Result<()> {
        let file = &mut self.files[0];
        let write = file.set_len(0).and_then(|()| file.write_all(text.as_bytes()));
        write.with_context(|| format!("cannot write metrics beside '{}'", self.path.display()))
    }

    fn rename(&self, flags: RenameFlags) -> Result<()> {
        renameat_with(&self.folder, &self.spare, &self.folder, &self.name, flags)
            .with_context(|| format!("cannot rename the new metrics to '{}'", self.path.display()))
    }
}

/// Returns whether this is the regular file that has this name in the folder.
fn is_at(file: &File, folder: &OwnedFd, name: &OsStr) -> Result<bool> {
    let (found, file) = (fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?, file.metadata()?);
    Ok(file.is_file() && (found.st_dev, found.st_ino) == (file.dev(), file.ino()))
}

fn quoted(name: &OsStr) -> String {
    format!("'{}'", name.display())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read, os::unix::fs::symlink};

    use super::*;

    /// A reader sees one text or another, whole; none but the file is left.
    #[test]
    fn readers_see_whole_texts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.prom");
        let mut file = TextFile::open(&path).unwrap();
        let texts = ["a\n".repeat(1000), "b\n".repeat(3000)];
        file.write(&texts[0]).unwrap();
        for n in 1..10 {
            // A reader has opened the file before the next text is written.
            let mut open = File::open(&path).unwrap();
            file.write(&texts[n % 2]).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), texts[n % 2]);
            let mut former = String::new();
            open.read_to_string(&mut former).unwrap();
            assert_eq!(former, texts[(n - 1) % 2]);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(TextFile::open(&path).is_err(), "another command writes to it");
        file.finish("end\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "end\n");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [path]);
    }

    #[test]
    fn only_a_regular_file_of_its_own_name_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name| folder.path().join(name);
        symlink("elsewhere", at("link")).unwrap();
        for path in [at("link"), PathBuf::from("/dev/null"), at("..")] {
            assert!(TextFile::open(&path).is_err(), "{}", path.display());
        }
    }
}
