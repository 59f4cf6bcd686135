//! Retransmission timeouts of paths (`rto.bpf.c`): every update, with the values after it.

use std::{mem::offset_of, time::Duration};

use libbpf_rs::Object;
use zerocopy::FromBytes;

use crate::{
    Accounting, Config, Due, DurationDist, Error, Histogram, Identity, Skipped,
    accounting::{busy, missed},
    entries::{Entries, EntryRef, Snapshot},
    object::OpenPrograms,
    program::{Moment, Program},
    raw::{self, Settings, same_layout},
    table,
    trace::Trace,
};

#[allow(missing_docs, clippy::all, clippy::absolute_paths, clippy::wildcard_imports, unused_qualifications)]
#[allow(clippy::undocumented_unsafe_blocks, dead_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/rto.skel.rs"));
}
use skel::types;

/// A running trace of retransmission timeouts.
pub type Rto = Trace<Programs>;

/// Sizes of the tables, each rounded up to a power of two.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Paths that fit; more evict the one that was silent longest.
    pub max_paths: u32,
    /// Retransmitted chunks not yet acknowledged that fit, over all associations.
    pub max_retransmitted: u32,
}

/// The most that [`Sizes::max_paths`] may be.
pub const MAX_PATHS: u32 = Entries::<RawState, RawStats>::MAX;
/// The most that [`Sizes::max_retransmitted`] may be.
pub const MAX_RETRANSMITTED: u32 = SET_SLOTS * table::max_len::<types::set>();

/// Slots of a set of `inflight` (`SET_SLOTS`).
const SET_SLOTS: u32 = 4;

/// Why there is an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A round-trip time was measured with data.
    Rtt {
        /// The round-trip time.
        rtt: Duration,
    },
    /// A HEARTBEAT was acknowledged.
    Heartbeat {
        /// The round-trip time.
        rtt: Duration,
    },
    /// The T3-rtx timer expired.
    T3 {
        /// RTO before the update.
        old_rto: Duration,
    },
    /// A HEARTBEAT was not acknowledged before the next one was due.
    HeartbeatTimeout {
        /// RTO before the update.
        old_rto: Duration,
    },
    /// The path changed its state; no update of its RTO.
    State {
        /// State before the change.
        old: PathState,
    },
    /// The path became the primary one; no update of its RTO.
    Primary,
    /// The T2-shutdown timer expired: SHUTDOWN or SHUTDOWN ACK, sent on this path, was not answered.
    T2 {
        /// RTO before the update.
        old_rto: Duration,
    },
}

/// State of a path that was removed (`PATH_REMOVED`): not one of the kernel's.
const REMOVED: u8 = 255;

/// `enum sctp_spinfo_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// Errors have reached their limit.
    Inactive,
    /// Potentially failed (RFC 7829).
    PotentiallyFailed,
    /// In use, or ready for it.
    Active,
    /// The peer has not confirmed the address yet.
    Unconfirmed,
    /// The address was taken away, and no longer belongs to the association (RFC 5061).
    Removed,
    /// Something newer.
    Unknown,
}

impl PathState {
    fn of(state: u8) -> Self {
        match state {
            0 => Self::Inactive,
            1 => Self::PotentiallyFailed,
            2 => Self::Active,
            3 => Self::Unconfirmed,
            REMOVED => Self::Removed,
            _ => Self::Unknown,
        }
    }

    /// The state as one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::PotentiallyFailed => "pf",
            Self::Active => "active",
            Self::Unconfirmed => "unconfirmed",
            Self::Removed => "removed",
            Self::Unknown => "unknown",
        }
    }
}

/// A path's RTO, SRTT, RTTVAR and error count, as `struct sctp_transport` has them; and [`More`], if extended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    /// Retransmission timeout.
    pub rto: Duration,
    /// Smoothed round-trip time.
    pub srtt: Duration,
    /// Variation of the round-trip time.
    pub rttvar: Duration,
    /// Errors in a row.
    pub error_count: u16,
    /// Congestion control and state; `None` unless extended.
    pub more: Option<More>,
}

