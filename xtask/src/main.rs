//! The project's own commands: `cargo xtask demo`, `bench`, `docs`, `picture`, `dist`, `build`, `install` and `test`.
//!
//! On a newcomer's machine this crate is compiled first, so it uses only the standard library.

mod commands;
mod dist;
mod files;
mod needs;
mod run;
mod test;

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::dist::Layout;
use crate::files::{WORKSPACE, remove, target_folder};
use crate::run::{Failure, cargo, cargo_command, run};

const USAGE: &str = "\
Usage: cargo xtask COMMAND

Commands:
  demo [TOOL]     Show a command (default: sctp-rtt) on live SCTP traffic: 20 ms path, 2 % loss, in a VM
  bench [OPTIONS] Measure what the commands cost, in instructions: an hour or so
      --quick          Only the two workloads of small messages, once, with CSV
      --only CASE      Only cases whose name contains CASE: signalling, bulk, full, associations, large or growth
      --rounds N       Measure each set of commands N times, in the place of one to five
      --write          Write the figures to docs/performance.md, and as the baseline
      --tables         Measure nothing: write the tables anew, of the baseline
      --check          Fail if something is more than a tenth above the baseline
  docs [PAGE]     Run the commands that README and docs/ show (or the pages whose name contains PAGE), and write there what
                  they print
  picture         Make README's picture of a page of sctptrace-report, from its test data, with Chromium
  dist [OPTIONS]  Make packages, static programs, a container image, a source archive, checksums and bills of materials, in
                  target/dist
      --source         The source archive only, which builds without a network: see docs/packaging.md
      --native         For this machine's architecture only
      --check          Make them again in another folder, and compare
  test [OPTIONS]  Check what every change has to pass: 6.12 whole, other kernels and kprobes in part
      --quick          Some minutes: formats, unit tests and a few VM tests
      --all            The whole matrix of kernels and kinds of hooks
      --timing         Say what each VM test took
      --only STEP      Only this step; may be repeated. Steps: packages, fmt, clippy, doc, clang-format, deny,
                       unit, build, staging, dist (only if named), vm
      --kernel SERIES  Only VM tests of this kernel: 5.10, 6.1, 6.12, 7.3, 6.1rt or 6.12rt
      --arch ARCH      VM tests in guests of x86_64 (default) or aarch64: cross-built, comparisons only
      --case TEXT      Only VM tests whose name contains TEXT
      --write          Write what VM tests compare with the last time: the tables of docs/kernels.md, tests/verifier.csv
  build           For a distribution's package: build the programs, in target/release. Needs no network
  install LAYOUT DIR
                  For a distribution's package: put into DIR what `build` has built, with man pages, completions and units
      --deb            DIR/PACKAGE/usr/..., and Debian's scripts DIR/PACKAGE.postinst and so on
      --rpm            DIR/usr/..., and for RPM's %files -f and %post -f target/install/PACKAGE.files, .postin and so on
  help            Show this

All but build and install first install missing Debian packages (as root, or through sudo) and say which.";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["demo"] => demo("sctp-rtt"),
        ["demo", tool] if !tool.starts_with('-') => demo(tool),
        ["bench", options @ ..] => bench(options),
        ["docs"] => docs(""),
        ["docs", page] if !page.starts_with('-') => docs(page),
        ["picture"] => picture(),
        ["dist", options @ ..] => match dist::Options::parse(options) {
            Ok(options) => dist::make(&options),
            Err(error) => return usage(&error),
        },
        ["build"] => dist::build(),
        ["install", "--deb", folder] => dist::install(Layout::Deb, Path::new(folder)),
        ["install", "--rpm", folder] => dist::install(Layout::Rpm, Path::new(folder)),
        ["test", options @ ..] => match test::Options::parse(options) {
            Ok(options) => test::run_steps(&options),
            Err(error) => return usage(&error),
        },
        ["help" | "-h" | "--help"] | [_, "-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => return usage("which command?"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(message)) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn usage(error: &str) -> ExitCode {
    eprintln!("xtask: {error}\n\n{USAGE}");
    ExitCode::from(2)
}

fn bench(options: &[&str]) -> Result<(), Failure> {
    needs::install(false)?;
    let bed = ["run", "--package", "sctptrace-tests", "--bin", "bed", "--", "bench"];
    cargo(&[&bed, options].concat())
}

fn docs(page: &str) -> Result<(), Failure> {
    needs::install(false)?;
    cargo(&["run", "--package", "sctptrace-tests", "--bin", "bed", "--", "docs", page])
}

/// Makes a page of a failover, which the test bed has recorded, and takes a picture of it.
fn picture() -> Result<(), Failure> {
    needs::install(false)?;
    let page = target_folder()?.join("picture.html");
    let mut command = cargo_command();
    command.args(["run", "--quiet", "--package", "sctptrace-report", "--", "--assoc", "57", "--output"]);
    command.arg(&page);
    for tool in ["rtt", "rto", "bufmon", "streamutil"] {
        command.arg(format!("sctptrace-report/tests/data/failover-{tool}.jsonl"));
    }
    run(command.current_dir(WORKSPACE))?;
    let profile = target_folder()?.join("picture-profile");
    remove(&profile)?;
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]);
    chromium.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    chromium.args(["--window-size=1000,1950", "--screenshot=docs/images/report.png"]);
    chromium.arg(format!("--user-data-dir={}", profile.display()));
    chromium.arg(format!("file://{}", page.display()));
    run(chromium.current_dir(WORKSPACE))
}

fn demo(tool: &str) -> Result<(), Failure> {
    needs::install(false)?;
    cargo(&["run", "--package", "sctptrace-tests", "--bin", "bed", "--", "demo", tool])
}
