//! The C structs that the kernel-side programs share, defined once in Rust. Each program's skeleton has its
//! own copy of them; `same_layout!` checks at compile time that each copy has the same layout as the struct
//! here. Numbers are in host byte order; times are nanoseconds of `CLOCK_MONOTONIC` unless a name says
//! otherwise.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An IP address and a port: `struct endpoint_addr` of `assoc.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct EndpointAddr {
    /// Address in network byte order; an IPv4 address takes the first four bytes.
    pub ip: [u8; 16],
    /// `AF_INET`, `AF_INET6`, or 0 for an unknown address.
    pub family: u16,
    /// Port in host order.
    pub port: u16,
}

/// Identity of a path or of an association: `struct identity` of `assoc.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct Identity {
    /// Association id.
    pub assoc_id: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// This host's address and port on the association's first path, the one that its INIT took.
    pub local: EndpointAddr,
    /// Peer's address and port on the association's first path.
    pub peer: EndpointAddr,
    /// Peer's address that the path leads to. In an association's identity: that of one of its paths.
    pub path: EndpointAddr,
    /// Number of the association's life, from 1: each restart begins another.
    pub life: u32,
    /// 1: this host has sent the INIT, and the peer accepted the association.
    pub began_here: u32,
}

/// A process: `struct process` of `owner.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes)]
pub struct Process {
    /// Id of its cgroup in the hierarchy of cgroup v2.
    pub cgroup: u64,
    /// Its number in the initial pid namespace; 0: no process.
    pub tgid: u32,
    /// Its number in [`Settings::pidns`]; 0: it has none there.
    pub pid: u32,
    /// Name of its first thread, which ends with a zero byte.
    pub comm: [u8; 16],
}

/// The processes that have a socket open: `struct owner` of `owner.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes)]
pub struct Owner {
    /// The process that made the socket, or the first that a round has found.
    pub last: Process,
    /// Another process that the last round has found.
    pub other: Process,
    /// The last round in which `last` had the socket.
    pub last_round: u32,
    /// The last round in which a process had the socket that the filter names; 0: none had.
    pub wanted_round: u32,
    /// The last round that has found a process.
    pub round: u32,
    /// Number of processes that this round has found.
    pub owners: u32,
    /// [`Process::tgid`] of the process that was counted last.
    pub counted: u32,
    pub pad: u32,
}

/// The socket or the last owner of an association: `struct assoc_owner` of `owner.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes)]
pub struct AssocOwner {
    /// Address of the socket; 0 once the association has ended.
    pub sk: u64,
    /// The last owner, once the association has ended.
    pub last: Process,
    /// Number of processes that had the socket at the association's end.
    pub owners: u32,
    /// Payload protocol identifier of its DATA chunks; valid only if `has_payload` is not 0.
    pub payload: u32,
    /// 1 once a DATA chunk was looked at, else 0.
    pub has_payload: u32,
    pub pad: u32,
}

/// How many bytes of a cgroup's path are kept, the last ones: `CGROUP_ROOM` of `owner.h`.
pub const CGROUP_ROOM: usize = 256;

/// The path of a cgroup: `struct cgroup_path` of `owner.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes)]
pub struct CgroupPath {
    /// Index at which the path begins. It ends at [`CGROUP_ROOM`].
    pub start: u32,
    pub pad: u32,
    pub text: [u8; 2 * CGROUP_ROOM],
}

/// Number, sum, smallest and largest of some samples: `struct dist` of `stats.h`. The samples are in
/// nanoseconds, in bytes, or in millionths of a buffer's size.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Dist {
    /// Number of samples.
    pub count: u64,
    /// Sum of the samples.
    pub sum: u64,
    /// Smallest sample; `u64::MAX` if there is none.
    pub min: u64,
    /// Largest sample; 0 if there is none.
    pub max: u64,
}

/// The statistics of one interval, in an entry: `struct window` of `entries.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Window<Stats> {
    /// Number of the interval; 0: of none.
    pub epoch: u32,
    pub pad: u32,
    /// Statistics of the interval with this number.
    pub stats: Stats,
}

