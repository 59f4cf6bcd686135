//! `sctp-jitter`: intervals between arrivals of SCTP DATA chunks and how they vary, per stream.

mod report;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use cli::{Accounting, Banners, Common, Format, Out, Room, Tool};
use probes::jitter::Jitter;
use report::Report;

/// Intervals between arrivals of SCTP DATA chunks and their jitter, per stream.
///
/// An arrival is a chunk that was accepted: duplicates are none. The jitter is J += (|D - Dprev| - J) / 16 over the
/// intervals D, after RFC 3550 section 6.4.1. No interval is taken across two associations; unless extended, those of
/// all associations are merged per stream identifier.
#[derive(Parser)]
#[command(name = "sctp-jitter", version, max_term_width = 100)]
pub struct Flags {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    room: Room,
}

const BANNER: &str = "Tracing SCTP packet reception jitter... Hit Ctrl-C to end";
const BANNERS: Banners = Banners { command: "sctp-jitter", text: BANNER, csv: BANNER, file: None };

/// The command.
pub fn main() -> ExitCode {
    let flags: Flags = cli::parse(|f: &Flags| &f.common);
    let common = &flags.common;
    // Rows per association that are only printed at the end; merged ones are taken over as associations end.
    let keep_ended = common.format() == Format::Csv && !common.timestamp && common.is_extended();
    let config = flags.room.config(common, keep_ended);
    cli::run(&BANNERS, common, || Ok(Command { probe: Jitter::open(&config)?, report: Report::new(common) }))
}

struct Command {
    probe: Jitter,
    report: Report,
}

impl Command {
    /// Ends an interval, prints its rows, and gives its number.
    fn step(&mut self, out: &mut Out) -> Result<u32> {
        let number = self.probe.step();
        if self.report.has_intervals() {
            self.report.interval(out, self.probe.interval(number))?;
        }
        Ok(number)
    }
}

impl Tool for Command {
    fn begin(&mut self, out: &mut Out) -> Result<()> {
        self.report.header(out)
    }

    fn interval(&mut self, out: &mut Out) -> Result<()> {
        let number = self.step(out)?;
        let Some(due) = self.report.due(number) else { return Ok(()) };
        self.report.totals(out, self.probe.totals(due))
    }

    fn stop(&mut self) {
        self.probe.detach();
    }

    fn end(&mut self, out: &mut Out) -> Result<()> {
        let number = self.step(out)?;
        let due = self.report.due_at_end(number);
        self.report.summary(out, self.probe.totals(due))
    }

    fn accounting(&self) -> Accounting {
        self.probe.accounting().into()
    }
}
