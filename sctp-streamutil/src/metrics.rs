//! What `sctp-streamutil` measures, as metrics.

use cli::{Metric, Metrics, Unit, Values, codes};
use probes::streamutil::{Row, Stream};

use crate::findings::RULES;

/// The metrics of `sctp-streamutil`.
pub(crate) const METRICS: Metrics<Row> = Metrics {
    id: |row| &row.association.id,
    of_rows: &[
        Metric {
            name: "sctp_sent_bytes_total",
            help: "User data sent, without retransmissions.",
            unit: Unit::One,
            values: Values::Counter(|row| sum(row, |stream| stream.payload_bytes)),
        },
        Metric {
            name: "sctp_sent_chunks_total",
            help: "DATA and I-DATA chunks sent, without retransmissions.",
            unit: Unit::One,
            values: Values::Counter(|row| sum(row, |stream| stream.chunks)),
        },
        Metric {
            name: "sctp_hol_wait_seconds_total",
            help: "How long received messages waited for an earlier one of their stream, up to now.",
            unit: Unit::Nanoseconds,
            values: Values::Counter(|row| {
                sum(row, |stream| u64::try_from(stream.hol_wait.as_nanos()).unwrap_or(u64::MAX))
            }),
        },
    ],
    findings: &codes::<_, { RULES.len() }>(RULES),
    of_host: false,
};

fn sum(row: &Row, of: impl Fn(&Stream) -> u64) -> u64 {
    row.streams.iter().map(of).fold(0, u64::saturating_add)
}
