//! The structs of `bufmon.bpf.c` and of its wrapper, for tests of it and of `entries.h`.

#![allow(dead_code)]

use sctptrace_native::{
    association::AssocArgs,
    raw::{self, Dist},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct stats`.
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
}

/// `struct evidence`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct Evidence {
    pub since_ns: u64,
    pub until_ns: u64,
    pub bytes: u64,
    pub t3_expiries: u32,
    pub zero_window: u8,
    pub sender_waits: u8,
    pub own_queue: u8,
    pub pad: u8,
}

/// `struct state`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct State {
    pub now: Evidence,
    pub last: Evidence,
    pub rto_ns: u64,
    pub zero_window_ns: u64,
    pub cum_tsn: u32,
    pub seen: u32,
}

/// `struct accounting`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes)]
pub struct Accounting {
    pub lost: u64,
    pub assocs_evicted: u64,
    pub samples_evicted: u64,
    pub waits_unknown: u64,
    pub waits_missed: u64,
    pub sends_open: u64,
}

/// `struct entry`.
pub type Entry = raw::Entry<State, Stats>;

/// `struct shared`.
pub type Shared = raw::Shared<Accounting>;

/// `struct buffer_args` (`bufmon.c`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
pub struct Buffer {
    pub assoc: AssocArgs,
    pub state: u32,
    /// In jiffies.
    pub rto: u32,
    pub sndbuf: i32,
    pub used: i32,
    pub forward_alloc: i32,
    pub queued: u32,
    pub in_flight: u32,
    pub rcvbuf: i32,
    pub received: i32,
    pub own_rwnd: u32,
    pub tid: u32,
    pub nvcsw: u64,
    pub waiters: u64,
}

impl Buffer {
    /// An association that is up, with nothing in its buffers; looked at in a softirq.
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
        tid: 0,
        nvcsw: 0,
        waiters: 0,
    };
}

/// `struct send_args` (`bufmon.c`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
pub struct SendArgs {
    pub buffer: Buffer,
    pub msg_bytes: u64,
    pub returned: i32,
    pub msg_flags: u32,
}

/// `struct send`.
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

/// `struct event`.
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
