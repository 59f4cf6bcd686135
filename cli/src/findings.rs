//! Findings: what an expert would say about an association, from figures that the command has measured. The rules of a
//! command are in its own `findings.rs`. This file defines the form of a rule, decides when a finding begins and when
//! it is over, and prints it.

use std::{collections::BTreeMap, fmt::Write as _, mem, time::Duration};

use anyhow::Result;
use jiff::{Timestamp, tz::TimeZone};
use probes::{Identity, kernel};

use crate::{
    Clock, Column, Columns, Common, Events, Format, Get::Text, IDENTITY, OWNER, Out, PATH, Part, Table,
    column::Numbers, endpoints, parts::ASSOC_ID,
};

/// A finding is over after this many intervals in a row without it. Its cause need not show in each interval: T3-rtx,
/// for one, doubles its time at each expiry (RFC 9260 6.3.3).
const QUIET: u32 = 3;

/// The longest time for which a receiver may hold back a SACK (RFC 9260 6.2).
pub const LONGEST_SACK_DELAY: Duration = Duration::from_millis(500);

/// What a finding says. docs/findings.md has the same words.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// The finding as one word.
    pub code: &'static str,
    /// What must have been measured for this finding.
    pub premises: &'static str,
    /// What these premises mean. The sentence says no more than they do.
    pub sentence: &'static str,
    /// What to do about the finding.
    pub cure: &'static str,
    /// The section of a standard that gives the reason.
    pub section: &'static str,
}

