//! Writes man pages and shell completions of the commands.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Writes man pages and shell completions of the commands.
#[derive(Parser)]
#[command(name = "sctptrace-manual", version)]
struct Flags {
    /// Where to: `man` and `completions` are made in it
    dir: PathBuf,
}

fn main() -> Result<()> {
    let Flags { dir } = Flags::parse();
    sctptrace_manual::pages().iter().try_for_each(|page| page.write(&dir))?;
    sctptrace_manual::write_report(&dir)
}
