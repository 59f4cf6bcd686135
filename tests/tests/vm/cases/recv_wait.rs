//! How long messages wait until they are read, by `sctp-bufmon --recv-wait`, compared with what a reader has noted
//! that reads in all the ways that there are.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode, text};
use serde::Deserialize;
use serde_json::Value;

use crate::compare::{Report, percentile};
use crate::suite::Suite;
use crate::truth::bufmon::number;

/// The ways to read: the first is that of the sender with port 7000, the second that of 7010, and so on.
const WAYS: [&str; 9] =
    ["single", "idata", "loss", "peek", "two-parts", "peel-off", "close", "late", "partial"];

/// The commands have one interval: what is read after an association's end is still in its summary.
const RECV_WAIT: &str = "
topology; path 10ms; remember
for ns in a b; do $ns sysctl -qw net.sctp.intl_enable=1; done
trace bufmon sctp-bufmon HOOKS --recv-wait -i 1000 --json -q -f bufmon.json --netns /run/netns/b
trace text sctp-bufmon HOOKS --recv-wait -x -q --netns /run/netns/b
trace small sctp-bufmon HOOKS --recv-wait --max-unread 8 -i 1000 --json -q -f small.json --netns /run/netns/b
port=7000
for way in WAYS; do
    # Nobody else runs between what the reader sees and what it notes.
    b chrt -f 50 sctp-reads read --bind 10.2.0.1 --port $port $way >reads-$way.json 2>reads-$way.err & reader=$!
    until_true 10 grep -qs listening reads-$way.err
    case $way in
    loss) lose_tsn 0 1 ;;
    partial) lose_tsn 13 1 ;;
    esac
    a sctp-reads send --bind 10.1.0.1 --own-port $port --to 10.2.0.1 --port $port $way
    wait $reader
    lose_stop
    port=$((port + 10))
done
trace_stop; nothing_left
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for series in Series::TRACED {
        for (name, hooks) in [("recv-wait", ""), ("recv-wait-kprobe", "--hooks kprobe")] {
            let script = RECV_WAIT.replace("HOOKS", hooks).replace("WAYS", &WAYS.join(" "));
            suite.add(series, Mode::Icount, Case::new(name, &script), check);
        }
    }
}

/// What the reader did: see `sctp-reads`.
#[derive(Deserialize)]
struct Done {
    waits_us: Vec<f64>,
    others_us: Vec<f64>,
    unread: u64,
}

/// The summary of the association whose sender has this port.
fn summary(report: &Report, port: usize) -> Result<&Value> {
    let peer = format!("10.1.0.1:{port}");
    let mut found = report.objects("summary").filter(|object| object["peer"] == *peer);
    let summary = found.next().with_context(|| format!("no association of {peer}"))?;
    ensure!(found.next().is_none(), "two associations of {peer}");
    Ok(summary)
}

/// Compares a summary with the messages that were read, whose waits are given, and those that were not.
fn check_reads(summary: &Value, waits: &[f64], unread: u64) -> Result<()> {
    let mut waits = waits.to_vec();
    waits.sort_by(f64::total_cmp);
    let counts = [waits.len() as u64, 0, unread];
    for (name, expected) in ["recv_read", "recv_waiting", "recv_unread"].into_iter().zip(counts) {
        ensure!(summary[name] == expected, "{name} is not {expected}: {summary}");
    }
    let Some(largest) = waits.last() else {
        ensure!(summary["recv_wait_avg_us"].is_null(), "{summary}");
        return Ok(());
    };
    let mean = waits.iter().sum::<f64>() / waits.len() as f64;
    // A percentile is that of a histogram: see `percentiles()` in `hist.rs`.
    let rank = |percent| percentile(&waits, percent);
    for (name, expected, about) in [
        ("recv_wait_avg_us", mean, 0.0),
        ("recv_wait_min_us", waits[0], 0.0),
        ("recv_wait_max_us", *largest, 0.0),
        ("recv_wait_p50_us", rank(50), 1.0 / 32.0),
        ("recv_wait_p90_us", rank(90), 1.0 / 32.0),
        ("recv_wait_p99_us", rank(99), 1.0 / 32.0),
    ] {
        let found = number(summary, name)?;
        let off = (found - expected).abs();
        ensure!(
            off <= 1000.0 + about * expected,
            "{name}: {found}, and the reader noted {expected}: {summary}"
        );
    }
    Ok(())
}

fn check(folder: &Path) -> Result<()> {
    let report = Report::read(folder, "bufmon")?;
    for (n, way) in WAYS.into_iter().enumerate() {
        let done: Done = serde_json::from_str(&text(&folder.join(format!("reads-{way}.json")))?)
            .with_context(|| format!("reads-{way}.json"))?;
        let port = 7000 + 10 * n;
        check_reads(summary(&report, port)?, &done.waits_us, done.unread).with_context(|| way.to_owned())?;
        if !done.others_us.is_empty() {
            check_reads(summary(&report, port + 1)?, &done.others_us, 0).context("the other association")?;
        }
    }
    check_small(folder, &report)
}

/// If the table has too little room for the messages behind the loss, those that are missing are counted.
fn check_small(folder: &Path, whole: &Report) -> Result<()> {
    let objects: Vec<Value> = crate::compare::objects(&folder.join("small.json"))?;
    let end = objects.last().context("no objects")?;
    let skipped = |reason: &str| end["skipped"][reason].as_u64().with_context(|| format!("{reason}: {end}"));
    let read: u64 =
        objects.iter().filter(|o| o["type"] == "summary").filter_map(|o| o["recv_read"].as_u64()).sum();
    let evicted = skipped("recv_evicted")?;
    ensure!(evicted > 0 && skipped("recv_missed")? == 0 && skipped("recv_late")? == 0, "{end}");
    let all = whole.sum("summary", "recv_read");
    ensure!(read + evicted == all, "{read} read and {evicted} evicted of {all}");
    let text = text(&folder.join("text.out"))?;
    ensure!(
        text.contains("  Messages received:\n    Read: 51, waiting: 0, thrown away unread: 0\n"),
        "{text}"
    );
    Ok(())
}
