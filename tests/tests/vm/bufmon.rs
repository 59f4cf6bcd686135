//! `sctp-bufmon` against captures, and the generator's own clock.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::sctp::Chunk;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::{Association, Report, captured, contract, same_by_kprobes, says_nothing, traffic};
use crate::suite::Suite;

/// What `TRACE` stands for.
const TRACE: &str = "trace bufmon sctp-bufmon --json -q -f bufmon.json --netns /run/netns/a";

/// A reader that takes 10 ms for each message.
const SLOW_READER: &str = "topology; path 10ms
    serve --bind 10.2.0.1 --read-delay 10 --rcvbuf 30000; capture a0; TRACE
    send --bind 10.1.0.1 --count 500 --size 1000 --sndbuf 20000 --blocked --nodelay --linger 3000
    trace_stop; capture_stop";

/// The same for the second of two associations of one socket, whose buffer they share or not.
const POLICY: &str = "topology; path 10ms
    a sysctl -qw net.sctp.sndbuf_policy=POLICY
    serve --bind 10.2.0.1 --one-to-many --associations 2 --port 5000,5001 --read-delay 5 --rcvbuf 30000
    TRACE
    send --bind 10.1.0.1 --one-to-many --associations 2 --port 5000,5001 --count 200 --size 1000 --sndbuf 20000 \\
        --nodelay --linger 3000
    trace_stop";

const UNBLOCKED: &str = "topology; path 10ms
    serve --bind 10.2.0.1; capture a0; TRACE
    send --bind 10.1.0.1 --count 300 --rate 100 --blocked --nodelay
    trace_stop; capture_stop";

const NONBLOCKING: &str = "topology; path 10ms
    serve --bind 10.2.0.1 --read-delay 10 --rcvbuf 30000; TRACE
    send --bind 10.1.0.1 --count 300 --size 1000 --sndbuf 20000 --nonblocking --nodelay --linger 3000
    trace_stop";

const READER_STOPS: &str = "topology; path 10ms
    serve --bind 10.2.0.1 --read-after 6000 --rcvbuf 30000; capture a0; TRACE
    trace server sctp-bufmon --json -q -f server-side.json --netns /run/netns/b
    trace extended sctp-bufmon -x --netns /run/netns/a
    send --bind 10.1.0.1 --count 300 --size 1000 --nodelay
    trace_stop; capture_stop";

const BLACKOUT: &str = "topology; path 10ms
    serve --bind 10.2.0.1; TRACE
    (sleep 3; path_down 0; sleep 4; path 10ms) &
    send --bind 10.1.0.1 --count 800 --rate 100 --size 500 --nodelay
    trace_stop";

/// A sender that was blocked before the commands start, and still is when they end.
const BLOCKED: &str = "topology; path 10ms
    serve --bind 10.2.0.1 --read-after 12000 --rcvbuf 30000
    a sctp-traffic client --bind 10.1.0.1 --count 300 --size 1000 --sndbuf 20000 --nodelay >client.json & client=$!
    sleep 2
    TRACE
    trace text sctp-bufmon -q --netns /run/netns/a
    sleep 4
    trace_stop; wait $client $server";

/// Buffers are large, but the memory of all sockets is not.
const MEMORY: &str = "topology; path 10ms
    serve --bind 10.2.0.1 --read-delay 2; TRACE
    sysctl -qw net.sctp.sctp_mem='20 30 40'
    send --bind 10.1.0.1 --count 300 --size 4000 --sndbuf 400000 --blocked --nodelay --linger 3000
    trace_stop";

/// More blocked senders than the kernel has return probes of a function, and one that is not.
const MANY_BLOCKED: &str = "topology; path 10ms
    serve --bind 10.2.0.1 --associations 24 --read-after 8000 --rcvbuf 30000
    b sctp-traffic server --bind 10.2.0.1 --port 6000 >other-server.json 2>other-server.err & other=$!
    until_true 10 grep -qs listening other-server.err
    trace kprobe sctp-bufmon -cq --hooks kprobe --netns /run/netns/a
    trace other sctp-bufmon -cq --hooks kprobe --netns /run/netns/a --rport 6000
    a sctp-traffic client --bind 10.1.0.1 --associations 24 --count 100 --size 1000 --sndbuf 10000 --nodelay \\
        >client.json & blocked=$!
    sleep 2
    a sctp-traffic client --bind 10.1.0.1 --port 6000 --count 200 --rate 100 --nodelay >other.json
    trace_stop; wait $blocked $server $other";

const FULL_SPEED: &str = "topology
    serve --bind 10.2.0.1; capture a0; TRACE
    send --bind 10.1.0.1 --count 20000 --size 100 --blocked
    trace_stop; capture_stop";

