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
    /// An object of numbers.
    Object,
}

impl<T> Get<T> {
    /// Writes the column's value in `from`; without a value, writes that the value is unknown.
    fn write(&self, from: Option<&T>, sink: &mut dyn Sink) {
        match self {
            Self::Int(get) => sink.int(from.and_then(get)),
            Self::Float(get) => sink.float(from.and_then(get)),
            Self::Fixed(get, decimals) => sink.fixed(from.and_then(get), *decimals),
            Self::Text(get) => sink.text(from.and_then(get)),
            Self::Ip(get) => sink.ip(from.and_then(get)),
            Self::Socket(get) => sink.socket(from.and_then(get)),
            Self::Bool(get) => sink.bool(from.and_then(get)),
        }
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
    /// JSON type of the column's values. Every value except an array or an object may also be `null`.
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

/// Receives the values of a row, in the order of [`Columns::fields`]. One implementation writes a line of CSV, another the
/// members of a JSON object.
#[doc(hidden)]
pub trait Sink {
    /// Writes the value of a [`Get::Int`].
    fn int(&mut self, value: Option<u64>);

    /// Writes the value of a [`Get::Float`].
    fn float(&mut self, value: Option<f64>);

    /// Writes the value of a [`Get::Fixed`].
    fn fixed(&mut self, value: Option<f64>, decimals: usize);

    /// Writes the value of a [`Get::Text`].
    fn text(&mut self, value: Option<&str>);

    /// Writes the value of a [`Get::Ip`].
    fn ip(&mut self, value: Option<IpAddr>);

    /// Writes the value of a [`Get::Socket`].
    fn socket(&mut self, value: Option<SocketAddr>);

    /// Writes the value of a [`Get::Bool`].
    fn bool(&mut self, value: Option<bool>);

    /// Writes a list of objects. CSV has an empty field in place of the list.
    fn list(&mut self, objects: &dyn Objects);

    /// Writes an object of numbers. CSV has an empty field in its place.
    fn numbers(&mut self, numbers: &[(&'static str, f64)]);

    /// If the text of all values of a [`Shared`] was kept, writes that text and returns true. `at` identifies the text:
    /// the addresses of the part and of its columns.
    fn write_kept(&mut self, _at: [usize; 2]) -> bool {
        false
    }

    /// Keeps the text that was written since the call of [`Sink::write_kept`]. Also keeps the part, so that no other
    /// part gets its address.
    fn keep(&mut self, _at: [usize; 2], _part: Rc<dyn Any>) {}
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
        self.iter().for_each(|column| column.get.write(Some(row), sink));
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
        self.columns.iter().for_each(|column| column.get.write(part, sink));
    }
}

/// Columns of a part `T` that many rows have in common: all samples of a path, for example, have the identity of the
/// path. The part never changes, and its values depend on nothing else. So JSON makes the text of the values once, for
/// the first of these rows, and copies it for the others.
pub struct Shared<Row: 'static, T: 'static> {
    /// Gets the part of a row; `None` if the row has none.
    pub of: fn(&Row) -> Option<&Rc<T>>,
    /// The columns.
    pub columns: &'static [&'static dyn Columns<Row>],
}

impl<Row, T> Columns<Row> for Shared<Row, T> {
    fn fields(&self) -> Vec<Field> {
        self.columns.iter().flat_map(|columns| columns.fields()).collect()
    }

    fn write(&self, row: &Row, sink: &mut dyn Sink) {
        let part = (self.of)(row);
        let at = part.map(|part| [Rc::as_ptr(part).addr(), self.columns.as_ptr().addr()]);
        if at.is_some_and(|at| sink.write_kept(at)) {
            return;
        }
        self.columns.iter().for_each(|columns| columns.write(row, sink));
        if let (Some(at), Some(part)) = (at, part) {
            sink.keep(at, Rc::<T>::clone(part));
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

/// An object of numbers in each row, with names that may differ from row to row. Commands use it in JSON only.
pub(crate) struct Numbers<Row: 'static> {
    /// JSON key of the object.
    pub(crate) name: &'static str,
    /// Meaning of the object: a phrase for the man page and the JSON schema.
    pub(crate) doc: &'static str,
    /// Gets the numbers of a row, with their names.
    pub(crate) of: fn(&Row) -> &[(&'static str, f64)],
}

impl<Row> Columns<Row> for Numbers<Row> {
    fn fields(&self) -> Vec<Field> {
        vec![Field {
            name: self.name.to_owned(),
            doc: self.doc.to_owned(),
            kind: Kind::Label,
            json_type: Type::Object,
            items: Vec::new(),
        }]
    }

    fn write(&self, row: &Row, sink: &mut dyn Sink) {
        sink.numbers((self.of)(row));
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
