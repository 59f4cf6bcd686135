//! The DaemonSet of `packaging/kubernetes` by a real runtime (crun), beside containers with SCTP: which associations
//! the commands see with its security context, and whose they say these are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::container::{Place, memory_limit, of_daemon_set, ordinary};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::kubernetes;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::suite::Suite;

/// Folder in the guest of the containers' bundles.
const BUNDLES: &str = "/tmp/containers";

/// The cgroups of the pods: as containerd names them with cgroups by systemd, for a pod with requests (the DaemonSet's),
/// and for pods without.
const POD: &str = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod9a1f7c52_0c1e_4f6e_8a57_5b1f0f7d0001.slice";
const POD_A: &str = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod35550f44_f691_427e_b57d_ab6127d2cb65.slice";
const POD_B: &str = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0b0cbc3c_4e0f_41a0_9d8e_0d4d1a1c0002.slice";

/// The pairs of a server, in the namespace b, and a client, in a. The first is there before the commands, the second
/// comes after them. The clients hold their associations for longer than the case takes.
const PAIRS: [&str; 2] = ["5000", "5001"];

const BEGIN: &str = "
topology; path 10ms
ip netns add m; ip -n m link set lo up
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
crun() { /sbin/crun --root /tmp/crun --cgroup-manager cgroupfs \"$@\"; }
# bundle NAME: make a bundle of the configuration on stdin.
bundle() {
    mkdir -p BUNDLES/$1/rootfs
    cat >BUNDLES/$1/config.json
}
# container NAME: run a bundle in the background. The guest's root is an initramfs, which pivot_root(2) refuses.
container() {
    /sbin/crun --root /tmp/crun --cgroup-manager cgroupfs run --no-pivot --no-new-keyring --bundle BUNDLES/$1 $1 \\
        >$1.out 2>$1.err &
    echo $! >$1.runtime
}
# pair PORT: two containers with an association.
pair() {
    container gnb-$1
    until_true 20 grep -qs listening gnb-$1.err
    container amf-$1
    until_true 20 established $1
}
established() { b cat /proc/net/sctp/assocs | awk -v port=$1 '$12 == port { found = 1 } END { exit !found }'; }
scrape() { nsenter --net=/run/netns/m busybox wget -q -O $1.scrape http://127.0.0.1:$2/metrics 2>$1.wget; }
";

/// Before `TOOLS_AND_PORTS` is one word per command: `rtt:10621`.
const MIDDLE: &str = "
pair 5000
for tool in TOOLS_AND_PORTS; do container sctp-${tool%:*}; done
for tool in TOOLS_AND_PORTS; do until_true 90 scrape ${tool%:*} ${tool#*:}; done
pair 5001
# Two looks at who has which socket, and some data.
sleep 3
for tool in TOOLS_AND_PORTS; do scrape ${tool%:*} ${tool#*:}; done
for ns in a b; do
    ip netns exec $ns cat /proc/net/sctp/assocs | awk -v ns=$(stat -L -c %i /run/netns/$ns) -v name=$ns \\
        '$7 + 0 > 0 { print $7, name, ns, $12, $13 }'
done >assocs
for pid in $(pidof sctp-traffic); do
    echo $pid $(cat /proc/$pid/comm) $(stat -L -c %i /proc/$pid/ns/net) $(sed -n 's/^0:://p' /proc/$pid/cgroup) \\
        $(readlink /proc/$pid/ns/pid) $(readlink /proc/self/ns/pid)
done >owners
for tool in $TOOLS; do
    cat /proc/$(pidof sctp-$tool)/status >$tool.proc
    cgroup=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$(pidof sctp-$tool)/cgroup)
    cat $cgroup/memory.max $cgroup/memory.current >$tool.memory
    [ ! -e $cgroup/memory.peak ] || cat $cgroup/memory.peak >>$tool.memory
    crun kill sctp-$tool TERM
    wait $(cat sctp-$tool.runtime) && echo 0 >$tool.status || echo $? >$tool.status
done
for port in 5000 5001; do
    crun kill amf-$port KILL
    crun kill gnb-$port KILL
done
wait
";

/// Adds the case.
pub fn add(suite: &mut Suite) {
    let script = script();
    for series in [Series::V6_12, Series::V6_1] {
        // If something is wrong with the manifest, the case says so when it is run.
        let text = script
            .as_ref()
            .map_or_else(|error| format!("fail '{}'", format!("{error:#}").replace('\'', "")), Clone::clone);
        let limit = Duration::from_secs(400);
        let case = Case { programs: &["crun"], limit, ..Case::new("containers", &text) };
        suite.add(series, Mode::Icount, case, check);
    }
}

/// The configuration of a command's container, with a series for each association. Its cgroup is that which containerd
/// makes, with the container's name for its id.
fn of_command(container: &Value) -> Result<(String, Value)> {
    let name = container["name"].as_str().context("no name")?.to_owned();
    let cgroup = cgroup_of(POD, &name);
    let place = Place { cgroup: &cgroup, netns: "m" };
    let config = of_daemon_set(container, &["--labels", "assoc"], place)?;
    Ok((name, config))
}

fn cgroup_of(pod: &str, name: &str) -> String {
    format!("{pod}/cri-containerd-{name}.scope")
}

fn script() -> Result<String> {
    let mut bundles = Vec::new();
    let mut ports = Vec::new();
    for container in kubernetes::containers()? {
        let port = &container["ports"][0]["containerPort"];
        let (name, config) = of_command(&container)?;
        ports.push(format!("{}:{port}", name.trim_start_matches("sctp-")));
        bundles.push((name, config));
    }
    for port in PAIRS {
        let [server, client] = ["gnb", "amf"].map(|name| format!("{name}-{port}"));
        let [of_server, of_client] = [cgroup_of(POD_B, &server), cgroup_of(POD_A, &client)];
        let args = ["sctp-traffic", "server", "--bind", "10.2.0.1", "--port", port];
        bundles.push((server, ordinary(&args, Place { cgroup: &of_server, netns: "b" })));
        let more = ["--bind", "10.1.0.1", "--port", port, "--count", "100000", "--rate", "50", "--nodelay"];
        let args = [&["sctp-traffic", "client"][..], &more].concat();
        bundles.push((client, ordinary(&args, Place { cgroup: &of_client, netns: "a" })));
    }
    let mut script = BEGIN.replace("BUNDLES", BUNDLES);
    for (name, config) in bundles {
        writeln!(script, "bundle {name} <<'END'\n{config}\nEND")?;
    }
    Ok(script + &MIDDLE.replace("TOOLS_AND_PORTS", &ports.join(" ")))
}

/// An end of an association, by `/proc`.
#[derive(Debug)]
struct End {
    netns: String,
    /// The process whose container has the association's socket, by the truth.
    pid: String,
    comm: String,
    cgroup: String,
}

/// The ends of associations, by the association's id. The ports of an end show which container it belongs to.
fn truth(folder: &Path) -> Result<BTreeMap<String, End>> {
    let owners = text(&folder.join("owners"))?;
    let owners: Vec<Vec<&str>> = owners.lines().map(|line| line.split(' ').collect()).collect();
    let mut ends = BTreeMap::new();
    for line in text(&folder.join("assocs"))?.lines() {
        let [id, namespace, netns, local, peer] = line.split(' ').collect::<Vec<_>>()[..] else {
            anyhow::bail!("{line}");
        };
        let (container, pod) = match namespace {
            "a" => (format!("amf-{peer}"), POD_A),
            _ => (format!("gnb-{local}"), POD_B),
        };
        let expected = cgroup_of(pod, &container);
        let owner = owners.iter().find(|owner| owner.get(3) == Some(&expected.as_str()));
        let owner = owner.with_context(|| format!("{container} has no process: {owners:?}"))?;
        let [pid, comm, of_process, cgroup, pid_namespace, first] = owner[..] else {
            anyhow::bail!("{owner:?}");
        };
        ensure!(of_process == netns, "{container} is in another network namespace: {owner:?}, {line}");
        ensure!(pid_namespace != first, "{container} has no pid namespace of its own: {owner:?}");
        let end = End {
            netns: netns.to_owned(),
            pid: pid.to_owned(),
            comm: comm.to_owned(),
            cgroup: cgroup.to_owned(),
        };
        ends.insert(id.to_owned(), end);
    }
    Ok(ends)
}

/// The samples of a metric: labels and value. (No label here has a quote in its value.)
fn samples(scrape: &str, name: &str) -> Vec<(BTreeMap<String, String>, f64)> {
    let of_line = |line: &str| {
        let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")?;
        let labels = labels.split("\",").filter_map(|label| label.split_once("=\""));
        let labels = labels.map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()));
        Some((labels.collect(), value.parse().ok()?))
    };
    scrape.lines().filter_map(of_line).collect()
}

fn check(folder: &Path) -> Result<()> {
    let truth = truth(folder)?;
    ensure!(truth.len() == 2 * PAIRS.len(), "not both ends of each association: {truth:?}");
    let mut limits = BTreeMap::new();
    for container in kubernetes::containers()? {
        let (name, config) = of_command(&container)?;
        limits.insert(name, memory_limit(&config).context("no limit")?);
    }
    for tool in TOOLS {
        let [status, errors, scrape] =
            [format!("{tool}.status"), format!("sctp-{tool}.err"), format!("{tool}.scrape")]
                .map(|name| text(&folder.join(name)));
        ensure!(status? == "0\n", "{tool}: {}", errors?);
        check_associations(tool, &scrape?, &truth)?;
        check_rights(tool, &text(&folder.join(format!("{tool}.proc")))?)?;
        check_memory(tool, &text(&folder.join(format!("{tool}.memory")))?, limits[&format!("sctp-{tool}")])?;
    }
    Ok(())
}

fn check_associations(tool: &str, scrape: &str, truth: &BTreeMap<String, End>) -> Result<()> {
    let up: f64 = samples(scrape, "sctp_associations").iter().map(|(_, value)| value).sum();
    ensure!(up == truth.len() as f64, "{tool}: {up} associations are up");
    let infos = samples(scrape, "sctp_association_info");
    ensure!(infos.len() == truth.len(), "{tool}: {infos:?}, by /proc {truth:?}");
    for (labels, _) in &infos {
        let label = |name: &str| labels.get(name).map_or("", String::as_str);
        let end = truth.get(label("assoc")).with_context(|| format!("{tool}: nobody has {labels:?}"))?;
        let found = ["netns", "pid", "comm", "cgroup"].map(label);
        let expected = [&end.netns, &end.pid, &end.comm, &end.cgroup];
        ensure!(found == expected.map(String::as_str), "{tool}: {found:?}, by /proc {expected:?}");
    }
    // Each command has figures of both clients, or of both servers.
    let figure = match tool {
        "rtt" => "sctp_rtt_seconds_count",
        "rto" => "sctp_rto_seconds",
        "bufmon" => "sctp_send_buffer_limit_bytes",
        "jitter" => "sctp_arrival_interval_seconds_count",
        _ => "sctp_sent_chunks_total",
    };
    let figures = samples(scrape, figure);
    let seen = figures.iter().filter(|(labels, value)| {
        *value > 0.0 && labels.get("assoc").is_some_and(|id| truth.contains_key(id))
    });
    ensure!(seen.count() >= PAIRS.len(), "{tool}: {figure}: {figures:?}");
    Ok(())
}

/// Ensures that the process had no more rights than the manifest gives, and has given up the capability.
fn check_rights(tool: &str, status: &str) -> Result<()> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    for (name, expected) in [
        ("CapBnd:", "0000000000200000"),
        ("CapEff:", "0000000000000000"),
        ("CapPrm:", "0000000000000000"),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
    ] {
        ensure!(field(name) == Some(expected), "{tool}: {name} {:?}", field(name));
    }
    // The runtime's filter, and the command's own.
    let filters = field("Seccomp_filters:").and_then(|count| count.parse::<u32>().ok());
    ensure!(filters.is_some_and(|count| count > 1), "{tool}: {status}");
    Ok(())
}

/// Ensures that the manifest's limit of memory was set. The limit is enough if the command serves its metrics.
fn check_memory(tool: &str, memory: &str, limit: u64) -> Result<()> {
    let figures: Vec<u64> = memory.lines().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(figures.first() == Some(&limit), "{tool}: the limit is {figures:?}, not {limit}");
    let figures = figures[1..].iter().map(|bytes| format!("{:.1}", *bytes as f64 / 1e6)).collect::<Vec<_>>();
    eprintln!("    {tool}: MB now, and at most: {}", figures.join(", "));
    Ok(())
}
