//! A command's run: header, then records and intervals in a loop, then the end.

use std::{
    future::pending,
    io::{self, ErrorKind, IsTerminal},
    os::fd::{AsFd, OwnedFd, RawFd},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use anyhow::Result;
use probes::{
    Accounting, Probe, ROUND_PERIOD, async_fd,
    kernel::{self, Ftrace},
    lifecycle::AssocEvent,
};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::{
    io::{Interest, unix::AsyncFd},
    select,
    signal::unix::Signal,
    task::yield_now,
    time::{Interval, MissedTickBehavior, interval, interval_at, sleep, sleep_until},
};

use crate::{
    Clock, Common, Events, Findings, Format, Out, Report,
    confine::Needs,
    host::{Counters, HOST_RULES},
    lifecycle::{ASSOCIATION, line},
    live::{Head, Screen, Size, Terminal, lost},
    metrics::{
        Exporter, TextFormat,
        server::{Asked, Server},
        textfile::TextFile,
    },
    progress::Progress,
    signals::Signals,
    sink::{END_PATIENCE, Patience},
};

/// Pause between the first new record and the reading of a batch. Lines appear within 100 ms of their events,
/// and new records wake the process 20 times a second at most (except when the ring buffer gets half full).
const BATCH_PAUSE: Duration = Duration::from_millis(50);
/// The longest time between two looks at the ring buffer. A program that is just writing a record while
/// `Probe::wake_me()` is called may not see that call, and wake nobody.
const LATEST: Duration = Duration::from_secs(1);
/// The most records to take from the ring buffer at a time: a batch.
const BATCH: usize = 64;
/// The most batches to read before the loop looks at signals and timers again.
const BATCHES: usize = 64;
/// The longest time to wait for slow readers while the remaining records are written at the end of the run.
const REST: Duration = Duration::from_millis(100);
/// The longest time to wait for slow readers while the last statistics are written at the end of the run. (A
/// reader that takes nothing at all has only [`END_PATIENCE`].)
const END: Duration = Duration::from_secs(10);

/// Time between two reads of the kernel side's counters that wrap (`Probe::carry()`). Even the fastest takes
/// hours to wrap.
const CARRY: Duration = Duration::from_secs(60);

/// A command's name and its banners, the lines that it prints first.
pub struct Banners {
    /// The command's name, e.g. `sctp-rtt`.
    pub command: &'static str,
    /// Banner in text mode.
    pub text: &'static str,
    /// Banner with CSV on stdout.
    pub csv: &'static str,
    /// Banner with FILE: the words before and after FILE's quoted name. `None`: use the banner of text mode.
    pub file: Option<(&'static str, &'static str)>,
}

impl Banners {
    /// The value of `tool` in JSON.
    #[must_use]
    pub fn tool(&self) -> &'static str {
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

/// A command's run, with its probe, its report and its output.
pub struct Run<'a, P: Probe, R> {
    banners: &'a Banners,
    common: &'a Common,
    probe: P,
    report: R,
    out: Out,
    started: Instant,
    batch: Vec<P::Record>,
    /// Begins, restarts and ends of associations that are being written.
    happenings: Vec<AssocEvent>,
    associations: Events<AssocEvent>,
    /// Set by a signal that ends the command.
    stopped: Arc<AtomicBool>,
    /// Number of records that were not written at the end of the run because readers were slow.
    unwritten: u64,
    /// The open switch of function tracing, to be read at the end: while it is off, the kernel runs no
    /// program. `None` for a test's probe, which has no programs.
    ftrace: Option<Ftrace>,
    /// The kernel's counters of discarded packets; `None` for a test's probe, and where there are none.
    counters: Option<Counters>,
    /// Findings about the host.
    findings: Findings,
    hooks_off: bool,
    /// True once the probe has handed out a row, printed or not.
    has_rows: bool,
    /// `None` unless metrics are asked for.
    exporter: Option<Exporter<P::Row>>,
    text_file: Option<TextFile>,
    /// `None` unless there is a screen.
    screen: Option<Screen>,
}

impl<'a, P: Probe, R: Report<Record = P::Record, Row = P::Row>> Run<'a, P, R> {
    /// Makes a run, which begins now.
    pub fn new(banners: &'a Banners, common: &'a Common, probe: P, report: R, out: Out) -> Self {
        Self {
            banners,
            common,
            probe,
            report,
            out,
            started: Instant::now(),
            batch: Vec::with_capacity(BATCH),
            happenings: Vec::new(),
            associations: Events::new(banners.tool(), "association", ASSOCIATION),
            stopped: Arc::default(),
            unwritten: 0,
            ftrace: None,
            counters: None,
            findings: Findings::new(banners.tool(), common),
            hooks_off: false,
            has_rows: false,
            exporter: None,
            text_file: None,
            screen: common.live.then(Screen::new),
        }
    }

    /// Returns this run with the switch of function tracing, which a probe with programs in the kernel needs, with the
    /// kernel's counters, and with a flag `stopped` that a signal sets.
    pub(crate) fn in_kernel(self, ftrace: Ftrace, stopped: Arc<AtomicBool>) -> Self {
        Self { ftrace: Some(ftrace), counters: Counters::open(), stopped, ..self }
    }

    /// Returns this run with metrics.
    pub(crate) fn with_metrics(
        self,
        exporter: Option<Exporter<P::Row>>,
        text_file: Option<TextFile>,
    ) -> Self {
        Self { exporter, text_file, ..self }
    }

    /// Returns this run with metrics, as the flags say: for a measurement.
    #[cfg(any(test, feature = "fuzz"))]
    #[doc(hidden)]
    #[must_use]
    pub fn with_own_metrics(self) -> Self {
        let exporter = Exporter::new(self.report.metrics(), &self.common.metrics);
        self.with_metrics(Some(exporter), None)
    }

    /// The probe: for a measurement.
    #[cfg(any(test, feature = "fuzz"))]
    #[doc(hidden)]
    pub fn probe(&self) -> &P {
        &self.probe
    }

    /// Returns the text of all metrics, as a scrape gets it: for a measurement.
    ///
    /// # Errors
    /// Where the kernel cannot be read.
    #[cfg(any(test, feature = "fuzz"))]
    #[doc(hidden)]
    pub fn scrape(&mut self) -> Result<String> {
        self.exposition(TextFormat::OpenMetrics)
    }

    /// What this run needs after confinement, with these sockets and this terminal.
    pub(crate) fn needs(&self, sockets: Vec<RawFd>, terminal: Option<RawFd>) -> Needs<'_> {
        Needs { sockets, text_file: self.text_file.as_ref(), terminal }
    }

    /// When the run began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// When `--duration` ends the run; `None` without that flag.
    fn due(&self) -> Option<Instant> {
        self.common.duration.and_then(|duration| self.started.checked_add(duration))
    }

    /// Writes the banner, if the run has one, and the header; or draws the first frame of a screen.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub fn begin(&mut self) -> Result<()> {
        if self.is_chatty() {
            let banner = self.banners.line(self.common.format(), self.common.file.as_deref());
            self.out.text(&banner)?;
        }
        if self.common.has_rows() {
            self.report.header(&mut self.out)?;
        }
        self.draw()?;
        self.out.flush()
    }

    /// Takes a batch of new records from the probe, and writes it. Returns whether more records may be
    /// waiting.
    ///
    /// # Errors
    /// Where the kernel cannot be read, or the output cannot be written.
    pub fn records(&mut self) -> Result<bool> {
        let more = self.probe.take(&mut self.batch, BATCH)?;
        self.report.records(&mut self.out, &mut self.batch)?;
        self.batch.clear();
        Ok(more)
    }

    /// Writes new records: [`BATCHES`] batches at most, and no more once a reader is slow. Returns whether
    /// more records may be waiting.
    fn some_records(&mut self) -> Result<bool> {
        for _ in 0..BATCHES {
            if self.out.is_full() {
                return Ok(true);
            }
            if !self.records()? {
                return Ok(false);
            }
            self.out.flush()?;
        }
        Ok(true)
    }

    /// Writes begins, restarts and ends of associations: [`BATCH`] of them at most, and none while a reader is slow.
    /// Returns whether more may be waiting.
    fn lifecycle(&mut self) -> Result<bool> {
        if self.out.is_full() {
            return Ok(true);
        }
        let more = self.probe.take_lifecycle(&mut self.happenings, BATCH)?;
        if self.happenings.is_empty() {
            return Ok(more);
        }
        let clock = Clock::now();
        for event in self.happenings.drain(..) {
            self.has_rows = true;
            if let Some(exporter) = &mut self.exporter {
                exporter.happened(&event);
            }
            if !self.common.events {
                continue;
            }
            if self.common.format() == Format::Json {
                self.associations.write(&mut self.out, &clock, event.at, &event)?;
            } else {
                self.out.text(&line(&event, &clock, &self.report.form().zone))?;
            }
        }
        Ok(more)
    }

    /// Ends an interval. Writes new records, the statistics of the interval, and the totals that are due. Then writes the
    /// file of metrics and draws the screen, if the run has them.
    ///
    /// # Errors
    /// Where the kernel cannot be read, or the output cannot be written.
    pub fn interval(&mut self) -> Result<()> {
        self.probe.end_interval();
        self.some_records()?;
        self.look()?;
        let patience = self.patience(self.common.interval);
        self.out.set_patience(Some(&patience));
        self.statistics(false)?;
        self.out.set_patience(None);
        // Comes last, so that the metrics have the findings of this interval.
        if let Some(mut file) = self.text_file.take() {
            file.write(&self.metrics(TextFormat::Prometheus))?;
            self.text_file = Some(file);
        }
        self.draw()
    }

    /// Detaches the programs. Writes the remaining records, the statistics of the last interval, the totals
    /// that are due, and the closing line or object. Returns the accounting.
    ///
    /// # Errors
    /// Where the kernel cannot be read, or the output cannot be written.
    pub fn end(&mut self) -> Result<Accounting> {
        let duration = self.started.elapsed();
        self.hooks_off = self.ftrace.take().is_some_and(Ftrace::is_off);
        self.probe.find_owners(true);
        self.probe.detach();
        let patience =
            |within, until| Patience { within, until: Instant::now() + until, stopped: Arc::default() };
        self.probe.end_interval();
        self.rest(&patience(REST, REST))?;
        self.rest_of_lifecycle(&patience(REST, REST))?;
        self.look()?;
        self.out.set_patience(Some(&patience(END_PATIENCE, END)));
        self.statistics(true)?;
        if let Some(file) = self.text_file.take() {
            file.finish(&self.metrics(TextFormat::Prometheus))?;
        }
        self.draw()?;
        let mut accounting = self.probe.accounting();
        accounting.lost += self.unwritten;
        if self.common.format() == Format::Json {
            let end = End {
                dropped_lines: self.out.dropped(),
                hooks_off: self.hooks_off,
                ..End::new(self.banners.tool(), &accounting, duration)
            };
            self.out.json(&end)?;
        }
        if self.is_chatty() {
            self.out.text("")?;
            self.out.text("Tracing completed.")?;
        }
        self.out.finish()?;
        Ok(accounting)
    }

    /// Gives the screen, if there is one, another size. The next frame has it.
    pub(crate) fn resize(&mut self, size: Size) {
        if let Some(screen) = &mut self.screen {
            screen.size = size;
        }
    }

    /// Draws the screen, if there is one. Nothing waits for a terminal that has not taken the last frame yet: the next
    /// interval is drawn.
    fn draw(&mut self) -> Result<()> {
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let head = Head {
            command: self.banners.command,
            time: Clock::now().time_of_day(kernel::now(), &self.report.form().zone),
            up: self.started.elapsed(),
            lost: lost(&self.probe.accounting(), screen.skipped),
        };
        let of_report = self.report.findings().into_iter().flat_map(Findings::lines);
        let findings: Vec<String> = self.findings.lines().chain(of_report).collect();
        if !self.out.frame(&screen.frame(&head, &findings, self.out.table()))? {
            screen.skipped += 1;
        }
        Ok(())
    }

    /// Adds to the metrics what the probe says has changed since the last call.
    fn look(&mut self) -> Result<()> {
        if self.exporter.is_none() {
            return Ok(());
        }
        // Begins and ends come first, as the labels of an association's rows need what they say.
        for _ in 0..BATCHES {
            if self.out.is_full() || !self.lifecycle()? {
                break;
            }
        }
        let Some(exporter) = &mut self.exporter else { return Ok(()) };
        for change in self.probe.changed()? {
            exporter.add(&change?);
            self.has_rows = true;
        }
        exporter.account(&self.probe.accounting());
        Ok(())
    }

    /// Returns the text of all metrics as of now.
    fn exposition(&mut self, format: TextFormat) -> Result<String> {
        self.look()?;
        Ok(self.metrics(format))
    }

    /// The text of all metrics as the last update left them; empty without metrics.
    fn metrics(&self, format: TextFormat) -> String {
        let Some(exporter) = &self.exporter else { return String::new() };
        let of_report = self.report.findings().into_iter().flat_map(Findings::lasting);
        exporter.text(format, self.findings.lasting().chain(of_report))
    }

    /// Sentences for a person about the run, a line each, apart from those about the counts of the accounting:
    /// that nothing was seen, that lines were dropped, that function tracing was switched off.
    pub(crate) fn remarks(&self, accounting: &Accounting) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.has_rows && !self.hooks_off {
            lines.extend(nothing(accounting).map(str::to_owned));
        }
        let dropped = self.out.dropped();
        if dropped > 0 {
            lines.push(format!("{dropped} lines dropped: their reader did not take them in time"));
        }
        if self.hooks_off {
            lines.push(
                "the kernel's function tracing was switched off (kernel.ftrace_enabled): what came after that is missing"
                    .to_owned(),
            );
        }
        lines
    }

    /// Writes the remaining records. Once `patience` is over and a reader is still slow, counts records in
    /// `unwritten` instead.
    fn rest(&mut self, patience: &Patience) -> Result<()> {
        loop {
            let more = self.probe.take(&mut self.batch, BATCH)?;
            if self.out.make_room(patience)? {
                self.report.records(&mut self.out, &mut self.batch)?;
            } else {
                self.unwritten += self.batch.len() as u64;
            }
            self.batch.clear();
            if !more {
                return Ok(());
            }
        }
    }

    /// Writes the remaining begins, restarts and ends, as [`Run::rest`] does records.
    fn rest_of_lifecycle(&mut self, patience: &Patience) -> Result<()> {
        loop {
            let more = if self.out.make_room(patience)? {
                self.lifecycle()?
            } else {
                let more = self.probe.take_lifecycle(&mut self.happenings, BATCH)?;
                self.unwritten += self.happenings.len() as u64;
                self.happenings.clear();
                more
            };
            if !more {
                return Ok(());
            }
        }
    }

    /// How long to wait for slow readers: for the time `within`, or until [`END_PATIENCE`] after the end of
    /// `--duration`. A signal shortens the wait ([`Patience::stopped`]).
    fn patience(&self, within: Duration) -> Patience {
        let until = Instant::now() + within;
        let until = self.due().map_or(until, |end| until.min(end + END_PATIENCE));
        Patience { within, until, stopped: Arc::clone(&self.stopped) }
    }

    /// Writes the findings and rows of the interval that ended, and the totals that are due.
    fn statistics(&mut self, at_end: bool) -> Result<()> {
        self.host_findings()?;
        let has_rows = &mut self.has_rows;
        if self.report.form().intervals {
            let rows = self.probe.interval()?.inspect(|_| *has_rows = true);
            self.report.interval(&mut self.out, rows)?;
        }
        if !self.common.has_rows() {
            return Ok(());
        }
        match self.report.due(at_end) {
            Some(due) => {
                let rows = self.probe.totals(due)?.inspect(|_| *has_rows = true);
                self.report.totals(&mut self.out, rows, at_end)
            }
            None => Ok(()),
        }
    }

    /// Writes findings about the host, of the interval that ended.
    fn host_findings(&mut self) -> Result<()> {
        if !self.findings.is_on() {
            return Ok(());
        }
        if let Some(discards) = self.counters.as_mut().and_then(Counters::grown) {
            self.findings.evaluate(HOST_RULES, None, &discards);
        }
        self.findings.end_interval(&mut self.out)
    }

    /// Returns whether the banner and the closing line are printed. JSON on stdout has neither, so that each
    /// of its lines is an object; nor has a screen.
    fn is_chatty(&self) -> bool {
        let is_bare = matches!(self.common.format(), Format::Json | Format::Live);
        !self.common.quiet && (!is_bare || self.common.file.is_some())
    }
}

