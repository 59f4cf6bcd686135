//! The findings of `sctp-rto`. Each rule is a pure function of the evidence.

use cli::{Figures, LONGEST_SACK_DELAY, Rule, Words, ms};

use crate::evidence::Evidence;

/// The fewest retransmissions from which a rule concludes anything. A single one may be an accident, such as a packet that
/// the network duplicated. (Our choice: the smallest number that is not a single one.)
const FEWEST: u64 = 2;

/// The rules by which `sctp-rto` looks for findings.
pub const RULES: &[Rule<Evidence>] = &[
    Rule {
        words: Words {
            code: "rto_below_sack_delay",
            premises: "T3-rtx expired; the peer named at least half of the chunks sent again as duplicates, and at least \
                2; the RTO was at most 500 ms, as long as a peer may hold back its SACK; nothing was sent again for missing \
                reports; since the last expiry the path answered as quickly as before, and within that RTO",
            sentence: "T3-rtx has data sent again that the peer has, and the RTO is shorter than a peer may hold back its \
                SACK",
            cure: "RTO.Min above the peer's SACK delay, or both lower (net.sctp.rto_min, the peer's net.sctp.sack_timeout)",
            section: "RFC 9260 6.2, 6.3.1",
        },
        intervals: 1,
        evaluate: rto_below_sack_delay,
    },
    Rule {
        words: Words {
            code: "sacks_lost",
            premises: "T3-rtx expired; the peer named at least 2 of the chunks sent again as duplicates; the RTO was above \
                SRTT + 4 RTTVAR + 500 ms, the longest that an answer may take; nothing was sent again for missing reports, \
                nor acknowledged too soon after; since the last expiry the path answered as quickly as before",
            sentence: "T3-rtx has data sent again that the peer has: its SACKs do not arrive here",
            cure: "look for what drops packets on the way from the peer to this host, not on the way there",
            section: "RFC 9260 3.3.4, 6.2, 6.3.3",
        },
        intervals: 1,
        evaluate: sacks_lost,
    },
    Rule {
        words: Words {
            code: "real_loss",
            premises: "SACKs reported chunks as missing, and had at least 2 sent again, longer ago than an answer takes; the \
                peer has named no chunk of the association as a duplicate, and has acknowledged none too soon; T3-rtx did not \
                expire, which also probes closed windows",
            sentence: "Data of this path was lost on the way, or the peer's host had no room for it, and was sent again",
            cure: "look for what drops packets on the way there; until then make another path the primary one \
                (SCTP_PRIMARY_ADDR)",
            section: "RFC 9260 7.2.4",
        },
        intervals: 1,
        evaluate: real_loss,
    },
    Rule {
        words: Words {
            code: "path_jumped",
            premises: "a path failed, and the first SACK for data on this one came",
            sentence: "Data goes on this path, as the one before failed",
            cure: "look at the path that failed; a smaller Path.Max.Retrans, or SCTP_PEER_ADDR_THLDS (RFC 7829), makes \
                failovers quicker",
            section: "RFC 9260 8.2, RFC 7829",
        },
        intervals: 1,
        evaluate: path_jumped,
    },
    Rule {
        words: Words {
            code: "no_spare_path",
            premises: "the association has several paths, of which one or none is active or potentially failed; of each \
                unconfirmed one a HEARTBEAT was not answered",
            sentence: "If the path in use fails, there is no other one that works",
            cure: "look at routes and filters of the other addresses: the peer does not answer HEARTBEATs there",
            section: "RFC 9260 5.4, 8.3",
        },
        intervals: 1,
        evaluate: no_spare_path,
    },
    Rule {
        words: Words {
            code: "ecn",
            premises: "an ECN-Echo made cwnd smaller",
            sentence: "The network on the way to the peer is congested, and says so (ECN)",
            cure: "none here: the sender slows down as it should; look at the queue that marks packets",
            section: "RFC 9260 appendix A",
        },
        intervals: 1,
        evaluate: ecn,
    },
];

fn rto_below_sack_delay(e: &Evidence) -> Option<Figures> {
    let expiries = e.expiries?;
    let is_needless = e.counts.spurious >= FEWEST && 2 * e.counts.spurious >= e.counts.rtx_for_path;
    let is_short = expiries.shortest <= LONGEST_SACK_DELAY;
    // Else the RTO is shorter than the round trip alone (RTO.Max is): the peer's SACK delay is not why.
    let is_within = e.answer? <= expiries.shortest;
    (is_needless && is_short && is_within && only_t3(e) && is_well(e)?).then(|| figures(e))
}

