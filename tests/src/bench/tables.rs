//! Makes Markdown tables of figures.

use super::figures::Figures;
use super::scenarios::{BUNDLED, FLOORS, FORMATS, GROWTH, Growth, IDLE, TRANSFERS, tracers};
use crate::programs::TOOLS;

/// By command: the highest acceptable cost of the kernel side, and the goal, in instructions per chunk of
/// [`BUNDLED`] with CSV.
const GOALS: [(&str, f64, f64); 5] = [
    ("rtt", 800.0, 500.0),
    ("rto", 150.0, 80.0),
    ("bufmon", 900.0, 500.0),
    ("jitter", 450.0, 320.0),
    ("streamutil", 450.0, 320.0),
];

/// All tables of `docs/performance.md`; README has only the table of `summary`.
pub fn tables(figures: &Figures) -> String {
    let mut all = vec![
        kernel_side(figures),
        own_process(figures),
        starts(figures),
        memory(figures),
        shares(figures),
        floors(figures),
        programs(figures),
    ];
    all.extend(GROWTH.iter().map(|growth| grown(figures, growth)));
    all.push(idle(figures));
    all.join("\n")
}

/// The table of README: the cost of the kernel side with CSV, for each command and for all five together.
pub(super) fn summary(figures: &Figures) -> String {
    let of = BUNDLED.name;
    let mut table =
        Table::new([&format!("{of}, bundled"), "kernel side, per chunk", "% of all work", "sees"]);
    for tracers in tracers(true) {
        let name = &tracers.name;
        let all = figures.get(&format!("{name}: {of}: complaints")) == Some(&0.0);
        let commands = name.trim_end_matches(" CSV");
        table.row([
            if TOOLS.contains(&commands) { format!("`sctp-{commands}`") } else { commands.to_owned() },
            number(figures, &format!("{name}: {of}: kernel"), 1.0, 0),
            share(figures, name, of),
            if all { "all" } else { "not all" }.to_owned(),
        ]);
    }
    table.text
}

fn kernel_side(figures: &Figures) -> String {
    let of = BUNDLED.name;
    let first = format!("{of}, bundled: kernel side, per chunk");
    let mut table = Table::new([&first, "at most", "goal", "CSV", "text", "JSON"]);
    for (tool, most, goal) in GOALS {
        let mut row = vec![tool.to_owned(), format!("{most:.0}"), format!("{goal:.0}")];
        row.extend(by_format(figures, tool, &format!(": {of}: kernel"), 1.0, 0));
        table.row(row);
    }
    table.text
}

fn own_process(figures: &Figures) -> String {
    let of = BUNDLED.name;
    let mut table = Table::new([&format!("{of}, bundled: own process, per chunk"), "CSV", "text", "JSON"]);
    for tool in TOOLS {
        let mut row = vec![tool.to_owned()];
        row.extend(by_format(figures, tool, &format!(": {of}: own"), 1.0, 0));
        table.row(row);
    }
    table.text
}

fn starts(figures: &Figures) -> String {
    let mut table = Table::new(["start, M", "CSV", "text", "JSON", "peak memory with CSV, MB"]);
    for tool in TOOLS {
        let mut row = vec![tool.to_owned()];
        row.extend(by_format(figures, tool, ": start", 1e6, 1));
        row.push(number(figures, &format!("{tool} CSV: peak"), 1e6, 1));
        table.row(row);
    }
    table.text
}

fn memory(figures: &Figures) -> String {
    let mut table = Table::new(["", "tables and programs with CSV, MB", "with JSON, MB", "binary, MB"]);
    for tool in TOOLS {
        let of = |name: &str| number(figures, &format!("{tool}{name}"), 1e6, 1);
        table.row([tool.to_owned(), of(" CSV: kernel memory"), of(" JSON: kernel memory"), of(": binary")]);
    }
    table.text
}

