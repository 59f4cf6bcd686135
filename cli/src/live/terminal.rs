//! The terminal that `--live` draws upon, and how it is left: as it was, at the end, after an error, at a second signal, and
//! after a panic. (Nobody can do so after SIGKILL: `reset` does.)

use std::{
    env,
    fs::File,
    io::{self, ErrorKind, IsTerminal, Write},
    os::fd::{AsFd, AsRawFd, RawFd},
    panic::{set_hook, take_hook},
    sync::{
        Once, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    libc,
    sys::signal::{SigSet, Signal},
};
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcgetwinsize,
    tcsetattr,
};

use super::{Size, screen::USUAL};
use crate::sink::{END_PATIENCE, unblocked};

/// Switches to the alternate screen, hides the cursor, and erases the screen.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[2J";
/// Ends all stress, shows the cursor, and brings back the screen that was there before.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";

/// The ioctls of a confined process on the terminal's descriptor, each with its third argument if that is a number: to read
/// the size, to restore the modes, and to throw away typed keys.
pub(crate) const IOCTLS: [(u32, Option<u32>); 3] = [
    (libc::TIOCGWINSZ as u32, None),
    (libc::TCSETS2 as u32, None),
    (libc::TCFLSH as u32, Some(libc::TCIFLUSH as u32)),
];

/// The terminal, and its modes before the screen. For a signal handler it has to be static, and to be read without a lock.
static SAVED: OnceLock<(File, Termios)> = OnceLock::new();
/// True while the screen is drawn upon.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// The terminal on standard output. Dropping it leaves the screen.
pub(crate) struct Terminal {
    file: &'static File,
    modes: &'static Termios,
}

/// Returns why the screen cannot be drawn here; `None` if it can.
pub(crate) fn hindrance() -> Option<&'static str> {
    if !io::stdout().is_terminal() {
        return Some(
            "--live draws on a terminal, and standard output is none: use --json, or --csv --timestamp",
        );
    }
    let term = env::var_os("TERM").unwrap_or_default();
    (term.is_empty() || term == "dumb")
        .then_some("--live needs a terminal with a cursor: TERM is not set, or dumb")
}

impl Terminal {
    /// Opens the terminal on standard output, and changes nothing. To be called once in a process.
    ///
    /// # Errors
    /// Where standard output is no terminal.
    pub(crate) fn open() -> Result<Self> {
        let file = unblocked(io::stdout().as_fd().try_clone_to_owned()?.into());
        let modes = tcgetattr(&file).context("cannot read the terminal's modes")?;
        let (file, modes) = SAVED.get_or_init(|| (file, modes));
        Ok(Self { file, modes })
    }

    /// Begins the screen: keys that are typed do not show, Ctrl-Z and Ctrl-\ do nothing (each would leave the terminal to
    /// the shell as it is), and Ctrl-C works as ever. A process in the background is stopped until it is in the
    /// foreground.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub(crate) fn enter(&self) -> Result<()> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let next = take_hook();
            set_hook(Box::new(move |panic| {
                leave_now();
                next(panic);
            }));
        });
        let mut modes = self.modes.clone();
        modes.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
        for key in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            modes.special_codes[key] = 0; // _POSIX_VDISABLE
        }
        ENTERED.store(true, Ordering::Relaxed);
        tcsetattr(self.file, OptionalActions::Now, &modes).context("cannot set the terminal's modes")?;
        // If `timeout` has moved this process to the background, only a process that blocks SIGTTOU can restore the modes.
        SigSet::from(Signal::SIGTTOU).thread_block()?;
        write(self.file, ENTER, Duration::ZERO);
        Ok(())
    }

    /// The size of the screen.
    pub(crate) fn size(&self) -> Size {
        let size = tcgetwinsize(self.file).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or(USUAL, |size| Size { width: size.ws_col.into(), height: size.ws_row.into() })
    }

    /// The descriptor on which [`IOCTLS`] are made.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        leave(END_PATIENCE);
    }
}

/// Leaves the screen at once, if it was begun. Makes only calls that a signal handler may make (signal-safety(7)): write(2),
/// ioctl(2).
pub(crate) fn leave_now() {
    leave(Duration::ZERO);
}

/// Leaves the screen, if it was begun. If the terminal takes no bytes, waits for it no longer than `patience`.
fn leave(patience: Duration) {
    if !ENTERED.swap(false, Ordering::Relaxed) {
        return;
    }
    let Some((file, modes)) = SAVED.get() else { return };
    write(file, LEAVE, patience);
    // Nothing can be done about an error: the terminal is gone.
    let _ = tcflush(file, QueueSelector::IFlush);
    let _ = tcsetattr(file, OptionalActions::Now, modes);
}

/// Writes to the terminal; gives up where it takes nothing for longer than `patience`.
fn write(mut file: &File, mut bytes: &[u8], patience: Duration) {
    const PAUSE: Duration = Duration::from_millis(10);
    let begun = Instant::now();
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock && begun.elapsed() < patience => sleep(PAUSE),
            Err(_) => return,
        }
    }
}
