//! Running other programs.

use std::env;
use std::fmt::Display;
use std::process::{Command, Stdio};

use crate::files::WORKSPACE;

/// A failure of xtask: the message to print.
pub struct Failure(pub String);

impl Failure {
    /// A failure with the message `what: error`.
    pub fn new(what: &str, error: impl Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

/// Run a program to its end, with xtask's own input and output. Fails unless the program succeeds.
pub fn run(command: &mut Command) -> Result<(), Failure> {
    let name = shown(command);
    let status = command.status().map_err(|error| Failure::new(&format!("cannot run {name}"), error))?;
    if status.success() { Ok(()) } else { Err(Failure(format!("{name}: {status}"))) }
}

/// Run a program to its end, and return its standard output without white space at the end. Fails unless the
/// program succeeds.
pub fn output(command: &mut Command) -> Result<String, Failure> {
    let name = shown(command);
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Failure::new(&format!("cannot run {name}"), error))?;
    if !output.status.success() {
        return Err(Failure(format!("{name}: {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Run a program without output. Returns whether the program succeeded.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Run the cargo that runs xtask, in the workspace.
pub fn cargo(arguments: &[&str]) -> Result<(), Failure> {
    run(cargo_command().args(arguments))
}

/// A command for the cargo that runs xtask, in the workspace.
pub fn cargo_command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(WORKSPACE);
    command
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy()));
    words.join(" ")
}
