//! Begins, restarts and ends of associations (`lifecycle.h`), and why they end.

use std::{io, net::SocketAddr, os::fd::OwnedFd, rc::Rc, time::Duration};

use libbpf_rs::Object;

use crate::{
    Config, Error, Identity, PathState,
    escape::escape,
    identity::socket_addr,
    links::{FileIterator, LIFE_FOUND, Steps},
    object::{OpenPrograms, map},
    owner::Owners,
    raw::{self, Cause as RawCause, LifeEvent as RawEvent, LifeSettings, Settings},
    ring::Ring,
};

/// Size of the ring buffer in bytes: room for more than 2,500 events. Those found at the start take half of it at most,
/// and then wait until it is read.
const RING_BYTES: u32 = 1 << 21;
/// How many associations the kernel side knows at a time, that is, from its begin to its end. It evicts those not
/// heard of for long: their end is reported all the same, without what is known from their begin.
const LIVES: u32 = 8192;

/// The beginning of the names of the programs, and of the iterator, which are loaded for these events only.
pub(crate) const PREFIX: &str = "life_";

/// Chooses, before loading, the programs and maps for events.
///
/// # Errors
/// Where libbpf refuses a size.
pub(crate) fn configure(open: &mut OpenPrograms, config: &Config) -> Result<(), Error> {
    if !config.lifecycle {
        open.leave_out(PREFIX);
        return Ok(());
    }
    open.resize("life_events", RING_BYTES)?;
    open.resize_lru("known_lives", LIVES)
}

/// What happened to an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It was there when the trace began.
    Found,
    /// It came up.
    Up,
    /// The peer, or both ends, began it anew (RFC 9260 5.2).
    Restart,
    /// It ended.
    End,
    /// This host began it, and it never came up.
    Failed,
}

/// An end of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This host.
    Here,
    /// The other end.
    Peer,
}

/// Why an association ended, or never came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An end has shut it down, with all data delivered (RFC 9260 9.2).
    Shutdown,
    /// The peer has sent an ABORT (RFC 9260 9.1).
    AbortReceived,
    /// This host has sent an ABORT.
    AbortSent(Why),
    /// The peer did not answer.
    Timeout(Limit),
    /// The peer has answered an INIT or COOKIE ECHO with an ABORT.
    Refused,
    /// ICMP said that the peer's host has no SCTP.
    Unreachable,
    /// A process of this host has given it up before it came up.
    ClosedHere,
    /// This host had too little memory.
    NoMemory,
    /// The peer found the cookie too old, again and again (RFC 9260 5.2.6).
    StaleCookie,
    /// None of these is certain.
    Unknown,
}

/// Why this host has sent an ABORT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A process asked for it (`SCTP_ABORT`).
    Application,
    /// A process has closed the socket without having read all data.
    UnreadData,
    /// A process has closed the socket, and its `SO_LINGER` is 0.
    Linger,
    /// The peer broke the protocol.
    Protocol,
}

/// What the peer's silence has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `Max.Init.Retransmits` (RFC 9260 16).
    InitAttempts,
    /// `Association.Max.Retrans` (RFC 9260 8.1).
    AssocMaxRetrans,
    /// The T5-shutdown-guard timer (RFC 9260 9.2).
    ShutdownGuard,
}

/// The first error cause of an ABORT (RFC 9260 3.3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Cause code.
    pub code: u16,
    /// Text that came with it: its first 128 bytes, with what could harm a terminal escaped.
    pub text: Option<String>,
}

/// How an association ended, or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub reason: Reason,
    /// Which end has decided that; `None`: neither, or it is not known.
    pub by: Option<Side>,
    /// Cause in the ABORT that was received or sent; `None` if that had none, or if there was no ABORT.
    pub cause: Option<Cause>,
    /// User data that was not acknowledged, in bytes. What was never sent counts with the headers of its chunks.
    pub left_bytes: u64,
}

