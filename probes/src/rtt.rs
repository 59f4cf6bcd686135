//! Round-trip times of DATA chunks (`rtt.bpf.c`): from a chunk's first transmission to the SACK that first covers its
//! TSN, cumulatively or by a gap block. Chunks ever retransmitted give no sample (Karn's algorithm, RFC 9260 6.3.1 C5).

use std::{mem::offset_of, time::Duration};

use libbpf_rs::Object;
use zerocopy::FromBytes;

use crate::{
    Accounting, Config, Due, DurationDist, Error, Histogram, Identity, Skipped,
    accounting::{busy, missed},
    entries::{Entries, EntryRef, Snapshot},
    object::{OpenPrograms, table_map},
    program::{Moment, Program},
    raw::{self, Settings, same_layout},
    table::{self, Table},
    trace::Trace,
};

#[allow(missing_docs, clippy::all, clippy::absolute_paths, clippy::wildcard_imports, unused_qualifications)]
#[allow(clippy::undocumented_unsafe_blocks, dead_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/rtt.skel.rs"));
}
use skel::types;

/// A running trace of round-trip times.
pub type Rtt = Trace<Programs>;

/// Sizes of the tables, each rounded up to a power of two.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Paths that fit; more evict the one that was silent longest.
    pub max_paths: u32,
    /// Chunks sent and not yet acknowledged that fit, over all associations.
    pub max_outstanding: u32,
}

/// The most that [`Sizes::max_paths`] may be.
pub const MAX_PATHS: u32 = Entries::<RawState, RawStats>::MAX;
/// The most that [`Sizes::max_outstanding`] may be.
pub const MAX_OUTSTANDING: u32 = SET_SLOTS * table::max_len::<types::set>();

/// Slots of a set of `inflight` (`SET_SLOTS`).
const SET_SLOTS: u32 = 4;

/// One chunk's round trip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When the kernel processed the chunk's SACK, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// Time from the chunk's only transmission to `at`.
    pub rtt: Duration,
    /// Association id.
    pub assoc_id: u32,
    /// TSN.
    pub tsn: u32,
    /// The path that the chunk was sent on; `None` where the path has made room for another meanwhile.
    pub id: Option<Identity>,
    /// The SACK was due at once (see [`Row::prompt`]).
    pub prompt: bool,
}

/// Statistics of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The path.
    pub id: Identity,
    /// DATA chunks retransmitted on this path, which gave no sample.
    pub retransmitted: u64,
    /// Acknowledgement latency of every chunk: path plus the delay of its SACK, up to 200 ms by RFC 9260 6.2.
    pub all: DurationDist,
    /// Acknowledgement latency of chunks whose SACK was due at once: those of the last of an even number of newly
    /// acknowledged packets, of the last packet before a SACK with a gap block, or with the I-bit (RFC 9260 6.2, 6.7,
    /// 3.3.1), where nothing else can have held the SACK back (`classify_prompt()`). This is the round-trip time of the
    /// path.
    pub prompt: DurationDist,
    /// Histogram of `all`, in microseconds; only if [`Config::extended`] or [`Config::histograms`].
    pub histogram: Option<Histogram>,
}

/// `struct stats` (`rtt.bpf.c`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct RawStats {
    retransmitted: u64,
    all: raw::Dist,
    prompt: raw::Dist,
}

/// `struct state` (`rtt.bpf.c`), which is empty.
pub(crate) type RawState = ();

/// `struct event` (`rtt.bpf.c`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct RawEvent {
    time_ns: u64,
    rtt_ns: u64,
    assoc_id: u32,
    tsn: u32,
    path: u32,
    path_generation: u32,
    prompt: u32,
    pad: u32,
}

/// `struct accounting` (`rtt.bpf.c`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct RawAccounting {
    lost: u64,
    assocs_evicted: u64,
    paths_evicted: u64,
    before_start: u64,
    slots_evicted: u64,
    samples_evicted: u64,
    retransmitted: u64,
    abandoned: u64,
    scan_limit: u64,
    sack_missed: u64,
    ended: u64,
    restarted: u64,
    unseen: u64,
}

/// `struct slot` (`chunks.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawSlot {
    /// Association and TSN; 0 in a free slot.
    key: u64,
    _sent_ns: u64,
    _path: [u32; 2],
    _note: [u32; 2],
}

const _: () = assert!(size_of::<types::set>() == SET_SLOTS as usize * size_of::<RawSlot>());

same_layout!(types;
    @entries;
    RawStats = stats { retransmitted, all, prompt };
    RawEvent = event { time_ns, rtt_ns, assoc_id, tsn, path, path_generation, prompt };
    RawAccounting = accounting {
        lost, assocs_evicted, paths_evicted, before_start, slots_evicted, samples_evicted, retransmitted, abandoned,
        scan_limit, sack_missed, ended, restarted, unseen
    };
);

/// Histograms of an entry (`HISTS`): of all samples, and of the prompt ones.
const HISTS: usize = 2;
const _: () = assert!(size_of::<types::hist>() == HISTS * size_of::<crate::entries::Hist>());