const FORMS: &str = "topology; path 10ms; remember
    serve --bind 10.2.0.1 --associations 2 --read-delay 2 --rcvbuf 30000
    trace text sctp-bufmon --netns /run/netns/a
    trace csv sctp-bufmon -c --netns /run/netns/a
    trace csv-quiet sctp-bufmon --csv -q --netns /run/netns/a
    trace file sctp-bufmon --file rows/bufmon.csv --netns /run/netns/a
    trace extended sctp-bufmon -x --netns /run/netns/a
    trace kprobe sctp-bufmon -c -q --hooks kprobe --netns /run/netns/a
    trace kprobe-extended sctp-bufmon -x -q --hooks kprobe --netns /run/netns/a
    send --bind 10.1.0.1 --associations 2 --count 300 --size 1000 --sndbuf 20000 --linger 3000
    trace_stop INT; nothing_left";

/// The cases.
pub fn add(suite: &mut Suite) {
    let case = |name: &str, script: &str| Case::new(name, &script.replace("TRACE", TRACE));
    let mut compare = |name: &str, script: &str, check: fn(&Path) -> Result<()>| {
        suite.compare("bufmon", &case(name, script), move |folder, _| check(folder));
    };
    compare("bufmon-slow-reader", SLOW_READER, check_slow_reader);
    compare("bufmon-socket-policy", &POLICY.replace("POLICY", "0"), check_shared);
    compare("bufmon-association-policy", &POLICY.replace("POLICY", "1"), check_own);
    compare("bufmon-unblocked", UNBLOCKED, check_unblocked);
    compare("bufmon-nonblocking", NONBLOCKING, check_nonblocking);
    compare("bufmon-reader-stops", READER_STOPS, check_reader_stops);
    compare("bufmon-blackout", BLACKOUT, check_blackout);
    compare("bufmon-blocked", BLOCKED, check_blocked);
    compare("bufmon-memory", MEMORY, check_memory);
    compare("bufmon-many-blocked", MANY_BLOCKED, check_many_blocked);
    compare("bufmon-full-speed", FULL_SPEED, check_full_speed);
    for series in [Series::V6_12, Series::V6_1] {
        suite.add(series, Mode::Icount, case("bufmon-forms", FORMS), check_forms);
    }
}

/// The report, the only association's summary, and what the client says of it.
fn one(folder: &Path) -> Result<(Report, Value, Association)> {
    let report = Report::read(folder, "bufmon")?;
    let summaries: Vec<_> = report.objects("summary").cloned().collect();
    ensure!(summaries.len() == 1, "{} summaries", summaries.len());
    let client = traffic(folder, "client.json")?.pop().context("no association")?;
    ensure!(summaries[0]["assoc_id"] == client.assoc_id, "{} of {client:?}", summaries[0]);
    Ok((report, summaries[0].clone(), client))
}

fn number(object: &Value, key: &str) -> Result<f64> {
    object[key].as_f64().with_context(|| format!("{key}: {object}"))
}

/// Windows of the SACKs that came in, with their times in ns.
fn windows(folder: &Path) -> Result<Vec<(u64, u32)>> {
    let mut found = Vec::new();
    for frame in captured(folder, &["a0"])? {
        let from_peer = frame.packet.source == 5000;
        for chunk in &frame.packet.chunks {
            if let (true, Chunk::Sack(sack)) = (from_peer, chunk) {
                found.push((frame.time_ns, sack.a_rwnd));
            }
        }
    }
    Ok(found)
}

/// The peer's window is that of the SACKs in the capture.
fn check_windows(folder: &Path, summary: &Value) -> Result<()> {
    let windows: Vec<_> = windows(folder)?.into_iter().map(|(_, window)| f64::from(window)).collect();
    ensure!(summary["rwnd_samples"] == windows.len(), "{} SACKs: {summary}", windows.len());
    let mean = windows.iter().sum::<f64>() / windows.len() as f64;
    let min = windows.iter().copied().fold(f64::INFINITY, f64::min);
    ensure!((number(summary, "rwnd_avg_bytes")? / mean - 1.0).abs() < 0.01, "mean {mean}: {summary}");
    ensure!(number(summary, "rwnd_min_bytes")? == min, "minimum {min}: {summary}");
    Ok(())
}

