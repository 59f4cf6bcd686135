//! Makes and opens the output file safely. The command may run as root, and another user may have laid a trap
//! in the file's folder, such as a symbolic link to a file of root's.
//!
//! A folder is *shared* if everybody can write to it, or if it lies in a shared folder and belongs to another
//! user than this one or root. In a shared folder no symbolic link is followed, and an existing file must
//! belong to this user or root, and have no second name (hard link). In other folders links are followed as
//! usual. (The kernel's `fs.protected_*` sysctls protect in a similar way, but only if they are on, only in
//! sticky folders, and only the last name of a path.)

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    mem,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, FcntlArg, Flock, FlockArg, OFlag, fcntl, openat, readlinkat},
    sys::{
        stat::{FileStat, Mode, SFlag, fstat, mkdirat},
        statfs::{PROC_SUPER_MAGIC, fstatfs},
    },
    unistd::geteuid,
};

/// The most symbolic links to follow in one path: as many as the kernel follows (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// Locks a regular file for this command alone, and empties the file. Returns the lock. Returns `None` if the
/// file system has no locks (the file is emptied all the same), and for a pipe or device, which is left as it
/// is.
///
/// # Errors
/// Where another command has locked the file, or emptying fails.
pub(crate) fn claim(file: &File) -> Result<Option<Flock<File>>> {
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    match Flock::lock(file.try_clone()?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => {
            file.set_len(0)?;
            Ok(Some(lock))
        }
        Err((_, Errno::EWOULDBLOCK)) => bail!("another command writes to it: choose another file"),
        // The file system has no locks.
        Err(_) => {
            file.set_len(0)?;
            Ok(None)
        }
    }
}

/// Makes writes to `other` append, if both descriptors are of the same regular file (`-f /dev/stdout`, with
/// stdout a file). Otherwise the lines written to one descriptor would overwrite those written to the other.
///
/// # Errors
/// Where a descriptor's flags cannot be read or set.
pub(crate) fn append_too(file: &File, other: BorrowedFd) -> Result<()> {
    let (one, two) = (fstat(file)?, fstat(other)?);
    if kind(&one) == SFlag::S_IFREG && (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino) {
        let flags = OFlag::from_bits_retain(fcntl(other, FcntlArg::F_GETFL)?);
        fcntl(other, FcntlArg::F_SETFL(flags | OFlag::O_APPEND))?;
    }
    Ok(())
}