/// Identity, state and statistics of a path or an association: `struct entry` of `entries.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Entry<State, Stats> {
    /// Equal to `seq_head` unless a writer is changing the entry.
    pub seq_tail: u64,
    /// Address of the path or association in the kernel; 0 in a free entry. The lowest bit is set once the
    /// entry has ended.
    pub object: u64,
    /// Time of the last event of the path or association.
    pub last_ns: u64,
    /// Running number of this entry among all ever made.
    pub generation: u32,
    /// Index of this entry in the table.
    pub key: u32,
    /// Number of the interval in which the path or association, or its life, ended; 0 while it lives.
    pub ended: u32,
    /// Largest number of search steps from this place to an entry whose search begins here.
    pub reach: u32,
    /// The generation, shifted left by one. Bit 0: user space has handed out this entry since it ended.
    pub mark: u32,
    pub pad: u32,
    /// Identity of the path or association.
    pub id: Identity,
    /// The program's own state of the path or association. Unlike statistics, it is not kept per interval.
    pub state: State,
    /// Statistics since the start.
    pub stats: Stats,
    /// Statistics of the latest even and the latest odd interval that had events; `epoch` says which
    /// intervals.
    pub window: [Window<Stats>; 2],
    /// Raised by one before each update of the entry; afterwards `seq_tail` is set to it.
    pub seq_head: u64,
}

/// Number of slots in a set of the table `inflight`: `SET_SLOTS` of `chunks.h`.
pub const SET_SLOTS: u32 = 4;

/// A chunk that waits for its SACK, or a message that waits to be read: `struct slot` of `chunks.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes)]
pub struct Slot {
    /// Association id and TSN of the chunk, or address of the message's event (`recv_key()` in `recv_wait.h`);
    /// 0 in a free slot, all ones in one that is being written.
    pub key: u64,
    /// When the chunk was sent, or since when the message can be read.
    pub sent_ns: u64,
    /// Index of the entry of the chunk's path, or of the message's association.
    pub path: u32,
    /// Generation of that entry.
    pub path_generation: u32,
    pub note: u32,
    pub pad: u32,
}

/// How many streams of an association the kernel side finds without a search: `RECENT` of `streams.h`.
const RECENT: usize = 8;

/// The generation of an entry that a CPU is just making: `TAKEN` of `streams.h`.
pub const TAKEN: u32 = u32::MAX;

/// An association's entry in the tables of `sctp-jitter` and `sctp-streamutil`: `struct assoc` of
/// `streams.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Assoc<Stats> {
    /// Equal to `seq_head` unless a writer is changing the entry.
    pub seq_tail: u64,
    /// Running number of this entry among all entries of associations ever made, from 1. 0: the entry is
    /// free. [`TAKEN`]: the entry is being made.
    pub generation: u32,
    /// Number of the interval in which the association, or its life, ended; 0 while it lives.
    pub ended: u32,
    /// When the entry was made: at the first event of the association, or at its restart.
    pub first_ns: u64,
    /// When the association, or its life, ended. Valid only if `ended` is not 0.
    pub ended_ns: u64,
    /// Jiffies at the last event of the association.
    pub last_jiffies: u64,
    /// Number of the association's events: chunks that arrived, or that were sent.
    pub events: u64,
    /// Identifies the association's last event, so that the second copy of a program does not count it again.
    pub last_event: u64,
    /// Indexes into the pool of streams, one per stream identifier modulo `RECENT`. The entry at an index may
    /// have become another stream's.
    pub recent: [u32; RECENT],
    /// Identity of the association.
    pub id: Identity,
    /// The program's own statistics and state of the association.
    pub stats: Stats,
    /// Association id; 0 once the association has ended.
    pub living_id: u32,
    /// Index of this entry in the table of associations.
    pub index: u32,
    /// Index into the map `places`, by which the entry is found; all ones (`NO_INDEX`) where it lies near the
    /// index that equals its id, and needs none.
    pub place: u32,
    /// Number of the association's streams that have an entry.
    pub streams: u32,
    /// The generation for which unseen chunks were looked for at the end of the run (`living.h`).
    pub checked: u32,
    pub pad: u32,
    /// Raised by one before each update of the entry; afterwards `seq_tail` is set to it.
    pub seq_head: u64,
}

/// A stream's entry in the pool of streams: `struct stream` of `streams.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Stream<Stats> {
    /// Equal to `seq_head` unless a writer is changing the entry.
    pub seq_tail: u64,
    /// [`Assoc::generation`] of the stream's association. 0: the entry is free. [`TAKEN`]: the entry is being
    /// made.
    pub assoc_generation: u32,
    /// [`Assoc::index`] of the stream's association.
    pub assoc: u32,
    /// Jiffies at the last event of the stream.
    pub last_jiffies: u64,
    /// Index into the map `places`, by which the entry is found.
    pub place: u32,
    /// How often this entry was made: differs where a stream was evicted and later got the same entry again.
    pub made: u32,
    /// Stream identifier.
    pub sid: u16,
    pub pad: [u16; 3],
    /// The program's own statistics and state of the stream.
    pub stats: Stats,
    /// Raised by one before each update of the entry; afterwards `seq_tail` is set to it.
    pub seq_head: u64,
}

