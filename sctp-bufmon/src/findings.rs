//! The findings of `sctp-bufmon`. Each rule is a pure function of the evidence of an interval.

use std::time::Duration;

use cli::{Figures, Rule, Words, ms, us};
use probes::bufmon::{Buffers, Limited, Received, Stall, StallCause};

/// A limit is a finding only if it held the sender up for at least this part of an interval: then for longer than all
/// other limits together. (Our choice.)
const LEAST_SHARE: f64 = 0.5;
/// The limit must also have lasted for at least this long: an association that began just before the end of an interval
/// was not limited for long. (Our choice: half of the shortest interval of any command.)
const LEAST_LIMITED: Duration = Duration::from_millis(500);
/// A buffer is full from this use on, in millionths of its size.
const FULL_PPM: u64 = 1_000_000;
/// A window smaller than this has no room for the first flight: the smallest initial cwnd, in bytes, that a path may
/// have (RFC 9260 7.2.1).
const FIRST_FLIGHT: u32 = 4380;
/// An association that holds less than this share of a shared buffer, in millionths, has not filled the buffer: the
/// others hold more than half of it.
const LEAST_HELD_PPM: u64 = 500_000;
/// A reader falls behind from this use of the receive buffer on, in millionths: the kernel then advertises less than
/// half of the window. (Our choice.)
const BEHIND_PPM: u64 = 500_000;
/// A message that waits for this long waits for a reader that is busy: no scheduler makes a ready thread wait for so
/// long. (Our choice.)
const LONG_WAIT: Duration = Duration::from_millis(100);

/// A silence shorter than this may be a round trip and a SACK that is held back: see [`path_silent`].
const SILENT: Duration = Duration::from_secs(1);
/// This many expiries of T3-rtx take three times the first RTO (RFC 9260 6.3.3 E2).
const SILENT_EXPIRIES: u32 = 2;

/// What was measured of an association in an interval.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// How long each limit applied to the sender.
    pub limited: Limited,
    /// The socket's buffers, at the last look.
    pub buffers: Option<Buffers>,
    /// This association's share, in millionths, of what all associations of the socket held in the send buffer.
    pub held_ppm: Option<u64>,
    /// Largest use of the send buffer at any look, in millionths of its size.
    pub sndbuf_max_ppm: Option<u64>,
    /// Sends that waited for memory, though the send buffer had room.
    pub memory_waits: u64,
    /// Length of the longest message whose send had to wait, in bytes.
    pub longest_message: Option<u32>,
    /// What the reader did; `None` unless that is measured.
    pub received: Option<Received>,
    /// Largest use of the receive buffer at any SACK, in millionths of its size.
    pub rcvbuf_max_ppm: Option<u64>,
    /// How long the association was stalled in the interval.
    pub stalled: Duration,
    /// The cause that held for the longest part of the stall; with several stalls, of the last one.
    pub cause: Option<StallCause>,
    /// For how long that cause has held.
    pub held: Duration,
    /// T3-rtx expiries during the stall.
    pub t3_expiries: u32,
    /// What is known of that stall, if it was handed out and has the same cause.
    pub stall: Option<Stall>,
}

