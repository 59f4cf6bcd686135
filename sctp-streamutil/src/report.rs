//! The rows of `sctp-streamutil`: what is printed, in which form.

use std::time::Duration;

use anyhow::Result;
use cli::{
    Column, Common, Format, Out, Period, Rows, StreamReport, Table, Value, draw, ends, identity_columns,
    is_due, json_object, us,
};
use probes::streamutil::{Stats, Stream, Streamutil};

/// A row: one association, or one stream of it.
struct Row {
    stats: Stats,
    stream: Option<StreamRow>,
}

/// One stream as a part of its association.
struct StreamRow {
    stream: Stream,
    total_bytes: u64,
    period: Duration,
}

/// The columns that the Python script has too.
const COLUMNS: &[Column<Row>] = &[
    Column {
        name: "assoc_id",
        doc: "association id",
        get: |r| Value::Int(r.stats.association.id.assoc_id.into()),
    },
    Column {
        name: "total_streams",
        doc: "outbound streams negotiated",
        get: |r| Value::Int(r.stats.total_streams.into()),
    },
    Column { name: "active_streams", doc: "those that carried data", get: |r| Value::Int(r.active()) },
    Column { name: "total_bytes", doc: "user data", get: |r| Value::Int(r.sum(|s| s.payload_bytes)) },
    Column { name: "total_chunks", doc: "its chunks", get: |r| Value::Int(r.sum(|s| s.chunks)) },
    Column { name: "ordered", doc: "ordered ones", get: |r| Value::Int(r.sum(ordered)) },
    Column { name: "unordered", doc: "unordered ones", get: |r| Value::Int(r.sum(|s| s.unordered)) },
    Column { name: "sui", doc: "stream utilization index", get: |r| Value::Fixed(r.sui(), 4) },
    Column {
        name: "stream_parallelism",
        doc: "share of the streams that carried data, percent",
        get: |r| Value::Fixed(r.parallelism_pct(), 1),
    },
];

/// Whose a row is, with `--extended` and `--json`.
const IDENTITY: &[Column<Row>] = identity_columns!(Row, |r| &r.stats.association.id);

/// More columns of an association.
const MORE: &[Column<Row>] = &[
    Column { name: "messages", doc: "messages sent", get: |r| Value::Int(r.sum(|s| s.messages)) },
    Column { name: "rtx_chunks", doc: "chunks sent again", get: |r| Value::Int(r.sum(|s| s.rtx_chunks)) },
    Column { name: "rtx_bytes", doc: "user data in those", get: |r| Value::Int(r.sum(|s| s.rtx_bytes)) },
    Column {
        name: "bytes_per_s",
        doc: "user data per second",
        get: |r| per_second(r.sum(|s| s.payload_bytes), r.stats.period),
    },
    Column {
        name: "hol_messages",
        doc: "received messages that waited for one before them",
        get: |r| Value::Int(r.sum(|s| s.hol_messages)),
    },
    Column {
        name: "hol_wait_us",
        doc: "how long they waited, all together",
        get: |r| Value::Fixed(r.stats.streams.iter().map(|s| us(s.hol_wait)).sum(), 3),
    },
];

/// The columns of a stream: in JSON by these names, in CSV with `stream_` before them.
macro_rules! stream_columns {
    ($($name:literal, $doc:literal, $get:expr;)*) => {
        const STREAM: &[Column<StreamRow>] = &[$(Column { name: $name, doc: $doc, get: $get },)*];
        const CSV_STREAM: &[Column<Row>] = &[$(Column {
            name: concat!("stream_", $name),
            doc: $doc,
            get: |r| r.stream.as_ref().map_or(Value::Null, $get),
        },)*];
    };
}
stream_columns! {
    "bytes", "user data", |s| Value::Int(s.stream.payload_bytes);
    "chunks", "its chunks", |s| Value::Int(s.stream.chunks);
    "ordered", "ordered ones", |s| Value::Int(ordered(&s.stream));
    "unordered", "unordered ones", |s| Value::Int(s.stream.unordered);
    "messages", "messages", |s| Value::Int(s.stream.messages);
    "rtx_chunks", "chunks sent again", |s| Value::Int(s.stream.rtx_chunks);
    "rtx_bytes", "user data in those", |s| Value::Int(s.stream.rtx_bytes);
    "utilization", "share of the association's user data", |s| Value::Fixed(s.utilization(), 4);
    "bytes_per_s", "user data per second", |s| per_second(s.stream.payload_bytes, s.period);
    "hol_messages", "received messages that waited", |s| Value::Int(s.stream.hol_messages);
    "hol_wait_us", "how long, all together", |s| Value::Fixed(us(s.stream.hol_wait), 3);
    "hol_blocked_us", "how long at least one of them", |s| Value::Fixed(us(s.stream.hol_blocked), 3);
    "hol_blocked_pct", "that as a share of the time", |s| Value::Fixed(s.hol_blocked_pct(), 1);
}
const CSV_STREAM_ID: &[Column<Row>] = &[Column {
    name: "stream_id",
    doc: STREAM_ID[0].doc,
    get: |r| r.stream.as_ref().map_or(Value::Null, STREAM_ID[0].get),
}];
const STREAM_ID: &[Column<StreamRow>] =
    &[Column { name: "stream_id", doc: "stream identifier", get: |s| Value::Int(s.stream.stream_id.into()) }];
