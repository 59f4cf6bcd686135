//! Makes Markdown tables of figures.

use super::figures::Figures;
use super::limits;
use super::scenarios::{
    ALL_FIVE, BULK, CSV, FLOORS, FORMATS, GROWTH, Growth, IDLE, NO_SAMPLES, TRANSFERS, Transfer, WORKLOADS,
    tracers,
};
use crate::programs::TOOLS;

/// The tables of `docs/performance.md`, but for the one at its top (`summary`).
pub fn tables(figures: &Figures) -> String {
    let mut all = vec![limits::table(figures), workloads(figures)];
    for transfer in &WORKLOADS {
        let parts = [
            ("kernel side, per chunk", "kernel"),
            ("own process during it, per chunk", "own"),
            ("own process after it, per chunk", "after"),
        ];
        all.extend(parts.iter().map(|(what, figure)| by_format(figures, transfer, what, figure)));
    }
    all.extend([
        starts(figures),
        memory(figures),
        peaks(figures),
        shares(figures),
        floors(figures),
        programs(figures),
    ]);
    all.extend(GROWTH.iter().map(|growth| grown(figures, growth)));
    all.push(idle(figures));
    all.join("\n")
}

/// The table at the top of `docs/performance.md`: the cost of the kernel side in the two workloads of small messages, for each command and for all
/// five together.
pub(super) fn summary(figures: &Figures) -> String {
    let mut names = vec!["kernel side, per chunk".to_owned()];
    for transfer in &WORKLOADS {
        names.extend([format!("*{}*, CSV", transfer.name), "% of all work".to_owned()]);
        names.push(NO_SAMPLES.0.to_owned());
    }
    names.push("sees".to_owned());
    let mut table = Table::new(names);
    for commands in TOOLS.into_iter().chain([ALL_FIVE]) {
        let csv = format!("{commands} {}", CSV.0);
        let mut row =
            vec![if commands == ALL_FIVE { commands.to_owned() } else { format!("`sctp-{commands}`") }];
        for Transfer { name: of, .. } in &WORKLOADS {
            row.push(number(figures, &format!("{csv}: {of}: kernel"), 1.0, 0));
            row.push(percent(figures, &csv, of));
            row.push(number(figures, &format!("{commands} {}: {of}: kernel", NO_SAMPLES.0), 1.0, 0));
        }
        let complaints = WORKLOADS.map(|of| figures.get(&format!("{csv}: {}: complaints", of.name)));
        let sees = match complaints {
            [Some(0.0), Some(0.0)] => "all",
            [Some(_), Some(_)] => "not all",
            _ => "-",
        };
        row.push(sees.to_owned());
        table.row(row);
    }
    table.text
}

/// What each transfer has, by its capture, and what it takes without commands.
fn workloads(figures: &Figures) -> String {
    let mut table = Table::new([
        "workload",
        "messages",
        "DATA chunks",
        "packets with DATA",
        "SACKs",
        "without a tracer, per chunk",
    ]);
    for Transfer { name, messages, chunks, .. } in TRANSFERS {
        let of = |what: &str| number(figures, &format!("none: {name}: {what}"), 1.0, 0);
        table.row([
            format!("*{name}*"),
            messages.to_owned(),
            chunks.to_string(),
            of("packets"),
            of("SACKs"),
            of("instructions per chunk"),
        ]);
    }
    table.text
}

/// A table of a figure of one workload, with a column for each form of output.
fn by_format(figures: &Figures, transfer: &Transfer, what: &str, figure: &str) -> String {
    let of = transfer.name;
    let mut table = Table::new([format!("*{of}*: {what}")].into_iter().chain(formats()));
    for tool in TOOLS {
        let cells =
            FORMATS.map(|(format, _)| number(figures, &format!("{tool} {format}: {of}: {figure}"), 1.0, 0));
        table.row([tool.to_owned()].into_iter().chain(cells));
    }
    table.text
}

