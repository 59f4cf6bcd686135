//! Buffers of associations (`bufmon.bpf.c`): how full, how long senders wait, what the peer's window allows.

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
    dist::{Levels, dist, levels},
    entries::{Earlier, Entries, Entry, entries, entry_probe, next_epoch, window},
    hist::{BUCKETS, Histogram, each},
    kernel, pod,
    ring::Ring,
    table, wants,
};

#[allow(missing_docs, clippy::all, clippy::absolute_paths, clippy::wildcard_imports, unused_qualifications)]
#[allow(clippy::undocumented_unsafe_blocks, dead_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/bufmon.skel.rs"));
}
use skel::{BufmonSkel, BufmonSkelBuilder, types};

entries!(types);

/// The most that [`Config::max_assocs`] may be.
pub const MAX_ASSOCS: u32 = table::most::<types::entry>();

/// Bytes of the ring buffer: 25,000 waits.
const RING_BYTES: u32 = 1 << 20;

/// What to trace, and how much room to take for it. All memory is taken at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose buffers.
    pub filter: Filter,
    /// Hand out every wait, not only statistics.
    pub waits: bool,
    /// Keep statistics of each interval as well, for [`Bufmon::interval`].
    pub intervals: bool,
    /// Stalls, the receive side, and histograms, too.
    pub extended: bool,
    /// Associations that fit (rounded up to a power of two); more evict the one that was silent longest.
    pub max_assocs: u32,
    /// Only this rung of the ladder; `None`: the best that works.
    pub rung: Option<Rung>,
}

/// A send that had to wait for room in the send buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When its wait ended, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// How long it waited.
    pub wait: Duration,
    /// Association id.
    pub assoc_id: u32,
    /// The association, for [`Bufmon::identity`].
    pub association: EntryRef,
    /// Length of its message.
    pub msg_bytes: u32,
}

/// Statistics of one association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Which.
    pub association: EntryRef,
    /// Whose; its path means nothing.
    pub id: Identity,
    /// Use of the send buffer, in millionths of its size, by the rule that makes a sender wait (`sctp_wspace()`).
    pub util_ppm: Levels,
    /// Bytes of user data that were never sent yet.
    pub outqueue_bytes: Levels,
    /// The window that the peer advertised in its SACKs.
    pub rwnd_bytes: Levels,
    /// Sends that waited for room, and how long.
    pub wait: Dist,
    /// Of the use of the send buffer, in percent; only if [`Config::extended`], as the next.
    pub util_histogram: Option<Histogram>,
    /// Of the waits, in microseconds.
    pub wait_histogram: Option<Histogram>,
    /// Sends that were refused for want of room.
    pub refused: u64,
    /// Times that the peer closed its window.
    pub zero_windows: u64,
    /// How long it was closed, up to now.
    pub zero_window: Duration,
    /// The most that was sent and not acknowledged.
    pub in_flight_max_bytes: u64,
    /// Use of the receive buffer, in millionths of its size, at each SACK that was sent; empty unless
    /// [`Config::extended`], as all that follow.
    pub recv_ppm: Levels,
    /// The window that this side advertised.
    pub own_rwnd_bytes: Levels,
    /// Stalls, the present one included: the cumulative TSN stood still for longer than the RTO, with data outstanding or queued.
    pub stalls: u64,
    /// How long those lasted together.
    pub stalled: Duration,
    /// The longest of them.
    pub stall_max: Duration,
    /// Why it stands still now, or did the last time.
    pub stall_cause: Option<StallCause>,
}

impl Stats {
    /// Was anything sampled at all?
    #[must_use]
    pub fn is_sender(&self) -> bool {
        self.util_ppm.count > 0
    }
}

/// Why the cumulative TSN stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallCause {
    /// The peer's window is closed: its application does not read.
    PeerWindow,
    /// The T3-rtx timer expires: packets, or the SACKs for them, are lost.
    Path,
    /// Data waits in the send queue, and nothing is in flight.
    OwnBuffer,
    /// Nothing that is known here.
    Unknown,
}

/// An association with data outstanding or queued whose cumulative TSN stands still for longer than its RTO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Which.
    pub association: EntryRef,
    /// Whose.
    pub id: Identity,
    /// Since when, on `CLOCK_MONOTONIC`.
    pub since: Duration,
    /// Until when; `None` where it lasts.
    pub until: Option<Duration>,
    /// The most that was outstanding or queued in that time.
    pub bytes: u64,
    /// T3-rtx expiries in that time.
    pub t3_expiries: u32,
    /// Sends that wait for room right now.
    pub waiting: u32,
    /// Why.
    pub cause: StallCause,
}

