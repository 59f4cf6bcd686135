//! SCTP sockets, as far as the test bed's programs use them (RFC 6458, and Linux's own options from
//! `linux/sctp.h`).

#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, size_of_val};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process;
use std::ptr;
use std::time::Duration;

use libc::{c_int, sctp_rcvinfo, sctp_sndinfo};
use nix::sys::socket::{setsockopt, sockopt};
use serde::Serialize;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// The level of SCTP's socket options: `IPPROTO_SCTP`.
const LEVEL: c_int = libc::IPPROTO_SCTP;

/// Numbers of SCTP's socket options. Their names are those of `linux/sctp.h` without `SCTP_` or
/// `SCTP_SOCKOPT_`.
pub mod option {
    /// Limits of an association: [`super::AssocParameters`].
    pub const ASSOCINFO: i32 = 1;
    /// Initial value and limits of the retransmission timeout: [`super::RtoInfo`].
    pub const RTOINFO: i32 = 0;
    /// Numbers of streams to offer: [`super::InitMessage`].
    pub const INITMSG: i32 = 2;
    /// Whether to send small messages at once, without bundling delay: an `i32`.
    pub const NODELAY: i32 = 3;
    /// Heartbeats and the limit of retransmissions of paths: [`super::PathParameters`].
    pub const PEER_ADDR_PARAMS: i32 = 9;
    /// State of an association: [`super::Status`].
    pub const STATUS: i32 = 14;
    /// State of a path: [`super::PathInfo`].
    pub const GET_PEER_ADDR_INFO: i32 = 15;
    /// Delay of acknowledgements: [`super::SackInfo`].
    pub const DELAYED_SACK: i32 = 16;
    /// Whether parts of several messages may be delivered interleaved, which I-DATA needs: an `i32`.
    pub const FRAGMENT_INTERLEAVE: i32 = 18;
    /// From how many bytes on a message is delivered in parts: a `u32`.
    pub const PARTIAL_DELIVERY_POINT: i32 = 19;
    /// How many associations a one-to-many socket has: a `u32`.
    pub const GET_ASSOC_NUMBER: i32 = 28;
    /// Whether each received message comes with its association and stream (`sctp_rcvinfo`): an `i32`.
    pub const RECVRCVINFO: i32 = 32;
    /// Give an association of a one-to-many socket a socket of its own: [`super::PeelOff`].
    pub const PEELOFF: i32 = 102;
    /// Bind the socket to local addresses: packed `sockaddr`s.
    pub const BINDX_ADD: i32 = 100;
    /// The peer's addresses of an association: the association id, the number of addresses, packed
    /// `sockaddr`s.
    pub const GET_PEER_ADDRS: i32 = 108;
    /// Connect to a peer that has all of the given addresses: packed `sockaddr`s.
    pub const CONNECTX: i32 = 110;
    /// Counters of an association: [`super::RawStats`].
    pub const GET_ASSOC_STATS: i32 = 112;
    /// How PR-SCTP may give up messages for whose sends no policy is set: [`super::DefaultPrInfo`].
    pub const DEFAULT_PRINFO: i32 = 114;
    /// How many messages of an association were given up: [`super::PrStatus`].
    pub const PR_ASSOC_STATUS: i32 = 115;
    /// Whether to offer RE-CONFIG (RFC 6525) to peers: [`super::AssocValue`].
    pub const RECONFIG_SUPPORTED: i32 = 117;
    /// Which kinds of RE-CONFIG requests (RFC 6525) an association may make and grant, one bit each:
    /// [`super::AssocValue`].
    pub const ENABLE_STREAM_RESET: i32 = 118;
    /// Ask the peer for an SSN/TSN reset (RFC 6525 4.3): the association id.
    pub const RESET_ASSOC: i32 = 120;
    /// Ask the peer for more streams: [`super::MoreStreams`].
    pub const ADD_STREAMS: i32 = 121;
    /// Whether to offer I-DATA to peers: [`super::AssocValue`].
    pub const INTERLEAVING_SUPPORTED: i32 = 125;
}

