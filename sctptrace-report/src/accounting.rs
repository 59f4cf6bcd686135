//! What the commands say they lost: their `end` objects.

use crate::object::Object;

/// At most this many runs are kept. Of further ones, only the sum of the losses is kept.
const MOST_RUNS: usize = 200;

/// A run of a command, at its end.
#[derive(Clone, Debug)]
pub struct Run {
    /// Number of the source.
    pub source: usize,
    /// Command's name without `sctp-`.
    pub tool: String,
    /// When the run ended.
    pub time: Option<i64>,
    /// How long the run lasted, in seconds.
    pub duration_s: Option<f64>,
    /// Number of events that the run saw.
    pub events: Option<u64>,
    /// What the run lost.
    pub losses: Losses,
    /// Each reason for which the run left out samples, and how many.
    pub skipped: Vec<(String, u64)>,
}

/// What was lost. `None`: not measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses {
    /// Events without room in the ring.
    pub lost: Option<u64>,
    /// Entries evicted from a full table.
    pub evicted: Option<u64>,
    /// Chunks that the kernel counted and no program saw.
    pub unseen: Option<u64>,
    /// Lines that were dropped because the reader of the output was too slow.
    pub dropped_lines: Option<u64>,
    /// True if the kernel's function tracing was switched off during the run.
    pub hooks_off: bool,
}

impl Losses {
    /// Whether anything was lost.
    #[must_use]
    pub fn is_any(&self) -> bool {
        let counts = [self.lost, self.evicted, self.unseen, self.dropped_lines];
        self.hooks_off || counts.into_iter().flatten().any(|count| count > 0)
    }

    fn add(&mut self, other: &Self) {
        let add = |sum: &mut Option<u64>, more: Option<u64>| {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0).saturating_add(more));
            }
        };
        add(&mut self.lost, other.lost);
        add(&mut self.evicted, other.evicted);
        add(&mut self.unseen, other.unseen);
        add(&mut self.dropped_lines, other.dropped_lines);
        self.hooks_off |= other.hooks_off;
    }
}

/// The runs of commands in the input, and what they lost.
#[derive(Debug, Default)]
pub struct Accounting {
    /// The runs in the order of the input.
    pub runs: Vec<Run>,
    /// Number of runs that are not kept.
    pub more: u64,
    /// What all runs lost.
    pub sum: Losses,
}

impl Accounting {
    /// Adds an `end` object, with which a command ends its output.
    pub fn add(&mut self, source: usize, time: i64, object: &Object<'_>) {
        let losses = Losses {
            lost: object.lost,
            evicted: object.evicted,
            unseen: object.unseen,
            dropped_lines: object.dropped_lines,
            hooks_off: object.hooks_off == Some(true),
        };
        self.sum.add(&losses);
        if self.runs.len() >= MOST_RUNS {
            self.more += 1;
            return;
        }
        let skipped = object.skipped.iter().flatten().filter(|(_, count)| **count > 0).take(16);
        self.runs.push(Run {
            source,
            tool: object.tool.to_string(),
            time: Some(time),
            duration_s: object.duration_s,
            events: object.events,
            losses,
            skipped: skipped.map(|(reason, count)| (crate::escape::short(reason, 40), *count)).collect(),
        });
    }
}
