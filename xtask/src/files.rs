//! Files and folders. An error names the file.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Failure, run};

/// The workspace's folder.
pub const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Cargo's target folder.
pub fn target_folder() -> Result<PathBuf, Failure> {
    let folder =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(WORKSPACE).join("target"), PathBuf::from);
    create(&folder)?;
    absolute(&folder)
}

/// A path without links, from the root.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(path).map_err(|error| failure(path, error))
}

/// Make a folder, and the folders above.
pub fn create(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| failure(folder, error))
}

/// Remove a folder with all that is in it, if there is one.
pub fn remove(folder: &Path) -> Result<(), Failure> {
    if folder.exists() { fs::remove_dir_all(folder).map_err(|error| failure(folder, error)) } else { Ok(()) }
}

/// What is in a folder, sorted.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut entries: Vec<PathBuf> = entries.map_err(|error| failure(folder, error))?;
    entries.sort();
    Ok(entries)
}

/// A file's text.
pub fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| failure(path, error))
}

/// Write a file, and make the folders above.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    create(path.parent().unwrap_or(path))?;
    fs::write(path, text).map_err(|error| failure(path, error))
}

/// Copy a file, and make the folders above the copy.
pub fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    create(to.parent().unwrap_or(to))?;
    fs::copy(from, to).map_err(|error| failure(from, error))?;
    Ok(())
}

/// Compress a file in place. No name and no time is written into it, so that the same text gives the same bytes.
pub fn gzip(path: &Path) -> Result<(), Failure> {
    run(Command::new("gzip").args(["-9", "--no-name"]).arg(path))
}

/// What went wrong with a file.
pub fn failure(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(&path.display().to_string(), error)
}
