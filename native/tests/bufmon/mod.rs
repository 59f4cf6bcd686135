//! Rust copies of the structs of `bufmon.bpf.c` and its wrapper `bufmon.c`, for `tests/bufmon.rs` and
//! `tests/entries.rs`.

#![allow(dead_code)]

use sctptrace_native::{
    association::AssocArgs,
    raw::{self, Dist},
    stall::RawEvidence,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct stats` (`bufmon.bpf.c`): statistics of an association.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Stats {
    pub util: Dist,
    pub outqueue: Dist,
    pub rwnd: Dist,
    pub wait: Dist,
    pub recv: Dist,
    pub own_rwnd: Dist,
    pub refused: u64,
    pub zero_windows: u64,
    pub zero_window_ns: u64,
    pub in_flight_max: u64,
    pub stalls: u64,
    pub stall_ns: u64,
    pub stall_max_ns: u64,
    pub refused_einval: u64,
    pub refused_other: u64,
    pub held: u64,
    pub held_by_all: u64,
    pub memory_waits: u64,
}

/// `struct state` (`bufmon.bpf.c`): what the program keeps of an association besides statistics.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct State {
    pub now: RawEvidence,
    pub last: RawEvidence,
    pub rto_ns: u64,
    pub zero_window_ns: u64,
    pub sack_seen: u32,
    pub payload_noted: u32,
    pub limited_ns: [u64; 6],
    pub limited_since_ns: u64,
    pub limited_by: u32,
    pub waiting: u32,
    pub refused: u32,
    pub sndbuf_used: u32,
    pub sndbuf_limit: u32,
    pub sndbuf: u32,
    pub rcvbuf: u32,
    pub peer_rwnd: u32,
    pub sock_assocs: u32,
    pub sndbuf_policy: u32,
    pub buffers_ns: u64,
}

/// `struct accounting` (`bufmon.bpf.c`): counts of records, entries, samples and waits that were lost.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes)]
pub struct Accounting {
    pub lost: u64,
    pub assocs_evicted: u64,
    pub samples_evicted: u64,
    pub waits_unknown: u64,
    pub waits_missed: u64,
    pub recv_evicted: u64,
    pub recv_missed: u64,
    pub recv_late: u64,
}

/// `struct entry` (`entries.h`): an association's entry.
pub type Entry = raw::Entry<State, Stats>;

/// `struct shared` (`shared.h`): the variables that programs share with user space.
pub type Shared = raw::Shared<Accounting>;

/// `struct buffer_args` (`bufmon.c`): fields of an association, its socket and the current thread that hooks
/// read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
pub struct Buffer {
    pub assoc: AssocArgs,
    pub state: u32,
    /// RTO of the active path, in jiffies.
    pub rto: u32,
    pub sndbuf: i32,
    pub used: i32,
    pub forward_alloc: i32,
    pub queued: u32,
    pub in_flight: u32,
    pub rcvbuf: i32,
    pub received: i32,
    pub own_rwnd: u32,
    pub memcg: u32,
    pub pressure: u32,
    pub tid: u32,
    /// Number of the active path, below 4: the one that new data takes, and that T3-rtx expires on.
    pub active: u32,
    /// RTO of the primary path, in jiffies, if that is not the active one.
    pub primary_rto: u32,
    /// User data of the chunk after `ctsn_ack_point`, which was sent on the active path; 0: none was sent.
    pub missing_bytes: u32,
    /// How often that chunk was sent.
    pub missing_sent: u32,
    pub nvcsw: u64,
    pub waiters: u64,
    pub closed: u64,
    /// When a packet last came, in ns.
    pub heard_ns: u64,
    /// `asoc->peer.rwnd`: the peer's window, less what is in flight.
    pub window: u32,
    pub flight: [u32; 4],
    pub cwnd: [u32; 4],
    /// `enum sctp_spinfo_state`.
    pub path_state: [u32; 4],
    /// Number of the path that takes retransmissions.
    pub retran: u32,
    /// Number of the path that the application chose for the first queued chunk, plus 1; 0: it chose none.
    pub chosen: u32,
    /// User data of the first queued chunk, where `queued` is not 0.
    pub head_bytes: u32,
    /// User data of the first chunk to be sent again; 0: there is none.
    pub again_bytes: u32,
    /// 1: the socket's associations share its send buffer (`net.sctp.sndbuf_policy` 0).
    pub shared: u32,
    /// Bytes of the send buffer that all associations of the socket use together.
    pub used_by_all: i32,
    /// Number of the socket's associations.
    pub sock_assocs: u32,
    /// Window in the peer's INIT or INIT ACK.
    pub peer_rwnd: u32,
    pub idata: u8,
    pub nodelay: u8,
    pub more: u8,
    /// Whether Nagle's rule may hold the first chunk.
    pub can_delay: u8,
}

impl Buffer {
    /// An established association with empty buffers, as a hook in a softirq finds it.
    pub const UP: Self = Self {
        assoc: AssocArgs {
            index: 0,
            assoc_id: 1,
            primary: 0,
            next_tsn: 8,
            ctsn_ack_point: 7,
            adv_peer_ack_point: 7,
            highest_sacked: 7,
        },
        state: 3,
        rto: 250,
        sndbuf: 100_000,
        used: 0,
        forward_alloc: 4096,
        queued: 0,
        in_flight: 0,
        rcvbuf: 100_000,
        received: 0,
        own_rwnd: 50_000,
        memcg: 0,
        pressure: 0,
        tid: 0,
        active: 0,
        primary_rto: 250,
        missing_bytes: 0,
        missing_sent: 0,
        nvcsw: 0,
        waiters: 0,
        closed: 0,
        heard_ns: 0,
        window: 100_000,
        flight: [0; 4],
        cwnd: [4380; 4],
        path_state: [2; 4],
        retran: 0,
        chosen: 0,
        head_bytes: 100,
        again_bytes: 0,
        shared: 0,
        used_by_all: 0,
        sock_assocs: 1,
        peer_rwnd: 106_496,
        idata: 0,
        nodelay: 0,
        more: 0,
        can_delay: 1,
    };
}

/// `struct send_args` (`bufmon.c`): arguments of the hooks at the beginning and the end of a send.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
pub struct SendArgs {
    pub buffer: Buffer,
    pub msg_bytes: u64,
    pub returned: i32,
    pub msg_flags: u32,
}

/// `struct send` (`bufmon.bpf.c`): a send that may have to wait.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes)]
pub struct Send {
    pub tid: u32,
    pub assoc_id: u32,
    pub start_ns: u64,
    pub nvcsw: u64,
    pub asoc: u64,
    pub entry: u32,
    pub generation: u32,
    pub msg_bytes: u32,
    pub full: u8,
    pub closed: u8,
    pub pad: u16,
}

/// `struct stall_event` (`bufmon.bpf.c`): the record of a stall that has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct StallEvent {
    pub entry: u32,
    pub generation: u32,
    pub id: raw::Identity,
    pub pad: u32,
    pub evidence: RawEvidence,
}

/// `struct event` (`bufmon.bpf.c`): the record of a wait.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Event {
    pub time_ns: u64,
    pub wait_ns: u64,
    pub assoc_id: u32,
    pub entry: u32,
    pub generation: u32,
    pub msg_bytes: u32,
}