/// A value that the kernel reads and writes as plain bytes.
///
/// # Safety
/// The type must be `repr(C)` without padding, and every pattern of bits must be a value of it.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($(#[$doc:meta])* $name:ident $(, packed($packed:literal))? { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        #[repr(C $(, packed($packed))?)]
        #[allow(missing_docs, reason = "fields as in linux/sctp.h")]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
        // SAFETY: all fields are integers, and the struct is as long as they are together (asserted below),
        // so that it has no padding.
        unsafe impl Plain for $name {}
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())*, "padding");
        impl Default for $name {
            fn default() -> Self {
                // SAFETY: every pattern of bits is a value of a `Plain` type, also all zeros.
                unsafe { std::mem::zeroed() }
            }
        }
    };
}

// SAFETY: an integer has no padding, and every pattern of bits is a value.
unsafe impl Plain for i32 {}
// SAFETY: an integer has no padding, and every pattern of bits is a value.
unsafe impl Plain for u32 {}

/// The 128 bytes of a `sockaddr_storage`, as integers.
pub type Address = [u64; 16];

plain!(
    /// `struct sctp_rtoinfo`: initial, maximal and minimal RTO in ms. A 0 leaves the value unchanged.
    RtoInfo { assoc_id: i32, initial: u32, max: u32, min: u32, }
);
plain!(
    /// `struct sctp_assocparams`: `max_retrans` errors in a row end the association. A 0 leaves a value unchanged.
    AssocParameters { assoc_id: i32, max_retrans: u16, destinations: u16, peer_rwnd: u32, local_rwnd: u32, cookie_life: u32, }
);
plain!(
    /// `struct sctp_initmsg`: numbers of streams to offer, and limits for INIT retransmissions. A 0 leaves
    /// the value unchanged.
    InitMessage { ostreams: u16, max_instreams: u16, max_attempts: u16, max_timeout_ms: u16, }
);
plain!(
    /// `struct sctp_sack_info`: a SACK is sent after `delay` ms, or after `frequency` packets if that is
    /// earlier.
    SackInfo { assoc_id: i32, delay: u32, frequency: u32, }
);
plain!(
    /// `struct sctp_assoc_value`: a value of an option, for one association or for future ones (`assoc_id`
    /// 0).
    AssocValue { assoc_id: i32, value: u32, }
);
plain!(
    /// `sctp_peeloff_arg_t`: an association, and the descriptor of its new socket.
    PeelOff { assoc_id: i32, descriptor: i32, }
);
plain!(
    /// `struct sctp_add_streams`: numbers of streams to add to an association.
    MoreStreams { assoc_id: i32, instreams: u16, outstreams: u16, }
);
plain!(
    /// `struct sctp_paddrinfo`: state of a path. `srtt` and `rto` in ms, `cwnd` and `mtu` in bytes.
    PathInfo, packed(4) { assoc_id: i32, address: Address, state: i32, cwnd: u32, srtt: u32, rto: u32, mtu: u32, }
);
plain!(
    /// `struct sctp_paddrparams`: parameters of a path. `heartbeat` is an interval in ms, `flags` has bits
    /// `SPP_*`.
    PathParameters, packed(1) {
        assoc_id: i32, address: Address, heartbeat: u32, max_retrans: u16, mtu: u32, sackdelay: u32, flags: u32,
        flowlabel: u32, dscp: u8, end: u8,
    }
);
plain!(
    /// `struct sctp_status`: state of an association. Sizes are in bytes. `unacked`: sent chunks that the
    /// peer has not acknowledged. `pending`: TSNs that are missing below the highest one received.
    Status, packed(4) {
        assoc_id: i32, state: i32, rwnd: u32, unacked: u16, pending: u16, instreams: u16, outstreams: u16,
        fragmentation_point: u32, primary: PathInfo,
    }
);
plain!(
    /// `struct sctp_assoc_stats`: counters since the association began. Only `max_rto` is another value: the
    /// highest RTO, in jiffies, since the last call that read it.
    RawStats, packed(4) {
        assoc_id: i32, filler: u32, max_rto_address: Address, max_rto: u64, isacks: u64, osacks: u64,
        opackets: u64, ipackets: u64, rtxchunks: u64, outofseqtsns: u64, idupchunks: u64, gapcnt: u64,
        ouodchunks: u64, iuodchunks: u64, oodchunks: u64, iodchunks: u64, octrlchunks: u64, ictrlchunks: u64,
    }
);