fn check_waits(report: &Report, summary: &Value, client: &Association) -> Result<()> {
    let (waited, expected) = (number(summary, "wait_total_us")?, client.sending.blocked_us as f64);
    eprintln!(
        "    {} waits of {}, {waited:.0} us of {expected:.0}",
        summary["wait_events"], client.sending.blocked_sends
    );
    ensure!(summary["wait_events"] == client.sending.blocked_sends, "{:?}: {summary}", client.sending);
    ensure!((waited / expected - 1.0).abs() < 0.02, "waited {expected} us: {summary}");
    ensure!(report.objects("sample").count() as u64 == client.sending.blocked_sends, "objects of waits");
    let sum: f64 = report.objects("sample").filter_map(|wait| wait["wait_us"].as_f64()).sum();
    ensure!((sum - waited).abs() < 1.0, "{sum} us in samples, {waited} in the summary");
    Ok(())
}

fn check_slow_reader(folder: &Path) -> Result<()> {
    let (report, summary, client) = one(folder)?;
    check_windows(folder, &summary)?;
    ensure!(client.sending.blocked_sends > 50, "{:?}", client.sending);
    check_waits(&report, &summary, &client)?;
    ensure!(summary["refused_events"] == 0, "{summary}");
    let util = number(&summary, "util_max_pct")?;
    // A sender waits until its message fits, by its length; the kernel then adds its own overhead.
    ensure!((90.0..=110.0).contains(&util), "a full buffer: {summary}");
    ensure!(report.end["events"] == summary["util_samples"], "{}", report.end);
    Ok(())
}

fn check_shared(folder: &Path) -> Result<()> {
    check_policy(folder, 90.0)
}

fn check_own(folder: &Path) -> Result<()> {
    check_policy(folder, 90.0)
}

fn check_policy(folder: &Path, least: f64) -> Result<()> {
    let report = Report::read(folder, "bufmon")?;
    let summaries: Vec<_> = report.objects("summary").collect();
    ensure!(summaries.len() == 2, "{} summaries", summaries.len());
    for summary in summaries {
        let util = number(summary, "util_max_pct")?;
        ensure!((least..=110.0).contains(&util), "{summary}");
        ensure!(summary["wait_events"].as_u64().is_some_and(|n| n > 20), "{summary}");
    }
    Ok(())
}

fn check_unblocked(folder: &Path) -> Result<()> {
    let (_, summary, client) = one(folder)?;
    check_windows(folder, &summary)?;
    ensure!(client.sending.blocked_sends == 0 && summary["wait_events"] == 0, "{summary}");
    ensure!(summary["refused_events"] == 0 && summary["stalls"] == 0, "{summary}");
    Ok(())
}

fn check_nonblocking(folder: &Path) -> Result<()> {
    let (_, summary, client) = one(folder)?;
    ensure!(client.sending.refused_sends > 50, "{:?}", client.sending);
    ensure!(summary["refused_events"] == client.sending.refused_sends, "{:?}: {summary}", client.sending);
    ensure!(summary["wait_events"] == 0, "{summary}");
    Ok(())
}

/// The stall verdicts.
fn only_stall(report: &Report) -> Result<&Value> {
    let stalls: Vec<_> = report.objects("stall").collect();
    ensure!(stalls.len() == 1, "{} stalls: {stalls:?}", stalls.len());
    Ok(stalls[0])
}

fn check_reader_stops(folder: &Path) -> Result<()> {
    let (report, summary, _) = one(folder)?;
    check_windows(folder, &summary)?;
    let stall = only_stall(&report)?;
    ensure!(stall["cause"] == "peer_window_closed", "{stall}");
    ensure!(number(stall, "unacked_bytes")? > 1000.0, "{stall}");
    ensure!(summary["stalls"] == 1 && summary["stall_cause"] == "peer_window_closed", "{summary}");
    let lasted = number(&summary, "stall_total_ms")?;
    ensure!((3000.0..7000.0).contains(&lasted), "{summary}");

    let (mut closed_ms, mut episodes, mut since) = (0.0, 0, None);
    for (time_ns, window) in windows(folder)? {
        match (since, window) {
            (None, 0) => {
                since = Some(time_ns);
                episodes += 1;
            }
            (Some(begin), 1..) => {
                closed_ms += (time_ns - begin) as f64 / 1e6;
                since = None;
            }
            _ => {}
        }
    }
    ensure!(summary["zero_window_events"] == episodes && episodes > 0, "{episodes} episodes: {summary}");
    let shown = number(&summary, "zero_window_ms")?;
    ensure!((shown / closed_ms - 1.0).abs() < 0.01, "closed for {closed_ms} ms: {summary}");

    // The other side's receive buffer was full meanwhile.
    let server: Vec<Value> = crate::compare::objects(&folder.join("server-side.json"))?;
    let server = server.iter().find(|object| object["type"] == "summary").context("no server side")?;
    ensure!(number(server, "recv_util_max_pct")? > 50.0 && server["own_rwnd_min_bytes"] == 0, "{server}");
    let text = text(&folder.join("extended.out"))?;
    ensure!(text.matches(" stalled since ").count() == 1, "{text}");
    Ok(())
}

