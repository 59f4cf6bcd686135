//! The output of `sctp-bufmon`: its columns, and its text, CSV and JSON.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use cli::{
    ASSOC_ID, Clock, Column, Columns, Common, DIST_US, Events, Findings, Form, Format,
    Get::{Bool, Fixed, Float, Int, Text},
    IDENTITY, Metrics, OWNER, Out, PERCENTILES_BYTES, PERCENTILES_US, Part, Period, Rows, Shared, Shown,
    Table, draw, endpoints, ms, us,
};
use probes::{
    DurationDist, Error, Identity, ValueDist,
    bufmon::{Buffers, Gaps, Limited, Received, Record, Row, Stall, StallCause, Wait},
};

use crate::{
    findings::{Evidence, RULES},
    metrics::{METRICS, WITHOUT_RECEIVE_WAIT},
};

/// The columns of CSV, which are those of the Python script that this command replaces. As in the script, a value
/// without samples is 0.
const CSV: &[Column<Row>] = &[
    Column::label("Association ID", "association id", Int(|r| Some(r.id.assoc_id.into()))),
    Column::distribution(
        "Avg_Util_%",
        "mean use of the send buffer",
        Fixed(|r| percent(r.util_ppm.mean()).or(Some(0.0)), 1),
    ),
    Column::distribution(
        "Min_Util_%",
        "smallest use of the send buffer",
        Fixed(|r| pct(r.util_ppm.min).or(Some(0.0)), 1),
    ),
    Column::distribution(
        "Max_Util_%",
        "largest use of the send buffer",
        Fixed(|r| pct(r.util_ppm.max).or(Some(0.0)), 1),
    ),
    Column::counter("Util_Samples", "looks at the send buffer", Int(|r| Some(r.util_ppm.count))),
    Column::distribution(
        "Avg_Outqueue_bytes",
        "mean of the user data never sent yet",
        Fixed(|r| r.outqueue_bytes.mean().or(Some(0.0)), 1),
    ),
    Column::distribution(
        "Max_Outqueue_bytes",
        "largest amount of user data never sent yet",
        Int(|r| r.outqueue_bytes.max.or(Some(0))),
    ),
    Column::counter("Outqueue_Samples", "looks at the outqueue", Int(|r| Some(r.outqueue_bytes.count))),
    Column::distribution(
        "Avg_RWND_bytes",
        "mean of the window that the peer advertised",
        Fixed(|r| r.rwnd_bytes.mean().or(Some(0.0)), 1),
    ),
    Column::distribution(
        "Min_RWND_bytes",
        "smallest window that the peer advertised",
        Int(|r| r.rwnd_bytes.min.or(Some(0))),
    ),
    Column::counter("RWND_Samples", "SACKs that came", Int(|r| Some(r.rwnd_bytes.count))),
    Column::counter("Sndbuf_Wait_Events", "sends that waited for room", Int(|r| Some(r.wait_events))),
];

/// The columns of [`CSV`] without the association id, by their names in JSON. A value without samples is
/// `null`.
const JSON: &[&dyn Columns<Row>] = &[
    &Part { prefix: "util_", what: "use of the send buffer", of: |r: &Row| Some(&r.util_ppm), columns: USE },
    &Part {
        prefix: "outqueue_",
        what: "user data never sent yet",
        of: |r: &Row| Some(&r.outqueue_bytes),
        columns: QUEUE,
    },
    &Part {
        prefix: "rwnd_",
        what: "window that the peer advertised",
        of: |r: &Row| Some(&r.rwnd_bytes),
        columns: WINDOW,
    },
    &WAIT_EVENTS,
];
const WAIT_EVENTS: &[Column<Row>] =
    &[Column::counter("wait_events", "sends that waited for room", Int(|r| Some(r.wait_events)))];
