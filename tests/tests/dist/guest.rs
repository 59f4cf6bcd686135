//! Tests of installed packages in a VM: the programs of both Debian releases with these releases' libraries,
//! the static programs without any, a script that uses the Python scripts' names only, and the systemd units.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::arch::Arch;
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::{self, TOOLS};
use sctptrace_tests::vm::{self, Case, Mode, Vm, text, to_stderr};
use serde_json::Value;

use crate::files::unpack;
use crate::install::installed;
use crate::{SUITES, ending};

const OLD_SCRIPT: &str = include_str!("../../guest/old-script.sh");

/// Programs that `OLD_SCRIPT` runs, besides the commands.
const USED: [&str; 13] = [
    "/bin/sh", "awk", "cat", "cut", "grep", "head", "mktemp", "python3", "rm", "sed", "sleep", "tail",
    "timeout",
];

/// Programs of systemd that the case `units` needs: to boot, to run the units, and to look at them.
const SYSTEMD: [&str; 5] = [
    "/usr/lib/systemd/systemd",
    "/usr/lib/systemd/systemd-executor",
    "/usr/lib/systemd/systemd-journald",
    "journalctl",
    "systemctl",
];

/// Debian's units that the case `units` boots with: targets, which run nothing themselves, and those of
/// journald's namespaces. So no service runs but the commands.
const UNITS: [&str; 11] = [
    "basic.target",
    "local-fs.target",
    "multi-user.target",
    "paths.target",
    "shutdown.target",
    "slices.target",
    "sockets.target",
    "swap.target",
    "sysinit.target",
    "systemd-journald*@.*",
    "timers.target",
];

/// The packages of both releases, and the static programs, trace the same traffic side by side.
const OLD: &str = "
for root in /bookworm /trixie; do
    mkdir -p $root/proc $root/sys $root/dev $root/tmp
    grep -q \" $root/proc \" /proc/mounts || mount -t proc proc $root/proc
    grep -q \" $root/sys \" /proc/mounts || mount -t sysfs sys $root/sys
    grep -q \" $root/dev \" /proc/mounts || mount -o bind /dev $root/dev
done
topology; path 10ms
for root in bookworm trixie; do
    PATH=/usr/sbin:/usr/bin chroot /$root /bin/sh /old-script >$root.said 2>$root.err &
done
for tool in $TOOLS; do
    start static-$tool /static/sctp-$tool --json
done
# Six of each release by the old script, and the static ones.
until_true 60 tracing $((6 + 6 + $(echo $TOOLS | wc -w)))
serve --bind 10.2.0.1 --streams 4
send --bind 10.1.0.1 --streams 4 --count 200 --rate 100
trace_stop
until_true 100 grep -q '^stream bytes' bookworm.said
until_true 100 grep -q '^stream bytes' trixie.said
";