/// The figures on which a finding rests: names and values. Each name has the unit.
pub type Figures = Vec<(&'static str, f64)>;

/// A row of a command's table of findings.
pub struct Rule<Evidence> {
    /// What the finding says.
    pub words: Words,
    /// A finding is reported once it was true in this many intervals. It may be absent between them, but for fewer than
    /// `QUIET` intervals in a row.
    pub intervals: u32,
    /// Returns the figures of the finding; `None` unless each premise is measured, and true.
    pub evaluate: fn(&Evidence) -> Option<Figures>,
}

/// The codes of the `N` rules in `rules`.
#[must_use]
pub const fn codes<Evidence, const N: usize>(rules: &[Rule<Evidence>]) -> [&'static str; N] {
    let mut codes = [""; N];
    let mut at = 0;
    while at < N {
        codes[at] = rules[at].words.code;
        at += 1;
    }
    codes
}

/// A finding about an association, or about the host.
#[derive(Clone)]
struct Finding {
    words: &'static Words,
    /// The figures of the last interval in which the finding was found.
    figures: Figures,
    /// The association, and the path if the figures are about one; `None` for a finding about the host.
    id: Option<Identity>,
    /// The begin of the first interval in which the finding was found.
    begin: Timestamp,
    /// The end of the last interval in which it was found; `None` while it lasts.
    end: Option<Timestamp>,
}

/// A finding that lasts.
struct Lasting {
    finding: Finding,
    /// True if the finding was found in the current interval.
    found: bool,
    /// Number of intervals in which the finding was found; it is printed after `needed` of them.
    intervals: u32,
    /// The rule's [`Rule::intervals`].
    needed: u32,
    /// End of the last interval in which the finding was found.
    last: Timestamp,
    /// Number of intervals since then.
    quiet: u32,
}

/// The code, and the association: its network namespace, its id and its life.
type Key = (&'static str, Option<[u32; 3]>);

/// The present findings of a command. Each is printed once when it begins, and once when it is over.
pub struct Findings {
    /// True if findings are looked for, to print them or for other uses (`Common::has_findings`).
    is_on: bool,
    /// The format of findings; `None` if none are printed.
    format: Option<Format>,
    zone: TimeZone,
    objects: Events<Object>,
    lasting: BTreeMap<Key, Lasting>,
    /// When the current interval began.
    began: Timestamp,
}

impl Findings {
    /// Makes an object without findings. `tool` is the command's name without `sctp-`. The first interval begins now.
    #[must_use]
    pub fn new(tool: &str, common: &Common) -> Self {
        Self {
            is_on: common.has_findings(),
            format: common.prints_findings().then(|| common.format()),
            zone: TimeZone::system(),
            objects: Events::new(tool, "finding", FINDING),
            lasting: BTreeMap::new(),
            began: Timestamp::now(),
        }
    }

    /// Returns whether findings are looked for. If not, reports need not gather evidence.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.is_on
    }

    /// The present findings: the code, and the association that has it (`None`: the host). A code comes once for each
    /// association that has it.
    pub(crate) fn lasting(&self) -> impl Iterator<Item = (&'static str, Option<&Identity>)> {
        self.shown().map(|finding| (finding.words.code, finding.id.as_ref()))
    }

    /// A line of text for each present finding.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.shown().map(|finding| line(finding, &self.zone))
    }

    fn shown(&self) -> impl Iterator<Item = &Finding> {
        let shown = self.lasting.values().filter(|lasting| lasting.intervals >= lasting.needed);
        shown.map(|lasting| &lasting.finding)
    }

    /// Looks for the finding of each rule in the evidence of an interval. `id` names the association that the evidence
    /// is about, and the path if it is about one path.
    pub fn evaluate<Evidence>(
        &mut self,
        rules: &'static [Rule<Evidence>],
        id: Option<&Identity>,
        evidence: &Evidence,
    ) {
        if !self.is_on() {
            return;
        }
        for rule in rules {
            if let Some(figures) = (rule.evaluate)(evidence) {
                self.found(rule, id, figures);
            }
        }
    }

    /// Notes a finding of the current interval. If the same finding comes several times for one association, the
    /// figures of the first count.
    fn found<Evidence>(&mut self, rule: &'static Rule<Evidence>, id: Option<&Identity>, figures: Figures) {
        let words = &rule.words;
        let key = (words.code, id.map(Identity::life_key));
        let begin = self.began;
        let lasting = self.lasting.entry(key).or_insert_with(|| Lasting {
            finding: Finding { words, figures: Figures::new(), id: id.cloned(), begin, end: None },
            found: false,
            intervals: 0,
            needed: rule.intervals,
            last: begin,
            quiet: 0,
        });
        if !mem::replace(&mut lasting.found, true) {
            lasting.finding.figures = figures;
        }
    }

    /// Ends the current interval. If the flags ask for lines of findings, prints those that were now found in
    /// [`Rule::intervals`] intervals, and those that are over.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub fn end_interval(&mut self, out: &mut Out) -> Result<()> {
        self.end_interval_at(Timestamp::now(), out)
    }

    fn end_interval_at(&mut self, now: Timestamp, out: &mut Out) -> Result<()> {
        self.began = now;
        let mut due = Vec::new();
        self.lasting.retain(|_, lasting| {
            if mem::take(&mut lasting.found) {
                lasting.intervals = lasting.intervals.saturating_add(1);
                if lasting.intervals == lasting.needed {
                    due.push(lasting.finding.clone());
                }
                (lasting.last, lasting.quiet) = (now, 0);
                return true;
            }
            lasting.quiet += 1;
            let is_over = lasting.quiet >= QUIET;
            if is_over && lasting.intervals >= lasting.needed {
                due.push(Finding { end: Some(lasting.last), ..lasting.finding.clone() });
            }
            !is_over
        });
        for finding in due {
            match self.format {
                Some(Format::Json) => {
                    self.objects.write(out, &Clock::now(), kernel::now(), &Object::new(finding))?
                }
                Some(_) => out.text(&line(&finding, &self.zone))?,
                None => {}
            }
        }
        Ok(())
    }
}

/// A finding as a JSON object has it: its times are text.
struct Object {
    finding: Finding,
    begin: String,
    end: Option<String>,
}

impl Object {
    fn new(finding: Finding) -> Self {
        let rfc3339 = |time| format!("{time:.6}");
        Self { begin: rfc3339(finding.begin), end: finding.end.map(rfc3339), finding }
    }
}

