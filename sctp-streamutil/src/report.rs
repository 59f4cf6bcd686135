//! The output of `sctp-streamutil`: its columns, and its text, CSV and JSON.

use std::{mem, rc::Rc, time::Duration};

use anyhow::Result;
use cli::{
    ASSOC_ID, Column, Columns, Common, Findings, Form, Format,
    Get::{Fixed, Int},
    IDENTITY, List, Metrics, OWNER, Out, Part, Period, Rows, Shown, Table, draw, endpoints, us,
};
use probes::{
    Due, Error, Identity,
    streamutil::{Row, Stream, Undelivered},
};

use crate::{
    findings::{Evidence, RULES},
    metrics::METRICS,
};

/// A line of output: one association, or one stream of it.
struct Line {
    assoc: Rc<Assoc>,
    /// Index in `Assoc::streams`, if the line is of one stream; `None` if it is of the association.
    stream: Option<usize>,
}

/// One association, which all its lines share. It may have 65,536 streams and a line for each, so the sums
/// over all streams are made once.
struct Assoc {
    /// The row of the association. Its list of streams is empty, and `streams` has them instead.
    stats: Row,
    /// Every stream on which something happened.
    streams: Vec<Share>,
    /// Sums over `streams`. Its `stream_id`, `hol_blocked` and `sizes` are unused.
    sums: Stream,
    /// Number of outbound streams that carried data.
    active: u64,
    /// The stream utilization index (see [`evenness`]).
    sui: f64,
}

/// One stream, with the figures of its association by which its shares and rates are computed.
struct Share {
    stream: Stream,
    /// User data that the whole association sent, in bytes.
    total_bytes: u64,
    /// The time that the statistics cover.
    period: Duration,
}

const ASSOC: Part<Line, Identity> =
    Part { prefix: "", what: "", of: |l| Some(&l.assoc.stats.association.id), columns: ASSOC_ID };
const ENDS: Part<Line, Identity> =
    Part { prefix: "", what: "", of: |l| Some(&l.assoc.stats.association.id), columns: IDENTITY };

const LIVES: Part<Line, Identity> =
    Part { prefix: "", what: "", of: |l| Some(&l.assoc.stats.association.id), columns: OWNER };

/// The columns that the Python script, which this command replaces, has too. They come after the association's id.
const COLUMNS: &[Column<Line>] = &[
    Column::gauge(
        "total_streams",
        "outbound streams negotiated",
        Int(|l| Some(l.assoc.stats.total_streams.into())),
    ),
    Column::counter("active_streams", "outbound streams that carried data", Int(|l| Some(l.assoc.active))),
    Column::counter("total_bytes", "user data sent", Int(|l| Some(l.assoc.sums.payload_bytes))),
    Column::counter("total_chunks", "chunks sent", Int(|l| Some(l.assoc.sums.chunks))),
    Column::counter("ordered", "ordered chunks sent", Int(|l| Some(ordered(&l.assoc.sums)))),
    Column::counter("unordered", "unordered chunks sent", Int(|l| Some(l.assoc.sums.unordered))),
    Column::distribution("sui", "stream utilization index", Fixed(|l| Some(l.assoc.sui), 4)),
    Column::gauge(
        "stream_parallelism",
        "share of the streams that carried data, percent",
        Fixed(|l| Some(l.assoc.parallelism_pct()), 1),
    ),
];

/// The columns of an association that `--extended` and `--json` add.
const MORE: &[Column<Line>] = &[
    Column::counter("messages", "messages sent", Int(|l| Some(l.assoc.sums.messages))),
    Column::counter("rtx_chunks", "chunks sent again", Int(|l| Some(l.assoc.sums.rtx_chunks))),
    Column::counter("rtx_bytes", "user data in chunks sent again", Int(|l| Some(l.assoc.sums.rtx_bytes))),
    Column::gauge(
        "bytes_per_s",
        "user data per second",
        Fixed(|l| per_second(l.assoc.sums.payload_bytes, l.assoc.stats.period), 1),
    ),
    Column::counter(
        "hol_messages",
        "received messages that waited for one before them",
        Int(|l| Some(l.assoc.sums.hol_messages)),
    ),
    Column::counter(
        "hol_wait_us",
        "how long received messages waited for one before them, all together",
        Fixed(|l| Some(us(l.assoc.sums.hol_wait)), 3),
    ),
];

