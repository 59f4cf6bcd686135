//! Checks of this machine's kernel: above all, whether SCTP can be traced ([`can_trace`]). For each thing
//! that may be missing there is an error, which says what to do.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::Path,
    sync::LazyLock,
    time::Duration,
};

use caps::{CapSet, Capability, has_cap};
use nix::{
    libc::{self, Ioctl},
    sys::resource::{Resource, getrlimit, setrlimit},
    time::{ClockId, clock_getres, clock_gettime},
};
use thiserror::Error;

/// Why SCTP cannot be traced here.
#[derive(Debug, Error)]
pub enum Unsupported {
    /// SCTP is neither loaded nor built in ([`has_sctp`]). The sctptrace commands do not load it: that is the
    /// administrator's decision.
    #[error("SCTP is not loaded in this kernel: run `modprobe sctp`, or use --wait to wait for it")]
    NotLoaded,
    /// SCTP is not loaded, and its module is not installed for this kernel, whose release the variant holds.
    #[error(
        "this kernel has no SCTP: its module is not installed for {0} (Debian has it in linux-image, Fedora in \
         kernel-modules-extra)"
    )]
    NotInstalled(String),
    /// The kernel was built without `CONFIG_DEBUG_INFO_BTF`.
    #[error(
        "this kernel has no type information (/sys/kernel/btf/vmlinux): it needs CONFIG_DEBUG_INFO_BTF, as \
         distribution kernels since 5.11 have"
    )]
    NoBtf,
    /// The kernel was built without `CONFIG_DEBUG_INFO_BTF_MODULES`, or is older than 5.11.
    #[error(
        "this kernel has no type information of its sctp module (/sys/kernel/btf/sctp): it needs \
         CONFIG_DEBUG_INFO_BTF_MODULES, as distribution kernels since 5.11 have"
    )]
    NoModuleBtf,
    /// `net.core.bpf_jit_enable` is 0: then the kernel refuses programs that loop with a callback or call
    /// kernel functions (`fixup_call_args()`).
    #[error("this kernel's compiler of BPF programs is off: run `sysctl net.core.bpf_jit_enable=1`")]
    NoJit,
    /// This process is not in the initial user namespace. Root of another one may not load tracing programs
    /// (`bpf_capable()`).
    #[error(
        "root of a user namespace may not trace the kernel: run this command outside of it (of a rootless container, on \
         the host)"
    )]
    UserNamespace,
    /// The kernel is locked down with `lockdown=confidentiality`: `LOCKDOWN_BPF_READ_KERNEL` lets no BPF
    /// program read its memory.
    #[error(
        "this kernel is locked down (confidentiality), and lets no program read its memory: boot it with \
         lockdown=integrity, or without lockdown"
    )]
    Lockdown,
    /// `kernel.ftrace_enabled` is 0: then the kernel calls no program at the entry of a function.
    #[error("the kernel's function tracing is off: run `sysctl kernel.ftrace_enabled=1`")]
    NoFtrace,
    /// `/proc` or `/sys`, which the variant names, is not mounted, as in some containers and chroots.
    #[error("{0} is not mounted here: mount it, or run this command where it is")]
    NotMounted(&'static str),
    /// A seccomp filter of system calls refuses bpf(2).
    #[error(
        "a filter of system calls (seccomp) refuses bpf(2) here: let the container or service have it (of systemd: \
         SystemCallFilter=bpf)"
    )]
    Seccomp,
    /// The kernel, or this process's memory cgroup, has too little memory for the tables, whose size in bytes
    /// the variant holds.
    #[error(
        "not enough memory for the tables in the kernel ({} MB): raise the limit (memory.max of its cgroup), or make \
         the tables smaller (--max-...)",
        .0.div_ceil(1 << 20)
    )]
    Memory(u64),
    /// This process does not have `CAP_SYS_ADMIN`.
    #[error("tracing the kernel needs root, or CAP_SYS_ADMIN: run this command with sudo")]
    NotPrivileged,
    /// The hard limit of open files, which the variant holds, is too low.
    #[error(
        "programs and tables in the kernel are open files, of which {0} are allowed here: run `ulimit -n {FILES}`"
    )]
    FileLimit(u64),
}