const SAMPLES: Column<ValueDist> = Column::counter("samples", "number of looks", Int(|d| Some(d.count)));
const AVG_PCT: Column<ValueDist> = Column::distribution("avg_pct", "mean", Fixed(|d| percent(d.mean()), 1));
const MAX_PCT: Column<ValueDist> = Column::distribution("max_pct", "largest", Fixed(|d| pct(d.max), 1));
const AVG_BYTES: Column<ValueDist> = Column::distribution("avg_bytes", "mean", Fixed(ValueDist::mean, 1));
const MIN_BYTES: Column<ValueDist> = Column::distribution("min_bytes", "smallest", Int(|d| d.min));
const MAX_BYTES: Column<ValueDist> = Column::distribution("max_bytes", "largest", Int(|d| d.max));
const USE: &[Column<ValueDist>] =
    &[AVG_PCT, Column::distribution("min_pct", "smallest", Fixed(|d| pct(d.min), 1)), MAX_PCT, SAMPLES];
const QUEUE: &[Column<ValueDist>] = &[AVG_BYTES, MAX_BYTES, SAMPLES];
const WINDOW: &[Column<ValueDist>] = &[AVG_BYTES, MIN_BYTES, SAMPLES];
const PERCENTILES_PCT: &[Column<ValueDist>] = &[
    Column::distribution("p50_pct", "median", Fixed(|d| pct(d.percentiles.map(|p| p[0])), 1)),
    Column::distribution("p90_pct", "90th percentile", Fixed(|d| pct(d.percentiles.map(|p| p[1])), 1)),
    Column::distribution("p99_pct", "99th percentile", Fixed(|d| pct(d.percentiles.map(|p| p[2])), 1)),
];

const ASSOC: Part<Row, Identity> = Part { prefix: "", what: "", of: |r| Some(&r.id), columns: ASSOC_ID };
const ENDS: Part<Row, Identity> = Part { prefix: "", what: "", of: |r| Some(&r.id), columns: IDENTITY };

/// The columns that `--extended` and `--json` add.
const MORE: &[&dyn Columns<Row>] = &[
    &Part {
        prefix: "util_",
        what: "use of the send buffer",
        of: |r: &Row| Some(&r.util_ppm),
        columns: PERCENTILES_PCT,
    },
    &Part {
        prefix: "outqueue_",
        what: "user data never sent yet",
        of: |r: &Row| Some(&r.outqueue_bytes),
        columns: PERCENTILES_BYTES,
    },
    &Part {
        prefix: "rwnd_",
        what: "window that the peer advertised",
        of: |r: &Row| Some(&r.rwnd_bytes),
        columns: PERCENTILES_BYTES,
    },
    &Part {
        prefix: "rwnd_",
        what: "window that the peer advertised",
        of: |r: &Row| Some(&r.rwnd_bytes),
        columns: &[MAX_BYTES],
    },
    &WAIT_TOTAL,
    &Part { prefix: "wait_", what: "time that a send waited", of: |r: &Row| Some(&r.wait), columns: DIST_US },
    &Part {
        prefix: "wait_",
        what: "time that a send waited",
        of: |r: &Row| Some(&r.wait),
        columns: PERCENTILES_US,
    },
    &SENDER,
    &Part {
        prefix: "recv_util_",
        what: "use of the receive buffer",
        of: |r: &Row| Some(&r.recv_ppm),
        columns: &[AVG_PCT, MAX_PCT],
    },
    &RECV_SAMPLES,
    &Part {
        prefix: "own_rwnd_",
        what: "window that this side advertised",
        of: |r: &Row| Some(&r.own_rwnd_bytes),
        columns: &[AVG_BYTES, MIN_BYTES],
    },
    &STALLS,
    &Part { prefix: "", what: "", of: |r: &Row| Some(&r.id), columns: OWNER },
    &REFUSED,
    &Part { prefix: "limited_", what: "", of: |r: &Row| Some(&r.limited), columns: LIMITED },
    &Part { prefix: "", what: "", of: |r: &Row| r.buffers.as_ref(), columns: BUFFERS },
    &HELD,
];
const BUFFERS: &[Column<Buffers>] = &[
    Column::gauge(
        "sndbuf_bytes",
        "size of the socket's send buffer, twice what SO_SNDBUF was set to",
        Int(|b| Some(b.sndbuf_bytes.into())),
    ),
    Column::gauge(
        "rcvbuf_bytes",
        "size of the socket's receive buffer, twice what SO_RCVBUF was set to",
        Int(|b| Some(b.rcvbuf_bytes.into())),
    ),
    Column::gauge(
        "peer_initial_rwnd_bytes",
        "window in the peer's INIT or INIT ACK",
        Int(|b| Some(b.peer_initial_rwnd_bytes.into())),
    ),
    Column::gauge(
        "sock_assocs",
        "associations of the socket; 256: that many or more",
        Int(|b| Some(b.sock_assocs.into())),
    ),
];
const HELD: &[Column<Row>] = &[Column::distribution(
    "sndbuf_held_pct",
    "of the memory that the socket's associations held for data to be sent or acknowledged, this one's part: mean over \
     the looks at the send buffer",
    Fixed(|r| pct(r.held_ppm), 1),
)];
/// The times in which something limited the sender. Together they are the time since the association's first event.
const LIMITED: &[Column<Limited>] = &[
    Column::counter(
        "app_us",
        "how long all data was sent, and no send waited for room: the application is the limit",
        Float(|l| Some(us(l.app))),
    ),
    Column::counter(
        "sndbuf_us",
        "how long all data was sent, and a send waited for room in the send buffer, or was refused for want of it",
        Float(|l| Some(us(l.sndbuf))),
    ),
    Column::counter(
        "nagle_us",
        "how long Nagle's rule, or MSG_MORE, held data back",
        Float(|l| Some(us(l.nagle))),
    ),
    Column::counter(
        "cwnd_us",
        "how long data waited, with as much in flight on its path as the congestion window",
        Float(|l| Some(us(l.cwnd))),
    ),
    Column::counter(
        "rwnd_us",
        "how long data waited because the next chunk did not fit into the peer's window",
        Float(|l| Some(us(l.rwnd))),
    ),
    Column::counter(
        "other_us",
        "how long data waited for something else: the handshake, Max.Burst, the reset of a stream",
        Float(|l| Some(us(l.other))),
    ),
];

