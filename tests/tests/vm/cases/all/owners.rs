//! The processes that have an association's socket: the columns `pid`, `comm`, `cgroup` and `owners`, and the filters
//! `-p` and `--cgroup`, are compared with `/proc` while sockets go from process to process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::{objects, of_type};
use crate::suite::Suite;

/// The server has its listening socket from another process, as a service has one from systemd; that process keeps it open.
/// One client hands its sockets on before the commands start; another does so later, in a pid namespace of its own. The
/// file `owners` has a line for each pair of an association and a process that has the association's socket open: the
/// association's id, and the process's number, name and cgroup.
const OWNERS: &str = "
topology; path 10ms
mkdir -p /sys/fs/cgroup/core.slice/amf.service
b sctp-owners activate --bind 10.2.0.1 --port 5000 2>server.err &
until_true 10 grep -qs listening server.err
/sbin/ip netns exec a sctp-owners client --bind 10.1.0.1 --to 10.2.0.1 --port 5000 2>early.err &
early=$!
sh -c 'echo $$ >/sys/fs/cgroup/core.slice/amf.service/cgroup.procs; exec \"$@\"' sh \\
    /sbin/ip netns exec a unshare --pid --fork sctp-owners client --bind 10.1.0.1 --to 10.2.0.1 --port 5000 \\
    --delay 60000 2>late.err &
