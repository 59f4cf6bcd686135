//! The owners of associations: the processes that have an association's socket open (`owner.h`).

use std::{
    cell::RefCell,
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    ptr::{self, NonNull},
    rc::Rc,
    time::{Duration, Instant},
};

use libbpf_rs::{
    AsRawLibbpf, Link, MapCore, MapFlags, MapHandle, Object, ProgramMut,
    libbpf_sys::{bpf_iter_attach_opts, bpf_iter_link_info, bpf_program__attach_iter, libbpf_get_error},
};
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    Config, Error,
    escape::escape,
    identity::Owner,
    links::{FileIterator, OWNER_HAS},
    object::{OpenPrograms, map},
    raw::{AssocOwner, CGROUP_ROOM, CgroupPath, Owner as RawOwner, Process, WANT_OWNERS},
    table::Shared,
};

/// How many sockets, and how many associations, the kernel side remembers with their owners. If there are
/// more, it evicts the least recently used.
const SOCKETS: u32 = 8192;
/// Number of cgroups whose paths the kernel side keeps.
const CGROUPS: u32 = 256;

/// Chooses, before loading, the programs for owners, whose names begin with `owner_`, and sizes their maps.
/// The programs are loaded only if the filter or [`Config::owners`] needs them.
///
/// # Errors
/// Where the pid namespace of this process cannot be read from `/proc`.
pub(crate) fn configure(open: &mut OpenPrograms, config: &Config) -> Result<(), Error> {
    let filter = config.filter.names_owners();
    if !filter && !config.owners {
        open.leave_out("owner_");
        return Ok(());
    }
    open.settings.pidns = pid_namespace()?;
    open.resize_lru("owners", SOCKETS)?;
    if !filter {
        open.leave_out("owner_sends");
    }
    if config.owners {
        open.settings.wants |= WANT_OWNERS;
        open.resize_lru("assoc_owners", SOCKETS)?;
        open.resize_lru("cgroups", CGROUPS)?;
    } else {
        open.leave_out("owner_x_");
    }
    Ok(())
}

/// Returns the inode number of this process's pid namespace, in which `-p PID` is meant.
fn pid_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// Returns whether this host uses cgroup v2. If not, the kernel side finds each process in the root cgroup.
fn has_cgroup2() -> bool {
    fs::read_to_string("/proc/self/cgroup").is_ok_and(|own| own.lines().any(|line| line.starts_with("0::")))
}

/// An association's owner (`None`: not known), and the payload protocol identifier of its first DATA chunk
/// that was looked at (`None`: no chunk yet).
pub(crate) type Known = (Option<Rc<Owner>>, Option<u32>);

/// The kernel side's maps of owners, opened for reading.
pub(crate) struct Owners {
    assocs: MapHandle,
    sockets: MapHandle,
    cgroups: MapHandle,
    shared: Shared<()>,
    has_cgroup2: bool,
    /// Paths of cgroups by their ids: a cache, as a cgroup's path never changes.
    paths: RefCell<HashMap<u64, String>>,
}

/// At most this many paths of cgroups are in this process's cache.
const KEPT_PATHS: usize = 4096;

impl Owners {
    /// Opens the maps of loaded programs; `None` unless [`Config::owners`] is set.
    ///
    /// # Errors
    /// Where the kernel refuses the mapping (out of memory or address space).
    pub(crate) fn new(object: &Object, config: &Config) -> Result<Option<Self>, Error> {
        if !config.owners {
            return Ok(None);
        }
        Ok(Some(Self {
            assocs: map(object, "assoc_owners")?,
            sockets: map(object, "owners")?,
            cgroups: map(object, "cgroups")?,
            shared: Shared::new(&map(object, ".data.shared")?)?,
            has_cgroup2: has_cgroup2(),
            paths: RefCell::default(),
        }))
    }