const STREAMS: &[Column<Row>] = &[Column {
    name: "streams",
    doc: "each stream on which something happened",
    get: |r| {
        let objects = stream_rows(&r.stats).map(|s| json_object(&[STREAM_ID, STREAM], &s));
        Value::List(objects.collect())
    },
}];

fn ordered(stream: &Stream) -> u64 {
    stream.chunks - stream.unordered
}

fn stream_rows(stats: &Stats) -> impl Iterator<Item = StreamRow> {
    let total_bytes = stats.streams.iter().map(|s| s.payload_bytes).sum();
    let period = stats.period;
    stats.streams.iter().map(move |s| StreamRow { stream: s.clone(), total_bytes, period })
}

fn per_second(bytes: u64, period: Duration) -> Value {
    if period.is_zero() { Value::Null } else { Value::Fixed(bytes as f64 / period.as_secs_f64(), 1) }
}

impl Row {
    fn sum(&self, of: impl Fn(&Stream) -> u64) -> u64 {
        self.stats.streams.iter().map(of).sum()
    }

    fn active(&self) -> u64 {
        self.sum(|s| u64::from(s.chunks > 0))
    }

    fn sui(&self) -> f64 {
        evenness(self.stats.streams.iter().map(|s| s.payload_bytes))
    }

    fn parallelism_pct(&self) -> f64 {
        ratio(self.active() as f64, f64::from(self.stats.total_streams)) * 100.0
    }
}

impl StreamRow {
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

/// The stream utilization index: the entropy of the bytes over the streams that carried data, divided by the logarithm of
/// their number (Pielou's evenness); 0 for one stream.
fn evenness(bytes: impl Iterator<Item = u64>) -> f64 {
    let shares: Vec<f64> = bytes.filter(|b| *b > 0).map(|b| b as f64).collect();
    if shares.len() < 2 {
        return 0.0;
    }
    let total: f64 = shares.iter().sum();
    let entropy: f64 = shares.iter().map(|b| b / total).map(|p| -p * p.log2()).sum();
    entropy / (shares.len() as f64).log2()
}

/// Prints statistics in the form that was asked for.
pub struct Report {
    rows: Rows<Row>,
    format: Format,
    extended: bool,
    intervals: bool,
    histograms: bool,
}

/// All that is printed in columns.
pub fn tables() -> Vec<Table> {
    vec![
        Table::of("CSV columns", &[COLUMNS]),
        Table::of("More with -x and --json", &[IDENTITY, MORE]),
        Table::of("A row per stream with -x has also", &[CSV_STREAM_ID, CSV_STREAM]),
        Table::of("JSON has instead", &[STREAMS]),
        Table::of("Each of which has", &[STREAM_ID, STREAM]),
    ]
}

impl Report {
    /// A report as the flags ask for it.
    pub fn new(common: &Common) -> Self {
        let mut columns = vec![COLUMNS];
        match common.format() {
            Format::Json => columns.extend([IDENTITY, MORE, STREAMS]),
            _ if common.extended => columns.extend([IDENTITY, MORE, CSV_STREAM_ID, CSV_STREAM]),
            _ => {}
        }
        Self {
            rows: Rows::of("streamutil", common, columns),
            format: common.format(),
            extended: common.is_extended(),
            intervals: common.has_interval_rows(),
            histograms: common.histogram,
        }
    }

    /// Whose totals are due at the end of the interval `number`, if any are: of what has ended before, nothing any more. At
    /// the end of the run all, but that an object is not repeated.
    fn due(&self, number: u32, at_end: bool) -> Option<impl Fn(Option<u32>) -> bool + use<>> {
        let nothing = self.format == Format::Csv && !at_end;
        let all = self.format != Format::Json && at_end;
        let living_too = self.format == Format::Text || at_end;
        (!nothing).then(|| is_due(number, living_too, all))
    }

