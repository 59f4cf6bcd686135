//! Says which commit this is, for `--version`.

use std::process::Command;

fn main() {
    let mut lines = git(&["rev-parse", "--show-prefix", "HEAD"]);
    // Unpacked from an archive, below somebody else's repository: that one's commit is not ours.
    let commit = lines.pop().filter(|_| lines == ["cli/"]);
    // The same length whatever else a clone holds.
    let short = commit.as_deref().and_then(|commit| commit.get(..7)).unwrap_or("unknown");
    println!("cargo:rustc-env=SCTPTRACE_COMMIT={short}");
    println!("cargo:rerun-if-changed=build.rs");
    if commit.is_some() {
        // Written whenever HEAD becomes another commit.
        for log in git(&["rev-parse", "--git-path", "logs/HEAD"]) {
            println!("cargo:rerun-if-changed={log}");
        }
    }
}

/// The lines that git prints; none where there is no git or no repository.
fn git(arguments: &[&str]) -> Vec<String> {
    let output = Command::new("git").args(arguments).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    String::from_utf8(text.unwrap_or_default()).unwrap_or_default().lines().map(str::to_owned).collect()
}
