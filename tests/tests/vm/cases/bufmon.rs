//! Cases of `sctp-bufmon`: its output formats, and waits that no scenario has.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode, text};

use crate::compare::{LeftOut, Report, contract, same_by_kprobes, says_nothing};
use crate::suite::Suite;
use crate::truth::bufmon::{check_waits, number, one};

const FORMS: &str = "topology; path 10ms; remember
    serve --bind 10.2.0.1 --associations 2 --read-delay 2 --rcvbuf 30000
    trace text sctp-bufmon --netns /run/netns/a
    trace csv sctp-bufmon -c --netns /run/netns/a
    trace csv-quiet sctp-bufmon --csv -q --netns /run/netns/a
    trace file sctp-bufmon --file rows/bufmon.csv --netns /run/netns/a
    trace extended sctp-bufmon -x --netns /run/netns/a
    trace kprobe sctp-bufmon -c -q $HOOKS_FLAG kprobe --netns /run/netns/a
    trace kprobe-extended sctp-bufmon -x -q $HOOKS_FLAG kprobe --netns /run/netns/a
    send --bind 10.1.0.1 --associations 2 --count 300 --size 1000 --sndbuf 20000 --linger 3000
    trace_stop INT; nothing_left";

/// A send that has waited since before the commands started, and still waits when they end.
const BLOCKED: &str = "topology; path 10ms
    serve --bind 10.2.0.1 --read-after 12000 --rcvbuf 30000
    a sctp-traffic client --bind 10.1.0.1 --count 300 --size 1000 --sndbuf 20000 --nodelay >client.json & client=$!
    sleep 2
    trace bufmon sctp-bufmon --json -q -f bufmon.json --netns /run/netns/a
    trace text sctp-bufmon -q --netns /run/netns/a
    sleep 4
    trace_stop; wait $client $server";

/// The memory of all SCTP sockets (`net.sctp.sctp_mem`) is small: sends wait for it, and for room in the send
/// buffer.
const MEMORY: &str = "topology; path 10ms
    mem=$(cat /proc/sys/net/sctp/sctp_mem)
    serve --bind 10.2.0.1 --read-delay 2; trace bufmon sctp-bufmon --json -q -f bufmon.json --netns /run/netns/a
    sysctl -qw net.sctp.sctp_mem='20 30 40'
    send --bind 10.1.0.1 --count 300 --size 4000 --sndbuf 400000 --blocked --nodelay --linger 3000
    sysctl -qw net.sctp.sctp_mem=\"$mem\"
    trace_stop";

/// More blocked senders than the kernel has instances of a return probe, and another sender that is not
/// blocked.
const MANY_BLOCKED: &str = "topology; path 10ms
    serve --bind 10.2.0.1 --associations 24 --read-after 8000 --rcvbuf 30000
    b sctp-traffic server --bind 10.2.0.1 --port 6000 >other-server.json 2>other-server.err & other=$!
    until_true 10 grep -qs listening other-server.err
    trace kprobe sctp-bufmon -cq --hooks kprobe --netns /run/netns/a
    trace other sctp-bufmon -cq --hooks kprobe --netns /run/netns/a --rport 6000
    a sctp-traffic client --bind 10.1.0.1 --associations 24 --count 100 --size 1000 --sndbuf 10000 --nodelay \\
        >client.json & blocked=$!
    sleep 2
    a sctp-traffic client --bind 10.1.0.1 --port 6000 --count 200 --rate 100 --nodelay >other.json
    trace_stop; wait $blocked $server $other";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for series in [Series::V6_12, Series::V6_1] {
        let mut add = |name: &str, script: &str, check: fn(&Path) -> Result<()>| {
            suite.add(series, Mode::Icount, Case::new(name, script), check);
        };
        add("bufmon-forms", FORMS, check_forms);
        add("bufmon-many-blocked", MANY_BLOCKED, check_many_blocked);
        for (suffix, hooks) in [("", ""), ("-kprobe", "HOOKS=\"$HOOKS_FLAG kprobe\"\n")] {
            add(&format!("bufmon-blocked{suffix}"), &format!("{hooks}{BLOCKED}"), check_blocked);
            add(&format!("bufmon-memory{suffix}"), &format!("{hooks}{MEMORY}"), check_memory);
        }
    }
}