plain!(
    /// `struct sctp_default_prinfo`: a policy by which PR-SCTP gives messages up ([`Policy`]; 0: none), and its
    /// limit.
    DefaultPrInfo { assoc_id: i32, value: u32, policy: u16, end: u16, }
);
plain!(
    /// `struct sctp_prstatus`: messages given up by a policy, or by all ([`PrStatus::ALL`]), before and after a
    /// part of them was sent.
    PrStatus { assoc_id: i32, sid: u16, policy: u16, abandoned_unsent: u64, abandoned_sent: u64, }
);

impl PrStatus {
    /// All policies: `SCTP_PR_SCTP_ALL` of `linux/sctp.h`.
    pub const ALL: u16 = 0x80;
}

/// A policy by which PR-SCTP gives messages up (RFC 7496), as a flag of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[repr(u16)]
pub enum Policy {
    /// After this many ms.
    Ttl = 0x10,
    /// After this many retransmissions of a chunk.
    Rtx = 0x20,
    /// When a message of a lower number needs room in the send buffer.
    Prio = 0x30,
}

/// An association's counters of chunks and packets in the kernel, as far as tests compare them with captures;
/// and the highest RTO, which the kernel gives in jiffies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "names say it")]
pub struct AssocStats {
    pub data_sent: u64,
    pub ordered_sent: u64,
    pub unordered_sent: u64,
    pub retransmitted: u64,
    pub data_received: u64,
    pub duplicates_received: u64,
    pub sacks_sent: u64,
    pub sacks_received: u64,
    pub packets_sent: u64,
    pub packets_received: u64,
    pub gaps_received: u64,
    pub max_rto_jiffies: u64,
}

impl From<RawStats> for AssocStats {
    fn from(raw: RawStats) -> Self {
        Self {
            data_sent: raw.oodchunks + raw.ouodchunks,
            ordered_sent: raw.oodchunks,
            unordered_sent: raw.ouodchunks,
            retransmitted: raw.rtxchunks,
            data_received: raw.iodchunks + raw.iuodchunks,
            duplicates_received: raw.idupchunks,
            sacks_sent: raw.osacks,
            sacks_received: raw.isacks,
            packets_sent: raw.opackets,
            packets_received: raw.ipackets,
            gaps_received: raw.gapcnt,
            max_rto_jiffies: raw.max_rto,
        }
    }
}

/// State of one path, from the option `SCTP_GET_PEER_ADDR_INFO`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "names say it")]
pub struct Path {
    pub address: SocketAddr,
    /// The path's state (`enum sctp_spinfo_state`): 0 inactive, 1 potentially failed, 2 active, 3
    /// unconfirmed.
    pub state: i32,
    pub cwnd_bytes: u32,
    pub srtt_ms: u32,
    pub rto_ms: u32,
    pub mtu_bytes: u32,
}

/// The result of one call of [`SctpSocket::receive`]: a message, a part of one, or the end of the
/// association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Length of the received data in bytes; 0 when the peer has shut down the association.
    pub length: usize,
    /// True if the received data ends a message.
    pub complete: bool,
    /// The message's association.
    pub assoc_id: i32,
    /// The message's stream.
    pub stream: u16,
    /// The message's payload protocol identifier, in host byte order.
    pub ppid: u32,
    /// When the packet arrived, on `CLOCK_REALTIME`; `None` without [`SctpSocket::note_arrivals`].
    pub arrived: Option<Duration>,
}

/// How to send a message: the arguments of [`SctpSocket::send`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Outgoing {
    /// The association to send on. A one-to-one socket ignores this.
    pub assoc_id: i32,
    /// The stream to send on.
    pub stream: u16,
    /// The message's payload protocol identifier, in host byte order.
    pub ppid: u32,
    /// Whether to send the message unordered.
    pub unordered: bool,
    /// Whether to fail with `WouldBlock` rather than wait for room in the send buffer.
    pub nonblocking: bool,
    /// Whether to abort the association instead, with the message as the reason (RFC 6458 5.3.4, `SCTP_ABORT`).
    pub abort: bool,
    /// How the message may be given up, with the limit that [`option::DEFAULT_PRINFO`] has set.
    pub policy: Option<Policy>,
}