/// The programs of `sctp-rtt`, loaded.
pub struct Programs {
    pub(crate) paths: Entries<RawState, RawStats>,
    pub(crate) inflight: Table<RawSlot>,
}

impl Programs {
    /// Chunks that wait for their SACK.
    fn outstanding(&self) -> u64 {
        let at = offset_of!(RawSlot, key);
        let is_taken = |slot: &usize| self.inflight.word(*slot, at).is_some_and(|key| key != 0);
        (0..self.inflight.len()).filter(is_taken).count() as u64
    }
}

impl Program for Programs {
    const NAME: &'static str = "rtt_bpf";
    const OBJECT: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rtt.o"));

    type Sizes = Sizes;
    type Event = RawEvent;
    type Accounting = RawAccounting;
    type Record = Sample;
    type Row = Row;

    fn configure(open: &mut OpenPrograms, config: &Config, sizes: &Sizes) -> Result<(), Error> {
        // Which path and packet a chunk is in is only known at the costlier hook.
        let exact = config.gathers_more() || config.filter.addr.is_some();
        open.leave_out(if exact { "rtt_assign" } else { "rtt_append" });
        Entries::<RawState, RawStats>::configure(open, config, sizes.max_paths)?;
        open.settings.assoc_mask = open.settings.entry_mask;
        open.make_table::<types::assoc>("assocs", open.settings.assoc_mask + 1)?;
        let sets = sizes.max_outstanding.div_ceil(SET_SLOTS).max(8).next_power_of_two();
        open.settings.set_mask = sets - 1;
        open.make_table::<types::set>("inflight", sets)
    }

    fn new(object: &Object, settings: &Settings, config: &Config) -> Result<Self, Error> {
        let slots = SET_SLOTS * (settings.set_mask + 1);
        Ok(Self {
            paths: Entries::new(object, settings, config, HISTS)?,
            inflight: Table::new(&table_map(object, "inflight")?, slots)?,
        })
    }

    fn decode(&mut self, event: &RawEvent) -> Sample {
        Sample {
            at: Duration::from_nanos(event.time_ns),
            rtt: Duration::from_nanos(event.rtt_ns),
            assoc_id: event.assoc_id,
            tsn: event.tsn,
            id: self.paths.identity(EntryRef { index: event.path, generation: event.path_generation }),
            prompt: event.prompt != 0,
        }
    }

    fn carry(&mut self) -> Result<(), Error> {
        self.paths.carry()
    }

    fn interval(&mut self, moment: Moment) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        Ok(self.paths.interval(moment.interval, is_idle).map(|path| Ok(row(&path?))))
    }

    fn totals(&mut self, due: Due, _: Moment) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        Ok(self.paths.totals(due, |path| is_idle(&path.stats)).map(|path| Ok(row(&path?))))
    }

    fn accounting(&self, counted: &RawAccounting, misses: u64) -> Accounting {
        let skipped = |reason, sentence, count| Skipped { reason, sentence, count };
        Accounting {
            events: self.paths.sum(&[offset_of!(RawStats, all.count)]) + counted.samples_evicted,
            lost: counted.lost,
            evicted: counted.slots_evicted + counted.assocs_evicted + counted.paths_evicted,
            outstanding: Some(self.outstanding()),
            unseen: Some(counted.unseen),
            // Of the chunks sent since tracing began, each gave a sample, or is in one of these (but for `missed`, which
            // were not seen sent, `before_start`, which were sent before, and `busy`), or is outstanding.
            skipped: vec![
                missed(misses),
                skipped(
                    "evicted",
                    "their path had to make room for another: use --max-paths",
                    counted.samples_evicted,
                ),
                skipped(
                    "no_room",
                    "more chunks were outstanding than there is room for: use --max-outstanding",
                    counted.slots_evicted,
                ),
                skipped(
                    "retransmitted",
                    "the chunk was retransmitted, and nothing tells which transmission was acknowledged",
                    counted.retransmitted,
                ),
                skipped("before_start", "the chunk was sent before tracing began", counted.before_start),
                skipped("abandoned", "the chunk was given up (PR-SCTP)", counted.abandoned),
                skipped(
                    "sack_missed",
                    "a SACK or a retransmission was not seen, which may have been of the chunk",
                    counted.sack_missed,
                ),
                skipped("scan_limit", "one SACK covered or named more than 8,192 chunks", counted.scan_limit),
                skipped("ended", "their association ended while they were outstanding", counted.ended),
                skipped(
                    "restarted",
                    "their association began anew while they were outstanding",
                    counted.restarted,
                ),
                busy(self.paths.busy()),
            ],
            ..Accounting::default()
        }
    }
}

fn is_idle(stats: &RawStats) -> bool {
    stats.all.count == 0 && stats.retransmitted == 0
}

fn row(path: &Snapshot<RawState, RawStats>) -> Row {
    Row {
        id: path.id,
        retransmitted: path.stats.retransmitted,
        all: DurationDist::new(&path.stats.all, path.hist(0)),
        prompt: DurationDist::new(&path.stats.prompt, path.hist(1)),
        histogram: path.hist(0).map(|counts| Histogram::of(counts, 1000)),
    }
}
