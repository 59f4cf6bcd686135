//! Retransmission timeouts of paths (`rto.bpf.c`): every update, with the values after it.

use std::{
    mem::{MaybeUninit, offset_of},
    os::fd::AsFd,
    time::Duration,
};

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};

use crate::{
    Dist, EntryRef, Error, Filter, Identity, Rung,
    assoc::set_filter,
    attach::{Links, attach_loaded, choose_rung, leave_out, malformed, name_module},
    dist::dist,
    entries::{Earlier, Entries, Entry, entries, entry_probe, plain_statistics},
    hist::{BUCKETS, Histogram, each},
    kernel, pod,
    ring::Ring,
    table, wants,
};

#[allow(missing_docs, clippy::all, clippy::absolute_paths, clippy::wildcard_imports, unused_qualifications)]
#[allow(clippy::undocumented_unsafe_blocks, dead_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/rto.skel.rs"));
}
use skel::{RtoSkel, RtoSkelBuilder, types};

entries!(types);

/// The most that [`Config::max_paths`] may be.
pub const MAX_PATHS: u32 = table::most::<types::entry>();
/// The most that [`Config::max_retransmitted`] may be.
pub const MAX_RETRANSMITTED: u32 = SET_SLOTS * table::most::<types::set>();

/// Slots of a set of `inflight` (`SET_SLOTS`).
const SET_SLOTS: u32 = 4;
/// Bytes of the ring buffer: 12,000 updates.
const RING_BYTES: u32 = 1 << 20;

/// What to trace, and how much room to take for it. All memory is taken at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose paths.
    pub filter: Filter,
    /// Hand out every update, not only statistics.
    pub updates: bool,
    /// Keep statistics of each interval as well, for [`Rto::interval`].
    pub intervals: bool,
    /// HEARTBEAT timeouts, path states, congestion control, retransmissions, and histograms, too.
    pub extended: bool,
    /// Paths that fit (rounded up to a power of two); more evict the one that was silent longest.
    pub max_paths: u32,
    /// Retransmitted chunks not yet acknowledged that fit, over all associations (rounded up likewise).
    pub max_retransmitted: u32,
    /// Only this rung of the ladder; `None`: the best that works.
    pub rung: Option<Rung>,
}

/// Why there is an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A round-trip time was measured with data (or with a HEARTBEAT: only [`Config::extended`] tells them apart).
    Rtt {
        /// It.
        rtt: Duration,
    },
    /// A HEARTBEAT was acknowledged.
    Heartbeat {
        /// The round-trip time.
        rtt: Duration,
    },
    /// The T3-rtx timer expired.
    T3 {
        /// RTO before it.
        old_rto: Duration,
    },
    /// A HEARTBEAT was not acknowledged before the next one was due.
    HeartbeatTimeout {
        /// RTO before it.
        old_rto: Duration,
    },
    /// The path changed its state; no update of its RTO.
    State {
        /// State before it.
        old: PathState,
    },
    /// The path became the primary one; no update of its RTO.
    Primary,
}

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
            _ => Self::Unknown,
        }
    }

    /// A word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::PotentiallyFailed => "pf",
            Self::Active => "active",
            Self::Unconfirmed => "unconfirmed",
            Self::Unknown => "unknown",
        }
    }
}

/// What the kernel knows of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    /// Retransmission timeout.
    pub rto: Duration,
    /// Smoothed round-trip time.
    pub srtt: Duration,
    /// Its variation.
    pub rttvar: Duration,
    /// Errors in a row.
    pub error_count: u16,
    /// The rest; `None` unless [`Config::extended`].
    pub more: Option<More>,
}

/// What the kernel knows of a path beyond its timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct More {
    /// Errors in a row that make it inactive when exceeded.
    pub error_limit: u16,
    /// Congestion window, in bytes.
    pub cwnd_bytes: u32,
    /// Slow start threshold.
    pub ssthresh_bytes: u32,
    /// Data sent on it and not acknowledged.
    pub flight_bytes: u32,
    /// Path MTU.
    pub pmtu_bytes: u32,
    /// Its state.
    pub state: PathState,
    /// Is it the primary path?
    pub primary: bool,
}

