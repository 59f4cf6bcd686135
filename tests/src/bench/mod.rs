//! Measures what the commands cost, in instructions: under icount, one nanosecond of the guest's time is one
//! instruction.
//!
//! The steps, each a module: `scenarios` lists the transfers and commands to measure, `guest` makes scripts
//! for the guest, `measured` reads the files that the scripts leave, `figures` computes figures from these
//! files, `tables` makes tables of the figures, and `pages` writes the tables into the documentation.

mod figures;
mod guest;
mod limits;
mod measured;
mod pages;
mod scenarios;
mod tables;

use std::fs;
use std::path::PathBuf;
use std::thread;

use anyhow::{Result, bail, ensure};

pub use self::figures::{Figures, over};
pub use self::pages::{baseline, write};
pub use self::tables::tables;

use self::guest::GROWN;
use self::scenarios::{CSV, TRANSFERS, WORKLOADS};
use crate::arch::Arch;
use crate::kernel::Series;
use crate::programs::{self, TOOLS};
use crate::vm::{self, Case, Mode, Vm, to_stderr};

/// Runs the measurements whose case's name contains `only`, and returns their figures. With `quick`: of these only the
/// workloads that are measured with every form of output, once, with CSV. `rounds`: how often each set of commands is
/// measured in a transfer; `None`: as the transfer says.
///
/// # Errors
/// When the build, a virtual machine or a measurement fails, or no case has such a name.
pub fn run(quick: bool, only: &str, rounds: Option<u32>) -> Result<Figures> {
    let mut transfers = if quick { WORKLOADS.to_vec() } else { TRANSFERS.to_vec() };
    transfers.retain(|transfer| transfer.case.contains(only));
    for transfer in &mut transfers {
        if quick {
            (transfer.rounds, transfer.formats) = (1, &[CSV]);
        }
        transfer.rounds = rounds.unwrap_or(transfer.rounds);
    }
    let programs = programs::build(Arch::X86_64)?;
    let _lock = vm::lock()?;
    let mut cases: Vec<Case> = transfers.iter().map(guest::transfer).collect();
    if !quick && GROWN.contains(only) {
        cases.push(guest::growth());
    }
    ensure!(!cases.is_empty(), "no case of the bench has {only} in its name");
    let folders = run_each(&cases, &programs)?;
    let mut figures = Figures::new();
    for (transfer, folder) in transfers.iter().zip(&folders) {
        figures::of_transfer(transfer, folder, &mut figures)?;
    }
    if let Some(folder) = folders.get(transfers.len()) {
        figures::of_growth(folder, &mut figures)?;
    }
    for program in &programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        if let Some(tool) = name.strip_prefix("sctp-").filter(|tool| TOOLS.contains(tool)) {
            figures.insert(format!("{tool}: binary"), fs::metadata(program)?.len() as f64);
        }
    }
    Ok(figures)
}

/// Runs each case on a virtual machine of its own, all at once, as they take about the same time. Returns the
/// cases' folders of results.
fn run_each(cases: &[Case], programs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let run = |case: &Case| {
        let machine = Vm {
            name: format!("bench-{}", case.name),
            arch: Arch::X86_64,
            series: Series::V6_12,
            mode: Mode::Icount,
            programs: programs.to_vec(),
            files: Vec::new(),
        };
        machine.run(std::slice::from_ref(case), to_stderr)?.case(&case.name)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = cases.iter().map(|case| scope.spawn(move || run(case))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
            .collect()
    })
}
