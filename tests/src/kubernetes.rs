//! The files of `packaging/kubernetes`. Python reads them, as Debian has a YAML parser for Python (python3-yaml), and
//! Rust has none that is both well kept and in need here elsewhere.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;

const READ: &str = "import json, sys, yaml
json.dump(list(yaml.safe_load_all(open(sys.argv[1], encoding='utf-8'))), sys.stdout)";

/// The folder of the files.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging/kubernetes")
}

/// Reads the documents of a YAML file.
///
/// # Errors
/// Where the file is missing or is no YAML, or Python lacks its parser.
pub fn documents(file: &str) -> Result<Vec<Value>> {
    let mut python = Command::new("python3");
    let text = command::run(python.args(["-c", READ]).arg(folder().join(file)))?;
    serde_json::from_str(&text).with_context(|| format!("{file} has what JSON has not"))
}

/// The DaemonSet that has the commands.
///
/// # Errors
/// Where its file cannot be read, or has more.
pub fn daemon_set() -> Result<Value> {
    let [daemon_set] = documents("daemonset.yaml")?.try_into().ok().context("not one document")?;
    Ok(daemon_set)
}

/// The DaemonSet's containers.
///
/// # Errors
/// Where the DaemonSet cannot be read, or has none.
pub fn containers() -> Result<Vec<Value>> {
    let containers = daemon_set()?["spec"]["template"]["spec"]["containers"].take();
    containers.as_array().cloned().context("no containers")
}
