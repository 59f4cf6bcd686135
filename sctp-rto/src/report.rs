//! The output of `sctp-rto`: its columns, and its text, CSV and JSON.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use cli::{
    ASSOC_ID, Clock, Column, Columns, Common, EXTREMES_MS, Events, Findings, Form, Format,
    Get::{Bool, Fixed, Float, Int, Ip, Text},
    IDENTITY, LONGEST_SACK_DELAY, Metrics, OWNER, Out, PATH, PERCENTILES_MS, Part, Period, Rows, Shared,
    Shown, Table, TimesOfDay, draw, endpoints, ms,
};
use probes::{
    DurationDist, Error, Identity, kernel,
    rto::{Cause, CwndCuts, PathCounts, PathState, Row, Update, Values},
};

use crate::{evidence::Evidences, findings::RULES, metrics::METRICS};

/// The columns that the Python script, which this command replaces, has too. CSV on stdout has [`STDOUT`] instead.
const COLUMNS: &[&dyn Columns<Row>] = &[&TRANSPORT, &RTO_MEAN, &SRTT_MEAN, &RTTVAR_MEAN];
/// The columns of CSV on stdout: [`COLUMNS`], with other names for the three means, which people's chart
/// scripts read.
const STDOUT: &[&dyn Columns<Row>] = &[&TRANSPORT, &STDOUT_MEANS];

const TRANSPORT: &[Column<Row>] = &[
    Column::label(
        "transport_id",
        "number of the path, in the order of appearance",
        Int(|r| Some(r.transport_id.into())),
    ),
    Column::label("ip_address", "peer's address of this path", Ip(|r| r.id.path)),
    Column::label("port", "peer's port", Int(|r| port(&r.id))),
    Column::counter("samples", "updates of the path's RTO", Int(|r| Some(r.rto.count))),
];
const MEAN: &[Column<DurationDist>] = &[Column::distribution("avg_ms", "mean", Fixed(mean_ms, 2))];
const RTO_MEAN: Part<Row, DurationDist> =
    Part { prefix: "rto_", what: "RTO after each update", of: |r| Some(&r.rto), columns: MEAN };
const SRTT_MEAN: Part<Row, DurationDist> =
    Part { prefix: "srtt_", what: "SRTT after each update", of: |r| Some(&r.srtt), columns: MEAN };
const RTTVAR_MEAN: Part<Row, DurationDist> =
    Part { prefix: "rttvar_", what: "RTTVAR after each update", of: |r| Some(&r.rttvar), columns: MEAN };
const STDOUT_MEANS: &[Column<Row>] = &[
    Column::distribution("rto_ms", "mean of the RTO after each update", Fixed(|r| mean_ms(&r.rto), 2)),
    Column::distribution("srtt_ms", "mean of the SRTT after each update", Fixed(|r| mean_ms(&r.srtt), 2)),
    Column::distribution(
        "rttvar_ms",
        "mean of the RTTVAR after each update",
        Fixed(|r| mean_ms(&r.rttvar), 2),
    ),
];

/// The columns that `--extended` and `--json` add.
const MORE: &[&dyn Columns<Row>] = &[
    &Part { prefix: "", what: "", of: |r: &Row| Some(&r.id), columns: ASSOC_ID },
    &Part { prefix: "", what: "", of: |r: &Row| Some(&r.id), columns: IDENTITY },
    &Part { prefix: "", what: "", of: |r: &Row| Some(&r.id), columns: PATH },
    &Part { prefix: "rto_", what: "RTO", of: |r: &Row| Some(&r.rto), columns: EXTREMES_MS },
    &Part { prefix: "rto_", what: "RTO", of: |r: &Row| Some(&r.rto), columns: PERCENTILES_MS },
    &RTO_LAST,
    &Part { prefix: "srtt_", what: "SRTT", of: |r: &Row| Some(&r.srtt), columns: EXTREMES_MS },
    &Part { prefix: "srtt_", what: "SRTT", of: |r: &Row| Some(&r.srtt), columns: PERCENTILES_MS },
    &REST,
    &Part { prefix: "", what: "", of: |r: &Row| Some(&r.last), columns: VALUES },
    &OF_PATH,
    &Part { prefix: "", what: "", of: |r: &Row| Some(&r.id), columns: OWNER },
    &Part {
        prefix: "cwnd_cuts_",
        what: "times that the cwnd became smaller",
        of: |r: &Row| Some(&r.cwnd_cuts),
        columns: CUTS,
    },
    &Part { prefix: "", what: "", of: |r: &Row| Some(&r.last), columns: OF_ASSOC },
    &FAILOVER,
];
const RTO_LAST: &[Column<Row>] =
    &[Column::gauge("rto_last_ms", "RTO after the last event", Float(|r| Some(ms(r.last.rto))))];
