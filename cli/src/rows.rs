//! Rows of statistics as CSV lines or JSON objects: the one way they leave a command.

use std::borrow::Borrow;

use anyhow::Result;
use serde_json::{Map, Value as Json};

use crate::{Clock, Column, Common, Format, Out, csv_header, csv_row, json_object};

/// What period a row covers.
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
    columns: Vec<&'static [Column<Row>]>,
}

impl<Row> Rows<Row> {
    /// Rows of `tool` (its name without `sctp-`) with the script's `columns`, and with `more` if extended.
    #[must_use]
    pub fn new(
        tool: &'static str,
        common: &Common,
        columns: &'static [Column<Row>],
        more: &[&'static [Column<Row>]],
    ) -> Self {
        let more = if common.is_extended() { more } else { &[] };
        Self::of(tool, common, [&[columns], more].concat())
    }

    /// Rows of `tool` with these columns.
    #[must_use]
    pub fn of(tool: &'static str, common: &Common, columns: Vec<&'static [Column<Row>]>) -> Self {
        Self { tool, format: common.format(), timestamp: common.timestamp, columns }
    }

    /// The CSV header; nothing in other forms.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn header(&self, out: &mut Out) -> Result<()> {
        if self.format != Format::Csv {
            return Ok(());
        }
        let first: &[&str] = if self.timestamp { &["time"] } else { &[] };
        out.row(&csv_header(first, &self.columns))
    }

    /// Rows of a period, where they are due: CSV has rows at the end, or with `--timestamp` those of every interval (the
    /// last one included) instead; JSON has both; text has none.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn print(
        &self,
        out: &mut Out,
        period: Period,
        rows: impl IntoIterator<Item = impl Borrow<Row>>,
    ) -> Result<()> {
        let print = self.printer(period);
        rows.into_iter().try_for_each(|row| print(out, row.borrow()))
    }

    /// Prints rows of a period one by one, as [`Rows::print`] does, with one and the same time.
    pub fn printer(&self, period: Period) -> impl Fn(&mut Out, &Row) -> Result<()> {
        let now = Clock::now().rfc3339_now();
        move |out, row| match self.format {
            Format::Csv if self.timestamp == (period == Period::Interval) => {
                let first: &[&str] = if self.timestamp { &[&now] } else { &[] };
                out.row(&csv_row(first, &self.columns, row))
            }
            Format::Json => {
                let mut object = self.object(period.name(), &now);
                object.extend(json_object(&self.columns, row));
                out.json(&object)
            }
            Format::Csv | Format::Text => Ok(()),
        }
    }

    fn object(&self, kind: &str, now: &str) -> Map<String, Json> {
        [("type", kind), ("tool", self.tool), ("time", now)]
            .map(|(k, v)| (k.to_owned(), Json::from(v)))
            .into_iter()
            .collect()
    }

    /// The object of an event: `kind` is its `type`, `time` when it happened.
    pub fn event<Event>(
        &self,
        kind: &str,
        time: &str,
        columns: &[&[Column<Event>]],
        event: &Event,
    ) -> Map<String, Json> {
        let mut object = self.object(kind, time);
        object.extend(json_object(columns, event));
        object
    }
}
