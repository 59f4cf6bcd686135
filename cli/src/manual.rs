//! What the man page of a command is made of, besides its written part.

use clap::Command;

use crate::Column;

/// A command as its man page describes it.
pub struct Manual {
    /// Its flags.
    pub command: Command,
    /// What it prints.
    pub tables: Vec<Table>,
}

/// Columns that rows or objects have.
pub struct Table {
    /// What has them.
    pub title: &'static str,
    /// Name and meaning of each.
    pub columns: Vec<(&'static str, &'static str)>,
}

impl Table {
    /// A table of all these columns.
    #[must_use]
    pub fn of<Row>(title: &'static str, columns: &[&[Column<Row>]]) -> Self {
        Self { title, columns: columns.iter().copied().flatten().map(|c| (c.name, c.doc)).collect() }
    }
}
