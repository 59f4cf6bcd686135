//! From flags to exit code: prerequisites, banner, the loop, the end.

use std::{
    future::pending,
    io::{self, ErrorKind, IsTerminal, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use probes::async_fd;
use serde_json::{Map, json};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Builder,
    select,
    signal::unix::{Signal, SignalKind, signal},
    time::{Interval, MissedTickBehavior, interval_at, sleep, sleep_until},
};

use crate::{Clock, Common, Format, Out, confine::confine};

/// Pause after a batch of samples: rows appear within 100 ms, and a busy host wakes us 20 times a second at most.
const BATCH_PAUSE: Duration = Duration::from_millis(50);
/// How often a quiet run with a FILE says on a terminal that it is alive.
const PROGRESS: Duration = Duration::from_secs(10);
/// How often `--wait` looks.
const WAIT_STEP: Duration = Duration::from_millis(200);

/// A command at work.
pub trait Tool {
    /// The descriptor of its ring buffer, where it has one.
    ///
    /// # Errors
    /// Where there is no descriptor left.
    fn fd(&self) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    /// Asks the kernel side to announce the next event.
    fn wake_me(&mut self) {}

    /// Prints the events that have come. Returns whether there may be more.
    ///
    /// # Errors
    /// Where the kernel cannot be read or the output not be written.
    fn events(&mut self, _out: &mut Out) -> Result<bool> {
        Ok(false)
    }

    /// What comes after the banner: a header.
    ///
    /// # Errors
    /// Where the output cannot be written.
    fn begin(&mut self, out: &mut Out) -> Result<()>;

    /// An interval has ended.
    ///
    /// # Errors
    /// Where the kernel cannot be read or the output not be written.
    fn interval(&mut self, out: &mut Out) -> Result<()>;

    /// Stops tracing. What has happened up to now is still there for the other calls.
    fn stop(&mut self);

    /// Prints what is due at the end.
    ///
    /// # Errors
    /// Where the kernel cannot be read or the output not be written.
    fn end(&mut self, out: &mut Out) -> Result<()>;

    /// The books, at the end.
    fn accounting(&self) -> Accounting;
}

/// What was seen and what was not: nothing is lost silently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Events seen.
    pub events: u64,
    /// Events that user space did not get.
    pub lost: u64,
    /// Entries of fixed tables that made room for newer ones.
    pub evicted: u64,
    /// Events that gave no sample.
    pub skipped: Vec<Skipped>,
}

/// A reason why events gave no sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// JSON key.
    pub reason: &'static str,
    /// The end of the sentence "N samples skipped: …".
    pub sentence: &'static str,
    /// How many.
    pub count: u64,
}

/// Events at which the kernel did not run a program.
#[must_use]
pub fn missed(count: u64) -> Skipped {
    let sentence = "the kernel does not run a program that interrupts itself";
    Skipped { reason: "missed", sentence, count }
}

/// What a command says first, and what it is called.
pub struct Banners {
    /// The command's name, e.g. `sctp-rtt`.
    pub command: &'static str,
    /// In text mode.
    pub text: &'static str,
    /// With CSV on stdout.
    pub csv: &'static str,
    /// With FILE: put before and after its name in quotes; `None`: as in text mode.
    pub file: Option<(&'static str, &'static str)>,
}

impl Banners {
    /// The value of `tool` in JSON.
    fn tool(&self) -> &'static str {
        self.command.strip_prefix("sctp-").unwrap_or(self.command)
    }

    fn line(&self, format: Format, file: Option<&Path>) -> String {
        match (file, self.file) {
            (Some(file), Some((before, after))) => format!("{before}'{}'{after}", file.display()),
            (Some(_), None) => self.text.to_owned(),
            _ if format == Format::Text => self.text.to_owned(),
            _ => self.csv.to_owned(),
        }
    }
}

/// Runs a command to its end.
pub fn run<T: Tool>(
    banners: &Banners,
    common: &Common,
    open: impl FnOnce() -> Result<T, probes::Error>,
) -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(banners, &anyhow::Error::from(e).context("cannot start")),
    };
    match runtime.block_on(trace(banners, common, open)) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output has left (`| head`): it has what it wanted.
        Err(e) if reader_left(&e) => ExitCode::SUCCESS,
        Err(e) => fail(banners, &e),
    }
}

