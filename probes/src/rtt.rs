//! Round-trip times of DATA chunks (`rtt.bpf.c`): from a chunk's first transmission to the SACK that first covers its
//! TSN, cumulatively or by a gap block. Chunks ever retransmitted give no sample (Karn's algorithm, RFC 9260 6.3.1 C5).

use std::{
    mem::{MaybeUninit, offset_of},
    os::fd::AsFd,
    time::Duration,
};

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};

use crate::{
    Error, Filter, Identity, Rung,
    assoc::set_filter,
    attach::{Links, attach_loaded, choose_rung, leave_out, malformed, name_module},
    dist::dist,
    entries::{Earlier, Entries, Entry, EntryRef, entries, entry_probe, plain_statistics},
    hist::{BUCKETS, Histogram, each},
    pod,
    ring::Ring,
    table, wants,
};

#[allow(missing_docs, clippy::all, clippy::absolute_paths, clippy::wildcard_imports, unused_qualifications)]
#[allow(clippy::undocumented_unsafe_blocks, dead_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/rtt.skel.rs"));
}
pub use crate::dist::Dist;
use skel::{RttSkel, RttSkelBuilder, types};

entries!(types);

/// The most that [`Config::max_paths`] may be.
pub const MAX_PATHS: u32 = table::most::<types::entry>();
/// The most that [`Config::max_outstanding`] may be.
pub const MAX_OUTSTANDING: u32 = SET_SLOTS * table::most::<types::set>();

/// Slots of a set of `inflight` (`SET_SLOTS`).
const SET_SLOTS: u32 = 4;
/// Bytes of the ring buffer: 20,000 samples.
const RING_BYTES: u32 = 1 << 20;

/// What to trace, and how much room to take for it. All memory is taken at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose samples.
    pub filter: Filter,
    /// Hand out every sample, not only statistics.
    pub samples: bool,
    /// Keep statistics of each interval as well, for [`Rtt::interval`].
    pub intervals: bool,
    /// Keep histograms, and tell prompt samples apart.
    pub extended: bool,
    /// Paths that fit (rounded up to a power of two); more evict the one that was silent longest.
    pub max_paths: u32,
    /// Chunks sent and not yet acknowledged that fit, over all associations (rounded up likewise).
    pub max_outstanding: u32,
    /// Only this rung of the ladder; `None`: the best that works.
    pub rung: Option<Rung>,
}

/// One chunk's round trip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When its SACK was processed, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// Time from its (only) transmission to that.
    pub rtt: Duration,
    /// Association id.
    pub assoc_id: u32,
    /// TSN.
    pub tsn: u32,
    /// The path it was sent on, for [`Rtt::identity`].
    pub path: EntryRef,
    /// The SACK was due at once (see [`Stats::prompt`]).
    pub prompt: bool,
}

/// Statistics of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Whose.
    pub id: Identity,
    /// DATA chunks retransmitted on this path, which gave no sample.
    pub retransmitted: u64,
    /// Acknowledgement latency of every chunk: path plus the delay of its SACK, up to 200 ms by RFC 9260 6.2.
    pub all: Dist,
    /// Of those, the ones whose SACK was due at once: chunks of the last of an even number of newly acknowledged
    /// packets, of the last packet before a SACK with a gap block, or with the I-bit (RFC 9260 6.2, 6.7, 3.3.1). This
    /// is the round-trip time of the path.
    pub prompt: Dist,
    /// Of `all`, in microseconds; only if [`Config::extended`].
    pub histogram: Option<Histogram>,
}

/// What gave samples, what gave none, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// All samples.
    pub samples: u64,
    /// Samples that did not fit into the ring buffer; statistics have them all the same.
    pub lost: u64,
    /// Outstanding chunks whose place was taken by newer ones.
    pub chunks_evicted: u64,
    /// Associations whose place was taken by newer ones while they lived: their outstanding chunks gave no sample.
    pub assocs_evicted: u64,
    /// Paths whose place was taken by newer ones.
    pub paths_evicted: u64,
    /// Samples that are missing in the statistics for that.
    pub samples_evicted: u64,
    /// Transmissions of chunks that had been sent before (Karn's algorithm).
    pub retransmitted: u64,
    /// Chunks sent before the trace began.
    pub before_start: u64,
    /// Chunks left out because one SACK covered more than 8,192 of them, or had gap blocks for as many.
    pub scan_limit: u64,
    /// Chunks given up by PR-SCTP (RFC 3758): acknowledged by FORWARD TSN, if at all.
    pub abandoned: u64,
    /// Chunks acknowledged by a SACK at which the kernel did not run the program: samples would be late.
    pub sack_missed: u64,
}

/// A running trace.
pub struct Rtt {
    // Declared, and so dropped, in this order: no event comes from a detached program.
    links: Links,
    ring: Option<Ring<Sample>>,
    paths: Entries<types::entry>,
    skel: RttSkel<'static>,
    extended: bool,
    earlier: Option<Earlier>,
}

entry_probe!(Rtt, types, paths, Config, Sample, 2);
plain_statistics!(Rtt, paths);

