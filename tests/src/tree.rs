//! Small Debian systems in folders of the host: tests install packages into them, and take programs for
//! guests from them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::arch::Arch;
use crate::command;
use crate::kernel::{Apt, cache_dir, keep};

/// Debian packages that a tree has besides the essential ones: those that the packages under test may depend
/// on, and those that run the packages' scripts and systemd units. There is no apt that could add more: if
/// the packages under test depend on anything else, dpkg fails to install them.
const PACKAGES: &str = "libelf1,mawk,python3-minimal,systemd,zlib1g";

/// A Debian system in a temporary folder, which is deleted when this is dropped.
pub struct Tree {
    folder: TempDir,
}

impl Tree {
    /// Makes a system of the essential packages of a Debian release, and a few more.
    ///
    /// # Errors
    /// When the caller is not root, or the packages cannot be downloaded.
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

    /// The folder on the host that is the root of the system.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a shell script in the system, and returns its output and exit status even if the script fails.
    ///
    /// # Errors
    /// When `chroot` is missing or cannot be run.
    pub fn try_run(&self, script: &str) -> Result<Output> {
        let mut command = Command::new(command::find("chroot")?);
        command.arg(self.path()).args(["/bin/sh", "-ec", script]).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        Ok(command.output()?)
    }

    /// Runs a shell script in the system, and returns its standard output.
    ///
    /// # Errors
    /// When the script fails, or `chroot` is missing.
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

    /// Returns the sorted paths of all files and folders of the system, without those in `/tmp`.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut files: Vec<String> =
            self.run("find / -xdev ! -path '/tmp/*'")?.lines().map(str::to_owned).collect();
        files.sort();
        Ok(files)
    }

    /// Returns a program of the system and the libraries that it needs: each file's path on the host, and its
    /// path in a guest, below `root`.
    ///
    /// # Errors
    /// When the program is not in the system.
    pub fn program(&self, path: &str, root: &str) -> Result<Vec<(PathBuf, String)>> {
        let mut files = vec![(self.host(path)?, format!("{root}{path}"))];
        for line in self.run(&format!("ldd {path} 2>/dev/null || true"))?.lines() {
            if let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) {
                files.push((self.host(library)?, format!("{root}{library}")));
            }
        }
        Ok(files)
    }

    /// Returns all files below a folder of the system: each file's path on the host, and its path in a guest,
    /// below `root`.
    ///
    /// # Errors
    /// When the folder is not in the system.
    pub fn folder(&self, path: &str, root: &str) -> Result<Vec<(PathBuf, String)>> {
        self.run(&format!("find {path} -type f"))?
            .lines()
            .map(|file| Ok((self.host(file)?, format!("{root}{file}"))))
            .collect()
    }

    /// Returns the path on the host of a file of the system, with symbolic links resolved inside the system.
    fn host(&self, path: &str) -> Result<PathBuf> {
        let real = self.run(&format!("readlink -e {path}"))?;
        Ok(self.path().join(real.trim().trim_start_matches('/')))
    }
}
