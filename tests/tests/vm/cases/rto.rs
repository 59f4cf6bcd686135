//! Cases of `sctp-rto`: its output formats, and the rarer causes of a change of the RTO.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use sctptrace_tests::capture::Frame;
use sctptrace_tests::kernel::Series;
use sctptrace_tests::sctp::Chunk;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::{Report, captured, contract, same_by_kprobes, says_filtered, says_nothing};
use crate::suite::Suite;
use crate::truth::rto::check_chain;

const FORMS: &str = "topology; path 10ms; lose 2 1; remember
    serve --bind 10.2.0.1 --associations 2
    trace text sctp-rto --netns /run/netns/a
    trace csv sctp-rto -c --netns /run/netns/a
    trace csv-quiet sctp-rto --csv -q --netns /run/netns/a
    trace file sctp-rto --file rows/rto.csv --netns /run/netns/a
    trace extended sctp-rto -x --netns /run/netns/a
    trace none sctp-rto --lport 9
    trace kprobe sctp-rto -c -q $HOOKS_FLAG kprobe --netns /run/netns/a
    trace kprobe-extended sctp-rto -x -q $HOOKS_FLAG kprobe --netns /run/netns/a
    send --bind 10.1.0.1 --associations 2 --count 300 --rate 100
    trace_stop INT; nothing_left";

/// Four clients, whose RTOs change by other causes than data and answered HEARTBEATs. While the path is down, the
/// client of port 7000 adds an address, and that of 7001 a stream. The client of port 7002 asks for HEARTBEATs, and
/// then switches them off. The client of port 7003 goes away unnoticed by its peer, and comes again. `PORT.paths` has
/// the state of a client's paths at its end, by socket options.
const CAUSES: &str = "topology; path 10ms
    for ns in a b; do
        $ns sysctl -qw net.sctp.addip_enable=1 net.sctp.addip_noauth_enable=1 net.sctp.reconf_enable=1
    done
    b sysctl -qw net.sctp.hb_interval=1000
    b sctp-paths server --bind 10.2.0.1 2>server.err &
    until_true 10 grep -qs listening server.err
    capture a0
    trace rto sctp-rto --json -q -f rto.json HOOKS
    # client PORT STEP...: a client on path 0 alone.
    client() {
        local port=$1
        shift
        /sbin/ip netns exec a sctp-paths client --bind 10.1.0.1 --to 10.2.0.1 --own-port $port \"$@\" \
            >$port.paths 2>$port.err
    }
    client 7000 send sleep=500 wait=down add=10.1.1.1 sleep=9000 show abort &
    client 7001 send sleep=500 wait=down streams sleep=9000 show abort &
    client 7002 beat=10.2.0.1 sleep=1500 wait=down sleep=2500 demand=10.2.0.1 demand=10.2.0.1 silent=10.2.0.1 \
        file=silent sleep=6000 show abort &
    client 7003 send sleep=2500 wait=down abort &
    up() { [ $(cat 700?.err | grep -c up) = 4 ]; }
    until_true 10 up
    sleep 3
    path_down 0
    touch down
    until_true 10 test -e silent
    date +%s.%N >silent
    until_true 30 test -s 7000.paths -a -s 7001.paths -a -s 7002.paths
    path 10ms 0
    client 7003 send sleep=500 show
    sleep 1
    trace_stop; capture_stop; killall sctp-paths";

