//! The types that describe a command's flags and columns to the man page and the JSON schema.

use clap::{Command, CommandFactory};

use crate::{Columns, Field, MetricField, Metrics, Shown, command, findings, lifecycle};

/// Describes a command: its flags, columns and metrics, for the man page, the JSON schema and the check of `--sort`.
pub struct Manual {
    /// The command's flags.
    pub command: Command,
    /// The columns that the command prints, in groups.
    pub tables: Vec<Table>,
    /// The metrics of `--listen` and `--textfile`.
    pub metrics: Vec<MetricField>,
    /// The columns of `--live`.
    pub live: &'static Shown,
}

impl Manual {
    /// The flags of `Flags`, the columns of `tables` and those that all commands have, the metrics, and what a screen shows.
    #[must_use]
    pub fn new<Flags: CommandFactory>(
        mut tables: Vec<Table>,
        metrics: &Metrics<impl Sized>,
        live: &'static Shown,
    ) -> Self {
        tables.extend(findings::tables());
        tables.extend(lifecycle::tables());
        Self { command: command::<Flags>(), tables, metrics: metrics.fields(), live }
    }
}

/// A group of columns that certain CSV rows or JSON objects have.
pub struct Table {
    /// Heading of the table. It says which rows or objects have these columns.
    pub title: &'static str,
    /// The `type`s of the JSON objects that have these columns as members. Empty for columns of CSV only, and
    /// for columns of the objects in a list.
    pub objects: &'static [&'static str],
    /// The columns.
    pub fields: Vec<Field>,
    /// True if these columns need a flag of their own: without that flag, no row and no object has them.
    pub optional: bool,
}

/// The `type`s of the JSON objects that are rows of statistics.
pub(crate) const STATISTICS: &[&str] = &["interval", "summary"];

impl Table {
    /// A table of columns that no JSON object has at its top level: those of CSV only, or of the objects in a
    /// list.
    #[must_use]
    pub fn csv<Row>(title: &'static str, columns: &[&dyn Columns<Row>]) -> Self {
        Self::new(title, &[], columns)
    }

    /// A table of the columns of `interval` and `summary` objects. CSV may have the same columns.
    #[must_use]
    pub fn statistics<Row>(title: &'static str, columns: &[&dyn Columns<Row>]) -> Self {
        Self::new(title, STATISTICS, columns)
    }

    /// A table as [`Table::statistics`] makes it, of columns that need a flag of their own.
    #[must_use]
    pub fn optional<Row>(title: &'static str, columns: &[&dyn Columns<Row>]) -> Self {
        Self { optional: true, ..Self::statistics(title, columns) }
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
        let fields = columns.iter().flat_map(|columns| columns.fields()).collect();
        Self { title, objects, fields, optional: false }
    }
}
