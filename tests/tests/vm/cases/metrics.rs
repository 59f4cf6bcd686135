//! `--listen` and `--textfile`: a live scrape of each command, and its file at the end, compared with the command's JSON, with
//! a capture and with the kernel's own counters.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::truth::streams::flows;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::{captured, kernel_counters, of_type};
use crate::suite::Suite;

/// `sctp-rto` runs in the namespace of the sender, whose counters of the kernel it has. The others listen in the first one.
/// `plain` prints no rows. `held` keeps connections open until after the end.
const SCRIPT: &str = "
topology; path 20ms; lose 3 1; remember
mkdir metrics
ip link set lo up
port=9980
for tool in $TOOLS; do
    port=$((port + 1))
    where= end=a
    [ $tool != rto ] || where='nsenter --net=/run/netns/a'
    [ $tool != jitter ] || end=b
    start $tool $where sctp-$tool FLAGS --netns /run/netns/$end --json -f $tool.json \\
        --listen 127.0.0.1:$port --textfile $PWD/metrics/$tool.prom
    echo $port >$tool.port
done
start plain sctp-rtt FLAGS --netns /run/netns/a -q --listen 127.0.0.1:9990 --labels assoc
traced
capture a0; capture b0
scrape() {
    local where=
    [ $1 != rto ] || where='nsenter --net=/run/netns/a'
    $where busybox wget -q -O $2 http://127.0.0.1:$(cat $1.port)/metrics
}
echo 9990 >plain.port
scrape plain plain.before
for run in 1 2; do
    serve --bind 10.2.0.1 --associations 3
    a sctp-traffic client --bind 10.1.0.1 --associations 3 --count 300 --rate 200 --streams 4 >client.json &
    sending=$!
    # Scrapes while data flows: none may disturb the trace.
    for n in $(seq 20); do
        for tool in $TOOLS; do scrape $tool $tool.busy; done
        sleep 0.05
    done
    scrape plain plain.busy
    wait $sending
    wait $server
