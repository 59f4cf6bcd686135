//! Records of single events (`ring.h`), and descriptors that tokio waits for.

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

/// The reading end of a ring buffer of `Event`s.
pub(crate) struct Ring<Event> {
    ring: RingBuffer<'static>,
    received: Rc<RefCell<Vec<Event>>>,
}

impl<Event: FromBytes + 'static> Ring<Event> {
    /// Reads `map`. Records that are too short are passed over: the programs write none.
    ///
    /// # Errors
    /// Where the kernel refuses (out of memory).
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

    /// A descriptor that becomes readable when the kernel wakes this process.
    ///
    /// # Errors
    /// Where there is no descriptor left.
    pub(crate) fn fd(&self) -> io::Result<OwnedFd> {
        // SAFETY: the ring buffer lives, and its epoll descriptor with it, longer than this borrow.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }.try_clone_to_owned()
    }

    /// Moves at most `limit` events into `into`. Returns whether there may be more.
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
