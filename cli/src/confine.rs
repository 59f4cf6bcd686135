//! Confines the process, once the BPF programs are attached and the output is open. From then on the process
//! only reads tables and writes lines. An attacker who took the process over could do no more than that.
//!
//! The system calls in [`calls`] were found with strace, on kernel 6.12: all commands, in all output formats
//! and with both kinds of hooks, from the call of capset(2) to the end. The VM case `privilege-calls`
//! compares the calls that stay allowed with a list of its own. A call that is missing in [`calls`] fails
//! with `EPERM`, which strace shows.

use std::{
    collections::BTreeMap,
    env::consts::ARCH,
    os::fd::{AsRawFd, RawFd},
    process,
};

use anyhow::{Result, ensure};
use caps::CapSet;
use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};
use nix::{libc, sys::prctl::set_no_new_privs};
use probes::{BPF_COMMANDS, IOCTL_REQUEST, MEMBARRIER_COMMAND};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

use crate::{
    live::terminal::IOCTLS,
    metrics::textfile::{RENAME_EXCHANGE, TextFile},
};

/// The descriptors that metrics and a screen use after confinement: each is allowed by a rule of its own.
#[derive(Default)]
pub(crate) struct Needs<'a> {
    /// Sockets on which connections are accepted.
    pub(crate) sockets: Vec<RawFd>,
    /// The text file, whose two names are exchanged.
    pub(crate) text_file: Option<&'a TextFile>,
    /// The terminal of a screen, whose size is read and whose modes are restored.
    pub(crate) terminal: Option<RawFd>,
}

/// Confines this process for good. Each step confines only the calling thread, so the process must have no other
/// thread.
///
/// # Errors
/// Where the kernel refuses a step. With a text file, also where the kernel has no Landlock: nothing else can allow
/// renames in one folder and forbid them elsewhere.
pub(crate) fn confine(needs: &Needs<'_>) -> Result<()> {
    drop_privileges()?;
    leave_files(needs.text_file)?;
    keep_calls(needs)
}

/// Gives up all capabilities. Attached programs stay attached, and the kernel lets any process use a map of
/// which it has a descriptor (`__sys_bpf()`). The bounding set stays: it matters only in execve(2), by which
/// no process gains capabilities once `no_new_privs` is set.
fn drop_privileges() -> Result<()> {
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set)?;
    }
    Ok(set_no_new_privs()?)
}

/// Uses Landlock to forbid access to every path, to TCP ports and to other processes' abstract Unix sockets,
/// and signals to other processes. Open descriptors can still be used. A kernel with an older version of
/// Landlock forbids less of this; on a kernel without Landlock, [`keep_calls`] still confines the process.
///
/// In the folder of a text file, files may be renamed, and so replaced; none can be read or written.
fn leave_files(text_file: Option<&TextFile>) -> Result<()> {
    const KNOWN: ABI = ABI::V6;
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    // The rights that Landlock demands before a file may take the name of another file in the same folder
    // (`current_check_refer_path()`).
    let rename = AccessFs::MakeReg | AccessFs::RemoveFile;
    let folder = text_file.map(|file| Ok::<_, RulesetError>(PathBeneath::new(file.folder(), rename)));
    let status = rules.add_rules(folder)?.restrict_self()?;
    ensure!(
        text_file.is_none() || status.ruleset != RulesetStatus::NotEnforced,
        "--textfile needs Landlock, which this kernel has switched off (see /sys/kernel/security/lsm): use --listen"
    );
    Ok(())
}

/// Makes every system call that [`calls`] does not allow fail with `EPERM`. The process is not killed at such
/// a call: if a call is missing in the list by mistake, most code can do without it. An attacker gains
/// nothing either way.
fn keep_calls(needs: &Needs<'_>) -> Result<()> {
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(calls(needs)?, refused, SeccompAction::Allow, ARCH.try_into()?)?;
    Ok(apply_filter(&BpfProgram::try_from(filter)?)?)
}

type Calls = BTreeMap<libc::c_long, Vec<SeccompRule>>;

