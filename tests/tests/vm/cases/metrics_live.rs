//! `--listen` under load, and with a real Prometheus.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::cases::metrics::{Scrape, check_capture, check_json};
use crate::compare::{kernel_counters, objects, of_type};
use crate::suite::Suite;

/// 100 associations at a time send as fast as they can while two commands are scraped 200 times a second each, for a minute:
/// `rtt` writes JSON without samples, and `samples` an object for each chunk.
const LOAD: &str = "
topology; path 1ms; remember
ip link set lo up
start rtt sctp-rtt --json --no-samples -q -f rtt.json --netns /run/netns/a --listen 127.0.0.1:9981
start samples sctp-rtt --json -q -f /dev/null --netns /run/netns/a --listen 127.0.0.1:9982
traced
sctp-scrape --rate 200 --seconds 60 --watch sctp_rtt_seconds_count 127.0.0.1:9981 127.0.0.1:9982 >scrapes.json &
scraper=$!
until ended $scraper; do
    serve --bind 10.2.0.1 --associations 100
    a sctp-traffic client --bind 10.1.0.1 --associations 100 --count 2000 >>clients.json
    wait $server
done
wait $scraper
sleep 1.5
busybox wget -q -O rtt.last http://127.0.0.1:9981/metrics
busybox wget -q -O samples.last http://127.0.0.1:9982/metrics
a busybox cat /proc/net/sctp/snmp >snmp
trace_stop
nothing_left
";

/// The five commands, each scraped every second by Prometheus with the configuration of the project.
const PROMETHEUS: &str = "
topology; path 20ms; lose 3 1
ip link set lo up
for tool in $TOOLS; do
    case $tool in rtt) port=10621;; rto) port=10622;; bufmon) port=10623;; jitter) port=10624;; *) port=10625;; esac
    end=a
    [ $tool != jitter ] || end=b
    start $tool sctp-$tool --netns /run/netns/$end --json -q -f $tool.json --listen 127.0.0.1:$port
    echo $port >$tool.port
done
traced
capture a0; capture b0
cat >prometheus.yml <<END
global: { scrape_interval: 1s, scrape_timeout: 1s }
CONFIGURATION
END
GOMAXPROCS=1 prometheus --config.file=prometheus.yml --storage.tsdb.path=/tmp/tsdb --web.listen-address=127.0.0.1:9090 2>prometheus.log &
prometheus=$!
api=http://127.0.0.1:9090
until_true 60 busybox wget -q -O /dev/null $api/-/ready
query() { busybox wget -q -O $1.answer \"$api/api/v1/query?query=$2\"; }
every='%7B__name__%3D~%22sctp.%2B%22%7D'
all_up() { query up 'sum(up)' && grep -q '\"5\"' up.answer; }
until_true 30 all_up
query before $every
for run in 1 2; do
    serve --bind 10.2.0.1 --associations 3
    a sctp-traffic client --bind 10.1.0.1 --associations 3 --count 300 --rate 60 --streams 4 >client.json &
    sending=$!
    sleep 3
    query busy$run $every
    wait $sending
    wait $server
done
# Two scrapes at least after the last event.
sleep 3.5
query last $every
for tool in $TOOLS; do busybox wget -q -O $tool.scrape http://127.0.0.1:$(cat $tool.port)/metrics; done
query up 'min_over_time(up%5B20s%5D)'
query scrapes 'count_over_time(up%5B10s%5D)'
for counter in COUNTERS; do query fell.$counter \"sum(resets($counter%5B5m%5D))\"; done
kill -TERM $prometheus
wait $prometheus
rm -rf /tmp/tsdb
trace_stop; capture_stop; lose_stop
";

/// A counter or a histogram of each command.
const COUNTERS: [&str; 5] = [
    "sctp_rtt_seconds_bucket",
    "sctp_retransmitted_chunks_total",
    "sctp_limited_seconds_total",
    "sctp_arrival_interval_seconds_bucket",
    "sctp_sent_bytes_total",
];

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    let mut load = Case::new("metrics-load", LOAD);
    load.limit = Duration::from_secs(1500);
    suite.add(Series::V6_12, Mode::Icount, load, check_load);
    let configuration = include_str!("../../../../packaging/monitoring/prometheus.yml");
    // The rules are another case's.
    let (_, configuration) = configuration.split_once("\n\n").expect("rules first, then targets");
    let script = PROMETHEUS.replace("CONFIGURATION", configuration).replace("COUNTERS", &COUNTERS.join(" "));
    let mut prometheus = Case::new("metrics-prometheus", &script);
    prometheus.limit = Duration::from_secs(300);
    prometheus.programs = &["prometheus"];
    suite.add(Series::V6_12, Mode::Icount, prometheus, check_prometheus);
}

