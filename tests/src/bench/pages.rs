//! The pages that show tables of the bench, and the baseline that later benches are compared with.

use std::fs;

use anyhow::{Context, Result};

use super::figures::Figures;
use super::tables::{summary, tables};

const PERFORMANCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md");
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench.json");

/// The line before a page's tables. The bench writes all between [`MARK`] and [`END_MARK`]; the rest of the
/// page is written by hand.
const MARK: &str = "<!-- written by `cargo xtask bench --write` -->\n";
const END_MARK: &str = "<!-- end of bench -->\n";

/// Reads the baseline from `tests/bench.json`: the figures that the pages show.
///
/// # Errors
/// When `tests/bench.json` cannot be read.
pub fn baseline() -> Result<Figures> {
    let json = fs::read_to_string(BASELINE).context(BASELINE)?;
    serde_json::from_str(&json).context(BASELINE)
}

/// Writes the tables of README and `docs/performance.md`, and the baseline, `tests/bench.json`.
///
/// # Errors
/// When a file cannot be read or written, or a page lacks the marks around its tables.
pub fn write(figures: &Figures) -> Result<()> {
    for (path, tables) in tables_of_pages(figures) {
        let page = fs::read_to_string(path).context(path)?;
        fs::write(path, replace(&page, &tables).context(path)?).context(path)?;
    }
    fs::write(BASELINE, serde_json::to_string_pretty(figures)? + "\n").context(BASELINE)
}

fn tables_of_pages(figures: &Figures) -> [(&'static str, String); 2] {
    [(PERFORMANCE, tables(figures)), (README, summary(figures))]
}

/// Returns the page with `tables` in place of the tables between its marks.
fn replace(page: &str, tables: &str) -> Result<String> {
    let (before, rest) = page.split_once(MARK).context("no mark where tables begin")?;
    let (_, after) = rest.split_once(END_MARK).context("no mark where tables end")?;
    Ok([before, MARK, tables, END_MARK, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = |tables: &str| format!("by hand\n{MARK}{tables}{END_MARK}| by | hand |\n");
        assert_eq!(replace(&page("| old |\n"), "| new |\n").unwrap(), page("| new |\n"));
        assert!(replace("by hand\n", "").is_err());
        assert!(replace(&format!("{END_MARK}{MARK}"), "").is_err());
    }

    /// The tables in the pages are made from `tests/bench.json`, with which `cargo xtask bench --check`
    /// compares.
    #[test]
    fn pages_show_the_baseline() {
        for (path, tables) in tables_of_pages(&baseline().unwrap()) {
            let page = fs::read_to_string(path).unwrap();
            assert!(replace(&page, &tables).unwrap() == page, "{path}: not the tables of tests/bench.json");
        }
    }
}
