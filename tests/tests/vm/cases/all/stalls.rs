//! Stalls of each cause: `sctp-bufmon` must report each stall once, with the figures that the captures show.

use std::mem;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::capture::Frame;
use sctptrace_tests::kernel::Series;
use sctptrace_tests::sctp::{Chunk, Sack, after};
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::{captured, of_type};
use crate::suite::Suite;

/// Relative TSN of the chunk that is lost twice.
const LOST: u32 = 50;
/// The client's port for each kind of stall.
const MISSING: u16 = 6001;
const FULL: u16 = 6002;
const CLOSED: u16 = 6003;
const SILENT: u16 = 6004;
const FAILOVER: u16 = 6005;
const UNANSWERED: u16 = 6006;
/// The RTO of an active path: RTO.min.
const RTO_MS: f64 = 1000.0;
/// Bytes per message of [`FULL`]: so small that the receiver's memory is full before its window is.
const FULL_SIZE: u32 = 100;
/// Bytes per message of [`CLOSED`].
const SIZE: u32 = 1000;

/// The stalls, one client after the other. In the association of port 6005 the primary path goes down for good after 2
/// s: the kernel gives the path up, and unanswered HEARTBEATs raise the path's RTO to 8 s. Later the other path is down
/// for three seconds. The stall in that time is longer than the RTO of the other path, and shorter than the RTO of the
/// primary path.
const STALLS: &str = "
topology; path 10ms 0; path 10ms 1
capture a0 a1
trace bufmon sctp-bufmon FLAGS --json -q -f bufmon.json --netns /run/netns/a
start text sctp-bufmon FLAGS -x -q --netns /run/netns/a
traced
lose_tsn 50 2
serve --bind 10.2.0.1
send --bind 10.1.0.1 --local-port 6001 --count 300 --rate 100 --size 200 --nodelay
serve --bind 10.2.0.1 --rcvbuf 30000
send --bind 10.1.0.1 --local-port 6002 --count 600 --size 100 --nodelay
lose_stop
serve --bind 10.2.0.1 --read-after 4000 --rcvbuf 30000
send --bind 10.1.0.1 --local-port 6003 --count 100 --size 1000 --nodelay
serve --bind 10.2.0.1
(sleep 2; path_down 0; sleep 4; path 10ms 0) &
send --bind 10.1.0.1 --local-port 6004 --count 500 --rate 100 --size 200 --nodelay
serve --bind 10.2.0.1,10.2.1.1
(sleep 2; path_down 0; sleep 30; path_down 1; sleep 3; path 10ms 1) &
send --bind 10.1.0.1,10.1.1.1 --to 10.2.0.1,10.2.1.1 --local-port 6005 --count 400 --rate 10 --size 200 \\
    --path-retrans 1 --heartbeat 1000 --rto-max 8000
a sctp-ends client --bind 10.1.0.1 --to 10.2.0.1 --own-port 6006 unanswered
sleep 2
trace_stop
capture_stop
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for series in [Series::V6_12, Series::V6_1, Series::V7_3] {
        for (name, flags) in [("stalls", ""), ("stalls-kprobe", "--hooks kprobe")] {
            let script = STALLS.replace("FLAGS", flags);
            suite.add(series, Mode::Icount, Case::new(name, &script), check);
        }
    }
}

/// A time in which the cumulative TSN stood still while data was outstanding, by the captures.
struct Standstill {
    lasted_ms: f64,
    /// The SACKs that came in that time, without moving the cumulative TSN.
    sacks: Vec<Sack>,
    /// When packets of any kind came in that time, in ms since its begin, without the packet that ended it.
    heard_ms: Vec<f64>,
    /// The first TSN that was not acknowledged.
    missing: u32,
}