/// The descriptors and signals that the run loop waits for.
pub(crate) struct Wakers<'t> {
    pub(crate) signals: Signals,
    /// The descriptor of the ring buffer; `None` without records.
    pub(crate) ring: Option<AsyncFd<OwnedFd>>,
    /// The descriptor of begins, restarts and ends of associations; `None` if these are not traced.
    pub(crate) lifecycle: Option<AsyncFd<OwnedFd>>,
    /// Stdout, to notice that its reader has left; `None` where that cannot be noticed.
    pub(crate) stdout: Option<AsyncFd<OwnedFd>>,
    /// The server of metrics; `None` if no metrics are served.
    pub(crate) server: Option<Server>,
    /// The terminal of a screen, and the signal that says that it has another size.
    pub(crate) terminal: Option<(&'t Terminal, Signal)>,
}

/// Runs the loop until a signal comes, `--duration` ends, or the reader of stdout leaves.
pub(crate) async fn watch<P: Probe, R: Report<Record = P::Record, Row = P::Row>>(
    run: &mut Run<'_, P, R>,
    common: &Common,
    wakers: Wakers<'_>,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let started = run.started();
    let Wakers { mut signals, ring, lifecycle, stdout, mut server, mut terminal } = wakers;
    let mut ticks = interval_at((started + common.interval).into(), common.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut carries = interval_at((started + CARRY).into(), CARRY);
    carries.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut rounds = run.probe.wants_owners().then(|| interval(ROUND_PERIOD));
    let end = run.due();
    loop {
        run.probe.wake_me();
        let more = run.some_records()? | run.lifecycle()?;
        run.out.flush()?;
        let (is_behind, is_full) = (run.out.is_behind(), run.out.is_full());
        select! {
            // `biased`: if several of these are ready, the ends of the run come first, then intervals.
            biased;
            () = signals.received() => return Ok(()),
            () = until(end) => return Ok(()),
            // With FILE, the run goes on to its end, to write the last rows there.
            () = closed(stdout.as_ref()) => return match common.file {
                Some(_) => Ok(()),
                None => Err(io::Error::from(ErrorKind::BrokenPipe).into()),
            },
            _ = ticks.tick() => run.interval()?,
            _ = carries.tick() => run.probe.carry()?,
            asked = asked(&mut server) => {
                let text = run.exposition(asked.format)?;
                server.iter_mut().for_each(|server| server.answer(&asked, &text));
            }
            () = tick(&mut rounds) => run.probe.find_owners(false),
            size = resized(&mut terminal) => {
                run.resize(size);
                run.draw()?;
            }
            () = progress.due() => progress.say(run.probe.accounting().events),
            () = run.out.writable(), if is_behind => {}
            // Timers and signals are looked at before the next batches.
            () = yield_now(), if more && !is_full => {}
            () = readable(lifecycle.as_ref()), if !more => {}
            () = readable(ring.as_ref()), if !more => {
                select! {
                    () = signals.received() => return Ok(()),
                    () = sleep(BATCH_PAUSE) => {}
                    () = readable(ring.as_ref()) => {} // the ring is half full already
                }
            }
            () = sleep(LATEST), if !more && ring.is_some() => {}
        }
    }
}

/// Waits for the next request for metrics; for ever if none are served.
async fn asked(server: &mut Option<Server>) -> Asked {
    match server {
        Some(server) => server.asked().await,
        None => pending().await,
    }
}

/// Waits until the terminal has another size, and returns that; for ever without a screen.
async fn resized(terminal: &mut Option<(&Terminal, Signal)>) -> Size {
    match terminal {
        Some((terminal, resized)) => {
            if resized.recv().await.is_none() {
                pending::<()>().await;
            }
            terminal.size()
        }
        None => pending().await,
    }
}

/// Waits for the next tick; for ever if there are none.
async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => pending().await,
    }
}