/// Returns the system calls that the run loop and the end of a run need, each with conditions on its
/// arguments. A call with an empty list of conditions is allowed with any arguments.
fn calls(needs: &Needs<'_>) -> Result<Calls, BackendError> {
    let arg = |index, value: u32| SeccompCondition::new(index, Dword, SeccompCmpOp::Eq, value.into());
    let rule = |condition| SeccompRule::new(vec![condition?]);
    let data_only = || {
        let executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
        Ok(vec![rule(SeccompCondition::new(2, Dword, executable, 0))?])
    };
    let own_abort = |process, signal| {
        SeccompRule::new(vec![arg(process, process::id())?, arg(signal, libc::SIGABRT as u32)?])
    };

    let mut calls: Calls = ANYHOW.iter().map(|call| (*call, Vec::new())).collect();
    calls.extend([
        // Reading and writing maps, reading how often the kernel left a program out, and running iterators.
        (
            libc::SYS_bpf,
            BPF_COMMANDS.map(|command| rule(arg(0, command))).into_iter().collect::<Result<_, _>>()?,
        ),
        // Waiting until no program is running any more, before the tables are read for the last time.
        (libc::SYS_membarrier, vec![rule(arg(0, MEMBARRIER_COMMAND))?]),
        // Detaching kprobes.
        (libc::SYS_ioctl, vec![rule(arg(1, IOCTL_REQUEST))?]),
        // Releasing the lock of FILE.
        (libc::SYS_flock, vec![rule(arg(1, libc::LOCK_UN as u32))?]),
        // Memory that is not executable.
        (libc::SYS_mmap, data_only()?),
        (libc::SYS_mprotect, data_only()?),
        // abort(3), by which the process sends itself SIGABRT: by tgkill(2) in glibc, by tkill(2) in musl.
        (libc::SYS_tgkill, vec![own_abort(0, 2)?]),
        (libc::SYS_tkill, vec![own_abort(0, 1)?]),
    ]);
    // Descriptors are numbers that are not negative.
    let of = |fd: RawFd| arg(0, fd.cast_unsigned());
    if let Some(terminal) = needs.terminal {
        for (request, third) in IOCTLS {
            let third = third.map(|third| arg(2, third));
            let conditions = [of(terminal), arg(1, request)].into_iter().chain(third);
            let rule = SeccompRule::new(conditions.collect::<Result<_, _>>()?)?;
            calls.entry(libc::SYS_ioctl).or_default().push(rule);
        }
    }
    if !needs.sockets.is_empty() {
        let accept = needs.sockets.iter().map(|socket| rule(of(*socket)));
        calls.insert(libc::SYS_accept4, accept.collect::<Result<_, _>>()?);
    }
    if let Some(file) = needs.text_file {
        let files = file.descriptors().into_iter().map(|file| rule(of(file)));
        calls.insert(libc::SYS_ftruncate, files.collect::<Result<_, _>>()?);
        // This rule sees only the folder's descriptor. Landlock refuses absolute paths, and those that lead out of the
        // folder.
        let folder = file.folder().as_raw_fd().cast_unsigned();
        let rename = |flags| SeccompRule::new(vec![arg(0, folder)?, arg(2, folder)?, arg(4, flags)?]);
        calls.insert(libc::SYS_renameat2, vec![rename(0)?, rename(RENAME_EXCHANGE)?]);
    }
    Ok(calls)
}

