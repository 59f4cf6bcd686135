//! What this kernel offers: every question is a function, and every "no" a sentence with its cure.

use std::{fs, io, path::Path, time::Duration};

use nix::time::{ClockId, clock_getres, clock_gettime};
use thiserror::Error;

/// Why SCTP cannot be traced here.
#[derive(Debug, Error)]
pub enum Absent {
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
    /// Not enough privilege.
    #[error("tracing the kernel needs root, or CAP_SYS_ADMIN: run this command with sudo")]
    NotPrivileged,
}

/// Capability number of `CAP_SYS_ADMIN`. `CAP_BPF` and `CAP_PERFMON` are not enough: libbpf finds the sctp module's
/// type information by walking BTF ids (`BPF_BTF_GET_NEXT_ID`), which the kernel allows to `CAP_SYS_ADMIN` alone.
const CAP_SYS_ADMIN: u32 = 21;

/// Can SCTP be traced here and now?
///
/// # Errors
/// The first thing that is missing, in the order in which a person would mend it.
pub fn can_trace() -> Result<(), Absent> {
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(Absent::NoBtf);
    }
    if !has_sctp() {
        return Err(match release() {
            Some(release) if !module_installed(&release) => Absent::NotInstalled(release),
            _ => Absent::NotLoaded,
        });
    }
    if !privileged() {
        return Err(Absent::NotPrivileged);
    }
    if is_module() && !Path::new("/sys/kernel/btf/sctp").exists() {
        return Err(Absent::NoModuleBtf);
    }
    Ok(())
}

/// Is SCTP loaded, or built in? `/proc/net/sctp` is there in both cases; `/sys/module/sctp` too, since the module has
/// parameters (`no_checksums`), but not while the module is still coming up.
#[must_use]
pub fn has_sctp() -> bool {
    match fs::read_to_string("/sys/module/sctp/initstate") {
        Ok(state) => state.trim() == "live",
        Err(_) => Path::new("/sys/module/sctp").exists() || Path::new("/proc/net/sctp").exists(),
    }
}

/// Is SCTP a module? A built-in one has its types in vmlinux and no file of its own; only a module's folder has
/// `initstate`.
pub(crate) fn is_module() -> bool {
    Path::new("/sys/module/sctp/initstate").exists()
}

/// Is there a file of the module for this kernel? True where it cannot be known.
fn module_installed(release: &str) -> bool {
    fs::read_to_string(format!("/lib/modules/{release}/modules.dep"))
        .map_or(true, |deps| deps.lines().any(|l| l.contains("/sctp.ko")))
}

fn release() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|r| r.trim().to_owned())
}

/// Has this process `CAP_SYS_ADMIN` in effect?
fn privileged() -> bool {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|s| effective_caps(&s))
        .is_some_and(|c| c >> CAP_SYS_ADMIN & 1 == 1)
}

/// The mask of effective capabilities in the text of `/proc/self/status`.
fn effective_caps(status: &str) -> Option<u64> {
    let hex = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
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
    use super::*;

    #[test]
    fn capabilities_are_read_from_status() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000200000\n";
        assert_eq!(effective_caps(status), Some(1 << CAP_SYS_ADMIN));
        assert_eq!(effective_caps("Name:\tx\n"), None);
        assert_eq!(effective_caps("CapEff:\tzz\n"), None);
    }

    #[test]
    fn a_jiffy_is_one_of_the_known_lengths() {
        let hz = 1.0 / jiffy().unwrap().as_secs_f64();
        assert!([100.0, 250.0, 300.0, 1000.0].iter().any(|known| (hz - known).abs() < 1.0), "HZ {hz}");
    }
}