/// Congestion control, MTU, state and limit of errors of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct More {
    /// Errors in a row that make the path inactive when exceeded.
    pub error_limit: u16,
    /// Congestion window, in bytes.
    pub cwnd_bytes: u32,
    /// Slow start threshold, in bytes.
    pub ssthresh_bytes: u32,
    /// Data sent on this path and not acknowledged, in bytes.
    pub flight_bytes: u32,
    /// Path MTU, in bytes.
    pub pmtu_bytes: u32,
    /// State of the path.
    pub state: PathState,
    /// Is it the primary path?
    pub primary: bool,
}

/// A record: one event of a path ([`Cause`]), and the path's values after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Time of the update, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// Association id.
    pub assoc_id: u32,
    /// Number of the path, in the order of appearance.
    pub transport_id: u32,
    /// The path; `None` where the path has made room for another meanwhile.
    pub id: Option<Identity>,
    /// Why there is an update.
    pub cause: Cause,
    /// Values of the path after the update.
    pub values: Values,
}

/// Statistics of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Number of the path, in the order of appearance.
    pub transport_id: u32,
    /// The path.
    pub id: Identity,
    /// RTO after each update ([`Cause::Rtt`], [`Cause::Heartbeat`], [`Cause::T3`]).
    pub rto: DurationDist,
    /// Histogram of `rto`, in milliseconds; only if [`Config::extended`] or [`Config::histograms`].
    pub histogram: Option<Histogram>,
    /// SRTT after each update.
    pub srtt: DurationDist,
    /// RTTVAR after each update.
    pub rttvar: DurationDist,
    /// T3-rtx expiries.
    pub t3_expiries: u64,
    /// Unanswered HEARTBEATs; 0 unless extended, as all that follow.
    pub heartbeat_timeouts: u64,
    /// Times that data of this path was marked for retransmission by its T3-rtx timer (or as soon as an unconfirmed path
    /// was confirmed).
    pub t3_retransmits: u64,
    /// Times that data of this path was marked for retransmission by missing reports.
    pub fast_retransmits: u64,
    /// Times that data of this path was marked for retransmission because the path MTU had become smaller.
    pub pmtud_retransmits: u64,
    /// Chunks sent again on this path.
    pub rtx_chunks: u64,
    /// Retransmissions, on whatever path, of chunks that this path carried before; the next three are of the same
    /// chunks.
    pub rtx_for_path: u64,
    /// Retransmissions that the peer has named as duplicates (RFC 9260 3.3.4): it had the chunk already.
    pub spurious: u64,
    /// How often the peer has named a chunk that was sent again as a duplicate. More often than `spurious` where the
    /// network duplicates packets.
    pub dup_tsns: u64,
    /// Chunks acknowledged sooner after they were sent again than the path can answer: the peer had them already, or
    /// the path has become quicker.
    pub early_acks: u64,
    /// Values of the path after its last event.
    pub last: Values,
}

/// `struct stats` (`rto.bpf.c`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct RawStats {
    rto: raw::Dist,
    srtt: raw::Dist,
    rttvar: raw::Dist,
    t3_expiries: u64,
    heartbeat_timeouts: u64,
    t3_retransmits: u64,
    fast_retransmits: u64,
    pmtud_retransmits: u64,
    rtx_chunks: u64,
    rtx_for_path: u64,
    spurious: u64,
    dup_tsns: u64,
    early_acks: u64,
}

/// `struct values`; times in jiffies.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawValues {
    rto: u32,
    srtt: u32,
    rttvar: u32,
    rtt: u32,
    cwnd: u32,
    ssthresh: u32,
    flight: u32,
    pmtu: u32,
    error_count: u16,
    error_limit: u16,
    path_state: u8,
    primary: u8,
    pad: u16,
}

/// `struct state` (`rto.bpf.c`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawState {
    last: RawValues,
    pad: u32,
    made_ns: u64,
    min_rtt: RawMinRtt,
}

