//! Columns that the rows of several commands share, and conversions of times for columns.

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

/// The process that has the association's socket, the payload protocol of its DATA chunks, and the number of
/// its life (1, and one more after each restart): the last columns of a row.
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

/// The path that a row is about, named by the peer's address to which the path leads.
pub const PATH: &[Column<Identity>] =
    &[Column::label("path", "peer's address of this path", Ip(|id| id.path))];

/// Mean, smallest and largest of times, in microseconds with all decimals.
pub const DIST_US: &[Column<DurationDist>] = &[
    Column::distribution("avg_us", "mean", Float(DurationDist::mean_us)),
    Column::distribution("min_us", "smallest", Float(|dist| dist.min.map(us))),
    Column::distribution("max_us", "largest", Float(|dist| dist.max.map(us))),
];

/// 50th, 90th and 99th percentiles of times, in microseconds with all decimals.
pub const PERCENTILES_US: &[Column<DurationDist>] = &[
    Column::distribution("p50_us", "median", Float(|dist| dist.percentiles.map(|p| us(p[0])))),
    Column::distribution("p90_us", "90th percentile", Float(|dist| dist.percentiles.map(|p| us(p[1])))),
    Column::distribution("p99_us", "99th percentile", Float(|dist| dist.percentiles.map(|p| us(p[2])))),
];

/// Mean, smallest and largest of times, in microseconds with three decimals.
pub const DIST_FIXED_US: &[Column<DurationDist>] = &[
    Column::distribution("avg_us", "mean", Fixed(DurationDist::mean_us, 3)),
    Column::distribution("min_us", "smallest", Fixed(|dist| dist.min.map(us), 3)),
    Column::distribution("max_us", "largest", Fixed(|dist| dist.max.map(us), 3)),
];

/// 50th, 90th and 99th percentiles of times, in microseconds with three decimals.
pub const PERCENTILES_FIXED_US: &[Column<DurationDist>] = &[
    Column::distribution("p50_us", "median", Fixed(|dist| dist.percentiles.map(|p| us(p[0])), 3)),
    Column::distribution("p90_us", "90th percentile", Fixed(|dist| dist.percentiles.map(|p| us(p[1])), 3)),
    Column::distribution("p99_us", "99th percentile", Fixed(|dist| dist.percentiles.map(|p| us(p[2])), 3)),
];

/// Smallest and largest of times, in milliseconds with all decimals.
pub const EXTREMES_MS: &[Column<DurationDist>] = &[
    Column::distribution("min_ms", "smallest", Float(|dist| dist.min.map(ms))),
    Column::distribution("max_ms", "largest", Float(|dist| dist.max.map(ms))),
];

/// 50th, 90th and 99th percentiles of times, in milliseconds with all decimals.
pub const PERCENTILES_MS: &[Column<DurationDist>] = &[
    Column::distribution("p50_ms", "median", Float(|dist| dist.percentiles.map(|p| ms(p[0])))),
    Column::distribution("p90_ms", "90th percentile", Float(|dist| dist.percentiles.map(|p| ms(p[1])))),
    Column::distribution("p99_ms", "99th percentile", Float(|dist| dist.percentiles.map(|p| ms(p[2])))),
];

/// 50th, 90th and 99th percentiles of lengths in bytes.
pub const PERCENTILES_BYTES: &[Column<ValueDist>] = &[
    Column::distribution("p50_bytes", "median", Int(|dist| dist.percentiles.map(|p| p[0]))),
    Column::distribution("p90_bytes", "90th percentile", Int(|dist| dist.percentiles.map(|p| p[1]))),
    Column::distribution("p99_bytes", "99th percentile", Int(|dist| dist.percentiles.map(|p| p[2]))),
];

/// Converts a time to microseconds. The fraction keeps the nanoseconds. From 584 years on, the result
/// saturates.
#[must_use]
pub fn us(time: Duration) -> f64 {
    ns(time) / 1e3
}

/// Converts a time to milliseconds. The fraction keeps the nanoseconds. From 584 years on, the result
/// saturates.
#[must_use]
pub fn ms(time: Duration) -> f64 {
    ns(time) / 1e6
}

fn ns(time: Duration) -> f64 {
    // Converting a u64 to f64 takes a few instructions; the u128 of `Duration::as_nanos()` would take many.
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into()) as f64
}

/// Returns an association's two endpoints and its network namespace as text for headings, such as
/// `10.0.0.1:5000 to 10.0.0.2:5001, netns 4026531840`; `-` stands for an unknown endpoint.
#[must_use]
pub fn endpoints(id: &Identity) -> String {
    let [local, peer] = [id.local, id.peer].map(|a| a.map_or("-".to_owned(), |a| a.to_string()));
    format!("{local} to {peer}, netns {}", id.netns)
}
