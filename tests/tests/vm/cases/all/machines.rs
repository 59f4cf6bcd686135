//! Machines as users have them: kernels that may be preempted anywhere, namespaces, a sysctl that tuning
//! guides recommend, and a limit of memory.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::{Report, no_loss, of_type, traffic};
use crate::suite::Suite;

/// Eight senders with different real-time priorities, which preempt each other amid their sends. Each has an
/// association of its own.
const SENDERS: &str = "
# A module of its own in some kernels, which SCTP asks for.
modprobe -q crc32c_generic || true
topology
serve --bind 10.2.0.1 --associations 8 --one-to-many --port 5000,5001,5002,5003,5004,5005,5006,5007
trace_all
for sender in 0 1 2 3 4 5 6 7; do
    chrt -f 1$sender ip netns exec a sctp-traffic client --bind 10.1.0.1 --port 500$sender --rate 1111 --count 2000 \\
        --nodelay >client-$sender.json &
    senders=\"$senders $!\"
done
wait $senders $server
trace_stop
";

/// The filter `-p`, with a process that is in a pid namespace of its own and opens its socket after the
/// commands have started.
const PID_NAMESPACE: &str = "
topology; path 10ms
serve --bind 10.2.0.1
a unshare --pid --fork sctp-traffic client --bind 10.1.0.1 --count 100 --rate 100 --nodelay --delay 60000 >client.json &
sender=$!
namespace_of() { readlink /proc/$1/ns/pid; }
pid_of_client() {
    for pid in $(pidof sctp-traffic); do [ \"$(namespace_of $pid)\" = \"$(namespace_of self)\" ] || echo $pid; done
}
found() { [ -n \"$(pid_of_client)\" ]; }
until_true 10 found
for tool in $TOOLS; do start $tool sctp-$tool --json -q -f $tool.json -p $(pid_of_client); done
traced
wait $sender $server
trace_stop
";

/// `sctp-rtt` runs in a time namespace whose monotonic clocks are a day ahead.
const TIME_NAMESPACE: &str = "
topology; path 10ms
serve --bind 10.2.0.1
start rtt unshare --time --monotonic 86400 --boottime 86400 sctp-rtt --json -q -f rtt.json
until_true 60 tracing 1
date +%s >before
send --bind 10.1.0.1 --count 200 --rate 100 --nodelay
until_true 10 grep -q interval rtt.json
kill $(pidof sctp-rtt)
# unshare's, which has made it a child.
wait $(cat rtt.tracer) && echo 0 >rtt.status || echo $? >rtt.status
rm rtt.tracer
";

/// The commands run as root of a user namespace that is not the initial one, and refuse to start.
const USER_NAMESPACE: &str = "
modprobe sctp
for tool in $TOOLS; do exits 3 $tool unshare --user --map-root-user sctp-$tool; done
";

/// The commands start with kernel.ftrace_enabled=0, which tuning guides for real time recommend. Nothing can
/// be hooked then, and they refuse.
const FTRACE_OFF: &str = "
topology; path 10ms
sysctl -qw kernel.ftrace_enabled=0
for tool in $TOOLS; do
    timeout 30 sctp-$tool --json -q -d 1 >$tool.out 2>$tool.err && echo 0 >$tool.status || echo $? >$tool.status
done
sysctl -qw kernel.ftrace_enabled=1
";

/// kernel.ftrace_enabled is set to 0 while the commands trace; they say so. If programs are detached meanwhile,
/// 6.12 leaves marks at the functions, over which it complains later, when its last hook goes
/// (`ftrace_shutdown()`): so the same functions are hooked once more, which takes the marks away.
const FTRACE_OFF_LATER: &str = "
topology; path 10ms
trace_all
sysctl -qw kernel.ftrace_enabled=0
serve --bind 10.2.0.1
send --bind 10.1.0.1 --count 100 --rate 100 --nodelay
trace_stop
# The kernel detaches programs after their command has ended.
until_true 30 no_objects
sysctl -qw kernel.ftrace_enabled=1
mkdir again; cd again
trace_all
trace_stop
until_true 30 no_objects
";

/// The commands run in a cgroup with too little memory for their tables, which are kernel memory that the
/// cgroup counts.
const MEMORY: &str = "
modprobe sctp
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/small
echo 8M >/sys/fs/cgroup/small/memory.max
for tool in $TOOLS; do
    timeout 30 sh -c 'echo $$ >/sys/fs/cgroup/small/cgroup.procs; exec sctp-'$tool' --json -q -d 1' \\
        >$tool.out 2>$tool.err && echo 0 >$tool.status || echo $? >$tool.status
done
";

/// The kernel is booted with `lockdown=confidentiality`, and lets no program read its memory.
const LOCKDOWN: &str = "
cat /sys/kernel/security/lockdown >lockdown
modprobe sctp
for tool in $TOOLS; do exits 3 $tool sctp-$tool; done
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    // `preempt=full`, with which several distributions boot, and PREEMPT_RT.
    for (series, mode) in [
        (Series::V6_12, Mode::Preempt),
        (Series::V6_1, Mode::Preempt),
        (Series::V6_12Rt, Mode::Icount),
        (Series::V6_1Rt, Mode::Icount),
    ] {
        let case = Case::new("preempted-senders", SENDERS);
        suite.add(series, mode, case, check_senders);
    }
    for series in [Series::V6_12, Series::V6_1] {
        let mut add = |name, script, check: fn(&Path) -> Result<()>| {
            suite.add(series, Mode::Icount, Case::new(name, script), check);
        };
        add("pid-namespace", PID_NAMESPACE, check_pid_namespace);
        add("time-namespace", TIME_NAMESPACE, check_time_namespace);
        add("user-namespace", USER_NAMESPACE, check_user_namespace);
        add("ftrace-off", FTRACE_OFF, check_ftrace_off);
        add("ftrace-off-later", FTRACE_OFF_LATER, check_ftrace_off_later);
    }
    suite.add(Series::V6_12, Mode::Icount, Case::new("memory", MEMORY), check_memory);
    for series in [Series::V6_12, Series::V6_1] {
        suite.add(series, Mode::Locked, Case::new("lockdown", LOCKDOWN), check_lockdown);
    }
}

/// The share of sent chunks that the command at either end may fail to count: when a third task comes to a
/// hook, both copies of its program may be running, preempted, and no program runs for that chunk.
const MISSING: f64 = 0.01;

fn check_senders(folder: &Path) -> Result<()> {
    let mut clients = BTreeMap::new();
    for sender in 0..8 {
        let client = traffic(folder, &format!("client-{sender}.json"))?.pop().context("no association")?;
        clients.insert(client.local_port, client);
    }
    ensure!(clients.len() == 8, "{} clients", clients.len());
    for (tool, key) in [("streamutil", "total_chunks"), ("jitter", "chunks")] {
        let report = Report::read(folder, tool)?;
        let mut missing = 0;
        for (port, client) in &clients {
            let end = if tool == "streamutil" { "local" } else { "peer" };
            let of_client = |summary: &&Value| {
                summary[end].as_str().is_some_and(|address| address.ends_with(&format!(":{port}")))
            };
            let counted: u64 =
                report.objects("summary").filter(of_client).filter_map(|summary| summary[key].as_u64()).sum();
            let sent = client.stats.data_sent;
            eprintln!("    {tool}: {} of {sent} chunks missing", sent.saturating_sub(counted));
            let least = (sent as f64 * (1.0 - MISSING)) as u64;
            ensure!((least..=sent).contains(&counted), "{tool}: {counted} of {sent} chunks, {}", report.end);
            missing += sent - counted;
        }
        // If the programs missed the first chunk of an association, `unseen` does not count that chunk: the
        // command takes it for one that came before the trace began.
        let unseen = report.end["unseen"].as_u64().context("unseen")?;
        let first = clients.len() as u64;
        ensure!((unseen..=unseen + first).contains(&missing), "{tool}: {missing} missing: {}", report.end);
        // The command's upper limit, how often the kernel may have skipped both copies of a program, must cover all
        // missing chunks.
        let bound = report.end["skipped"]["missed"].as_u64().context("missed")?;
        eprintln!("    {tool}: {missing} missing, at most {bound} by the count of the kernel");
        ensure!((missing..=10 * missing).contains(&bound), "{tool}: {missing} missing, a bound of {bound}");
    }
    Ok(())
}

fn check_pid_namespace(folder: &Path) -> Result<()> {
    let client = traffic(folder, "client.json")?.pop().context("no association")?;
    // sctp-jitter is left out: it shows only ends that receive, and the client receives nothing.
    for tool in TOOLS.into_iter().filter(|tool| *tool != "jitter") {
        let report = Report::read(folder, tool)?;
        let summaries =
            report.objects("summary").filter(|summary| summary["assoc_id"] == client.assoc_id).count();
        ensure!(summaries > 0, "{tool}: no samples of the process: {}", report.end);
    }
    Ok(())
}

fn check_lockdown(folder: &Path) -> Result<()> {
    ensure!(text(&folder.join("lockdown"))?.contains("[confidentiality]"), "the kernel is not locked down");
    for tool in TOOLS {
        let said = text(&folder.join(format!("{tool}.err")))?;
        let sentence =
            said.contains("locked down (confidentiality)") && said.contains("lockdown=integrity, or without");
        ensure!(sentence && said.trim_end().lines().count() == 1, "{tool}: {said}");
    }
    Ok(())
}

/// Ensures that the times of samples are, like those of intervals, by the system's clock: in the same hour.
fn check_time_namespace(folder: &Path) -> Result<()> {
    no_loss(folder, "rtt", "sctp-rtt")?;
    let time =
        |object: &Value| object["time"].as_str().map(|time| time.get(..13).unwrap_or_default().to_owned());
    let samples: Vec<Value> = of_type(folder, "rtt", "sample")?;
    let intervals: Vec<Value> = of_type(folder, "rtt", "interval")?;
    let (sample, interval) = (samples.first().and_then(time), intervals.first().and_then(time));
    ensure!(
        sample.is_some() && sample == interval,
        "samples' times are off: {sample:?}, intervals' {interval:?}"
    );
    Ok(())
}

fn check_user_namespace(folder: &Path) -> Result<()> {
    for tool in TOOLS {
        let errors = text(&folder.join(format!("{tool}.err")))?;
        ensure!(errors.contains("user namespace"), "{tool}: another reason: {errors}");
    }
    Ok(())
}

fn check_ftrace_off(folder: &Path) -> Result<()> {
    for tool in TOOLS {
        let [status, errors] = ["status", "err"].map(|end| text(&folder.join(format!("{tool}.{end}"))));
        let (status, errors) = (status?, errors?);
        ensure!(
            status == "3\n" && errors.contains("kernel.ftrace_enabled"),
            "{tool}: status {status}: {errors}"
        );
    }
    Ok(())
}

fn check_ftrace_off_later(folder: &Path) -> Result<()> {
    for tool in TOOLS {
        let errors = text(&folder.join(format!("{tool}.err")))?;
        ensure!(errors.contains("kernel.ftrace_enabled"), "{tool} says nothing of it: {errors:?}");
    }
    Ok(())
}

fn check_memory(folder: &Path) -> Result<()> {
    for tool in TOOLS {
        let [status, errors] = ["status", "err"].map(|end| text(&folder.join(format!("{tool}.{end}"))));
        let (status, errors) = (status?, errors?);
        ensure!(
            status == "3\n" && errors.contains("not enough memory"),
            "{tool}: another reason: {status}{errors}"
        );
    }
    Ok(())
}
