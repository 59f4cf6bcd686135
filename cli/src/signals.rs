//! The signals that end a command: the first one cleanly, a second one at once.

use std::{
    fs,
    future::poll_fn,
    io,
    sync::{Arc, atomic::AtomicBool},
    task::Poll,
};

use probes::end_at_second;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::live::terminal::leave_now;

/// The signals that end a command cleanly: SIGINT, SIGTERM, and SIGHUP unless the process ignored SIGHUP at
/// its start (`nohup`). A second signal ends the command at once, whatever the command waits for
/// ([`end_at_second`]), after it has left its screen.
pub(crate) struct Signals {
    signals: Vec<Signal>,
    received: Arc<AtomicBool>,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        let received = Arc::new(AtomicBool::new(false));
        let mut signals = Vec::new();
        for number in [SIGINT, SIGTERM, SIGHUP] {
            if number == SIGHUP && ignores_hangup() {
                continue;
            }
            signals.push(signal(SignalKind::from_raw(number))?);
            end_at_second(number, leave_now)?;
            flag::register(number, Arc::clone(&received))?;
        }
        Ok(Self { signals, received })
    }

    /// Waits until one of the signals comes.
    pub(crate) async fn received(&mut self) {
        poll_fn(|context| {
            let any = self.signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Returns a flag that becomes true when one of the signals comes, for code that cannot await
    /// [`Signals::received`].
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.received)
    }
}

/// Returns whether this process ignores SIGHUP, as a command started by `nohup` does. `SigIgn` in
/// `/proc/self/status` has a bit for each ignored signal (proc(5)).
fn ignores_hangup() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, SIGHUP))
}

fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_stands_in_a_mask() {
        let status = "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert!(ignores(status, SIGHUP) && ignores(status, 13));
        assert!(!ignores(status, SIGINT) && !ignores("", SIGHUP));
    }
}
