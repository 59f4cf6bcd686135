//! The part of a running trace that is the same for all commands: opening, the ring buffer (`ring.h`),
//! intervals and the end.

use std::{
    cell::RefCell,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use libbpf_rs::{MapCore, Object, RingBuffer, RingBufferBuilder};
use zerocopy::FromBytes;

use crate::{
    Accounting, Config, Due, Error, HookKind, Probe,
    hooks::attach_with_fallback,
    kernel,
    links::{FileIterator, Links, UNSEEN_LIVING, find_earlier},
    object::{OpenPrograms, map, memory_bytes},
    owner::{self, Rounds},
    program::{Moment, Program},
    raw::{WANT_EVENTS, WANT_WINDOWS},
    table::Shared,
};

/// Size of the ring buffer in bytes: room for at least 12,000 events of any command.
const RING_BYTES: u32 = 1 << 20;

/// The attached programs of a command, with their tables.
pub struct Trace<P: Program> {
    // Fields are dropped in this order: the programs are detached first, so that no event comes after that.
    links: Links,
    /// `None` where nobody asks for the owners of sockets.
    rounds: Option<Rounds>,
    /// The iterator that looks for unseen chunks of living associations at the end of the run (`living.h`); `None` where
    /// the kernel's counts are not compared.
    living: Option<FileIterator>,
    /// Number of unseen chunks when the programs were detached, as far as that iterator has found.
    unseen: u64,
    ring: Option<Ring<P::Event>>,
    program: P,
    shared: Shared<P::Accounting>,
    object: Object,
    /// Kernel memory of the maps, read before the process confines itself; `None` where the kernel does not
    /// tell.
    memory_bytes: Option<u64>,
    hooks: HookKind,
    /// False if the filter may leave out some chunks of an association and take others.
    sees_whole_associations: bool,
    events: Vec<P::Event>,
    /// Records of [`Program::lasting`] that were not taken yet.
    lasting: Vec<P::Record>,
    /// Number of the interval that ended last.
    ended: u32,
    /// When the programs were detached, on `CLOCK_MONOTONIC`; `None` before that.
    detached: Option<Duration>,
}

impl<P: Program> Trace<P> {
    /// Loads and attaches the programs. Call [`kernel::can_trace`] first: its errors say what this machine
    /// lacks.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where too few files may be open, memory is too short for the tables, or seccomp
    /// refuses bpf(2); [`Error::Refused`] where the kernel does not accept the programs with any kind of
    /// hooks.
    pub fn open(config: &Config, sizes: &P::Sizes) -> Result<Self, Error> {
        attach_with_fallback(config.hooks, |hooks| Self::open_with(hooks, config, sizes))
    }

    fn open_with(hooks: HookKind, config: &Config, sizes: &P::Sizes) -> Result<Self, Error> {
        let mut open = OpenPrograms::new(P::NAME, P::OBJECT, hooks)?;
        config.filter.apply(&mut open);
        owner::configure(&mut open, config)?;
        if config.filter.divides_associations() {
            open.leave_out(UNSEEN_LIVING);
        }
        if config.intervals {
            open.settings.wants |= WANT_WINDOWS;
        }
        if config.records {
            open.settings.wants |= WANT_EVENTS;
            open.resize("events", RING_BYTES)?;
        }
        open.settings.jiffy_ns = kernel::jiffy()?.as_nanos() as u64;
        P::configure(&mut open, config, sizes)?;
        let settings = open.settings;
        let (object, links) = open.load()?;
        let mut shared = Shared::new(&map(&object, ".data.shared")?)?;
        let mut rounds = Rounds::new(&object, config)?;
        rounds.as_mut().map(|rounds| rounds.run(&mut shared)).transpose()?;
        find_earlier(&object)?;
        let living = FileIterator::named(&object, UNSEEN_LIVING)?;
        Ok(Self {
            links,
            rounds,
            living,
            unseen: 0,
            ring: if config.records { Some(Ring::new(&map(&object, "events")?)?) } else { None },
            program: P::new(&object, &settings, config)?,
            shared,
            memory_bytes: memory_bytes(&object),
            object,
            hooks,
            sees_whole_associations: !config.filter.divides_associations(),
            events: Vec::new(),
            lasting: Vec::new(),
            ended: 0,
            detached: None,
        })
    }

    fn moment(&self) -> Moment {
        let shared = self.shared.get();
        Moment {
            interval: self.ended,
            now: self.detached.unwrap_or_else(kernel::now),
            pool_used: shared.pool_used,
            sends_open: shared.sends_open,
        }
    }
}

impl<P: Program> Probe for Trace<P> {
    type Record = P::Record;
    type Row = P::Row;

    fn fd(&self) -> io::Result<Option<OwnedFd>> {
        self.ring.as_ref().map(Ring::fd).transpose()
    }

    fn wake_me(&mut self) {
        self.shared.want_wakeup();
    }

    fn take(&mut self, into: &mut Vec<P::Record>, limit: usize) -> Result<bool, Error> {
        into.append(&mut self.lasting);
        let Some(ring) = &self.ring else { return Ok(false) };
        let more = ring.take(&mut self.events, limit)?;
        for event in self.events.drain(..) {
            into.push(self.program.decode(&event));
        }
        Ok(more)
    }

    fn carry(&mut self) -> Result<(), Error> {
        self.program.carry()
    }

    fn find_owners(&mut self, certain: bool) {
        let Some(rounds) = &mut self.rounds else { return };
        if certain || rounds.is_due(&self.shared) {
            let _ = rounds.run(&mut self.shared);
        }
    }

    fn wants_owners(&self) -> bool {
        self.rounds.is_some()
    }

    fn end_interval(&mut self) {
        let moment = self.moment();
        self.program.lasting(moment, &mut self.lasting);
        self.ended = self.shared.next_epoch();
    }

    fn interval(&mut self) -> Result<impl Iterator<Item = Result<P::Row, Error>>, Error> {
        self.program.interval(self.moment())
    }

    fn totals(&mut self, due: Due) -> Result<impl Iterator<Item = Result<P::Row, Error>>, Error> {
        self.program.totals(due, self.moment())
    }

    fn accounting(&self) -> Accounting {
        // With second copies the kernel runs at least one copy of each counting program at every event: none
        // is missed.
        let covered = P::SECOND_COPIES && self.hooks == HookKind::Fentry;
        let shared = self.shared.get();
        let missed = if covered { 0 } else { self.links.missed(&self.object) };
        let accounting = self.program.accounting(&shared.accounting, missed + u64::from(shared.frames_lost));
        Accounting {
            unseen: accounting
                .unseen
                .filter(|_| self.sees_whole_associations)
                .map(|unseen| unseen.max(self.unseen)),
            passed_over: shared.passed_over != 0,
            memory_bytes: self.memory_bytes,
            ..accounting
        }
    }

    fn detach(&mut self) {
        let before = self.accounting().unseen;
        // Without the iterator less is known to be unseen.
        if self.living.as_ref().is_some_and(|living| living.run().is_ok()) {
            self.unseen = before.map_or(0, |before| before + self.shared.get().unseen_living);
        }
        self.links.detach();
        self.detached = Some(kernel::now());
    }
}

/// Reads the events of a ring buffer.
struct Ring<Event> {
    ring: RingBuffer<'static>,
    received: Rc<RefCell<Vec<Event>>>,
}

impl<Event: FromBytes + 'static> Ring<Event> {
    /// Opens the ring buffer `map` for reading. Events that are too short are dropped; the programs write
    /// none.
    ///
    /// # Errors
    /// Where the kernel refuses to map the ring buffer (out of memory).
    fn new(map: &dyn MapCore) -> Result<Self, Error> {
        let received = Rc::new(RefCell::new(Vec::new()));
        let into = Rc::clone(&received);
        let mut builder = RingBufferBuilder::new();
        builder.add(map, move |bytes| {
            into.borrow_mut().extend(Event::read_from_prefix(bytes).ok().map(|(event, _)| event));
            0
        })?;
        Ok(Self { ring: builder.build()?, received })
    }

    /// Returns a descriptor that becomes readable when the kernel side wakes this process.
    ///
    /// # Errors
    /// Where this process may open no more descriptors.
    fn fd(&self) -> io::Result<OwnedFd> {
        // SAFETY: the ring buffer, and with it its epoll descriptor, lives longer than this borrow.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }.try_clone_to_owned()
    }

    /// Moves at most `limit` events into `into`. Returns whether there may be more.
    ///
    /// # Errors
    /// Where libbpf fails to read the ring buffer.
    fn take(&self, into: &mut Vec<Event>, limit: usize) -> Result<bool, Error> {
        let n = self.ring.consume_raw_n(limit);
        let read = usize::try_from(n).map_err(|_| io::Error::from_raw_os_error(-n))?;
        into.append(&mut self.received.borrow_mut());
        Ok(read >= limit)
    }
}
