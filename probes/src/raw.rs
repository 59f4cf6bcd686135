//! The kernel side's structs that all programs share, once: each program's skeleton has its own copy of them, and
//! `same_layout!` holds these to it. Numbers are of the kernel's byte order; times are nanoseconds of `CLOCK_MONOTONIC`
//! unless a name says otherwise.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct endpoint_addr` (`assoc.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct EndpointAddr {
    /// Address in network order; IPv4 has the first four bytes.
    pub ip: [u8; 16],
    /// `AF_INET`, `AF_INET6`, or 0 for an unknown address.
    pub family: u16,
    /// Port in host order.
    pub port: u16,
}

/// `struct identity` (`assoc.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Identity {
    /// Association id.
    pub assoc_id: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Own address of the association's first path.
    pub local: EndpointAddr,
    /// Peer's address of the association's first path.
    pub peer: EndpointAddr,
    /// Peer's address of this path.
    pub path: EndpointAddr,
    /// Which life of the association, from 1: a restart begins another.
    pub life: u32,
}

/// `struct dist` (`stats.h`), in nanoseconds, bytes or millionths.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Dist {
    /// Number of samples.
    pub count: u64,
    /// Sum of the samples.
    pub sum: u64,
    /// Smallest sample; all ones without samples.
    pub min: u64,
    /// Largest sample; 0 without samples.
    pub max: u64,
}

/// `struct window` (`entries.h`): the statistics of one interval.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Window<Stats> {
    /// Number of the interval.
    pub epoch: u32,
    pub pad: u32,
    /// Statistics of that interval.
    pub stats: Stats,
}

/// `struct entry` (`entries.h`): a path or an association.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Entry<State, Stats> {
    /// Equal to `seq_head` where no writer is busy.
    pub seq_tail: u64,
    /// Address of the kernel object; 0 in a free entry, odd in one that has ended.
    pub object: u64,
    /// Time of the last event.
    pub last_ns: u64,
    /// Running number of all entries ever made.
    pub generation: u32,
    /// Index of this entry.
    pub key: u32,
    /// Number of the interval in which it ended; 0 while it lives.
    pub ended: u32,
    /// Entries whose search begins here lie at most so many steps on.
    pub reach: u32,
    /// The generation, and whether the entry was handed out since it ended.
    pub mark: u32,
    pub pad: u32,
    /// Identity of the path or association.
    pub id: Identity,
    /// The program's own state, which it keeps once, and not per interval.
    pub state: State,
    /// Statistics since the start.
    pub stats: Stats,
    /// Statistics of the current and the last interval: even and odd numbers.
    pub window: [Window<Stats>; 2],
    /// Raised before each update.
    pub seq_head: u64,
}

/// Streams of an association that the kernel side finds without a search (`RECENT` in `streams.h`).
const RECENT: usize = 8;

/// The generation of an entry that is being made (`TAKEN` in `streams.h`).
pub const TAKEN: u32 = u32::MAX;

/// `struct assoc` (`streams.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Assoc<Stats> {
    /// Equal to `seq_head` where no writer is busy.
    pub seq_tail: u64,
    /// Running number of this life among all lives ever seen, from 1. 0: the entry is free. [`TAKEN`]: the entry is being
    /// made.
    pub generation: u32,
    /// Number of the interval in which it ended; 0 while it lives.
    pub ended: u32,
    /// When it was first seen.
    pub first_ns: u64,
    /// When it ended.
    pub ended_ns: u64,
    /// Jiffies at its last event.
    pub last_jiffies: u64,
    /// Number of events.
    pub events: u64,
    /// The last event, as the second copy of a program recognises it.
    pub last_event: u64,
    /// Indexes into the pool of streams, by stream identifier.
    pub recent: [u32; RECENT],
    /// Identity of the association.
    pub id: Identity,
    /// The program's own part.
    pub stats: Stats,
    /// Association id; 0 once it has ended.
    pub living_id: u32,
    /// Index of this entry.
    pub index: u32,
    /// Index into `places`, if the entry is not near its own place.
    pub place: u32,
    /// Number of its streams that have an entry.
    pub streams: u32,
    /// Raised before each update.
    pub seq_head: u64,
}

