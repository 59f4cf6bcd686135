//! Detaching in the background.
//!
//! To detach a program of fentry kind, the kernel waits for a grace period of RCU tasks, a tenth of a second or more
//! (`ftrace_shutdown()` in `kernel/trace/ftrace.c`), one program after the other: up to two seconds for all of a
//! command's. close(2) of a link's last descriptor waits for that. A pinned link does not need a descriptor, and when
//! its file system goes, the kernel leaves detaching to a worker (`bpf_link_put()` in `kernel/bpf/syscall.c`, since
//! 6.5). So the links are pinned in a file system that only this process has: however the process ends, the file
//! system goes with it.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

use libbpf_rs::{Link, libbpf_sys::bpf_obj_pin};
use nix::{errno::Errno, libc};

/// `MEMBARRIER_CMD_GLOBAL`, the only command of membarrier(2) that a seccomp filter must allow: it waits until every
/// program that is at work has ended (`synchronize_rcu()`).
pub const MEMBARRIER_COMMAND: u32 = 1;

/// A file system, mounted nowhere, in which links are pinned.
pub(crate) struct Background {
    _mount: OwnedFd,
}

impl Background {
    /// Mounts a file system, and pins links in it.
    ///
    /// # Errors
    /// Where the kernel (before 5.2) or a security policy refuses the mount, or `/proc` is not mounted.
    pub(crate) fn pin(links: &[Link]) -> io::Result<Self> {
        let mount = mount()?;
        for (number, link) in links.iter().enumerate() {
            let path = CString::new(format!("/proc/self/fd/{}/{number}", mount.as_raw_fd()))?;
            // SAFETY: `path` is a C string, and the link's descriptor is open.
            let result = unsafe { bpf_obj_pin(link.as_fd().as_raw_fd(), path.as_ptr()) };
            if result != 0 {
                return Err(io::Error::from_raw_os_error(-result));
            }
        }
        Ok(Self { _mount: mount })
    }
}

/// Waits until every program that is at work on any CPU has ended.
///
/// # Errors
/// Where the kernel cannot wait: CPUs of `nohz_full`.
pub(crate) fn wait_for_programs() -> io::Result<()> {
    // SAFETY: this call touches no memory of this process.
    Errno::result(unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_COMMAND, 0, 0) })?;
    Ok(())
}

/// Makes a BPF file system that no path leads to.
fn mount() -> io::Result<OwnedFd> {
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    let none = ptr::null::<libc::c_char>();
    // SAFETY: the name is a C string.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, c"bpf".as_ptr(), 1) }; // FSOPEN_CLOEXEC
    let context = owned(context)?;
    let fd = context.as_raw_fd();
    // SAFETY: this command takes no strings.
    Errno::result(unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, none, none, 0) })?;
    // SAFETY: this call touches no memory of this process. 1: FSMOUNT_CLOEXEC.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fd, 1, 0) })
}

/// Takes the descriptor that a system call has returned.
fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
