//! Buffers of associations (`bufmon.bpf.c`): how full they are, how long sends wait for room, the windows,
//! and stalls.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::offset_of,
    rc::Rc,
    time::Duration,
};

use libbpf_rs::Object;
use zerocopy::{FromBytes, FromZeros};

use crate::{
    Accounting, Change, Config, Due, DurationDist, Error, Histogram, Identity, Skipped, ValueDist,
    accounting::{busy, missed},
    entries::{Entries, EntryRef, Snapshot, entry_ref, window},
    object::{OpenPrograms, map, table_map},
    program::{Moment, Program},
    raw::{self, Entry, SET_SLOTS, Settings, same_layout},
    recv_wait::{RawRecv, RawRecvStats, Receivers},
    ring::Ring,
    stall::{RawEvidence, cause},
    table::{self, Table},
    trace::Trace,
};

pub use crate::{recv_wait::Received, stall::StallCause};

#[allow(missing_docs, clippy::all, clippy::absolute_paths, clippy::wildcard_imports, unused_qualifications)]
#[allow(clippy::undocumented_unsafe_blocks, dead_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/bufmon.skel.rs"));
}
use skel::types;

/// A running trace of buffers.
pub type Bufmon = Trace<Programs>;

/// Sizes of the tables, each rounded up to a power of two.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Number of associations that fit. A new one beyond that evicts one that has ended, or else the longest
    /// silent of a few.
    pub max_assocs: u32,
    /// Largest number of messages that may wait to be read, over all associations; `None`: how long messages
    /// wait is not measured ([`Row::received`]).
    pub max_unread: Option<u32>,
}

/// The largest value of [`Sizes::max_assocs`].
pub const MAX_ASSOCS: u32 = Entries::<RawState, RawStats>::MAX;
/// The largest value of [`Sizes::max_unread`].
pub const MAX_UNREAD: u32 = SET_SLOTS * table::max_len::<types::set>();

/// A record of one event: a send that waited, or a stall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A send that had to wait for room, and waits no more.
    Wait(Wait),
    /// A stall. It is handed out once: at the end of the interval in which it is noticed, while it lasts or
    /// after its end.
    Stall(Stall),
}

/// A send that had to wait for room in the send buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When the wait ended, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// How long the send waited.
    pub wait: Duration,
    /// Association id.
    pub assoc_id: u32,
    /// Identity of the association (ignore its `path`); `None` if its entry was evicted meanwhile.
    pub id: Option<Rc<Identity>>,
    /// Length of the send's message, in bytes.
    pub msg_bytes: u32,
}

/// Statistics of one association. "Extended" means [`Config::extended`] or [`Config::histograms`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Running number of the association's entry, in the order of appearance: each life has another.
    pub serial: u32,
    /// Identity of the association. Its `path` is `None`, as statistics are not of one path.
    pub id: Identity,
    /// Use of the send buffer, in millionths of its size, as `sctp_wspace()` counts it: at 1,000,000 a sender
    /// has to wait.
    pub util_ppm: ValueDist,
    /// User data in the outqueue, which was never sent yet, in bytes.
    pub outqueue_bytes: ValueDist,
    /// The window that the peer advertised in its SACKs, in bytes.
    pub rwnd_bytes: ValueDist,
    /// How long sends waited for room. In an interval: the waits that ended in it. Since the start: also the
    /// waits that still last, with their lengths so far.
    pub wait: DurationDist,
    /// Sends that waited for room. Each counts once, when it is first seen to wait.
    pub wait_events: u64,
    /// Sum of the times that sends waited for room, up to now. A wait that lasts adds its part to each
    /// interval.
    pub waited: Duration,
    /// Histogram of `util_ppm`, in percent; `None` unless extended.
    pub util_histogram: Option<Histogram>,
    /// Histogram of `wait`, in microseconds; `None` unless extended.
    pub wait_histogram: Option<Histogram>,
    /// Sends that failed with EAGAIN, because there was no room.
    pub refused: u64,
    /// Sends that failed with EINVAL: the stream does not exist, mostly. 0 unless extended.
    pub refused_einval: u64,
    /// Sends that failed with EMSGSIZE: the message is too long. 0 unless extended.
    pub refused_other: u64,
    /// Number of waits for memory: the send buffer had room, and the socket's cgroup or `net.sctp.sctp_mem` gave none
    /// (`sk_wmem_schedule()`). They are among `wait`; 0 unless extended.
    pub memory_waits: u64,
    /// Times that the peer closed its window.
    pub zero_windows: u64,
    /// How long the peer's window was closed, up to now.
    pub zero_window: Duration,
    /// The window in the peer's last SACK, in bytes; `None` before the first, and unless extended.
    pub window_bytes: Option<u32>,
    /// Largest amount of user data in flight (sent and not acknowledged) at any sample, in bytes.
    pub in_flight_max_bytes: u64,
    /// Use of the receive buffer, in millionths of its size, at each SACK that this host sent; empty unless
    /// extended.
    pub recv_ppm: ValueDist,
    /// The window that this host advertised, in bytes, at each SACK that it sent; empty unless extended.
    pub own_rwnd_bytes: ValueDist,
    /// Number of stalls; 0 unless extended. In an interval: those that ended in it. Since the start: also the
    /// present one.
    pub stalls: u64,
    /// Sum of the lengths of all stalls, up to now. A stall that lasts adds its part to each interval.
    pub stalled: Duration,
    /// Length of the longest stall that `stalls` counts.
    pub stall_max: Duration,
    /// Cause of the present stall, or else of the last one; `None` if there was none.
    pub stall_cause: Option<StallCause>,
    /// For how long that cause held during that stall.
    pub stall_held: Duration,
    /// T3-rtx expiries during that stall.
    pub stall_t3_expiries: u32,
    /// How long each limit applied to the sender, up to now; all zero unless extended. The times add up to the time
    /// since the first event of the association.
    pub limited: Limited,
    /// How much of the send buffer was used at the last look, and its size then, in bytes; `None` unless extended, and
    /// before the first look.
    pub sndbuf_used: Option<[u32; 2]>,
    /// The socket's buffers; `None` unless extended, and before the first look at them.
    pub buffers: Option<Buffers>,
    /// The association's share, in millionths, of the memory that all associations of its socket hold for data that is
    /// to be sent, or sent and not acknowledged. The mean over the looks at the send buffer, weighted by that memory.
    /// `None` unless extended, and where the associations held no memory.
    pub held_ppm: Option<u64>,
    /// What the association's reader did; `None` unless that is measured ([`Sizes::max_unread`]).
    pub received: Option<Received>,
}

