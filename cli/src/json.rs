//! JSON objects, written straight from columns. Their text is serde_json's. There are many objects, and serde_json takes
//! several times as long.

use std::{
    any::Any,
    cell::RefCell,
    fmt::Display,
    io::Write,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    slice,
};

use serde_json::Value;

use crate::{
    Columns, Field,
    column::{Objects, Sink},
    digits::last_six,
    sink::Pieces,
};

/// Writes rows or events as JSON objects: the members `type`, `tool` and `time`, then those of the columns.
pub(crate) struct Form<Row: 'static> {
    columns: Vec<&'static dyn Columns<Row>>,
    texts: RefCell<(Vec<Key>, Kept)>,
}

/// The begin of objects of the type `kind`, up to the value of `time`. `tool` is a command's name without `sctp-`.
pub(crate) fn begin(kind: &str, tool: &str) -> String {
    format!(r#"{{"type":"{kind}","tool":"{tool}","time":""#)
}

impl<Row> Form<Row> {
    /// The form of objects with these columns.
    pub(crate) fn new(columns: Vec<&'static dyn Columns<Row>>) -> Self {
        let fields: Vec<Field> = columns.iter().flat_map(|columns| columns.fields()).collect();
        Self { columns, texts: RefCell::new((keys(&fields, ","), Kept::default())) }
    }

    /// Writes an object. `begin`: the text that [`begin`] has made. `time`: in the format of RFC 3339.
    pub(crate) fn write(&self, to: &mut Pieces<'_>, begin: &str, time: &[u8], row: &Row) {
        let bytes = to.bytes();
        bytes.extend_from_slice(begin.as_bytes());
        bytes.extend_from_slice(time);
        bytes.push(b'"');
        let (keys, kept) = &mut *self.texts.borrow_mut();
        let mut members = Members { to, keys: keys.iter_mut(), kept: Some(kept), begun: None };
        self.columns.iter().for_each(|columns| columns.write(row, &mut members));
        to.bytes().push(b'}');
    }
}

/// The text that comes before a member's value, and what is kept of the value in the last object.
struct Key {
    /// A comma or a bracket, the name as JSON, and a colon; then, up to [`Key::ROOM`] bytes, spaces.
    text: String,
    /// Length of the text without these spaces.
    len: usize,
    /// The names of the members of the listed objects, if the member is a list of objects; else empty.
    items: Vec<Key>,
    /// The bits of the number that this member had in the last object.
    last: Option<u64>,
    /// Key and value as the last object had them, and their length; the length is 0 if they did not fit.
    member: ([u8; 48], usize),
}

impl Key {
    /// Keys are padded and copied in this fixed length: the compiler knows the length, and the copy is cheaper than one
    /// of the key's own length.
    const ROOM: usize = 32;

    fn write(&self, to: &mut Vec<u8>) {
        let end = to.len() + self.len;
        match self.text.as_bytes().first_chunk::<{ Self::ROOM }>() {
            Some(text) if self.len <= Self::ROOM => to.extend_from_slice(text),
            _ => to.extend_from_slice(self.text.as_bytes()),
        }
        to.truncate(end);
    }

    /// Writes key and value of the last object.
    fn write_member(&self, to: &mut Vec<u8>) {
        let (member, len) = &self.member;
        let end = to.len() + len;
        to.extend_from_slice(member);
        to.truncate(end);
    }

    /// Keeps `text`, key and value of this object, if it fits.
    fn keep_member(&mut self, text: &[u8]) {
        let (member, len) = &mut self.member;
        let room = member.get_mut(..text.len());
        *len = room.map_or(0, |member| {
            member.copy_from_slice(text);
            text.len()
        });
    }

    /// The text that the last object had between the quotes; `None` if it was not kept. A text with escapes is not
    /// kept: see [`Members::text`].
    fn last_text(&self) -> Option<&[u8]> {
        let (member, len) = &self.member;
        member.get(self.len + 1..len.checked_sub(1)?)
    }
}

/// The keys of an object's members. `begin` stands before the first, a comma before each of the others.
fn keys(fields: &[Field], begin: &str) -> Vec<Key> {
    let before = [begin].into_iter().chain([","].into_iter().cycle());
    let key = |(field, before): (&Field, &str)| {
        let mut text = format!("{before}{}:", Value::from(field.name.as_str()));
        let len = text.len();
        text.extend([' '; Key::ROOM].get(len..).unwrap_or_default());
        Key { text, len, items: keys(&field.items, "{"), last: None, member: ([0; 48], 0) }
    };
    fields.iter().zip(before).map(key).collect()
}

/// A JSON object to which members are being added.
struct Members<'a, 'b> {
    to: &'a mut Pieces<'b>,
    /// The keys of the members that are still to come.
    keys: slice::IterMut<'a, Key>,
    /// Texts that were kept; `None` in an object of a list.
    kept: Option<&'a mut Kept>,
    /// Where the text of a part begins, if that text is to be kept; and how many keys were left at that point.
    begun: Option<[usize; 2]>,
}

impl<'a> Members<'a, '_> {
    /// Writes the key of the next member, and null if it has no value. Else returns the value, and where to write it.
    fn next<T>(&mut self, value: Option<T>) -> Option<(&mut Vec<u8>, T)> {
        let key = self.key();
        let to = self.to.bytes();
        key?.write(to);
        if value.is_none() {
            to.extend_from_slice(b"null");
        }
        Some((to, value?))
    }

    fn key(&mut self) -> Option<&'a mut Key> {
        let key = self.keys.next();
        debug_assert!(key.is_some(), "as many keys as values");
        key
    }

    /// Writes the number with these bits. The last object often had the same number: then copies its text.
    fn number(&mut self, bits: Option<u64>, write: impl FnOnce(&mut Vec<u8>, u64)) {
        let Some(bits) = bits else {
            self.next(None::<u64>);
            return;
        };
        let Some(key) = self.key() else { return };
        let to = self.to.bytes();
        let is_last = key.last == Some(bits);
        if is_last && key.member.1 > 0 {
            key.write_member(to);
            return;
        }
        let start = to.len();
        key.write(to);
        write(to, bits);
        // A number that comes once, as most do that change at all, need not be kept.
        key.last = Some(bits);
        key.keep_member(if is_last { &to[start..] } else { &[] });
    }

    /// Writes a value whose text needs no escapes.
    fn display(&mut self, value: Option<impl Display>) {
        if let Some((to, value)) = self.next(value) {
            // Writing to a vector cannot fail.
            let _ = write!(to, "\"{value}\"");
        }
    }
}

