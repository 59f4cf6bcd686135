//! What this kernel offers: every question is a function, and every "no" a sentence with its cure.

use std::{fs, io, path::Path, time::Duration};

use caps::{CapSet, Capability, has_cap};
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    time::{ClockId, clock_getres, clock_gettime},
};
use thiserror::Error;

/// Why SCTP cannot be traced here.
#[derive(Debug, Error)]
pub enum Unsupported {
    /// No `/sys/module/sctp`: not loaded. Loading it is the administrator's decision.
    #[error("SCTP is not loaded in this kernel: run `modprobe sctp`, or use --wait to wait for it")]
    NotLoaded,
    /// The module does not exist for this kernel.
    #[error(
        "this kernel has no SCTP: its module is not installed for {0} (Debian has it in linux-image, Fedora in \
         kernel-modules-extra)"
    )]
    NotInstalled(String),
    /// `CONFIG_DEBUG_INFO_BTF` is off.
    #[error(
        "this kernel has no type information (/sys/kernel/btf/vmlinux): it needs CONFIG_DEBUG_INFO_BTF, as \
         distribution kernels since 5.11 have"
    )]
    NoBtf,
    /// `CONFIG_DEBUG_INFO_BTF_MODULES` is off, or older than 5.11.
    #[error(
        "this kernel has no type information of its sctp module (/sys/kernel/btf/sctp): it needs \
         CONFIG_DEBUG_INFO_BTF_MODULES, as distribution kernels since 5.11 have"
    )]
    NoModuleBtf,
    /// `net.core.bpf_jit_enable` is 0: then the kernel knows neither loops with callbacks nor its own functions in a
    /// program (`fixup_call_args()`).
    #[error("this kernel's compiler of BPF programs is off: run `sysctl net.core.bpf_jit_enable=1`")]
    NoJit,
    /// Not enough privilege.
    #[error("tracing the kernel needs root, or CAP_SYS_ADMIN: run this command with sudo")]
    NotPrivileged,
    /// The limit of open files is too low.
    #[error(
        "programs and tables in the kernel are open files, of which {0} are allowed here: run `ulimit -n {FILES}`"
    )]
    FileLimit(u64),
}

/// Can SCTP be traced here and now?
///
/// # Errors
/// The first thing that is missing, in the order in which a person would mend it.
pub fn can_trace() -> Result<(), Unsupported> {
    // `CAP_BPF` and `CAP_PERFMON` are not enough: libbpf finds the sctp module's type information by walking BTF ids
    // (`BPF_BTF_GET_NEXT_ID`), which the kernel allows to `CAP_SYS_ADMIN` alone.
    let privileged = has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or(false);
    can_trace_at(Path::new("/"), privileged)
}

/// Is SCTP loaded, or built in?
#[must_use]
pub fn has_sctp() -> bool {
    has_sctp_at(Path::new("/"))
}

fn can_trace_at(root: &Path, privileged: bool) -> Result<(), Unsupported> {
    let exists = |path| root.join(path).exists();
    if !exists("sys/kernel/btf/vmlinux") {
        return Err(Unsupported::NoBtf);
    }
    if !has_sctp_at(root) {
        return Err(match release(root) {
            Some(release) if !module_installed(root, &release) => Unsupported::NotInstalled(release),
            _ => Unsupported::NotLoaded,
        });
    }
    if !privileged {
        return Err(Unsupported::NotPrivileged);
    }
    // There is no such file where it cannot be switched off.
    let jit = fs::read_to_string(root.join("proc/sys/net/core/bpf_jit_enable"));
    if jit.is_ok_and(|jit| jit.trim() == "0") {
        return Err(Unsupported::NoJit);
    }
    if is_module(root) && !exists("sys/kernel/btf/sctp") {
        return Err(Unsupported::NoModuleBtf);
    }
    Ok(())
}

/// `/proc/net/sctp` is there for a module and where SCTP is built in; `/sys/module/sctp` too, since the module has
/// parameters (`no_checksums`), but not while the module is still coming up.
fn has_sctp_at(root: &Path) -> bool {
    match fs::read_to_string(root.join("sys/module/sctp/initstate")) {
        Ok(state) => state.trim() == "live",
        Err(_) => ["sys/module/sctp", "proc/net/sctp"].iter().any(|path| root.join(path).exists()),
    }
}

/// Is SCTP a module? A built-in one has its types in vmlinux and no file of its own; only a module's folder has
/// `initstate`.
pub(crate) fn is_module(root: &Path) -> bool {
    root.join("sys/module/sctp/initstate").exists()
}

