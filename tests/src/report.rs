//! Tests of reports without a kernel: runs a command's report over records and statistics that a test made.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use clap::{CommandFactory, Parser};
use cli::{Banners, Common, Format, Manual, Out, Report, Run};
use probes::{Accounting, Change, Due, Error, Probe, Skipped};
use serde_json::Value;

/// A probe without a kernel, which hands out the records, the intervals' rows and the totals that a test
/// gives it.
pub struct Fake<Record, Row> {
    /// Records of events, all handed out at the first [`take`](Probe::take).
    pub records: Vec<Record>,
    /// Rows of two intervals. The second interval ends when the run ends.
    pub intervals: [Vec<Row>; 2],
    /// Rows with statistics since the start.
    pub totals: Vec<Row>,
    /// Number of intervals that have ended.
    ended: usize,
}

impl<Record, Row> Fake<Record, Row> {
    /// A probe with these records and statistics.
    pub fn new(records: Vec<Record>, intervals: [Vec<Row>; 2], totals: Vec<Row>) -> Self {
        Self { records, intervals, totals, ended: 0 }
    }
}

impl<Record, Row: Clone + 'static> Probe for Fake<Record, Row> {
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
        // This probe regards all associations as living, so that none is due as ended.
        let rows = if due == Due::Ended { Vec::new() } else { self.totals.clone() };
        Ok(rows.into_iter().map(Ok))
    }

    fn changed(&mut self) -> Result<impl Iterator<Item = Result<Change<Row>, Error>>, Error> {
        Ok(std::iter::empty())
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

/// The parts of a command that tests of its report need.
pub struct Tested<'a, Flags, R> {
    /// The command's name and the lines that it prints first.
    pub banners: &'a Banners,
    /// Returns the flags that all commands have in common.
    pub common: fn(&Flags) -> &Common,
    /// Makes the command's report.
    pub report: fn(&Common) -> R,
}

impl<Flags: Parser + CommandFactory, R: Report<Row: Clone>> Tested<'_, Flags, R> {
    /// Runs the command's report over a probe, with the given flags: all records, one interval, and the end
    /// of the run. Returns what the command would print on standard output.
    ///
    /// # Panics
    /// Where the flags are wrong, or the output cannot be written.
    pub fn play(&self, args: &[&str], mut probe: Fake<R::Record, R::Row>) -> String {
        let flags = Flags::parse_from([self.banners.command].iter().chain(args));
        let common = (self.common)(&flags);
        if common.format() == Format::Csv {
            // With CSV, no command asks its probe for records.
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

    /// Runs the command's report for a screen of 80 columns, with further flags. Returns the screen's lines after the first
    /// interval, without control sequences.
    ///
    /// # Panics
    /// Where the flags are wrong, or there is no such screen.
    pub fn screen(&self, args: &[&str], probe: Fake<R::Record, R::Row>) -> Vec<String> {
        let output = self.play(&[&["-L"], args].concat(), probe);
        // One at the begin, one for each of two intervals.
        let frames: Vec<_> = output.split("\x1b[H").skip(1).collect();
        assert_eq!(frames.len(), 3, "{output:?}");
        frames[1].lines().map(plain).filter(|line| !line.is_empty()).collect()
    }

    /// Runs the command's report in each form of output, and has `contract.py` check each output: a script
    /// that shares no code with the commands. `probe` makes a new probe for each form.
    ///
    /// # Panics
    /// Where the script finds something wrong, or an output cannot be written.
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
        self.keeps_the_schema(&["--json"], probe(), manual);
    }

    /// Checks the output of the given flags, one of which is `--json`, against the schema that `manual` makes.
    ///
    /// # Panics
    /// Where an object is not as the schema says.
    pub fn keeps_the_schema(&self, args: &[&str], probe: Fake<R::Record, R::Row>, manual: &Manual) {
        let folder = tempfile::tempdir().expect("a folder");
        let [output, schema] = ["output", "schema"].map(|name| folder.path().join(name));
        fs::write(&schema, manual.schema()).expect("the schema is kept");
        fs::write(&output, self.play(args, probe)).expect("the output is kept");
        contract("json", &output, Some(&schema));
    }
}

/// A line without control sequences.
fn plain(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    let text = |part: &'_ str| {
        part.split_once(|c: char| c.is_ascii_alphabetic())
            .map_or_else(String::new, |(_, text)| text.to_owned())
    };
    parts.fold(first, |line, part| line + &text(part))
}

/// Has `contract.py` check an output of the given form. `file` is the file that `-f` wrote, or with JSON the
/// schema.
fn contract(form: &str, output: &Path, file: Option<&PathBuf>) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/contract.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(form).arg(output).args(file);
    let result = command.output().expect("python3 runs");
    let text = fs::read_to_string(output).unwrap_or_default();
    assert!(result.status.success(), "{form}: {}\n{text}", String::from_utf8_lossy(&result.stderr));
}

/// Returns the first JSON object in `output` whose `type` is `kind`.
///
/// # Panics
/// Where there is no such object, or a line before it is not JSON.
#[must_use]
pub fn first_of(output: &str, kind: &str) -> Value {
    let mut objects = output.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    objects.find(|object| object["type"] == kind).expect("an object of that type")
}
