//! Faults around a command: a signal ends it, its output cannot be written, it cannot start, or its network
//! namespace or the clock changes. Whatever happens, nothing is lost silently, and nothing stays behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::{Report, contract, ensure_sentence, objects, says_nothing, traffic};
use crate::suite::Suite;

/// Two processes of each command, of which SIGTERM ends one and SIGHUP the other; then one more of each,
/// which SIGKILL ends amid traffic. (SIGINT ends the commands in the cases of their output formats.)
const SIGNALS: &str = "
topology; path 10ms; remember
serve --bind 10.2.0.1 --associations 2
for signal in TERM HUP; do
    mkdir $signal; cd $signal
    for tool in $TOOLS; do start $tool sctp-$tool; done
    cd ..
done
for signal in TERM HUP; do cd $signal; traced; cd ..; done
send --bind 10.1.0.1 --associations 2 --count 20 --rate 100
for signal in TERM HUP; do cd $signal; trace_stop $signal; cd ..; done
nothing_left

serve --bind 10.2.0.1
mkdir KILL; cd KILL
for tool in $TOOLS; do start $tool sctp-$tool --json -i 0.2 -f $tool.json; done
traced
a sctp-traffic client --bind 10.1.0.1 --count 200 --rate 100 >client.json &
client=$!
sleep 1
trace_stop KILL
cd ..
wait $client $server
nothing_left
";

/// A command that was started with SIGHUP ignored, as by `nohup`, gets a SIGHUP. Another command gets a
/// second SIGTERM while a slow reader still takes the output that is due at the end.
const SECOND_SIGNAL: &str = "
topology; path 10ms; remember
now() { cut -d' ' -f1 /proc/uptime; }
sips() { while [ $(dd bs=4096 count=1 2>/dev/null | wc -c) -gt 0 ]; do sleep 0.4; done; }
(trap '' HUP; exec sctp-rtt -c -q >held.csv 2>held.err) &
held=$!
mkfifo pipe
sips <pipe &
reader=$!
sctp-rtt --json -q >pipe 2>second.err &
second=$!
until_true 60 attached $held
until_true 60 attached $second
serve --bind 10.2.0.1
send --bind 10.1.0.1 --count 2000
kill -HUP $held
kill -TERM $second
sleep 0.5
! ended $second || fail 'its reader has taken all'
now >before
kill -TERM $second
wait $second && echo 0 >second.status || echo $? >second.status
now >after
wait $reader
! ended $held || fail 'ended by a hangup that it ignores'
kill -TERM $held
wait $held && echo 0 >held.status || echo $? >held.status
nothing_left
";

