//! The rows of `sctp-bufmon`: what is printed, in which form.

use std::time::Duration;

use anyhow::Result;
use cli::{
    Accounting, Clock, Column, Common, EntryReport, Format, Out, Period, Rows, Skipped, Table, Value, draw,
    ends, identity_columns, ms, us,
};
use jiff::tz::TimeZone;
use probes::{
    EntryProbe, EntryRef, Identity, Levels,
    bufmon::{Bufmon, Stall, StallCause, Stats, Wait},
};

/// The columns of the Python script. It has 0 where there are no samples.
const CSV: &[Column<Stats>] = &[
    Column { name: "Association ID", doc: "association id", get: |s| Value::Int(s.id.assoc_id.into()) },
    Column {
        name: "Avg_Util_%",
        doc: "mean use of the send buffer",
        get: |s| Value::Fixed(percent(s.util_ppm.mean()).unwrap_or(0.0), 1),
    },
    Column {
        name: "Min_Util_%",
        doc: "smallest",
        get: |s| Value::Fixed(pct(s.util_ppm.min).unwrap_or(0.0), 1),
    },
    Column {
        name: "Max_Util_%",
        doc: "largest",
        get: |s| Value::Fixed(pct(s.util_ppm.max).unwrap_or(0.0), 1),
    },
    Column { name: "Util_Samples", doc: "looks at it", get: |s| Value::Int(s.util_ppm.count) },
    Column {
        name: "Avg_Outqueue_bytes",
        doc: "mean of the user data never sent yet",
        get: |s| Value::Fixed(s.outqueue_bytes.mean().unwrap_or(0.0), 1),
    },
    Column {
        name: "Max_Outqueue_bytes",
        doc: "largest",
        get: |s| Value::Int(s.outqueue_bytes.max.unwrap_or(0)),
    },
    Column { name: "Outqueue_Samples", doc: "looks at it", get: |s| Value::Int(s.outqueue_bytes.count) },
    Column {
        name: "Avg_RWND_bytes",
        doc: "mean of the window that the peer advertised",
        get: |s| Value::Fixed(s.rwnd_bytes.mean().unwrap_or(0.0), 1),
    },
    Column { name: "Min_RWND_bytes", doc: "smallest", get: |s| Value::Int(s.rwnd_bytes.min.unwrap_or(0)) },
    Column { name: "RWND_Samples", doc: "SACKs", get: |s| Value::Int(s.rwnd_bytes.count) },
    Column {
        name: "Sndbuf_Wait_Events",
        doc: "sends that waited for room",
        get: |s| Value::Int(s.wait.count),
    },
];

/// The same by the names of JSON, with nothing where there are no samples.
const JSON: &[Column<Stats>] = &[
    Column {
        name: "util_avg_pct",
        doc: "mean use of the send buffer",
        get: |s| fixed(percent(s.util_ppm.mean())),
    },
    Column { name: "util_min_pct", doc: "smallest", get: |s| fixed(pct(s.util_ppm.min)) },
    Column { name: "util_max_pct", doc: "largest", get: |s| fixed(pct(s.util_ppm.max)) },
    Column { name: "util_samples", doc: "looks at it", get: |s| Value::Int(s.util_ppm.count) },
    Column {
        name: "outqueue_avg_bytes",
        doc: "mean of the user data never sent yet",
        get: |s| Value::fixed(s.outqueue_bytes.mean(), 1),
    },
    Column { name: "outqueue_max_bytes", doc: "largest", get: |s| Value::int(s.outqueue_bytes.max) },
    Column { name: "outqueue_samples", doc: "looks at it", get: |s| Value::Int(s.outqueue_bytes.count) },
    Column {
        name: "rwnd_avg_bytes",
        doc: "mean of the window that the peer advertised",
        get: |s| Value::fixed(s.rwnd_bytes.mean(), 1),
    },
    Column { name: "rwnd_min_bytes", doc: "smallest", get: |s| Value::int(s.rwnd_bytes.min) },
    Column { name: "rwnd_samples", doc: "SACKs", get: |s| Value::Int(s.rwnd_bytes.count) },
    Column { name: "wait_events", doc: "sends that waited for room", get: |s| Value::Int(s.wait.count) },
];