const REST: &[Column<Row>] = &[
    Column::gauge("srtt_last_ms", "SRTT after the last event", Float(|r| Some(ms(r.last.srtt)))),
    Column::gauge("rttvar_last_ms", "RTTVAR after the last event", Float(|r| Some(ms(r.last.rttvar)))),
    Column::counter("t3_expiries", "T3-rtx expiries", Int(|r| Some(r.t3_expiries))),
    Column::counter(
        "heartbeat_timeouts",
        "HEARTBEATs not answered before the next one",
        Int(|r| Some(r.heartbeat_timeouts)),
    ),
    Column::counter(
        "t3_retransmits",
        "times that T3-rtx had data sent again",
        Int(|r| Some(r.t3_retransmits)),
    ),
    Column::counter(
        "fast_retransmits",
        "times that missing reports had data sent again",
        Int(|r| Some(r.fast_retransmits)),
    ),
    Column::counter(
        "pmtud_retransmits",
        "times that a smaller path MTU had data sent again",
        Int(|r| Some(r.pmtud_retransmits)),
    ),
    Column::counter("rtx_chunks", "chunks sent again on this path", Int(|r| Some(r.rtx_chunks))),
    Column::counter(
        "spurious_rtx",
        "retransmissions that the peer named as duplicates: it had them already",
        Int(|r| Some(r.spurious)),
    ),
];
/// Columns about chunks that this path carried and that were sent again, on whatever path.
const OF_PATH: &[Column<Row>] = &[
    Column::counter(
        "rtx_for_path_chunks",
        "chunks of this path sent again, on whatever path; spurious_rtx, dup_tsns and early_acks are of these",
        Int(|r| Some(r.rtx_for_path)),
    ),
    Column::counter(
        "dup_tsns",
        "times that the peer named a chunk that was sent again as a duplicate",
        Int(|r| Some(r.dup_tsns)),
    ),
    Column::counter(
        "early_acks",
        "chunks acknowledged sooner after they were sent again than the path can answer: spurious, or it became quicker",
        Int(|r| Some(r.early_acks)),
    ),
];

/// Columns of the reasons for a smaller congestion window.
const CUTS: &[Column<CwndCuts>] = &[
    Column::counter("t3", "by T3-rtx", Int(|c| Some(c.t3))),
    Column::counter("fast", "by missing reports", Int(|c| Some(c.fast))),
    Column::counter("ecn", "by ECN-Echo", Int(|c| Some(c.ecn))),
    Column::counter("inactive", "as the path was idle for a HEARTBEAT interval", Int(|c| Some(c.inactive))),
];
/// Columns of the association, as they were after the path's last event.
const OF_ASSOC: &[Column<Values>] = &[
    Column::gauge("paths_active", "active paths of the association", Int(|v| paths(v, |p| p.active))),
    Column::gauge(
        "paths_pf",
        "potentially failed paths of the association",
        Int(|v| paths(v, |p| p.potentially_failed)),
    ),
    Column::gauge("paths_inactive", "inactive paths of the association", Int(|v| paths(v, |p| p.inactive))),
    Column::gauge(
        "paths_unconfirmed",
        "paths of the association that the peer has not confirmed",
        Int(|v| paths(v, |p| p.unconfirmed)),
    ),
    Column::gauge(
        "assoc_errors",
        "errors of the association in a row, over all paths",
        Int(|v| v.more.as_ref().map(|m| m.assoc_errors.into())),
    ),
    Column::label(
        "assoc_error_limit",
        "with as many errors in a row the next expiry ends the association",
        Int(|v| v.more.as_ref().map(|m| m.assoc_error_limit.into())),
    ),
];
const FAILOVER: &[Column<Row>] = &[Column::gauge(
    "failover_ms",
    "the last failover to this path: from the last SACK on the path that failed to the first on this",
    Float(|r| r.failover.map(ms)),
)];

