//! The test bed by hand: boots a kernel and runs shell snippets in it, measures costs, refreshes the
//! documentation.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use sctptrace_tests::arch::Arch;
use sctptrace_tests::kernel::{Kernel, Series};
use sctptrace_tests::vm::{Case, Mode, Vm};
use sctptrace_tests::{bench, docs, programs, sysroot, vm};

#[derive(Parser)]
#[command(about, version)]
struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Fetch a kernel into the cache.
    Fetch {
        /// Its series: 6.1, 6.12 or 7.3.
        series: String,
        /// Its architecture: x86_64 or aarch64.
        #[arg(long, default_value = "x86_64")]
        arch: String,
    },
    /// Fetch the libraries of an architecture into the cache, and say where they are.
    Sysroot {
        /// The architecture: aarch64.
        arch: String,
    },
    /// Run snippets as cases, and leave their files in target/bed/run/.
    Run {
        /// The snippets.
        #[arg(required = true)]
        scripts: Vec<PathBuf>,
        /// The kernel's series.
        #[arg(long, default_value = "6.12")]
        kernel: String,
        /// Two CPUs in real time instead of one that counts instructions.
        #[arg(long)]
        smp: bool,
        /// The guest's architecture: x86_64 or aarch64.
        #[arg(long, default_value = "x86_64")]
        arch: String,
    },
    /// Measure what the commands cost.
    Bench {
        /// Only the two workloads of small messages, once, with CSV only; prints the figures.
        #[arg(long)]
        quick: bool,
        /// Only cases whose name contains this: signalling, bulk, full, associations, large or growth. With --write and
        /// --check the other figures are those of the baseline.
        #[arg(long, default_value = "", hide_default_value = true)]
        only: String,
        /// How many times to measure each set of commands. By default: as often as each transfer says, one to five
        /// times.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: Option<u32>,
        /// Write the tables of docs/performance.md, and the baseline, tests/bench.json.
        #[arg(long, conflicts_with = "quick")]
        write: bool,
        /// Measure nothing: write the tables anew, of the baseline.
        #[arg(long, conflicts_with_all = ["quick", "only", "write", "check"])]
        tables: bool,
        /// Fail if something is more than a tenth above the baseline.
        #[arg(long, conflicts_with_all = ["quick", "write"])]
        check: bool,
    },
    /// Run the commands that README and docs/ show, and write there what they print.
    Docs {
        /// Only pages whose name contains this.
        #[arg(default_value = "")]
        page: String,
    },
    /// Show a command on live traffic over a lossy path.
    Demo {
        /// The command.
        #[arg(default_value = "sctp-rtt")]
        command: String,
    },
}

/// The shell snippet of the demonstration, in which the command replaces `COMMAND`.
const DEMO: &str = include_str!("../../guest/demo.sh");

fn main() -> Result<ExitCode> {
    match Flags::parse().action {
        Action::Fetch { series, arch } => {
            let kernel = Kernel::get(Arch::from_name(&arch)?, Series::from_name(&series)?)?;
            println!("{} in {}", kernel.release, kernel.vmlinuz.display());
            Ok(ExitCode::SUCCESS)
        }
        Action::Sysroot { arch } => {
            println!("{}", sysroot::get(Arch::from_name(&arch)?)?.display());
            Ok(ExitCode::SUCCESS)
        }
        Action::Run { scripts, kernel, smp, arch } => {
            let cases = scripts
                .iter()
                .map(|script| {
                    let text = fs::read_to_string(script)
                        .with_context(|| format!("cannot read {}", script.display()))?;
                    let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    Ok(Case::new(&name, &text))
                })
                .collect::<Result<Vec<_>>>()?;
            let mode = if smp { Mode::Smp } else { Mode::Icount };
            let code = run(
                "run",
                (Arch::from_name(&arch)?, Series::from_name(&kernel)?),
                mode,
                &cases,
                vm::to_stderr,
            )?;
            eprintln!("results are in {}", vm::results_folder().join("run").display());
            Ok(code)
        }
        Action::Bench { tables: true, .. } => bench::write(&bench::baseline()?).map(|()| ExitCode::SUCCESS),
        Action::Bench { quick: true, only, rounds, .. } => {
            for (name, value) in bench::run(true, &only, rounds)? {
                println!("{name}: {value:.1}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Bench { only, rounds, write, check, .. } => measure(&only, rounds, write, check),
        Action::Docs { page } => docs::refresh(&page).map(|()| ExitCode::SUCCESS),
        Action::Demo { command } => {
            let cases = [Case::new("demo", &DEMO.replace("COMMAND", &command))];
            let show = |line: &str| {
                // A closed standard output is no reason to stop.
                if !line.starts_with("bed: ") {
                    writeln!(io::stdout(), "{line}").ok();
                }
            };
            run("demo", (Arch::X86_64, Series::V6_12), Mode::Smp, &cases, show)
        }
    }
}

fn measure(only: &str, rounds: Option<u32>, write: bool, check: bool) -> Result<ExitCode> {
    let mut figures = if only.is_empty() { bench::Figures::new() } else { bench::baseline()? };
    figures.extend(bench::run(false, only, rounds)?);
    let tables = bench::tables(&figures);
    println!("{tables}");
    if write {
        bench::write(&figures)?;
    }
    if check {
        let over = bench::over(&figures, &bench::baseline()?);
        over.iter().for_each(|line| eprintln!("{line}"));
        return Ok(if over.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    Ok(ExitCode::SUCCESS)
}

fn run(
    name: &str,
    (arch, series): (Arch, Series),
    mode: Mode,
    cases: &[Case],
    live: impl FnMut(&str),
) -> Result<ExitCode> {
    let machine =
        Vm { name: name.to_owned(), arch, series, mode, programs: programs::build(arch)?, files: Vec::new() };
    let _lock = vm::lock()?;
    let results = machine.run(cases, live)?;
    let mut code = ExitCode::SUCCESS;
    for case in cases {
        if let Err(error) = results.case(&case.name) {
            eprintln!("{error:#}");
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
