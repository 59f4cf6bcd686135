//! The output of `sctp-jitter`: its columns, and its text, CSV and JSON.

use std::collections::BTreeMap;

use anyhow::Result;
use cli::{
    ASSOC_ID, Column, Columns, Common, DIST_FIXED_US, Form, Format,
    Get::{Fixed, Int},
    IDENTITY, Metrics, OWNER, Out, PERCENTILES_FIXED_US, Part, Period, Rows, Shown, Table, draw, endpoints,
    us,
};
use probes::{Due, DurationDist, Error, Histogram, Identity, jitter::Row};

use crate::metrics::METRICS;

/// A line of output: one stream identifier over all associations (merged) or, extended, one stream of one
/// association.
#[derive(Clone, Debug, Default, PartialEq)]
struct Line {
    stream_id: u16,
    interval: DurationDist,
    /// Jitter in microseconds. If merged, the mean of the associations' jitters, weighted by their numbers of
    /// intervals. `None` if no association has two intervals.
    jitter_us: Option<f64>,
    histogram: Option<Histogram>,
    /// The statistics of the stream, if extended; `None` if merged.
    stats: Option<Row>,
}

const STREAM: &[Column<Line>] =
    &[Column::label("stream_id", "stream identifier", Int(|l| Some(l.stream_id.into())))];
const SAMPLES: &[Column<Line>] =
    &[Column::counter("samples", "intervals between arrivals", Int(|l| Some(l.interval.count)))];
/// The column of [`SAMPLES`], by the name that it has in FILE: that of the Python script which this command replaces.
const SAMPLE_COUNT: &[Column<Line>] =
    &[Column::counter("sample_count", "intervals between arrivals", Int(|l| Some(l.interval.count)))];
const INTERVAL: Part<Line, DurationDist> = Part {
    prefix: "delta_",
    what: "interval between arrivals",
    of: |l| Some(&l.interval),
    columns: DIST_FIXED_US,
};
const JITTER: &[Column<Line>] =
    &[Column::gauge("jitter_us", "jitter of the intervals", Fixed(Line::jitter, 3))];

/// The columns that `--extended` and `--json` add.
const MORE: &[&dyn Columns<Line>] = &[
    &Part { prefix: "", what: "", of: Line::identity, columns: ASSOC_ID },
    &Part { prefix: "", what: "", of: Line::identity, columns: IDENTITY },
    &Part {
        prefix: "delta_",
        what: "interval between arrivals",
        of: |l: &Line| Some(&l.interval),
        columns: PERCENTILES_FIXED_US,
    },
    &COUNTS,
    &Part {
        prefix: "message_delta_",
        what: "interval between whole messages",
        of: |l: &Line| l.stats.as_ref().map(|r| &r.messages.interval),
        columns: DIST_FIXED_US,
    },
    &MESSAGE_JITTER,
    &Part { prefix: "", what: "", of: Line::identity, columns: OWNER },
];
const COUNTS: &[Column<Line>] = &[
    Column::counter("chunks", "chunks that arrived", Int(|l| l.stats.as_ref().map(|r| r.chunks.count))),
    Column::counter(
        "reordered",
        "chunks that came after one with a higher TSN",
        Int(|l| l.stats.as_ref().map(|r| r.reordered)),
    ),
    Column::counter(
        "messages",
        "messages of which the last chunk arrived",
        Int(|l| l.stats.as_ref().map(|r| r.messages.count)),
    ),
    Column::counter(
        "message_samples",
        "intervals between whole messages",
        Int(|l| l.stats.as_ref().map(|r| r.messages.interval.count)),
    ),
];
const MESSAGE_JITTER: &[Column<Line>] = &[Column::gauge(
    "message_jitter_us",
    "jitter of the intervals between whole messages",
    Fixed(|l| l.stats.as_ref().and_then(|r| r.messages.jitter).map(us), 3),
)];

impl Line {
    /// The identity of an extended line's association; `None` for a merged line.
    fn identity(&self) -> Option<&Identity> {
        self.stats.as_ref().map(|stats| &stats.association.id)
    }
}

impl Line {
    fn extended(stats: Row) -> Self {
        Self {
            stream_id: stats.stream_id,
            interval: stats.chunks.interval.clone(),
            jitter_us: stats.chunks.jitter.map(us),
            histogram: stats.histogram.clone(),
            stats: Some(stats),
        }
    }

    /// Adds the intervals, the jitter and the histogram of the same stream of other associations.
    fn merge(&mut self, interval: &DurationDist, jitter_us: Option<f64>, histogram: Option<&Histogram>) {
        let (n, more) = (self.interval.count as f64, interval.count as f64);
        self.jitter_us = match (self.jitter_us, jitter_us) {
            (None, None) => None,
            (a, b) => Some((a.unwrap_or(0.0) * n + b.unwrap_or(0.0) * more) / (n + more)),
        };
        self.interval.merge(interval);
        match (&mut self.histogram, histogram) {
            (Some(own), Some(other)) => own.merge(other),
            (own, other) => *own = own.take().or_else(|| other.cloned()),
        }
    }

