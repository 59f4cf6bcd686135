//! Runs a command from its flags to its exit code: checks the prerequisites, confines the process, runs.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    net::TcpListener,
    os::fd::AsFd,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use probes::{
    Probe, async_fd,
    kernel::{self, Ftrace},
};
use tokio::{
    io::Interest,
    runtime::{Builder, Runtime},
    select,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use crate::{
    Common, Out, Report,
    confine::confine,
    live::Terminal,
    metrics::{
        Exporter,
        server::{self, Server},
        textfile::TextFile,
    },
    progress::Progress,
    run::{Banners, Run, Wakers, sentences, watch, watch_stdout},
    signals::Signals,
    sink::{END_PATIENCE, Patience, Sink},
};

/// Time between two checks by which `--wait` finds out whether SCTP is loaded.
const WAIT_STEP: Duration = Duration::from_millis(200);

/// A command that is ready to run: SCTP can be traced on this machine, and the output is open.
pub struct Session<'a> {
    banners: &'a Banners,
    common: &'a Common,
    runtime: Runtime,
    signals: Signals,
    ftrace: Ftrace,
    out: Out,
    sockets: Vec<TcpListener>,
    text_file: Option<TextFile>,
    /// The terminal of a screen, and the signal that says that it has another size.
    terminal: Option<(Terminal, Signal)>,
}

impl<'a> Session<'a> {
    /// With `--wait`, waits until SCTP is loaded. Then checks that SCTP can be traced, and opens the output.
    /// From this call on, a signal ends the command cleanly. Returns `None` if a signal has come during the
    /// wait.
    ///
    /// # Errors
    /// Where SCTP cannot be traced here, or the output cannot be made.
    pub fn start(banners: &'a Banners, common: &'a Common) -> Result<Option<Self>> {
        let runtime =
            Builder::new_current_thread().enable_io().enable_time().build().context("cannot start")?;
        let mut signals = runtime.block_on(async { Signals::new() })?;
        if common.wait && !kernel::has_sctp() {
            say(banners, "waiting for SCTP to be loaded");
            if !runtime.block_on(sctp_comes(&mut signals)) {
                return Ok(None);
            }
        }
        kernel::can_trace().map_err(probes::Error::from)?;
        let terminal = common.live.then(Terminal::open).transpose()?;
        let out = if common.live { Out::frames()? } else { Out::new(common.file.as_deref())? };
        let resized = |terminal| {
            runtime.block_on(async { Ok::<_, io::Error>((terminal, signal(SignalKind::window_change())?)) })
        };
        let terminal = terminal.map(resized).transpose()?;
        let sockets = server::open(common.metrics.listen)?;
        let text_file = common.metrics.textfile.as_deref().map(TextFile::open).transpose()?;
        let ftrace = Ftrace::open();
        Ok(Some(Self { banners, common, runtime, signals, ftrace, out, sockets, text_file, terminal }))
    }

    /// Confines the process, and runs the command to its end.
    ///
    /// # Errors
    /// Where the kernel cannot be read, or the output cannot be written.
    pub fn run<P: Probe, R: Report<Record = P::Record, Row = P::Row>>(
        self,
        probe: P,
        report: R,
    ) -> Result<()> {
        let Self { banners, common, runtime, signals, ftrace, mut out, sockets, text_file, terminal } = self;
        runtime.block_on(async {
            let ring = probe.fd()?.map(|fd| async_fd(fd, Interest::READABLE)).transpose()?;
            let stopped = signals.flag();
            let lifecycle = probe.lifecycle_fd()?.map(|fd| async_fd(fd, Interest::READABLE)).transpose()?;
            let server = (!sockets.is_empty()).then(|| Server::new(sockets)).transpose()?;
            let sockets = server.as_ref().map(Server::sockets).unwrap_or_default();
            let (screen, resized) = terminal.unzip();
            let terminal = screen.as_ref().zip(resized);
            let wakers = Wakers { signals, ring, lifecycle, stdout: watch_stdout(), server, terminal };
            out.watch()?;
            let mut last_words = Sink::open("standard error".to_owned(), stderr()?)?;
            let exporter = common.metrics.is_on().then(|| Exporter::new(report.metrics(), &common.metrics));
            let mut run = Run::new(banners, common, probe, report, out)
                .in_kernel(ftrace, stopped)
                .with_metrics(exporter, text_file);
            let mut progress = Progress::new(banners, common, run.started(), stderr()?);
            let descriptor = screen.as_ref().map(Terminal::descriptor);
            confine(&run.needs(sockets, descriptor)).context("cannot confine itself")?;
            if let Some(screen) = &screen {
                screen.enter()?;
                run.resize(screen.size());
            }
            run.begin()?;
            let watched = watch(&mut run, common, wakers, &mut progress).await;
            progress.end();
            watched?;
            let accounting = run.end()?;
            // The screen is left here: from now on lines can be printed again.
            drop(screen);
            let lines = sentences(&accounting).into_iter().chain(run.remarks(&accounting));
            // An error is ignored: the run has ended well, even if nobody reads stderr.
            let _ = say_in_time(&mut last_words, banners, lines);
            Ok(())
        })
    }
}