done
sleep 1.5
for tool in $TOOLS plain; do scrape $tool $tool.scrape; done
nsenter --net=/run/netns/a busybox cat /proc/net/sctp/snmp >snmp
# Connections that are held, also one that has asked and does not read.
(printf 'GET /metrics HTTP/1.1\\r\\n'; sleep 1000) | nc 127.0.0.1 $(cat rtt.port) >held &
sleep 1000 | nc 127.0.0.1 $(cat bufmon.port) >>held &
sleep 0.2
trace_stop; capture_stop
killall nc sleep || true
ls metrics >metrics.list
cp metrics/* .
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for series in [Series::V6_12, Series::V6_1] {
        for (name, flags) in [("metrics", ""), ("metrics-kprobe", "--hooks kprobe")] {
            let case = Case::new(name, &SCRIPT.replace("FLAGS", flags));
            suite.add(series, Mode::Icount, case, check);
        }
    }
}

/// The samples of a text: by name, labels in braces included.
pub struct Scrape(pub BTreeMap<String, f64>);

impl Scrape {
    /// Reads a text from a file.
    pub fn read(folder: &Path, name: &str) -> Result<Self> {
        let text = text(&folder.join(name))?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            Ok((series.to_owned(), value.parse().with_context(|| line.to_owned())?))
        });
        Ok(Self(samples.collect::<Result<_>>()?))
    }

    /// The sum of all series of this name that have this label.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let of = |series: &str| series.split('{').next() == Some(name) && series.contains(label);
        self.0.iter().filter(|(series, _)| of(series)).map(|(_, value)| value).sum()
    }
}

fn check(folder: &Path) -> Result<()> {
    for name in TOOLS.iter().chain(&["plain"]) {
        let [status, errors] = ["status", "err"].map(|end| text(&folder.join(format!("{name}.{end}"))));
        ensure!(status? == "0\n", "{name}: {}", errors?);
    }
    let left = text(&folder.join("metrics.list"))?;
    let mut expected: Vec<_> = TOOLS.iter().map(|tool| format!("{tool}.prom")).collect();
    expected.sort();
    ensure!(left.lines().eq(expected.iter()), "files: {left}");
    let mut compared = 0;
    for tool in TOOLS {
        let [busy, scrape, file] =
            ["busy", "scrape", "prom"].map(|end| Scrape::read(folder, &format!("{tool}.{end}")));
        let (busy, scrape, file) = (busy?, scrape?, file?);
        for (series, value) in &scrape.0 {
            let is_sum = ["_total", "_bucket", "_sum", "_count"]
                .iter()
                .any(|end| series.split('{').next().is_some_and(|name| name.ends_with(end)));
            if is_sum {
                let [before, after] = [&busy, &file].map(|text| text.0.get(series).copied());
                ensure!(before.is_none_or(|before| before <= *value), "{tool}: {series} fell to {value}");
                ensure!(after.is_some_and(|after| after >= *value), "{tool}: {series} fell from {value}");
            }
        }
        compared += check_json(folder, tool, &file)?;
        let living = busy.sum("sctp_associations", "service_port=\"5000\"");
        ensure!(living == 3.0, "{tool}: {living} associations");
        ensure!(file.sum("sctp_associations", "") == 0.0, "{tool}: associations that have ended");
        let ends = file.sum("sctp_association_ends_total", "reason=\"shutdown\"");
        ensure!(ends == 6.0 && file.sum("sctp_association_ends_total", "") == ends, "{tool}: {ends} ends");
    }
    let [streamutil, rto] = ["streamutil.prom", "rto.prom"].map(|name| Scrape::read(folder, name));
    check_capture(folder, &streamutil?, &rto?)?;
    check_kernel(folder)?;
    check_plain(folder)?;
    eprintln!("    {compared} sums are those of JSON");
    Ok(())
}

/// What JSON has as the sum of the summaries of all associations, the metrics have, too.
pub fn check_json(folder: &Path, tool: &str, file: &Scrape) -> Result<usize> {
    let rows: Vec<Value> = of_type(folder, tool, "summary")?;
    ensure!(!rows.is_empty(), "{tool}: no summaries");
    let sum = |key: &str| -> f64 { rows.iter().filter_map(|row| row[key].as_f64()).sum() };
    let times = |count: &str, mean: &str| -> f64 {
        rows.iter().filter_map(|row| Some(row[count].as_f64()? * row[mean].as_f64()? / 1e6)).sum()
    };
    let pairs: Vec<(&str, &str, f64)> = match tool {
        "rtt" => vec![
            ("sctp_rtt_seconds_count", "", sum("samples")),
            ("sctp_rtt_seconds_sum", "", times("samples", "rtt_avg_us")),
            ("sctp_prompt_rtt_seconds_count", "", sum("prompt_samples")),
            ("sctp_prompt_rtt_seconds_sum", "", times("prompt_samples", "prompt_rtt_avg_us")),
        ],
        "rto" => vec![
            ("sctp_t3_expiries_total", "", sum("t3_expiries")),
            ("sctp_heartbeat_timeouts_total", "", sum("heartbeat_timeouts")),
            ("sctp_retransmissions_total", "cause=\"t3\"", sum("t3_retransmits")),
            ("sctp_retransmissions_total", "cause=\"fast\"", sum("fast_retransmits")),
            ("sctp_retransmitted_chunks_total", "", sum("rtx_for_path_chunks")),
            ("sctp_duplicate_tsns_total", "", sum("spurious_rtx")),
            ("sctp_cwnd_cuts_total", "cause=\"fast\"", sum("cwnd_cuts_fast")),
        ],
        "bufmon" => vec![
            ("sctp_send_wait_seconds_count", "", sum("wait_events")),
            ("sctp_zero_window_seconds_total", "", sum("zero_window_us") / 1e6),
        ],
        "streamutil" => vec![
            ("sctp_sent_bytes_total", "", sum("total_bytes")),
            ("sctp_sent_chunks_total", "", sum("total_chunks")),
        ],
        _ => Vec::new(),
    };
    for (name, label, expected) in &pairs {
        let found = file.sum(name, label);
        ensure!((found - expected).abs() <= expected * 1e-9, "{tool}: {name}: {found}, not {expected}");
    }
    Ok(pairs.len())
}

/// Chunks and bytes that left the sender, chunks sent again, and intervals between arrivals are those of the capture.
/// The clients have sent 300 messages in each of three associations, twice.
pub fn check_capture(folder: &Path, streamutil: &Scrape, rto: &Scrape) -> Result<()> {
    let sent: Vec<_> =
        flows(&captured(folder, &["a0"])?).into_iter().filter(|f| f.destination_port == 5000).collect();
    let streams = || sent.iter().flat_map(|flow| flow.streams.values());
    let (bytes, chunks): (u64, u64) = (streams().map(|s| s.bytes).sum(), streams().map(|s| s.chunks).sum());
    // Each client ends with a farewell.
    ensure!(chunks == 2 * 3 * (300 + 1), "{chunks} chunks in the capture");
    let found = ["sctp_sent_bytes_total", "sctp_sent_chunks_total"]
        .map(|name| streamutil.sum(name, "service_port=\"5000\""));
    ensure!(found == [bytes as f64, chunks as f64], "sent {bytes} bytes in {chunks} chunks, not {found:?}");
    let again: u64 = streams().map(|s| s.rtx_chunks).sum();
    let found = rto.sum("sctp_retransmitted_chunks_total", "");
    ensure!(found == again as f64 && again > 0, "{again} chunks sent again, not {found}");
    eprintln!("    {chunks} chunks, {bytes} bytes, {again} sent again");
    Ok(())
}

/// The kernel's own counters are those of the sender's namespace.
fn check_kernel(folder: &Path) -> Result<()> {
    let scrape = Scrape::read(folder, "rto.scrape")?;
    let counters = kernel_counters(folder)?;
    for (counter, metric) in [
        ("SctpActiveEstabs", "sctp_host_active_estabs_total"),
        ("SctpShutdowns", "sctp_host_shutdowns_total"),
        ("SctpT3RtxExpireds", "sctp_host_t3_rtx_expireds_total"),
        ("SctpInSCTPPacks", "sctp_host_in_sctp_packs_total"),
    ] {
        let (found, value) = (scrape.sum(metric, ""), *counters.get(counter).context(counter)? as f64);
        ensure!(found == value, "{metric}: {found}, not {value}");
    }
    Ok(())
}

/// The output of `plain`: without rows, and with a series for each association.
fn check_plain(folder: &Path) -> Result<()> {
    let output = text(&folder.join("plain.out"))?;
    ensure!(output.is_empty(), "rows: {output}");
    let before = Scrape::read(folder, "plain.before")?;
    ensure!(!before.0.keys().any(|series| series.starts_with("sctp_rtt")), "series of nobody");
    let busy = Scrape::read(folder, "plain.busy")?;
    let info: Vec<_> = busy.0.keys().filter(|series| series.starts_with("sctp_association_info")).collect();
    let is_whole = |series: &&String| {
        ["comm=\"sctp-traffic\"", "peer=\"10.2.0.1\"", "peer_port=\"5000\"", "local=\"10.1.0.1\""]
            .iter()
            .all(|label| series.contains(label))
    };
    ensure!(info.len() == 3 && info.iter().all(is_whole), "{info:?}");
    let all = Scrape::read(folder, "plain.scrape")?.sum("sctp_rtt_seconds_count", "peer=\"10.2.0.1\"");
    let samples = Scrape::read(folder, "rtt.scrape")?.sum("sctp_rtt_seconds_count", "");
    ensure!(all == samples, "{all} samples by association, {samples} by port");
    Ok(())
}
