//! Cases beyond the commands' limits: readers that are stopped, tables that overflow, a thousand associations
//! per second, hundreds of starts. The accounting says what is missing, and the memory of commands and kernel
//! does not grow.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::sctp::Chunk;
use sctptrace_tests::truth::rtt::flows;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::{captured, objects};
use crate::suite::Suite;

/// The commands that read a ring buffer are stopped for 5 s of traffic at full speed. Every packet is
/// acknowledged at once, so that each SACK updates the RTO.
const OVERRUN: &str = "
topology; remember
serve --bind 10.2.0.1 --sack-every 1
capture a0
for tool in rtt rto; do
    start $tool-text sctp-$tool
    start $tool sctp-$tool --json -q -f $tool.json
done
traced
kill -STOP $(cat *.tracer)
a sctp-traffic client --bind 10.1.0.1 --count 120000 --size 20 --nodelay >client.json &
client=$!
sleep 5
! ended $client || fail 'all was sent in less than 5 s'
kill -CONT $(cat *.tracer)
wait $client $server
trace_stop; capture_stop
nothing_left
";

/// Forty associations of four streams, all open at once, in tables for eight paths, eight associations, or 64
/// streams. Then an association with more chunks outstanding than `--max-outstanding` allows.
const TABLES: &str = "
topology; remember
serve --bind 10.2.0.1 --one-to-many --associations 40 --streams 4 --sack-every 1
start rtt sctp-rtt --json -q -f rtt.json --max-paths 8
start rto sctp-rto --json -q -f rto.json --max-paths 8
start bufmon sctp-bufmon --json -q -f bufmon.json --max-assocs 8
start bufmon-roomy sctp-bufmon --json -q -f bufmon-roomy.json
start jitter sctp-jitter --json -q -f jitter.json --max-streams 64
start streamutil sctp-streamutil --json -q -f streamutil.json --max-streams 64
traced
for tool in $TOOLS; do locked $(cat $tool.tracer) map >$tool.tables; done
send --bind 10.1.0.1 --associations 40 --count 8 --streams 4 --crowd
trace_stop
path 50ms
serve --bind 10.2.0.1
trace outstanding sctp-rtt --json -q -f outstanding.json --max-outstanding 32
send --bind 10.1.0.1 --count 300 --rate 3000 --nodelay
trace_stop
nothing_left
";

/// A thousand associations per second for half a minute, traced by all commands. (If the emulated machine is
/// slower, the case takes longer; it prints the rate that was reached.)
const CHURN: &str = "
topology; remember
serve --bind 10.2.0.1 --churn --associations 30000
for tool in rtt rto; do start $tool sctp-$tool --json -q -i 5 -f $tool.json --max-paths 512; done
start bufmon sctp-bufmon --json -q -i 5 -f bufmon.json --max-assocs 256
for tool in jitter streamutil; do start $tool sctp-$tool --json -q -i 1 -f $tool.json --max-streams 4096; done
traced
used() { for tool in $TOOLS; do awk '/RssAnon/ { print $2 }' /proc/$(pidof sctp-$tool)/status; done; }
now() { cut -d' ' -f1 /proc/uptime; }
begin=$(now)
a sctp-traffic client --bind 10.1.0.1 --churn --associations 30000 --rate 1000 >client.json &
client=$!
sleep 16 # by then every table is full, and was read
used >early
wait $client $server
echo \"$begin $(now)\" >seconds
used >late
sleep 2
trace_stop
nothing_left
";

/// Starts all five commands forty times, after three times that do not count.
const STARTS: &str = "
modprobe sctp
until_true 20 grep -qx 2 /sys/module/sctp/refcnt
round() { for tool in $TOOLS; do sctp-$tool -d 0.01 >/dev/null 2>>errors & done; wait; }
memory() {
    sleep 2 # freed late
    awk '/^(Slab|KernelStack|PageTables|VmallocUsed|Percpu):/ { print $1, $2 }' /proc/meminfo
    awk '{ print \"files:\", $1 - $2 }' /proc/sys/fs/file-nr
}
for n in 1 2 3; do round; done
remember
memory >before
for n in $(seq 40); do round; done
memory >after
nothing_left
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    let mut add = |mode, name, script: &str, check: fn(&Path) -> Result<()>| {
        // A machine that does not count instructions runs in the host's time, and takes longer.
        let limit = Duration::from_secs(if mode == Mode::Smp { 900 } else { 200 });
        suite.add(Series::V6_12, mode, Case { limit, ..Case::new(name, script) }, check);
    };
    add(Mode::Icount, "limits-overrun", OVERRUN, check_overrun);
    add(Mode::Icount, "limits-tables", TABLES, check_tables);
    add(Mode::Icount, "limits-churn", CHURN, check_churn);
    add(Mode::Smp, "limits-starts", STARTS, check_starts);
}