/// What `--live` shows: associations that stand still, what waits, and what limits the sender.
pub const LIVE: Shown = Shown {
    columns: &[
        "assoc_id",
        "peer",
        "stall_total_ms",
        "wait_total_us",
        "limited_rwnd_us",
        "limited_cwnd_us",
        "util_max_pct",
        "rwnd_min_bytes",
        "rwnd_samples",
        "comm",
    ],
    worst: &["stall_total_ms", "wait_total_us", "limited_rwnd_us", "limited_cwnd_us", "util_max_pct"],
    low: &["rwnd_min_bytes"],
};

/// The columns that `--recv-wait` adds at the right end.
const RECEIVED: &[&dyn Columns<Row>] = &[
    &Part { prefix: "recv_wait_", what: UNTIL_READ, of: |r: &Row| wait_of(r), columns: DIST_US },
    &Part { prefix: "recv_wait_", what: UNTIL_READ, of: |r: &Row| wait_of(r), columns: PERCENTILES_US },
    &Part { prefix: "recv_", what: "", of: |r: &Row| r.received.as_ref(), columns: MESSAGES },
];
const UNTIL_READ: &str = "time from when a message could be read until its last byte was";
const MESSAGES: &[Column<Received>] = &[
    Column::counter("read", "messages that were read", Int(|r| Some(r.read))),
    Column::gauge("waiting", "messages that wait to be read", Int(|r| Some(r.waiting))),
    Column::counter("unread", "messages that were thrown away unread", Int(|r| Some(r.unread))),
];

fn wait_of(row: &Row) -> Option<&DurationDist> {
    row.received.as_ref().map(|received| &received.wait)
}

const REFUSED: &[Column<Row>] = &[
    Column::counter("refused_eagain", "sends that failed with EAGAIN: no room", Int(|r| Some(r.refused))),
    Column::counter(
        "refused_einval",
        "sends that failed with EINVAL: of a stream that does not exist, mostly",
        Int(|r| Some(r.refused_einval)),
    ),
    Column::counter(
        "refused_other",
        "sends that failed with EMSGSIZE: a message that is too long",
        Int(|r| Some(r.refused_other)),
    ),
];
const WAIT_TOTAL: &[Column<Row>] = &[Column::counter(
    "wait_total_us",
    "time that sends waited, all together, up to now",
    Float(|r| Some(us(r.waited))),
)];
const SENDER: &[Column<Row>] = &[
    Column::counter("refused_events", "sends refused (EAGAIN)", Int(|r| Some(r.refused))),
    Column::counter(
        "zero_window_events",
        "times that the peer closed its window",
        Int(|r| Some(r.zero_windows)),
    ),
    Column::counter(
        "zero_window_ms",
        "how long the peer's window was closed",
        Float(|r| Some(ms(r.zero_window))),
    ),
    Column::distribution(
        "in_flight_max_bytes",
        "the most that was sent and not acknowledged",
        Int(|r| r.is_sender().then_some(r.in_flight_max_bytes)),
    ),
];
const RECV_SAMPLES: &[Column<Row>] =
    &[Column::counter("recv_samples", "SACKs sent", Int(|r| Some(r.recv_ppm.count)))];
