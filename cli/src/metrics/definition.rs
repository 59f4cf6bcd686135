//! What a command measures, as metrics.

use std::{ops::RangeInclusive, time::Duration};

use probes::Identity;

/// The metrics of a command, beside those that all commands have.
pub struct Metrics<Row: 'static> {
    /// The association, or its path, that a row is about.
    pub id: fn(&Row) -> &Identity,
    /// The metrics that rows have.
    pub of_rows: &'static [Metric<Row>],
    /// The codes of the findings about associations.
    pub findings: &'static [&'static str],
    /// True if this command has the metrics of handshakes, and of the whole host.
    pub of_host: bool,
}

/// A metric, whose values are computed from rows.
pub struct Metric<Row: 'static> {
    /// Name, with its unit and, for a counter, `_total`.
    pub name: &'static str,
    /// Meaning: one line.
    pub help: &'static str,
    /// Unit of the numbers that [`Metric::values`] returns.
    pub unit: Unit,
    /// Values of the metric.
    pub values: Values<Row>,
}

/// Unit of a number. The text has base units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Whole numbers, and bytes.
    One,
    /// Nanoseconds, which the text has as seconds.
    Nanoseconds,
}

/// A value of a label, and the number that it has in a row.
pub type Part<Row> = (&'static str, fn(&Row) -> u64);

/// How a metric's values are computed from rows. The numbers in rows count from the start of the trace.
pub enum Values<Row: 'static> {
    /// A sum over all rows, also over those of ended associations.
    Counter(fn(&Row) -> u64),
    /// Sums, one for each value of a label.
    Counters {
        /// Name of the label.
        label: &'static str,
        /// The values of the label, each with the function that reads its number from a row.
        of: &'static [Part<Row>],
    },
    /// A sum that is divided among the values of a label: an increase counts for the value that is current when the sum
    /// grows.
    Divided {
        /// Name of the label.
        label: &'static str,
        /// Its values.
        names: &'static [&'static str],
        /// Reads from a row the number that grows, and the index in `names` of the label's current value.
        of: fn(&Row) -> (u64, usize),
    },
    /// The largest value of any row whose association lives. With `--labels peer` and `assoc`: of each path.
    LargestOfPaths(fn(&Row) -> Option<u64>),
    /// The smallest value of any row whose association lives.
    Least(fn(&Row) -> Option<u64>),
    /// One of two numbers of a row: how much of a limit is used, or the limit. The row is the one that uses the largest
    /// part of its limit, among those whose association lives.
    Fullest {
        /// Reads both numbers: how much is used, and the limit.
        of: fn(&Row) -> Option<[u32; 2]>,
        /// True for the limit, false for what is used.
        is_limit: bool,
    },
    /// The number of rows in each state, among those whose association lives.
    InState {
        /// Name of the label.
        label: &'static str,
        /// Its values.
        names: &'static [&'static str],
        /// The index in `names` of a row's state; `None` if the row counts nowhere.
        of: fn(&Row) -> Option<usize>,
    },
    /// A histogram of times. Its counts are an element of the row's octaves ([`probes::Change::octaves`]): the first
    /// element for the first histogram of the command, and so on.
    Histogram {
        /// Sum of the times.
        sum: fn(&Row) -> Duration,
        /// The bounds are two to these powers, less one nanosecond: a bound of Prometheus is inclusive, the upper edge
        /// of a kernel-side bucket is not.
        edges: RangeInclusive<u32>,
    },
}

/// Name, type, meaning and own label of a metric, for documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricField {
    /// Name. The samples of a histogram add endings to it.
    pub name: &'static str,
    /// Type: counter, gauge or histogram.
    pub kind: &'static str,
    /// Meaning: one line.
    pub help: &'static str,
    /// Labels that only this metric has.
    pub labels: Vec<&'static str>,
}

/// A metric that is not computed from rows.
pub(crate) struct Head {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) help: &'static str,
    labels: &'static [&'static str],
}

pub(crate) const ASSOCIATIONS: Head =
    Head { name: "sctp_associations", kind: "gauge", help: "Associations that are up.", labels: &[] };