    /// The jitter as it is printed. A merged line has 0 where there are intervals but no jitter yet, as the
    /// Python script has with a single interval.
    fn jitter(&self) -> Option<f64> {
        self.jitter_us.or((self.stats.is_none() && self.interval.count > 0).then_some(0.0))
    }
}

/// Merged lines by stream identifier, each over all associations that were added.
#[derive(Clone, Debug, Default)]
struct Merged(BTreeMap<u16, Line>);

impl Merged {
    fn add(&mut self, stats: &Row) {
        self.line(stats.stream_id).merge(
            &stats.chunks.interval,
            stats.chunks.jitter.map(us),
            stats.histogram.as_ref(),
        );
    }

    fn add_line(&mut self, line: &Line) {
        self.line(line.stream_id).merge(&line.interval, line.jitter_us, line.histogram.as_ref());
    }

    fn line(&mut self, stream_id: u16) -> &mut Line {
        self.0.entry(stream_id).or_insert_with(|| Line { stream_id, ..Line::default() })
    }

    /// The lines of streams that have intervals.
    fn lines(&self) -> Vec<Line> {
        self.0.values().filter(|line| line.interval.count > 0).cloned().collect()
    }
}

/// What `--live` shows: a row per stream of an association.
pub const LIVE: Shown = Shown {
    columns: &[
        "assoc_id",
        "stream_id",
        "jitter_us",
        "delta_p99_us",
        "delta_max_us",
        "samples",
        "reordered",
        "chunks",
        "peer",
        "comm",
    ],
    worst: &["jitter_us", "delta_max_us"],
    low: &[],
};

/// Prints statistics in the form that the flags ask for.
pub struct Report {
    rows: Rows<Line>,
    form: Form,
    /// Sums over ended associations, for merged lines: the kernel side may use the entries of these
    /// associations again.
    ended: Merged,
}

/// The tables of all columns, for man page and JSON schema.
pub fn tables() -> Vec<Table> {
    vec![
        Table::statistics::<Line>("CSV columns", &[&STREAM, &SAMPLES, &INTERVAL, &JITTER]),
        Table::csv::<Line>("With -f in place of samples", &[&SAMPLE_COUNT]),
        Table::statistics("More with -x and --json", MORE),
    ]
}

impl Report {
    /// Makes a report in the form that the flags ask for.
    pub fn new(common: &Common) -> Self {
        let form = Form::new(common);
        let to_file = common.file.is_some() && form.format == Format::Csv;
        let samples: &dyn Columns<Line> = if to_file { &SAMPLE_COUNT } else { &SAMPLES };
        let mut columns: Vec<&dyn Columns<Line>> = vec![&STREAM, samples, &INTERVAL, &JITTER];
        if form.extended {
            columns.extend(MORE);
        }
        Self { rows: Rows::new("jitter", common, columns, &LIVE), form, ended: Merged::default() }
    }

    /// Prints lines of totals. In CSV these come only at the end of the run.
    fn print(
        &self,
        out: &mut Out,
        mut lines: impl Iterator<Item = Result<Line, Error>>,
        at_end: bool,
    ) -> Result<()> {
        match self.form.format {
            Format::Text => lines.try_for_each(|line| self.text(out, &line?, at_end)),
            Format::Csv if !at_end => Ok(()),
            Format::Live => Ok(()),
            Format::Csv | Format::Json => self.rows.print(out, Period::Summary, lines),
        }
    }

    fn text(&self, out: &mut Out, line: &Line, at_end: bool) -> Result<()> {
        text_line(line, out)?;
        if !self.form.histograms || !at_end {
            return Ok(());
        }
        let title = format!("{}: intervals between arrivals", label(line));
        line.histogram.iter().try_for_each(|histogram| draw(out, &title, "usecs", histogram))
    }
}

impl cli::Report for Report {
    type Record = ();
    type Row = Row;

    fn metrics(&self) -> &'static Metrics<Row> {
        &METRICS
    }

    fn header(&mut self, out: &mut Out) -> Result<()> {
        self.rows.header(out)
    }

    fn form(&self) -> &Form {
        &self.form
    }

    fn interval(&mut self, out: &mut Out, rows: impl Iterator<Item = Result<Row, Error>>) -> Result<()> {
        if self.form.extended {
            let lines = rows.map(|row| row.map(Line::extended));
            return self.rows.print(out, Period::Interval, lines);
        }
        let mut merged = Merged::default();
        for row in rows {
            merged.add(&row?);
        }
        self.rows.print(out, Period::Interval, merged.lines().into_iter().map(Ok))
    }

    /// Extended text and CSV have all totals at the end of the run. In JSON and in merged lines the totals of
    /// an ended association are due once, at the end of the interval in which it ended: JSON prints them
    /// then, and merged lines add them to their sums. Text has totals at every interval, too, also those of
    /// living associations.
    fn due(&self, at_end: bool) -> Option<Due> {
        let Form { format, extended, .. } = self.form;
        match format {
            Format::Live => None,
            // Extended CSV needs no totals before the end. Merged lines do: they add the totals of ended associations
            // to their sums at every interval.
            Format::Csv if extended && !at_end => None,
            Format::Text | Format::Csv if extended && at_end => Some(Due::All),
            _ if format == Format::Text || at_end => Some(Due::EndedAndLiving),
            _ => Some(Due::Ended),
        }
    }

    fn totals(
        &mut self,
        out: &mut Out,
        rows: impl Iterator<Item = Result<Row, Error>>,
        at_end: bool,
    ) -> Result<()> {
        if self.form.extended {
            return self.print(out, rows.map(|row| row.map(Line::extended)), at_end);
        }
        let mut living = Merged::default();
        for row in rows {
            let row = row?;
            if row.association.ended.is_some() { self.ended.add(&row) } else { living.add(&row) }
        }
        // Merged lines are over all associations, those that ended before too.
        self.ended.0.values().for_each(|line| living.add_line(line));
        self.print(out, living.lines().into_iter().map(Ok), at_end)
    }
}