/// A path of an association that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifePath {
    /// This host's address and port; `None` while the kernel has chosen none.
    pub local: Option<SocketAddr>,
    /// The peer's address and port.
    pub peer: Option<SocketAddr>,
    /// The path's state.
    pub state: PathState,
}

/// What an association came up with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssocSettings {
    /// Number of outbound and inbound streams.
    pub streams: [u32; 2],
    /// Send and receive buffer of the socket, in bytes (`SO_SNDBUF`, `SO_RCVBUF`).
    pub buffers: [u32; 2],
    /// Window in the peer's INIT or INIT ACK, in bytes.
    pub peer_initial_rwnd: u32,
    /// Window in this host's INIT or INIT ACK, in bytes; `None` unless the association has just come up.
    pub own_initial_rwnd: Option<u32>,
    /// RTO.Initial, RTO.Min and RTO.Max.
    pub rto: [Duration; 3],
    /// How long a SACK may wait for another packet; and number of packets after which one is sent.
    pub sack_delay: Duration,
    /// Number of packets after which a SACK is sent.
    pub sack_freq: u32,
    /// HB.interval.
    pub hb_interval: Duration,
    /// Path.Max.Retrans, Association.Max.Retrans, and PotentiallyFailed.Max.Retrans (RFC 7829).
    pub max_retrans: [u32; 3],
    /// SCTP_NODELAY: small messages do not wait for an acknowledgement.
    pub nodelay: bool,
    /// Extensions in use, in this order: I-DATA (RFC 8260), PR-SCTP (RFC 3758), RE-CONFIG (RFC 6525), AUTH
    /// (RFC 4895), ECN.
    pub extensions: [bool; 5],
    /// The peer's UDP port (RFC 6951); `None` without encapsulation.
    pub encap_port: Option<u16>,
    /// The paths: the first eight.
    pub paths: Vec<LifePath>,
}

/// A begin, restart or end of an association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssocEvent {
    /// When, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// The association, with its owner.
    pub id: Identity,
    /// What happened.
    pub happening: Happening,
    /// How long the life that ends was up; `None` at other events, and if it came up before the trace began.
    pub duration: Option<Duration>,
    /// From the first INIT to the end of the handshake, at [`Happening::Up`]; `None` if the peer began it.
    pub handshake: Option<Duration>,
    /// INIT chunks that this host has sent; `None` if it sent none, or before the trace began.
    pub inits: Option<u32>,
    /// Which end began the association.
    pub initiated: Side,
    /// No process has the socket any more.
    pub is_orphan: bool,
    /// How it ended; `None` at other events.
    pub ending: Option<Ending>,
    /// What it came up with; `None` at other events than [`Happening::Found`] and [`Happening::Up`].
    pub settings: Option<Box<AssocSettings>>,
}

/// Reads the events of a running trace.
pub(crate) struct Lifecycle {
    ring: Ring<RawEvent>,
    /// The iterator that finds associations that were there before the start; `None` once it has found all.
    finding: Option<Steps>,
    /// The cgroups and payload protocols of associations; `None` unless [`Config::owners`] is set.
    owners: Option<Owners>,
    jiffy: Duration,
}

impl Lifecycle {
    /// Opens the ring buffer, and begins to find associations; `None` unless [`Config::lifecycle`] is set.
    ///
    /// # Errors
    /// Where the kernel refuses to map the ring buffer, or to run an iterator (out of memory).
    pub(crate) fn new(object: &Object, settings: &Settings, config: &Config) -> Result<Option<Self>, Error> {
        if !config.lifecycle {
            return Ok(None);
        }
        let ring = Ring::new(&map(object, "life_events")?)?;
        let owners = Owners::new(object, config)?;
        let finding = FileIterator::named(object, LIFE_FOUND)?.map(|files| files.steps()).transpose()?;
        let mut lifecycle = Self { ring, finding, owners, jiffy: Duration::from_nanos(settings.jiffy_ns) };
        lifecycle.find()?;
        Ok(Some(lifecycle))
    }

