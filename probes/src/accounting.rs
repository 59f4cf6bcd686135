//! How many events were seen, how many gave no sample, and why.

/// How many events were seen, and how many were lost, evicted or skipped: nothing is lost silently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Events seen.
    pub events: u64,
    /// Events whose record did not fit into the ring buffer; statistics have them all the same.
    pub lost: u64,
    /// Entries of fixed tables that made room for newer ones.
    pub evicted: u64,
    /// Chunks that were sent and still wait for their SACK; `None` for commands that do not wait for SACKs.
    pub outstanding: Option<u64>,
    /// Chunks sent that the kernel has counted (`SCTP_GET_ASSOC_STATS`) and no program saw: of each association between
    /// its first and its last event, its end included. `None` where the kernel has no such count, or a filter leaves
    /// out some chunks of an association.
    pub unseen: Option<u64>,
    /// Events that gave no sample, by reason.
    pub skipped: Vec<Skipped>,
    /// Whether there were events that the filter left out.
    pub passed_over: bool,
}

/// A reason why events gave no sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// JSON key.
    pub reason: &'static str,
    /// The end of the sentence "N samples skipped: …".
    pub sentence: &'static str,
    /// How many events.
    pub count: u64,
}

impl Skipped {
    /// Whether [`Skipped::count`] is a bound: not each of these events need have been one of those that give samples.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.reason == MISSED
    }
}

const MISSED: &str = "missed";

/// Events at which the kernel did not run a program. Not every event would have given a sample (control chunks do not),
/// so at most this many samples are missing.
pub(crate) fn missed(count: u64) -> Skipped {
    let sentence = "the kernel does not run a program that interrupts itself";
    Skipped { reason: MISSED, sentence, count }
}

/// Entries whose statistics were left out, because the kernel side was writing them for too long.
pub(crate) fn busy(count: u64) -> Skipped {
    let sentence = "their statistics were being written for longer than could be waited";
    Skipped { reason: "busy", sentence, count }
}
