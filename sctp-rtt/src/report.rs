//! The rows of `sctp-rtt`: what is printed, in which form.

use std::time::Duration;

use anyhow::Result;
use cli::{
    Accounting, Clock, Column, Common, EntryReport, Format, Out, Period, Rows, Skipped, Table, TimesOfDay,
    Value, draw, ends, identity_columns, us,
};
use jiff::tz::TimeZone;
use probes::{
    EntryProbe, EntryRef, Identity,
    rtt::{Dist, Rtt, Sample, Stats},
};

/// The columns that the Python script has too.
const COLUMNS: &[Column<Stats>] = &[
    Column { name: "assoc_id", doc: "association id", get: |s| Value::Int(s.id.assoc_id.into()) },
    Column { name: "samples", doc: "chunks acknowledged", get: |s| Value::Int(s.all.count) },
    Column { name: "rtt_avg_us", doc: "mean acknowledgement latency", get: |s| avg(&s.all) },
    Column { name: "rtt_min_us", doc: "smallest", get: |s| Value::us(s.all.min) },
    Column { name: "rtt_max_us", doc: "largest", get: |s| Value::us(s.all.max) },
];

/// Whose a row is, with `--extended` and `--json`.
const IDENTITY: &[Column<Stats>] = identity_columns!(Stats, |s| &s.id);

/// The other columns that those add.
const MORE: &[Column<Stats>] = &[
    Column { name: "path", doc: "peer's address of this path", get: |s| Value::text(s.id.path) },
    Column { name: "rtt_p50_us", doc: "median", get: |s| percentile(&s.all, 0) },
    Column { name: "rtt_p90_us", doc: "90th percentile", get: |s| percentile(&s.all, 1) },
    Column { name: "rtt_p99_us", doc: "99th percentile", get: |s| percentile(&s.all, 2) },
    Column {
        name: "prompt_samples",
        doc: "chunks whose SACK was due at once",
        get: |s| Value::Int(s.prompt.count),
    },
    Column {
        name: "prompt_rtt_avg_us",
        doc: "their mean: the path's round-trip time",
        get: |s| avg(&s.prompt),
    },
    Column { name: "prompt_rtt_min_us", doc: "their smallest", get: |s| Value::us(s.prompt.min) },
    Column { name: "prompt_rtt_max_us", doc: "their largest", get: |s| Value::us(s.prompt.max) },
    Column { name: "prompt_rtt_p50_us", doc: "their median", get: |s| percentile(&s.prompt, 0) },
    Column { name: "prompt_rtt_p90_us", doc: "their 90th percentile", get: |s| percentile(&s.prompt, 1) },
    Column { name: "prompt_rtt_p99_us", doc: "their 99th percentile", get: |s| percentile(&s.prompt, 2) },
    Column { name: "retransmitted", doc: "chunks retransmitted", get: |s| Value::Int(s.retransmitted) },
];

/// Prints samples and statistics in the form that was asked for.
pub struct Report {
    rows: Rows<Stats>,
    format: Format,
    extended: bool,
    intervals: bool,
    histograms: bool,
    /// Text summary on stdout, also beside a FILE: as the script has it.
    text_summary: bool,
    zone: TimeZone,
}

type Event = (Sample, Option<Identity>);

/// A `sample` object.
const SAMPLE: &[&[Column<Event>]] = &[
    &[Column { name: "assoc_id", doc: "association id", get: |(s, _)| Value::Int(s.assoc_id.into()) }],
    identity_columns!(Event, maybe | (_, id) | id.as_ref()),
    &[
        Column {
            name: "path",
            doc: "peer's address of this path",
            get: |(_, id)| Value::text(id.and_then(|id| id.path)),
        },
        Column { name: "tsn", doc: "TSN of the chunk", get: |(s, _)| Value::Int(s.tsn.into()) },
        Column { name: "rtt_us", doc: "acknowledgement latency", get: |(s, _)| Value::Float(us(s.rtt)) },
        Column { name: "prompt", doc: "the SACK was due at once", get: |(s, _)| Value::Bool(s.prompt) },
    ],
];

/// All that is printed in columns.
pub fn tables() -> Vec<Table> {
    vec![
        Table::of("CSV columns", &[COLUMNS]),
        Table::of("More with -x and --json", &[IDENTITY, MORE]),
        Table::of("Objects of type sample", SAMPLE),
    ]
}

