//! Tests of the release's files, which `cargo xtask dist` has made. To be run as root: `cargo test -p
//! sctptrace-tests --features dist --test dist`.

mod files;
mod guest;
mod install;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Trial};
use sctptrace_tests::command;
use sctptrace_tests::programs::{TOOLS, target_folder};

/// The workspace's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The Debian releases that packages are installed on.
pub const SUITES: [&str; 2] = ["bookworm", "trixie"];

fn main() -> ExitCode {
    let mut trials = Vec::new();
    let mut add = |name: &str, test: fn() -> Result<()>| {
        let test = move || test().map_err(|error| format!("{error:#}").into());
        trials.push(Trial::test(name.to_owned(), test));
    };
    add("checksums", files::checksums);
    add("bills", files::bills);
    add("third-party", files::third_party);
    add("source", files::source);
    add("static", files::statics);
    add("image", files::image);
    add("lintian", files::lintian);
    add("bookworm", || install::debian(SUITES[0]));
    add("trixie", || install::debian(SUITES[1]));
    add("rpm", install::rpm);
    add("guest", guest::installed_packages);
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The folder of the release's files.
pub fn dist() -> PathBuf {
    target_folder().join("dist")
}

/// Every package's name.
pub fn packages() -> Vec<String> {
    let commands = TOOLS.iter().map(|tool| format!("sctp-{tool}"));
    commands.chain(["sctptrace", "sctptrace-compat", "sctptrace-report"].map(str::to_owned)).collect()
}

/// Returns the release's files whose names end with `end`, sorted. Fails if there are none.
pub fn ending(end: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for file in std::fs::read_dir(dist()).context("no dist: run `cargo xtask dist` first")? {
        let path = file?.path();
        if path.to_string_lossy().ends_with(end) {
            files.push(path);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "nothing in {} ends in {end}", dist().display());
    Ok(files)
}

/// The line that `--version` must print, with the commit that git has checked out and Cargo.lock's libbpf.
pub fn version_line(name: &str) -> Result<String> {
    let head = command::run(Command::new("git").args(["rev-parse", "HEAD"])).unwrap_or("unknown".to_owned());
    let lock = include_str!("../../../Cargo.lock");
    let libbpf = lock
        .split_once("name = \"libbpf-sys\"\nversion = \"")
        .and_then(|(_, rest)| rest.split_once(".0+"))
        .context("no libbpf-sys in Cargo.lock")?
        .0;
    Ok(format!("{name} {VERSION} ({}) libbpf {libbpf}", head.get(..7).unwrap_or("unknown")))
}
