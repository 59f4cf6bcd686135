//! Compares `sctp-rto` with the kernel's counters, with socket options, and with captures.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::sctp::Chunk;
use sctptrace_tests::truth::rtt::Flow;
use serde::Deserialize;
use serde_json::Value;

use crate::compare::{LeftOut, Report, captured, kernel_counters, traffic};

/// A jiffy in ms: 1000 / `CONFIG_HZ` of the guests' kernels.
const JIFFY_MS: f64 = 4.0;
/// The default of `net.sctp.rto_max`, the upper limit of the RTO, in ms.
const RTO_MAX_MS: f64 = 60_000.0;

/// A `sample` object of `sctp-rto`.
#[derive(Debug, Clone, Deserialize)]
struct Sample {
    assoc_id: u32,
    transport_id: u32,
    local: SocketAddr,
    ip_address: IpAddr,
    port: u16,
    cause: String,
    rto_ms: f64,
    srtt_ms: f64,
    rttvar_ms: f64,
    rtt_ms: Option<f64>,
    old_rto_ms: Option<f64>,
}

/// Returns the report's samples by path (`transport_id`), each path's in the order of the output.
fn by_path(report: &Report) -> Result<BTreeMap<u32, Vec<Sample>>> {
    let mut paths: BTreeMap<u32, Vec<Sample>> = BTreeMap::new();
    for sample in report.of::<Sample>("sample")? {
        paths.entry(sample.transport_id).or_default().push(sample);
    }
    Ok(paths)
}

/// For traffic of other programs than `sctp-traffic`, which write no report: the samples follow the kernel's
/// arithmetic, and `rtx_chunks` is the number of the flow's retransmissions in the capture.
pub fn check_flows(folder: &Path, flows: &[Flow]) -> Result<()> {
    let report = Report::read(folder, "rto")?;
    for path in by_path(&report)?.values() {
        let pairs = path.iter().zip([None].into_iter().chain(path.iter().map(Some)));
        for (sample, before) in pairs {
            check_arithmetic(before, sample)?;
        }
    }
    for flow in flows {
        let of_flow = report.objects("summary").filter(|summary| flow.is_of(summary));
        let again: u64 = of_flow.filter_map(|summary| summary["rtx_chunks"].as_u64()).sum();
        ensure!(again == flow.retransmissions(), "{again} sent again of {}", flow.retransmissions());
    }
    Ok(())
}

/// Checks what must be true in each scenario: the counts are those of the kernel's SNMP counters; the samples
/// follow the kernel's arithmetic; and each path's last RTO and SRTT are those that the client read with
/// socket options before it closed.
pub fn check(folder: &Path, left_out: LeftOut) -> Result<()> {
    let report = Report::read(folder, "rto")?;
    let paths = by_path(&report)?;
    if left_out.is_nothing() {
        check_chain(&report)?;
    }
    let snmp = kernel_counters(folder)?;
    let expiries: Vec<_> = paths.values().flatten().filter(|sample| sample.cause == "t3").cloned().collect();
    ensure!(
        left_out.explains(expiries.len() as u64, snmp["SctpT3RtxExpireds"]),
        "{} T3 rows, but {} expiries",
        expiries.len(),
        snmp["SctpT3RtxExpireds"]
    );
    let sum = |key: &str| report.sum("summary", key);
    for (key, counter) in
        [("t3_retransmits", "SctpT3Retransmits"), ("fast_retransmits", "SctpFastRetransmits")]
    {
        ensure!(left_out.explains_sum(sum(key), snmp[counter]), "{key} {}: {snmp:?}", sum(key));
    }
    // If a sample is missing, the arithmetic of the sample after it does not fit.
    let mut wrong = 0;
    for path in paths.values() {
        for (index, sample) in path.iter().enumerate() {
            let before = index.checked_sub(1).and_then(|index| path.get(index));
            if let Err(error) = check_arithmetic(before, sample) {
                wrong += 1;
                ensure!(left_out.explains(wrong, 0), "{error:#}");
            }
        }
    }
    for summary in report.objects("summary") {
        let id = summary["transport_id"].as_u64().context("transport_id")? as u32;
        let samples: Vec<_> = paths.get(&id).into_iter().flatten().collect();
        let is_counted = |cause: &str| ["rtt", "heartbeat", "t3"].contains(&cause);
        let counted: Vec<_> = samples.iter().filter(|sample| is_counted(&sample.cause)).collect();
        ensure!(summary["samples"] == counted.len(), "{summary}: {} samples", counted.len());
        let mean = counted.iter().map(|sample| sample.rto_ms).sum::<f64>() / counted.len() as f64;
        let shown = summary["rto_avg_ms"].as_f64();
        ensure!(
            counted.is_empty() || shown.is_some_and(|shown| (shown - mean).abs() < 0.006),
            "mean RTO {mean}: {summary}"
        );
    }
    for association in traffic(folder, "client.json")? {
        // Each retransmission counts on the path that sends it and on the path that had sent the chunk first.
        for key in ["rtx_chunks", "rtx_for_path_chunks"] {
            let rtx = report
                .objects("summary")
                .filter(|summary| summary["assoc_id"] == association.assoc_id)
                .map(|summary| summary[key].as_u64().unwrap_or(0))
                .sum::<u64>();
            let again = association.stats.retransmitted;
            ensure!(left_out.explains_sum(rtx, again), "{key}: {rtx}: {:?}", association.stats);
        }
        for path in &association.paths {
            // The client read its socket options before it closed, and so before T2-shutdown could expire.
            let of_path = |sample: &&Sample| {
                sample.assoc_id == association.assoc_id
                    && sample.ip_address == path.address.ip()
                    && sample.cause != "t2"
            };
            let mut all = paths.values().flatten().filter(of_path);
            if let Some(last) = all.next_back() {
                ensure!(last.port == path.address.port(), "port: {last:?}");
                let rto_ms = f64::from(path.rto_ms);
                // The kernel gives the SRTT in jiffies: sctp_getsockopt_peer_addr_info() converts the RTO
                // alone to ms.
                let srtt_ms = f64::from(path.srtt_ms) * JIFFY_MS;
                // A HEARTBEAT may have been answered after the client read its options: then the sample
                // before it counts.
                let before = (last.cause == "heartbeat").then(|| all.next_back()).flatten();
                let agrees = |sample: &Sample| sample.rto_ms == rto_ms && sample.srtt_ms == srtt_ms;
                let is_right = [Some(last), before].into_iter().flatten().any(agrees);
                ensure!(is_right || !left_out.is_nothing(), "{path:?}: {last:?}");
            }
        }
    }
    Ok(())
}