/// The rules by which `sctp-bufmon` looks for findings.
pub const RULES: &[Rule<Evidence>] = &[
    Rule {
        words: Words {
            code: "window_closed",
            premises: "the cumulative TSN stood still for longer than the RTO; for most of that time the window in the \
                peer's last SACK was zero, or smaller than the chunk that was due, and no chunk was missing there",
            sentence: "The peer's receive buffer is full, and no chunk is missing there: its application does not read",
            cure: "the peer's application",
            section: "RFC 9260 6.1, 6.2.1",
        },
        intervals: 1,
        evaluate: |e| stalled(e, StallCause::WindowClosed),
    },
    Rule {
        words: Words {
            code: "window_full_of_gaps",
            premises: "the cumulative TSN stood still for longer than the RTO; for most of that time the window in the \
                peer's last SACK was zero, or smaller than the chunk that was due, and that SACK had gap blocks",
            sentence: "A chunk is missing, and what was sent after it fills the peer's receive buffer: its application may \
                have read all that it can",
            cure: "what loses packets on the way there; a smaller send buffer (SO_SNDBUF) than the peer's receive buffer",
            section: "RFC 9260 3.3.4, 6.1",
        },
        intervals: 1,
        evaluate: |e| stalled(e, StallCause::WindowFullOfGaps),
    },
    Rule {
        words: Words {
            code: "one_missing",
            premises: "the cumulative TSN stood still for longer than the RTO; for most of that time the peer's last SACK had \
                gap blocks, and its window had room",
            sentence: "A chunk is missing, and the peer has acknowledged what was sent after it: that stays in the send buffer",
            cure: "what loses packets on the way there",
            section: "RFC 9260 3.3.4, 7.2.4",
        },
        intervals: 1,
        evaluate: |e| stalled(e, StallCause::OneMissing),
    },
    Rule {
        words: Words {
            code: "path_silent",
            premises: "the cumulative TSN stood still for longer than the RTO; for most of that time, and at least 1 s, T3-rtx \
                expired (at least twice in all), and while it ran nothing came from the peer, on any path",
            sentence: "Nothing comes from the peer, on any path",
            cure: "the path, a middle box that has forgotten the association, or the peer's host",
            section: "RFC 9260 6.3.3, 8.1",
        },
        intervals: 1,
        evaluate: path_silent,
    },
    Rule {
        words: Words {
            code: "handshake_unanswered",
            premises: "data was queued for longer than the RTO, and for most of that time this host's INIT or COOKIE ECHO was \
                not answered in a way that it accepts",
            sentence: "The peer does not answer the handshake, and data waits for it",
            cure: "the peer's address and port, and filters on the way",
            section: "RFC 9260 5.1",
        },
        intervals: 1,
        evaluate: |e| stalled(e, StallCause::HandshakeUnanswered),
    },
    Rule {
        words: Words {
            code: "reader_slow",
            premises: "with --recv-wait: at the end of an interval messages waited to be read; at a SACK in it the receive \
                buffer was half full or more; and the messages that were read in it had waited 100 ms or more on average, \
                or none was read",
            sentence: "Messages wait for this host's application, and fill half of the receive buffer or more",
            cure: "this host's application: a thread that only reads, or more of them",
            section: "RFC 9260 6.2",
        },
        intervals: 1,
        evaluate: reader_slow,
    },
    Rule {
        words: Words {
            code: "peer_buffer_small",
            premises: "for half of an interval or more, data waited because the next chunk did not fit into the peer's \
                window; and the window of its INIT or INIT ACK was smaller than 4,380 bytes",
            sentence: "The peer's whole receive buffer has no room for a first flight: data waits for it, however fast its \
                application reads",
            cure: "a larger receive buffer at the peer (SO_RCVBUF before listen() or connect())",
            section: "RFC 9260 3.3.2, 7.2.1",
        },
        intervals: 1,
        evaluate: peer_buffer_small,
    },
    Rule {
        words: Words {
            code: "message_above_window",
            premises: "for half of an interval or more, data waited because the next chunk did not fit into the peer's \
                window; and a send waited whose message is longer than the window of the peer's INIT or INIT ACK",
            sentence: "Messages are longer than the peer's whole receive buffer: the peer has to read the begin of one before \
                its end can be sent",
            cure: "shorter messages, or a larger receive buffer at the peer (SO_RCVBUF)",
            section: "RFC 9260 6.1, 6.9",
        },
        intervals: 1,
        evaluate: message_above_window,
    },
    Rule {
        words: Words {
            code: "nagle_delayed_sack",
            premises: "for half of an interval or more, Nagle's rule held data back (or MSG_MORE, with which the application \
                asks for that)",
            sentence: "Messages that do not fill a packet wait until all that was sent before is acknowledged; a peer may wait \
                with that for a second packet",
            cure: "SCTP_NODELAY at this host",
            section: "RFC 9260 6.1, 6.2",
        },
        intervals: 1,
        evaluate: |e| limited_by(e, "limited_nagle_pct", |l| l.nagle),
    },
    Rule {
        words: Words {
            code: "sndbuf_small",
            premises: "in two intervals: for half of it or more, all data was sent and a send waited for room in the send buffer (or \
                was refused for want of it); the buffer was full at a look, no other association shares it, and the \
                association was not stalled",
            sentence: "The send buffer is full of what is in flight: neither cwnd nor the peer's window limits the sender, its \
                buffer does",
            cure: "a larger send buffer (SO_SNDBUF, net.sctp.sctp_wmem)",
            section: "RFC 9260 6.1",
        },
        intervals: 2,
        evaluate: sndbuf_small,
    },
    Rule {
        words: Words {
            code: "shared_sndbuf",
            premises: "in two intervals: for half of it or more, all data was sent and a send waited for room in the send buffer (or \
                was refused for want of it); the buffer was full at a look, several associations share it, and more than \
                half of what they held was not this one's",
            sentence: "Sends wait for room in a send buffer that other associations of the socket fill",
            cure: "net.sctp.sndbuf_policy=1, a socket for each association, or a larger send buffer (SO_SNDBUF)",
            section: "RFC 6458 3.1.4",
        },
        intervals: 2,
        evaluate: shared_sndbuf,
    },
    Rule {
        words: Words {
            code: "memory_pressure",
            premises: "a send waited though the send buffer had room: the kernel gave the socket no memory",
            sentence: "Sends wait for memory, not for room in the send buffer",
            cure: "the memory limit of the process's cgroup (memory.max), or net.sctp.sctp_mem",
            section: "RFC 9260 6.1",
        },
        intervals: 1,
        evaluate: |e| (e.memory_waits > 0).then(|| vec![("memory_waits", e.memory_waits as f64)]),
    },
];