    /// Returns a descriptor that is readable while there are events.
    ///
    /// # Errors
    /// Where this process may open no more descriptors.
    pub(crate) fn fd(&self) -> io::Result<OwnedFd> {
        self.ring.fd()
    }

    /// Moves at most `limit` events into `into`. Returns whether there may be more.
    ///
    /// # Errors
    /// Where libbpf fails to read the ring buffer, or the kernel refuses to go on with the iterator.
    pub(crate) fn take(&mut self, into: &mut Vec<AssocEvent>, limit: usize) -> Result<bool, Error> {
        let mut events = Vec::new();
        let more = self.ring.take(&mut events, limit)?;
        into.extend(events.iter().filter_map(|event| self.decode(event)));
        if more || self.finding.is_none() {
            return Ok(more);
        }
        self.find()?;
        Ok(true)
    }

    /// Finds more associations, as many as half of the ring has room for.
    fn find(&mut self) -> io::Result<()> {
        let Some(files) = &mut self.finding else { return Ok(()) };
        if files.step()? {
            self.finding = None;
        }
        Ok(())
    }

    fn decode(&self, raw: &RawEvent) -> Option<AssocEvent> {
        let happening = match raw.event {
            1 => Happening::Found,
            2 => Happening::Up,
            3 => Happening::Restart,
            4 => Happening::End,
            5 => Happening::Failed,
            _ => return None,
        };
        let mut id = Identity::from(raw.id);
        // Several paths have one association.
        id.path = None;
        if let Some(owners) = &self.owners {
            let is_known = raw.owners != RawEvent::NO_OWNER;
            id.owner = is_known.then(|| Rc::new(owners.describe(raw.owner, raw.owners)));
            id.payload_protocol = owners.of(id.assoc_id).1;
        }
        let since = |begin: u64| (begin != 0).then(|| Duration::from_nanos(raw.at_ns.saturating_sub(begin)));
        let is_over = matches!(happening, Happening::End | Happening::Failed);
        let is_begun = matches!(happening, Happening::Found | Happening::Up);
        Some(AssocEvent {
            at: Duration::from_nanos(raw.at_ns),
            id,
            happening,
            duration: if happening == Happening::End { since(raw.up_ns) } else { None },
            handshake: if happening == Happening::Up { since(raw.begun_ns) } else { None },
            inits: (raw.inits > 0 && raw.begun_ns != 0).then_some(raw.inits),
            initiated: if raw.initiated_here != 0 { Side::Here } else { Side::Peer },
            is_orphan: raw.is_orphan != 0,
            ending: is_over.then(|| ending(raw, happening)),
            settings: is_begun.then(|| Box::new(self.settings(&raw.settings, happening))),
        })
    }

    fn settings(&self, raw: &LifeSettings, happening: Happening) -> AssocSettings {
        let time = |jiffies: u32| self.jiffy * jiffies;
        let is = |byte: u8| byte != 0;
        AssocSettings {
            streams: [raw.streams_out, raw.streams_in],
            buffers: [raw.sndbuf, raw.rcvbuf],
            peer_initial_rwnd: raw.peer_rwnd,
            own_initial_rwnd: (happening == Happening::Up).then_some(raw.own_rwnd),
            rto: [raw.rto_initial, raw.rto_min, raw.rto_max].map(time),
            sack_delay: time(raw.sack_delay),
            sack_freq: raw.sack_freq,
            hb_interval: time(raw.hb_interval),
            max_retrans: [raw.path_max_retrans, raw.assoc_max_retrans, raw.pf_retrans],
            nodelay: is(raw.nodelay),
            extensions: [raw.idata, raw.prsctp, raw.reconf, raw.auth, raw.ecn].map(is),
            encap_port: u16::try_from(raw.encap_port).ok().filter(|port| *port != 0),
            paths: raw.path[..raw.path.len().min(raw.paths as usize)].iter().map(LifePath::from).collect(),
        }
    }
}

impl From<&raw::LifePath> for LifePath {
    fn from(raw: &raw::LifePath) -> Self {
        let [local, peer] = [raw.local, raw.peer].map(socket_addr);
        Self { local, peer, state: PathState::of(raw.state as u8) }
    }
}

