//! Man pages and shell completions of the release.

use std::path::Path;
use std::process::Command;

use super::{Dist, REPORT};
use crate::files::{copy, create, gzip};
use crate::run::{Failure, cargo_command, run};

/// The crate, and the program, that writes man pages and completions.
pub const MANUAL: &str = "sctptrace-manual";

/// Builds [`MANUAL`] and runs it.
pub fn run_manual() -> Command {
    let mut command = cargo_command();
    command.args(["run", "--quiet", "--package", MANUAL, "--"]);
    command
}

impl Dist {
    /// Write the man pages, compressed, and the shell completions of all commands. `writer` runs the program that writes
    /// them.
    pub fn manual(&self, writer: &mut Command) -> Result<(), Failure> {
        let folder = self.work.join("manual");
        create(&folder)?;
        run(writer.arg(&folder))?;
        for name in &self.commands {
            gzip(&folder.join(format!("man/{name}.8")))?;
        }
        gzip(&folder.join(format!("man/{REPORT}.1")))
    }

    /// Copy a command's page and completions to where they belong below a prefix, such as `/usr`.
    pub fn copy_manual(&self, name: &str, prefix: &Path) -> Result<(), Failure> {
        let manual = self.work.join("manual");
        let section = if name == REPORT { 1 } else { 8 };
        for (from, to) in [
            (format!("man/{name}.{section}.gz"), format!("share/man/man{section}/{name}.{section}.gz")),
            (format!("completions/bash/{name}"), format!("share/bash-completion/completions/{name}")),
            (format!("completions/zsh/_{name}"), format!("share/zsh/site-functions/_{name}")),
            (format!("completions/fish/{name}.fish"), format!("share/fish/vendor_completions.d/{name}.fish")),
        ] {
            copy(&manual.join(from), &prefix.join(to))?;
        }
        Ok(())
    }
}
