//! The output of `sctp-rtt`: its columns, and its text, CSV and JSON.

use anyhow::Result;
use cli::{
    ASSOC_ID, Clock, Column, Columns, Common, DIST_US, Events, Findings, Form, Format,
    Get::{Bool, Float, Int},
    IDENTITY, Metrics, OWNER, Out, PATH, PERCENTILES_US, Part, Period, Rows, Shared, Shown, Table,
    TimesOfDay, draw, endpoints, us,
};
use probes::{
    DurationDist, Error, Identity,
    rtt::{Row, Sample},
};

use crate::{findings::RULES, metrics::METRICS};

const ASSOC: Part<Row, Identity> = Part { prefix: "", what: "", of: |r| Some(&r.id), columns: ASSOC_ID };
const SAMPLES: &[Column<Row>] =
    &[Column::counter("samples", "chunks acknowledged", Int(|r| Some(r.all.count)))];
const RTT: Part<Row, DurationDist> =
    Part { prefix: "rtt_", what: "acknowledgement latency", of: |r| Some(&r.all), columns: DIST_US };

/// The columns that the Python script, which this command replaces, has too.
const COLUMNS: &[&dyn Columns<Row>] = &[&ASSOC, &SAMPLES, &RTT];

/// The columns that `--extended` and `--json` add.
const MORE: &[&dyn Columns<Row>] = &[
    &Part { prefix: "", what: "", of: |r: &Row| Some(&r.id), columns: IDENTITY },
    &Part { prefix: "", what: "", of: |r: &Row| Some(&r.id), columns: PATH },
    &Part {
        prefix: "rtt_",
        what: "acknowledgement latency",
        of: |r: &Row| Some(&r.all),
        columns: PERCENTILES_US,
    },
    &PROMPT_SAMPLES,
    &Part {
        prefix: "prompt_rtt_",
        what: "latency of prompt samples, which is the path's round-trip time",
        of: |r: &Row| Some(&r.prompt),
        columns: DIST_US,
    },
    &Part {
        prefix: "prompt_rtt_",
        what: "latency of prompt samples",
        of: |r: &Row| Some(&r.prompt),
        columns: PERCENTILES_US,
    },
    &RETRANSMITTED,
    &Part { prefix: "", what: "", of: |r: &Row| Some(&r.id), columns: OWNER },
];
const PROMPT_SAMPLES: &[Column<Row>] =
    &[Column::counter("prompt_samples", "chunks whose SACK was due at once", Int(|r| Some(r.prompt.count)))];
const RETRANSMITTED: &[Column<Row>] =
    &[Column::counter("retransmitted", "chunks retransmitted", Int(|r| Some(r.retransmitted)))];

/// The columns of a `sample` object: the acknowledgement of one chunk.
const SAMPLE: &[&dyn Columns<Sample>] = &[
    &Shared {
        of: |s: &Sample| s.id.as_ref(),
        columns: &[
            &SAMPLE_ASSOC,
            &Part { prefix: "", what: "", of: |s: &Sample| s.id.as_deref(), columns: IDENTITY },
            &Part { prefix: "", what: "", of: |s: &Sample| s.id.as_deref(), columns: PATH },
        ],
    },
    &SAMPLE_VALUES,
    &Shared {
        of: |s: &Sample| s.id.as_ref(),
        columns: &[&Part { prefix: "", what: "", of: |s: &Sample| s.id.as_deref(), columns: OWNER }],
    },
];
const SAMPLE_ASSOC: &[Column<Sample>] =
    &[Column::label("assoc_id", "association id", Int(|s| Some(s.assoc_id.into())))];
const SAMPLE_VALUES: &[Column<Sample>] = &[
    Column::label("tsn", "TSN of the chunk", Int(|s| Some(s.tsn.into()))),
    Column::gauge("rtt_us", "acknowledgement latency", Float(|s| Some(us(s.rtt)))),
    Column::label("prompt", "the SACK was due at once", Bool(|s| Some(s.prompt))),
];