    /// Rows as they are printed: per association; in extended CSV per stream.
    fn arrange(&self, stats: impl Iterator<Item = Stats>) -> impl Iterator<Item = Row> {
        let per_stream = self.extended && self.format == Format::Csv;
        let each = stats.flat_map(move |stats| {
            let streams: Vec<_> =
                if per_stream { stream_rows(&stats).map(Some).collect() } else { vec![None] };
            streams.into_iter().map(move |stream| Row { stats: stats.clone(), stream })
        });
        // The script knows senders only.
        each.filter(|row| self.extended || row.active() > 0)
    }
}

impl StreamReport for Report {
    type Probe = Streamutil;

    fn has_intervals(&self) -> bool {
        self.intervals
    }

    fn header(&self, out: &mut Out) -> Result<()> {
        self.rows.header(out)
    }

    fn interval(&self, out: &mut Out, probe: &mut Streamutil, number: u32) -> Result<()> {
        self.rows.print(out, Period::Interval, self.arrange(probe.interval(number)?))
    }

    fn totals(&mut self, out: &mut Out, probe: &mut Streamutil, number: u32, at_end: bool) -> Result<()> {
        let Some(due) = self.due(number, at_end) else { return Ok(()) };
        let mut rows = self.arrange(probe.totals(due)?);
        match self.format {
            Format::Text => rows.try_for_each(|row| {
                text_row(&row, self.extended, out)?;
                if self.histograms && at_end { text_histograms(&row, self.extended, out) } else { Ok(()) }
            }),
            _ => self.rows.print(out, Period::Summary, rows),
        }
    }
}

fn whose(row: &Row, extended: bool) -> String {
    let id = &row.stats.association.id;
    let whose = format!("Association {}", id.assoc_id);
    if extended { format!("{whose} ({})", ends(id)) } else { whose }
}

fn text_histograms(row: &Row, extended: bool, out: &mut Out) -> Result<()> {
    let whose = whose(row, extended);
    let sizes = |s: &Stream| s.sizes.clone();
    let all = row.stats.streams.iter().filter_map(sizes).reduce(|mut all, next| {
        all.merge(&next);
        all
    });
    all.iter().try_for_each(|all| draw(out, &format!("{whose}: messages sent"), "bytes", all))?;
    if !extended {
        return Ok(());
    }
    for (stream, sizes) in row.stats.streams.iter().filter_map(|s| Some((s.stream_id, s.sizes.as_ref()?))) {
        draw(out, &format!("{whose}, stream {stream}: messages sent"), "bytes", sizes)?;
    }
    Ok(())
}

fn text_row(row: &Row, extended: bool, out: &mut Out) -> Result<()> {
    out.text(&format!("{}:", whose(row, extended)))?;
    let [bytes, chunks] = [row.sum(|s| s.payload_bytes), row.sum(|s| s.chunks)];
    out.text(&format!("  Streams: {} active out of {} total", row.active(), row.stats.total_streams))?;
    out.text(&format!("  Data: {bytes} bytes across {chunks} chunks"))?;
    let [ordered, unordered] = [row.sum(ordered), row.sum(|s| s.unordered)];
    out.text(&format!("  Ordering: {ordered} ordered, {unordered} unordered"))?;
    out.text(&format!("  Stream Utilization Index: {:.4}", row.sui()))?;
    out.text(&format!("  Stream Parallelism: {:.1}%", row.parallelism_pct()))?;
    if extended {
        let [rtx_chunks, rtx_bytes] = [row.sum(|s| s.rtx_chunks), row.sum(|s| s.rtx_bytes)];
        out.text(&format!("  Retransmitted: {rtx_bytes} bytes across {rtx_chunks} chunks"))?;
        stream_rows(&row.stats).try_for_each(|s| text_stream(&s, out))?;
    }
    Ok(())
}

fn text_stream(row: &StreamRow, out: &mut Out) -> Result<()> {
    let s = &row.stream;
    out.text(&format!(
        "  Stream {}: {} bytes ({:.1}%) across {} chunks, {} messages, {} unordered, {} retransmitted; \
         {} received messages waited {:.3} ms, blocked {:.1}% of the time",
        s.stream_id,
        s.payload_bytes,
        row.utilization() * 100.0,
        s.chunks,
        s.messages,
        s.unordered,
        s.rtx_chunks,
        s.hol_messages,
        s.hol_wait.as_secs_f64() * 1e3,
        row.hol_blocked_pct(),
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
        // H(1/4, 3/4) = 0.8113 bits of 1.
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
