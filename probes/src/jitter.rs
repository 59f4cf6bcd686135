//! Arrival intervals of DATA chunks and their jitter (`jitter.bpf.c`), per association and stream.

use std::{io, mem::MaybeUninit, os::fd::AsFd, time::Duration};

use libbpf_rs::{
    MapCore, MapFlags,
    skel::{OpenSkel, Skel, SkelBuilder},
};

pub use crate::streams::{Accounting, Association, Config};
use crate::{
    Dist, Error, Rung,
    attach::{Links, attach_loaded, climb, malformed, missed, name_module},
    dist::dist,
    hist::{BUCKETS, Histogram},
    pod::{self, Pod},
    streams::{
        Place, StreamProbe, Tables, may_have_events, pool_used, prepare_streams, step_epoch,
        stream_accounting, stream_entries,
    },
    wants,
};

#[allow(missing_docs, clippy::all, clippy::absolute_paths, clippy::wildcard_imports, unused_qualifications)]
#[allow(clippy::undocumented_unsafe_blocks, dead_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/jitter.skel.rs"));
}
use skel::{JitterSkel, JitterSkelBuilder, types};

stream_entries!(types);
// SAFETY: a struct of integers, generated from the C one.
unsafe impl Pod for types::hist {}
// SAFETY: as above.
unsafe impl Pod for types::earlier {}
const _: () = assert!(size_of::<types::hist>() == 4 * BUCKETS);

/// Intervals between arrivals, and how they vary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// How many.
    pub count: u64,
    /// Intervals between them: one less, since the first ends none.
    pub interval: Dist,
    /// J += (|D - Dprev| - J) / 16 over the intervals D since the start; `None` before there are two of them.
    pub jitter: Option<Duration>,
}

/// Statistics of one stream of one association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Whose.
    pub association: Association,
    /// Stream identifier.
    pub stream_id: u16,
    /// Chunks.
    pub chunks: Arrivals,
    /// Of the intervals between them, in microseconds; only in totals, and if [`Config::histograms`].
    pub histogram: Option<Histogram>,
    /// Whole user messages, when the last of their chunks came; only if [`Config::extended`].
    pub messages: Arrivals,
    /// Chunks that came after one of the same association with a higher TSN.
    pub reordered: u64,
}

/// A running trace.
pub struct Jitter {
    // Declared, and so dropped, in this order.
    links: Links,
    tables: Tables<types::assoc, types::stream>,
    rung: Rung,
    skel: JitterSkel<'static>,
    extended: bool,
    histograms: bool,
}

impl Jitter {
    /// Loads and attaches the programs. What may be missing here has been asked before, by [`crate::kernel::can_trace`].
    ///
    /// # Errors
    /// [`Error::Absent`] where too few files may be open, [`Error::Refused`] where the kernel does not accept the
    /// programs on any rung.
    pub fn open(config: &Config) -> Result<Self, Error> {
        climb(config.rung, |rung| Self::open_on(rung, config))
    }

    fn open_on(rung: Rung, config: &Config) -> Result<Self, Error> {
        // The skeleton borrows its object; one per process and run, so it may stay until exit.
        let object = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = JitterSkelBuilder::default().open(object)?;
        let extended = config.extended || config.histograms;
        let len = prepare_streams!(open, config, rung);
        let rodata = open.maps.rodata_data.as_deref_mut().ok_or_else(malformed)?;
        rodata.wants = wants::bits(&[(wants::WINDOWS, config.intervals), (wants::EXTENDED, extended)]);
        open.maps.hists.set_max_entries(if extended { len } else { 1 })?;
        open.maps.earlier.set_max_entries(if extended && config.intervals { len } else { 1 })?;
        if !extended {
            open.progs.jitter_reassembled.set_autoload(false);
            open.progs.jitter_reassembled_kprobe.set_autoload(false);
        }
        name_module(open.open_object_mut())?;
        let skel = open.load()?;
        Ok(Self {
            links: attach_loaded(skel.object())?,
            tables: Tables::new(&skel.maps.bss_assocs.as_fd(), &skel.maps.bss_streams.as_fd(), len)?,
            skel,
            rung,
            extended,
            histograms: config.histograms,
        })
    }

