//! Giving up all that the loop does not need, once the programs are attached and the output is open: the loop reads its
//! tables and writes lines, and whoever took it over could do no more.
//!
//! [`calls`] was found with strace: all commands and forms with both kinds of hooks on 6.12, from `capset` to the end. The
//! case `privilege-calls` says what is open; a call that is missing fails with `EPERM`, and strace shows it.

use std::{collections::BTreeMap, env::consts::ARCH, process};

use anyhow::Result;
use caps::CapSet;
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, Scope};
use nix::{libc, sys::prctl::set_no_new_privs};
use probes::{BPF_COMMANDS, IOCTL_REQUEST};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

/// Confines this process, which has one thread, for good.
pub(crate) fn confine() -> Result<()> {
    drop_privileges()?;
    leave_files()?;
    keep_calls()
}

/// Gives up all capabilities. Attached programs stay attached, and the kernel lets anybody use a map by its descriptor
/// (`__sys_bpf()`). The bounding set only matters to a program that is started, and no such program gains anything.
fn drop_privileges() -> Result<()> {
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set)?;
    }
    Ok(set_no_new_privs()?)
}

/// By Landlock: no path, TCP port, abstract socket or foreign process can be reached; open descriptors stay. A kernel
/// with less of Landlock forbids less; where it has none, there is still [`keep_calls`].
fn leave_files() -> Result<()> {
    const KNOWN: ABI = ABI::V6;
    Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .restrict_self()?;
    Ok(())
}

/// All system calls but [`calls`] fail. They do not kill: most callers can make do without a call that the list forgot,
/// and a command that was taken over gets nowhere either way.
fn keep_calls() -> Result<()> {
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(calls()?, refused, SeccompAction::Allow, ARCH.try_into()?)?;
    Ok(apply_filter(&BpfProgram::try_from(filter)?)?)
}

type Calls = BTreeMap<libc::c_long, Vec<SeccompRule>>;

/// The calls of the loop and of the end.
fn calls() -> Result<Calls, BackendError> {
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
        // The tables.
        (
            libc::SYS_bpf,
            BPF_COMMANDS.map(|command| rule(arg(0, command))).into_iter().collect::<Result<_, _>>()?,
        ),
        (libc::SYS_ioctl, vec![rule(arg(1, IOCTL_REQUEST))?]),
        // The lock of FILE.
        (libc::SYS_flock, vec![rule(arg(1, libc::LOCK_UN as u32))?]),
        // Memory: of data, not of code.
        (libc::SYS_mmap, data_only()?),
        (libc::SYS_mprotect, data_only()?),
        // abort(3), which glibc does by the one and musl by the other.
        (libc::SYS_tgkill, vec![own_abort(0, 2)?]),
        (libc::SYS_tkill, vec![own_abort(0, 1)?]),
    ]);
    Ok(calls)
}

/// Those that are allowed whatever their arguments.
const ANYHOW: &[libc::c_long] = &[
    // Open descriptors: the output, the signals' pair of sockets, and what is closed at the end.
    libc::SYS_read,
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
    // For clock sources without a vDSO.
    libc::SYS_clock_gettime,
    // The pause in which the writer of a busy entry goes on (`Table::read()`).
    libc::SYS_clock_nanosleep,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    // The seed of a first hash map.
    libc::SYS_getrandom,
    // Signals, also those of a crash, whose handler takes itself away.
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    // The end.
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, fs, io, net::UdpSocket, thread, time::Duration};

    use super::*;
    use crate::Out;

    /// A filter holds for the thread that set it.
    #[test]
    fn what_is_left_works_and_what_is_not_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let confined = thread::spawn(move || {
            let mut out = Out::new(Some(&path)).unwrap();
            keep_calls().unwrap();
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
}
