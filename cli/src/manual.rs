//! The flags and columns of a command, from which its man page and JSON schema are made.

use clap::Command;

use crate::{Columns, Field};

/// What the man page and the JSON schema of a command are made from.
pub struct Manual {
    /// The command's flags.
    pub command: Command,
    /// The columns that the command prints.
    pub tables: Vec<Table>,
}

/// Columns that rows or objects have.
pub struct Table {
    /// Heading of the table: which rows or objects have these columns.
    pub title: &'static str,
    /// The `type`s of the JSON objects that have these columns as members; empty where only CSV has them.
    pub objects: &'static [&'static str],
    /// The columns.
    pub fields: Vec<Field>,
}

/// The objects that are rows of statistics.
pub(crate) const STATISTICS: &[&str] = &["interval", "summary"];

impl Table {
    /// A table of columns that only CSV has.
    #[must_use]
    pub fn csv<Row>(title: &'static str, columns: &[&dyn Columns<Row>]) -> Self {
        Self::new(title, &[], columns)
    }

    /// A table of the columns of `interval` and `summary` objects. CSV may have the same columns.
    #[must_use]
    pub fn statistics<Row>(title: &'static str, columns: &[&dyn Columns<Row>]) -> Self {
        Self::new(title, STATISTICS, columns)
    }

    /// A table of the members of JSON objects whose `type` is one of `objects`.
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
