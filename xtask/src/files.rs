//! Functions on files and folders. Their errors name the file.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Failure, run};

/// The workspace's folder.
pub const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Make Cargo's target folder, if it is missing, and return its absolute path.
pub fn target_folder() -> Result<PathBuf, Failure> {
    let folder =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(WORKSPACE).join("target"), PathBuf::from);
    create(&folder)?;
    absolute(&folder)
}

/// The absolute path of an existing file or folder, without symbolic links.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(path).map_err(|error| failure(path, error))
}

/// Make a folder, and the missing folders above it.
pub fn create(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| failure(folder, error))
}

/// Remove a folder with all that is in it, if there is one.
pub fn remove(folder: &Path) -> Result<(), Failure> {
    if folder.exists() { fs::remove_dir_all(folder).map_err(|error| failure(folder, error)) } else { Ok(()) }
}

/// The paths of the files and folders in a folder, sorted.
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

/// Write a file, and make the missing folders above it.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    create(path.parent().unwrap_or(path))?;
    fs::write(path, text).map_err(|error| failure(path, error))
}

/// Copy a file, and make the missing folders above the copy.
pub fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    create(to.parent().unwrap_or(to))?;
    fs::copy(from, to).map_err(|error| failure(from, error))?;
    Ok(())
}

/// Compress a file in place, to `path` with `.gz`. Neither the file's name nor its time goes into the result,
/// so that the same text gives the same bytes. A result of an earlier time is replaced.
pub fn gzip(path: &Path) -> Result<(), Failure> {
    run(Command::new("gzip").args(["-9", "--force", "--no-name"]).arg(path))
}

/// Compress a file in place, to `path` with `.xz`. With one thread, as several split the file into blocks.
pub fn xz(path: &Path) -> Result<(), Failure> {
    run(Command::new("xz").args(["-6", "--force", "--threads=1"]).arg(path))
}

/// A failure with a file's path and an error.
pub fn failure(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(&path.display().to_string(), error)
}
