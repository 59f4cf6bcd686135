//! Peers that break the rules of SCTP, beside an association that keeps them; and TSNs that wrap.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::capture::{self, Frame};
use sctptrace_tests::hostile::STREAMS;
use sctptrace_tests::kernel::Series;
use sctptrace_tests::truth::accepted::{self, Ports};
use sctptrace_tests::truth::rtt::{Flow, flows};
use sctptrace_tests::truth::streams;
use sctptrace_tests::vm::{Case, Mode, text};
use serde::Deserialize;
use serde_json::Value;

use crate::compare::{LeftOut, of_type, traffic};
use crate::suite::Suite;
use crate::truth::rtt::{Seen, check_summaries, compare};

/// Begins each case. The network lets packets of 65,535 bytes pass, as the hostile peer sends them, and knows
/// the peer's address, which a does not own. The five commands and `sctp-fuzz echo` start.
const BEGIN: &str = "topology 65535
    know r ra0 a a0 10.1.0.9
    for tool in rtt rto; do trace $tool sctp-$tool --json -q -f $tool.json --max-paths 16384; done
    trace bufmon sctp-bufmon --json -q -f bufmon.json --max-assocs 16384
    for tool in jitter streamutil; do trace $tool sctp-$tool --json -q -f $tool.json; done
    capture a0 b0
    b sctp-fuzz echo --bind 10.2.0.1 2>echo.err & echo=$!
    until_true 10 grep -qs listening echo.err
";

const END: &str = "
    kill $echo
    trace_stop
    capture_stop";

const WRAP: &str = "a sctp-fuzz wrap";

/// An attack, and a good association, which keeps the rules, at the same time.
const ATTACK: &str = "
    serve --bind 10.2.0.1 --streams 4
    a sctp-traffic client --bind 10.1.0.1 --count 1500 --rate 500 --streams 4 --nodelay >client.json & client=$!
    a sctp-fuzz attack --seed SEED --packets PACKETS >attack.json
    wait $client $server";

/// How far the commands' output may be from the capture.
#[derive(Clone, Copy)]
enum Fit {
    /// Only round-trip times may be off, by errors within `limits`: their 50th and 99th percentile, in us.
    Close { hooks: &'static str, limits: (f64, f64) },
    /// For two CPUs in real time: the tap may see packets late, and in another order than the kernel
    /// processes them.
    Loose,
}

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    let mut add = |series, name: &str, script: &str, fit| {
        let (mode, hooks) = match fit {
            Fit::Close { hooks, .. } => (Mode::Icount, hooks),
            Fit::Loose => (Mode::Smp, ""),
        };
        let case = Case::new(name, &format!("HOOKS=\"{hooks}\"\n{BEGIN}{script}{END}"));
        // In real time a case takes as long as the host takes to emulate it.
        let limit = if mode == Mode::Smp { Duration::from_secs(900) } else { case.limit };
        let case = Case { limit, ..case };
        suite.add(series, mode, case, move |folder| check(folder, fit));
    };
    let close = Fit::Close { hooks: "", limits: CLOSE };
    for series in [Series::V6_1, Series::V6_12] {
        add(series, "wrap", WRAP, close);
    }
    let attack = |seed: u32, packets: u32| {
        ATTACK.replace("SEED", &seed.to_string()).replace("PACKETS", &packets.to_string())
    };
    add(Series::V6_12, "attack", &attack(1, 2000), close);
    add(Series::V7_3, "attack", &attack(2, 500), close);
    let kprobes = Fit::Close { hooks: "$HOOKS_FLAG kprobe", limits: CLOSE };
    add(Series::V6_12, "attack-kprobe", &attack(3, 300), kprobes);
    add(Series::V6_12, "attack-smp", &attack(4, 150), Fit::Loose);
}

/// Limits of the round-trip times' error, 50th and 99th percentile in us. Packets wait in the backlog of a
/// socket whose events five commands trace.
const CLOSE: (f64, f64) = (50.0, 1500.0);

