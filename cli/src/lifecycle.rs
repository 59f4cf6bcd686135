//! `--events`: begins, restarts and ends of associations, as lines of text and as JSON objects of type `association`.

use std::{fmt::Write as _, time::Duration};

use jiff::tz::TimeZone;
use probes::lifecycle::{
    AssocEvent, AssocSettings, Cause, Ending, Happening, LifePath, Limit, Reason, Side, Why,
};

use crate::{
    Clock, Column, Columns,
    Get::{Bool, Float, Int, Socket, Text},
    IDENTITY, List, OWNER, Part, Table, endpoints, ms, us,
};

/// The columns of an `association` object.
pub(crate) const ASSOCIATION: &[&dyn Columns<AssocEvent>] =
    &[&EVENT, &ID, &ENDING, &EVENT_MORE, &SETTINGS, &PATHS, &OWNERS];

const EVENT: &[Column<AssocEvent>] = &[
    Column::label(
        "event",
        "found (there at the start), up, restart, end, or failed (this host began it and it never came up)",
        Text(|e| Some(event(e.happening))),
    ),
    Column::label(
        "assoc_id",
        "association id; 0: the handshake did not get so far",
        Int(|e| Some(e.id.assoc_id.into())),
    ),
];

const ID: Part<AssocEvent, probes::Identity> =
    Part { prefix: "", what: "", of: |e| Some(&e.id), columns: IDENTITY };
const OWNERS: Part<AssocEvent, probes::Identity> =
    Part { prefix: "", what: "", of: |e| Some(&e.id), columns: OWNER };

const ENDING: Part<AssocEvent, Ending> = Part {
    prefix: "",
    what: "",
    of: |e| e.ending.as_ref(),
    columns: &[
        Column::label(
            "reason",
            "why it ended: shutdown, abort_received, abort_sent, timeout, refused, unreachable (ICMP), closed_here \
             (given up before it was up), no_memory, stale_cookie, or unknown",
            Text(|e| Some(reason(e.reason))),
        ),
        Column::label("by", "which end decided that: here, peer, or unknown", Text(|e| e.by.map(side))),
        Column::label(
            "why",
            "why this host sent an ABORT: application, unread_data, linger, or protocol",
            Text(|e| if let Reason::AbortSent(why) = e.reason { Some(why_name(why)) } else { None }),
        ),
        Column::label(
            "limit",
            "what the peer's silence reached: init_attempts, assoc_max_retrans, or shutdown_guard",
            Text(|e| if let Reason::Timeout(limit) = e.reason { Some(limit_name(limit)) } else { None }),
        ),
        Column::label(
            "cause_code",
            "code of the first error cause in the ABORT (RFC 9260 3.3.10)",
            Int(|e| Some(e.cause.as_ref()?.code.into())),
        ),
        Column::label("cause", "name of that cause", Text(|e| cause_name(e.cause.as_ref()?.code))),
        Column::label(
            "text",
            "what the sender of the ABORT wrote: at most 128 bytes, escaped",
            Text(|e| e.cause.as_ref()?.text.as_deref()),
        ),
        Column::gauge(
            "left_bytes",
            "user data that was not acknowledged; what was never sent counts with the headers of its chunks",
            Int(|e| Some(e.left_bytes)),
        ),
    ],
};

const EVENT_MORE: &[Column<AssocEvent>] = &[
    Column::gauge(
        "duration_s",
        "how long the association was up; unknown if it was there at the start",
        Float(|e| e.duration.map(|duration| duration.as_secs_f64())),
    ),
    Column::gauge(
        "handshake_us",
        "from the first INIT to the end of the handshake, if this host began it",
        Float(|e| e.handshake.map(us)),
    ),
    Column::gauge("inits", "INIT chunks that this host made", Int(|e| e.inits.map(u64::from))),
    Column::label(
        "initiated",
        "which end began the association: here or peer",
        Text(|e| Some(side(e.initiated))),
    ),
    Column::label("orphan", "no process has the socket", Bool(|e| Some(e.is_orphan))),
];

