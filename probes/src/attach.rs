//! From a skeleton to attached programs, on the best rung of the ladder that this kernel has.

use std::{io, sync::Mutex};

use libbpf_rs::{Iter, IterOpts, Link, PrintLevel, ProgramMut, set_print};
use thiserror::Error;

use crate::kernel::Absent;

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// fentry and fexit: trampolines, the cheapest. Needs the module's BTF and, on arm64, a kernel with
    /// `DYNAMIC_FTRACE_WITH_DIRECT_CALLS` (6.4).
    Fentry,
    /// kprobes and kretprobes: everywhere, at several times the cost.
    Kprobe,
}

/// Why a probe could not be opened or read.
#[derive(Debug, Error)]
pub enum Error {
    /// Something is missing here.
    #[error(transparent)]
    Absent(#[from] Absent),
    /// The kernel refused on every rung: the sentence of the first one, and libbpf's last words.
    #[error("this kernel does not take the programs of this command: {reason}{}", detail(.log))]
    Refused {
        /// libbpf's error.
        reason: String,
        /// libbpf's last warning, which names the program.
        log: String,
    },
    /// A running probe could not be read.
    #[error("cannot read from the kernel: {0}")]
    Read(#[from] io::Error),
}

impl From<libbpf_rs::Error> for Error {
    fn from(e: libbpf_rs::Error) -> Self {
        Self::Read(io::Error::other(e))
    }
}

fn detail(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!(" ({log})") }
}

/// libbpf's warnings go here instead of the terminal: only the first matters, and only if all rungs fail.
static LOG: Mutex<String> = Mutex::new(String::new());

fn remember(_: PrintLevel, line: String) {
    let mut log = LOG.lock().unwrap_or_else(|e| e.into_inner());
    if log.is_empty() {
        *log = line.trim().trim_start_matches("libbpf: ").to_owned();
    }
}

/// Opens a probe on the first rung that the kernel accepts. The kernel itself is the judge: whether a function can be
/// hooked is only certain once the program is loaded and attached.
pub(crate) fn climb<T>(rungs: &[Rung], open: impl Fn(Rung) -> Result<T, Error>) -> Result<(T, Rung), Error> {
    set_print(Some((PrintLevel::Warn, remember)));
    let mut first = None;
    for rung in rungs {
        match open(*rung) {
            Ok(probe) => return Ok((probe, *rung)),
            Err(e) => {
                let reason = match e {
                    Error::Read(e) => e.to_string(),
                    other => other.to_string(),
                };
                first.get_or_insert(reason);
            }
        }
    }
    let log = LOG.lock().unwrap_or_else(|e| e.into_inner()).clone();
    Err(Error::Refused { reason: first.unwrap_or_default(), log })
}

/// Attaches programs to the hooks that their section names say, and runs an iterator once, after the first programs,
/// so that nothing slips between.
pub(crate) fn attach_all(
    programs: &[&ProgramMut<'_>],
    iterator: Option<&ProgramMut<'_>>,
) -> Result<Vec<Link>, Error> {
    let links = programs.iter().map(|p| p.attach()).collect::<Result<Vec<_>, _>>()?;
    if let Some(program) = iterator {
        let link = program.attach_iter_with_opts(IterOpts::None)?;
        io::copy(&mut Iter::new(&link)?, &mut io::sink())?;
    }
    Ok(links)
}