/// The buffers of an association's socket, and how many associations share them, at the last look. There is a look when
/// the limit of the sender changes, but at most one a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Size of the send buffer in bytes, as the kernel counts: twice what `SO_SNDBUF` was set to.
    pub sndbuf_bytes: u32,
    /// Size of the receive buffer in bytes, as the kernel counts: twice what `SO_RCVBUF` was set to.
    pub rcvbuf_bytes: u32,
    /// The window in the peer's INIT or INIT ACK, in bytes (RFC 9260 3.3.2).
    pub peer_initial_rwnd_bytes: u32,
    /// Number of the socket's associations; 256 stands for that many or more.
    pub sock_assocs: u32,
    /// Whether these share the send buffer (`net.sctp.sndbuf_policy` 0); else each may fill as much.
    pub is_shared: bool,
}

/// For how long something has kept an association from sending more data. While data waits to be sent, the time counts
/// for the first of `rwnd`, `cwnd`, `nagle` and `other` that applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limited {
    /// All data was sent, and no send waited for room.
    pub app: Duration,
    /// All data was sent, and a send waited for room in the send buffer; or was refused, and there was still none.
    pub sndbuf: Duration,
    /// Nagle's rule, or `MSG_MORE`, held data back.
    pub nagle: Duration,
    /// As much was in flight on the path as its congestion window (RFC 9260 6.1 B).
    pub cwnd: Duration,
    /// The next chunk did not fit into the peer's window (RFC 9260 6.1 A).
    pub rwnd: Duration,
    /// Data waited for something else.
    pub other: Duration,
}

impl Limited {
    /// Converts the times that the kernel side keeps by `LIMITED_BY_*` (`limits.h`), in ns.
    fn new([app, sndbuf, nagle, cwnd, rwnd, other]: [u64; LIMITS]) -> Self {
        let [app, sndbuf, nagle, cwnd, rwnd, other] =
            [app, sndbuf, nagle, cwnd, rwnd, other].map(Duration::from_nanos);
        Self { app, sndbuf, nagle, cwnd, rwnd, other }
    }

    /// The sum of these times.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.app + self.sndbuf + self.nagle + self.cwnd + self.rwnd + self.other
    }

    /// Applies a function to the times of the same kind.
    fn zip(self, with: Self, f: impl Fn(Duration, Duration) -> Duration) -> Self {
        Self {
            app: f(self.app, with.app),
            sndbuf: f(self.sndbuf, with.sndbuf),
            nagle: f(self.nagle, with.nagle),
            cwnd: f(self.cwnd, with.cwnd),
            rwnd: f(self.rwnd, with.rwnd),
            other: f(self.other, with.other),
        }
    }

    /// Returns whether only the application has limited the sender.
    fn is_idle(self) -> bool {
        Self { app: Duration::ZERO, ..self } == Self::default()
    }
}

/// What may limit a sender: `LIMITS` of `limits.h`.
const LIMITS: usize = 6;

impl Row {
    /// Returns whether the send buffer was sampled, or a send waited: in an association that only receives,
    /// neither is so.
    #[must_use]
    pub fn is_sender(&self) -> bool {
        self.util_ppm.count > 0 || self.wait_events > 0
    }
}

/// A stall: an association's cumulative TSN did not move for longer than the RTO, with data outstanding or
/// queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Identity of the association. Its `path` is `None`, as a stall is not of one path.
    pub id: Identity,
    /// When the stall began, on `CLOCK_MONOTONIC`.
    pub since: Duration,
    /// When the stall ended, on `CLOCK_MONOTONIC`; `None` where it lasts.
    pub until: Option<Duration>,
    /// Length of the stall; of one that lasts, up to now.
    pub lasted: Duration,
    /// The most user data that was outstanding or queued during the stall, in bytes.
    pub bytes: u64,
    /// SACKs that came during the stall, without moving the cumulative TSN.
    pub sacks: u32,
    /// T3-rtx expiries during the stall.
    pub t3_expiries: u32,
    /// The window in the peer's last SACK, in bytes; `None` if none came yet.
    pub window: Option<u32>,
    /// What the last SACK with gap blocks said; `None` if none of the stall's had any.
    pub gaps: Option<Gaps>,
    /// Whether nothing was in flight when the association was looked at last.
    pub is_idle: bool,
    /// Number of the association's sends that wait for room when this record is made.
    pub waiting: u32,
    /// What held the association up for the longest.
    pub cause: StallCause,
    /// For how long that cause has held, up to now.
    pub held: Duration,
}

/// What a SACK with gap blocks says: which TSNs are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gaps {
    /// The first missing TSN: the cumulative TSN plus one.
    pub tsn: u32,
    /// How often its chunk was sent, at least; `None` if that is not known.
    pub sent: Option<u32>,
    /// Number of missing TSNs, up to the last that is acknowledged.
    pub missing: u32,
    /// Number of TSNs that the gap blocks acknowledge (of at most 1,024 blocks).
    pub acked: u32,
}

/// Statistics of an association: `struct stats` of `bufmon.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct RawStats {
    util: raw::Dist,
    outqueue: raw::Dist,
    rwnd: raw::Dist,
    wait: raw::Dist,
    recv: raw::Dist,
    own_rwnd: raw::Dist,
    refused: u64,
    zero_windows: u64,
    zero_window_ns: u64,
    in_flight_max: u64,
    stalls: u64,
    stall_ns: u64,
    stall_max_ns: u64,
    refused_einval: u64,
    refused_other: u64,
    held: u64,
    held_by_all: u64,
    memory_waits: u64,
}