/// Something that happened to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// When, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// Association id.
    pub assoc_id: u32,
    /// The path, for [`Rto::identity`].
    pub path: EntryRef,
    /// What.
    pub cause: Cause,
    /// The path after it.
    pub values: Values,
}

/// Statistics of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Which.
    pub path: EntryRef,
    /// Whose.
    pub id: Identity,
    /// RTO after each update ([`Cause::Rtt`], [`Cause::Heartbeat`], [`Cause::T3`]).
    pub rto: Dist,
    /// Of it, in milliseconds; only if [`Config::extended`].
    pub histogram: Option<Histogram>,
    /// SRTT likewise.
    pub srtt: Dist,
    /// RTTVAR likewise.
    pub rttvar: Dist,
    /// T3-rtx expiries.
    pub t3_expiries: u64,
    /// Unanswered HEARTBEATs; 0 unless [`Config::extended`], as all that follow.
    pub heartbeat_timeouts: u64,
    /// Times that data of this path was marked for retransmission by its T3-rtx timer (or as soon as an unconfirmed path
    /// was confirmed).
    pub t3_retransmits: u64,
    /// By missing reports.
    pub fast_retransmits: u64,
    /// Because the path MTU had become smaller.
    pub pmtud_retransmits: u64,
    /// Chunks sent again on this path.
    pub rtx_chunks: u64,
    /// Retransmissions of chunks, for this path's sake, that the peer had already.
    pub spurious: u64,
    /// The path as it was after its last event.
    pub last: Values,
}

/// What was seen, what was not, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// All updates.
    pub updates: u64,
    /// Records that did not fit into the ring buffer; statistics have them all the same.
    pub lost: u64,
    /// Paths whose place was taken by newer ones.
    pub paths_evicted: u64,
    /// Updates that are missing in the statistics for that.
    pub updates_evicted: u64,
    /// Times that there was no room for an association's retransmissions.
    pub assocs_left_out: u64,
    /// Retransmitted chunks whose place was taken by newer ones before they were acknowledged.
    pub chunks_evicted: u64,
    /// SACKs that covered more than 8,192 chunks, or had gap blocks for as many.
    pub scan_limit: u64,
}

/// A running trace.
pub struct Rto {
    // Declared, and so dropped, in this order: no event comes from a detached program.
    links: Links,
    ring: Option<Ring<Update>>,
    paths: Entries<types::entry>,
    skel: RtoSkel<'static>,
    units: Units,
    extended: bool,
    earlier: Option<Earlier>,
}

entry_probe!(Rto, types, paths, Config, Update, 2);
plain_statistics!(Rto, paths);

