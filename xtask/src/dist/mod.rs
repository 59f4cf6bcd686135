//! `cargo xtask dist`: makes the files of a release in `dist` of the target folder: packages, archives, a
//! container image, bills of materials and checksums. The same source gives the same bytes.

mod archive;
mod assets;
mod build;
mod image;
mod install;
mod licences;
mod manual;
mod packages;
mod source;
mod staging;
mod sums;
mod templates;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use self::assets::Layout;
pub use self::install::{build, install};
use self::licences::{THIRD_PARTY, THIRD_PARTY_REPORT};
use self::manual::run_manual;
use crate::files::{WORKSPACE, create, remove, target_folder, write};
use crate::run::{Failure, output};
use crate::{commands, needs};

/// The command that traces nothing, and makes a page of what the others print.
const REPORT: &str = "sctptrace-report";

/// The version of all files of the release: the workspace's.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An architecture, by its names.
struct Arch {
    /// The name that Rust, the kernel and RPM use.
    name: &'static str,
    /// The name that Debian uses.
    debian: &'static str,
}

const X86_64: Arch = Arch { name: "x86_64", debian: "amd64" };
const AARCH64: Arch = Arch { name: "aarch64", debian: "arm64" };

impl Arch {
    /// Rust's name of the target.
    fn target(&self) -> String {
        format!("{}-unknown-linux-gnu", self.name)
    }
}

/// The flags of `cargo xtask dist`.
pub struct Options {
    /// Make the files for this machine's architecture only.
    pub native: bool,
    /// Make the source archive only.
    pub source: bool,
    /// Make everything again in another folder, and compare.
    pub twice: bool,
}

impl Options {
    /// Read the flags.
    pub fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut options = Self { native: false, source: false, twice: false };
        for flag in arguments {
            match *flag {
                "--source" => options.source = true,
                "--native" => options.native = true,
                "--check" => options.twice = true,
                _ => return Err(format!("unknown option {flag}")),
            }
        }
        Ok(options)
    }
}

/// Make all files of the release.
pub fn make(options: &Options) -> Result<(), Failure> {
    if options.source {
        needs::install_for_source()?;
    } else {
        needs::install_for_dist(!options.native)?;
    }
    let epoch = epoch()?;
    if options.twice {
        sums::can_be_cloned()?;
    }
    needs::fetch_crates("Cargo.toml")?;
    if options.source {
        needs::install_licence_tool()?;
        let dist = Dist::new(epoch)?;
        dist.licences()?;
        dist.source()?;
        dist.checksums()?;
        return if options.twice { dist.compare_with_second(options) } else { Ok(()) };
    }
    needs::install_dist_tools()?;
    let dist = Dist::new(epoch)?;
    dist.manual(&mut run_manual())?;
    dist.licences()?;
    dist.source()?;
    dist.packages(&X86_64)?;
    dist.archive(&X86_64)?;
    if !options.native {
        dist.packages(&AARCH64)?;
        dist.archive(&AARCH64)?;
    }
    dist.image(if options.native { &[&X86_64] } else { &[&X86_64, &AARCH64] })?;
    dist.bills()?;
    dist.checksums()?;
    if options.twice { dist.compare_with_second(options) } else { Ok(()) }
}

/// Put together the packages' files, with the programs of the release build, and check them. Unlike [`make`],
/// this takes neither minutes nor tools that have to be installed.
pub fn check_staging() -> Result<(), Failure> {
    let dist = Dist::new(epoch()?)?;
    dist.manual(&mut run_manual())?;
    // An empty file instead of the licences, which take minutes to gather.
    write(&dist.work.join(THIRD_PARTY), "")?;
    write(&dist.work.join(THIRD_PARTY_REPORT), "")?;
    dist.check_staged(&dist.target.join("release"))
}

/// The folders, the commands and the time of a release that is being made.
struct Dist {
    /// Cargo's target folder.
    target: PathBuf,
    /// Folder of the finished files of the release.
    out: PathBuf,
    /// Folder of the files from which the release is made.
    work: PathBuf,
    /// Seconds from 1970 to the commit ([`epoch`]): the time that every file gets.
    epoch: String,
    /// The names of the commands that trace.
    commands: Vec<String>,
}

impl Dist {
    /// Makes the folders, and removes the files of an earlier release from them.
    fn new(epoch: String) -> Result<Self, Failure> {
        let target = target_folder()?;
        Self::within(target.join("dist"), target.join("dist-work"), epoch)
    }

    /// The same with these folders.
    fn within(out: PathBuf, work: PathBuf, epoch: String) -> Result<Self, Failure> {
        let target = target_folder()?;
        for folder in [&out, &work] {
            remove(folder)?;
            create(folder)?;
        }
        let commands = commands::names(Path::new(WORKSPACE));
        let commands = commands.map_err(|error| Failure::new("cannot read the workspace", error))?;
        Ok(Self { target, out, work, epoch, commands })
    }

    /// The names of all programs: the commands, and [`REPORT`].
    fn names(&self) -> impl Iterator<Item = &str> {
        self.commands.iter().map(String::as_str).chain([REPORT])
    }
}

impl Dist {
    /// The time that every file gets, in a format of date(1), in UTC.
    fn time(&self, format: &str) -> Result<String, Failure> {
        output(Command::new("date").args(["-u", "-d", &format!("@{}", self.epoch), format]))
    }
}

/// Seconds from 1970 to the commit; `SOURCE_DATE_EPOCH` overrides it.
fn epoch() -> Result<String, Failure> {
    env::var("SOURCE_DATE_EPOCH").or_else(|_| {
        output(Command::new("git").args(["-C", WORKSPACE, "log", "-1", "--format=%ct"]))
            .map_err(|_| Failure("outside of git, SOURCE_DATE_EPOCH must be set".to_owned()))
    })
}

/// The path of a file or folder of the workspace.
fn workspace(file: &str) -> PathBuf {
    Path::new(WORKSPACE).join(file)
}