/// Causes of a sample that are expiries, which double the RTO.
const EXPIRIES: [&str; 6] = ["t3", "heartbeat_timeout", "t2", "t4", "reconf", "heartbeat_demand"];

/// Ensures that a sample follows from the sample before it on its path: it begins with the RTO that the other
/// left; SRTT, RTTVAR and RTO are those of RFC 9260 6.3.1, as the kernel computes them in whole jiffies; after an
/// expiry the RTO is doubled (6.3.3 E2), unless the expiry ended the association.
fn check_arithmetic(before: Option<&Sample>, sample: &Sample) -> Result<()> {
    let jiffies = |ms: f64| (ms / JIFFY_MS).round() as i64;
    if let Some(before) = before {
        ensure!(sample.old_rto_ms == Some(before.rto_ms), "{before:?} then {sample:?}");
    }
    if let (Some(old), true) = (sample.old_rto_ms, EXPIRIES.contains(&sample.cause.as_str())) {
        let limit = RTO_MAX_MS.min(if sample.rto_ms < 2.0 * old { sample.rto_ms } else { RTO_MAX_MS });
        ensure!(sample.rto_ms == (2.0 * old).min(limit), "back-off: {sample:?}");
    }
    if let Some(rtt) = sample.rtt_ms.map(jiffies) {
        let (srtt, rttvar) = match before {
            Some(before) if before.srtt_ms > 0.0 || before.rttvar_ms > 0.0 => {
                let (srtt, rttvar) = (jiffies(before.srtt_ms), jiffies(before.rttvar_ms));
                (srtt - (srtt >> 3) + (rtt >> 3), rttvar - (rttvar >> 2) + ((srtt - rtt).abs() >> 2))
            }
            _ => (rtt, rtt >> 1),
        };
        let expected = (srtt, rttvar.max(1));
        let shown = (jiffies(sample.srtt_ms), jiffies(sample.rttvar_ms));
        ensure!(shown == expected, "SRTT and RTTVAR {expected:?}: {before:?} then {sample:?}");
        let rto = JIFFY_MS * (shown.0 + 4 * shown.1) as f64;
        ensure!(sample.rto_ms >= rto, "RTO: {sample:?}");
    }
    Ok(())
}

/// Scenarios `clean` and `full-speed`: round-trip times are the only cause of samples, and no retransmission
/// is spurious.
pub fn check_clean(folder: &Path, _: LeftOut) -> Result<()> {
    let report = Report::read(folder, "rto")?;
    let causes: HashSet<_> = report.of::<Sample>("sample")?.into_iter().map(|s| s.cause).collect();
    ensure!(causes == HashSet::from(["rtt".to_owned()]), "causes: {causes:?}");
    ensure!(report.sum("summary", "spurious_rtx") == 0, "spurious");
    Ok(())
}