/// Checks whether SCTP can be traced here and now.
///
/// # Errors
/// The first thing that is missing, in the order in which a person would mend it.
pub fn can_trace() -> Result<(), Unsupported> {
    LazyLock::force(&TIME_NAMESPACE_NS);
    // `CAP_BPF` and `CAP_PERFMON` are not enough: libbpf finds the sctp module's type information by walking BTF ids
    // (`BPF_BTF_GET_NEXT_ID`), which the kernel allows to `CAP_SYS_ADMIN` alone.
    let privileged = has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or(false);
    can_trace_at(Path::new("/"), privileged)
}

/// Returns whether SCTP is loaded and ready, or built in.
#[must_use]
pub fn has_sctp() -> bool {
    has_sctp_at(Path::new("/"))
}

fn can_trace_at(root: &Path, privileged: bool) -> Result<(), Unsupported> {
    let exists = |path| root.join(path).exists();
    for (folder, file) in [("/proc", "proc/sys/kernel"), ("/sys", "sys/kernel")] {
        if !exists(file) {
            return Err(Unsupported::NotMounted(folder));
        }
    }
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
    if is_user_namespace(root) {
        return Err(Unsupported::UserNamespace);
    }
    let lockdown = fs::read_to_string(root.join("sys/kernel/security/lockdown"));
    if lockdown.is_ok_and(|lockdown| lockdown.contains("[confidentiality]")) {
        return Err(Unsupported::Lockdown);
    }
    if is_off(&root.join(FTRACE)) {
        return Err(Unsupported::NoFtrace);
    }
    // Only the initial network namespace has this file. Where it is missing, the JIT compiler is taken to be
    // on.
    if is_off(&root.join("proc/sys/net/core/bpf_jit_enable")) {
        return Err(Unsupported::NoJit);
    }
    if is_module(root) && !exists("sys/kernel/btf/sctp") {
        return Err(Unsupported::NoModuleBtf);
    }
    Ok(())
}

/// The file that switches the kernel's function tracing on and off, below `/`. Without function tracing, the
/// kernel calls no program at the entry of a function, with either kind of hooks.
const FTRACE: &str = "proc/sys/kernel/ftrace_enabled";

/// The open file of the function tracing switch (`kernel.ftrace_enabled`). At the end of a run it shows
/// whether somebody has switched function tracing off. A confined process cannot open the file: so open it
/// before.
pub struct Ftrace(Option<File>);

impl Ftrace {
    /// Opens the switch's file, if the kernel has that file.
    #[must_use]
    pub fn open() -> Self {
        Self(File::open(Path::new("/").join(FTRACE)).ok())
    }

    /// Returns whether function tracing is off now; false if the file cannot be read.
    #[must_use]
    pub fn is_off(mut self) -> bool {
        let mut value = String::new();
        self.0.as_mut().is_some_and(|file| file.read_to_string(&mut value).is_ok() && value.trim() == "0")
    }
}

/// Returns how many more bytes the memory cgroups of this process (cgroup v2) allow; `None` if there is no
/// limit, or none can be read. To be asked before tables are made: the kernel does not refuse tables that go
/// beyond the limit, but kills the process (`mem_cgroup_oom()`).
pub(crate) fn memory_left(root: &Path) -> Option<u64> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let top = root.join("sys/fs/cgroup");
    let of = |cgroup: &Path| {
        let read = |file| fs::read_to_string(top.join(cgroup).join(file)).ok();
        let number = |file| read(file)?.trim().parse::<u64>().ok();
        // The kernel gives up cached files and file names before it kills a process.
        let stat = read("memory.stat").unwrap_or_default();
        let cached: u64 = ["active_file ", "inactive_file ", "slab_reclaimable "]
            .iter()
            .filter_map(|key| stat.lines().find_map(|line| line.strip_prefix(key))?.parse::<u64>().ok())
            .sum();
        Some((number("memory.max")? + cached).saturating_sub(number("memory.current")?))
    };
    Path::new(own).ancestors().filter_map(of).min()
}

/// Returns whether the file of a kernel setting exists and contains 0.
fn is_off(switch: &Path) -> bool {
    fs::read_to_string(switch).is_ok_and(|value| value.trim() == "0")
}

