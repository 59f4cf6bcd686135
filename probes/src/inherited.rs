//! Sockets that the service manager has handed over (sd_listen_fds(3)).

use std::{
    env, io,
    net::TcpListener,
    os::fd::{AsFd, BorrowedFd, RawFd},
    process,
};

use nix::sys::socket::{getsockopt, sockopt::AcceptConn};

/// The first descriptor that is handed over: `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;

/// Returns how many descriptors were handed over to this process.
#[must_use]
pub fn inherited_sockets() -> RawFd {
    let number = |name| env::var(name).ok()?.parse::<RawFd>().ok();
    let is_ours = number("LISTEN_PID").is_some_and(|pid| pid == process::id().cast_signed());
    if is_ours { number("LISTEN_FDS").unwrap_or(0).max(0) } else { 0 }
}

/// Returns the listening sockets that were handed over, each duplicated.
///
/// # Errors
/// Where a descriptor is not that of a listening socket.
pub fn inherited_listeners() -> io::Result<Vec<TcpListener>> {
    (FIRST..FIRST.saturating_add(inherited_sockets()))
        .map(|number| {
            // SAFETY: the descriptor is open: the service manager says so. Were it not, the calls below would fail. It
            // is used for these calls only.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            if !getsockopt(&fd, AcceptConn)? {
                return Err(io::ErrorKind::NotConnected.into());
            }
            Ok(TcpListener::from(fd.as_fd().try_clone_to_owned()?))
        })
        .collect()
}
