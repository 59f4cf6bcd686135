//! The findings of `sctp-rtt`. Each rule is a pure function of a path's statistics of an interval.

use std::time::Duration;

use cli::{Figures, LONGEST_SACK_DELAY, Rule, Words, us};
use probes::rtt::Row;

/// A delay that is worth a finding: half of the 200 ms that RFC 9260 6.2 recommends as the most.
const LEAST_SACK_DELAY: Duration = Duration::from_millis(100);

/// The rules by which `sctp-rtt` looks for findings.
pub const RULES: &[Rule<Row>] = &[Rule {
    words: Words {
        code: "delayed_sack",
        premises: "in two intervals: a tenth of the chunks was acknowledged 100 to 500 ms later than each chunk whose SACK \
            was due at once; no chunk was sent again",
        sentence: "The peer holds back its SACKs: acknowledgement latency is not the path's round-trip time",
        cure: "none is needed, unless the sender waits for SACKs: then a shorter delay at the peer \
            (net.sctp.sack_timeout, SCTP_DELAYED_SACK), or the I bit (SCTP_SACK_IMMEDIATELY)",
        section: "RFC 9260 6.2, RFC 7053",
    },
    intervals: 2,
    evaluate: delayed_sack,
}];

fn delayed_sack(row: &Row) -> Option<Figures> {
    let [_, p90, _] = row.all.percentiles?;
    let prompt = row.prompt.max?;
    let delay = p90.checked_sub(prompt)?;
    (row.retransmitted == 0 && (LEAST_SACK_DELAY..=LONGEST_SACK_DELAY).contains(&delay)).then(|| {
        vec![
            ("rtt_p90_us", us(p90)),
            ("prompt_rtt_max_us", us(prompt)),
            ("samples", row.all.count as f64),
            ("prompt_samples", row.prompt.count as f64),
        ]
    })
}

#[cfg(test)]
mod tests {
    use probes::{DurationDist, Identity};

    use super::*;

    fn dist(p90_ms: u64, max_ms: u64) -> DurationDist {
        let [p90, max] = [p90_ms, max_ms].map(Duration::from_millis);
        DurationDist {
            count: 30,
            sum: 30 * p90,
            min: Some(Duration::from_millis(20)),
            max: Some(max),
            percentiles: Some([p90, p90, max]),
        }
    }

    fn delayed() -> Row {
        let id = Identity::default();
        Row { id, retransmitted: 0, all: dist(220, 221), prompt: dist(21, 22), histogram: None }
    }

    #[test]
    fn a_held_back_sack_is_found() {
        let figures = delayed_sack(&delayed()).unwrap();
        let expected =
            [("rtt_p90_us", 220e3), ("prompt_rtt_max_us", 22e3), ("samples", 30.0), ("prompt_samples", 30.0)];
        assert_eq!(figures, expected);
        let [rule] = RULES else { panic!() };
        assert_eq!(rule.intervals, 2, "as its premises say");
    }

    #[test]
    fn without_one_premise_nothing_is_said() {
        let without = [
            Row { prompt: DurationDist::default(), ..delayed() },
            Row { all: DurationDist::default(), ..delayed() },
            Row { retransmitted: 1, ..delayed() },
            // Prompt samples are long, too: so the path itself may be slow, without a delay by the receiver.
            Row { prompt: dist(21, 121), ..delayed() },
            Row { prompt: dist(230, 240), ..delayed() },
            // The delay is longer than any receiver may hold back a SACK.
            Row { all: dist(523, 600), ..delayed() },
        ];
        for row in without {
            assert_eq!(delayed_sack(&row), None, "{row:?}");
        }
    }
}
