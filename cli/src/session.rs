//! From flags to exit code: prerequisites, confinement, the run.

use std::{
    io::{self, ErrorKind, Write},
    process::ExitCode,
    time::Duration,
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
    time::sleep,
};

use crate::{
    Common, Out, Report,
    confine::confine,
    progress::Progress,
    run::{Banners, Run, Wakers, sentences, watch, watch_stdout},
    signals::Signals,
};

/// How often `--wait` looks.
const WAIT_STEP: Duration = Duration::from_millis(200);

/// A command that has begun, and can trace here.
pub struct Session<'a> {
    banners: &'a Banners,
    common: &'a Common,
    runtime: Runtime,
    signals: Signals,
    ftrace: Ftrace,
    out: Out,
}

impl<'a> Session<'a> {
    /// Waits for SCTP if asked to, looks whether it can be traced, and makes the output. From here on a signal means a
    /// clean end: `None` where one came meanwhile.
    ///
    /// # Errors
    /// Where SCTP cannot be traced here, or the output not be made.
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
        let out = Out::new(common.file.as_deref())?;
        Ok(Some(Self { banners, common, runtime, signals, ftrace: Ftrace::open(), out }))
    }

    /// Confines the process, and runs the command to its end.
    ///
    /// # Errors
    /// Where the kernel cannot be read or the output not be written.
    pub fn run<P: Probe, R: Report<Record = P::Record, Row = P::Row>>(
        self,
        probe: P,
        report: R,
    ) -> Result<()> {
        let Self { banners, common, runtime, signals, ftrace, mut out } = self;
        runtime.block_on(async {
            let ring = probe.fd()?.map(|fd| async_fd(fd, Interest::READABLE)).transpose()?;
            let stopped = signals.flag();
            let wakers = Wakers { signals, ring, stdout: watch_stdout() };
            out.watch()?;
            let mut run = Run::new(banners, common, probe, report, out).in_kernel(ftrace, stopped);
            let mut progress = Progress::new(banners, common, run.started());
            confine().context("cannot confine itself")?;
            run.begin()?;
            let watched = watch(&mut run, common, wakers, &mut progress).await;
            progress.end();
            watched?;
            let accounting = run.end()?;
            for line in sentences(&accounting).into_iter().chain(run.remarks(&accounting)) {
                say(banners, &line);
            }
            Ok(())
        })
    }
}

/// Waits until SCTP is loaded; false where a signal came before.
async fn sctp_comes(signals: &mut Signals) -> bool {
    while !kernel::has_sctp() {
        select! {
            () = signals.received() => return false,
            () = sleep(WAIT_STEP) => {}
        }
    }
    true
}

/// Exit code for the result of a command. Prints the error to stderr first, unless the error is that the reader of our
/// output has left.
#[must_use]
pub fn exit_code(banners: &Banners, result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    // The reader of our output has left (`| head`): it has what it wanted.
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

/// Writes a diagnostic. If stderr is gone too, there is nobody to read it.
fn say(banners: &Banners, line: &str) {
    let _ = writeln!(io::stderr(), "{}: {line}", banners.command);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_pipe_is_recognised_through_context() {
        let broken: Result<(), _> = Err(io::Error::from(ErrorKind::BrokenPipe));
        assert!(reader_left(&broken.context("cannot write").unwrap_err()));
        let full: Result<(), _> = Err(io::Error::from(ErrorKind::StorageFull));
        assert!(!reader_left(&full.context("cannot write").unwrap_err()));
    }
}