fn paths(values: &Values, count: fn(&PathCounts) -> u8) -> Option<u64> {
    values.more.as_ref()?.paths.as_ref().map(|paths| count(paths).into())
}

/// Columns of a path's error count, congestion control, MTU and state.
const VALUES: &[Column<Values>] = &[
    Column::gauge("error_count", "errors in a row", Int(|v| Some(v.error_count.into()))),
    Column::label(
        "error_limit",
        "more errors in a row make the path inactive",
        Int(|v| v.more.as_ref().map(|m| m.error_limit.into())),
    ),
    Column::gauge("cwnd_bytes", "congestion window", Int(|v| v.more.as_ref().map(|m| m.cwnd_bytes.into()))),
    Column::gauge(
        "ssthresh_bytes",
        "slow start threshold",
        Int(|v| v.more.as_ref().map(|m| m.ssthresh_bytes.into())),
    ),
    Column::gauge(
        "flight_bytes",
        "data sent on this path and not acknowledged",
        Int(|v| v.more.as_ref().map(|m| m.flight_bytes.into())),
    ),
    Column::gauge("pmtu_bytes", "path MTU", Int(|v| v.more.as_ref().map(|m| m.pmtu_bytes.into()))),
    Column::label(
        "state",
        "active, pf (potentially failed), inactive, unconfirmed, or removed from the association",
        Text(|v| v.more.as_ref().map(|m| m.state.name())),
    ),
    Column::label("primary", "this is the primary path", Bool(|v| v.more.as_ref().map(|m| m.primary))),
];

/// The columns of a `sample` object: any record but a change of a path's state or of the primary path.
const SAMPLE: &[&dyn Columns<Update>] = &[&UPDATE_OF, &UPDATE_CAUSE, &TIMES, &UPDATE_VALUES, &UPDATE_OWNER];
/// The columns of a `path` object: a change of a path's state, or of the primary path.
const CHANGE: &[&dyn Columns<Update>] = &[&UPDATE_OF, &UPDATE_CAUSE, &STATES, &UPDATE_VALUES, &UPDATE_OWNER];
/// The columns that tell which path, association and life an update is of.
const UPDATE_OF: Shared<Update, Identity> = Shared {
    of: |u| u.id.as_ref(),
    columns: &[&UPDATE_ASSOC, &UPDATE_IDENTITY, &UPDATE_PATH, &UPDATE_WHICH],
};
const UPDATE_OWNER: Shared<Update, Identity> = Shared { of: |u| u.id.as_ref(), columns: &[&UPDATE_LIFE] };
const UPDATE_ASSOC: &[Column<Update>] =
    &[Column::label("assoc_id", "association id", Int(|u| Some(u.assoc_id.into())))];
const UPDATE_IDENTITY: Part<Update, Identity> =
    Part { prefix: "", what: "", of: |u| u.id.as_deref(), columns: IDENTITY };
const UPDATE_PATH: Part<Update, Identity> =
    Part { prefix: "", what: "", of: |u| u.id.as_deref(), columns: PATH };
