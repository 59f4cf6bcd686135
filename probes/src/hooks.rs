//! The two kinds of hooks into kernel functions, fentry and kprobes, and the fallback from one to the other.

use std::{
    slice,
    sync::{Mutex, MutexGuard, PoisonError},
};

use libbpf_rs::{PrintLevel, set_print};

use crate::{Error, kernel::raise_files};

/// The kind of hooks that programs are attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// fentry and fexit programs, which the kernel calls by trampolines, and tp_btf programs at tracepoints:
    /// the cheapest kind. They need the module's BTF and, on arm64, a kernel with
    /// `DYNAMIC_FTRACE_WITH_DIRECT_CALLS` (6.4).
    Fentry,
    /// kprobes and kretprobes. They work on every kernel that can be traced, at several times the cost.
    Kprobe,
}

impl HookKind {
    /// Returns the kind of a program from the name of its ELF section. `None`: the program is loaded with
    /// either kind, as it is an iterator, which hooks nothing, or hangs on a raw tracepoint.
    pub(crate) fn of_section(section: &str) -> Option<Self> {
        match section.split('/').next() {
            Some("fentry" | "fexit" | "tp_btf") => Some(Self::Fentry),
            Some("kprobe" | "kretprobe") => Some(Self::Kprobe),
            _ => None,
        }
    }
}

/// The warnings that libbpf has printed so far, for the error message if no kind of hooks works.
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn remember(_: PrintLevel, line: String) {
    warnings().push(line.trim().trim_start_matches("libbpf: ").to_owned());
}

fn warnings() -> MutexGuard<'static, Vec<String>> {
    WARNINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Words in the line that libbpf prints before the verifier's log. libbpf prints that line only if the
/// verifier has refused a program.
const VERIFIER: &str = "BEGIN PROG LOAD LOG";

/// Opens a probe by `open`: with fentry hooks or, if that fails, with kprobes; with `only`, with that kind
/// alone. (Only loading and attaching a program shows whether a function can be hooked.) If the verifier
/// refuses a program, there is no fallback: that is a bug in this crate, which costlier hooks must not hide.
///
/// # Errors
/// [`Error::Unsupported`] where too few files may be open, memory is too short for the tables, or seccomp
/// refuses bpf(2); [`Error::Refused`] where no kind of hooks works.
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
            // The other kind of hooks would fail for the same reason.
            Err(e @ Error::Unsupported(_)) => return Err(e),
            Err(Error::Read(e)) => first.get_or_insert(e.to_string()),
            Err(e) => first.get_or_insert(e.to_string()),
        };
        if files.is_err() || warnings().iter().any(|line| line.contains(VERIFIER)) {
            break;
        }
    }
    // Where too few files may be open, report that: libbpf's own message is misleading.
    files?;
    // If the user asked for one kind of hooks, the error has all warnings of libbpf, with the verifier's log.
    let log =
        if only.is_some() { warnings().join("\n") } else { warnings().first().cloned().unwrap_or_default() };
    Err(Error::Refused { reason: first.unwrap_or_default(), log })
}
