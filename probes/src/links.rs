//! Attached programs, and how often the kernel left one out.

use std::{
    io,
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

use crate::Error;

/// The links that keep programs attached: to drop a link detaches its program.
pub(crate) struct Links {
    links: Vec<Link>,
    /// How often the kernel left out kprobes, up to their detaching; 0 before that.
    missed: u64,
}

impl Links {
    /// Attaches every loaded program, in the order of the source. After that, it runs the loaded iterators,
    /// which find what existed before: no new socket is missed, since the hooks see it. The iterator of `-p`
    /// is the first, as the others' filter needs its result.
    pub(crate) fn attach(object: &Object) -> Result<Self, Error> {
        let (iterators, programs): (Vec<_>, Vec<_>) = object
            .progs_mut()
            .filter(|p| p.autoload())
            .partition(|p| p.section().to_string_lossy().starts_with("iter/"));
        let links = programs.iter().map(|p| p.attach()).collect::<Result<Vec<_>, _>>()?;
        for program in &iterators {
            let link = program.attach_iter_with_opts(IterOpts::None)?;
            io::copy(&mut Iter::new(&link)?, &mut io::sink())?;
        }
        Ok(Self { links, missed: 0 })
    }

    /// Detaches the programs.
    pub(crate) fn detach(&mut self) {
        self.missed = self.missed_kprobes();
        self.links.clear();
    }

    /// How often the kernel left out a program. It skips a program of fentry kind that would interrupt itself
    /// (`__bpf_prog_enter_recur()`), and a kprobe's that would interrupt another kprobe's on the same CPU: in
    /// `kprobe_running()`, which is counted since 6.7, or in `trace_call_bpf()`, which 6.1 does not count.
    pub(crate) fn missed(&self, object: &Object) -> u64 {
        let programs = object.progs_mut().filter(|p| p.autoload());
        self.missed_kprobes() + programs.map(recursion_misses).sum::<u64>()
    }

    fn missed_kprobes(&self) -> u64 {
        self.missed + self.links.iter().map(missed_by_kprobe).sum::<u64>()
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

fn recursion_misses(program: ProgramMut<'_>) -> u64 {
    let mut info = bpf_prog_info::default();
    let mut len = size_of::<bpf_prog_info>() as u32;
    // SAFETY: the descriptor is open, and `len` is the size of `info`.
    let result =
        unsafe { bpf_prog_get_info_by_fd(program.as_fd().as_raw_fd(), ptr::from_mut(&mut info), &mut len) };
    if result == 0 { info.recursion_misses } else { 0 }
}
