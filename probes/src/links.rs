//! Attached programs, and how often the kernel skipped one (left it out at an event).

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read},
    os::fd::{AsFd, AsRawFd},
    ptr,
};

use libbpf_rs::{
    Iter, IterOpts, Link, Object, ProgramMut,
    libbpf_sys::{
        BPF_LINK_TYPE_PERF_EVENT, bpf_link_get_info_by_fd, bpf_link_info, bpf_prog_get_info_by_fd,
        bpf_prog_info,
    },
};

use crate::{
    Error,
    background::{Background, wait_for_programs},
};

/// The links of the attached programs. Dropping a link detaches its program, unless `background` holds the
/// link, too.
pub(crate) struct Links {
    links: Vec<Link>,
    /// Holds the links so that the kernel detaches the programs after this process's end; `None` where the
    /// kernel does not let links be pinned.
    background: Option<Background>,
}

impl Links {
    /// Attaches every loaded program but the iterators, in the order of the source.
    pub(crate) fn attach(object: &Object) -> Result<Self, Error> {
        let programs = object.progs_mut().filter(|p| p.autoload() && !is_iterator(p));
        let links = programs.map(|p| p.attach()).collect::<Result<Vec<_>, _>>()?;
        let background = Background::pin(&links).ok();
        Ok(Self { links, background })
    }

    /// Waits for programs at work and detaches all, or leaves the detaching to the kernel once this is
    /// dropped. The programs must have been switched off before
    /// ([`Shared::switch_off`](crate::table::Shared::switch_off)).
    pub(crate) fn detach(&mut self) {
        if wait_for_programs().is_err() {
            self.background = None;
        }
        self.links.clear();
    }

    /// Returns how often the kernel has skipped a program. It skips a program of fentry kind that would
    /// interrupt itself (`__bpf_prog_enter_recur()`). It also skips the program of a kprobe that would
    /// interrupt another kprobe's on the same CPU: at `kprobe_running()`, which kernels count since 6.7, or
    /// in `trace_call_bpf()`, which 6.1 does not count.
    pub(crate) fn missed(&self, object: &Object) -> u64 {
        let programs = object.progs_mut().filter(|p| p.autoload());
        self.missed_kprobes() + programs.map(|program| recursion_misses(&program)).sum::<u64>()
    }

    /// Returns an upper limit of how many events were missed: the kernel skipped the program and, if the
    /// program has a second copy (`hooks.h`), that copy, too. `taken_over`: how many events the first copy of
    /// the program `marked`, if there is one, has counted because the kernel skipped the second.
    pub(crate) fn missed_by_both(&self, object: &Object, marked: Option<&str>, taken_over: u64) -> u64 {
        let programs = object.progs_mut().filter(|p| p.autoload());
        let misses: HashMap<String, u64> =
            programs.map(|p| (p.name().to_string_lossy().into_owned(), recursion_misses(&p))).collect();
        let first = misses.iter().filter(|(name, _)| !name.ends_with(SECOND));
        let missed = first.map(|(name, count)| match misses.get(&format!("{name}{SECOND}")) {
            Some(second) if marked == Some(name.as_str()) => second.saturating_sub(taken_over),
            Some(second) => *count.min(second),
            None => *count,
        });
        missed.sum::<u64>() + self.missed_kprobes()
    }

    fn missed_kprobes(&self) -> u64 {
        self.links.iter().map(missed_by_kprobe).sum()
    }
}

/// The end of the name of a program's second copy.
const SECOND: &str = "_second";

/// Name of the iterator that finds the owners of sockets: `Rounds` runs it in each round.
pub(crate) const OWNER_HAS: &str = "owner_has";

/// Name of the iterator that counts the chunks no program saw: `Trace` runs it at the end of the run.
pub(crate) const UNSEEN_LIVING: &str = "unseen_living";

/// Name of the iterator that finds the associations that are up: `Lifecycle` runs it step by step.
pub(crate) const LIFE_FOUND: &str = "life_found";

