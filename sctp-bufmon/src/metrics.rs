//! What `sctp-bufmon` measures, as metrics.

use std::time::Duration;

use cli::{Metric, Metrics, Unit, Values};
use probes::bufmon::{Row, StallCause};

/// The metrics of `sctp-bufmon`.
pub(crate) const METRICS: Metrics<Row> = Metrics {
    id: |row| &row.id,
    of_rows: &[
        // Bounds from 131 us to 4.3 s.
        Metric {
            name: "sctp_send_wait_seconds",
            help: "How long sends waited for room in the send buffer, of the waits that are over.",
            unit: Unit::Nanoseconds,
            values: Values::Histogram { sum: |row| row.wait.sum, edges: 17..=32 },
        },
        Metric {
            name: "sctp_send_refused_total",
            help: "Sends that failed, by the error.",
            unit: Unit::One,
            values: Values::Counters {
                label: "error",
                of: &[
                    ("EAGAIN", |row| row.refused),
                    ("EINVAL", |row| row.refused_einval),
                    ("EMSGSIZE", |row| row.refused_other),
                ],
            },
        },
        Metric {
            name: "sctp_peer_window_bytes",
            help: "The window in a peer's last SACK: the least.",
            unit: Unit::One,
            values: Values::Least(|row| row.window_bytes.map(u64::from)),
        },
        Metric {
            name: "sctp_zero_window_seconds_total",
            help: "How long peers' windows were closed, up to now.",
            unit: Unit::Nanoseconds,
            values: Values::Counter(|row| nanoseconds(row.zero_window)),
        },
        Metric {
            name: "sctp_stall_seconds_total",
            help: "How long stalls lasted, up to now, by the cause that was known when the time was added.",
            unit: Unit::Nanoseconds,
            values: Values::Divided {
                label: "cause",
                names: &[
                    "unknown",
                    "handshake_unanswered",
                    "path_silent",
                    "window_closed",
                    "window_full_of_gaps",
                    "one_missing",
                ],
                of: |row| (nanoseconds(row.stalled), place(row.stall_cause)),
            },
        },
    ],
    of_host: false,
};

/// The place of a cause in the names of `sctp_stall_seconds_total`.
fn place(cause: Option<StallCause>) -> usize {
    match cause {
        None | Some(StallCause::Unknown) => 0,
        Some(StallCause::HandshakeUnanswered) => 1,
        Some(StallCause::PathSilent) => 2,
        Some(StallCause::WindowClosed) => 3,
        Some(StallCause::WindowFullOfGaps) => 4,
        Some(StallCause::OneMissing) => 5,
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