/// The columns of what was not delivered, which `--extended` and `--json` add at the end.
const UNDELIVERED: &[Column<Line>] = &[
    Column::counter(
        "refused_invalid_stream",
        "sends that failed with EINVAL: of a stream that was not negotiated",
        Int(|l| Some(l.assoc.stats.undelivered.refused_invalid_stream)),
    ),
    Column::counter(
        "discarded_invalid_stream",
        "chunks received and discarded: of a stream that was not negotiated",
        Int(|l| Some(l.assoc.stats.undelivered.discarded_invalid_stream)),
    ),
    Column::counter(
        "abandoned_sent",
        "messages that PR-SCTP gave up after a part of them was sent, as SCTP_PR_ASSOC_STATUS has them",
        Int(|l| Some(l.assoc.stats.undelivered.abandoned_sent)),
    ),
    Column::counter(
        "abandoned_unsent",
        "messages that PR-SCTP gave up before a part of them was sent",
        Int(|l| Some(l.assoc.stats.undelivered.abandoned_unsent)),
    ),
];

const STREAM_ID: &[Column<Share>] =
    &[Column::label("stream_id", "stream identifier", Int(|s| Some(s.stream.stream_id.into())))];
/// The columns of a stream: in JSON by these names, in CSV with `stream_` before them.
const STREAM: &[Column<Share>] = &[
    Column::counter("bytes", "user data sent", Int(|s| Some(s.stream.payload_bytes))),
    Column::counter("chunks", "chunks sent", Int(|s| Some(s.stream.chunks))),
    Column::counter("ordered", "ordered chunks sent", Int(|s| Some(ordered(&s.stream)))),
    Column::counter("unordered", "unordered chunks sent", Int(|s| Some(s.stream.unordered))),
    Column::counter("messages", "messages sent", Int(|s| Some(s.stream.messages))),
    Column::counter("rtx_chunks", "chunks sent again", Int(|s| Some(s.stream.rtx_chunks))),
    Column::counter("rtx_bytes", "user data in chunks sent again", Int(|s| Some(s.stream.rtx_bytes))),
    Column::gauge("utilization", "share of the association's user data", Fixed(|s| Some(s.utilization()), 4)),
    Column::gauge(
        "bytes_per_s",
        "user data per second",
        Fixed(|s| per_second(s.stream.payload_bytes, s.period), 1),
    ),
    Column::counter(
        "hol_messages",
        "received messages that waited for one before them",
        Int(|s| Some(s.stream.hol_messages)),
    ),
    Column::counter(
        "hol_wait_us",
        "how long received messages waited, all together",
        Fixed(|s| Some(us(s.stream.hol_wait)), 3),
    ),
    Column::counter(
        "hol_blocked_us",
        "how long at least one received message waited",
        Fixed(|s| Some(us(s.stream.hol_blocked)), 3),
    ),
    Column::gauge(
        "hol_blocked_pct",
        "share of the time in which at least one received message waited",
        Fixed(|s| Some(s.hol_blocked_pct()), 1),
    ),
];
const CSV_STREAM_ID: Part<Line, Share> = Part { prefix: "", what: "", of: Line::stream, columns: STREAM_ID };
const CSV_STREAM: Part<Line, Share> =
    Part { prefix: "stream_", what: "of the stream", of: Line::stream, columns: STREAM };
const STREAMS: List<Line, Share> = List {
    name: "streams",
    doc: "each stream on which something happened",
    of: |l| &l.assoc.streams,
    columns: &[&STREAM_ID, &STREAM],
};

fn ordered(stream: &Stream) -> u64 {
    stream.chunks - stream.unordered
}

fn per_second(bytes: u64, period: Duration) -> Option<f64> {
    (!period.is_zero()).then(|| bytes as f64 / period.as_secs_f64())
}

impl Line {
    fn stream(&self) -> Option<&Share> {
        self.assoc.streams.get(self.stream?)
    }
}