/// The system calls that are allowed with any arguments.
const ANYHOW: &[libc::c_long] = &[
    // Open descriptors: the output, the pair of sockets by which a signal handler wakes tokio, and all that
    // the process closes at the end.
    libc::SYS_read,
    // Reading the file of the kernel's counters again, from its beginning.
    libc::SYS_pread64,
    libc::SYS_recvfrom,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_sendto,
    libc::SYS_close,
    // Waiting.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_futex,
    // Reading the time, where the vDSO cannot read the clock source.
    libc::SYS_clock_gettime,
    // The pause before `Table::read()` reads a busy entry again, so that the entry's writer can finish.
    libc::SYS_clock_nanosleep,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    // The random seed of the first `HashMap`.
    libc::SYS_getrandom,
    // Signals. In a crash Rust's SIGSEGV handler also needs these: it restores the default action.
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    // The end of the process.
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        fs, io,
        net::{TcpListener, TcpStream, UdpSocket},
        os::unix::fs::FileExt,
        thread,
        time::Duration,
    };

    use nix::pty::openpty;
    use rustix::{
        io::Errno,
        termios::{
            OptionalActions, QueueSelector, Winsize, tcflush, tcgetattr, tcgetwinsize, tcsetattr,
            tcsetwinsize,
        },
    };

    use super::*;
    use crate::Out;

    /// A seccomp filter confines only the thread that installs it: so the test installs it in a thread of its
    /// own.
    #[test]
    fn what_is_left_works_and_what_is_not_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let confined = thread::spawn(move || {
            let mut out = Out::new(Some(&path)).unwrap();
            keep_calls(&Needs::default()).unwrap();
            out.json(&"row").unwrap();
            out.flush().unwrap();
            drop(out);
            let map: HashMap<usize, Vec<u8>> = (0..64).map(|n| (n, vec![1; n << 14])).collect();
            assert_eq!(map.values().flatten().map(|n| usize::from(*n)).sum::<usize>(), (63 * 64 / 2) << 14);
            thread::sleep(Duration::from_millis(1));
            let eperm = |result: io::Error| assert_eq!(result.raw_os_error(), Some(libc::EPERM));
            eperm(fs::read("/etc/passwd").unwrap_err());
            eperm(UdpSocket::bind("127.0.0.1:0").unwrap_err());
            eperm(process::Command::new("/bin/true").status().unwrap_err());
        });
        confined.join().unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("rows")).unwrap(), "\"row\"\n");
    }

    /// With metrics, connections are accepted on the socket that serves them, and the text file is written; no other socket
    /// or file can be used, nor any be opened or made.
    #[test]
    fn metrics_need_no_more_than_their_socket_and_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("metrics")).unwrap();
        fs::create_dir(at("elsewhere")).unwrap();
        fs::write(at("elsewhere/victim"), "precious").unwrap();
        fs::write(at("host"), "first").unwrap();
        let [path, victim, inside] = ["metrics/x.prom", "elsewhere/victim", "metrics/victim"].map(&at);
        let host = fs::File::open(at("host")).unwrap();
        let [socket, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let clients =
            [&socket, &other].map(|socket| TcpStream::connect(socket.local_addr().unwrap()).unwrap());
        let confined = thread::spawn(move || {
            let mut file = TextFile::open(&path).unwrap();
            let sockets = vec![socket.as_raw_fd()];
            let needs = Needs { sockets, text_file: Some(&file), terminal: None };
            set_no_new_privs().unwrap();
            leave_files(needs.text_file).unwrap();
            // Landlock alone, without the filter of calls.
            let errno = |result: io::Result<()>| result.unwrap_err().raw_os_error();
            assert_eq!(errno(fs::rename(&victim, &inside)), Some(libc::EACCES));
            assert_eq!(errno(fs::rename(&path, &victim)), Some(libc::EACCES));
            assert_eq!(errno(fs::read(&path).map(drop)), Some(libc::EACCES));
            assert_eq!(errno(fs::write(&path, "")), Some(libc::EACCES));
            keep_calls(&needs).unwrap();
            for text in ["one", "two"] {
                file.write(text).unwrap();
            }
            socket.accept().unwrap();
            let mut first = [0; 5];
            host.read_exact_at(&mut first, 0).unwrap();
            assert_eq!(&first, b"first");
            let eperm = Some(libc::EPERM);
            assert_eq!(errno(other.accept().map(drop)), eperm);
            assert_eq!(errno(TcpListener::bind("127.0.0.1:0").map(drop)), eperm);
            assert_eq!(errno(fs::read(&path).map(drop)), eperm);
            assert_eq!(errno(fs::write(&inside, "")), eperm);
            assert_eq!(errno(fs::rename(&victim, &inside)), eperm);
            assert_eq!(errno(fs::remove_file(&path)), eperm);
            assert_eq!(errno(host.set_len(0)), eperm);
            file.finish("end").unwrap();
        });
        confined.join().unwrap();
        drop(clients);
        assert_eq!(fs::read_to_string(at("metrics/x.prom")).unwrap(), "end");
        assert_eq!(fs::read_to_string(at("elsewhere/victim")).unwrap(), "precious");
        assert_eq!(fs::read_dir(at("metrics")).unwrap().count(), 1);
    }

    /// A screen reads its terminal's size, restores its modes and throws away typed keys. No other ioctl passes (TIOCSTI would
    /// put keys into the terminal's input), and none on another terminal.
    #[test]
    fn a_screen_needs_no_more_than_its_terminal() {
        let confined = thread::spawn(|| {
            let [own, other] = [(); 2].map(|()| openpty(None, None).unwrap());
            let modes = tcgetattr(&own.slave).unwrap();
            let needs = Needs { terminal: Some(own.slave.as_raw_fd()), ..Needs::default() };
            keep_calls(&needs).unwrap();
            tcgetwinsize(&own.slave).unwrap();
            tcsetattr(&own.slave, OptionalActions::Now, &modes).unwrap();
            tcflush(&own.slave, QueueSelector::IFlush).unwrap();
            assert_eq!(tcflush(&own.slave, QueueSelector::OFlush), Err(Errno::PERM));
            assert_eq!(tcgetattr(&own.slave).map(drop), Err(Errno::PERM));
            assert_eq!(tcsetattr(&own.slave, OptionalActions::Drain, &modes), Err(Errno::PERM));
            assert_eq!(
                tcsetwinsize(&own.slave, Winsize { ws_row: 1, ws_col: 1, ws_xpixel: 0, ws_ypixel: 0 }),
                Err(Errno::PERM)
            );
            assert_eq!(tcgetwinsize(&other.slave).map(drop), Err(Errno::PERM));
            assert_eq!(tcsetattr(&other.slave, OptionalActions::Now, &modes), Err(Errno::PERM));
        });
        confined.join().unwrap();
    }
}
