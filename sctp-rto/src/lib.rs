//! `sctp-rto`: retransmission timeouts of SCTP paths, at every update.

mod report;

use std::process::ExitCode;

use clap::Parser;
use cli::{Banners, Common, EntryTool, Format, Manual};
use probes::rto::{self, Config, Rto};
use report::Report;

/// Retransmission timeouts of SCTP paths, at every update.
///
/// A row has the values after the update: by a round-trip time of data or of a HEARTBEAT, or by an expiry of the T3-rtx
/// timer. Extended, unanswered HEARTBEATs and changes of a path's state show as well.
#[derive(Parser)]
#[command(name = "sctp-rto", max_term_width = 100)]
struct Flags {
    #[command(flatten)]
    common: Common,
    /// Room for this many paths; more evict the one that was silent longest
    #[arg(long, value_name = "N", default_value_t = 4096, help_heading = "Memory", hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(rto::MAX_PATHS)))]
    max_paths: u32,
    /// Room for this many retransmitted chunks that wait for their SACK, over all associations
    #[arg(long, value_name = "N", default_value_t = 16_384, help_heading = "Memory", hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(rto::MAX_RETRANSMITTED)))]
    max_retransmitted: u32,
}

const BANNERS: Banners = Banners {
    command: "sctp-rto",
    text: "Tracing SCTP RTO updates... Hit Ctrl-C to end",
    csv: "Tracing SCTP RTO updates to stdout in CSV format... Ctrl+C to end",
    file: Some(("Tracing SCTP RTO updates to file ", "... Ctrl+C to end")),
};

/// What its man page says of its flags and columns.
#[must_use]
pub fn manual() -> Manual {
    Manual { command: cli::command::<Flags>(), tables: report::tables() }
}

/// The command.
pub fn main() -> ExitCode {
    let flags: Flags = cli::parse(|f: &Flags| &f.common);
    let common = &flags.common;
    let config = Config {
        filter: common.filter(),
        updates: matches!(common.format(), Format::Text | Format::Json),
        intervals: common.has_interval_rows(),
        extended: common.gathers_more(),
        max_paths: flags.max_paths,
        max_retransmitted: flags.max_retransmitted,
        rung: common.rung(),
    };
    cli::run(&BANNERS, common, || Ok(EntryTool::new(Rto::open(&config)?, Report::new(common))))
}