fn sacks_lost(e: &Evidence) -> Option<Figures> {
    let expiries = e.expiries?;
    let is_long = expiries.shortest > expiries.usual_rtt + LONGEST_SACK_DELAY;
    let is_late = e.counts.early_acks > 0;
    (e.counts.spurious >= FEWEST && is_long && !is_late && only_t3(e) && is_well(e)?).then(|| figures(e))
}

/// Returns whether nothing but T3-rtx had data sent again.
fn only_t3(e: &Evidence) -> bool {
    e.counts.t3_expiries > 0 && e.counts.fast_retransmits == 0
}

/// Returns whether the path has answered as quickly as before, since T3-rtx expired last; `None` if it has not answered.
fn is_well(e: &Evidence) -> Option<bool> {
    Some(e.answer? <= e.expiries?.usual_rtt)
}

fn figures(e: &Evidence) -> Figures {
    let times = e.expiries.zip(e.answer).map(|(expiries, answer)| {
        [
            ("rto_ms", ms(expiries.shortest)),
            ("usual_rtt_ms", ms(expiries.usual_rtt)),
            ("answer_ms", ms(answer)),
        ]
    });
    let counts = [
        ("t3_expiries", e.counts.t3_expiries),
        ("rtx_for_path_chunks", e.counts.rtx_for_path),
        ("spurious_rtx", e.counts.spurious),
    ];
    counts.map(|(name, n)| (name, n as f64)).into_iter().chain(times.into_iter().flatten()).collect()
}

fn real_loss(e: &Evidence) -> Option<Figures> {
    let is_settled = e.settled_fast > 0 && e.settled_rtx >= FEWEST;
    (is_settled && e.assoc_needless == 0 && e.counts.t3_expiries == 0).then(|| {
        vec![
            ("fast_retransmits", e.counts.fast_retransmits as f64),
            ("rtx_for_path_chunks", e.counts.rtx_for_path as f64),
        ]
    })
}

fn path_jumped(e: &Evidence) -> Option<Figures> {
    Some(vec![("failover_ms", ms(e.failover?))])
}

fn no_spare_path(e: &Evidence) -> Option<Figures> {
    let paths = e.paths?;
    let counts = [paths.active, paths.potentially_failed, paths.inactive, paths.unconfirmed].map(u64::from);
    let [active, potentially_failed, inactive, unconfirmed] = counts;
    let others = inactive + unconfirmed;
    let is_alone = active + potentially_failed <= 1 && others > 0 && active + potentially_failed + others > 1;
    (is_alone && e.unanswered_paths >= unconfirmed).then(|| {
        vec![
            ("paths_active", active as f64),
            ("paths_pf", potentially_failed as f64),
            ("paths_inactive", inactive as f64),
            ("paths_unconfirmed", unconfirmed as f64),
        ]
    })
}

