//! `sctp-jitter`: intervals between arrivals of SCTP DATA chunks and how they vary, per stream.

mod metrics;
pub mod report;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use cli::{Banners, Common, Manual, Session, TableSize};
use probes::{Config, jitter::Jitter};
use report::Report;

/// Intervals between arrivals of SCTP DATA chunks and their jitter, per stream.
///
/// An arrival is a chunk that was accepted: duplicates do not count. The jitter is J += (|D - Dprev| - J) / 16 over the
/// intervals D, after RFC 3550 section 6.4.1. No interval is taken across two associations; unless extended, those of
/// all associations are merged per stream identifier.
#[derive(Parser)]
#[command(name = "sctp-jitter", max_term_width = 100)]
pub struct Flags {
    /// The flags that all commands have.
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    size: TableSize,
}

const BANNER: &str = "Tracing SCTP packet reception jitter... Hit Ctrl-C to end";
/// The banners of `sctp-jitter`.
pub const BANNERS: Banners = Banners { command: "sctp-jitter", text: BANNER, csv: BANNER, file: None };

/// Describes `sctp-jitter`: its flags, columns and metrics, for the man page, the JSON schema and the check of `--sort`.
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
    // Extended rows of ended associations have to be kept if they are printed only at the end. Merged rows
    // need not: the report adds an ended association to its own sums (`Report::ended`).
    let keep_ended = common.prints_at_end() && common.is_extended();
    // Its findings are about the host only: they need no statistics.
    let config = Config { keep_ended, intervals: common.has_interval_rows(), ..common.config() };
    let probe = Jitter::open(&config, &flags.size.sizes())?;
    session.run(probe, Report::new(common))
}
