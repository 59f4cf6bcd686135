//! Running the programs that the bed leans on.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Run to the end and return standard output.
///
/// # Errors
/// When the program is missing or fails; the message holds what it wrote to standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| {
        format!("cannot run {name}: `cargo xtask test --only packages` installs what the bed needs")
    })?;
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a program is, also when `PATH` lacks the folders for administrators.
///
/// # Errors
/// When it is in none of the usual folders.
pub fn find(name: &str) -> Result<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("{name} is missing: `cargo xtask test --only packages` installs what the bed needs")
        })
}
