//! Compares `sctp-jitter` with captures.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::truth::streams::{Flow, flows, intervals_us, jitter_us};
use serde::Deserialize;

use crate::cases::scenarios::Scenario;
use crate::compare::{LeftOut, captured, no_loss, of_type, percentile};

/// A `summary` object of `sctp-jitter`.
#[derive(Debug, Deserialize)]
struct Summary {
    stream_id: u16,
    local: SocketAddr,
    peer: SocketAddr,
    chunks: u64,
    reordered: u64,
    samples: u64,
    delta_avg_us: Option<f64>,
    delta_min_us: Option<f64>,
    delta_max_us: Option<f64>,
    delta_p50_us: Option<f64>,
    delta_p99_us: Option<f64>,
    jitter_us: Option<f64>,
    messages: u64,
    message_samples: u64,
    message_delta_avg_us: Option<f64>,
    message_jitter_us: Option<f64>,
}

/// Compares each stream of each association with the capture at the receiver.
pub fn check(folder: &Path, scenario: &Scenario, left_out: LeftOut) -> Result<()> {
    let flows = flows(&captured(folder, scenario.receiver())?);
    ensure!(!flows.is_empty(), "the capture holds no DATA");
    eprintln!("    {}: {}", scenario.name, compare(folder, &flows, left_out)?);
    Ok(())
}

/// Compares each stream of these flows, which come from a capture at their receiver. No event may be missing.
pub fn check_flows(folder: &Path, flows: &[Flow]) -> Result<()> {
    eprintln!("    jitter: {}", compare(folder, flows, LeftOut::NOTHING)?);
    Ok(())
}

/// Compares each stream of these flows with its `summary` object. Returns figures for people.
fn compare(folder: &Path, flows: &[Flow], left_out: LeftOut) -> Result<String> {
    no_loss(folder, "jitter", "sctp-jitter")?;
    let summaries: Vec<Summary> = of_type(folder, "jitter", "summary")?;
    let (mut samples, mut reordered, mut streams, mut missing) = (0, 0, 0, 0);
    let (mut worst_mean, mut worst_jitter_us) = (0.0_f64, 0.0_f64);
    for flow in flows {
        for (id, stream) in &flow.streams {
            let seen = summaries
                .iter()
                .find(|s| {
                    (s.local.port(), s.peer.port(), s.stream_id)
                        == (flow.destination_port, flow.source_port, *id)
                })
                .with_context(|| format!("no summary of stream {id}"))?;
            let mut deltas = intervals_us(&stream.arrivals_ns);
            let unseen = stream.chunks.abs_diff(seen.chunks);
            if unseen > 0 && left_out.explains(missing + unseen, 0) {
                missing += unseen;
                continue;
            }
            ensure!(unseen == 0, "{} chunks arrived: {seen:?}", stream.chunks);
            ensure!(seen.samples == deltas.len() as u64, "{} intervals: {seen:?}", deltas.len());
            ensure!(seen.reordered == stream.reordered, "{} reordered: {seen:?}", stream.reordered);
            ensure!(seen.messages == stream.messages, "{} messages: {seen:?}", stream.messages);
            samples += seen.samples;
            reordered += seen.reordered;
            streams += 1;
            if deltas.len() < 2 {
                continue;
            }
            let (mean, jitter) = close(&deltas, seen.delta_avg_us, seen.jitter_us, seen)?;
            worst_mean = worst_mean.max(mean);
            worst_jitter_us = worst_jitter_us.max(jitter);
            if stream.complete_ns.len() as u64 == stream.messages {
                let deltas = intervals_us(&stream.complete_ns);
                ensure!(
                    seen.message_samples == deltas.len() as u64,
                    "{} between messages: {seen:?}",
                    deltas.len()
                );
                if !deltas.is_empty() {
                    close(&deltas, seen.message_delta_avg_us, seen.message_jitter_us, seen)?;
                }
            }
            deltas.sort_by(f64::total_cmp);
            let near = |got: Option<f64>, expected: f64| {
                got.is_some_and(|got| (got - expected).abs() < expected * 0.04 + 50.0)
            };
            let last = deltas.len() - 1;
            ensure!(
                near(seen.delta_min_us, deltas[0]) && near(seen.delta_max_us, deltas[last]),
                "{} to {}: {seen:?}",
                deltas[0],
                deltas[last]
            );
            let [p50, p99] = [50, 99].map(|p| percentile(&deltas, p));
            ensure!(near(seen.delta_p50_us, p50) && near(seen.delta_p99_us, p99), "{p50}, {p99}: {seen:?}");
        }
    }
    Ok(format!(
        "{streams} streams, {samples} intervals, {reordered} reordered, {missing} missing; mean off by {:.4} %, jitter by \
         {worst_jitter_us:.1} us",
        worst_mean * 100.0
    ))
}

/// By how much the time from the capture's tap to the command's hook may differ between two chunks, in us.
const STAMPS_US: f64 = 20.0;

/// How long a packet may wait for its socket where packets come in bursts, in us. It waits in the socket's
/// backlog, between the tap and the hook, while the reader holds the socket's lock. The reader may be preempted
/// meanwhile: two ticks of 4 ms are allowed. Such a wait moves the mean if it is the last packet's, and the
/// jitter takes a sixteenth of it.
pub const BACKLOG_US: f64 = 8_000.0;

/// Ensures that mean and jitter are close to those of the capture's intervals, `deltas`. The mean may be off
/// by 0.1 %, or by [`STAMPS_US`] divided by the number of intervals, the jitter by 1 % or by [`STAMPS_US`].
/// Where the jitter is above 1 ms, packets come in bursts, and one wait of [`BACKLOG_US`] is allowed as well.
/// Returns the mean's error relative to the mean, and the jitter's in us.
fn close(deltas: &[f64], mean: Option<f64>, jitter: Option<f64>, seen: &Summary) -> Result<(f64, f64)> {
    let (expected_mean, expected_jitter) =
        (deltas.iter().sum::<f64>() / deltas.len() as f64, jitter_us(deltas));
    let mean_error = (mean.context("no mean")? - expected_mean).abs();
    let jitter_error = (jitter.context("no jitter")? - expected_jitter).abs();
    let (in_all, in_jitter) =
        if expected_jitter > 1000.0 { (BACKLOG_US, BACKLOG_US / 16.0) } else { (STAMPS_US, STAMPS_US) };
    let stamps = in_all / deltas.len() as f64;
    ensure!(mean_error <= (expected_mean * 0.001).max(stamps), "mean {expected_mean} us: {seen:?}");
    ensure!(jitter_error <= (expected_jitter * 0.01).max(in_jitter), "jitter {expected_jitter} us: {seen:?}");
    Ok((mean_error / expected_mean, jitter_error))
}