const SETTINGS: Part<AssocEvent, AssocSettings> = Part {
    prefix: "",
    what: "",
    of: |e| e.settings.as_deref(),
    columns: &[
        Column::gauge("streams_out", "outbound streams", Int(|s| Some(s.streams[0].into()))),
        Column::gauge("streams_in", "inbound streams", Int(|s| Some(s.streams[1].into()))),
        Column::gauge("sndbuf_bytes", "send buffer (SO_SNDBUF)", Int(|s| Some(s.buffers[0].into()))),
        Column::gauge("rcvbuf_bytes", "receive buffer (SO_RCVBUF)", Int(|s| Some(s.buffers[1].into()))),
        Column::gauge(
            "peer_initial_rwnd_bytes",
            "window in the peer's INIT or INIT ACK",
            Int(|s| Some(s.peer_initial_rwnd.into())),
        ),
        Column::gauge(
            "own_initial_rwnd_bytes",
            "window in this host's INIT or INIT ACK, when the association has just come up",
            Int(|s| s.own_initial_rwnd.map(u64::from)),
        ),
        Column::gauge("rto_initial_ms", "RTO.Initial", Float(|s| Some(ms(s.rto[0])))),
        Column::gauge("rto_min_ms", "RTO.Min", Float(|s| Some(ms(s.rto[1])))),
        Column::gauge("rto_max_ms", "RTO.Max", Float(|s| Some(ms(s.rto[2])))),
        Column::gauge(
            "sack_delay_ms",
            "how long a SACK may wait for another packet",
            Float(|s| Some(ms(s.sack_delay))),
        ),
        Column::gauge("sack_freq", "packets after which a SACK is sent", Int(|s| Some(s.sack_freq.into()))),
        Column::gauge("hb_interval_ms", "HB.interval", Float(|s| Some(ms(s.hb_interval)))),
        Column::gauge("path_max_retrans", "Path.Max.Retrans", Int(|s| Some(s.max_retrans[0].into()))),
        Column::gauge("assoc_max_retrans", "Association.Max.Retrans", Int(|s| Some(s.max_retrans[1].into()))),
        Column::gauge(
            "pf_retrans",
            "errors in a row after which a path is potentially failed (RFC 7829)",
            Int(|s| Some(s.max_retrans[2].into())),
        ),
        Column::label("nodelay", "SCTP_NODELAY is set", Bool(|s| Some(s.nodelay))),
        Column::label("idata", "messages are interleaved (RFC 8260)", Bool(|s| Some(s.extensions[0]))),
        Column::label("prsctp", "the peer knows PR-SCTP (RFC 3758)", Bool(|s| Some(s.extensions[1]))),
        Column::label("reconf", "the peer knows RE-CONFIG (RFC 6525)", Bool(|s| Some(s.extensions[2]))),
        Column::label("auth", "the peer knows AUTH (RFC 4895)", Bool(|s| Some(s.extensions[3]))),
        Column::label("ecn", "the peer knows ECN", Bool(|s| Some(s.extensions[4]))),
        Column::label("encap_port", "UDP port of the peer (RFC 6951)", Int(|s| s.encap_port.map(u64::from))),
    ],
};

const PATHS: List<AssocEvent, LifePath> = List {
    name: "paths",
    doc: "the association's paths: the first eight; empty at other events than found and up",
    of: |e| e.settings.as_ref().map_or(&[], |settings| &settings.paths),
    columns: &[&PATH],
};

const PATH: &[Column<LifePath>] = &[
    Column::label("local", "own address and port", Socket(|path| path.local)),
    Column::label("peer", "peer's address and port", Socket(|path| path.peer)),
    Column::label("state", "state of the path", Text(|path| Some(path.state.name()))),
];

/// The columns of `association` objects, for man page and JSON schema.
pub(crate) fn tables() -> [Table; 2] {
    [
        Table::events("Objects of type association, with -e", &["association"], ASSOCIATION),
        Table::csv("Each of the paths has", &[&PATH]),
    ]
}

fn event(happening: Happening) -> &'static str {
    match happening {
        Happening::Found => "found",
        Happening::Up => "up",
        Happening::Restart => "restart",
        Happening::End => "end",
        Happening::Failed => "failed",
    }
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Here => "here",
        Side::Peer => "peer",
    }
}

/// The names of all reasons.
pub(crate) const REASONS: [&str; 10] = [
    "shutdown",
    "abort_received",
    "abort_sent",
    "timeout",
    "refused",
    "unreachable",
    "closed_here",
    "no_memory",
    "stale_cookie",
    "unknown",
];

