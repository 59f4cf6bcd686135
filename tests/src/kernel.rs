//! Stock Debian kernels: fetched once through the machine's own package sources, then taken from a cache.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::arch::Arch;
use crate::command;

/// Debian's keys, on every Debian machine.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel series the bed knows how to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// Debian 11's: too old to be traced.
    V5_10,
    /// Debian 12's own.
    V6_1,
    /// Debian 12's newer one.
    V6_12,
    /// From the next release's backports.
    V7_3,
    /// Debian 12's own, with PREEMPT_RT. x86-64 alone.
    V6_1Rt,
    /// Debian 12's newer one, with PREEMPT_RT. x86-64 alone.
    V6_12Rt,
}

impl Series {
    /// Every series that can be traced, oldest first.
    pub const TRACED: [Self; 3] = [Self::V6_1, Self::V6_12, Self::V7_3];

    /// `6.12` and the like: what the command line and the cache call it.
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

    /// How its packages are built.
    const fn flavour(self) -> &'static str {
        match self {
            Self::V5_10 | Self::V6_1 | Self::V6_12 | Self::V7_3 => "cloud",
            Self::V6_1Rt | Self::V6_12Rt => "rt",
        }
    }

    /// The package that depends on the newest build of the series.
    fn meta_package(self, arch: Arch) -> String {
        let series = if matches!(self, Self::V6_12 | Self::V6_12Rt) { "6.12-" } else { "" };
        format!("linux-image-{series}{}-{}", self.flavour(), arch.debian())
    }

    /// The suite to add to the machine's own, where the series is not in them.
    const fn extra_suite(self) -> Option<&'static str> {
        match self {
            Self::V5_10 => Some("bullseye"),
            Self::V7_3 => Some("trixie-backports"),
            Self::V6_1 | Self::V6_12 | Self::V6_1Rt | Self::V6_12Rt => None,
        }
    }

    /// The series of that name.
    ///
    /// # Errors
    /// When there is none.
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
    /// The architecture it is built for.
    pub arch: Arch,
    /// The series it was asked for as.
    pub series: Series,
    /// Its release, as `uname -r` prints it.
    pub release: String,
    /// The boot image.
    pub vmlinuz: PathBuf,
    /// The folder with `kernel/` and `modules.dep`.
    pub modules: PathBuf,
}

impl Kernel {
    /// Take the kernel from the cache, after fetching it if it is not there yet.
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
        // Debian 13 moved /lib into /usr/lib for good.
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

/// Where kernels are kept: `$SCTPTRACE_CACHE`, or `sctptrace` in the user's cache folder.
///
/// # Errors
/// When neither `$HOME` nor one of the overrides is set.
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

/// Fetch something into the cache, unless it is there. One at a time: apt's state is shared, too.
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
    // Beside, then renamed: a broken fetch leaves nothing that looks whole.
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
    // depmod wants <base>/lib/modules/<release>.
    let base = kernel.modules.ancestors().nth(3).context("modules folder too shallow")?;
    command::run(Command::new("depmod").arg("-b").arg(base).arg(&kernel.release))?;
    Ok(())
}

/// An apt with state of its own: needs no root and changes nothing on the machine.
pub(crate) struct Apt {
    arch: Arch,
    home: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// The machine's own sources.
    pub(crate) fn new(arch: Arch) -> Result<Self> {
        Self::in_folder(arch, "machine")
    }

    /// One suite, from the mirror that this apt's sources use for Debian.
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
            // Packages of this machine are of no use to another architecture.
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

    /// The line of a `sources.list` for one suite, at the mirror of this apt's sources.
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

    /// The kernel packages below a meta package: one until Debian 12, a handful since they were split.
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
        // Of a fetch that broke off.
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
    /// The packages and all that they depend on, as if nothing were installed.
    pub(crate) fn download_with_dependencies(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let flags = ["-q", "--yes", "--no-install-recommends", "--download-only"];
        // Only root could lock the machine's packages, which this leaves alone.
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
