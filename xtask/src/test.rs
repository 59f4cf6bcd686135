//! `cargo xtask test`: step by step, with a line for each.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::files::{WORKSPACE, entries, target_folder};
use crate::run::{Failure, cargo, cargo_command, run};
use crate::{dist, needs};

/// The steps, in their order: the quick ones first.
const STEPS: [(&str, Step); 9] = [
    ("packages", |options| {
        needs::install(options.aarch64)?;
        // The next steps can do without a network.
        ["Cargo.toml", FUZZ].into_iter().try_for_each(needs::fetch_crates)
    }),
    ("fmt", |_| {
        cargo(&["fmt", "--all", "--check"])?;
        cargo(&["fmt", "--manifest-path", FUZZ, "--check"])
    }),
    ("clippy", |_| {
        clippy(&["--workspace", "--all-targets", "--all-features"])?;
        // What it shares with the workspace is not built again.
        let target = target_folder()?.display().to_string();
        clippy(&["--manifest-path", FUZZ, "--no-default-features", "--locked", "--target-dir", &target])
    }),
    ("clang-format", |_| clang_format()),
    ("deny", |_| deny()),
    ("unit", |_| cargo(&["test", "--workspace", "--quiet"])),
    ("build", |_| cargo(&["build", "--workspace", "--release", "--quiet"])),
    ("dist", |_| dist()),
    ("vm", vm),
];

/// The fuzz targets: a workspace of their own, as they take a nightly toolchain to run, though not to check.
const FUZZ: &str = "fuzz/Cargo.toml";

/// The kernels that VM tests boot.
const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "7.3"];

type Step = fn(&Options) -> Result<(), Failure>;

/// What to test.
#[derive(Default)]
pub struct Options {
    only: Vec<String>,
    kernel: Option<String>,
    case: Option<String>,
    write: bool,
    aarch64: bool,
}

impl Options {
    /// Read the flags.
    pub fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(flag) = arguments.next() {
            if *flag == "--write" {
                options.write = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match *flag {
                "--only" if STEPS.iter().any(|(name, _)| name == value) => {
                    options.only.push((*value).to_owned())
                }
                "--only" => return Err(format!("no step is named {value}")),
                "--kernel" if KERNELS.contains(value) => options.kernel = Some((*value).to_owned()),
                "--kernel" => return Err(format!("no kernel {value}: choose from {}", KERNELS.join(", "))),
                "--arch" if ["x86_64", "aarch64"].contains(value) => options.aarch64 = *value == "aarch64",
                "--arch" => return Err(format!("no architecture {value}: choose from x86_64, aarch64")),
                "--case" => options.case = Some((*value).to_owned()),
                _ => return Err(format!("unknown option {flag}")),
            }
        }
        // Nothing but VM tests differs there.
        if options.only.is_empty() && options.aarch64 {
            options.only.extend(["packages", "vm"].map(str::to_owned));
        }
        // A choice among the VM tests means these.
        if options.only.is_empty() && (options.kernel.is_some() || options.case.is_some() || options.write) {
            options.only.push("vm".to_owned());
        }
        // Packages are another quarter of an hour, and more than half of it installs tools: only when asked for.
        if options.only.is_empty() {
            let others = STEPS.iter().map(|(name, _)| *name).filter(|name| *name != "dist");
            options.only.extend(others.map(str::to_owned));
        }
        Ok(options)
    }
}

/// Run the steps; the first that fails ends it.
pub fn run_steps(options: &Options) -> Result<(), Failure> {
    let steps: Vec<_> =
        STEPS.into_iter().filter(|(name, _)| options.only.iter().any(|only| only == name)).collect();
    let components: Vec<_> =
        steps.iter().map(|(name, _)| *name).filter(|name| ["fmt", "clippy"].contains(name)).collect();
    needs::components(&components)?;
    let begin = Instant::now();
    for (index, (name, step)) in steps.iter().enumerate() {
        println!("[{}/{}] {name} ...", index + 1, steps.len());
        let start = Instant::now();
        step(options).map_err(|Failure(message)| Failure(format!("{name} failed: {message}")))?;
        println!("[{}/{}] {name}: ok, {} s", index + 1, steps.len(), start.elapsed().as_secs());
    }
    let names: Vec<_> = steps.iter().map(|(name, _)| *name).collect();
    println!("all well in {} s: {}", begin.elapsed().as_secs(), names.join(", "));
    Ok(())
}

fn clippy(options: &[&str]) -> Result<(), Failure> {
    run(cargo_command().args(["clippy", "--quiet"]).args(options).args(["--", "--deny", "warnings"]))
}

fn clang_format() -> Result<(), Failure> {
    let mut sources = Vec::new();
    for folder in
        ["probes/src/bpf", "tests/src/bpf", "native/c", "native/c/stubs/bpf", "native/c/stubs/linux"]
    {
        sources.extend(entries(&Path::new(WORKSPACE).join(folder))?);
    }
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c" || extension == "h"));
    run(Command::new("clang-format").args(["--dry-run", "-Werror"]).args(sources))
}

fn deny() -> Result<(), Failure> {
    needs::install_tool("deny", "^0.20", "")?;
    cargo(&["deny", "--all-features", "check", "licenses", "bans", "sources"])
}

/// What is handed out, for this machine's architecture: `cargo xtask dist --check` makes all of it, twice.
fn dist() -> Result<(), Failure> {
    dist::make(&dist::Options { native: true, twice: false })?;
    if !needs::is_root() && env::var_os("CI").is_none() {
        println!("SKIPPED: to install the packages in small systems takes root");
        return Ok(());
    }
    let tests = ["test", "--quiet", "--package", "sctptrace-tests", "--features", "dist", "--test", "dist"];
    cargo(&tests)
}

fn vm(options: &Options) -> Result<(), Failure> {
    let mut command = cargo_command();
    command.args([
        "test",
        "--quiet",
        "--package",
        "sctptrace-tests",
        "--features",
        "vm",
        "--test",
        "vm",
        "--",
    ]);
    // Trials are named <kernel>-<mode or rung>/<case>.
    command.args(&options.case);
    if let Some(kernel) = &options.kernel {
        for other in KERNELS.iter().filter(|other| *other != kernel) {
            command.args(["--skip", &format!("{other}-")]);
        }
    }
    if options.aarch64 {
        needs::install(true)?;
        command.env("SCTPTRACE_ARCH", "aarch64");
    }
    if options.write {
        command.env("SCTPTRACE_WRITE", "1");
    }
    run(&mut command)
}