const ASSOC: &[Column<Stats>] =
    &[Column { name: "assoc_id", doc: "association id", get: |s| Value::Int(s.id.assoc_id.into()) }];
const IDENTITY: &[Column<Stats>] = identity_columns!(Stats, |s| &s.id);

/// What `--extended` and `--json` add.
const MORE: &[Column<Stats>] = &[
    Column { name: "util_p50_pct", doc: "median use of the send buffer", get: |s| util_percentile(s, 0) },
    Column { name: "util_p90_pct", doc: "90th percentile", get: |s| util_percentile(s, 1) },
    Column { name: "util_p99_pct", doc: "99th percentile", get: |s| util_percentile(s, 2) },
    Column {
        name: "outqueue_p50_bytes",
        doc: "median of the outqueue",
        get: |s| percentile(&s.outqueue_bytes, 0),
    },
    Column { name: "outqueue_p90_bytes", doc: "90th percentile", get: |s| percentile(&s.outqueue_bytes, 1) },
    Column { name: "outqueue_p99_bytes", doc: "99th percentile", get: |s| percentile(&s.outqueue_bytes, 2) },
    Column {
        name: "rwnd_p50_bytes",
        doc: "median of the peer's window",
        get: |s| percentile(&s.rwnd_bytes, 0),
    },
    Column { name: "rwnd_p90_bytes", doc: "90th percentile", get: |s| percentile(&s.rwnd_bytes, 1) },
    Column { name: "rwnd_p99_bytes", doc: "99th percentile", get: |s| percentile(&s.rwnd_bytes, 2) },
    Column { name: "rwnd_max_bytes", doc: "largest", get: |s| Value::int(s.rwnd_bytes.max) },
    Column {
        name: "wait_total_us",
        doc: "time that sends waited, all together",
        get: |s| Value::Float(us(s.wait.sum)),
    },
    Column { name: "wait_avg_us", doc: "mean wait", get: |s| Value::float(s.wait.mean_us()) },
    Column { name: "wait_min_us", doc: "shortest", get: |s| Value::us(s.wait.min) },
    Column { name: "wait_max_us", doc: "longest", get: |s| Value::us(s.wait.max) },
    Column { name: "wait_p50_us", doc: "median", get: |s| Value::us(s.wait.percentiles.map(|p| p[0])) },
    Column {
        name: "wait_p90_us",
        doc: "90th percentile",
        get: |s| Value::us(s.wait.percentiles.map(|p| p[1])),
    },
    Column {
        name: "wait_p99_us",
        doc: "99th percentile",
        get: |s| Value::us(s.wait.percentiles.map(|p| p[2])),
    },
    Column { name: "refused_events", doc: "sends refused (EAGAIN)", get: |s| Value::Int(s.refused) },
    Column {
        name: "zero_window_events",
        doc: "times that the peer closed its window",
        get: |s| Value::Int(s.zero_windows),
    },
    Column {
        name: "zero_window_ms",
        doc: "how long it was closed",
        get: |s| Value::Float(ms(s.zero_window)),
    },
    Column {
        name: "in_flight_max_bytes",
        doc: "the most that was sent and not acknowledged",
        get: |s| Value::int(s.is_sender().then_some(s.in_flight_max_bytes)),
    },
    Column {
        name: "recv_util_avg_pct",
        doc: "mean use of the receive buffer",
        get: |s| fixed(percent(s.recv_ppm.mean())),
    },
    Column { name: "recv_util_max_pct", doc: "largest", get: |s| fixed(pct(s.recv_ppm.max)) },
    Column { name: "recv_samples", doc: "SACKs sent", get: |s| Value::Int(s.recv_ppm.count) },
    Column {
        name: "own_rwnd_avg_bytes",
        doc: "mean of the window that we advertised",
        get: |s| Value::fixed(s.own_rwnd_bytes.mean(), 1),
    },
    Column { name: "own_rwnd_min_bytes", doc: "smallest", get: |s| Value::int(s.own_rwnd_bytes.min) },
    Column {
        name: "stalls",
        doc: "times that nothing was acknowledged for longer than the RTO",
        get: |s| Value::Int(s.stalls),
    },
    Column { name: "stall_total_ms", doc: "how long, all together", get: |s| Value::Float(ms(s.stalled)) },
    Column { name: "stall_max_ms", doc: "how long at most", get: |s| Value::Float(ms(s.stall_max)) },
    Column { name: "stall_cause", doc: "why, the last time", get: |s| Value::text(s.stall_cause.map(cause)) },
];

