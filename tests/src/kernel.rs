//! Stock Debian kernels: fetched once through the machine's own package sources, then taken from a cache.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

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
        }
    }

    /// The package that depends on the newest build of the series.
    const fn meta_package(self) -> &'static str {
        match self {
            Self::V6_12 => "linux-image-6.12-cloud-amd64",
            Self::V5_10 | Self::V6_1 | Self::V7_3 => "linux-image-cloud-amd64",
        }
    }

    /// The suite to add to the machine's own, where the series is not in them.
    const fn extra_suite(self) -> Option<&'static str> {
        match self {
            Self::V5_10 => Some("bullseye"),
            Self::V7_3 => Some("trixie-backports"),
            Self::V6_1 | Self::V6_12 => None,
        }
    }

    /// The series of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn from_name(name: &str) -> Result<Self> {
        [Self::V5_10]
            .into_iter()
            .chain(Self::TRACED)
            .find(|series| series.name() == name)
            .with_context(|| format!("no kernel {name}: choose from 5.10, 6.1, 6.12, 7.3"))
    }
}

/// An unpacked kernel, ready to boot.
#[derive(Debug, Clone)]
pub struct Kernel {
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
    pub fn get(series: Series) -> Result<Self> {
        let home = cache_dir()?.join("kernels").join(series.name());
        if !home.is_dir() {
            fetch(series, &home).with_context(|| format!("could not fetch kernel {}", series.name()))?;
        }
        Self::unpacked(series, &home)
    }

    fn unpacked(series: Series, home: &Path) -> Result<Self> {
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
        Ok(Self { series, release, vmlinuz, modules })
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

fn fetch(series: Series, home: &Path) -> Result<()> {
    eprintln!("fetching kernel {} with apt ...", series.name());
    let mut apt = Apt::new()?;
    apt.update()?;
    if let Some(suite) = series.extra_suite() {
        apt = apt.for_suite(suite)?;
        apt.update()?;
    }
    let packages = apt.dependencies(series.meta_package())?;
    let debs = apt.download(&packages)?;
    // Unpack beside, then rename: a broken fetch leaves nothing that looks whole.
    let partial = home.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    for deb in &debs {
        command::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&partial))?;
        fs::remove_file(deb)?;
    }
    let kernel = Kernel::unpacked(series, &partial)?;
    // depmod wants <base>/lib/modules/<release>.
    let base = kernel.modules.ancestors().nth(3).context("modules folder too shallow")?;
    command::run(Command::new("depmod").arg("-b").arg(base).arg(&kernel.release))?;
    fs::rename(&partial, home)?;
    Ok(())
}

/// An apt with state of its own: needs no root and changes nothing on the machine.
struct Apt {
    home: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// The machine's own sources.
    fn new() -> Result<Self> {
        Self::in_folder("machine")
    }

    /// One suite, from the mirror that this apt's sources use for Debian.
    fn for_suite(&self, suite: &str) -> Result<Self> {
        let mirror = self.debian_mirror()?;
        let mut apt = Self::in_folder(suite)?;
        let list = apt.home.join("sources.list");
        fs::write(&list, format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))?;
        apt.options.push(format!("Dir::Etc::SourceList={}", list.display()));
        for part in ["SourceParts", "Preferences", "PreferencesParts"] {
            apt.options.push(format!("Dir::Etc::{part}=/dev/null"));
        }
        Ok(apt)
    }

    fn in_folder(name: &str) -> Result<Self> {
        let home = cache_dir()?.join("apt").join(name);
        for folder in ["lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(home.join(folder))?;
        }
        let options = vec![
            format!("Dir::State::Lists={}", home.join("lists").display()),
            format!("Dir::Cache={}", home.join("cache").display()),
            // As root, apt would drop to a user that may not enter the cache folder.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ];
        Ok(Self { home, options })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").current_dir(self.home.join("debs"));
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    fn update(&self) -> Result<()> {
        command::run(self.command("apt-get").args(["-q", "update"]))?;
        Ok(())
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
    fn dependencies(&self, meta: &str) -> Result<Vec<String>> {
        let text =
            command::run(self.command("apt-cache").args(["depends", "--recurse", "--important", meta]))?;
        let mut packages: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with("linux-") && line.ends_with("-cloud-amd64") && *line != meta)
            .map(str::to_owned)
            .collect();
        packages.sort();
        packages.dedup();
        ensure!(!packages.is_empty(), "apt knows no kernel behind {meta}");
        Ok(packages)
    }

    fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        command::run(self.command("apt-get").args(["-q", "download"]).args(packages))?;
        let debs: Vec<PathBuf> = fs::read_dir(self.home.join("debs"))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .collect();
        ensure!(
            debs.len() >= packages.len(),
            "apt-get downloaded {} of {} packages",
            debs.len(),
            packages.len()
        );
        Ok(debs)
    }
}
