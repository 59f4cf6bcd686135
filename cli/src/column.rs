//! A column's name, unit and meaning in one place, from which CSV header, CSV row and JSON key come.

use std::time::Duration;

use probes::Identity;
use serde_json::{Map, Value as Json};

/// One column of a command's rows.
pub struct Column<Row> {
    /// CSV header and JSON key, with its unit.
    pub name: &'static str,
    /// What it means, a phrase for manuals.
    pub doc: &'static str,
    /// Its value in a row.
    pub get: fn(&Row) -> Value,
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Int(u64),
    /// A number with the shortest digits that come back as the same number, always with a point (Python's `str`).
    Float(f64),
    /// A number with so many decimals.
    Fixed(f64, usize),
    /// A word.
    Text(String),
    /// True or false.
    Bool(bool),
    /// Objects of their own; only for JSON.
    List(Vec<Map<String, Json>>),
    /// Unknown: empty in CSV, `null` in JSON.
    Null,
}

impl Value {
    /// A [`Value::Float`], or [`Value::Null`] for `None`.
    #[must_use]
    pub fn float(value: Option<f64>) -> Self {
        value.map_or(Self::Null, Self::Float)
    }

    /// Microseconds as a [`Value::Float`], or [`Value::Null`] for `None`.
    #[must_use]
    pub fn us(time: Option<Duration>) -> Self {
        Self::float(time.map(us))
    }

    /// Microseconds with three decimals, or [`Value::Null`] for `None`.
    #[must_use]
    pub fn fixed_us(time: Option<Duration>) -> Self {
        time.map_or(Self::Null, |t| Self::Fixed(us(t), 3))
    }

    /// Milliseconds as a [`Value::Float`], or [`Value::Null`] for `None`.
    #[must_use]
    pub fn ms(time: Option<Duration>) -> Self {
        Self::float(time.map(ms))
    }

    /// A [`Value::Int`], or [`Value::Null`] for `None`.
    #[must_use]
    pub fn int(value: Option<impl Into<u64>>) -> Self {
        value.map_or(Self::Null, |v| Self::Int(v.into()))
    }

    /// A number with so many decimals, or [`Value::Null`] for `None`.
    #[must_use]
    pub fn fixed(value: Option<f64>, decimals: usize) -> Self {
        value.map_or(Self::Null, |v| Self::Fixed(v, decimals))
    }

    /// A [`Value::Text`] of anything that can be displayed, or [`Value::Null`] for `None`.
    #[must_use]
    pub fn text(value: Option<impl ToString>) -> Self {
        value.map_or(Self::Null, |v| Self::Text(v.to_string()))
    }

    fn csv(&self) -> String {
        match self {
            Self::Int(n) => n.to_string(),
            Self::Float(f) => format!("{f:?}"),
            Self::Fixed(f, decimals) => format!("{f:.decimals$}"),
            Self::Text(text) => text.clone(),
            Self::Bool(yes) => yes.to_string(),
            Self::List(_) | Self::Null => String::new(),
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Int(n) => Json::from(*n),
            Self::Float(f) => Json::from(*f),
            Self::Fixed(f, decimals) => {
                let scale = 10_f64.powi(*decimals as i32);
                Json::from((f * scale).round() / scale)
            }
            Self::Text(text) => Json::from(text.as_str()),
            Self::Bool(yes) => Json::from(*yes),
            Self::List(objects) => objects.iter().cloned().map(Json::Object).collect(),
            Self::Null => Json::Null,
        }
    }
}