/// What was seen, what was not, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Looks at an association.
    pub samples: u64,
    /// Records that did not fit into the ring buffer; statistics have them all the same.
    pub lost: u64,
    /// Associations whose place was taken by newer ones.
    pub assocs_evicted: u64,
    /// Samples that are missing in the statistics for that.
    pub samples_evicted: u64,
    /// Sends that found no room, of which it is not known whether they waited.
    pub waits_unknown: u64,
}

/// A running trace.
pub struct Bufmon {
    // Declared, and so dropped, in this order: no event comes from a detached program.
    links: Links,
    ring: Option<Ring<Wait>>,
    assocs: Entries<types::entry>,
    skel: BufmonSkel<'static>,
    extended: bool,
    earlier: Option<Earlier>,
    /// Per entry, what was handed out before.
    told: Vec<Told>,
}

/// Since when the cumulative TSN of an entry stands still, since when it did the last time, and since when the peer's
/// window is zero: 0 where that is not so.
const NOW_SINCE: usize = offset_of!(types::entry, state.now.since_ns);
const LAST_SINCE: usize = offset_of!(types::entry, state.last.since_ns);
const ZERO_WINDOW: usize = offset_of!(types::entry, state.zero_window_ns);

/// What was handed out of an entry before.
#[derive(Clone, Copy, Default)]
struct Told {
    /// When the last stall began.
    stall_ns: u64,
    /// Uid of the entry to which the other two belong.
    uid: u32,
    /// Until the last interval, the present time included.
    zero_window: Duration,
    /// Likewise.
    stalled: Duration,
}

entry_probe!(Bufmon, types, assocs, Config, Wait, 4);

impl Bufmon {
    fn open_on(rung: Rung, config: &Config) -> Result<Self, Error> {
        let max_assocs = config.max_assocs.max(8).next_power_of_two();
        // The skeleton borrows its object; one per process and run, so it may stay until exit.
        let object = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = BufmonSkelBuilder::default().open(object)?;

        choose_rung(open.open_object_mut(), rung);
        set_filter!(open, &config.filter, rung)?;
        let rodata = open.maps.rodata_data.as_deref_mut().ok_or_else(malformed)?;
        rodata.wants = wants::bits(&[
            (wants::EVENTS, config.waits),
            (wants::WINDOWS, config.intervals),
            (wants::EXTENDED, config.extended),
        ]);
        rodata.jiffy_ns = kernel::jiffy()?.as_nanos() as u64;
        rodata.entry_mask = max_assocs - 1;
        table::make::<types::entry>(&mut open.maps.bss_entries, max_assocs)?;
        if config.extended {
            open.maps.hists.set_max_entries(max_assocs)?;
        } else {
            leave_out(open.open_object_mut(), "bufmon_x_");
        }
        if config.waits {
            open.maps.events.set_max_entries(RING_BYTES)?;
        }
        open.maps.frames.set_autocreate(rung == Rung::Kprobe)?;
        name_module(open.open_object_mut())?;
        let skel = open.load()?;
        let links = attach_loaded(skel.object())?;
        let ring = config.waits.then(|| Ring::new(&skel.maps.events, decode)).transpose()?;
        Ok(Self {
            links,
            ring,
            assocs: Entries::new(&skel.maps.bss_entries.as_fd(), max_assocs)?,
            skel,
            extended: config.extended,
            earlier: (config.extended && config.intervals).then(|| Earlier::new(max_assocs, 4 * BUCKETS)),
            told: vec![Told::default(); if config.extended { max_assocs as usize } else { 0 }],
        })
    }

    fn read_totals(&self) -> Result<Vec<Stats>, Error> {
        let live = self.assocs.live().filter(|(_, a)| !is_idle(&a.stats));
        let now = self.now();
        live.map(|(of, a)| {
            let mut stats = stats(of, &a, &a.stats, self.hist(of)?.as_ref().map(|h| each(&h.counts)), now);
            (stats.zero_window, stats.stalled) = lasting(&a, now);
            if let Some(lasts) = stalled_for(&a.state, now) {
                stats.stalls += 1;
                stats.stall_max = stats.stall_max.max(lasts);
            }
            Ok(stats)
        })
        .collect()
    }