namespace_of() { readlink /proc/$1/ns/pid; }
inside() {
    for pid in $(pidof sctp-owners); do [ \"$(namespace_of $pid)\" = \"$(namespace_of self)\" ] || echo $pid; done
}
# The client, and the process that will get a socket in a message.
two_inside() { [ $(inside | wc -w) = 2 ]; }
until_true 20 two_inside
set -- $(inside | tr ' ' '\\n' | sort -n)
echo $early $1 $2 >pids
for tool in $TOOLS; do
    start $tool sctp-$tool FLAGS -i 1 --json -q -f $tool.json
done
for tool in FILTERED; do
    start $tool-early sctp-$tool FLAGS -i 1 --json -q -f $tool-early.json -p $early
    start $tool-late sctp-$tool FLAGS -i 1 --json -q -f $tool-late.json -p $1
    start $tool-passed sctp-$tool FLAGS -i 1 --json -q -f $tool-passed.json -p $2
    start $tool-cgroup sctp-$tool FLAGS -i 1 --json -q -f $tool-cgroup.json --cgroup /core.slice
done
traced
made() { [ $(a cat /proc/net/sctp/assocs | grep -c 10.1.0.1) = 12 ]; }
until_true 90 made
sleep 2
for ns in a b; do ip netns exec $ns cat /proc/net/sctp/assocs; done >assocs
ls -l /proc/[0-9]*/fd 2>/dev/null | awk '
    /^\\/proc/ { split($1, part, \"/\"); pid = part[3] }
    /socket:/ { gsub(/socket:\\[|\\]/, \"\", $NF); print pid, $NF }' >sockets
awk 'NR == FNR { if ($7 > 0) id[$11] = $7; next } $2 in id { print id[$2], $1 }' \\
    assocs sockets | sort -u | while read -r id pid; do
    echo $id $pid $(cat /proc/$pid/comm) $(sed -n 's/^0:://p' /proc/$pid/cgroup)
done >owners
sleep 2.2
trace_stop
killall -KILL sctp-owners held-by-exec || true
";

/// Adds the cases. All commands have the filters in common: they are compared with one of each family (entries,
/// streams).
pub fn add(suite: &mut Suite) {
    for series in [Series::V6_12, Series::V6_1, Series::V7_3] {
        for (name, flags, filtered) in
            [("owners", "", "bufmon"), ("owners-kprobe", "$HOOKS_FLAG kprobe", "jitter")]
        {
            let script = OWNERS.replace("FLAGS", flags).replace("FILTERED", filtered);
            let case = Case { limit: Duration::from_secs(400), ..Case::new(name, &script) };
            suite.add(series, Mode::Icount, case, move |folder| check_owners(folder, filtered));
        }
    }
}

/// A process that has a socket open.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Process {
    pid: u64,
    comm: String,
    cgroup: String,
}

/// The processes that have an association's socket, by association id.
type Truth = BTreeMap<u64, BTreeSet<Process>>;

fn truth(folder: &Path) -> Result<Truth> {
    let mut truth = Truth::new();
    for line in text(&folder.join("owners"))?.lines() {
        let [id, pid, comm, cgroup] = line.split(' ').collect::<Vec<_>>()[..] else {
            anyhow::bail!("{line}");
        };
        let process = Process { pid: pid.parse()?, comm: comm.to_owned(), cgroup: cgroup.to_owned() };
        truth.entry(id.parse()?).or_default().insert(process);
    }
    Ok(truth)
}

/// Returns the `interval` objects of the last interval that the end of the run has not cut short, by association id.
fn last_interval(folder: &Path, name: &str) -> Result<BTreeMap<u64, Value>> {
    let all: Vec<Value> = objects(&folder.join(format!("{name}.json")))?;
    let intervals = all.iter().filter(|object| object["type"] == "interval");
    let mut times: Vec<&str> = intervals.clone().filter_map(|object| object["time"].as_str()).collect();
    times.dedup();
    // The very last interval is cut short by the end of the run.
    let time = *times.len().checked_sub(2).and_then(|n| times.get(n)).context("no interval")?;
    intervals
        .filter(|object| object["time"] == time)
        .map(|object| Ok((object["assoc_id"].as_u64().context("assoc_id")?, object.clone())))
        .collect()
}

fn check_owners(folder: &Path, filtered: &str) -> Result<()> {
    let truth = truth(folder)?;
    ensure!(truth.len() == 24, "not both ends of 12 associations: {truth:?}");
    let pids: Vec<u64> =
        text(&folder.join("pids"))?.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    for tool in TOOLS {
        // sctp-bufmon also shows associations that only receive: these are left out.
        let shown = last_interval(folder, tool)?;
        ensure!(shown.len() >= 12, "{tool}: {} associations", shown.len());
        for (id, row) in &shown {
            let owners = truth.get(id).with_context(|| format!("{tool}: nobody has association {id}"))?;
            let named = Process {
                pid: row["pid"].as_u64().with_context(|| format!("{tool}: no pid: {row}, {owners:?}"))?,
                comm: row["comm"].as_str().context("comm")?.to_owned(),
                cgroup: row["cgroup"].as_str().context("cgroup")?.to_owned(),
            };
            ensure!(owners.contains(&named), "{tool}: association {id}: {named:?}, by /proc {owners:?}");
            ensure!(
                row["owners"] == owners.len(),
                "{tool}: association {id}: {} owners: {owners:?}",
                row["owners"]
            );
            let protocol = (&row["payload_protocol"], &row["protocol"]);
            ensure!(protocol == (&60.into(), &"NGAP".into()), "{tool}: association {id}: {protocol:?}");
        }
        let filters = [("early", pids[0]), ("late", pids[1]), ("passed", pids[2]), ("cgroup", 0)];
        for (name, pid) in filters.into_iter().filter(|_| tool == filtered) {
            let wanted = |process: &Process| {
                if name == "cgroup" {
                    process.cgroup == "/core.slice/amf.service"
                } else {
                    process.pid == pid
                }
            };
            let of_filter = last_interval(folder, &format!("{tool}-{name}")).unwrap_or_default();
            let expected: Vec<u64> = shown
                .keys()
                .copied()
                .filter(|id| truth.get(id).is_some_and(|owners| owners.iter().any(&wanted)))
                .collect();
            let found: Vec<u64> = of_filter.into_keys().collect();
            ensure!(found == expected, "{tool} {name}: {found:?}, by /proc {expected:?}");
        }
        let ends: Vec<Value> = of_type(folder, tool, "end")?;
        ensure!(ends.len() == 1, "{tool}: no end");
    }
    Ok(())
}