const UPDATE_LIFE: Part<Update, Identity> =
    Part { prefix: "", what: "", of: |u| u.id.as_deref(), columns: OWNER };
const UPDATE_WHICH: &[Column<Update>] = &[
    Column::label(
        "transport_id",
        "number of the path, in the order of appearance",
        Int(|u| Some(u.transport_id.into())),
    ),
    Column::label("ip_address", "peer's address of this path", Ip(|u| u.id.as_ref().and_then(|id| id.path))),
    Column::label("port", "peer's port", Int(|u| u.id.as_deref().and_then(port))),
];
const UPDATE_CAUSE: &[Column<Update>] =
    &[Column::label("cause", "why there is an update", Text(|u| Some(u.cause.name())))];
const TIMES: &[Column<Update>] = &[
    Column::gauge("rto_ms", "RTO after the update", Float(|u| Some(ms(u.values.rto)))),
    Column::gauge("srtt_ms", "SRTT after the update", Float(|u| Some(ms(u.values.srtt)))),
    Column::gauge("rttvar_ms", "RTTVAR after the update", Float(|u| Some(ms(u.values.rttvar)))),
    Column::gauge("rtt_ms", "the round-trip time measured", Float(|u| rtt(u).map(ms))),
    Column::gauge("old_rto_ms", "RTO before the update", Float(|u| u.old_rto.map(ms))),
];
const STATES: &[Column<Update>] = &[
    Column::label("old_state", "state before the change", Text(old_state)),
    Column::label(
        "new_state",
        "state after the change",
        Text(|u| u.values.more.as_ref().map(|m| m.state.name())),
    ),
    Column::gauge("rto_ms", "RTO of the path", Float(|u| Some(ms(u.values.rto)))),
];
const UPDATE_VALUES: Part<Update, Values> =
    Part { prefix: "", what: "", of: |u| Some(&u.values), columns: VALUES };

/// What `--live` shows: a row per path.
pub const LIVE: Shown = Shown {
    columns: &[
        "assoc_id",
        "path",
        "rto_last_ms",
        "t3_expiries",
        "error_count",
        "state",
        "srtt_last_ms",
        "samples",
        "rtx_chunks",
        "comm",
    ],
    worst: &["rto_last_ms", "t3_expiries", "error_count"],
    low: &[],
};

/// The tables of all columns, for man page and JSON schema.
pub fn tables() -> Vec<Table> {
    vec![
        Table::csv("CSV columns on stdout", STDOUT),
        Table::statistics("CSV columns in a file, and in JSON", COLUMNS),
        Table::statistics("More with -x and --json", MORE),
        Table::events("Objects of type sample", &["sample"], SAMPLE),
        Table::events("Objects of type path", &["path"], CHANGE),
    ]
}

/// Prints updates and statistics in the form that the flags ask for.
pub struct Report {
    rows: Rows<Row>,
    samples: Events<Update>,
    changes: Events<Update>,
    evidences: Evidences,
    findings: Findings,
    form: Form,
}

impl Report {
    /// Makes a report in the form that the flags ask for.
    pub fn new(common: &Common) -> Self {
        let form = Form::new(common);
        let on_stdout = form.format == Format::Csv && common.file.is_none();
        let columns = if on_stdout { STDOUT } else { COLUMNS };
        let columns = [columns, if form.extended { MORE } else { &[] }].concat();
        Self {
            rows: Rows::new("rto", common, columns, &LIVE),
            samples: Events::new("rto", "sample", SAMPLE),
            changes: Events::new("rto", "path", CHANGE),
            evidences: Evidences::default(),
            findings: Findings::new("rto", common),
            form,
        }
    }

    /// Unless extended, leaves out paths without an RTO update, and all percentiles.
    fn leave_out(&self, mut rows: Vec<Row>) -> Vec<Row> {
        if !self.form.extended {
            rows.retain(|row| row.rto.count > 0);
            for dist in rows.iter_mut().flat_map(|row| [&mut row.rto, &mut row.srtt]) {
                dist.percentiles = None;
            }
        }
        rows
    }
}