/// Compares the five commands with the captures at b and a: what b received and sent, and what the good
/// association sent from a.
fn check(folder: &Path, fit: Fit) -> Result<()> {
    let at_b = capture::read_hostile(&[folder.join("b0.pcap")])?;
    let mut sent: Vec<_> = flows(&at_b).into_iter().filter(|flow| flow.source_port == 6000).collect();
    if folder.join("attack.json").exists() {
        let attack: Value = serde_json::from_str(&text(&folder.join("attack.json"))?)?;
        eprintln!("    {attack}");
        let at_a = capture::read_hostile(&[folder.join("a0.pcap")])?;
        let good = flows(&at_a)
            .into_iter()
            .find(|flow| flow.destination_port == 5000)
            .context("no good association")?;
        let client = traffic(folder, "client.json")?;
        ensure!(client.len() == 1 && client[0].is_of(&good), "{client:?}");
        client[0].ensure_counts(&good)?;
        sent.push(good);
    } else {
        check_wraps(&sent)?;
        // All chunks were acknowledged soon, whatever their TSNs: so there was no stall.
        let bufmon = summaries::<Value>(folder, "bufmon")?;
        for summary in &bufmon {
            ensure!(number(summary, "stalls")? == 0, "{summary}");
        }
        check_lives(&bufmon, &sent)?;
        check_sending_lives(folder, &at_b)?;
    }
    check_rtt(folder, &sent, fit)?;
    check_jitter(folder, &at_b)?;
    check_streamutil(folder, &at_b)?;
    if matches!(fit, Fit::Loose) {
        // Windows and retransmissions are not compared: which SACKs the kernel took, and which chunks it had
        // to send again, depends on the order in which it processed the packets.
        return ["bufmon", "rto"].iter().try_for_each(|tool| summaries::<Value>(folder, tool).map(drop));
    }
    check_bufmon(folder, &sent)?;
    check_rto(folder, &sent)
}

/// Ensures that the kernel's TSNs did what the case is about: they wrapped in a flow with more than 400 of
/// them, and began anew in a second flow, after a restart.
fn check_wraps(flows: &[Flow]) -> Result<()> {
    ensure!(flows.len() == 2, "{} flows instead of one and its restart", flows.len());
    let wraps = |flow: &&Flow| flow.tsns.contains_key(&0) && flow.tsns.contains_key(&u32::MAX);
    let flow = flows.iter().find(wraps).context("no TSN wrapped")?;
    ensure!(flow.tsns.len() > 400, "{} TSNs", flow.tsns.len());
    Ok(())
}

/// Ensures that `sctp-streamutil` has one summary for each life of an association of b, with the number of
/// chunks that b sent in that life, and that lives are numbered from 1.
fn check_sending_lives(folder: &Path, at_b: &[Frame]) -> Result<()> {
    let mut truth: BTreeMap<Ports, Vec<u64>> = BTreeMap::new();
    for flow in streams::flows(at_b).into_iter().filter(|flow| flow.source_port == 6000) {
        let chunks = flow.streams.values().map(|stream| stream.chunks).sum();
        truth.entry((flow.source_port, flow.destination_port)).or_default().push(chunks);
    }
    let mut seen: BTreeMap<Ports, Vec<u64>> = BTreeMap::new();
    let mut lives: BTreeMap<Ports, Vec<u64>> = BTreeMap::new();
    for summary in summaries::<Value>(folder, "streamutil")? {
        let ports = ports(&summary)?;
        if ports.0 == 6000 {
            seen.entry(ports).or_default().push(number(&summary, "total_chunks")?);
            lives.entry(ports).or_default().push(number(&summary, "life")?);
        }
    }
    lives.values_mut().for_each(|lives| lives.sort_unstable());
    for (ports, lives) in &lives {
        ensure!(lives.iter().copied().eq(1..=lives.len() as u64), "lives of {ports:?}: {lives:?}");
    }
    [&mut truth, &mut seen]
        .into_iter()
        .flat_map(BTreeMap::values_mut)
        .for_each(|chunks| chunks.sort_unstable());
    same("chunks of each life", &truth, &seen)
}