/// The share of the time in which one limit held, in percent; `None` if the limit did not hold for long enough.
fn limited_by(e: &Evidence, name: &'static str, of: fn(&Limited) -> Duration) -> Option<Figures> {
    let (limited, all) = (of(&e.limited), e.limited.sum());
    let share = limited.div_duration_f64(all);
    (limited >= LEAST_LIMITED && share >= LEAST_SHARE).then(|| vec![(name, 100.0 * share)])
}

fn peer_buffer_small(e: &Evidence) -> Option<Figures> {
    let window = e.buffers?.peer_initial_rwnd_bytes;
    let figures = limited_by(e, "limited_rwnd_pct", |l| l.rwnd)?;
    (window < FIRST_FLIGHT).then(|| [figures, vec![("peer_initial_rwnd_bytes", window.into())]].concat())
}

fn message_above_window(e: &Evidence) -> Option<Figures> {
    let (window, longest) = (e.buffers?.peer_initial_rwnd_bytes, e.longest_message?);
    let figures = limited_by(e, "limited_rwnd_pct", |l| l.rwnd)?;
    let more = vec![("peer_initial_rwnd_bytes", window.into()), ("message_bytes", longest.into())];
    (longest > window).then(|| [figures, more].concat())
}

/// The figures of a sender that waits for room in its send buffer, and of that buffer.
fn buffer_full(e: &Evidence) -> Option<(Figures, Buffers)> {
    let buffers = e.buffers?;
    let mut figures = limited_by(e, "limited_sndbuf_pct", |l| l.sndbuf)?;
    figures.push(("sndbuf_bytes", buffers.sndbuf_bytes.into()));
    (e.sndbuf_max_ppm? >= FULL_PPM).then_some((figures, buffers))
}

fn sndbuf_small(e: &Evidence) -> Option<Figures> {
    let (figures, buffers) = buffer_full(e)?;
    let is_own = !buffers.is_shared || buffers.sock_assocs == 1;
    (is_own && e.stalled.is_zero()).then_some(figures)
}

fn shared_sndbuf(e: &Evidence) -> Option<Figures> {
    let (figures, buffers) = buffer_full(e)?;
    let held = e.held_ppm?;
    let more = vec![("sock_assocs", buffers.sock_assocs.into()), ("sndbuf_held_pct", held as f64 / 1e4)];
    (buffers.is_shared && buffers.sock_assocs > 1 && held < LEAST_HELD_PPM).then(|| [figures, more].concat())
}