/// Values of `enum sctp_sac_state` (`include/uapi/linux/sctp.h`).
mod notified {
    pub(super) const COMM_LOST: u16 = 1;
    pub(super) const SHUTDOWN_COMP: u16 = 3;
    pub(super) const CANT_STR_ASSOC: u16 = 4;
}

/// Values of `enum sctp_state` (`include/net/sctp/constants.h`).
const COOKIE_WAIT: u32 = 1;
const SHUTDOWN_SENT: u32 = 5;
const SHUTDOWN_ACK_SENT: u32 = 7;

/// Type of an ABORT chunk (RFC 9260 3.2).
const ABORT: u16 = 6;

/// Cause codes (RFC 9260 3.3.10).
const STALE_COOKIE: u16 = 3;
const OUT_OF_RESOURCE: u16 = 4;
const USER_INITIATED: u16 = 12;
const RESOURCE_SHORTAGE: u16 = 0xa1;
const ASCONF_ACK: u16 = 0xa3;

/// Says why an association ended, or never came up, from what the kernel knew at that moment.
fn ending(raw: &RawEvent, happening: Happening) -> Ending {
    let (reason, by) = match raw.notified {
        notified::SHUTDOWN_COMP => (Reason::Shutdown, who_shut_down(raw)),
        notified::COMM_LOST => lost(raw),
        notified::CANT_STR_ASSOC => failed(raw),
        _ if happening == Happening::Failed => (given_up(raw), Some(Side::Here)),
        _ => (Reason::Unknown, None),
    };
    let has_abort = matches!(reason, Reason::AbortReceived | Reason::Refused | Reason::AbortSent(_));
    // The cause in a chunk of the peer's is no cause of an ABORT of ours.
    let cause = match reason {
        Reason::AbortSent(Why::Protocol) => Some(Cause { code: raw.error, text: None }),
        _ if has_abort => abort_cause(&raw.cause),
        _ => None,
    };
    Ending { reason, by, cause, left_bytes: raw.left_bytes }
}

/// Why the kernel frees an association that never came up, and notifies nobody: by close(), or as the call that begins it
/// fails. If that could not make its INIT, there was no memory (`sctp_sf_do_prm_asoc()`, which sets the state
/// nevertheless). If it could, what it was to send was not taken: `EFAULT`, or no memory (`sctp_sendmsg_to_asoc()`).
fn given_up(raw: &RawEvent) -> Reason {
    if raw.state == COOKIE_WAIT && raw.no_init != 0 { Reason::NoMemory } else { Reason::ClosedHere }
}

/// Which end shut down: this host, if it is in SHUTDOWN-SENT. In SHUTDOWN-ACK-SENT the peer did; but if this host
/// had sent a SHUTDOWN, too, which started T5-shutdown-guard, both did at once.
fn who_shut_down(raw: &RawEvent) -> Option<Side> {
    match raw.state {
        SHUTDOWN_SENT => Some(Side::Here),
        SHUTDOWN_ACK_SENT if raw.t5_runs == 0 => Some(Side::Peer),
        _ => None,
    }
}

/// Why an association that was up is lost (`sctp_cmd_assoc_failed()`).
fn lost(raw: &RawEvent) -> (Reason, Option<Side>) {
    let here = Some(Side::Here);
    match raw.error {
        _ if raw.cause.chunk == ABORT => (Reason::AbortReceived, Some(Side::Peer)),
        USER_INITIATED if raw.aborted != 0 => (Reason::AbortSent(who_aborted(raw)), here),
        0 if raw.by_t5 != 0 => (Reason::Timeout(Limit::ShutdownGuard), None),
        0 if raw.error_count >= raw.error_limit => (Reason::Timeout(Limit::AssocMaxRetrans), None),
        0 => (Reason::Unknown, None),
        // In a restart (sctp_sf_do_assoc_update()).
        RESOURCE_SHORTAGE | OUT_OF_RESOURCE => (Reason::NoMemory, here),
        // An ASCONF-ACK was not processed: it is illegal, or this host had too little memory.
        USER_INITIATED | ASCONF_ACK => (Reason::Unknown, here),
        _ => (Reason::AbortSent(Why::Protocol), here),
    }
}

