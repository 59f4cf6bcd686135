//! What the commands with a table of streams share: its size, its books, and what they do alike.

use anyhow::Result;
use clap::{Args, value_parser};
use probes::streams::{self, Config, StreamProbe};

use crate::{Accounting, Common, Out, Skipped, Tool};

/// The flag for the size of the table.
#[derive(Args, Clone, Debug)]
pub struct Room {
    /// Room for this many streams, over all associations; more evict those that were silent longest
    #[arg(long, value_name = "N", default_value_t = 16_384, help_heading = "Memory", hide_short_help = true, value_parser = value_parser!(u32).range(1..=i64::from(streams::MAX_STREAMS)))]
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

/// The rows of such a command.
pub trait StreamReport {
    /// What it reports of.
    type Probe: StreamProbe;

    /// Are there rows of every interval?
    fn has_intervals(&self) -> bool;

    /// The CSV header.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn header(&self, out: &mut Out) -> Result<()>;

    /// Rows or objects of the interval of that number, which has just ended.
    ///
    /// # Errors
    /// Where they cannot be written, or the kernel does not let a table be read.
    fn interval(&self, out: &mut Out, probe: &mut Self::Probe, number: u32) -> Result<()>;

    /// Totals that are due when that interval has ended, which may be the run's last.
    ///
    /// # Errors
    /// As for an interval.
    fn totals(&mut self, out: &mut Out, probe: &mut Self::Probe, number: u32, at_end: bool) -> Result<()>;
}

/// Whose totals are due when the interval of that number has ended, by the interval in which an association ended
/// (`None` while it lives): those that ended in it, the living if they are to be shown then, or all.
pub fn is_due(number: u32, living_too: bool, all: bool) -> impl Fn(Option<u32>) -> bool {
    move |ended| all || ended.map_or(living_too, |ended| ended == number)
}

/// Such a command at work.
pub struct StreamTool<R: StreamReport> {
    probe: R::Probe,
    report: R,
}

impl<R: StreamReport> StreamTool<R> {
    /// A command that reports so of a probe.
    pub fn new(probe: R::Probe, report: R) -> Self {
        Self { probe, report }
    }

    /// Ends an interval, and prints what is due then.
    fn step(&mut self, out: &mut Out, at_end: bool) -> Result<()> {
        let number = self.probe.step();
        if self.report.has_intervals() {
            self.report.interval(out, &mut self.probe, number)?;
        }
        self.report.totals(out, &mut self.probe, number, at_end)
    }
}

impl<R: StreamReport> Tool for StreamTool<R> {
    fn begin(&mut self, out: &mut Out) -> Result<()> {
        self.report.header(out)
    }

    fn interval(&mut self, out: &mut Out) -> Result<()> {
        self.step(out, false)
    }

    fn stop(&mut self) {
        self.probe.detach();
    }

    fn end(&mut self, out: &mut Out) -> Result<()> {
        self.step(out, true)
    }

    fn accounting(&self) -> Accounting {
        self.probe.accounting().into()
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