/// Ensures that `sctp-bufmon` has one summary for each life of the association, before its restart and after
/// it, with the number of SACKs of that life.
fn check_lives(summaries: &[Value], flows: &[Flow]) -> Result<()> {
    for (life, flow) in (1..).zip(flows) {
        let of = |summary: &&Value| {
            ports(summary).is_ok_and(|ports| ports == (flow.source_port, flow.destination_port))
                && summary["life"] == life
        };
        let summaries: Vec<_> = summaries.iter().filter(of).collect();
        ensure!(summaries.len() == 1, "{} summaries of life {life}", summaries.len());
        ensure!(number(summaries[0], "rwnd_samples")? == flow.windows.len() as u64, "{}", summaries[0]);
    }
    Ok(())
}

fn check_rtt(folder: &Path, flows: &[Flow], fit: Fit) -> Result<()> {
    let seen = Seen::read(folder, "rtt")?;
    let figures = match fit {
        Fit::Close { limits, .. } => compare(flows, &seen, limits, LeftOut::NOTHING)?,
        Fit::Loose => known(flows, &seen)?,
    };
    check_summaries(flows, &seen, LeftOut::NOTHING)?;
    eprintln!("    rtt: {figures}");
    Ok(())
}

/// Ensures that each TSN has at most as many samples as there are flows that sent it (TSNs begin anew after a
/// restart). Also ensures that each TSN of the good association that was sent once and acknowledged has a
/// sample, or that the command reports as many chunks as missed or restarted. Returns figures for people.
fn known(flows: &[Flow], seen: &Seen) -> Result<String> {
    let mut sampled: BTreeMap<(Ports, u32), usize> = BTreeMap::new();
    for sample in &seen.samples {
        let key = ((sample.local.port(), sample.peer.port()), sample.tsn);
        let of = |flow: &&Flow| (flow.source_port, flow.destination_port) == key.0;
        let sent = flows.iter().filter(of).filter(|flow| flow.tsns.contains_key(&sample.tsn)).count();
        let times = sampled.entry(key).or_default();
        *times += 1;
        ensure!(*times <= sent, "sent {sent} times: {sample:?}");
    }
    let good = flows.iter().find(|flow| flow.destination_port == 5000).context("no good association")?;
    let ports = (good.source_port, good.destination_port);
    let once = good.tsns.iter().filter(|(_, tsn)| tsn.rtt_ns().is_some());
    let missing: Vec<_> = once.filter(|(number, _)| !sampled.contains_key(&(ports, **number))).collect();
    let skipped = |reason: &str| seen.end.skipped.get(reason).copied().unwrap_or(0);
    let reported = skipped("missed") + skipped("sack_missed") + skipped("restarted");
    ensure!(missing.len() as u64 <= reported, "no sample of {missing:?}; {:?}", seen.end);
    Ok(format!("{} samples, {} of {} missing", seen.samples.len(), missing.len(), good.tsns.len()))
}

/// Ensures that the command exited with 0, and lost and evicted nothing. Returns its `summary` objects.
fn summaries<T: for<'a> Deserialize<'a>>(folder: &Path, tool: &str) -> Result<Vec<T>> {
    let [status, errors] = ["status", "err"].map(|end| text(&folder.join(format!("{tool}.{end}"))));
    ensure!(status?.trim() == "0", "sctp-{tool}: {}", errors?);
    let ends: Vec<Value> = of_type(folder, tool, "end")?;
    let [end] = ends.as_slice() else { anyhow::bail!("not one end object: {ends:?}") };
    ensure!(end["lost"] == 0 && end["evicted"] == 0, "{end}");
    of_type(folder, tool, "summary")
}