/// Why a process aborted: close() does so only of unread data, or if SO_LINGER is 0, and never gives a text
/// (`sctp_close()`).
fn who_aborted(raw: &RawEvent) -> Why {
    match (raw.by_close != 0 && raw.cause.text_len == 0, raw.lingers != 0) {
        (false, _) => Why::Application,
        (true, true) => Why::Linger,
        (true, false) => Why::UnreadData,
    }
}

/// Why an association never came up (`sctp_cmd_init_failed()`).
fn failed(raw: &RawEvent) -> (Reason, Option<Side>) {
    let here = Some(Side::Here);
    match raw.error {
        _ if raw.cause.chunk == ABORT => (Reason::Refused, Some(Side::Peer)),
        _ if raw.by_icmp != 0 => (Reason::Unreachable, None),
        STALE_COOKIE => (Reason::StaleCookie, Some(Side::Peer)),
        USER_INITIATED => (Reason::ClosedHere, here),
        OUT_OF_RESOURCE => (Reason::NoMemory, here),
        0 if raw.cause.chunk == RawCause::NO_CHUNK => (Reason::Timeout(Limit::InitAttempts), None),
        0 => (Reason::Unknown, None),
        _ => (Reason::AbortSent(Why::Protocol), here),
    }
}

fn abort_cause(raw: &RawCause) -> Option<Cause> {
    let text = &raw.text[..raw.text.len().min(raw.text_len.into())];
    let text = (!text.is_empty()).then(|| escape(text));
    (raw.has_code != 0).then_some(Cause { code: raw.code, text })
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    /// An end that nothing is known of but what `change` sets.
    fn end_of(happening: Happening, change: impl FnOnce(&mut RawEvent)) -> (Reason, Option<Side>) {
        let mut raw = RawEvent::new_zeroed();
        raw.error_limit = 10;
        raw.notified = 0xffff;
        raw.cause.chunk = RawCause::NO_CHUNK;
        change(&mut raw);
        let ending = ending(&raw, happening);
        (ending.reason, ending.by)
    }

    #[test]
    fn each_end_has_its_reason() {
        let end = |change: fn(&mut RawEvent)| end_of(Happening::End, change);
        let lost = |change: fn(&mut RawEvent)| {
            end_of(Happening::End, |raw| {
                raw.notified = notified::COMM_LOST;
                raw.state = 3;
                change(raw);
            })
        };
        let shutdown = |state| {
            end_of(Happening::End, |raw| (raw.notified, raw.state) = (notified::SHUTDOWN_COMP, state))
        };
        let here = Some(Side::Here);
        assert_eq!(shutdown(SHUTDOWN_SENT), (Reason::Shutdown, here));
        assert_eq!(shutdown(SHUTDOWN_ACK_SENT), (Reason::Shutdown, Some(Side::Peer)));
        let both = end_of(Happening::End, |raw| {
            (raw.notified, raw.state, raw.t5_runs) = (notified::SHUTDOWN_COMP, SHUTDOWN_ACK_SENT, 1);
        });
        assert_eq!(both, (Reason::Shutdown, None), "both ends at once");
        assert_eq!(lost(|raw| raw.cause.chunk = ABORT), (Reason::AbortReceived, Some(Side::Peer)));
        assert_eq!(
            lost(|raw| (raw.error, raw.aborted) = (12, 1)),
            (Reason::AbortSent(Why::Application), here)
        );
        assert_eq!(
            lost(|raw| (raw.error, raw.aborted, raw.by_close) = (12, 1, 1)),
            (Reason::AbortSent(Why::UnreadData), here)
        );
        assert_eq!(
            lost(|raw| (raw.error, raw.aborted, raw.by_close, raw.lingers) = (12, 1, 1, 1)),
            (Reason::AbortSent(Why::Linger), here)
        );
        assert_eq!(
            lost(|raw| (raw.error_count, raw.state) = (10, 5)),
            (Reason::Timeout(Limit::AssocMaxRetrans), None)
        );
        assert_eq!(
            lost(|raw| (raw.error_count, raw.by_t5) = (10, 1)),
            (Reason::Timeout(Limit::ShutdownGuard), None),
            "while the peer's window is closed, errors alone end no shutdown"
        );
        assert_eq!(
            lost(|raw| (raw.error, raw.aborted, raw.by_close, raw.cause.text_len) = (12, 1, 1, 3)),
            (Reason::AbortSent(Why::Application), here),
            "close() gives no text"
        );
        assert_eq!(lost(|raw| raw.error = 0xa3), (Reason::Unknown, here));
        assert_eq!(lost(|raw| raw.error_count = 9), (Reason::Unknown, None), "no premise holds");
        assert_eq!(lost(|raw| raw.error = 13), (Reason::AbortSent(Why::Protocol), here));
        assert_eq!(lost(|raw| raw.error = 4), (Reason::NoMemory, here));
        assert_eq!(lost(|raw| raw.error = 0xa1), (Reason::NoMemory, here), "in a restart");
        assert_eq!(lost(|raw| raw.error = 12), (Reason::Unknown, here), "no process was seen to abort");
        assert_eq!(end(|_| {}), (Reason::Unknown, None));
    }

    #[test]
    fn each_failed_begin_has_its_reason() {
        let failed = |change: fn(&mut RawEvent)| {
            end_of(Happening::Failed, |raw| {
                raw.notified = notified::CANT_STR_ASSOC;
                change(raw);
            })
        };
        let here = Some(Side::Here);
        assert_eq!(failed(|raw| raw.cause.chunk = ABORT), (Reason::Refused, Some(Side::Peer)));
        assert_eq!(failed(|raw| raw.by_icmp = 1), (Reason::Unreachable, None));
        assert_eq!(failed(|raw| raw.error = 3), (Reason::StaleCookie, Some(Side::Peer)));
        assert_eq!(failed(|raw| raw.error = 12), (Reason::ClosedHere, here));
        assert_eq!(failed(|_| {}), (Reason::Timeout(Limit::InitAttempts), None));
        assert_eq!(failed(|raw| raw.error = 13), (Reason::AbortSent(Why::Protocol), here));
        assert_eq!(failed(|raw| raw.cause.chunk = 2), (Reason::Unknown, None), "an INIT ACK came");
        let unnoticed = end_of(Happening::Failed, |_| {});
        assert_eq!(unnoticed, (Reason::ClosedHere, here), "close() while connecting notifies nobody");
        let freed = |change: fn(&mut RawEvent)| end_of(Happening::Failed, change);
        assert_eq!(freed(|raw| (raw.state, raw.no_init) = (1, 1)), (Reason::NoMemory, here));
        assert_eq!(freed(|raw| raw.state = 1), (Reason::ClosedHere, here), "the first message was not taken");
        assert_eq!(freed(|raw| raw.no_init = 1), (Reason::ClosedHere, here));
    }

    #[test]
    fn the_text_of_a_cause_is_harmless() {
        let mut raw = RawCause::new_zeroed();
        (raw.chunk, raw.has_code, raw.code, raw.text_len) = (ABORT, 1, 12, 3);
        raw.text[..3].copy_from_slice(b"a\n<");
        let cause = Cause { code: 12, text: Some("a\\n\\x3c".to_owned()) };
        assert_eq!(abort_cause(&raw), Some(cause));
        raw.text_len = 0;
        assert_eq!(abort_cause(&raw), Some(Cause { code: 12, text: None }));
        raw.text_len = u16::MAX;
        assert!(abort_cause(&raw).is_some(), "no more text than there is");
        raw.has_code = 0;
        assert_eq!(abort_cause(&raw), None);
    }
}
