//! The rows of `sctp-rto`: what is printed, in which form.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use cli::{
    Accounting, Clock, Column, Common, EntryReport, Format, Out, Period, Rows, Skipped, Table, TimesOfDay,
    Value, draw, ends, identity_columns, ms,
};
use jiff::tz::TimeZone;
use probes::{
    Dist, EntryProbe, EntryRef, Identity,
    rto::{Cause, PathState, Rto, Stats, Update, Values},
};

/// The columns that the Python script has too.
const COLUMNS: &[Column<Stats>] = &[
    Column {
        name: "transport_id",
        doc: "number of the path, in the order of appearance",
        get: |s| Value::Int(s.path.serial().into()),
    },
    Column { name: "ip_address", doc: "peer's address of this path", get: |s| Value::text(s.id.path) },
    Column { name: "port", doc: "peer's port", get: |s| port(Some(&s.id)) },
    Column { name: "samples", doc: "updates of its RTO", get: |s| Value::Int(s.rto.count) },
    Column { name: "rto_avg_ms", doc: "mean of the RTO after each", get: |s| avg(&s.rto) },
    Column { name: "srtt_avg_ms", doc: "mean of SRTT", get: |s| avg(&s.srtt) },
    Column { name: "rttvar_avg_ms", doc: "mean of RTTVAR", get: |s| avg(&s.rttvar) },
];

/// Whose a row is, with `--extended` and `--json`.
const ASSOC: &[Column<Stats>] =
    &[Column { name: "assoc_id", doc: "association id", get: |s| Value::Int(s.id.assoc_id.into()) }];
const IDENTITY: &[Column<Stats>] = identity_columns!(Stats, |s| &s.id);

/// The other columns that those add.
const MORE: &[Column<Stats>] = &[
    Column { name: "path", doc: "peer's address of this path", get: |s| Value::text(s.id.path) },
    Column { name: "rto_min_ms", doc: "smallest RTO", get: |s| Value::ms(s.rto.min) },
    Column { name: "rto_max_ms", doc: "largest RTO", get: |s| Value::ms(s.rto.max) },
    Column { name: "rto_p50_ms", doc: "median of RTO", get: |s| percentile(&s.rto, 0) },
    Column { name: "rto_p90_ms", doc: "90th percentile of RTO", get: |s| percentile(&s.rto, 1) },
    Column { name: "rto_p99_ms", doc: "99th percentile of RTO", get: |s| percentile(&s.rto, 2) },
    Column { name: "rto_last_ms", doc: "RTO after the last event", get: |s| Value::Float(ms(s.last.rto)) },
    Column { name: "srtt_min_ms", doc: "smallest SRTT", get: |s| Value::ms(s.srtt.min) },
    Column { name: "srtt_max_ms", doc: "largest SRTT", get: |s| Value::ms(s.srtt.max) },
    Column { name: "srtt_p50_ms", doc: "median of SRTT", get: |s| percentile(&s.srtt, 0) },
    Column { name: "srtt_p90_ms", doc: "90th percentile of SRTT", get: |s| percentile(&s.srtt, 1) },
    Column { name: "srtt_p99_ms", doc: "99th percentile of SRTT", get: |s| percentile(&s.srtt, 2) },
    Column { name: "srtt_last_ms", doc: "SRTT after the last event", get: |s| Value::Float(ms(s.last.srtt)) },
    Column {
        name: "rttvar_last_ms",
        doc: "RTTVAR after the last event",
        get: |s| Value::Float(ms(s.last.rttvar)),
    },
    Column { name: "t3_expiries", doc: "T3-rtx expiries", get: |s| Value::Int(s.t3_expiries) },
    Column {
        name: "heartbeat_timeouts",
        doc: "HEARTBEATs not answered before the next one",
        get: |s| Value::Int(s.heartbeat_timeouts),
    },
    Column {
        name: "t3_retransmits",
        doc: "times that T3-rtx had data sent again",
        get: |s| Value::Int(s.t3_retransmits),
    },
    Column {
        name: "fast_retransmits",
        doc: "times that missing reports had data sent again",
        get: |s| Value::Int(s.fast_retransmits),
    },
    Column {
        name: "pmtud_retransmits",
        doc: "times that a smaller path MTU had data sent again",
        get: |s| Value::Int(s.pmtud_retransmits),
    },
    Column { name: "rtx_chunks", doc: "chunks sent again on this path", get: |s| Value::Int(s.rtx_chunks) },
    Column {
        name: "spurious_rtx",
        doc: "retransmissions of what the peer had already",
        get: |s| Value::Int(s.spurious),
    },
];

