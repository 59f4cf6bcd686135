//! The loop of a run: until a signal, the end of `--duration`, or the reader of stdout leaves.

use std::{
    future::pending,
    io::{self, ErrorKind, IsTerminal},
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::Result;
use probes::{Probe, async_fd};
use tokio::{
    io::{Interest, unix::AsyncFd},
    select,
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval_at, sleep, sleep_until},
};

use crate::{Common, Report, progress::Progress, run::Run};

/// Pause after a batch of samples: rows appear within 100 ms, and a busy host wakes us 20 times a second at most.
const BATCH_PAUSE: Duration = Duration::from_millis(50);

/// What the loop waits for, besides time.
pub(crate) struct Wakers {
    pub(crate) signals: Signals,
    /// The ring buffer's descriptor, where there is one.
    pub(crate) ring: Option<AsyncFd<OwnedFd>>,
    /// Stdout, where its closing can be waited for.
    pub(crate) stdout: Option<AsyncFd<OwnedFd>>,
}

/// Runs the loop.
pub(crate) async fn watch<P: Probe, R: Report<Record = P::Record, Row = P::Row>>(
    run: &mut Run<'_, P, R>,
    common: &Common,
    wakers: Wakers,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let started = run.started();
    let Wakers { mut signals, ring, stdout } = wakers;
    let mut ticks = interval_at((started + common.interval).into(), common.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let end = common.duration.and_then(|d| started.checked_add(d));
    loop {
        run.probe.wake_me();
        while run.records()? {
            run.out.flush()?;
        }
        run.out.flush()?;
        select! {
            () = signals.received() => return Ok(()),
            () = until(end) => return Ok(()),
            () = closed(stdout.as_ref()) => return Err(io::Error::from(ErrorKind::BrokenPipe).into()),
            _ = ticks.tick() => run.interval()?,
            () = progress.due() => progress.say(run.probe.accounting().events),
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

/// Waits until the end of `--duration`; for ever without one.
async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end.into()).await,
        None => pending().await,
    }
}

/// Waits until the ring buffer is readable; for ever without one.
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
pub(crate) fn watch_stdout() -> Option<AsyncFd<OwnedFd>> {
    if io::stdout().is_terminal() {
        return None;
    }
    async_fd(io::stdout().as_fd().try_clone_to_owned().ok()?, Interest::ERROR).ok()
}

/// Waits until the reader of stdout leaves.
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

/// Signals that mean a clean end: SIGINT, SIGTERM and SIGHUP.
pub(crate) struct Signals([Signal; 3]);

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    pub(crate) async fn received(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