/// What changes a congestion window or the active path. One packet of the client of port 7100 is marked (CE, RFC 3168),
/// once the client's window has grown. Path 0 of the client of port 7101 fails: the first expiry makes the path
/// potentially failed, and path 1 carries the data from then on. (With Path.Max.Retrans 1 only the second expiry does
/// that, and the first SACK on path 1 is of a retransmission before the failover.)
const PATHS: &str = "topology; path 10ms 0; path 10ms 1
    b sctp-paths server --bind 10.2.0.1 2>server.err &
    until_true 10 grep -qs listening server.err
    capture a0 a1
    trace rto sctp-rto --json -q -f rto.json HOOKS --netns /run/netns/a
    /sbin/ip netns exec a sctp-paths client --bind 10.1.0.1 --to 10.2.0.1 --own-port 7100 \
        burst sleep=1000 show file=grown wait=marking send sleep=1000 show file=marked wait=unmarking abort \
        >7100.paths 2>7100.err &
    until_true 10 test -e grown
    netem rb0 delay 10ms loss 100% ecn
    touch marking
    until_true 10 test -e marked
    path 10ms 0
    touch unmarking
    wait $!
    killall sctp-paths
    serve --bind 10.2.0.1,10.2.1.1
    (sleep 2; path_down 0; sleep 10; path 10ms 0) &
    send --bind 10.1.0.1,10.1.1.1 --to 10.2.0.1,10.2.1.1 --local-port 7101 --count 200 --rate 20 --path-retrans 2 \
        --heartbeat 30000
    trace_stop; capture_stop";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for series in [Series::V6_12, Series::V6_1, Series::V7_3] {
        for (name, hooks) in [("rto-causes", ""), ("rto-causes-kprobe", "--hooks kprobe")] {
            let case = Case::new(name, &CAUSES.replace("HOOKS", hooks));
            suite.add(series, Mode::Icount, case, check_causes);
        }
        for (name, hooks) in [("rto-paths", ""), ("rto-paths-kprobe", "--hooks kprobe")] {
            let case = Case::new(name, &PATHS.replace("HOOKS", hooks));
            suite.add(series, Mode::Icount, case, check_paths);
        }
    }
    for series in [Series::V6_12, Series::V6_1] {
        suite.add(series, Mode::Icount, Case::new("rto-forms", FORMS), check_forms);
    }
}

fn check_forms(folder: &Path) -> Result<()> {
    for name in ["text", "csv", "csv-quiet", "file", "extended", "none", "kprobe", "kprobe-extended"] {
        let errors = text(&folder.join(format!("{name}.err")))?;
        let status = text(&folder.join(format!("{name}.status")))?;
        let said = if name == "none" { says_filtered(&errors) } else { says_nothing(&errors) };
        ensure!(status == "0\n" && said, "{name}: {status}: {errors}");
    }
    contract(folder, "rto-text", &["text.out"])?;
    contract(folder, "rto-csv", &["csv.out"])?;
    contract(folder, "rto-csv-quiet", &["csv-quiet.out"])?;
    contract(folder, "rto-file", &["file.out", "rows/rto.csv"])?;
    ensure!(text(&folder.join("none.out"))?.contains("\nNo RTO events recorded yet.\n"), "none");
    same_by_kprobes(folder)
}

/// Ensures that each client's records have the causes that its steps must give, that each record begins with the RTO
/// that the record before has left, and that the last RTO is the one that the client's socket reports.
fn check_causes(folder: &Path) -> Result<()> {
    let report = Report::read(folder, "rto")?;
    check_chain(&report)?;
    let of_port = |key: &str, port: u64| -> Vec<&Value> {
        let has_cause = |object: &&Value| object["cause"].is_string();
        report.all().iter().filter(has_cause).filter(|object| ends_with_port(&object[key], port)).collect()
    };
    let times = |records: &[&Value], cause: &str| records.iter().filter(|r| r["cause"] == cause).count();
    for port in 7000..7003 {
        let records = of_port("local", port);
        let paths: Vec<Value> = serde_json::from_str(&text(&folder.join(format!("{port}.paths")))?)?;
        let last = records.last().with_context(|| format!("no record of {port}"))?;
        ensure!(last["rto_ms"].as_f64() == paths[0]["rto_ms"].as_f64(), "{port}: {paths:?}, last {last}");
    }
    // At each expiry of the timer the kernel sends the request again: ASCONF (RFC 5061) or RE-CONFIG (RFC 6525).
    for (port, cause, kind) in [(7000, "t4", 0xc1), (7001, "reconf", 130)] {
        let sent = captured(folder, &["a0"])?
            .iter()
            .filter(|frame| u64::from(frame.source.port()) == port)
            .flat_map(|frame| &frame.packet.chunks)
            .filter(|chunk| matches!(chunk, Chunk::Other(other) if *other == kind))
            .count();
        let expiries = times(&of_port("local", port), cause);
        ensure!(sent > 2 && expiries == sent - 1, "{port}: {expiries} expiries, {sent} requests");
    }
    let records = of_port("local", 7002);
    ensure!(times(&records, "heartbeat_demand") >= 1, "{records:?}");
    // An unanswered HEARTBEAT gives a record when the next HEARTBEAT is sent, on demand or by the timer.
    let unanswered = times(&records, "heartbeat_demand") + times(&records, "heartbeat_timeout");
    let mut since_answer = 0;
    for frame in captured(folder, &["a0"])?.iter() {
        let (source, destination) = (frame.source.port(), frame.destination.port());
        for chunk in &frame.packet.chunks {
            match chunk {
                Chunk::Heartbeat { ack: false, .. } if source == 7002 => since_answer += 1,
                Chunk::Heartbeat { ack: true, .. } if destination == 7002 => since_answer = 0,
                _ => {}
            }
        }
    }
    ensure!(since_answer > 2 && unanswered == since_answer - 1, "{since_answer} HEARTBEATs: {records:?}");
    let restarted = of_port("peer", 7003);
    let restart = restarted.iter().find(|r| r["cause"] == "restart").context("no restart")?;
    ensure!(restart["rto_ms"] == 3000.0 && restart["life"] == 2, "{restart}");
    ensure!(times(&restarted, "heartbeat_timeout") > 0, "{restarted:?}");
    Ok(())
}

