//! Where there is no screen, `--live` is wrong usage.

use std::process::{Command, Output};

const TOOL: &str = env!("CARGO_BIN_EXE_sctp-rtt");

/// Runs the command with these flags on a terminal that is called `term`.
fn on_terminal(flags: &str, term: &str) -> Output {
    let command = format!("{TOOL} {flags}");
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).env("TERM", term);
    script.output().expect("script, of bsdutils")
}

#[test]
fn elsewhere_than_on_a_terminal_it_is_wrong_usage() {
    let output = Command::new(TOOL).arg("-L").env("TERM", "xterm").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--live draws on a terminal") && output.stdout.is_empty(), "{said}");
}

#[test]
fn a_terminal_without_a_cursor_and_a_column_that_there_is_not_are_wrong_usage() {
    for (flags, term, why) in [
        ("-L", "dumb", "TERM is not set, or dumb"),
        ("-L", "", "TERM is not set, or dumb"),
        ("-L --sort nonsense", "xterm", "It has assoc_id, path, rtt_p99_us"),
    ] {
        let output = on_terminal(flags, term);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why) && !said.contains("1049"), "{said}");
    }
}