/// State of an association: `struct state` of `bufmon.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawState {
    now: RawEvidence,
    last: RawEvidence,
    rto_ns: u64,
    zero_window_ns: u64,
    sack_seen: u32,
    payload_noted: u32,
    limited_ns: [u64; LIMITS],
    limited_since_ns: u64,
    limited_by: u32,
    waiting: u32,
    refused: u32,
    sndbuf_used: u32,
    sndbuf_limit: u32,
    sndbuf: u32,
    rcvbuf: u32,
    peer_rwnd: u32,
    sock_assocs: u32,
    sndbuf_policy: u32,
    buffers_ns: u64,
}

/// A wait that has ended, as it comes through the ring buffer: `struct event` of `bufmon.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct RawEvent {
    time_ns: u64,
    wait_ns: u64,
    assoc_id: u32,
    entry: u32,
    generation: u32,
    msg_bytes: u32,
}

/// A stall that has ended, as it comes through its ring buffer: `struct stall_event` of `bufmon.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawStall {
    entry: u32,
    generation: u32,
    id: raw::Identity,
    pad: u32,
    evidence: RawEvidence,
}

/// Numbers of events and entries that the programs lost or left out: `struct accounting` of `bufmon.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct RawAccounting {
    lost: u64,
    assocs_evicted: u64,
    samples_evicted: u64,
    waits_unknown: u64,
    waits_missed: u64,
    pub(crate) recv_evicted: u64,
    pub(crate) recv_missed: u64,
    pub(crate) recv_late: u64,
}

/// A send that may have to wait for room: `struct send` of `bufmon.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes)]
pub(crate) struct RawSend {
    tid: u32,
    assoc_id: u32,
    start_ns: u64,
    nvcsw: u64,
    asoc: u64,
    entry: u32,
    generation: u32,
    msg_bytes: u32,
    full: u8,
    closed: u8,
    pad: u16,
}

same_layout!(types;
    @entries;
    RawStats = stats {
        util, outqueue, rwnd, wait, recv, own_rwnd, refused, zero_windows, zero_window_ns, in_flight_max, stalls,
        stall_ns, stall_max_ns, refused_einval, refused_other, held, held_by_all, memory_waits
    };
    RawEvidence = evidence {
        since_ns, until_ns, part_ns, held_ns, bytes, held_by, sacks, t3_expiries, unanswered, window, missing_tsn,
        missing_bytes, missing_sent, missing, gap_acked, state, has_window, has_gaps, is_answered, is_silent, is_idle
    };
    RawStall = stall_event { entry, generation, id, evidence };
    RawState = state {
        now, last, rto_ns, zero_window_ns, sack_seen, payload_noted, limited_ns, limited_since_ns, limited_by, waiting,
        refused, sndbuf_used, sndbuf_limit, sndbuf, rcvbuf, peer_rwnd, sock_assocs, sndbuf_policy, buffers_ns
    };
    RawSend = send { tid, assoc_id, start_ns, nvcsw, asoc, entry, generation, msg_bytes, full, closed };
    RawEvent = event { time_ns, wait_ns, assoc_id, entry, generation, msg_bytes };
    RawAccounting = accounting { lost, assocs_evicted, samples_evicted, waits_unknown, waits_missed, recv_evicted, recv_missed, recv_late };
    raw::Slot = slot { sent_ns, path, path_generation, note };
    RawRecvStats = recv_stats { wait, unread };
    raw::Window<RawRecvStats> = recv_window { epoch, stats };
    RawRecv = recv { seq_tail, generation, stats, window, seq_head };
);

/// Number of histograms per entry, `HISTS` of `bufmon.bpf.c`: of use of the send buffer, outqueue, peer's
/// window and waits.
const HISTS: usize = 4;
/// Index of the histogram of waits.
const WAITS: usize = 3;
const _: () = assert!(size_of::<types::hist>() == HISTS * size_of::<crate::entries::Hist>());
const _: () = assert!(size_of::<types::recv_hist>() == size_of::<crate::entries::Hist>());
const _: () = assert!(size_of::<types::set>() == SET_SLOTS as usize * size_of::<raw::Slot>());

/// Offset in an entry of the time, in ns, since which the cumulative TSN has not moved; 0 while no data is
/// outstanding or queued.
const NOW_SINCE: usize = STATE + offset_of!(RawState, now.since_ns);
/// Offset in an entry of the time, in ns, at which the peer closed its window; 0 while it is open.
const ZERO_WINDOW: usize = STATE + offset_of!(RawState, zero_window_ns);
/// Offset in an entry of the time, in ns, since which the present limit of the sender holds; 0: not known yet.
pub(crate) const LIMITED_SINCE: usize = STATE + offset_of!(RawState, limited_since_ns);
/// Offset in an entry of the program's own state.
const STATE: usize = offset_of!(Entry<RawState, RawStats>, state);

/// Number of places in the table `sends`, for sends that may have to wait: `SENDS` of `bufmon.bpf.c`.
const SENDS: u32 = 8192;

/// A send that did not find the send buffer full counts as waiting once it has lasted for this long. Before
/// that, its thread may simply be running.
const WAITS_FROM: Duration = Duration::from_millis(10);

/// Size of the ring buffer of stalls in bytes: room for at least 2,000 stalls that end within one interval.
const STALL_RING_BYTES: u32 = 1 << 19;
/// How many records of stalls are taken from the ring buffer `stall_events` at a time.
const STALL_BATCH: usize = 256;
const _: () = assert!(STALL_RING_BYTES as usize / (size_of::<RawStall>() + 16) > 2000);

/// The tables of the loaded programs of `sctp-bufmon`.
pub struct Programs {
    pub(crate) assocs: Entries<RawState, RawStats>,
    /// By index of an entry: its stalls and sums that were handed out already.
    pub(crate) reported: Vec<Reported>,
    /// The table of sends that may have to wait; `None` only in fuzzing, if it cannot be made.
    pub(crate) sends: Option<Table<RawSend>>,
    /// True if the kernel side finds stalls ([`Config::extended`] or [`Config::histograms`]).
    pub(crate) extended: bool,
    /// Stalls that have ended; `None` where the kernel side finds none.
    pub(crate) stalls: Option<Ring<RawStall>>,
    /// What readers do; `None` unless that is measured.
    pub(crate) receivers: Option<Receivers>,
}