/// Scenario `loss`: T3-rtx expires, and spurious retransmissions are the duplicates that SACKs report, at
/// most as many as the captures show to be needless.
pub fn check_loss(folder: &Path, left_out: LeftOut) -> Result<()> {
    let report = Report::read(folder, "rto")?;
    ensure!(report.of::<Sample>("sample")?.iter().any(|sample| sample.cause == "t3"), "no expiry");
    let (needless, reported) = (needless(folder, 10_000_000)?, duplicates(folder)?);
    let [spurious, named, early] =
        ["spurious_rtx", "dup_tsns", "early_acks"].map(|key| report.sum("summary", key));
    eprintln!(
        "    rto-loss: {spurious} spurious and {early} early of {needless} needless, {reported} duplicates in SACKs"
    );
    ensure!(
        left_out.explains(spurious, reported) && left_out.explains(named, reported),
        "{spurious} spurious, {named} named, {reported} duplicates"
    );
    // Copies and SACKs get lost: so the peer reports fewer duplicates than there are needless copies. An
    // early acknowledgement means a needless copy here, as the path never becomes quicker.
    ensure!(
        !left_out.is_nothing() || spurious <= needless && early <= needless,
        "{spurious} spurious, {early} early, {needless} needless"
    );
    Ok(())
}

/// Returns how many needless copies of chunks were sent: copies that left after the one which arrived first.
/// `one_way_ns` is the path's delay. The margin is small, a hundredth of that, because T3-rtx may send a
/// chunk again less than a millisecond after its last copy.
fn needless(folder: &Path, one_way_ns: u64) -> Result<u64> {
    let times = |interface| -> Result<HashMap<u32, Vec<u64>>> {
        let mut times: HashMap<u32, Vec<u64>> = HashMap::new();
        for frame in captured(folder, &[interface])? {
            for chunk in &frame.packet.chunks {
                if let Chunk::Data(data) = chunk {
                    times.entry(data.tsn).or_default().push(frame.time_ns);
                }
            }
        }
        Ok(times)
    };
    let (sent, arrived) = (times("a0")?, times("b0")?);
    let needless = |(tsn, copies): (&u32, &Vec<u64>)| {
        let first = arrived.get(tsn).map_or(u64::MAX, |times| times[0]);
        copies.iter().filter(|sent| **sent + one_way_ns > first + one_way_ns / 100).count() as u64
    };
    Ok(sent.iter().map(needless).sum())
}

/// Returns how many duplicate TSNs the SACKs at a0 report. A TSN counts each time that a SACK reports it.
fn duplicates(folder: &Path) -> Result<u64> {
    let mut found = 0;
    for frame in captured(folder, &["a0"])? {
        for chunk in &frame.packet.chunks {
            if let Chunk::Sack(sack) = chunk {
                found += sack.duplicates.len() as u64;
            }
        }
    }
    Ok(found)
}

/// Scenario `blackout`: T3-rtx expires at least three times while the path is down.
pub fn check_blackout(folder: &Path, _: LeftOut) -> Result<()> {
    let report = Report::read(folder, "rto")?;
    let samples = report.of::<Sample>("sample")?;
    let expiries = samples.iter().filter(|sample| sample.cause == "t3").count();
    ensure!(expiries >= 3, "{expiries} expiries in 4 s");
    Ok(())
}

/// Scenario `ipv6`: all samples have the peer's IPv6 address, and there are two associations to it.
pub fn check_ipv6(folder: &Path, _: LeftOut) -> Result<()> {
    let report = Report::read(folder, "rto")?;
    let samples = report.of::<Sample>("sample")?;
    ensure!(samples.iter().all(|s| s.ip_address == "fd00:2:0::1".parse::<IpAddr>().unwrap()), "addresses");
    let ids: HashSet<_> = samples.iter().map(|s| (s.transport_id, s.assoc_id, s.local.port())).collect();
    ensure!(ids.len() == 2, "two associations to one peer: {ids:?}");
    Ok(())
}

/// Scenario `heartbeat`: on the idle path each HEARTBEAT ACK of the capture gives a sample, nothing else
/// does, and the samples' round-trip time is the path's.
pub fn check_heartbeat(folder: &Path, left_out: LeftOut) -> Result<()> {
    let report = Report::read(folder, "rto")?;
    let idle: IpAddr = "10.2.1.1".parse()?;
    let mut heartbeats: HashMap<IpAddr, usize> = HashMap::new();
    for sample in report.of::<Sample>("sample")? {
        let is_idle = sample.ip_address == idle;
        ensure!(!is_idle || sample.cause == "heartbeat", "{sample:?}");
        if is_idle {
            let rtt = sample.rtt_ms.context("no round-trip time")?;
            ensure!((56.0..=68.0).contains(&rtt), "a path of 60 ms: {sample:?}");
        }
        if sample.cause == "heartbeat" {
            *heartbeats.entry(sample.ip_address).or_default() += 1;
        }
    }
    let acks = captured(folder, &["a1"])?
        .iter()
        .filter(|frame| frame.source.ip() == idle)
        .flat_map(|frame| &frame.packet.chunks)
        .filter(|chunk| matches!(chunk, Chunk::Heartbeat { ack: true, .. }))
        .count();
    let seen = heartbeats.get(&idle).copied().unwrap_or(0);
    ensure!(acks > 0 && left_out.explains(seen as u64, acks as u64), "{heartbeats:?}, {acks} HEARTBEAT ACKs");
    Ok(())
}

