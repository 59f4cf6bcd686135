//! The commands on a machine without the sctp module. Once loaded, the module stays, as its control socket
//! holds a reference. So all of this is one case, and the first of its boot.

use std::path::Path;

use anyhow::{Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, Mode, text};

use crate::compare::{contract, ensure_sentence};
use crate::suite::Suite;

/// Without the module each command refuses to start. With --wait it waits, and traces once the module is
/// loaded.
const SCRIPT: &str = "
[ ! -d /sys/module/sctp ] || fail 'SCTP is loaded already'
for tool in $TOOLS; do
    exits 3 $tool-refuses sctp-$tool
    exits 0 $tool-gives-up timeout -s TERM 2 sctp-$tool --wait
    start $tool sctp-$tool --wait
done
sleep 2
for tracer in *.tracer; do
    ! ended $(cat $tracer) || fail \"$tracer: did not wait\"
done
[ ! -d /sys/module/sctp ] || fail 'a tool loaded the module'
topology; path 10ms
traced
serve --bind 10.2.0.1 --associations 2
send --bind 10.1.0.1 --associations 2 --count 50
trace_stop
until_true 20 no_objects
";

/// Adds the case.
pub fn add(suite: &mut Suite) {
    suite.add(Series::V6_12, Mode::Icount, Case::new("absent", SCRIPT), check);
}

fn check(folder: &Path) -> Result<()> {
    for tool in TOOLS {
        ensure_sentence(folder, &format!("sctp-{tool}"), &format!("{tool}-refuses"), "modprobe sctp")?;
        ensure!(text(&folder.join(format!("{tool}.status")))? == "0\n", "{tool}: not a clean end");
        contract(folder, &format!("{tool}-text"), &[&format!("{tool}.out")])?;
    }
    Ok(())
}