/// Waits until `end`, the end of `--duration`; for ever if that is `None`.
async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end.into()).await,
        None => pending().await,
    }
}

/// Waits until the ring buffer is readable; for ever if there is no ring buffer.
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

/// Registers stdout with the running tokio runtime, so that [`closed`] can wait until its reader leaves.
/// `None` for a terminal, and for a file, which cannot be registered.
pub(crate) fn watch_stdout() -> Option<AsyncFd<OwnedFd>> {
    if io::stdout().is_terminal() {
        return None;
    }
    async_fd(io::stdout().as_fd().try_clone_to_owned().ok()?, Interest::ERROR).ok()
}

/// Waits until the reader of stdout leaves; for ever if that cannot be noticed.
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

/// The last JSON object of a run, which has the accounting.
#[derive(Serialize)]
struct End<'a> {
    r#type: &'static str,
    tool: &'a str,
    time: String,
    duration_s: f64,
    events: u64,
    lost: u64,
    evicted: u64,
    outstanding: Option<u64>,
    unseen: Option<u64>,
    hooks_off: bool,
    memory_bytes: Option<u64>,
    skipped: Map<String, Value>,
    dropped_lines: u64,
}

impl<'a> End<'a> {
    fn new(tool: &'a str, accounting: &Accounting, duration: Duration) -> Self {
        Self {
            r#type: "end",
            tool,
            time: Clock::now().rfc3339_now(),
            duration_s: (duration.as_secs_f64() * 1e6).round() / 1e6,
            events: accounting.events,
            lost: accounting.lost,
            evicted: accounting.evicted,
            outstanding: accounting.outstanding,
            unseen: accounting.unseen,
            hooks_off: false,
            memory_bytes: accounting.memory_bytes,
            skipped: accounting.skipped.iter().map(|s| (s.reason.to_owned(), s.count.into())).collect(),
            dropped_lines: 0,
        }
    }
}

