//! The identity of an association and of its paths (`assoc.h`).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
};

use nix::libc;

use crate::raw::{self, EndpointAddr};

/// The address family of IPv4, as the kernel side stores it.
const AF_INET: u16 = libc::AF_INET as u16;
/// The address family of IPv6, as the kernel side stores it.
const AF_INET6: u16 = libc::AF_INET6 as u16;

/// Identity of a path, or of an association.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Association id (`sctp_assoc_t`): unique among the live associations of a host (`sctp_assoc_set_id()`).
    pub assoc_id: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// This host's address and port on the association's first path; `None` while it has none.
    pub local: Option<SocketAddr>,
    /// Peer's address and port on the association's first path; `None` while it has none.
    pub peer: Option<SocketAddr>,
    /// Peer's address that the path leads to; `None` if it is unknown, or in statistics of a whole
    /// association (`sctp-bufmon`).
    pub path: Option<IpAddr>,
    /// Number of the association's life: 1, and one more after each restart (RFC 9260 5.2.4) that was seen.
    pub life: u32,
    /// True if this host has sent the INIT: the peer accepted the association.
    pub began_here: bool,
    /// Payload protocol identifier of a DATA chunk of the association (RFC 9260 3.3.1), the first that was seen; `None`
    /// if none was.
    pub payload_protocol: Option<u32>,
    /// The processes that have the association's socket; `None` if they are unknown.
    pub owner: Option<Rc<Owner>>,
}

/// The processes that have an association's socket open: those that the last round over all open files has found, and the
/// one that made the socket if that was later (`owner.h`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Number of the process that has the socket, in this process's pid namespace: the one that made or accepted it, if
    /// it still has it; else another one. After the association's end: its last owner. `None` if unknown, or if the
    /// process has no number in this pid namespace.
    pub pid: Option<u32>,
    /// Name of that process (`/proc/PID/comm`), with what could harm a terminal escaped.
    pub comm: Option<String>,
    /// Path of that process's cgroup in the hierarchy of cgroup v2, from its root; the last 256 bytes of it, with
    /// what could harm a terminal escaped. `None` on a host that uses cgroup v1 alone.
    pub cgroup: Option<String>,
    /// Number of processes that have the socket open; 0: none has it any more. `None` if unknown.
    pub owners: Option<u32>,
}

impl Identity {
    /// Names a life of an association, in the same way for all its paths: network namespace, association id, number of
    /// the life.
    #[must_use]
    pub const fn life_key(&self) -> [u32; 3] {
        [self.netns, self.assoc_id, self.life]
    }
}

impl From<raw::Identity> for Identity {
    fn from(id: raw::Identity) -> Self {
        let [local, peer, path] = [id.local, id.peer, id.path].map(socket_addr);
        let path = path.map(|addr| addr.ip());
        Self {
            assoc_id: id.assoc_id,
            netns: id.netns,
            local,
            peer,
            path,
            life: id.life,
            began_here: id.began_here != 0,
            payload_protocol: None,
            owner: None,
        }
    }
}

/// Converts an address of the kernel side; `None` if its family is neither IPv4 nor IPv6.
pub(crate) fn socket_addr(addr: EndpointAddr) -> Option<SocketAddr> {
    let ip = match addr.family {
        AF_INET => IpAddr::V4(Ipv4Addr::new(addr.ip[0], addr.ip[1], addr.ip[2], addr.ip[3])),
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(addr.ip)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, addr.port))
}

/// The bytes and the address family of an IP address, as the kernel side has them.
pub(crate) fn ip_bytes(ip: IpAddr) -> ([u8; 16], u16) {
    match ip {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            (bytes, AF_INET)
        }
        IpAddr::V6(v6) => (v6.octets(), AF_INET6),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_come_back(ip: IpAddr, port: u16) {
            let (bytes, family) = ip_bytes(ip);
            let addr = EndpointAddr { ip: bytes, family, port };
            prop_assert_eq!(socket_addr(addr), Some(SocketAddr::new(ip, port)));
        }

        #[test]
        fn other_families_are_no_address(ip: [u8; 16], family: u16) {
            prop_assume!(family != AF_INET && family != AF_INET6);
            prop_assert_eq!(socket_addr(EndpointAddr { ip, family, port: 1 }), None);
        }
    }
}