impl Assoc {
    fn new(mut stats: Row) -> Self {
        let streams = mem::take(&mut stats.streams);
        let (mut sums, mut active) = (Stream::default(), 0);
        for s in &streams {
            active += u64::from(s.chunks > 0);
            sums.payload_bytes += s.payload_bytes;
            sums.chunks += s.chunks;
            sums.unordered += s.unordered;
            sums.messages += s.messages;
            sums.rtx_chunks += s.rtx_chunks;
            sums.rtx_bytes += s.rtx_bytes;
            sums.hol_messages += s.hol_messages;
            sums.hol_wait += s.hol_wait;
        }
        let sui = evenness(streams.iter().map(|s| s.payload_bytes));
        let share = |stream| Share { stream, total_bytes: sums.payload_bytes, period: stats.period };
        Self { streams: streams.into_iter().map(share).collect(), stats, sums, active, sui }
    }

    fn evidence(&self) -> Evidence {
        let Undelivered { refused_invalid_stream, discarded_invalid_stream, .. } = self.stats.undelivered;
        Evidence {
            total_streams: self.stats.total_streams.into(),
            active_streams: self.active,
            messages: self.sums.messages,
            unordered: self.sums.unordered,
            rtx_chunks: self.sums.rtx_chunks,
            hol_messages: self.sums.hol_messages,
            hol_wait: self.sums.hol_wait,
            hol_blocked_pct: self.streams.iter().map(Share::hol_blocked_pct).fold(0.0, f64::max),
            refused: refused_invalid_stream,
            discarded: discarded_invalid_stream,
        }
    }

    fn parallelism_pct(&self) -> f64 {
        ratio(self.active as f64, f64::from(self.stats.total_streams)) * 100.0
    }
}

impl Share {
    fn utilization(&self) -> f64 {
        ratio(self.stream.payload_bytes as f64, self.total_bytes as f64)
    }

