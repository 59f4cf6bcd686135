//! Arrival intervals of DATA chunks and their jitter (`jitter.bpf.c`), per association and stream.

use std::{array, collections::BTreeMap, time::Duration};

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object};
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub use crate::streams::Sizes;
use crate::{
    Accounting, Change, Config, Due, DurationDist, Error, Histogram, Octaves,
    entries::{Counts, Hist},
    error::malformed,
    hist::BUCKETS,
    object::{OpenPrograms, map},
    program::{Moment, Program},
    raw::{self, Settings, WANT_EXTENDED, same_layout},
    streams::{Association, Found, Place, RawAccounting, Tables},
    trace::Trace,
};

#[allow(missing_docs, clippy::all, clippy::absolute_paths, clippy::wildcard_imports, unused_qualifications)]
#[allow(clippy::undocumented_unsafe_blocks, dead_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/jitter.skel.rs"));
}
use skel::types;

/// A running trace of arrivals.
pub type Jitter = Trace<Programs>;

/// Arrivals of a stream's chunks or messages: how many, the intervals between them, and how these vary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Number of arrivals.
    pub count: u64,
    /// Intervals between successive arrivals. Since the start there is one less than arrivals, as the first
    /// arrival ends no interval.
    pub interval: DurationDist,
    /// The jitter J: J += (|D - Dprev| - J) / 16 for each interval D between arrivals after the first one,
    /// always since the start. `None` before there are two intervals.
    pub jitter: Option<Duration>,
}

/// Statistics of one stream of one association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Association of the stream.
    pub association: Association,
    /// Stream identifier.
    pub stream_id: u16,
    /// Arrivals of DATA and I-DATA chunks.
    pub chunks: Arrivals,
    /// Histogram of the intervals between chunks, in microseconds; only in totals, and if [`Config::histograms`].
    pub histogram: Option<Histogram>,
    /// Arrivals of whole user messages: a message arrives with the last of its missing chunks. Empty unless
    /// [`Config::extended`] or [`Config::histograms`].
    pub messages: Arrivals,
    /// Chunks that came after one of the same association with a higher TSN; 0 unless [`Config::extended`] or
    /// [`Config::histograms`].
    pub reordered: u64,
}

/// The last packet of an association: `struct assoc_stats` of `jitter.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawAssoc {
    packet_ns: u64,
    packet_end: u64,
    came_before: u32,
    thrown_away: u32,
    reneged: u32,
    uncounted: u32,
}

/// Arrivals of a stream's chunks, or of its messages: `struct arrivals` of `jitter.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct RawArrivals {
    last_ns: u64,
    last_interval_ns: u64,
    jitter16_ns: u64,
    interval: raw::Dist,
}

/// Statistics of a stream in one interval: `struct window` of `jitter.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct RawWindow {
    epoch: u32,
    pad: u32,
    chunks: u64,
    reordered: u64,
    messages: u64,
    chunk: raw::Dist,
    message: raw::Dist,
}

/// Statistics of a stream: `struct stream_stats` of `jitter.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawStream {
    hist: u32,
    pad: u32,
    reordered: u64,
    chunk: RawArrivals,
    message: RawArrivals,
    window: [RawWindow; 2],
}

/// The histogram of a stream as it stood when its last interval was handed out: `struct earlier` of
/// `jitter.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
struct RawBaseline {
    made: u32,
    generation: u32,
    sid: u32,
    hist: RawHist,
}

/// Histogram of a stream's intervals between chunks, with counts that wrap: `struct hist` of `jitter.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
struct RawHist {
    chunk: [u32; BUCKETS],
    /// How often counts of this histogram have wrapped, in total.
    wraps: u32,
    pad: u32,
}

/// Key of the map `wraps`, a bucket of a stream's histogram: `struct wrap_key` of `jitter.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Immutable, IntoBytes)]
struct WrapKey {
    hist: u32,
    bucket: u32,
}

