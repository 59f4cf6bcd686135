//! What the commands write with `--textfile`, in a real Prometheus: each value comes back, each query of the dashboard has
//! an answer, and each alert is about the scenario made for it and about no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::prometheus::{History, Prometheus, dashboard_queries, monitoring};
use sctptrace_tests::truth::streams::flows;
use sctptrace_tests::vm::{Case, Mode, text};

use crate::compare::{captured, kernel_counters};
use crate::suite::Suite;

/// A service for each scenario, by its port. 5000: all is well. 5001: chunks are lost. 5002: the reader does not read for
/// minutes. 5003: the primary path fails for good. 5004: an association is aborted. 5005: T3-rtx expires before the SACK
/// that the peer holds back. A copy of the files is made every five seconds.
const SCRIPT: &str = "
topology; path 10ms 0; path 10ms 1
mkdir metrics snaps
for tool in $TOOLS; do
    where= more=
    [ $tool != rto ] || where='nsenter --net=/run/netns/a'
    [ $tool != bufmon ] || more=--recv-wait
    start $tool $where sctp-$tool $more -q -i 1 --textfile $PWD/metrics/$tool.prom
done
traced
capture a0; capture a1
snap() {
    snaps=$((snaps + 1))
    date +%s >snaps/$snaps.time
    for tool in $TOOLS; do cp metrics/$tool.prom snaps/$snaps.$tool; done
}
(snaps=0; while [ ! -e done ]; do sleep 5; snap; done; touch snapped) &
one() {
    serve --port $1 $2
    send --port $1 $3
}
sleep 8
one 5000 '--bind 10.2.0.1 --streams 4' '--bind 10.1.0.1 --count 500 --rate 50 --nodelay --streams 4 --linger 10000'
# A rate needs a count before: of handshakes there is one now.
one 5000 '--bind 10.2.0.1' '--bind 10.1.0.1 --count 50 --rate 50 --nodelay'
lose 5 4
one 5001 '--bind 10.2.0.1' '--bind 10.1.0.1 --count 1000 --rate 50 --size 200 --nodelay'
lose_stop
one 5002 '--bind 10.2.0.1 --read-after 200000 --rcvbuf 30000' '--bind 10.1.0.1 --count 400 --size 1000 --nodelay --sndbuf 20000'
one 5005 '--bind 10.2.0.1 --sack-delay 200' \\
    '--bind 10.1.0.1 --count 40 --rate 2 --size 4000 --rto-min 100 --rto-initial 300 --linger 10000'
b sctp-ends server --bind 10.2.0.1 --port 5004 2>server.err &
until_true 10 grep -qs listening server.err
a sctp-ends client --bind 10.1.0.1 --to 10.2.0.1 --port 5004 --own-port 7004 --after go linger &
sleep 15
touch go
wait $!
b sysctl -qw net.sctp.hb_interval=500
(sleep 7; path_down 0) &
one 5003 '--bind 10.2.0.1,10.2.1.1 --sack-delay 40' '--bind 10.1.0.1,10.1.1.1 --to 10.2.0.1,10.2.1.1 \
    --count 900 --rate 20 --size 200 --nodelay --path-retrans 1 --rto-min 200 --heartbeat 500'
sleep 20
touch done
until_true 10 [ -e snapped ]
nsenter --net=/run/netns/a busybox cat /proc/net/sctp/snmp >snmp
trace_stop; capture_stop
killall sctp-ends || true
for tool in $TOOLS; do cp metrics/$tool.prom $tool.prom; done
";

/// Adds the case.
pub fn add(suite: &mut Suite) {
    let mut case = Case::new("prometheus", SCRIPT);
    case.limit = Duration::from_secs(600);
    suite.add(Series::V6_12, Mode::Icount, case, check);
}

/// The commands' metrics over time, in a server.
struct Taken {
    prometheus: Prometheus,
    from: u64,
    to: u64,
    /// The last copies of the files.
    last: BTreeMap<&'static str, String>,
}

fn check(folder: &Path) -> Result<()> {
    for name in TOOLS {
        let [status, errors] = ["status", "err"].map(|end| text(&folder.join(format!("{name}.{end}"))));
        ensure!(status? == "0\n", "{name}: {}", errors?);
    }
    let taken = take(folder)?;
    each_value_comes_back(&taken)?;
    values_are_true(folder, &taken)?;
    let alerts = alerts(&taken)?;
    let queries = dashboard(&taken)?;
    eprintln!(
        "    {queries} queries of the dashboard have an answer, {alerts} alerts are about their scenario"
    );
    Ok(())
}

