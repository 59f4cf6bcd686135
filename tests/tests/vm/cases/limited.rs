//! What limits a sender, by `sctp-bufmon` and by a program that asks its socket every millisecond (`sctp-limited`).

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::Report;
use crate::suite::Suite;
use crate::truth::bufmon::number;

/// The parts of the time, by their names in the output.
const PARTS: [&str; 6] = ["app_us", "sndbuf_us", "nagle_us", "cwnd_us", "rwnd_us", "other_us"];
/// How far a part may be from the sampler's, in percent of the sampler's whole time.
const POINTS: f64 = 2.0;

/// For each sender: its port, its round-trip time in ms, a part of its time, and the least share of that part in
/// percent.
const SENDERS: [(u16, f64, &str, f64); 8] = [
    (7000, 40.0, "app_us", 90.0),
    (7001, 40.0, "sndbuf_us", 80.0),
    (7002, 40.0, "sndbuf_us", 80.0),
    (7003, 40.0, "nagle_us", 80.0),
    (7004, 400.0, "cwnd_us", 50.0),
    (7005, 40.0, "rwnd_us", 80.0),
    (7006, 100.0, "other_us", 20.0),
    (7007, 40.0, "nagle_us", 50.0),
];

const SCRIPT: &str = "topology
    sysctl -qw net.core.wmem_max=4000000
    trace bufmon sctp-bufmon --json -q -f bufmon.json --netns /run/netns/a HOOKS
    # limited PORT DELAY \"SERVER'S FLAGS\" FLAG...: a sender from PORT, over a path of that delay.
    limited() {
        local port=$1
        path $2
        serve --bind 10.2.0.1 $3
        shift 3
        a sctp-limited --bind 10.1.0.1 --to 10.2.0.1 --own-port $port \"$@\" >$port.json
        wait $server
    }
    limited 7000 20ms '' --size 100 --count 150 --rate 50 --nodelay
    limited 7001 20ms '' --size 1000 --count 600 --sndbuf 8000 --nodelay
    limited 7002 20ms '' --size 1000 --count 600 --sndbuf 8000 --nodelay --nonblocking
    limited 7003 20ms '' --size 100 --count 600 --rate 200 --sndbuf 100000
    limited 7004 200ms '' --size 1000 --count 200 --sndbuf 2000000 --nodelay
    limited 7005 20ms '--read-delay 5 --rcvbuf 20000' --size 1000 --count 500 --sndbuf 2000000 --nodelay
    limited 7006 50ms '' --size 60000 --count 20 --rate 4 --sndbuf 2000000 --nodelay
    limited 7007 20ms '' --size 100 --count 1500 --sndbuf 20000
    trace_stop";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for series in [Series::V6_12, Series::V6_1, Series::V7_3] {
        for (name, hooks) in [("bufmon-limited", ""), ("bufmon-limited-kprobe", "--hooks kprobe")] {
            let case = Case::new(name, &SCRIPT.replace("HOOKS", hooks));
            suite.add(series, Mode::Icount, case, check);
        }
    }
}

/// Each part of each sender's time is the sampler's, and the intervals' parts are those of the summary.
fn check(folder: &Path) -> Result<()> {
    let report = Report::read(folder, "bufmon")?;
    let mut wrong = Vec::new();
    for (port, rtt_ms, part, least) in SENDERS {
        let local = format!("10.1.0.1:{port}");
        let of = |kind| report.objects(kind).filter(|object| object["local"] == local.as_str());
        let summary = of("summary").next().with_context(|| format!("no summary of {port}"))?;
        let sampled: Value = serde_json::from_str(&text(&folder.join(format!("{port}.json")))?)?;
        let all: f64 = PARTS.iter().map(|name| number(&sampled, name)).sum::<Result<_>>()?;
        for name in PARTS {
            let ours = 100.0 * number(summary, &format!("limited_{name}"))? / all;
            let theirs = 100.0 * number(&sampled, name)? / all;
            // The sampler ends when all is acknowledged, the association a round trip later, by its SHUTDOWN.
            let close = if name == "app_us" { 100.0 * 1e3 * rtt_ms / all } else { 0.0 };
            if (ours - theirs - close).abs() > POINTS || (name == part && theirs < least) {
                wrong.push(format!("{port} {name}: {ours:.2} %, by the sampler {theirs:.2} %"));
            }
            let parts: f64 =
                of("interval").map(|row| number(row, &format!("limited_{name}"))).sum::<Result<_>>()?;
            let whole = number(summary, &format!("limited_{name}"))?;
            // An interval in which the application alone is the limit may have no row.
            let is_whole = (parts - whole).abs() < 1.0 || (name == "app_us" && parts < whole);
            ensure!(is_whole, "{port} {name}: {parts} us in intervals, {whole} in all");
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
