//! A line of progress for a person who sees nothing else.

use std::{
    future::pending,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use tokio::time::{Interval, interval_at};

use crate::{Common, run::Banners};

/// How often a quiet run with a FILE says on a terminal that it is alive.
const PROGRESS: Duration = Duration::from_secs(10);

/// A line on stderr, written over and over, where nothing else shows a person that something is going on.
pub(crate) struct Progress<'a> {
    command: &'a str,
    started: Instant,
    due: Option<Interval>,
    said: bool,
}

impl<'a> Progress<'a> {
    /// Looks whether stderr is a terminal. A confined process cannot find out, so call this before `confine()`.
    pub(crate) fn new(banners: &'a Banners, common: &Common, started: Instant) -> Self {
        let silent = common.quiet && common.file.is_some() && io::stderr().is_terminal();
        let due = silent.then(|| interval_at((started + PROGRESS).into(), PROGRESS));
        Self { command: banners.command, started, due, said: false }
    }

    /// Waits until it is time for the line; for ever where there is none.
    pub(crate) async fn due(&mut self) {
        match &mut self.due {
            Some(due) => drop(due.tick().await),
            None => pending().await,
        }
    }

    /// Writes the line.
    pub(crate) fn say(&mut self, events: u64) {
        self.said = true;
        let _ = write!(
            io::stderr(),
            "\r{}: {} s, {events} events",
            self.command,
            self.started.elapsed().as_secs()
        );
    }

    /// Ends the line: what comes next on stderr begins a new one.
    pub(crate) fn end(&self) {
        if self.said {
            let _ = writeln!(io::stderr());
        }
    }
}