fn take(folder: &Path) -> Result<Taken> {
    let mut history = History::default();
    let (mut times, mut last) = (Vec::new(), BTreeMap::new());
    for n in 1.. {
        let Ok(time) = fs::read_to_string(folder.join(format!("snaps/{n}.time"))) else { break };
        let time: u64 = time.trim().parse()?;
        times.push(time);
        for tool in TOOLS {
            let text = text(&folder.join(format!("snaps/{n}.{tool}")))?;
            history.add(&format!("sctp-{tool}"), time, &text)?;
            last.insert(tool, text);
        }
    }
    let (Some(from), Some(to)) = (times.first(), times.last()) else { anyhow::bail!("no files") };
    // The lookback is less than the time between two copies, so that no copy has a part of the one before.
    let prometheus = Prometheus::start(&history, Duration::from_secs(4))?;
    Ok(Taken { prometheus, from: *from, to: *to, last })
}

/// All series of the last files are there, with their values, and no others.
fn each_value_comes_back(taken: &Taken) -> Result<()> {
    let found = taken.prometheus.at("{__name__=~\".+\"}", taken.to)?;
    let mut compared = 0;
    for (tool, text) in &taken.last {
        let mut here: BTreeMap<String, usize> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').context("no value")?;
            let value: f64 = value.parse()?;
            let name = series.split('{').next().context("no name")?;
            let is_it = |labels: &BTreeMap<String, String>| {
                labels["__name__"] == name
                    && labels["job"] == format!("sctp-{tool}")
                    && labels
                        .iter()
                        .filter(|(label, _)| !["__name__", "job", "instance"].contains(&label.as_str()))
                        .all(|(label, value)| series.contains(&format!("{label}=\"{value}\"")))
                    && series.matches("=\"").count() + 3 == labels.len()
            };
            let matching: Vec<_> = found.iter().filter(|(labels, _)| is_it(labels)).collect();
            ensure!(matching.len() == 1 && *matching[0].1 == value, "{tool}: {line}: {matching:?}");
            *here.entry(name.to_owned()).or_default() += 1;
            compared += 1;
        }
        ensure!(here.len() > 5, "{tool}: {} metrics", here.len());
    }
    ensure!(compared == found.len(), "{compared} series were written, {} are there", found.len());
    eprintln!("    {compared} series came back");
    Ok(())
}

/// Ensures that the metrics' values agree with the capture and with the kernel's counters.
fn values_are_true(folder: &Path, taken: &Taken) -> Result<()> {
    let one = |expression: &str| -> Result<f64> {
        let found = taken.prometheus.at(expression, taken.to)?;
        let mut values = found.values();
        let value = *values.next().with_context(|| expression.to_owned())?;
        ensure!(values.next().is_none(), "{expression}: {found:?}");
        Ok(value)
    };
    let sent = flows(&captured(folder, &["a0", "a1"])?);
    for port in [5000, 5001, 5002, 5003, 5005] {
        let streams = || {
            sent.iter().filter(|flow| flow.destination_port == port).flat_map(|flow| flow.streams.values())
        };
        let (bytes, chunks): (u64, u64) =
            (streams().map(|s| s.bytes).sum(), streams().map(|s| s.chunks).sum());
        let again: u64 = streams().map(|s| s.rtx_chunks).sum();
        for (name, job, expected) in [
            ("sctp_sent_bytes_total", "sctp-streamutil", bytes),
            ("sctp_sent_chunks_total", "sctp-streamutil", chunks),
            ("sctp_retransmitted_chunks_total", "sctp-rto", again),
        ] {
            let found = one(&format!("sum({name}{{job=\"{job}\",service_port=\"{port}\"}})"))?;
            ensure!(found == expected as f64 && chunks > 0, "{port}: {name} is {found}, not {expected}");
        }
        ensure!((again > 0) == (port != 5000), "{port}: {again} chunks were sent again");
    }
    let counters = kernel_counters(folder)?;
    for (counter, metric) in [
        ("SctpActiveEstabs", "sctp_host_active_estabs_total"),
        ("SctpAborteds", "sctp_host_aborteds_total"),
        ("SctpShutdowns", "sctp_host_shutdowns_total"),
        ("SctpT3RtxExpireds", "sctp_host_t3_rtx_expireds_total"),
    ] {
        let (found, value) = (one(metric)?, *counters.get(counter).context(counter)? as f64);
        ensure!(found == value && value > 0.0, "{metric}: {found}, not {value}");
    }
    // The traffic of port 5000 has no fault: there, these metrics are 0 at all times.
    for metric in [
        "sctp_retransmissions_total",
        "sctp_t3_expiries_total",
        "sctp_cwnd_cuts_total",
        "sctp_send_refused_total",
        "sctp_zero_window_seconds_total",
        "sctp_stall_seconds_total",
        "sctp_hol_wait_seconds_total",
        "sctp_findings",
    ] {
        let expression = format!("{metric}{{service_port=\"5000\"}}");
        for (series, values) in taken.prometheus.between(&expression, taken.from, taken.to, 2)? {
            ensure!(values.iter().all(|value| *value == 0.0), "{series:?}: {values:?}");
        }
    }
    // While the peer's window is closed, the metric of that time grows.
    let closed = "sctp_zero_window_seconds_total{service_port=\"5002\"}";
    let closed = taken.prometheus.between(closed, taken.from, taken.to, 2)?;
    let values = closed.values().next().context("no closed window")?;
    let growing = values.windows(2).filter(|pair| pair[1] > pair[0]).count();
    ensure!(growing > 30 && values.windows(2).all(|pair| pair[1] >= pair[0]), "{values:?}");
    Ok(())
}

