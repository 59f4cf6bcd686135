//! JSON objects, written straight from columns.

use std::fmt::Display;

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use crate::{
    Columns,
    column::{Objects, Sink, Value},
};

/// A row as a JSON object: the members `type`, `tool` and `time`, then the row's columns.
pub(crate) struct Object<'a, Row> {
    /// Value of `type`.
    pub(crate) kind: &'a str,
    /// The command's name without `sctp-`.
    pub(crate) tool: &'a str,
    /// Value of `time`, as RFC 3339 has it.
    pub(crate) time: &'a dyn Display,
    pub(crate) columns: &'a [&'a dyn Columns<Row>],
    pub(crate) row: &'a Row,
}

impl<Row> Serialize for Object<'_, Row> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", self.kind)?;
        map.serialize_entry("tool", self.tool)?;
        map.serialize_entry("time", &Shown(self.time))?;
        let mut members = Members { map, result: Ok(()) };
        self.columns.iter().for_each(|columns| columns.write(self.row, &mut members));
        members.result?;
        members.map.end()
    }
}

struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A JSON object to which members are being added.
struct Members<M: SerializeMap> {
    map: M,
    /// Result of writing the members so far. After an error, no more members are written.
    result: Result<(), M::Error>,
}

impl<M: SerializeMap> Members<M> {
    fn add(&mut self, prefix: &str, name: &str, value: &impl Serialize) {
        if self.result.is_ok() {
            self.result = if prefix.is_empty() {
                self.map.serialize_entry(name, value)
            } else {
                self.map.serialize_entry(&Shown(format_args!("{prefix}{name}")), value)
            };
        }
    }
}

impl<M: SerializeMap> Sink for Members<M> {
    fn value(&mut self, prefix: &'static str, name: &'static str, value: Value<'_>) {
        match value {
            Value::Int(n) => self.add(prefix, name, &n),
            Value::Float(f) => self.add(prefix, name, &f),
            Value::Fixed(f, decimals) => {
                let scale = 10_f64.powi(decimals as i32);
                self.add(prefix, name, &((f * scale).round() / scale));
            }
            Value::Text(text) => self.add(prefix, name, &text),
            Value::Ip(ip) => self.add(prefix, name, &Shown(ip)),
            Value::Socket(addr) => self.add(prefix, name, &Shown(addr)),
            Value::Bool(yes) => self.add(prefix, name, &yes),
            Value::Null => self.add(prefix, name, &()),
        }
    }

    fn list(&mut self, name: &'static str, objects: &dyn Objects) {
        self.add("", name, &Array(objects));
    }
}

struct Array<'a>(&'a dyn Objects);

impl Serialize for Array<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(Some(self.0.len()))?;
        for index in 0..self.0.len() {
            array.serialize_element(&Element { objects: self.0, index })?;
        }
        array.end()
    }
}

struct Element<'a> {
    objects: &'a dyn Objects,
    index: usize,
}

impl Serialize for Element<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = Members { map: serializer.serialize_map(None)?, result: Ok(()) };
        self.objects.write(self.index, &mut members);
        members.result?;
        members.map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Column,
        Get::{Bool, Fixed, Float, Int, Ip, Socket},
        List, Part,
    };

    struct Row {
        part: Option<f64>,
        list: Vec<u64>,
    }

    #[test]
    fn members_are_written_in_their_order_with_what_is_unknown_as_null() {
        const PLAIN: &[Column<Row>] = &[
            Column::counter("samples", "", Int(|r| Some(r.list.len() as u64))),
            Column::label("path", "", Ip(|_| "fd00::1".parse().ok())),
            Column::label("peer", "", Socket(|_| "[fd00::1]:5".parse().ok())),
            Column::gauge("over", "", Bool(|_| Some(true))),
        ];
        const PART: Part<Row, f64> = Part {
            prefix: "rtt_",
            what: "",
            of: |r| r.part.as_ref(),
            columns: &[
                Column::gauge("us", "", Float(|us| Some(*us))),
                Column::gauge("ms", "", Fixed(|us| Some(us / 1000.0), 2)),
            ],
        };
        const ITEM: &[Column<u64>] = &[Column::label("id", "", Int(|id| Some(*id)))];
        const LIST: List<Row, u64> = List { name: "ids", doc: "", of: |r| &r.list, columns: &[&ITEM] };
        let object = |row: &Row| {
            let columns: &[&dyn Columns<Row>] = &[&PLAIN, &PART, &LIST];
            let object = Object { kind: "sample", tool: "x", time: &"now", columns, row };
            serde_json::to_string(&object).unwrap()
        };
        assert_eq!(
            object(&Row { part: Some(1234.0), list: vec![7, 8] }),
            r#"{"type":"sample","tool":"x","time":"now","samples":2,"path":"fd00::1","peer":"[fd00::1]:5","over":true,"rtt_us":1234.0,"rtt_ms":1.23,"ids":[{"id":7},{"id":8}]}"#
        );
        assert_eq!(
            object(&Row { part: None, list: Vec::new() }),
            r#"{"type":"sample","tool":"x","time":"now","samples":0,"path":"fd00::1","peer":"[fd00::1]:5","over":true,"rtt_us":null,"rtt_ms":null,"ids":[]}"#
        );
    }
}