/// Waits of an association that have not ended: waits of its sends, or of messages that it has received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Number of sends or messages that wait.
    pub(crate) count: u32,
    /// Sum of the lengths of the waits so far.
    sum: Duration,
    shortest: Option<Duration>,
    longest: Duration,
}

impl Waiting {
    pub(crate) fn add(&mut self, lasts: Duration) {
        self.count += 1;
        self.sum = self.sum.saturating_add(lasts);
        self.shortest = Some(self.shortest.map_or(lasts, |shortest| shortest.min(lasts)));
        self.longest = self.longest.max(lasts);
    }
}

/// The present waits of each association, by the association's entry.
pub(crate) type AllWaiting = BTreeMap<EntryRef, Waiting>;

/// The stalls and sums of an association that were handed out already.
#[derive(Clone, Copy, Default)]
pub(crate) struct Reported {
    /// When a stall began that was handed out while it lasted: the last such stall, in ns; 0: there was none.
    stall_ns: u64,
    /// Generation of the entry to which that stall belongs.
    stall_generation: u32,
    /// Generation of the entry to which `lasting` belongs.
    generation: u32,
    /// The association's sums, as they stood when its last interval was handed out.
    lasting: Lasting,
}

impl Reported {
    /// Returns whether the stall of this entry that began at `since_ns` was handed out while it lasted.
    fn has(&self, of: EntryRef, since_ns: u64) -> bool {
        (self.stall_ns, self.stall_generation) == (since_ns, of.generation)
    }
}

/// Sums of an association that grow even without events: since the start, or in one interval.
#[derive(Clone, Copy, Default)]
struct Lasting {
    /// How long the peer's window was closed.
    zero_window: Duration,
    /// Length of all stalls.
    stalled: Duration,
    /// Number of sends that waited for room.
    wait_events: u64,
    /// Sum of the times that sends waited for room.
    waited: Duration,
    /// How long each limit applied to the sender.
    limited: Limited,
}

impl Lasting {
    /// Returns the increase of each sum since `before`, and the larger value of each sum, to be `before` in
    /// the next call. A sum may shrink: a send that only seemed to wait counts while it lasts, and no more
    /// after its end. Its wait that was handed out is not taken back; but later waits are handed out only as
    /// far as the sum exceeds all that was handed out.
    fn since(self, before: Self) -> (Self, Self) {
        let largest = Self {
            zero_window: self.zero_window.max(before.zero_window),
            stalled: self.stalled.max(before.stalled),
            wait_events: self.wait_events.max(before.wait_events),
            waited: self.waited.max(before.waited),
            limited: self.limited.zip(before.limited, Duration::max),
        };
        let since = Self {
            zero_window: largest.zero_window.saturating_sub(before.zero_window),
            stalled: largest.stalled.saturating_sub(before.stalled),
            wait_events: largest.wait_events.saturating_sub(before.wait_events),
            waited: largest.waited.saturating_sub(before.waited),
            limited: largest.limited.zip(before.limited, Duration::saturating_sub),
        };
        (since, largest)
    }

    fn is_idle(self) -> bool {
        self.zero_window.is_zero()
            && self.stalled.is_zero()
            && self.wait_events == 0
            && self.waited.is_zero()
            && self.limited.is_idle()
    }
}

impl Program for Programs {
    const NAME: &'static str = "bufmon_bpf";
    const OBJECT: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bufmon.o"));

    type Sizes = Sizes;
    type Event = RawEvent;
    type Accounting = RawAccounting;
    type Record = Record;
    type Row = Row;

    fn configure(open: &mut OpenPrograms, config: &Config, sizes: &Sizes) -> Result<(), Error> {
        if config.gathers_more() {
            open.resize("stall_events", STALL_RING_BYTES)?;
        } else {
            open.leave_out("bufmon_x_");
        }
        open.set_table::<RawSend>("sends", SENDS);
        Entries::<RawState, RawStats>::configure(open, config, sizes.max_assocs)?;
        Receivers::configure(open, sizes.max_unread)
    }

    fn new(object: &Object, settings: &Settings, config: &Config) -> Result<Self, Error> {
        Ok(Self {
            assocs: Entries::new(object, settings, config, HISTS)?,
            reported: vec![Reported::default(); settings.entry_mask as usize + 1],
            sends: Some(Table::new(&table_map(object, "sends")?, SENDS)?),
            extended: config.gathers_more(),
            stalls: if config.gathers_more() {
                Some(Ring::new(&map(object, "stall_events")?)?)
            } else {
                None
            },
            receivers: if settings.set_mask == 0 {
                None
            } else {
                Some(Receivers::new(object, settings, config)?)
            },
        })
    }

    fn decode(&mut self, event: &RawEvent) -> Record {
        Record::Wait(Wait {
            at: Duration::from_nanos(event.time_ns),
            wait: Duration::from_nanos(event.wait_ns),
            assoc_id: event.assoc_id,
            id: self.assocs.identity(EntryRef { index: event.entry, generation: event.generation }),
            msg_bytes: event.msg_bytes,
        })
    }

    /// Adds the stalls that were not handed out before: those that have ended, and those that last.
    ///
    /// The ended ones come first, each through the ring buffer. So a stall that ends meanwhile is found here or
    /// there in the next call. A stall that was handed out while it lasted is recognised by its entry and its
    /// beginning.
    fn lasting(&mut self, moment: Moment, records: &mut Vec<Record>) {
        if !self.extended {
            return;
        }
        let ended = self.ended_stalls();
        self.hand_out_stalls(&ended, moment, records);
    }

    fn carry(&mut self) -> Result<(), Error> {
        self.assocs.carry()?;
        let Self { assocs, receivers: Some(receivers), .. } = self else { return Ok(()) };
        receivers.carry(assocs.in_use().map(|index| EntryRef { generation: assocs.generation(index), index }))
    }

