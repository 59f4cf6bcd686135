//! The traits of a trace: [`Program`], which each command's BPF programs implement, and [`Probe`], which
//! callers use.

use std::{io, os::fd::OwnedFd, time::Duration};

use libbpf_rs::Object;
use zerocopy::FromBytes;

use crate::{
    Accounting, Error, Filter, HookKind, Octaves, lifecycle::AssocEvent, object::OpenPrograms, raw::Settings,
};

/// Which associations to trace, and which records and statistics to keep. All memory for them is allocated at
/// start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which associations, sockets and addresses to trace.
    pub filter: Filter,
    /// Hand out a record of every event, not only statistics (`sctp-rtt`, `sctp-rto`, `sctp-bufmon`).
    pub records: bool,
    /// Keep statistics of each interval as well.
    pub intervals: bool,
    /// Gather the figures of `-x`, which the Python scripts that these commands replace do not have.
    pub extended: bool,
    /// Keep histograms of the values (`--histogram`).
    pub histograms: bool,
    /// Find out which processes have the sockets of associations ([`crate::Owner`]).
    pub owners: bool,
    /// Hand out begins, restarts and ends of associations ([`crate::lifecycle`]).
    pub lifecycle: bool,
    /// Let [`Probe::changed`] say what has changed, and gather histograms.
    pub metrics: bool,
    /// Rows are handed out ([`Probe::interval`], [`Probe::totals`]). Otherwise an entry of an ended association is free
    /// once [`Probe::changed`] has handed it out.
    pub rows: bool,
    /// In `sctp-jitter` and `sctp-streamutil`: keep the entries of ended associations until their room is
    /// needed. Otherwise such an entry counts as free once a whole interval has passed after the one in which
    /// the association ended.
    pub keep_ended: bool,
    /// Use only this kind of hooks. `None`: use the best kind that works.
    pub hooks: Option<HookKind>,
}

impl Config {
    /// Returns whether the kernel side gathers histograms or the other figures of `-x`.
    pub(crate) fn gathers_more(&self) -> bool {
        self.extended || self.histograms || self.metrics
    }
}

/// What has changed since the last look: the statistics of a path, an association or a stream.
#[derive(Clone, Debug)]
pub struct Change<Row> {
    /// Place of the entry in the table. Another path, association or stream may take this place later.
    pub place: u32,
    /// A number that tells apart the paths, associations or streams that had this place one after the other.
    pub serial: u64,
    /// Whether the path, association or stream has ended: then its statistics will not change any more.
    pub has_ended: bool,
    /// Statistics since the start. For a stream: the row of its association, with this stream alone.
    pub row: Row,
    /// Histograms of times since the start, as many as the program hands out.
    pub octaves: Vec<Octaves>,
}

/// Which associations' totals are due, that is, to be handed out, at the end of an interval or of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Totals of associations that ended in this interval (in `entries.rs`: in any interval, if not handed
    /// out yet).
    Ended,
    /// Totals as with [`Due::Ended`], and those of living associations.
    EndedAndLiving,
    /// Totals of every association that still has an entry.
    All,
}

impl Due {
    /// Returns whether the totals of an association are due at the end of interval `number`. `ended`: the
    /// interval in which the association ended; `None` while it lives.
    pub(crate) fn includes(self, ended: Option<u32>, number: u32) -> bool {
        match self {
            Self::All => true,
            Self::Ended => ended == Some(number),
            Self::EndedAndLiving => ended.is_none_or(|ended| ended == number),
        }
    }
}

/// The moment at which statistics are read.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Number of the interval that has just ended.
    pub(crate) interval: u32,
    /// The time of reading, on `CLOCK_MONOTONIC`; after the programs were detached, the time at which they
    /// were.
    pub(crate) now: Duration,
    /// Number of entries of the pool of streams that were ever used (may exceed the size of the pool).
    pub(crate) pool_used: u32,
    /// Number of sends in progress that may have to wait for room (`sctp-bufmon`).
    pub(crate) sends_open: u32,
}

