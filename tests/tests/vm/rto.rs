//! `sctp-rto` against the kernel's counters, its socket options, and captures.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::sctp::Chunk;
use sctptrace_tests::vm::{Case, Mode, text};
use serde::Deserialize;
use serde_json::Value;

use crate::compare::{Report, captured, contract, same_by_kprobes, says_nothing, traffic};
use crate::suite::Suite;

/// 1 / `CONFIG_HZ` of the kernels that are booted.
const JIFFY_MS: f64 = 4.0;
/// `net.sctp.rto_max`.
const RTO_MAX_MS: f64 = 60_000.0;

/// What `TRACE` stands for: all that a has, and the counters of its namespace at the end.
const TRACE: &str = "trace rto sctp-rto --json -q -f rto.json --netns /run/netns/a";
const STOP: &str = "trace_stop; a cat /proc/net/sctp/snmp >snmp";

const CLEAN: &str = "topology; path 10ms
    serve --bind 10.2.0.1 --streams 4; TRACE
    send --bind 10.1.0.1 --count 400 --rate 100 --streams 4 --nodelay
    STOP";

const LOSS: &str = "topology; path 10ms 5%
    serve --bind 10.2.0.1; capture a0 b0; TRACE
    send --bind 10.1.0.1 --count 1500 --rate 150 --nodelay
    STOP; capture_stop";

const BLACKOUT: &str = "topology; path 10ms
    serve --bind 10.2.0.1; TRACE
    (sleep 3; path_down 0; sleep 4; path 10ms) &
    send --bind 10.1.0.1 --count 800 --rate 100 --nodelay --rto-min 200 --rto-initial 500
    STOP";

const FULL_SPEED: &str = "topology
    serve --bind 10.2.0.1; TRACE
    send --bind 10.1.0.1 --count 20000 --size 100
    STOP";

const IPV6: &str = "topology; path 10ms 3%
    serve --bind fd00:2:0::1 --associations 2; TRACE
    send --bind fd00:1:0::1 --to fd00:2:0::1 --associations 2 --count 300 --rate 100 --nodelay
    STOP";

/// An idle second path, with heartbeats.
const HEARTBEAT: &str = "topology; path 10ms; path 30ms 0% 1
    serve --bind 10.2.0.1,10.2.1.1; capture a1; TRACE
    send --bind 10.1.0.1,10.1.1.1 --to 10.2.0.1,10.2.1.1 --count 800 --rate 100 --heartbeat 1000 --nodelay
    STOP; capture_stop";

/// Path 0 fails under traffic and comes back; path 1 fails while it is idle. SACKs are not held back for so long that
/// the timer would expire for them.
const STATES: &str = "topology; path 10ms; path 10ms 0% 1
    serve --bind 10.2.0.1,10.2.1.1 --sack-delay 40; TRACE
    (sleep 2; path_down 0; sleep 12; path 10ms; sleep 6; path_down 1) &
    send --bind 10.1.0.1,10.1.1.1 --to 10.2.0.1,10.2.1.1 --count 3500 --rate 100 --heartbeat 500 --path-retrans 2 \\
        --rto-min 200 --rto-initial 500 --rto-max 1000 --nodelay
    STOP";

/// The receiver holds its SACKs for 500 ms, and the sender believes in 100.
const SPURIOUS: &str = "topology; path 10ms
    serve --bind 10.2.0.1 --sack-delay 500; capture a0; TRACE
    send --bind 10.1.0.1 --count 40 --rate 1 --rto-min 100 --rto-initial 300 --rto-max 400 --nodelay
    STOP; capture_stop";

/// The path is dead when the client closes: SHUTDOWN is not answered.
const SHUTDOWN: &str = "topology; path 10ms
    serve --bind 10.2.0.1; TRACE
    (sleep 3; path_down 0; sleep 5; path 10ms) &
    send --bind 10.1.0.1 --count 50 --rate 100 --linger 4000 --rto-min 200 --rto-initial 500 --nodelay
    STOP";