/// Makes or opens the file at `path` for appending, and makes missing folders. Appending leaves no gap in the
/// file if another program empties it during the run (`logrotate` with `copytruncate`).
pub(crate) fn create(path: &Path) -> Result<File> {
    let mut folder = Folder::start(path.as_os_str())?;
    let mut steps = names(path.as_os_str());
    let mut links = 0;
    while let Some(name) = steps.pop_front() {
        let last = steps.is_empty();
        let Some(mut found) = folder.find(&name, last)? else {
            return folder.make(&name);
        };
        let stat = fstat(&found)?;
        if kind(&stat) == SFlag::S_IFLNK {
            ensure!(!folder.shared, "{} is a symbolic link {TRAP}", quoted(&name));
            if !folder.is_proc()? {
                links += 1;
                ensure!(links <= MAX_LINKS, Errno::ELOOP);
                let target = readlinkat(&found, "")?;
                if target.as_bytes().starts_with(b"/") {
                    folder = Folder::start(&target)?;
                }
                let rest = mem::replace(&mut steps, names(&target));
                steps.extend(rest);
                continue;
            }
            // A link in `/proc` may stand for an open file or folder of a process. Only the kernel can follow
            // such a link, as the link's text need not be a path.
            found = openat(&folder.fd, name.as_os_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        } else if last && folder.shared {
            ensure!(is_ours(&stat), "{} is another user's {TRAP}", quoted(&name));
            let linked = kind(&stat) == SFlag::S_IFREG && stat.st_nlink > 1;
            ensure!(!linked, "{} is a file with another name (hard link) {TRAP}", quoted(&name));
        }
        if last {
            // Opens the very file that was found and checked, even if another file has its name by now.
            let path = format!("/proc/self/fd/{}", found.as_raw_fd());
            // A FIFO is opened for reading and writing: opened only for writing, open(2) would wait for a
            // reader.
            let is_fifo = kind(&stat) == SFlag::S_IFIFO;
            return Ok(File::options().read(is_fifo).append(true).open(path)?);
        }
        folder = Folder::new(found, folder.shared)?;
    }
    bail!(Errno::ENOENT)
}

/// The end of each message about a file that is refused in a shared folder.
const TRAP: &str = "in a folder that everybody can write to: remove it, or choose another folder";

/// An open folder on the way to the file.
struct Folder {
    fd: OwnedFd,
    /// Whether the folder is shared (see the top of this file).
    shared: bool,
}

impl Folder {
    /// Opens the folder where a path begins: `/`, or the current folder.
    fn start(path: &OsStr) -> Result<Self> {
        let start = if path.as_bytes().starts_with(b"/") { "/" } else { "." };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Self::new(openat(AT_FDCWD, start, flags, Mode::empty())?, false)
    }

    fn new(fd: OwnedFd, inside_shared: bool) -> Result<Self> {
        let stat = fstat(&fd)?;
        let for_all = Mode::from_bits_truncate(stat.st_mode).contains(Mode::S_IWOTH);
        Ok(Self { fd, shared: for_all || inside_shared && !is_ours(&stat) })
    }

    /// Finds the file, folder or symbolic link `name` in this folder. Returns a descriptor that can neither
    /// read nor write (`O_PATH`). If nothing has that name: returns `None` if `name` is the `last` name of
    /// the path, else makes a folder.
    fn find(&self, name: &OsStr, last: bool) -> Result<Option<OwnedFd>> {
        let open = |flags| {
            let flags = flags | OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(&self.fd, name, flags, Mode::empty())
        };
        if last {
            return match open(OFlag::empty()) {
                Err(Errno::ENOENT) => Ok(None),
                found => Ok(Some(found?)),
            };
        }
        // O_DIRECTORY makes autofs mount its file system, if this is an autofs folder; O_PATH alone does not.
        let mut found = open(OFlag::O_DIRECTORY);
        if matches!(found, Err(Errno::ENOENT)) {
            match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o777)) {
                Ok(()) | Err(Errno::EEXIST) => found = open(OFlag::O_DIRECTORY),
                e => e.with_context(|| format!("cannot make the folder {}", quoted(name)))?,
            }
        }
        match found {
            Err(Errno::ENOTDIR) => Ok(Some(open(OFlag::empty())?)),
            found => Ok(Some(found?)),
        }
    }

    /// Makes a new file for appending, with mode 0640: not everybody may read which peers this host has.
    fn make(&self, name: &OsStr) -> Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        Ok(openat(&self.fd, name, flags, Mode::from_bits_truncate(0o640))?.into())
    }

    fn is_proc(&self) -> Result<bool> {
        Ok(fstatfs(&self.fd)?.filesystem_type() == PROC_SUPER_MAGIC)
    }
}