/// The kernel-side programs of one command: the part of a [`crate::trace::Trace`] that differs from command to command.
pub trait Program: Sized + 'static {
    /// Name of the BPF object, which is given to libbpf.
    const NAME: &'static str;
    /// The BPF object file that the build script compiled.
    const OBJECT: &'static [u8];
    /// The program with marks (`ON_ENTRY_MARKED` in `hooks.h`), whose two copies say themselves which of them the kernel
    /// skipped; `None`: there is none.
    const MARKED: Option<&'static str> = None;

    /// Sizes of the command's tables.
    type Sizes;
    /// A single event, as it comes through the ring buffer: the kernel side's `struct event`.
    type Event: FromBytes + 'static;
    /// Numbers of events and entries that the programs lost or left out: the kernel side's `struct
    /// accounting`.
    type Accounting: FromBytes;
    /// A record: a single event, as it is handed out.
    type Record;
    /// Statistics of a path, an association or a stream, as they are handed out.
    type Row: 'static;

    /// Chooses, before loading, which programs to load, the sizes of their tables, and their settings.
    ///
    /// # Errors
    /// Where the kernel has too little memory for a table.
    fn configure(open: &mut OpenPrograms, config: &Config, sizes: &Self::Sizes) -> Result<(), Error>;

    /// Maps the tables of loaded programs.
    ///
    /// # Errors
    /// Where the kernel refuses the mapping (out of memory or address space).
    fn new(object: &Object, settings: &Settings, config: &Config) -> Result<Self, Error>;

    /// Makes a record of an event: in Rust's types, with the identity of its path or association.
    fn decode(&mut self, event: &Self::Event) -> Self::Record;

    /// Adds to `records` the stalls, present or ended, that were not handed out before (`sctp-bufmon`). Other
    /// commands add nothing.
    fn lasting(&mut self, _moment: Moment, _records: &mut Vec<Self::Record>) {}

    /// Reads the histograms of entries (`entries.h`), and carries their counts of 32 bits, which wrap, on in
    /// 64 bits. Has to be called more often than a count wraps: once a minute is enough.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn carry(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Returns the statistics of the interval that has just ended, of each path, association or stream that
    /// was not idle in it.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn interval(&mut self, moment: Moment) -> Result<impl Iterator<Item = Result<Self::Row, Error>>, Error>;

    /// Returns the statistics since the start of each path, association or stream that was not idle since then
    /// and is due: `due` says which of them are to be handed out.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn totals(
        &mut self,
        due: Due,
        moment: Moment,
    ) -> Result<impl Iterator<Item = Result<Self::Row, Error>>, Error>;

    /// Returns the statistics since the start of each path, association or stream in which anything has changed since the
    /// last call. Needs [`Config::metrics`].
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn changed(
        &mut self,
        moment: Moment,
    ) -> Result<impl Iterator<Item = Result<Change<Self::Row>, Error>>, Error>;

    /// Returns how many events were seen, and how many were not, by reason. `counted`: the programs' own
    /// counts. `missed`: how often the kernel left a program out.
    fn accounting(&self, counted: &Self::Accounting, missed: u64) -> Accounting;
}

/// A running trace of any command, as its callers use it.
pub trait Probe {
    /// A single event, with the identity of its path or association.
    type Record;
    /// Statistics of a path, an association or a stream.
    type Row: 'static;

    /// Returns a descriptor that becomes readable when the kernel side wakes this process; `None` if
    /// [`Config::records`] is not set.
    ///
    /// # Errors
    /// Where this process may open no more descriptors.
    fn fd(&self) -> io::Result<Option<OwnedFd>>;

    /// Asks the kernel side to make [`Probe::fd`] readable at the next record. Records that came before this
    /// call do not make it readable: take them after this call, and before waiting.
    fn wake_me(&mut self);

    /// Moves at most `limit` records of events, and all records of `Program::lasting`, into `into`. Returns
    /// whether there may be more.
    ///
    /// # Errors
    /// Where libbpf fails to read the ring buffer.
    fn take(&mut self, into: &mut Vec<Self::Record>, limit: usize) -> Result<bool, Error>;

    /// Returns a descriptor that is readable while there are begins, restarts and ends of associations; `None` if
    /// [`Config::lifecycle`] is not set.
    ///
    /// # Errors
    /// Where this process may open no more descriptors.
    fn lifecycle_fd(&self) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    /// Moves at most `limit` begins, restarts and ends of associations into `into`. Returns whether there may be
    /// more.
    ///
    /// # Errors
    /// Where libbpf fails to read the ring buffer.
    fn take_lifecycle(&mut self, _into: &mut Vec<AssocEvent>, _limit: usize) -> Result<bool, Error> {
        Ok(false)
    }

    /// Reads the histograms of entries (`entries.h`), and carries their counts of 32 bits, which wrap, on in
    /// 64 bits. To be called at least once a minute.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn carry(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Finds out which processes have which sockets now. Unless `certain` is true, does so only if that may
    /// have changed. To be called every [`crate::ROUND_PERIOD`] if [`Probe::wants_owners`]. Where the kernel
    /// refuses (too many open files, out of memory), what was known before stays.
    fn find_owners(&mut self, _certain: bool) {}

    /// Returns whether the filter or [`Config::owners`] asks for the owners of sockets.
    fn wants_owners(&self) -> bool {
        false
    }

    /// Ends the current interval and begins the next.
    fn end_interval(&mut self);

    /// Returns the statistics of the interval that ended last, of each path, association or stream that was
    /// not idle in it. Needs [`Config::intervals`]. To be called once per interval: it also sets the counts
    /// that the next interval subtracts.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn interval(&mut self) -> Result<impl Iterator<Item = Result<Self::Row, Error>>, Error>;

    /// Returns the statistics since the start of each path, association or stream that was not idle since then
    /// and is due: `due` says which of them are to be handed out.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn totals(&mut self, due: Due) -> Result<impl Iterator<Item = Result<Self::Row, Error>>, Error>;

    /// Returns the statistics since the start of each path, association or stream in which anything has changed since
    /// the last call: by an event, or because something lasts and its time goes by. Needs [`Config::metrics`]. To be
    /// called at least once per interval, before [`Probe::totals`]: what ends is handed out here before its place is
    /// free.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn changed(&mut self) -> Result<impl Iterator<Item = Result<Change<Self::Row>, Error>>, Error>;

    /// Returns how many events were seen so far, and how many were not, by reason.
    fn accounting(&self) -> Accounting;

    /// Detaches the programs. After that, no statistics change any more, and all are of the same moment.
    fn detach(&mut self);
}
