//! Cases of `sctp-jitter` and `sctp-streamutil`: output formats, filters, and thousands of associations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode, text};
use serde::Deserialize;
use serde_json::Value;

use crate::cases::rtt::FILTERS;
use crate::compare::{contract, no_loss, of_type, says_filtered, says_nothing};
use crate::suite::Suite;

const TOOLS: [&str; 2] = ["jitter", "streamutil"];
const FORMS: [&str; 5] = ["text", "csv", "csv-quiet", "csv-file", "file"];

/// All forms of text and CSV output at once. `TOOL` stands for the command, without `sctp-`.
const TRACE_FORMS: &str = "
trace TOOL-text sctp-TOOL -i 1
trace TOOL-csv sctp-TOOL -c
trace TOOL-csv-quiet sctp-TOOL --csv -q
trace TOOL-csv-file sctp-TOOL -c -f rows/TOOL-csv.csv
trace TOOL-file sctp-TOOL --file rows/TOOL.csv
trace TOOL-stamped sctp-TOOL -c -q -T -i 1
";

const SEND_FORMS: &str = "
topology; path 10ms; remember
serve --bind 10.2.0.1 --associations 2 --streams 4
TRACE
send --bind 10.1.0.1 --associations 2 --count 300 --rate 100 --streams 4 --unordered-every 3
trace_stop INT; nothing_left
";

/// Ten thousand associations of four streams, open at once, and closed one after the other.
const CROWD: &str = "
topology
serve --bind 10.2.0.1 --one-to-many --associations 10000 --streams 4
trace streamutil sctp-streamutil -i 1 --max-streams 65536 --json -q -f streamutil.json
trace jitter sctp-jitter -i 1 --max-streams 65536 --json -q -f jitter.json
# Merged into four streams at every tick: all that takes time is to read the table.
trace merged sctp-jitter -i 1 --max-streams 65536
usage() {
    for tool in streamutil jitter merged; do
        pid=$(cat $tool.tracer)
        anon=$(awk '/RssAnon/ { print $2 }' /proc/$pid/status)
        echo \"$(cut -d' ' -f1 /proc/uptime) $anon $(cut -d' ' -f14,15 /proc/$pid/stat)\" >>$tool.usage
    done
}
usage
(while sleep 1; do usage; done) &
watcher=$!
send --bind 10.1.0.1 --associations 10000 --count 8 --streams 4 --crowd --linger 5000
kill $watcher
usage
trace_stop
";

/// An association of 65,535 streams, with a message on each, in every form of output.
const WIDE: &str = "
topology
serve --bind 10.2.0.1 --streams 65535
run() {
    local name=$1
    shift
    start $name sctp-streamutil --max-streams 65536 -i 1 \"$@\"
}
run text
run csv -c
run extended -x
run extended-csv -c -x
run json --json -q
run file --json -q -f file.json
traced
(while sleep 0.1; do
    for tracer in *.tracer; do
        awk '/RssAnon/ { print $2 }' /proc/$(cat $tracer)/status >>${tracer%.tracer}.anon
    done
done) &
watcher=$!
send --bind 10.1.0.1 --streams 65535 --count 65535
sleep 2; trace_stop
# It ends by itself where a command has ended while it was looked at.
kill $watcher || true
";

/// How much a command's own memory may grow, in kB: for output that is gathered before it is written, and for
/// the allocator's spare room. None of it is state of associations: with a single association the growth is the
/// same.
const BATCHES_KB: f64 = 100.0;

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    let trace: String = TOOLS.iter().map(|tool| TRACE_FORMS.replace("TOOL", tool)).collect();
    let forms = Case::new("streams-forms", &SEND_FORMS.replace("TRACE", &trace));
    suite.add(Series::V6_12, Mode::Icount, forms, check_forms);

    for (series, hooks) in [(Series::V6_12, ""), (Series::V6_1, ""), (Series::V6_12, "$HOOKS_FLAG kprobe")] {
        let suffix = if hooks.is_empty() { "" } else { "-kprobe" };
        let filters = FILTERS.replace("--pause 25000", "--pause 90000").replace("-p $other", "-p $echoing");
        for tool in TOOLS {
            let script = filters.replace("sctp-rtt --json", &format!("sctp-{tool} {hooks} --json"));
            let case = Case::new(&format!("{tool}-filters{suffix}"), &script);
            suite.add(series, Mode::Icount, case, move |folder| check_filters(folder, tool));
        }
    }

    let wide = Case { limit: Duration::from_secs(400), ..Case::new("streams-wide", WIDE) };
    suite.add(Series::V6_12, Mode::Icount, wide, check_wide);

    let mut crowd = Case::new("streams-crowd", CROWD);
    crowd.limit = Duration::from_secs(400);
    suite.add(Series::V6_12, Mode::Icount, crowd, check_crowd);
}