/// What `--live` shows: a row per path, as `-x` has it. Percentiles of an association's paths cannot be merged.
pub const LIVE: Shown = Shown {
    columns: &[
        "assoc_id",
        "path",
        "rtt_p99_us",
        "rtt_p50_us",
        "rtt_max_us",
        "samples",
        "retransmitted",
        "prompt_rtt_p99_us",
        "comm",
        "peer",
    ],
    worst: &["rtt_p99_us", "retransmitted"],
    low: &[],
};

/// The tables of all columns, for man page and JSON schema.
pub fn tables() -> Vec<Table> {
    vec![
        Table::statistics("CSV columns", COLUMNS),
        Table::statistics("More with -x and --json", MORE),
        Table::events("Objects of type sample", &["sample"], SAMPLE),
    ]
}

/// Prints samples and statistics in the form that the flags ask for.
pub struct Report {
    rows: Rows<Row>,
    samples: Events<Sample>,
    findings: Findings,
    form: Form,
    /// True if a text summary goes to stdout: without `--csv` and `--json`, even if rows go to FILE. The
    /// Python script does the same.
    text_summary: bool,
}

impl Report {
    /// Makes a report in the form that the flags ask for.
    pub fn new(common: &Common) -> Self {
        let form = Form::new(common);
        let columns = if form.extended { [COLUMNS, MORE].concat() } else { COLUMNS.to_vec() };
        Self {
            rows: Rows::new("rtt", common, columns, &LIVE),
            samples: Events::new("rtt", "sample", SAMPLE),
            findings: Findings::new("rtt", common),
            form,
            text_summary: !common.json && !common.csv,
        }
    }

    /// Sorts the rows by association, life and path. Unless extended, leaves out rows without samples, and
    /// merges the rows of all paths of an association (of each of its lives) into one, without percentiles.
    fn merge(&self, mut rows: Vec<Row>) -> Vec<Row> {
        if self.form.extended {
            return rows;
        }
        rows.retain(|row| row.all.count > 0);
        rows.iter_mut().for_each(|row| row.all.percentiles = None);
        rows.dedup_by(|next, kept| {
            let same = (next.id.assoc_id, next.id.life) == (kept.id.assoc_id, kept.id.life);
            if same {
                kept.all.merge(&next.all);
                if let (Some(kept), Some(next)) = (&mut kept.histogram, &next.histogram) {
                    kept.merge(next);
                }
            }
            same
        });
        rows
    }
}

/// The rows by association, then by path.
fn sorted(rows: impl Iterator<Item = Result<Row, Error>>) -> Result<Vec<Row>> {
    let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
    rows.sort_by_key(|row| (row.id.assoc_id, row.id.life, row.id.path));
    Ok(rows)
}

impl cli::Report for Report {
    type Record = Sample;
    type Row = Row;