fn check_forms(folder: &Path) -> Result<()> {
    for name in ["text", "csv", "csv-quiet", "file", "extended", "kprobe", "kprobe-extended"] {
        let errors = text(&folder.join(format!("{name}.err")))?;
        let status = text(&folder.join(format!("{name}.status")))?;
        ensure!(status == "0\n" && says_nothing(&errors), "{name}: {status}: {errors}");
    }
    contract(folder, "bufmon-text", &["text.out"])?;
    contract(folder, "bufmon-csv", &["csv.out"])?;
    contract(folder, "bufmon-csv-quiet", &["csv-quiet.out"])?;
    contract(folder, "bufmon-file", &["file.out", "rows/bufmon.csv"])?;
    same_by_kprobes(folder)
}

/// The commands saw neither the beginning nor the end of the wait. They count it once, with the time that it
/// lasted while they traced, and intervals have their parts of that time.
fn check_blocked(folder: &Path) -> Result<()> {
    let report = Report::read(folder, "bufmon")?;
    let summaries: Vec<_> = report.objects("summary").collect();
    ensure!(summaries.len() == 1, "{} summaries", summaries.len());
    let waited = number(summaries[0], "wait_total_us")?;
    ensure!(summaries[0]["wait_events"] == 1 && (3.9e6..6e6).contains(&waited), "{}", summaries[0]);
    ensure!(report.objects("sample").count() == 0, "a wait has ended");
    let (mut events, mut parts, mut intervals) = (0.0, 0.0, 0);
    for interval in report.objects("interval") {
        let part = number(interval, "wait_total_us")?;
        ensure!(part <= 1.5e6, "more than the interval: {interval}");
        events += number(interval, "wait_events")?;
        parts += part;
        intervals += 1;
    }
    ensure!(intervals >= 4 && events == 1.0, "{intervals} intervals, {events} waits");
    ensure!((parts - waited).abs() < 1.0, "{parts} us in intervals, {waited} in all");
    let text = text(&folder.join("text.out"))?;
    ensure!(text.contains("    Wait events: 1\n"), "{text}");
    Ok(())
}

/// Waits for the memory of all sockets are counted like waits for room in the send buffer.
fn check_memory(folder: &Path) -> Result<()> {
    let (report, summary, client) = one(folder)?;
    ensure!(client.sending.blocked_sends > 10, "{:?}", client.sending);
    check_waits(&report, &summary, &client, LeftOut::NOTHING)?;
    Ok(())
}

/// Each of the 24 blocked associations has waits, and each message of the sender that is not blocked gave a
/// sample.
fn check_many_blocked(folder: &Path) -> Result<()> {
    let [kprobe, other] = ["kprobe", "other"].map(|name| text(&folder.join(format!("{name}.out"))));
    let waits = |row: &str| row.rsplit(',').next().is_some_and(|n| n.parse().is_ok_and(|n: u64| n > 0));
    let kprobe = kprobe?;
    ensure!(kprobe.lines().filter(|row| waits(row)).count() == 24, "{kprobe}");
    let other = other?;
    let row: Vec<_> = other.lines().nth(1).context("no row")?.split(',').collect();
    let [looks, sacks] = [4, 10].map(|column: usize| row.get(column).and_then(|n| n.parse::<u64>().ok()));
    let sends =
        looks.zip(sacks).and_then(|(looks, sacks)| looks.checked_sub(sacks)).context(other.clone())?;
    ensure!(sends >= 200, "{sends} sends: {other}");
    Ok(())
}
