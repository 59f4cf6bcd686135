//! Figures as Markdown.

use std::fmt::Write as _;

use super::figures::Figures;
use super::scenarios::{
    BUNDLED, FLOORS, FORMATS, GROWTH, Growth, IDLE, TRANSFERS, Tracers, Transfer, tracers,
};
use crate::programs::TOOLS;

/// What the Python scripts cost on this bed, measured elsewhere: kernel side and own process per 100 B chunk, start,
/// peak memory in MB, and how many of the events they saw.
const SCRIPTS: [(&str, &str, &str, &str, &str, &str); 5] = [
    ("rtt", "2,156", "19,515", "13.1 G", "240", "13.7 %"),
    ("rto", "834", "-", "12.7 G", "241", "11.9 %"),
    ("bufmon", "6,765", "-", "12.7 G", "241", "9.5 %"),
    ("jitter", "3,684", "-", "25.0 G", "255", "6.7 %"),
    ("streamutil", "2,275", "-", "12.7 G", "241", "8.9 %"),
];

/// The kernel side's goals per 100 B chunk with CSV: at most, and better.
const GOALS: [(&str, f64, f64); 5] = [
    ("rtt", 800.0, 500.0),
    ("rto", 150.0, 80.0),
    ("bufmon", 900.0, 500.0),
    ("jitter", 450.0, 320.0),
    ("streamutil", 450.0, 320.0),
];

/// The commands beside the scripts, as Markdown: the worst transfer for a tracer, with CSV.
pub(super) fn comparison(figures: &Figures) -> String {
    let first = BUNDLED.name;
    let scaled = |name: &str, by: f64, digits: usize| {
        figures.get(name).map_or("-".to_owned(), |value| format!("{:.digits$}", value / by))
    };
    let mut text = String::from(
        "| | per chunk, kernel side | of the chunks or events it sees | start, G | peak memory, MB |\n|---|---|---|---|---|\n",
    );
    for (tool, script, _, start, peak, seen) in SCRIPTS {
        let start = start.trim_end_matches(" G");
        let all = figures.get(&format!("{tool} CSV: {first}: complaints")) == Some(&0.0);
        let _ = writeln!(
            text,
            "| `sctp-{tool}` (`sctp_{tool}.py`) | {} ({script}) | {} ({seen}) | {} ({start}) | {} ({peak}) |",
            scaled(&format!("{tool} CSV: {first}: kernel"), 1.0, 0),
            if all { "all" } else { "not all" },
            scaled(&format!("{tool} CSV: start"), 1e9, 2),
            scaled(&format!("{tool} CSV: peak"), 1e6, 1),
        );
    }
    text
}

/// The figures as Markdown.
pub fn tables(figures: &Figures) -> String {
    let get = |name: &str| figures.get(name).copied();
    let number = |name: &str| get(name).map_or("-".to_owned(), |value| format!("{value:.0}"));
    let scaled = |name: &str, by: f64| get(name).map_or("-".to_owned(), |value| format!("{:.1}", value / by));
    let first = BUNDLED.name;
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    };
    let head = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let rule = |columns: usize| vec!["---".to_owned(); columns];

    line(&head(&["per 100 B chunk", "the script", "sees", "at most", "goal", "CSV", "text", "JSON"]));
    line(&rule(8));
    for ((tool, script, _, _, _, seen), (_, most, goal)) in SCRIPTS.iter().zip(GOALS) {
        let mut row = head(&[tool, script, seen]);
        row.extend([most, goal].map(|goal| format!("{goal:.0}")));
        row.extend(FORMATS.map(|(form, _)| number(&format!("{tool} {form}: {first}: kernel"))));
        line(&row);
    }
    line(&[]);
    line(&head(&["own process", "the script, per chunk", "CSV", "text", "JSON"]));
    line(&rule(5));
    for (tool, _, script, ..) in SCRIPTS {
        let mut row = head(&[tool, script]);
        row.extend(FORMATS.map(|(form, _)| number(&format!("{tool} {form}: {first}: own"))));
        line(&row);
    }
    line(&[]);
    let names =
        ["", "start of the script", "CSV, M", "text, M", "JSON, M", "peak of the script, MB", "peak, MB"];
    line(&head(&names));
    line(&rule(names.len()));
    for (tool, _, _, start, peak, _) in SCRIPTS {
        let mut row = head(&[tool, start]);
        row.extend(FORMATS.map(|(form, _)| scaled(&format!("{tool} {form}: start"), 1e6)));
        row.extend([peak.to_owned(), scaled(&format!("{tool} CSV: peak"), 1e6)]);
        line(&row);
    }
    line(&[]);
    line(&head(&["", "tables and programs with CSV, MB", "with JSON, MB", "binary, MB"]));
    line(&rule(4));
    for tool in TOOLS {
        let of = |name: &str| scaled(&format!("{tool}{name}"), 1e6);
        line(&[tool.to_owned(), of(" CSV: kernel memory"), of(" JSON: kernel memory"), of(": binary")]);
    }
    line(&[]);
    let mut names = head(&["kernel side, % of all work"]);
    names.extend(TRANSFERS.map(|transfer| transfer.name.to_owned()));
    line(&names);
    line(&rule(names.len()));
    for Tracers { name: mode, .. } in &tracers(true) {
        let mut row = vec![mode.clone()];
        row.extend(TRANSFERS.map(|Transfer { name, .. }| {
            let base = get(&format!("none: {name}: instructions per chunk"));
            let kernel = get(&format!("{mode}: {name}: kernel"));
            base.zip(kernel).map_or("-".to_owned(), |(base, kernel)| format!("{:.1}", 100.0 * kernel / base))
        }));
        line(&row);
    }
    line(&[]);
    line(&head(&["a program that does nothing, on a hook reached 2.2 times per chunk", "per chunk"]));
    line(&rule(2));
    for kind in FLOORS {
        line(&[kind.to_owned(), number(&format!("floor: {kind}"))]);
    }
    line(&[]);
    line(&head(&["program, with CSV", "runs per chunk", "per run, with the kernel's own counting of it"]));
    line(&rule(3));
    for (name, runs) in figures {
        let Some(program) = name.strip_suffix(": runs per chunk") else { continue };
        let (runs, each) = (format!("{runs:.3}"), number(&format!("{program}: per run")));
        line(&[program.to_owned(), runs, each]);
    }
    for Growth { of, per, steps } in &GROWTH {
        line(&[]);
        let mut names = vec![format!("per {per}, with {of}")];
        names.extend(steps.iter().map(|step| step.size.to_string()));
        line(&names);
        line(&rule(4));
        for tool in TOOLS {
            let mut row = vec![tool.to_owned()];
            row.extend(steps.iter().map(|step| number(&format!("{tool}: {} {of}: kernel", step.size))));
            line(&row);
        }
    }
    line(&[]);
    let mut names = vec!["own process, per tick without events".to_owned()];
    names.extend(IDLE.map(|idle| idle.name.to_owned()));
    line(&names);
    line(&rule(4));
    for tool in TOOLS {
        let mut row = vec![tool.to_owned()];
        row.extend(IDLE.map(|idle| number(&format!("{tool}: a tick, {}: own", idle.name))));
        line(&row);
    }
    text.replace("|  |\n", "\n")
}