    /// Returns the number of the last completed round (see `owner.h`): while it stays the same, callers may
    /// keep the owners they have read.
    pub(crate) fn rounds_done(&self) -> u32 {
        self.shared.rounds_done()
    }

    /// Returns what is known of the association with this id.
    pub(crate) fn of(&self, assoc_id: u32) -> Known {
        let Some(assoc) = lookup::<AssocOwner>(&self.assocs, &assoc_id.to_ne_bytes()) else {
            return (None, None);
        };
        let owner = if assoc.sk == 0 {
            (assoc.last.tgid != 0).then_some((assoc.last, assoc.owners))
        } else {
            lookup::<RawOwner>(&self.sockets, &assoc.sk.to_ne_bytes())
                .map(|socket| of_round(&socket, self.rounds_done()))
        };
        let owner = owner.map(|(process, owners)| Rc::new(self.describe(process, owners)));
        (owner, (assoc.has_payload != 0).then_some(assoc.payload))
    }

    /// Describes a socket's owner by `process`, which is one of the `owners` processes that have the socket.
    pub(crate) fn describe(&self, process: Process, owners: u32) -> Owner {
        let cgroup = if self.has_cgroup2 { self.path(process.cgroup) } else { None };
        let comm = process.comm.split(|byte| *byte == 0).next().unwrap_or_default();
        Owner {
            pid: (process.pid != 0).then_some(process.pid),
            comm: Some(escape(comm)),
            cgroup,
            owners: Some(owners),
        }
    }

    fn path(&self, id: u64) -> Option<String> {
        let mut paths = self.paths.borrow_mut();
        if let Some(path) = paths.get(&id) {
            return Some(path.clone());
        }
        let path: CgroupPath = lookup(&self.cgroups, &id.to_ne_bytes())?;
        let text = path.text.get(path.start as usize..CGROUP_ROOM)?;
        let text = if text.is_empty() { "/".to_owned() } else { escape(text) };
        if paths.len() >= KEPT_PATHS {
            paths.clear();
        }
        paths.insert(id, text.clone());
        Some(text)
    }
}

/// Returns which process to name as a socket's owner after the round `done`, and how many processes have the
/// socket. `owner_now()` in `owner.h` makes the same choice.
fn of_round(socket: &RawOwner, done: u32) -> (Process, u32) {
    let since = |round: u32| round.wrapping_sub(done) as i32 >= 0;
    let found = since(socket.round);
    match (since(socket.last_round), found) {
        (true, true) => (socket.last, socket.owners),
        (true, false) => (socket.last, 1),
        (false, true) => (socket.other, socket.owners),
        // No process has the socket any more: names the last one that had it.
        (false, false) => (socket.last, 0),
    }
}

fn lookup<T: FromBytes + IntoBytes>(map: &MapHandle, key: &[u8]) -> Option<T> {
    let mut value = T::new_zeroed();
    map.lookup_into(key, value.as_mut_bytes(), MapFlags::ANY).ok()?.then_some(value)
}

/// Time between two checks whether a round is due. (A round looks for the owners of sockets: see `owner.h`.)
pub const ROUND_PERIOD: Duration = Duration::from_millis(500);

/// The longest time between two rounds. There must be rounds even if no program asks for one: a process may
/// hand on a socket in a way that no program sees.
const SELDOM: Duration = Duration::from_secs(10);

/// After each round there is a pause of this many times the round's length: so rounds take at most 1 % of the
/// time, however many files are open.
const PAUSE: u32 = 100;

/// Makes rounds: in each, the iterator `owner_has` looks at all open files.
pub(crate) struct Rounds {
    iterator: FileIterator,
    /// True if a round is due at each check, not only when the programs ask for one. So it is with a filter
    /// by process or cgroup, which must not miss a socket that a process gets in a way that no program sees.
    always: bool,
    /// When the last round began.
    last: Instant,
    /// When the next round may begin.
    next: Instant,
}

