//! Reads the records of begins, restarts and ends of associations (`lifecycle.h`), and derives why an
//! association ended.

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

/// Size of the ring buffer in bytes: room for more than 2,500 events. The associations found at the start
/// fill half of the ring at most; the search then pauses until this process has read the ring.
const RING_BYTES: u32 = 1 << 21;
/// How many living associations the kernel side remembers at a time. It evicts the one without an event for
/// longest. The end of an evicted association is still reported, but without what was noted at its begin
/// (such as its duration).
const LIVES: u32 = 8192;

/// The names of all programs of `lifecycle.h`, which are loaded for these events only, begin with this
/// prefix.
pub(crate) const PREFIX: &str = "life_";

/// Leaves the programs of `lifecycle.h` out of loading, or, with [`Config::lifecycle`], sets the sizes of
/// their maps.
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
    /// The association was up already when the trace began.
    Found,
    /// The association came up: its handshake is complete.
    Up,
    /// The peer, or both ends, began the association anew (RFC 9260 5.2).
    Restart,
    /// The association was up, and ended.
    End,
    /// This host began the association, and it never came up.
    Failed,
}

/// An end of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This host.
    Here,
    /// The other end of the association.
    Peer,
}

/// Why an association ended, or never came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// One end, or both, shut the association down, with all data delivered (RFC 9260 9.2).
    Shutdown,
    /// The peer has sent an ABORT (RFC 9260 9.1).
    AbortReceived,
    /// This host has sent an ABORT, for the reason that the variant holds.
    AbortSent(Why),
    /// The peer did not answer for so long that the limit which the variant holds was reached.
    Timeout(Limit),
    /// The peer has answered an INIT or COOKIE ECHO with an ABORT.
    Refused,
    /// An ICMP message said that the peer's host has no SCTP (`sctp_sf_cookie_wait_icmp_abort()`).
    Unreachable,
    /// A process of this host gave the association up before it came up, such as by close().
    ClosedHere,
    /// This host had too little memory.
    NoMemory,
    /// The peer found the cookie too old, again and again (RFC 9260 5.2.6).
    StaleCookie,
    /// What the kernel knew proves none of the other reasons.
    Unknown,
}

/// Why this host has sent an ABORT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A process asked for the ABORT: a send with the flag `SCTP_ABORT`.
    Application,
    /// A process closed the socket while received data was still unread (`sctp_close()`).
    UnreadData,
    /// A process closed the socket, whose option `SO_LINGER` is on with time 0.
    Linger,
    /// The peer has sent something that breaks the protocol.
    Protocol,
}

/// Which limit was reached while the peer did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `Max.Init.Retransmits`, the number of attempts at the handshake (RFC 9260 16).
    InitAttempts,
    /// `Association.Max.Retrans`, the number of unanswered transmissions in a row (RFC 9260 8.1).
    AssocMaxRetrans,
    /// The T5-shutdown-guard timer, the longest time that a shutdown may take (RFC 9260 9.2).
    ShutdownGuard,
}

/// The first error cause of an ABORT (RFC 9260 3.3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Cause code (RFC 9260 3.3.10).
    pub code: u16,
    /// The cause's text: the first 128 bytes, with characters that could harm a terminal escaped. `None` if
    /// there is none.
    pub text: Option<String>,
}

/// How an association ended, or failed to come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why the association ended.
    pub reason: Reason,
    /// Which end decided to end the association; `None` if neither or both did, or if that is not known.
    pub by: Option<Side>,
    /// The first error cause in the ABORT that was received or sent; `None` without an ABORT, or if the ABORT
    /// had none.
    pub cause: Option<Cause>,
    /// User data that the peer had not acknowledged, in bytes. Chunks never sent count with their headers.
    pub left_bytes: u64,
}

/// A path of an association that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifePath {
    /// This host's address and port on the path; `None` while the kernel has chosen no address.
    pub local: Option<SocketAddr>,
    /// The peer's address and port.
    pub peer: Option<SocketAddr>,
    /// State of the path: active, inactive, unconfirmed and so on.
    pub state: PathState,
}

/// The settings of an association that is up: its own, and what the two ends negotiated.
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
    /// RTO.Initial, RTO.Min and RTO.Max (RFC 9260 16).
    pub rto: [Duration; 3],
    /// How long this host may delay a SACK, in wait for another packet.
    pub sack_delay: Duration,
    /// Number of packets after which this host sends a SACK without delay.
    pub sack_freq: u32,
    /// HB.interval: time between two HEARTBEATs on an idle path, to which the RTO is added (RFC 9260 8.3).
    pub hb_interval: Duration,
    /// Path.Max.Retrans, Association.Max.Retrans (RFC 9260 16), and PotentiallyFailed.Max.Retrans (RFC 7829).
    pub max_retrans: [u32; 3],
    /// The socket option `SCTP_NODELAY`: small messages do not wait until earlier data is acknowledged.
    pub nodelay: bool,
    /// Whether each extension is in use, in this order: I-DATA (RFC 8260), PR-SCTP (RFC 3758), RE-CONFIG (RFC
    /// 6525), AUTH (RFC 4895), ECN.
    pub extensions: [bool; 5],
    /// The peer's UDP port (RFC 6951); `None` without encapsulation.
    pub encap_port: Option<u16>,
    /// The first eight paths of the association.
    pub paths: Vec<LifePath>,
}