impl Rtt {
    fn open_on(rung: Rung, config: &Config) -> Result<Self, Error> {
        let max_paths = config.max_paths.max(8).next_power_of_two();
        let sets = config.max_outstanding.div_ceil(SET_SLOTS).max(8).next_power_of_two();
        // The skeleton borrows its object; one per process and run, so it may stay until exit.
        let object = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = RttSkelBuilder::default().open(object)?;

        choose_rung(open.open_object_mut(), rung);
        set_filter!(open, &config.filter, rung)?;
        // Which path and packet a chunk is in is only told by the costlier hook.
        let exact = config.extended || config.filter.addr.is_some();
        leave_out(open.open_object_mut(), if exact { "rtt_assign" } else { "rtt_append" });
        let rodata = open.maps.rodata_data.as_deref_mut().ok_or_else(malformed)?;
        rodata.wants = wants::bits(&[
            (wants::EVENTS, config.samples),
            (wants::WINDOWS, config.intervals),
            (wants::EXTENDED, config.extended),
        ]);
        rodata.assoc_mask = max_paths - 1;
        rodata.entry_mask = max_paths - 1;
        rodata.set_mask = sets - 1;
        let max_hists = if config.extended { max_paths } else { 1 };
        table::make::<types::set>(&mut open.maps.bss_inflight, sets)?;
        table::make::<types::assoc>(&mut open.maps.bss_assocs, max_paths)?;
        table::make::<types::entry>(&mut open.maps.bss_entries, max_paths)?;
        open.maps.hists.set_max_entries(max_hists)?;
        if config.samples {
            open.maps.events.set_max_entries(RING_BYTES)?;
        }
        open.maps.frames.set_autocreate(rung == Rung::Kprobe)?;
        name_module(open.open_object_mut())?;
        let skel = open.load()?;
        let links = attach_loaded(skel.object())?;
        let ring = config.samples.then(|| Ring::new(&skel.maps.events, decode)).transpose()?;
        Ok(Self {
            links,
            ring,
            paths: Entries::new(&skel.maps.bss_entries.as_fd(), max_paths)?,
            skel,
            extended: config.extended,
            earlier: (config.extended && config.intervals).then(|| Earlier::new(max_paths, 2 * BUCKETS)),
        })
    }

    /// The books so far.
    #[must_use]
    pub fn accounting(&self) -> Accounting {
        let Some(bss) = self.skel.maps.bss_data.as_deref() else { return Accounting::default() };
        let a = pod::load(&bss.accounting);
        Accounting {
            samples: self.paths.sum(&[offset_of!(types::entry, stats.all.count)]) + a.samples_evicted,
            lost: a.lost,
            chunks_evicted: a.slots_evicted,
            assocs_evicted: a.assocs_evicted,
            paths_evicted: a.paths_evicted,
            samples_evicted: a.samples_evicted,
            retransmitted: a.retransmitted,
            before_start: a.before_start,
            scan_limit: a.scan_limit,
            abandoned: a.abandoned,
            sack_missed: a.sack_missed,
        }
    }

    fn stats(
        &self,
        _: EntryRef,
        path: &types::entry,
        of: &types::stats,
        hist: Option<&[[u32; BUCKETS]]>,
    ) -> Stats {
        stats(path.identity(), of, hist)
    }
}

fn is_idle(stats: &types::stats) -> bool {
    stats.all.count == 0 && stats.retransmitted == 0
}

fn stats(id: Identity, stats: &types::stats, hist: Option<&[[u32; BUCKETS]]>) -> Stats {
    Stats {
        id,
        retransmitted: stats.retransmitted,
        all: dist!(stats.all, hist.map(|h| &h[0])),
        prompt: dist!(stats.prompt, hist.map(|h| &h[1])),
        histogram: hist.map(|h| Histogram::of(&h[0], 1000)),
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(tables: &crate::fuzz::Bytes<'_>) {
    use crate::entries::window;

    let hist: Option<types::hist> = pod::read(tables.rest);
    for (_, path) in tables.entries::<types::entry>().iter().flat_map(Entries::live) {
        for of in [Some(&path.stats), window!(path, 0), window!(path, 1)].into_iter().flatten() {
            stats(path.identity(), of, hist.as_ref().map(|h| each(&h.counts)));
        }
    }
}

/// A record of the ring buffer; `None` where it is too short.
pub(crate) fn decode(bytes: &[u8]) -> Option<Sample> {
    let event: types::event = pod::read(bytes)?;
    Some(Sample {
        at: Duration::from_nanos(event.time_ns),
        rtt: Duration::from_nanos(event.rtt_ns),
        assoc_id: event.assoc_id,
        tsn: event.tsn,
        path: EntryRef { index: event.path, uid: event.path_uid },
        prompt: event.prompt != 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_decode_or_do_not(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(&bytes).is_some(), bytes.len() >= size_of::<types::event>());
        }

        #[test]
        fn a_record_comes_back(at: u64, rtt: u64, assoc_id: u32, tsn: u32, index: u32, uid: u32, prompt: bool) {
            let mut bytes = Vec::new();
            bytes.extend(at.to_ne_bytes());
            bytes.extend(rtt.to_ne_bytes());
            for word in [assoc_id, tsn, index, uid, u32::from(prompt), 0] {
                bytes.extend(word.to_ne_bytes());
            }
            let sample = Sample {
                at: Duration::from_nanos(at),
                rtt: Duration::from_nanos(rtt),
                assoc_id,
                tsn,
                path: EntryRef { index, uid },
                prompt,
            };
            prop_assert_eq!(decode(&bytes), Some(sample));
        }
    }
}