/// Ensures that every stream is shown, and that each form of output took less than 40 MB of memory.
fn check_wide(folder: &Path) -> Result<()> {
    for name in ["text", "csv", "extended", "extended-csv", "json", "file"] {
        let anon = text(&folder.join(format!("{name}.anon")))?;
        let peak_kb: u64 = anon.lines().filter_map(|kb| kb.parse().ok()).max().context("no memory")?;
        let output = if name == "file" { "file.json".to_owned() } else { format!("{name}.out") };
        let output = text(&folder.join(output))?;
        eprintln!("    streams-wide: {name}: {peak_kb} kB, {} bytes of output", output.len());
        ensure!(peak_kb < 40 * 1024, "{name}: {peak_kb} kB");
        if ["json", "file"].contains(&name) {
            let mut summaries = output.lines().filter(|line| line.contains("\"type\":\"summary\""));
            let summary: Value = serde_json::from_str(summaries.next().context("no summary")?)?;
            let streams = summary["streams"].as_array().context("no streams")?;
            let chunks: u64 = streams.iter().filter_map(|stream| stream["chunks"].as_u64()).sum();
            // Each stream has one message. Stream 0 has one more: the client's last message, the farewell
            // (`sctp-traffic`).
            ensure!(
                (streams.len(), chunks) == (65_535, 65_536),
                "{} streams, {chunks} chunks",
                streams.len()
            );
            ensure!(summaries.next().is_none(), "{name}: two summaries");
        }
    }
    Ok(())
}

fn check_forms(folder: &Path) -> Result<()> {
    for tool in TOOLS {
        for form in FORMS {
            let name = format!("{tool}-{form}");
            let errors = text(&folder.join(format!("{name}.err")))?;
            let status = text(&folder.join(format!("{name}.status")))?;
            ensure!(status == "0\n" && says_nothing(&errors), "{name}: {errors}");
            let output = format!("{name}.out");
            let file = match form {
                "csv-file" => Some(format!("rows/{tool}-csv.csv")),
                "file" => Some(format!("rows/{tool}.csv")),
                _ => None,
            };
            let files: Vec<&str> = [Some(output.as_str()), file.as_deref()].into_iter().flatten().collect();
            contract(folder, &name, &files)?;
        }
        check_stamped(&text(&folder.join(format!("{tool}-stamped.out")))?)?;
    }
    Ok(())
}

/// Ensures that the output with `-T` has rows of several intervals, each with its time.
fn check_stamped(output: &str) -> Result<()> {
    let mut lines = output.lines();
    ensure!(lines.next().is_some_and(|header| header.starts_with("time,")), "no column time: {output}");
    let times: BTreeSet<&str> = lines.filter_map(|line| line.split(',').next()).collect();
    ensure!(times.len() >= 3 && times.iter().all(|time| time.ends_with('Z')), "times: {times:?}");
    Ok(())
}

/// The addresses in a `summary` object, which say which end of which association it is about.
#[derive(Debug, Deserialize)]
struct Whose {
    local: SocketAddr,
    peer: SocketAddr,
}

fn seen_ports(folder: &Path, name: &str, tool: &str) -> Result<BTreeSet<(u16, u16)>> {
    no_loss(folder, name, tool)?;
    let summaries: Vec<Whose> = of_type(folder, name, "summary")?;
    Ok(summaries.into_iter().map(|whose| (whose.local.port(), whose.peer.port())).collect())
}

const A0: (u16, u16) = (6000, 5000);
const A1: (u16, u16) = (6001, 5001);
const A2: (u16, u16) = (6002, 5002);
const B0: (u16, u16) = (5000, 6000);
const B1: (u16, u16) = (5001, 6001);
const B2: (u16, u16) = (5002, 6002);