fn reader_slow(e: &Evidence) -> Option<Figures> {
    let (received, used) = (e.received.as_ref()?, e.rcvbuf_max_ppm?);
    let mean_us = received.wait.mean_us();
    let is_long = mean_us.is_none_or(|mean| mean >= us(LONG_WAIT));
    let mut figures = vec![
        ("waiting", received.waiting as f64),
        ("read", received.read as f64),
        ("recv_util_max_pct", used as f64 / 1e4),
    ];
    figures.extend(mean_us.map(|mean| ("recv_wait_avg_us", mean)));
    (received.waiting > 0 && used >= BEHIND_PPM && is_long).then_some(figures)
}

/// If a peer may hold back a SACK for 500 ms (RFC 9260 6.2), and the path's round trip takes no longer than the RTO,
/// the peer answers within [`SILENT`] and before the second expiry.
fn path_silent(e: &Evidence) -> Option<Figures> {
    let is_long = e.held >= SILENT && e.t3_expiries >= SILENT_EXPIRIES;
    stalled(e, StallCause::PathSilent).filter(|_| is_long)
}

/// The figures of a stall with this cause; `None` if there was no such stall.
fn stalled(e: &Evidence, cause: StallCause) -> Option<Figures> {
    if e.stalled.is_zero() || e.cause != Some(cause) {
        return None;
    }
    let mut figures =
        vec![("stalled_ms", ms(e.stalled)), ("cause_ms", ms(e.held)), ("t3_expiries", e.t3_expiries.into())];
    let Some(stall) = e.stall.as_ref().filter(|stall| stall.cause == cause) else { return Some(figures) };
    figures.extend([("unacked_bytes", stall.bytes as f64), ("sacks", stall.sacks.into())]);
    figures.extend(stall.window.map(|window| ("window_bytes", window.into())));
    if let Some(gaps) = &stall.gaps {
        figures.extend([("missing_tsn", gaps.tsn.into()), ("gap_acked", gaps.acked.into())]);
        figures.extend(gaps.sent.map(|sent| ("missing_sent", sent.into())));
    }
    Some(figures)
}

#[cfg(test)]
mod tests {
    use probes::{DurationDist, Identity, bufmon::Gaps};

    use super::*;

    const CAUSES: [(StallCause, &str); 5] = [
        (StallCause::WindowClosed, "window_closed"),
        (StallCause::WindowFullOfGaps, "window_full_of_gaps"),
        (StallCause::OneMissing, "one_missing"),
        (StallCause::PathSilent, "path_silent"),
        (StallCause::HandshakeUnanswered, "handshake_unanswered"),
    ];

    fn stall(cause: StallCause) -> Stall {
        Stall {
            id: Identity::default(),
            since: Duration::from_secs(5),
            until: None,
            lasted: Duration::from_secs(2),
            bytes: 5000,
            sacks: 7,
            t3_expiries: 1,
            window: Some(30),
            gaps: Some(Gaps { tsn: 100, sent: Some(2), missing: 1, acked: 6 }),
            is_idle: false,
            waiting: 0,
            cause,
            held: Duration::from_millis(1500),
        }
    }

    fn evidence(cause: StallCause) -> Evidence {
        Evidence {
            stalled: Duration::from_millis(800),
            cause: Some(cause),
            held: Duration::from_secs(1),
            t3_expiries: 2,
            stall: Some(stall(cause)),
            ..Evidence::default()
        }
    }