/// The rows by the order in which their paths appeared.
fn sorted(rows: impl Iterator<Item = Result<Row, Error>>) -> Result<Vec<Row>> {
    let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
    rows.sort_by_key(|row| row.transport_id);
    Ok(rows)
}

impl cli::Report for Report {
    type Record = Update;
    type Row = Row;

    fn metrics(&self) -> &'static Metrics<Row> {
        &METRICS
    }

    fn findings(&self) -> Option<&Findings> {
        Some(&self.findings)
    }

    fn header(&mut self, out: &mut Out) -> Result<()> {
        if self.form.format != Format::Text {
            return self.rows.header(out);
        }
        let [rto, srtt, rttvar] = ["RTO(ms)", "SRTT(ms)", "RTTVAR(ms)"];
        let mut line = format!(
            "{:<12} {:<15} {:<6} {rto:<10} {srtt:<10} {rttvar:<10} {:<12}",
            "TRANSPORT", "IP", "PORT", "TIME"
        );
        if self.form.extended {
            line += &format!(
                " {:<17} {:<10} {:<8} {:<10} {:<8} {:<6} {:<6} {:<11} {}",
                "CAUSE", "BEFORE", "CWND", "SSTHRESH", "FLIGHT", "PMTU", "ERRORS", "STATE", "PRIMARY"
            );
        }
        out.text(&line)
    }

    fn records(&mut self, out: &mut Out, records: &mut Vec<Update>) -> Result<()> {
        let clock = Clock::now();
        let mut times = TimesOfDay::new(&clock, &self.form.zone);
        // With `--hist` the kernel side also reports causes that only extended text and JSON print.
        let is_due = |update: &Update| {
            let cause = &update.cause;
            self.form.extended || matches!(cause, Cause::Rtt { .. } | Cause::Heartbeat { .. } | Cause::T3)
        };
        for update in records.drain(..) {
            if self.findings.is_on() {
                self.evidences.note(&update);
            }
            let has_lines = matches!(self.form.format, Format::Text | Format::Json);
            if !has_lines || !self.form.rows || !is_due(&update) {
                continue;
            }
            if self.form.format == Format::Json {
                let events = match update.cause {
                    Cause::State { .. } | Cause::Primary => &mut self.changes,
                    _ if !self.form.samples => continue,
                    _ => &mut self.samples,
                };
                events.write(out, &clock, update.at, &update)?;
                continue;
            }
            let mut line = text_row(&update, times.of(update.at));
            if self.form.extended {
                line += &extended_text(&update);
            }
            out.text(&line)?;
        }
        Ok(())
    }

    fn form(&self) -> &Form {
        &self.form
    }

    fn interval(&mut self, out: &mut Out, rows: impl Iterator<Item = Result<Row, Error>>) -> Result<()> {
        let rows = sorted(rows)?;
        if self.findings.is_on() {
            for (id, evidence) in self.evidences.end_interval(&rows, kernel::now()) {
                self.findings.evaluate(RULES, Some(&id), &evidence);
            }
        }
        let rows = self.leave_out(rows);
        self.rows.print(out, Period::Interval, rows.into_iter().map(Ok))?;
        self.findings.end_interval(out)
    }

    fn totals(
        &mut self,
        out: &mut Out,
        rows: impl Iterator<Item = Result<Row, Error>>,
        at_end: bool,
    ) -> Result<()> {
        let rows = self.leave_out(sorted(rows)?);
        if !at_end {
            // Before the end of the run these are the totals of paths whose association has ended.
            rows.iter().for_each(|row| self.evidences.forget(row.transport_id));
        }
        if self.form.format == Format::Text {
            if rows.is_empty() {
                out.text("No RTO events recorded yet.")?;
            }
            for row in &rows {
                text_summary(row, self.form.extended, out)?;
                if let (true, Some(histogram)) = (self.form.histograms, &row.histogram) {
                    draw(out, &format!("{}: RTO after each update", label(row)), "msecs", histogram)?;
                }
            }
        }
        self.rows.print(out, Period::Summary, rows.into_iter().map(Ok))
    }
}