/// `struct min_rtt` (`rto.bpf.c`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawMinRtt {
    since_ns: u64,
    ns: u64,
    before_ns: u64,
}

/// `struct event` (`rto.bpf.c`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct RawEvent {
    time_ns: u64,
    assoc_id: u32,
    path: u32,
    path_generation: u32,
    cause: u8,
    old_state: u8,
    pad: u16,
    /// In jiffies.
    old_rto: u32,
    values: RawValues,
}

/// `struct accounting` (`rto.bpf.c`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct RawAccounting {
    lost: u64,
    paths_evicted: u64,
    updates_evicted: u64,
    assocs_evicted: u64,
    chunks_evicted: u64,
    scan_limit: u64,
}

same_layout!(types;
    @entries;
    RawStats = stats {
        rto, srtt, rttvar, t3_expiries, heartbeat_timeouts, t3_retransmits, fast_retransmits, pmtud_retransmits,
        rtx_chunks, rtx_for_path, spurious, dup_tsns, early_acks
    };
    RawValues = values {
        rto, srtt, rttvar, rtt, cwnd, ssthresh, flight, pmtu, error_count, error_limit, path_state, primary
    };
    RawState = state { last, made_ns, min_rtt };
    RawMinRtt = min_rtt { since_ns, ns, before_ns };
    RawEvent = event { time_ns, assoc_id, path, path_generation, cause, old_state, old_rto, values };
    RawAccounting = accounting {
        lost, paths_evicted, updates_evicted, assocs_evicted, chunks_evicted, scan_limit
    };
);

/// Histograms of an entry (`HISTS`): of RTO and SRTT.
const HISTS: usize = 2;
const _: () = assert!(size_of::<types::hist>() == HISTS * size_of::<crate::entries::Hist>());

/// The programs of `sctp-rto`, loaded.
pub struct Programs {
    pub(crate) paths: Entries<RawState, RawStats>,
    pub(crate) units: Units,
}

impl Program for Programs {
    const NAME: &'static str = "rto_bpf";
    const OBJECT: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rto.o"));

    type Sizes = Sizes;
    type Event = RawEvent;
    type Accounting = RawAccounting;
    type Record = Update;
    type Row = Row;

    fn configure(open: &mut OpenPrograms, config: &Config, sizes: &Sizes) -> Result<(), Error> {
        Entries::<RawState, RawStats>::configure(open, config, sizes.max_paths)?;
        let sets = sizes.max_retransmitted.div_ceil(SET_SLOTS).max(8).next_power_of_two();
        open.settings.set_mask = sets - 1;
        if config.gathers_more() {
            open.make_table::<types::set>("inflight", sets)?;
            // Four times the paths, and each association has a path at least: a search looks at eight places only, of
            // which one should be free.
            open.settings.assoc_mask = 4 * (open.settings.entry_mask + 1) - 1;
            open.make_table::<types::assoc>("assocs", open.settings.assoc_mask + 1)?;
        } else {
            open.leave_out("rto_x_");
        }
        Ok(())
    }

    fn new(object: &Object, settings: &Settings, config: &Config) -> Result<Self, Error> {
        let units = Units { jiffy: Duration::from_nanos(settings.jiffy_ns), extended: config.gathers_more() };
        Ok(Self { paths: Entries::new(object, settings, config, HISTS)?, units })
    }

    fn decode(&mut self, event: &RawEvent) -> Update {
        let path = EntryRef { index: event.path, generation: event.path_generation };
        self.units.update(event, self.paths.identity(path))
    }

    fn carry(&mut self) -> Result<(), Error> {
        self.paths.carry()
    }

