//! The names of the commands: the workspace's folders `sctp-NAME`. The test bed's build script and a test of
//! the man pages include this file, too.

use std::fs;
use std::io;
use std::path::Path;

/// Returns the commands' names, in the order of README's table of commands.
///
/// # Errors
/// Where the workspace cannot be read.
pub fn names(workspace: &Path) -> io::Result<Vec<String>> {
    let readme = fs::read_to_string(workspace.join("README.md"))?;
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("sctp-") && entry.path().join("Cargo.toml").is_file() {
            names.push(name);
        }
    }
    names.sort_by_cached_key(|name| (readme.find(&format!("\n| `{name}` |")), name.clone()));
    Ok(names)
}
