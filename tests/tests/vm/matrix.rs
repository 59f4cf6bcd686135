//! Which comparisons agreed, by kernel, rung and command: the table in README.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use sctptrace_tests::arch::Arch;
use sctptrace_tests::programs::TOOLS;

use crate::suite::{compared, writes};

/// What the table stands between.
const fn marks(arch: Arch) -> [&'static str; 2] {
    match arch {
        Arch::X86_64 => {
            ["<!-- matrix: written by `cargo xtask test --write` -->\n", "<!-- end of matrix -->\n"]
        }
        Arch::Aarch64 => [
            "<!-- arm64 matrix: written by `cargo xtask test --arch aarch64 --write` -->\n",
            "<!-- end of arm64 matrix -->\n",
        ],
    }
}
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

/// A cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Kernel series.
    pub series: &'static str,
    /// Rung of the hook ladder.
    pub rung: &'static str,
    /// Command, without `sctp-`.
    pub tool: &'static str,
}

/// The table.
pub struct Matrix {
    arch: Arch,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    agreed: BTreeMap<Cell, u32>,
    incomplete: bool,
}

impl Matrix {
    /// An empty one.
    pub fn new(arch: Arch) -> Self {
        Self { arch, counts: Mutex::default() }
    }

    /// A comparison agreed.
    pub fn agreed(&self, cell: Cell) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).agreed.entry(cell).or_default() += 1;
    }

    /// Some comparisons are not run.
    pub fn left_out(&self) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).incomplete = true;
    }

    /// Compare with the table in README, or write it there; nothing if some comparisons were left out.
    ///
    /// # Errors
    /// Where README has another table, or none.
    pub fn conclude(&self) -> Result<()> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.incomplete {
            return Ok(());
        }
        let readme = fs::read_to_string(README).context("cannot read README.md")?;
        let [begin, end] = marks(self.arch);
        let parts = readme
            .split_once(begin)
            .and_then(|(before, rest)| rest.split_once(end).map(|(table, after)| (before, table, after)));
        let Some((before, old, after)) = parts else { bail!("README.md has no place for the matrix") };
        let table = counts.table(self.arch);
        if writes() {
            fs::write(README, [before, begin, &table, end, after].concat())
                .context("cannot write README.md")?;
        } else {
            ensure!(
                table == old,
                "README.md has another matrix: run `cargo xtask test` with `--write`\n{table}"
            );
        }
        Ok(())
    }
}

impl Counts {
    fn table(&self, arch: Arch) -> String {
        let heads = TOOLS.map(|tool| format!("sctp-{tool}")).join(" | ");
        let mut table = format!("| kernel | hooks | {heads} |\n|---|---|{}\n", "---|".repeat(TOOLS.len()));
        for &(series, rung) in compared(arch) {
            let series = series.name();
            let cells = TOOLS.map(|tool| {
                let agreed = self.agreed.get(&Cell { series, rung, tool }).copied().unwrap_or_default();
                agreed.to_string()
            });
            let _ = writeln!(table, "| {series} | {rung} | {} |", cells.join(" | "));
        }
        table
    }
}
