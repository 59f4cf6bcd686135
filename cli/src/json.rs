//! JSON objects, written straight from columns.

use std::{any::Any, cell::RefCell, io::Write, rc::Rc, slice};

use serde_json::Value as Json;

use crate::{
    Columns, Field,
    column::{Objects, SharedPart, Sink, Value},
    sink::Pieces,
};

/// Writes rows or events of one type as JSON objects: the members `type`, `tool` and `time`, then those of the columns. The
/// text is serde_json's. There are many objects, and serde_json takes several times as long.
pub(crate) struct Form<Row: 'static> {
    /// The text between the value of `type` and that of `time`.
    tool: String,
    columns: Vec<&'static dyn Columns<Row>>,
    keys: Vec<Key>,
    texts: RefCell<Texts>,
}

impl<Row> Form<Row> {
    /// The form of objects with these columns. `tool` is a command's name without `sctp-`.
    pub(crate) fn new(tool: &str, columns: Vec<&'static dyn Columns<Row>>) -> Self {
        let fields: Vec<Field> = columns.iter().flat_map(|columns| columns.fields()).collect();
        let keys = keys(&fields, ",");
        Self { tool: format!(r#"","tool":"{tool}","time":""#), columns, keys, texts: RefCell::default() }
    }

    /// Writes an object. `kind` becomes its `type`, and `time` is as RFC 3339 has it.
    pub(crate) fn write(&self, to: &mut Pieces<'_>, kind: &str, time: &str, row: &Row) {
        for text in [r#"{"type":""#, kind, &self.tool, time, "\""] {
            to.bytes().extend_from_slice(text.as_bytes());
        }
        let mut members = Members { to, keys: self.keys.iter(), texts: Some(&mut self.texts.borrow_mut()) };
        self.columns.iter().for_each(|columns| columns.write(row, &mut members));
        to.bytes().push(b'}');
    }
}

/// The name of a member.
struct Key {
    /// What stands before the name, the name as JSON, and a colon.
    text: String,
    /// The names of the members of the listed objects, if the member is a list of objects; else empty.
    items: Vec<Key>,
}

/// The names of an object's members. `begin` stands before the first, a comma before each of the others.
fn keys(fields: &[Field], begin: &str) -> Vec<Key> {
    let before = [begin].into_iter().chain([","].into_iter().cycle());
    let key = |(field, before): (&Field, &str)| Key {
        text: format!("{before}{}:", Json::from(field.name.as_str())),
        items: keys(&field.items, "{"),
    };
    fields.iter().zip(before).map(key).collect()
}

/// A JSON object to which members are being added.
struct Members<'a, 'b> {
    to: &'a mut Pieces<'b>,
    /// The names of the members that are still to come.
    keys: slice::Iter<'a, Key>,
    /// Texts of shared parts; `None` in an object of a list.
    texts: Option<&'a mut Texts>,
}

impl<'a> Members<'a, '_> {
    /// Writes the name of the next member.
    fn key(&mut self) -> Option<&'a Key> {
        let key = self.keys.next();
        debug_assert!(key.is_some(), "as many values as names");
        self.to.bytes().extend_from_slice(key?.text.as_bytes());
        key
    }
}