    fn codes(e: &Evidence) -> Vec<&'static str> {
        RULES.iter().filter(|rule| (rule.evaluate)(e).is_some()).map(|rule| rule.words.code).collect()
    }

    #[test]
    fn each_cause_is_its_finding_and_no_other() {
        for (cause, code) in CAUSES {
            assert_eq!(codes(&evidence(cause)), [code]);
        }
    }

    #[test]
    fn without_one_premise_nothing_is_said() {
        for (cause, _) in CAUSES {
            assert_eq!(codes(&Evidence { stalled: Duration::ZERO, ..evidence(cause) }), [""; 0]);
            assert_eq!(codes(&Evidence { cause: None, ..evidence(cause) }), [""; 0]);
            assert_eq!(codes(&Evidence { cause: Some(StallCause::Unknown), ..evidence(cause) }), [""; 0]);
        }
    }

    /// A SACK that is held back does not make a path silent.
    #[test]
    fn a_short_silence_is_none() {
        let silent = evidence(StallCause::PathSilent);
        assert_eq!(codes(&Evidence { t3_expiries: 1, ..silent.clone() }), [""; 0]);
        assert_eq!(codes(&Evidence { held: Duration::from_millis(999), ..silent }), [""; 0]);
    }

    #[test]
    fn figures_are_of_a_stall_with_this_cause() {
        let whole = stalled(&evidence(StallCause::OneMissing), StallCause::OneMissing).unwrap();
        let expected = [
            ("stalled_ms", 800.0),
            ("cause_ms", 1000.0),
            ("t3_expiries", 2.0),
            ("unacked_bytes", 5000.0),
            ("sacks", 7.0),
            ("window_bytes", 30.0),
            ("missing_tsn", 100.0),
            ("gap_acked", 6.0),
            ("missing_sent", 2.0),
        ];
        assert_eq!(whole, expected);
        // The stall was handed out while something else held it up.
        let before =
            Evidence { stall: Some(stall(StallCause::PathSilent)), ..evidence(StallCause::OneMissing) };
        assert_eq!(stalled(&before, StallCause::OneMissing).unwrap(), expected[..3]);
    }

    /// A sender that was limited for these times, in ms: by the application, the send buffer, Nagle's rule, cwnd, the
    /// peer's window, and others.
    fn limited(times: [u64; 6]) -> Evidence {
        let [app, sndbuf, nagle, cwnd, rwnd, other] = times.map(Duration::from_millis);
        Evidence {
            limited: Limited { app, sndbuf, nagle, cwnd, rwnd, other },
            buffers: Some(Buffers {
                sndbuf_bytes: 200_000,
                rcvbuf_bytes: 200_000,
                peer_initial_rwnd_bytes: 100_000,
                sock_assocs: 1,
                is_shared: true,
            }),
            held_ppm: Some(1_000_000),
            sndbuf_max_ppm: Some(1_100_000),
            longest_message: Some(1000),
            ..Evidence::default()
        }
    }

    fn with_buffers(e: Evidence, change: fn(&mut Buffers)) -> Evidence {
        let mut buffers = e.buffers.unwrap();
        change(&mut buffers);
        Evidence { buffers: Some(buffers), ..e }
    }

    #[test]
    fn what_does_not_limit_most_of_the_time_is_no_finding() {
        for by in 0..6 {
            let mut times = [0; 6];
            times[by] = 1000;
            let expected = match by {
                1 => &["sndbuf_small"][..],
                2 => &["nagle_delayed_sack"],
                _ => &[],
            };
            assert_eq!(codes(&limited(times)), expected, "{by}");
            times[(by + 1) % 6] = 1001;
            let next = codes(&limited(times));
            assert!(expected.iter().all(|code| !next.contains(code)), "less than half: {next:?}");
            let mut times = [0; 6];
            times[by] = 499;
            assert_eq!(codes(&limited(times)), [""; 0], "not for long");
        }
        let figures = limited_by(&limited([200, 0, 600, 200, 0, 0]), "limited_nagle_pct", |l| l.nagle);
        assert_eq!(figures, Some(vec![("limited_nagle_pct", 60.0)]));
    }

    #[test]
    fn a_small_send_buffer_is_full_one_s_own_and_moves() {
        let small = || limited([0, 1000, 0, 0, 0, 0]);
        assert_eq!(codes(&small()), ["sndbuf_small"]);
        // Each association may fill as much, whatever others of the socket hold.
        let alone = with_buffers(small(), |b| (b.sock_assocs, b.is_shared) = (3, false));
        assert_eq!(codes(&alone), ["sndbuf_small"]);
        for e in [
            Evidence { sndbuf_max_ppm: Some(999_999), ..small() },
            Evidence { sndbuf_max_ppm: None, ..small() },
            Evidence { buffers: None, ..small() },
            Evidence { stalled: Duration::from_millis(1), ..small() },
            with_buffers(small(), |b| b.sock_assocs = 2),
        ] {
            assert_eq!(codes(&e), [""; 0], "{e:?}");
        }
    }

    #[test]
    fn a_shared_send_buffer_is_filled_by_others() {
        let shared = || {
            let e = with_buffers(limited([0, 1000, 0, 0, 0, 0]), |b| b.sock_assocs = 2);
            Evidence { held_ppm: Some(499_999), ..e }
        };
        assert_eq!(codes(&shared()), ["shared_sndbuf"]);
        for e in [
            Evidence { held_ppm: Some(500_000), ..shared() },
            Evidence { held_ppm: None, ..shared() },
            Evidence { sndbuf_max_ppm: Some(999_999), ..shared() },
        ] {
            assert_eq!(codes(&e), [""; 0], "{e:?}");
        }
        // These hold their own.
        assert_eq!(codes(&with_buffers(shared(), |b| b.is_shared = false)), ["sndbuf_small"]);
        assert_eq!(codes(&with_buffers(shared(), |b| b.sock_assocs = 1)), ["sndbuf_small"]);
    }

    #[test]
    fn the_peers_buffer_is_small_by_its_own_word() {
        let small = || with_buffers(limited([0, 0, 0, 0, 1000, 0]), |b| b.peer_initial_rwnd_bytes = 4379);
        assert_eq!(codes(&small()), ["peer_buffer_small"]);
        assert_eq!(codes(&with_buffers(small(), |b| b.peer_initial_rwnd_bytes = 4380)), [""; 0]);
        assert_eq!(codes(&Evidence { buffers: None, ..small() }), [""; 0]);
        assert_eq!(codes(&Evidence { limited: limited([0, 0, 0, 1000, 0, 0]).limited, ..small() }), [""; 0]);
    }

    #[test]
    fn a_message_is_above_the_window_that_the_peer_began_with() {
        let long = || Evidence { longest_message: Some(100_001), ..limited([0, 0, 0, 0, 1000, 0]) };
        assert_eq!(codes(&long()), ["message_above_window"]);
        for e in [
            Evidence { longest_message: Some(100_000), ..long() },
            Evidence { longest_message: None, ..long() },
            Evidence { buffers: None, ..long() },
            Evidence { limited: limited([0, 0, 0, 1000, 0, 0]).limited, ..long() },
        ] {
            assert_eq!(codes(&e), [""; 0], "{e:?}");
        }
    }

    #[test]
    fn a_reader_is_slow_if_messages_wait_long_and_fill_the_buffer() {
        let wait = |ms: u64| {
            let each = Duration::from_millis(ms);
            DurationDist { count: 2, sum: 2 * each, min: Some(each), max: Some(each), percentiles: None }
        };
        let slow = |waiting, wait| Evidence {
            received: Some(Received { wait, read: 2, waiting, unread: 0 }),
            rcvbuf_max_ppm: Some(500_000),
            ..Evidence::default()
        };
        assert_eq!(codes(&slow(1, wait(100))), ["reader_slow"]);
        assert_eq!(codes(&slow(1, DurationDist::default())), ["reader_slow"], "it reads nothing");
        assert_eq!(codes(&slow(0, wait(100))), [""; 0], "it has read all");
        assert_eq!(codes(&slow(1, wait(99))), [""; 0], "it reads soon");
        assert_eq!(codes(&Evidence { rcvbuf_max_ppm: Some(499_999), ..slow(1, wait(100)) }), [""; 0]);
        assert_eq!(codes(&Evidence { rcvbuf_max_ppm: None, ..slow(1, wait(100)) }), [""; 0]);
        assert_eq!(codes(&Evidence { received: None, ..slow(1, wait(100)) }), [""; 0], "not measured");
    }

    #[test]
    fn a_wait_for_memory_is_none_for_room() {
        assert_eq!(
            codes(&Evidence { memory_waits: 1, ..limited([1000, 0, 0, 0, 0, 0]) }),
            ["memory_pressure"]
        );
        assert_eq!(codes(&limited([1000, 0, 0, 0, 0, 0])), [""; 0]);
    }
}