/// A path as it is: columns of `$row`, whose values `$get` finds.
macro_rules! value_columns {
    ($row:ty, $get:expr) => {{
        const VALUES: fn(&$row) -> &Values = $get;
        &[
            Column {
                name: "error_count",
                doc: "errors in a row",
                get: |r| Value::Int(VALUES(r).error_count.into()),
            },
            Column {
                name: "error_limit",
                doc: "more errors in a row make the path inactive",
                get: |r| Value::int(VALUES(r).more.as_ref().map(|m| m.error_limit)),
            },
            Column {
                name: "cwnd_bytes",
                doc: "congestion window",
                get: |r| Value::int(VALUES(r).more.as_ref().map(|m| m.cwnd_bytes)),
            },
            Column {
                name: "ssthresh_bytes",
                doc: "slow start threshold",
                get: |r| Value::int(VALUES(r).more.as_ref().map(|m| m.ssthresh_bytes)),
            },
            Column {
                name: "flight_bytes",
                doc: "sent on this path and not acknowledged",
                get: |r| Value::int(VALUES(r).more.as_ref().map(|m| m.flight_bytes)),
            },
            Column {
                name: "pmtu_bytes",
                doc: "path MTU",
                get: |r| Value::int(VALUES(r).more.as_ref().map(|m| m.pmtu_bytes)),
            },
            Column {
                name: "state",
                doc: "active, pf (potentially failed), inactive or unconfirmed",
                get: |r| Value::text(VALUES(r).more.as_ref().map(|m| m.state.name())),
            },
            Column {
                name: "primary",
                doc: "it is the primary path",
                get: |r| VALUES(r).more.as_ref().map_or(Value::Null, |m| Value::Bool(m.primary)),
            },
        ]
    }};
}
const LAST: &[Column<Stats>] = value_columns!(Stats, |s| &s.last);

type Event = (Update, Option<Identity>);

/// What `sample` and `path` objects begin with.
const WHOSE: &[Column<Event>] =
    &[Column { name: "assoc_id", doc: "association id", get: |(u, _)| Value::Int(u.assoc_id.into()) }];
const EVENT_IDENTITY: &[Column<Event>] = identity_columns!(Event, maybe | (_, id) | id.as_ref());
const WHICH: &[Column<Event>] = &[
    Column { name: "path", doc: "peer's address of this path", get: |(_, id)| address(id.as_ref()) },
    Column {
        name: "transport_id",
        doc: "number of the path, in the order of appearance",
        get: |(u, _)| Value::Int(u.path.serial().into()),
    },
    Column { name: "ip_address", doc: "peer's address of this path", get: |(_, id)| address(id.as_ref()) },
    Column { name: "port", doc: "peer's port", get: |(_, id)| port(id.as_ref()) },
    Column { name: "cause", doc: "why there is an update", get: |(u, _)| Value::Text(cause(u).to_owned()) },
];
/// What only `sample` objects have.
const SAMPLE: &[Column<Event>] = &[
    Column { name: "rto_ms", doc: "RTO after the update", get: |(u, _)| Value::Float(ms(u.values.rto)) },
    Column { name: "srtt_ms", doc: "SRTT likewise", get: |(u, _)| Value::Float(ms(u.values.srtt)) },
    Column { name: "rttvar_ms", doc: "RTTVAR likewise", get: |(u, _)| Value::Float(ms(u.values.rttvar)) },
    Column { name: "rtt_ms", doc: "the round-trip time measured", get: |(u, _)| Value::ms(rtt(u)) },
    Column { name: "old_rto_ms", doc: "RTO before the timer expired", get: |(u, _)| Value::ms(old_rto(u)) },
];
/// What only `path` objects have.
const CHANGE: &[Column<Event>] = &[
    Column { name: "old_state", doc: "state before it", get: |(u, _)| Value::text(old_state(u)) },
    Column {
        name: "new_state",
        doc: "state after it",
        get: |(u, _)| Value::text(u.values.more.as_ref().map(|m| m.state.name())),
    },
    Column { name: "rto_ms", doc: "its RTO", get: |(u, _)| Value::Float(ms(u.values.rto)) },
];
const EVENT_VALUES: &[Column<Event>] = value_columns!(Event, |(u, _)| &u.values);

