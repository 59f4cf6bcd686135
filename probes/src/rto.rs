//! Retransmission timeouts (RTO) of paths (`rto.bpf.c`): every update, with the path's values after it.

use std::{mem::offset_of, rc::Rc, time::Duration};

use libbpf_rs::Object;
use zerocopy::FromBytes;

use crate::{
    Accounting, Change, Config, Due, DurationDist, Error, Histogram, Identity, Skipped,
    accounting::{busy, missed},
    entries::{Entries, EntryRef, Snapshot},
    links::UNSEEN_LIVING,
    object::OpenPrograms,
    program::{Moment, Program},
    raw::{self, SET_SLOTS, Settings, same_layout},
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
    /// Number of paths that fit. A new one beyond that evicts one that has ended, or else the longest silent
    /// of a few.
    pub max_paths: u32,
    /// Number of retransmitted chunks not yet acknowledged that fit, over all associations.
    pub max_retransmitted: u32,
}

/// The largest value of [`Sizes::max_paths`].
pub const MAX_PATHS: u32 = Entries::<RawState, RawStats>::MAX;
/// The largest value of [`Sizes::max_retransmitted`].
pub const MAX_RETRANSMITTED: u32 = SET_SLOTS * table::max_len::<types::set>();

/// The event of a path that an [`Update`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An acknowledgement of data gave a round-trip time, and the RTO was computed anew.
    Rtt {
        /// The round-trip time that the kernel measured, in whole jiffies.
        rtt: Duration,
    },
    /// A HEARTBEAT ACK gave a round-trip time, and the RTO was computed anew.
    Heartbeat {
        /// The round-trip time that the kernel measured, in whole jiffies.
        rtt: Duration,
    },
    /// The T3-rtx timer of the path expired.
    T3,
    /// A HEARTBEAT was not acknowledged before the next one was due.
    HeartbeatTimeout,
    /// The path's state changed. Its RTO did not.
    State {
        /// State before the change.
        old: PathState,
    },
    /// The path became the primary path. Its RTO did not change.
    Primary,
    /// The T2-shutdown timer expired: SHUTDOWN or SHUTDOWN ACK, sent on this path, was not answered.
    T2,
    /// The T4 timer expired: ASCONF, sent on this path, was not answered (RFC 5061 4.1).
    T4,
    /// The timer of RE-CONFIG expired: the request, sent on this path, was not answered (RFC 6525 5.1.1).
    Reconf,
    /// The application asked for a HEARTBEAT (`SPP_HB_DEMAND`) while the one before was not answered.
    HeartbeatDemand,
    /// The peer restarted the association, and the path has its first RTO again.
    Restart,
    /// An ECN-Echo made the congestion window smaller. The RTO did not change.
    Ecn,
    /// The RTO changed since the path's last event, and no program saw why: such as for a new local address
    /// (`sctp_send_asconf_add_ip()`).
    Other,
}

impl Cause {
    fn of(event: &RawEvent, rtt: Duration) -> Self {
        match event.cause {
            0 => Self::Rtt { rtt },
            1 => Self::Heartbeat { rtt },
            2 => Self::T3,
            3 => Self::HeartbeatTimeout,
            4 => Self::State { old: PathState::of(event.old_state) },
            5 => Self::Primary,
            6 => Self::T2,
            7 => Self::T4,
            8 => Self::Reconf,
            9 => Self::HeartbeatDemand,
            10 => Self::Restart,
            11 => Self::Ecn,
            _ => Self::Other,
        }
    }

    /// The cause as one word, as output shows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtt { .. } => "rtt",
            Self::Heartbeat { .. } => "heartbeat",
            Self::T3 => "t3",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::State { .. } => "state",
            Self::Primary => "primary",
            Self::T2 => "t2",
            Self::T4 => "t4",
            Self::Reconf => "reconf",
            Self::HeartbeatDemand => "heartbeat_demand",
            Self::Restart => "restart",
            Self::Ecn => "ecn",
            Self::Other => "other",
        }
    }
}

/// State of a path that was removed, which the kernel has no number for: `PATH_REMOVED` of `rto.bpf.c`.
const REMOVED: u8 = 255;

