//! The findings of `sctp-streamutil`. Each rule is a pure function of an association's figures of an interval.

use std::time::Duration;

use cli::{Figures, Rule, Words, us};

/// What was measured of an association in an interval.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Outbound streams negotiated.
    pub total_streams: u64,
    /// Outbound streams that carried data.
    pub active_streams: u64,
    /// Messages sent.
    pub messages: u64,
    /// Chunks sent unordered.
    pub unordered: u64,
    /// Chunks sent again.
    pub rtx_chunks: u64,
    /// Received messages that waited for an earlier message of their stream.
    pub hol_messages: u64,
    /// Sum of the times that these messages waited.
    pub hol_wait: Duration,
    /// In how much of the interval a received message of a stream waited, in percent: the largest value of any stream.
    pub hol_blocked_pct: f64,
    /// Sends that were refused because the stream does not exist.
    pub refused: u64,
    /// Received chunks that were discarded because the stream does not exist.
    pub discarded: u64,
}

/// The fewest messages that show how an application uses its streams. (Our choice.)
const FEWEST_MESSAGES: u64 = 10;
/// In a stream that is blocked for a smaller part of the time, few messages are late: too few to show in p95, a
/// percentile that people look at. (Our choice.)
const LEAST_BLOCKED_PCT: f64 = 5.0;

/// The rules by which `sctp-streamutil` looks for findings.
pub const RULES: &[Rule<Evidence>] = &[
    Rule {
        words: Words {
            code: "one_stream",
            premises: "at least 10 messages in an interval, all ordered and all on one stream of several; chunks were sent \
                again",
            sentence: "All messages go on one stream, though there are others, and chunks are sent again: what is sent after \
                a chunk that is lost has to wait for it",
            cure: "a stream for each thing that is independent, or unordered messages",
            section: "RFC 9260 1.5.3, 6.6",
        },
        intervals: 1,
        evaluate: one_stream,
    },
    Rule {
        words: Words {
            code: "hol_blocking",
            premises: "in at least 5 % of an interval, a whole message had arrived on a stream and waited for one before it",
            sentence: "Messages that have arrived wait for an earlier one of their stream that is missing",
            cure: "more streams at the sender, or unordered messages; and the loss itself (sctp-rto -x at the sender)",
            section: "RFC 9260 6.6",
        },
        intervals: 1,
        evaluate: hol_blocking,
    },
    Rule {
        words: Words {
            code: "invalid_stream",
            premises: "a send failed with EINVAL as there is no such outbound stream, or a received chunk was discarded as \
                there is no such inbound stream",
            sentence: "Data is for streams that were not negotiated, and is not delivered",
            cure: "more streams at both ends (SCTP_INITMSG), or an application that looks how many there are (SCTP_STATUS)",
            section: "RFC 9260 5.1.1, 6.5",
        },
        intervals: 1,
        evaluate: invalid_stream,
    },
];

fn one_stream(e: &Evidence) -> Option<Figures> {
    let is_alone = e.active_streams == 1 && e.total_streams > 1;
    (is_alone && e.messages >= FEWEST_MESSAGES && e.unordered == 0 && e.rtx_chunks > 0).then(|| {
        vec![
            ("total_streams", e.total_streams as f64),
            ("active_streams", e.active_streams as f64),
            ("messages", e.messages as f64),
            ("rtx_chunks", e.rtx_chunks as f64),
        ]
    })
}

fn hol_blocking(e: &Evidence) -> Option<Figures> {
    (e.hol_messages > 0 && e.hol_blocked_pct >= LEAST_BLOCKED_PCT).then(|| {
        vec![
            ("hol_messages", e.hol_messages as f64),
            ("hol_wait_us", us(e.hol_wait)),
            ("hol_blocked_pct", e.hol_blocked_pct),
        ]
    })
}

fn invalid_stream(e: &Evidence) -> Option<Figures> {
    (e.refused + e.discarded > 0).then(|| {
        vec![("refused_invalid_stream", e.refused as f64), ("discarded_invalid_stream", e.discarded as f64)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Evidence {
        Evidence { total_streams: 10, active_streams: 1, messages: 10, rtx_chunks: 1, ..Evidence::default() }
    }

    fn blocked() -> Evidence {
        let hol_wait = Duration::from_millis(60);
        Evidence { hol_messages: 3, hol_wait, hol_blocked_pct: 5.0, ..Evidence::default() }
    }

    #[test]
    fn one_stream_of_several_is_found() {
        let figures =
            [("total_streams", 10.0), ("active_streams", 1.0), ("messages", 10.0), ("rtx_chunks", 1.0)];
        assert_eq!(one_stream(&one()).unwrap(), figures);
        for without in [
            Evidence { total_streams: 1, ..one() },
            Evidence { active_streams: 2, ..one() },
            Evidence { active_streams: 0, ..one() },
            Evidence { messages: 9, ..one() },
            Evidence { unordered: 1, ..one() },
            Evidence { rtx_chunks: 0, ..one() },
        ] {
            assert_eq!(one_stream(&without), None, "{without:?}");
        }
    }

    #[test]
    fn waiting_messages_are_found() {
        let figures = [("hol_messages", 3.0), ("hol_wait_us", 60e3), ("hol_blocked_pct", 5.0)];
        assert_eq!(hol_blocking(&blocked()).unwrap(), figures);
        for without in
            [Evidence { hol_messages: 0, ..blocked() }, Evidence { hol_blocked_pct: 4.9, ..blocked() }]
        {
            assert_eq!(hol_blocking(&without), None, "{without:?}");
        }
    }

    #[test]
    fn streams_that_do_not_exist_are_found_at_either_end() {
        for (refused, discarded) in [(1, 0), (0, 1)] {
            let figures =
                [("refused_invalid_stream", refused as f64), ("discarded_invalid_stream", discarded as f64)];
            assert_eq!(invalid_stream(&Evidence { refused, discarded, ..one() }).unwrap(), figures);
        }
        assert_eq!(invalid_stream(&one()), None);
    }

    #[test]
    fn each_finding_stands_alone() {
        let codes = |e: &Evidence| -> Vec<_> {
            RULES.iter().filter(|rule| (rule.evaluate)(e).is_some()).map(|rule| rule.words.code).collect()
        };
        assert_eq!(codes(&one()), ["one_stream"]);
        assert_eq!(codes(&blocked()), ["hol_blocking"]);
        assert_eq!(codes(&Evidence { discarded: 2, ..Evidence::default() }), ["invalid_stream"]);
        assert_eq!(codes(&Evidence::default()), [""; 0]);
    }
}