    fn hol_blocked_pct(&self) -> f64 {
        ratio(self.stream.hol_blocked.as_secs_f64(), self.period.as_secs_f64()) * 100.0
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// The stream utilization index: the entropy of the bytes over the streams that carried data, divided by the
/// logarithm of the number of these streams (Pielou's evenness). 0 for fewer than two streams.
fn evenness(bytes: impl Iterator<Item = u64>) -> f64 {
    let shares: Vec<f64> = bytes.filter(|b| *b > 0).map(|b| b as f64).collect();
    if shares.len() < 2 {
        return 0.0;
    }
    let total: f64 = shares.iter().sum();
    let entropy: f64 = shares.iter().map(|b| b / total).map(|p| -p * p.log2()).sum();
    entropy / (shares.len() as f64).log2()
}

/// What `--live` shows: a row per stream, as `-x` has it in CSV.
pub const LIVE: Shown = Shown {
    columns: &[
        "assoc_id",
        "stream_id",
        "stream_hol_blocked_us",
        "stream_hol_blocked_pct",
        "stream_hol_messages",
        "stream_chunks",
        "stream_rtx_chunks",
        "stream_bytes_per_s",
        "peer",
        "comm",
    ],
    worst: &["stream_hol_blocked_us", "stream_hol_messages", "stream_rtx_chunks", "stream_bytes_per_s"],
    low: &[],
};

/// Prints statistics in the form that the flags ask for.
pub struct Report {
    rows: Rows<Line>,
    findings: Findings,
    form: Form,
}

/// The tables of all columns, for man page and JSON schema.
pub fn tables() -> Vec<Table> {
    vec![
        Table::statistics::<Line>("CSV columns", &[&ASSOC, &COLUMNS]),
        Table::statistics::<Line>("More with -x and --json", &[&ENDS, &MORE]),
        Table::csv::<Line>("A row per stream with -x has also", &[&CSV_STREAM_ID, &CSV_STREAM]),
        Table::statistics::<Line>("JSON has instead", &[&STREAMS]),
        Table::csv::<Share>("Each of which has", &[&STREAM_ID, &STREAM]),
        Table::statistics::<Line>("Last with -x and --json", &[&LIVES, &UNDELIVERED]),
    ]
}

impl Report {
    /// Makes a report in the form that the flags ask for.
    pub fn new(common: &Common) -> Self {
        let form = Form::new(common);
        let mut columns: Vec<&dyn Columns<Line>> = vec![&ASSOC, &COLUMNS];
        match form.format {
            Format::Json => {
                columns.extend::<[&dyn Columns<Line>; 5]>([&ENDS, &MORE, &STREAMS, &LIVES, &UNDELIVERED])
            }
            _ if form.extended => {
                columns.extend::<[&dyn Columns<Line>; 6]>([
                    &ENDS,
                    &MORE,
                    &CSV_STREAM_ID,
                    &CSV_STREAM,
                    &LIVES,
                    &UNDELIVERED,
                ]);
            }
            _ => {}
        }
        Self {
            rows: Rows::new("streamutil", common, columns, &LIVE),
            findings: Findings::new("streamutil", common),
            form,
        }
    }
}

/// Makes the lines to print: one per association, in extended CSV and on a screen one per stream, or one without a stream
/// where nothing happened on any. Unless extended, leaves out associations that sent no data.
fn lines(
    form: &Form,
    assocs: impl Iterator<Item = Result<Assoc, Error>>,
) -> impl Iterator<Item = Result<Line, Error>> {
    let per_stream = form.extended && matches!(form.format, Format::Csv | Format::Live);
    let lines = assocs.flat_map(move |assoc| {
        let (assoc, error) = match assoc {
            Ok(assoc) => (Some(Rc::new(assoc)), None),
            Err(error) => (None, Some(error)),
        };
        let lines = assoc.into_iter().flat_map(move |assoc| {
            let streams = if per_stream { assoc.streams.len().max(1) } else { 1 };
            let line = move |n| Line { assoc: Rc::clone(&assoc), stream: per_stream.then_some(n) };
            (0..streams).map(line)
        });
        lines.map(Ok).chain(error.map(Err))
    });
    // Unless extended, the command shows only associations that sent data, as the Python script that it replaces does.
    let all = form.extended;
    lines.filter(move |line| all || line.as_ref().map_or(true, |line| line.assoc.active > 0))
}

impl cli::Report for Report {
    type Record = ();
    type Row = Row;

    fn metrics(&self) -> &'static Metrics<Row> {
        &METRICS
    }

    fn findings(&self) -> Option<&Findings> {
        Some(&self.findings)
    }

    fn header(&mut self, out: &mut Out) -> Result<()> {
        self.rows.header(out)
    }

    fn form(&self) -> &Form {
        &self.form
    }

    fn interval(&mut self, out: &mut Out, rows: impl Iterator<Item = Result<Row, Error>>) -> Result<()> {
        let assocs = rows.map(|row| row.map(Assoc::new)).inspect(|assoc| {
            if let (true, Ok(assoc)) = (self.findings.is_on(), assoc) {
                self.findings.evaluate(RULES, Some(&assoc.stats.association.id), &assoc.evidence());
            }
        });
        let mut lines = lines(&self.form, assocs);
        self.rows.print(out, Period::Interval, &mut lines)?;
        // In text, the lines of an interval are made only for the findings.
        lines.try_for_each(|line| line.map(drop))?;
        drop(lines);
        self.findings.end_interval(out)
    }

    /// Text and CSV have all totals at the end of the run. Text also has, at the end of each interval, the
    /// totals of associations that live or ended in that interval. JSON has the totals of an ended
    /// association once, at the end of the interval in which it ended, and those of the others at the end of
    /// the run.
    fn due(&self, at_end: bool) -> Option<Due> {
        match self.form.format {
            Format::Csv if !at_end => None,
            Format::Live => None,
            Format::Text | Format::Csv if at_end => Some(Due::All),
            Format::Json if !at_end => Some(Due::Ended),
            _ => Some(Due::EndedAndLiving),
        }
    }

    fn totals(
        &mut self,
        out: &mut Out,
        rows: impl Iterator<Item = Result<Row, Error>>,
        at_end: bool,
    ) -> Result<()> {
        let mut lines = lines(&self.form, rows.map(|row| row.map(Assoc::new)));
        if self.form.format != Format::Text {
            return self.rows.print(out, Period::Summary, lines);
        }
        lines.try_for_each(|line| {
            let line = line?;
            text_line(&line.assoc, self.form.extended, out)?;
            let histograms = self.form.histograms && at_end;
            if histograms { text_histograms(&line.assoc, self.form.extended, out) } else { Ok(()) }
        })
    }
}

fn label(assoc: &Assoc, extended: bool) -> String {
    let id = &assoc.stats.association.id;
    let label = format!("Association {}", id.assoc_id);
    let life = if id.life > 1 { format!(", life {}", id.life) } else { String::new() };
    if extended { format!("{label}{life} ({})", endpoints(id)) } else { label }
}

fn text_histograms(assoc: &Assoc, extended: bool, out: &mut Out) -> Result<()> {
    let label = label(assoc, extended);
    let sizes = |share: &Share| share.stream.sizes.clone();
    let all = assoc.streams.iter().filter_map(sizes).reduce(|mut all, next| {
        all.merge(&next);
        all
    });
    all.iter().try_for_each(|all| draw(out, &format!("{label}: messages sent"), "bytes", all))?;
    if !extended {
        return Ok(());
    }
    let streams = assoc.streams.iter().map(|share| &share.stream);
    for (stream, sizes) in streams.filter_map(|s| Some((s.stream_id, s.sizes.as_ref()?))) {
        draw(out, &format!("{label}, stream {stream}: messages sent"), "bytes", sizes)?;
    }
    Ok(())
}

fn text_line(assoc: &Assoc, extended: bool, out: &mut Out) -> Result<()> {
    let Assoc { stats, sums, active, sui, .. } = assoc;
    out.text(&format!("{}:", label(assoc, extended)))?;
    out.text(&format!("  Streams: {active} active out of {} total", stats.total_streams))?;
    out.text(&format!("  Data: {} bytes across {} chunks", sums.payload_bytes, sums.chunks))?;
    out.text(&format!("  Ordering: {} ordered, {} unordered", ordered(sums), sums.unordered))?;
    out.text(&format!("  Stream Utilization Index: {sui:.4}"))?;
    out.text(&format!("  Stream Parallelism: {:.1}%", assoc.parallelism_pct()))?;
    if extended {
        out.text(&format!("  Retransmitted: {} bytes across {} chunks", sums.rtx_bytes, sums.rtx_chunks))?;
        text_undelivered(&stats.undelivered, out)?;
        assoc.streams.iter().try_for_each(|share| text_stream(share, out))?;
    }
    Ok(())
}

/// Says what was not delivered, if there is anything.
fn text_undelivered(undelivered: &Undelivered, out: &mut Out) -> Result<()> {
    let Undelivered { refused_invalid_stream: refused, discarded_invalid_stream: discarded, .. } =
        undelivered;
    if refused + discarded > 0 {
        out.text(&format!(
            "  Streams not negotiated: {refused} sends refused, {discarded} received chunks discarded"
        ))?;
    }
    let Undelivered { abandoned_sent: sent, abandoned_unsent: unsent, .. } = undelivered;
    if sent + unsent > 0 {
        out.text(&format!("  Abandoned by PR-SCTP: {sent} messages sent in part, {unsent} not sent"))?;
    }
    Ok(())
}

fn text_stream(share: &Share, out: &mut Out) -> Result<()> {
    let s = &share.stream;
    out.text(&format!(
        "  Stream {}: {} bytes ({:.1}%) across {} chunks, {} messages, {} unordered, {} retransmitted; \
         {} received messages waited {:.3} ms, blocked {:.1}% of the time",
        s.stream_id,
        s.payload_bytes,
        share.utilization() * 100.0,
        s.chunks,
        s.messages,
        s.unordered,
        s.rtx_chunks,
        s.hol_messages,
        s.hol_wait.as_secs_f64() * 1e3,
        share.hol_blocked_pct(),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_shares_are_one_and_a_single_stream_is_zero() {
        assert!((evenness([7, 7, 7, 7].into_iter()) - 1.0).abs() < 1e-12);
        assert_eq!(evenness([1000].into_iter()), 0.0);
        assert_eq!(evenness([1000, 0].into_iter()), 0.0);
        assert_eq!(evenness([].into_iter()), 0.0);
        // The entropy of shares of 1/4 and 3/4 is 0.8113 bits; that of two equal shares is 1 bit.
        assert!((evenness([1, 3].into_iter()) - 0.811_278).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn evenness_is_between_zero_and_one(bytes in prop::collection::vec(0_u64..1 << 50, 0..100)) {
            let e = evenness(bytes.into_iter());
            prop_assert!((0.0..=1.0 + 1e-9).contains(&e), "{e}");
        }

        #[test]
        fn evenness_knows_no_order_and_no_scale(mut bytes in prop::collection::vec(1_u64..1 << 40, 2..50)) {
            let e = evenness(bytes.iter().copied());
            bytes.reverse();
            bytes.iter_mut().for_each(|b| *b *= 8);
            prop_assert!((evenness(bytes.into_iter()) - e).abs() < 1e-9);
        }
    }
}
