//! A probe and a report for tests, without a kernel.

use std::{io, os::fd::OwnedFd, rc::Rc, thread::sleep, time::Duration};

use clap::Parser;
use probes::{Accounting, Change, Due, Error, Identity, Owner, Probe};

use crate::{
    ASSOC_ID, Banners, Column, Columns, Common, Findings, Form, Format,
    Get::{Float, Int},
    Metrics, OWNER, Out, Part, Period, Report, Rows, Rule, Shown, Words,
};

#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) id: Identity,
    pub(crate) samples: u64,
    pub(crate) rtt_us: Option<f64>,
    pub(crate) window: u64,
}

pub(crate) const COLUMNS: &[&dyn Columns<Row>] = &[
    &Part { prefix: "", what: "", of: |r: &Row| Some(&r.id), columns: ASSOC_ID },
    &VALUES,
    &Part { prefix: "", what: "", of: |r: &Row| Some(&r.id), columns: OWNER },
];
pub(crate) const VALUES: &[Column<Row>] = &[
    Column::counter("unused", "not shown", Int(|_| Some(7))),
    Column::counter("samples", "samples", Int(|r| Some(r.samples))),
    Column::distribution("rtt_us", "latency", Float(|r| r.rtt_us)),
    Column::gauge("window", "window", Int(|r| Some(r.window))),
];
pub(crate) const SHOWN: Shown = Shown {
    columns: &["assoc_id", "rtt_us", "samples", "window", "comm"],
    worst: &["rtt_us", "samples"],
    low: &["window"],
};

pub(crate) fn row(assoc_id: u32, rtt_us: Option<f64>, samples: u64, comm: &str) -> Row {
    let owner = Owner { comm: Some(comm.to_owned()), ..Owner::default() };
    let id = Identity { assoc_id, owner: Some(Rc::new(owner)), ..Identity::default() };
    Row { id, samples, rtt_us, window: 100 - samples.min(100) }
}

/// Rows of four associations.
pub(crate) fn some() -> Vec<Row> {
    vec![
        row(1, Some(20.5), 4, "amf"),
        row(2, None, 9, "mme"),
        row(3, Some(30_000.125), 1, "a-longer-name-of-a-process"),
        row(4, Some(20.5), 5, "hss"),
    ]
}

/// A probe without a kernel. Each of its intervals has the rows of [`some`].
pub(crate) struct Fake {
    pub(crate) mode: String,
    pub(crate) ended: u32,
}

impl Probe for Fake {
    type Record = ();
    type Row = Row;

    fn fd(&self) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    fn wake_me(&mut self) {}

    fn take(&mut self, _: &mut Vec<()>, _: usize) -> Result<bool, Error> {
        Ok(false)
    }

    fn end_interval(&mut self) {
        self.ended += 1;
        assert!(self.mode != "panic" || self.ended < 3, "as the test wants");
    }

    fn interval(&mut self) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        Ok(some().into_iter().map(Ok))
    }

    fn totals(&mut self, _: Due) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        Ok(std::iter::empty())
    }

    fn changed(&mut self) -> Result<impl Iterator<Item = Result<Change<Row>, Error>>, Error> {
        Ok(std::iter::empty())
    }

    fn accounting(&self) -> Accounting {
        Accounting { events: 9, ..Accounting::default() }
    }

    fn detach(&mut self) {
        if self.mode == "second" {
            sleep(Duration::from_secs(60));
        }
    }
}

/// A report of these rows.
pub(crate) struct Simple {
    rows: Rows<Row>,
    form: Form,
    findings: Findings,
}

impl Simple {
    pub(crate) fn new(common: &Common) -> Self {
        let rows = Rows::new("x", common, COLUMNS.to_vec(), &SHOWN);
        Self { rows, form: Form::new(common), findings: Findings::new("x", common) }
    }
}

/// What [`Simple`] finds about the host in each interval, except for a screen.
pub(crate) const RULES: &[Rule<u64>] = &[Rule {
    words: Words { code: "many", premises: "samples", sentence: "Samples", cure: "none", section: "" },
    intervals: 1,
    evaluate: |samples| (*samples > 8).then(Vec::new),
}];

impl Report for Simple {
    type Record = ();
    type Row = Row;

    fn metrics(&self) -> &'static Metrics<Row> {
        const METRICS: &Metrics<Row> =
            &Metrics { id: |r| &r.id, of_rows: &[], findings: &["many"], of_host: false };
        METRICS
    }

    fn findings(&self) -> Option<&Findings> {
        Some(&self.findings)
    }

    fn header(&mut self, out: &mut Out) -> anyhow::Result<()> {
        self.rows.header(out)
    }

    fn form(&self) -> &Form {
        &self.form
    }

    fn interval(
        &mut self,
        out: &mut Out,
        rows: impl Iterator<Item = Result<Row, Error>>,
    ) -> anyhow::Result<()> {
        for row in some().iter().filter(|_| self.form.format != Format::Live) {
            self.findings.evaluate(RULES, None, &row.samples);
        }
        self.findings.end_interval(out)?;
        self.rows.print(out, Period::Interval, rows)
    }

    fn totals(
        &mut self,
        _: &mut Out,
        _: impl Iterator<Item = Result<Row, Error>>,
        _: bool,
    ) -> anyhow::Result<()> {
        Ok(())
    }
}

#[derive(Parser)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) common: Common,
}

pub(crate) const BANNERS: Banners = Banners { command: "sctp-x", text: "", csv: "", file: None };