    fn read_interval(&mut self) -> Result<Vec<Stats>, Error> {
        let ended = next_epoch!(self.skel);
        let now = self.now();
        let mut found = Vec::new();
        let assocs = &self.assocs;
        let changed = |index| {
            let lasts = assocs.word(index, NOW_SINCE) | assocs.word(index, ZERO_WINDOW);
            lasts != 0 || assocs.has_window(index, ended)
        };
        for (of, a) in assocs.live_if(changed) {
            // What lasts is more than a window knows: it has what ended in it.
            let (zero_window, stalled) = lasting(&a, now);
            let mut since = (Duration::ZERO, Duration::ZERO);
            if let Some(told) = self.told.get_mut(of.index as usize) {
                let before =
                    std::mem::replace(told, Told { uid: of.serial(), zero_window, stalled, ..*told });
                if before.uid != told.uid {
                    since = (zero_window, stalled);
                } else {
                    since = (zero_window - before.zero_window, stalled.saturating_sub(before.stalled));
                }
            }
            let empty = types::stats::default();
            let window = match window!(a, ended).filter(|w| !is_idle(w)) {
                Some(window) => window,
                None if since.0.is_zero() && since.1.is_zero() => continue,
                None => &empty,
            };
            let mut hist = self.hist(of)?;
            if let (Some(hist), Some(earlier)) = (&mut hist, &mut self.earlier) {
                earlier.since(of, hist.counts.iter_mut());
            }
            let stats = stats(of, &a, window, hist.as_ref().map(|h| each(&h.counts)), now);
            found.push(if self.extended {
                Stats { zero_window: since.0, stalled: since.1, ..stats }
            } else {
                stats
            });
        }
        Ok(found)
    }

    /// Every stall that was not handed out before: the present one of each association, or its last one. Needs
    /// [`Config::extended`].
    pub fn stalls(&mut self) -> Vec<Stall> {
        let now = self.now();
        let mut found = Vec::new();
        for index in self.assocs.in_use() {
            let Some(told) = self.told.get_mut(index as usize) else { break };
            let is_news = |at: &usize| self.assocs.word(index, *at) > told.stall_ns;
            if ![NOW_SINCE, LAST_SINCE].iter().any(is_news) {
                continue;
            }
            let Some((of, a)) = self.assocs.get(index) else { continue };
            let state = &a.state;
            let ended = Some(Duration::from_nanos(state.last.until_ns));
            for (evidence, until) in [(&state.last, ended), (&state.now, None)] {
                let is_stall = until.is_some() || stalled_for(state, now).is_some();
                if evidence.since_ns > told.stall_ns && is_stall {
                    told.stall_ns = evidence.since_ns;
                    found.push(Stall {
                        association: of,
                        id: a.identity(),
                        since: Duration::from_nanos(evidence.since_ns),
                        until,
                        bytes: evidence.bytes,
                        t3_expiries: evidence.t3_expiries,
                        waiting: state.waiting,
                        cause: cause(evidence),
                    });
                }
            }
        }
        found
    }

    /// The books so far.
    #[must_use]
    pub fn accounting(&self) -> Accounting {
        let Some(bss) = self.skel.maps.bss_data.as_deref() else { return Accounting::default() };
        let a = pod::load(&bss.accounting);
        let samples =
            [offset_of!(types::entry, stats.util.count), offset_of!(types::entry, stats.recv.count)];
        Accounting {
            samples: self.assocs.sum(&samples) + a.samples_evicted,
            lost: a.lost,
            assocs_evicted: a.assocs_evicted,
            samples_evicted: a.samples_evicted,
            waits_unknown: a.waits_unknown,
        }
    }

    fn now(&self) -> Duration {
        kernel::now()
    }
}

/// How long an association stands still now; `None` where that is not longer than its RTO, or it does not.
fn stalled_for(state: &types::state, now: Duration) -> Option<Duration> {
    let lasts = now.saturating_sub(Duration::from_nanos(state.now.since_ns));
    (state.now.since_ns > 0 && lasts > Duration::from_nanos(state.rto_ns)).then_some(lasts)
}

