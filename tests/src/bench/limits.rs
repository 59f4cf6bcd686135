//! What the commands may cost at most, beside what they cost.

use super::figures::Figures;
use super::scenarios::{
    ALL_FIVE, BULK, CSV, EXTENDED, Format, JSON, LARGE, NO_SAMPLES, SIGNALLING, Transfer,
};
use super::tables::{Table, share};
use crate::programs::TOOLS;

/// Finds a command's figure; `None` if it was not measured.
type Measured = Box<dyn Fn(&Figures, &str) -> Option<f64>>;

/// A limit of each command. A dash in the table is a command without a limit, or a figure that was not measured.
struct Limit {
    what: String,
    /// In the order of [`TOOLS`], in the unit of the figure; `None`: no limit.
    at_most: [Option<f64>; TOOLS.len()],
    measured: Measured,
    /// The figure is divided by the first number, and has as many digits after the point as the second says.
    unit: (f64, usize),
}

/// The kernel side's cost of the cheapest of the other tools that see every chunk, `bpftrace`, in instructions per chunk
/// of [`SIGNALLING`]. It was measured beside other tools, once (`docs/performance.md`).
const CHEAPEST_OTHER: f64 = 1783.0;

/// The highest share of the kernel side of all five commands at once in a transfer of [`LARGE`] with CSV, in percent of
/// all work.
const ALL_FIVE_SHARE: f64 = 5.5;

fn limits() -> Vec<Limit> {
    let instructions = (1.0, 0);
    let millions = (1e6, 0);
    let tenths = (1e6, 1);
    let limit = |what: String, at_most, measured, unit| Limit { what, at_most, measured, unit };
    let (signalling, bulk) = (SIGNALLING.name, BULK.name);
    let beyond_csv = [550.0, 220.0, 1000.0, 520.0, 700.0];
    vec![
        limit(
            format!("{signalling}, CSV: kernel side"),
            [500.0, 220.0, 850.0, 450.0, 430.0].map(Some),
            kernel(&SIGNALLING, CSV),
            instructions,
        ),
        limit(
            format!("{signalling}, JSON: kernel side, own process, what is written after it"),
            [2150.0, 1900.0, 1100.0, 600.0, 800.0].map(Some),
            Box::new(|figures, tool| in_all(figures, tool, &SIGNALLING, JSON)),
            instructions,
        ),
        limit(
            format!("{signalling}, CSV: kernel side and own process; `bpftrace` has {CHEAPEST_OTHER}"),
            [Some(CHEAPEST_OTHER); TOOLS.len()],
            Box::new(|figures, tool| in_all(figures, tool, &SIGNALLING, CSV)),
            instructions,
        ),
        limit(
            format!("{signalling}, JSON: in all; `bpftrace` has {CHEAPEST_OTHER}"),
            [None, None, Some(CHEAPEST_OTHER), Some(CHEAPEST_OTHER), Some(CHEAPEST_OTHER)],
            Box::new(|figures, tool| in_all(figures, tool, &SIGNALLING, JSON)),
            instructions,
        ),
        limit(
            format!("{bulk}, CSV: kernel side"),
            [800.0, 150.0, 900.0, 450.0, 450.0].map(Some),
            kernel(&BULK, CSV),
            instructions,
        ),
        limit(
            format!("{bulk}, {}: kernel side", EXTENDED.0),
            beyond_csv.map(Some),
            kernel(&BULK, EXTENDED),
            instructions,
        ),
        limit(format!("{bulk}, JSON: kernel side"), beyond_csv.map(Some), kernel(&BULK, JSON), instructions),
        limit(
            format!("{signalling}, JSON: own process, per sample"),
            [Some(1500.0), Some(1500.0), None, None, None],
            Box::new(per_sample),
            instructions,
        ),
        limit(
            "start with JSON, M".to_owned(),
            [300e6, 350e6, 300e6, 300e6, 400e6].map(Some),
            Box::new(|figures, tool| figures.get(&format!("{tool} {}: start", JSON.0)).copied()),
            millions,
        ),
        limit(
            "tables with JSON, MB".to_owned(),
            [12e6, 12e6, 8e6, 16e6, 8e6].map(Some),
            Box::new(|figures, tool| figures.get(&format!("{tool} {}: kernel memory", JSON.0)).copied()),
            tenths,
        ),
        limit(
            format!("{signalling}, JSON: peak memory, MB"),
            [Some(12e6); TOOLS.len()],
            Box::new(|figures, tool| of_transfer(figures, tool, &SIGNALLING, JSON, "peak")),
            tenths,
        ),
    ]
}