/// Bytes of a peer's text that are kept: `LIFE_TEXT` of `lifecycle.h`.
pub const LIFE_TEXT: usize = 128;
/// Number of paths that an event has: `LIFE_PATHS` of `lifecycle.h`.
pub const LIFE_PATHS: usize = 8;

/// The first error cause of a chunk: `struct abort_cause` of `lifecycle.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Cause {
    /// Type of the peer's chunk that is being processed (RFC 9260 3.2), or [`Cause::NO_CHUNK`].
    pub chunk: u16,
    /// 1: the chunk is an ABORT with an error cause.
    pub has_code: u16,
    /// Cause code (RFC 9260 3.3.10).
    pub code: u16,
    /// Number of bytes of `text`.
    pub text_len: u16,
    /// The reason that the sender of the ABORT gave.
    pub text: [u8; LIFE_TEXT],
}

impl Cause {
    /// [`Cause::chunk`] where the kernel was processing no chunk.
    pub const NO_CHUNK: u16 = 0xffff;
}

/// The addresses and the state of a path: `struct life_path` of `lifecycle.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct LifePath {
    /// This host's address of the path.
    pub local: EndpointAddr,
    /// The peer's address.
    pub peer: EndpointAddr,
    /// State of the path: `enum sctp_spinfo_state`.
    pub state: u32,
}

/// The settings of an association: `struct life_settings` of `lifecycle.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct LifeSettings {
    pub streams_out: u32,
    pub streams_in: u32,
    /// `SO_SNDBUF` and `SO_RCVBUF` of the socket, in bytes, as the kernel doubles them.
    pub sndbuf: u32,
    pub rcvbuf: u32,
    /// Window in the peer's INIT or INIT ACK, and in our own, in bytes.
    pub peer_rwnd: u32,
    pub own_rwnd: u32,
    /// `rto_initial` is in jiffies, as are `rto_min`, `rto_max`, `sack_delay` and `hb_interval`.
    pub rto_initial: u32,
    pub rto_min: u32,
    pub rto_max: u32,
    pub sack_delay: u32,
    /// Number of packets after which a SACK is sent.
    pub sack_freq: u32,
    pub hb_interval: u32,
    pub path_max_retrans: u32,
    pub assoc_max_retrans: u32,
    pub pf_retrans: u32,
    /// The peer's UDP port (RFC 6951); 0: no encapsulation.
    pub encap_port: u32,
    /// Number of paths in `path`.
    pub paths: u32,
    pub nodelay: u8,
    pub idata: u8,
    pub prsctp: u8,
    pub reconf: u8,
    pub auth: u8,
    pub ecn: u8,
    pub pad: [u8; 2],
    pub path: [LifePath; LIFE_PATHS],
}

/// An association was found, came up, restarted, ended or failed to come up: `struct life_event` of `lifecycle.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct LifeEvent {
    pub at_ns: u64,
    /// When this host began the association; 0 if unknown, or if the peer did.
    pub begun_ns: u64,
    /// When this life came up; 0 if unknown.
    pub up_ns: u64,
    /// Bytes of user data queued, or sent and not acknowledged.
    pub left_bytes: u64,
    /// `LIFE_*`.
    pub event: u32,
    /// `enum sctp_state`.
    pub state: u32,
    /// Errors in a row over all paths, and how many end the association.
    pub error_count: u32,
    pub error_limit: u32,
    /// INIT chunks made.
    pub inits: u32,
    /// How many processes had the socket; [`LifeEvent::NO_OWNER`] if unknown.
    pub owners: u32,
    /// How the kernel notified the process (`enum sctp_sac_state`); 0xffff if it did not.
    pub notified: u16,
    /// The cause code that came with the notification.
    pub error: u16,
    pub initiated_here: u8,
    /// 1: a process of this host has aborted the association.
    pub aborted: u8,
    /// 1: by close(2).
    pub by_close: u8,
    /// 1: SO_LINGER of the socket is 0.
    pub lingers: u8,
    /// 1: ICMP said that the peer's host has no SCTP.
    pub by_icmp: u8,
    /// 1: no process has the socket.
    pub is_orphan: u8,
    /// 1: the T5-shutdown-guard timer has expired.
    pub by_t5: u8,
    /// 1: the T5-shutdown-guard timer runs: this host has sent a SHUTDOWN.
    pub t5_runs: u8,
    /// 1: the kernel has not chosen a path for any INIT of this host.
    pub no_init: u8,
    pub pad: [u8; 3],
    /// One of the processes that have the socket, or the last process that had it.
    pub owner: Process,
    pub id: Identity,
    pub cause: Cause,
    /// Settings, where the association came up or was there at the start.
    pub settings: LifeSettings,
}