impl Sink for Members<'_, '_> {
    fn value(&mut self, value: Value<'_>) {
        self.key();
        let to = self.to.bytes();
        match value {
            Value::Int(n) => to.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()),
            Value::Float(f) => float(to, f),
            Value::Fixed(f, decimals) => {
                let scale = 10_f64.powi(decimals as i32);
                float(to, (f * scale).round() / scale);
            }
            Value::Text(text) => string(to, text),
            // Writing to a vector cannot fail.
            Value::Ip(ip) => drop(write!(to, "\"{ip}\"")),
            Value::Socket(addr) => drop(write!(to, "\"{addr}\"")),
            Value::Bool(true) => to.extend_from_slice(b"true"),
            Value::Bool(false) => to.extend_from_slice(b"false"),
            Value::Null => to.extend_from_slice(b"null"),
        }
    }

    fn list(&mut self, objects: &dyn Objects) {
        let items = self.key().map_or(&[][..], |key| &key.items);
        self.to.bytes().push(b'[');
        for index in 0..objects.len() {
            if index > 0 {
                self.to.bytes().push(b',');
            }
            objects.write(index, &mut Members { to: self.to, keys: items.iter(), texts: None });
            self.to.bytes().push(b'}');
            // The error is kept for the end of the object.
            if self.to.end_if_long().is_err() {
                return;
            }
        }
        self.to.bytes().push(b']');
    }

    fn shared(&mut self, part: SharedPart<'_>) {
        let Some(texts) = self.texts.take() else { return (part.write)(self) };
        if let Some(text) = texts.find(&part) {
            self.to.bytes().extend_from_slice(text);
            // Skips the names, which are in the text.
            self.keys.by_ref().take(part.columns.1).for_each(drop);
        } else {
            let start = self.to.bytes().len();
            (part.write)(self);
            texts.keep(part, &self.to.bytes()[start..]);
        }
        self.texts = Some(texts);
    }
}

/// Appends a number.
fn float(to: &mut Vec<u8>, f: f64) {
    // Most numbers have six decimals at most, as times in milliseconds have. With fifteen digits or less no other number
    // of so few digits is as near to `f`, so that these are the fewest digits. (Below 0.00001 there is an exponent.)
    let millionths = (f * 1e6 + 0.5) as u64;
    let is_plain = (10..1_000_000_000_000_000).contains(&millionths) && millionths as f64 / 1e6 == f;
    if !is_plain && f.to_bits() != 0 {
        // Writing to a vector cannot fail.
        return drop(serde_json::to_writer(to, &f));
    }
    let mut digits = itoa::Buffer::new();
    to.extend_from_slice(digits.format(millionths / 1_000_000).as_bytes());
    // A digit, in place of which the point stands, and six decimals.
    let decimals = digits.format(1_000_000 + millionths % 1_000_000).as_bytes();
    let end = decimals[2..].iter().rposition(|digit| *digit != b'0').map_or(2, |last| last + 3);
    to.push(b'.');
    to.extend_from_slice(&decimals[1..end]);
}

/// Appends a string.
fn string(to: &mut Vec<u8>, text: &str) {
    if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        // Writing to a vector cannot fail.
        return drop(serde_json::to_writer(to, text));
    }
    to.push(b'"');
    to.extend_from_slice(text.as_bytes());
    to.push(b'"');
}

/// Texts of parts that objects share: [`Texts::PLACES`] at most.
#[derive(Default)]
struct Texts(Vec<Option<Text>>);

struct Text {
    /// The part. While it is kept here, no other part is at its address.
    part: Rc<dyn Any>,
    columns: (usize, usize),
    text: Box<[u8]>,
}

impl Texts {
    /// Number of places. A text that takes another's place costs no more than the work to make that again.
    const PLACES: usize = 2048;

    /// The place of a part's text.
    fn place(part: &SharedPart<'_>) -> usize {
        let address = Rc::as_ptr(&part.part).cast::<()>().addr() ^ part.columns.0.rotate_left(32);
        // Fibonacci hashing: the upper bits of the product depend on all bits of the address.
        (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> (usize::BITS - Self::PLACES.ilog2())
    }

    fn find(&self, part: &SharedPart<'_>) -> Option<&[u8]> {
        let found = self.0.get(Self::place(part))?.as_ref()?;
        let is_same = Rc::ptr_eq(&found.part, &part.part) && found.columns == part.columns;
        is_same.then_some(&found.text)
    }

    fn keep(&mut self, part: SharedPart<'_>, text: &[u8]) {
        self.0.resize_with(Self::PLACES, || None);
        let place = Self::place(&part);
        self.0[place] = Some(Text { part: part.part, columns: part.columns, text: text.into() });
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
