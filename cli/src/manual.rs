//! What the man page and the schema of a command are made of.

use clap::Command;

use crate::{Columns, Field};

/// A command as its man page and its schema describe it.
pub struct Manual {
    /// Its flags.
    pub command: Command,
    /// What it prints.
    pub tables: Vec<Table>,
}

/// Columns that rows or objects have.
pub struct Table {
    /// What has them, as a heading.
    pub title: &'static str,
    /// The `type`s of the JSON objects that have them as members; none where only CSV has them.
    pub objects: &'static [&'static str],
    /// The columns.
    pub fields: Vec<Field>,
}

/// The objects that are rows of statistics.
pub(crate) const STATISTICS: &[&str] = &["interval", "summary"];

impl Table {
    /// Columns of CSV alone.
    #[must_use]
    pub fn csv<Row>(title: &'static str, columns: &[&dyn Columns<Row>]) -> Self {
        Self::new(title, &[], columns)
    }

    /// Columns of the JSON objects of intervals and summaries, and perhaps of CSV.
    #[must_use]
    pub fn statistics<Row>(title: &'static str, columns: &[&dyn Columns<Row>]) -> Self {
        Self::new(title, STATISTICS, columns)
    }

    /// Members of JSON objects of these types.
    #[must_use]
    pub fn events<Row>(
        title: &'static str,
        objects: &'static [&'static str],
        columns: &[&dyn Columns<Row>],
    ) -> Self {
        Self::new(title, objects, columns)
    }

    fn new<Row>(
        title: &'static str,
        objects: &'static [&'static str],
        columns: &[&dyn Columns<Row>],
    ) -> Self {
        Self { title, objects, fields: columns.iter().flat_map(|columns| columns.fields()).collect() }
    }
}