fn label(line: &Line) -> String {
    match line.identity() {
        None => format!("Stream {}", line.stream_id),
        Some(id) => {
            let life = if id.life > 1 { format!(", life {}", id.life) } else { String::new() };
            format!("Association {}{life} ({}), stream {}", id.assoc_id, endpoints(id), line.stream_id)
        }
    }
}

fn text_line(row: &Line, out: &mut Out) -> Result<()> {
    out.text(&format!("{}:", label(row)))?;
    out.text(&format!("  Samples: {}", row.interval.count))?;
    text_intervals("Packet Interval", "Jitter", &row.interval, row.jitter(), out)?;
    let Some(stats) = &row.stats else { return Ok(()) };
    out.text(&format!("  Chunks: {} ({} reordered)", stats.chunks.count, stats.reordered))?;
    out.text(&format!("  Messages: {}", stats.messages.count))?;
    let jitter = stats.messages.jitter.map(us);
    text_intervals("Message Interval", "Message Jitter", &stats.messages.interval, jitter, out)
}

fn text_intervals(
    name: &str,
    jitter_name: &str,
    dist: &DurationDist,
    jitter: Option<f64>,
    out: &mut Out,
) -> Result<()> {
    if let (Some(avg), Some(min), Some(max)) = (dist.mean_us(), dist.min, dist.max) {
        out.text(&format!("  {name}: {avg:.3} us avg, {:.3}/{:.3} min/max", us(min), us(max)))?;
    }
    if let Some(percentiles) = dist.percentiles {
        let [p50, p90, p99] = percentiles.map(us);
        out.text(&format!("  {name} p50/p90/p99: {p50:.3}/{p90:.3}/{p99:.3} us"))?;
    }
    if let Some(jitter) = jitter {
        out.text(&format!("  {jitter_name}: {jitter:.3} us"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use probes::jitter::Arrivals;

    use super::*;

    fn arrivals(count: u64, mean_us: u64, jitter_us: u64) -> Arrivals {
        let mean = Duration::from_micros(mean_us);
        let some = (count > 0).then_some(mean);
        let interval =
            DurationDist { count, sum: mean * count as u32, min: some, max: some, percentiles: None };
        let jitter = (count > 1).then(|| Duration::from_micros(jitter_us));
        Arrivals { count: count + 1, interval, jitter }
    }

    fn merged(all: &[Arrivals]) -> Line {
        let mut row = Line::default();
        all.iter().for_each(|a| row.merge(&a.interval, a.jitter.map(us), None));
        row
    }

    #[test]
    fn jitter_is_weighted_by_samples() {
        let row = merged(&[arrivals(300, 1000, 10), arrivals(100, 2000, 50), arrivals(0, 0, 0)]);
        assert_eq!(
            (row.interval.count, row.interval.mean_us(), row.jitter_us),
            (400, Some(1250.0), Some(20.0))
        );
    }

    #[test]
    fn one_interval_has_jitter_zero_as_the_script_prints_it() {
        assert_eq!(merged(&[arrivals(1, 5, 0)]).jitter(), Some(0.0));
        assert_eq!(merged(&[arrivals(0, 0, 0)]).jitter(), None);
    }

    proptest! {
        #[test]
        fn merging_stays_between_the_extremes(all in prop::collection::vec((2_u64..1000, 1_u64..100_000, 0_u64..100_000), 1..20)) {
            let all: Vec<_> = all.into_iter().map(|(n, mean, jitter)| arrivals(n, mean, jitter)).collect();
            let jitters: Vec<f64> = all.iter().filter_map(|a| a.jitter.map(us)).collect();
            let row = merged(&all);
            let got = row.jitter_us.unwrap();
            prop_assert!(got >= jitters.iter().copied().fold(f64::MAX, f64::min) - 1e-6);
            prop_assert!(got <= jitters.iter().copied().fold(0.0, f64::max) + 1e-6);
            prop_assert_eq!(row.interval.count, all.iter().map(|a| a.interval.count).sum::<u64>());
        }
    }
}
