//! From a skeleton to attached programs, on the best rung of the ladder that this kernel has.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    path::Path,
    ptr, slice,
    sync::{Mutex, MutexGuard, PoisonError},
};

use libbpf_rs::libbpf_sys::{
    BPF_LINK_TYPE_PERF_EVENT, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_OBJ_GET_INFO_BY_FD, bpf_cmd,
    bpf_link_get_info_by_fd, bpf_link_info, bpf_prog_get_info_by_fd, bpf_prog_info,
};
use libbpf_rs::{Iter, IterOpts, Link, Object, OpenObject, PrintLevel, ProgramMut, set_print};
use thiserror::Error;

use crate::{
    kernel::{Absent, is_module, raise_files},
    verifier,
};

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// fentry and fexit, which are trampolines, and tp_btf, a tracepoint: the cheapest. Needs the module's BTF and, on
    /// arm64, a kernel with `DYNAMIC_FTRACE_WITH_DIRECT_CALLS` (6.4).
    Fentry,
    /// kprobes and kretprobes: everywhere, at several times the cost.
    Kprobe,
}

/// All that reading an open probe asks of bpf(2): histograms, and how often programs were left out.
pub const BPF_COMMANDS: [bpf_cmd; 3] = [BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_OBJ_GET_INFO_BY_FD];

/// All that detaching asks of ioctl(2): `PERF_EVENT_IOC_DISABLE`, for kprobes.
pub const IOCTL_REQUEST: u32 = 0x2401;

