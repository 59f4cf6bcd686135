//! `sctp-jitter` against captures.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::truth::streams::{flows, intervals_us, jitter_us};
use sctptrace_tests::vm::Case;
use serde::Deserialize;

use crate::compare::{captured, no_loss, of_type, percentile};
use crate::suite::Suite;

/// Traffic of which every stream is compared. `TRACE` starts the tool.
const EXACT: [(&str, &str); 6] = [
    (
        "jitter-clean",
        "topology; path 10ms
        serve --bind 10.2.0.1 --associations 2 --streams 4; capture b0; TRACE
        send --bind 10.1.0.1 --associations 2 --count 400 --rate 100 --streams 4 --nodelay",
    ),
    (
        "jitter-varied",
        "topology; netem rb0 delay 20ms 5ms; netem ra0 delay 10ms
        serve --bind 10.2.0.1 --associations 2 --port 5000,5001 --streams 4; capture b0; TRACE
        send --bind 10.1.0.1 --associations 2 --port 5000,5001 --count 1000 --rate 200 --streams 4 --nodelay",
    ),
    (
        "jitter-loss",
        "topology; path 10ms 5%
        serve --bind 10.2.0.1 --streams 4; capture b0; TRACE
        send --bind 10.1.0.1 --count 2000 --rate 400 --streams 4 --nodelay",
    ),
    (
        "jitter-full-speed",
        "topology
        serve --bind 10.2.0.1 --streams 8; capture b0; TRACE
        send --bind 10.1.0.1 --count 20000 --size 100 --streams 8",
    ),
    (
        "jitter-fragments",
        "topology; path 10ms 2%
        serve --bind 10.2.0.1 --streams 4; capture b0; TRACE
        send --bind 10.1.0.1 --count 400 --rate 50 --size 4000 --streams 4",
    ),
    (
        "jitter-idata",
        "topology; path 10ms 2%
        for ns in a b; do $ns sysctl -qw net.sctp.intl_enable=1; done
        serve --bind 10.2.0.1 --idata --streams 3; capture b0; TRACE
        send --bind 10.1.0.1 --idata --streams 3 --count 1000 --rate 200 --unordered-every 4",
    ),
];

/// The cases.
pub fn add(suite: &mut Suite) {
    for (name, traffic) in EXACT {
        let traffic = traffic.replace("TRACE", "trace jitter sctp-jitter --json -q -f jitter.json");
        let case = Case::new(name, &format!("{traffic}\ntrace_stop\ncapture_stop\n"));
        suite.compare("jitter", &case, move |folder, _| {
            eprintln!("    {name}: {}", compare(folder)?);
            Ok(())
        });
    }
}

/// A `summary` object.
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

/// Every stream of every association, as it arrived. Returns figures for people.
fn compare(folder: &Path) -> Result<String> {
    no_loss(folder, "jitter", "sctp-jitter")?;
    let summaries: Vec<Summary> = of_type(folder, "jitter", "summary")?;
    let (mut samples, mut reordered, mut streams) = (0, 0, 0);
    let (mut worst_mean, mut worst_jitter_us) = (0.0_f64, 0.0_f64);
    for flow in flows(&captured(folder, &["b0"])?) {
        for (id, stream) in &flow.streams {
            let seen = summaries
                .iter()
                .find(|s| {
                    (s.local.port(), s.peer.port(), s.stream_id)
                        == (flow.destination_port, flow.source_port, *id)
                })
                .with_context(|| format!("no summary of stream {id}"))?;
            let mut deltas = intervals_us(&stream.arrivals_ns);
            ensure!(seen.chunks == stream.chunks, "{} chunks arrived: {seen:?}", stream.chunks);
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
                close(&deltas, seen.message_delta_avg_us, seen.message_jitter_us, seen)?;
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
    ensure!(samples > 0, "the capture holds no DATA");
    Ok(format!(
        "{streams} streams, {samples} intervals, {reordered} reordered; mean off by {:.4} %, jitter by {worst_jitter_us:.1} us",
        worst_mean * 100.0
    ))
}

/// The mean within 0.1 %, the jitter within 1 % or 20 us. Returns how far they are off.
fn close(deltas: &[f64], mean: Option<f64>, jitter: Option<f64>, seen: &Summary) -> Result<(f64, f64)> {
    let (expected_mean, expected_jitter) =
        (deltas.iter().sum::<f64>() / deltas.len() as f64, jitter_us(deltas));
    let mean_error = (mean.context("no mean")? - expected_mean).abs();
    let jitter_error = (jitter.context("no jitter")? - expected_jitter).abs();
    ensure!(mean_error <= expected_mean * 0.001, "mean {expected_mean} us: {seen:?}");
    ensure!(jitter_error <= (expected_jitter * 0.01).max(20.0), "jitter {expected_jitter} us: {seen:?}");
    Ok((mean_error / expected_mean, jitter_error))
}