fn check_blackout(folder: &Path) -> Result<()> {
    let (report, summary, _) = one(folder)?;
    let stall = only_stall(&report)?;
    ensure!(stall["cause"] == "path_lossy", "{stall}");
    ensure!(summary["stalls"] == 1 && summary["zero_window_events"] == 0, "{summary}");
    let lasted = number(&summary, "stall_total_ms")?;
    ensure!((3500.0..9000.0).contains(&lasted), "{summary}");
    Ok(())
}

/// Nothing of the wait was seen but that it lasts.
fn check_blocked(folder: &Path) -> Result<()> {
    let report = Report::read(folder, "bufmon")?;
    let summaries: Vec<_> = report.objects("summary").collect();
    ensure!(summaries.len() == 1, "{} summaries", summaries.len());
    let waited = number(summaries[0], "wait_total_us")?;
    ensure!(summaries[0]["wait_events"] == 1 && (3.9e6..6e6).contains(&waited), "{}", summaries[0]);
    ensure!(report.objects("sample").count() == 0, "a wait has ended");
    let (mut events, mut parts, mut intervals) = (0.0, 0.0, 0);
    for interval in report.objects("interval") {
        let part = number(interval, "wait_total_us")?;
        ensure!(part <= 1.5e6, "more than the interval: {interval}");
        events += number(interval, "wait_events")?;
        parts += part;
        intervals += 1;
    }
    ensure!(intervals >= 4 && events == 1.0, "{intervals} intervals, {events} waits");
    ensure!((parts - waited).abs() < 1.0, "{parts} us in intervals, {waited} in all");
    let text = text(&folder.join("text.out"))?;
    ensure!(text.contains("    Wait events: 1\n"), "{text}");
    Ok(())
}

/// Sends waited, and not for room in their buffer.
fn check_memory(folder: &Path) -> Result<()> {
    let (report, summary, client) = one(folder)?;
    ensure!(client.sending.blocked_sends > 10, "{:?}", client.sending);
    check_waits(&report, &summary, &client)?;
    ensure!(number(&summary, "util_max_pct")? < 90.0, "{summary}");
    Ok(())
}

/// Each message of the sender that is not blocked was looked at, and all the others wait.
fn check_many_blocked(folder: &Path) -> Result<()> {
    let [kprobe, other] = ["kprobe", "other"].map(|name| text(&folder.join(format!("{name}.out"))));
    let waits = |row: &str| row.ends_with(",1");
    let kprobe = kprobe?;
    ensure!(kprobe.lines().filter(|row| waits(row)).count() == 24, "{kprobe}");
    let other = other?;
    let row: Vec<_> = other.lines().nth(1).context("no row")?.split(',').collect();
    let [looks, sacks] = [4, 10].map(|column: usize| row.get(column).and_then(|n| n.parse::<u64>().ok()));
    let sends =
        looks.zip(sacks).and_then(|(looks, sacks)| looks.checked_sub(sacks)).context(other.clone())?;
    ensure!(sends >= 200, "{sends} sends: {other}");
    Ok(())
}

fn check_full_speed(folder: &Path) -> Result<()> {
    let (report, summary, client) = one(folder)?;
    check_windows(folder, &summary)?;
    ensure!(summary["util_samples"].as_u64().is_some_and(|n| n > 20_000), "{summary}");
    ensure!(summary["wait_events"] == client.sending.blocked_sends, "{:?}: {summary}", client.sending);
    ensure!(report.objects("interval").count() > 0, "no intervals");
    Ok(())
}

fn check_forms(folder: &Path) -> Result<()> {
    for name in ["text", "csv", "csv-quiet", "file", "extended", "kprobe", "kprobe-extended"] {
        let errors = text(&folder.join(format!("{name}.err")))?;
        let status = text(&folder.join(format!("{name}.status")))?;
        ensure!(status == "0\n" && says_nothing(&errors), "{name}: {status}: {errors}");
    }
    contract(folder, "bufmon-text", &["text.out"])?;
    contract(folder, "bufmon-csv", &["csv.out"])?;
    contract(folder, "bufmon-csv-quiet", &["csv-quiet.out"])?;
    contract(folder, "bufmon-file", &["file.out", "rows/bufmon.csv"])?;
    same_by_kprobes(folder)
}
