//! What `sctp-rtt` measures, as metrics.

use cli::{Metric, Metrics, Unit, Values, codes};
use probes::rtt::Row;

use crate::findings::RULES;

/// The metrics of `sctp-rtt`.
pub(crate) const METRICS: Metrics<Row> = Metrics {
    id: |row| &row.id,
    // Bounds from 33 us to 1.1 s.
    of_rows: &[
        Metric {
            name: "sctp_rtt_seconds",
            help: "Time from a chunk's only transmission to the SACK that covers its TSN.",
            unit: Unit::Nanoseconds,
            values: Values::Histogram { sum: |row| row.all.sum, edges: 15..=30 },
        },
        Metric {
            name: "sctp_prompt_rtt_seconds",
            help: "Time from a chunk's only transmission to its SACK, for chunks whose SACK was due at once: the path's round-trip time.",
            unit: Unit::Nanoseconds,
            values: Values::Histogram { sum: |row| row.prompt.sum, edges: 15..=30 },
        },
    ],
    findings: &codes::<_, { RULES.len() }>(RULES),
    of_host: false,
};
