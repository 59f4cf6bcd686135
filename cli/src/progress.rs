//! A progress line on stderr, which shows a person without other output that the command is running.

use std::{
    fs::File,
    future::pending,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use tokio::time::{Interval, interval_at};

use crate::{Common, run::Banners, sink::unblocked};

/// Time between two updates of the progress line.
const PROGRESS: Duration = Duration::from_secs(10);

/// A progress line on stderr, which each update overwrites. Only a run with `--quiet` and a FILE has one, and
/// only if stderr is a terminal: in other runs, other output shows that the command is running.
pub(crate) struct Progress<'a> {
    /// A terminal that takes nothing must not hold up the run.
    stderr: File,
    command: &'a str,
    started: Instant,
    due: Option<Interval>,
    said: bool,
}

impl<'a> Progress<'a> {
    /// Finds out whether this run has a progress line. A confined process may not make the system call that
    /// shows whether stderr is a terminal: so call this before `confine()`.
    pub(crate) fn new(banners: &'a Banners, common: &Common, started: Instant, stderr: File) -> Self {
        let silent = common.quiet && common.file.is_some() && stderr.is_terminal();
        let due = silent.then(|| interval_at((started + PROGRESS).into(), PROGRESS));
        Self { stderr: unblocked(stderr), command: banners.command, started, due, said: false }
    }

    /// Waits until the next update of the line is due; for ever if this run has no progress line.
    pub(crate) async fn due(&mut self) {
        match &mut self.due {
            Some(due) => drop(due.tick().await),
            None => pending().await,
        }
    }

    /// Updates the line: the command's name, the seconds since the start, and the number of events so far.
    pub(crate) fn say(&mut self, events: u64) {
        self.said = true;
        let seconds = self.started.elapsed().as_secs();
        // In one piece: a terminal that has no room then shows nothing of it.
        let line = format!("\r{}: {seconds} s, {events} events", self.command);
        let _ = self.stderr.write_all(line.as_bytes());
    }

    /// Ends the line, if it was written, so that the next output on stderr begins a new one.
    pub(crate) fn end(&mut self) {
        if self.said {
            let _ = self.stderr.write_all(b"\n");
        }
    }
}
