//! Descriptors that tokio waits for.

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers a descriptor with the running tokio reactor.
///
/// # Errors
/// Where it cannot be waited for, as a regular file.
///
/// # Panics
/// Outside a tokio runtime with I/O enabled.
pub fn async_fd(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the AsyncFd from here on: open, and the same, as long as that lives.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(|e| e.into_parts().1)
}