impl Report {
    /// A report as the flags ask for it.
    pub fn new(common: &Common) -> Self {
        Self {
            rows: Rows::new("rtt", common, COLUMNS, &[IDENTITY, MORE]),
            format: common.format(),
            extended: common.is_extended(),
            intervals: common.has_interval_rows(),
            histograms: common.histogram,
            text_summary: !common.json && !common.csv,
            zone: TimeZone::system(),
        }
    }

    /// In a steady order; one per path if extended, else one per association that has samples.
    fn arrange(&self, mut stats: Vec<Stats>) -> Vec<Stats> {
        stats.sort_by_key(|s| (s.id.assoc_id, s.id.path));
        if self.extended {
            return stats;
        }
        stats.retain(|s| s.all.count > 0);
        stats.iter_mut().for_each(|s| s.all.percentiles = None);
        stats.dedup_by(|next, kept| {
            let same = next.id.assoc_id == kept.id.assoc_id;
            if same {
                kept.all.merge(&next.all);
                if let (Some(kept), Some(next)) = (&mut kept.histogram, &next.histogram) {
                    kept.merge(next);
                }
            }
            same
        });
        stats
    }
}

impl EntryReport for Report {
    type Probe = Rtt;

    fn has_intervals(&self) -> bool {
        self.intervals
    }

    fn header(&self, out: &mut Out) -> Result<()> {
        if self.format != Format::Text {
            return self.rows.header(out);
        }
        let more = if self.extended { " PROMPT PATH" } else { "" };
        out.text(&format!("{:<8} {:<10} {:<10} {:<8}{more}", "ASSOC", "TSN", "RTT(ms)", "TIME"))
    }

    fn records(
        &self,
        out: &mut Out,
        records: impl Iterator<Item = Sample>,
        mut identity: impl FnMut(EntryRef) -> Option<Identity>,
    ) -> Result<()> {
        let clock = Clock::now();
        let mut times = TimesOfDay::new(&clock, &self.zone);
        let mut row = String::new();
        for sample in records {
            if self.format == Format::Json {
                let (id, time) = (identity(sample.path), clock.rfc3339(sample.at));
                out.json(&self.rows.event("sample", &time, SAMPLE, &(sample, id)))?;
                continue;
            }
            text_row(&mut row, sample.assoc_id, sample.tsn, sample.rtt, times.of(sample.at));
            if self.extended {
                let prompt = if sample.prompt { "yes" } else { "no" };
                let path = identity(sample.path).and_then(|id| id.path);
                row += &format!(" {prompt:<6} {}", path.map_or("-".to_owned(), |p| p.to_string()));
            }
            out.text(&row)?;
        }
        Ok(())
    }

    fn interval(&self, out: &mut Out, stats: Vec<Stats>) -> Result<()> {
        self.rows.print(out, Period::Interval, self.arrange(stats))
    }

    fn summary(&self, out: &mut Out, stats: Vec<Stats>) -> Result<()> {
        let stats = self.arrange(stats);
        if self.text_summary {
            for s in &stats {
                text_summary(s, self.extended, out)?;
                if let (true, Some(histogram)) = (self.histograms, &s.histogram) {
                    let title = format!("{}: acknowledgement latency", whose(s, self.extended));
                    draw(out, &title, "usecs", histogram)?;
                }
            }
        }
        self.rows.print(out, Period::Summary, &stats)
    }

    fn accounting(&self, probe: &Rtt) -> Accounting {
        let a = probe.accounting();
        Accounting {
            events: a.samples,
            lost: a.lost,
            evicted: a.chunks_evicted + a.assocs_evicted + a.paths_evicted,
            skipped: vec![
                cli::missed(probe.missed()),
                Skipped {
                    reason: "evicted",
                    sentence: "their path had to make room for another: use --max-paths",
                    count: a.samples_evicted,
                },
                Skipped {
                    reason: "retransmitted",
                    sentence: "the chunk was retransmitted, and nothing tells which transmission was acknowledged",
                    count: a.retransmitted,
                },
                Skipped {
                    reason: "before_start",
                    sentence: "the chunk was sent before tracing began",
                    count: a.before_start,
                },
                Skipped {
                    reason: "abandoned",
                    sentence: "the chunk was given up (PR-SCTP)",
                    count: a.abandoned,
                },
                Skipped {
                    reason: "sack_missed",
                    sentence: "the SACK that covered the chunk was not seen",
                    count: a.sack_missed,
                },
                Skipped {
                    reason: "scan_limit",
                    sentence: "one SACK covered or named more than 8,192 chunks",
                    count: a.scan_limit,
                },
            ],
        }
    }
}

