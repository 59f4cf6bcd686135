//! Round-trip times of DATA chunks (`rtt.bpf.c`): from a chunk's first transmission to the SACK that first covers its
//! TSN, cumulatively or by a gap block. Chunks ever retransmitted give no sample (Karn's algorithm, RFC 9260 6.3.1 C5).

use std::{mem::offset_of, rc::Rc, time::Duration};

use libbpf_rs::Object;
use zerocopy::FromBytes;

use crate::{
    Accounting, Change, Config, Due, DurationDist, Error, Histogram, Identity, Skipped,
    accounting::{busy, missed},
    entries::{Entries, EntryRef, Snapshot},
    object::{OpenPrograms, table_map},
    program::{Moment, Program},
    raw::{self, SET_SLOTS, Settings, Slot, WANT_PATHS, same_layout},
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

/// Sizes of the tables, each rounded up to a power of two, and which samples are records.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Number of paths that fit. A new one beyond that evicts one that has ended, or else the longest silent
    /// of a few.
    pub max_paths: u32,
    /// Number of chunks sent and not yet acknowledged that fit, over all associations.
    pub max_outstanding: u32,
    /// Only samples above this are handed out as records. All are in the statistics.
    pub above: Duration,
}

/// The largest value of [`Sizes::max_paths`].
pub const MAX_PATHS: u32 = Entries::<RawState, RawStats>::MAX;
/// The largest value of [`Sizes::max_outstanding`].
pub const MAX_OUTSTANDING: u32 = SET_SLOTS * table::max_len::<types::set>();

/// A record: the round trip of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When the kernel processed the chunk's SACK, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// Time from the chunk's only transmission to `at`.
    pub rtt: Duration,
    /// Association id.
    pub assoc_id: u32,
    /// TSN of the chunk.
    pub tsn: u32,
    /// Identity of the path that the chunk was sent on; `None` if the path's entry was evicted meanwhile.
    pub id: Option<Rc<Identity>>,
    /// True for a prompt sample: the SACK was due at once (see [`Row::prompt`]).
    pub prompt: bool,
}

/// Statistics of one path. Where neither [`Config::extended`] nor [`Config::histograms`] nor a filter for an
/// address is set, all chunks of an association count on one of its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Identity of the path.
    pub id: Identity,
    /// Retransmissions of DATA chunks on this path. Such chunks give no sample.
    pub retransmitted: u64,
    /// Acknowledgement latency of every sample: the path's round-trip time, and the delay of the SACK, for
    /// which RFC 9260 6.2 recommends 200 ms at most.
    pub all: DurationDist,
    /// Acknowledgement latency of prompt samples, which is the round-trip time of the path itself. These are
    /// chunks of the last packet before a SACK that was due at once: because the number of newly acknowledged
    /// packets was even, the SACK has a gap block, or the packet has the I-bit (RFC 9260 6.2, 6.7, 3.3.1).
    /// Nothing else may have held the SACK back, or caused it (`classify_prompt()`).
    pub prompt: DurationDist,
    /// Histogram of `all`, in microseconds; only if [`Config::extended`] or [`Config::histograms`].
    pub histogram: Option<Histogram>,
}

/// Statistics of a path: `struct stats` of `rtt.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct RawStats {
    retransmitted: u64,
    all: raw::Dist,
    prompt: raw::Dist,
}

/// State of a path, which is empty: `struct state` of `rtt.bpf.c`.
pub(crate) type RawState = ();

/// A sample, as it comes through the ring buffer: `struct event` of `rtt.bpf.c`.
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

/// Numbers of events and entries that the programs lost or left out: `struct accounting` of `rtt.bpf.c`.
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

const _: () = assert!(size_of::<types::set>() == SET_SLOTS as usize * size_of::<Slot>());

same_layout!(types;
    @entries;
    RawStats = stats { retransmitted, all, prompt };
    RawEvent = event { time_ns, rtt_ns, assoc_id, tsn, path, path_generation, prompt };
    RawAccounting = accounting {
        lost, assocs_evicted, paths_evicted, before_start, slots_evicted, samples_evicted, retransmitted, abandoned,
        scan_limit, sack_missed, ended, restarted, unseen
    };
);

