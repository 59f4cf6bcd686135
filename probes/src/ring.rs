//! Reads BPF ring buffers, and registers descriptors for which tokio waits.

use std::{
    cell::RefCell,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    rc::Rc,
};

use libbpf_rs::{MapCore, RingBuffer, RingBufferBuilder};
use tokio::io::{Interest, unix::AsyncFd};
use zerocopy::FromBytes;

use crate::Error;

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

/// Reads the records of a BPF ring buffer, each of which is an `Event`.
pub(crate) struct Ring<Event> {
    ring: RingBuffer<'static>,
    received: Rc<RefCell<Vec<Event>>>,
}

impl<Event: FromBytes + 'static> Ring<Event> {
    /// Opens the ring buffer `map` for reading. Records shorter than an `Event` are dropped (the programs
    /// write none).
    ///
    /// # Errors
    /// Where the kernel refuses to map the ring buffer (out of memory).
    pub(crate) fn new(map: &dyn MapCore) -> Result<Self, Error> {
        let received = Rc::new(RefCell::new(Vec::new()));
        let into = Rc::clone(&received);
        let mut builder = RingBufferBuilder::new();
        builder.add(map, move |bytes| {
            into.borrow_mut().extend(Event::read_from_prefix(bytes).ok().map(|(event, _)| event));
            0
        })?;
        Ok(Self { ring: builder.build()?, received })
    }

    /// Returns a descriptor that becomes readable when the kernel side wakes this process.
    ///
    /// # Errors
    /// Where this process may open no more descriptors.
    pub(crate) fn fd(&self) -> io::Result<OwnedFd> {
        // SAFETY: the ring buffer, and with it its epoll descriptor, lives longer than this borrow.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }.try_clone_to_owned()
    }

    /// Appends at most `limit` records to `into`, and frees their place in the ring. Returns whether there
    /// may be more.
    ///
    /// # Errors
    /// Where libbpf fails to read the ring buffer.
    pub(crate) fn take(&self, into: &mut Vec<Event>, limit: usize) -> Result<bool, Error> {
        let n = self.ring.consume_raw_n(limit);
        let read = usize::try_from(n).map_err(|_| io::Error::from_raw_os_error(-n))?;
        into.append(&mut self.received.borrow_mut());
        Ok(read >= limit)
    }
}
