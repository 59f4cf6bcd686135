//! The flag `--events`, with a peer outside the kernel (`sctp-fuzz`): ABORTs with hostile text, handshakes that fail in
//! each way, and a collision of two INITs. With the kernel's own ends: stale cookies, restarts and collisions.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::{Value, json};

use crate::compare::objects;
use crate::suite::Suite;

/// The text that `sctp-fuzz` puts into its ABORTs, as the commands print it: the first 24 of the 128 bytes that are
/// kept.
const HARMLESS: &str = "\\x3dcmd\\u{1b}[2J\\n\\u{202e}\\x3c/script>\\\"\\xff\\u{0}";
/// The hostile name of a process, in the notation of printf(1). The kernel keeps 15 bytes of it.
const NAME: &str = "=a\\033[2J<\\\"\\342\\200\\256\\n\\377bcd";
/// The same name, as the commands print it.
const HARMLESS_NAME: &str = "\\x3da\\u{1b}[2J\\x3c\\\\\\\"\\u{202e}\\n\\xffb";

const START: &str = "
for tool in $TOOLS; do start $tool sctp-$tool FLAGS --json -e -q -f $tool.json; done
for tool in $TOOLS; do start $tool-text sctp-$tool FLAGS -e -q; done
traced
";

/// b connects from the ports 7000 to 7006, each time to the port of the raw peer (10.1.0.9) that is higher by 34,000.
const RAW: &str = "
topology 65535; path 10ms
know r ra0 a a0 10.1.0.9
START
b sctp-fuzz echo --bind 10.2.0.1 2>echo.err &
until_true 10 grep -qs listening echo.err
a sctp-fuzz abort
a sctp-fuzz refuse 2>refuse.err &
until_true 10 grep -qs listening refuse.err
mkdir names
cp $(which sctp-ends) \"names/$(printf 'NAME')\"
for port in 7000 7001 7002 7003 7004 7005 7006; do
    how=connect
    [ $port != 7006 ] || how=wait
    /sbin/ip netns exec b names/* client --bind 10.2.0.1 --own-port $port --to 10.1.0.9 \\
        --port $((port + 34000)) $how 2>client-$port.err || true
done
trace_stop
rm -r names
killall sctp-fuzz || true
";

/// Namespace c takes a's address, as another host does that replaces a.
const BEGINS: &str = "
topology; path 60ms
ip netns add c
cable c c0 r rc0 1500
ip -n c address add 10.1.0.1/24 dev c0
ip -n c route add 10.2.0.0/24 via 10.1.0.254
know c c0 r rc0 10.1.0.254
START
b sctp-ends server --bind 10.2.0.1 2>server-0.err &
# A socket takes the sysctl's value when it is made.
until_true 10 grep -qs listening server-0.err
b sysctl -qw net.sctp.valid_cookie_life=60
b sctp-ends server --bind 10.2.0.1 --port 5001 2>server-1.err &
until_true 10 grep -qs listening server-1.err
client() {
    local ns=$1 port=$2
    shift 2
    /sbin/ip netns exec $ns sctp-ends client --bind 10.1.0.1 --to 10.2.0.1 --own-port $port \"$@\" 2>$ns-$port.err
}
# Cookies are too old after 60 ms, and take 120 ms: until b takes a's proposal of a longer time.
client a 6400 --port 5001 close
# Or does not take it. A kernel then begins anew for ever, as each INIT ACK sets its counter of attempts to 0
# (sctp_sf_do_5_1C_ack()), unless T1-cookie has run out before the ERROR comes.
b sysctl -qw net.sctp.cookie_preserve_enable=0
path 200ms
client a 6401 --port 5001 --attempts 1 connect
path 60ms

# Both begin at once. Each sends a message; a reads none.
/sbin/ip netns exec b sctp-ends client --bind 10.2.0.1 --own-port 6501 --to 10.1.0.1 --port 6500 --meet meet wait \\
    2>b-6501.err &
client a 6500 --port 6501 --meet meet close &
until_true 10 grep -qs ready a-6500.err
until_true 10 grep -qs ready b-6501.err
touch meet
wait $!

client a 6300 --after replaced linger &
until_true 10 grep -qs up a-6300.err
know r rc0 c c0 10.1.0.1
ip -n r route add 10.1.0.1/32 dev rc0
client c 6300 close
stat -L -c %i /run/netns/a /run/netns/c >inodes
sleep 1
touch replaced
sleep 1
trace_stop
killall sctp-ends || true
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for series in [Series::V6_12, Series::V6_1, Series::V7_3] {
        for (suffix, flags) in [("", ""), ("-kprobe", "--hooks kprobe")] {
            let start = START.replace("FLAGS", flags);
            let raw = RAW.replace("START", &start).replace("NAME", NAME);
            let begins = BEGINS.replace("START", &start);
            suite.add(series, Mode::Icount, Case::new(&format!("ends-raw{suffix}"), &raw), check_raw);
            suite.add(
                series,
                Mode::Icount,
                Case::new(&format!("ends-begins{suffix}"), &begins),
                check_begins,
            );
        }
    }
}

/// Events in order, by the association's local port and the peer's port.
type Expected = BTreeMap<(u16, u16), Vec<Value>>;

/// Ensures that each command has exactly the events `expected`, and that neither its JSON nor its text output has a
/// character that could harm a terminal.
fn ensure_events(folder: &Path, expected: &Expected) -> Result<()> {
    for tool in TOOLS {
        let path = folder.join(format!("{tool}.json"));
        let rows: Vec<Value> = objects(&path)?;
        let end = rows.iter().find(|row| row["type"] == "end").context("no end")?;
        ensure!(end["lost"] == 0, "{tool}: {end}");
        let mut all: Expected = BTreeMap::new();
        for event in rows.iter().filter(|row| row["type"] == "association") {
            all.entry((port(&event["local"])?, port(&event["peer"])?)).or_default().push(event.clone());
        }
        for (ports, expected) in expected {
            let events = all.remove(ports).unwrap_or_default();
            ensure!(events.len() == expected.len(), "{tool}: {ports:?}: {events:#?}");
            for (event, expected) in events.iter().zip(expected) {
                for (key, value) in expected.as_object().context("no object")? {
                    ensure!(event[key] == *value, "{tool}: {key} is {}, not {value}, of {event}", event[key]);
                }
            }
        }
        ensure!(all.is_empty(), "{tool}: events that nothing has caused: {all:#?}");
        for output in [path, folder.join(format!("{tool}-text.out"))] {
            let output = text(&output)?;
            let harmful =
                |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{202e}' || c == '\u{fffd}';
            ensure!(!output.contains(harmful), "{tool}: {output:?}");
            ensure!(!output.contains("</script"), "{tool}: {output:?}");
        }
        let lines = text(&folder.join(format!("{tool}-text.out")))?;
        let events: usize = expected.values().map(Vec::len).sum();
        let count = lines
            .lines()
            .filter(|line| line.starts_with("Association ") && line.contains(", netns "))
            .count();
        ensure!(count == events, "{tool}: {count} lines, and {events} events: {lines}");
    }
    Ok(())
}

fn port(at: &Value) -> Result<u16> {
    let at = at.as_str().context("no address")?;
    Ok(at.rsplit_once(':').context("no port")?.1.parse()?)
}

fn check_raw(folder: &Path) -> Result<()> {
    let up = json!({ "event": "up", "initiated": "peer", "life": 1 });
    let end = |code: Value, text: Value| json!({ "event": "end", "reason": "abort_received", "by": "peer", "cause_code": code, "text": text, "left_bytes": 0 });
    let long = format!("{HARMLESS}{}", "x".repeat(128 - 24));
    let none = Value::Null;
    let mut expected = Expected::new();
    for (port, code, text) in [
        (40_000, none.clone(), none.clone()),
        (40_001, none.clone(), none.clone()),
        (40_002, json!(0x1234), none.clone()),
        (40_003, json!(12), json!(long)),
        (40_004, json!(1), none.clone()),
        (40_005, json!(13), json!("violation")),
        (40_006, none.clone(), none.clone()),
        (40_007, json!(12), json!("right")),
    ] {
        expected.insert((6000, port), vec![up.clone(), end(code, text)]);
    }
    let failed = |reason: &str, by: Value, more: Value| {
        let mut event = json!({ "event": "failed", "reason": reason, "by": by, "initiated": "here",
            "comm": HARMLESS_NAME, "orphan": false, "limit": null, "cause_code": null, "text": null });
        for (key, value) in more.as_object().into_iter().flatten() {
            event[key] = value.clone();
        }
        event
    };
    let peer = json!("peer");
    let timeout = || failed("timeout", Value::Null, json!({ "limit": "init_attempts", "inits": 3 }));
    for (port, event) in [
        (7000, failed("refused", peer.clone(), json!({ "inits": 1 }))),
        (7001, failed("refused", peer.clone(), json!({ "cause_code": 12, "text": long }))),
        (7002, failed("refused", peer, json!({ "cause_code": 12, "text": "text" }))),
        (7003, failed("unreachable", Value::Null, json!({ "inits": 1 }))),
        // ICMP with another code than "protocol unreachable" does not end a handshake at once: the INITs go on to their
        // limit (sctp_v4_err_handle()).
        (7004, timeout()),
        (7005, timeout()),
    ] {
        expected.insert((port, port + 34_000), vec![event]);
    }
    let collided = vec![
        json!({ "event": "up", "initiated": "here", "life": 1, "inits": 1 }),
        json!({ "event": "end", "reason": "abort_received", "cause_code": null, "initiated": "here", "life": 1,
            "left_bytes": 1 }),
    ];
    expected.insert((7006, 41_006), collided);
    ensure_events(folder, &expected)
}

fn check_begins(folder: &Path) -> Result<()> {
    let up = |initiated: &str| json!({ "event": "up", "initiated": initiated, "life": 1 });
    let shutdown = |by: &str, life: u32| json!({ "event": "end", "reason": "shutdown", "by": by, "left_bytes": 0, "life": life });
    let twice = json!({ "event": "up", "initiated": "here", "inits": 2 });
    let stale =
        json!({ "event": "failed", "reason": "stale_cookie", "by": "peer", "inits": 2, "cause_code": null });
    let linger = json!({ "event": "end", "reason": "abort_sent", "why": "linger", "by": "here" });
    let unread =
        json!({ "event": "end", "reason": "abort_sent", "why": "unread_data", "life": 1, "left_bytes": 0 });
    let aborted =
        json!({ "event": "end", "reason": "abort_received", "cause_code": 12, "life": 1, "left_bytes": 0 });
    let restart = json!({ "event": "restart", "life": 1, "reason": null, "duration_s": null });
    let expected = Expected::from([
        ((6400, 5001), vec![twice, shutdown("here", 1)]),
        ((5001, 6400), vec![up("peer"), shutdown("peer", 1)]),
        ((6401, 5001), vec![stale]),
        ((6500, 6501), vec![up("here"), unread]),
        ((6501, 6500), vec![up("here"), aborted]),
        // Associations of a, and of c, which took a's place.
        ((6300, 5000), vec![up("here"), up("here"), shutdown("here", 1), linger]),
        ((5000, 6300), vec![up("peer"), restart, shutdown("peer", 2)]),
    ]);
    ensure_events(folder, &expected)?;
    let inodes = text(&folder.join("inodes"))?;
    let inodes: Vec<u64> = inodes.lines().map(str::parse).collect::<Result<_, _>>()?;
    for tool in TOOLS {
        let rows: Vec<Value> = objects(&folder.join(format!("{tool}.json")))?;
        let is_of_both =
            |row: &&Value| row["type"] == "association" && port(&row["local"]).is_ok_and(|at| at == 6300);
        let netns: Vec<u64> =
            rows.iter().filter(is_of_both).filter_map(|row| row["netns"].as_u64()).collect();
        ensure!(netns == [inodes[0], inodes[1], inodes[1], inodes[0]], "{tool}: {netns:?}, not {inodes:?}");
        // Each side of a collision is up after one and a half round trips, as the other's COOKIE ECHO comes; and that
        // with a stale cookie after four.
        for (own, round_trips) in [(6500, 1.5), (6501, 1.5), (6400, 4.0)] {
            let is_up = |row: &&Value| row["event"] == "up" && port(&row["local"]).is_ok_and(|at| at == own);
            let row = rows.iter().find(is_up).context("no up")?;
            let us = row["handshake_us"].as_f64().context("no handshake")?;
            let least = 120e3 * round_trips;
            ensure!((least - 40e3..least + 20e3).contains(&us), "{tool}: {row}");
        }
    }
    Ok(())
}