pub(crate) fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Shutdown => "shutdown",
        Reason::AbortReceived => "abort_received",
        Reason::AbortSent(_) => "abort_sent",
        Reason::Timeout(_) => "timeout",
        Reason::Refused => "refused",
        Reason::Unreachable => "unreachable",
        Reason::ClosedHere => "closed_here",
        Reason::NoMemory => "no_memory",
        Reason::StaleCookie => "stale_cookie",
        Reason::Unknown => "unknown",
    }
}

fn why_name(why: Why) -> &'static str {
    match why {
        Why::Application => "application",
        Why::UnreadData => "unread_data",
        Why::Linger => "linger",
        Why::Protocol => "protocol",
    }
}

fn limit_name(limit: Limit) -> &'static str {
    match limit {
        Limit::InitAttempts => "init_attempts",
        Limit::AssocMaxRetrans => "assoc_max_retrans",
        Limit::ShutdownGuard => "shutdown_guard",
    }
}

/// The name of an error cause: RFC 9260 3.3.10, RFC 5061 4.3, RFC 4895 5.1.
fn cause_name(code: u16) -> Option<&'static str> {
    Some(match code {
        1 => "invalid stream identifier",
        2 => "missing mandatory parameter",
        3 => "stale cookie",
        4 => "out of resource",
        5 => "unresolvable address",
        6 => "unrecognized chunk type",
        7 => "invalid mandatory parameter",
        8 => "unrecognized parameters",
        9 => "no user data",
        10 => "cookie received while shutting down",
        11 => "restart with new addresses",
        12 => "user initiated",
        13 => "protocol violation",
        0xa0 => "request to delete last remaining address",
        0xa1 => "operation refused for want of resources",
        0xa2 => "request to delete source address",
        0xa3 => "illegal ASCONF-ACK",
        0xa4 => "request refused: no authorization",
        0x105 => "unsupported HMAC identifier",
        _ => return None,
    })
}

