//! Findings of all commands: traffic that causes each finding, and traffic that looks similar and must not cause it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::of_type;
use crate::suite::Suite;

/// Traffic of one or more associations from the same port of a's, and what the commands find in it.
struct Scenario {
    /// The client's port.
    port: u16,
    /// Lines of shell. `one SERVER_FLAGS CLIENT_FLAGS` makes the traffic.
    script: &'static str,
    /// Each finding: its command, its code, and the side whose association it is about.
    found: &'static [[&'static str; 3]],
    /// Findings that may be there or not: they would be true as well, and depend on which packets were under way at
    /// what moment.
    may: &'static [[&'static str; 3]],
}

/// What is found where chunks are lost, one of them so often that the association stalls.
const LOSS: [[&str; 3]; 3] =
    [["rto", "real_loss", "a"], ["bufmon", "one_missing", "a"], ["streamutil", "hol_blocking", "b"]];

const SCENARIOS: &[Scenario] = &[
    // Messages of three packets: the SACK of the third is held back.
    Scenario {
        port: 7001,
        script: "one '--bind 10.2.0.1 --sack-delay 200' '--bind 10.1.0.1 --count 20 --rate 4 --size 4000'",
        found: &[["rtt", "delayed_sack", "a"]],
        may: &[],
    },
    // Messages of three packets, and RTO.Min is below the delay of the third packet's SACK.
    Scenario {
        port: 7002,
        script: "one '--bind 10.2.0.1 --sack-delay 200' \
            '--bind 10.1.0.1 --count 12 --rate 2 --size 4000 --rto-min 100 --rto-initial 300 --linger 1000'",
        found: &[["rto", "rto_below_sack_delay", "a"]],
        may: &[],
    },
    // No SACK comes on the primary path any more. Messages are small, so that an expiry sends several again: whether
    // several expiries fall into the intervals that evidence covers depends on HEARTBEATs, which come at random times.
    Scenario {
        port: 7003,
        script: "lose_sacks 100 3 20
            one '--bind 10.2.0.1,10.2.1.1' '--bind 10.1.0.1,10.1.1.1 --to 10.2.0.1,10.2.1.1 --count 200 --rate 10 \
                --size 100 --nodelay'
            lose_stop",
        found: &[["rto", "sacks_lost", "a"], ["rto", "path_jumped", "a"]],
        may: &[["bufmon", "path_silent", "a"]],
    },
    // Data is lost, on the only path; one chunk so often that the association stalls.
    Scenario {
        port: 7004,
        script: "lose 5 4
            one '--bind 10.2.0.1' '--bind 10.1.0.1 --count 600 --rate 100 --size 200 --nodelay'
            lose_stop",
        found: &LOSS,
        may: &[],
    },
    // Data is lost as above, and RTO.Min is small as well: no retransmission is needless.
    Scenario {
        port: 7005,
        script: "lose 5 4
            one '--bind 10.2.0.1 --sack-delay 40' \
                '--bind 10.1.0.1 --count 600 --rate 100 --size 200 --nodelay --rto-min 100 --rto-initial 300'
            lose_stop",
        found: &LOSS,
        may: &[],
    },
    // One stream of ten, and all ten.
    Scenario {
        port: 7006,
        script: "lose 5 5
            one '--bind 10.2.0.1 --streams 10' \
                '--bind 10.1.0.1 --streams 10 --used-streams 1 --count 600 --rate 100 --nodelay'
            lose_stop",
        found: &[
            ["rto", "real_loss", "a"],
            ["bufmon", "one_missing", "a"],
            ["streamutil", "one_stream", "a"],
            ["streamutil", "hol_blocking", "b"],
        ],
        may: &[],
    },
    Scenario {
        port: 7007,
        script: "lose 5 5
            one '--bind 10.2.0.1 --streams 10' '--bind 10.1.0.1 --streams 10 --count 600 --rate 100 --nodelay'
            lose_stop",
        found: &LOSS,
        may: &[],
    },
    Scenario {
        port: 7008,
        script: "one '--bind 10.2.0.1 --streams 4' \
            '--bind 10.1.0.1 --streams 4 --count 50 --rate 25 --nodelay --invalid-streams 7'",
        found: &[["streamutil", "invalid_stream", "a"]],
        may: &[],
    },
    // T3-rtx sends probes of a closed window again, and each is lost on purpose: that is no loss on the path.
    Scenario {
        port: 7009,
        script: "one '--bind 10.2.0.1 --read-after 6000 --rcvbuf 30000' \
            '--bind 10.1.0.1 --count 100 --size 1000 --nodelay'",
        found: &[["bufmon", "window_closed", "a"]],
        may: &[],
    },
    Scenario {
        port: 7010,
        script: "lose_tsn 50 2
            one '--bind 10.2.0.1' '--bind 10.1.0.1 --count 300 --rate 100 --size 200 --nodelay'
            lose_stop",
        found: &[["bufmon", "one_missing", "a"], ["streamutil", "hol_blocking", "b"]],
        may: &[],
    },
    Scenario {
        port: 7011,
        script: "lose_tsn 50 2
            one '--bind 10.2.0.1 --rcvbuf 30000' '--bind 10.1.0.1 --count 600 --size 100 --nodelay'
            lose_stop",
        found: &[["bufmon", "window_full_of_gaps", "a"], ["streamutil", "hol_blocking", "b"]],
        may: &[],
    },
    Scenario {
        port: 7012,
        script: "(sleep 2; path_down 0; sleep 4; path 10ms 0) &
            one '--bind 10.2.0.1 --sack-delay 40' '--bind 10.1.0.1 --count 500 --rate 100 --size 200 --nodelay'",
        found: &[["bufmon", "path_silent", "a"]],
        may: &[["rto", "real_loss", "a"]],
    },
    // The primary path fails for good. b has confirmed the other one by then, so that its SACKs come there from the first
    // retransmission on: else b sends these on the path that failed, and a hears nothing but answers to its HEARTBEATs.
    Scenario {
        port: 7013,
        script: "b sysctl -qw net.sctp.hb_interval=500
            (sleep 7; path_down 0; sleep 15; path 10ms 0) &
            one '--bind 10.2.0.1,10.2.1.1 --sack-delay 40' '--bind 10.1.0.1,10.1.1.1 --to 10.2.0.1,10.2.1.1 \
                --count 1200 --rate 100 --size 200 --nodelay --path-retrans 1 --rto-min 200 --heartbeat 500'
            sleep 10
            b sysctl -qw net.sctp.hb_interval=30000",
        found: &[["rto", "path_jumped", "a"], ["rto", "no_spare_path", "a"]],
        may: &[],
    },
    // The second path does not work from the beginning: a gives it up, and b has never confirmed it.
    Scenario {
        port: 7014,
        script: "path_down 1
            one '--bind 10.2.0.1,10.2.1.1 --sack-delay 40' '--bind 10.1.0.1,10.1.1.1 --to 10.2.0.1,10.2.1.1 \
                --count 100 --rate 10 --rto-initial 300 --heartbeat 500 --path-retrans 1'
            path 10ms 1",
        found: &[["rto", "no_spare_path", "a"], ["rto", "no_spare_path", "b"]],
        may: &[],
    },
    // The second path works, and is idle.
    Scenario {
        port: 7015,
        script: "one '--bind 10.2.0.1,10.2.1.1 --sack-delay 40' '--bind 10.1.0.1,10.1.1.1 --to 10.2.0.1,10.2.1.1 \
            --count 100 --rate 10 --rto-initial 300 --heartbeat 500'",
        found: &[],
        may: &[],
    },
    // A round trip takes 200 ms.
    Scenario {
        port: 7016,
        script: "path 100ms
            one '--bind 10.2.0.1' '--bind 10.1.0.1 --count 600 --rate 100 --size 1000 --nodelay'
            path 10ms",
        found: &[],
        may: &[],
    },
    // Small messages, gathered by Nagle, while the peer holds back its SACKs.
    Scenario {
        port: 7018,
        script: "one '--bind 10.2.0.1' '--bind 10.1.0.1 --count 300 --rate 100 --size 100'",
        found: &[["bufmon", "nagle_delayed_sack", "a"]],
        may: &[],
    },
    Scenario {
        port: 7017,
        script: "path_down 0
            a sctp-ends client --bind 10.1.0.1 --to 10.2.0.1 --own-port 7017 unanswered
            path 10ms 0",
        found: &[["bufmon", "handshake_unanswered", "a"]],
        may: &[],
    },
];

