//! Which associations are traced; the kernel side decides (`wanted()` in `filter.h`).

use std::net::IpAddr;

use crate::{identity::ip_bytes, object::OpenPrograms, raw};

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
    /// A process that has the association's socket open, in this process's pid namespace: at once if it made or accepted
    /// the socket, or sends on it, else within a second.
    pub pid: Option<u32>,
    /// Id of a cgroup of cgroup v2. A process of this cgroup, or of a descendant, has the association's socket open.
    pub cgroup: Option<u64>,
}

impl Filter {
    /// Returns whether this filter may leave out some chunks of an association, and take others.
    pub(crate) fn divides_associations(&self) -> bool {
        self.addr.is_some() || self.names_owners()
    }

    /// Returns whether this filter asks for the owners of sockets (`owner.h`).
    pub(crate) fn names_owners(&self) -> bool {
        self.pid.is_some() || self.cgroup.is_some()
    }

    /// Sets the filter of programs that are not loaded yet.
    pub(crate) fn apply(&self, open: &mut OpenPrograms) {
        let (ip, family) = self.addr.map_or(([0; 16], 0), ip_bytes);
        open.settings.filter = raw::Filter {
            assoc_id: self.assoc_id.unwrap_or(0),
            netns: self.netns.unwrap_or(0),
            tgid: self.pid.unwrap_or(0),
            lport: self.lport.unwrap_or(0),
            rport: self.rport.unwrap_or(0),
            family,
            ip,
            cgroup: self.cgroup.unwrap_or(0),
            ..raw::Filter::default()
        };
        open.settings.want_filter = u32::from(*self != Self::default());
    }
}