/// systemd boots with an enabled instance of each command's unit, before anything loads SCTP. Then the module
/// is loaded, one command is killed, and traffic comes.
const BOOT: &str = "
[ ! -d /sys/module/sctp ] || fail 'SCTP is loaded already'
root=/trixie
# systemd looks for the mount of its root.
mount -o bind $root $root
mkdir -p $root/proc $root/sys $root/dev $root/tmp $root/run $root/var/log/journal $root/var/tmp $root/root $root/home
mkdir -p $root/etc/default
echo 'FLAGS=--json --rport 5000 -i 2' >$root/etc/default/sctp-rtt-web
enable() { SYSTEMD_OFFLINE=1 PATH=/usr/sbin:/usr/bin chroot $root systemctl --quiet enable \"$@\"; }
for tool in $TOOLS; do
    enable sctp-$tool@web 2>/dev/null
done
mount -t tmpfs run $root/run
mount -t sysfs sys $root/sys
mount -t cgroup2 cgroup $root/sys/fs/cgroup
mount -o bind /dev $root/dev
container=guest unshare -p -f -m sh -c \"mount -t proc proc $root/proc
    exec chroot $root /usr/lib/systemd/systemd --unit=multi-user.target\" >systemd.out 2>&1 &
booted() { pidof systemd >/dev/null; }
until_true 20 booted
system=$(pidof systemd)
# In its namespaces: it wants to see who asks.
within() { PATH=/usr/sbin:/usr/bin /bin/nsenter -t $system -p -m /bin/chroot $root \"$@\"; }
active() { [ \"$(within systemctl is-active sctp-$1@web 2>active.err)\" = active ]; }
lines() { within journalctl --namespace=sctptrace --unit=sctp-$1@web --output=cat --no-pager; }
waiting() { lines $1 2>lines.err | grep -q 'waiting for SCTP'; }
# The unit's own filters of calls say nothing, but the command drops its capability once it traces.
works() { grep -qs '^CapEff:.*0000000000000000' /proc/$(pidof sctp-$1)/status; }
for tool in $TOOLS; do
    until_true 20 active $tool
    until_true 20 waiting $tool
done
topology; path 10ms
for tool in $TOOLS; do
    until_true 20 works $tool
    cat /proc/$(pidof sctp-$tool)/status >$tool.proc
done
# One that dies comes back.
first=$(pidof sctp-rtt)
kill -9 $first
again() { [ \"$(pidof sctp-rtt)\" != $first ] && works rtt; }
until_true 20 again
serve --bind 10.2.0.1 --streams 4
send --bind 10.1.0.1 --streams 4 --count 200 --rate 100
sleep 3
for tool in $TOOLS; do
    within systemctl stop sctp-$tool@web
    lines $tool | grep '^{' >$tool.json
    within systemctl show --property=Result --property=ExecMainStatus sctp-$tool@web >$tool.result
done
";

/// Runs the cases `units` and `packages` in one VM, and checks the files that they left.
pub fn installed_packages() -> Result<()> {
    let mut files = Vec::new();
    let mut trees = Vec::new();
    for suite in SUITES {
        let tree = installed(suite)?;
        let find =
            |name: &str| -> Result<String> { Ok(tree.run(&format!("command -v {name}"))?.trim().to_owned()) };
        for name in USED {
            files.extend(tree.program(&find(name)?, suite)?);
        }
        for tool in TOOLS {
            files.extend(tree.program(&find(&format!("sctp-{tool}"))?, suite)?);
            files.extend(tree.program(&find(&format!("sctp_{tool}.py"))?, suite)?);
        }
        files.extend(tree.folder("/usr/lib/python3*", suite)?);
        files.extend(tree.folder("/etc/passwd /etc/group", suite)?);
        let script = tree.path().join("old-script");
        fs::write(&script, OLD_SCRIPT)?;
        files.push((script, format!("{suite}/old-script")));
        trees.push(tree);
    }
    let trixie = trees.last().context("no tree")?;
    for name in SYSTEMD {
        let path = trixie.run(&format!("command -v {name}"))?;
        files.extend(trixie.program(path.trim(), "trixie")?);
    }
    for unit in UNITS {
        files.extend(trixie.folder(&format!("/usr/lib/systemd/system/{unit}"), "trixie")?);
    }
    files.extend(trixie.folder("/etc/machine-id", "trixie")?);
    files.extend(trixie.folder("/usr/lib/systemd/system/sctp-*", "trixie")?);
    let [archive] = ending("x86_64.tar.gz")?.try_into().ok().context("not one archive")?;
    let archive = unpack(&archive)?;
    for tool in TOOLS {
        let name = format!("sctp-{tool}");
        files.push((archive.path().join("bin").join(&name), format!("static/{name}")));
    }

    let programs = programs::build(Arch::X86_64)?;
    let bed = programs.into_iter().filter(|path| {
        // All of the workspace's programs but the commands, which come from the packages.
        path.file_name().is_some_and(|name| !TOOLS.iter().any(|tool| *name == *format!("sctp-{tool}")))
    });
    let machine = Vm {
        name: "dist".to_owned(),
        arch: Arch::X86_64,
        series: Series::V6_12,
        mode: Mode::Icount,
        programs: bed.collect(),
        files,
    };
    let mut cases = [Case::new("units", BOOT), Case::new("packages", OLD)];
    for case in &mut cases {
        case.limit = std::time::Duration::from_secs(300);
    }
    let _lock = vm::lock()?;
    let results = machine.run(&cases, to_stderr)?;
    let [packages, units] = ["packages", "units"].map(|name| results.case(name));
    check_packages(&packages?)?;
    check_units(&units?)
}

/// Returns how many DATA chunks the client's kernel counted as sent, and how many bytes the client sent.
fn sent(folder: &Path) -> Result<(u64, u64)> {
    let client: Value = serde_json::from_str(&text(&folder.join("client.json"))?)?;
    let association = &client["associations"][0];
    ensure!(association["stats"]["retransmitted"] == 0, "the path has no loss: {association}");
    let bytes = association["sent"].as_object().context("nothing sent")?;
    let bytes: u64 = bytes.values().filter_map(|count| count["bytes"].as_u64()).sum();
    // The farewell, the client's last message, has four bytes and is not in `sent`.
    Ok((association["stats"]["data_sent"].as_u64().context("no count")?, bytes + 4))
}

fn check_packages(folder: &Path) -> Result<()> {
    let (chunks, bytes) = sent(folder)?;
    ensure!(chunks > 200, "{chunks} chunks");
    for suite in SUITES {
        let said = text(&folder.join(format!("{suite}.said")))?;
        let said: BTreeMap<_, _> = said.lines().filter_map(|line| line.split_once(": ")).collect();
        for (what, expected) in [
            ("rtt rows", chunks.to_string()),
            ("rtt sum", chunks.to_string()),
            ("rtt csv", chunks.to_string()),
            ("rtt last", "Tracing completed.".to_owned()),
            ("rtt below 1 ms", "0".to_owned()),
            ("rto of", "10.2.0.1:5000".to_owned()),
            ("bufmon header", "Association ID,Sndbuf_Wait_Events".to_owned()),
            ("bufmon samples", "1".to_owned()),
            ("jitter streams", "4".to_owned()),
            ("stream bytes and chunks", format!("{bytes} {chunks}")),
        ] {
            let found = said.get(what).copied().unwrap_or_default();
            ensure!(found == expected, "{suite}: {what}: {found}, not {expected}");
        }
    }
    for tool in TOOLS {
        let status = text(&folder.join(format!("static-{tool}.status")))?;
        ensure!(status == "0\n", "static sctp-{tool}: {}", text(&folder.join(format!("static-{tool}.err")))?);
    }
    ensure!(samples(&folder.join("static-rtt.out"))? == chunks, "the static sctp-rtt saw other chunks");
    Ok(())
}

/// Returns how many `sample` objects a file has. Its last line must be an `end` object with nothing lost.
fn samples(path: &Path) -> Result<u64> {
    let objects: Vec<Value> = text(path)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let last = objects.last().with_context(|| format!("{} is empty", path.display()))?;
    ensure!(last["type"] == "end" && last["lost"] == 0, "{}: the last line is {last}", path.display());
    Ok(objects.iter().filter(|object| object["type"] == "sample").count() as u64)
}

fn check_units(folder: &Path) -> Result<()> {
    let (chunks, _) = sent(folder)?;
    for tool in TOOLS {
        let result = text(&folder.join(format!("{tool}.result")))?;
        ensure!(result.contains("Result=success") && result.contains("ExecMainStatus=0"), "{tool}: {result}");
        let seen = samples(&folder.join(format!("{tool}.json")))?;
        // The flags in /etc/default, which sctp-rtt has, ask for samples; those of the unit do not.
        let expected = if tool == "rtt" { chunks } else { 0 };
        ensure!(seen == expected, "{tool}: {seen} samples instead of {expected}, of {chunks} chunks");
        let status = text(&folder.join(format!("{tool}.proc")))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        // Not root, and without capabilities: only the bounding set still has CAP_SYS_ADMIN.
        ensure!(field("CapEff:") == Some("0000000000000000"), "{tool}: {status}");
        ensure!(field("CapBnd:") == Some("0000000000200000"), "{tool}: {status}");
        ensure!(field("Uid:").is_some_and(|ids| !ids.starts_with('0')), "{tool}: {status}");
        // The seccomp filters are those of the unit and the command's own.
        let filters = field("Seccomp_filters:").and_then(|count| count.parse::<u32>().ok());
        ensure!(filters.is_some_and(|count| count > 1), "{tool}: {status}");
    }
    Ok(())
}
