//! The programs, Debian packages, crates and cargo subcommands that building, testing and packing need on a
//! machine.
//!
//! If a program is missing that cannot be installed from here, xtask names the program and fails before
//! anything is installed or built.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run::{Failure, cargo, cargo_command, run, succeeds};

/// Programs that xtask runs but does not install, each with the package it comes from. Every Debian system
/// where cargo runs has them.
const PROGRAMS: [(&str, &str); 7] = [
    ("apt-get", "apt"),
    ("date", "coreutils"),
    ("dpkg-query", "dpkg"),
    ("gzip", "gzip"),
    ("rustc", "a Rust toolchain"),
    ("sha256sum", "coreutils"),
    ("tar", "tar"),
];

/// Debian packages that building and testing need.
const PACKAGES: [&str; 29] = [
    "bsdutils",
    "busybox-static",
    "chromium",
    "clang",
    "clang-format",
    "crun",
    "ethtool",
    "gcc",
    "golang-github-containers-common",
    "groff-base",
    "iperf3",
    "iproute2",
    "kmod",
    "libc6-dev",
    "libelf-dev",
    "lksctp-tools",
    "make",
    "mandoc",
    "ncat",
    "pkg-config",
    "prometheus",
    "python3",
    "python3-yaml",
    "qemu-system-x86",
    "sip-tester",
    "socat",
    "tcpdump",
    "tmux",
    "zlib1g-dev",
];

/// Debian packages that building and testing for arm64 need in addition.
const AARCH64_PACKAGES: [&str; 3] =
    ["gcc-aarch64-linux-gnu", "linux-libc-dev-arm64-cross", "qemu-system-arm"];

/// Debian packages that packing, and testing the packages, needs in addition.
const DIST_PACKAGES: [&str; 6] = ["dpkg-dev", "lintian", "mmdebstrap", "rpm", "skopeo", "systemd"];

/// Debian packages that the source archive needs.
const SOURCE_PACKAGES: [&str; 2] = ["git", "xz-utils"];

/// Subcommands of cargo that packing needs: name, version and features of each.
const DIST_TOOLS: [(&str, &str, &str); 4] =
    [("deb", "^3", ""), ("generate-rpm", "^0.21", ""), ("cyclonedx", "^0.5", ""), LICENCE_TOOL];

/// The one of these that the source archive needs.
const LICENCE_TOOL: (&str, &str, &str) = ("about", "^0.9", "cli");

/// Install all that building and testing need; with `aarch64`, for arm64, too.
pub fn install(aarch64: bool) -> Result<(), Failure> {
    programs(aarch64)?;
    if aarch64 {
        debian_packages(&[&PACKAGES, &AARCH64_PACKAGES])?;
        standard_library()
    } else {
        debian_packages(&[&PACKAGES])
    }
}

/// Install all that building and packing need, except the subcommands of cargo ([`install_dist_tools`]); with
/// `aarch64`, for arm64, too.
pub fn install_for_dist(aarch64: bool) -> Result<(), Failure> {
    if env::consts::ARCH != "x86_64" {
        return Err(Failure("packages and archives are made on x86-64, for arm64 too".to_owned()));
    }
    programs(aarch64)?;
    let aarch64_packages: &[&str] = if aarch64 { &AARCH64_PACKAGES } else { &[] };
    debian_packages(&[&PACKAGES, &DIST_PACKAGES, &SOURCE_PACKAGES, aarch64_packages])?;
    if aarch64 { standard_library() } else { Ok(()) }
}

/// Install what the source archive needs, except the subcommand of cargo ([`install_licence_tool`]).
pub fn install_for_source() -> Result<(), Failure> {
    programs(false)?;
    debian_packages(&[&SOURCE_PACKAGES])
}

/// Fetch every crate that a workspace's lock file names. Crates of other platforms are fetched, too: xtask
/// does not build them, but `cargo about --offline` reads them. Fails if the lock file does not fit the
/// manifests.
pub fn fetch_crates(manifest: &str) -> Result<(), Failure> {
    cargo(&["fetch", "--locked", "--quiet", "--manifest-path", manifest])
}

/// Install the subcommands of cargo that packing needs. The first time, that takes a quarter of an hour.
pub fn install_dist_tools() -> Result<(), Failure> {
    DIST_TOOLS.iter().try_for_each(|(name, version, features)| install_tool(name, version, features))
}

/// Install the subcommand of cargo that the source archive needs. The first time, that takes minutes.
pub fn install_licence_tool() -> Result<(), Failure> {
    let (name, version, features) = LICENCE_TOOL;
    install_tool(name, version, features)
}

/// Install a subcommand of cargo, unless it is installed.
pub fn install_tool(name: &str, version: &str, features: &str) -> Result<(), Failure> {
    if is_subcommand(name) {
        return Ok(());
    }
    println!("installing cargo-{name}");
    let package = format!("cargo-{name}");
    cargo(&["install", "--locked", "--quiet", "--version", version, "--features", features, &package])
}

/// Fail if one of these subcommands of cargo, which rustup installs as components of a toolchain, is missing.
pub fn components(names: &[&str]) -> Result<(), Failure> {
    let missing: Vec<&str> = names.iter().copied().filter(|name| !is_subcommand(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" and cargo ");
    Err(Failure(format!("cargo {missing} cannot run: `rustup component add clippy rustfmt` installs it")))
}

fn is_subcommand(name: &str) -> bool {
    succeeds(cargo_command().args([name, "--version"]))
}

/// Fail if a program is missing that xtask cannot install, and name all such programs.
fn programs(aarch64: bool) -> Result<(), Failure> {
    let mut missing: Vec<String> = PROGRAMS
        .iter()
        .filter(|(program, _)| !is_program(program))
        .map(|(program, package)| format!("{program} (from {package})"))
        .collect();
    if aarch64 && !has_standard_library() && !is_program("rustup") {
        missing.push(format!("rustup, or the standard library of {AARCH64_TARGET}"));
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure(format!("missing on this machine, which has to be a Debian system: {}", missing.join(", "))))
}

/// Returns whether a program is in a folder of `PATH`.
fn is_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Print which of these packages are missing, and install those.
fn debian_packages(lists: &[&[&str]]) -> Result<(), Failure> {
    let missing: Vec<&str> =
        lists.iter().copied().flatten().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_root() && !is_program("sudo") {
        return Err(Failure(format!("without sudo, root has to run: apt-get install {list}")));
    }
    println!("installing {list}");
    run(&mut apt_get(&["update"]))?;
    run(apt_get(&["install", "--yes", "--no-install-recommends"]).args(&missing))
}

fn is_installed(package: &str) -> bool {
    // Not `dpkg --status`, which succeeds also for a package that was removed but not purged.
    let query =
        Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
    query.is_ok_and(|output| output.stdout == b"installed")
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new(if is_root() { "env" } else { "sudo" });
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]).args(arguments);
    command
}

const AARCH64_TARGET: &str = "aarch64-unknown-linux-gnu";

/// Install Rust's standard library for arm64 by rustup, unless it is installed.
fn standard_library() -> Result<(), Failure> {
    if has_standard_library() {
        return Ok(());
    }
    run(Command::new("rustup").args(["target", "add", AARCH64_TARGET]))
}

fn has_standard_library() -> bool {
    let folder =
        Command::new("rustc").args(["--print", "target-libdir", "--target", AARCH64_TARGET]).output();
    folder.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim_end()).is_dir())
}

/// Returns whether the effective user is root. Reads `/proc`, as geteuid(2) would take a crate.
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    user.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}
