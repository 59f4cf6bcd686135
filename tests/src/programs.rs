//! Builds the programs to put into a guest: the workspace's binaries in release mode, except those that only
//! run on the host.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::arch::Arch;
use crate::sysroot;

// Defines `TOOLS`; the build script wrote this file.
include!(concat!(env!("OUT_DIR"), "/tools.rs"));

/// Builds all binaries that a guest needs, for the given architecture, and returns their paths.
///
/// # Errors
/// When the build fails. Cargo has then written the compiler's messages to standard error.
pub fn build(arch: Arch) -> Result<Vec<PathBuf>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--release",
            "--workspace",
            "--exclude",
            "xtask",
            "--exclude",
            "sctptrace-manual",
            "--bins",
        ])
        .args(["--message-format", "json-render-diagnostics", "--quiet"])
        .current_dir(workspace())
        .stderr(Stdio::inherit());
    if arch != Arch::X86_64 {
        cross(&mut command, arch)?;
    }
    let output = command.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the release build failed");
    let text = String::from_utf8_lossy(&output.stdout);
    let programs: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .filter(|path| path.file_name().is_some_and(|name| name != "bed"))
        .collect();
    ensure!(!programs.is_empty(), "the release build made no programs");
    Ok(programs)
}

/// Makes a cargo command build for another architecture, with Debian's cross compiler and the libraries of
/// the sysroot.
fn cross(command: &mut Command, arch: Arch) -> Result<()> {
    let target = format!("{}-unknown-linux-gnu", arch.name());
    let compiler = format!("{}-linux-gnu-gcc", arch.name());
    let root = sysroot::get(arch)?;
    let variable = target.replace('-', "_");
    let upper = variable.to_uppercase();
    command
        .args(["--target", &target])
        .env(format!("CC_{variable}"), &compiler)
        .env(format!("CFLAGS_{variable}"), format!("--sysroot={}", root.display()))
        .env(format!("CARGO_TARGET_{upper}_LINKER"), &compiler)
        .env(format!("CARGO_TARGET_{upper}_RUSTFLAGS"), format!("-C link-arg=--sysroot={}", root.display()));
    Ok(())
}

/// The root folder of the workspace.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo's target folder.
pub fn target_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}