/// How long its peer's window was closed, and how long it stood still, up to now.
fn lasting(a: &types::entry, now: Duration) -> (Duration, Duration) {
    let closed = match a.state.zero_window_ns {
        0 => Duration::ZERO,
        since => now.saturating_sub(Duration::from_nanos(since)),
    };
    (
        Duration::from_nanos(a.stats.zero_window_ns) + closed,
        Duration::from_nanos(a.stats.stall_ns) + stalled_for(&a.state, now).unwrap_or_default(),
    )
}

fn stats(
    of: EntryRef,
    a: &types::entry,
    stats: &types::stats,
    hist: Option<&[[u32; BUCKETS]]>,
    now: Duration,
) -> Stats {
    let stall_cause = match stalled_for(&a.state, now) {
        Some(_) => Some(cause(&a.state.now)),
        None => (a.state.last.since_ns > 0).then(|| cause(&a.state.last)),
    };
    Stats {
        association: of,
        id: Identity { path: None, ..a.identity() },
        util_ppm: levels!(stats.util, hist.map(|h| &h[0])),
        outqueue_bytes: levels!(stats.outqueue, hist.map(|h| &h[1])),
        rwnd_bytes: levels!(stats.rwnd, hist.map(|h| &h[2])),
        wait: dist!(stats.wait, hist.map(|h| &h[3])),
        // A percent is 10,000 millionths, which count as microseconds.
        util_histogram: hist.map(|h| Histogram::of(&h[0], 10_000_000)),
        wait_histogram: hist.map(|h| Histogram::of(&h[3], 1000)),
        refused: stats.refused,
        zero_windows: stats.zero_windows,
        zero_window: Duration::from_nanos(stats.zero_window_ns),
        in_flight_max_bytes: stats.in_flight_max,
        recv_ppm: levels!(stats.recv, None),
        own_rwnd_bytes: levels!(stats.own_rwnd, None),
        stalls: stats.stalls,
        stalled: Duration::from_nanos(stats.stall_ns),
        stall_max: Duration::from_nanos(stats.stall_max_ns),
        stall_cause,
    }
}

fn is_idle(stats: &types::stats) -> bool {
    let s = stats;
    [s.util.count, s.wait.count, s.recv.count, s.stalls].iter().all(|n| *n == 0)
}

/// The peer's window comes first: while it is closed, probes of it go unanswered and T3-rtx expires as well.
fn cause(evidence: &types::evidence) -> StallCause {
    if evidence.zero_window != 0 {
        StallCause::PeerWindow
    } else if evidence.t3_expiries > 0 {
        StallCause::Path
    } else if evidence.sender_waits != 0 || evidence.own_queue != 0 {
        StallCause::OwnBuffer
    } else {
        StallCause::Unknown
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(tables: &crate::fuzz::Bytes<'_>) {
    let hist: Option<types::hist> = pod::read(tables.rest);
    for (of, a) in tables.entries::<types::entry>().iter().flat_map(Entries::live) {
        for now in [0, u64::MAX].map(Duration::from_nanos) {
            lasting(&a, now);
            stats(of, &a, &a.stats, hist.as_ref().map(|h| each(&h.counts)), now);
        }
    }
}

/// A record of the ring buffer; `None` where it is too short.
pub(crate) fn decode(bytes: &[u8]) -> Option<Wait> {
    let event: types::event = pod::read(bytes)?;
    Some(Wait {
        at: Duration::from_nanos(event.time_ns),
        wait: Duration::from_nanos(event.wait_ns),
        assoc_id: event.assoc_id,
        association: EntryRef { index: event.entry, uid: event.uid },
        msg_bytes: event.msg_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence() -> types::evidence {
        types::evidence { since_ns: 1, bytes: 1000, ..types::evidence::default() }
    }

    #[test]
    fn a_closed_window_explains_expiries_but_not_the_other_way_round() {
        assert_eq!(cause(&evidence()), StallCause::Unknown);
        assert_eq!(cause(&types::evidence { t3_expiries: 2, ..evidence() }), StallCause::Path);
        let closed = types::evidence { t3_expiries: 2, zero_window: 1, ..evidence() };
        assert_eq!(cause(&closed), StallCause::PeerWindow);
        assert_eq!(cause(&types::evidence { sender_waits: 1, ..evidence() }), StallCause::OwnBuffer);
        assert_eq!(cause(&types::evidence { own_queue: 1, ..evidence() }), StallCause::OwnBuffer);
    }
}