/// Microseconds, with all their digits.
#[must_use]
pub fn us(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// Milliseconds, with all their digits.
#[must_use]
pub fn ms(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// The columns that tell whose a row is: `local`, `peer` and `netns` of the [`Identity`](probes::Identity) that `$id`
/// finds in it.
///
/// `maybe $id` finds it or not, as that of an event may be gone.
#[macro_export]
macro_rules! identity_columns {
    ($row:ty, maybe $id:expr) => {{
        const ID: fn(&$row) -> Option<&$crate::Identity> = $id;
        &[
            $crate::Column {
                name: "local",
                doc: "own address and port",
                get: |row| $crate::Value::text(ID(row).and_then(|id| id.local)),
            },
            $crate::Column {
                name: "peer",
                doc: "peer's address and port",
                get: |row| $crate::Value::text(ID(row).and_then(|id| id.peer)),
            },
            $crate::Column {
                name: "netns",
                doc: "inode of the network namespace",
                get: |row| $crate::Value::int(ID(row).map(|id| id.netns)),
            },
        ]
    }};
    ($row:ty, $id:expr) => {{
        const OWN: fn(&$row) -> &$crate::Identity = $id;
        $crate::identity_columns!($row, maybe | row | Some(OWN(row)))
    }};
}

/// Both ends of an association, for headings.
#[must_use]
pub fn ends(id: &Identity) -> String {
    let [local, peer] = [id.local, id.peer].map(|a| a.map_or("-".to_owned(), |a| a.to_string()));
    format!("{local} to {peer}, netns {}", id.netns)
}

/// A header line; `first` names are put before the columns'.
pub fn csv_header<Row>(first: &[&str], columns: &[&[Column<Row>]]) -> String {
    csv_line(first.iter().copied().chain(columns.concat_iter().map(|c| c.name)))
}

/// A row as a line; `first` values are put before the columns'.
pub fn csv_row<Row>(first: &[&str], columns: &[&[Column<Row>]], row: &Row) -> String {
    let values: Vec<String> = columns.concat_iter().map(|c| (c.get)(row).csv()).collect();
    csv_line(first.iter().copied().chain(values.iter().map(String::as_str)))
}

/// A row's columns as members of a JSON object.
pub fn json_object<Row>(columns: &[&[Column<Row>]], row: &Row) -> Map<String, Json> {
    columns.concat_iter().map(|c| (c.name.to_owned(), (c.get)(row).json())).collect()
}

trait Concat<'a, Row: 'a> {
    fn concat_iter(&self) -> impl Iterator<Item = &'a Column<Row>>;
}

impl<'a, Row> Concat<'a, Row> for [&'a [Column<Row>]] {
    fn concat_iter(&self) -> impl Iterator<Item = &'a Column<Row>> {
        self.iter().flat_map(|c| c.iter())
    }
}

fn csv_line<'a>(fields: impl Iterator<Item = &'a str>) -> String {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    // Writing into memory cannot fail; if it did, an empty line would be caught by any reader.
    let line = writer.write_record(fields).ok().and_then(|()| writer.into_inner().ok());
    line.and_then(|l| String::from_utf8(l).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: &[Column<(u64, f64)>] = &[
        Column { name: "samples", doc: "", get: |r| Value::Int(r.0) },
        Column { name: "rtt_us", doc: "", get: |r| Value::Float(r.1) },
        Column { name: "rtt_ms", doc: "", get: |r| Value::Fixed(r.1 / 1000.0, 2) },
        Column { name: "path", doc: "", get: |_| Value::Null },
    ];

    #[test]
    fn floats_print_as_pythons() {
        let row = |us| csv_row(&[], &[COLUMNS], &(7, us));
        assert_eq!(row(20305.678), "7,20305.678,20.31,\n");
        assert_eq!(row(20308.0), "7,20308.0,20.31,\n");
        assert_eq!(row(25010002.792079207), "7,25010002.792079207,25010.00,\n");
    }

    #[test]
    fn header_and_json_have_the_same_names() {
        assert_eq!(csv_header(&["time"], &[COLUMNS]), "time,samples,rtt_us,rtt_ms,path\n");
        let json = Json::Object(json_object(&[COLUMNS], &(7, 1234.0)));
        assert_eq!(json.to_string(), r#"{"samples":7,"rtt_us":1234.0,"rtt_ms":1.23,"path":null}"#);
    }

    proptest! {
        #[test]
        fn any_word_survives_csv(words in prop::collection::vec(any::<String>(), 2..5)) {
            let line = csv_line(words.iter().map(String::as_str));
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
            let back = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(back.iter().collect::<Vec<_>>(), words);
        }

        #[test]
        fn floats_round_trip(f in 0.0..1e15_f64) {
            let text = Value::Float(f).csv();
            prop_assert!(text.contains('.'));
            prop_assert_eq!(text.parse::<f64>().unwrap(), f);
        }
    }
}
