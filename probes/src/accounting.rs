//! How many events were seen, how many gave no sample, and why.

/// How many events were seen, and how many were lost, evicted or skipped. Nothing is lost without being
/// counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Number of events that the programs saw.
    pub events: u64,
    /// Events whose record did not fit into the ring buffer; statistics have them all the same.
    pub lost: u64,
    /// Number of entries of tables that made room for newer ones.
    pub evicted: u64,
    /// Chunks that were sent and still wait for their SACK; `None` for commands that do not wait for SACKs.
    pub outstanding: Option<u64>,
    /// Chunks that the kernel counted and no program saw, from each association's first event seen to its end, or to that
    /// of the run: chunks sent (`sctp-rtt`, `sctp-streamutil`) or sent again (`sctp-rto` with the figures of `-x`), by what
    /// `SCTP_GET_ASSOC_STATS` returns; chunks received (`sctp-jitter`), by the map of TSNs. `None` where the kernel does
    /// not report them, or where a filter leaves out some chunks of an association.
    pub unseen: Option<u64>,
    /// Events that gave no sample, by reason.
    pub skipped: Vec<Skipped>,
    /// True if the filter left out any event.
    pub passed_over: bool,
    /// Kernel memory of the tables and the ring buffer, in bytes; `None` where the kernel does not report it.
    pub memory_bytes: Option<u64>,
}

/// A reason why events gave no sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The reason's key in JSON.
    pub reason: &'static str,
    /// The end of the sentence "N samples skipped: …".
    pub sentence: &'static str,
    /// Number of events (for `busy`, of entries).
    pub count: u64,
}

impl Skipped {
    /// Returns whether [`Skipped::count`] is only an upper bound: some of the counted events might have given
    /// no sample anyway.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.reason == MISSED
    }
}

const MISSED: &str = "missed";

/// The reason for events at which the kernel did not run a program. Not every event would have given a sample
/// (control chunks do not), so at most this many samples are missing.
pub(crate) fn missed(count: u64) -> Skipped {
    let sentence = "the kernel does not run a program that interrupts itself";
    Skipped { reason: MISSED, sentence, count }
}

/// The reason for entries whose statistics were left out, because the kernel side was writing them for too
/// long.
pub(crate) fn busy(count: u64) -> Skipped {
    let sentence = "their statistics were being written for longer than could be waited";
    Skipped { reason: "busy", sentence, count }
}