/// Returns the sentence that says that nothing was seen; `None` if any count of the accounting is above zero. (If the
/// filter left out events, upper bounds do not count: what the kernel skipped was probably left out by the filter as
/// well.)
fn nothing(a: &Accounting) -> Option<&'static str> {
    let counts = [a.events, a.lost, a.evicted, a.outstanding.unwrap_or(0), a.unseen.unwrap_or(0)];
    let skipped = a.skipped.iter().filter(|s| !(a.passed_over && s.is_bound()));
    if counts.iter().chain(skipped.map(|s| &s.count)).any(|count| *count > 0) {
        return None;
    }
    Some(if a.passed_over {
        "nothing was seen: there were events, but the filters (-p, --addr, ...) left them out"
    } else {
        "nothing was seen: no SCTP association did what this command looks at"
    })
}

/// Sentences for a person about the accounting, a line for each count above zero of events that were lost,
/// evicted, unseen or skipped.
pub(crate) fn sentences(a: &Accounting) -> Vec<String> {
    let mut lines = Vec::new();
    if a.lost > 0 {
        lines.push(format!("{} events lost: they came faster than they could be written", a.lost));
    }
    if a.evicted > 0 {
        lines.push(format!("{} table entries evicted: the tables are too small for this traffic", a.evicted));
    }
    if let Some(unseen) = a.unseen.filter(|unseen| *unseen > 0) {
        lines.push(format!("{unseen} chunks unseen: the kernel counted them, and ran no program at them"));
    }
    for s in a.skipped.iter().filter(|s| s.count > 0) {
        let at_most = if s.is_bound() { "at most " } else { "" };
        lines.push(format!("{at_most}{} samples skipped: {}", s.count, s.sentence));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use probes::Skipped;

    use super::*;
    use crate::fake::{BANNERS, Fake, Flags, Simple};

    #[test]
    fn only_what_is_not_zero_is_said() {
        let skipped = |reason, count| Skipped { reason, sentence: "because", count };
        let skipped = |count| vec![skipped("r", count), skipped("missed", count)];
        let accounting = |lost, count| Accounting {
            events: 5,
            lost,
            evicted: lost,
            outstanding: Some(count),
            unseen: Some(count),
            skipped: skipped(count),
            passed_over: false,
            memory_bytes: None,
        };
        assert!(sentences(&accounting(0, 0)).is_empty());
        let lines = sentences(&accounting(1, 3));
        assert_eq!(lines[2], "3 chunks unseen: the kernel counted them, and ran no program at them");
        assert_eq!(lines[3..], ["3 samples skipped: because", "at most 3 samples skipped: because"]);
    }

    #[test]
    fn who_sees_nothing_is_told_so() {
        let said = |passed_over| nothing(&Accounting { passed_over, ..Accounting::default() });
        assert!(said(false).is_some_and(|line| line.contains("no SCTP association")));
        assert!(said(true).is_some_and(|line| line.contains("filters")));
        let missed = || vec![Skipped { reason: "missed", sentence: "because", count: 1 }];
        let with = |passed_over| Accounting { passed_over, skipped: missed(), ..Accounting::default() };
        assert_eq!(nothing(&with(false)), None, "what was missed may be what was asked for");
        assert!(nothing(&with(true)).is_some());
        let skipped = vec![Skipped { reason: "r", sentence: "because", count: 1 }];
        assert_eq!(nothing(&Accounting { skipped, ..Accounting::default() }), None);
        assert_eq!(nothing(&Accounting { outstanding: Some(1), ..Accounting::default() }), None);
    }

    #[test]
    fn a_text_file_has_the_findings_of_its_interval() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.prom");
        let common = Flags::parse_from(["sctp-x", "--json", "--textfile", path.to_str().unwrap()]).common;
        let report = Simple::new(&common);
        let exporter = Exporter::new(report.metrics(), &common.metrics);
        let file = TextFile::open(&path).unwrap();
        let probe = Fake { mode: String::new(), ended: 0 };
        let out = Out::to(io::sink(), None).unwrap();
        let mut run =
            Run::new(&BANNERS, &common, probe, report, out).with_metrics(Some(exporter), Some(file));
        run.begin().unwrap();
        let found = || fs::read_to_string(&path).unwrap().contains("sctp_findings{code=\"many\"} 1\n");
        assert!(!found());
        run.interval().unwrap();
        assert!(found());
    }

    #[test]
    fn the_end_object_has_every_member_always() {
        let end = End::new("rtt", &Accounting::default(), Duration::from_millis(1500));
        let end = serde_json::to_value(&end).unwrap();
        let mut keys: Vec<_> = end.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        let expected = [
            "dropped_lines",
            "duration_s",
            "events",
            "evicted",
            "hooks_off",
            "lost",
            "memory_bytes",
            "outstanding",
            "skipped",
            "time",
            "tool",
            "type",
            "unseen",
        ];
        assert_eq!(keys, expected);
        assert_eq!(end["duration_s"], 1.5);
        assert_eq!([&end["outstanding"], &end["unseen"]], [&Value::Null, &Value::Null]);
    }
}
