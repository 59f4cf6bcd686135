//! What the commands with a table of streams share: its size, and its books.

use clap::{Args, value_parser};
use probes::streams::{self, Config};

use crate::{Accounting, Common, Skipped};

/// The flag for the size of the table.
#[derive(Args, Clone, Debug)]
pub struct Room {
    /// Room for this many streams, over all associations; more evict those that were silent longest
    #[arg(long, value_name = "N", default_value_t = 16_384, help_heading = "Memory", hide_short_help = true, value_parser = value_parser!(u32).range(1..=1 << 22))]
    max_streams: u32,
}

impl Room {
    /// What to trace, as the flags ask for it.
    #[must_use]
    pub fn config(&self, common: &Common, keep_ended: bool) -> Config {
        Config {
            filter: common.filter(),
            intervals: common.has_interval_rows(),
            extended: common.is_extended(),
            histograms: common.histogram,
            keep_ended,
            max_streams: self.max_streams,
            rung: common.rung(),
        }
    }
}

impl From<streams::Accounting> for Accounting {
    fn from(a: streams::Accounting) -> Self {
        let skipped = |reason, sentence, count| Skipped { reason, sentence, count };
        Self {
            events: a.events,
            lost: 0,
            evicted: a.assocs_evicted + a.streams_evicted,
            skipped: vec![
                skipped(
                    "evicted",
                    "their association or stream had to make room for another: use --max-streams",
                    a.events_evicted,
                ),
                skipped("no_place", "there was no room for their stream: use --max-streams", a.no_place),
                skipped(
                    "lobby_limit",
                    "more than 8,192 messages of an association waited for one before them",
                    a.lobby_limit,
                ),
                crate::missed(a.missed),
            ],
        }
    }
}
