//! The part of a running trace that is the same for all commands: opening, the ring buffer (`ring.h`),
//! intervals and the end.

use std::{io, os::fd::OwnedFd, time::Duration};

use libbpf_rs::Object;

use crate::{
    Accounting, Change, Config, Due, Error, HookKind, Probe,
    hooks::attach_with_fallback,
    kernel,
    lifecycle::{self, AssocEvent, Lifecycle},
    links::{FileIterator, Links, UNSEEN_LIVING, find_earlier},
    object::{OpenPrograms, map, memory_bytes},
    owner::{self, Rounds},
    program::{Moment, Program},
    raw::{WANT_EVENTS, WANT_WINDOWS},
    ring::Ring,
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
    /// `None` where nobody asks for begins, restarts and ends of associations.
    lifecycle: Option<Lifecycle>,
    program: P,
    shared: Shared<P::Accounting>,
    object: Object,
    /// Kernel memory of the maps, read before the process confines itself; `None` where the kernel does not
    /// report it.
    memory_bytes: Option<u64>,
    hooks: HookKind,
    /// False if the filter may leave out some chunks of an association and take others.
    sees_whole_associations: bool,
    events: Vec<P::Event>,
    lasting: Lasting<P::Record>,
    /// Number of the interval that ended last.
    ended: u32,
    /// [`raw::Shared::taken_over`](crate::raw::Shared::taken_over) once all programs were attached: before that, one
    /// copy of a program was there without the other.
    taken_before: u64,
    /// An upper bound of the number of events at which the kernel ran no program, up to the end of the run; `None`
    /// before the end.
    missed: Option<u64>,
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
        lifecycle::configure(&mut open, config)?;
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
        let taken_before = shared.get().taken_over;
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
            lifecycle: Lifecycle::new(&object, &settings, config)?,
            program: P::new(&object, &settings, config)?,
            shared,
            memory_bytes: memory_bytes(&object),
            object,
            hooks,
            sees_whole_associations: !config.filter.divides_associations(),
            events: Vec::new(),
            lasting: Lasting { records: Vec::new(), lost: 0 },
            ended: 0,
            taken_before,
            missed: None,
            detached: None,
        })
    }

    /// An upper bound of the number of events at which the kernel has run no program.
    fn missed(&self) -> u64 {
        match self.hooks {
            HookKind::Fentry => {
                let taken_over = self.shared.get().taken_over - self.taken_before;
                self.links.missed_by_both(&self.object, P::MARKED, taken_over)
            }
            HookKind::Kprobe => self.links.missed(&self.object),
        }
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
        into.append(&mut self.lasting.records);
        let Some(ring) = &self.ring else { return Ok(false) };
        let more = ring.take(&mut self.events, limit)?;
        for event in self.events.drain(..) {
            into.push(self.program.decode(&event));
        }
        Ok(more)
    }

    fn lifecycle_fd(&self) -> io::Result<Option<OwnedFd>> {
        self.lifecycle.as_ref().map(Lifecycle::fd).transpose()
    }

    fn take_lifecycle(&mut self, into: &mut Vec<AssocEvent>, limit: usize) -> Result<bool, Error> {
        let Some(lifecycle) = &mut self.lifecycle else { return Ok(false) };
        lifecycle.take(into, limit)
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
        self.lasting.make_room();
        self.program.lasting(moment, &mut self.lasting.records);
        self.ended = self.shared.next_epoch();
    }

    fn interval(&mut self) -> Result<impl Iterator<Item = Result<P::Row, Error>>, Error> {
        self.program.interval(self.moment())
    }

    fn totals(&mut self, due: Due) -> Result<impl Iterator<Item = Result<P::Row, Error>>, Error> {
        self.program.totals(due, self.moment())
    }

    fn changed(&mut self) -> Result<impl Iterator<Item = Result<Change<P::Row>, Error>>, Error> {
        self.program.changed(self.moment())
    }

    fn accounting(&self) -> Accounting {
        let shared = self.shared.get();
        let missed = self.missed.unwrap_or_else(|| self.missed());
        let accounting = self.program.accounting(&shared.accounting, missed + u64::from(shared.frames_lost));
        Accounting {
            unseen: accounting
                .unseen
                .filter(|_| self.sees_whole_associations)
                .map(|unseen| unseen.max(self.unseen)),
            lost: accounting.lost + shared.lives_lost + self.lasting.lost,
            passed_over: shared.passed_over != 0,
            memory_bytes: self.memory_bytes,
            ..accounting
        }
    }

    fn detach(&mut self) {
        let before = self.accounting().unseen;
        // Without the iterator, unseen chunks of living associations are not counted.
        if self.living.as_ref().is_some_and(|living| living.run().is_ok()) {
            self.unseen = before.map_or(0, |before| before + self.shared.get().unseen_living);
        }
        self.shared.switch_off();
        self.missed = Some(self.missed());
        self.links.detach();
        self.detached = Some(kernel::now());
    }
}

/// Records of [`Program::lasting`] that were not taken yet.
struct Lasting<Record> {
    records: Vec<Record>,
    /// Number of records that were dropped, as nobody took them.
    lost: u64,
}

impl<Record> Lasting<Record> {
    /// If this many records wait, all of them are dropped before the next interval's records are added.
    const MAX: usize = 16_384;

    /// To be called before an interval's records are added. While nobody reads the output, nobody takes them.
    fn make_room(&mut self) {
        if self.records.len() >= Self::MAX {
            self.lost += self.records.len() as u64;
            self.records.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_takes_bounded_memory_and_each_record_is_counted() {
        let mut lasting = Lasting { records: Vec::new(), lost: 0 };
        for _ in 0..1000 {
            lasting.make_room();
            lasting.records.extend([(); 100]);
            assert!(lasting.records.len() < Lasting::<()>::MAX + 100);
        }
        assert_eq!(lasting.lost + lasting.records.len() as u64, 100_000);
    }
}
