//! Causes of stalls. A stall is a time, longer than the RTO, in which data was outstanding or queued and the
//! cumulative TSN stood still (`bufmon.bpf.c`).

use std::time::Duration;

use zerocopy::FromBytes;

/// Why an association stalls: the cause that held for the largest part of the stall. Each SACK and each
/// T3-rtx expiry begins a new part, and `what_holds()` in `bufmon.bpf.c` decides the cause of each part. The
/// conditions below are those of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallCause {
    /// The conditions of none of the other causes are met.
    Unknown,
    /// The association is in COOKIE-WAIT or COOKIE-ECHOED: the peer has not answered this host's INIT or
    /// COOKIE ECHO in a way that this host accepts. Data may leave only after that.
    HandshakeUnanswered,
    /// T3-rtx expired, and while it ran nothing came from the peer, on any path; where the peer was heard of in
    /// this stall, it expired twice since the last SACK.
    PathSilent,
    /// The window in the peer's last SACK is zero, or smaller than the chunk that is due; that SACK has no gap
    /// blocks; and T3-rtx expired once at most since then.
    WindowClosed,
    /// As [`Self::WindowClosed`], but that SACK has gap blocks: later TSNs than the one that is due have
    /// arrived, and fill the window.
    WindowFullOfGaps,
    /// The peer's last SACK has gap blocks, and its window has room: later TSNs than the one that is due have
    /// arrived.
    OneMissing,
}

impl StallCause {
    /// The causes by their numbers in the kernel-side program (`HELD_BY_...`).
    const ALL: [Self; 6] = [
        Self::Unknown,
        Self::HandshakeUnanswered,
        Self::PathSilent,
        Self::WindowClosed,
        Self::WindowFullOfGaps,
        Self::OneMissing,
    ];
}

/// What the kernel side has noted about a time in which the cumulative TSN stood still: `struct evidence` of
/// `bufmon.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes)]
#[allow(missing_docs, reason = "the C struct says what they are")]
pub struct RawEvidence {
    pub since_ns: u64,
    pub until_ns: u64,
    pub part_ns: u64,
    pub held_ns: [u64; StallCause::ALL.len()],
    pub bytes: u64,
    pub held_by: u32,
    pub sacks: u32,
    pub t3_expiries: u32,
    pub unanswered: u32,
    pub window: u32,
    pub missing_tsn: u32,
    pub missing_bytes: u32,
    pub missing_sent: u32,
    pub missing: u32,
    pub gap_acked: u32,
    pub state: u32,
    pub has_window: u8,
    pub has_gaps: u8,
    pub is_answered: u8,
    pub is_silent: u8,
    pub is_idle: u8,
    pub pad: [u8; 7],
}

/// Returns the cause that has held for the longest part of a stall, up to `now`, and how long it has held. Of
/// causes that have held equally long, returns the last in the order of [`StallCause`]. `now`: a time on
/// `CLOCK_MONOTONIC`, which counts only if the stall has not ended.
pub fn cause(evidence: &RawEvidence, now: Duration) -> (StallCause, Duration) {
    let mut held = evidence.held_ns;
    if evidence.until_ns == 0
        && let Some(present) = held.get_mut(evidence.held_by as usize)
    {
        let lasts = now.saturating_sub(Duration::from_nanos(evidence.part_ns));
        *present = present.saturating_add(u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX));
    }
    StallCause::ALL
        .into_iter()
        .zip(held.map(Duration::from_nanos))
        .max_by_key(|(_, held)| *held)
        .unwrap_or((StallCause::Unknown, Duration::ZERO))
}