same_layout!(types;
    @streams;
    raw::Dist = dist { count, sum, min, max };
    RawAssoc = assoc_stats { packet_ns, packet_end, came_before, thrown_away, reneged, uncounted };
    RawArrivals = arrivals { last_ns, last_interval_ns, jitter16_ns, interval };
    RawWindow = window { epoch, chunks, reordered, messages, chunk, message };
    RawStream = stream_stats { hist, reordered, chunk, message, window };
    RawHist = hist { chunk, wraps };
    WrapKey = wrap_key { hist, bucket };
    RawBaseline = earlier { made, generation, sid, hist };
    RawAccounting = accounting {
        assocs_evicted, streams_evicted, events_evicted, events_gone, no_place, unseen, uncounted,
        lobby_limit, no_id
    };
);

/// The tables of the loaded programs of `sctp-jitter`.
pub struct Programs {
    pub(crate) tables: Tables<RawAssoc, RawStream>,
    /// Histograms of the intervals between chunks; `None` unless the kernel side gathers them.
    pub(crate) hists: Option<Hists>,
    /// True if histograms are handed out, and not only their percentiles.
    pub(crate) histograms: bool,
}

impl Program for Programs {
    const NAME: &'static str = "jitter_bpf";
    const OBJECT: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/jitter.o"));
    const MARKED: Option<&'static str> = Some("jitter_arrival");

    type Sizes = Sizes;
    /// No events come through a ring buffer: `sctp-jitter` has no records.
    type Event = [u8; 0];
    type Accounting = RawAccounting;
    type Record = ();
    type Row = Row;

    fn configure(open: &mut OpenPrograms, config: &Config, sizes: &Sizes) -> Result<(), Error> {
        let len = Tables::<RawAssoc, RawStream>::configure(open, config, sizes)?;
        if !config.gathers_more() {
            open.leave_out("jitter_x_");
            return Ok(());
        }
        open.settings.wants |= WANT_EXTENDED;
        open.resize("hists", len)?;
        open.resize("earlier", if config.intervals { len } else { 1 })
    }

    fn new(object: &Object, settings: &Settings, config: &Config) -> Result<Self, Error> {
        Ok(Self {
            tables: Tables::new(object, settings, config)?,
            hists: if config.gathers_more() { Some(Hists::new(object)?) } else { None },
            histograms: config.histograms,
        })
    }

    fn decode(&mut self, _: &[u8; 0]) {}

    fn interval(&mut self, moment: Moment) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        let Self { tables, hists, .. } = self;
        let streams = tables.interval(moment)?;
        Ok(streams.filter_map(move |found| interval_row(hists.as_mut(), &found, moment).transpose()))
    }

    fn totals(
        &mut self,
        due: Due,
        moment: Moment,
    ) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        let Self { tables, hists, histograms } = self;
        Ok(tables.due(due, moment)?.map(|found| {
            let stats = &found.stream.stats;
            let hist = hists.as_ref().map(|hists| hists.read(stats.hist)).transpose()?;
            Ok(Row {
                association: found.association.clone(),
                stream_id: found.stream.sid,
                chunks: arrivals(&stats.chunk, hist.as_ref()),
                histogram: hist.as_ref().filter(|_| *histograms).map(|counts| Histogram::of(counts, 1000)),
                messages: arrivals(&stats.message, None),
                reordered: stats.reordered,
            })
        }))
    }

    fn changed(&mut self, moment: Moment) -> Result<impl Iterator<Item = Result<Change<Row>, Error>>, Error> {
        let Self { tables, hists, .. } = self;
        Ok(tables.changed(moment, |_, _| false)?.map(|found| {
            let stats = &found.stream.stats;
            let hist = hists.as_ref().map(|hists| hists.read_raw(stats.hist)).transpose()?;
            let row = Row {
                association: found.association.clone(),
                stream_id: found.stream.sid,
                chunks: arrivals(&stats.chunk, None),
                histogram: None,
                messages: arrivals(&stats.message, None),
                reordered: stats.reordered,
            };
            Ok(found.change(row, hist.iter().map(|hist| Octaves::of(&hist.chunk)).collect()))
        }))
    }

    fn accounting(&self, counted: &RawAccounting, misses: u64) -> Accounting {
        // Where TSNs were skipped or begun anew, the map of TSNs does not show how many chunks came.
        let unseen = (counted.uncounted == 0).then_some(counted.unseen);
        Accounting { unseen, ..self.tables.accounting(counted, misses) }
    }
}