/// Ensures that a command exited with 0. Returns the objects in its `NAME.json`: all but the last, and the
/// last, `end`.
fn report(folder: &Path, name: &str) -> Result<(Vec<Value>, Value)> {
    let status = text(&folder.join(format!("{name}.status")))?;
    ensure!(status == "0\n", "{name}: exit status {status}");
    let mut objects: Vec<Value> = objects(&folder.join(format!("{name}.json")))?;
    let end = objects.pop().filter(|end| end["type"] == "end").with_context(|| format!("{name}: no end"))?;
    Ok((objects, end))
}

fn count(objects: &[Value], kind: &str) -> u64 {
    objects.iter().filter(|object| object["type"] == kind).count() as u64
}

fn sum(objects: &[Value], kind: &str, key: &str) -> u64 {
    objects.iter().filter(|object| object["type"] == kind).filter_map(|object| object[key].as_u64()).sum()
}

/// The count in the line of stderr that contains `about`; 0 where there is none.
fn reported(folder: &Path, name: &str, about: &str) -> Result<u64> {
    let errors = text(&folder.join(format!("{name}.err")))?;
    let line = errors.lines().find(|line| line.contains(about));
    let count = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(count.map(str::parse).transpose()?.unwrap_or(0))
}

fn check_overrun(folder: &Path) -> Result<()> {
    let frames = captured(folder, &["a0"])?;
    let [flow] = &flows(&frames)[..] else { anyhow::bail!("not one flow") };
    let valid = flow.tsns.values().filter(|tsn| tsn.rtt_ns().is_some()).count() as u64;
    let sacks = frames.iter().flat_map(|frame| &frame.packet.chunks);
    let sacks = sacks.filter(|chunk| matches!(chunk, Chunk::Sack(_))).count() as u64;
    for (tool, truth) in [("rtt", valid), ("rto", sacks)] {
        let (objects, end) = report(folder, tool)?;
        let shown = count(&objects, "sample");
        let lost = end["lost"].as_u64().context("lost")?;
        eprintln!("    limits-overrun: {tool}: {truth} in the capture, {shown} shown, {lost} lost");
        ensure!(lost > 1000 && shown + lost == truth, "{tool}: {shown} shown of {truth}: {end}");
        ensure!(reported(folder, tool, "events lost")? == lost, "{tool}: {lost} were lost");
        // The statistics have all samples, also those that were lost as records.
        ensure!(
            end["events"] == truth && sum(&objects, "summary", "samples") == truth,
            "{tool}: {truth}: {end}"
        );

        let name = format!("{tool}-text");
        let rows = text(&folder.join(format!("{name}.out")))?;
        let rows = rows.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).count() as u64;
        let lost = reported(folder, &name, "events lost")?;
        ensure!(lost > 1000 && rows + lost == truth, "{name}: {rows} rows, {lost} lost of {truth}");
    }
    Ok(())
}

fn check_tables(folder: &Path) -> Result<()> {
    // Forty associations, each with eight messages and the farewell.
    let truth = 40 * 9;
    for (tool, key) in
        [("rtt", "samples"), ("jitter", "chunks"), ("streamutil", "total_chunks"), ("rto", "samples")]
    {
        let (objects, end) = report(folder, tool)?;
        let missing = end["skipped"]["evicted"].as_u64().context("skipped.evicted")?;
        let shown = sum(&objects, "summary", key);
        eprintln!("    limits-tables: {tool}: {shown} in the rows, {end}");
        ensure!(end["events"] == truth, "{tool}: {truth}: {end}");
        ensure!(missing > 0 && shown + missing == truth, "{tool}: {shown} of {truth}: {end}");
        let evicted = end["evicted"].as_u64().context("evicted")?;
        ensure!(evicted > 0 && reported(folder, tool, "evicted")? == evicted, "{tool}: {end}");
        if ["rtt", "rto"].contains(&tool) {
            ensure!(end["lost"] == 0 && count(&objects, "sample") == truth, "{tool}: rows");
        }
    }
    let (objects, end) = report(folder, "bufmon")?;
    let (_, roomy) = report(folder, "bufmon-roomy")?;
    ensure!(roomy["evicted"] == 0 && roomy["events"] == end["events"], "bufmon: {end} {roomy}");
    let looks = sum(&objects, "summary", "util_samples") + sum(&objects, "summary", "recv_samples");
    let missing = end["skipped"]["evicted"].as_u64().context("skipped.evicted")?;
    eprintln!("    limits-tables: bufmon: {looks} in the rows, {end}");
    ensure!(missing > 0 && end["events"] == looks + missing, "bufmon: {looks} in the rows: {end}");
    ensure!(end["evicted"].as_u64().is_some_and(|n| n > 0), "bufmon: {end}");

    for tool in TOOLS {
        let locked: u64 = text(&folder.join(format!("{tool}.tables")))?.trim().parse()?;
        let (_, end) = report(folder, tool)?;
        ensure!(locked > 0 && end["memory_bytes"] == locked, "{tool}: {locked} bytes locked: {end}");
    }

    let (objects, end) = report(folder, "outstanding")?;
    let evicted = end["evicted"].as_u64().context("evicted")?;
    eprintln!("    limits-tables: outstanding: {end}");
    ensure!(evicted > 100 && count(&objects, "sample") + evicted == 301, "{evicted} evicted: {end}");
    ensure!(end["events"] == 301 - evicted && end["skipped"]["no_room"] == evicted, "{end}");
    ensure!(sum_skipped(&end) == evicted && end["outstanding"] == 0, "{end}");
    Ok(())
}