    /// Statistics since the start, of every stream of those associations that are due, by the interval in which they ended:
    /// `None` while they live.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    pub fn totals(
        &mut self,
        is_due: impl Fn(Option<u32>) -> bool,
    ) -> Result<impl Iterator<Item = Result<Stats, Error>>, Error> {
        let due = self.sort(is_due)?;
        Ok((0..due).filter_map(|n| self.tables.get(n)).map(|(_, association, _, stream)| {
            let hist = self.hist(stream.stats.hist)?;
            Ok(Stats {
                association,
                stream_id: stream.sid,
                chunks: arrivals(&stream.stats.chunk, hist.as_ref()),
                histogram: hist.as_ref().filter(|_| self.histograms).map(|h| Histogram::of(h, 1000)),
                messages: arrivals(&stream.stats.message, None),
                reordered: stream.stats.reordered,
            })
        }))
    }

    fn sort(&mut self, is_due: impl Fn(Option<u32>) -> bool) -> io::Result<usize> {
        self.tables.sort(&self.skel.maps.bss_streams.as_fd(), pool_used!(self.skel), is_due)
    }

    /// Statistics of the interval with this number, which [`Jitter::step`] has just ended, of every stream on which
    /// something came. Needs [`Config::intervals`].
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    pub fn interval(&mut self, number: u32) -> Result<impl Iterator<Item = Result<Stats, Error>>, Error> {
        let all = self.sort(|ended| may_have_events(ended, number))?;
        Ok((0..all).filter_map(move |n| {
            let (place, association, _, stream) = self.tables.get(n)?;
            let window = stream.stats.window[(number & 1) as usize];
            if window.epoch != number || window.chunks == 0 {
                return None;
            }
            let hist = self.hist(stream.stats.hist).transpose();
            let hist = hist.map(|h| h.and_then(|h| self.since(&place, h))).transpose();
            Some(hist.map(|hist| Stats {
                association,
                stream_id: stream.sid,
                chunks: Arrivals {
                    count: window.chunks.into(),
                    interval: dist!(window.chunk, hist.as_ref()),
                    ..arrivals(&stream.stats.chunk, None)
                },
                histogram: None,
                messages: Arrivals {
                    count: window.messages.into(),
                    interval: dist!(window.message, None),
                    ..arrivals(&stream.stats.message, None)
                },
                reordered: window.reordered.into(),
            }))
        }))
    }

    /// What a histogram got since the last interval in which it got something; as it stands now is kept for the next.
    fn since(&self, place: &Place, mut hist: [u32; BUCKETS]) -> Result<[u32; BUCKETS], Error> {
        let index = place.index.to_ne_bytes();
        let (assoc_id, uid, sid) = place.key;
        let mut bytes = [0; size_of::<types::earlier>()];
        self.skel.maps.earlier.lookup_into(&index, &mut bytes, MapFlags::ANY)?;
        let earlier: types::earlier = pod::read(&bytes).ok_or_else(malformed)?;
        let words = [assoc_id, uid, sid.into()].into_iter().chain(hist);
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_ne_bytes();
        }
        self.skel.maps.earlier.update(&index, &bytes, MapFlags::ANY)?;
        if (earlier.assoc_id, earlier.uid, earlier.sid) == (assoc_id, uid, sid.into()) {
            for (count, before) in hist.iter_mut().zip(earlier.hist.chunk) {
                *count = count.wrapping_sub(before);
            }
        }
        Ok(hist)
    }

    /// Of twins of fentry one at least is run; kprobes have none.
    fn missed(&self) -> u64 {
        if self.rung == Rung::Kprobe { self.links.missed() + missed(self.skel.object()) } else { 0 }
    }

    /// The histogram of a stream; `None` unless extended. Read by a system call, as mapped they would all count as memory
    /// of this process.
    fn hist(&self, index: u32) -> Result<Option<[u32; BUCKETS]>, Error> {
        if !self.extended {
            return Ok(None);
        }
        let mut bytes = [0; size_of::<types::hist>()];
        self.skel.maps.hists.lookup_into(&index.to_ne_bytes(), &mut bytes, MapFlags::ANY)?;
        Ok(pod::read::<types::hist>(&bytes).map(|h| h.chunk))
    }
}

impl StreamProbe for Jitter {
    fn step(&mut self) -> u32 {
        step_epoch!(self.skel)
    }

    fn detach(&mut self) {
        self.links.detach();
    }

    fn accounting(&self) -> Accounting {
        Accounting { missed: self.missed(), ..stream_accounting!(self.skel, self.tables) }
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(tables: &crate::fuzz::Bytes<'_>) {
    let hist = pod::read::<types::hist>(tables.rest).map(|h| h.chunk);
    tables.streams::<types::assoc, types::stream>(|_, _, stream| {
        arrivals(&stream.stats.chunk, hist.as_ref());
        arrivals(&stream.stats.message, None);
    });
}

fn arrivals(arrivals: &types::arrivals, hist: Option<&[u32; BUCKETS]>) -> Arrivals {
    Arrivals {
        count: arrivals.interval.count.saturating_add(u64::from(arrivals.last_ns != 0)),
        interval: dist!(arrivals.interval, hist),
        jitter: (arrivals.interval.count > 1).then(|| unscale(arrivals.jitter16_ns)),
    }
}

/// The estimate from its 16-fold.
fn unscale(jitter16_ns: u64) -> Duration {
    Duration::from_nanos(jitter16_ns.saturating_add(8) / 16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `arrive()` of the kernel side, word for word.
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
