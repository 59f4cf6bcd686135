//! The Debian packages that building and testing need, in one place.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run::{Failure, run};

const PACKAGES: [&str; 23] = [
    "bsdutils",
    "busybox-static",
    "clang",
    "clang-format",
    "ethtool",
    "gcc",
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
    "python3",
    "qemu-system-x86",
    "sip-tester",
    "socat",
    "tcpdump",
    "zlib1g-dev",
];

/// What tests of arm64 need besides.
const AARCH64_PACKAGES: [&str; 3] =
    ["gcc-aarch64-linux-gnu", "linux-libc-dev-arm64-cross", "qemu-system-arm"];

/// What packing needs besides, and looking at packages.
const DIST_PACKAGES: [&str; 5] = ["dpkg-dev", "lintian", "mmdebstrap", "rpm", "systemd"];

/// Install what is missing, after saying what; with `aarch64`, what it takes to build for arm64, too.
pub fn install(aarch64: bool) -> Result<(), Failure> {
    install_missing(&PACKAGES)?;
    if !aarch64 {
        return Ok(());
    }
    install_missing(&AARCH64_PACKAGES)?;
    rust_std()
}

/// Have the target's standard library, by rustup if it is not there.
fn rust_std() -> Result<(), Failure> {
    let target = "aarch64-unknown-linux-gnu";
    let folder = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    if folder.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim_end()).is_dir()) {
        return Ok(());
    }
    run(Command::new("rustup").args(["target", "add", target]))
}

/// Install what packing needs besides.
pub fn install_for_dist() -> Result<(), Failure> {
    install_missing(&DIST_PACKAGES)
}

fn install_missing(packages: &[&str]) -> Result<(), Failure> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    run(&mut apt_get(&["update"]))?;
    run(apt_get(&["install", "--yes", "--no-install-recommends"]).args(&missing))
}

fn is_installed(package: &str) -> bool {
    // Not `dpkg --status`, which also knows packages that were removed.
    let query =
        Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
    query.is_ok_and(|output| output.stdout == b"installed")
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new(if is_root() { "env" } else { "sudo" });
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]).args(arguments);
    command
}

/// Whether the effective user is root, without a crate for it.
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    user.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}
