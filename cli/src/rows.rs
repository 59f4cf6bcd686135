//! Writes rows of statistics as CSV lines, JSON objects or the table of a screen, and events as JSON objects.

use std::{borrow::Borrow, time::Duration};

use anyhow::Result;
use probes::Error;

use crate::{Clock, Columns, Common, Format, Out, Shown, clock::Times, csv_line, json, live::Picker};

/// The period of time whose statistics a row has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// One interval of the output.
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
    /// The first bytes of each JSON object, by [`Period`]: its type and the command's name.
    begins: [String; 2],
    json: json::Form<Row>,
    picker: Picker,
}

impl<Row> Rows<Row> {
    /// Makes a printer of rows with these columns. `tool`: the command's name without `sctp-`. `shown`: the columns of a
    /// screen.
    #[must_use]
    pub fn new(
        tool: &'static str,
        common: &Common,
        columns: Vec<&'static dyn Columns<Row>>,
        shown: &'static Shown,
    ) -> Self {
        let begins = [Period::Interval, Period::Summary].map(|period| json::begin(period.name(), tool));
        let json = json::Form::new(columns.clone());
        let picker = Picker::new(&columns, shown, common.sort.as_deref());
        Self { format: common.format(), timestamp: common.timestamp, columns, begins, json, picker }
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

    /// Writes the rows of a period, all with the same time stamp, if the format has rows of that period. CSV
    /// has rows of the whole run or, with `--timestamp`, of each interval instead, the last one included.
    /// JSON has both. Text has neither: each command writes its own text. A screen shows the worst rows of an interval.
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
        if self.format == Format::Live {
            out.show(self.picker.table(&self.columns, rows.into_iter())?);
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
            Format::Live => period == Period::Interval,
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

/// Writes a command's events of one type (such as one RTT sample each) as JSON objects.
pub struct Events<Event: 'static> {
    /// The first bytes of each JSON object: its type and the command's name.
    begin: String,
    json: json::Form<Event>,
    times: Times,
}

impl<Event> Events<Event> {
    /// Makes a printer of events with these columns. `tool`: the command's name without `sctp-`. `kind`: the
    /// value of the member `type` of each JSON object.
    #[must_use]
    pub fn new(tool: &str, kind: &str, columns: &[&'static dyn Columns<Event>]) -> Self {
        Self {
            begin: json::begin(kind, tool),
            json: json::Form::new(columns.to_vec()),
            times: Times::default(),
        }
    }

    /// Writes an event that happened at the time `at` on `CLOCK_MONOTONIC`; `clock` converts that to the time
    /// of day.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub fn write(&mut self, out: &mut Out, clock: &Clock, at: Duration, event: &Event) -> Result<()> {
        let time = self.times.of(clock, at);
        out.object(|to| self.json.write(to, &self.begin, time, event))
    }
}