/// Readers that close their pipe: one while rows come, one after a header that no row follows.
const PIPES: &str = "
topology; path 10ms; remember
head_of() { # NAME LINES TOOL ARGUMENTS...
    local name=$1 lines=$2
    shift 2
    { \"$@\" 2>$name.err; echo $? >$name.status; } | head -n $lines >$name.out
}
for tool in $TOOLS; do head_of $tool-header 1 sctp-$tool -c -q & done
wait
serve --bind 10.2.0.1
for tool in rtt rto; do head_of $tool-rows 3 sctp-$tool --json & done
for tool in rtt rto; do until_true 60 pidof sctp-$tool >/dev/null; until_true 60 attached $(pidof sctp-$tool); done
send --bind 10.1.0.1 --count 300 --rate 100
until_true 20 test -s rtt-rows.status
until_true 20 test -s rto-rows.status
nothing_left
";

/// Output to full devices. A disk of one page is full in mid-run for JSON, and for CSV only at the end, whose
/// rows need a second page. `/dev/full` is always full.
const FULL: &str = "
topology; path 10ms; remember
serve --bind 10.2.0.1 --associations 60
for tool in $TOOLS; do
    for when in mid last; do
        mkdir $when-$tool.disk
        mount -t tmpfs -o size=4k disk $when-$tool.disk
    done
    start mid-$tool sctp-$tool --json -i 0.1 -f mid-$tool.disk/rows
    start last-$tool sctp-$tool -c -x -f last-$tool.disk/rows
done
traced
send --bind 10.1.0.1 --associations 60 --count 20 --rate 20
for tool in $TOOLS; do
    until_true 20 ended $(cat mid-$tool.tracer)
    ! ended $(cat last-$tool.tracer) || fail \"last-$tool: ended before its time\"
done
trace_stop
sctp-rtt 2>stdout.err >/dev/full && fail 'wrote to /dev/full' || echo $? >stdout.status
umount *.disk
nothing_left
";

/// Commands refuse to start where their file cannot be made, with a hard limit of 20 open files, and on a
/// kernel with its BPF compiler (JIT) off. They start with a soft limit of 20 open files and no lockable
/// memory.
const REFUSALS: &str = "
modprobe sctp
until_true 20 grep -qx 2 /sys/module/sctp/refcnt # namespaces of the case before are gone
remember
mkdir read-only
mount -t tmpfs -o ro disk read-only
for tool in $TOOLS; do
    exits 1 folder-$tool sctp-$tool -f read-only/rows.csv
    exits 1 missing-$tool sctp-$tool -f read-only/new/rows.csv
    exits 1 is-folder-$tool sctp-$tool -f read-only
    exits 3 files-$tool sh -c \"ulimit -n 20; exec sctp-$tool\"
    exits 0 soft-$tool sh -c \"ulimit -S -n 20; ulimit -l 0; exec sctp-$tool --json -d 0.1\"
done
umount read-only
sysctl -qw net.core.bpf_jit_enable=0
for tool in $TOOLS; do exits 3 jit-$tool sctp-$tool; done
sysctl -qw net.core.bpf_jit_enable=1
nothing_left
";

/// The traced network namespace is deleted while a process still sends in it, and is gone after that process.
const NETNS: &str = "
topology; path 10ms; remember
stat -L -c %i /run/netns/a >inode
serve --bind 10.2.0.1 --echo
for tool in $TOOLS; do start $tool sctp-$tool --json -q -f $tool.json --netns /run/netns/a; done
traced
a sctp-traffic client --bind 10.1.0.1 --count 50 --rate 25 --echo >client.json &
client=$!
sleep 1
ip netns delete a
wait $client $server
gone() { ! ip -n r link show ra0 >/dev/null 2>&1; }
until_true 20 gone
sleep 1
trace_stop
# As many namespaces as before, for the module counts them.
unshare -n sleep 100 &
nothing_left
";

/// The system clock goes back an hour amid traffic.
const CLOCK: &str = "
topology; path 10ms; remember
serve --bind 10.2.0.1
for tool in $TOOLS; do start $tool sctp-$tool --json -q -i 0.5 -d 10 -f $tool.json; done
traced
(sleep 2; date -s @$(($(date +%s) - 3600)) >/dev/null) &
send --bind 10.1.0.1 --count 400 --rate 100 --nodelay
for tracer in *.tracer; do until_true 20 ended $(cat $tracer); done
trace_stop
date -s @$(($(date +%s) + 3600)) >/dev/null
nothing_left
";

/// A terminal of 40 columns in the locale C, and Ctrl-C.
const TERMINAL: &str = "
topology; path 10ms; remember
serve --bind 10.2.0.1 --associations 2
terminal() { env -i PATH=$PATH LC_ALL=C script -qec \"stty rows 25 cols 40; exec $*\" /dev/null; }
for tool in $TOOLS; do
    sctp-$tool --help >$tool.wide
    terminal sctp-$tool --help </dev/null | tr -d '\\r' >$tool.help
    { until [ -e all-sent ]; do sleep 0.1; done; printf '\\003'; until ended $(pidof sctp-$tool); do sleep 0.1; done; } |
        terminal sctp-$tool | tr -d '\\r' >$tool.screen &
done
for tool in $TOOLS; do until_true 60 pidof sctp-$tool >/dev/null; until_true 60 attached $(pidof sctp-$tool); done
send --bind 10.1.0.1 --associations 2 --count 20 --rate 100
touch all-sent
for tool in $TOOLS; do until_true 20 grep -q 'Tracing completed' $tool.screen; sed 's/^^C//' $tool.screen >$tool.out; done
nothing_left
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    let mut add = |name, script, check: fn(&Path) -> Result<()>| {
        suite.add(Series::V6_12, Mode::Icount, Case::new(name, script), check);
    };
    add("faults-signals", SIGNALS, check_signals);
    add("faults-second-signal", SECOND_SIGNAL, check_second_signal);
    add("faults-pipes", PIPES, check_pipes);
    add("faults-full", FULL, check_full);
    add("faults-refusals", REFUSALS, check_refusals);
    add("faults-netns", NETNS, check_netns);
    add("faults-clock", CLOCK, check_clock);
    add("faults-terminal", TERMINAL, check_terminal);
}

/// Ensures that the text output in `TOOL.out` is complete. Two associations have 21 chunks each, the farewell
/// included. `sctp-jitter` has one block for both, with the 20 intervals between the chunks of each.
fn ensure_whole(folder: &Path, tool: &str) -> Result<()> {
    contract(folder, &format!("{tool}-text"), &[&format!("{tool}.out")])?;
    let (sentence, times) = match tool {
        "rtt" => ("  Samples: 21\n", 2),
        "jitter" => ("  Samples: 40\n", 1),
        "streamutil" => (" across 21 chunks\n", 2),
        _ => return Ok(()),
    };
    let output = text(&folder.join(format!("{tool}.out")))?;
    ensure!(output.matches(sentence).count() >= times, "{tool}: {output}");
    Ok(())
}

fn check_signals(folder: &Path) -> Result<()> {
    for signal in ["TERM", "HUP"] {
        let folder = folder.join(signal);
        for tool in TOOLS {
            let [status, errors] = ["status", "err"].map(|end| text(&folder.join(format!("{tool}.{end}"))));
            ensure!(status? == "0\n" && says_nothing(&errors?), "{signal}: {tool}");
            ensure_whole(&folder, tool).with_context(|| format!("{signal}: {tool}"))?;
        }
    }
    let bufmon = |signal| text(&folder.join(signal).join("bufmon.out"));
    ensure!(bufmon("TERM")? == bufmon("HUP")?, "two copies of bufmon differ");

    let folder = folder.join("KILL");
    let mut expected = BTreeSet::from(["client.json".to_owned()]);
    for tool in TOOLS {
        ensure!(text(&folder.join(format!("{tool}.status")))? == "137\n", "{tool}: not killed");
        // The output ends with a whole line, and has no `end` object.
        let lines: Vec<Value> = objects(&folder.join(format!("{tool}.json")))?;
        let whole = text(&folder.join(format!("{tool}.json")))?.ends_with('\n');
        ensure!(whole && lines.iter().all(|line| line["type"] != "end"), "{tool}: {lines:?}");
        expected.extend(["out", "err", "status", "json"].map(|end| format!("{tool}.{end}")));
    }
    let found: BTreeSet<String> = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    ensure!(found == expected, "files: {found:?}");
    Ok(())
}

fn check_second_signal(folder: &Path) -> Result<()> {
    let [held, second] = ["held", "second"].map(|name| text(&folder.join(format!("{name}.status"))));
    ensure!(held? == "0\n" && second? == "143\n", "not 0 after a hangup, or not 143 after two signals");
    let rows = text(&folder.join("held.csv"))?;
    ensure!(rows.lines().count() == 2, "not one association: {rows}");
    let [before, after] = ["before", "after"].map(|name| text(&folder.join(name)));
    let lasted_s = after?.trim().parse::<f64>()? - before?.trim().parse::<f64>()?;
    // The process itself ends at once; up to a second is for the kernel to release its hooks.
    ensure!(lasted_s < 1.0, "ended {lasted_s} s after the second signal");
    Ok(())
}

fn check_pipes(folder: &Path) -> Result<()> {
    let headers = TOOLS.map(|tool| (format!("{tool}-header"), 1));
    let rows = ["rtt", "rto"].map(|tool| (format!("{tool}-rows"), 3));
    for (name, lines) in headers.into_iter().chain(rows) {
        let [out, err, status] =
            ["out", "err", "status"].map(|end| text(&folder.join(format!("{name}.{end}"))));
        let (out, err, status) = (out?, err?, status?);
        ensure!(
            out.lines().count() == lines && err.is_empty() && status == "0\n",
            "{name}: {out}{err}{status}"
        );
    }
    Ok(())
}

fn check_full(folder: &Path) -> Result<()> {
    for tool in TOOLS {
        for when in ["mid", "last"] {
            let name = format!("{when}-{tool}");
            ensure!(text(&folder.join(format!("{name}.status")))? == "1\n", "{name}: exit status");
            ensure_sentence(folder, &format!("sctp-{tool}"), &name, "No space left")?;
        }
    }
    ensure!(text(&folder.join("stdout.status"))? == "1\n", "exit status with a full standard output");
    ensure_sentence(folder, "sctp-rtt", "stdout", "standard output: No space left")
}

fn check_refusals(folder: &Path) -> Result<()> {
    for tool in TOOLS {
        for (name, reason) in [
            ("folder", "'read-only/rows.csv': EROFS: Read-only file system"),
            ("missing", "cannot make the folder 'new': EROFS: Read-only file system"),
            ("is-folder", "'read-only': Is a directory"),
            ("files", "20 are allowed here: run `ulimit -n"),
            ("jit", "run `sysctl net.core.bpf_jit_enable=1`"),
        ] {
            let name = format!("{name}-{tool}");
            ensure_sentence(folder, &format!("sctp-{tool}"), &name, reason)?;
            ensure!(text(&folder.join(format!("{name}.out")))?.is_empty(), "{name}: something on stdout");
        }
        let errors = text(&folder.join(format!("soft-{tool}.err")))?;
        ensure!(
            errors.lines().count() == 1 && errors.contains("nothing was seen: no SCTP"),
            "soft-{tool}: {errors}"
        );
        let [end] = objects::<Value>(&folder.join(format!("soft-{tool}.out")))?
            .try_into()
            .map_err(|objects| anyhow::anyhow!("soft-{tool}: {objects:?}"))?;
        ensure!(end["type"] == "end" && end["events"] == 0, "soft-{tool}: {end}");
    }
    Ok(())
}

fn check_netns(folder: &Path) -> Result<()> {
    let inode: u64 = text(&folder.join("inode"))?.trim().parse()?;
    let client = traffic(folder, "client.json")?.pop().context("no association")?;
    for tool in TOOLS {
        let report = Report::read(folder, tool)?;
        let summaries: Vec<_> = report.objects("summary").collect();
        ensure!(!summaries.is_empty(), "{tool}: no summary");
        let right = |s: &&Value| s["netns"] == inode && s["assoc_id"] == client.assoc_id;
        ensure!(summaries.iter().all(right), "{tool}: not {client:?} in {inode}: {summaries:?}");
        // The chunks that the client sent, its last message included; for sctp-jitter the chunks that it received,
        // which are echoes.
        let (key, chunks) = match tool {
            "rtt" => ("samples", client.stats.data_sent),
            "jitter" => ("chunks", client.stats.data_received),
            "streamutil" => ("total_chunks", client.stats.data_sent),
            _ => continue,
        };
        ensure!(chunks >= 50 && report.sum("summary", key) == chunks, "{tool}: not {chunks}: {summaries:?}");
    }
    Ok(())
}

fn check_clock(folder: &Path) -> Result<()> {
    let client = traffic(folder, "client.json")?.pop().context("no association")?;
    for tool in TOOLS {
        let report = Report::read(folder, tool)?;
        let intervals: Vec<_> = report.objects("interval").collect();
        let time = |interval: &Value| interval["time"].as_str().unwrap_or_default().to_owned();
        let [first, .., last] = intervals.as_slice() else { anyhow::bail!("{tool}: no intervals") };
        ensure!(time(last) < time(first), "{tool}: the clock did not go back: {first} {last}");
        // Intervals take half a second each, and are shown as long as traffic lasts: some 4 s.
        let times: BTreeSet<_> = intervals.iter().map(|interval| time(interval)).collect();
        ensure!((8..=10).contains(&times.len()), "{tool}: intervals of {times:?}");
        let lasted = report.end["duration_s"].as_f64().context("duration_s")?;
        ensure!((8.0..12.0).contains(&lasted), "{tool}: {}", report.end);
    }
    let report = Report::read(folder, "rtt")?;
    let samples: Vec<_> = report.objects("sample").collect();
    ensure!(samples.len() as u64 == client.stats.data_sent, "{} samples of {client:?}", samples.len());
    // The path's 20 ms, and up to 200 ms by which the receiver may delay a SACK.
    let right = |sample: &&Value| sample["rtt_us"].as_f64().is_some_and(|us| (20e3..225e3).contains(&us));
    ensure!(samples.iter().all(right), "{samples:?}");
    Ok(())
}

fn check_terminal(folder: &Path) -> Result<()> {
    for tool in TOOLS {
        ensure_whole(folder, tool)?;
        let [help, wide] = ["help", "wide"].map(|end| text(&folder.join(format!("{tool}.{end}"))));
        let (help, wide) = (help?, wide?);
        let broad = help.lines().find(|line| line.chars().count() > 40 && line.trim().contains(' '));
        ensure!(broad.is_none(), "{tool}: wider than the terminal: {broad:?}");
        ensure!(help.split_whitespace().eq(wide.split_whitespace()), "{tool}: words are missing: {help}");
    }
    Ok(())
}
