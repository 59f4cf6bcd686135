//! The rows of `sctp-jitter`: what is printed, in which form.

use std::collections::BTreeMap;

use anyhow::Result;
use cli::{
    Column, Common, Format, Out, Period, Rows, StreamReport, Table, Value, draw, ends, identity_columns,
    is_due, us,
};
use probes::{
    Dist, Histogram,
    jitter::{Jitter, Stats},
};

/// A row: one stream identifier over all associations, or, extended, one stream of one association.
#[derive(Clone, Debug, Default, PartialEq)]
struct Row {
    stream_id: u16,
    interval: Dist,
    /// Mean of the associations' jitters, weighted by their samples; `None` where there are fewer than two intervals of
    /// any of them.
    jitter_us: Option<f64>,
    histogram: Option<Histogram>,
    /// Whose, if extended.
    stats: Option<Stats>,
}

const STREAM: &[Column<Row>] =
    &[Column { name: "stream_id", doc: "stream identifier", get: |r| Value::Int(r.stream_id.into()) }];
const SAMPLES: &[Column<Row>] =
    &[Column { name: "samples", doc: "intervals between arrivals", get: |r| Value::Int(r.interval.count) }];
/// As the script heads it in FILE.
const SAMPLE_COUNT: &[Column<Row>] =
    &[Column { name: "sample_count", doc: SAMPLES[0].doc, get: SAMPLES[0].get }];
const COLUMNS: &[Column<Row>] = &[
    Column { name: "delta_avg_us", doc: "mean interval", get: |r| fixed(r.interval.mean_us()) },
    Column { name: "delta_min_us", doc: "smallest", get: |r| Value::fixed_us(r.interval.min) },
    Column { name: "delta_max_us", doc: "largest", get: |r| Value::fixed_us(r.interval.max) },
    Column { name: "jitter_us", doc: "jitter", get: |r| fixed(r.jitter()) },
];

/// The columns that `--extended` and `--json` add.
const ASSOCIATION: &[Column<Row>] = &[Column {
    name: "assoc_id",
    doc: "association id",
    get: |r| Value::Int(own(r).association.id.assoc_id.into()),
}];
const IDENTITY: &[Column<Row>] = identity_columns!(Row, |r| &own(r).association.id);
const MORE: &[Column<Row>] = &[
    Column { name: "delta_p50_us", doc: "median", get: |r| percentile(&r.interval, 0) },
    Column { name: "delta_p90_us", doc: "90th percentile", get: |r| percentile(&r.interval, 1) },
    Column { name: "delta_p99_us", doc: "99th percentile", get: |r| percentile(&r.interval, 2) },
    Column { name: "chunks", doc: "chunks that arrived", get: |r| Value::Int(own(r).chunks.count) },
    Column {
        name: "reordered",
        doc: "chunks that came after one with a higher TSN",
        get: |r| Value::Int(own(r).reordered),
    },
    Column {
        name: "messages",
        doc: "messages of which the last chunk arrived",
        get: |r| Value::Int(own(r).messages.count),
    },
    Column {
        name: "message_samples",
        doc: "intervals between whole messages",
        get: |r| Value::Int(own(r).messages.interval.count),
    },
    Column {
        name: "message_delta_avg_us",
        doc: "their mean",
        get: |r| fixed(own(r).messages.interval.mean_us()),
    },
    Column {
        name: "message_delta_min_us",
        doc: "their smallest",
        get: |r| Value::fixed_us(own(r).messages.interval.min),
    },
    Column {
        name: "message_delta_max_us",
        doc: "their largest",
        get: |r| Value::fixed_us(own(r).messages.interval.max),
    },
    Column {
        name: "message_jitter_us",
        doc: "their jitter",
        get: |r| Value::fixed_us(own(r).messages.jitter),
    },
];

/// Whose an extended row is.
fn own(row: &Row) -> &Stats {
    row.stats.as_ref().expect("columns of an association are only for extended rows")
}

impl Row {
    fn extended(stats: Stats) -> Self {
        Self {
            stream_id: stats.stream_id,
            interval: stats.chunks.interval.clone(),
            jitter_us: stats.chunks.jitter.map(us),
            histogram: stats.histogram.clone(),
            stats: Some(stats),
        }
    }

    /// Adds the intervals of another association.
    fn merge(&mut self, interval: &Dist, jitter_us: Option<f64>, histogram: Option<&Histogram>) {
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

    /// As it is printed: the script's is 0 with a single interval.
    fn jitter(&self) -> Option<f64> {
        self.jitter_us.or((self.stats.is_none() && self.interval.count > 0).then_some(0.0))
    }
}

/// Streams by their identifiers, over all associations.
#[derive(Clone, Debug, Default)]
struct Merged(BTreeMap<u16, Row>);

impl Merged {
    fn add(&mut self, stats: &Stats) {
        self.row(stats.stream_id).merge(
            &stats.chunks.interval,
            stats.chunks.jitter.map(us),
            stats.histogram.as_ref(),
        );
    }

    fn add_row(&mut self, row: &Row) {
        self.row(row.stream_id).merge(&row.interval, row.jitter_us, row.histogram.as_ref());
    }

    fn row(&mut self, stream_id: u16) -> &mut Row {
        self.0.entry(stream_id).or_insert_with(|| Row { stream_id, ..Row::default() })
    }

