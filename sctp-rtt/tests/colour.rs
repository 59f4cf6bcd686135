//! Help and usage errors have colours only on a terminal, and not if `NO_COLOR` is set.

use std::process::Command;

const HELP: &str = concat!(env!("CARGO_BIN_EXE_sctp-rtt"), " --help");
const USAGE: &str = concat!(env!("CARGO_BIN_EXE_sctp-rtt"), " --nonsense");

/// Returns what a command writes to a terminal, with this value of `NO_COLOR`.
fn on_terminal(command: &str, no_color: &str) -> String {
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--command", command, "/dev/null"])
        .env("TERM", "xterm")
        .env("NO_COLOR", no_color);
    let output = script.output().expect("script, of bsdutils");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn only_on_a_terminal_and_never_with_no_color() {
    for (command, word) in [(HELP, "Usage"), (USAGE, "--nonsense")] {
        let coloured = on_terminal(command, "");
        assert!(coloured.contains(word) && coloured.contains('\x1b'), "{coloured:?}");
        let plain = on_terminal(command, "1");
        assert!(plain.contains(word) && !plain.contains('\x1b'), "{plain:?}");
        let piped = Command::new("sh").args(["-c", &format!("{command} 2>&1")]).output().unwrap();
        let piped = String::from_utf8_lossy(&piped.stdout);
        assert!(piped.contains(word) && !piped.contains('\x1b'), "{piped:?}");
    }
}
