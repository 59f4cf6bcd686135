//! Compares `sctp-streamutil` with captures.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::truth::streams::{Flow, flows};
use serde::Deserialize;
use serde_json::Value;

use crate::cases::scenarios::Scenario;
use crate::compare::{LeftOut, captured, no_loss, of_type, traffic};

/// How far the waiting times of a stream may be off, in us: by `all_us`, or by `each_us` for each message
/// that waited, whichever is more.
pub struct Limits {
    all_us: f64,
    each_us: f64,
}

/// Limits for scenarios in which few messages wait.
pub const ALL: Limits = Limits { all_us: 200.0, each_us: 0.0 };

/// Limits for scenarios in which many messages wait. From the tap to the hook the first chunk of a packet
/// takes some 10 us, and later chunks take more; on 6.1 up to 60 us.
pub const EACH: Limits = Limits { all_us: 200.0, each_us: 100.0 };

/// A `summary` object of `sctp-streamutil`.
#[derive(Debug, Deserialize)]
struct Summary {
    local: SocketAddr,
    peer: SocketAddr,
    total_streams: u64,
    active_streams: u64,
    total_bytes: u64,
    total_chunks: u64,
    ordered: u64,
    unordered: u64,
    sui: f64,
    stream_parallelism: f64,
    rtx_chunks: u64,
    rtx_bytes: u64,
    streams: Vec<Stream>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Stream {
    stream_id: u16,
    bytes: u64,
    chunks: u64,
    ordered: u64,
    unordered: u64,
    messages: u64,
    rtx_chunks: u64,
    rtx_bytes: u64,
    hol_messages: u64,
    hol_wait_us: f64,
    hol_blocked_us: f64,
}

impl Summary {
    fn stream(&self, id: u16) -> Stream {
        self.streams.iter().find(|stream| stream.stream_id == id).cloned().unwrap_or_default()
    }
}

/// Compares stream by stream: what was sent, with the capture at the sender; and how long received messages
/// waited for earlier ones, with the capture at the receiver.
pub fn check(folder: &Path, scenario: &Scenario, left_out: LeftOut) -> Result<()> {
    no_loss(folder, "streamutil", "sctp-streamutil")?;
    let summaries: Vec<Summary> = of_type(folder, "streamutil", "summary")?;
    let find = |local: u16, peer: u16| {
        let found = summaries.iter().find(|s| (s.local.port(), s.peer.port()) == (local, peer));
        found.with_context(|| format!("no summary of {local} to {peer}"))
    };
    let (mut chunks, mut rtx, mut missing, mut waits, mut worst_us) = (0, 0, 0, 0, 0.0_f64);
    let clients = traffic(folder, "client.json")?;
    for flow in flows(&captured(folder, scenario.sender())?) {
        let summary = find(flow.source_port, flow.destination_port)?;
        missing += compare_sent(&flow, summary, left_out)?;
        let client =
            clients.iter().find(|client| client.local_port == flow.source_port).context("no client")?;
        ensure!(summary.total_streams == client.out_streams, "of {}: {summary:?}", client.out_streams);
        chunks += summary.total_chunks;
        rtx += summary.rtx_chunks;
    }
    ensure!(chunks > 0, "the capture holds no DATA");
    check_unseen(folder, left_out, missing, clients.len() as u64)?;
    let Limits { all_us, each_us } = scenario.waits;
    for flow in flows(&captured(folder, scenario.receiver())?) {
        for (id, stream) in &flow.streams {
            let summary = find(flow.destination_port, flow.source_port);
            // A receiver on which nothing waited has no summary.
            let seen = summary.map(|summary| summary.stream(*id)).unwrap_or_default();
            let expected = stream.waits_ns.len() as u64;
            let exact = left_out.is_nothing();
            ensure!(
                !exact || seen.hol_messages == expected,
                "stream {id}: {expected} messages waited: {seen:?}"
            );
            let [wait_us, blocked_us] = [stream.wait_ns(), stream.blocked_ns()].map(|ns| ns as f64 / 1e3);
            let error_us = (seen.hol_wait_us - wait_us).abs().max((seen.hol_blocked_us - blocked_us).abs());
            ensure!(
                error_us <= all_us.max(expected as f64 * each_us) || !exact,
                "stream {id}: {expected} waits of {wait_us} us, {blocked_us} us blocked: {seen:?}"
            );
            waits += expected;
            worst_us = worst_us.max(error_us);
        }
    }
    eprintln!(
        "    {}: {chunks} chunks, {rtx} retransmitted; {waits} messages waited, error at most {worst_us:.1} us",
        scenario.name
    );
    Ok(())
}

/// For traffic of other programs than `sctp-traffic`, which write no report: compares the counts of sent
/// chunks with the captures. No event may be missing.
pub fn check_flows(folder: &Path, flows: &[Flow]) -> Result<()> {
    no_loss(folder, "streamutil", "sctp-streamutil")?;
    let summaries: Vec<Summary> = of_type(folder, "streamutil", "summary")?;
    for flow in flows {
        let ports = (flow.source_port, flow.destination_port);
        let found = summaries.iter().find(|summary| (summary.local.port(), summary.peer.port()) == ports);
        let summary = found.with_context(|| format!("no summary of {ports:?}"))?;
        compare_sent(flow, summary, LeftOut::NOTHING)?;
    }
    check_unseen(folder, LeftOut::NOTHING, 0, 0)
}

/// Ensures that the command reports the missing chunks as unseen. `unseen` counts those of all scenarios of
/// the machine, but never an association's first chunk: if that is missing, it seems to have been sent before
/// the trace began. If no event may be missing, `unseen` must be 0.
fn check_unseen(folder: &Path, left_out: LeftOut, missing: u64, associations: u64) -> Result<()> {
    let ends: Vec<Value> = of_type(folder, "streamutil", "end")?;
    let unseen = ends.first().and_then(|end| end["unseen"].as_u64()).context("unseen")?;
    ensure!(missing <= unseen + associations, "{missing} chunks are missing, {unseen} unseen");
    ensure!(!left_out.is_nothing() || unseen == 0, "{unseen} unseen");
    Ok(())
}

/// Compares what the sender of a flow sent with the command's summary. Returns how many chunks, new or sent
/// again, the command did not count.
fn compare_sent(flow: &Flow, summary: &Summary, left_out: LeftOut) -> Result<u64> {
    let (mut missing, size) = (0, flow.streams.values().map(|stream| stream.bytes).sum::<u64>());
    for (id, sent) in &flow.streams {
        let seen = summary.stream(*id);
        let expected =
            [sent.bytes, sent.chunks, sent.unordered, sent.messages, sent.rtx_chunks, sent.rtx_bytes];
        let got = [seen.bytes, seen.chunks, seen.unordered, seen.messages, seen.rtx_chunks, seen.rtx_bytes];
        // Chunks or retransmissions that were not counted.
        missing += sent.chunks.abs_diff(seen.chunks) + sent.rtx_chunks.abs_diff(seen.rtx_chunks);
        let is_explained = !left_out.is_nothing() && left_out.explains(missing, 0) && seen.bytes <= size;
        ensure!(expected == got || is_explained, "stream {id}: sent {expected:?}, seen {got:?}");
        ensure!(seen.ordered == seen.chunks - seen.unordered, "{seen:?}");
    }
    let sum = |of: fn(&Stream) -> u64| summary.streams.iter().map(of).sum::<u64>();
    let sums = [
        (summary.total_bytes, sum(|s| s.bytes)),
        (summary.total_chunks, sum(|s| s.chunks)),
        (summary.ordered, sum(|s| s.ordered)),
        (summary.unordered, sum(|s| s.unordered)),
        (summary.rtx_chunks, sum(|s| s.rtx_chunks)),
        (summary.rtx_bytes, sum(|s| s.rtx_bytes)),
        (summary.active_streams, flow.streams.len() as u64),
    ];
    ensure!(sums.iter().all(|(all, sum)| all == sum), "{summary:?}");
    let share = 100.0 * summary.active_streams as f64 / summary.total_streams as f64;
    ensure!((summary.stream_parallelism - share).abs() < 0.1, "{summary:?}");
    let total: f64 = flow.streams.values().map(|s| s.bytes as f64).sum();
    let entropy: f64 = flow.streams.values().map(|s| s.bytes as f64 / total).map(|p| -p * p.log2()).sum();
    let index = if flow.streams.len() > 1 { entropy / (flow.streams.len() as f64).log2() } else { 0.0 };
    ensure!(
        (summary.sui - index).abs() < if left_out.is_nothing() { 1e-4 } else { 0.05 },
        "index {index}: {summary:?}"
    );
    Ok(missing)
}

/// Scenario `blocked`, in which the router drops one chunk of stream 2 for 3 s, however often it is sent:
/// checks that at the receiver messages waited on stream 2 only, and for more than 0.3 s.
pub fn check_blocked(folder: &Path, _: LeftOut) -> Result<()> {
    let summaries: Vec<Summary> = of_type(folder, "streamutil", "summary")?;
    let receiver = summaries.iter().find(|s| s.local.port() == 5000).context("no receiver")?;
    let [blocked] = receiver.streams.as_slice() else {
        anyhow::bail!("not one stream that waited: {receiver:?}");
    };
    ensure!(receiver.total_streams == 4, "{receiver:?}");
    ensure!(blocked.stream_id == 2 && blocked.hol_messages > 5, "{blocked:?}");
    ensure!(blocked.hol_blocked_us > 300_000.0, "{blocked:?}");
    Ok(())
}

/// Scenario `unordered-late`, in which the router drops the chunks of stream 0 for 3 s: checks that unordered
/// chunks of stream 0 arrived after chunks with higher TSNs, and that no message waited for another.
pub fn check_unordered_late(folder: &Path, _: LeftOut) -> Result<()> {
    let flows = flows(&captured(folder, &["b0"])?);
    let late = flows.iter().find(|flow| flow.destination_port == 5000).context("no flow")?;
    let late = late.streams.get(&0).context("nothing on stream 0")?;
    ensure!(late.reordered > 5 && late.unordered + 1 == late.chunks, "not kept back: {late:?}");
    let summaries: Vec<Summary> = of_type(folder, "streamutil", "summary")?;
    let waited = summaries.iter().flat_map(|summary| &summary.streams).find(|s| s.hol_messages > 0);
    ensure!(waited.is_none(), "{waited:?}");
    Ok(())
}
