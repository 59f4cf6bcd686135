//! Who is who (`assoc.h`): the identity of an association and its paths, and the filters.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::MetadataExt,
};

/// `AF_INET` and `AF_INET6`, as the kernel side stores them.
const AF_INET: u16 = nix::libc::AF_INET as u16;
const AF_INET6: u16 = nix::libc::AF_INET6 as u16;

/// One path of one association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `sctp_assoc_t`: unique among the live associations of a host (`sctp_assoc_set_id()`).
    pub assoc_id: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Own address and port of the association (of its first path); `None` while it has none.
    pub local: Option<SocketAddr>,
    /// Peer's address and port of the association (its first path).
    pub peer: Option<SocketAddr>,
    /// Peer's address of this path.
    pub path: Option<IpAddr>,
}

/// What user space wants to see. Everything is decided in the kernel; `None` means any.
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
    /// Process that owns the association's socket: it made or accepted it, had it open when the trace
    /// began, or sent on it.
    pub pid: Option<u32>,
}

/// The pid namespace in which a process number is meant: this process's own.
#[derive(Clone, Copy, Debug)]
pub struct PidNamespace {
    /// Device number of nsfs, in the kernel's encoding (`new_encode_dev()` is stat's for small numbers).
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

impl PidNamespace {
    /// Reads it from `/proc`.
    ///
    /// # Errors
    /// Where `/proc` is not mounted.
    pub fn own() -> io::Result<Self> {
        let meta = fs::metadata("/proc/self/ns/pid")?;
        Ok(Self { dev: meta.dev(), ino: meta.ino() })
    }
}

/// An address as `struct endpoint_addr` has it; port in host order.
pub(crate) fn socket_addr(ip: [u8; 16], family: u16, port: u16) -> Option<SocketAddr> {
    let ip = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3])),
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(ip)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// An address as `struct filter` has it: bytes and family.
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

/// An [`Identity`] of a `struct identity`. Each program has its own skeleton types with the same members: hence a macro.
macro_rules! identity {
    ($id:expr) => {{
        let id = $id;
        let [local, peer, path] =
            [&id.local, &id.peer, &id.path].map(|a| $crate::assoc::socket_addr(a.ip, a.family, a.port));
        $crate::Identity { assoc_id: id.assoc_id, netns: id.netns, local, peer, path: path.map(|a| a.ip()) }
    }};
}
pub(crate) use identity;

/// Fills the filter of an open skeleton, and arms the programs and the map of `-p`. Each program has its own
/// skeleton types with the same members: hence a macro.
macro_rules! set_filter {
    ($skel:expr, $filter:expr, $rung:expr) => {{
        use std::io::{Error, ErrorKind};
        let wanted: &$crate::Filter = $filter;
        let rodata =
            $skel.maps.rodata_data.as_deref_mut().ok_or_else(|| Error::from(ErrorKind::InvalidData))?;
        rodata.want_filter = *wanted != $crate::Filter::default();
        let to = &mut rodata.filter;
        to.assoc_id = wanted.assoc_id.unwrap_or(0);
        to.netns = wanted.netns.unwrap_or(0);
        to.lport = wanted.lport.unwrap_or(0);
        to.rport = wanted.rport.unwrap_or(0);
        to.tgid = wanted.pid.unwrap_or(0);
        if let Some(addr) = wanted.addr {
            (to.ip, to.family) = $crate::assoc::ip_bytes(addr);
        }
        if wanted.pid.is_some() {
            let ns = $crate::PidNamespace::own()?;
            (to.pidns_dev, to.pidns_ino) = (ns.dev, ns.ino);
            $skel.maps.owned.set_max_entries($crate::assoc::OWNED_SOCKETS).map_err(Error::other)?;
        }
        let (by_pid, fentry) = (wanted.pid.is_some(), $rung == $crate::Rung::Fentry);
        $skel.progs.owner_has.set_autoload(by_pid);
        $skel.progs.owner_made.set_autoload(by_pid && fentry);
        $skel.progs.owner_sends.set_autoload(by_pid && fentry);
        $skel.progs.owner_made_kprobe.set_autoload(by_pid && !fentry);
        $skel.progs.owner_sends_kprobe.set_autoload(by_pid && !fentry);
        Ok::<(), Error>(())
    }};
}
pub(crate) use set_filter;

/// How many sockets of the wanted process are remembered; older ones come back with their next send.
pub(crate) const OWNED_SOCKETS: u32 = 16_384;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_come_back(ip: IpAddr, port: u16) {
            let (bytes, family) = ip_bytes(ip);
            prop_assert_eq!(socket_addr(bytes, family, port), Some(SocketAddr::new(ip, port)));
        }

        #[test]
        fn other_families_are_no_address(bytes: [u8; 16], family: u16) {
            prop_assume!(family != AF_INET && family != AF_INET6);
            prop_assert_eq!(socket_addr(bytes, family, 1), None);
        }
    }
}