/// Ensures that each filter leaves the right summaries. `sctp-jitter` has a summary for each end that
/// receives, `sctp-streamutil` for each end that sends. So for the association without echoes each command
/// has one summary: of the server's end or of the client's.
fn check_filters(folder: &Path, tool: &str) -> Result<()> {
    let is_jitter = tool == "jitter";
    let last = if is_jitter { B2 } else { A2 };
    let mut own = vec![A0, A1];
    let mut others = vec![B0, B1];
    if is_jitter {
        others.push(B2)
    } else {
        own.push(A2)
    }
    let all = [vec![A0, A1, B0, B1], vec![last]].concat();
    for (name, expected) in [
        ("all", all),
        ("lport", vec![A1]),
        ("rport", vec![B0]),
        ("addr", vec![last]),
        ("netns-path", own),
        ("netns-pid", others),
        ("assoc", vec![A1]),
        ("pid", vec![B0, B1]),
    ] {
        let seen = seen_ports(folder, name, tool)?;
        ensure!(seen == expected.iter().copied().collect(), "{name}: {seen:?}, not {expected:?}");
    }
    // No association fits the filters of `both`, two ports of different associations.
    let summaries: Vec<Whose> = of_type(folder, "both", "summary")?;
    let errors = text(&folder.join("both.err"))?;
    ensure!(summaries.is_empty() && says_filtered(&errors), "both: {summaries:?} {errors}");
    Ok(())
}

/// Members of a `summary` object of either command. Members that the command does not have are 0.
#[derive(Debug, Deserialize)]
struct Counts {
    assoc_id: u32,
    local: SocketAddr,
    #[serde(default)]
    total_chunks: u64,
    #[serde(default)]
    total_streams: u64,
    #[serde(default)]
    active_streams: u64,
    #[serde(default)]
    stream_id: u16,
    #[serde(default)]
    chunks: u64,
}

/// Ensures that each association sent and received eight messages, two on each of four streams, and the
/// farewell on stream 0; and that the commands take little memory and time.
fn check_crowd(folder: &Path) -> Result<()> {
    for tool in TOOLS {
        no_loss(folder, tool, tool)?;
    }
    let summaries: Vec<Counts> = of_type(folder, "streamutil", "summary")?;
    let senders: Vec<_> = summaries.iter().filter(|s| s.total_chunks > 0).collect();
    ensure!(senders.len() == 10_000, "{} associations sent", senders.len());
    for s in senders {
        let right = (s.total_chunks, s.total_streams, s.active_streams) == (9, 4, 4);
        ensure!(right && s.local.port() != 5000, "{s:?}");
    }
    let summaries: Vec<Counts> = of_type(folder, "jitter", "summary")?;
    let mut arrived: BTreeMap<(u32, u16), u64> = BTreeMap::new();
    for s in &summaries {
        ensure!(arrived.insert((s.assoc_id, s.stream_id), s.chunks).is_none(), "twice: {s:?}");
    }
    ensure!(arrived.len() == 40_000, "{} streams received", arrived.len());
    for ((assoc_id, stream_id), chunks) in arrived {
        let expected = if stream_id == 0 { 3 } else { 2 };
        ensure!(chunks == expected, "{chunks} chunks on stream {stream_id} of {assoc_id}");
    }
    for tool in [&TOOLS[..], &["merged"]].concat() {
        eprintln!(
            "    streams-crowd: {tool}: {}",
            check_usage(&text(&folder.join(format!("{tool}.usage")))?)?
        );
    }
    Ok(())
}

/// Ensures that a command was never busy for a whole interval between two lines, and that its own memory grew
/// by at most [`BATCHES_KB`]. Each line has: seconds since boot, own memory in kB, user time and system time
/// in hundredths of a second. Returns figures for people.
fn check_usage(usage: &str) -> Result<String> {
    let lines: Vec<Vec<f64>> = usage
        .lines()
        .map(|line| line.split_whitespace().map(str::parse).collect::<Result<_, _>>())
        .collect::<Result<_, _>>()?;
    let [first, .., last] = lines.as_slice() else { anyhow::bail!("no usage: {usage}") };
    let own = lines.iter().map(|line| line[1]).fold(0.0, f64::max);
    let seconds = last[0] - first[0];
    let busy = (last[2] + last[3] - first[2] - first[3]) / 100.0;
    let worst = lines
        .windows(2)
        .map(|pair| (pair[1][2] + pair[1][3] - pair[0][2] - pair[0][3]) / 100.0 / (pair[1][0] - pair[0][0]))
        .fold(0.0, f64::max);
    let figures = format!(
        "{} kB of its own at first, {own} kB at most; busy {busy:.1} of {seconds:.0} s, at most {:.0} % of an interval",
        first[1],
        worst * 100.0
    );
    ensure!(worst < 1.0 && own - first[1] <= BATCHES_KB, "{figures}");
    Ok(figures)
}