impl LifeEvent {
    /// The value of [`LifeEvent::owners`] if the number of owners is unknown.
    pub const NO_OWNER: u32 = u32::MAX;
}

/// Which associations, sockets and addresses to trace: `struct filter` of `settings.h`. A member that is 0
/// excludes nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Immutable, IntoBytes)]
pub struct Filter {
    pub assoc_id: u32,
    pub netns: u32,
    /// Process number in the pid namespace [`Settings::pidns`].
    pub tgid: u32,
    pub lport: u16,
    pub rport: u16,
    /// Address family of `ip`.
    pub family: u16,
    pub ip: [u8; 16],
    pub pad: [u8; 6],
    /// Id of a cgroup of cgroup v2, whose descendants count as itself.
    pub cgroup: u64,
}

/// Constants of the programs, written before they are loaded: `struct settings` of `settings.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Immutable, IntoBytes)]
pub struct Settings {
    pub filter: Filter,
    /// Inode number of the pid namespace in which numbers of processes count.
    pub pidns: u64,
    /// Length of a jiffy in nanoseconds.
    pub jiffy_ns: u64,
    /// Only samples above this have a record (`sctp-rtt`).
    pub above_ns: u64,
    /// Optional outputs, one bit each: [`WANT_WINDOWS`], [`WANT_EXTENDED`], [`WANT_EVENTS`], [`WANT_SIZES`],
    /// [`WANT_OWNERS`], [`WANT_PATHS`].
    pub wants: u32,
    /// 1 if any member of `filter` is set, else 0.
    pub want_filter: u32,
    /// 1 if the entries of ended associations make room once user space has handed them out, else 0.
    pub want_reuse: u32,
    /// Largest index of the table `entries`, whose size is a power of two.
    pub entry_mask: u32,
    /// Largest index of the table `assocs`, whose size is a power of two.
    pub assoc_mask: u32,
    /// Largest index of the table `inflight`, whose size is a power of two.
    pub set_mask: u32,
    /// Largest index of the table `streams`, whose size is a power of two.
    pub stream_mask: u32,
    /// Largest index of the map `places`, whose size is a power of two.
    pub place_mask: u32,
}

/// Bit of [`Settings::wants`]: statistics of each interval.
pub const WANT_WINDOWS: u32 = 1;
/// Bit of [`Settings::wants`]: histograms, and the other figures of `-x`.
pub const WANT_EXTENDED: u32 = 2;
/// Bit of [`Settings::wants`]: each single event in the ring buffer.
pub const WANT_EVENTS: u32 = 4;
/// Bit of [`Settings::wants`]: histograms of the lengths of messages (`sctp-streamutil`).
pub const WANT_SIZES: u32 = 8;
/// Bit of [`Settings::wants`]: the processes that have each association's socket.
pub const WANT_OWNERS: u32 = 16;
/// Bit of [`Settings::wants`]: the path that each chunk takes, not the primary path for all.
pub const WANT_PATHS: u32 = 32;

/// Memory that user space and the programs read and write while these run: `struct shared` of `shared.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Shared<Accounting> {
    /// Number of the current interval; never 0.
    pub epoch: u32,
    /// 1: user space asks to be woken at the next record. The program that does so sets 0.
    pub want_wakeup: u32,
    /// Number of entries of the pool of streams that were ever used; may exceed the size of the pool.
    pub pool_used: u32,
    /// How often a kretprobe did not find the arguments of its function: the kprobe at the function's entry
    /// did not run, or the arguments were evicted (`frame.h`).
    pub frames_lost: u32,
    /// Number of sends in progress that may have to wait for room (`sctp-bufmon`).
    pub sends_open: u32,
    /// Not 0 once the filter has left out an event.
    pub passed_over: u32,
    /// Number of the last round in which the iterator `owner_has` looked at all open files, or of the one that is under
    /// way. The first has number 1.
    pub round: u32,
    /// Number of the last round that is over.
    pub rounds_done: u32,
    /// How many more rounds should be made. The programs set 2 where a socket may have got, or lost, an owner.
    pub rounds_due: u32,
    /// 1: the run is over, and the programs do nothing more.
    pub is_off: u32,
    /// Number of events that one copy of a program counted because the kernel did not run the other (`ON_ENTRY_MARKED`
    /// in `hooks.h`).
    pub taken_over: u64,
    /// Begins, restarts and ends of associations for which the ring buffer had no room (`lifecycle.h`).
    pub lives_lost: u64,
    /// Chunks of living associations that the kernel counted and no program saw, found at the end of the run
    /// (`living.h`).
    pub unseen_living: u64,
    /// The program's own counts of what was lost or left out.
    pub accounting: Accounting,
}

