//! The matrix: the tables of docs/kernels.md, of how many comparisons agree, by kernel, kind of hooks and command.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use sctptrace_tests::arch::Arch;
use sctptrace_tests::programs::TOOLS;

use crate::suite::{compared, writes};

/// The lines in docs/kernels.md before and after the table of an architecture.
const fn marks(arch: Arch) -> [&'static str; 2] {
    match arch {
        Arch::X86_64 => {
            ["<!-- matrix: written by `cargo xtask test --all --write` -->\n", "<!-- end of matrix -->\n"]
        }
        Arch::Aarch64 => [
            "<!-- arm64 matrix: written by `cargo xtask test --arch aarch64 --all --write` -->\n",
            "<!-- end of arm64 matrix -->\n",
        ],
    }
}
const KERNELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kernels.md");

/// A cell of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Kernel series.
    pub series: &'static str,
    /// Kind of hooks.
    pub hooks: &'static str,
    /// Command, without `sctp-`.
    pub tool: &'static str,
    /// True on a machine in [`Mode::Hardened`](sctptrace_tests::vm::Mode::Hardened), which no table has.
    pub is_hardened: bool,
}

/// The table of comparisons of one architecture.
pub struct Matrix {
    arch: Arch,
    /// How many comparisons each cell has, whether this run makes them or not.
    comparisons: BTreeMap<Cell, u32>,
    is_whole: bool,
}

impl Matrix {
    /// The table of these comparisons. `is_whole` is true if this run makes all of them.
    pub const fn new(arch: Arch, comparisons: BTreeMap<Cell, u32>, is_whole: bool) -> Self {
        Self { arch, comparisons, is_whole }
    }

    /// To be called when no comparison has failed. Compares the table with the one of docs/kernels.md; or writes it
    /// there, if that is asked for (`SCTPTRACE_WRITE`) and this run made all comparisons.
    ///
    /// # Errors
    /// Where docs/kernels.md has another table, or none.
    pub fn conclude(&self) -> Result<()> {
        let page = fs::read_to_string(KERNELS).context(KERNELS)?;
        let [begin, end] = marks(self.arch);
        let parts = page
            .split_once(begin)
            .and_then(|(before, rest)| rest.split_once(end).map(|(table, after)| (before, table, after)));
        let Some((before, old, after)) = parts else { bail!("docs/kernels.md has no place for the matrix") };
        let table = self.table();
        if writes() && self.is_whole {
            fs::write(KERNELS, [before, begin, &table, end, after].concat()).context(KERNELS)?;
        } else {
            ensure!(
                table == old,
                "docs/kernels.md has another matrix: run `cargo xtask test --all --write`\n{table}"
            );
        }
        Ok(())
    }

    fn table(&self) -> String {
        let heads = TOOLS.map(|tool| format!("sctp-{tool}")).join(" | ");
        let mut table = format!("| kernel | hooks | {heads} |\n|---|---|{}\n", "---|".repeat(TOOLS.len()));
        for &(series, hooks) in compared(self.arch) {
            let series = series.name();
            let cells = TOOLS.map(|tool| {
                let made = self
                    .comparisons
                    .get(&Cell { series, hooks, tool, is_hardened: false })
                    .copied()
                    .unwrap_or_default();
                made.to_string()
            });
            let _ = writeln!(table, "| {series} | {hooks} | {} |", cells.join(" | "));
        }
        table
    }
}
