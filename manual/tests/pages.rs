//! Man pages and help are complete and well formed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use cli::{Field, Table};
use sctptrace_manual::{Page, REPORT, pages, report_command, report_roff, write_report};

#[path = "../../xtask/src/commands.rs"]
mod commands;

#[test]
fn every_command_has_a_page_and_a_row_in_readme() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut names = commands::names(&workspace).unwrap();
    let readme = fs::read_to_string(workspace.join("README.md")).unwrap();
    for name in &names {
        assert!(
            readme.contains(&format!("\n| `{name}` |")),
            "README's table of commands has no row for {name}"
        );
    }
    names.sort();
    let pages = pages();
    assert_eq!(names, pages.iter().map(Page::name).collect::<Vec<_>>(), "manual/src/lib.rs lists the pages");
}

/// The text of a page in one line, without roff's escapes. Macros such as `.TP` stay.
fn plain(page: &Page) -> String {
    let roff = page.roff().unwrap();
    let text = roff.replace("\\-", "-").replace("\\(aq", "'").replace("\\*(Aq", "'");
    text.replace("\\fB", "")
        .replace("\\fI", "")
        .replace("\\fR", "")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn every_flag_of_the_help_is_in_the_page() {
    for page in pages() {
        let (text, help) = (plain(&page), page.command().clone().render_long_help().to_string());
        let flags: Vec<_> = help
            .lines()
            .map(str::trim_start)
            .filter(|line| line.starts_with('-'))
            .flat_map(|line| line.split([',', ' ']).filter(|word| word.starts_with('-')))
            .collect();
        assert!(flags.len() > 20, "{flags:?}");
        for flag in flags {
            assert!(text.contains(flag), "{}: {flag} is not in the page", page.name());
        }
        for help in page
            .command()
            .get_arguments()
            .filter(|flag| !flag.is_hide_set())
            .map(|flag| flag.get_long_help().or(flag.get_help()))
        {
            let help = help.unwrap().to_string();
            assert!(text.contains(&help), "{}: {help}", page.name());
        }
    }
}

#[test]
fn every_column_is_in_the_page() {
    for page in pages() {
        let text = plain(&page);
        let columns: Vec<_> = page.tables().iter().flat_map(|table| &table.fields).collect();
        assert!(columns.len() > 15, "{}", page.name());
        for Field { name, doc, .. } in columns {
            assert!(!doc.is_empty() && text.contains(&format!(".TP .B {name} {doc}")), "{name}");
        }
    }
}

#[test]
fn a_screen_shows_columns_that_there_are_and_sorts_by_those_it_shows() {
    for page in pages() {
        let live = page.live();
        assert!((6..=10).contains(&live.columns.len()), "{}", page.name());
        assert!(live.columns.contains(&"assoc_id") && !live.worst.is_empty(), "{}", page.name());
        for name in live.columns {
            let of_table =
                page.tables().iter().filter(|table| table.objects.is_empty() || is_statistics(table));
            let found = of_table.flat_map(|table| &table.fields).any(|field| field.name == *name);
            assert!(found, "{}: {name}", page.name());
            assert_eq!(live.columns.iter().filter(|other| *other == name).count(), 1, "{name}");
        }
        for name in live.worst.iter().chain(live.low) {
            assert!(live.columns.contains(name), "{}: {name}", page.name());
        }
    }
}

fn is_statistics(table: &Table) -> bool {
    table.objects.contains(&"interval")
}

#[test]
fn short_help_fits_a_screen() {
    for page in pages() {
        let help = page.command().clone().term_width(80).render_help().to_string();
        assert!(help.lines().count() <= 24, "{}: {} lines:\n{help}", page.name(), help.lines().count());
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    }
}

#[test]
fn every_page_has_its_parts_and_examples() {
    for page in pages() {
        let roff = page.roff().unwrap();
        for part in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "OUTPUT", "HISTOGRAMS", "EXAMPLES"]
            .into_iter()
            .chain(["DIFFERENCES FROM THE SCRIPT", "LIMITS", "EXIT STATUS", "FILES", "SEE ALSO"])
        {
            assert!(roff.contains(&format!("\n.SH {part}\n")), "{}: no {part}", page.name());
        }
        assert!(page.examples().unwrap().len() >= 4);
        assert!(!roff.contains('@'), "{}: a place was not filled in", page.name());
    }
}

/// mandoc and groff read every page without a warning, and each shell has completions. `cargo xtask test`
/// installs mandoc and groff.
#[test]
fn pages_are_well_formed() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = vec![format!("{REPORT}.1")];
    write_report(dir.path()).unwrap();
    for page in pages() {
        page.write(dir.path()).unwrap();
        files.push(format!("{}.8", page.name()));
    }
    for path in files.iter().map(|file| dir.path().join("man").join(file)) {
        for linter in
            [&["mandoc", "-T", "lint", "-W", "warning"][..], &["groff", "-man", "-Tutf8", "-ww", "-z"]]
        {
            let output = Command::new(linter[0]).args(&linter[1..]).arg(&path).output().expect(linter[0]);
            let said = [output.stdout, output.stderr].concat();
            assert!(said.is_empty() && output.status.success(), "{}", String::from_utf8_lossy(&said));
        }
    }
    for (name, flag) in [("sctp-rtt", "hist"), (REPORT, "anonymous")] {
        for path in [format!("bash/{name}"), format!("fish/{name}.fish"), format!("zsh/_{name}")] {
            let script = fs::read_to_string(dir.path().join("completions").join(&path)).unwrap();
            assert!(script.contains(flag), "{path}: {script}");
        }
    }
}

/// The page of `sctptrace-report` has each of its flags.
#[test]
fn every_flag_of_the_report_is_in_its_page() {
    let roff = report_roff().unwrap().replace("\\-", "-");
    for flag in report_command().get_arguments().filter_map(|flag| flag.get_long()) {
        assert!(roff.contains(&format!("--{flag}")), "{flag}");
    }
}

/// The table of docs/metrics.md has each metric that a command has, and no other.
#[test]
fn every_metric_is_in_the_documentation() {
    let pages = pages();
    let mut expected = BTreeMap::new();
    for page in &pages {
        for metric in page.metrics() {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!(" ({})", labels.join(", ")) };
            let row = (format!("`{}`{labels}", metric.name), metric.kind, metric.help);
            expected.entry(row).or_insert_with(Vec::new).push(page.name());
        }
    }
    let mut expected: Vec<_> = expected
        .into_iter()
        .map(|((name, kind, help), commands)| {
            let command = if commands.len() == pages.len() { "all" } else { commands[0] };
            format!("| {name} | {kind} | {command} | {help} |")
        })
        .collect();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let docs = fs::read_to_string(docs).unwrap();
    let mut rows: Vec<_> =
        docs.lines().filter(|line| line.starts_with("| `sctp")).map(str::to_owned).collect();
    expected.sort();
    rows.sort();
    assert_eq!(rows, expected);
    // Each metric is in the command's page, too.
    for page in &pages {
        let text = plain(page);
        assert!(page.metrics().iter().all(|metric| text.contains(metric.help)), "{}", page.name());
    }
}