/// Prints updates and statistics in the form that was asked for.
pub struct Report {
    rows: Rows<Stats>,
    format: Format,
    extended: bool,
    intervals: bool,
    histograms: bool,
    zone: TimeZone,
}

/// All that is printed in columns.
pub fn tables() -> Vec<Table> {
    vec![
        Table::of("CSV columns", &[COLUMNS]),
        Table::of("More with -x and --json", &[ASSOC, IDENTITY, MORE, LAST]),
        Table::of("Objects of type sample", &[WHOSE, EVENT_IDENTITY, WHICH, SAMPLE, EVENT_VALUES]),
        Table::of("Objects of type path", &[WHOSE, EVENT_IDENTITY, WHICH, CHANGE, EVENT_VALUES]),
    ]
}

impl Report {
    /// A report as the flags ask for it.
    pub fn new(common: &Common) -> Self {
        Self {
            rows: Rows::new("rto", common, COLUMNS, &[ASSOC, IDENTITY, MORE, LAST]),
            format: common.format(),
            extended: common.is_extended(),
            intervals: common.has_interval_rows(),
            histograms: common.histogram,
            zone: TimeZone::system(),
        }
    }

    /// In the order of appearance; without those that only had what the script does not show.
    fn arrange(&self, mut stats: Vec<Stats>) -> Vec<Stats> {
        stats.sort_by_key(|s| s.path);
        if !self.extended {
            stats.retain(|s| s.rto.count > 0);
            for dist in stats.iter_mut().flat_map(|s| [&mut s.rto, &mut s.srtt]) {
                dist.percentiles = None;
            }
        }
        stats
    }
}

impl EntryReport for Report {
    type Probe = Rto;

    fn has_intervals(&self) -> bool {
        self.intervals
    }

    fn header(&self, out: &mut Out) -> Result<()> {
        if self.format != Format::Text {
            return self.rows.header(out);
        }
        let [rto, srtt, rttvar] = ["RTO(ms)", "SRTT(ms)", "RTTVAR(ms)"];
        let mut line = format!(
            "{:<12} {:<15} {:<6} {rto:<10} {srtt:<10} {rttvar:<10} {:<12}",
            "TRANSPORT", "IP", "PORT", "TIME"
        );
        if self.extended {
            line += &format!(
                " {:<17} {:<10} {:<8} {:<10} {:<8} {:<6} {:<6} {:<11} {}",
                "CAUSE", "BEFORE", "CWND", "SSTHRESH", "FLIGHT", "PMTU", "ERRORS", "STATE", "PRIMARY"
            );
        }
        out.text(&line)
    }

