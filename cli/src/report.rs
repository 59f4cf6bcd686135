//! How a command prints its records and statistics.

use anyhow::Result;
use jiff::tz::TimeZone;
use probes::{Due, Error};

use crate::{Common, Findings, Format, Metrics, Out};

/// Turns a command's records and statistics into lines. Writing these lines is its only side effect.
pub trait Report {
    /// A single event.
    type Record;
    /// Statistics of a path, an association or a stream.
    type Row: 'static;

    /// The metrics that rows have.
    fn metrics(&self) -> &'static Metrics<Self::Row>;

    /// The findings about associations; `None` for a command that has none.
    fn findings(&self) -> Option<&Findings> {
        None
    }

    /// Writes the header of text lines or of CSV, which follows the banner.
    ///
    /// # Errors
    /// Where the output cannot be written.
    fn header(&mut self, out: &mut Out) -> Result<()>;

    /// Writes the text lines or JSON objects of `records`, and empties that. Commands without records need
    /// not implement this.
    ///
    /// # Errors
    /// Where the output cannot be written.
    fn records(&mut self, _out: &mut Out, _records: &mut Vec<Self::Record>) -> Result<()> {
        Ok(())
    }

    /// Returns the form of the output that the flags ask for.
    fn form(&self) -> &Form;

    /// Writes the statistics of the interval that has just ended, as CSV lines or JSON objects, and the findings in
    /// these statistics.
    ///
    /// # Errors
    /// Where the output cannot be written, or the kernel does not let the statistics be read.
    fn interval(&mut self, out: &mut Out, rows: impl Iterator<Item = Result<Self::Row, Error>>)
    -> Result<()>;

    /// Returns which totals are due at the end of an interval or, with `at_end`, of the run; `None`: no
    /// totals. By default, text and CSV have all totals at the end of the run. JSON has the totals of an
    /// ended association at the end of the interval in which it ended, and those of the other associations at
    /// the end of the run. A screen has none.
    fn due(&self, at_end: bool) -> Option<Due> {
        match (self.form().format, at_end) {
            (Format::Json, true) => Some(Due::EndedAndLiving),
            (Format::Json, false) => Some(Due::Ended),
            (Format::Live, _) => None,
            (_, true) => Some(Due::All),
            (_, false) => None,
        }
    }

    /// Writes the totals that are due ([`Report::due`]), as text, CSV lines or JSON objects.
    ///
    /// # Errors
    /// Where the output cannot be written, or the kernel does not let the statistics be read.
    fn totals(
        &mut self,
        out: &mut Out,
        rows: impl Iterator<Item = Result<Self::Row, Error>>,
        at_end: bool,
    ) -> Result<()>;
}

/// The form of the output that the flags ask for.
#[derive(Clone, Debug)]
pub struct Form {
    /// Text, CSV, JSON or a screen.
    pub format: Format,
    /// Print more columns, and in some commands a row per path or stream.
    pub extended: bool,
    /// Read the statistics of each interval, to print them or to look for findings in them.
    pub intervals: bool,
    /// Print text lines, rows or objects; false where metrics are all that is asked for.
    pub rows: bool,
    /// Print each sample, where the format has samples.
    pub samples: bool,
    /// Draw histograms at the end of the run.
    pub histograms: bool,
    /// The time zone in which text has times of day.
    pub zone: TimeZone,
}

impl Form {
    /// The form that the flags ask for.
    #[must_use]
    pub fn new(common: &Common) -> Self {
        Self {
            format: common.format(),
            extended: common.is_extended(),
            intervals: common.has_interval_rows() || common.has_findings(),
            rows: common.has_rows(),
            samples: common.has_samples(),
            histograms: common.histogram,
            zone: TimeZone::system(),
        }
    }
}