/// The sentence that says what happened. `clock` and `zone` give the time of day.
pub(crate) fn line(event: &AssocEvent, clock: &Clock, zone: &TimeZone) -> String {
    let owner = event.id.owner.as_ref();
    let owner = owner.and_then(|owner| Some(format!(", {}[{}]", owner.comm.as_ref()?, owner.pid?)));
    let orphan = if event.is_orphan { ", no process" } else { "" };
    let mut text = format!(
        "Association {} ({}{}{orphan}) ",
        event.id.assoc_id,
        endpoints(&event.id),
        owner.filter(|_| !event.is_orphan).unwrap_or_default(),
    );
    let at = clock.time_of_day(event.at, zone);
    let begun = match event.initiated {
        Side::Here => "begun here",
        Side::Peer => "begun by the peer",
    };
    let after = event.duration.map(|duration| format!(" after {}", seconds(duration))).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = match event.happening {
        Happening::Found => write!(text, "is there at {at}: {begun}"),
        Happening::Up => write!(text, "came up at {at}: {begun}"),
        Happening::Restart => write!(text, "was begun anew at {at}"),
        Happening::End => write!(text, "ended at {at}{after}"),
        Happening::Failed => write!(text, "did not come up, at {at}"),
    };
    if let Some(handshake) = event.handshake {
        let _ = write!(text, " in {:.1} ms", ms(handshake));
    }
    if let Some(settings) = &event.settings {
        let [out, r#in] = settings.streams;
        let paths = settings.paths.len();
        let s = if paths == 1 { "" } else { "s" };
        let _ = write!(text, ", {out} streams out and {in} in, {paths} path{s}");
    }
    if let Some(ending) = &event.ending {
        let _ = write!(text, ": {}", why_it_ended(ending, event.inits));
    }
    text
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn why_it_ended(ending: &Ending, inits: Option<u32>) -> String {
    let words = match ending.reason {
        Reason::Shutdown => match ending.by {
            Some(Side::Here) => "shut down here",
            Some(Side::Peer) => "shut down by the peer",
            None => "shut down",
        },
        Reason::AbortReceived => "ABORT received",
        Reason::AbortSent(Why::Application) => "ABORT sent, as the application asked",
        Reason::AbortSent(Why::UnreadData) => "ABORT sent: the socket was closed with unread data",
        Reason::AbortSent(Why::Linger) => "ABORT sent: the socket was closed with SO_LINGER 0",
        Reason::AbortSent(Why::Protocol) => "ABORT sent: the peer broke the protocol",
        Reason::Timeout(Limit::InitAttempts) => "the peer did not answer the handshake",
        Reason::Timeout(Limit::AssocMaxRetrans) => "the peer did not answer (Association.Max.Retrans)",
        Reason::Timeout(Limit::ShutdownGuard) => "the peer did not finish the shutdown (T5-shutdown-guard)",
        Reason::Refused => "refused: ABORT received",
        Reason::Unreachable => "ICMP: the peer's host has no SCTP",
        Reason::ClosedHere => "given up here before it was up",
        Reason::NoMemory => "this host had too little memory",
        Reason::StaleCookie => "the peer found the cookie too old",
        Reason::Unknown => "why is not known",
    };
    let mut text = words.to_owned();
    if let Some(Cause { code, text: said }) = &ending.cause {
        let _ = write!(text, ", cause {code}");
        if let Some(name) = cause_name(*code) {
            let _ = write!(text, " ({name})");
        }
        if let Some(said) = said {
            let _ = write!(text, " \"{said}\"");
        }
    }
    if let (Reason::Timeout(Limit::InitAttempts), Some(inits)) = (ending.reason, inits) {
        let _ = write!(text, ", {inits} INITs");
    }
    if ending.left_bytes > 0 {
        let _ = write!(text, ", {} bytes left", ending.left_bytes);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use probes::{Identity, Owner};

    use super::*;

    fn ended(reason: Reason, by: Option<Side>, cause: Option<Cause>) -> AssocEvent {
        let owner = Owner { pid: Some(1234), comm: Some("amf".to_owned()), ..Owner::default() };
        AssocEvent {
            at: Duration::ZERO,
            id: Identity {
                assoc_id: 7,
                netns: 4,
                local: "10.1.0.1:46956".parse().ok(),
                peer: "10.2.0.1:5000".parse().ok(),
                owner: Some(Rc::new(owner)),
                life: 1,
                began_here: true,
                ..Identity::default()
            },
            happening: Happening::End,
            duration: Some(Duration::from_millis(1000)),
            handshake: None,
            inits: None,
            initiated: Side::Here,
            is_orphan: false,
            ending: Some(Ending { reason, by, cause, left_bytes: 0 }),
            settings: None,
        }
    }

    fn line_of(event: &AssocEvent) -> String {
        let text = line(event, &Clock::now(), &TimeZone::UTC);
        // The time of day differs from run to run.
        let (before, rest) = text.split_once(" at ").unwrap();
        format!("{before} at T{}", &rest[8..])
    }

    #[test]
    fn a_line_says_who_when_and_why() {
        let cause = Cause { code: 12, text: Some("going down for maintenance".to_owned()) };
        let mut event = ended(Reason::AbortReceived, Some(Side::Peer), Some(cause));
        assert_eq!(
            line_of(&event),
            "Association 7 (10.1.0.1:46956 to 10.2.0.1:5000, netns 4, amf[1234]) ended at T after 1.0 s: ABORT \
             received, cause 12 (user initiated) \"going down for maintenance\""
        );
        event.is_orphan = true;
        event.ending = Some(Ending {
            reason: Reason::Timeout(Limit::AssocMaxRetrans),
            by: None,
            cause: None,
            left_bytes: 9,
        });
        assert_eq!(
            line_of(&event),
            "Association 7 (10.1.0.1:46956 to 10.2.0.1:5000, netns 4, no process) ended at T after 1.0 s: the peer did \
             not answer (Association.Max.Retrans), 9 bytes left"
        );
        event.happening = Happening::Failed;
        (event.duration, event.inits) = (None, Some(4));
        event.ending = Some(Ending {
            reason: Reason::Timeout(Limit::InitAttempts),
            by: None,
            cause: None,
            left_bytes: 0,
        });
        assert!(
            line_of(&event)
                .ends_with("did not come up, at T: the peer did not answer the handshake, 4 INITs")
        );
    }
}
