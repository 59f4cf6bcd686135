//! The filter: which associations are traced. The programs in the kernel apply it (`wanted()` in `filter.h`).

use std::net::IpAddr;

use crate::{identity::ip_bytes, object::OpenPrograms, raw};

/// Which associations to trace: those that match all members that are set; `None` matches any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The association's id in the kernel (`sctp_assoc_t`).
    pub assoc_id: Option<u32>,
    /// This host's port.
    pub lport: Option<u16>,
    /// The peer's port.
    pub rport: Option<u16>,
    /// An IP address: one of the path's two, the peer's or this host's.
    pub addr: Option<IpAddr>,
    /// Inode number of a network namespace.
    pub netns: Option<u32>,
    /// Number of a process that has the association's socket open, in this process's pid namespace. The trace
    /// begins at once if that process makes or accepts the socket, or sends on it; else within a second.
    pub pid: Option<u32>,
    /// Id of a cgroup (v2): a process of this cgroup, or of a descendant, has the association's socket open.
    pub cgroup: Option<u64>,
}

impl Filter {
    /// Returns whether this filter may trace some chunks of an association and leave out others.
    pub(crate) fn divides_associations(&self) -> bool {
        self.addr.is_some() || self.names_owners()
    }

    /// Returns whether this filter needs to know which processes have a socket (`owner.h`).
    pub(crate) fn names_owners(&self) -> bool {
        self.pid.is_some() || self.cgroup.is_some()
    }

    /// Writes this filter into the constants of programs that are not loaded yet.
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
