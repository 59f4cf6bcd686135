//! A machine without SCTP. Once loaded, the module stays: its control socket holds a reference. So this is one case,
//! and the first of its boot.

use std::path::Path;

use anyhow::{Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode};

use crate::compare::{contract, ensure_sentence, text};
use crate::suite::Suite;

/// The commands, and the form of their text output.
const TOOLS: [(&str, &str); 3] =
    [("sctp-rtt", "rtt-text"), ("sctp-jitter", "jitter-text"), ("sctp-streamutil", "streamutil-text")];

/// Each command refuses, waits if told to, and starts once the module is there.
const SCRIPT: &str = "
[ ! -d /sys/module/sctp ] || fail 'SCTP is loaded already'
for tool in TOOLS; do
    exits 3 $tool-refuses $tool
    exits 0 $tool-gives-up timeout -s TERM 2 $tool --wait
    $tool --wait >$tool.out 2>$tool.err &
    echo $! >$tool.tracer
done
sleep 2
for tracer in *.tracer; do
    [ -d /proc/$(cat $tracer) ] || fail \"$tracer: did not wait\"
done
[ ! -d /sys/module/sctp ] || fail 'a tool loaded the module'
topology; path 10ms
for tracer in *.tracer; do
    until_true 60 attached $(cat $tracer)
done
serve --bind 10.2.0.1
send --bind 10.1.0.1 --count 50
trace_stop
";

/// The case.
pub fn add(suite: &mut Suite) {
    let tools = TOOLS.map(|(tool, _)| tool).join(" ");
    suite.add(Series::V6_12, Mode::Icount, Case::new("absent", &SCRIPT.replace("TOOLS", &tools)), check);
}

fn check(folder: &Path) -> Result<()> {
    for (tool, form) in TOOLS {
        ensure_sentence(folder, tool, &format!("{tool}-refuses"), "modprobe sctp")?;
        ensure!(text(&folder.join(format!("{tool}.status")))? == "0\n", "{tool}: not a clean end");
        contract(folder, form, &[&format!("{tool}.out")])?;
    }
    Ok(())
}