fn avg(dist: &Dist) -> Value {
    Value::float(dist.mean_us())
}

fn percentile(dist: &Dist, which: usize) -> Value {
    Value::us(dist.percentiles.map(|p| p[which]))
}

/// A row `%-8d %-10u %-10.3f %-8s`. There are many, and `format!` takes several times as long.
fn text_row(row: &mut String, assoc_id: u32, tsn: u32, rtt: Duration, time_of_day: &str) {
    let rtt_us = (rtt.as_nanos() as u64 + 500) / 1000;
    let mut digits = itoa::Buffer::new();
    row.clear();
    row.push_str(digits.format(assoc_id));
    let start = pad(row, 8);
    row.push_str(digits.format(tsn));
    let start = pad(row, start + 10);
    row.push_str(digits.format(rtt_us / 1000));
    row.push('.');
    row.push_str(&digits.format(1000 + rtt_us % 1000)[1..]);
    pad(row, start + 10);
    row.push_str(time_of_day);
}

/// Fills a column up to its end, and gives where the next one starts.
fn pad(row: &mut String, end: usize) -> usize {
    while row.len() < end {
        row.push(' ');
    }
    row.push(' ');
    row.len()
}

fn whose(s: &Stats, extended: bool) -> String {
    if !extended {
        return format!("Association {}", s.id.assoc_id);
    }
    let path = s.id.path.map_or("-".to_owned(), |p| p.to_string());
    format!("Association {} ({}, path {path})", s.id.assoc_id, ends(&s.id))
}

fn text_summary(s: &Stats, extended: bool, out: &mut Out) -> Result<()> {
    out.text(&format!("{}:", whose(s, extended)))?;
    out.text(&format!("  Samples: {}", s.all.count))?;
    text_dist("", &s.all, out)?;
    if extended {
        out.text(&format!("  Prompt samples: {}", s.prompt.count))?;
        text_dist("Prompt ", &s.prompt, out)?;
        out.text(&format!("  Retransmitted: {}", s.retransmitted))?;
    }
    Ok(())
}

fn text_dist(name: &str, dist: &Dist, out: &mut Out) -> Result<()> {
    let (Some(avg), Some(min), Some(max)) = (dist.mean_us(), dist.min, dist.max) else { return Ok(()) };
    out.text(&format!("  {name}Avg RTT: {avg:.3} us"))?;
    out.text(&format!("  {name}Min/Max RTT: {:.3}/{:.3} us", us(min), us(max)))?;
    if let Some(percentiles) = dist.percentiles {
        let [p50, p90, p99] = percentiles.map(us);
        out.text(&format!("  {name}p50/p90/p99 RTT: {p50:.3}/{p90:.3}/{p99:.3} us"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(assoc_id: u32, tsn: u32, rtt: Duration) -> String {
        let mut row = "of before".to_owned();
        text_row(&mut row, assoc_id, tsn, rtt, "11:05:26");
        row
    }

    #[test]
    fn nanoseconds_are_rounded() {
        let row = |ns| row(3, 1_805_979_775, Duration::from_nanos(ns));
        assert_eq!(row(22_335_499), "3        1805979775 22.335     11:05:26");
        assert_eq!(row(22_335_500), "3        1805979775 22.336     11:05:26");
        assert_eq!(row(999_999_500), "3        1805979775 1000.000   11:05:26");
    }

    proptest! {
        #[test]
        fn rows_are_those_of_format(assoc_id: u32, tsn: u32, us in 0_u64..100_000_000_000) {
            let expected = format!("{assoc_id:<8} {tsn:<10} {:<10.3} 11:05:26", us as f64 / 1e3);
            prop_assert_eq!(row(assoc_id, tsn, Duration::from_micros(us)), expected);
        }
    }
}
