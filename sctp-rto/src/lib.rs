//! `sctp-rto`: retransmission timeouts of SCTP paths, at every update.

mod evidence;
pub mod findings;
mod metrics;
pub mod report;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use cli::{Banners, Common, Format, Manual, Session};
use probes::{
    Config,
    rto::{self, Rto, Sizes},
};
use report::Report;

/// Retransmission timeouts of SCTP paths, at every update.
///
/// A row has the values after the update: by a round-trip time of data or of a HEARTBEAT, or by an expiry of the T3-rtx
/// timer. Extended, unanswered HEARTBEATs, expiries of the T2-shutdown timer and changes of a path's state show as well.
#[derive(Parser)]
#[command(name = "sctp-rto", max_term_width = 100)]
pub struct Flags {
    /// The flags that all commands have.
    #[command(flatten)]
    pub common: Common,
    /// Room for this many paths; more evict the one that was silent longest
    #[arg(long, value_name = "N", default_value_t = 4096, help_heading = "Memory", hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(rto::MAX_PATHS)))]
    max_paths: u32,
    /// Room for this many retransmitted chunks that wait for their SACK, over all associations
    #[arg(long, value_name = "N", default_value_t = 16_384, help_heading = "Memory", hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(rto::MAX_RETRANSMITTED)))]
    max_retransmitted: u32,
}

/// The banners of `sctp-rto`.
pub const BANNERS: Banners = Banners {
    command: "sctp-rto",
    text: "Tracing SCTP RTO updates... Hit Ctrl-C to end",
    csv: "Tracing SCTP RTO updates to stdout in CSV format... Ctrl+C to end",
    file: Some(("Tracing SCTP RTO updates to file ", "... Ctrl+C to end")),
};

/// Describes `sctp-rto`: its flags, columns and metrics, for the man page, the JSON schema and the check of `--sort`.
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
    // Findings need the RTO before each expiry, which only records have.
    let records = common.format() != Format::Csv || common.has_findings();
    let config = Config { records, ..common.config() };
    let sizes = Sizes { max_paths: flags.max_paths, max_retransmitted: flags.max_retransmitted };
    let probe = Rto::open(&config, &sizes)?;
    session.run(probe, Report::new(common))
}
