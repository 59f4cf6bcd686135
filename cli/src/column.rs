//! A column's name, unit, meaning and kind in one place, from which header, CSV row, JSON key, manual and schema come.

use std::net::{IpAddr, SocketAddr};

/// The kind of a column's values: whether they can be added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Names whose row it is, or says what it is about.
    Label,
    /// Only grows while the trace runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Mean, extreme or percentile of a distribution: cannot be added up.
    Distribution,
}

/// Where a column's value is in a `T`. `None` is unknown: empty in CSV, `null` in JSON.
pub enum Get<T> {
    /// A whole number.
    Int(fn(&T) -> Option<u64>),
    /// A number with the shortest digits that come back as the same number, always with a point (Python's `str`).
    Float(fn(&T) -> Option<f64>),
    /// A number with so many decimals.
    Fixed(fn(&T) -> Option<f64>, usize),
    /// A word.
    Text(fn(&T) -> Option<&str>),
    /// An address.
    Ip(fn(&T) -> Option<IpAddr>),
    /// An address and port; IPv6 in brackets.
    Socket(fn(&T) -> Option<SocketAddr>),
    /// True or false.
    Bool(fn(&T) -> Option<bool>),
}

/// The JSON type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// Text.
    String,
    /// True or false.
    Boolean,
    /// A list of objects.
    Array,
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Int(u64),
    Float(f64),
    Fixed(f64, usize),
    Text(&'a str),
    Ip(IpAddr),
    Socket(SocketAddr),
    Bool(bool),
    Null,
}

impl<T> Get<T> {
    fn value<'a>(&self, from: &'a T) -> Value<'a> {
        let value = match self {
            Self::Int(get) => get(from).map(Value::Int),
            Self::Float(get) => get(from).map(Value::Float),
            Self::Fixed(get, decimals) => get(from).map(|value| Value::Fixed(value, *decimals)),
            Self::Text(get) => get(from).map(Value::Text),
            Self::Ip(get) => get(from).map(Value::Ip),
            Self::Socket(get) => get(from).map(Value::Socket),
            Self::Bool(get) => get(from).map(Value::Bool),
        };
        value.unwrap_or(Value::Null)
    }

    fn json_type(&self) -> Type {
        match self {
            Self::Int(_) => Type::Integer,
            Self::Float(_) | Self::Fixed(..) => Type::Number,
            Self::Text(_) | Self::Ip(_) | Self::Socket(_) => Type::String,
            Self::Bool(_) => Type::Boolean,
        }
    }
}

/// One column of rows, or of a part `T` of them.
pub struct Column<T> {
    /// CSV header and JSON key, with its unit.
    name: &'static str,
    /// Meaning of the column, a phrase for manuals.
    doc: &'static str,
    kind: Kind,
    get: Get<T>,
}

impl<T> Column<T> {
    /// A column of [`Kind::Label`].
    #[must_use]
    pub const fn label(name: &'static str, doc: &'static str, get: Get<T>) -> Self {
        Self { name, doc, kind: Kind::Label, get }
    }

    /// A column of [`Kind::Counter`].
    #[must_use]
    pub const fn counter(name: &'static str, doc: &'static str, get: Get<T>) -> Self {
        Self { name, doc, kind: Kind::Counter, get }
    }

    /// A column of [`Kind::Gauge`].
    #[must_use]
    pub const fn gauge(name: &'static str, doc: &'static str, get: Get<T>) -> Self {
        Self { name, doc, kind: Kind::Gauge, get }
    }

    /// A column of [`Kind::Distribution`].
    #[must_use]
    pub const fn distribution(name: &'static str, doc: &'static str, get: Get<T>) -> Self {
        Self { name, doc, kind: Kind::Distribution, get }
    }
}

/// A column as manual and schema describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// CSV header and JSON key.
    pub name: String,
    /// Meaning of the column.
    pub doc: String,
    /// Kind of its values.
    pub kind: Kind,
    /// JSON type of its values, each of which may be `null`.
    pub json_type: Type,
    /// Columns of the objects, where the values are lists of objects.
    pub items: Vec<Field>,
}