impl Sink for Members<'_, '_> {
    fn int(&mut self, value: Option<u64>) {
        self.number(value, |to, n| to.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()));
    }

    fn float(&mut self, value: Option<f64>) {
        self.number(value.map(f64::to_bits), |to, bits| number(to, f64::from_bits(bits)));
    }

    fn fixed(&mut self, value: Option<f64>, decimals: usize) {
        let scale = 10_f64.powi(decimals as i32);
        self.float(value.map(|f| (f * scale).round() / scale));
    }

    /// Writes a text. If the last object had the same one, copies it from there.
    fn text(&mut self, value: Option<&str>) {
        let Some(text) = value else {
            self.next(None::<&str>);
            return;
        };
        let Some(key) = self.key() else { return };
        let to = self.to.bytes();
        if key.last_text() == Some(text.as_bytes()) {
            key.write_member(to);
            return;
        }
        let start = to.len();
        key.write(to);
        string(to, text);
        // Escapes make the written text longer. A text with escapes is not kept, as `last_text()` could not compare it.
        let has_escape = to.len() > start + key.len + text.len() + 2;
        key.keep_member(if has_escape { &[] } else { &to[start..] });
    }

    fn ip(&mut self, value: Option<IpAddr>) {
        self.display(value);
    }

    fn socket(&mut self, value: Option<SocketAddr>) {
        self.display(value);
    }

    fn bool(&mut self, value: Option<bool>) {
        if let Some((to, yes)) = self.next(value) {
            to.extend_from_slice(if yes { b"true" } else { b"false" });
        }
    }

    fn list(&mut self, objects: &dyn Objects) {
        let Some(key) = self.key() else { return };
        key.write(self.to.bytes());
        self.to.bytes().push(b'[');
        for index in 0..objects.len() {
            if index > 0 {
                self.to.bytes().push(b',');
            }
            let keys = key.items.iter_mut();
            objects.write(index, &mut Members { to: self.to, keys, kept: None, begun: None });
            self.to.bytes().push(b'}');
            // Whoever adds the line returns the error.
            if self.to.end_if_long().is_err() {
                return;
            }
        }
        self.to.bytes().push(b']');
        // A part of the text may be written already, and gone from the buffer.
        self.begun = None;
    }

    fn numbers(&mut self, numbers: &[(&'static str, f64)]) {
        let Some((to, numbers)) = self.next(Some(numbers)) else { return };
        to.push(b'{');
        for (index, (name, figure)) in numbers.iter().enumerate() {
            if index > 0 {
                to.push(b',');
            }
            string(to, name);
            to.push(b':');
            number(to, *figure);
        }
        to.push(b'}');
    }

    fn write_kept(&mut self, at: [usize; 2]) -> bool {
        let Some(kept) = &self.kept else { return false };
        let bytes = self.to.bytes();
        let Some(found) = kept.find(at) else {
            self.begun = Some([bytes.len(), self.keys.len()]);
            return false;
        };
        bytes.extend_from_slice(&found.text);
        // The kept text has the keys as well: they are skipped.
        let _ = found.members.checked_sub(1).map(|members| self.keys.nth(members));
        true
    }

    fn keep(&mut self, at: [usize; 2], part: Rc<dyn Any>) {
        let Some((kept, [begin, keys])) = self.kept.as_mut().zip(self.begun.take()) else { return };
        let text = self.to.bytes()[begin..].into();
        kept.put(Text { at, _part: part, members: keys - self.keys.len(), text });
    }
}

/// Appends a number with the fewest digits that parse as the same number, or null if it is not finite.
fn number(to: &mut Vec<u8>, f: f64) {
    // Most numbers have six decimals at most, as times in milliseconds have. If such a number has fifteen digits at most, no
    // other one with so few digits parses as `f`.
    let millionths = (f * 1e6 + 0.5) as i64;
    // serde_json writes numbers below 0.00001 with an exponent, and -0.0 with its sign.
    let is_plain = (10..1_000_000_000_000_000).contains(&millionths) && millionths as f64 / 1e6 == f;
    if !is_plain && f.to_bits() != 0 {
        // Writing to a vector cannot fail.
        let _ = serde_json::to_writer(to, &f);
        return;
    }
    let millionths = millionths.unsigned_abs();
    to.extend_from_slice(itoa::Buffer::new().format(millionths / ONE).as_bytes());
    let decimals = (millionths % ONE) as u32;
    if decimals == 0 {
        to.extend_from_slice(b".0");
        return;
    }
    let [a, b, c, d, e, f] = last_six(decimals);
    to.extend_from_slice(&[b'.', a, b, c, d, e, f]);
    let zeros = [f, e, d, c, b].into_iter().take_while(|digit| *digit == b'0').count();
    to.truncate(to.len() - zeros);
}

/// The number of millionths in 1.
const ONE: u64 = 1_000_000;

/// Appends `text` as a JSON string, with quotes.
fn string(to: &mut Vec<u8>, text: &str) {
    if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        // Writing to a vector cannot fail.
        let _ = serde_json::to_writer(to, text);
        return;
    }
    to.push(b'"');
    to.extend_from_slice(text.as_bytes());
    to.push(b'"');
}

