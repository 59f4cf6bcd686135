//! Passes the short hash of the commit to the compiler as `SCTPTRACE_COMMIT`, for `--version`.

use std::fs;
use std::process::Command;

/// The commit of a source archive (`cargo xtask dist --source`), which has no repository.
const ARCHIVED: &str = "../COMMIT";

fn main() {
    let mut lines = git(&["rev-parse", "--show-prefix", "HEAD"]);
    // HEAD is our commit only if this folder is `cli/` of the repository. An unpacked source archive may lie
    // in a folder of another repository.
    let ours = lines.pop().filter(|_| lines == ["cli/"]);
    let commit = ours.clone().or_else(|| fs::read_to_string(ARCHIVED).ok());
    // Always seven digits: git's own short hash is longer in a clone with many objects.
    let short = commit.as_deref().and_then(|commit| commit.get(..7)).unwrap_or("unknown");
    println!("cargo:rustc-env=SCTPTRACE_COMMIT={short}");
    println!("cargo:rerun-if-changed=build.rs");
    if ours.is_some() {
        // Git writes to this log whenever HEAD becomes another commit.
        for log in git(&["rev-parse", "--git-path", "logs/HEAD"]) {
            println!("cargo:rerun-if-changed={log}");
        }
    } else if commit.is_some() {
        println!("cargo:rerun-if-changed={ARCHIVED}");
    }
}

/// Returns the lines that git prints; none where there is no git or no repository.
fn git(arguments: &[&str]) -> Vec<String> {
    let output = Command::new("git").args(arguments).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    String::from_utf8(text.unwrap_or_default()).unwrap_or_default().lines().map(str::to_owned).collect()
}
