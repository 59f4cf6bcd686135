//! `sctp-bufmon`: buffers of SCTP associations.

mod report;

use std::{io, os::fd::OwnedFd, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use cli::{Accounting, Banners, Common, Out, Skipped, Tool};
use probes::bufmon::{Bufmon, Config, Wait};
use report::Report;

/// Buffers of SCTP associations: how full, how long senders wait for room, what the peer's window allows.
///
/// Looks at each association at every SACK and at every send. Use of the send buffer is counted as the kernel does when it
/// decides whether a sender must wait. Extended, it also tells associations that stand still, and why.
#[derive(Parser)]
#[command(name = "sctp-bufmon", version, max_term_width = 100)]
struct Flags {
    #[command(flatten)]
    common: Common,
    /// Room for this many associations; more evict the one that was silent longest
    #[arg(long, value_name = "N", default_value_t = 1024, help_heading = "Memory", value_parser = clap::value_parser!(u32).range(1..=1 << 18))]
    max_assocs: u32,
}

const BANNER: &str = "Tracing SCTP buffer utilisation... Hit Ctrl-C to end";
const BANNERS: Banners = Banners { command: "sctp-bufmon", text: BANNER, csv: BANNER, file: None };

/// Waits taken from the ring buffer at a time.
const BATCH: usize = 1024;

fn main() -> ExitCode {
    let flags: Flags = cli::parse(|f: &Flags| &f.common);
    let common = &flags.common;
    let config = Config {
        filter: common.filter(),
        waits: common.json,
        intervals: common.has_interval_rows(),
        extended: common.is_extended(),
        max_assocs: flags.max_assocs,
        rung: common.rung(),
    };
    cli::run(&BANNERS, common, || {
        let probe = Bufmon::open(&config)?;
        Ok(Command { probe, report: Report::new(common), batch: Vec::new() })
    })
}

struct Command {
    probe: Bufmon,
    report: Report,
    batch: Vec<Wait>,
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
        self.report.waits(out, self.batch.drain(..), |a| self.probe.identity(a))?;
        Ok(more)
    }

    fn begin(&mut self, out: &mut Out) -> Result<()> {
        self.report.header(out)
    }

    fn interval(&mut self, out: &mut Out) -> Result<()> {
        self.report.stalls(out, self.probe.stalls())?;
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
            events: a.samples,
            lost: a.lost,
            evicted: a.assocs_evicted,
            skipped: vec![
                cli::missed(self.probe.missed()),
                skipped(
                    "evicted",
                    "their association had to make room for another: use --max-assocs",
                    a.samples_evicted,
                ),
                skipped("waits_unknown", "there was no room to note their wait", a.waits_unknown),
            ],
        }
    }
}
