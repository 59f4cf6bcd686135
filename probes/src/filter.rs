//! Which associations are traced; the kernel side decides (`wanted()` in `filter.h`).

use std::{fs, io, net::IpAddr, os::unix::fs::MetadataExt};

use crate::{Error, identity::ip_bytes, object::OpenPrograms, raw};

/// Which associations, sockets and addresses to trace; `None` means any. The programs in the kernel decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Association id.
    pub assoc_id: Option<u32>,
    /// Own port.
    pub lport: Option<u16>,
    /// Peer's port.
    pub rport: Option<u16>,
    /// An address of the path, the peer's or our own.
    pub addr: Option<IpAddr>,
    /// Inode number of a network namespace.
    pub netns: Option<u32>,
    /// Process that owns the association's socket: it made or accepted the socket, had it open when the trace began, or
    /// sent on it.
    pub pid: Option<u32>,
}

/// Number of sockets of the wanted process (`-p`) that the kernel side remembers. Beyond that it evicts old
/// ones, and remembers them again at their next send.
const OWNED_SOCKETS: u32 = 16_384;

impl Filter {
    /// Returns whether this filter may leave out some chunks of an association, and take others.
    pub(crate) fn divides_associations(&self) -> bool {
        self.addr.is_some() || self.pid.is_some()
    }

    /// Sets the filter of programs that are not loaded yet. The programs for `-p` (`owner_...`) are loaded
    /// only if `pid` is set.
    ///
    /// # Errors
    /// Where the pid namespace of this process, whose numbers `pid` uses, cannot be read from `/proc`.
    pub(crate) fn apply(&self, open: &mut OpenPrograms) -> Result<(), Error> {
        let (ip, family) = self.addr.map_or(([0; 16], 0), ip_bytes);
        let mut filter = raw::Filter {
            assoc_id: self.assoc_id.unwrap_or(0),
            netns: self.netns.unwrap_or(0),
            tgid: self.pid.unwrap_or(0),
            lport: self.lport.unwrap_or(0),
            rport: self.rport.unwrap_or(0),
            family,
            ip,
            ..raw::Filter::default()
        };
        if self.pid.is_some() {
            filter.pidns = pid_namespace()?;
            open.resize("owned", OWNED_SOCKETS)?;
        } else {
            open.leave_out("owner_");
        }
        open.settings.filter = filter;
        open.settings.want_filter = u32::from(*self != Self::default());
        Ok(())
    }
}

/// Inode number of this process's pid namespace. The number given to `-p` is one of that namespace.
fn pid_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}