/// Each query of the dashboard has values. Returns how many there are.
fn dashboard(taken: &Taken) -> Result<usize> {
    let (mut queries, mut silent) = (0, Vec::new());
    for expression in dashboard_queries(".*", "30s")? {
        let found = taken.prometheus.between(&expression, taken.from, taken.to, 2)?;
        if !found.values().flatten().any(|value| value.is_finite()) {
            silent.push(expression);
        }
        queries += 1;
    }
    ensure!(silent.is_empty(), "no answer: {silent:#?}");
    Ok(queries)
}

/// The services that each alert's expression is about, at any time. Returns how many alerts there are.
fn alerts(taken: &Taken) -> Result<usize> {
    let expected: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("SctpPathDown", &["5003"][..]),
        ("SctpNoSparePath", &["5003"]),
        ("SctpStalled", &["5002"]),
        ("SctpNeedlessRetransmissions", &["5005"]),
        ("SctpWindowsClosed", &["5002"]),
        ("SctpReaderSlow", &["5002"]),
        ("SctpSendsWaiting", &["5002"]),
        ("SctpAssociationsLost", &["5004"]),
        ("SctptraceLosesEvents", &[]),
    ]);
    let rules = fs::read_to_string(monitoring().join("sctp.rules.yml"))?;
    let recorded = expressions(&rules, "record");
    let alerts = expressions(&fs::read_to_string(monitoring().join("sctp.alerts.yml"))?, "alert");
    ensure!(alerts.keys().eq(expected.keys()), "{:?}", alerts.keys());
    let mut wrong = Vec::new();
    for (alert, expression) in &alerts {
        let mut expression = expression.clone();
        for (name, recorded) in &recorded {
            expression = expression.replace(name, &format!("({recorded})"));
        }
        let found = taken.prometheus.between(&expression, taken.from, taken.to, 2)?;
        let about: BTreeSet<_> =
            found.keys().map(|series| series.get("service_port").map_or("none", String::as_str)).collect();
        if !about.iter().eq(expected[alert.as_str()].iter()) {
            wrong.push(format!("{alert}: {found:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(alerts.len())
}

/// The expression of each rule of a file, by its name. `kind`: `alert` or `record`.
fn expressions(file: &str, kind: &str) -> BTreeMap<String, String> {
    let mut rules = BTreeMap::<String, String>::new();
    let (mut name, mut is_inside) = (String::new(), false);
    for line in file.lines().map(str::trim) {
        if let Some(found) = line.strip_prefix(&format!("- {kind}: ")) {
            found.clone_into(&mut name);
            is_inside = false;
        } else if let Some(expression) = line.strip_prefix("expr: ") {
            is_inside = expression == "|";
            rules.insert(name.clone(), if is_inside { String::new() } else { expression.to_owned() });
        } else if line.starts_with("for:") || line.starts_with("labels:") || line.starts_with('-') {
            is_inside = false;
        } else if is_inside {
            let rule = rules.entry(name.clone()).or_default();
            *rule = format!("{rule} {line}");
        }
    }
    rules
}