pub(crate) const INFO: Head = Head {
    name: "sctp_association_info",
    kind: "gauge",
    help: "What is known of an association that is up, as labels of the value 1; with --labels assoc only.",
    labels: &["assoc", "local", "local_port", "peer", "peer_port", "netns", "pid", "comm", "cgroup"],
};
pub(crate) const ENDS: Head = Head {
    name: "sctp_association_ends_total",
    kind: "counter",
    help: "Associations that have ended, or never came up.",
    labels: &["reason"],
};
pub(crate) const HANDSHAKES: Head = Head {
    name: "sctp_handshake_seconds",
    kind: "histogram",
    help: "Time from the first INIT to the end of the handshake, for associations that this host began.",
    labels: &[],
};
/// The metrics of `/proc/net/sctp/snmp` have names of their own.
pub(crate) const HOST: Head = Head {
    name: "sctp_host_..._total",
    kind: "counter",
    help: "The kernel's own counter in /proc/net/sctp/snmp, of this command's network namespace.",
    labels: &[],
};
pub(crate) const FINDINGS: Head = Head {
    name: "sctp_findings",
    kind: "gauge",
    help: "Associations that have a finding, by its code; 1 for host_discards, which is about the host.",
    labels: &["code"],
};
pub(crate) const LOST: Head = Head {
    name: "sctptrace_lost_total",
    kind: "counter",
    help: "What this command has not seen or not kept, by reason.",
    labels: &["reason"],
};
pub(crate) const BUILD: Head = Head {
    name: "sctptrace_build_info",
    kind: "gauge",
    help: "Versions of this command and of the kernel, as labels of the value 1.",
    labels: &["version", "kernel"],
};

impl<Row> Metrics<Row> {
    /// Name, type and meaning of each metric of the command.
    pub(crate) fn fields(&self) -> Vec<MetricField> {
        let of = |head: &Head| MetricField {
            name: head.name,
            kind: head.kind,
            help: head.help,
            labels: head.labels.to_vec(),
        };
        let of_rows = self.of_rows.iter().map(|metric| MetricField {
            name: metric.name,
            kind: metric.values.kind(),
            help: metric.help,
            labels: match &metric.values {
                Values::LargestOfPaths(_) => vec!["path"],
                values => values.own_label().map(|(label, _)| label).into_iter().collect(),
            },
        });
        let of_host = [&HANDSHAKES, &HOST].into_iter().filter(|_| self.of_host);
        let all = [&ASSOCIATIONS, &INFO, &ENDS, &FINDINGS, &LOST, &BUILD].into_iter();
        of_rows.chain(of_host.map(of)).chain(all.map(of)).collect()
    }
}

impl<Row> Values<Row> {
    /// The type of the metric, by the word that the text has for it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) | Self::Counters { .. } | Self::Divided { .. } => "counter",
            Self::LargestOfPaths(_) | Self::Least(_) | Self::Fullest { .. } | Self::InState { .. } => "gauge",
            Self::Histogram { .. } => "histogram",
        }
    }

    /// The label that only this metric has, and its values.
    pub(crate) fn own_label(&self) -> Option<(&'static str, Vec<&'static str>)> {
        match self {
            Self::Counters { label, of } => Some((label, of.iter().map(|(name, _)| *name).collect())),
            Self::Divided { label, names, .. } | Self::InState { label, names, .. } => {
                Some((label, names.to_vec()))
            }
            _ => None,
        }
    }

    /// How many sums the model keeps for a label set.
    pub(crate) fn sums(&self) -> usize {
        match self {
            Self::Counter(_) | Self::Histogram { .. } => 1,
            Self::Counters { of, .. } => of.len(),
            Self::Divided { names, .. } => names.len(),
            Self::LargestOfPaths(_) | Self::Least(_) | Self::Fullest { .. } | Self::InState { .. } => 0,
        }
    }

    /// How many numbers the model keeps for an entry.
    pub(crate) fn numbers(&self) -> usize {
        match self {
            Self::Counters { of, .. } => of.len(),
            _ => 1,
        }
    }

    /// How many series a label set has.
    pub(crate) fn series(&self) -> usize {
        match self {
            // Also `+Inf`, the sum and the count.
            Self::Histogram { edges, .. } => edges.clone().count() + 3,
            _ => self.own_label().map_or(1, |(_, names)| names.len()),
        }
    }
}