type Event = (Wait, Option<Identity>);

/// A `sample` object: a send that waited.
const SAMPLE: &[&[Column<Event>]] = &[
    &[Column { name: "assoc_id", doc: "association id", get: |(w, _)| Value::Int(w.assoc_id.into()) }],
    identity_columns!(Event, maybe | (_, id) | id.as_ref()),
    &[
        Column { name: "wait_us", doc: "how long it waited", get: |(w, _)| Value::Float(us(w.wait)) },
        Column {
            name: "msg_bytes",
            doc: "length of its message",
            get: |(w, _)| Value::Int(w.msg_bytes.into()),
        },
    ],
];

/// A `stall` object, and for how long it has lasted.
type Verdict = (Stall, Duration);
const STALL: &[&[Column<Verdict>]] = &[
    &[Column { name: "assoc_id", doc: "association id", get: |(s, _)| Value::Int(s.id.assoc_id.into()) }],
    identity_columns!(Verdict, |(s, _)| &s.id),
    &[
        Column {
            name: "lasted_ms",
            doc: "for how long, so far",
            get: |(_, lasted)| Value::Float(ms(*lasted)),
        },
        Column { name: "over", doc: "it is over", get: |(s, _)| Value::Bool(s.until.is_some()) },
        Column { name: "unacked_bytes", doc: "outstanding or queued", get: |(s, _)| Value::Int(s.bytes) },
        Column {
            name: "t3_expiries",
            doc: "T3-rtx expiries meanwhile",
            get: |(s, _)| Value::Int(s.t3_expiries.into()),
        },
        Column {
            name: "waiting_sends",
            doc: "sends that wait for room",
            get: |(s, _)| Value::Int(s.waiting.into()),
        },
        Column { name: "cause", doc: "why", get: |(s, _)| Value::Text(cause(s.cause).to_owned()) },
        Column {
            name: "cause_text",
            doc: "why, in words",
            get: |(s, _)| Value::Text(words(s.cause).to_owned()),
        },
    ],
];

/// Prints waits, stalls and statistics in the form that was asked for.
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
        Table::of("CSV columns", &[CSV]),
        Table::of("The same in JSON", &[ASSOC, JSON]),
        Table::of("More with -x and --json", &[IDENTITY, MORE]),
        Table::of("Objects of type sample: a send that waited", SAMPLE),
        Table::of("Objects of type stall", STALL),
    ]
}

impl Report {
    /// A report as the flags ask for it.
    pub fn new(common: &Common) -> Self {
        let columns = match (common.format(), common.extended) {
            (Format::Json, _) => vec![ASSOC, IDENTITY, JSON, MORE],
            (_, true) => vec![CSV, IDENTITY, MORE],
            (_, false) => vec![CSV],
        };
        Self {
            rows: Rows::of("bufmon", common, columns),
            format: common.format(),
            extended: common.is_extended(),
            intervals: common.has_interval_rows(),
            histograms: common.histogram,
            zone: TimeZone::system(),
        }
    }

    /// A line or object per stall; its time is when it began.
    fn stalls(&self, out: &mut Out, stalls: Vec<Stall>) -> Result<()> {
        let (clock, now) = (Clock::now(), probes::kernel::now());
        for stall in stalls {
            let lasted = stall.until.unwrap_or(now).saturating_sub(stall.since);
            match self.format {
                Format::Json => {
                    let time = clock.rfc3339(stall.since);
                    out.json(&self.rows.event("stall", &time, STALL, &(stall, lasted)))?;
                }
                Format::Text => {
                    out.text(&stall_line(&stall, lasted, &clock.time_of_day(stall.since, &self.zone)))?
                }
                Format::Csv => {}
            }
        }
        Ok(())
    }

