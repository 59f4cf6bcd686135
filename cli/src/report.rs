//! What a command prints of its records and statistics.

use anyhow::Result;
use jiff::tz::TimeZone;
use probes::{Due, Error};

use crate::{Common, Format, Out};

/// Turns a command's records and statistics into lines. Writing these lines is its only side effect.
pub trait Report {
    /// A single event.
    type Record;
    /// Statistics of a path, an association or a stream.
    type Row;

    /// Writes the header of text rows or of CSV, which follows the banner.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn header(&mut self, out: &mut Out) -> Result<()>;

    /// Writes rows or objects of events, and empties `records`.
    ///
    /// # Errors
    /// Where they cannot be written.
    fn records(&mut self, _out: &mut Out, _records: &mut Vec<Self::Record>) -> Result<()> {
        Ok(())
    }

    /// The form of the output, as the flags ask for it.
    fn form(&self) -> &Form;

    /// Writes the rows or objects of an interval.
    ///
    /// # Errors
    /// Where they cannot be written, or the kernel does not let them be read.
    fn interval(&mut self, out: &mut Out, rows: impl Iterator<Item = Result<Self::Row, Error>>)
    -> Result<()>;

    /// Whose totals are due at the end of an interval, or (`at_end`) of the run. By default, text and CSV have all totals
    /// at the end of the run. JSON has those of an ended association in the interval in which it ended, and does not
    /// repeat them.
    fn due(&self, at_end: bool) -> Option<Due> {
        match (self.form().format, at_end) {
            (Format::Json, true) => Some(Due::EndedAndLiving),
            (Format::Json, false) => Some(Due::Ended),
            (_, true) => Some(Due::All),
            (_, false) => None,
        }
    }

    /// Writes the rows or objects of the totals that are due.
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

/// The form of the output, as the flags ask for it.
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