/// Runs, once, the loaded iterators that find what existed before the programs were attached. To be called
/// after attaching: sockets made later are seen by the programs. Leaves out the three iterators named above;
/// of these, `Rounds` runs `owner_has` before this call, as the filter needs its result.
pub(crate) fn find_earlier(object: &Object) -> Result<(), Error> {
    let others = [OWNER_HAS, UNSEEN_LIVING, LIFE_FOUND];
    let later = |p: &ProgramMut<'_>| others.iter().any(|name| p.name() == *name);
    for program in object.progs_mut().filter(|p| p.autoload() && is_iterator(p) && !later(p)) {
        FileIterator(program.attach_iter_with_opts(IterOpts::None)?).run()?;
    }
    Ok(())
}

fn is_iterator(program: &ProgramMut<'_>) -> bool {
    program.section().to_string_lossy().starts_with("iter/")
}

/// An attached iterator over open files.
pub(crate) struct FileIterator(pub(crate) Link);

impl FileIterator {
    /// Attaches the iterator `name`; `None` if it is not loaded.
    ///
    /// # Errors
    /// Where the kernel refuses the iterator.
    pub(crate) fn named(object: &Object, name: &str) -> Result<Option<Self>, Error> {
        let program = object.progs_mut().find(|p| p.autoload() && p.name() == name);
        let link = program.map(|program| program.attach_iter_with_opts(IterOpts::None)).transpose()?;
        Ok(link.map(Self))
    }

    /// Runs the iterator once.
    ///
    /// # Errors
    /// Where the kernel refuses (too many open files, or out of memory).
    pub(crate) fn run(&self) -> io::Result<()> {
        let mut steps = self.steps()?;
        while !steps.step()? {}
        Ok(())
    }

    /// Begins to run the iterator.
    ///
    /// # Errors
    /// Where the kernel refuses (too many open files, or out of memory).
    pub(crate) fn steps(&self) -> io::Result<Steps> {
        Ok(Steps(Iter::new(&self.0).map_err(io::Error::other)?))
    }
}

/// A run of an iterator over all open files, which can pause between two files.
pub(crate) struct Steps(Iter);

impl Steps {
    /// Goes on until the iterator program asks for a pause, or to the end. Returns whether the end is
    /// reached. The kernel also pauses after a million files (`MAX_ITER_OBJECTS` in `kernel/bpf/bpf_iter.c`).
    ///
    /// # Errors
    /// Where the kernel refuses (out of memory).
    pub(crate) fn step(&mut self) -> io::Result<bool> {
        match self.0.read(&mut [0; 8]) {
            Ok(read) => Ok(read == 0),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

fn missed_by_kprobe(link: &Link) -> u64 {
    let mut info = bpf_link_info::default();
    let mut len = size_of::<bpf_link_info>() as u32;
    // SAFETY: the descriptor is open, and `len` is the size of `info`.
    let result =
        unsafe { bpf_link_get_info_by_fd(link.as_fd().as_raw_fd(), ptr::from_mut(&mut info), &mut len) };
    if result != 0 || info.type_ != BPF_LINK_TYPE_PERF_EVENT {
        return 0;
    }
    // SAFETY: a link of this type has this member, which is an integer; an older kernel without it leaves
    // zeros.
    unsafe { info.__bindgen_anon_1.perf_event.__bindgen_anon_1.kprobe.missed }
}

fn recursion_misses(program: &ProgramMut<'_>) -> u64 {
    let mut info = bpf_prog_info::default();
    let mut len = size_of::<bpf_prog_info>() as u32;
    // SAFETY: the descriptor is open, and `len` is the size of `info`.
    let result =
        unsafe { bpf_prog_get_info_by_fd(program.as_fd().as_raw_fd(), ptr::from_mut(&mut info), &mut len) };
    if result == 0 { info.recursion_misses } else { 0 }
}
