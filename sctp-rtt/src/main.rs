//! `sctp-rtt`: round-trip time of SCTP DATA chunks, from transmission to the SACK that covers the TSN.

mod report;

use std::{io, os::fd::OwnedFd, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use cli::{Accounting, Banners, Common, Format, Out, Skipped, Tool};
use probes::rtt::{Config, Rtt, Sample};
use report::Report;

/// Round-trip time of SCTP DATA chunks, per association and path.
///
/// A sample is the time from a chunk's only transmission to the SACK that first covers its TSN, cumulatively or by a
/// gap block. Retransmitted chunks give none (Karn's algorithm).
#[derive(Parser)]
#[command(name = "sctp-rtt", version, max_term_width = 100)]
struct Flags {
    #[command(flatten)]
    common: Common,
    /// Room for this many paths; more evict the one that was silent longest
    #[arg(long, value_name = "N", default_value_t = 4096, help_heading = "Memory", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_paths: u32,
    /// Room for this many chunks that wait for their SACK, over all associations
    #[arg(long, value_name = "N", default_value_t = 65_536, help_heading = "Memory", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    max_outstanding: u32,
}

const BANNERS: Banners = Banners {
    command: "sctp-rtt",
    text: "Tracing SCTP RTT... Ctrl+C to end",
    csv: "Tracing SCTP RTT to stdout in CSV format... Ctrl+C to end",
    file: Some(("Tracing SCTP RTT to file ", "... Ctrl+C to end")),
};

/// Samples taken from the ring buffer at a time.
const BATCH: usize = 1024;

fn main() -> ExitCode {
    let flags: Flags = cli::parse(|f: &Flags| &f.common);
    let common = &flags.common;
    let config = Config {
        filter: common.filter(),
        samples: matches!(common.format(), Format::Text | Format::Json),
        intervals: common.has_interval_rows(),
        extended: common.is_extended(),
        max_paths: flags.max_paths,
        max_outstanding: flags.max_outstanding,
        rung: common.rung(),
    };
    cli::run(&BANNERS, common, || {
        let probe = Rtt::open(&config)?;
        Ok(Command { probe, report: Report::new(common), batch: Vec::with_capacity(BATCH) })
    })
}

struct Command {
    probe: Rtt,
    report: Report,
    batch: Vec<Sample>,
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
        self.report.samples(out, self.batch.drain(..), |path| self.probe.identity(path))?;
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
        Accounting {
            events: a.samples,
            lost: a.lost,
            evicted: a.chunks_evicted + a.assocs_evicted + a.paths_evicted,
            skipped: vec![
                cli::missed(self.probe.missed()),
                Skipped {
                    reason: "evicted",
                    sentence: "their path had to make room for another: use --max-paths",
                    count: a.samples_evicted,
                },
                Skipped {
                    reason: "retransmitted",
                    sentence: "the chunk was retransmitted, and nothing tells which transmission was acknowledged",
                    count: a.retransmitted,
                },
                Skipped {
                    reason: "before_start",
                    sentence: "the chunk was sent before tracing began",
                    count: a.before_start,
                },
                Skipped {
                    reason: "abandoned",
                    sentence: "the chunk was given up (PR-SCTP)",
                    count: a.abandoned,
                },
                Skipped {
                    reason: "sack_missed",
                    sentence: "the SACK that covered the chunk was not seen",
                    count: a.sack_missed,
                },
                Skipped {
                    reason: "scan_limit",
                    sentence: "one SACK covered or named more than 8,192 chunks",
                    count: a.scan_limit,
                },
            ],
        }
    }
}