    fn records(
        &self,
        out: &mut Out,
        records: impl Iterator<Item = Update>,
        mut identity: impl FnMut(EntryRef) -> Option<Identity>,
    ) -> Result<()> {
        let clock = Clock::now();
        let mut times = TimesOfDay::new(&clock, &self.zone);
        // Histograms have the kernel side tell more than the script's rows.
        let is_due = |update: &Update| {
            let cause = &update.cause;
            self.extended || matches!(cause, Cause::Rtt { .. } | Cause::Heartbeat { .. } | Cause::T3 { .. })
        };
        for update in records.filter(is_due) {
            let id = identity(update.path);
            if self.format == Format::Json {
                let time = clock.rfc3339(update.at);
                let (kind, own) = match update.cause {
                    Cause::State { .. } | Cause::Primary => ("path", CHANGE),
                    _ => ("sample", SAMPLE),
                };
                let columns = [WHOSE, EVENT_IDENTITY, WHICH, own, EVENT_VALUES];
                out.json(&self.rows.event(kind, &time, &columns, &(update, id)))?;
                continue;
            }
            let mut row = text_row(&update, id.as_ref(), times.of(update.at));
            if self.extended {
                row += &extended_text(&update);
            }
            out.text(&row)?;
        }
        Ok(())
    }

    fn interval(&self, out: &mut Out, stats: Vec<Stats>) -> Result<()> {
        self.rows.print(out, Period::Interval, self.arrange(stats))
    }

    fn summary(&self, out: &mut Out, stats: Vec<Stats>) -> Result<()> {
        let stats = self.arrange(stats);
        if self.format == Format::Text {
            if stats.is_empty() {
                out.text("No RTO events recorded yet.")?;
            }
            for s in &stats {
                text_summary(s, self.extended, out)?;
                if let (true, Some(histogram)) = (self.histograms, &s.histogram) {
                    draw(out, &format!("{}: RTO after each update", whose(s)), "msecs", histogram)?;
                }
            }
        }
        self.rows.print(out, Period::Summary, &stats)
    }

    fn accounting(&self, probe: &Rto) -> Accounting {
        let a = probe.accounting();
        let skipped = |reason, sentence, count| Skipped { reason, sentence, count };
        Accounting {
            events: a.updates,
            lost: a.lost,
            evicted: a.paths_evicted + a.chunks_evicted,
            skipped: vec![
                cli::missed(probe.missed()),
                skipped(
                    "evicted",
                    "their path had to make room for another: use --max-paths",
                    a.updates_evicted,
                ),
                skipped(
                    "assocs_left_out",
                    "there was no room for their association's retransmissions: use --max-paths",
                    a.assocs_left_out,
                ),
                skipped("scan_limit", "one SACK covered or named more than 8,192 chunks", a.scan_limit),
            ],
        }
    }
}

fn mean_ms(dist: &Dist) -> Option<f64> {
    dist.mean_us().map(|us| us / 1e3)
}

fn avg(dist: &Dist) -> Value {
    Value::fixed(mean_ms(dist), 2)
}

fn percentile(dist: &Dist, which: usize) -> Value {
    Value::ms(dist.percentiles.map(|p| p[which]))
}

fn address(id: Option<&Identity>) -> Value {
    Value::text(id.and_then(|id| id.path))
}

fn port(id: Option<&Identity>) -> Value {
    Value::int(id.and_then(|id| id.peer).map(|p| p.port()))
}

fn cause(update: &Update) -> &'static str {
    match update.cause {
        Cause::Rtt { .. } => "rtt",
        Cause::Heartbeat { .. } => "heartbeat",
        Cause::T3 { .. } => "t3",
        Cause::HeartbeatTimeout { .. } => "heartbeat_timeout",
        Cause::State { .. } => "state",
        Cause::Primary => "primary",
    }
}

fn rtt(update: &Update) -> Option<Duration> {
    match update.cause {
        Cause::Rtt { rtt } | Cause::Heartbeat { rtt } => Some(rtt),
        _ => None,
    }
}

fn old_rto(update: &Update) -> Option<Duration> {
    match update.cause {
        Cause::T3 { old_rto } | Cause::HeartbeatTimeout { old_rto } => Some(old_rto),
        _ => None,
    }
}