/// Why a probe could not be opened or read.
#[derive(Debug, Error)]
pub enum Error {
    /// Something is missing here.
    #[error(transparent)]
    Absent(#[from] Absent),
    /// The kernel refused on every rung: the sentence of the first one.
    #[error("this kernel does not take the programs of this command: {reason}{}", detail(.log))]
    Refused {
        /// libbpf's error.
        reason: String,
        /// What libbpf said.
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

/// libbpf's warnings go here instead of the terminal: they matter only if nothing works.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn remember(level: PrintLevel, line: String) {
    if level == PrintLevel::Debug {
        return verifier::note(&line);
    }
    let line = line.trim().trim_start_matches("libbpf: ").to_owned();
    log().push(line);
}

fn log() -> MutexGuard<'static, Vec<String>> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What libbpf prints around the words of the verifier.
const VERIFIER: &str = "BEGIN PROG LOAD LOG";

/// Opens a probe on the first rung that the kernel has. The kernel itself is the judge: whether a function can be hooked
/// is only certain once the program is loaded and attached. A program that the verifier refuses is no reason to climb
/// down, though, but a fault of ours, and must not hide behind a slower rung.
pub(crate) fn climb<T>(rung: Option<Rung>, open: impl Fn(Rung) -> Result<T, Error>) -> Result<T, Error> {
    let level = if verifier::is_watched() { PrintLevel::Debug } else { PrintLevel::Warn };
    set_print(Some((level, remember)));
    let few_files = raise_files();
    let both = [Rung::Fentry, Rung::Kprobe];
    let mut first = None;
    for rung in rung.as_ref().map_or(&both[..], slice::from_ref) {
        match open(*rung) {
            Ok(probe) => return Ok(probe),
            Err(Error::Read(e)) => first.get_or_insert(e.to_string()),
            Err(e) => first.get_or_insert(e.to_string()),
        };
        if few_files.is_err() || log().iter().any(|line| line.contains(VERIFIER)) {
            break;
        }
    }
    // What libbpf says of that is misleading.
    few_files?;
    // A developer who asks for one rung gets all that libbpf and the verifier said.
    let log = if rung.is_some() { log().join("\n") } else { log().first().cloned().unwrap_or_default() };
    Err(Error::Refused { reason: first.unwrap_or_default(), log })
}

/// An object that is not as it was built.
pub(crate) fn malformed() -> Error {
    Error::Read(io::Error::from(io::ErrorKind::InvalidData))
}

/// Has only the programs of a rung loaded, as their section names say.
pub(crate) fn choose_rung(object: &mut OpenObject, rung: Rung) {
    if verifier::is_watched() {
        verifier::ask(object);
    }
    for mut program in object.progs_mut() {
        let section = program.section().to_string_lossy();
        let of = match section.split('/').next() {
            Some("fentry" | "fexit" | "tp_btf") => Some(Rung::Fentry),
            Some("kprobe" | "kretprobe") => Some(Rung::Kprobe),
            _ => None,
        };
        let chosen = of == Some(rung);
        program.set_autoload(chosen);
    }
}

/// Names the module of each function or tracepoint that is to be hooked, of the programs that are to be loaded. libbpf
/// else goes through all types of `vmlinux` for it, and through them again for every module: a good 10 million
/// instructions per program.
pub(crate) fn name_module(object: &mut OpenObject) -> Result<(), Error> {
    if !is_module(Path::new("/")) {
        return Ok(());
    }
    for mut program in object.progs_mut().filter(|program| program.autoload()) {
        let section = program.section().to_string_lossy().into_owned();
        if let Some(("fentry" | "fexit" | "tp_btf", function)) = section.split_once('/') {
            program.set_attach_target(0, Some(format!("sctp:{function}")))?;
        }
    }
    Ok(())
}

/// Leaves out the programs whose names begin so, of all rungs.
pub(crate) fn leave_out(object: &mut OpenObject, prefix: &str) {
    for mut program in object.progs_mut() {
        if program.name().to_string_lossy().starts_with(prefix) {
            program.set_autoload(false);
        }
    }
}

/// Attaches every program that was loaded, in the order of the source, and then runs the iterator of `-p` if it was, so
/// that no socket slips between.
pub(crate) fn attach_loaded(object: &Object) -> Result<Links, Error> {
    let (iterators, programs): (Vec<_>, Vec<_>) = object
        .progs_mut()
        .filter(|p| p.autoload())
        .partition(|p| p.section().to_string_lossy().starts_with("iter/"));
    let links = programs.iter().map(|p| p.attach()).collect::<Result<Vec<_>, _>>()?;
    if let Some(program) = iterators.first() {
        let link = program.attach_iter_with_opts(IterOpts::None)?;
        io::copy(&mut Iter::new(&link)?, &mut io::sink())?;
    }
    Ok(Links { links, missed: 0 })
}

/// What attaches programs.
pub(crate) struct Links {
    links: Vec<Link>,
    missed: u64,
}

impl Links {
    /// Detaches them.
    pub(crate) fn detach(&mut self) {
        self.missed = self.missed();
        self.links.clear();
    }

    /// How often the kernel left out a kprobe that would have interrupted another one on its CPU (`kprobe_running()`).
    /// Told since 6.7.
    pub(crate) fn missed(&self) -> u64 {
        self.missed + self.links.iter().map(missed_kprobes).sum::<u64>()
    }
}

fn missed_kprobes(link: &Link) -> u64 {
    let mut info = bpf_link_info::default();
    let mut len = size_of::<bpf_link_info>() as u32;
    // SAFETY: an open descriptor, and memory of the length that is said.
    let result =
        unsafe { bpf_link_get_info_by_fd(link.as_fd().as_raw_fd(), ptr::from_mut(&mut info), &mut len) };
    if result != 0 || info.type_ != BPF_LINK_TYPE_PERF_EVENT {
        return 0;
    }
    // SAFETY: integers; this kind of link has this member, in which a kernel that does not know it leaves zeros.
    unsafe { info.__bindgen_anon_1.perf_event.__bindgen_anon_1.kprobe.missed }
}

/// How often the kernel left out a program of an object because it would have interrupted itself (fentry) or another
/// one of a kprobe, on its CPU: `__bpf_prog_enter_recur()`, `trace_call_bpf()`. (6.1 does not count the latter.)
pub(crate) fn missed(object: &Object) -> u64 {
    let misses = |program: ProgramMut<'_>| {
        let mut info = bpf_prog_info::default();
        let mut len = size_of::<bpf_prog_info>() as u32;
        // SAFETY: an open descriptor, and memory of the length that is said.
        let result = unsafe {
            bpf_prog_get_info_by_fd(program.as_fd().as_raw_fd(), ptr::from_mut(&mut info), &mut len)
        };
        if result == 0 { info.recursion_misses } else { 0 }
    };
    object.progs_mut().filter(|p| p.autoload()).map(misses).sum()
}