fn mean_ms(dist: &DurationDist) -> Option<f64> {
    dist.mean_us().map(|us| us / 1e3)
}

fn port(id: &Identity) -> Option<u64> {
    id.peer.map(|peer| peer.port().into())
}

fn rtt(update: &Update) -> Option<Duration> {
    match update.cause {
        Cause::Rtt { rtt } | Cause::Heartbeat { rtt } => Some(rtt),
        _ => None,
    }
}

/// The path's state before the event. A path that became the primary one has kept its state.
fn old_state(update: &Update) -> Option<&'static str> {
    match update.cause {
        Cause::State { old } => Some(old.name()),
        _ => update.values.more.as_ref().map(|m| PathState::name(m.state)),
    }
}

fn text_row(update: &Update, time_of_day: &str) -> String {
    let ip = update.id.as_ref().and_then(|id| id.path).map_or("-".to_owned(), |a| a.to_string());
    let port = update.id.as_ref().and_then(|id| id.peer).map_or(0, |a| a.port());
    let [rto, srtt, rttvar] = [update.values.rto, update.values.srtt, update.values.rttvar].map(ms);
    format!(
        "{:<12} {ip:<15} {port:<6} {rto:<10.2} {srtt:<10.2} {rttvar:<10.2} {time_of_day:<12}",
        update.transport_id
    )
}

fn extended_text(update: &Update) -> String {
    let Some(more) = &update.values.more else { return String::new() };
    let before = match update.cause {
        Cause::State { old } => old.name().to_owned(),
        _ => update.old_rto.map_or("-".to_owned(), |rto| format!("{:.2}", ms(rto))),
    };
    format!(
        " {:<17} {before:<10} {:<8} {:<10} {:<8} {:<6} {:<6} {:<11} {}",
        update.cause.name(),
        more.cwnd_bytes,
        more.ssthresh_bytes,
        more.flight_bytes,
        more.pmtu_bytes,
        format!("{}/{}", update.values.error_count, more.error_limit),
        more.state.name(),
        if more.primary { "yes" } else { "no" },
    )
}

fn label(s: &Row) -> String {
    let to = match (s.id.path, s.id.peer) {
        (Some(ip), Some(peer)) => SocketAddr::new(ip, peer.port()).to_string(),
        _ => "-".to_owned(),
    };
    format!("Transport {} ({to})", s.transport_id)
}