    fn interval(&mut self, moment: Moment) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        let waiting = self.waiting(moment);
        let unread = self.unread(moment);
        let waits: BTreeSet<_> = waiting.keys().chain(unread.keys()).map(|of| of.index).collect();
        let is_read = |index| self.receivers.as_ref().is_some_and(|r| r.has_window(index, moment.interval));
        // There is a row for each association that may be limited by more than its application. Where only the
        // application limits the sender, there may be no row; but the time of that interval must not count in the next
        // row.
        let changed = |index| {
            is_lasting(&self.assocs, index)
                || waits.contains(&index)
                || is_read(index)
                || self.assocs.has_window(index, moment.interval)
        };
        let changed: Vec<_> = self.assocs.in_use().filter(|index| changed(*index)).collect();
        Ok(changed
            .into_iter()
            .filter_map(move |index| self.interval_row(index, moment, &waiting, &unread).transpose()))
    }

    fn totals(
        &mut self,
        due: Due,
        moment: Moment,
    ) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        let waiting = self.waiting(moment);
        let waiting_of = move |of| waiting.get(&of).copied().unwrap_or_default();
        let lasts = waiting_of.clone();
        let unread = self.unread(moment);
        let active = self.receivers.as_ref().map(Receivers::active).unwrap_or_default();
        let is_active: BTreeSet<_> = active.into_iter().chain(unread.keys().map(|of| of.index)).collect();
        let receivers = &mut self.receivers;
        let is_idle = move |assoc: &Entry<RawState, RawStats>| {
            let lasting = lasting(&assoc.state, &assoc.stats, lasts(entry_ref(assoc)), moment.now);
            is_idle(&assoc.stats) && lasting.is_idle() && !is_active.contains(&assoc.key)
        };
        Ok(self.assocs.totals(due, is_idle).map(move |assoc| {
            let assoc = assoc?;
            let waiting = waiting_of(assoc.of);
            let lasting = lasting(&assoc.state, &assoc.stats, waiting, moment.now);
            let row = row(&assoc, lasting, moment.now);
            let mut row = Row { wait: with_lasting(row.wait, waiting), ..row };
            if let Some(lasts) = stalled_for(&assoc.state, moment.now) {
                row.stalls += 1;
                row.stall_max = row.stall_max.max(lasts);
            }
            // Read after the entry was marked as handed out: see count_message() in recv_wait.h.
            let unread = unread.get(&assoc.of).copied().unwrap_or_default();
            row.received = receivers.as_mut().map(|r| r.total(assoc.of, unread)).transpose()?;
            Ok(row)
        }))
    }

    fn changed(&mut self, moment: Moment) -> Result<impl Iterator<Item = Result<Change<Row>, Error>>, Error> {
        let waiting = self.waiting(moment);
        let mut waits: BTreeSet<_> = waiting.keys().map(|of| of.index).collect();
        waits.extend(self.receivers.iter_mut().flat_map(Receivers::changed));
        let receivers = &self.receivers;
        let lasts = move |assocs: &Entries<RawState, RawStats>, index: u32| {
            is_lasting(assocs, index) || waits.contains(&index)
        };
        Ok(self.assocs.changed(&[WAITS], lasts).map(move |assoc| {
            let mut assoc = assoc?;
            let of = assoc.snapshot.of;
            let received = receivers.as_ref().map(|r| r.so_far(of)).transpose()?;
            let (received, read) = received.flatten().unzip();
            assoc.octaves.extend(read);
            Ok(assoc.with(|assoc| {
                let waiting = waiting.get(&of).copied().unwrap_or_default();
                let lasting = lasting(&assoc.state, &assoc.stats, waiting, moment.now);
                Row { received, ..row(assoc, lasting, moment.now) }
            }))
        }))
    }

    fn accounting(&self, counted: &RawAccounting, misses: u64) -> Accounting {
        let skipped = |reason, sentence, count| Skipped { reason, sentence, count };
        let samples = [offset_of!(RawStats, util.count), offset_of!(RawStats, recv.count)];
        Accounting {
            events: self.assocs.sum(&samples) + counted.samples_evicted,
            lost: counted.lost,
            evicted: counted.assocs_evicted,
            skipped: [
                missed(misses),
                skipped(
                    "evicted",
                    "their association had to make room for another: use --max-assocs",
                    counted.samples_evicted,
                ),
                skipped("waits_unknown", "there was no room to note their wait", counted.waits_unknown),
                skipped(
                    "waits_missed",
                    "whether they waited is unknown: their end was not seen",
                    counted.waits_missed,
                ),
                busy(self.assocs.busy()),
            ]
            .into_iter()
            .chain(self.receivers.iter().flat_map(|_| Receivers::skipped(counted)))
            .collect(),
            ..Accounting::default()
        }
    }
}

impl Programs {
    /// Adds the stalls that were not handed out before: first those in `ended`, then those that last.
    fn hand_out_stalls(&mut self, ended: &[RawStall], moment: Moment, records: &mut Vec<Record>) {
        let waiting = self.waiting(moment);
        let waits = |of| waiting.get(&of).map_or(0, |waiting: &Waiting| waiting.count);
        for raw in ended {
            let of = EntryRef { index: raw.entry, generation: raw.generation };
            if self.reported.get(raw.entry as usize).is_some_and(|last| last.has(of, raw.evidence.since_ns)) {
                continue;
            }
            records.push(Record::Stall(stall(
                self.assocs.identify(raw.id),
                &raw.evidence,
                waits(of),
                moment.now,
            )));
        }
        for index in self.assocs.in_use() {
            let since_ns = self.assocs.word(index, NOW_SINCE);
            if since_ns == 0 {
                continue;
            }
            let Some(assoc) = self.assocs.read(index) else { continue };
            let (state, of) = (&assoc.state, entry_ref(&assoc));
            let Some(reported) = self.reported.get_mut(index as usize) else { break };
            if stalled_for(state, moment.now).is_none() || reported.has(of, state.now.since_ns) {
                continue;
            }
            (reported.stall_ns, reported.stall_generation) = (state.now.since_ns, of.generation);
            records.push(Record::Stall(stall(
                self.assocs.identify(assoc.id),
                &state.now,
                waits(of),
                moment.now,
            )));
        }
    }

    /// The messages that wait to be read at `moment`, by the entry of their association.
    fn unread(&self, moment: Moment) -> AllWaiting {
        let mut all = self.receivers.as_ref().map(|r| r.waiting(moment.now)).unwrap_or_default();
        // An association whose end was handed out is never reported again.
        all.retain(|of, _| !self.assocs.is_reported(of.index));
        all
    }