const FORMS: &str = "topology; path 10ms 2%; remember
    serve --bind 10.2.0.1 --associations 2
    trace text sctp-rto --netns /run/netns/a
    trace csv sctp-rto -c --netns /run/netns/a
    trace csv-quiet sctp-rto --csv -q --netns /run/netns/a
    trace file sctp-rto --file rows/rto.csv --netns /run/netns/a
    trace extended sctp-rto -x --netns /run/netns/a
    trace none sctp-rto --lport 9
    trace kprobe sctp-rto -c -q --hooks kprobe --netns /run/netns/a
    trace kprobe-extended sctp-rto -x -q --hooks kprobe --netns /run/netns/a
    send --bind 10.1.0.1 --associations 2 --count 300 --rate 100
    trace_stop INT; nothing_left";

/// The cases.
pub fn add(suite: &mut Suite) {
    let case =
        |name: &str, script: &str| Case::new(name, &script.replace("TRACE", TRACE).replace("STOP", STOP));
    let mut compare = |name: &str, script: &str, check: fn(&Path) -> Result<()>| {
        suite.compare("rto", &case(name, script), move |folder, _| check(folder));
    };
    compare("rto-loss", LOSS, check_loss);
    compare("rto-clean", CLEAN, check_clean);
    compare("rto-blackout", BLACKOUT, check_blackout);
    compare("rto-full-speed", FULL_SPEED, check_clean);
    compare("rto-ipv6", IPV6, check_ipv6);
    compare("rto-heartbeat", HEARTBEAT, check_heartbeat);
    compare("rto-states", STATES, check_states);
    compare("rto-spurious", SPURIOUS, check_spurious);
    compare("rto-shutdown", SHUTDOWN, check_shutdown);
    for series in [Series::V6_12, Series::V6_1] {
        suite.add(series, Mode::Icount, case("rto-forms", FORMS), check_forms);
    }
}

/// A `sample` object.
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

/// What concerns one path, in its order.
fn by_path(report: &Report) -> Result<BTreeMap<u32, Vec<Sample>>> {
    let mut paths: BTreeMap<u32, Vec<Sample>> = BTreeMap::new();
    for sample in report.of::<Sample>("sample")? {
        paths.entry(sample.transport_id).or_default().push(sample);
    }
    Ok(paths)
}

/// What is true of any run: the counters of the kernel, its arithmetic, and its own view of each path.
fn check_common(folder: &Path) -> Result<Report> {
    let report = Report::read(folder, "rto")?;
    let paths = by_path(&report)?;
    let snmp = counters(&text(&folder.join("snmp"))?)?;
    let expiries: Vec<_> = paths.values().flatten().filter(|sample| sample.cause == "t3").cloned().collect();
    ensure!(
        expiries.len() as u64 == snmp["SctpT3RtxExpireds"],
        "{} T3 rows, but {} expiries",
        expiries.len(),
        snmp["SctpT3RtxExpireds"]
    );
    let sum = |key: &str| report.sum("summary", key);
    ensure!(sum("t3_retransmits") == snmp["SctpT3Retransmits"], "T3 retransmissions: {snmp:?}");
    ensure!(sum("fast_retransmits") == snmp["SctpFastRetransmits"], "fast retransmissions: {snmp:?}");
    for path in paths.values() {
        check_arithmetic(path)?;
    }
    let mut rows = 0;
    for summary in report.objects("summary") {
        let id = summary["transport_id"].as_u64().context("transport_id")? as u32;
        let samples: Vec<_> = paths.get(&id).into_iter().flatten().collect();
        let is_counted = |cause: &str| cause != "heartbeat_timeout" && cause != "t2";
        let counted: Vec<_> = samples.iter().filter(|sample| is_counted(&sample.cause)).collect();
        ensure!(summary["samples"] == counted.len(), "{summary}: {} samples", counted.len());
        rows += counted.len();
        let mean = counted.iter().map(|sample| sample.rto_ms).sum::<f64>() / counted.len() as f64;
        let shown = summary["rto_avg_ms"].as_f64();
        ensure!(
            counted.is_empty() || shown.is_some_and(|shown| (shown - mean).abs() < 0.006),
            "mean RTO {mean}: {summary}"
        );
    }
    ensure!(report.end["events"] == rows, "{} rows: {}", rows, report.end);
    for association in traffic(folder, "client.json")? {
        // Whatever path they were booked on.
        for key in ["rtx_chunks", "rtx_for_path_chunks"] {
            let rtx = report
                .objects("summary")
                .filter(|summary| summary["assoc_id"] == association.assoc_id)
                .map(|summary| summary[key].as_u64().unwrap_or(0))
                .sum::<u64>();
            ensure!(rtx == association.stats.retransmitted, "{key}: {rtx}: {:?}", association.stats);
        }
        for path in &association.paths {
            let of_path = |sample: &&Sample| {
                sample.assoc_id == association.assoc_id && sample.ip_address == path.address.ip()
            };
            let mut all = paths.values().flatten().filter(of_path);
            if let Some(last) = all.next_back() {
                ensure!(last.port == path.address.port(), "port: {last:?}");
                let rto_ms = f64::from(path.rto_ms);
                // The kernel says jiffies here: sctp_getsockopt_sctp_status() converts only the RTO.
                let srtt_ms = f64::from(path.srtt_ms) * JIFFY_MS;
                // A HEARTBEAT may have been answered since the client asked.
                let before = (last.cause == "heartbeat").then(|| all.next_back()).flatten();
                let agrees = |sample: &Sample| sample.rto_ms == rto_ms && sample.srtt_ms == srtt_ms;
                ensure!([Some(last), before].into_iter().flatten().any(agrees), "{path:?}: {last:?}");
            }
        }
    }
    Ok(report)
}

