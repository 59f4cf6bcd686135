//! `cargo xtask test`: runs the steps of the test one after the other.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::files::{WORKSPACE, entries, target_folder};
use crate::run::{Failure, cargo, cargo_command, run};
use crate::{dist, needs};

/// The steps in the order in which they run, quick ones first.
const STEPS: [(&str, Step); 11] = [
    ("packages", |options| {
        needs::install(options.aarch64)?;
        // All crates are fetched here, so that the steps that compile need no network.
        ["Cargo.toml", FUZZ].into_iter().try_for_each(needs::fetch_crates)
    }),
    ("fmt", |_| {
        cargo(&["fmt", "--all", "--check"])?;
        cargo(&["fmt", "--manifest-path", FUZZ, "--check"])?;
        format_cases()
    }),
    ("clippy", |_| {
        clippy(&["--workspace", "--all-targets", "--all-features"])?;
        // In the workspace's target folder, crates that both workspaces use are not checked twice.
        let target = target_folder()?.display().to_string();
        clippy(&["--manifest-path", FUZZ, "--no-default-features", "--locked", "--target-dir", &target])
    }),
    ("doc", |_| {
        let mut doc = cargo_command();
        doc.args(["doc", "--workspace", "--no-deps", "--all-features", "--quiet"]);
        run(doc.env("RUSTDOCFLAGS", "--deny warnings"))
    }),
    ("clang-format", |_| clang_format()),
    ("deny", |_| deny()),
    ("unit", |_| cargo(&["test", "--workspace", "--quiet"])),
    ("build", |_| cargo(&["build", "--workspace", "--release", "--quiet"])),
    ("staging", |_| dist::check_staging()),
    ("dist", |_| dist()),
    ("vm", vm),
];

/// The manifest of the fuzz targets. They are a workspace of their own, as running them takes a nightly
/// toolchain (checking them does not).
const FUZZ: &str = "fuzz/Cargo.toml";

/// The kernels that VM tests boot.
const KERNELS: [&str; 6] = ["5.10", "6.1", "6.12", "7.3", "6.1rt", "6.12rt"];

type Step = fn(&Options) -> Result<(), Failure>;

/// How much to test.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Scope {
    /// Checks of some minutes: `--quick`.
    Quick,
    /// The checks that every change has to pass: the default.
    #[default]
    Ci,
    /// The whole matrix of kernels and hooks: `--all`.
    All,
}

impl Scope {
    /// The scope's name in `SCTPTRACE_SCOPE`, which the VM tests read.
    const fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Ci => "ci",
            Self::All => "all",
        }
    }
}

/// The flags: which steps and VM tests to run, and how.
#[derive(Default)]
pub struct Options {
    scope: Scope,
    timing: bool,
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
            match *flag {
                "--quick" => options.scope = Scope::Quick,
                "--all" => options.scope = Scope::All,
                "--timing" => options.timing = true,
                "--write" => options.write = true,
                _ => {
                    let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
                    options.set(flag, value)?;
                }
            }
        }
        // With --aarch64 only the VM tests are run for arm64, after the step that installs the packages they
        // need: all other steps would do the same as without the flag.
        if options.only.is_empty() && options.aarch64 {
            options.only.extend(["packages", "vm"].map(str::to_owned));
        }
        // VM tests that a flag chooses by kernel, case or architecture run even if the default scope leaves
        // them out.
        if options.scope == Scope::Ci
            && (options.kernel.is_some() || options.case.is_some() || options.aarch64)
        {
            options.scope = Scope::All;
        }
        // These flags concern only the VM tests, so no other step runs.
        if options.only.is_empty() && (options.kernel.is_some() || options.case.is_some() || options.write) {
            options.only.push("vm".to_owned());
        }
        if options.only.is_empty() {
            let steps = STEPS.iter().map(|(name, _)| *name).filter(|name| match options.scope {
                Scope::Quick => !["clippy", "doc", "deny", "build", "staging", "dist"].contains(name),
                // cargo-deny takes minutes to compile, and a unit test checks licences and sources, too.
                Scope::Ci => !["deny", "dist"].contains(name),
                // The step dist takes another quarter of an hour, more than half of it to install tools. So
                // it runs only if it is named.
                Scope::All => *name != "dist",
            });
            options.only.extend(steps.map(str::to_owned));
        }
        Ok(options)
    }

    /// Set the option of a flag that takes a value.
    fn set(&mut self, flag: &str, value: &str) -> Result<(), String> {
        match flag {
            "--only" if STEPS.iter().any(|(name, _)| *name == value) => self.only.push(value.to_owned()),
            "--only" => return Err(format!("no step is named {value}")),
            "--kernel" if KERNELS.contains(&value) => self.kernel = Some(value.to_owned()),
            "--kernel" => return Err(format!("no kernel {value}: choose from {}", KERNELS.join(", "))),
            "--arch" if ["x86_64", "aarch64"].contains(&value) => self.aarch64 = value == "aarch64",
            "--arch" => return Err(format!("no architecture {value}: choose from x86_64, aarch64")),
            "--case" => self.case = Some(value.to_owned()),
            _ => return Err(format!("unknown option {flag}")),
        }
        Ok(())
    }
}

/// Run the chosen steps. The first step that fails ends the run.
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

/// Check the format of the VM cases' files. `cargo fmt` does not find these, as a build script lists them as
/// modules.
fn format_cases() -> Result<(), Failure> {
    let cases = Path::new(WORKSPACE).join("tests/tests/vm/cases");
    let mut files = [entries(&cases)?, entries(&cases.join("all"))?].concat();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    run(Command::new("rustfmt").args(["--edition", "2024", "--check"]).args(files))
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

/// The step dist: make the packages and archives for this machine's architecture, and test the packages as
/// root or in CI. (`cargo xtask dist --check` makes those of all architectures, twice.)
fn dist() -> Result<(), Failure> {
    dist::make(&dist::Options { native: true, source: false, twice: false })?;
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
    // The VM tests are named <kernel>-<mode or hooks>/<case>. The case's text and `--skip` choose by parts of
    // that name.
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
    command.env("SCTPTRACE_SCOPE", options.scope.name());
    if options.timing {
        command.env("SCTPTRACE_TIMING", "1");
    }
    if options.write {
        command.env("SCTPTRACE_WRITE", "1");
    }
    run(&mut command)
}
