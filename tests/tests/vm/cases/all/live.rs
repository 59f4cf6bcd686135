//! `--live`: the screen shows what JSON has, and the terminal is left as it was.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

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

/// Each command in tmux, upon 80 x 24 and then 200 x 50, ended by Ctrl-C and by SIGTERM. Beside the screens: what tmux says of
/// the pane (the alternate screen, the cursor, the column), the terminal's modes, and the shell's exit status.
const IN_TMUX: &str = r#"
topology; path 10ms
tm() { TERM=screen tmux -L bed "$@" </dev/null; }
pane() { tm display-message -p '#{alternate_on} #{cursor_flag} #{cursor_x}'; }
tm -f /dev/null new-session -d -x 80 -y 24 sh
tm send-keys "PS1='> '; clear; echo before the screen" Enter
serve --bind 10.2.0.1 --sack-delay 40 --associations 5
a sctp-traffic client --bind 10.1.0.1 --associations 5 --count 20000 --rate 50 --size 100 --nodelay >client.json &
for tool in $TOOLS; do
    # Arrivals are at b.
    ns=a; [ $tool != jitter ] || ns=b
    for how in INT TERM; do
        tm resize-window -x 80 -y 24
        tm send-keys "stty -g >$tool-$how.modes; sctp-$tool -L -i 1 --netns /run/netns/$ns; echo \$? >$tool-$how.status; stty -g >>$tool-$how.modes" Enter
        until_true 30 pidof sctp-$tool
        until_true 60 attached $(pidof sctp-$tool)
        sleep 2.5
        tm capture-pane -p >$tool-$how.80
        pane >$tool-$how.panes
        tm resize-window -x 200 -y 50
        sleep 2.5
        tm capture-pane -p >$tool-$how.200
        if [ $how = INT ]; then tm send-keys C-c; else kill -TERM $(pidof sctp-$tool); fi
        until_true 30 test -s $tool-$how.status
        sleep 0.5
        tm capture-pane -p >$tool-$how.after
        pane >>$tool-$how.panes
    done
done
tm kill-server
killall -KILL sctp-traffic
wait || true
"#;

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    suite.add(Series::V6_12, Mode::Icount, Case::new("live", SCRIPT), check);
    let limit = Duration::from_secs(300);
    // tmux starts only with a locale of UTF-8, and needs to know its own terminal.
    let programs = &["tmux", "/usr/lib/locale/C.utf8/LC_CTYPE", "/lib/terminfo/s/screen"];
    let case = Case { limit, programs, ..Case::new("live-tmux", IN_TMUX) };
    suite.add(Series::V6_12, Mode::Icount, case, check_in_tmux);
}

fn check_in_tmux(folder: &Path) -> Result<()> {
    for run in TOOLS.iter().flat_map(|tool| ["INT", "TERM"].map(|how| format!("{tool}-{how}"))) {
        let file = |end: &str| text(&folder.join(format!("{run}.{end}")));
        let (tool, _) = run.split_once('-').context("a run")?;
        for (width, height) in [(80, 24), (200, 50)] {
            let screen = file(&width.to_string())?;
            let lines: Vec<_> = screen.trim_end().lines().collect();
            ensure!(lines.len() <= height && lines.iter().all(|line| line.len() <= width), "{run}: {screen}");
            let head = lines.first().is_some_and(|line| {
                line.starts_with(&format!("sctp-{tool}: ")) && line.contains("5 associations, nothing lost")
            });
            let names = lines.iter().position(|line| line.starts_with("assoc_id"));
            let names = names.with_context(|| format!("{run}: no names: {screen}"))?;
            let ids: BTreeSet<_> =
                lines[names + 1..].iter().filter_map(|line| line.split_whitespace().next()).collect();
            ensure!(head && (ids.len() == 5 || lines.len() == height), "{run}: {screen}");
            ensure!(width == 80 || lines[names].contains(" comm"), "{run}: {screen}");
        }
        // While the command ran: the alternate screen without a cursor. After it: the shell's, at its prompt.
        ensure!(
            file("panes")?.lines().map(|pane| &pane[..3]).eq(["1 0", "0 1"]),
            "{run}: {}",
            file("panes")?
        );
        let after = file("after")?;
        ensure!(after.contains("before the screen") && !after.contains("assoc_id"), "{run}: {after}");
        ensure!(file("status")? == "0\n", "{run}: {}", file("status")?);
        let modes = file("modes")?;
        let modes: Vec<_> = modes.lines().collect();
        ensure!(modes.len() == 2 && modes[0] == modes[1], "{run}: {modes:?}");
    }
    Ok(())
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
