//! Compares what `sctp-streamutil` counts as not delivered with what the applications and the peer saw: sends refused
//! and chunks discarded because their stream does not exist, and messages given up by PR-SCTP.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::{no_loss, of_type, says_nothing};
use crate::suite::Suite;

/// Shell function `one PORT SERVER_FLAGS CLIENT_FLAGS`: runs one association, whose client in a has the port PORT.
const UNDELIVERED: &str = "
topology 65535; path 10ms
know r ra0 a a0 10.1.0.9
one() {
    serve --bind 10.2.0.1 $2
    send --bind 10.1.0.1 --local-port $1 $3
    mv client.json client-$1.json
}
trace streamutil sctp-streamutil HOOKS -i 1 --json -q -f streamutil.json
trace extended sctp-streamutil HOOKS -c -x -q
one 7001 '--streams 4' '--streams 4 --count 50 --rate 25 --invalid-streams 7'
one 7002 '--read-after 2000 --rcvbuf 20000' '--count 300 --size 1000 --rate 200 --policy ttl --limit 300'
one 7003 '--read-after 2000 --rcvbuf 20000' '--count 60 --size 4000 --rate 50 --policy ttl --limit 300'
one 7004 '--read-after 3000 --rcvbuf 20000' '--count 400 --size 1000 --sndbuf 50000 --policy prio --limit 7'
lose 30 7
one 7005 '--streams 3' '--streams 3 --count 200 --rate 100 --nodelay --policy rtx'
one 7006 '' '--count 100 --size 4000 --rate 50 --nodelay --rto-min 200 --policy ttl --limit 50'
lose_stop
b sctp-fuzz echo --bind 10.2.0.1 2>echo.err & echo=$!
until_true 10 grep -qs listening echo.err
a sctp-fuzz strays >strays.json
sleep 1
kill $echo
trace_stop
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for series in Series::TRACED {
        for (name, hooks) in [("undelivered", ""), ("undelivered-kprobe", "--hooks kprobe")] {
            let case = Case::new(name, &UNDELIVERED.replace("HOOKS", hooks));
            suite.add(series, Mode::Icount, case, check);
        }
    }
}

/// The columns with what was not delivered, in the order in which they end a CSV row.
const COUNTS: [&str; 4] =
    ["refused_invalid_stream", "discarded_invalid_stream", "abandoned_sent", "abandoned_unsent"];

fn counts(object: &Value) -> Result<[u64; 4]> {
    let mut counts = [0; 4];
    for (count, name) in counts.iter_mut().zip(COUNTS) {
        *count = object[name].as_u64().with_context(|| format!("no {name}: {object}"))?;
    }
    Ok(counts)
}

fn port(object: &Value, end: &str) -> Result<u16> {
    let address = object[end].as_str().with_context(|| format!("no {end}: {object}"))?;
    Ok(address.rsplit(':').next().context("no port")?.parse()?)
}

fn check(folder: &Path) -> Result<()> {
    no_loss(folder, "streamutil", "sctp-streamutil")?;
    let mut expected: BTreeMap<(u16, u16), [u64; 4]> = BTreeMap::new();
    for from in 7001..=7006 {
        let client: Value = serde_json::from_str(&text(&folder.join(format!("client-{from}.json")))?)?;
        let association = &client["associations"][0];
        let refused = association["sending"]["refused_invalid_stream"].as_u64().context("refused")?;
        let [sent, unsent] = ["abandoned_sent", "abandoned_unsent"].map(|name| association[name].as_u64());
        let (sent, unsent) = (sent.context("sent")?, unsent.context("unsent")?);
        expected.insert((from, 5000), [refused, 0, sent, unsent]);
    }
    let strays: Value = serde_json::from_str(&text(&folder.join("strays.json"))?)?;
    let discarded = strays["errors"].as_u64().context("errors")?;
    ensure!(discarded == strays["sent"].as_u64().context("sent")?, "{strays}");
    expected.insert((6000, 30_000), [0, discarded, 0, 0]);
    eprintln!("    undelivered: {expected:?}");
    ensure!(expected[&(7001, 5000)][0] == 7 && discarded > 50, "too tame");
    for (from, is_sent) in [(7002, false), (7003, false), (7004, false), (7005, true), (7006, true)] {
        ensure!(expected[&(from, 5000)][if is_sent { 2 } else { 3 }] > 0, "{from} is too tame");
    }

    let mut ids = BTreeMap::new();
    let mut seen = BTreeMap::new();
    for summary in of_type::<Value>(folder, "streamutil", "summary")? {
        let ports = (port(&summary, "local")?, port(&summary, "peer")?);
        ids.insert(summary["assoc_id"].to_string(), ports);
        let before = seen.insert(ports, counts(&summary)?);
        ensure!(before.is_none(), "{ports:?} has two summaries");
    }
    for (ports, counts) in &seen {
        let right = expected.get(ports).copied().unwrap_or_default();
        ensure!(*counts == right, "{ports:?}: {counts:?}, not {right:?}");
    }
    ensure!(expected.keys().all(|ports| seen.contains_key(ports)), "{seen:?}");

    // The counts of all intervals together must be those of the summary.
    let mut sums: BTreeMap<(u16, u16), [u64; 4]> = BTreeMap::new();
    let mut intervals = 0;
    for interval in of_type::<Value>(folder, "streamutil", "interval")? {
        let ports = (port(&interval, "local")?, port(&interval, "peer")?);
        let counts = counts(&interval)?;
        intervals += u32::from(counts != [0; 4]);
        sums.entry(ports).or_default().iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    for (ports, counts) in &seen {
        let sum = sums.get(ports).copied().unwrap_or_default();
        ensure!(sum == *counts, "{ports:?}: {sum:?} in all intervals, {counts:?} in the summary");
    }
    ensure!(intervals > expected.len() as u32, "only {intervals} intervals have any");

    // In CSV, each row of an association ends with the association's counts.
    ensure!(says_nothing(&text(&folder.join("extended.err"))?), "extended.err");
    let rows = text(&folder.join("extended.out"))?;
    let mut rows = rows.lines();
    let header = rows.next().context("no header")?;
    ensure!(header.ends_with(&format!(",{}", COUNTS.join(","))), "{header}");
    for row in rows {
        let (id, _) = row.split_once(',').context("no columns")?;
        let ports = ids.get(id).with_context(|| format!("no association {id}"))?;
        let last = seen[ports].map(|count| count.to_string()).join(",");
        ensure!(row.ends_with(&format!(",{last}")), "{row} does not end with {last}");
    }
    Ok(())
}
