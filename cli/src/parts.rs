//! Columns that rows of several commands have.

use std::time::Duration;

use probes::{DurationDist, Identity, Owner, ValueDist};

use crate::{
    Column,
    Get::{Fixed, Float, Int, Ip, Socket, Text},
    protocol::protocol_name,
};

/// The addresses and ports of an association's two ends, and the association's network namespace.
pub const IDENTITY: &[Column<Identity>] = &[
    Column::label("local", "own address and port", Socket(|id| id.local)),
    Column::label("peer", "peer's address and port", Socket(|id| id.peer)),
    Column::label("netns", "inode of the network namespace", Int(|id| Some(id.netns.into()))),
];

/// The association's owner, its payload protocol, and the number of its life: the last columns of rows.
pub const OWNER: &[Column<Identity>] = &[
    Column::label(
        "pid",
        "process that has the association's socket",
        Int(|id| owner(id)?.pid.map(u64::from)),
    ),
    Column::label("comm", "name of that process", Text(|id| owner(id)?.comm.as_deref())),
    Column::label(
        "cgroup",
        "cgroup of that process: its path from the root of cgroup v2, or the last 256 bytes of that",
        Text(|id| owner(id)?.cgroup.as_deref()),
    ),
    Column::gauge(
        "owners",
        "number of processes that have the association's socket",
        Int(|id| owner(id)?.owners.map(u64::from)),
    ),
    Column::label(
        "payload_protocol",
        "payload protocol identifier of the association's DATA chunks: of the first that was seen",
        Int(|id| id.payload_protocol.map(u64::from)),
    ),
    Column::label(
        "protocol",
        "name of that payload protocol",
        Text(|id| id.payload_protocol.and_then(protocol_name)),
    ),
    Column::label(
        "life",
        "which life of the association: 1, and one more after each restart",
        Int(|id| Some(id.life.into())),
    ),
];

fn owner(id: &Identity) -> Option<&Owner> {
    id.owner.as_deref()
}

/// The association's id.
pub const ASSOC_ID: &[Column<Identity>] =
    &[Column::label("assoc_id", "association id", Int(|id| Some(id.assoc_id.into())))];

/// The path of an association: the peer's address that the path leads to.
pub const PATH: &[Column<Identity>] =
    &[Column::label("path", "peer's address of this path", Ip(|id| id.path))];

/// Mean and extremes of times, in microseconds, not rounded.
pub const DIST_US: &[Column<DurationDist>] = &[
    Column::distribution("avg_us", "mean", Float(DurationDist::mean_us)),
    Column::distribution("min_us", "smallest", Float(|dist| dist.min.map(us))),
    Column::distribution("max_us", "largest", Float(|dist| dist.max.map(us))),
];

/// Percentiles of times, in microseconds, not rounded.
pub const PERCENTILES_US: &[Column<DurationDist>] = &[
    Column::distribution("p50_us", "median", Float(|dist| dist.percentiles.map(|p| us(p[0])))),
    Column::distribution("p90_us", "90th percentile", Float(|dist| dist.percentiles.map(|p| us(p[1])))),
    Column::distribution("p99_us", "99th percentile", Float(|dist| dist.percentiles.map(|p| us(p[2])))),
];

/// Mean and extremes of times, in microseconds with three decimals.
pub const DIST_FIXED_US: &[Column<DurationDist>] = &[
    Column::distribution("avg_us", "mean", Fixed(DurationDist::mean_us, 3)),
    Column::distribution("min_us", "smallest", Fixed(|dist| dist.min.map(us), 3)),
    Column::distribution("max_us", "largest", Fixed(|dist| dist.max.map(us), 3)),
];

/// Percentiles of times, in microseconds with three decimals.
pub const PERCENTILES_FIXED_US: &[Column<DurationDist>] = &[
    Column::distribution("p50_us", "median", Fixed(|dist| dist.percentiles.map(|p| us(p[0])), 3)),
    Column::distribution("p90_us", "90th percentile", Fixed(|dist| dist.percentiles.map(|p| us(p[1])), 3)),
    Column::distribution("p99_us", "99th percentile", Fixed(|dist| dist.percentiles.map(|p| us(p[2])), 3)),
];

/// Extremes of times, in milliseconds, not rounded.
pub const EXTREMES_MS: &[Column<DurationDist>] = &[
    Column::distribution("min_ms", "smallest", Float(|dist| dist.min.map(ms))),
    Column::distribution("max_ms", "largest", Float(|dist| dist.max.map(ms))),
];

/// Percentiles of times, in milliseconds, not rounded.
pub const PERCENTILES_MS: &[Column<DurationDist>] = &[
    Column::distribution("p50_ms", "median", Float(|dist| dist.percentiles.map(|p| ms(p[0])))),
    Column::distribution("p90_ms", "90th percentile", Float(|dist| dist.percentiles.map(|p| ms(p[1])))),
    Column::distribution("p99_ms", "99th percentile", Float(|dist| dist.percentiles.map(|p| ms(p[2])))),
];

/// Percentiles of numbers of bytes.
pub const PERCENTILES_BYTES: &[Column<ValueDist>] = &[
    Column::distribution("p50_bytes", "median", Int(|dist| dist.percentiles.map(|p| p[0]))),
    Column::distribution("p90_bytes", "90th percentile", Int(|dist| dist.percentiles.map(|p| p[1]))),
    Column::distribution("p99_bytes", "99th percentile", Int(|dist| dist.percentiles.map(|p| p[2]))),
];

/// Converts a time of less than 584 years to microseconds, without rounding its nanoseconds.
#[must_use]
pub fn us(time: Duration) -> f64 {
    ns(time) / 1e3
}

/// Converts a time of less than 584 years to milliseconds, without rounding its nanoseconds.
#[must_use]
pub fn ms(time: Duration) -> f64 {
    ns(time) / 1e6
}

fn ns(time: Duration) -> f64 {
    // To convert 64 bits takes a few instructions, 128 bits as of `Duration::as_nanos` many.
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into()) as f64
}

/// The addresses and ports of an association's two ends, and its network namespace, as text for headings.
#[must_use]
pub fn endpoints(id: &Identity) -> String {
    let [local, peer] = [id.local, id.peer].map(|a| a.map_or("-".to_owned(), |a| a.to_string()));
    format!("{local} to {peer}, netns {}", id.netns)
}