fn fail(banners: &Banners, error: &anyhow::Error) -> ExitCode {
    say(banners, &format!("{error:#}"));
    match error.downcast_ref::<probes::Error>() {
        Some(probes::Error::Absent(_) | probes::Error::Refused { .. }) => ExitCode::from(3),
        _ => ExitCode::from(1),
    }
}

fn reader_left(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe))
}

/// A diagnostic. If stderr is gone too, there is nobody to tell.
fn say(banners: &Banners, line: &str) {
    let _ = writeln!(io::stderr(), "{}: {line}", banners.command);
}

async fn trace<T: Tool>(
    banners: &Banners,
    common: &Common,
    open: impl FnOnce() -> Result<T, probes::Error>,
) -> Result<()> {
    // Before anything else: from here on a signal means a clean end.
    let mut signals = Signals::new()?;
    if common.wait && !probes::kernel::has_sctp() {
        say(banners, "waiting for SCTP to be loaded");
        while !probes::kernel::has_sctp() {
            select! {
                () = signals.received() => return Ok(()),
                () = sleep(WAIT_STEP) => {}
            }
        }
    }
    probes::kernel::can_trace().map_err(probes::Error::from)?;
    let mut out = Out::new(common.file.as_deref())?;
    if common.load_stats {
        probes::verifier::watch();
    }
    let mut tool = open()?;
    if common.load_stats {
        for cost in probes::verifier::costs() {
            out.text(&format!("{},{},{}", cost.program, cost.instructions, cost.states))?;
        }
        return out.flush();
    }
    let ring = tool.fd()?.map(|fd| async_fd(fd, Interest::READABLE)).transpose()?;
    let stdout = watch_stdout();
    let started = Instant::now();
    // Confined, it could not ask whether there is a terminal.
    let mut progress = Progress::new(banners, common, started);
    confine().context("cannot confine itself")?;

    let format = common.format();
    // JSON on stdout is JSON only.
    let chatty = !common.quiet && (format != Format::Json || common.file.is_some());
    if chatty {
        out.text(&banners.line(format, common.file.as_deref()))?;
    }
    tool.begin(&mut out)?;
    out.flush()?;

    let watched = watch(&mut tool, common, &mut out, Wakers { signals, ring, stdout }, &mut progress).await;
    progress.end();
    watched?;

    tool.stop();
    while tool.events(&mut out)? {}
    tool.end(&mut out)?;
    let accounting = tool.accounting();
    if format == Format::Json {
        out.json(&end_object(banners.tool(), &accounting, started.elapsed()))?;
    }
    if chatty {
        out.text("")?;
        out.text("Tracing completed.")?;
    }
    out.flush()?;
    for line in sentences(&accounting) {
        say(banners, &line);
    }
    Ok(())
}

/// A line on stderr, written over and over, where nothing else tells a person that something is going on.
struct Progress<'a> {
    command: &'a str,
    started: Instant,
    due: Option<Interval>,
    said: bool,
}

impl<'a> Progress<'a> {
    fn new(banners: &'a Banners, common: &Common, started: Instant) -> Self {
        let silent = common.quiet && common.file.is_some() && io::stderr().is_terminal();
        let due = silent.then(|| interval_at((started + PROGRESS).into(), PROGRESS));
        Self { command: banners.command, started, due, said: false }
    }

    async fn due(&mut self) {
        match &mut self.due {
            Some(due) => drop(due.tick().await),
            None => pending().await,
        }
    }

    fn say(&mut self, events: u64) {
        self.said = true;
        let _ = write!(
            io::stderr(),
            "\r{}: {} s, {events} events",
            self.command,
            self.started.elapsed().as_secs()
        );
    }

    /// What comes next begins a line.
    fn end(&self) {
        if self.said {
            let _ = writeln!(io::stderr());
        }
    }
}

/// What the loop waits for, besides time.
struct Wakers {
    signals: Signals,
    ring: Option<AsyncFd<OwnedFd>>,
    stdout: Option<AsyncFd<OwnedFd>>,
}

