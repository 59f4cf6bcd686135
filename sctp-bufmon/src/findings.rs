//! The findings of `sctp-bufmon`. Each rule is a pure function of the evidence of an interval.

use std::time::Duration;

use cli::{Figures, Rule, Words, ms};
use probes::bufmon::{Stall, StallCause};

/// What was measured of an association in an interval.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// How long it was stalled in the interval.
    pub stalled: Duration,
    /// What held the stall up for the longest; of several, the last one.
    pub cause: Option<StallCause>,
    /// What is known of that stall, if it was handed out and has the same cause.
    pub stall: Option<Stall>,
}

/// The rules.
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
        judge: |e| stalled(e, StallCause::WindowClosed),
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
        judge: |e| stalled(e, StallCause::WindowFullOfGaps),
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
        judge: |e| stalled(e, StallCause::OneMissing),
    },
    Rule {
        words: Words {
            code: "path_silent",
            premises: "the cumulative TSN stood still for longer than the RTO; for most of that time T3-rtx expired, and while \
                it ran nothing came from the peer, on any path",
            sentence: "The peer does not answer, on any path",
            cure: "the path, a middle box that has forgotten the association, or the peer's host",
            section: "RFC 9260 6.3.3, 8.1",
        },
        intervals: 1,
        judge: |e| stalled(e, StallCause::PathSilent),
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
        judge: |e| stalled(e, StallCause::HandshakeUnanswered),
    },
];

/// The figures of a stall with this cause; `None` if there was no such stall.
fn stalled(e: &Evidence, cause: StallCause) -> Option<Figures> {
    if e.stalled.is_zero() || e.cause != Some(cause) {
        return None;
    }
    let mut figures = vec![("stalled_ms", ms(e.stalled))];
    let Some(stall) = e.stall.as_ref().filter(|stall| stall.cause == cause) else { return Some(figures) };
    figures.extend([
        ("lasted_ms", ms(stall.lasted)),
        ("cause_ms", ms(stall.held)),
        ("unacked_bytes", stall.bytes as f64),
        ("sacks", stall.sacks.into()),
        ("t3_expiries", stall.t3_expiries.into()),
    ]);
    figures.extend(stall.window.map(|window| ("window_bytes", window.into())));
    if let Some(gaps) = &stall.gaps {
        figures.extend([("missing_tsn", gaps.tsn.into()), ("gap_acked", gaps.acked.into())]);
        figures.extend(gaps.sent.map(|sent| ("missing_sent", sent.into())));
    }
    Some(figures)
}

#[cfg(test)]
mod tests {
    use probes::{Identity, bufmon::Gaps};

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
        Evidence { stalled: Duration::from_millis(800), cause: Some(cause), stall: Some(stall(cause)) }
    }

    fn codes(e: &Evidence) -> Vec<&'static str> {
        RULES.iter().filter(|rule| (rule.judge)(e).is_some()).map(|rule| rule.words.code).collect()
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

    #[test]
    fn figures_are_of_a_stall_with_this_cause() {
        let whole = stalled(&evidence(StallCause::OneMissing), StallCause::OneMissing).unwrap();
        let expected = [
            ("stalled_ms", 800.0),
            ("lasted_ms", 2000.0),
            ("cause_ms", 1500.0),
            ("unacked_bytes", 5000.0),
            ("sacks", 7.0),
            ("t3_expiries", 1.0),
            ("window_bytes", 30.0),
            ("missing_tsn", 100.0),
            ("gap_acked", 6.0),
            ("missing_sent", 2.0),
        ];
        assert_eq!(whole, expected);
        // The stall was handed out while something else held it up.
        let before =
            Evidence { stall: Some(stall(StallCause::PathSilent)), ..evidence(StallCause::OneMissing) };
        assert_eq!(stalled(&before, StallCause::OneMissing).unwrap(), expected[..1]);
    }
}