    fn arrange(&self, mut stats: Vec<Stats>) -> Vec<Stats> {
        stats.sort_by_key(|s| (s.id.assoc_id, s.association));
        if !self.extended {
            stats.retain(Stats::is_sender);
            for s in &mut stats {
                let levels = [&mut s.util_ppm, &mut s.outqueue_bytes, &mut s.rwnd_bytes];
                levels.into_iter().for_each(|levels| levels.percentiles = None);
            }
        }
        stats
    }
}

impl EntryReport for Report {
    type Probe = Bufmon;

    fn has_intervals(&self) -> bool {
        self.intervals
    }

    fn header(&self, out: &mut Out) -> Result<()> {
        self.rows.header(out)
    }

    fn records(
        &self,
        out: &mut Out,
        records: impl Iterator<Item = Wait>,
        mut identity: impl FnMut(EntryRef) -> Option<Identity>,
    ) -> Result<()> {
        let clock = Clock::now();
        for wait in records {
            let (id, time) = (identity(wait.association), clock.rfc3339(wait.at));
            out.json(&self.rows.event("sample", &time, SAMPLE, &(wait, id)))?;
        }
        Ok(())
    }

    fn before_interval(&self, out: &mut Out, probe: &mut Bufmon) -> Result<()> {
        if self.extended { self.stalls(out, probe.stalls()) } else { Ok(()) }
    }

    fn interval(&self, out: &mut Out, stats: Vec<Stats>) -> Result<()> {
        self.rows.print(out, Period::Interval, self.arrange(stats))
    }

    fn summary(&self, out: &mut Out, stats: Vec<Stats>) -> Result<()> {
        let stats = self.arrange(stats);
        if self.format == Format::Text {
            for s in &stats {
                text_summary(s, self.extended, out)?;
                if self.histograms {
                    text_histograms(s, self.extended, out)?;
                }
            }
        }
        self.rows.print(out, Period::Summary, &stats)
    }

    fn accounting(&self, probe: &Bufmon) -> Accounting {
        let a = probe.accounting();
        let skipped = |reason, sentence, count| Skipped { reason, sentence, count };
        Accounting {
            events: a.samples,
            lost: a.lost,
            evicted: a.assocs_evicted,
            skipped: vec![
                cli::missed(probe.missed()),
                skipped(
                    "evicted",
                    "their association had to make room for another: use --max-assocs",
                    a.samples_evicted,
                ),
                skipped("waits_unknown", "there was no room to note their wait", a.waits_unknown),
            ],
        }
    }
}

fn percent(ppm: Option<f64>) -> Option<f64> {
    ppm.map(|p| p / 1e4)
}

fn pct(ppm: Option<u64>) -> Option<f64> {
    percent(ppm.map(|p| p as f64))
}

fn fixed(percent: Option<f64>) -> Value {
    Value::fixed(percent, 1)
}

fn util_percentile(s: &Stats, which: usize) -> Value {
    fixed(pct(s.util_ppm.percentiles.map(|p| p[which])))
}

fn percentile(levels: &Levels, which: usize) -> Value {
    Value::int(levels.percentiles.map(|p| p[which]))
}

fn cause(cause: StallCause) -> &'static str {
    match cause {
        StallCause::PeerWindow => "peer_window_closed",
        StallCause::Path => "path_lossy",
        StallCause::OwnBuffer => "own_buffer",
        StallCause::Unknown => "unknown",
    }
}

fn words(cause: StallCause) -> &'static str {
    match cause {
        StallCause::PeerWindow => "the peer has closed its window: its application does not read",
        StallCause::Path => "the path is lossy: T3-rtx runs, and nothing is acknowledged",
        StallCause::OwnBuffer => "the sender is held by its own buffer: nothing is in flight",
        StallCause::Unknown => "no SACK, and T3-rtx has not expired",
    }
}