    /// Takes the stalls that have ended out of their ring buffer.
    fn ended_stalls(&self) -> Vec<RawStall> {
        let mut ended = Vec::new();
        if let Some(ring) = &self.stalls {
            // If reading fails, the stalls stay in the ring until the next interval.
            while ring.take(&mut ended, STALL_BATCH).unwrap_or(false) {}
        }
        ended
    }

    /// The waits of sends that have not ended at `moment`, by the entry of the send's association.
    fn waiting(&self, moment: Moment) -> AllWaiting {
        let mut all = AllWaiting::new();
        let Some(sends) = self.sends.as_ref().filter(|_| moment.sends_open > 0) else { return all };
        for place in 0..sends.len() {
            // Most places are free: so look at two words before reading the whole place.
            let tid = sends.word(place, offset_of!(RawSend, tid)).unwrap_or_default();
            if tid == 0 || sends.word(place, offset_of!(RawSend, start_ns)).unwrap_or_default() == 0 {
                continue;
            }
            if let Some((of, lasts)) =
                stable(|| sends.read(place, |_| true)).and_then(|send| waits(&send, moment.now))
            {
                all.entry(of).or_default().add(lasts);
            }
        }
        all
    }

    /// The statistics of an association in the interval that has just ended: those that events changed, and
    /// the interval's part of a wait, stall or closed window that lasts. `None` if it has neither.
    fn interval_row(
        &mut self,
        index: u32,
        moment: Moment,
        waiting: &AllWaiting,
        unread: &AllWaiting,
    ) -> Result<Option<Row>, Error> {
        let Some(assoc) = self.assocs.read(index) else { return Ok(None) };
        let of = entry_ref(&assoc);
        let waiting = waiting.get(&of).copied().unwrap_or_default();
        let mut since = lasting(&assoc.state, &assoc.stats, waiting, moment.now);
        if let Some(reported) = self.reported.get_mut(index as usize) {
            let before =
                if reported.generation == of.generation { reported.lasting } else { Lasting::default() };
            let (added, largest) = since.since(before);
            *reported = Reported { generation: of.generation, lasting: largest, ..*reported };
            since = added;
        }
        let unread = unread.get(&of).copied().unwrap_or_default();
        let receivers = self.receivers.as_mut().filter(|_| !self.assocs.is_reported(index));
        let received = receivers.map(|r| r.interval(of, moment.interval, unread)).transpose()?;
        let stats = match window(&assoc, moment.interval).filter(|window| !is_idle(window)) {
            Some(window) => window,
            None if since.is_idle() && received.as_ref().is_none_or(Received::is_idle) => return Ok(None),
            // No event changed the statistics: only a wait, a stall or a closed window lasts.
            None => RawStats::new_zeroed(),
        };
        let row = row(&self.assocs.interval_snapshot(&assoc, stats)?, since, moment.now);
        Ok(Some(Row { received, ..row }))
    }
}

/// Returns whether time goes by for the association at this index: its cumulative TSN may stand still, its peer's window is
/// closed, or something limits its sender.
fn is_lasting(assocs: &Entries<RawState, RawStats>, index: u32) -> bool {
    [NOW_SINCE, ZERO_WINDOW, LIMITED_SINCE].into_iter().any(|at| assocs.word(index, at) != 0)
}

/// Reads until two reads in a row give the same value, so that no writer changed it between them; `None`
/// after four attempts.
pub(crate) fn stable<T: PartialEq>(read: impl Fn() -> Option<T>) -> Option<T> {
    (0..4).find_map(|_| read().filter(|first| read().is_some_and(|second| second == *first)))
}

/// The entry of a send's association, and how long the send has waited up to `now`; `None` if the send does
/// not wait, or the association has no entry.
fn waits(send: &RawSend, now: Duration) -> Option<(EntryRef, Duration)> {
    let lasts = now.saturating_sub(Duration::from_nanos(send.start_ns));
    let waits = send.tid != 0 && send.start_ns != 0 && (send.full != 0 || lasts >= WAITS_FROM);
    (waits && send.entry != u32::MAX)
        .then_some((EntryRef { generation: send.generation, index: send.entry }, lasts))
}

/// The distribution of waits that have `ended`, with the waits added that still last. (Its percentiles remain
/// those of the ended waits.)
pub(crate) fn with_lasting(ended: DurationDist, waiting: Waiting) -> DurationDist {
    if waiting.count == 0 {
        return ended;
    }
    DurationDist {
        count: ended.count.wrapping_add(waiting.count.into()),
        sum: ended.sum.saturating_add(waiting.sum),
        min: [ended.min, waiting.shortest].into_iter().flatten().min(),
        max: Some(waiting.longest).max(ended.max),
        percentiles: ended.percentiles,
    }
}

/// Makes a record of a stall, as far as it is known at `now`. `waiting`: the association's sends that wait.
fn stall(id: Identity, evidence: &RawEvidence, waiting: u32, now: Duration) -> Stall {
    let since = Duration::from_nanos(evidence.since_ns);
    let until = (evidence.until_ns != 0).then(|| Duration::from_nanos(evidence.until_ns));
    let (cause, held) = cause(evidence, now);
    Stall {
        id: Identity { path: None, ..id },
        since,
        until,
        lasted: until.unwrap_or(now).saturating_sub(since),
        bytes: evidence.bytes,
        sacks: evidence.sacks,
        t3_expiries: evidence.t3_expiries,
        window: (evidence.has_window != 0).then_some(evidence.window),
        gaps: (evidence.gap_acked > 0).then_some(Gaps {
            tsn: evidence.missing_tsn,
            sent: (evidence.missing_sent > 0).then_some(evidence.missing_sent),
            missing: evidence.missing,
            acked: evidence.gap_acked,
        }),
        is_idle: evidence.is_idle != 0,
        waiting,
        cause,
        held,
    }
}

/// The length of an association's present stall up to `now`; `None` if there is none: no data is outstanding
/// or queued, or the cumulative TSN has not stood still for longer than the RTO.
fn stalled_for(state: &RawState, now: Duration) -> Option<Duration> {
    let lasts = now.saturating_sub(Duration::from_nanos(state.now.since_ns));
    (state.now.since_ns > 0 && lasts > Duration::from_nanos(state.rto_ns)).then_some(lasts)
}