const STALLS: &[Column<Row>] = &[
    Column::counter(
        "stalls",
        "times that the cumulative TSN stood still for longer than the RTO, with data outstanding or queued",
        Int(|r| Some(r.stalls)),
    ),
    Column::counter("stall_total_ms", "how long stalls lasted, all together", Float(|r| Some(ms(r.stalled)))),
    Column::distribution("stall_max_ms", "how long a stall lasted at most", Float(|r| Some(ms(r.stall_max)))),
    Column::label(
        "stall_cause",
        "what held it up for the longest, the last time",
        Text(|r| r.stall_cause.map(cause)),
    ),
];

/// The columns of a `sample` object: a send that waited.
const SAMPLE: &[&dyn Columns<Wait>] = &[
    &Shared {
        of: |w: &Wait| w.id.as_ref(),
        columns: &[
            &WAIT_ASSOC,
            &Part { prefix: "", what: "", of: |w: &Wait| w.id.as_deref(), columns: IDENTITY },
        ],
    },
    &WAIT_VALUES,
    &Shared {
        of: |w: &Wait| w.id.as_ref(),
        columns: &[&Part { prefix: "", what: "", of: |w: &Wait| w.id.as_deref(), columns: OWNER }],
    },
];
const WAIT_ASSOC: &[Column<Wait>] =
    &[Column::label("assoc_id", "association id", Int(|w| Some(w.assoc_id.into())))];
const WAIT_VALUES: &[Column<Wait>] = &[
    Column::gauge("wait_us", "how long the send waited", Float(|w| Some(us(w.wait)))),
    Column::gauge("msg_bytes", "length of the message", Int(|w| Some(w.msg_bytes.into()))),
];

/// The columns of a `stall` object.
const STALL: &[&dyn Columns<Stall>] = &[
    &Part { prefix: "", what: "", of: |s: &Stall| Some(&s.id), columns: ASSOC_ID },
    &Part { prefix: "", what: "", of: |s: &Stall| Some(&s.id), columns: IDENTITY },
    &STALL_VALUES,
    &Part { prefix: "", what: "", of: |s: &Stall| s.gaps.as_ref(), columns: GAPS },
    &Part { prefix: "", what: "", of: |s: &Stall| Some(&s.id), columns: OWNER },
];
const STALL_VALUES: &[Column<Stall>] = &[
    Column::gauge("lasted_ms", "how long the stall has lasted so far", Float(|s| Some(ms(s.lasted)))),
    Column::label("over", "the stall is over", Bool(|s| Some(s.until.is_some()))),
    Column::gauge("unacked_bytes", "the most data that was outstanding or queued", Int(|s| Some(s.bytes))),
    Column::gauge("t3_expiries", "T3-rtx expiries meanwhile", Int(|s| Some(s.t3_expiries.into()))),
    Column::gauge("waiting_sends", "sends that wait for room", Int(|s| Some(s.waiting.into()))),
    Column::label("cause", "what held it up for the longest", Text(|s| Some(cause(s.cause)))),
    Column::label("cause_text", "the same in words", Text(|s| Some(words(s.cause)))),
    Column::gauge("cause_ms", "how long that held it up so far", Float(|s| Some(ms(s.held)))),
    Column::gauge("sacks", "SACKs that came meanwhile", Int(|s| Some(s.sacks.into()))),
    Column::gauge("window_bytes", "window in the peer's last SACK", Int(|s| s.window.map(u64::from))),
    Column::label("in_flight", "data was in flight at the last look", Bool(|s| Some(!s.is_idle))),
];
const GAPS: &[Column<Gaps>] = &[
    Column::label(
        "missing_tsn",
        "first TSN that is missing, by gap blocks of SACKs",
        Int(|g| Some(g.tsn.into())),
    ),
    Column::gauge("missing_sent", "times that it was sent, at least", Int(|g| g.sent.map(u64::from))),
    Column::gauge("missing", "TSNs that are missing", Int(|g| Some(g.missing.into()))),
    Column::gauge("gap_acked", "TSNs behind it that are acknowledged", Int(|g| Some(g.acked.into()))),
];