/// Each scrape has its answer, and each chunk that the kernel has sent its sample.
fn check_load(folder: &Path) -> Result<()> {
    let scrapes: Vec<Value> = objects(&folder.join("scrapes.json"))?;
    ensure!(scrapes.len() == 2, "{scrapes:?}");
    for of in &scrapes {
        ensure!(of["asked"] == 12_000 && of["answered"] == 12_000 && of["fell"] == 0, "{of}");
        ensure!(of["grew"].as_u64() > Some(1000), "no traffic between scrapes: {of}");
        let seconds = of["all_us"].as_f64().context("no time")? / 1e6;
        ensure!((59.0..61.0).contains(&seconds), "12,000 scrapes took {seconds} s");
    }
    let counters = kernel_counters(folder)?;
    let counter = |name: &str| counters.get(name).copied().with_context(|| name.to_owned());
    let sent = counter("SctpOutOrderChunks")? + counter("SctpOutUnorderChunks")?;
    let again = ["SctpT3Retransmits", "SctpFastRetransmits", "SctpPmtudRetransmits"];
    let again: u64 = again.into_iter().map(counter).sum::<Result<_>>()?;
    ensure!(sent > 100 * 2000 && again == 0, "{sent} chunks, sent again {again} times");
    for name in ["rtt", "samples"] {
        let [status, errors] = ["status", "err"].map(|end| text(&folder.join(format!("{name}.{end}"))));
        let (status, errors) = (status?, errors?);
        ensure!(status == "0\n" && errors.is_empty(), "{name}: {status}: {errors}");
        let last = Scrape::read(folder, &format!("{name}.last"))?;
        let samples = last.sum("sctp_rtt_seconds_count", "");
        ensure!(samples == sent as f64, "{name}: {samples} of {sent} chunks");
        let lost = last.sum("sctptrace_lost_total", "");
        ensure!(lost == 0.0, "{name}: {lost} lost");
        let living = last.sum("sctp_associations", "");
        ensure!(living == 0.0, "{name}: {living} associations that have ended");
    }
    let summaries: Vec<Value> = of_type(folder, "rtt", "summary")?;
    let samples: u64 = summaries.iter().filter_map(|row| row["samples"].as_u64()).sum();
    let end: Vec<Value> = of_type(folder, "rtt", "end")?;
    let [end] = &end[..] else { anyhow::bail!("{} ends", end.len()) };
    ensure!(
        samples == sent && end["events"] == sent && end["lost"] == 0,
        "{samples} of {sent} chunks: {end}"
    );
    ensure!(summaries.len().is_multiple_of(100), "{} associations", summaries.len());
    eprintln!("    {sent} chunks of {} associations; scrapes: {scrapes:?}", summaries.len());
    Ok(())
}