/// An SCTP socket, one-to-one or one-to-many.
#[derive(Debug)]
pub struct SctpSocket(Socket);

impl SctpSocket {
    /// Makes a one-to-one or one-to-many socket for addresses of the family of `address`. The socket is not
    /// bound.
    ///
    /// # Errors
    /// Those of `socket(2)`, for example when the kernel has no SCTP.
    pub fn new(address: SocketAddr, one_to_many: bool) -> io::Result<Self> {
        let kind = if one_to_many { Type::SEQPACKET } else { Type::STREAM };
        let socket = Self(Socket::new(Domain::for_address(address), kind, Some(Protocol::SCTP))?);
        socket.set(option::RECVRCVINFO, &1)?;
        Ok(socket)
    }

    /// The underlying socket, for calls and options that are not SCTP's own.
    pub const fn plain(&self) -> &Socket {
        &self.0
    }

    /// Binds the socket to all of the addresses (`sctp_bindx`).
    ///
    /// # Errors
    /// Those of `bind(2)`.
    pub fn bind(&self, addresses: &[SocketAddr]) -> io::Result<()> {
        self.set_bytes(option::BINDX_ADD, &pack(addresses)).map(drop)
    }

    /// Connects to a peer that has all of these addresses (`sctp_connectx`), and returns the association's
    /// id.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    pub fn connect(&self, addresses: &[SocketAddr]) -> io::Result<i32> {
        self.set_bytes(option::CONNECTX, &pack(addresses))
    }

    /// Waits for an association on a listening one-to-one socket, and returns its new socket.
    ///
    /// # Errors
    /// Those of `accept(2)`.
    pub fn accept(&self) -> io::Result<Self> {
        self.0.accept().map(|(socket, _)| Self(socket))
    }

    /// Takes a socket that another process has handed over.
    pub fn of(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }

    /// Gives an association of this one-to-many socket a socket of its own (`sctp_peeloff`).
    ///
    /// # Errors
    /// When the association has ended.
    pub fn peel_off(&self, assoc_id: i32) -> io::Result<Self> {
        let peeled = self.get(option::PEELOFF, PeelOff { assoc_id, descriptor: -1 })?;
        // SAFETY: the kernel has just made this descriptor, and nothing else has it.
        Ok(Self::of(unsafe { OwnedFd::from_raw_fd(peeled.descriptor) }))
    }

    /// Sets an option, one of [`option`].
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub fn set<T: Plain>(&self, name: c_int, value: &T) -> io::Result<()> {
        // SAFETY: a `Plain` value is initialised bytes without padding, borrowed as long as `value` is.
        let bytes = unsafe { std::slice::from_raw_parts(ptr::from_ref(value).cast(), size_of::<T>()) };
        self.set_bytes(name, bytes).map(drop)
    }

    fn set_bytes(&self, name: c_int, bytes: &[u8]) -> io::Result<c_int> {
        let length = bytes.len() as libc::socklen_t;
        // SAFETY: the kernel reads `length` bytes from a slice of that length.
        check(unsafe { libc::setsockopt(self.0.as_raw_fd(), LEVEL, name, bytes.as_ptr().cast(), length) })
    }

    /// Gets an option, one of [`option`]. Some options read from `value` for which association or path they
    /// are asked.
    ///
    /// # Errors
    /// Those of `getsockopt(2)`.
    pub fn get<T: Plain>(&self, name: c_int, mut value: T) -> io::Result<T> {
        let mut length = size_of::<T>() as libc::socklen_t;
        let pointer = ptr::from_mut(&mut value).cast();
        // SAFETY: the kernel writes at most `length` bytes into a value of that size, and any bytes are a
        // value of its type.
        check(unsafe { libc::getsockopt(self.0.as_raw_fd(), LEVEL, name, pointer, &raw mut length) })?;
        Ok(value)
    }

    /// Gets the state of an association. A one-to-one socket ignores `assoc_id`, as it has only one
    /// association.
    ///
    /// # Errors
    /// When the association has ended.
    pub fn status(&self, assoc_id: i32) -> io::Result<Status> {
        self.get(option::STATUS, Status { assoc_id, ..Status::default() })
    }

    /// Gets the counters of an association.
    ///
    /// # Errors
    /// When the association has ended.
    pub fn stats(&self, assoc_id: i32) -> io::Result<AssocStats> {
        self.get(option::GET_ASSOC_STATS, RawStats { assoc_id, ..RawStats::default() }).map(AssocStats::from)
    }

    /// Gets the paths of an association.
    ///
    /// # Errors
    /// When the association has ended.
    pub fn paths(&self, assoc_id: i32) -> io::Result<Vec<Path>> {
        let mut buffer = [0_u8; 1024];
        buffer[..4].copy_from_slice(&assoc_id.to_ne_bytes());
        let mut length = buffer.len() as libc::socklen_t;
        let pointer = buffer.as_mut_ptr().cast();
        // SAFETY: the kernel writes at most `length` bytes into a buffer of that size.
        check(unsafe {
            libc::getsockopt(self.0.as_raw_fd(), LEVEL, option::GET_PEER_ADDRS, pointer, &raw mut length)
        })?;
        let count = u32::from_ne_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]);
        unpack(&buffer[8..], count as usize)
            .into_iter()
            .map(|address| {
                let info = PathInfo { assoc_id, address: storage(address), ..PathInfo::default() };
                let info = self.get(option::GET_PEER_ADDR_INFO, info)?;
                Ok(Path {
                    address,
                    state: info.state,
                    cwnd_bytes: info.cwnd,
                    srtt_ms: info.srtt,
                    rto_ms: info.rto,
                    mtu_bytes: info.mtu,
                })
            })
            .collect()
    }

    /// Sends one message.
    ///
    /// # Errors
    /// Those of `sendmsg(2)`.
    pub fn send(&self, message: &[u8], to: Outgoing) -> io::Result<()> {
        let info = sctp_sndinfo {
            snd_sid: to.stream,
            snd_flags: if to.unordered { libc::SCTP_UNORDERED as u16 } else { 0 }
                | if to.abort { libc::SCTP_ABORT as u16 } else { 0 }
                | to.policy.map_or(0, |policy| policy as u16),
            snd_ppid: to.ppid.to_be(),
            snd_context: 0,
            snd_assoc_id: to.assoc_id,
        };
        let flags = libc::MSG_NOSIGNAL | if to.nonblocking { libc::MSG_DONTWAIT } else { 0 };
        let mut control = [0_u64; 8];
        let mut part = libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
        // SAFETY: `msghdr` is integers and pointers, for which zero is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        // SAFETY: CMSG_* compute with sizes and addresses inside `control`, which is aligned and large enough
        // for one header with `sctp_sndinfo`. The kernel only reads the memory that `header` points to, all
        // of it alive during the call.
        let sent = unsafe {
            header.msg_controllen = libc::CMSG_SPACE(size_of_val(&info) as u32) as usize;
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            (*first).cmsg_level = LEVEL;
            (*first).cmsg_type = libc::SCTP_SNDINFO;
            (*first).cmsg_len = libc::CMSG_LEN(size_of_val(&info) as u32) as usize;
            ptr::write_unaligned(libc::CMSG_DATA(first).cast(), info);
            libc::sendmsg(self.0.as_raw_fd(), &raw const header, flags)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits until something can be received, at most for `at_most` (less than 24 days). Returns whether it can.
    ///
    /// # Errors
    /// Those of `poll(2)`.
    pub fn is_readable_within(&self, at_most: Duration) -> io::Result<bool> {
        let mut one = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the kernel writes to `one`, which is alive during the call, and is one element.
        let ready = unsafe { libc::poll(&raw mut one, 1, at_most.as_millis() as i32) };
        if ready < 0 { Err(io::Error::last_os_error()) } else { Ok(ready > 0) }
    }

    /// Has the kernel note when packets arrive ([`Received::arrived`]).
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub fn note_arrivals(&self) -> io::Result<()> {
        setsockopt(&self.0, sockopt::ReceiveTimestampns, &true).map_err(io::Error::from)
    }

    /// Receives the next message, or as much of it as fits into `buffer`.
    ///
    /// # Errors
    /// Those of `recvmsg(2)`.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut control = [0_u64; 16];
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: `msghdr` is integers and pointers, for which zero is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        // SAFETY: the kernel writes within the lengths given; `buffer` and `control` are alive and borrowed
        // during the call.
        let length = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut header, 0) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        let complete = header.msg_flags & libc::MSG_EOR != 0;
        let mut received = Received { length, complete, assoc_id: 0, stream: 0, ppid: 0, arrived: None };
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a header that the kernel wrote inside `control`; its type
        // says what follows.
        unsafe {
            let mut next = libc::CMSG_FIRSTHDR(&raw const header);
            while !next.is_null() {
                match ((*next).cmsg_level, (*next).cmsg_type) {
                    (LEVEL, libc::SCTP_RCVINFO) => {
                        let info: sctp_rcvinfo = ptr::read_unaligned(libc::CMSG_DATA(next).cast());
                        received.assoc_id = info.rcv_assoc_id;
                        received.stream = info.rcv_sid;
                        received.ppid = u32::from_be(info.rcv_ppid);
                    }
                    (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                        let time: libc::timespec = ptr::read_unaligned(libc::CMSG_DATA(next).cast());
                        received.arrived = Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32));
                    }
                    _ => {}
                }
                next = libc::CMSG_NXTHDR(&raw const header, next);
            }
        }
        Ok(received)
    }
}