/// The columns of a `finding` object.
const FINDING: &[&dyn Columns<Object>] = &[
    &WORDS,
    &EVIDENCE,
    &TIMES,
    &Part { prefix: "", what: "", of: |o: &Object| o.finding.id.as_ref(), columns: ASSOC_ID },
    &Part { prefix: "", what: "", of: |o: &Object| o.finding.id.as_ref(), columns: IDENTITY },
    &Part { prefix: "", what: "", of: |o: &Object| o.finding.id.as_ref(), columns: PATH },
    &Part { prefix: "", what: "", of: |o: &Object| o.finding.id.as_ref(), columns: OWNER },
];
const WORDS: &[Column<Object>] = &[
    Column::label(
        "code",
        "the finding as one word: see docs/findings.md",
        Text(|o| Some(o.finding.words.code)),
    ),
    Column::label("sentence", "what it means", Text(|o| Some(o.finding.words.sentence))),
];
const EVIDENCE: Numbers<Object> = Numbers {
    name: "evidence",
    doc: "the figures on which it rests, of the last interval in which it was found",
    of: |o| &o.finding.figures,
};
const TIMES: &[Column<Object>] = &[
    Column::label("begin", "when the first interval in which it was found began", Text(|o| Some(&o.begin))),
    Column::label(
        "end",
        "when the last interval in which it was found ended; null while it lasts",
        Text(|o| o.end.as_deref()),
    ),
];

/// The columns of `finding` objects, for man page and JSON schema.
pub(crate) fn tables() -> [Table; 1] {
    [Table::events("Objects of type finding", &["finding"], FINDING)]
}

