//! The two kinds of hooks, and falling back from the one to the other.

use std::{
    slice,
    sync::{Mutex, MutexGuard, PoisonError},
};

use libbpf_rs::{PrintLevel, set_print};

use crate::{Error, kernel::raise_files};

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// fentry and fexit, which are trampolines, and tp_btf, a tracepoint: the cheapest. Needs the module's BTF and, on
    /// arm64, a kernel with `DYNAMIC_FTRACE_WITH_DIRECT_CALLS` (6.4).
    Fentry,
    /// kprobes and kretprobes: everywhere, at several times the cost.
    Kprobe,
}

impl HookKind {
    /// The kind of a program with that section name; `None` for an iterator, which hooks nothing.
    pub(crate) fn of_section(section: &str) -> Option<Self> {
        match section.split('/').next() {
            Some("fentry" | "fexit" | "tp_btf") => Some(Self::Fentry),
            Some("kprobe" | "kretprobe") => Some(Self::Kprobe),
            _ => None,
        }
    }
}

/// libbpf's warnings, which matter only if nothing works.
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn remember(_: PrintLevel, line: String) {
    warnings().push(line.trim().trim_start_matches("libbpf: ").to_owned());
}

fn warnings() -> MutexGuard<'static, Vec<String>> {
    WARNINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Words that libbpf prints around the verifier's log.
const VERIFIER: &str = "BEGIN PROG LOAD LOG";

/// Opens a probe with the first kind of hooks that the kernel has, or with the kind asked for. Whether a function can be
/// hooked is only certain once the program is loaded and attached. A program that the verifier refuses is no reason to
/// fall back, but a fault of ours, and must not hide behind costlier hooks.
///
/// # Errors
/// [`Error::Unsupported`] where too few files may be open, [`Error::Refused`] where no kind of hooks works.
pub(crate) fn attach_with_fallback<T>(
    only: Option<HookKind>,
    open: impl Fn(HookKind) -> Result<T, Error>,
) -> Result<T, Error> {
    set_print(Some((PrintLevel::Warn, remember)));
    let files = raise_files();
    let both = [HookKind::Fentry, HookKind::Kprobe];
    let mut first = None;
    for hooks in only.as_ref().map_or(&both[..], slice::from_ref) {
        match open(*hooks) {
            Ok(probe) => return Ok(probe),
            // The other kind of hooks would fare no better.
            Err(e @ Error::Unsupported(_)) => return Err(e),
            Err(Error::Read(e)) => first.get_or_insert(e.to_string()),
            Err(e) => first.get_or_insert(e.to_string()),
        };
        if files.is_err() || warnings().iter().any(|line| line.contains(VERIFIER)) {
            break;
        }
    }
    // Where too few files may be open, libbpf's own message is misleading.
    files?;
    // Whoever asks for one kind of hooks gets all that libbpf and the verifier said.
    let log =
        if only.is_some() { warnings().join("\n") } else { warnings().first().cloned().unwrap_or_default() };
    Err(Error::Refused { reason: first.unwrap_or_default(), log })
}
