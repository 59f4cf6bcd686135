//! The pages that show tables of the bench, and the baseline that later benches are compared with.

use std::fs;

use anyhow::{Context, Result};

use super::figures::Figures;
use super::tables::{comparison, tables};

const PERFORMANCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md");
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench.json");

const MARK: &str = "<!-- written by `cargo xtask bench --write` -->\n";
const END_MARK: &str = "<!-- end of bench -->\n";

/// The figures that the pages show.
///
/// # Errors
/// When `tests/bench.json` cannot be read.
pub fn baseline() -> Result<Figures> {
    let json = fs::read_to_string(BASELINE).context(BASELINE)?;
    serde_json::from_str(&json).context(BASELINE)
}

/// Writes the tables of README and `docs/performance.md`, and the baseline.
///
/// # Errors
/// When a file cannot be read or written, or a page has no place for tables.
pub fn write(figures: &Figures) -> Result<()> {
    let page = fs::read_to_string(PERFORMANCE).context(PERFORMANCE)?;
    let (before, _) =
        page.split_once(MARK).with_context(|| format!("{PERFORMANCE} has no place for tables"))?;
    fs::write(PERFORMANCE, [before, MARK, "\n", &tables(figures)].concat()).context(PERFORMANCE)?;
    let page = fs::read_to_string(README).context(README)?;
    let (before, after) = page.split_once(MARK).context("README has no place for a table")?;
    let (_, after) = after.split_once(END_MARK).context("README's table has no end")?;
    fs::write(README, [before, MARK, &comparison(figures), END_MARK, after].concat()).context(README)?;
    fs::write(BASELINE, serde_json::to_string_pretty(figures)? + "\n").context(BASELINE)
}