/// State of a path: the kernel's `enum sctp_spinfo_state`, and [`PathState::Removed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// Errors in a row have exceeded their limit (RFC 9260 8.2).
    Inactive,
    /// Potentially failed (RFC 7829).
    PotentiallyFailed,
    /// The path carries data, or could.
    Active,
    /// The peer has not confirmed the address yet (RFC 9260 5.4).
    Unconfirmed,
    /// The address was taken away, and no longer belongs to the association (RFC 5061).
    Removed,
    /// A state that this crate does not know, of a newer kernel.
    Unknown,
}

impl PathState {
    pub(crate) fn of(state: u8) -> Self {
        match state {
            0 => Self::Inactive,
            1 => Self::PotentiallyFailed,
            2 => Self::Active,
            3 => Self::Unconfirmed,
            REMOVED => Self::Removed,
            _ => Self::Unknown,
        }
    }

    /// The state as one word, as output shows it.
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

/// A path's RTO, SRTT, RTTVAR and error count, as `struct sctp_transport` has them; and [`More`], if extended
/// ([`Config::extended`] or [`Config::histograms`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    /// Retransmission timeout.
    pub rto: Duration,
    /// Smoothed round-trip time.
    pub srtt: Duration,
    /// Variation of the round-trip time.
    pub rttvar: Duration,
    /// Errors of the path in a row (RFC 9260 8.2).
    pub error_count: u16,
    /// Further values; `None` unless extended.
    pub more: Option<More>,
}

/// Further values of a path: congestion control, MTU, state, limit of errors. Also values of its association: the count of
/// errors, its limit, and the number of paths by state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct More {
    /// The limit of errors in a row: with more than these the path becomes inactive (RFC 9260 8.2).
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
    /// True if this is the association's primary path.
    pub primary: bool,
    /// Errors of the association in a row, over all its paths (RFC 9260 8.1).
    pub assoc_errors: u16,
    /// The limit of `assoc_errors`: with as many the next expiry ends the association.
    pub assoc_error_limit: u16,
    /// Number of the association's paths by state; `None` if there are more than 64.
    pub paths: Option<PathCounts>,
}

/// Number of an association's paths by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathCounts {
    /// Paths in [`PathState::Inactive`].
    pub inactive: u8,
    /// Paths in [`PathState::PotentiallyFailed`].
    pub potentially_failed: u8,
    /// Paths in [`PathState::Active`].
    pub active: u8,
    /// Paths in [`PathState::Unconfirmed`].
    pub unconfirmed: u8,
}

/// Changes of a path's state, to each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathTransitions {
    /// To [`PathState::Inactive`].
    pub inactive: u32,
    /// To [`PathState::PotentiallyFailed`].
    pub potentially_failed: u32,
    /// To [`PathState::Active`].
    pub active: u32,
}

/// Times that a path's congestion window became smaller, by the reason that
/// `sctp_transport_lower_cwnd()` was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CwndCuts {
    /// The T3-rtx timer expired (RFC 9260 7.2.3).
    pub t3: u64,
    /// Data was marked for fast retransmission (RFC 9260 7.2.4).
    pub fast: u64,
    /// The peer reported congestion, by ECN-Echo (RFC 9260 appendix A).
    pub ecn: u64,
    /// The path was idle for a HEARTBEAT interval (RFC 9260 7.2.1).
    pub inactive: u64,
}

/// A record: one event of a path ([`Cause`]), and the path's values after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Time of the event, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// Association id.
    pub assoc_id: u32,
    /// Running number of the path's entry, in the order of appearance.
    pub transport_id: u32,
    /// Identity of the path; `None` if the path's entry was evicted meanwhile.
    pub id: Option<Rc<Identity>>,
    /// The event.
    pub cause: Cause,
    /// RTO before the event; `None` unless extended, and for the first event of the path that the trace saw,
    /// where that cannot be known.
    pub old_rto: Option<Duration>,
    /// Values of the path after the event.
    pub values: Values,
}