impl Rounds {
    /// Attaches the iterator `owner_has`; `None` if it is not loaded.
    ///
    /// # Errors
    /// Where the kernel refuses the iterator.
    pub(crate) fn new(object: &Object, config: &Config) -> Result<Option<Self>, Error> {
        let Some(program) = object.progs_mut().find(|p| p.autoload() && p.name() == OWNER_HAS) else {
            return Ok(None);
        };
        let process = config.filter.pid.filter(|_| !config.owners && config.filter.cgroup.is_none());
        let link = match process.map(|pid| attach(&program, pid)) {
            Some(Ok(link)) => link,
            // Kernels before 6.1 cannot look at the files of one process alone.
            _ => attach(&program, 0)?,
        };
        Ok(Some(Self {
            iterator: FileIterator(link),
            always: config.filter.names_owners(),
            last: Instant::now(),
            next: Instant::now(),
        }))
    }

    /// Makes a round now: runs the iterator over all open files.
    ///
    /// # Errors
    /// Where the kernel refuses to run the iterator (too many open files, or out of memory).
    pub(crate) fn run<A: FromBytes>(&mut self, shared: &mut Shared<A>) -> io::Result<()> {
        self.last = Instant::now();
        shared.begin_round();
        self.iterator.run()?;
        shared.end_round();
        self.next = Instant::now() + self.last.elapsed() * PAUSE;
        Ok(())
    }

    /// Returns whether a round is due.
    pub(crate) fn is_due<A: FromBytes>(&self, shared: &Shared<A>) -> bool {
        let asked = self.always || shared.get().rounds_due > 0 || self.last.elapsed() >= SELDOM;
        asked && Instant::now() >= self.next
    }
}

/// Attaches an iterator over the open files of the process `pid`; 0: of all processes.
fn attach(program: &ProgramMut<'_>, pid: u32) -> Result<Link, Error> {
    let mut info = bpf_iter_link_info::default();
    info.task.pid = pid;
    let opts = bpf_iter_attach_opts {
        sz: size_of::<bpf_iter_attach_opts>() as _,
        link_info: if pid == 0 { ptr::null_mut() } else { &raw mut info },
        link_info_len: if pid == 0 { 0 } else { size_of::<bpf_iter_link_info>() as u32 },
        ..Default::default()
    };
    // SAFETY: the program is loaded, and `opts` and `info` live until the call returns.
    let link = unsafe { bpf_program__attach_iter(program.as_libbpf_object().as_ptr(), &raw const opts) };
    // SAFETY: the function only looks whether the pointer is NULL; if so, it reads errno.
    let error = unsafe { libbpf_get_error(link.cast()) };
    match NonNull::new(link) {
        // SAFETY: libbpf has just made this link, and nothing else has it.
        Some(link) if error == 0 => Ok(unsafe { Link::from_ptr(link) }),
        _ => Err(io::Error::from_raw_os_error(-error as i32).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(tgid: u32) -> Process {
        Process { cgroup: 1, tgid, pid: tgid, comm: [0; 16] }
    }

    /// Returns the owner and the number of owners after round 7, if process 1 (`last`) was seen in
    /// `last_round`, and `round` has found `owners` processes.
    fn owner(last_round: u32, round: u32, owners: u32) -> (u32, u32) {
        let (last, other) = (process(1), process(2));
        let socket = RawOwner { last, other, last_round, wanted_round: 0, round, owners, counted: 0, pad: 0 };
        let (process, owners) = of_round(&socket, 7);
        (process.tgid, owners)
    }

    #[test]
    fn who_has_the_socket_now_is_named() {
        assert_eq!(owner(7, 7, 2), (1, 2), "its maker still has it");
        assert_eq!(owner(6, 7, 1), (2, 1), "its maker has handed it on");
        assert_eq!(owner(6, 6, 3), (1, 0), "nobody has it any more");
        assert_eq!(owner(8, 7, 1), (1, 1), "it was made after the round");
        assert_eq!(owner(8, 8, 2), (1, 2), "a round is under way");
    }
}