/// Waits until SCTP is loaded. Returns false if a signal comes first.
async fn sctp_comes(signals: &mut Signals) -> bool {
    while !kernel::has_sctp() {
        select! {
            () = signals.received() => return false,
            () = sleep(WAIT_STEP) => {}
        }
    }
    true
}

/// Returns the exit code for the result of a command: 0 for success, 3 if SCTP cannot be traced on this
/// machine, 1 for other errors. Prints the error to stderr, unless the error is that the reader of the output
/// has left: that counts as success.
#[must_use]
pub fn exit_code(banners: &Banners, result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    // A reader that leaves has read enough (`| head`): that is no failure.
    if reader_left(&error) {
        return ExitCode::SUCCESS;
    }
    say(banners, &format!("{error:#}"));
    match error.downcast_ref::<probes::Error>() {
        Some(probes::Error::Unsupported(_) | probes::Error::Refused { .. }) => ExitCode::from(3),
        _ => ExitCode::from(1),
    }
}

fn reader_left(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe))
}

/// Opens stderr a second time, as a file of its own.
fn stderr() -> io::Result<File> {
    Ok(io::stderr().as_fd().try_clone_to_owned()?.into())
}

/// Writes lines to `to`, which is stderr, each with the command's name in front. Waits at most
/// [`END_PATIENCE`] for a slow reader.
fn say_in_time(to: &mut Sink, banners: &Banners, lines: impl Iterator<Item = String>) -> Result<()> {
    let until = Instant::now() + END_PATIENCE;
    to.set_patience(Some(Patience { within: END_PATIENCE, until, stopped: Arc::default() }));
    for line in lines {
        to.line(|to| Ok(writeln!(to, "{}: {line}", banners.command)?))?;
    }
    to.finish()
}

/// Writes a line to stderr, with the command's name in front. Ignores errors: if stderr is closed, nobody
/// could read about them.
fn say(banners: &Banners, line: &str) {
    let _ = writeln!(io::stderr(), "{}: {line}", banners.command);
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::fd::OwnedFd};

    use super::*;

    #[test]
    fn a_broken_pipe_is_recognised_through_context() {
        let broken: Result<(), _> = Err(io::Error::from(ErrorKind::BrokenPipe));
        assert!(reader_left(&broken.context("cannot write").unwrap_err()));
        let full: Result<(), _> = Err(io::Error::from(ErrorKind::StorageFull));
        assert!(!reader_left(&full.context("cannot write").unwrap_err()));
    }

    #[test]
    fn nobody_has_to_read_the_last_words() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut last_words = Sink::open("standard error".to_owned(), OwnedFd::from(writer).into()).unwrap();
        let banners = Banners { command: "sctp-x", text: "", csv: "", file: None };
        // More than a pipe holds.
        let lines = (0..10_000).map(|number| format!("sentence {number}"));
        say_in_time(&mut last_words, &banners, lines).unwrap();
        assert!(last_words.dropped() > 0);
        drop(last_words);
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert!(read.starts_with("sctp-x: sentence 0\nsctp-x: sentence 1\n"));
    }
}
