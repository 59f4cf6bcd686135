//! Columns. Each has its name, unit, meaning and kind in one place, from which the CSV header, CSV rows, JSON
//! objects, man page and JSON schema are made.

use std::{
    any::Any,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

/// The kind of a column's values, which says how a program may combine them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Identifies or describes what a row is about: an id, an address, a state.
    Label,
    /// A count or a sum. Counted from the start of the trace, it only grows.
    Counter,
    /// A measured value, which goes up and down.
    Gauge,
    /// Mean, extreme or percentile of a distribution. Such values cannot be added up.
    Distribution,
}

/// The function that reads a column's value from a `T`. `None` means that the value is unknown: an empty
/// field in CSV, `null` in JSON.
pub enum Get<T> {
    /// A whole number.
    Int(fn(&T) -> Option<u64>),
    /// A number, written with the fewest digits that parse as the same number, and always with a decimal
    /// point, as Python's `str()` does.
    Float(fn(&T) -> Option<f64>),
    /// A number, rounded to the given number of decimals.
    Fixed(fn(&T) -> Option<f64>, usize),
    /// Text.
    Text(fn(&T) -> Option<&str>),
    /// An IP address.
    Ip(fn(&T) -> Option<IpAddr>),
    /// An IP address and a port; an IPv6 address is put in brackets.
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

/// A column's value in one row.
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

/// A column whose value is read from a `T`: a whole row, or a part of one.
pub struct Column<T> {
    /// CSV header and JSON key, with the unit of the values. The prefix of a [`Part`] is not in this name.
    name: &'static str,
    /// Meaning of the column: a phrase for the man page and the JSON schema.
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

/// The description of a column, for the man page and the JSON schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// CSV header and JSON key, with the prefix of a [`Part`].
    pub name: String,
    /// Meaning of the column.
    pub doc: String,
    /// Kind of the column's values.
    pub kind: Kind,
    /// JSON type of the column's values. Every value except an array may also be `null`.
    pub json_type: Type,
    /// Columns of the listed objects, if the values are lists of objects; else empty.
    pub items: Vec<Field>,
}

/// A group of columns of a `Row`, in the order in which they are written.
pub trait Columns<Row> {
    /// The description of each column.
    fn fields(&self) -> Vec<Field>;

    /// Writes the value that each column has in `row`.
    #[doc(hidden)]
    fn write(&self, row: &Row, sink: &mut dyn Sink);
}

/// Receives the values of a row. One implementation writes a line of CSV, another the members of a JSON
/// object.
#[doc(hidden)]
#[expect(private_interfaces, reason = "written by columns, and read by the formats of this crate")]
pub trait Sink {
    /// Writes the value of the next column, in the order of [`Columns::fields`].
    fn value(&mut self, value: Value<'_>);

    /// Writes the next column, a list of objects. CSV has an empty field in place of the list.
    fn list(&mut self, objects: &dyn Objects);

    /// Writes the next columns, those of a part that other rows have too. JSON keeps their text.
    fn shared(&mut self, part: SharedPart<'_>);
}

/// A part that several rows share, with some of its columns.
#[doc(hidden)]
pub struct SharedPart<'a> {
    /// The part. While somebody keeps it, no other part is at its address.
    pub(crate) part: Rc<dyn Any>,
    /// The address of the columns, and their number.
    pub(crate) columns: (usize, usize),
    /// Writes the values of the columns.
    pub(crate) write: &'a dyn Fn(&mut dyn Sink),
}

/// The objects of a [`List`] in one row.
#[doc(hidden)]
pub trait Objects {
    /// The number of objects.
    fn len(&self) -> usize;

    /// Writes the members of the object at `index`.
    fn write(&self, index: usize, sink: &mut dyn Sink);
}

impl<Row> Columns<Row> for &'static [Column<Row>] {
    fn fields(&self) -> Vec<Field> {
        self.iter().map(|column| field("", "", column)).collect()
    }

    fn write(&self, row: &Row, sink: &mut dyn Sink) {
        self.iter().for_each(|column| sink.value(column.get.value(row)));
    }
}

/// The columns of a part `T` of rows. All rows that have such a part share one definition of its columns.
pub struct Part<Row: 'static, T: 'static> {
    /// Text that is put before each column's name.
    pub prefix: &'static str,
    /// A phrase that names the part. It is put before each column's meaning, unless it is empty.
    pub what: &'static str,
    /// Gets the part of a row. `None` means that the part is unknown, and so the value of each of its
    /// columns.
    pub of: fn(&Row) -> Option<&T>,
    /// The columns of the part.
    pub columns: &'static [Column<T>],
}

impl<Row, T> Columns<Row> for Part<Row, T> {
    fn fields(&self) -> Vec<Field> {
        self.columns.iter().map(|column| field(self.prefix, self.what, column)).collect()
    }

    fn write(&self, row: &Row, sink: &mut dyn Sink) {
        let part = (self.of)(row);
        for column in self.columns {
            sink.value(part.map_or(Value::Null, |part| column.get.value(part)));
        }
    }
}

/// The columns of a part `T` that does not change, and that many rows share, such as the identity of their path. Only its
/// first row takes the work of making text in JSON.
pub struct Shared<Row: 'static, T: 'static> {
    /// Gets the part of a row. `None` means that the part is unknown, and so the value of each of its
    /// columns.
    pub of: fn(&Row) -> Option<&Rc<T>>,
    /// The columns of the part.
    pub columns: &'static [Column<T>],
}

impl<Row, T> Columns<Row> for Shared<Row, T> {
    fn fields(&self) -> Vec<Field> {
        self.columns.fields()
    }

    fn write(&self, row: &Row, sink: &mut dyn Sink) {
        let Some(part) = (self.of)(row) else {
            return self.columns.iter().for_each(|_| sink.value(Value::Null));
        };
        sink.shared(SharedPart {
            part: Rc::<T>::clone(part),
            columns: (self.columns.as_ptr().addr(), self.columns.len()),
            write: &|sink| self.columns.write(part, sink),
        });
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

/// A list of objects in each row. Commands use it in JSON only.
pub struct List<Row: 'static, Item: 'static> {
    /// JSON key of the list.
    pub name: &'static str,
    /// Meaning of the list: a phrase for the man page and the JSON schema.
    pub doc: &'static str,
    /// Gets the objects of a row.
    pub of: fn(&Row) -> &[Item],
    /// The columns of each object.
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
        sink.list(&Items { items: (self.of)(row), columns: self.columns });
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