/// An association's sums since the start: of its statistics, plus the closed window, the stall and the waits
/// that still last.
fn lasting(state: &RawState, stats: &RawStats, waiting: Waiting, now: Duration) -> Lasting {
    let closed = match state.zero_window_ns {
        0 => Duration::ZERO,
        since => now.saturating_sub(Duration::from_nanos(since)),
    };
    Lasting {
        zero_window: Duration::from_nanos(stats.zero_window_ns).saturating_add(closed),
        stalled: Duration::from_nanos(stats.stall_ns)
            .saturating_add(stalled_for(state, now).unwrap_or_default()),
        wait_events: stats.wait.count.wrapping_add(waiting.count.into()),
        waited: Duration::from_nanos(stats.wait.sum).saturating_add(waiting.sum),
        limited: limited(state, now),
    }
}

/// How long each limit applied to a sender, up to `now`.
fn limited(state: &RawState, now: Duration) -> Limited {
    let mut ns = state.limited_ns;
    if state.limited_since_ns > 0
        && let Some(by) = ns.get_mut(state.limited_by as usize)
    {
        let lasts = now.saturating_sub(Duration::from_nanos(state.limited_since_ns));
        *by = by.saturating_add(lasts.as_nanos() as u64);
    }
    Limited::new(ns)
}

fn row(assoc: &Snapshot<RawState, RawStats>, lasting: Lasting, now: Duration) -> Row {
    let (state, stats) = (&assoc.state, &assoc.stats);
    let stall = match stalled_for(state, now) {
        Some(_) => Some(&state.now),
        None => (state.last.since_ns > 0).then_some(&state.last),
    };
    Row {
        serial: assoc.of.generation,
        id: Identity { path: None, ..assoc.id.clone() },
        util_ppm: ValueDist::new(&stats.util, assoc.hist(0)),
        outqueue_bytes: ValueDist::new(&stats.outqueue, assoc.hist(1)),
        rwnd_bytes: ValueDist::new(&stats.rwnd, assoc.hist(2)),
        wait: DurationDist::new(&stats.wait, assoc.hist(3)),
        wait_events: lasting.wait_events,
        waited: lasting.waited,
        // In the histogram a millionth of the buffer counts as 1 us. So a percent is 10,000 us.
        util_histogram: assoc.hist(0).map(|counts| Histogram::of(counts, 10_000_000)),
        wait_histogram: assoc.hist(3).map(|counts| Histogram::of(counts, 1000)),
        refused: stats.refused,
        refused_einval: stats.refused_einval,
        refused_other: stats.refused_other,
        memory_waits: stats.memory_waits,
        zero_windows: stats.zero_windows,
        zero_window: lasting.zero_window,
        window_bytes: (state.now.has_window != 0).then_some(state.now.window),
        in_flight_max_bytes: stats.in_flight_max,
        recv_ppm: ValueDist::new::<u64>(&stats.recv, None),
        own_rwnd_bytes: ValueDist::new::<u64>(&stats.own_rwnd, None),
        stalls: stats.stalls,
        stalled: lasting.stalled,
        stall_max: Duration::from_nanos(stats.stall_max_ns),
        stall_cause: stall.map(|evidence| cause(evidence, now).0),
        stall_held: stall.map(|evidence| cause(evidence, now).1).unwrap_or_default(),
        stall_t3_expiries: stall.map_or(0, |evidence| evidence.t3_expiries),
        limited: lasting.limited,
        sndbuf_used: (state.sndbuf_limit > 0).then_some([state.sndbuf_used, state.sndbuf_limit]),
        received: None,
        buffers: (state.buffers_ns > 0).then_some(Buffers {
            sndbuf_bytes: state.sndbuf,
            rcvbuf_bytes: state.rcvbuf,
            peer_initial_rwnd_bytes: state.peer_rwnd,
            sock_assocs: state.sock_assocs,
            is_shared: state.sndbuf_policy == 0,
        }),
        held_ppm: (u128::from(stats.held) * 1_000_000)
            .checked_div(stats.held_by_all.into())
            .map(|ppm| ppm as u64),
    }
}