fn starts(figures: &Figures) -> String {
    of_formats(figures, "start, M", "start", 1)
}

fn memory(figures: &Figures) -> String {
    of_formats(figures, "tables and programs, MB", "kernel memory", 1)
}

/// A table of a figure in millions that is the same in each workload, with a column for each form of output.
fn of_formats(figures: &Figures, what: &str, figure: &str, digits: usize) -> String {
    let mut table = Table::new([what.to_owned()].into_iter().chain(formats()));
    for tool in TOOLS {
        let cells =
            FORMATS.map(|(format, _)| number(figures, &format!("{tool} {format}: {figure}"), 1e6, digits));
        table.row([tool.to_owned()].into_iter().chain(cells));
    }
    table.text
}

fn formats() -> impl Iterator<Item = String> {
    FORMATS.iter().map(|(format, _)| (*format).to_owned())
}

fn peaks(figures: &Figures) -> String {
    let mut names = vec!["peak memory, MB".to_owned()];
    names.extend(
        WORKLOADS.iter().flat_map(|of| formats().map(move |format| format!("*{}*, {format}", of.name))),
    );
    names.push("binary, MB".to_owned());
    let mut table = Table::new(names);
    for tool in TOOLS {
        let mut row = vec![tool.to_owned()];
        for Transfer { name: of, .. } in &WORKLOADS {
            row.extend(
                FORMATS.map(|(format, _)| number(figures, &format!("{tool} {format}: {of}: peak"), 1e6, 1)),
            );
        }
        row.push(number(figures, &format!("{tool}: binary"), 1e6, 1));
        table.row(row);
    }
    table.text
}

fn shares(figures: &Figures) -> String {
    let mut names = vec!["kernel side with CSV, % of all work".to_owned()];
    names.extend(TRANSFERS.iter().map(|transfer| format!("*{}*", transfer.name)));
    let mut table = Table::new(names);
    for tracers in tracers(&[CSV]) {
        let mut row = vec![tracers.name.trim_end_matches(CSV.0).trim_end().to_owned()];
        row.extend(TRANSFERS.map(|transfer| percent(figures, &tracers.name, transfer.name)));
        table.row(row);
    }
    table.text
}

fn floors(figures: &Figures) -> String {
    let of = BULK.name;
    let first = format!("*{of}*: a program that does nothing, on a hook reached 2.2 times per chunk");
    let mut table = Table::new([&first, "per chunk"]);
    for kind in FLOORS {
        table.row([kind.to_owned(), number(figures, &format!("floor: {kind}"), 1.0, 0)]);
    }
    table.text
}

fn programs(figures: &Figures) -> String {
    let of = BULK.name;
    let first = format!("*{of}*: program, with CSV");
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

/// The figure `name` divided by `by`, with `digits` digits after the point; a dash if there is no such figure.
fn number(figures: &Figures, name: &str, by: f64, digits: usize) -> String {
    figures.get(name).map_or("-".to_owned(), |value| format!("{:.digits$}", value / by))
}

/// The share of [`share`], as text; a dash if it was not measured.
fn percent(figures: &Figures, tracers: &str, transfer: &str) -> String {
    share(figures, tracers, transfer).map_or("-".to_owned(), |share| format!("{share:.1}"))
}

/// The kernel side's cost with a set of commands, in percent of all instructions of the transfer without
/// commands.
pub(super) fn share(figures: &Figures, tracers: &str, transfer: &str) -> Option<f64> {
    let base = figures.get(&format!("none: {transfer}: instructions per chunk"))?;
    let kernel = figures.get(&format!("{tracers}: {transfer}: kernel"))?;
    Some(100.0 * kernel / base)
}

/// A Markdown table, to which rows are added.
pub(super) struct Table {
    pub text: String,
}

impl Table {
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self { text: String::new() };
        let columns = table.row(names);
        table.row(vec!["---"; columns]);
        table
    }

    /// Adds a row; returns how many cells it has.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) -> usize {
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
