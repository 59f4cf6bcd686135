//! What `sctp-jitter` measures, as metrics.

use cli::{Metric, Metrics, Unit, Values};
use probes::jitter::Row;

/// The metrics of `sctp-jitter`.
pub(crate) const METRICS: Metrics<Row> = Metrics {
    id: |row| &row.association.id,
    // Bounds from 131 us to 4.3 s.
    of_rows: &[Metric {
        name: "sctp_arrival_interval_seconds",
        help: "Intervals between arrivals of chunks on a stream.",
        unit: Unit::Nanoseconds,
        values: Values::Histogram { sum: |row| row.chunks.interval.sum, edges: 17..=32 },
    }],
    findings: &[],
    of_host: false,
};