/// Is there a file of the module for this kernel? True where it cannot be known.
fn module_installed(root: &Path, release: &str) -> bool {
    fs::read_to_string(root.join("lib/modules").join(release).join("modules.dep"))
        .map_or(true, |deps| deps.lines().any(|l| l.contains("/sctp.ko")))
}

fn release(root: &Path) -> Option<String> {
    fs::read_to_string(root.join("proc/sys/kernel/osrelease")).ok().map(|r| r.trim().to_owned())
}

/// How many descriptors a command may need: one per program, map and link, and on kprobes another per link.
const FILES: u64 = 128;

/// Lets this process open as many files as it needs, where the hard limit does: shells may set a soft one of less.
///
/// # Errors
/// Where the hard limit is lower than what a command may need.
pub(crate) fn raise_files() -> Result<(), Unsupported> {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < FILES => {
            // Fewer than FILES may do.
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(FILES), hard);
            if hard < FILES { Err(Unsupported::FileLimit(hard)) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// The length of a jiffy, in which the kernel keeps RTO, SRTT and RTTVAR: 1 / `CONFIG_HZ`. The resolution of the coarse
/// clock is exactly that (`posix_get_coarse_res()`), and asking needs neither a file nor a privilege.
///
/// # Errors
/// Where the kernel has no such clock (older than 2.6.32).
pub fn jiffy() -> io::Result<Duration> {
    Ok(clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?.into())
}

/// `CLOCK_MONOTONIC`, by which the kernel side stamps events.
#[must_use]
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A file system of `files` (path, content), on a kernel 6.9.
    fn root(files: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        let all = [("proc/sys/kernel/osrelease", "6.9\n"), ("sys/kernel/btf/vmlinux", "")];
        for (path, content) in all.iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn missing(files: &[(&str, &str)]) -> Option<Unsupported> {
        can_trace_at(root(files).path(), true).err()
    }

    #[test]
    fn a_module_is_there_once_it_is_live_and_has_its_types() {
        let [live, coming] = ["live\n", "coming\n"].map(|state| ("sys/module/sctp/initstate", state));
        let (proc_net, types) = (("proc/net/sctp/assocs", ""), ("sys/kernel/btf/sctp", ""));
        assert!(missing(&[live, proc_net, types]).is_none());
        assert!(matches!(missing(&[coming, proc_net, types]), Some(Unsupported::NotLoaded)));
        assert!(matches!(missing(&[live, proc_net]), Some(Unsupported::NoModuleBtf)));
    }

    /// `param_sysfs_builtin()` makes the folder, for its parameters, but no `initstate`; the types are vmlinux's.
    #[test]
    fn sctp_may_be_built_in() {
        let parameters = ("sys/module/sctp/parameters/no_checksums", "N\n");
        let proc_net = ("proc/net/sctp/assocs", "");
        assert!(missing(&[parameters, proc_net]).is_none());
        assert!(missing(&[proc_net]).is_none());
    }

    #[test]
    fn the_first_thing_that_is_missing_is_named() {
        assert!(matches!(missing(&[]), Some(Unsupported::NotLoaded)));
        let others = ("lib/modules/6.9/modules.dep", "kernel/net/dccp/dccp.ko:\n");
        assert!(matches!(missing(&[others]), Some(Unsupported::NotInstalled(release)) if release == "6.9"));
        let installed = ("lib/modules/6.9/modules.dep", "kernel/net/sctp/sctp.ko.xz: kernel/lib/crc.ko.xz\n");
        assert!(matches!(missing(&[installed]), Some(Unsupported::NotLoaded)));
        let proc_net = ("proc/net/sctp/assocs", "");
        let unprivileged = can_trace_at(root(&[proc_net]).path(), false);
        assert!(matches!(unprivileged, Err(Unsupported::NotPrivileged)));
        let jit = |on| ("proc/sys/net/core/bpf_jit_enable", on);
        assert!(matches!(missing(&[proc_net, jit("0\n")]), Some(Unsupported::NoJit)));
        assert!(missing(&[proc_net, jit("1\n")]).is_none());
        let without_types = root(&[proc_net]);
        fs::remove_file(without_types.path().join("sys/kernel/btf/vmlinux")).unwrap();
        assert!(matches!(can_trace_at(without_types.path(), true), Err(Unsupported::NoBtf)));
    }

    #[test]
    fn a_jiffy_is_one_of_the_known_lengths() {
        let hz = 1.0 / jiffy().unwrap().as_secs_f64();
        assert!([100.0, 250.0, 300.0, 1000.0].iter().any(|known| (hz - known).abs() < 1.0), "HZ {hz}");
    }
}
