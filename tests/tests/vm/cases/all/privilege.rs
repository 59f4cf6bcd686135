//! A command that traces can make no system calls but those of its loop; and it writes its file only where no
//! other user can redirect it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, Mode, text};

use crate::compare::ensure_sentence;
use crate::suite::Suite;

/// `sctp-inject` has each command make system calls that its loop does not need, and also a process that is
/// not confined (`free`). The command `layers` has its seccomp filter switched off for that, so that the
/// confinement's other layers answer.
const CALLS: &str = "
topology
echo 'root:!:20000::::::' >/etc/shadow
chmod 600 /etc/shadow
/bin/sleep 1000 &
other=$!
/bin/sleep 1000 &
free=$!
for tool in $TOOLS; do
    trace $tool sctp-$tool --json -q
    cat /proc/$(cat $tool.tracer)/status >$tool.proc
done
trace layers sctp-rtt --json -q
calls='read-shadow write-file load-program make-map socket trace kill code-memory execute'
for tool in $TOOLS; do
    sctp-inject --other $other $(cat $tool.tracer) get-pid $calls survey >$tool.calls
done
sctp-inject --other $other --suspend-seccomp $(cat layers.tracer) get-pid $calls >layers.calls
sctp-inject --other $other $free get-pid $calls >free.calls
serve --bind 10.2.0.1
send --bind 10.1.0.1 --count 20
trace_stop
# Rust's handler of a crash takes itself away at the first one.
trace crash sctp-rtt
kill -SEGV $(cat crash.tracer)
sleep 0.1
trace_stop SEGV
";

/// Another user has put links, a FIFO and a file into `/tmp`, as traps for `-f`. The kernel's own protection
/// from them is off.
const FILE: &str = "
modprobe sctp
for kind in symlinks hardlinks fifos regular; do
    echo 0 >/proc/sys/fs/protected_$kind
done
mkdir /tmp/own
echo precious >/tmp/own/victim
cat >trap <<'END'
cd /tmp
ln -s /tmp/own/victim symlink
ln -s /tmp/own folder
ln /tmp/own/victim hardlink
mkfifo fifo
mkdir theirs
ln -s /tmp/own/victim theirs/symlink
echo precious >file
chmod 666 file
END
su -s /bin/sh nobody -c \"sh $PWD/trap\"
for path in symlink folder/victim theirs/symlink hardlink fifo file; do
    exits 1 $(echo $path | tr / -) sctp-rtt -d 1 -f /tmp/$path
done
cat /tmp/own/victim /tmp/file >victims
ln -s target /tmp/own/link
for path in /tmp/new/rtt.csv /tmp/own/link /tmp/theirs/new.csv /dev/null; do
    exits 0 own sctp-rtt -d 1 -f $path
done
stat -c '%a %U %F' /tmp/new/rtt.csv /tmp/own/target /tmp/theirs/new.csv >own
# As udev makes it.
ln -s /proc/self/fd/1 /dev/stdout
exits 0 stdout sctp-rtt -q -d 1 -f /dev/stdout
for tool in $TOOLS; do
    exits 3 no-root-$tool su -s /bin/sh nobody -c sctp-$tool
done
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for series in Series::TRACED {
        let case = Case::new("privilege-calls", CALLS);
        suite.add(series, Mode::Icount, case, move |folder| check_calls(folder, series));
    }
    suite.add(Series::V6_12, Mode::Icount, Case::new("privilege-file", FILE), check_file);
}

/// The system calls that a confined command can make, whatever their arguments: see `cli/src/confine.rs`.
const OPEN: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_munmap,
    libc::SYS_brk,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_writev,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_getpid,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sigaltstack,
    libc::SYS_gettid,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_getrandom,
];

