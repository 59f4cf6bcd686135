//! Descriptors that tokio waits for.

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers a descriptor with the running tokio reactor.
///
/// # Errors
/// Where the descriptor cannot be waited for, such as that of a regular file.
///
/// # Panics
/// Outside a tokio runtime with I/O enabled.
pub fn async_fd(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: from here on the AsyncFd owns the descriptor, and keeps it open as long as the AsyncFd lives.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(|e| e.into_parts().1)
}