/// The statistics of a stream in the interval that has just ended; `None` if no chunk arrived in it.
fn interval_row(
    hists: Option<&mut Hists>,
    found: &Found<RawAssoc, RawStream>,
    moment: Moment,
) -> Result<Option<Row>, Error> {
    let stats = &found.stream.stats;
    let window = &stats.window[(moment.interval & 1) as usize];
    if window.epoch != moment.interval || window.chunks == 0 {
        return Ok(None);
    }
    let hist = hists.map(|hists| hists.since_last(&found.place, stats.hist)).transpose()?;
    Ok(Some(Row {
        association: found.association.clone(),
        stream_id: found.stream.sid,
        chunks: Arrivals {
            count: window.chunks,
            interval: DurationDist::new(&window.chunk, hist.as_ref()),
            ..arrivals(&stats.chunk, None)
        },
        histogram: None,
        messages: Arrivals {
            count: window.messages,
            interval: DurationDist::new::<u64>(&window.message, None),
            ..arrivals(&stats.message, None)
        },
        reordered: window.reordered,
    }))
}

/// Histograms of streams. They are read by system calls: mapped, all of them would count as memory of this
/// process.
pub(crate) struct Hists {
    hists: MapHandle,
    /// The map `wraps`: how often each bucket has wrapped. Only buckets that have wrapped are in it.
    wraps: MapHandle,
    /// The map `earlier`: the histogram of each stream, as it stood when the stream's last interval was
    /// handed out.
    baseline: MapHandle,
    /// How often each bucket had wrapped when its stream's last interval was handed out. Only buckets that
    /// had wrapped are in it.
    baseline_wraps: BTreeMap<WrapKey, u32>,
}

impl Hists {
    fn new(object: &Object) -> Result<Self, Error> {
        Ok(Self {
            hists: map(object, "hists")?,
            wraps: map(object, "wraps")?,
            baseline: map(object, "earlier")?,
            baseline_wraps: BTreeMap::new(),
        })
    }

    /// A stream's histogram since the start, as the kernel side has it: with counts of 32 bits that wrap.
    fn read_raw(&self, index: u32) -> Result<RawHist, Error> {
        let mut bytes = [0; size_of::<RawHist>()];
        self.hists.lookup_into(&index.to_ne_bytes(), &mut bytes, MapFlags::ANY)?;
        RawHist::read_from_bytes(&bytes).map_err(|_| malformed())
    }

    /// How often each bucket of a histogram has wrapped.
    fn wraps(&self, index: u32, hist: &RawHist) -> Result<[u32; BUCKETS], Error> {
        let mut wraps = [0; BUCKETS];
        if hist.wraps > 0 {
            for (bucket, wraps) in (0..).zip(&mut wraps) {
                let key = WrapKey { hist: index, bucket };
                if let Some(bytes) = self.wraps.lookup(key.as_bytes(), MapFlags::ANY)? {
                    *wraps = u32::read_from_bytes(&bytes).map_err(|_| malformed())?;
                }
            }
        }
        Ok(wraps)
    }

    /// A stream's counts since the start, in 64 bits.
    fn read(&self, index: u32) -> Result<Counts, Error> {
        let hist = self.read_raw(index)?;
        Ok(whole(&hist.chunk, &self.wraps(index, &hist)?))
    }