    /// Those that have intervals.
    fn rows(&self) -> Vec<Row> {
        self.0.values().filter(|row| row.interval.count > 0).cloned().collect()
    }
}

/// Prints statistics in the form that was asked for.
pub struct Report {
    rows: Rows<Row>,
    format: Format,
    extended: bool,
    intervals: bool,
    histograms: bool,
    /// What ended associations had, of which the kernel side may know nothing any more.
    ended: Merged,
    /// Nothing comes after this.
    at_end: bool,
}

/// All that is printed in columns.
pub fn tables() -> Vec<Table> {
    vec![
        Table::of("CSV columns", &[STREAM, SAMPLES, COLUMNS]),
        Table::of("With -f in place of samples", &[SAMPLE_COUNT]),
        Table::of("More with -x and --json", &[ASSOCIATION, IDENTITY, MORE]),
    ]
}

impl Report {
    /// A report as the flags ask for it.
    pub fn new(common: &Common) -> Self {
        let to_file = common.file.is_some() && common.format() == Format::Csv;
        let mut columns = vec![STREAM, if to_file { SAMPLE_COUNT } else { SAMPLES }, COLUMNS];
        if common.is_extended() {
            columns.extend([ASSOCIATION, IDENTITY, MORE]);
        }
        Self {
            rows: Rows::of("jitter", common, columns),
            format: common.format(),
            extended: common.is_extended(),
            intervals: common.has_interval_rows(),
            histograms: common.histogram,
            ended: Merged::default(),
            at_end: false,
        }
    }

    /// Whose totals are due at the end of the interval `number`, if any are. What was shown or taken over is not repeated.
    fn due(&self, number: u32) -> Option<impl Fn(Option<u32>) -> bool + use<>> {
        // Merged rows take over what ends, in any form.
        let nothing = self.extended && self.format == Format::Csv && !self.at_end;
        let all = self.extended && self.format != Format::Json && self.at_end;
        let living_too = self.format == Format::Text || self.at_end;
        (!nothing).then(|| is_due(number, living_too, all))
    }

    /// Prints a row of totals, if the form has them by now.
    fn printer(&self) -> impl Fn(&mut Out, &Row) -> Result<()> {
        let print = self.rows.printer(Period::Summary);
        move |out, row| match self.format {
            Format::Text => {
                text_row(row, out)?;
                if !self.histograms || !self.at_end {
                    return Ok(());
                }
                let title = format!("{}: intervals between arrivals", whose(row));
                row.histogram.iter().try_for_each(|histogram| draw(out, &title, "usecs", histogram))
            }
            Format::Csv if !self.at_end => Ok(()),
            Format::Csv | Format::Json => print(out, row),
        }
    }
}

impl StreamReport for Report {
    type Probe = Jitter;

    fn has_intervals(&self) -> bool {
        self.intervals
    }

    fn header(&self, out: &mut Out) -> Result<()> {
        self.rows.header(out)
    }

    fn interval(&self, out: &mut Out, probe: &mut Jitter, number: u32) -> Result<()> {
        let mut stats = probe.interval(number)?;
        if self.extended {
            let print = self.rows.printer(Period::Interval);
            return stats.try_for_each(|s| print(out, &Row::extended(s?)));
        }
        let mut merged = Merged::default();
        for stats in stats {
            merged.add(&stats?);
        }
        self.rows.print(out, Period::Interval, merged.rows())
    }

    fn totals(&mut self, out: &mut Out, probe: &mut Jitter, number: u32, at_end: bool) -> Result<()> {
        self.at_end = at_end;
        let Some(due) = self.due(number) else { return Ok(()) };
        let mut stats = probe.totals(due)?;
        if self.extended {
            let print = self.printer();
            return stats.try_for_each(|s| print(out, &Row::extended(s?)));
        }
        let mut living = Merged::default();
        for stats in stats {
            let stats = stats?;
            if stats.association.ended.is_some() { self.ended.add(&stats) } else { living.add(&stats) }
        }
        // Merged rows are over all associations, those that ended before too.
        self.ended.0.values().for_each(|row| living.add_row(row));
        let print = self.printer();
        living.rows().iter().try_for_each(|row| print(out, row))
    }
}

fn fixed(value_us: Option<f64>) -> Value {
    value_us.map_or(Value::Null, |v| Value::Fixed(v, 3))
}

fn percentile(dist: &Dist, which: usize) -> Value {
    Value::fixed_us(dist.percentiles.map(|p| p[which]))
}

fn whose(row: &Row) -> String {
    match &row.stats {
        None => format!("Stream {}", row.stream_id),
        Some(Stats { association: a, .. }) => {
            format!("Association {} ({}), stream {}", a.id.assoc_id, ends(&a.id), row.stream_id)
        }
    }
}

fn text_row(row: &Row, out: &mut Out) -> Result<()> {
    out.text(&format!("{}:", whose(row)))?;
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
    dist: &Dist,
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
        let interval = Dist { count, sum: mean * count as u32, min: some, max: some, percentiles: None };
        let jitter = (count > 1).then(|| Duration::from_micros(jitter_us));
        Arrivals { count: count + 1, interval, jitter }
    }

    fn merged(all: &[Arrivals]) -> Row {
        let mut row = Row::default();
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
