//! What `sctp-bufmon` measures, as metrics.

use std::time::Duration;

use cli::{Metric, Metrics, Unit, Values, codes};
use probes::bufmon::{Row, StallCause};

use crate::findings::RULES;

/// The metrics of `sctp-bufmon`, with `--recv-wait`.
pub(crate) const METRICS: Metrics<Row> = Metrics {
    id: |row| &row.id,
    of_rows: ALL,
    findings: &codes::<_, { RULES.len() }>(RULES),
    of_host: false,
};

/// The metrics of `sctp-bufmon` without `--recv-wait`: receive wait is not measured.
pub(crate) const WITHOUT_RECEIVE_WAIT: Metrics<Row> = Metrics {
    of_rows: match ALL.split_last() {
        Some((_receive_wait, others)) => others,
        None => &[],
    },
    ..METRICS
};

const ALL: &[Metric<Row>] = &[
    // Bounds from 131 us to 4.3 s.
    Metric {
        name: "sctp_send_wait_seconds",
        help: "How long sends waited for room in the send buffer. Only waits that are over count.",
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
        help: "Smallest window in a peer's last SACK.",
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
    Metric {
        name: "sctp_limited_seconds_total",
        help: "How long each limit applied to senders; app: the application sent no more. One limit at a time applies to an association.",
        unit: Unit::Nanoseconds,
        values: Values::Counters {
            label: "by",
            of: &[
                ("app", |row| nanoseconds(row.limited.app)),
                ("sndbuf", |row| nanoseconds(row.limited.sndbuf)),
                ("nagle", |row| nanoseconds(row.limited.nagle)),
                ("cwnd", |row| nanoseconds(row.limited.cwnd)),
                ("rwnd", |row| nanoseconds(row.limited.rwnd)),
                ("other", |row| nanoseconds(row.limited.other)),
            ],
        },
    },
    Metric {
        name: "sctp_send_buffer_used_bytes",
        help: "Used bytes of the fullest send buffer.",
        unit: Unit::One,
        values: Values::Fullest { of: |row| row.sndbuf_used, is_limit: false },
    },
    Metric {
        name: "sctp_send_buffer_limit_bytes",
        help: "Size of the fullest send buffer.",
        unit: Unit::One,
        values: Values::Fullest { of: |row| row.sndbuf_used, is_limit: true },
    },
    // This must be the last metric: WITHOUT_RECEIVE_WAIT leaves the last one out. Bounds from 131 us to 4.3 s.
    Metric {
        name: "sctp_receive_wait_seconds",
        help: "How long messages waited until they were read; with --recv-wait.",
        unit: Unit::Nanoseconds,
        values: Values::Histogram {
            sum: |row| row.received.as_ref().map(|received| received.wait.sum).unwrap_or_default(),
            edges: 17..=32,
        },
    },
];

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
