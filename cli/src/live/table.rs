//! Picks the worst rows of an interval.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
    slice,
};

use super::Shown;
use crate::{
    Columns, Kind, Type,
    column::{Objects, Sink},
};

/// At most this many rows are kept. No screen has more lines.
const MOST: usize = 1000;

/// The value of a column in a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// The value is unknown.
    Unknown,
    Int(u64),
    /// A number, and how many decimals it is shown with.
    Float(f64, usize),
    Text(String),
}

/// Number of decimals that a screen shows of numbers that other output has with all decimals. Three decimals of a
/// microsecond are nanoseconds.
const DECIMALS: usize = 3;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("-"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value, decimals) => write!(f, "{value:.decimals$}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

impl Value {
    fn number(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value, _) => Some(*value),
            Self::Unknown | Self::Text(_) => None,
        }
    }

    /// The order of two values of a column. An unknown value comes last, whatever the direction.
    fn compare(&self, other: &Self, falling: bool) -> Ordering {
        let order = match (self, other) {
            (Self::Unknown, _) | (_, Self::Unknown) => {
                return (*self == Self::Unknown).cmp(&(*other == Self::Unknown));
            }
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self.number().unwrap_or(f64::NAN).total_cmp(&other.number().unwrap_or(f64::NAN)),
        };
        if falling { order.reverse() } else { order }
    }
}

/// A column of a [`Table`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heading {
    pub(crate) name: String,
    /// Text, which stands at the left of its column; numbers stand at the right.
    pub(crate) is_text: bool,
}

/// The rows of an interval, the worst first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    /// The columns; none before the end of the first interval.
    pub(crate) headings: Vec<Heading>,
    /// The worst rows: as many as [`MOST`] at most.
    pub(crate) rows: Vec<Vec<Value>>,
    /// Number of all rows.
    pub(crate) total: usize,
    /// Number of different associations among the rows.
    pub(crate) associations: usize,
}

/// Makes a [`Table`] of rows.
pub(crate) struct Picker {
    headings: Vec<Heading>,
    /// For each column of a row: its place on the screen; `None` if it is not shown.
    slots: Vec<Option<usize>>,
    /// By which columns rows are sorted, and whether the highest value comes first.
    keys: Vec<(usize, bool)>,
    /// Where the association's id is shown.
    id: Option<usize>,
}

impl Picker {
    /// Makes a picker of the columns in `shown` from rows that have `columns`. `sort`: sort by this column first.
    pub(crate) fn new<Row>(columns: &[&dyn Columns<Row>], shown: &Shown, sort: Option<&str>) -> Self {
        let fields: Vec<_> = columns.iter().flat_map(|columns| columns.fields()).collect();
        let slot = |name: &str| shown.columns.iter().position(|shown| *shown == name);
        let field = |name: &str| fields.iter().find(|field| field.name == name);
        let headings = shown.columns.iter().map(|name| Heading {
            name: (*name).to_owned(),
            is_text: field(name)
                .is_some_and(|field| !matches!(field.json_type, Type::Integer | Type::Number)),
        });
        let falls = |name: &str| {
            !shown.low.contains(&name) && field(name).is_some_and(|field| field.kind != Kind::Label)
        };
        let keys = sort.iter().chain(shown.worst).filter_map(|name| Some((slot(name)?, falls(name))));
        Self {
            headings: headings.collect(),
            slots: fields.iter().map(|field| slot(&field.name)).collect(),
            keys: keys.collect(),
            id: slot("assoc_id"),
        }
    }

    /// Makes the table of an interval's rows. Rows that are equally bad keep their order.
    ///
    /// # Errors
    /// The first error that `rows` has.
    pub(crate) fn table<Row, E>(
        &self,
        columns: &[&dyn Columns<Row>],
        rows: impl Iterator<Item = Result<impl Borrow<Row>, E>>,
    ) -> Result<Table, E> {
        let (mut kept, mut total, mut ids) = (Vec::new(), 0, BTreeSet::new());
        for row in rows {
            let values = self.values(columns, row?.borrow());
            if let Some(Value::Int(id)) = self.id.map(|id| &values[id]) {
                ids.insert(*id);
            }
            kept.push(values);
            total += 1;
            if kept.len() >= 2 * MOST {
                self.sort(&mut kept);
            }
        }
        self.sort(&mut kept);
        Ok(Table { headings: self.headings.clone(), rows: kept, total, associations: ids.len() })
    }

    fn values<Row>(&self, columns: &[&dyn Columns<Row>], row: &Row) -> Vec<Value> {
        let mut picked =
            Picked { slots: self.slots.iter(), values: vec![Value::Unknown; self.headings.len()] };
        columns.iter().for_each(|columns| columns.write(row, &mut picked));
        picked.values
    }

    /// Sorts the rows, and drops those after the first [`MOST`].
    fn sort(&self, rows: &mut Vec<Vec<Value>>) {
        rows.sort_by(|a, b| {
            let orders = self.keys.iter().map(|(key, falls)| a[*key].compare(&b[*key], *falls));
            orders.fold(Ordering::Equal, Ordering::then)
        });
        rows.truncate(MOST);
    }
}

/// Receives all values of a row, and keeps those that are shown.
struct Picked<'a> {
    slots: slice::Iter<'a, Option<usize>>,
    values: Vec<Value>,
}

impl Picked<'_> {
    fn put(&mut self, value: impl FnOnce() -> Option<Value>) {
        if let Some(Some(slot)) = self.slots.next() {
            self.values[*slot] = value().unwrap_or(Value::Unknown);
        }
    }
}

impl Sink for Picked<'_> {
    fn int(&mut self, value: Option<u64>) {
        self.put(|| value.map(Value::Int));
    }

    fn float(&mut self, value: Option<f64>) {
        self.fixed(value, DECIMALS);
    }

    fn fixed(&mut self, value: Option<f64>, decimals: usize) {
        self.put(|| value.map(|value| Value::Float(value, decimals)));
    }

    fn text(&mut self, value: Option<&str>) {
        self.put(|| value.map(|value| Value::Text(value.to_owned())));
    }

    fn ip(&mut self, value: Option<IpAddr>) {
        self.put(|| value.map(|value| Value::Text(value.to_string())));
    }

    fn socket(&mut self, value: Option<SocketAddr>) {
        self.put(|| value.map(|value| Value::Text(value.to_string())));
    }

    fn bool(&mut self, value: Option<bool>) {
        self.put(|| value.map(|value| Value::Text(value.to_string())));
    }

    fn list(&mut self, _: &dyn Objects) {
        self.put(|| None);
    }

    fn numbers(&mut self, _: &[(&'static str, f64)]) {
        self.put(|| None);
    }
}