/// `struct stream` (`streams.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Stream<Stats> {
    /// Equal to `seq_head` where no writer is busy.
    pub seq_tail: u64,
    /// `generation` of its association. 0: the entry is free. [`TAKEN`]: the entry is being made.
    pub assoc_generation: u32,
    /// `index` of its association.
    pub assoc: u32,
    /// Jiffies at its last event.
    pub last_jiffies: u64,
    /// Index into `places`.
    pub place: u32,
    /// How often this entry was made anew: it differs where a stream comes back to the entry that it had.
    pub made: u32,
    /// Stream identifier.
    pub sid: u16,
    pub pad: [u16; 3],
    /// The program's own part.
    pub stats: Stats,
    /// Raised before each update.
    pub seq_head: u64,
}

/// `struct filter` (`settings.h`); 0 means any.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Immutable, IntoBytes)]
pub struct Filter {
    pub assoc_id: u32,
    pub netns: u32,
    /// Process number, as seen in the pid namespace below.
    pub tgid: u32,
    pub lport: u16,
    pub rport: u16,
    /// Address family of `ip`.
    pub family: u16,
    pub ip: [u8; 16],
    pub pad: [u8; 6],
    /// Inode number of the pid namespace in which `tgid` is meant.
    pub pidns: u64,
}

/// `struct settings` (`settings.h`): constants of the programs, written before they are loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Immutable, IntoBytes)]
pub struct Settings {
    pub filter: Filter,
    /// Length of a jiffy in nanoseconds.
    pub jiffy_ns: u64,
    /// Optional outputs: the bits below.
    pub wants: u32,
    /// Whether `filter` has any member set.
    pub want_filter: u32,
    /// Whether ended associations make room once they have been shown.
    pub want_reuse: u32,
    /// Largest indexes of tables, whose sizes are powers of two.
    pub entry_mask: u32,
    pub assoc_mask: u32,
    pub set_mask: u32,
    pub stream_mask: u32,
    pub place_mask: u32,
}

/// Bit of `wants`: statistics of each interval.
pub const WANT_WINDOWS: u32 = 1;
/// Bit of `wants`: histograms, and what else a program has for `-x`.
pub const WANT_EXTENDED: u32 = 2;
/// Bit of `wants`: a ring buffer record per event.
pub const WANT_EVENTS: u32 = 4;
/// Bit of `wants`: histograms of the lengths of messages.
pub const WANT_SIZES: u32 = 8;

/// `struct shared` (`shared.h`): what both sides touch while the programs run.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Shared<Accounting> {
    /// Number of the interval; never 0.
    pub epoch: u32,
    /// Set by user space before it sleeps: wake it at the next record.
    pub want_wakeup: u32,
    /// Entries of the pool of streams ever used; may exceed their number.
    pub pool_used: u32,
    /// Returns of functions whose arguments the probe at the entry has not kept (`frame.h`).
    pub frames_lost: u32,
    /// Sends that may have to wait.
    pub sends_open: u32,
    /// Not 0: the filter has left out an event.
    pub passed_over: u32,
    /// The program's own counts of what was lost or left out.
    pub accounting: Accounting,
}

/// Holds our structs to those of a skeleton, at compile time: the same size, and the same offset of each member named.
/// `@entries` and `@streams` are what all programs of the family share.
macro_rules! same_layout {
    ($types:ident; $($rest:tt)*) => {
        const _: () = { $crate::raw::same_layout!(@each $types; $($rest)*); };
    };
    (@each $types:ident;) => {};
    (@each $types:ident; @common; $($rest:tt)*) => {
        $crate::raw::same_layout!(@each $types;
            $crate::raw::EndpointAddr = endpoint_addr { ip, family, port };
            $crate::raw::Identity = identity { assoc_id, netns, local, peer, path, life };
            $crate::raw::Filter = filter {
                assoc_id, netns, tgid, lport, rport, family, ip, pidns
            };
            $crate::raw::Settings = settings {
                filter, jiffy_ns, wants, want_filter, want_reuse, entry_mask, assoc_mask, set_mask, stream_mask,
                place_mask
            };
            $crate::raw::Shared<RawAccounting> = shared {
                epoch, want_wakeup, pool_used, frames_lost, sends_open, passed_over, accounting
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
                living_id, index, place, streams, seq_head
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