/// RFC 9260 6.3.1 as the kernel does it, in whole jiffies; and back-off.
fn check_arithmetic(path: &[Sample]) -> Result<()> {
    let jiffies = |ms: f64| (ms / JIFFY_MS).round() as i64;
    let mut before: Option<&Sample> = None;
    for sample in path {
        if let Some(old) = sample.old_rto_ms {
            let limit = RTO_MAX_MS.min(if sample.rto_ms < 2.0 * old { sample.rto_ms } else { RTO_MAX_MS });
            ensure!(sample.rto_ms == (2.0 * old).min(limit), "back-off: {sample:?}");
            ensure!(before.is_none_or(|before| before.rto_ms == old), "{before:?} then {sample:?}");
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
        before = Some(sample);
    }
    Ok(())
}

fn counters(snmp: &str) -> Result<HashMap<String, u64>> {
    snmp.lines()
        .map(|line| {
            let (name, value) = line.split_once(char::is_whitespace).context("snmp")?;
            Ok((name.to_owned(), value.trim().parse()?))
        })
        .collect()
}

fn check_clean(folder: &Path) -> Result<()> {
    let report = check_common(folder)?;
    let causes: HashSet<_> = report.of::<Sample>("sample")?.into_iter().map(|s| s.cause).collect();
    ensure!(causes == HashSet::from(["rtt".to_owned()]), "causes: {causes:?}");
    ensure!(report.sum("summary", "spurious_rtx") == 0, "spurious");
    Ok(())
}

fn check_loss(folder: &Path) -> Result<()> {
    let report = check_common(folder)?;
    ensure!(report.of::<Sample>("sample")?.iter().any(|sample| sample.cause == "t3"), "no expiry");
    let (needless, told) = (needless(folder, 10_000_000)?, duplicates(folder)?);
    let [spurious, named, early] =
        ["spurious_rtx", "dup_tsns", "early_acks"].map(|key| report.sum("summary", key));
    eprintln!(
        "    rto-loss: {spurious} spurious and {early} early of {needless} needless, {told} duplicates in SACKs"
    );
    ensure!(spurious == told && named == told, "{spurious} spurious, {named} named, {told} duplicates");
    // Copies and SACKs get lost, so that the peer names fewer; and this path becomes no quicker.
    ensure!(
        spurious <= needless && early <= needless,
        "{spurious} spurious, {early} early, {needless} needless"
    );
    Ok(())
}

/// Copies of chunks that were sent after the one that came first, on a path that takes so long one way. T3 may send again what left less than a millisecond before.
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

/// TSNs that the receiver told to have had already, each as often as it was told.
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

fn check_blackout(folder: &Path) -> Result<()> {
    let report = check_common(folder)?;
    let samples = report.of::<Sample>("sample")?;
    let expiries = samples.iter().filter(|sample| sample.cause == "t3").count();
    ensure!(expiries >= 3, "{expiries} expiries in 4 s");
    Ok(())
}

fn check_ipv6(folder: &Path) -> Result<()> {
    let report = check_common(folder)?;
    let samples = report.of::<Sample>("sample")?;
    ensure!(samples.iter().all(|s| s.ip_address == "fd00:2:0::1".parse::<IpAddr>().unwrap()), "addresses");
    let ids: HashSet<_> = samples.iter().map(|s| (s.transport_id, s.assoc_id, s.local.port())).collect();
    ensure!(ids.len() == 2, "two associations to one peer: {ids:?}");
    Ok(())
}

fn check_heartbeat(folder: &Path) -> Result<()> {
    let report = check_common(folder)?;
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
    ensure!(acks > 0 && heartbeats.get(&idle) == Some(&acks), "{heartbeats:?}, {acks} HEARTBEAT ACKs");
    Ok(())
}

fn check_states(folder: &Path) -> Result<()> {
    let report = check_common(folder)?;
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
    ensure!(changes("10.2.0.1") == failed, "path 0: {:?}", changes("10.2.0.1"));
    // Before it fails itself, it may look lost while path 0 goes: SACKs go there as well.
    ensure!(changes("10.2.1.1").ends_with(&failed[..2]), "path 1: {:?}", changes("10.2.1.1"));
    let timeouts = report.sum("summary", "heartbeat_timeouts");
    let shown = report.of::<Sample>("sample")?.iter().filter(|s| s.cause == "heartbeat_timeout").count();
    ensure!(timeouts == shown as u64 && timeouts >= 2, "{timeouts} heartbeat timeouts, {shown} rows");
    Ok(())
}

fn check_spurious(folder: &Path) -> Result<()> {
    let report = check_common(folder)?;
    let (told, spurious) = (duplicates(folder)?, report.sum("summary", "spurious_rtx"));
    eprintln!("    rto-spurious: {spurious} spurious retransmissions, {told} duplicates in SACKs");
    ensure!(told >= 20 && spurious == told, "{spurious} spurious, {told} duplicates");
    let (named, early) = (report.sum("summary", "dup_tsns"), report.sum("summary", "early_acks"));
    ensure!(named == told && early == 0, "{named} named; one SACK acknowledges and names: {early} early");
    Ok(())
}

/// Each expiry of T2-shutdown is a row, and the path's change of state has a cause.
fn check_shutdown(folder: &Path) -> Result<()> {
    let report = Report::read(folder, "rto")?;
    let snmp = counters(&text(&folder.join("snmp"))?)?;
    let samples = report.of::<Sample>("sample")?;
    let expiries: Vec<_> = samples.iter().filter(|sample| sample.cause == "t2").collect();
    ensure!(expiries.len() >= 3, "{} expiries", expiries.len());
    ensure!(expiries.len() as u64 == snmp["SctpT2ShutdownExpireds"], "{} rows: {snmp:?}", expiries.len());
    check_arithmetic(&samples)?;
    let failed = report.objects("path").filter(|object| object["new_state"] == "pf").count();
    ensure!(failed == 1, "{failed} times potentially failed");
    Ok(())
}

fn check_forms(folder: &Path) -> Result<()> {
    for name in ["text", "csv", "csv-quiet", "file", "extended", "none", "kprobe", "kprobe-extended"] {
        let errors = text(&folder.join(format!("{name}.err")))?;
        let status = text(&folder.join(format!("{name}.status")))?;
        ensure!(status == "0\n" && says_nothing(&errors), "{name}: {status}: {errors}");
    }
    contract(folder, "rto-text", &["text.out"])?;
    contract(folder, "rto-csv", &["csv.out"])?;
    contract(folder, "rto-csv-quiet", &["csv-quiet.out"])?;
    contract(folder, "rto-file", &["file.out", "rows/rto.csv"])?;
    ensure!(text(&folder.join("none.out"))?.contains("\nNo RTO events recorded yet.\n"), "none");
    same_by_kprobes(folder)
}
