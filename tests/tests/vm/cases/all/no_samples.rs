//! `--no-samples`: JSON without an object per sample, and with all others.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, Mode};
use serde_json::Value;

use crate::compare::objects;
use crate::suite::Suite;

/// The path is down for four seconds. Each command runs twice: `all-TOOL` has samples.
const SCRIPT: &str = "topology; path 10ms
    serve --bind 10.2.0.1 --sack-delay 40
    for tool in $TOOLS; do
        start $tool sctp-$tool --json --no-samples -q -f $tool.json HOOKS
        start all-$tool sctp-$tool --json -q -f all-$tool.json HOOKS
    done
    traced
    (sleep 3; path_down 0; sleep 4; path 10ms) &
    send --bind 10.1.0.1 --count 800 --rate 100 --size 500 --nodelay --sndbuf 20000 --rto-min 200 --rto-initial 500
    trace_stop";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for (name, hooks) in [("no-samples", ""), ("no-samples-kprobe", "--hooks kprobe")] {
        suite.add(Series::V6_12, Mode::Icount, Case::new(name, &SCRIPT.replace("HOOKS", hooks)), check);
    }
}

/// For each type of object: the columns that are the same in both runs of a command. (An interval begins when its
/// command did.)
const COMPARED: [(&str, &[&str]); 3] = [
    (
        "summary",
        &[
            "assoc_id",
            "path",
            "samples",
            "retransmitted",
            "t3_expiries",
            "rtx_chunks",
            "wait_events",
            "stalls",
            "messages",
            "total_chunks",
        ],
    ),
    ("path", &["path", "cause", "old_state", "new_state"]),
    ("stall", &["assoc_id", "cause", "in_flight"]),
];

fn check(folder: &Path) -> Result<()> {
    let mut compared = BTreeMap::new();
    for tool in TOOLS {
        let read = |name: &str| objects::<Value>(&folder.join(format!("{name}.json")));
        let (without, with) = (read(tool)?, read(&format!("all-{tool}"))?);
        let count = |objects: &[Value]| objects.iter().filter(|object| object["type"] == "sample").count();
        ensure!(count(&without) == 0, "{tool}: {} samples", count(&without));
        let has_samples = ["rtt", "rto", "bufmon"].contains(&tool);
        ensure!(has_samples == (count(&with) > 0), "{tool}: {} samples", count(&with));
        for (kind, columns) in COMPARED {
            let of = |objects: &[Value]| -> Vec<Vec<Value>> {
                let of_kind = objects.iter().filter(|object| object["type"] == kind);
                of_kind.map(|object| columns.iter().map(|column| object[column].clone()).collect()).collect()
            };
            ensure!(of(&without) == of(&with), "{tool}, {kind}: {:?} and {:?}", of(&without), of(&with));
            *compared.entry(kind).or_insert(0) += of(&without).len();
        }
    }
    // A summary of each end for jitter and streamutil, and of the sender for the others.
    ensure!(compared["summary"] >= TOOLS.len(), "{compared:?}");
    ensure!(compared["path"] >= 2 && compared["stall"] >= 1, "{compared:?}");
    Ok(())
}