/// Texts of [`Shared`](crate::Shared) columns: at most [`Kept::PLACES`]. The addresses of a text decide its place. A
/// new text overwrites the one in its place, which is made again when it is needed.
#[derive(Default)]
struct Kept(Vec<Option<Text>>);

struct Text {
    /// The addresses of the part and of the columns.
    at: [usize; 2],
    /// The part. While it is kept, no other part is at its address.
    _part: Rc<dyn Any>,
    /// Number of members in the text.
    members: usize,
    text: Box<[u8]>,
}

impl Kept {
    const PLACES: usize = 2048;

    fn place([part, columns]: [usize; 2]) -> usize {
        // Fibonacci hashing: the upper bits of the product depend on all bits.
        let bits = part as u64 ^ (columns as u64).rotate_left(32);
        (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - Self::PLACES.ilog2())) as usize
    }

    fn find(&self, at: [usize; 2]) -> Option<&Text> {
        self.0.get(Self::place(at))?.as_ref().filter(|text| text.at == at)
    }

    fn put(&mut self, text: Text) {
        self.0.resize_with(Self::PLACES, || None);
        let place = Self::place(text.at);
        self.0[place] = Some(text);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::BTreeMap, fs};

    use proptest::{collection::vec, option, prelude::*};
    use serde::{Serialize, Serializer, ser::SerializeMap};
    use tempfile::NamedTempFile;

    use super::*;
    use crate::{
        Column,
        Get::{Bool, Fixed, Float, Int, Ip, Socket, Text},
        List, Out, Part, Shared,
    };

    /// The objects of these rows, a line each.
    fn lines<'a, Row: 'static>(
        columns: &[&'static dyn Columns<Row>],
        rows: impl IntoIterator<Item = &'a Row>,
    ) -> String {
        let file = NamedTempFile::new().unwrap();
        let mut out = Out::new(Some(file.path())).unwrap();
        let form = Form::new(columns.to_vec());
        for row in rows {
            out.object(|to| form.write(to, &begin("sample", "x"), b"now", row)).unwrap();
        }
        out.flush().unwrap();
        fs::read_to_string(file.path()).unwrap()
    }

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
        let object = |row: &Row| lines(&[&PLAIN, &PART, &LIST], [row]).trim_end().to_owned();
        assert_eq!(
            object(&Row { part: Some(1234.0), list: vec![7, 8] }),
            r#"{"type":"sample","tool":"x","time":"now","samples":2,"path":"fd00::1","peer":"[fd00::1]:5","over":true,"rtt_us":1234.0,"rtt_ms":1.23,"ids":[{"id":7},{"id":8}]}"#
        );
        assert_eq!(
            object(&Row { part: None, list: Vec::new() }),
            r#"{"type":"sample","tool":"x","time":"now","samples":0,"path":"fd00::1","peer":"[fd00::1]:5","over":true,"rtt_us":null,"rtt_ms":null,"ids":[]}"#
        );
    }

    #[test]
    fn a_shared_part_is_read_once() {
        thread_local! { static READ: Cell<u32> = const { Cell::new(0) }; }
        const SHARED: Shared<Rc<u64>, u64> = Shared {
            of: |part: &Rc<u64>| Some(part),
            columns: &[&(&[Column::label(
                "part",
                "",
                Int(|part: &Rc<u64>| {
                    READ.set(READ.get() + 1);
                    Some(**part)
                }),
            )] as &[_])],
        };
        let parts = [Rc::new(7), Rc::new(8)];
        let text = lines(&[&SHARED], parts.iter().cycle().take(5));
        let values: Vec<_> = text.lines().map(|line| line.rsplit(':').next().unwrap()).collect();
        assert_eq!(values, ["7}", "8}", "7}", "8}", "7}"]);
        assert_eq!(READ.get(), 2);
    }

    #[derive(Clone, Debug)]
    struct Mixed {
        int: Option<u64>,
        float: Option<f64>,
        text: Option<String>,
        ip: Option<IpAddr>,
        socket: Option<SocketAddr>,
        bool: Option<bool>,
        list: Vec<(u64, f64)>,
        shared: Option<Rc<(String, f64)>>,
    }

    /// Columns of all kinds, with names of all lengths that matter.
    const ALL: &[&dyn Columns<Mixed>] = &[
        &(&[
            Column::counter("int", "", Int(|r: &Mixed| r.int)),
            Column::gauge("float", "", Float(|r: &Mixed| r.float)),
            Column::gauge("a_name_of_29_bytes_and_no_more", "", Fixed(|r: &Mixed| r.float, 3)),
        ] as &[Column<Mixed>]),
        &Shared {
            of: |r: &Mixed| r.shared.as_ref(),
            columns: &[&Part {
                prefix: "shared_",
                what: "",
                of: |r: &Mixed| r.shared.as_deref(),
                columns: &[
                    Column::label("text", "", Text(|(text, _): &(String, f64)| Some(text))),
                    Column::gauge("float", "", Float(|(_, float)| Some(*float))),
                ],
            }],
        },
        &(&[
            Column::label(
                "a \"name\" that is longer than the room of a key",
                "",
                Text(|r: &Mixed| r.text.as_deref()),
            ),
            Column::label("text", "", Text(|r: &Mixed| r.text.as_deref())),
            Column::label("ip", "", Ip(|r: &Mixed| r.ip)),
            Column::label("socket", "", Socket(|r: &Mixed| r.socket)),
            Column::label("bool", "", Bool(|r: &Mixed| r.bool)),
        ] as &[Column<Mixed>]),
        &List {
            name: "list",
            doc: "",
            of: |r: &Mixed| &r.list,
            columns: &[&(&[
                Column::label("id", "", Int(|(id, _): &(u64, f64)| Some(*id))),
                Column::gauge("value", "", Float(|(_, value)| Some(*value))),
            ] as &[_])],
        },
    ];

    /// What serde_json makes of the same rows.
    impl Serialize for Mixed {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("type", "sample")?;
            map.serialize_entry("tool", "x")?;
            map.serialize_entry("time", "now")?;
            map.serialize_entry("int", &self.int)?;
            map.serialize_entry("float", &self.float)?;
            let fixed = self.float.map(|f| (f * 1000.0).round() / 1000.0);
            map.serialize_entry("a_name_of_29_bytes_and_no_more", &fixed)?;
            map.serialize_entry("shared_text", &self.shared.as_ref().map(|shared| &shared.0))?;
            map.serialize_entry("shared_float", &self.shared.as_ref().map(|shared| shared.1))?;
            map.serialize_entry("a \"name\" that is longer than the room of a key", &self.text)?;
            map.serialize_entry("text", &self.text)?;
            map.serialize_entry("ip", &self.ip.map(|ip| ip.to_string()))?;
            map.serialize_entry("socket", &self.socket.map(|socket| socket.to_string()))?;
            map.serialize_entry("bool", &self.bool)?;
            let item = |(id, value): &(u64, f64)| {
                BTreeMap::from([("id", Value::from(*id)), ("value", Value::from(*value))])
            };
            map.serialize_entry("list", &self.list.iter().map(item).collect::<Vec<_>>())?;
            map.end()
        }
    }

    /// Any bits, and numbers with few decimals, as times have.
    fn floats() -> impl Strategy<Value = f64> {
        let decimals = || (any::<u64>(), 0..64_u32, -9..1_i32);
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            decimals().prop_map(|(n, shift, exponent)| (n >> shift) as f64 * 10_f64.powi(exponent)),
            decimals().prop_map(|(n, shift, exponent)| (n >> shift) as f64 / 10_f64.powi(-exponent)),
            Just(-0.0),
        ]
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[\"\\\\\u{0}-\u{20}\u{7f}-\u{a0}/a\u{2028}\u{1f600}]{0,9}"]
    }

    fn rows() -> impl Strategy<Value = Mixed> {
        let shared = option::of((texts(), floats()).prop_map(Rc::new));
        let ints = option::of((any::<u64>(), 0..64_u32).prop_map(|(n, shift)| n >> shift));
        let list = vec((any::<u64>(), floats()), 0..3);
        let (float, text) = (option::of(floats()), option::of(texts()));
        (
            ints,
            float,
            text,
            any::<Option<IpAddr>>(),
            any::<Option<SocketAddr>>(),
            any::<Option<bool>>(),
            list,
            shared,
        )
            .prop_map(|(int, float, text, ip, socket, bool, list, shared)| Mixed {
                int,
                float,
                text,
                ip,
                socket,
                bool,
                list,
                shared,
            })
    }

    proptest! {
        #[test]
        fn the_text_is_serde_jsons(mut rows in vec(rows(), 1..4)) {
            rows.extend_from_within(..);
            let expected: String = rows.iter().map(|row| serde_json::to_string(row).unwrap() + "\n").collect();
            prop_assert_eq!(lines(ALL, &rows), expected);
        }

        #[test]
        fn numbers_are_serde_jsons(floats in vec(floats(), 256)) {
            for f in floats {
                let mut text = Vec::new();
                number(&mut text, f);
                prop_assert_eq!(String::from_utf8(text).unwrap(), serde_json::to_string(&f).unwrap());
            }
        }
    }
}