/// Some columns of a `Row`, one after the other.
pub trait Columns<Row> {
    /// The description of each column.
    fn fields(&self) -> Vec<Field>;

    /// Writes each column's value in a row.
    #[doc(hidden)]
    fn write(&self, row: &Row, sink: &mut dyn Sink);
}

/// Receives the values of a row: one implementation writes a line of CSV, one the members of a JSON object.
#[doc(hidden)]
#[expect(private_interfaces, reason = "written by columns, and read by the formats of this crate")]
pub trait Sink {
    /// The value of the column named `prefix` and `name`.
    fn value(&mut self, prefix: &'static str, name: &'static str, value: Value<'_>);

    /// A list of objects, which CSV leaves out.
    fn list(&mut self, name: &'static str, objects: &dyn Objects);
}

/// The objects of a list.
#[doc(hidden)]
pub trait Objects {
    /// How many.
    fn len(&self) -> usize;

    /// Writes one of them.
    fn write(&self, index: usize, sink: &mut dyn Sink);
}

impl<Row> Columns<Row> for &'static [Column<Row>] {
    fn fields(&self) -> Vec<Field> {
        self.iter().map(|column| field("", "", column)).collect()
    }

    fn write(&self, row: &Row, sink: &mut dyn Sink) {
        self.iter().for_each(|column| sink.value("", column.name, column.get.value(row)));
    }
}

/// The columns of a part `T` of rows, said once for all rows that have such a part.
pub struct Part<Row: 'static, T: 'static> {
    /// Put before the columns' names.
    pub prefix: &'static str,
    /// What the part is, a phrase that is put before the columns' meanings, unless it is empty.
    pub what: &'static str,
    /// The part of a row; `None` where it is unknown, as are all its columns then.
    pub of: fn(&Row) -> Option<&T>,
    /// The columns.
    pub columns: &'static [Column<T>],
}

impl<Row, T> Columns<Row> for Part<Row, T> {
    fn fields(&self) -> Vec<Field> {
        self.columns.iter().map(|column| field(self.prefix, self.what, column)).collect()
    }

    fn write(&self, row: &Row, sink: &mut dyn Sink) {
        let part = (self.of)(row);
        for column in self.columns {
            let value = part.map_or(Value::Null, |part| column.get.value(part));
            sink.value(self.prefix, column.name, value);
        }
    }
}

fn field<T>(prefix: &str, what: &str, column: &Column<T>) -> Field {
    let doc = if what.is_empty() { column.doc.to_owned() } else { format!("{what}: {}", column.doc) };
    Field {
        name: format!("{prefix}{}", column.name),
        doc,
        kind: column.kind,
        json_type: column.get.json_type(),
        items: Vec::new(),
    }
}

/// A list of objects in each row; only in JSON.
pub struct List<Row: 'static, Item: 'static> {
    /// JSON key.
    pub name: &'static str,
    /// Meaning of the list, a phrase for manuals.
    pub doc: &'static str,
    /// The objects of a row.
    pub of: fn(&Row) -> &[Item],
    /// The columns of an object.
    pub columns: &'static [&'static dyn Columns<Item>],
}

impl<Row, Item> Columns<Row> for List<Row, Item> {
    fn fields(&self) -> Vec<Field> {
        vec![Field {
            name: self.name.to_owned(),
            doc: self.doc.to_owned(),
            kind: Kind::Label,
            json_type: Type::Array,
            items: self.columns.iter().flat_map(|columns| columns.fields()).collect(),
        }]
    }

    fn write(&self, row: &Row, sink: &mut dyn Sink) {
        sink.list(self.name, &Items { items: (self.of)(row), columns: self.columns });
    }
}

struct Items<'a, Item: 'static> {
    items: &'a [Item],
    columns: &'static [&'static dyn Columns<Item>],
}

impl<Item> Objects for Items<'_, Item> {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn write(&self, index: usize, sink: &mut dyn Sink) {
        if let Some(item) = self.items.get(index) {
            self.columns.iter().for_each(|columns| columns.write(item, sink));
        }
    }
}
