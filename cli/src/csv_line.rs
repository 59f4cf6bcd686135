//! Lines of CSV.

use std::{
    fmt::{Display, Write},
    mem,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use csv::{Writer, WriterBuilder};

use crate::{
    Columns,
    column::{Objects, Sink},
};

/// Size in bytes of the buffer that the CSV writer fills before it copies a part of a line to the output.
const LINE: usize = 512;

/// Appends the header line to `to`: the names in `first`, then the names of the columns.
pub(crate) fn header<Row>(to: &mut Vec<u8>, first: &[&str], columns: &[&dyn Columns<Row>]) -> Result<()> {
    let names = columns.iter().flat_map(|columns| columns.fields()).map(|field| field.name);
    writer(to).write_record(first.iter().map(|name| (*name).to_owned()).chain(names))?;
    Ok(())
}

/// Appends a row to `to` as a line: the values in `first`, then the values of the columns.
pub(crate) fn row<Row>(
    to: &mut Vec<u8>,
    first: &[&str],
    columns: &[&dyn Columns<Row>],
    row: &Row,
) -> Result<()> {
    let mut line = Line { writer: writer(to), number: String::new(), result: Ok(()) };
    first.iter().for_each(|value| line.field(value));
    columns.iter().for_each(|columns| columns.write(row, &mut line));
    line.result?;
    line.writer.write_record(None::<&[u8]>)?;
    line.writer.flush()?;
    Ok(())
}

fn writer(to: &mut Vec<u8>) -> Writer<&mut Vec<u8>> {
    WriterBuilder::new().buffer_capacity(LINE).from_writer(to)
}

struct Line<'a> {
    writer: Writer<&'a mut Vec<u8>>,
    number: String,
    /// Result of writing the fields so far. After an error, no more fields are written.
    result: csv::Result<()>,
}

impl Line<'_> {
    fn field(&mut self, text: &str) {
        if self.result.is_ok() {
            self.result = self.writer.write_field(text);
        }
    }

    fn display(&mut self, value: Option<impl Display>) {
        let Some(value) = value else { return self.field("") };
        let mut text = mem::take(&mut self.number);
        text.clear();
        // Writing into a string cannot fail.
        let _ = write!(text, "{value}");
        self.field(&text);
        self.number = text;
    }
}

impl Sink for Line<'_> {
    fn int(&mut self, value: Option<u64>) {
        self.display(value);
    }

    fn float(&mut self, value: Option<f64>) {
        match value {
            Some(f) => self.display(Some(format_args!("{f:?}"))),
            None => self.field(""),
        }
    }

    fn fixed(&mut self, value: Option<f64>, decimals: usize) {
        match value {
            Some(f) => self.display(Some(format_args!("{f:.decimals$}"))),
            None => self.field(""),
        }
    }

    fn text(&mut self, value: Option<&str>) {
        self.field(value.unwrap_or_default());
    }

    fn ip(&mut self, value: Option<IpAddr>) {
        self.display(value);
    }

    fn socket(&mut self, value: Option<SocketAddr>) {
        self.display(value);
    }

    fn bool(&mut self, value: Option<bool>) {
        self.display(value);
    }

    fn list(&mut self, _: &dyn Objects) {
        self.field("");
    }

    fn numbers(&mut self, _: &[(&'static str, f64)]) {
        self.field("");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Column,
        Get::{Fixed, Float, Int, Text},
    };

    type Sample = (u64, f64, String);
    const COLUMNS: &[Column<Sample>] = &[
        Column::counter("samples", "", Int(|r| Some(r.0))),
        Column::gauge("rtt_us", "", Float(|r| Some(r.1))),
        Column::gauge("rtt_ms", "", Fixed(|r| Some(r.1 / 1000.0), 2)),
        Column::label("path", "", Text(|r| Some(r.2.as_str()).filter(|path| !path.is_empty()))),
    ];

    fn line(first: &[&str], sample: &Sample) -> String {
        let mut line = Vec::new();
        row(&mut line, first, &[&COLUMNS], sample).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn floats_print_as_pythons() {
        let row = |us| line(&[], &(7, us, String::new()));
        assert_eq!(row(20305.678), "7,20305.678,20.31,\n");
        assert_eq!(row(20308.0), "7,20308.0,20.31,\n");
        assert_eq!(row(25010002.792079207), "7,25010002.792079207,25010.00,\n");
    }

    #[test]
    fn the_header_has_the_same_columns() {
        let mut line = Vec::new();
        header::<Sample>(&mut line, &["time"], &[&COLUMNS]).unwrap();
        assert_eq!(String::from_utf8(line).unwrap(), "time,samples,rtt_us,rtt_ms,path\n");
    }

    proptest! {
        #[test]
        fn any_word_survives(first: String, path: String) {
            let line = line(&[&first], &(7, 1.5, path.clone()));
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
            let back = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(back.iter().collect::<Vec<_>>(), [first.as_str(), "7", "1.5", "0.00", &path]);
        }

        #[test]
        fn floats_round_trip(f in 0.0..1e15_f64) {
            let line = line(&[], &(0, f, String::new()));
            let text = line.split(',').nth(1).unwrap();
            prop_assert!(text.contains('.'));
            prop_assert_eq!(text.parse::<f64>().unwrap(), f);
        }
    }
}
