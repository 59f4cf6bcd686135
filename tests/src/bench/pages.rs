//! The page that shows tables of the bench, and the baseline that later benches are compared with.

use std::fs;

use anyhow::{Context, Result};

use super::figures::Figures;
use super::tables::{summary, tables};

const PERFORMANCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md");
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench.json");

/// The lines before and after the page's tables, which the bench writes. The rest of the page is written by hand.
const TABLES: Marks = ["<!-- written by `cargo xtask bench --write` -->\n", "<!-- end of bench -->\n"];
/// The lines before and after the table at the page's top.
const SUMMARY: Marks =
    ["<!-- summary: written by `cargo xtask bench --write` -->\n", "<!-- end of summary -->\n"];

/// The line before a part of the page, and the line after it.
type Marks = [&'static str; 2];

/// Reads the baseline from `tests/bench.json`: the figures that the page shows.
///
/// # Errors
/// When `tests/bench.json` cannot be read.
pub fn baseline() -> Result<Figures> {
    let json = fs::read_to_string(BASELINE).context(BASELINE)?;
    serde_json::from_str(&json).context(BASELINE)
}

/// Writes the tables of `docs/performance.md`, and the baseline, `tests/bench.json`.
///
/// # Errors
/// When a file cannot be read or written, or the page lacks the marks around its tables.
pub fn write(figures: &Figures) -> Result<()> {
    let page = fs::read_to_string(PERFORMANCE).context(PERFORMANCE)?;
    fs::write(PERFORMANCE, renew(&page, figures).context(PERFORMANCE)?).context(PERFORMANCE)?;
    fs::write(BASELINE, serde_json::to_string_pretty(figures)? + "\n").context(BASELINE)
}

/// Returns the page with the tables of these figures.
fn renew(page: &str, figures: &Figures) -> Result<String> {
    let page = replace(page, SUMMARY, &summary(figures))?;
    replace(&page, TABLES, &tables(figures))
}

/// Returns the page with `tables` in place of the tables between the marks.
fn replace(page: &str, [begin, end]: Marks, tables: &str) -> Result<String> {
    let (before, rest) = page.split_once(begin).with_context(|| format!("no line {begin}"))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("no line {end}"))?;
    Ok([before, begin, tables, end, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let [begin, end] = TABLES;
        let page = |tables: &str| format!("by hand\n{begin}{tables}{end}| by | hand |\n");
        assert_eq!(replace(&page("| old |\n"), TABLES, "| new |\n").unwrap(), page("| new |\n"));
        assert!(replace("by hand\n", TABLES, "").is_err());
        assert!(replace(&format!("{end}{begin}"), TABLES, "").is_err());
    }

    /// The tables in the page are made from `tests/bench.json`, with which `cargo xtask bench --check`
    /// compares.
    #[test]
    fn the_page_shows_the_baseline() {
        let page = fs::read_to_string(PERFORMANCE).unwrap();
        let renewed = renew(&page, &baseline().unwrap()).unwrap();
        assert!(renewed == page, "{PERFORMANCE}: not the tables of tests/bench.json");
    }
}