/// The loop: until a signal, the end of `--duration`, or the reader of stdout leaves.
async fn watch<T: Tool>(
    tool: &mut T,
    common: &Common,
    out: &mut Out,
    wakers: Wakers,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let started = progress.started;
    let Wakers { mut signals, ring, stdout } = wakers;
    let mut ticks = interval_at((started + common.interval).into(), common.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let end = common.duration.and_then(|d| started.checked_add(d));
    loop {
        tool.wake_me();
        while tool.events(out)? {
            out.flush()?;
        }
        out.flush()?;
        select! {
            () = signals.received() => return Ok(()),
            () = until(end) => return Ok(()),
            () = closed(stdout.as_ref()) => return Err(io::Error::from(ErrorKind::BrokenPipe).into()),
            _ = ticks.tick() => tool.interval(out)?,
            () = progress.due() => progress.say(tool.accounting().events),
            () = readable(ring.as_ref()) => {
                select! {
                    () = signals.received() => return Ok(()),
                    () = sleep(BATCH_PAUSE) => {}
                    () = readable(ring.as_ref()) => {} // half full already
                }
            }
        }
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end.into()).await,
        None => pending().await,
    }
}

async fn readable(ring: Option<&AsyncFd<OwnedFd>>) {
    match ring {
        Some(ring) => {
            if let Ok(mut guard) = ring.readable().await {
                guard.clear_ready();
            }
        }
        None => pending().await,
    }
}

/// Stdout as something whose closing can be waited for: a pipe or socket. Files and terminals cannot be registered, or
/// never report it.
fn watch_stdout() -> Option<AsyncFd<OwnedFd>> {
    if io::stdout().is_terminal() {
        return None;
    }
    async_fd(io::stdout().as_fd().try_clone_to_owned().ok()?, Interest::ERROR).ok()
}

async fn closed(stdout: Option<&AsyncFd<OwnedFd>>) {
    match stdout {
        Some(stdout) => {
            if stdout.ready(Interest::ERROR).await.is_err() {
                pending::<()>().await;
            }
        }
        None => pending().await,
    }
}

struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn received(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

fn end_object(tool: &str, accounting: &Accounting, duration: Duration) -> serde_json::Value {
    let skipped: Map<_, _> =
        accounting.skipped.iter().map(|s| (s.reason.to_owned(), s.count.into())).collect();
    json!({
        "type": "end",
        "tool": tool,
        "time": Clock::now().rfc3339_now(),
        "duration_s": (duration.as_secs_f64() * 1e6).round() / 1e6,
        "events": accounting.events,
        "lost": accounting.lost,
        "evicted": accounting.evicted,
        "skipped": skipped,
    })
}

/// What a person should know of the accounting, a line each.
fn sentences(a: &Accounting) -> Vec<String> {
    let mut lines = Vec::new();
    if a.lost > 0 {
        lines.push(format!("{} events lost: they came faster than they could be written", a.lost));
    }
    if a.evicted > 0 {
        lines.push(format!("{} table entries evicted: the tables are too small for this traffic", a.evicted));
    }
    for s in a.skipped.iter().filter(|s| s.count > 0) {
        lines.push(format!("{} samples skipped: {}", s.count, s.sentence));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_zero_is_said() {
        let skipped = |count| vec![Skipped { reason: "r", sentence: "because", count }];
        assert!(
            sentences(&Accounting { events: 5, skipped: skipped(0), ..Accounting::default() }).is_empty()
        );
        let lines = sentences(&Accounting { events: 5, lost: 1, evicted: 2, skipped: skipped(3) });
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2], "3 samples skipped: because");
    }

    #[test]
    fn the_end_object_has_every_member_always() {
        let end = end_object("rtt", &Accounting::default(), Duration::from_millis(1500));
        let keys: Vec<_> = end.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["type", "tool", "time", "duration_s", "events", "lost", "evicted", "skipped"]);
        assert_eq!(end["duration_s"], 1.5);
    }

    #[test]
    fn a_broken_pipe_is_recognised_through_context() {
        let broken: Result<(), _> = Err(io::Error::from(ErrorKind::BrokenPipe));
        assert!(reader_left(&broken.context("cannot write").unwrap_err()));
        let full: Result<(), _> = Err(io::Error::from(ErrorKind::StorageFull));
        assert!(!reader_left(&full.context("cannot write").unwrap_err()));
    }
}