/// Number of histograms per entry, `HISTS` of `rtt.bpf.c`: one of all samples, one of the prompt ones.
const HISTS: usize = 2;
const _: () = assert!(size_of::<types::hist>() == HISTS * size_of::<crate::entries::Hist>());

/// The tables of the loaded programs of `sctp-rtt`.
pub struct Programs {
    pub(crate) paths: Entries<RawState, RawStats>,
    pub(crate) inflight: Table<Slot>,
}

impl Programs {
    /// Counts the chunks that wait for their SACK.
    fn outstanding(&self) -> u64 {
        let at = offset_of!(Slot, key);
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
        // Which path a chunk takes costs some loads per chunk.
        if config.gathers_more() || config.filter.addr.is_some() {
            open.settings.wants |= WANT_PATHS;
        }
        Entries::<RawState, RawStats>::configure(open, config, sizes.max_paths)?;
        open.settings.assoc_mask = open.settings.entry_mask;
        open.set_table::<types::assoc>("assocs", open.settings.assoc_mask + 1);
        let sets = sizes.max_outstanding.div_ceil(SET_SLOTS).max(8).next_power_of_two();
        open.settings.set_mask = sets - 1;
        open.settings.above_ns = sizes.above.as_nanos() as u64;
        open.set_table::<types::set>("inflight", sets);
        Ok(())
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

    fn changed(&mut self, _: Moment) -> Result<impl Iterator<Item = Result<Change<Row>, Error>>, Error> {
        Ok(self.paths.changed(&[0, 1], |_, _| false).map(|path| Ok(path?.with(row))))
    }

    fn accounting(&self, counted: &RawAccounting, misses: u64) -> Accounting {
        let skipped = |reason, sentence, count| Skipped { reason, sentence, count };
        Accounting {
            events: self.paths.sum(&[offset_of!(RawStats, all.count)]) + counted.samples_evicted,
            lost: counted.lost,
            evicted: counted.slots_evicted + counted.assocs_evicted + counted.paths_evicted,
            outstanding: Some(self.outstanding()),
            unseen: Some(counted.unseen),
            // Each chunk that was seen sent gave a sample, is outstanding, or is counted by one of these reasons.
            // Three reasons count other things: `missed` the events at which the kernel ran no program,
            // `before_start` the chunks sent before tracing began, `busy` the entries that could not be read.
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
        id: path.id.clone(),
        retransmitted: path.stats.retransmitted,
        all: DurationDist::new(&path.stats.all, path.hist(0)),
        prompt: DurationDist::new(&path.stats.prompt, path.hist(1)),
        histogram: path.hist(0).map(|counts| Histogram::of(counts, 1000)),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write};

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = File::from(memfd_create(c"table", MFdFlags::empty()).unwrap());
        file.write_all(bytes).unwrap();
        file
    }

    /// Chunks that wait are counted from their slots. Chunks whose association ended or began anew have counts of their
    /// own.
    #[test]
    fn each_chunk_without_a_sample_is_in_a_count() {
        let mut slots = vec![0_u8; 4 * size_of::<Slot>()];
        slots[0] = 7;
        slots[2 * size_of::<Slot>()] = 9;
        let paths = file(&vec![0; 8 * size_of::<raw::Entry<RawState, RawStats>>()]);
        let programs = Programs {
            paths: Entries::map(&paths, 8).unwrap(),
            inflight: Table::new(&file(&slots), 4).unwrap(),
        };
        let mut words = [0_u64; size_of::<RawAccounting>() / 8];
        words[offset_of!(RawAccounting, ended) / 8] = 3;
        words[offset_of!(RawAccounting, restarted) / 8] = 4;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let accounting = programs.accounting(&RawAccounting::read_from_bytes(&bytes).unwrap(), 0);
        let skipped = |reason| accounting.skipped.iter().find(|s| s.reason == reason).map(|s| s.count);
        assert_eq!(accounting.outstanding, Some(2));
        assert_eq!((skipped("ended"), skipped("restarted")), (Some(3), Some(4)));
    }
}
