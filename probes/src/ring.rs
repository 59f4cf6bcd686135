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

/// The part of a probe's face that all with a ring buffer have: fields `ring` and `skel`.
macro_rules! ring_methods {
    ($probe:ident, $record:ty) => {
        impl $probe {
            /// A descriptor that becomes readable when the kernel wakes us; `None` where no records were asked for.
            ///
            /// # Errors
            /// Where there is no descriptor left.
            pub fn fd(&self) -> std::io::Result<Option<std::os::fd::OwnedFd>> {
                self.ring.as_ref().map(|ring| ring.fd()).transpose()
            }

            /// Asks to be woken at the next record. Those that came before are not announced: take them between this
            /// and waiting.
            pub fn wake_me(&mut self) {
                if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
                    $crate::pod::store(&mut bss.want_wakeup, 1);
                }
            }

            /// Moves at most `limit` records into `into`. Returns whether there may be more.
            ///
            /// # Errors
            /// Where libbpf fails to read the ring buffer.
            pub fn take(&mut self, into: &mut Vec<$record>, limit: usize) -> Result<bool, $crate::Error> {
                self.ring.as_ref().map_or(Ok(false), |ring| ring.take(into, limit))
            }
        }
    };
}
pub(crate) use ring_methods;