/// A closed port of a's refuses an association, which `sctp-rtt` finds that runs in a, and no other.
const SCRIPT: &str = "
topology; path 10ms 0; path 10ms 1
trace host nsenter --net=/run/netns/a sctp-rtt --json -q -f host.json
start text sctp-bufmon -x -q
start csv sctp-bufmon -x -c -q
trace_all
one() {
    serve $1
    send --local-port $port $2
}
play() {
    port=$1
    . ./lines-$1
    sleep 4
}
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for (name, hooks) in [("findings", ""), ("findings-kprobe", "HOOKS=\"$HOOKS_FLAG kprobe\"\n")] {
        let mut script = format!("{hooks}{SCRIPT}");
        for Scenario { port, script: lines, .. } in SCENARIOS {
            script += &format!("cat >lines-{port} <<'END_OF_LINES'\n{lines}\nEND_OF_LINES\nplay {port}\n");
        }
        script += "b sctp-traffic client --bind 10.2.0.1 --to 10.1.0.1 --port 5999 --count 1 && fail 'no server' || true
            sleep 4; trace_stop";
        let mut case = Case::new(name, &script);
        case.limit = Duration::from_secs(600);
        suite.add(Series::V6_12, Mode::Icount, case, check);
    }
}

fn check(folder: &Path) -> Result<()> {
    let mut all = Vec::new();
    for tool in TOOLS {
        ends_well(folder, tool)?;
        let found: Vec<Value> = of_type(folder, tool, "finding")?;
        all.extend(found.into_iter().map(|finding| (tool, finding)));
    }
    let mut wrong = Vec::new();
    for scenario in SCENARIOS {
        let found: BTreeSet<_> = all
            .iter()
            .filter_map(|(tool, finding)| {
                Some([*tool, finding["code"].as_str()?, side(finding, scenario.port)?])
            })
            .collect();
        let expected: BTreeSet<_> = scenario.found.iter().copied().collect();
        let may: BTreeSet<_> = scenario.may.iter().copied().collect();
        if &found - &may != expected {
            wrong.push(format!("{}: {found:?}, not {expected:?}", scenario.port));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    begins_and_ends(&all)?;
    let host: Vec<Value> = of_type(folder, "host", "finding")?;
    let discards: Vec<_> = host.iter().filter(|f| f["code"] == "host_discards").collect();
    let [begin, end] = discards[..] else { anyhow::bail!("{discards:?}") };
    ensure!(
        begin["evidence"]["out_of_the_blue"].as_f64() == Some(1.0)
            && begin["end"].is_null()
            && !end["end"].is_null(),
        "{begin}"
    );
    lines(folder, &all)
}

/// Ensures that the command exited with 0, and has lost and evicted nothing.
fn ends_well(folder: &Path, tool: &str) -> Result<()> {
    let status = text(&folder.join(format!("{tool}.status")))?;
    let ends: Vec<Value> = of_type(folder, tool, "end")?;
    ensure!(status == "0\n" && ends.len() == 1, "{tool} exited with {status}: {ends:?}");
    ensure!(ends[0]["lost"] == 0 && ends[0]["evicted"] == 0, "{}", ends[0]);
    Ok(())
}

/// The association's side, if the finding is about an association of this port of a's.
fn side(finding: &Value, port: u16) -> Option<&'static str> {
    let is_of = |key: &str| finding[key].as_str()?.rsplit(':').next()?.parse().ok().map(|of: u16| of == port);
    match (is_of("local")?, is_of("peer")?) {
        (true, _) => Some("a"),
        (_, true) => Some("b"),
        _ => None,
    }
}

/// Each finding begins once before it is over.
fn begins_and_ends(all: &[(&str, Value)]) -> Result<()> {
    let mut open = BTreeSet::new();
    for (tool, finding) in all {
        let of = [tool, finding["code"].as_str().context("no code")?].map(str::to_owned);
        let key = (of, finding["netns"].as_u64(), finding["assoc_id"].as_u64(), finding["begin"].to_string());
        match finding["end"].as_str() {
            None => ensure!(open.insert(key), "twice: {finding}"),
            Some(_) => ensure!(open.remove(&key), "over, and never began: {finding}"),
        }
    }
    // After each scenario nothing happens until its findings are over; but no event of a spare path comes that would
    // end its finding.
    ensure!(open.iter().all(|([_, code], ..)| code == "no_spare_path"), "not over: {open:?}");
    Ok(())
}

/// `-x` has a line for each object, and CSV has none.
fn lines(folder: &Path, all: &[(&str, Value)]) -> Result<()> {
    let lines = text(&folder.join("text.out"))?;
    let lines: Vec<_> = lines.lines().filter(|line| line.starts_with("Finding ")).collect();
    let objects: Vec<_> =
        all.iter().filter(|(tool, _)| *tool == "bufmon").map(|(_, finding)| finding).collect();
    ensure!(lines.len() == objects.len(), "{} lines, {} objects", lines.len(), objects.len());
    for (line, object) in lines.iter().zip(objects) {
        let code = object["code"].as_str().context("no code")?;
        let begin = format!("Finding {code}{}: ", if object["end"].is_null() { "" } else { " is over" });
        ensure!(line.starts_with(&begin), "{line}: {object}");
    }
    ensure!(!text(&folder.join("csv.out"))?.contains("Finding"), "a line of text in CSV");
    Ok(())
}