/// The line of a finding, which begins with `Finding` and its code.
fn line(finding: &Finding, zone: &TimeZone) -> String {
    let Finding { words, figures, id, begin, end } = finding;
    let path = |id: &Identity| id.path.map_or_else(String::new, |path| format!(", path {path}"));
    let of = id.as_ref().map_or("this host".to_owned(), |id| {
        format!("association {} ({}{})", id.assoc_id, endpoints(id), path(id))
    });
    let time_of_day = |time: &Timestamp| time.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string();
    let begin = time_of_day(begin);
    if let Some(end) = end {
        let end = time_of_day(end);
        return format!("Finding {} is over: {of}: from {begin} to {end}", words.code);
    }
    let mut line = format!("Finding {}: {of}, since {begin}: {}", words.code, words.sentence);
    let mut before = " (";
    for (name, figure) in figures {
        // Writing to a String cannot fail.
        let _ = write!(line, "{before}{name} {}", (figure * 1e3).round() / 1e3);
        before = ", ";
    }
    if !figures.is_empty() {
        line.push(')');
    }
    let _ = write!(line, ". Cure: {} ({})", words.cure, words.section);
    line
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use serde_json::Value;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        common: Common,
    }

    const fn rule(code: &'static str, intervals: u32, evaluate: fn(&f64) -> Option<Figures>) -> Rule<f64> {
        let words = Words {
            code,
            premises: "it is above",
            sentence: "It is so",
            cure: "none",
            section: "RFC 9260 1",
        };
        Rule { words, intervals, evaluate }
    }

    const ABOVE: &[Rule<f64>] = &[
        rule("above_1", 1, |n| (*n > 1.0).then(|| vec![("n", *n), ("limit", 1.0)])),
        rule("twice_above_5", 2, |n| (*n > 5.0).then(Vec::new)),
    ];

    /// What is printed, if an association has these numbers in intervals of a second. With NaN it has none.
    fn printed(args: &[&str], assoc_id: u32, numbers: &[f64]) -> String {
        let common = Flags::parse_from(["x"].iter().chain(args)).common;
        let stdout = tempfile::NamedTempFile::new().unwrap();
        let mut out = Out::to(stdout.reopen().unwrap(), common.file.as_deref()).unwrap();
        let mut findings = Findings::new("x", &common);
        (findings.zone, findings.began) = (TimeZone::UTC, Timestamp::UNIX_EPOCH);
        let id = Identity { assoc_id, life: 1, path: "10.2.0.1".parse().ok(), ..Identity::default() };
        for (number, second) in numbers.iter().zip(1..) {
            if !number.is_nan() {
                findings.evaluate(ABOVE, Some(&id), number);
            }
            findings.end_interval_at(Timestamp::from_second(second).unwrap(), &mut out).unwrap();
        }
        out.finish().unwrap();
        drop(out);
        fs::read_to_string(stdout.path()).unwrap()
    }

    fn objects(numbers: &[f64]) -> Vec<Value> {
        printed(&["--json"], 3, numbers).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The code of each object, and whether it says that the finding is over.
    fn codes(numbers: &[f64]) -> Vec<(String, bool)> {
        let of = |o: &Value| (o["code"].as_str().unwrap().to_owned(), !o["end"].is_null());
        objects(numbers).iter().map(of).collect()
    }

    #[test]
    fn a_finding_begins_once_and_is_over_once() {
        // Whether each object says that the finding is over.
        let over = |numbers: &[f64]| -> Vec<bool> {
            codes(numbers).into_iter().filter(|(code, _)| code == "above_1").map(|(_, over)| over).collect()
        };
        assert!(codes(&[0.0, 1.0, f64::NAN]).is_empty());
        assert_eq!(over(&[2.0]), [false]);
        assert_eq!(over(&[2.0, 2.0, 0.0, f64::NAN, 2.0, 0.0, 0.0]), [false]);
        assert_eq!(over(&[0.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]), [false, true]);
        assert_eq!(over(&[2.0, 0.0, 0.0, f64::NAN, 3.0]), [false, true, false]);
    }

    #[test]
    fn what_needs_two_intervals_is_not_said_after_one() {
        let of_two = |numbers: &[f64]| {
            codes(numbers)
                .into_iter()
                .filter(|(code, _)| code == "twice_above_5")
                .map(|(_, over)| over)
                .collect()
        };
        let never: Vec<bool> = of_two(&[6.0, 0.0, 0.0, 0.0, 6.0, 0.0, 0.0, 0.0]);
        assert!(never.is_empty());
        let once: Vec<bool> = of_two(&[6.0, 0.0, 0.0, 6.0, 6.0, 6.0]);
        assert_eq!(once, [false]);
        let over: Vec<bool> = of_two(&[6.0, 6.0, 0.0, 0.0, 0.0]);
        assert_eq!(over, [false, true]);
    }

    #[test]
    fn an_object_has_the_figures_and_who_it_is_about() {
        let objects = objects(&[2.5, 2.0, 0.0, 0.0, 0.0]);
        let [begin, end] = objects.as_slice() else { panic!("{objects:?}") };
        assert_eq!(begin["type"], "finding");
        assert_eq!(begin["evidence"], serde_json::json!({ "n": 2.5, "limit": 1.0 }));
        assert_eq!([&begin["assoc_id"], &begin["path"]], [&Value::from(3), &Value::from("10.2.0.1")]);
        assert_eq!(begin["sentence"], "It is so");
        assert_eq!(begin["end"], Value::Null);
        assert_eq!(end["evidence"]["n"], 2.0, "of the last interval in which it was found");
        assert_eq!([&begin["begin"], &end["begin"]], ["1970-01-01T00:00:00.000000Z"; 2]);
        assert_eq!(end["end"], "1970-01-01T00:00:02.000000Z");
    }

    #[test]
    fn a_line_says_it_in_words() {
        let text = printed(&["-x"], 3, &[2.5, 0.0, 0.0, 0.0]);
        let [begin, over] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        let association = "association 3 (- to -, netns 0, path 10.2.0.1)";
        assert_eq!(
            begin,
            format!(
                "Finding above_1: {association}, since 00:00:00: It is so (n 2.5, limit 1). Cure: none (RFC 9260 1)"
            )
        );
        assert_eq!(over, format!("Finding above_1 is over: {association}: from 00:00:00 to 00:00:01"));
    }

    #[test]
    fn lines_are_no_csv() {
        assert_eq!(printed(&["-x", "-c"], 3, &[2.0]), "");
        assert_eq!(printed(&[], 3, &[2.0]), "", "the drop-in form has none");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let lines = printed(&["-x", "-f", file.to_str().unwrap()], 3, &[2.0]);
        assert!(lines.starts_with("Finding above_1: "));
        assert_eq!(fs::read_to_string(file).unwrap(), "");
    }
}
