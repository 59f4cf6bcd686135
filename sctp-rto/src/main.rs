//! `sctp-rto`: retransmission timeouts of SCTP paths, at every update.

mod report;

use std::{io, os::fd::OwnedFd, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use cli::{Accounting, Banners, Common, Format, Out, Skipped, Tool};
use probes::rto::{Config, Rto, Update};
use report::Report;

/// Retransmission timeouts of SCTP paths, at every update.
///
/// A row has the values after the update: by a round-trip time of data or of a HEARTBEAT, or by an expiry of the T3-rtx
/// timer. Extended, unanswered HEARTBEATs and changes of a path's state show as well.
#[derive(Parser)]
#[command(name = "sctp-rto", version, max_term_width = 100)]
struct Flags {
    #[command(flatten)]
    common: Common,
    /// Room for this many paths; more evict the one that was silent longest
    #[arg(long, value_name = "N", default_value_t = 4096, help_heading = "Memory", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_paths: u32,
    /// Room for this many retransmitted chunks that wait for their SACK, over all associations
    #[arg(long, value_name = "N", default_value_t = 16_384, help_heading = "Memory", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    max_retransmitted: u32,
}

const BANNERS: Banners = Banners {
    command: "sctp-rto",
    text: "Tracing SCTP RTO updates... Hit Ctrl-C to end",
    csv: "Tracing SCTP RTO updates to stdout in CSV format... Ctrl+C to end",
    file: Some(("Tracing SCTP RTO updates to file ", "... Ctrl+C to end")),
};

/// Updates taken from the ring buffer at a time.
const BATCH: usize = 1024;

fn main() -> ExitCode {
    let flags: Flags = cli::parse(|f: &Flags| &f.common);
    let common = &flags.common;
    let config = Config {
        filter: common.filter(),
        updates: matches!(common.format(), Format::Text | Format::Json),
        intervals: common.has_interval_rows(),
        extended: common.is_extended(),
        max_paths: flags.max_paths,
        max_retransmitted: flags.max_retransmitted,
        rung: common.rung(),
    };
    cli::run(&BANNERS, common, || {
        let probe = Rto::open(&config)?;
        Ok(Command { probe, report: Report::new(common), batch: Vec::with_capacity(BATCH) })
    })
}

struct Command {
    probe: Rto,
    report: Report,
    batch: Vec<Update>,
}

impl Tool for Command {
    fn fd(&self) -> io::Result<Option<OwnedFd>> {
        self.probe.fd()
    }

    fn wake_me(&mut self) {
        self.probe.wake_me();
    }

    fn events(&mut self, out: &mut Out) -> Result<bool> {
        let more = self.probe.take(&mut self.batch, BATCH)?;
        self.report.updates(out, self.batch.drain(..), |path| self.probe.identity(path))?;
        Ok(more)
    }

    fn begin(&mut self, out: &mut Out) -> Result<()> {
        self.report.header(out)
    }

    fn interval(&mut self, out: &mut Out) -> Result<()> {
        if self.report.has_intervals() { self.report.interval(out, self.probe.interval()?) } else { Ok(()) }
    }

    fn stop(&mut self) {
        self.probe.detach();
    }

    fn end(&mut self, out: &mut Out) -> Result<()> {
        self.interval(out)?;
        self.report.summary(out, self.probe.totals()?)
    }

    fn accounting(&self) -> Accounting {
        let a = self.probe.accounting();
        let skipped = |reason, sentence, count| Skipped { reason, sentence, count };
        Accounting {
            events: a.updates,
            lost: a.lost,
            evicted: a.paths_evicted + a.chunks_evicted,
            skipped: vec![
                cli::missed(self.probe.missed()),
                skipped(
                    "evicted",
                    "their path had to make room for another: use --max-paths",
                    a.updates_evicted,
                ),
                skipped(
                    "assocs_left_out",
                    "there was no room for their association's retransmissions: use --max-paths",
                    a.assocs_left_out,
                ),
                skipped("scan_limit", "one SACK covered or named more than 8,192 chunks", a.scan_limit),
            ],
        }
    }
}