fn stall_line(stall: &Stall, lasted: Duration, since: &str) -> String {
    let is = if stall.until.is_some() { "was" } else { "is" };
    format!(
        "Association {} ({}) {is} stalled since {since}: nothing acknowledged for {:.1} s, {} bytes outstanding or \
         queued; {}",
        stall.id.assoc_id,
        ends(&stall.id),
        lasted.as_secs_f64(),
        stall.bytes,
        words(stall.cause)
    )
}

fn whose(s: &Stats, extended: bool) -> String {
    let whose = format!("Association {}", s.id.assoc_id);
    if extended { format!("{whose} ({})", ends(&s.id)) } else { whose }
}

fn text_histograms(s: &Stats, extended: bool, out: &mut Out) -> Result<()> {
    let whose = whose(s, extended);
    for (of, unit, histogram) in [
        ("send buffer utilisation", "percent", &s.util_histogram),
        ("sends that waited for room", "usecs", &s.wait_histogram),
    ] {
        let title = format!("{whose}: {of}");
        histogram.iter().try_for_each(|histogram| draw(out, &title, unit, histogram))?;
    }
    Ok(())
}

fn text_summary(s: &Stats, extended: bool, out: &mut Out) -> Result<()> {
    out.text("")?;
    out.text(&format!("{}:", whose(s, extended)))?;
    use_block("Send Buffer", &s.util_ppm, out)?;
    if let (Some(avg), Some(max)) = (s.outqueue_bytes.mean(), s.outqueue_bytes.max) {
        out.text("  Outqueue Size:")?;
        out.text(&format!("    Average: {avg:.1} bytes"))?;
        out.text(&format!("    Maximum: {max} bytes"))?;
        percentile_line(&s.outqueue_bytes, out)?;
        out.text(&format!("    Samples: {}", s.outqueue_bytes.count))?;
    }
    window_block("Receiver Window (RWND)", &s.rwnd_bytes, out)?;
    out.text("  Send Buffer Pressure:")?;
    out.text(&format!("    Wait events: {}", s.wait.count))?;
    if !extended {
        return Ok(());
    }
    if let (Some(avg), Some(max)) = (s.wait.mean_us(), s.wait.max) {
        let total = ms(s.wait.sum);
        out.text(&format!(
            "    Wait time: {total:.3} ms in all, {:.3} ms avg, {:.3} ms max",
            avg / 1e3,
            ms(max)
        ))?;
    }
    out.text(&format!("    Refused (EAGAIN): {}", s.refused))?;
    out.text(&format!("  In flight: {} bytes maximum", s.in_flight_max_bytes))?;
    out.text(&format!("  Zero window: {} times, {:.3} ms", s.zero_windows, ms(s.zero_window)))?;
    use_block("Receive Buffer", &s.recv_ppm, out)?;
    window_block("Own Window", &s.own_rwnd_bytes, out)?;
    out.text(&format!(
        "  Stalls: {}, {:.1} ms in all, {:.1} ms at most",
        s.stalls,
        ms(s.stalled),
        ms(s.stall_max)
    ))?;
    s.stall_cause.map_or(Ok(()), |c| out.text(&format!("    Cause: {}", words(c))))
}

fn use_block(name: &str, ppm: &Levels, out: &mut Out) -> Result<()> {
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

fn window_block(name: &str, bytes: &Levels, out: &mut Out) -> Result<()> {
    let (Some(avg), Some(min)) = (bytes.mean(), bytes.min) else { return Ok(()) };
    out.text(&format!("  {name}:"))?;
    out.text(&format!("    Average: {avg:.1} bytes"))?;
    out.text(&format!("    Minimum: {min} bytes"))?;
    percentile_line(bytes, out)?;
    out.text(&format!("    Samples: {}", bytes.count))
}

fn percentile_line(bytes: &Levels, out: &mut Out) -> Result<()> {
    bytes
        .percentiles
        .map_or(Ok(()), |[p50, p90, p99]| out.text(&format!("    p50/p90/p99: {p50}/{p90}/{p99} bytes")))
}