/// Checks at compile time that structs of this crate have the same size as their twins in a skeleton, and
/// that each member named has the same offset. `@entries` and `@streams` stand for the structs that all
/// programs with `entries.h`, or with `streams.h`, share.
macro_rules! same_layout {
    ($types:ident; $($rest:tt)*) => {
        const _: () = { $crate::raw::same_layout!(@each $types; $($rest)*); };
    };
    (@each $types:ident;) => {};
    (@each $types:ident; @common; $($rest:tt)*) => {
        $crate::raw::same_layout!(@each $types;
            $crate::raw::EndpointAddr = endpoint_addr { ip, family, port };
            $crate::raw::Identity = identity { assoc_id, netns, local, peer, path, life, began_here };
            $crate::raw::Process = process { cgroup, tgid, pid, comm };
            $crate::raw::Owner = owner { last, other, last_round, wanted_round, round, owners, counted };
            $crate::raw::AssocOwner = assoc_owner { sk, last, owners, payload, has_payload };
            $crate::raw::CgroupPath = cgroup_path { start, text };
            $crate::raw::Cause = abort_cause { chunk, has_code, code, text_len, text };
            $crate::raw::LifePath = life_path { local, peer, state };
            $crate::raw::LifeSettings = life_settings {
                streams_out, streams_in, sndbuf, rcvbuf, peer_rwnd, own_rwnd, rto_initial, rto_min, rto_max, sack_delay,
                sack_freq, hb_interval, path_max_retrans, assoc_max_retrans, pf_retrans, encap_port, paths, nodelay,
                idata, prsctp, reconf, auth, ecn, path
            };
            $crate::raw::LifeEvent = life_event {
                at_ns, begun_ns, up_ns, left_bytes, event, state, error_count, error_limit, inits, owners, notified, error,
                initiated_here, aborted, by_close, lingers, by_icmp, is_orphan, by_t5, t5_runs, no_init, owner,
                id, cause, settings
            };
            $crate::raw::Filter = filter {
                assoc_id, netns, tgid, lport, rport, family, ip, cgroup
            };
            $crate::raw::Settings = settings {
                filter, pidns, jiffy_ns, above_ns, wants, want_filter, want_reuse, entry_mask, assoc_mask, set_mask, stream_mask,
                place_mask
            };
            $crate::raw::Shared<RawAccounting> = shared {
                epoch, want_wakeup, pool_used, frames_lost, sends_open, passed_over, round,
                rounds_done, rounds_due, is_off, taken_over, lives_lost, unseen_living, accounting
            };
            $($rest)*
        );
    };
    (@each $types:ident; @entries; $($rest:tt)*) => {
        $crate::raw::same_layout!(@each $types;
            @common;
            $crate::raw::Dist = dist { count, sum, min, max };
            $crate::raw::Window<RawStats> = window { epoch, stats };
            $crate::raw::Entry<RawState, RawStats> = entry {
                seq_tail, object, last_ns, generation, key, ended, reach, mark, id, state, stats, window, seq_head
            };
            $($rest)*
        );
    };
    (@each $types:ident; @streams; $($rest:tt)*) => {
        $crate::raw::same_layout!(@each $types;
            @common;
            $crate::raw::Assoc<RawAssoc> = assoc {
                seq_tail, generation, ended, first_ns, ended_ns, last_jiffies, events, last_event, recent, id, stats,
                living_id, index, place, streams, checked, seq_head
            };
            $crate::raw::Stream<RawStream> = stream {
                seq_tail, assoc_generation, assoc, last_jiffies, place, made, sid, stats, seq_head
            };
            $($rest)*
        );
    };
    (@each $types:ident; $ours:ty = $theirs:ident { $($member:ident),* }; $($rest:tt)*) => {
        assert!(size_of::<$ours>() == size_of::<$types::$theirs>());
        $(assert!(
            std::mem::offset_of!($ours, $member) == std::mem::offset_of!($types::$theirs, $member)
        );)*
        $crate::raw::same_layout!(@each $types; $($rest)*);
    };
}
pub(crate) use same_layout;