/// Splits a path into its names. A path that ends with a slash means a folder: its last name becomes `.`, so
/// that opening it for writing fails.
fn names(path: &OsStr) -> VecDeque<OsString> {
    let mut names: VecDeque<_> = path
        .as_bytes()
        .split(|b| *b == b'/')
        .filter(|n| !n.is_empty())
        .map(|n| OsString::from_vec(n.to_vec()))
        .collect();
    if path.as_bytes().ends_with(b"/") {
        names.push_back(".".into());
    }
    names
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Returns whether a file belongs to this user or to root.
fn is_ours(stat: &FileStat) -> bool {
    stat.st_uid == 0 || stat.st_uid == geteuid().as_raw()
}

fn quoted(name: &OsStr) -> String {
    format!("'{}'", name.display())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions, hard_link},
        io::{Read, Write},
        os::{
            fd::AsFd,
            unix::fs::{PermissionsExt, symlink},
        },
        path::PathBuf,
    };

    use nix::unistd::{mkfifo, pipe};
    use tempfile::TempDir;

    use super::*;

    /// Makes a folder that belongs to this user. In that folder, makes a folder `shared`, to which everybody
    /// can write, and a file `victim`. Returns all three.
    fn folders() -> (TempDir, PathBuf, PathBuf) {
        let own = tempfile::tempdir().unwrap();
        let (shared, victim) = (own.path().join("shared"), own.path().join("victim"));
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
        fs::write(&victim, "precious").unwrap();
        (own, shared, victim)
    }

    fn refused(path: &Path, why: &str) {
        let error = create(path).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("everybody can write to"), "{error}");
    }

    #[test]
    fn links_in_a_shared_folder_are_not_followed() {
        let (own, shared, victim) = folders();
        symlink(&victim, shared.join("file")).unwrap();
        symlink(own.path(), shared.join("folder")).unwrap();
        symlink(own.path().join("new"), shared.join("dangling")).unwrap();
        symlink(shared.join("file"), own.path().join("indirect")).unwrap();
        hard_link(&victim, shared.join("hard")).unwrap();
        for path in
            ["shared/file", "shared/folder/victim", "shared/folder/new/x", "shared/dangling", "indirect"]
        {
            refused(&own.path().join(path), "symbolic link");
        }
        refused(&shared.join("hard"), "hard link");
        assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
        assert!(!own.path().join("new").exists());
    }

    #[test]
    fn own_files_in_a_shared_folder_are_made_and_emptied() {
        let (_own, shared, _) = folders();
        for path in ["x", "a/b/x"].map(|path| shared.join(path)) {
            for text in ["long", "s"] {
                let mut file = create(&path).unwrap();
                let _lock = claim(&file).unwrap();
                file.write_all(text.as_bytes()).unwrap();
                assert_eq!(fs::read_to_string(&path).unwrap(), text);
                assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
            }
        }
    }

    /// A file that is stdout, too, has the lines of both. Another file's descriptor is left alone.
    #[test]
    fn two_descriptors_of_a_file_do_not_overwrite_each_other() {
        let (own, ..) = folders();
        let path = own.path().join("both");
        let (mut stdout, mut other) =
            (File::create(&path).unwrap(), File::create(own.path().join("x")).unwrap());
        let mut file = create(&path).unwrap();
        let _lock = claim(&file).unwrap();
        for fd in [&stdout, &other] {
            append_too(&file, fd.as_fd()).unwrap();
        }
        for line in ["1\n", "3\n"] {
            stdout.write_all(line.as_bytes()).unwrap();
            file.write_all(b"row\n").unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\nrow\n3\nrow\n");
        other.write_all(b"long").unwrap();
        other.set_len(0).unwrap();
        other.write_all(b"end").unwrap();
        assert_eq!(fs::read(own.path().join("x")).unwrap(), b"\0\0\0\0end");
    }

    #[test]
    fn links_elsewhere_are_followed() {
        let (own, _, victim) = folders();
        let at = |path| own.path().join(path);
        fs::create_dir(at("folder")).unwrap();
        symlink("../victim", at("folder/file")).unwrap();
        symlink("folder", at("link")).unwrap();
        symlink(at("new"), at("dangling")).unwrap();
        hard_link(&victim, at("hard")).unwrap();
        for (path, target) in [
            ("folder/file", "victim"),
            ("link/file", "victim"),
            ("link/../hard", "victim"),
            ("dangling", "new"),
        ] {
            let mut file = create(&at(path)).unwrap();
            let _lock = claim(&file).unwrap();
            file.write_all(path.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(at(target)).unwrap(), path);
        }
    }

    #[test]
    fn a_file_has_one_writer_and_can_be_emptied_under_it() {
        let (own, ..) = folders();
        let path = own.path().join("rows");
        let mut file = create(&path).unwrap();
        let lock = claim(&file).unwrap();
        assert!(lock.is_some());
        let error = claim(&create(&path).unwrap()).unwrap_err().to_string();
        assert!(error.contains("another command writes to it"), "{error}");
        file.write_all(b"before").unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        file.write_all(b"after").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after");
        drop(lock);
        assert!(claim(&create(&path).unwrap()).unwrap().is_some());
    }

    #[test]
    fn a_fifo_needs_no_reader() {
        let (own, ..) = folders();
        let path = own.path().join("fifo");
        mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
        let mut file = create(&path).unwrap();
        assert!(claim(&file).unwrap().is_none());
        file.write_all(b"row").unwrap();
        let mut read = [0; 3];
        File::open(&path).unwrap().read_exact(&mut read).unwrap();
        assert_eq!(&read, b"row");
    }

    #[test]
    fn open_files_and_devices_are_taken() {
        create(Path::new("/dev/null")).unwrap();
        let (mut reader, writer) = pipe().map(|(r, w)| (File::from(r), w)).unwrap();
        let path = format!("/dev/fd/{}", writer.as_raw_fd());
        create(Path::new(&path)).unwrap().write_all(b"x").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn what_is_no_file_is_an_error() {
        let (own, _, victim) = folders();
        symlink("loop", own.path().join("loop")).unwrap();
        for (path, why) in [
            (PathBuf::new(), Errno::ENOENT),
            (own.path().join("missing/"), Errno::EISDIR),
            (own.path().to_owned(), Errno::EISDIR),
            (own.path().join("loop"), Errno::ELOOP),
            (victim.join("x"), Errno::ENOTDIR),
        ] {
            let error = format!("{:#}", create(&path).unwrap_err());
            assert!(error.contains(why.desc()), "{path:?}: {error}");
        }
    }
}