/// The tables of all columns, for man page and JSON schema.
pub fn tables() -> Vec<Table> {
    let json: &[&dyn Columns<Row>] = &[&ASSOC];
    let more: &[&dyn Columns<Row>] = &[&ENDS];
    vec![
        Table::csv::<Row>("CSV columns", &[&CSV]),
        Table::statistics("The same in JSON", &[json, JSON].concat()),
        Table::statistics("More with -x and --json", &[more, MORE].concat()),
        Table::optional("More with --recv-wait, and -x or --json", RECEIVED),
        Table::events("Objects of type sample: a send that waited", &["sample"], SAMPLE),
        Table::events("Objects of type stall", &["stall"], STALL),
    ]
}

/// Prints waits, stalls and statistics in the form that the flags ask for.
pub struct Report {
    rows: Rows<Row>,
    waits: Events<Wait>,
    stalls: Events<Stall>,
    findings: Findings,
    /// The last stall of each association that is stalled, by [`Identity::life_key`].
    stalled: BTreeMap<[u32; 3], Stall>,
    /// Length of the longest message in bytes, of each association with sends that waited in the current interval.
    longest: BTreeMap<[u32; 3], u32>,
    has_receive_wait: bool,
    form: Form,
}

impl Report {
    /// Makes a report in the form that the flags ask for. `recv_wait`: how long messages wait until they are read
    /// is measured.
    pub fn new(common: &Common, recv_wait: bool) -> Self {
        let form = Form::new(common);
        let mut columns: Vec<&'static dyn Columns<Row>> = Vec::new();
        match (form.format, form.extended) {
            (Format::Json | Format::Live, _) => {
                columns.extend::<[&dyn Columns<Row>; 2]>([&ASSOC, &ENDS]);
                columns.extend([JSON, MORE].concat());
            }
            (_, true) => {
                columns.extend::<[&dyn Columns<Row>; 2]>([&CSV, &ENDS]);
                columns.extend(MORE);
            }
            (_, false) => columns.push(&CSV),
        }
        if recv_wait && form.extended {
            columns.extend(RECEIVED);
        }
        Self {
            rows: Rows::new("bufmon", common, columns, &LIVE),
            waits: Events::new("bufmon", "sample", SAMPLE),
            stalls: Events::new("bufmon", "stall", STALL),
            findings: Findings::new("bufmon", common),
            stalled: BTreeMap::new(),
            longest: BTreeMap::new(),
            has_receive_wait: recv_wait,
            form,
        }
    }

    /// Keeps from a record what a finding may need at the end of the interval.
    fn note(&mut self, record: &Record) {
        match record {
            Record::Stall(stall) => {
                self.stalled.insert(stall.id.life_key(), stall.clone());
            }
            Record::Wait(Wait { id: Some(id), msg_bytes, .. }) => {
                let longest = self.longest.entry(id.life_key()).or_default();
                *longest = (*longest).max(*msg_bytes);
            }
            Record::Wait(_) => {}
        }
    }

    /// Looks for findings in the rows of an interval, and forgets what was noted of it.
    fn find(&mut self, rows: &[Row]) {
        for row in rows {
            let stall = self.stalled.get(&row.id.life_key()).cloned();
            let evidence = Evidence {
                limited: row.limited,
                buffers: row.buffers,
                held_ppm: row.held_ppm,
                sndbuf_max_ppm: row.util_ppm.max,
                memory_waits: row.memory_waits,
                longest_message: self.longest.get(&row.id.life_key()).copied(),
                received: row.received.clone(),
                rcvbuf_max_ppm: row.recv_ppm.max,
                stalled: row.stalled,
                cause: row.stall_cause,
                held: row.stall_held,
                t3_expiries: row.stall_t3_expiries,
                stall,
            };
            self.findings.evaluate(RULES, Some(&row.id), &evidence);
        }
        let stalled: BTreeSet<_> =
            rows.iter().filter(|row| !row.stalled.is_zero()).map(|row| row.id.life_key()).collect();
        self.stalled.retain(|id, _| stalled.contains(id));
        self.longest.clear();
    }