fn text_summary(s: &Row, extended: bool, out: &mut Out) -> Result<()> {
    out.text(&format!("{}:", label(s)))?;
    if extended {
        out.text(&format!("  Association: {} ({})", s.id.assoc_id, endpoints(&s.id)))?;
    }
    out.text(&format!("  Samples: {}", s.rto.count))?;
    for (name, dist) in [("RTO", &s.rto), ("SRTT", &s.srtt), ("RTTVAR", &s.rttvar)] {
        let Some(avg) = mean_ms(dist) else { continue };
        let mut line = format!("  {name}: {avg:.2} ms avg");
        if let (true, Some(min), Some(max)) = (extended, dist.min, dist.max) {
            line += &format!(", {:.2}/{:.2} min/max", ms(min), ms(max));
        }
        if let Some(p) = dist.percentiles {
            let [p50, p90, p99] = p.map(ms);
            line += &format!(", {p50:.2}/{p90:.2}/{p99:.2} p50/p90/p99");
        }
        out.text(&line)?;
    }
    if !extended {
        return Ok(());
    }
    if let Some(more) = &s.last.more {
        let primary = if more.primary { ", primary" } else { "" };
        out.text(&format!("  State: {}{primary}", more.state.name()))?;
        out.text(&format!(
            "  Errors in a row: {} (more than {} make the path inactive)",
            s.last.error_count, more.error_limit
        ))?;
        if let Some(p) = &more.paths {
            out.text(&format!(
                "  Paths of the association: {} active, {} potentially failed, {} inactive, {} unconfirmed",
                p.active, p.potentially_failed, p.inactive, p.unconfirmed
            ))?;
        }
        out.text(&format!(
            "  Errors of the association in a row: {} (after {} the next expiry ends it)",
            more.assoc_errors, more.assoc_error_limit
        ))?;
    }
    if let Some(failover) = s.failover {
        out.text(&format!(
            "  Failover to this path: {:.2} ms from the last SACK on the path before to the first on this",
            ms(failover)
        ))?;
    }
    out.text(&format!("  T3-rtx expiries: {}", s.t3_expiries))?;
    out.text(&format!("  HEARTBEAT timeouts: {}", s.heartbeat_timeouts))?;
    out.text(&format!(
        "  Retransmissions: {} by T3-rtx, {} fast, {} for the path MTU; {} chunks",
        s.t3_retransmits, s.fast_retransmits, s.pmtud_retransmits, s.rtx_chunks
    ))?;
    let cuts = &s.cwnd_cuts;
    out.text(&format!(
        "  Cuts of cwnd: {} by T3-rtx, {} fast, {} by ECN, {} as the path was idle",
        cuts.t3, cuts.fast, cuts.ecn, cuts.inactive
    ))?;
    if s.rtx_for_path != s.rtx_chunks {
        out.text(&format!("  Chunks of this path sent again: {}", s.rtx_for_path))?;
    }
    if s.spurious > 0 {
        // The peer may delay a SACK by up to 500 ms. Only an RTO below that can expire meanwhile.
        let may_be_delay = s.rto.min.is_some_and(|rto| rto <= LONGEST_SACK_DELAY);
        let question = if may_be_delay { " (is RTO.min below its SACK delay?)" } else { "" };
        out.text(&format!(
            "  Spurious retransmissions: {}: the peer had the data already{question}",
            s.spurious
        ))?;
    }
    if s.early_acks > 0 {
        out.text(&format!(
            "  Early acknowledgements: {}: sooner than the path can answer (spurious, or has it become quicker?)",
            s.early_acks
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(cause: Cause) -> Update {
        Update {
            at: Duration::from_secs(1),
            assoc_id: 3,
            transport_id: 0,
            id: None,
            cause,
            old_rto: None,
            values: Values {
                rto: Duration::from_millis(1000),
                srtt: Duration::from_micros(20_500),
                rttvar: Duration::from_millis(4),
                error_count: 1,
                more: None,
            },
        }
    }

    #[test]
    fn a_row_is_as_the_scripts() {
        let id = Identity {
            assoc_id: 3,
            netns: 1,
            local: None,
            peer: Some("10.9.2.2:5000".parse().unwrap()),
            path: Some("10.9.2.2".parse().unwrap()),
            life: 1,
            began_here: true,
            ..Identity::default()
        };
        assert_eq!(
            text_row(&Update { id: Some(id.clone().into()), ..update(Cause::Primary) }, "08:27:59"),
            "0            10.9.2.2        5000   1000.00    20.50      4.00       08:27:59    "
        );
        let v6 = Identity { path: Some("fd00:1234:5678:9abc:def0:1234:5678:9abc".parse().unwrap()), ..id };
        assert!(
            text_row(&Update { id: Some(v6.into()), ..update(Cause::Primary) }, "")
                .contains(" fd00:1234:5678:9abc:def0:1234:5678:9abc 5000 ")
        );
    }

    #[test]
    fn only_a_measurement_has_a_round_trip_time() {
        let t = Duration::from_millis(500);
        assert_eq!(rtt(&update(Cause::Rtt { rtt: t })), Some(t));
        assert_eq!(rtt(&update(Cause::T3)), None);
    }
}
