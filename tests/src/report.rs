//! Reports without a kernel: a run over records and statistics that a test made.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use clap::{CommandFactory, Parser};
use cli::{Banners, Common, Format, Manual, Out, Report, Run};
use probes::{Accounting, Due, Error, Probe, Skipped};
use serde_json::Value;

/// A probe that hands out what it was given: records first, then rows of each interval, and totals at the end.
pub struct Fake<Record, Row> {
    /// Records of events.
    pub records: Vec<Record>,
    /// Statistics of each of two intervals; the second ends with the run.
    pub intervals: [Vec<Row>; 2],
    /// Statistics since the start.
    pub totals: Vec<Row>,
    /// Intervals that have ended.
    ended: usize,
}

impl<Record, Row> Fake<Record, Row> {
    /// A probe with these records and statistics.
    pub fn new(records: Vec<Record>, intervals: [Vec<Row>; 2], totals: Vec<Row>) -> Self {
        Self { records, intervals, totals, ended: 0 }
    }
}

impl<Record, Row: Clone> Probe for Fake<Record, Row> {
    type Record = Record;
    type Row = Row;

    fn fd(&self) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    fn wake_me(&mut self) {}

    fn take(&mut self, into: &mut Vec<Record>, _limit: usize) -> Result<bool, Error> {
        into.append(&mut self.records);
        Ok(false)
    }

    fn end_interval(&mut self) {
        self.ended += 1;
    }

    fn interval(&mut self) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        let rows = self.ended.checked_sub(1).and_then(|n| self.intervals.get(n)).cloned();
        Ok(rows.unwrap_or_default().into_iter().map(Ok))
    }

    fn totals(&mut self, due: Due) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        // All associations live, as far as it knows.
        let rows = if due == Due::Ended { Vec::new() } else { self.totals.clone() };
        Ok(rows.into_iter().map(Ok))
    }

    fn accounting(&self) -> Accounting {
        let skipped = vec![Skipped { reason: "missed", sentence: "it was not seen", count: 3 }];
        Accounting { events: 9, lost: 1, evicted: 2, skipped, ..Accounting::default() }
    }

    fn detach(&mut self) {}
}

/// Output that the test reads afterwards.
#[derive(Clone, Default)]
struct Buffer(Rc<RefCell<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A command, as its tests see it.
pub struct Tested<'a, Flags, R> {
    /// What it says first.
    pub banners: &'a Banners,
    /// The flags that all commands have.
    pub common: fn(&Flags) -> &Common,
    /// Its report.
    pub report: fn(&Common) -> R,
}

impl<Flags: Parser + CommandFactory, R: Report<Row: Clone>> Tested<'_, Flags, R> {
    /// Runs the command's report with these flags over a probe. Returns its standard output: of the records, an
    /// interval, and the end.
    ///
    /// # Panics
    /// Where the flags are wrong or the output cannot be made.
    pub fn play(&self, args: &[&str], mut probe: Fake<R::Record, R::Row>) -> String {
        let flags = Flags::parse_from([self.banners.command].iter().chain(args));
        let common = (self.common)(&flags);
        if common.format() == Format::Csv {
            // No command asks for records then.
            probe.records.clear();
        }
        let buffer = Buffer::default();
        let out = Out::to(buffer.clone(), common.file.as_deref()).expect("FILE is made");
        let mut run = Run::new(self.banners, common, probe, (self.report)(common), out);
        run.begin().expect("it begins");
        run.records().expect("records are written");
        run.interval().expect("an interval is written");
        run.end().expect("it ends");
        String::from_utf8(buffer.0.take()).expect("text")
    }

    /// Plays all forms, and has the independent contract script read what came: `probe` makes a probe anew for each.
    ///
    /// # Panics
    /// Where it finds something wrong.
    pub fn keeps_the_contract(&self, probe: impl Fn() -> Fake<R::Record, R::Row>, manual: &Manual) {
        let tool = self.banners.tool();
        let folder = tempfile::tempdir().expect("a folder");
        let [output, file] = ["output", "rows/file"].map(|name| folder.path().join(name));
        let path = file.to_str().expect("text");
        for (form, args) in [
            ("text", &[][..]),
            ("csv", &["-c"]),
            ("csv-quiet", &["-cq"]),
            ("file", &["-f", path]),
            ("csv-file", &["-c", "-f", path]),
        ] {
            fs::write(&output, self.play(args, probe())).expect("the output is kept");
            let form = format!("{tool}-{form}");
            contract(&form, &output, form.ends_with("file").then_some(&file));
        }
        let schema = folder.path().join("schema");
        fs::write(&schema, manual.schema()).expect("the schema is kept");
        fs::write(&output, self.play(&["--json"], probe())).expect("the output is kept");
        contract("json", &output, Some(&schema));
    }
}

/// Has the contract script read an output.
fn contract(form: &str, output: &Path, file: Option<&PathBuf>) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/contract.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(form).arg(output).args(file);
    let result = command.output().expect("python3 runs");
    let text = fs::read_to_string(output).unwrap_or_default();
    assert!(result.status.success(), "{form}: {}\n{text}", String::from_utf8_lossy(&result.stderr));
}

/// The members of the first JSON object of a type.
///
/// # Panics
/// Where there is none.
#[must_use]
pub fn first_of(output: &str, kind: &str) -> Value {
    let mut objects = output.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    objects.find(|object| object["type"] == kind).expect("an object of that type")
}
