//! The traits of a trace: [`Program`], which each command's BPF programs have, and [`Probe`], what callers use.

use std::{io, os::fd::OwnedFd, time::Duration};

use libbpf_rs::Object;
use zerocopy::FromBytes;

use crate::{Accounting, Error, Filter, HookKind, object::OpenPrograms, raw::Settings};

/// Which associations to trace, and which records and statistics to keep. All memory is taken at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which associations, sockets and addresses to trace.
    pub filter: Filter,
    /// Hand out a record of every event, not only statistics.
    pub records: bool,
    /// Keep statistics of each interval as well.
    pub intervals: bool,
    /// Gather the figures of `-x`, which the Python scripts do not have.
    pub extended: bool,
    /// Keep histograms.
    pub histograms: bool,
    /// Keep the entries of ended associations as long as there is room. Otherwise such an entry is freed one interval
    /// after the one in which the association ended.
    pub keep_ended: bool,
    /// Use only this kind of hooks. `None`: use the best kind that works.
    pub hooks: Option<HookKind>,
}

impl Config {
    /// Whether the kernel side gathers figures or histograms, which the scripts do not have.
    pub(crate) fn gathers_more(&self) -> bool {
        self.extended || self.histograms
    }
}

/// Whose totals are due at the end of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Those of associations that ended in this interval.
    Ended,
    /// Those of associations that ended in this interval, and of living ones.
    EndedAndLiving,
    /// Those of every association that still has an entry.
    All,
}

impl Due {
    /// Is an association due at the end of interval `number`? It ended in the interval `ended`, or lives (`None`).
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
    /// The time, on `CLOCK_MONOTONIC`: now, or when the programs were detached.
    pub(crate) now: Duration,
    /// Entries of the pool of streams that were ever used.
    pub(crate) pool_used: u32,
    /// Sends that may have to wait.
    pub(crate) sends_open: u32,
}

/// The kernel-side programs of one command: the part of a [`crate::trace::Trace`] that differs from command to command.
pub trait Program: Sized + 'static {
    /// Name of the object.
    const NAME: &'static str;
    /// The object that the build script compiled.
    const OBJECT: &'static [u8];
    /// Whether each fentry program that counts is attached twice, so that the kernel never leaves out both copies.
    const SECOND_COPIES: bool = false;

    /// Sizes of the tables.
    type Sizes;
    /// `struct event`: a record of the ring buffer.
    type Event: FromBytes + 'static;
    /// `struct accounting`.
    type Accounting: FromBytes;
    /// A record: a single event, as it is handed out.
    type Record;
    /// Statistics, as they are handed out.
    type Row;

    /// Chooses programs, sizes and settings.
    ///
    /// # Errors
    /// Where the kernel refuses a table (out of memory).
    fn configure(open: &mut OpenPrograms, config: &Config, sizes: &Self::Sizes) -> Result<(), Error>;

    /// Maps the tables of loaded programs.
    ///
    /// # Errors
    /// Where the kernel refuses (out of memory or address space).
    fn new(object: &Object, settings: &Settings, config: &Config) -> Result<Self, Error>;

    /// Makes a record of an event: in Rust's types, with the identity of its path or association.
    fn decode(&mut self, event: &Self::Event) -> Self::Record;

    /// Adds records of states that have lasted for some time and were not handed out before: the stalls of
    /// `sctp-bufmon`.
    fn lasting(&mut self, _moment: Moment, _records: &mut Vec<Self::Record>) {}

    /// Reads the kernel side's counters that wrap, and carries them on. Once a minute is often enough.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn carry(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Statistics of the interval that has just ended, of all that had any.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn interval(&mut self, moment: Moment) -> Result<impl Iterator<Item = Result<Self::Row, Error>>, Error>;

    /// Statistics since the start, of all that is due and had any.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn totals(
        &mut self,
        due: Due,
        moment: Moment,
    ) -> Result<impl Iterator<Item = Result<Self::Row, Error>>, Error>;

    /// How many events were seen and how many were not, from what the programs `counted`; `missed`: how often the
    /// kernel left a program out.
    fn accounting(&self, counted: &Self::Accounting, missed: u64) -> Accounting;
}

/// A running trace, whatever its program.
pub trait Probe {
    /// A single event, with its identity.
    type Record;
    /// Statistics of a path, an association or a stream.
    type Row;

    /// A descriptor that becomes readable when the kernel wakes this process; `None` where no records were asked for.
    ///
    /// # Errors
    /// Where there is no descriptor left.
    fn fd(&self) -> io::Result<Option<OwnedFd>>;

    /// Asks to be woken at the next record. Records that came before do not wake: take them after this call, before
    /// waiting.
    fn wake_me(&mut self);

    /// Moves at most `limit` records of events, and all of [`Program::lasting`], into `into`. Returns whether there may
    /// be more.
    ///
    /// # Errors
    /// Where libbpf fails to read the ring buffer.
    fn take(&mut self, into: &mut Vec<Self::Record>, limit: usize) -> Result<bool, Error>;

    /// Reads the kernel side's counters that wrap, and carries them on: to be called at least once a minute.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn carry(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Ends the current interval and begins the next.
    fn end_interval(&mut self);

    /// Statistics of the interval that ended last, of all that had any. Needs [`Config::intervals`]; once per interval.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn interval(&mut self) -> Result<impl Iterator<Item = Result<Self::Row, Error>>, Error>;

    /// Statistics since the start, of all that is due and had any.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn totals(&mut self, due: Due) -> Result<impl Iterator<Item = Result<Self::Row, Error>>, Error>;

    /// How many events were seen so far, and how many were not, and why.
    fn accounting(&self) -> Accounting;

    /// Detaches the programs: nothing changes any more, and statistics are exact.
    fn detach(&mut self);
}
