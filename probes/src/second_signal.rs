//! Makes a second signal (such as a second Ctrl-C) end a command at once, whatever the command waits for.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use signal_hook::low_level;

/// Signals within this time of the first count as one signal: a terminal that closes, `timeout` and systemd
/// send two at a time.
const TOGETHER: Duration = Duration::from_millis(300);

/// When the first signal came, in ns of `CLOCK_MONOTONIC`; 0 before that.
static FIRST: AtomicU64 = AtomicU64::new(0);

/// Makes `signal` end the process at once, with the exit status 128 + `signal`, if it comes as a second
/// signal: more than 300 ms after the first of all signals for which this function was called. The first
/// signal does nothing here. `last` is called before the end. It may make only calls that a signal handler may make
/// (signal-safety(7)).
///
/// # Errors
/// Where the signal cannot be handled (SIGKILL, SIGSTOP).
pub fn end_at_second(signal: i32, last: fn()) -> io::Result<()> {
    let action = move || {
        let now =
            clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(1, |now| Duration::from(now).as_nanos() as u64);
        let first = FIRST.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        if first.is_err_and(|first| now.saturating_sub(first) > TOGETHER.as_nanos() as u64) {
            last();
            low_level::exit(128 + signal);
        }
    };
    // SAFETY: the action makes only calls that a signal handler may make (signal-safety(7)): clock_gettime(2), _exit(2), and
    // those of `last`.
    unsafe { low_level::register(signal, action) }.map(drop)
}
