//! `sctp-bufmon`: buffers of SCTP associations.

pub mod findings;
mod metrics;
pub mod report;

use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgGroup, Parser};
use cli::{Banners, Common, Manual, Session};
use probes::{
    Config,
    bufmon::{self, Bufmon, Sizes},
};
use report::Report;

/// Buffers of SCTP associations: how full, and how long senders wait for room.
///
/// Looks at each association at every SACK and at every send. Use of the send buffer is counted as the kernel does when it
/// decides whether a sender must wait. Extended, it also tells associations that stand still, and why.
#[derive(Parser)]
#[command(name = "sctp-bufmon", max_term_width = 100)]
#[command(group(ArgGroup::new("more").args(["extended", "json", "listen", "textfile"]).multiple(true)))]
pub struct Flags {
    /// The flags that all commands have.
    #[command(flatten)]
    pub common: Common,
    /// Room for this many associations; more evict one that has ended, or else the one that was silent longest
    #[arg(long, value_name = "N", default_value_t = 1024, help_heading = "Memory", hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(bufmon::MAX_ASSOCS)))]
    max_assocs: u32,
    /// How long messages wait until they are read; needs -x, --json, --listen or --textfile
    #[arg(long, requires = "more", hide_short_help = true, help_heading = "Output")]
    recv_wait: bool,
    /// Room for this many messages that wait to be read, over all associations (with --recv-wait)
    #[arg(long, value_name = "N", default_value_t = 65_536, requires = "recv_wait", help_heading = "Memory", hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(bufmon::MAX_UNREAD)))]
    max_unread: u32,
}

const BANNER: &str = "Tracing SCTP buffer utilisation... Hit Ctrl-C to end";
/// The banners of `sctp-bufmon`.
pub const BANNERS: Banners = Banners { command: "sctp-bufmon", text: BANNER, csv: BANNER, file: None };

/// Describes `sctp-bufmon`: its flags, columns and metrics, for the man page, the JSON schema and the check of `--sort`.
#[must_use]
pub fn manual() -> Manual {
    Manual::new::<Flags>(report::tables(), &metrics::METRICS, &report::LIVE)
}

/// Parses the flags, traces until the end, and returns the exit code.
pub fn main() -> ExitCode {
    let flags: Flags = cli::parse(|f: &Flags| &f.common, manual);
    cli::exit_code(&BANNERS, trace(&flags))
}

fn trace(flags: &Flags) -> Result<()> {
    let common = &flags.common;
    let Some(session) = Session::start(&BANNERS, common)? else { return Ok(()) };
    // Findings need more about a stall than rows have: its record.
    let config = Config { records: common.json || common.metrics.is_on(), ..common.config() };
    let sizes =
        Sizes { max_assocs: flags.max_assocs, max_unread: flags.recv_wait.then_some(flags.max_unread) };
    let probe = Bufmon::open(&config, &sizes)?;
    session.run(probe, Report::new(common, flags.recv_wait))
}