impl Rto {
    fn open_on(rung: Rung, config: &Config) -> Result<Self, Error> {
        let max_paths = config.max_paths.max(8).next_power_of_two();
        let sets = config.max_retransmitted.div_ceil(SET_SLOTS).max(8).next_power_of_two();
        let jiffy = kernel::jiffy()?;
        // The skeleton borrows its object; one per process and run, so it may stay until exit.
        let object = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = RtoSkelBuilder::default().open(object)?;

        choose_rung(open.open_object_mut(), rung);
        set_filter!(open, &config.filter, rung)?;
        let rodata = open.maps.rodata_data.as_deref_mut().ok_or_else(malformed)?;
        rodata.wants = wants::bits(&[
            (wants::EVENTS, config.updates),
            (wants::WINDOWS, config.intervals),
            (wants::EXTENDED, config.extended),
        ]);
        rodata.jiffy_ns = jiffy.as_nanos() as u64;
        rodata.entry_mask = max_paths - 1;
        rodata.set_mask = sets - 1;
        table::make::<types::entry>(&mut open.maps.bss_entries, max_paths)?;
        if config.extended {
            table::make::<types::set>(&mut open.maps.bss_inflight, sets)?;
            open.maps.assocs.set_max_entries(max_paths)?;
            open.maps.hists.set_max_entries(max_paths)?;
        } else {
            leave_out(open.open_object_mut(), "rto_x_");
        }
        if config.updates {
            open.maps.events.set_max_entries(RING_BYTES)?;
        }
        open.maps.frames.set_autocreate(rung == Rung::Kprobe)?;
        name_module(open.open_object_mut())?;
        let skel = open.load()?;
        let links = attach_loaded(skel.object())?;
        let units = Units { jiffy, extended: config.extended };
        let decode = move |bytes: &[u8]| Some(units.update(&pod::read(bytes)?));
        let ring = config.updates.then(|| Ring::new(&skel.maps.events, decode)).transpose()?;
        Ok(Self {
            links,
            ring,
            paths: Entries::new(&skel.maps.bss_entries.as_fd(), max_paths)?,
            skel,
            units,
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
            updates: self.paths.sum(&[offset_of!(types::entry, stats.rto.count)]) + a.updates_evicted,
            lost: a.lost,
            paths_evicted: a.paths_evicted,
            updates_evicted: a.updates_evicted,
            assocs_left_out: a.assocs_left_out,
            chunks_evicted: a.chunks_evicted,
            scan_limit: a.scan_limit,
        }
    }

    fn stats(
        &self,
        of: EntryRef,
        path: &types::entry,
        stats: &types::stats,
        hist: Option<&[[u32; BUCKETS]]>,
    ) -> Stats {
        self.units.stats(of, path, stats, hist)
    }
}

/// What the kernel side's numbers mean.
#[derive(Clone, Copy)]
struct Units {
    jiffy: Duration,
    extended: bool,
}

impl Units {
    fn stats(
        self,
        of: EntryRef,
        path: &types::entry,
        stats: &types::stats,
        hist: Option<&[[u32; BUCKETS]]>,
    ) -> Stats {
        Stats {
            path: of,
            id: path.identity(),
            rto: dist!(stats.rto, hist.map(|h| &h[0])),
            histogram: hist.map(|h| Histogram::of(&h[0], 1_000_000)),
            srtt: dist!(stats.srtt, hist.map(|h| &h[1])),
            rttvar: dist!(stats.rttvar, None),
            t3_expiries: stats.t3_expiries,
            heartbeat_timeouts: stats.heartbeat_timeouts,
            t3_retransmits: stats.t3_retransmits,
            fast_retransmits: stats.fast_retransmits,
            pmtud_retransmits: stats.pmtud_retransmits,
            rtx_chunks: stats.rtx_chunks,
            spurious: stats.spurious,
            last: self.values(&path.state.last),
        }
    }

    fn values(self, v: &types::values) -> Values {
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

    fn update(self, event: &types::event) -> Update {
        let (rtt, old_rto) = (self.jiffy * event.values.rtt, self.jiffy * event.old_rto);
        Update {
            at: Duration::from_nanos(event.time_ns),
            assoc_id: event.assoc_id,
            path: EntryRef { index: event.path, uid: event.path_uid },
            cause: match event.cause {
                0 => Cause::Rtt { rtt },
                1 => Cause::Heartbeat { rtt },
                2 => Cause::T3 { old_rto },
                3 => Cause::HeartbeatTimeout { old_rto },
                4 => Cause::State { old: PathState::of(event.old_state) },
                _ => Cause::Primary,
            },
            values: self.values(&event.values),
        }
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(tables: &crate::fuzz::Bytes<'_>) {
    let units = Units { jiffy: Duration::from_millis(4), extended: true };
    let hist: Option<types::hist> = pod::read(tables.rest);
    for (of, path) in tables.entries::<types::entry>().iter().flat_map(Entries::live) {
        units.stats(of, &path, &path.stats, hist.as_ref().map(|h| each(&h.counts)));
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn decode(bytes: &[u8]) -> Option<Update> {
    Some(Units { jiffy: Duration::from_millis(4), extended: true }.update(&pod::read(bytes)?))
}

fn is_idle(stats: &types::stats) -> bool {
    let s = stats;
    let counters = [s.rto.count, s.heartbeat_timeouts, s.t3_retransmits, s.fast_retransmits];
    counters.iter().chain(&[s.pmtud_retransmits, s.rtx_chunks, s.spurious]).all(|n| *n == 0)
}