fn sum_skipped(end: &Value) -> u64 {
    end["skipped"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

fn check_churn(folder: &Path) -> Result<()> {
    let truth = 30_000;
    let seconds = text(&folder.join("seconds"))?;
    let seconds: Vec<f64> = seconds.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [begin, end] = seconds[..] else { anyhow::bail!("{seconds:?}") };
    eprintln!("    limits-churn: {:.0} associations per second", truth as f64 / (end - begin));

    for (tool, key) in
        [("rtt", "samples"), ("rto", "samples"), ("jitter", "chunks"), ("streamutil", "total_chunks")]
    {
        let (objects, end) = report(folder, tool)?;
        eprintln!("    limits-churn: {tool}: {end}");
        ensure!(end["events"] == truth, "{tool}: not {truth} chunks: {end}");
        let shown = sum(&objects, "summary", key);
        let evicted = end["skipped"]["evicted"].as_u64().context("skipped.evicted")?;
        if ["rtt", "rto"].contains(&tool) {
            let lost = end["lost"].as_u64().context("lost")?;
            ensure!(count(&objects, "sample") + lost == truth, "{tool}: rows: {end}");
            ensure!(shown + evicted == truth, "{tool}: {shown} in the rows: {end}");
        } else {
            // An association may be evicted just after it was shown. The kernel side does not know that it
            // was shown, and counts its chunks as evicted, too.
            ensure!(shown <= truth && shown + evicted >= truth, "{tool}: {shown} in the rows: {end}");
            ensure!(evicted < truth / 50, "{tool}: {end}");
        }
    }
    let (objects, end) = report(folder, "bufmon")?;
    eprintln!("    limits-churn: bufmon: {end}");
    let looks = sum(&objects, "summary", "util_samples") + sum(&objects, "summary", "recv_samples");
    ensure!(end["events"] == looks + sum_skipped(&end), "bufmon: {looks} in the rows: {end}");
    // Each association has one message, which gives at least two samples: one at its send, one at its SACK.
    ensure!(end["events"].as_u64().is_some_and(|events| events >= 2 * truth), "bufmon: {end}");

    let [early, late] = ["early", "late"].map(|name| text(&folder.join(name)));
    for ((tool, early), late) in TOOLS.into_iter().zip(early?.lines()).zip(late?.lines()) {
        eprintln!("    limits-churn: {tool}: {early} kB after 16 s, {late} at the end");
        let (early, late): (u64, u64) = (early.parse()?, late.parse()?);
        // If a command kept 48 bytes of each association that came since `early`, its memory would grow by more.
        ensure!(late <= early + 512, "{tool}: memory grew from {early} to {late} kB");
    }
    Ok(())
}

fn check_starts(folder: &Path) -> Result<()> {
    let errors = text(&folder.join("errors"))?;
    ensure!(errors.lines().all(|line| line.contains("nothing was seen")), "{errors}");
    let [before, after] = ["before", "after"].map(|name| text(&folder.join(name)));
    for (before, after) in before?.lines().zip(after?.lines()) {
        let parse = |line: &str| line.split_once(' ')?.1.parse::<i64>().ok();
        let grown = parse(after).zip(parse(before)).map(|(after, before)| after - before);
        let grown = grown.with_context(|| format!("{before}, {after}"))?;
        eprintln!("    limits-starts: {before} at first, {after} after 200 starts");
        // If each of the 200 starts left a page of memory behind, that would be 800 kB. Less may be caches of the
        // allocator. The kernel's count of open files may be off by 32 per CPU.
        let limit = if before.starts_with("files") { 64 } else { 600 };
        ensure!(grown < limit, "grown by {grown}: {before}, {after}");
    }
    Ok(())
}