/// What Prometheus has scraped is what the commands serve, what their JSON has, and what the capture has.
fn check_prometheus(folder: &Path) -> Result<()> {
    for name in TOOLS {
        let [status, errors] = ["status", "err"].map(|end| text(&folder.join(format!("{name}.{end}"))));
        ensure!(status? == "0\n", "{name}: {}", errors?);
    }
    for (name, expected) in [("up", 1.0..=1.0), ("scrapes", 9.0..=11.0)] {
        let found = answers(folder, name)?;
        let is_so = |(_, value): &(Value, f64)| expected.contains(value);
        ensure!(found.len() == 5 && found.iter().all(is_so), "{name}: {found:?}");
    }
    for counter in COUNTERS {
        let fell = answers(folder, &format!("fell.{counter}"))?;
        ensure!(fell.len() == 1 && fell[0].1 == 0.0, "{counter} fell: {fell:?}");
    }
    let mut all = Vec::new();
    for tool in TOOLS {
        let stored = stored(folder, "last", tool)?;
        let served = Scrape::read(folder, &format!("{tool}.scrape"))?;
        let served = Scrape(served.0.into_iter().map(|(series, value)| (ordered(&series), value)).collect());
        for (series, value) in &served.0 {
            let found = stored.0.get(series);
            ensure!(found == Some(value), "{tool}: {series} is {value}, Prometheus has {found:?}");
        }
        ensure!(
            stored.0.len() == served.0.len(),
            "{tool}: {} series, not {}",
            stored.0.len(),
            served.0.len()
        );
        ensure!(stored.sum("sctp_associations", "") == 0.0, "{tool}: associations that have ended");
        for busy in ["busy1", "busy2"] {
            let living = self::stored(folder, busy, tool)?.sum("sctp_associations", "service_port=\"5000\"");
            ensure!(living == 3.0, "{tool}: {living} associations while there are three");
        }
        let compared = check_json(folder, tool, &stored)?;
        eprintln!("    {tool}: {} series, {compared} sums are those of JSON", stored.0.len());
        all.push((tool, stored));
    }
    let of = |tool| all.iter().find(|(of, _)| *of == tool).map(|(_, stored)| stored).context("a command");
    check_capture(folder, of("streamutil")?, of("rto")?)?;
    // It was scraped while data flowed, too.
    let [before, first, second] = ["before", "busy1", "busy2"].map(|name| {
        Ok::<_, anyhow::Error>(stored(folder, name, "streamutil")?.sum("sctp_sent_chunks_total", ""))
    });
    let [before, first, second] = [before?, first?, second?];
    let last = of("streamutil")?.sum("sctp_sent_chunks_total", "");
    ensure!(
        before == 0.0 && 0.0 < first && 903.0 < second && second < last,
        "{before} {first} {second} {last}"
    );
    Ok(())
}

/// The series of an instant query's answer, with their values.
fn answers(folder: &Path, name: &str) -> Result<Vec<(Value, f64)>> {
    let answer: Value = serde_json::from_str(&text(&folder.join(format!("{name}.answer")))?)?;
    ensure!(answer["status"] == "success", "{name}: {answer}");
    let found = answer["data"]["result"].as_array().context("no result")?;
    let value =
        |found: &Value| -> Result<f64> { Ok(found["value"][1].as_str().context("no value")?.parse()?) };
    found.iter().map(|found| Ok((found["metric"].clone(), value(found)?))).collect()
}

/// What Prometheus has of a command, in the form of a scrape.
fn stored(folder: &Path, name: &str, tool: &str) -> Result<Scrape> {
    let mut samples = Vec::new();
    for (metric, value) in answers(folder, name)? {
        let labels = metric.as_object().context("no labels")?;
        if labels.get("job").and_then(Value::as_str) != Some(&format!("sctp-{tool}")) {
            continue;
        }
        let own =
            labels.iter().filter(|(label, _)| !["__name__", "job", "instance"].contains(&label.as_str()));
        let own: Vec<_> = own.map(|(label, value)| format!("{label}={value}")).collect();
        let of = labels["__name__"].as_str().context("no name")?;
        samples
            .push((if own.is_empty() { of.to_owned() } else { format!("{of}{{{}}}", own.join(",")) }, value));
    }
    Ok(Scrape(samples.into_iter().map(|(series, value)| (ordered(&series), value)).collect()))
}

/// The series with its labels in the order of their names. No value has a comma.
fn ordered(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else { return series.to_owned() };
    let mut labels: Vec<_> = labels.trim_end_matches('}').split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}