/// Returns the standstills of the client of this port, and the client's first TSN.
fn standstills(frames: &[&Frame], port: u16) -> Result<(Vec<Standstill>, u32)> {
    let (mut first, mut cum, mut top) = (None, 0, 0);
    let mut since: Option<u64> = None;
    let (mut sacks, mut heard_ms, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for frame in frames {
        let is_peer = frame.packet.destination == port;
        for chunk in &frame.packet.chunks {
            match chunk {
                Chunk::Data(data) if !is_peer => {
                    if first.is_none() {
                        (first, cum, top) =
                            (Some(data.tsn), data.tsn.wrapping_sub(1), data.tsn.wrapping_sub(1));
                    }
                    top = if after(data.tsn, top) { data.tsn } else { top };
                    if since.is_none() {
                        (since, sacks, heard_ms) = (Some(frame.time_ns), Vec::new(), Vec::new());
                    }
                }
                Chunk::Sack(sack) if is_peer && after(sack.cumulative, cum) => {
                    if let Some(since) = since {
                        let lasted_ms = (frame.time_ns - since) as f64 / 1e6;
                        let missing = cum.wrapping_add(1);
                        let (sacks, heard_ms) = (mem::take(&mut sacks), mem::take(&mut heard_ms));
                        found.push(Standstill { lasted_ms, sacks, heard_ms, missing });
                    }
                    cum = sack.cumulative;
                    since = after(top, cum).then_some(frame.time_ns);
                    (sacks, heard_ms) = (Vec::new(), Vec::new());
                }
                Chunk::Sack(sack) if is_peer && since.is_some() => sacks.push(sack.clone()),
                _ => {}
            }
        }
        if let Some(since) = since.filter(|since| is_peer && frame.time_ns > *since) {
            heard_ms.push((frame.time_ns - since) as f64 / 1e6);
        }
    }
    Ok((found, first.context("no data")?))
}

/// Ensures that a stall has the cause `path_silent`, and that nothing came from the peer in the time that the stall's
/// object covers. (The object is written while the stall lasts: after that, once the path is back, packets may come
/// that do not end the stall.)
fn ensure_silent(stall: &Value, truth: &Standstill) -> Result<()> {
    let lasted_ms = stall["lasted_ms"].as_f64().context("lasted_ms")?;
    let heard = truth.heard_ms.iter().filter(|ms| **ms < lasted_ms).count();
    ensure!(heard == 0 && stall["cause"] == "path_silent", "{heard} packets came: {stall}");
    Ok(())
}

/// Returns how many TSNs a SACK acknowledges by gap blocks.
fn gap_acked(sack: &Sack) -> u64 {
    sack.gaps.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
}

/// Returns the objects of the association with this local port.
fn of_port(objects: &[Value], port: u16) -> Vec<Value> {
    let is_of =
        |object: &&Value| object["local"].as_str().is_some_and(|at| at.ends_with(&format!(":{port}")));
    objects.iter().filter(is_of).cloned().collect()
}

fn check(folder: &Path) -> Result<()> {
    let frames = captured(folder, &["a0", "a1"])?;
    let stalls: Vec<Value> = of_type(folder, "bufmon", "stall")?;
    let summaries: Vec<Value> = of_type(folder, "bufmon", "summary")?;
    let text = text(&folder.join("text.out"))?;
    let lines = text.lines().filter(|line| line.contains(" stalled since ")).count();
    ensure!(lines == stalls.len(), "{lines} lines, {} objects: {text}", stalls.len());
    let total: u64 = summaries.iter().filter_map(|summary| summary["stalls"].as_u64()).sum();
    ensure!(total == stalls.len() as u64, "{total} stalls in summaries: {stalls:?}");
    let standstills_of = |port: u16| {
        let mine: Vec<_> = frames
            .iter()
            .filter(|frame| [frame.packet.source, frame.packet.destination].contains(&port))
            .collect();
        standstills(&mine, port)
    };
    let of = |port: u16| -> Result<(Value, Standstill, u32)> {
        let (all, first) = standstills_of(port)?;
        let longest = all
            .into_iter()
            .max_by(|a, b| a.lasted_ms.total_cmp(&b.lasted_ms))
            .context("nothing was acknowledged")?;
        let summary = of_port(&summaries, port).pop().with_context(|| format!("no summary of {port}"))?;
        let stall_max = summary["stall_max_ms"].as_f64().context("stall_max_ms")?;
        ensure!((stall_max - longest.lasted_ms).abs() < 5.0, "{} ms: {summary}", longest.lasted_ms);
        // Of several stalls, the last is the one to compare: it is the longest.
        let stall = of_port(&stalls, port).pop().with_context(|| format!("no stall of {port}"))?;
        ensure!([FAILOVER, FULL].contains(&port) || of_port(&stalls, port).len() == 1, "{port}: {stalls:?}");
        ensure!(stall["cause"] == summary["stall_cause"], "{stall}: {summary}");
        Ok((stall, longest, first))
    };

    let (stall, truth, first) = of(MISSING)?;
    ensure!(truth.missing == first.wrapping_add(LOST) && stall["cause"] == "one_missing", "{stall}");
    ensure!(
        stall["missing_tsn"] == truth.missing && stall["missing"] == 1,
        "{} is missing: {stall}",
        truth.missing
    );
    ensure!(truth.sacks.iter().any(|sack| stall["gap_acked"] == gap_acked(sack)), "{stall}");
    ensure!(
        stall["missing_sent"].as_u64().is_some_and(|sent| (2..=3).contains(&sent)),
        "sent thrice: {stall}"
    );
    ensure!(truth.sacks.iter().all(|sack| sack.a_rwnd > SIZE), "the window was open: {stall}");

    // The chunks after the missing one are missing, too, as the receiver has no room for them. Each has a stall of its
    // own.
    let (_, _, first) = of(FULL)?;
    let full = of_port(&stalls, FULL);
    let sacks = frames.iter().filter(|frame| frame.packet.destination == FULL);
    let closed: Vec<&Sack> = sacks
        .flat_map(|frame| &frame.packet.chunks)
        .filter_map(|chunk| match chunk {
            Chunk::Sack(sack) if sack.a_rwnd < FULL_SIZE => Some(sack),
            _ => None,
        })
        .collect();
    // All SACKs but the last must have gap blocks: the last may come once the gap is filled.
    ensure!(closed.len() > 1 && closed.iter().rev().skip(1).all(|sack| !sack.gaps.is_empty()), "{closed:?}");
    ensure!(full[0]["missing_tsn"] == first.wrapping_add(LOST), "another chunk is missing: {full:?}");
    ensure!(full.iter().all(|stall| stall["cause"] == "window_full_of_gaps"), "{full:?}");

    let (stall, truth, _) = of(CLOSED)?;
    let closed = truth.sacks.iter().filter(|sack| sack.a_rwnd == 0 && sack.gaps.is_empty()).count();
    ensure!(closed > 1 && stall["cause"] == "window_closed", "{closed} SACKs with a closed window: {stall}");

    let (stall, truth, _) = of(SILENT)?;
    ensure_silent(&stall, &truth)?;

    let (stall, truth, _) = of(FAILOVER)?;
    ensure!(
        (2000.0..7000.0).contains(&truth.lasted_ms),
        "shorter than the primary's RTO: {}",
        truth.lasted_ms
    );
    ensure_silent(&stall, &truth)?;
    // All other stalls are due to the failover: data on the other path makes none.
    let longer = standstills_of(FAILOVER)?.0.iter().filter(|all| all.lasted_ms > RTO_MS).count();
    ensure!(of_port(&stalls, FAILOVER).len() == longer, "{longer} standstills: {stalls:?}");

    let answers = frames.iter().filter(|frame| frame.packet.destination == UNANSWERED).count();
    let unanswered = of_port(&stalls, UNANSWERED);
    ensure!(answers == 0 && unanswered.len() == 1, "{answers} answers: {unanswered:?}");
    ensure!(unanswered[0]["cause"] == "handshake_unanswered", "{unanswered:?}");
    Ok(())
}