/// Returns whether this process is in another user namespace than the initial one, which maps all ids to
/// themselves.
fn is_user_namespace(root: &Path) -> bool {
    let map = fs::read_to_string(root.join("proc/self/uid_map"));
    map.is_ok_and(|map| !map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// Returns whether a seccomp filter of system calls applies to this process.
pub(crate) fn has_seccomp() -> bool {
    let status = fs::read_to_string("/proc/self/status");
    status.is_ok_and(|status| status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2')))
}

/// Returns whether SCTP is loaded and ready, or built in. A module's folder has `initstate`, which is `live`
/// once the module is ready. Built-in SCTP has no `initstate`, but has `/proc/net/sctp`, and a folder for its
/// parameters (`no_checksums`).
fn has_sctp_at(root: &Path) -> bool {
    match fs::read_to_string(root.join("sys/module/sctp/initstate")) {
        Ok(state) => state.trim() == "live",
        Err(_) => ["sys/module/sctp", "proc/net/sctp"].iter().any(|path| root.join(path).exists()),
    }
}

/// Returns whether SCTP is a module: only a module's folder has `initstate`. Types of built-in SCTP are in
/// vmlinux, and have no file of their own.
pub(crate) fn is_module(root: &Path) -> bool {
    root.join("sys/module/sctp/initstate").exists()
}

/// Returns whether the kernel `release` has a file of the sctp module, by `modules.dep`. True if that cannot
/// be read.
fn module_installed(root: &Path, release: &str) -> bool {
    fs::read_to_string(root.join("lib/modules").join(release).join("modules.dep"))
        .map_or(true, |deps| deps.lines().any(|l| l.contains("/sctp.ko")))
}

fn release(root: &Path) -> Option<String> {
    fs::read_to_string(root.join("proc/sys/kernel/osrelease")).ok().map(|r| r.trim().to_owned())
}

/// Number of file descriptors that a command may need: one for each program, map and link, and with kprobes
/// one more for each link.
const FILES: u64 = 128;

/// Raises this process's soft limit of open files, which shells may set lower, to [`FILES`], or as far as the
/// hard limit allows.
///
/// # Errors
/// Where the hard limit is lower than what a command may need.
pub(crate) fn raise_files() -> Result<(), Unsupported> {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < FILES => {
            // Even a hard limit below FILES may be enough: so raise the soft limit to that.
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(FILES), hard);
            if hard < FILES { Err(Unsupported::FileLimit(hard)) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// Returns the length of a jiffy, the kernel's unit of RTO, SRTT and RTTVAR: 1 / `CONFIG_HZ` seconds. The
/// value is the resolution of `CLOCK_MONOTONIC_COARSE`, which is one jiffy (`posix_get_coarse_res()`): so
/// neither a file nor a privilege is needed.
///
/// # Errors
/// Where the kernel has no such clock (older than 2.6.32).
pub fn jiffy() -> io::Result<Duration> {
    Ok(clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?.into())
}

/// Returns the present time on `CLOCK_MONOTONIC` of the initial time namespace. The times in records of the
/// BPF programs are on the same clock (`ktime_get_mono_fast_ns()`).
#[must_use]
pub fn now() -> Duration {
    let here =
        clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| Duration::from(now).as_nanos() as i128);
    Duration::from_nanos(u64::try_from(here - *TIME_NAMESPACE_NS).unwrap_or(0))
}

/// How many nanoseconds `CLOCK_MONOTONIC` in this process's time namespace is ahead of the same clock in the
/// initial time namespace. The value comes from a file that a confined process cannot open: so [`can_trace`]
/// reads it in advance.
static TIME_NAMESPACE_NS: LazyLock<i128> = LazyLock::new(|| {
    // The file has the offsets of the time namespace of this process's children. The process itself may be in
    // another namespace, as only newer kernels let exec(2) move a process to that of its children. If the two
    // differ, the process is taken to be in the initial namespace.
    let namespace = |name| fs::metadata(format!("/proc/self/ns/{name}")).map(|meta| meta.ino()).ok();
    if namespace("time") != namespace("time_for_children") {
        return 0;
    }
    let offsets = fs::read_to_string("/proc/self/timens_offsets");
    offsets.ok().and_then(|offsets| monotonic_offset(&offsets)).unwrap_or(0)
});

/// Returns the offset of `CLOCK_MONOTONIC` in nanoseconds from the text of a process's `timens_offsets`,
/// which has a line `monotonic SECONDS NANOSECONDS` (time_namespaces(7)).
fn monotonic_offset(offsets: &str) -> Option<i128> {
    let mut words = offsets.lines().find_map(|line| line.strip_prefix("monotonic"))?.split_whitespace();
    let [seconds, nanoseconds] = [words.next()?.parse::<i128>().ok()?, words.next()?.parse::<i128>().ok()?];
    Some(seconds * 1_000_000_000 + nanoseconds)
}

/// The ioctl(2) request that returns the type of the namespace to which a file refers: a `CLONE_*` flag
/// (ioctl_nsfs(2)).
const NS_GET_NSTYPE: Ioctl = 0xb703;

/// Returns the inode number of the network namespace to which an open file refers; `None` if the file is no
/// network namespace.
#[must_use]
pub fn net_namespace(file: &File) -> Option<u32> {
    // SAFETY: the request has no argument, and the descriptor is open. Files that are no namespace refuse it.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    let inode = file.metadata().ok()?.ino();
    (kind == libc::CLONE_NEWNET).then(|| inode.try_into().ok())?
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// Makes a temporary folder that stands for `/`. It contains `files`, given by path and content, and the
    /// files of a kernel 6.9 with BTF.
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

    /// For built-in SCTP the kernel makes a folder in `/sys/module`, for the parameters
    /// (`param_sysfs_builtin()`), but no `initstate`; its types are in vmlinux.
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
    fn what_a_container_or_a_switch_takes_away_is_named() {
        let sctp = ("proc/net/sctp/assocs", "");
        let map = |map| ("proc/self/uid_map", map);
        assert!(missing(&[sctp, map("         0          0 4294967295\n")]).is_none());
        let inner = missing(&[sctp, map("         0       1000          1\n")]);
        assert!(matches!(inner, Some(Unsupported::UserNamespace)));
        let lockdown = |mode| ("sys/kernel/security/lockdown", mode);
        assert!(missing(&[sctp, lockdown("none [integrity] confidentiality\n")]).is_none());
        let locked = missing(&[sctp, lockdown("none integrity [confidentiality]\n")]);
        assert!(matches!(locked, Some(Unsupported::Lockdown)));
        assert!(missing(&[sctp, (FTRACE, "1\n")]).is_none());
        assert!(matches!(missing(&[sctp, (FTRACE, "0\n")]), Some(Unsupported::NoFtrace)));
        for (folder, hidden) in [("/proc", "proc"), ("/sys", "sys")] {
            let root = root(&[sctp]);
            fs::remove_dir_all(root.path().join(hidden)).unwrap();
            let refused = can_trace_at(root.path(), true);
            assert!(matches!(refused, Err(Unsupported::NotMounted(name)) if name == folder));
        }
    }

    #[test]
    fn the_tightest_memory_limit_counts() {
        let of = |cgroup, file, value| (format!("sys/fs/cgroup/{cgroup}/{file}"), value);
        let files = [
            ("proc/self/cgroup".to_owned(), "4:memory:/v1\n0::/a/b\n"),
            of("a", "memory.max", "1000\n"),
            of("a", "memory.current", "900\n"),
            of("a/b", "memory.max", "500\n"),
            of("a/b", "memory.current", "800\n"),
            of("a/b", "memory.stat", "anon 1\nactive_file 20\ninactive_file 300\nslab_reclaimable 30\n"),
        ];
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        assert_eq!(memory_left(root(&files).path()), Some(50));
        let unlimited = [files[0], ("sys/fs/cgroup/a/b/memory.max", "max\n")];
        assert_eq!(memory_left(root(&unlimited).path()), None);
        assert_eq!(memory_left(root(&[]).path()), None);
    }

    #[test]
    fn the_clock_of_a_time_namespace_has_an_offset() {
        let ahead = "monotonic       86400   500000000\nboottime        86400         0\n";
        assert_eq!(monotonic_offset(ahead), Some(86_400_500_000_000));
        assert_eq!(monotonic_offset("monotonic          -1 900000000\n"), Some(-100_000_000));
        assert_eq!(monotonic_offset(""), None);
    }

    #[test]
    fn too_little_memory_says_how_much_it_takes() {
        let error = Unsupported::Memory((9 << 20) + 1).to_string();
        assert!(error.contains("not enough memory for the tables in the kernel (10 MB)"), "{error}");
    }

    #[test]
    fn a_jiffy_is_one_of_the_known_lengths() {
        let hz = 1.0 / jiffy().unwrap().as_secs_f64();
        assert!([100.0, 250.0, 300.0, 1000.0].iter().any(|known| (hz - known).abs() < 1.0), "HZ {hz}");
    }
}