    /// A stream's counts since the last interval in which a chunk of it arrived. Keeps the present counts for
    /// the next call.
    fn since_last(&mut self, place: &Place, index: u32) -> Result<Counts, Error> {
        let hist = self.read_raw(index)?;
        let (_, generation, sid) = place.key;
        let now = RawBaseline { made: place.made, generation, sid: sid.into(), hist };
        let key = place.index.to_ne_bytes();
        let mut bytes = [0; size_of::<RawBaseline>()];
        self.baseline.lookup_into(&key, &mut bytes, MapFlags::ANY)?;
        let before = RawBaseline::read_from_bytes(&bytes).map_err(|_| malformed())?;
        self.baseline.update(&key, now.as_bytes(), MapFlags::ANY)?;
        let wraps = self.wraps(index, &hist)?;
        let mut wraps_before = [0; BUCKETS];
        if hist.wraps > 0 || !self.baseline_wraps.is_empty() {
            for ((bucket, wraps), before) in (0..).zip(wraps).zip(&mut wraps_before) {
                let key = WrapKey { hist: index, bucket };
                let was = match wraps {
                    0 => self.baseline_wraps.remove(&key),
                    _ => self.baseline_wraps.insert(key, wraps),
                };
                *before = was.unwrap_or(0);
            }
        }
        let counts = whole(&hist.chunk, &wraps);
        if (before.made, before.generation, before.sid) != (now.made, now.generation, now.sid) {
            return Ok(counts);
        }
        Ok(difference(&counts, &whole(&before.hist.chunk, &wraps_before)))
    }
}

/// Counts of 64 bits: the lower 32 are in `low`, as the kernel side keeps them; the upper are in `wraps`, how
/// often each of those has wrapped.
fn whole(low: &Hist, wraps: &[u32; BUCKETS]) -> Counts {
    array::from_fn(|bucket| u64::from(wraps[bucket]) << 32 | u64::from(low[bucket]))
}

fn difference(now: &Counts, before: &Counts) -> Counts {
    array::from_fn(|bucket| now[bucket].saturating_sub(before[bucket]))
}

fn arrivals(arrivals: &RawArrivals, hist: Option<&Counts>) -> Arrivals {
    Arrivals {
        count: arrivals.interval.count.saturating_add(u64::from(arrivals.last_ns != 0)),
        interval: DurationDist::new(&arrivals.interval, hist),
        jitter: (arrivals.interval.count > 1).then(|| unscale(arrivals.jitter16_ns)),
    }
}

/// The jitter, rounded to nanoseconds: the kernel side keeps 16 times its value.
fn unscale(jitter16_ns: u64) -> Duration {
    Duration::from_nanos(jitter16_ns.saturating_add(8) / 16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Computes the jitter as the kernel side's `arrive()` does.
    fn fixed_point(intervals: &[u64]) -> Duration {
        let mut jitter16 = 0_u64;
        for pair in intervals.windows(2) {
            jitter16 = jitter16.wrapping_add(pair[1].abs_diff(pair[0]).wrapping_sub((jitter16 + 8) >> 4));
        }
        unscale(jitter16)
    }

    fn reference_ns(intervals: &[u64]) -> f64 {
        intervals.windows(2).fold(0.0, |j, pair| j + (pair[1].abs_diff(pair[0]) as f64 - j) / 16.0)
    }

    #[test]
    fn counts_that_wrapped_are_whole() {
        let (mut low, mut wraps) = ([0; BUCKETS], [0; BUCKETS]);
        (low[3], wraps[3], low[5]) = (7, 2, u32::MAX);
        let now = whole(&low, &wraps);
        assert_eq!(
            (now[3], now[5], now.iter().filter(|count| **count > 0).count()),
            ((2 << 32) + 7, u32::MAX.into(), 2)
        );
        (low[3], wraps[3]) = (u32::MAX, 0);
        assert_eq!(difference(&now, &whole(&low, &wraps))[3], (1 << 32) + 8);
    }

    #[test]
    fn a_steady_stream_has_no_jitter() {
        assert_eq!(fixed_point(&[20_000_000; 100]), Duration::ZERO);
    }

    #[test]
    fn a_constant_difference_is_the_jitter() {
        let alternating: Vec<u64> = (0..1000).map(|n| 1_000_000 + n % 2 * 50_000).collect();
        assert!(fixed_point(&alternating).abs_diff(Duration::from_micros(50)) < Duration::from_nanos(100));
    }

    proptest! {
        #[test]
        fn fixed_point_is_within_a_tenth_of_a_microsecond(
            intervals in prop::collection::vec(0_u64..100_000_000_000, 0..2000),
        ) {
            let error = fixed_point(&intervals).as_nanos() as f64 - reference_ns(&intervals);
            prop_assert!(error.abs() < 100.0, "{error} ns");
        }
    }
}