/// The table of limits.
pub(super) fn table(figures: &Figures) -> String {
    let mut table = Table::new(["limits"].into_iter().chain(TOOLS));
    for limit in limits() {
        let cells = TOOLS.iter().zip(limit.at_most).map(|(tool, at_most)| {
            let measured = (limit.measured)(figures, tool).zip(at_most);
            measured.map_or("-".to_owned(), |(measured, at_most)| cell(measured, at_most, limit.unit))
        });
        table.row([limit.what.clone()].into_iter().chain(cells));
    }
    let of_all = share(figures, &format!("{ALL_FIVE} {}", CSV.0), LARGE.name);
    let of_all = of_all.map_or("-".to_owned(), |share| cell(share, ALL_FIVE_SHARE, (1.0, 1)));
    let mut all_five = Table::new(["limit".to_owned(), format!("{ALL_FIVE} at once")]);
    all_five.row([format!("{}, CSV: kernel side, % of all work", LARGE.name), of_all]);
    format!("{}\n{}", table.text, all_five.text)
}

/// A cell of the table: what was measured, the limit, and whether the limit is met.
fn cell(measured: f64, at_most: f64, (by, digits): (f64, usize)) -> String {
    let met = if measured <= at_most { "met" } else { "**not met**" };
    format!("{:.digits$} of {}, {met}", measured / by, at_most / by)
}

fn kernel(transfer: &'static Transfer, format: Format) -> Measured {
    Box::new(move |figures, tool| of_transfer(figures, tool, transfer, format, "kernel"))
}

fn of_transfer(
    figures: &Figures,
    tool: &str,
    transfer: &Transfer,
    format: Format,
    what: &str,
) -> Option<f64> {
    figures.get(&format!("{tool} {}: {}: {what}", format.0, transfer.name)).copied()
}

/// Instructions per chunk: the kernel side, the command's own process, and what that writes after the transfer.
fn in_all(figures: &Figures, tool: &str, transfer: &Transfer, format: Format) -> Option<f64> {
    ["kernel", "own", "after"].iter().map(|what| of_transfer(figures, tool, transfer, format, what)).sum()
}

/// Instructions of the command's own process per sample: what it takes beyond that without samples.
fn per_sample(figures: &Figures, tool: &str) -> Option<f64> {
    let own = |format| -> Option<f64> {
        ["own", "after"].iter().map(|what| of_transfer(figures, tool, &SIGNALLING, format, what)).sum()
    };
    let samples = of_transfer(figures, tool, &SIGNALLING, JSON, "samples")?;
    Some((own(JSON)? - own(NO_SAMPLES)?) / samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(all: &[(&str, f64)]) -> Figures {
        all.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn a_limit_stands_beside_what_was_measured() {
        assert_eq!(cell(499.6, 500.0, (1.0, 0)), "500 of 500, met");
        assert_eq!(cell(501.0, 500.0, (1.0, 0)), "501 of 500, **not met**");
        assert_eq!(cell(12_050_000.0, 12e6, (1e6, 1)), "12.1 of 12, **not met**");
    }

    #[test]
    fn all_parts_of_a_cost_count() {
        let all = figures(&[
            ("rtt JSON: signalling: kernel", 700.0),
            ("rtt JSON: signalling: own", 1200.0),
            ("rtt JSON: signalling: after", 100.0),
        ]);
        assert_eq!(in_all(&all, "rtt", &SIGNALLING, JSON), Some(2000.0));
        assert_eq!(in_all(&figures(&[("rtt JSON: signalling: own", 1.0)]), "rtt", &SIGNALLING, JSON), None);
    }

    #[test]
    fn a_sample_costs_what_the_process_takes_beyond_that_without_samples() {
        let all = figures(&[
            ("rto JSON: signalling: own", 800.0),
            ("rto JSON: signalling: after", 50.0),
            ("rto JSON: signalling: samples", 0.5),
            ("rto JSON, `--no-samples`: signalling: own", 70.0),
            ("rto JSON, `--no-samples`: signalling: after", 30.0),
        ]);
        assert_eq!(per_sample(&all, "rto"), Some(1500.0));
    }
}