/// Scenario `states`: path 0 becomes potentially failed, inactive, and active again; path 1 ends potentially
/// failed, then inactive. HEARTBEATs that are not answered are counted, and each is a sample.
pub fn check_states(folder: &Path, left_out: LeftOut) -> Result<()> {
    let report = Report::read(folder, "rto")?;
    let changes = |ip: &str| -> Vec<(String, String)> {
        let word = |object: &Value, key: &str| object[key].as_str().unwrap_or_default().to_owned();
        report
            .objects("path")
            .filter(|object| object["ip_address"] == ip && object["cause"] == "state")
            .map(|object| (word(object, "old_state"), word(object, "new_state")))
            .collect()
    };
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let failed = pairs(&[("active", "pf"), ("pf", "inactive"), ("inactive", "active")]);
    ensure!(!left_out.is_nothing() || changes("10.2.0.1") == failed, "path 0: {:?}", changes("10.2.0.1"));
    // Path 1 may change its state earlier, too: while path 0 fails, SACKs for path 1's chunks get lost on
    // path 0.
    ensure!(
        !left_out.is_nothing() || changes("10.2.1.1").ends_with(&failed[..2]),
        "path 1: {:?}",
        changes("10.2.1.1")
    );
    let timeouts = report.sum("summary", "heartbeat_timeouts");
    let shown = report.of::<Sample>("sample")?.iter().filter(|s| s.cause == "heartbeat_timeout").count();
    ensure!(
        left_out.explains(timeouts, shown as u64) && timeouts >= 2,
        "{timeouts} heartbeat timeouts, {shown} rows"
    );
    Ok(())
}

/// Scenario `spurious`: at least 20 retransmissions are spurious, as many as SACKs report duplicates, and
/// none of them shows as an early acknowledgement.
pub fn check_spurious(folder: &Path, left_out: LeftOut) -> Result<()> {
    let report = Report::read(folder, "rto")?;
    let (reported, spurious) = (duplicates(folder)?, report.sum("summary", "spurious_rtx"));
    eprintln!("    rto-spurious: {spurious} spurious retransmissions, {reported} duplicates in SACKs");
    ensure!(
        reported >= 20 && left_out.explains(spurious, reported),
        "{spurious} spurious, {reported} duplicates"
    );
    let (named, early) = (report.sum("summary", "dup_tsns"), report.sum("summary", "early_acks"));
    ensure!(
        left_out.explains(named, reported) && early == 0,
        "{named} named; one SACK acknowledges and names: {early} early"
    );
    Ok(())
}

/// Checks that each record of a path, also one of a change of its state, begins with the RTO that the record
/// before has left.
pub fn check_chain(report: &Report) -> Result<()> {
    #[derive(Deserialize)]
    struct Record {
        r#type: String,
        transport_id: u64,
        old_rto_ms: Option<f64>,
        rto_ms: f64,
    }
    let mut last: HashMap<u64, f64> = HashMap::new();
    for object in report.all().iter().filter(|object| object["cause"].is_string()) {
        let record: Record = serde_json::from_value(object.clone()).with_context(|| object.to_string())?;
        let before = if record.r#type == "path" { Some(record.rto_ms) } else { record.old_rto_ms };
        if let Some(rto_ms) = last.insert(record.transport_id, record.rto_ms) {
            ensure!(before == Some(rto_ms), "after an RTO of {rto_ms} ms: {object}");
        }
    }
    Ok(())
}

/// Scenario `shutdown`: each expiry of T2-shutdown is a sample, at least three in all, and a `path` object
/// shows that the path becomes potentially failed.
pub fn check_shutdown(folder: &Path, left_out: LeftOut) -> Result<()> {
    let report = Report::read(folder, "rto")?;
    let snmp = kernel_counters(folder)?;
    let samples = report.of::<Sample>("sample")?;
    let expiries = samples.iter().filter(|sample| sample.cause == "t2").count() as u64;
    ensure!(expiries >= 3, "{expiries} expiries");
    ensure!(left_out.explains(expiries, snmp["SctpT2ShutdownExpireds"]), "{expiries} rows: {snmp:?}");
    let failed = report.objects("path").filter(|object| object["new_state"] == "pf").count();
    ensure!(failed >= 1, "never potentially failed");
    Ok(())
}
