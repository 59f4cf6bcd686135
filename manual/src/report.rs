//! Man page and completions of `sctptrace-report`, which traces nothing: its flags are all that there is to say.

use std::path::Path;

use anyhow::Result;
use clap::{Command, CommandFactory};
use clap_complete::{
    Generator, generate,
    shells::{Bash, Fish, Zsh},
};
use clap_mangen::Man;
use sctptrace_report::args::Args;

use crate::{put, released};

/// The name of the command that makes the page of charts.
pub const REPORT: &str = "sctptrace-report";

/// Where the page says more.
const SEE_ALSO: &str = ".SH \"SEE ALSO\"
.BR sctp\\-rtt (8),
.BR sctp\\-rto (8),
.BR sctp\\-bufmon (8),
.BR sctp\\-jitter (8),
.BR sctp\\-streamutil (8)
";

/// The flags of `sctptrace-report`.
#[must_use]
pub fn report_command() -> Command {
    Args::command()
}

/// The page in roff, section 1.
///
/// # Errors
/// CHANGELOG.md has no heading with this version and its date.
pub fn report_roff() -> Result<String> {
    let man = Man::new(report_command())
        .title(REPORT.to_uppercase())
        .section("1")
        .date(released()?)
        .source(format!("sctptrace {}", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut roff = Vec::new();
    man.render(&mut roff)?;
    Ok(String::from_utf8(roff)? + SEE_ALSO)
}

/// Writes the page and the completions into folders of `dir`, which are made.
///
/// # Errors
/// Where a file or folder cannot be written.
pub fn write_report(dir: &Path) -> Result<()> {
    put(&dir.join(format!("man/{REPORT}.1")), report_roff()?.as_bytes())?;
    let completions = dir.join("completions");
    put(&completions.join("bash").join(REPORT), &completion(Bash))?;
    put(&completions.join("fish").join(format!("{REPORT}.fish")), &completion(Fish))?;
    put(&completions.join("zsh").join(format!("_{REPORT}")), &completion(Zsh))
}

fn completion(shell: impl Generator) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut report_command(), REPORT, &mut script);
    script
}
