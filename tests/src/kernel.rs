//! Stock Debian kernels for the guests: downloaded once with apt, then taken from a cache. This module also
//! has the cache, and an apt that needs no root.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::arch::Arch;
use crate::command;

/// Debian's archive keys, a file that every Debian host has.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel series that the test bed can download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// Debian 11's kernel: too old to be traced.
    V5_10,
    /// Debian 12's default kernel.
    V6_1,
    /// Debian 12's newer kernel.
    V6_12,
    /// The kernel from the backports for Debian 13 (`trixie-backports`).
    V7_3,
    /// Debian 12's default kernel with PREEMPT_RT; only for x86-64.
    V6_1Rt,
    /// Debian 12's newer kernel with PREEMPT_RT; only for x86-64.
    V6_12Rt,
}

impl Series {
    /// Every series that can be traced, except those with PREEMPT_RT, oldest first.
    pub const TRACED: [Self; 3] = [Self::V6_1, Self::V6_12, Self::V7_3];

    /// The series' name on command lines and in the cache, such as `6.12`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V7_3 => "7.3",
            Self::V6_1Rt => "6.1rt",
            Self::V6_12Rt => "6.12rt",
        }
    }

    /// Debian's flavour of the series' packages, which is a part of their names.
    const fn flavour(self) -> &'static str {
        match self {
            Self::V5_10 | Self::V6_1 | Self::V6_12 | Self::V7_3 => "cloud",
            Self::V6_1Rt | Self::V6_12Rt => "rt",
        }
    }

    /// The name of the Debian package that depends on the newest build of the series.
    fn meta_package(self, arch: Arch) -> String {
        let series = if matches!(self, Self::V6_12 | Self::V6_12Rt) { "6.12-" } else { "" };
        format!("linux-image-{series}{}-{}", self.flavour(), arch.debian())
    }

    /// The Debian suite to take the series from, where the host's own package sources lack it.
    const fn extra_suite(self) -> Option<&'static str> {
        match self {
            Self::V5_10 => Some("bullseye"),
            Self::V7_3 => Some("trixie-backports"),
            Self::V6_1 | Self::V6_12 | Self::V6_1Rt | Self::V6_12Rt => None,
        }
    }

    /// Returns the series whose [`name`](Self::name) is `name`.
    ///
    /// # Errors
    /// When there is no such series.
    pub fn from_name(name: &str) -> Result<Self> {
        [Self::V5_10, Self::V6_1Rt, Self::V6_12Rt]
            .into_iter()
            .chain(Self::TRACED)
            .find(|series| series.name() == name)
            .with_context(|| format!("no kernel {name}: choose from 5.10, 6.1, 6.12, 7.3, 6.1rt, 6.12rt"))
    }
}

/// An unpacked kernel, ready to boot.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The architecture that the kernel is built for.
    pub arch: Arch,
    /// The series that the caller of [`Kernel::get`] asked for.
    pub series: Series,
    /// The kernel's release, as `uname -r` prints it.
    pub release: String,
    /// The boot image.
    pub vmlinuz: PathBuf,
    /// The folder of the kernel's modules, with `kernel/` and `modules.dep`.
    pub modules: PathBuf,
}

impl Kernel {
    /// Returns a kernel from the cache. Downloads it first if it is not in the cache.
    ///
    /// # Errors
    /// When apt cannot find or download the packages.
    pub fn get(arch: Arch, series: Series) -> Result<Self> {
        let home = cache_dir()?.join(format!("kernels{}", arch.suffix())).join(series.name());
        keep(&home, |partial| {
            fetch(arch, series, partial).with_context(|| format!("could not fetch kernel {}", series.name()))
        })?;
        Self::unpacked(arch, series, &home)
    }

    fn unpacked(arch: Arch, series: Series, home: &Path) -> Result<Self> {
        // From Debian 13 on, the packages have the modules in /usr/lib.
        let modules = ["lib/modules", "usr/lib/modules"]
            .iter()
            .filter_map(|folder| fs::read_dir(home.join(folder)).ok())
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.join("modules.builtin").is_file())
            .with_context(|| format!("{} holds no kernel modules: delete it", home.display()))?;
        let release = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let vmlinuz = [home.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")]
            .into_iter()
            .find(|path| path.is_file())
            .with_context(|| format!("{} holds no boot image: delete it", home.display()))?;
        Ok(Self { arch, series, release, vmlinuz, modules })
    }
}

/// The test bed's cache, a folder with kernels and system roots: `$SCTPTRACE_CACHE`, or `sctptrace` in the
/// user's cache folder.
///
/// # Errors
/// When none of `$SCTPTRACE_CACHE`, `$XDG_CACHE_HOME` and `$HOME` is set.
pub fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("SCTPTRACE_CACHE") {
        return Ok(dir.into());
    }
    if let Some(dir) = env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir).join("sctptrace"));
    }
    let home = env::var_os("HOME").context("no cache folder: set HOME or SCTPTRACE_CACHE")?;
    Ok(PathBuf::from(home).join(".cache/sctptrace"))
}

/// Makes the file or folder `path` of the cache by `fetch`, unless it exists. One process at a time may
/// fetch, by a lock, as all processes share apt's state.
pub(crate) fn keep(path: &Path, fetch: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let cache = cache_dir()?;
    fs::create_dir_all(path.parent().unwrap_or(&cache))?;
    let lock = File::create(cache.join("fetch.lock"))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    if path.exists() {
        return Ok(());
    }
    // Fetch under another name, then rename: a fetch that fails leaves nothing at `path`.
    let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(&cache)?;
    let content = partial.path().join("content");
    fetch(&content)?;
    Ok(fs::rename(content, path)?)
}