fn shares(figures: &Figures) -> String {
    let mut names = vec!["kernel side, % of all work"];
    names.extend(TRANSFERS.map(|transfer| transfer.name));
    let mut table = Table::new(names);
    for tracers in tracers(true) {
        let mut row = vec![tracers.name.clone()];
        row.extend(TRANSFERS.map(|transfer| share(figures, &tracers.name, transfer.name)));
        table.row(row);
    }
    table.text
}

fn floors(figures: &Figures) -> String {
    let of = BUNDLED.name;
    let first = format!("{of}, bundled: a program that does nothing, on a hook reached 2.2 times per chunk");
    let mut table = Table::new([&first, "per chunk"]);
    for kind in FLOORS {
        table.row([kind.to_owned(), number(figures, &format!("floor: {kind}"), 1.0, 0)]);
    }
    table.text
}

fn programs(figures: &Figures) -> String {
    let of = BUNDLED.name;
    let first = format!("{of}, bundled: program, with CSV");
    let mut table = Table::new([&first, "runs per chunk", "per run, with the kernel's own counting of it"]);
    for (name, runs) in figures {
        let Some(program) = name.strip_suffix(": runs per chunk") else { continue };
        let each = number(figures, &format!("{program}: per run"), 1.0, 0);
        table.row([program.to_owned(), format!("{runs:.3}"), each]);
    }
    table.text
}

fn grown(figures: &Figures, Growth { of, per, steps }: &Growth) -> String {
    let mut names = vec![format!("per {per}, with {of}")];
    names.extend(steps.iter().map(|step| step.size.to_string()));
    let mut table = Table::new(&names);
    for tool in TOOLS {
        let mut row = vec![tool.to_owned()];
        let kernel = |size: u32| number(figures, &format!("{tool}: {size} {of}: kernel"), 1.0, 0);
        row.extend(steps.iter().map(|step| kernel(step.size)));
        table.row(row);
    }
    table.text
}

fn idle(figures: &Figures) -> String {
    let mut names = vec!["own process, per tick without events"];
    names.extend(IDLE.iter().map(|idle| idle.name));
    let mut table = Table::new(names);
    for tool in TOOLS {
        let mut row = vec![tool.to_owned()];
        let own = |name: &str| number(figures, &format!("{tool}: a tick, {name}: own"), 1.0, 0);
        row.extend(IDLE.iter().map(|idle| own(idle.name)));
        table.row(row);
    }
    table.text
}

/// A command's figure `name` for each output format, each divided by `by`.
fn by_format(figures: &Figures, tool: &str, name: &str, by: f64, digits: usize) -> [String; FORMATS.len()] {
    FORMATS.map(|(format, _)| number(figures, &format!("{tool} {format}{name}"), by, digits))
}

/// The figure `name` divided by `by`, with so many digits after the point; a dash if there is no such figure.
fn number(figures: &Figures, name: &str, by: f64, digits: usize) -> String {
    figures.get(name).map_or("-".to_owned(), |value| format!("{:.digits$}", value / by))
}

/// The kernel side's cost with a set of commands, in percent of all instructions of the transfer without
/// commands.
fn share(figures: &Figures, tracers: &str, transfer: &str) -> String {
    let base = figures.get(&format!("none: {transfer}: instructions per chunk"));
    let kernel = figures.get(&format!("{tracers}: {transfer}: kernel"));
    base.zip(kernel).map_or("-".to_owned(), |(base, kernel)| format!("{:.1}", 100.0 * kernel / base))
}

/// A Markdown table, to which rows are added.
struct Table {
    text: String,
}

impl Table {
    fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self { text: String::new() };
        let columns = table.row(names);
        table.row(vec!["---"; columns]);
        table
    }

    /// Adds a row; returns how many cells it has.
    fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) -> usize {
        let mut columns = 0;
        for cell in cells {
            self.text += "| ";
            self.text += cell.as_ref();
            self.text += " ";
            columns += 1;
        }
        self.text += "|\n";
        columns
    }
}
