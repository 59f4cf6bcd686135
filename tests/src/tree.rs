//! Small Debian systems in folders, to install packages into and to take programs from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::arch::Arch;
use crate::command;
use crate::kernel::{Apt, cache_dir, keep};

/// What the packages under test may depend on, what runs the scripts, and what runs the units. No apt: a dependency that
/// is not met here is none that these names meet.
const PACKAGES: &str = "libelf1,mawk,python3-minimal,systemd,zlib1g";

/// A system of its own, gone when dropped.
pub struct Tree {
    folder: TempDir,
}

impl Tree {
    /// The essential packages of a Debian release, and a few more.
    ///
    /// # Errors
    /// When the caller is not root, or the packages cannot be had.
    pub fn debian(suite: &str) -> Result<Self> {
        ensure!(geteuid().is_root(), "to make a system in a folder takes root");
        let archive = cache_dir()?.join(format!("trees/{suite}.tar"));
        keep(&archive, |partial| {
            eprintln!("    fetching Debian {suite} with apt ...");
            let apt = Apt::new(Arch::X86_64)?;
            apt.update()?;
            let kind = ["--variant=essential", "--mode=root", "--format=tar", "--quiet"];
            let include = format!("--include={PACKAGES}");
            command::run(
                Command::new("mmdebstrap")
                    .args(kind)
                    .args([&include, suite])
                    .arg(partial)
                    .arg(apt.source(suite)?),
            )?;
            Ok(())
        })?;
        let folder = tempfile::tempdir_in(cache_dir()?)?;
        command::run(Command::new("tar").arg("-C").arg(folder.path()).arg("-xf").arg(&archive))?;
        fs::write(folder.path().join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n")?;
        Ok(Self { folder })
    }

    /// Its root.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Run a shell script in it, whatever comes of it.
    ///
    /// # Errors
    /// When there is no chroot.
    pub fn try_run(&self, script: &str) -> Result<Output> {
        let mut command = Command::new(command::find("chroot")?);
        command.arg(self.path()).args(["/bin/sh", "-ec", script]).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        Ok(command.output()?)
    }

    /// Run a shell script in it, and return what it prints.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, script: &str) -> Result<String> {
        let output = self.try_run(script)?;
        let [text, errors] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        ensure!(
            output.status.success(),
            "in {}: {script}: {}\n{text}{errors}",
            self.path().display(),
            output.status
        );
        Ok(text)
    }

    /// Every file, as a sorted list of paths.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut files: Vec<String> =
            self.run("find / -xdev ! -path '/tmp/*'")?.lines().map(str::to_owned).collect();
        files.sort();
        Ok(files)
    }

    /// A program of it and the libraries that it needs there, to put below `root` in a guest.
    ///
    /// # Errors
    /// When it is not there.
    pub fn program(&self, path: &str, root: &str) -> Result<Vec<(PathBuf, String)>> {
        let mut files = vec![(self.host(path)?, format!("{root}{path}"))];
        for line in self.run(&format!("ldd {path} 2>/dev/null || true"))?.lines() {
            if let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) {
                files.push((self.host(library)?, format!("{root}{library}")));
            }
        }
        Ok(files)
    }

    /// All files below a folder of it, to put below `root` in a guest.
    ///
    /// # Errors
    /// When it is not there.
    pub fn folder(&self, path: &str, root: &str) -> Result<Vec<(PathBuf, String)>> {
        self.run(&format!("find {path} -type f"))?
            .lines()
            .map(|file| Ok((self.host(file)?, format!("{root}{file}"))))
            .collect()
    }

    /// Where a file of it really is: links lead on inside of it.
    fn host(&self, path: &str) -> Result<PathBuf> {
        let real = self.run(&format!("readlink -e {path}"))?;
        Ok(self.path().join(real.trim().trim_start_matches('/')))
    }
}
