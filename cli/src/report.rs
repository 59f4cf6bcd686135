//! What a command prints of its records and statistics.

use anyhow::Result;
use jiff::tz::TimeZone;
use probes::{Due, Error};

use crate::{Common, Format, Out};

/// What a command prints: pure, but for the lines that it writes.
pub trait Report {
    /// A single event.
    type Record;
    /// Statistics of a path, an association or a stream.
    type Row;

    /// What comes after the banner: the header of text rows or of CSV.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn header(&mut self, out: &mut Out) -> Result<()>;

    /// Rows or objects of events, of which `records` is emptied.
    ///
    /// # Errors
    /// Where they cannot be written.
    fn records(&mut self, _out: &mut Out, _records: &mut Vec<Self::Record>) -> Result<()> {
        Ok(())
    }

    /// The form that was asked for.
    fn form(&self) -> &Form;

    /// Rows or objects of an interval.
    ///
    /// # Errors
    /// Where they cannot be written, or the kernel does not let them be read.
    fn interval(&mut self, out: &mut Out, rows: impl Iterator<Item = Result<Self::Row, Error>>)
    -> Result<()>;

    /// Whose totals are due at the end of an interval, or of the run: unless said otherwise, of all at the end; but an
    /// object of what has ended comes then, and is not repeated.
    fn due(&self, at_end: bool) -> Option<Due> {
        match (self.form().format, at_end) {
            (Format::Json, true) => Some(Due::EndedAndLiving),
            (Format::Json, false) => Some(Due::Ended),
            (_, true) => Some(Due::All),
            (_, false) => None,
        }
    }

    /// Rows or objects of totals that are due.
    ///
    /// # Errors
    /// Where they cannot be written, or the kernel does not let them be read.
    fn totals(
        &mut self,
        out: &mut Out,
        rows: impl Iterator<Item = Result<Self::Row, Error>>,
        at_end: bool,
    ) -> Result<()>;
}

/// The form that was asked for.
#[derive(Clone, Debug)]
pub struct Form {
    /// Text, CSV or JSON.
    pub format: Format,
    /// More columns, and rows of their own for paths or streams.
    pub extended: bool,
    /// Rows at every interval.
    pub intervals: bool,
    /// Histograms at the end.
    pub histograms: bool,
    /// The time zone of times of day.
    pub zone: TimeZone,
}

impl Form {
    /// As the flags ask for it.
    #[must_use]
    pub fn new(common: &Common) -> Self {
        Self {
            format: common.format(),
            extended: common.is_extended(),
            intervals: common.has_interval_rows(),
            histograms: common.histogram,
            zone: TimeZone::system(),
        }
    }
}
