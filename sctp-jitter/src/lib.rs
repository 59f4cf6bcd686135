//! `sctp-jitter`: intervals between arrivals of SCTP DATA chunks and how they vary, per stream.

mod report;

use std::process::ExitCode;

use clap::Parser;
use cli::{Banners, Common, Manual, Room, StreamTool};
use probes::jitter::Jitter;
use report::Report;

/// Intervals between arrivals of SCTP DATA chunks and their jitter, per stream.
///
/// An arrival is a chunk that was accepted: duplicates are none. The jitter is J += (|D - Dprev| - J) / 16 over the
/// intervals D, after RFC 3550 section 6.4.1. No interval is taken across two associations; unless extended, those of
/// all associations are merged per stream identifier.
#[derive(Parser)]
#[command(name = "sctp-jitter", max_term_width = 100)]
struct Flags {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    room: Room,
}

const BANNER: &str = "Tracing SCTP packet reception jitter... Hit Ctrl-C to end";
const BANNERS: Banners = Banners { command: "sctp-jitter", text: BANNER, csv: BANNER, file: None };

/// What its man page says of its flags and columns.
#[must_use]
pub fn manual() -> Manual {
    Manual { command: cli::command::<Flags>(), tables: report::tables() }
}

/// The command.
pub fn main() -> ExitCode {
    let flags: Flags = cli::parse(|f: &Flags| &f.common);
    let common = &flags.common;
    // Rows per association that are only printed at the end; merged ones are taken over as associations end.
    let keep_ended = common.prints_at_end() && common.is_extended();
    let config = flags.room.config(common, keep_ended);
    cli::run(&BANNERS, common, || Ok(StreamTool::new(Jitter::open(&config)?, Report::new(common))))
}