    /// Unless extended, leaves out associations that only receive, and the percentiles of buffer, queue and window.
    fn leave_out(&self, mut rows: Vec<Row>) -> Vec<Row> {
        if !self.form.extended {
            rows.retain(Row::is_sender);
            for row in &mut rows {
                let dists = [&mut row.util_ppm, &mut row.outqueue_bytes, &mut row.rwnd_bytes];
                dists.into_iter().for_each(|dist| dist.percentiles = None);
            }
        }
        rows
    }
}

/// The rows by association id, then by order of appearance.
fn sorted(rows: impl Iterator<Item = Result<Row, Error>>) -> Result<Vec<Row>> {
    let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
    rows.sort_by_key(|row| (row.id.assoc_id, row.serial));
    Ok(rows)
}

impl cli::Report for Report {
    type Record = Record;
    type Row = Row;

    fn metrics(&self) -> &'static Metrics<Row> {
        if self.has_receive_wait { &METRICS } else { &WITHOUT_RECEIVE_WAIT }
    }

    fn findings(&self) -> Option<&Findings> {
        Some(&self.findings)
    }

    fn header(&mut self, out: &mut Out) -> Result<()> {
        self.rows.header(out)
    }

    /// In JSON, writes an object for each wait and each stall; in extended text, a line for each stall. The
    /// time of a wait is when it ended, the time of a stall when it began.
    fn records(&mut self, out: &mut Out, records: &mut Vec<Record>) -> Result<()> {
        let clock = Clock::now();
        for record in records.drain(..) {
            if self.findings.is_on() {
                self.note(&record);
            }
            match (record, self.form.format) {
                (Record::Wait(wait), Format::Json) if self.form.samples => {
                    self.waits.write(out, &clock, wait.at, &wait)?;
                }
                (Record::Stall(stall), Format::Json) => {
                    self.stalls.write(out, &clock, stall.since, &stall)?;
                }
                // With `--hist` the kernel side also finds stalls, but only extended text prints them.
                (Record::Stall(stall), Format::Text) if self.form.extended && self.form.rows => {
                    out.text(&stall_line(&stall, &clock.time_of_day(stall.since, &self.form.zone)))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn form(&self) -> &Form {
        &self.form
    }

    fn interval(&mut self, out: &mut Out, rows: impl Iterator<Item = Result<Row, Error>>) -> Result<()> {
        let rows = sorted(rows)?;
        if self.findings.is_on() {
            self.find(&rows);
        }
        let rows = self.leave_out(rows);
        self.rows.print(out, Period::Interval, rows.into_iter().map(Ok))?;
        self.findings.end_interval(out)
    }

    fn totals(
        &mut self,
        out: &mut Out,
        rows: impl Iterator<Item = Result<Row, Error>>,
        _at_end: bool,
    ) -> Result<()> {
        let rows = self.leave_out(sorted(rows)?);
        if self.form.format == Format::Text {
            for row in &rows {
                text_summary(row, self.form.extended, out)?;
                if self.form.histograms {
                    text_histograms(row, self.form.extended, out)?;
                }
            }
        }
        self.rows.print(out, Period::Summary, rows.into_iter().map(Ok))
    }
}

fn percent(ppm: Option<f64>) -> Option<f64> {
    ppm.map(|p| p / 1e4)
}

fn pct(ppm: Option<u64>) -> Option<f64> {
    percent(ppm.map(|p| p as f64))
}

fn cause(cause: StallCause) -> &'static str {
    match cause {
        StallCause::Unknown => "unknown",
        StallCause::HandshakeUnanswered => "handshake_unanswered",
        StallCause::PathSilent => "path_silent",
        StallCause::WindowClosed => "window_closed",
        StallCause::WindowFullOfGaps => "window_full_of_gaps",
        StallCause::OneMissing => "one_missing",
    }
}

/// The sentence for a cause. It says no more than the premises of the cause ([`StallCause`]).
fn words(cause: StallCause) -> &'static str {
    match cause {
        StallCause::Unknown => "no cause is proven",
        StallCause::HandshakeUnanswered => "the peer does not answer the handshake",
        StallCause::PathSilent => "T3-rtx expires, and nothing comes from the peer",
        StallCause::WindowClosed => "the peer's window is closed: its receive buffer is full",
        StallCause::WindowFullOfGaps => "a chunk is missing, and behind it the peer's window is closed",
        StallCause::OneMissing => "a chunk is missing: the peer has acknowledged what was sent after it",
    }
}

/// The figures that a cause rests on.
fn figures(stall: &Stall) -> String {
    let expired = times(stall.t3_expiries);
    match (stall.cause, &stall.gaps) {
        (StallCause::WindowFullOfGaps | StallCause::OneMissing, Some(gaps)) => {
            let sent = gaps.sent.map_or_else(String::new, |sent| format!(", sent {} or more", times(sent)));
            let more = if gaps.missing > 1 { format!(", {} more", gaps.missing - 1) } else { String::new() };
            format!(" (TSN {}{sent}{more}; {} behind it are acknowledged)", gaps.tsn, gaps.acked)
        }
        (StallCause::WindowClosed, _) => {
            stall.window.map_or_else(String::new, |window| format!(" ({window} bytes, by its last SACK)"))
        }
        (StallCause::PathSilent, _) => format!(" (expired {expired})"),
        (StallCause::Unknown, _) => {
            let idle = if stall.is_idle { ", and nothing is in flight" } else { "" };
            let sacks = if stall.sacks == 1 { "SACK" } else { "SACKs" };
            format!(" ({} {sacks} came, T3-rtx expired {expired}{idle})", stall.sacks)
        }
        _ => String::new(),
    }
}

fn times(n: u32) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

fn stall_line(stall: &Stall, since: &str) -> String {
    let is = if stall.until.is_some() { "was" } else { "is" };
    format!(
        "Association {} ({}) {is} stalled since {since}: its cumulative TSN stood still for {:.1} s, with {} bytes \
         outstanding or queued; for {:.1} s {}{}",
        stall.id.assoc_id,
        endpoints(&stall.id),
        stall.lasted.as_secs_f64(),
        stall.bytes,
        stall.held.as_secs_f64(),
        words(stall.cause),
        figures(stall)
    )
}

fn label(s: &Row, extended: bool) -> String {
    let label = format!("Association {}", s.id.assoc_id);
    if extended { format!("{label} ({})", endpoints(&s.id)) } else { label }
}

fn text_histograms(s: &Row, extended: bool, out: &mut Out) -> Result<()> {
    let label = label(s, extended);
    for (of, unit, histogram) in [
        ("send buffer utilisation", "percent", &s.util_histogram),
        ("sends that waited for room", "usecs", &s.wait_histogram),
    ] {
        let title = format!("{label}: {of}");
        histogram.iter().try_for_each(|histogram| draw(out, &title, unit, histogram))?;
    }
    Ok(())
}

fn text_summary(s: &Row, extended: bool, out: &mut Out) -> Result<()> {
    out.text("")?;
    out.text(&format!("{}:", label(s, extended)))?;
    use_block("Send Buffer", &s.util_ppm, out)?;
    if let (Some(avg), Some(max)) = (s.outqueue_bytes.mean(), s.outqueue_bytes.max) {
        out.text("  Outqueue Size:")?;
        out.text(&format!("    Average: {avg:.1} bytes"))?;
        out.text(&format!("    Maximum: {max} bytes"))?;
        percentile_line(&s.outqueue_bytes, out)?;
        out.text(&format!("    Samples: {}", s.outqueue_bytes.count))?;
    }
    window_block("Receiver Window (RWND)", &s.rwnd_bytes, extended, out)?;
    out.text("  Send Buffer Pressure:")?;
    out.text(&format!("    Wait events: {}", s.wait_events))?;
    if !extended {
        return Ok(());
    }
    if let (Some(avg), Some(max)) = (s.wait.mean_us(), s.wait.max) {
        let total = ms(s.waited);
        out.text(&format!(
            "    Wait time: {total:.3} ms in all, {:.3} ms avg, {:.3} ms max",
            avg / 1e3,
            ms(max)
        ))?;
    }
    out.text(&format!("    Refused (EAGAIN): {}", s.refused))?;
    for (count, error) in [(s.refused_einval, "EINVAL"), (s.refused_other, "EMSGSIZE")] {
        if count > 0 {
            out.text(&format!("    Refused ({error}): {count}"))?;
        }
    }
    out.text(&format!("  In flight: {} bytes maximum", s.in_flight_max_bytes))?;
    out.text(&format!("  Zero window: {} times, {:.3} ms", s.zero_windows, ms(s.zero_window)))?;
    use_block("Receive Buffer", &s.recv_ppm, out)?;
    window_block("Own Window", &s.own_rwnd_bytes, extended, out)?;
    out.text(&format!(
        "  Stalls: {}, {:.1} ms in all, {:.1} ms at most",
        s.stalls,
        ms(s.stalled),
        ms(s.stall_max)
    ))?;
    s.stall_cause.map_or(Ok(()), |c| out.text(&format!("    Cause: {}", words(c))))?;
    limited_line(&s.limited, out)?;
    s.received.as_ref().map_or(Ok(()), |received| received_block(received, out))
}

/// Writes the share of the time, in percent, for which each limit applied to the sender.
fn limited_line(l: &Limited, out: &mut Out) -> Result<()> {
    let parts = [
        ("application", l.app),
        ("send buffer", l.sndbuf),
        ("Nagle", l.nagle),
        ("cwnd", l.cwnd),
        ("peer's window", l.rwnd),
        ("other", l.other),
    ];
    let all = l.sum();
    if all.is_zero() {
        return Ok(());
    }
    let shares = parts.map(|(name, time)| format!("{name} {:.1}%", 100.0 * time.div_duration_f64(all)));
    out.text(&format!("  Limited by: {}", shares.join(", ")))
}

fn received_block(received: &Received, out: &mut Out) -> Result<()> {
    out.text("  Messages received:")?;
    out.text(&format!(
        "    Read: {}, waiting: {}, thrown away unread: {}",
        received.read, received.waiting, received.unread
    ))?;
    if let (Some(avg), Some(max)) = (received.wait.mean_us(), received.wait.max) {
        out.text(&format!("    Wait until read: {:.3} ms avg, {:.3} ms max", avg / 1e3, ms(max)))?;
    }
    if let Some(p) = received.wait.percentiles {
        let [p50, p90, p99] = p.map(ms);
        out.text(&format!("    p50/p90/p99: {p50:.3}/{p90:.3}/{p99:.3} ms"))?;
    }
    Ok(())
}

fn use_block(name: &str, ppm: &ValueDist, out: &mut Out) -> Result<()> {
    let (Some(avg), Some(min), Some(max)) = (percent(ppm.mean()), pct(ppm.min), pct(ppm.max)) else {
        return Ok(());
    };
    out.text(&format!("  {name} utilisation:"))?;
    out.text(&format!("    Average: {avg:.1}%"))?;
    out.text(&format!("    Min/Max: {min:.1}%/{max:.1}%"))?;
    if let Some(p) = ppm.percentiles {
        let [p50, p90, p99] = p.map(|p| p as f64 / 1e4);
        out.text(&format!("    p50/p90/p99: {p50:.1}%/{p90:.1}%/{p99:.1}%"))?;
    }
    out.text(&format!("    Samples: {}", ppm.count))
}

fn window_block(name: &str, bytes: &ValueDist, extended: bool, out: &mut Out) -> Result<()> {
    let (Some(avg), Some(min), Some(max)) = (bytes.mean(), bytes.min, bytes.max) else { return Ok(()) };
    out.text(&format!("  {name}:"))?;
    out.text(&format!("    Average: {avg:.1} bytes"))?;
    out.text(&format!("    Minimum: {min} bytes"))?;
    if extended {
        out.text(&format!("    Maximum: {max} bytes"))?;
    }
    percentile_line(bytes, out)?;
    out.text(&format!("    Samples: {}", bytes.count))
}

fn percentile_line(bytes: &ValueDist, out: &mut Out) -> Result<()> {
    bytes
        .percentiles
        .map_or(Ok(()), |[p50, p90, p99]| out.text(&format!("    p50/p90/p99: {p50}/{p90}/{p99} bytes")))
}