/// A cut by ECN is the one that the socket's window shows. A failover took as long as the capture says.
fn check_paths(folder: &Path) -> Result<()> {
    let report = Report::read(folder, "rto")?;
    check_chain(&report)?;
    let frames = captured(folder, &["a0", "a1"])?;
    let summary_of = |port: u64, peer: &str| -> Result<&Value> {
        let is_of = |row: &&Value| ends_with_port(&row["local"], port) && row["path"] == peer;
        report.objects("summary").find(is_of).with_context(|| format!("no summary of {port}, {peer}"))
    };

    let lines = text(&folder.join("7100.paths"))?;
    let windows: Vec<u64> = lines
        .lines()
        .map(|line| {
            let paths: Vec<Value> = serde_json::from_str(line)?;
            paths[0]["cwnd_bytes"].as_u64().context("no cwnd")
        })
        .collect::<Result<_>>()?;
    let is_cwr = |chunk: &&Chunk| matches!(chunk, Chunk::Other(13));
    let answers = frames.iter().filter(|frame| frame.source.port() == 7100);
    let answers = answers.flat_map(|frame| &frame.packet.chunks).filter(is_cwr).count();
    ensure!(answers == 1, "{answers} CWRs");
    // RFC 9260, section 7.2.3: half the window, and at least four packets.
    let [before, after] = windows[..] else { bail!("windows {windows:?}") };
    ensure!(before > 12_000 && after == before / 2, "{windows:?}");
    let summary = summary_of(7100, "10.2.0.1")?;
    for (key, cuts) in [("ecn", 1), ("t3", 0), ("fast", 0), ("inactive", 0)] {
        ensure!(summary[format!("cwnd_cuts_{key}")] == cuts, "{key}: {summary}");
    }
    let is_cut = |row: &&Value| row["cause"] == "ecn";
    let cuts: Vec<&Value> = report.all().iter().filter(is_cut).collect();
    ensure!(cuts.len() == 1 && cuts[0]["old_rto_ms"] == cuts[0]["rto_ms"], "{cuts:?}");

    // SACKs that came by a path, by the peer's address on it.
    let sacks = |peer: &str| -> Vec<u64> {
        let is_sack = |frame: &&Frame| {
            frame.destination.port() == 7101
                && frame.source.ip().to_string() == peer
                && frame.packet.chunks.iter().any(|chunk| matches!(chunk, Chunk::Sack(_)))
        };
        frames.iter().filter(is_sack).map(|frame| frame.time_ns).collect()
    };
    let first = *sacks("10.2.1.1").first().context("no failover")?;
    let last = sacks("10.2.0.1").into_iter().filter(|at| *at < first).max().context("no SACK on path 0")?;
    let summary = summary_of(7101, "10.2.1.1")?;
    let failover_ms = summary["failover_ms"].as_f64().context("no failover_ms")?;
    let by_capture = (first - last) as f64 / 1e6;
    // The program and the capture see the same two packets, but the program later, by the way up the stack.
    ensure!((failover_ms - by_capture).abs() < 1.0, "{failover_ms} ms, not {by_capture} ms: {summary}");
    ensure!(summary_of(7101, "10.2.0.1")?["failover_ms"].is_null(), "a failover to the path that failed");
    Ok(())
}

fn ends_with_port(address: &Value, port: u64) -> bool {
    address.as_str().is_some_and(|address| address.ends_with(&format!(":{port}")))
}
