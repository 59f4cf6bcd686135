//! The flag `--events`: begins, restarts and ends of associations, each with its reason, are compared with what
//! `sctp-ends` did at the two ends.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::{Value, json};

use crate::compare::objects;
use crate::suite::Suite;

/// The text that the client writes into its ABORT: control characters, a change of direction, quotes, a formula, and
/// bytes that are not UTF-8. The script makes the text longer than what the command keeps.
const HOSTILE: &str = "=cmd\\x1b[2J\\x0a\\xe2\\x80\\xae</script>\\x22\\xff";
/// The same text, as the commands print it.
const HARMLESS: &str = "\\x3dcmd\\u{1b}[2J\\n\\u{202e}\\x3c/script>\\\"\\xff";

/// Shell function `ends PORT HOW`: a client in a, on the port PORT, begins an association and ends it in the way HOW.
/// Associations of ports below 6100 take path 0. The others take path 1, which goes down in the middle of the run.
/// Shell function `up NUMBER`: succeeds if NUMBER clients' associations are up.
const ENDS: &str = "
topology; path 10ms 0; path 10ms 1
for address in 10.2.0.1 10.2.1.1; do b sctp-ends server --bind $address 2>server-$address.err & done
b sctp-ends server --bind 10.2.0.1 --port 5001 --after accept 2>server-late.err &
b sctp-ends server --bind 10.2.0.1 --port 5002 --many 2>server-many.err &
listening() { [ $(cat server-*.err | grep -c listening) = 4 ]; }
until_true 10 listening
ends() {
    local port=$1 how=$2 path=0
    shift 2
    [ $port -lt 6100 ] || path=1
    /sbin/ip netns exec a sctp-ends client --bind 10.1.$path.1 --to 10.2.$path.1 --own-port $port \"$@\" $how \\
        2>client-$port.err
}
up() { [ $(cat client-*.err | grep -c up) = $1 ]; }
ends 6000 close --after down &
until_true 10 up 1
for tool in $TOOLS; do start $tool sctp-$tool FLAGS --json -e -q -f $tool.json; done
start text sctp-jitter FLAGS -e -q
traced

ends 6001 close
ends 6002 unread
ends 6003 linger
ends 6004 abort --text 'HOSTILE'$(printf '%200s' | tr ' ' x)
ends 6005 abort
ends 6006 peer-aborts --port 5002 --text 'going down for maintenance'
ends 6007 connect --port 999
ends 6008 connect-many --port 999
ends 6009 abort --port 5001 --text unaccepted
touch accept

for end in '6100 silence' '6101 silent-shutdown' '6102 kill' '6103 linger' '6107 abandon'; do ends $end --after down & done
until_true 10 up 13
path_down 1
touch down
wait $! || true
ends 6104 connect
ends 6105 connect-many
ends 6106 connecting
sleep 3
path 10ms 1
# Silence ended in a what b still has: so the peer begins anew. The port is that of 6103.
ends 6103 close
sleep 3
trace_stop
killall sctp-ends || true
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for series in [Series::V6_12, Series::V6_1, Series::V7_3] {
        for (name, flags) in [("ends", ""), ("ends-kprobe", "--hooks kprobe")] {
            let script = ENDS.replace("FLAGS", flags).replace("HOSTILE", HOSTILE);
            let has_kprobes = !flags.is_empty();
            suite.add(series, Mode::Icount, Case::new(name, &script), move |folder| {
                check(folder, has_kprobes)
            });
        }
    }
}

/// Returns the events of one end (`a` or `b`) of the association whose port in a is `port`.
fn events_of(all: &[Value], end: &str, port: u16) -> Vec<Value> {
    let key = if end == "a" { "local" } else { "peer" };
    let is_of = |event: &&Value| event[key].as_str().is_some_and(|at| at.ends_with(&format!(":{port}")));
    all.iter().filter(is_of).cloned().collect()
}

/// Ensures that an event has members with these values.
fn ensure_has(event: &Value, expected: &Value) -> Result<()> {
    for (key, value) in expected.as_object().context("no object")? {
        ensure!(event[key] == *value, "{key} is {}, not {value}, of {event}", event[key]);
    }
    Ok(())
}

