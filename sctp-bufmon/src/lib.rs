//! `sctp-bufmon`: buffers of SCTP associations.

mod report;

use std::process::ExitCode;

use clap::Parser;
use cli::{Banners, Common, EntryTool, Manual};
use probes::bufmon::{self, Bufmon, Config};
use report::Report;

/// Buffers of SCTP associations: how full, and how long senders wait for room.
///
/// Looks at each association at every SACK and at every send. Use of the send buffer is counted as the kernel does when it
/// decides whether a sender must wait. Extended, it also tells associations that stand still, and why.
#[derive(Parser)]
#[command(name = "sctp-bufmon", max_term_width = 100)]
struct Flags {
    #[command(flatten)]
    common: Common,
    /// Room for this many associations; more evict the one that was silent longest
    #[arg(long, value_name = "N", default_value_t = 1024, help_heading = "Memory", hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(bufmon::MAX_ASSOCS)))]
    max_assocs: u32,
}

const BANNER: &str = "Tracing SCTP buffer utilisation... Hit Ctrl-C to end";
const BANNERS: Banners = Banners { command: "sctp-bufmon", text: BANNER, csv: BANNER, file: None };

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
        waits: common.json,
        intervals: common.has_interval_rows(),
        extended: common.gathers_more(),
        max_assocs: flags.max_assocs,
        rung: common.rung(),
    };
    cli::run(&BANNERS, common, || Ok(EntryTool::new(Bufmon::open(&config)?, Report::new(common))))
}
