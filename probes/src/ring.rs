//! Records of single events (`ring.h`).

use std::{
    cell::RefCell,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    rc::Rc,
};

use libbpf_rs::{MapCore, RingBuffer, RingBufferBuilder};

use crate::Error;

/// The reading end of a ring buffer.
pub(crate) struct Ring<T> {
    ring: RingBuffer<'static>,
    received: Rc<RefCell<Vec<T>>>,
}

impl<T: 'static> Ring<T> {
    /// Reads `map`. `decode` gives `None` where a record is too short.
    pub(crate) fn new(
        map: &dyn MapCore,
        decode: impl Fn(&[u8]) -> Option<T> + 'static,
    ) -> Result<Self, Error> {
        let received = Rc::new(RefCell::new(Vec::new()));
        let into = Rc::clone(&received);
        let mut builder = RingBufferBuilder::new();
        builder.add(map, move |bytes| {
            into.borrow_mut().extend(decode(bytes));
            0
        })?;
        Ok(Self { ring: builder.build()?, received })
    }

    /// A descriptor that becomes readable when the kernel wakes us.
    pub(crate) fn fd(&self) -> io::Result<OwnedFd> {
        // SAFETY: the ring buffer lives, and its epoll descriptor with it, longer than this borrow.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }.try_clone_to_owned()
    }

    /// Moves at most `limit` records into `into`. Returns whether there may be more.
    pub(crate) fn take(&self, into: &mut Vec<T>, limit: usize) -> Result<bool, Error> {
        let n = self.ring.consume_raw_n(limit);
        let read = usize::try_from(n).map_err(|_| io::Error::from_raw_os_error(-n))?;
        into.append(&mut self.received.borrow_mut());
        Ok(read >= limit)
    }
}