fn ecn(e: &Evidence) -> Option<Figures> {
    (e.counts.ecn_cuts > 0).then(|| vec![("cwnd_cuts_ecn", e.counts.ecn_cuts as f64)])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use probes::rto::PathCounts;

    use super::*;
    use crate::evidence::{Counts, Expiries};

    const fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn codes(e: &Evidence) -> Vec<&'static str> {
        RULES.iter().filter(|rule| (rule.evaluate)(e).is_some()).map(|rule| rule.words.code).collect()
    }

    /// No rule finds anything in the evidence after any one of these changes.
    fn silent(base: fn() -> Evidence, changes: &[fn(&mut Evidence)]) {
        for (number, change) in changes.iter().enumerate() {
            let mut evidence = base();
            change(&mut evidence);
            assert_eq!(codes(&evidence), [""; 0], "change {number}: {evidence:?}");
        }
    }

    /// T3-rtx has expired, and data that the peer had already was sent again, on a path that works well.
    fn needless(rto: Duration) -> Evidence {
        let counts =
            Counts { t3_expiries: 2, rtx_for_path: 4, spurious: 2, dup_tsns: 2, ..Counts::default() };
        Evidence {
            counts,
            expiries: Some(Expiries { shortest: rto, usual_rtt: millis(52) }),
            answer: Some(millis(20)),
            assoc_needless: 2,
            ..Evidence::default()
        }
    }

    fn short_rto() -> Evidence {
        needless(millis(500))
    }

    fn lost_sacks() -> Evidence {
        needless(millis(553))
    }

    #[test]
    fn the_rto_tells_a_delayed_sack_from_one_that_is_lost() {
        assert_eq!(codes(&short_rto()), ["rto_below_sack_delay"]);
        // At these times the answer may have been held back for 500 ms, or lost: neither finding is reported.
        silent(|| needless(millis(501)), &[|_| ()]);
        silent(|| needless(millis(552)), &[|_| ()]);
        assert_eq!(codes(&lost_sacks()), ["sacks_lost"]);
        let figures = [
            ("t3_expiries", 2.0),
            ("rtx_for_path_chunks", 4.0),
            ("spurious_rtx", 2.0),
            ("rto_ms", 553.0),
            ("usual_rtt_ms", 52.0),
            ("answer_ms", 20.0),
        ];
        assert_eq!(sacks_lost(&lost_sacks()).unwrap(), figures);
    }

    #[test]
    fn without_one_premise_neither_is_said() {
        let changes: &[fn(&mut Evidence)] = &[
            |e| e.counts.t3_expiries = 0,
            |e| e.counts.spurious = 1,
            |e| e.counts.fast_retransmits = 1,
            |e| e.expiries = None,
            |e| e.answer = None,
            // The path has become slower: the SACK may have been under way.
            |e| e.answer = Some(millis(53)),
        ];
        silent(short_rto, changes);
        silent(lost_sacks, changes);
        // The round trip alone takes longer than the RTO.
        silent(
            || Evidence { answer: Some(millis(52)), ..needless(millis(52)) },
            &[|e| e.expiries.iter_mut().for_each(|expiries| expiries.shortest = millis(51))],
        );
        // Most of what was sent again was lost.
        silent(short_rto, &[|e| e.counts.rtx_for_path = 5]);
        silent(lost_sacks, &[|e| e.counts.early_acks = 1]);
    }

    fn lossy() -> Evidence {
        let counts = Counts { fast_retransmits: 3, rtx_for_path: 3, ..Counts::default() };
        Evidence { counts, settled_fast: 2, settled_rtx: 2, ..Evidence::default() }
    }

    #[test]
    fn loss_is_real_where_the_peer_names_no_duplicate() {
        assert_eq!(codes(&lossy()), ["real_loss"]);
        silent(
            lossy,
            &[
                |e| e.settled_fast = 0,
                |e| e.settled_rtx = 1,
                // A retransmission on some path of the association was needless. It may be one of those that count for
                // this path: then no loss on this path is proven.
                |e| e.assoc_needless = 1,
                |e| e.counts.t3_expiries = 1,
            ],
        );
    }

    fn alone() -> Evidence {
        let paths = PathCounts { active: 1, potentially_failed: 0, inactive: 1, unconfirmed: 1 };
        Evidence { paths: Some(paths), unanswered_paths: 1, ..Evidence::default() }
    }

    #[test]
    fn a_spare_path_is_missed_where_there_should_be_one() {
        assert_eq!(codes(&alone()), ["no_spare_path"]);
        let silent_if = |change: fn(&mut PathCounts)| {
            let mut evidence = alone();
            evidence.paths.iter_mut().for_each(change);
            assert_eq!(codes(&evidence), [""; 0], "{evidence:?}");
        };
        silent_if(|p| p.active = 2);
        silent_if(|p| p.potentially_failed = 1);
        // The association has a single path: that is what its owner wants.
        silent_if(|p| (p.inactive, p.unconfirmed) = (0, 0));
        silent_if(|p| (p.active, p.inactive, p.unconfirmed) = (0, 0, 1));
        // One of the two unconfirmed paths has not had to answer yet.
        silent_if(|p| p.unconfirmed = 2);
        silent(alone, &[|e| e.paths = None, |e| e.unanswered_paths = 0]);
    }

    #[test]
    fn single_events_are_found() {
        let jumped = Evidence { failover: Some(millis(1058)), ..Evidence::default() };
        assert_eq!(codes(&jumped), ["path_jumped"]);
        assert_eq!(path_jumped(&jumped).unwrap(), [("failover_ms", 1058.0)]);
        let counts = Counts { ecn_cuts: 1, ..Counts::default() };
        assert_eq!(codes(&Evidence { counts, ..Evidence::default() }), ["ecn"]);
        assert_eq!(codes(&Evidence::default()), [""; 0]);
    }
}