/// Statistics of one path. "Extended" means [`Config::extended`] or [`Config::histograms`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Running number of the path's entry, in the order of appearance.
    pub transport_id: u32,
    /// Identity of the path.
    pub id: Identity,
    /// RTO after each update: [`Cause::Rtt`], [`Cause::Heartbeat`] and [`Cause::T3`], no other causes.
    pub rto: DurationDist,
    /// Histogram of `rto`, in milliseconds; only if [`Config::extended`] or [`Config::histograms`].
    pub histogram: Option<Histogram>,
    /// SRTT after each update that `rto` counts.
    pub srtt: DurationDist,
    /// RTTVAR after each update that `rto` counts.
    pub rttvar: DurationDist,
    /// Expiries of the path's T3-rtx timer.
    pub t3_expiries: u64,
    /// HEARTBEATs not acknowledged before the next one was due; 0 unless extended.
    pub heartbeat_timeouts: u64,
    /// Times that data of this path was marked for retransmission by T3-rtx: after an expiry, or at once
    /// where an address was confirmed or changed (`sctp_transport_immediate_rtx()`); 0 unless extended.
    pub t3_retransmits: u64,
    /// Times that data of this path was marked for fast retransmission (RFC 9260 7.2.4); 0 unless extended.
    pub fast_retransmits: u64,
    /// Times that data of this path was marked for retransmission because the path MTU had become smaller; 0
    /// unless extended.
    pub pmtud_retransmits: u64,
    /// Retransmissions of chunks on this path; 0 unless extended.
    pub rtx_chunks: u64,
    /// Retransmissions, on any path, of chunks that this path had sent first; 0 unless extended. `spurious`,
    /// `dup_tsns` and `early_acks` are of the same chunks.
    pub rtx_for_path: u64,
    /// Retransmissions that the peer has named as duplicates (RFC 9260 3.3.4), since it had the chunk
    /// already; 0 unless extended.
    pub spurious: u64,
    /// How often the peer has named retransmitted chunks as duplicates, which is more often than `spurious`
    /// where the network duplicates packets; 0 unless extended.
    pub dup_tsns: u64,
    /// Retransmitted chunks that were acknowledged sooner after the retransmission than the path can answer:
    /// the peer had them already, or the path has become quicker; 0 unless extended.
    pub early_acks: u64,
    /// Times that the congestion window became smaller; 0 unless extended.
    pub cwnd_cuts: CwndCuts,
    /// Length of the last failover to this path: from the last SACK on the path that failed to the first on this
    /// one; `None` if there was none.
    pub failover: Option<Duration>,
    /// Changes of the path's state since the start, to each state; 0 unless extended. The removal of an address does
    /// not count.
    pub transitions: PathTransitions,
    /// Values of the path after its last event.
    pub last: Values,
}

/// Statistics of a path: `struct stats` of `rto.bpf.c`.
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
    cwnd_cuts: [u64; 4],
}

/// A path's values after an event: `struct values` of `rto.bpf.c`. `rto`, `srtt`, `rttvar` and `rtt` are in
/// jiffies.
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
    assoc_errors: u16,
    assoc_error_limit: u16,
    path_state: u8,
    primary: u8,
    paths_known: u8,
    pad: u8,
    /// Number of the association's paths by state: a byte for each state, in the order of [`PathCounts`].
    paths: u32,
}

/// State of a path: `struct state` of `rto.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawState {
    last: RawValues,
    payload_noted: u32,
    cwnd_before: u32,
    made_ns: u64,
    sack_ns: u64,
    failover_ns: u64,
    min_rtt: RawMinRtt,
    transitions: [u32; 4],
}

/// The smallest round-trip time of a path lately, without the delay of SACKs: `struct min_rtt` of
/// `rto.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawMinRtt {
    since_ns: u64,
    ns: u64,
    before_ns: u64,
}

/// An event of a path, as it comes through the ring buffer: `struct event` of `rto.bpf.c`.
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
    /// RTO before the event, in jiffies.
    old_rto: u32,
    values: RawValues,
}

/// Numbers of events and entries that the programs lost or left out: `struct accounting` of `rto.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct RawAccounting {
    lost: u64,
    paths_evicted: u64,
    updates_evicted: u64,
    assocs_evicted: u64,
    chunks_evicted: u64,
    unseen: u64,
    scan_limit: u64,
}