fn is_idle(stats: &RawStats) -> bool {
    let s = stats;
    [s.util.count, s.wait.count, s.recv.count, s.stalls, s.refused_einval, s.refused_other]
        .iter()
        .all(|n| *n == 0)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write};

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    /// A table of one element, which has these bytes at these offsets, and zeros elsewhere.
    fn table(size: usize, members: &[(usize, &[u8])]) -> File {
        let mut bytes = vec![0; size];
        for (at, member) in members {
            bytes[*at..at + member.len()].copy_from_slice(member);
        }
        let mut file = File::from(memfd_create(c"table", MFdFlags::empty()).unwrap());
        file.write_all(&bytes).unwrap();
        file
    }

    /// What lasts in an association, though no event comes: a send has waited since second 2, the window has
    /// been closed since second 3, and nothing was acknowledged since second 1.
    fn standing_still() -> Programs {
        let seconds = |n: u64| (n * 1_000_000_000).to_ne_bytes();
        let entry = table(
            size_of::<Entry<RawState, RawStats>>(),
            &[
                (offset_of!(Entry<RawState, RawStats>, object), &64_u64.to_ne_bytes()),
                (NOW_SINCE, &seconds(1)),
                (ZERO_WINDOW, &seconds(3)),
            ],
        );
        let send = table(
            size_of::<RawSend>(),
            &[
                (offset_of!(RawSend, tid), &7_u32.to_ne_bytes()),
                (offset_of!(RawSend, start_ns), &seconds(2)),
                (offset_of!(RawSend, full), &[1]),
            ],
        );
        Programs {
            assocs: Entries::map(&entry, 1).unwrap(),
            reported: vec![Reported::default()],
            sends: Some(Table::new(&send, 1).unwrap()),
            extended: true,
            stalls: None,
            receivers: None,
        }
    }

    fn moment(second: u32) -> Moment {
        Moment { interval: second, now: second * SECOND, pool_used: 0, sends_open: 1 }
    }

    fn the_row(rows: impl Iterator<Item = Result<Row, Error>>) -> Row {
        let mut rows: Vec<_> = rows.map(Result::unwrap).collect();
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }

    /// An association at which no event came has a row in each interval, with the interval's part of its wait,
    /// of its closed window and of its stall; and one at the end, with all of them.
    #[test]
    fn what_lasts_has_a_row_before_it_is_over() {
        let mut programs = standing_still();
        let mut parts = Vec::new();
        for second in 4..=6 {
            let row = the_row(programs.interval(moment(second)).unwrap());
            parts.push((row.wait_events, row.waited, row.zero_window, row.stalled));
        }
        let later = (0, SECOND, SECOND, SECOND);
        assert_eq!(parts, [(1, 2 * SECOND, SECOND, 3 * SECOND), later, later]);
        let row = the_row(programs.totals(Due::All, moment(6)).unwrap());
        assert_eq!((row.wait_events, row.waited), (1, 4 * SECOND));
        assert_eq!((row.wait.count, row.wait.max), (1, Some(4 * SECOND)));
        assert_eq!((row.zero_window, row.stalls, row.stalled), (3 * SECOND, 1, 5 * SECOND));
        let mut records = Vec::new();
        (0..2).for_each(|_| programs.lasting(moment(6), &mut records));
        assert_eq!(records.len(), 1, "a stall is handed out once");
    }

    /// Each stall that ends in an interval is handed out, but not one that was handed out while it lasted.
    #[test]
    fn each_stall_is_handed_out_once() {
        let mut programs = standing_still();
        let mut records = Vec::new();
        programs.hand_out_stalls(&[], moment(6), &mut records);
        let ended = [(1, 0), (20, 0), (30, 0), (1, 9)].map(|(since, generation)| {
            let second = |n: u64| n * 1_000_000_000;
            let mut raw = RawStall::new_zeroed();
            raw.generation = generation;
            (raw.evidence.since_ns, raw.evidence.until_ns) = (second(since), second(since + 2));
            raw
        });
        programs.hand_out_stalls(&ended, moment(40), &mut records);
        let found: Vec<_> = records
            .iter()
            .map(|record| match record {
                Record::Stall(stall) => (stall.since.as_secs(), stall.until.map(|until| until.as_secs())),
                Record::Wait(_) => panic!("{record:?}"),
            })
            .collect();
        assert_eq!(found, [(1, None), (20, Some(22)), (30, Some(32)), (1, Some(3))]);
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_interval_has_its_part_of_a_wait() {
        let mut before = Lasting::default();
        let mut parts = Vec::new();
        for second in 1..=3 {
            let now = Lasting { wait_events: 1, waited: second * SECOND, ..Lasting::default() };
            let (part, largest) = now.since(before);
            parts.push((part.wait_events, part.waited));
            before = largest;
        }
        assert_eq!(parts, [(1, SECOND), (0, SECOND), (0, SECOND)]);
        // The send did not wait after all: its wait that was handed out is not handed out again with a later
        // one.
        let (part, largest) = Lasting::default().since(before);
        assert!(part.is_idle());
        let (part, _) = Lasting { wait_events: 2, waited: 5 * SECOND, ..Lasting::default() }.since(largest);
        assert_eq!((part.wait_events, part.waited), (1, 2 * SECOND));
    }

    /// A sum may shrink: clocks of CPUs differ, and a send may only have seemed to wait. Then its increase in an
    /// interval is 0, and never negative.
    #[test]
    fn no_interval_has_less_than_nothing() {
        let sums = |n: u32| Lasting {
            zero_window: n * SECOND,
            stalled: n * SECOND,
            wait_events: n.into(),
            waited: n * SECOND,
            limited: Limited { cwnd: n * SECOND, ..Limited::default() },
        };
        let (part, largest) = sums(3).since(sums(5));
        assert!(part.is_idle());
        let (part, _) = sums(7).since(largest);
        assert_eq!((part.zero_window, part.stalled), (2 * SECOND, 2 * SECOND));
        assert_eq!((part.wait_events, part.waited), (2, 2 * SECOND));
    }

    #[test]
    fn a_send_waits_for_certain_or_for_some_time() {
        let send = RawSend {
            tid: 7,
            assoc_id: 1,
            start_ns: 5_000_000_000,
            nvcsw: 0,
            asoc: 0,
            entry: 3,
            generation: 4,
            msg_bytes: 100,
            full: 1,
            closed: 0,
            pad: 0,
        };
        let of = EntryRef { generation: 4, index: 3 };
        let now = 5 * SECOND + Duration::from_micros(3);
        assert_eq!(waits(&send, now), Some((of, Duration::from_micros(3))));
        assert_eq!(waits(&RawSend { full: 0, ..send }, now), None);
        assert_eq!(waits(&RawSend { full: 0, ..send }, 6 * SECOND), Some((of, SECOND)));
        assert_eq!(waits(&RawSend { start_ns: 0, ..send }, now), None);
        assert_eq!(waits(&RawSend { entry: u32::MAX, ..send }, now), None);
        assert_eq!(waits(&RawSend { tid: 0, ..send }, now), None);
        // `now` lies before the beginning of the wait: the clocks of two CPUs may differ.
        assert_eq!(waits(&send, SECOND), Some((of, Duration::ZERO)));
    }

    #[test]
    fn waits_that_last_count_beside_those_that_ended() {
        let ended = DurationDist {
            count: 1,
            sum: SECOND,
            min: Some(SECOND),
            max: Some(SECOND),
            percentiles: Some([SECOND; 3]),
        };
        let mut waiting = Waiting::default();
        assert_eq!(with_lasting(ended.clone(), waiting), ended);
        waiting.add(SECOND / 2);
        waiting.add(3 * SECOND);
        let all = with_lasting(ended.clone(), waiting);
        assert_eq!(
            (all.count, all.sum, all.min, all.max),
            (3, SECOND * 9 / 2, Some(SECOND / 2), Some(3 * SECOND))
        );
        assert_eq!(with_lasting(DurationDist::default(), waiting).min, Some(SECOND / 2));
    }
}
