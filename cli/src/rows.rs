//! Writes rows of statistics as CSV lines or JSON objects, and events as JSON objects.

use std::{borrow::Borrow, time::Duration};

use anyhow::Result;
use probes::Error;

use crate::{Clock, Columns, Common, Format, Out, clock::Times, csv_line, json};

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

/// Prints a command's rows in the format that the flags ask for.
pub struct Rows<Row: 'static> {
    format: Format,
    timestamp: bool,
    columns: Vec<&'static dyn Columns<Row>>,
    /// Begins of JSON objects, by [`Period`].
    begins: [String; 2],
    json: json::Form<Row>,
}

impl<Row> Rows<Row> {
    /// Makes the printer of rows of `tool` (a command's name without `sctp-`) with these columns.
    #[must_use]
    pub fn new(tool: &'static str, common: &Common, columns: Vec<&'static dyn Columns<Row>>) -> Self {
        let begins = [Period::Interval, Period::Summary].map(|period| json::begin(period.name(), tool));
        let json = json::Form::new(columns.clone());
        Self { format: common.format(), timestamp: common.timestamp, columns, begins, json }
    }

    /// Writes the header of CSV; nothing in other formats.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub fn header(&self, out: &mut Out) -> Result<()> {
        if self.format != Format::Csv {
            return Ok(());
        }
        let first: &[&str] = if self.timestamp { &["time"] } else { &[] };
        out.row(|line| csv_line::header(line, first, &self.columns))
    }

    /// Writes the rows of a period, all with the same time, if the format has rows of that period. CSV has
    /// rows of the whole run or, with `--timestamp`, of every interval instead (the last interval included).
    /// JSON has both. Text has none: each command writes its own.
    ///
    /// # Errors
    /// Where the output cannot be written, or the kernel does not let the rows be read.
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
            return out.object(|to| self.json.write(to, &self.begins[period as usize], now.as_bytes(), row));
        }
        let first: &[&str] = if self.timestamp { &[now] } else { &[] };
        out.row(|line| csv_line::row(line, first, &self.columns, row))
    }
}

/// Writes a command's events of one type as JSON objects.
pub struct Events<Event: 'static> {
    /// Begin of each object.
    begin: String,
    json: json::Form<Event>,
    times: Times,
}

impl<Event> Events<Event> {
    /// Makes the printer of events of `tool` (a command's name without `sctp-`) with these columns. `kind` is the `type`
    /// of their objects.
    #[must_use]
    pub fn new(tool: &str, kind: &str, columns: &[&'static dyn Columns<Event>]) -> Self {
        Self {
            begin: json::begin(kind, tool),
            json: json::Form::new(columns.to_vec()),
            times: Times::default(),
        }
    }

    /// Writes an event that happened at the moment `at` of `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub fn write(&mut self, out: &mut Out, clock: &Clock, at: Duration, event: &Event) -> Result<()> {
        let time = self.times.of(clock, at);
        out.object(|to| self.json.write(to, &self.begin, time, event))
    }
}