/// An association was found, came up, restarted, ended or failed to come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssocEvent {
    /// When the event happened, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// The association and the process that owns its socket; no path, as an association may have several.
    pub id: Identity,
    /// What happened to the association.
    pub happening: Happening,
    /// At [`Happening::End`]: how long the association was up, since its last restart if it had one. `None`
    /// at other events, and if the association came up before the trace began.
    pub duration: Option<Duration>,
    /// At [`Happening::Up`]: time from the first INIT to the end of the handshake. `None` at other events,
    /// and if the peer began the association.
    pub handshake: Option<Duration>,
    /// INIT chunks that this host has sent; `None` if it sent none, or before the trace began.
    pub inits: Option<u32>,
    /// Which end began the association.
    pub initiated: Side,
    /// Whether no process has the association's socket open any more.
    pub is_orphan: bool,
    /// At [`Happening::End`] and [`Happening::Failed`]: how the association ended. `None` at other events.
    pub ending: Option<Ending>,
    /// At [`Happening::Found`] and [`Happening::Up`]: the association's settings. `None` at other events.
    pub settings: Option<Box<AssocSettings>>,
}

/// Reads the events of a running trace.
pub(crate) struct Lifecycle {
    ring: Ring<RawEvent>,
    /// The iterator that finds the associations that were up at the start; `None` once all are found.
    finding: Option<Steps>,
    /// The cgroups and payload protocols of associations; `None` unless [`Config::owners`] is set.
    owners: Option<Owners>,
    jiffy: Duration,
}

impl Lifecycle {
    /// Opens the ring buffer, and begins to find the associations that are up; `None` unless
    /// [`Config::lifecycle`] is set.
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
        // The event is of the association as a whole, not of one of its paths.
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

/// Derives why an association ended, or never came up, from what the kernel knew at that moment.
fn ending(raw: &RawEvent, happening: Happening) -> Ending {
    let (reason, by) = match raw.notified {
        notified::SHUTDOWN_COMP => (Reason::Shutdown, who_shut_down(raw)),
        notified::COMM_LOST => lost(raw),
        notified::CANT_STR_ASSOC => failed(raw),
        _ if happening == Happening::Failed => (given_up(raw), Some(Side::Here)),
        _ => (Reason::Unknown, None),
    };
    let has_abort = matches!(reason, Reason::AbortReceived | Reason::Refused | Reason::AbortSent(_));
    // Where the peer broke the protocol, `raw.cause` is of the peer's chunk: our ABORT has the code
    // `raw.error`.
    let cause = match reason {
        Reason::AbortSent(Why::Protocol) => Some(Cause { code: raw.error, text: None }),
        _ if has_abort => abort_cause(&raw.cause),
        _ => None,
    };
    Ending { reason, by, cause, left_bytes: raw.left_bytes }
}

/// Derives why the kernel freed an association that never came up, without a notification. Either a process
/// closed the socket, or the call that was to begin the association failed. That call sets the state
/// COOKIE-WAIT even if it has too little memory for an INIT (`sctp_sf_do_prm_asoc()`): then there is no INIT,
/// and the reason is the memory. If there is an INIT, the kernel could not take the call's first message
/// (`sctp_sendmsg_to_asoc()`: `EFAULT`, or no memory).
fn given_up(raw: &RawEvent) -> Reason {
    if raw.state == COOKIE_WAIT && raw.no_init != 0 { Reason::NoMemory } else { Reason::ClosedHere }
}

/// Derives which end shut the association down; `None` for both at once. A host in SHUTDOWN-SENT did so
/// itself. For a host in SHUTDOWN-ACK-SENT the peer did. But if that host's T5-shutdown-guard timer runs, the
/// host had sent a SHUTDOWN, too: then both did.
fn who_shut_down(raw: &RawEvent) -> Option<Side> {
    match raw.state {
        SHUTDOWN_SENT => Some(Side::Here),
        SHUTDOWN_ACK_SENT if raw.t5_runs == 0 => Some(Side::Peer),
        _ => None,
    }
}

/// Derives why an association that was up was lost (`sctp_cmd_assoc_failed()`), and by which end.
fn lost(raw: &RawEvent) -> (Reason, Option<Side>) {
    let here = Some(Side::Here);
    match raw.error {
        _ if raw.cause.chunk == ABORT => (Reason::AbortReceived, Some(Side::Peer)),
        USER_INITIATED if raw.aborted != 0 => (Reason::AbortSent(who_aborted(raw)), here),
        0 if raw.by_t5 != 0 => (Reason::Timeout(Limit::ShutdownGuard), None),
        0 if raw.error_count >= raw.error_limit => (Reason::Timeout(Limit::AssocMaxRetrans), None),
        0 => (Reason::Unknown, None),
        // These two codes come of a restart that failed (sctp_sf_do_assoc_update()).
        RESOURCE_SHORTAGE | OUT_OF_RESOURCE => (Reason::NoMemory, here),
        // The kernel could not process an ASCONF-ACK: it was illegal, or this host had too little memory.
        USER_INITIATED | ASCONF_ACK => (Reason::Unknown, here),
        _ => (Reason::AbortSent(Why::Protocol), here),
    }
}

/// Derives why a process aborted. close() aborts only if data is unread or `SO_LINGER` has time 0, and its
/// ABORT never has a text (`sctp_close()`).
fn who_aborted(raw: &RawEvent) -> Why {
    match (raw.by_close != 0 && raw.cause.text_len == 0, raw.lingers != 0) {
        (false, _) => Why::Application,
        (true, true) => Why::Linger,
        (true, false) => Why::UnreadData,
    }
}

/// Derives why an association never came up (`sctp_cmd_init_failed()`), and by which end.
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

    /// Returns the reason that is derived from a record in which only `change` has set something, and the end
    /// that decided.
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
