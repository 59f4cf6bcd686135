//! Checksums, and their comparison with the checksums of a second run.

use std::env;
use std::process::Command;

use super::{Dist, Options};
use crate::files::{WORKSPACE, entries, read, remove, write};
use crate::run::{Failure, output, run};

const SUMS: &str = "SHA256SUMS";

/// Fail if the workspace has changes that are not committed: a clone of it would lack them.
pub fn can_be_cloned() -> Result<(), Failure> {
    let changes = output(Command::new("git").args(["-C", WORKSPACE, "status", "--porcelain"]))?;
    if changes.is_empty() {
        return Ok(());
    }
    Err(Failure(format!("--check makes the commit again, which lacks these changes:\n{changes}")))
}

impl Dist {
    /// Write and print the checksum of every file of the release.
    pub fn checksums(&self) -> Result<(), Failure> {
        let files = entries(&self.out)?;
        let names = files.iter().filter_map(|file| file.file_name());
        let sums = output(Command::new("sha256sum").current_dir(&self.out).args(names))?;
        write(&self.out.join(SUMS), &format!("{sums}\n"))?;
        println!("{sums}\nin {}", self.out.display());
        Ok(())
    }

    /// Make the release again from a clone in another folder, and fail if a checksum differs: the same commit
    /// has to give the same bytes.
    pub fn compare_with_second(&self, options: &Options) -> Result<(), Failure> {
        let folder = self.target.join("dist-second");
        remove(&folder)?;
        println!("once more in {}", folder.display());
        run(Command::new("git").args(["clone", "--quiet", "--shared", WORKSPACE]).arg(&folder))?;
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&folder).env("CARGO_TARGET_DIR", folder.join("elsewhere"));
        command.args(["xtask", "dist"]).args(options.native.then_some("--native"));
        command.args(options.source.then_some("--source"));
        run(&mut command)?;
        let (first, second) = (read(&self.out.join(SUMS))?, read(&folder.join("elsewhere/dist").join(SUMS))?);
        let different: Vec<_> =
            first.lines().filter(|line| !second.lines().any(|other| other == *line)).collect();
        if different.is_empty() && first.lines().count() == second.lines().count() {
            println!("the same bytes, twice");
            return Ok(());
        }
        Err(Failure(format!("other bytes in {}:\n{}", folder.display(), different.join("\n"))))
    }
}