/// A path that became the primary one kept its state.
fn old_state(update: &Update) -> Option<&'static str> {
    match update.cause {
        Cause::State { old } => Some(old.name()),
        _ => update.values.more.as_ref().map(|m| PathState::name(m.state)),
    }
}

fn text_row(update: &Update, id: Option<&Identity>, time_of_day: &str) -> String {
    let ip = id.and_then(|id| id.path).map_or("-".to_owned(), |a| a.to_string());
    let port = id.and_then(|id| id.peer).map_or(0, |a| a.port());
    let [rto, srtt, rttvar] = [update.values.rto, update.values.srtt, update.values.rttvar].map(ms);
    format!(
        "{:<12} {ip:<15} {port:<6} {rto:<10.2} {srtt:<10.2} {rttvar:<10.2} {time_of_day:<12}",
        update.path.serial()
    )
}

fn extended_text(update: &Update) -> String {
    let Some(more) = &update.values.more else { return String::new() };
    let before = match update.cause {
        Cause::Rtt { .. } | Cause::Heartbeat { .. } | Cause::Primary => "-".to_owned(),
        Cause::T3 { old_rto } | Cause::HeartbeatTimeout { old_rto } => format!("{:.2}", ms(old_rto)),
        Cause::State { old } => old.name().to_owned(),
    };
    format!(
        " {:<17} {before:<10} {:<8} {:<10} {:<8} {:<6} {:<6} {:<11} {}",
        cause(update),
        more.cwnd_bytes,
        more.ssthresh_bytes,
        more.flight_bytes,
        more.pmtu_bytes,
        format!("{}/{}", update.values.error_count, more.error_limit),
        more.state.name(),
        if more.primary { "yes" } else { "no" },
    )
}

fn whose(s: &Stats) -> String {
    let to = match (s.id.path, s.id.peer) {
        (Some(ip), Some(peer)) => SocketAddr::new(ip, peer.port()).to_string(),
        _ => "-".to_owned(),
    };
    format!("Transport {} ({to})", s.path.serial())
}

fn text_summary(s: &Stats, extended: bool, out: &mut Out) -> Result<()> {
    out.text(&format!("{}:", whose(s)))?;
    if extended {
        out.text(&format!("  Association: {} ({})", s.id.assoc_id, ends(&s.id)))?;
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
    out.text(&format!("  T3-rtx expiries: {}", s.t3_expiries))?;
    out.text(&format!("  HEARTBEAT timeouts: {}", s.heartbeat_timeouts))?;
    out.text(&format!(
        "  Retransmissions: {} by T3-rtx, {} fast, {} for the path MTU; {} chunks",
        s.t3_retransmits, s.fast_retransmits, s.pmtud_retransmits, s.rtx_chunks
    ))?;
    if s.spurious > 0 {
        out.text(&format!(
            "  Spurious retransmissions: {}: the peer had the data already (is RTO.min below its SACK delay?)",
            s.spurious
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
            path: EntryRef::default(),
            cause,
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
        };
        assert_eq!(
            text_row(&update(Cause::Primary), Some(&id), "08:27:59"),
            "0            10.9.2.2        5000   1000.00    20.50      4.00       08:27:59    "
        );
        let v6 = Identity { path: Some("fd00:1234:5678:9abc:def0:1234:5678:9abc".parse().unwrap()), ..id };
        assert!(
            text_row(&update(Cause::Primary), Some(&v6), "")
                .contains(" fd00:1234:5678:9abc:def0:1234:5678:9abc 5000 ")
        );
    }

    #[test]
    fn each_cause_has_its_own_time() {
        let t = Duration::from_millis(500);
        assert_eq!(
            (rtt(&update(Cause::Rtt { rtt: t })), old_rto(&update(Cause::Rtt { rtt: t }))),
            (Some(t), None)
        );
        let t3 = update(Cause::T3 { old_rto: t });
        assert_eq!((rtt(&t3), old_rto(&t3), cause(&t3)), (None, Some(t), "t3"));
    }
}