    fn interval(&mut self, moment: Moment) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        let units = self.units;
        Ok(self.paths.interval(moment.interval, is_idle).map(move |path| Ok(units.row(&path?))))
    }

    fn totals(&mut self, due: Due, _: Moment) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        let units = &self.units;
        Ok(self.paths.totals(due, |path| is_idle(&path.stats)).map(|path| Ok(units.row(&path?))))
    }

    fn accounting(&self, counted: &RawAccounting, misses: u64) -> Accounting {
        let skipped = |reason, sentence, count| Skipped { reason, sentence, count };
        Accounting {
            events: self.paths.sum(&[offset_of!(RawStats, rto.count)]) + counted.updates_evicted,
            lost: counted.lost,
            evicted: counted.paths_evicted + counted.assocs_evicted + counted.chunks_evicted,
            skipped: vec![
                missed(misses),
                skipped(
                    "evicted",
                    "their path had to make room for another: use --max-paths",
                    counted.updates_evicted,
                ),
                skipped("scan_limit", "one SACK covered or named more than 8,192 chunks", counted.scan_limit),
                busy(self.paths.busy()),
            ],
            ..Accounting::default()
        }
    }
}

fn is_idle(stats: &RawStats) -> bool {
    let s = stats;
    let counters =
        [s.rto.count, s.heartbeat_timeouts, s.t3_retransmits, s.fast_retransmits, s.pmtud_retransmits];
    let chunks = [s.rtx_chunks, s.rtx_for_path, s.dup_tsns, s.early_acks];
    counters.iter().chain(&chunks).all(|n| *n == 0)
}

/// How to read the kernel side's values: the unit of times, and whether [`More`] is filled in.
#[derive(Clone, Copy)]
pub(crate) struct Units {
    /// Length of a jiffy.
    pub(crate) jiffy: Duration,
    /// The kernel side fills in congestion control and state, too.
    pub(crate) extended: bool,
}

impl Units {
    fn row(self, path: &Snapshot<RawState, RawStats>) -> Row {
        let stats = &path.stats;
        Row {
            transport_id: path.of.generation,
            id: path.id,
            rto: DurationDist::new(&stats.rto, path.hist(0)),
            histogram: path.hist(0).map(|counts| Histogram::of(counts, 1_000_000)),
            srtt: DurationDist::new(&stats.srtt, path.hist(1)),
            rttvar: DurationDist::new::<u64>(&stats.rttvar, None),
            t3_expiries: stats.t3_expiries,
            heartbeat_timeouts: stats.heartbeat_timeouts,
            t3_retransmits: stats.t3_retransmits,
            fast_retransmits: stats.fast_retransmits,
            pmtud_retransmits: stats.pmtud_retransmits,
            rtx_chunks: stats.rtx_chunks,
            rtx_for_path: stats.rtx_for_path,
            spurious: stats.spurious,
            dup_tsns: stats.dup_tsns,
            early_acks: stats.early_acks,
            last: self.values(&path.state.last),
        }
    }

    fn values(self, v: &RawValues) -> Values {
        Values {
            rto: self.jiffy * v.rto,
            srtt: self.jiffy * v.srtt,
            rttvar: self.jiffy * v.rttvar,
            error_count: v.error_count,
            more: self.extended.then(|| More {
                error_limit: v.error_limit,
                cwnd_bytes: v.cwnd,
                ssthresh_bytes: v.ssthresh,
                flight_bytes: v.flight,
                pmtu_bytes: v.pmtu,
                state: PathState::of(v.path_state),
                primary: v.primary != 0,
            }),
        }
    }

    fn update(self, event: &RawEvent, id: Option<Identity>) -> Update {
        let (rtt, old_rto) = (self.jiffy * event.values.rtt, self.jiffy * event.old_rto);
        Update {
            at: Duration::from_nanos(event.time_ns),
            assoc_id: event.assoc_id,
            transport_id: event.path_generation,
            id,
            cause: match event.cause {
                0 => Cause::Rtt { rtt },
                1 => Cause::Heartbeat { rtt },
                2 => Cause::T3 { old_rto },
                3 => Cause::HeartbeatTimeout { old_rto },
                4 => Cause::State { old: PathState::of(event.old_state) },
                6 => Cause::T2 { old_rto },
                _ => Cause::Primary,
            },
            values: self.values(&event.values),
        }
    }
}