/// Runs `child` in a child process, which then ends. The process may have no second thread.
///
/// # Errors
/// Those of `fork(2)`.
pub fn fork(child: impl FnOnce()) -> io::Result<()> {
    // SAFETY: by the contract of this function there is one thread, whose state the child has whole.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            child();
            process::exit(0)
        }
        _ => Ok(()),
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The bytes of a `sockaddr`.
fn raw(address: SocketAddr) -> Vec<u8> {
    let address = SockAddr::from(address);
    // SAFETY: the address is initialised for the length that it says.
    unsafe { std::slice::from_raw_parts(address.as_ptr().cast(), address.len() as usize) }.to_vec()
}

fn pack(addresses: &[SocketAddr]) -> Vec<u8> {
    addresses.iter().flat_map(|address| raw(*address)).collect()
}

/// An address as socket options take it: a `sockaddr_storage`.
pub fn storage(address: SocketAddr) -> Address {
    let mut bytes = raw(address);
    bytes.resize(size_of::<Address>(), 0);
    let mut storage = Address::default();
    for (word, bytes) in storage.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
    }
    storage
}

/// Reads at most `count` packed `sockaddr`s. Stops at the first one that is cut short, or neither IPv4 nor
/// IPv6.
fn unpack(mut bytes: &[u8], count: usize) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    while addresses.len() < count && bytes.len() >= 16 {
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        let length = match c_int::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
            libc::AF_INET => {
                addresses.push(
                    (Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[4..8]).unwrap_or_default()), port).into(),
                );
                16
            }
            libc::AF_INET6 if bytes.len() >= 28 => {
                let ip = Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[8..24]).unwrap_or_default());
                addresses.push((IpAddr::from(ip), port).into());
                28
            }
            _ => break,
        };
        bytes = &bytes[length..];
    }
    addresses
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{pack, unpack};

    #[test]
    fn addresses_survive_packing() {
        let addresses: Vec<SocketAddr> = vec![
            "10.0.0.1:5".parse().unwrap(),
            "[fd00::2]:6".parse().unwrap(),
            "10.0.0.3:7".parse().unwrap(),
        ];
        let bytes = pack(&addresses);
        assert_eq!(bytes.len(), 16 + 28 + 16);
        assert_eq!(unpack(&bytes, 3), addresses);
        assert_eq!(unpack(&bytes[..20], 3), addresses[..1]);
        assert!(unpack(&[0; 64], 2).is_empty());
    }
}