/// Returns the ports of a `summary` object: the local one and the peer's.
fn ports(summary: &Value) -> Result<Ports> {
    let port = |key: &str| {
        let address: SocketAddr = summary[key].as_str().with_context(|| summary.to_string())?.parse()?;
        Ok::<_, anyhow::Error>(address.port())
    };
    Ok((port("local")?, port("peer")?))
}

fn number(object: &Value, key: &str) -> Result<u64> {
    object[key].as_u64().with_context(|| format!("{key}: {object}"))
}

/// Ensures that `sctp-jitter` counts each chunk that b's kernel acknowledged as an arrival, and nothing else;
/// and that no interval is measured between arrivals of two lives.
fn check_jitter(folder: &Path, at_b: &[Frame]) -> Result<()> {
    let mut seen: BTreeMap<_, (u64, u64, u64)> = BTreeMap::new();
    let mut lives = BTreeSet::new();
    for summary in summaries::<Value>(folder, "jitter")? {
        let (local, peer) = ports(&summary)?;
        if [5000, 6000].contains(&local) {
            let key = (peer, local, number(&summary, "stream_id")?);
            ensure!(lives.insert((key, number(&summary, "life")?)), "twice: {summary}");
            let [chunks, samples, reordered] =
                ["chunks", "samples", "reordered"].map(|key| number(&summary, key));
            let sums = seen.entry(key).or_default();
            *sums = (sums.0 + chunks?, sums.1 + samples?, sums.2 + reordered?);
        }
    }
    let mut truth = BTreeMap::new();
    for ((peer, local), streams) in accepted::streams(at_b, STREAMS) {
        if ![5000, 6000].contains(&local) {
            continue;
        }
        for (id, stream) in streams {
            let key = (peer, local, u64::from(id));
            let mut chunks = stream.arrivals_ns.len() as u64;
            // Where the capture does not show whether chunks were accepted, the command's count is taken.
            let (more, .., reordered) = seen.get(&key).copied().unwrap_or((0, 0, 0));
            // The kernel's TSN map also has chunks that the kernel did not accept: sctp_eat_data() marks
            // those on streams that do not exist as received. So more chunks may come after one with a higher
            // TSN.
            let mut late = stream.reordered.max(reordered.min(chunks));
            if more > chunks && more - chunks <= stream.unknown {
                late += reordered.saturating_sub(late).min(more - chunks);
                chunks = more;
            }
            if chunks > 0 {
                let lives = lives.iter().filter(|(of, _)| *of == key).count() as u64;
                truth.insert(key, (chunks, chunks.saturating_sub(lives), late));
            }
        }
    }
    ensure!(!truth.is_empty(), "nothing was accepted");
    same("chunks, intervals and reordered chunks", &truth, &seen)?;
    let chunks: u64 = truth.values().map(|(chunks, ..)| chunks).sum();
    let reordered: u64 = truth.values().map(|(.., reordered)| reordered).sum();
    eprintln!("    jitter: {chunks} chunks on {} streams, {reordered} reordered", truth.len());
    Ok(())
}

/// Fails with the first difference between the values from the capture and those from the command.
fn same<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    what: &str,
    truth: &BTreeMap<K, V>,
    seen: &BTreeMap<K, V>,
) -> Result<()> {
    for key in truth.keys().chain(seen.keys()) {
        let (truth, seen) = (truth.get(key), seen.get(key));
        ensure!(truth == seen, "{what} of {key:?}: {truth:?} in the capture, {seen:?} by the command");
    }
    Ok(())
}

