//! A line of progress on stderr, for a person who sees no other output.

use std::{
    future::pending,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use tokio::time::{Interval, interval_at};

use crate::{Common, run::Banners};

/// Time between two updates of the progress line.
const PROGRESS: Duration = Duration::from_secs(10);

/// A line on stderr that is overwritten again and again. Only a quiet run with a FILE has one, and only if
/// stderr is a terminal: nothing else there shows that the command is running.
pub(crate) struct Progress<'a> {
    command: &'a str,
    started: Instant,
    due: Option<Interval>,
    said: bool,
}

impl<'a> Progress<'a> {
    /// Finds out whether this run has a progress line. To ask whether stderr is a terminal takes a system
    /// call that a confined process may not make, so call this before `confine()`.
    pub(crate) fn new(banners: &'a Banners, common: &Common, started: Instant) -> Self {
        let silent = common.quiet && common.file.is_some() && io::stderr().is_terminal();
        let due = silent.then(|| interval_at((started + PROGRESS).into(), PROGRESS));
        Self { command: banners.command, started, due, said: false }
    }

    /// Waits until the line is due; for ever if this run has none.
    pub(crate) async fn due(&mut self) {
        match &mut self.due {
            Some(due) => drop(due.tick().await),
            None => pending().await,
        }
    }

    /// Writes the line over the last one: the seconds since the start, and the number of events.
    pub(crate) fn say(&mut self, events: u64) {
        self.said = true;
        let _ = write!(
            io::stderr(),
            "\r{}: {} s, {events} events",
            self.command,
            self.started.elapsed().as_secs()
        );
    }

    /// Ends the line, if it was written, so that the next output on stderr begins a new one.
    pub(crate) fn end(&self) {
        if self.said {
            let _ = writeln!(io::stderr());
        }
    }
}