    fn metrics(&self) -> &'static Metrics<Row> {
        &METRICS
    }

    fn findings(&self) -> Option<&Findings> {
        Some(&self.findings)
    }

    fn header(&mut self, out: &mut Out) -> Result<()> {
        if self.form.format != Format::Text {
            return self.rows.header(out);
        }
        let more = if self.form.extended { " PROMPT PATH" } else { "" };
        out.text(&format!("{:<8} {:<10} {:<10} {:<8}{more}", "ASSOC", "TSN", "RTT(ms)", "TIME"))
    }

    fn records(&mut self, out: &mut Out, records: &mut Vec<Sample>) -> Result<()> {
        if !self.form.samples {
            records.clear();
            return Ok(());
        }
        let clock = Clock::now();
        let mut times = TimesOfDay::new(&clock, &self.form.zone);
        let mut line = String::new();
        for sample in records.drain(..) {
            if self.form.format == Format::Json {
                self.samples.write(out, &clock, sample.at, &sample)?;
                continue;
            }
            text_row(&mut line, &sample, times.of(sample.at));
            if self.form.extended {
                let prompt = if sample.prompt { "yes" } else { "no" };
                let path = sample.id.as_ref().and_then(|id| id.path);
                line += &format!(" {prompt:<6} {}", path.map_or("-".to_owned(), |p| p.to_string()));
            }
            out.text(&line)?;
        }
        Ok(())
    }

    fn form(&self) -> &Form {
        &self.form
    }

    fn interval(&mut self, out: &mut Out, rows: impl Iterator<Item = Result<Row, Error>>) -> Result<()> {
        let rows = sorted(rows)?;
        rows.iter().for_each(|row| self.findings.evaluate(RULES, Some(&row.id), row));
        let rows = self.merge(rows);
        self.rows.print(out, Period::Interval, rows.into_iter().map(Ok))?;
        self.findings.end_interval(out)
    }

    fn totals(
        &mut self,
        out: &mut Out,
        rows: impl Iterator<Item = Result<Row, Error>>,
        _at_end: bool,
    ) -> Result<()> {
        let rows = self.merge(sorted(rows)?);
        if self.text_summary {
            for row in &rows {
                text_summary(row, self.form.extended, out)?;
                if let (true, Some(histogram)) = (self.form.histograms, &row.histogram) {
                    let title = format!("{}: acknowledgement latency", label(row, self.form.extended));
                    draw(out, &title, "usecs", histogram)?;
                }
            }
        }
        self.rows.print(out, Period::Summary, rows.into_iter().map(Ok))
    }
}

/// Writes the line of a sample into `row`, in the Python script's format `%-8d %-10u %-10.3f %-8s`. There are
/// many samples, and `format!` takes several times as long.
fn text_row(row: &mut String, sample: &Sample, time_of_day: &str) {
    let rtt_us = (sample.rtt.as_nanos() as u64 + 500) / 1000;
    let mut digits = itoa::Buffer::new();
    row.clear();
    row.push_str(digits.format(sample.assoc_id));
    let start = pad(row, 8);
    row.push_str(digits.format(sample.tsn));
    let start = pad(row, start + 10);
    row.push_str(digits.format(rtt_us / 1000));
    row.push('.');
    row.push_str(&digits.format(1000 + rtt_us % 1000)[1..]);
    pad(row, start + 10);
    row.push_str(time_of_day);
}

/// Fills a column with spaces up to the length `end` of `row`, adds a space, and returns where the next
/// column starts.
fn pad(row: &mut String, end: usize) -> usize {
    while row.len() < end {
        row.push(' ');
    }
    row.push(' ');
    row.len()
}

fn label(s: &Row, extended: bool) -> String {
    if !extended {
        return format!("Association {}", s.id.assoc_id);
    }
    let path = s.id.path.map_or("-".to_owned(), |p| p.to_string());
    format!("Association {} ({}, path {path})", s.id.assoc_id, endpoints(&s.id))
}

fn text_summary(s: &Row, extended: bool, out: &mut Out) -> Result<()> {
    out.text(&format!("{}:", label(s, extended)))?;
    out.text(&format!("  Samples: {}", s.all.count))?;
    text_dist("", &s.all, out)?;
    if extended {
        out.text(&format!("  Prompt samples: {}", s.prompt.count))?;
        text_dist("Prompt ", &s.prompt, out)?;
        out.text(&format!("  Retransmitted: {}", s.retransmitted))?;
    }
    Ok(())
}

fn text_dist(name: &str, dist: &DurationDist, out: &mut Out) -> Result<()> {
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
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn row(assoc_id: u32, tsn: u32, rtt: Duration) -> String {
        let mut row = "of before".to_owned();
        let sample = Sample { at: Duration::ZERO, rtt, assoc_id, tsn, id: None, prompt: false };
        text_row(&mut row, &sample, "11:05:26");
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