/// Ensures that `sctp-streamutil` counts the chunks and bytes that b sent by stream, new and again, over all
/// lives of an association.
fn check_streamutil(folder: &Path, at_b: &[Frame]) -> Result<()> {
    let mut seen: BTreeMap<_, [u64; 4]> = BTreeMap::new();
    let mut lives = BTreeSet::new();
    for summary in summaries::<Value>(folder, "streamutil")? {
        let ports = ports(&summary)?;
        ensure!(lives.insert((ports, number(&summary, "life")?)), "twice: {summary}");
        for stream in summary["streams"].as_array().context("no streams")?.iter().filter(|_| ports.0 == 6000)
        {
            let counts = ["chunks", "bytes", "rtx_chunks", "rtx_bytes"].map(|key| number(stream, key));
            let [chunks, bytes, rtx_chunks, rtx_bytes] = counts;
            let counts = [chunks?, bytes?, rtx_chunks?, rtx_bytes?];
            if counts[0] > 0 {
                let sums = seen.entry((ports, number(stream, "stream_id")?)).or_default();
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
        }
    }
    let mut truth: BTreeMap<_, [u64; 4]> = BTreeMap::new();
    for flow in streams::flows(at_b).into_iter().filter(|flow| flow.source_port == 6000) {
        for (id, stream) in flow.streams {
            let key = ((flow.source_port, flow.destination_port), u64::from(id));
            let counts = [stream.chunks, stream.bytes, stream.rtx_chunks, stream.rtx_bytes];
            let sums = truth.entry(key).or_default();
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
    }
    ensure!(!truth.is_empty(), "nothing was sent");
    same("chunks and bytes", &truth, &seen)
}

/// Ensures that number, least and largest of the peer's windows are those of the SACKs that the kernel took.
fn check_bufmon(folder: &Path, flows: &[Flow]) -> Result<()> {
    let mut truth: BTreeMap<Ports, Vec<u32>> = BTreeMap::new();
    for flow in flows.iter().filter(|flow| !flow.windows.is_empty()) {
        truth.entry((flow.source_port, flow.destination_port)).or_default().extend(&flow.windows);
    }
    let truth: BTreeMap<_, _> = truth
        .into_iter()
        .map(|(ports, windows)| {
            let edges = [windows.iter().min(), windows.iter().max()].map(|edge| edge.copied().map(u64::from));
            (ports, (windows.len() as u64, edges))
        })
        .collect();
    let mut seen = BTreeMap::new();
    for summary in summaries::<Value>(folder, "bufmon")? {
        let samples = number(&summary, "rwnd_samples")?;
        if samples > 0 {
            // Each life has a summary of its own.
            let [min, max] = ["rwnd_min_bytes", "rwnd_max_bytes"].map(|key| summary[key].as_u64());
            let (all, edges) = seen.entry(ports(&summary)?).or_insert((0, [min, max]));
            *all += samples;
            *edges = [edges[0].min(min), edges[1].max(max)];
        }
    }
    same("number, least and largest of windows", &truth, &seen)
}

/// Ensures that RTOs are between RTO.Min and RTO.Max, 1 s and 60 s, and that there are as many
/// retransmissions as in the capture.
fn check_rto(folder: &Path, flows: &[Flow]) -> Result<()> {
    let mut seen: BTreeMap<Ports, u64> = BTreeMap::new();
    for summary in summaries::<Value>(folder, "rto")? {
        let limits = 1000.0..=60_000.0;
        let within = |key: &str| summary[key].as_f64().is_none_or(|rto_ms| limits.contains(&rto_ms));
        ensure!(within("rto_min_ms") && within("rto_max_ms"), "{summary}");
        let (again, spurious) = (number(&summary, "rtx_chunks")?, number(&summary, "spurious_rtx")?);
        ensure!(spurious <= again, "{summary}");
        *seen.entry(ports(&summary)?).or_default() += again;
    }
    let mut truth: BTreeMap<Ports, u64> = BTreeMap::new();
    for flow in flows {
        *truth.entry((flow.source_port, flow.destination_port)).or_default() += flow.retransmissions();
    }
    seen.retain(|_, again| *again > 0);
    truth.retain(|_, again| *again > 0);
    same("retransmissions", &truth, &seen)
}
