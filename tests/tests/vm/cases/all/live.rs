//! `--live`: the screen shows what JSON has, and the terminal is left as it was.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::of_type;
use crate::suite::Suite;

/// Each command draws on a terminal of its own, and writes JSON beside that. The path is down for two seconds. Then
/// each command runs without a terminal, on a terminal without a cursor, and with `--sort` and a name that is no
/// column; and the terminal's modes before and after are compared.
const SCRIPT: &str = r#"
topology; path 10ms
term=xterm
on_terminal() { TERM=$term script -qec "stty cols 200 rows 40; $*" /dev/null; }
serve --bind 10.2.0.1 --sack-delay 40
for tool in $TOOLS; do
    start $tool sctp-$tool --json --no-samples -q -i 1 -f $tool.json
    on_terminal "echo \$\$ >live-$tool.pid; exec sctp-$tool -L -i 1" >live-$tool.out &
    echo $! >live-$tool.script
done
traced
for tool in $TOOLS; do
    until_true 60 test -s live-$tool.pid
    until_true 60 attached $(cat live-$tool.pid)
done
(sleep 2; path_down 0; sleep 2; path 10ms) &
send --bind 10.1.0.1 --count 500 --rate 100 --size 500 --nodelay --rto-min 200 --rto-initial 500
sleep 2
for tool in $TOOLS; do
    kill -INT $(cat live-$tool.pid)
    wait $(cat live-$tool.script) && status=0 || status=$?
    echo $status >live-$tool.status
done
trace_stop
{ TERM=xterm sctp-rtt -L 2>pipe.err || echo $? >pipe.status; } | cat >pipe.out
for tool in $TOOLS; do exits 2 file-$tool env TERM=xterm sctp-$tool -L; done
term=dumb
on_terminal sctp-rtt -L >dumb.out && status=0 || status=$?
echo $status >dumb.status
term=xterm
on_terminal sctp-rtt -L --sort nonsense >sort.out && status=0 || status=$?
echo $status >sort.status
on_terminal "stty -g >before; sctp-rtt -L -d 2; stty -g >after" >modes.out
"#;

/// Adds the case.
pub fn add(suite: &mut Suite) {
    suite.add(Series::V6_12, Mode::Icount, Case::new("live", SCRIPT), check);
}

/// For each command: a column of the screen that is a count, and the member of `summary` objects that has the same
/// count.
const COUNTED: [(&str, &str, &str); 5] = [
    ("rtt", "samples", "samples"),
    ("rto", "samples", "samples"),
    ("bufmon", "rwnd_samples", "rwnd_samples"),
    ("jitter", "chunks", "chunks"),
    ("streamutil", "stream_chunks", "total_chunks"),
];

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

fn check(folder: &Path) -> Result<()> {
    ensure!(COUNTED.len() == TOOLS.len());
    for (tool, column, name) in COUNTED {
        let [output, status] = ["out", "status"].map(|end| text(&folder.join(format!("live-{tool}.{end}"))));
        let output = output?;
        ensure!(status? == "0\n", "{tool}: {output:?}");
        let (_, drawn) =
            output.split_once(ENTER).with_context(|| format!("{tool}: no screen: {output:?}"))?;
        let (drawn, after) =
            drawn.split_once(LEAVE).with_context(|| format!("{tool}: not left: {output:?}"))?;
        ensure!(!after.contains('\x1b'), "{tool}: after the screen: {after:?}");
        ensure!(!drawn.contains("SKIPPED"), "{tool}: {drawn:?}");
        let frames: Vec<_> = drawn.split("\x1b[H").skip(1).collect();
        // The first frame comes before the first interval is over, the last one at the end.
        ensure!(frames.len() >= 6, "{tool}: {} frames", frames.len());
        ensure!(frames[0].contains("The first interval is not over yet."), "{tool}: {:?}", frames[0]);
        ensure!(
            frames
                .iter()
                .all(|frame| frame.starts_with(&format!("sctp-{tool}: ")) || frame.starts_with("\x1b[1"))
        );
        let mut seen = 0;
        for frame in &frames {
            seen += sum(frame, column).with_context(|| format!("{tool}: {frame:?}"))?;
        }
        let summaries: Vec<Value> = of_type(folder, tool, "summary")?;
        let expected = summaries.iter().map(|summary| summary[name].as_u64().context("a count"));
        let expected: u64 = expected.sum::<Result<_>>()?;
        ensure!(
            expected > 0 && seen == expected,
            "{tool}: {column}: {seen} on the screens, {expected} in JSON"
        );
    }
    ensure!(text(&folder.join("pipe.status"))? == "2\n" && text(&folder.join("pipe.out"))?.is_empty());
    for name in TOOLS.iter().map(|tool| format!("file-{tool}.err")).chain(["pipe.err".to_owned()]) {
        let said = text(&folder.join(&name))?;
        ensure!(said.contains("--live draws on a terminal"), "{name}: {said:?}");
    }
    for (name, why) in [("dumb", "TERM is not set, or dumb"), ("sort", "It has assoc_id, path, rtt_p99_us")] {
        let [out, status] = ["out", "status"].map(|end| text(&folder.join(format!("{name}.{end}"))));
        let out = out?;
        ensure!(status? == "2\n" && out.contains(why) && !out.contains("1049"), "{name}: {out:?}");
    }
    let [before, after] = ["before", "after"].map(|name| text(&folder.join(name)));
    let (before, after) = (before?, after?);
    ensure!(!before.is_empty() && before == after, "modes: {before:?} and {after:?}");
    Ok(())
}

/// The sum of a column over the rows of a frame.
fn sum(frame: &str, column: &str) -> Result<u64> {
    let plain: Vec<_> = frame.lines().map(without_sequences).collect();
    let Some(names) = plain.iter().position(|line| line.starts_with("assoc_id")) else { return Ok(0) };
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let at = words(&plain[names]).iter().position(|name| name == column).context("no such column")?;
    let rows = plain[names + 1..].iter().map(|line| words(line)).filter(|row| !row.is_empty());
    rows.map(|row| match row.get(at).map(String::as_str) {
        Some("-") => Ok(0),
        Some(count) => Ok(count.parse()?),
        None => Ok(0),
    })
    .sum()
}

/// A line without control sequences and carriage returns.
fn without_sequences(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    let rest =
        parts.map(|part| part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, text)| text));
    rest.fold(first, |line, part| line + part).replace('\r', "")
}
