//! Rows of statistics as CSV lines or JSON objects: the one way they leave a command.

use std::borrow::Borrow;

use anyhow::Result;
use probes::Error;

use crate::{Clock, Columns, Common, Format, Out, csv_line, json::Object};

/// The period that a row covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// One interval.
    Interval,
    /// The whole run.
    Summary,
}

impl Period {
    fn name(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Summary => "summary",
        }
    }
}

/// Prints rows in the form that was asked for.
pub struct Rows<Row: 'static> {
    tool: &'static str,
    format: Format,
    timestamp: bool,
    columns: Vec<&'static dyn Columns<Row>>,
}

impl<Row> Rows<Row> {
    /// Rows of `tool` (its name without `sctp-`) with these columns.
    #[must_use]
    pub fn new(tool: &'static str, common: &Common, columns: Vec<&'static dyn Columns<Row>>) -> Self {
        Self { tool, format: common.format(), timestamp: common.timestamp, columns }
    }

    /// Writes the CSV header; nothing in other forms.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn header(&self, out: &mut Out) -> Result<()> {
        if self.format != Format::Csv {
            return Ok(());
        }
        let first: &[&str] = if self.timestamp { &["time"] } else { &[] };
        out.row(|line| csv_line::header(line, first, &self.columns))
    }

    /// Writes rows of a period, where they are due: CSV has rows at the end, or with `--timestamp` those of every interval
    /// (the last one included) instead; JSON has both; text has none. All have one and the same time.
    ///
    /// # Errors
    /// Where they cannot be written, or the kernel does not let them be read.
    pub fn print<Item: Borrow<Row>>(
        &self,
        out: &mut Out,
        period: Period,
        rows: impl IntoIterator<Item = Result<Item, Error>>,
    ) -> Result<()> {
        if !self.prints(period) {
            return Ok(());
        }
        let now = Clock::now().rfc3339_now();
        for row in rows {
            self.write(out, period, &now, row?.borrow())?;
        }
        Ok(())
    }

    fn prints(&self, period: Period) -> bool {
        match self.format {
            Format::Text => false,
            Format::Csv => self.timestamp == (period == Period::Interval),
            Format::Json => true,
        }
    }

    fn write(&self, out: &mut Out, period: Period, now: &str, row: &Row) -> Result<()> {
        if self.format == Format::Json {
            let columns = &self.columns;
            return out.json(&Object { kind: period.name(), tool: self.tool, time: &now, columns, row });
        }
        let first: &[&str] = if self.timestamp { &[now] } else { &[] };
        out.row(|line| csv_line::row(line, first, &self.columns, row))
    }

    /// Writes the object of an event: `kind` is its `type`, `time` when it happened.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn event<Event>(
        &self,
        out: &mut Out,
        kind: &str,
        time: &str,
        columns: &[&dyn Columns<Event>],
        event: &Event,
    ) -> Result<()> {
        out.json(&Object { kind, tool: self.tool, time: &time, columns, row: event })
    }
}
