//! `sctp-streamutil`: what the streams of SCTP associations carry, and how evenly they are used.

mod report;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use cli::{Accounting, Banners, Common, Format, Out, Room, Tool};
use probes::streamutil::Streamutil;
use report::Report;

/// What the streams of SCTP associations carry, and how evenly they are used.
///
/// Counts chunks of user data that were really sent; retransmissions apart. Extended, it also shows how long received
/// messages waited in the kernel for a missing one before them in their stream (head-of-line blocking).
#[derive(Parser)]
#[command(
    name = "sctp-streamutil",
    version,
    max_term_width = 100,
    mut_arg("interval", |a| a.default_value("5"))
)]
pub struct Flags {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    room: Room,
}

const BANNERS: Banners = Banners {
    command: "sctp-streamutil",
    text: "Tracing SCTP stream utilization... Ctrl+C to end",
    csv: "Tracing SCTP stream utilization to stdout in CSV format... Ctrl+C to end",
    file: None,
};

/// The command.
pub fn main() -> ExitCode {
    let flags: Flags = cli::parse(|f: &Flags| &f.common);
    let common = &flags.common;
    // Rows that are only printed at the end.
    let keep_ended = common.format() == Format::Csv && !common.timestamp;
    let config = flags.room.config(common, keep_ended);
    cli::run(&BANNERS, common, || {
        Ok(Command { probe: Streamutil::open(&config)?, report: Report::new(common) })
    })
}

struct Command {
    probe: Streamutil,
    report: Report,
}

impl Command {
    /// Ends an interval, prints its rows, and gives its number.
    fn step(&mut self, out: &mut Out) -> Result<u32> {
        let number = self.probe.step();
        if self.report.has_intervals() {
            self.report.interval(out, self.probe.interval())?;
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
        self.report.totals(out, self.probe.totals(self.report.due_at_end(number)))
    }

    fn accounting(&self) -> Accounting {
        self.probe.accounting().into()
    }
}
