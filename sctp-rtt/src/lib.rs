//! `sctp-rtt`: round-trip time of SCTP DATA chunks, from transmission to the SACK that covers the TSN.

pub mod findings;
mod metrics;
pub mod report;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use cli::{Banners, Common, Manual, Session};
use probes::{
    Config,
    rtt::{self, Rtt, Sizes},
};
use report::Report;

/// Round-trip time of SCTP DATA chunks, per association and path.
///
/// A sample is the time from a chunk's only transmission to the SACK that first covers its TSN, cumulatively or by a
/// gap block. Retransmitted chunks give none (Karn's algorithm).
#[derive(Parser)]
#[command(name = "sctp-rtt", max_term_width = 100)]
pub struct Flags {
    /// The flags that all commands have.
    #[command(flatten)]
    pub common: Common,
    /// Rows and objects of samples above MS milliseconds only; all are in the statistics
    #[arg(long, value_name = "MS", default_value = "0", hide_default_value = true, help_heading = "Filters", hide_short_help = true, value_parser = cli::milliseconds)]
    above: Duration,
    /// Room for this many paths; more evict the one that was silent longest
    #[arg(long, value_name = "N", default_value_t = 4096, help_heading = "Memory", hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(rtt::MAX_PATHS)))]
    max_paths: u32,
    /// Room for this many chunks that wait for their SACK, over all associations
    #[arg(long, value_name = "N", default_value_t = 65_536, help_heading = "Memory", hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(rtt::MAX_OUTSTANDING)))]
    max_outstanding: u32,
}

/// The banners of `sctp-rtt`.
pub const BANNERS: Banners = Banners {
    command: "sctp-rtt",
    text: "Tracing SCTP RTT... Ctrl+C to end",
    csv: "Tracing SCTP RTT to stdout in CSV format... Ctrl+C to end",
    file: Some(("Tracing SCTP RTT to file ", "... Ctrl+C to end")),
};

/// Describes `sctp-rtt`: its flags, columns and metrics, for the man page, the JSON schema and the check of `--sort`.
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
    let config = Config { records: common.has_samples(), ..common.config() };
    let Flags { max_paths, max_outstanding, above, .. } = *flags;
    let sizes = Sizes { max_paths, max_outstanding, above };
    let probe = Rtt::open(&config, &sizes)?;
    session.run(probe, Report::new(common))
}