fn fetch(arch: Arch, series: Series, home: &Path) -> Result<()> {
    eprintln!("fetching kernel {}{} with apt ...", series.name(), arch.suffix());
    let mut apt = Apt::new(arch)?;
    apt.update()?;
    if let Some(suite) = series.extra_suite() {
        apt = apt.for_suite(suite)?;
        apt.update()?;
    }
    let packages = apt.dependencies(&series.meta_package(arch), series.flavour())?;
    let debs = apt.download(&packages)?;
    command::unpack(&debs, home)?;
    let kernel = Kernel::unpacked(arch, series, home)?;
    // depmod looks for the modules in <base>/lib/modules/<release>.
    let base = kernel.modules.ancestors().nth(3).context("modules folder too shallow")?;
    command::run(Command::new("depmod").arg("-b").arg(base).arg(&kernel.release))?;
    Ok(())
}

/// An apt whose state is in the cache: it needs no root, and changes nothing on the host.
pub(crate) struct Apt {
    arch: Arch,
    home: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// An apt with the host's own package sources.
    pub(crate) fn new(arch: Arch) -> Result<Self> {
        Self::in_folder(arch, "machine")
    }

    /// An apt with a single suite as its source, from the Debian mirror that this apt's sources name.
    fn for_suite(&self, suite: &str) -> Result<Self> {
        let source = self.source(suite)?;
        let mut apt = Self::in_folder(self.arch, suite)?;
        let list = apt.home.join("sources.list");
        fs::write(&list, source + "\n")?;
        apt.options.push(format!("Dir::Etc::SourceList={}", list.display()));
        for part in ["SourceParts", "Preferences", "PreferencesParts"] {
            apt.options.push(format!("Dir::Etc::{part}=/dev/null"));
        }
        Ok(apt)
    }

    fn in_folder(arch: Arch, name: &str) -> Result<Self> {
        let home = cache_dir()?.join("apt").join(format!("{name}{}", arch.suffix()));
        for folder in ["lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(home.join(folder))?;
        }
        let mut options = vec![
            format!("Dir::State::Lists={}", home.join("lists").display()),
            format!("Dir::Cache={}", home.join("cache").display()),
            // As root, apt would drop to a user that may not enter the cache folder.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ];
        if arch != Arch::X86_64 {
            options.push(format!("APT::Architecture={}", arch.debian()));
            options.push(format!("APT::Architectures={}", arch.debian()));
            // The host's installed packages do not meet dependencies of packages for another architecture.
            options.push("Dir::State::Status=/dev/null".to_owned());
        }
        Ok(Self { arch, home, options })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").current_dir(self.home.join("debs"));
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    pub(crate) fn update(&self) -> Result<()> {
        command::run(self.command("apt-get").args(["-q", "update"]))?;
        Ok(())
    }

    /// The line of a `sources.list` for one suite, from the Debian mirror that this apt's sources name.
    pub(crate) fn source(&self, suite: &str) -> Result<String> {
        Ok(format!("deb [signed-by={KEYRING}] {} {suite} main", self.debian_mirror()?))
    }

    fn debian_mirror(&self) -> Result<String> {
        let text = command::run(self.command("apt-get").args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
            "Label: Debian",
            "Component: main",
        ]))?;
        text.lines().next().map(str::to_owned).context("apt's sources name no Debian mirror")
    }

    /// Names of the kernel packages that a meta package depends on: one until Debian 12, several since Debian
    /// has split the kernel into packages.
    fn dependencies(&self, meta: &str, flavour: &str) -> Result<Vec<String>> {
        let text =
            command::run(self.command("apt-cache").args(["depends", "--recurse", "--important", meta]))?;
        let ending = format!("-{flavour}-{}", self.arch.debian());
        let mut packages: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with("linux-") && line.ends_with(&ending) && *line != meta)
            .map(str::to_owned)
            .collect();
        packages.sort();
        packages.dedup();
        ensure!(!packages.is_empty(), "apt knows no kernel behind {meta}");
        Ok(packages)
    }

    fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        // Delete packages that a failed download left.
        for old in debs(&self.home.join("debs"))? {
            fs::remove_file(old)?;
        }
        command::run(self.command("apt-get").args(["-q", "download"]).args(packages))?;
        let debs = debs(&self.home.join("debs"))?;
        ensure!(
            debs.len() == packages.len(),
            "apt-get downloaded {} of {} packages",
            debs.len(),
            packages.len()
        );
        Ok(debs)
    }
    /// Downloads the packages and all packages that they depend on, as if nothing were installed; returns the
    /// files. For architectures other than the host's.
    pub(crate) fn download_with_dependencies(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let flags = ["-q", "--yes", "--no-install-recommends", "--download-only"];
        // Only root can lock the host's package state. As nothing is installed, no lock is needed.
        let mut command = self.command("apt-get");
        command.args(["-o", "Debug::NoLocking=true"]).args(flags).arg("install").args(packages);
        command::run(&mut command)?;
        debs(&self.home.join("cache/archives"))
    }
}

fn debs(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(fs::read_dir(folder)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect())
}
