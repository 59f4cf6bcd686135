//! `sctp-streamutil`: what the streams of SCTP associations carry, and how evenly they are used.

pub mod findings;
mod metrics;
pub mod report;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use cli::{Banners, Common, Manual, Session, TableSize};
use probes::{Config, streamutil::Streamutil};
use report::Report;

/// What the streams of SCTP associations carry, and how evenly they are used.
///
/// Counts chunks of user data that were really sent; retransmissions apart. Extended, it also shows how long received
/// messages waited in the kernel for a missing one before them in their stream (head-of-line blocking).
#[derive(Parser)]
#[command(
    name = "sctp-streamutil",
    max_term_width = 100,
    mut_arg("interval", |a| a.default_value("5"))
)]
pub struct Flags {
    /// The flags that all commands have.
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    size: TableSize,
}

/// The banners of `sctp-streamutil`.
pub const BANNERS: Banners = Banners {
    command: "sctp-streamutil",
    text: "Tracing SCTP stream utilization... Ctrl+C to end",
    csv: "Tracing SCTP stream utilization to stdout in CSV format... Ctrl+C to end",
    file: None,
};

/// Describes `sctp-streamutil`: its flags, columns and metrics, for the man page, the JSON schema and the check of `--sort`.
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
    let config = Config { keep_ended: common.prints_at_end(), ..common.config() };
    let probe = Streamutil::open(&config, &flags.size.sizes())?;
    session.run(probe, Report::new(common))
}
