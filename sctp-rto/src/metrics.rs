//! What `sctp-rto` measures, as metrics.

use cli::{Metric, Metrics, Unit, Values, codes};
use probes::{PathState, rto::Row};

use crate::findings::RULES;

/// The metrics of `sctp-rto`.
pub(crate) const METRICS: Metrics<Row> = Metrics {
    id: |row| &row.id,
    of_rows: &[
        Metric {
            name: "sctp_rto_seconds",
            help: "Largest retransmission timeout of a path.",
            unit: Unit::Nanoseconds,
            values: Values::LargestOfPaths(|row| u64::try_from(row.last.rto.as_nanos()).ok()),
        },
        Metric {
            name: "sctp_paths",
            help: "Paths by state. Only paths of which an event was seen count.",
            unit: Unit::One,
            values: Values::InState {
                label: "state",
                names: &["active", "pf", "inactive", "unconfirmed"],
                of: |row| match row.last.more.as_ref()?.state {
                    PathState::Active => Some(0),
                    PathState::PotentiallyFailed => Some(1),
                    PathState::Inactive => Some(2),
                    PathState::Unconfirmed => Some(3),
                    PathState::Removed | PathState::Unknown => None,
                },
            },
        },
        Metric {
            name: "sctp_path_transitions_total",
            help: "Changes of a path's state.",
            unit: Unit::One,
            values: Values::Counters {
                label: "to",
                of: &[
                    ("active", |row| row.transitions.active.into()),
                    ("pf", |row| row.transitions.potentially_failed.into()),
                    ("inactive", |row| row.transitions.inactive.into()),
                ],
            },
        },
        Metric {
            name: "sctp_t3_expiries_total",
            help: "Expiries of T3-rtx timers.",
            unit: Unit::One,
            values: Values::Counter(|row| row.t3_expiries),
        },
        Metric {
            name: "sctp_heartbeat_timeouts_total",
            help: "HEARTBEATs that were not acknowledged before the next one was due.",
            unit: Unit::One,
            values: Values::Counter(|row| row.heartbeat_timeouts),
        },
        Metric {
            name: "sctp_retransmissions_total",
            help: "Times that data of a path was marked for retransmission.",
            unit: Unit::One,
            values: Values::Counters {
                label: "cause",
                of: &[
                    ("t3", |row| row.t3_retransmits),
                    ("fast", |row| row.fast_retransmits),
                    ("pmtud", |row| row.pmtud_retransmits),
                ],
            },
        },
        Metric {
            name: "sctp_retransmitted_chunks_total",
            help: "Retransmissions of chunks.",
            unit: Unit::One,
            values: Values::Counter(|row| row.rtx_for_path),
        },
        Metric {
            name: "sctp_duplicate_tsns_total",
            help: "Retransmissions of chunks that the peer had already: it has named them as duplicates.",
            unit: Unit::One,
            values: Values::Counter(|row| row.spurious),
        },
        Metric {
            name: "sctp_cwnd_cuts_total",
            help: "Times that a congestion window became smaller.",
            unit: Unit::One,
            values: Values::Counters {
                label: "cause",
                of: &[
                    ("t3", |row| row.cwnd_cuts.t3),
                    ("fast", |row| row.cwnd_cuts.fast),
                    ("ecn", |row| row.cwnd_cuts.ecn),
                    ("inactive", |row| row.cwnd_cuts.inactive),
                ],
            },
        },
    ],
    findings: &codes::<_, { RULES.len() }>(RULES),
    of_host: true,
};