/// With kprobes the kernel leaves a program out that would interrupt another one: an event may be missing then, and is
/// counted. (6.1 does not count: there none may be missing.)
fn check(folder: &Path, has_kprobes: bool) -> Result<()> {
    let long = format!("{HARMLESS}{}", "x".repeat(128 - 23));
    let abort_sent = |why: &str, text: Value| json!({ "event": "end", "reason": "abort_sent", "by": "here", "why": why, "cause_code": 12, "cause": "user initiated", "text": text });
    let received = |text: Value| json!({ "event": "end", "reason": "abort_received", "by": "peer", "why": null, "cause_code": 12, "text": text });
    let shutdown =
        |by: &str| json!({ "event": "end", "reason": "shutdown", "by": by, "left_bytes": 0, "text": null });
    let failed = |reason: &str, by: Value, limit: Value| json!({ "event": "failed", "reason": reason, "by": by, "limit": limit, "initiated": "here", "duration_s": null });
    let timeout = |limit: &str, left: u64| json!({ "event": "end", "reason": "timeout", "by": null, "limit": limit, "left_bytes": left });
    let up_here = json!({ "event": "up", "initiated": "here", "life": 1, "reason": null });
    let up_there = json!({ "event": "up", "initiated": "peer", "handshake_us": null, "inits": null });
    // By a's port and by end (`a` or `b`): the events that this end must have, in order.
    let mut expected: BTreeMap<(u16, &str), Vec<Value>> = BTreeMap::new();
    let mut of = |port: u16, a: Vec<Value>, b: Vec<Value>| {
        expected.insert((port, "a"), a);
        expected.insert((port, "b"), b);
    };
    let both = |port: u16, a: Value, b: Value| (port, vec![up_here.clone(), a], vec![up_there.clone(), b]);
    let found = |initiated: &str| json!({ "event": "found", "initiated": initiated, "duration_s": null, "streams_out": 10 });
    of(6000, vec![found("here"), shutdown("here")], vec![found("peer"), shutdown("peer")]);
    for (port, a, b) in [
        both(6001, shutdown("here"), shutdown("peer")),
        both(6002, abort_sent("unread_data", Value::Null), received(Value::Null)),
        both(6003, abort_sent("linger", Value::Null), received(Value::Null)),
        both(6004, abort_sent("application", json!(long)), received(json!(long))),
        both(6005, abort_sent("application", Value::Null), received(Value::Null)),
        both(
            6006,
            received(json!("going down for maintenance")),
            abort_sent("application", json!("going down for maintenance")),
        ),
        both(6009, abort_sent("application", json!("unaccepted")), received(json!("unaccepted"))),
    ] {
        of(port, a, b);
    }
    let refused = failed("refused", json!("peer"), Value::Null);
    of(6007, vec![refused.clone()], vec![]);
    of(6008, vec![refused], vec![]);
    let unanswered = failed("timeout", Value::Null, json!("init_attempts"));
    of(6104, vec![unanswered.clone()], vec![]);
    of(6105, vec![unanswered], vec![]);
    of(6106, vec![failed("closed_here", json!("here"), Value::Null)], vec![]);
    let up_b = || vec![up_there.clone()];
    // The peer's first window has room for four of the five messages. The fifth is never sent: so the header of its
    // chunk, 16 bytes, counts, too.
    let left = 5 * 1000 + 16;
    of(6100, vec![up_here.clone(), timeout("assoc_max_retrans", left)], up_b());
    of(6101, vec![up_here.clone(), timeout("shutdown_guard", 0)], up_b());
    // All five messages of this association were sent at least once: so no header counts.
    let mut orphan = timeout("assoc_max_retrans", 5 * 1000);
    orphan["orphan"] = json!(true);
    of(6107, vec![up_here.clone(), orphan], up_b());
    // a ends its association and makes another from the same port. In b this is a restart of the one that b has.
    let restart = json!({ "event": "restart", "life": 1, "reason": null });
    let mut second = shutdown("peer");
    second["life"] = json!(2);
    of(
        6103,
        vec![up_here.clone(), abort_sent("linger", Value::Null), up_here.clone(), shutdown("here")],
        vec![up_there.clone(), restart, second],
    );

    for tool in TOOLS {
        let rows: Vec<Value> = objects(&folder.join(format!("{tool}.json")))?;
        let all_of_run = rows.iter().find(|row| row["type"] == "end").context("no end")?;
        ensure!(all_of_run["lost"] == 0, "{tool}: {all_of_run}");
        let is_event = |row: &&Value| row["type"] == "association";
        let all: Vec<Value> = rows.iter().filter(is_event).cloned().collect();
        let mut missing = 0;
        for ((port, end), expected) in &expected {
            let events = events_of(&all, end, *port);
            let mut expected = expected.as_slice();
            for event in &events {
                let at = expected.iter().position(|other| !has_kprobes || event["event"] == other["event"]);
                let at = at.with_context(|| format!("{tool}: {end} of port {port}: {events:#?}"))?;
                ensure_has(event, &expected[at]).with_context(|| format!("{tool}: {end} of port {port}"))?;
                check_common(event)?;
                missing += at;
                expected = &expected[at + 1..];
            }
            ensure!(has_kprobes || expected.is_empty(), "{tool}: {end} of port {port}: {events:#?}");
            missing += expected.len();
        }
        let missed = all_of_run["skipped"]["missed"].as_u64().unwrap_or(0);
        ensure!(missing as u64 <= missed, "{tool}: {missing} events missing, at most {missed}");
        // The process was killed, and its data is still unacknowledged: so no process has the socket.
        let killed = events_of(&all, "a", 6102);
        ensure!(killed.iter().skip(1).all(|event| event["orphan"] == true), "{tool}: {killed:#?}");
        let known: usize = expected.values().map(Vec::len).sum();
        let others = all.len() + missing - known - killed.len() - events_of(&all, "b", 6102).len();
        ensure!(others == 0, "{tool}: {others} events that nothing has caused");
    }
    // Before its close(), each client of `close` makes three sends that are refused.
    let rows: Vec<Value> = objects(&folder.join("bufmon.json"))?;
    for summary in rows.iter().filter(|row| row["type"] == "summary") {
        let closes = [":6000", ":6001"]
            .iter()
            .any(|port| summary["local"].as_str().is_some_and(|at| at.ends_with(port)));
        if closes {
            ensure_has(summary, &json!({ "refused_einval": 3, "refused_other": 0, "refused_eagain": 0 }))?;
        }
    }
    ensure!(
        rows.iter().any(|row| row["type"] == "summary" && row["refused_einval"] == 3),
        "no sends refused"
    );
    let lines = text(&folder.join("text.out"))?;
    for line in [
        "ABORT received, cause 12 (user initiated) \"going down for maintenance\"",
        "did not come up",
        "refused: ABORT received",
        "shut down by the peer",
        "was begun anew",
        "is there at",
    ] {
        ensure!(lines.contains(line), "no {line:?} in {lines}");
    }
    ensure!(!lines.contains('\u{1b}') && !lines.contains('\u{202e}'), "{lines:?}");
    Ok(())
}

/// Ensures what is true of every event.
fn check_common(event: &Value) -> Result<()> {
    let has_settings = event["event"] == "up" || event["event"] == "found";
    ensure!(has_settings == event["sndbuf_bytes"].is_u64(), "{event}");
    ensure!(has_settings == (event["paths"].as_array().map_or(0, Vec::len) == 1), "{event}");
    let is_up_here = event["event"] == "up" && event["initiated"] == "here";
    let handshake = event["handshake_us"].as_f64();
    // A handshake takes two round trips of 20 ms, and the time that the machine needs.
    ensure!(is_up_here == handshake.is_some_and(|us| (40e3..60e3).contains(&us)), "{event}");
    if is_up_here {
        ensure_has(
            event,
            &json!({ "inits": 1, "rto_initial_ms": 300.0, "rto_min_ms": 200.0, "rto_max_ms": 400.0 }),
        )?;
    }
    Ok(())
}
