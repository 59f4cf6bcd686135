//! `sctp-streamutil`: what the streams of SCTP associations carry, and how evenly they are used.

mod report;

use std::process::ExitCode;

use clap::Parser;
use cli::{Banners, Common, Manual, Room, StreamTool};
use probes::streamutil::Streamutil;
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
struct Flags {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    room: Room,
}

const BANNERS: Banners = Banners {
    command: "sctp-streamutil",
    text: "Tracing SCTP stream utilization... Ctrl+C to end",
    csv: "Tracing SCTP stream utilization to stdout in CSV format... Ctrl+C to end",
    file: None,
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
    let config = flags.room.config(common, common.prints_at_end());
    cli::run(&BANNERS, common, || Ok(StreamTool::new(Streamutil::open(&config)?, Report::new(common))))
}