same_layout!(types;
    @entries;
    RawStats = stats {
        rto, srtt, rttvar, t3_expiries, heartbeat_timeouts, t3_retransmits, fast_retransmits, pmtud_retransmits,
        rtx_chunks, rtx_for_path, spurious, dup_tsns, early_acks, cwnd_cuts
    };
    RawValues = values {
        rto, srtt, rttvar, rtt, cwnd, ssthresh, flight, pmtu, error_count, error_limit, assoc_errors,
        assoc_error_limit, path_state, primary, paths_known, paths
    };
    RawState = state { last, payload_noted, cwnd_before, made_ns, sack_ns, failover_ns, min_rtt, transitions };
    RawMinRtt = min_rtt { since_ns, ns, before_ns };
    RawEvent = event { time_ns, assoc_id, path, path_generation, cause, old_state, old_rto, values };
    RawAccounting = accounting {
        lost, paths_evicted, updates_evicted, assocs_evicted, chunks_evicted, unseen, scan_limit
    };
);

/// Number of histograms per entry, `HISTS` of `rto.bpf.c`: one of the RTO, one of the SRTT.
const HISTS: usize = 2;
const _: () = assert!(size_of::<types::hist>() == HISTS * size_of::<crate::entries::Hist>());

/// The tables of the loaded programs of `sctp-rto`.
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
            open.set_table::<types::set>("inflight", sets);
            // Four times as many places as paths, and so as associations, since each has a path: a search
            // looks at eight places only, of which one should be free.
            open.settings.assoc_mask = 4 * (open.settings.entry_mask + 1) - 1;
            open.set_table::<types::assoc>("assocs", open.settings.assoc_mask + 1);
        } else {
            open.leave_out("rto_x_");
            open.leave_out(UNSEEN_LIVING);
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

    fn changed(&mut self, _: Moment) -> Result<impl Iterator<Item = Result<Change<Row>, Error>>, Error> {
        let units = self.units;
        Ok(self.paths.changed(&[], |_, _| false).map(move |path| Ok(path?.with(|path| units.row(path)))))
    }

    fn accounting(&self, counted: &RawAccounting, misses: u64) -> Accounting {
        let skipped = |reason, sentence, count| Skipped { reason, sentence, count };
        Accounting {
            events: self.paths.sum(&[offset_of!(RawStats, rto.count)]) + counted.updates_evicted,
            lost: counted.lost,
            evicted: counted.paths_evicted + counted.assocs_evicted + counted.chunks_evicted,
            // Retransmissions are looked at only for the figures of `-x`.
            unseen: self.units.extended.then_some(counted.unseen),
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
    counters.iter().chain(&chunks).chain(&s.cwnd_cuts).all(|n| *n == 0)
}

/// How to read the kernel side's values: the unit of times, and whether [`More`] is filled in.
#[derive(Clone, Copy)]
pub(crate) struct Units {
    /// Length of a jiffy.
    pub(crate) jiffy: Duration,
    /// True if the kernel side fills in [`More`], too.
    pub(crate) extended: bool,
}

impl Units {
    fn row(self, path: &Snapshot<RawState, RawStats>) -> Row {
        let stats = &path.stats;
        Row {
            transport_id: path.of.generation,
            id: path.id.clone(),
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
            cwnd_cuts: {
                let [t3, fast, ecn, inactive] = stats.cwnd_cuts;
                CwndCuts { t3, fast, ecn, inactive }
            },
            failover: Some(path.state.failover_ns).filter(|ns| *ns > 0).map(Duration::from_nanos),
            transitions: {
                // The kernel makes no path unconfirmed again.
                let [inactive, potentially_failed, active, _] = path.state.transitions;
                PathTransitions { inactive, potentially_failed, active }
            },
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
                assoc_errors: v.assoc_errors,
                assoc_error_limit: v.assoc_error_limit,
                paths: (v.paths_known != 0).then(|| {
                    let [inactive, potentially_failed, active, unconfirmed] = v.paths.to_le_bytes();
                    PathCounts { inactive, potentially_failed, active, unconfirmed }
                }),
            }),
        }
    }

    fn update(self, event: &RawEvent, id: Option<Rc<Identity>>) -> Update {
        let old_rto = Some(event.old_rto).filter(|jiffies| self.extended && *jiffies > 0);
        Update {
            at: Duration::from_nanos(event.time_ns),
            assoc_id: event.assoc_id,
            transport_id: event.path_generation,
            id,
            cause: Cause::of(event, self.jiffy * event.values.rtt),
            old_rto: old_rto.map(|jiffies| self.jiffy * jiffies),
            values: self.values(&event.values),
        }
    }
}