fn check_calls(folder: &Path, series: Series) -> Result<()> {
    let answers = |name: &str| -> Result<Vec<(String, String)>> {
        let split =
            |line: &str| line.split_once(": ").map(|(call, answer)| (call.to_owned(), answer.to_owned()));
        text(&folder.join(format!("{name}.calls")))?
            .lines()
            .map(|line| split(line).context("no answer"))
            .collect()
    };
    let free = answers("free")?;
    ensure!(free.len() == 10 && free.iter().all(|(_, answer)| answer == "ok"), "unconfined: {free:?}");

    for tool in TOOLS {
        let (survey, calls) =
            answers(tool)?.split_last().map(|(s, c)| (s.1.clone(), c.to_vec())).context("no calls")?;
        ensure!(calls.len() == free.len(), "{tool}: {calls:?}");
        for (call, answer) in &calls {
            let expected = if call == "get-pid" { "ok" } else { "EPERM" };
            ensure!(answer == expected, "{tool}: {call}: {answer}");
        }
        let mut open: Vec<libc::c_long> = survey.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let mut expected = OPEN.to_vec();
        open.sort_unstable();
        expected.sort_unstable();
        ensure!(open == expected, "{tool}: calls that are open: {open:?}, not {expected:?}");

        let status = text(&folder.join(format!("{tool}.proc")))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            ensure!(field(set) == Some("0000000000000000"), "{tool}: {set} {:?}", field(set));
        }
        let flags = [field("NoNewPrivs:"), field("Seccomp:"), field("Threads:")];
        ensure!(flags == ["1", "2", "1"].map(Some), "{tool}: {flags:?}");
    }

    // Without the seccomp filter, Landlock or the lack of capabilities still refuses most calls. 6.1's
    // Landlock does not refuse signals to processes of the same user: only the filter does.
    let kill = if series == Series::V6_1 { "ok" } else { "EPERM" };
    let layers = answers("layers")?;
    let answer =
        |wanted: &str| layers.iter().find(|(call, _)| call == wanted).map(|(_, answer)| answer.as_str());
    for (call, expected) in [
        ("get-pid", "ok"),
        ("socket", "ok"),
        ("code-memory", "ok"),
        ("read-shadow", "EACCES"),
        ("write-file", "EACCES"),
        ("execute", "EACCES"),
        ("load-program", "EPERM"),
        ("make-map", "EPERM"),
        ("trace", "EPERM"),
        ("kill", kill),
    ] {
        ensure!(answer(call) == Some(expected), "without the filter: {call}: {:?}", answer(call));
    }

    // The commands went on as if nothing had been injected.
    for tool in TOOLS.iter().chain(&["layers"]) {
        let [status, errors] = ["status", "err"].map(|end| text(&folder.join(format!("{tool}.{end}"))));
        ensure!(status? == "0\n", "{tool}: {}", errors?);
        let output = text(&folder.join(format!("{tool}.out")))?;
        ensure!(output.lines().count() >= 3 && output.contains("\"end\""), "{tool}: {output}");
    }
    ensure!(
        text(&folder.join("crash.status"))? == "139\n",
        "a crash: {}",
        text(&folder.join("crash.status"))?
    );
    Ok(())
}

fn check_file(folder: &Path) -> Result<()> {
    for (name, why) in [
        ("symlink", "symbolic link"),
        ("folder-victim", "symbolic link"),
        ("theirs-symlink", "symbolic link"),
        ("hardlink", "hard link"),
        ("fifo", "another user"),
        ("file", "another user"),
    ] {
        ensure_sentence(folder, "sctp-rtt", name, why)?;
        ensure_sentence(folder, "sctp-rtt", name, "everybody can write to")?;
    }
    ensure!(text(&folder.join("victims"))? == "precious\nprecious\n", "a victim was written to");
    ensure!(
        text(&folder.join("own"))? == "640 root regular file\n".repeat(3),
        "{}",
        text(&folder.join("own"))?
    );
    let header = text(&folder.join("stdout.out"))?;
    ensure!(header.starts_with("assoc_id,") && header.lines().count() == 1, "/dev/stdout: {header}");
    for tool in TOOLS {
        ensure_sentence(folder, &format!("sctp-{tool}"), &format!("no-root-{tool}"), "CAP_SYS_ADMIN")?;
    }
    Ok(())
}
