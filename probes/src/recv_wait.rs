//! How long messages wait for the application (`recv_wait.h`): what `--recv-wait` adds to `sctp-bufmon`.

use std::{
    collections::BTreeSet,
    mem::{self, offset_of},
    time::Duration,
};

use libbpf_rs::Object;
use zerocopy::FromBytes;

use crate::{
    Config, DurationDist, Error, Octaves, Skipped,
    bufmon::{AllWaiting, RawAccounting, Waiting, stable, with_lasting},
    entries::{EntryRef, Hist, Hists},
    object::{OpenPrograms, table_map},
    raw::{self, SET_SLOTS, Settings, Slot, Window},
    table::Table,
};

/// The beginning of the names of the programs of `recv_wait.h`.
const PREFIX: &str = "bufmon_recv_";

/// [`Slot::key`] of a slot that is being written: `SLOT_BUSY` of `chunks.h`.
const SLOT_BUSY: u64 = u64::MAX;

/// What the reader of an association did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// How long messages waited, from when their last byte could be read until it was. In an interval: the
    /// messages that were read in it. Since the start: also those that still wait, with their lengths so far.
    pub wait: DurationDist,
    /// Messages that were read.
    pub read: u64,
    /// Messages that could be read and were not, at the end of the interval or of the run.
    pub waiting: u64,
    /// Messages that were thrown away unread: the socket was closed, or could receive no more.
    pub unread: u64,
}

impl Received {
    fn new(stats: &RawRecvStats, hist: Option<&[u64; HIST]>, waiting: Waiting) -> Self {
        Self {
            wait: DurationDist::new(&stats.wait, hist),
            read: stats.wait.count,
            waiting: waiting.count.into(),
            unread: stats.unread,
        }
    }

    /// Returns whether nothing was read, waits, or was thrown away.
    pub(crate) fn is_idle(&self) -> bool {
        self.read == 0 && self.waiting == 0 && self.unread == 0
    }
}

/// What a reader did: `struct recv_stats` of `recv_wait.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawRecvStats {
    pub(crate) wait: raw::Dist,
    pub(crate) unread: u64,
}

impl RawRecvStats {
    const NONE: Self = Self { wait: raw::Dist { count: 0, sum: 0, min: u64::MAX, max: 0 }, unread: 0 };
}

/// What the reader of an association did, by interval and since the start: `struct recv` of `recv_wait.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawRecv {
    pub(crate) seq_tail: u64,
    /// Generation of the association's entry, plus 1; 0: none. All ones while a program writes.
    pub(crate) generation: u32,
    pub(crate) pad: u32,
    pub(crate) stats: RawRecvStats,
    pub(crate) window: [Window<RawRecvStats>; 2],
    pub(crate) seq_head: u64,
}

/// Number of buckets of a histogram.
const HIST: usize = size_of::<Hist>() / size_of::<u32>();

/// The tables of `recv_wait.h`.
pub(crate) struct Receivers {
    /// By index of an association's entry.
    recvs: Table<RawRecv>,
    /// Messages that wait.
    slots: Table<Slot>,
    /// Histograms of `RawRecvStats::wait`; `None` only in fuzzing.
    hists: Option<Hists>,
    /// By index of an entry: its [`RawRecv::seq_tail`] when [`Receivers::changed`] last looked. Empty without
    /// [`Config::metrics`].
    seen: Vec<u64>,
}

impl Receivers {
    /// Sets up the programs and tables, with room for `max_unread` messages that wait; `None` leaves the programs
    /// out. To be called after [`Entries::configure`](crate::entries::Entries::configure).
    ///
    /// # Errors
    /// Where libbpf refuses a size.
    pub(crate) fn configure(open: &mut OpenPrograms, max_unread: Option<u32>) -> Result<(), Error> {
        let Some(max_unread) = max_unread else {
            open.leave_out(PREFIX);
            return Ok(());
        };
        let entries = open.settings.entry_mask + 1;
        let sets = max_unread.div_ceil(SET_SLOTS).max(8).next_power_of_two();
        open.settings.set_mask = sets - 1;
        open.set_table::<[Slot; SET_SLOTS as usize]>("inflight", sets);
        open.set_table::<RawRecv>("recvs", entries);
        open.resize("recv_hists", entries)
    }

    /// Maps the tables of loaded programs.
    ///
    /// # Errors
    /// Where the kernel refuses the mapping (out of memory or address space).
    pub(crate) fn new(object: &Object, settings: &Settings, config: &Config) -> Result<Self, Error> {
        let entries = settings.entry_mask + 1;
        Ok(Self {
            recvs: Table::new(&table_map(object, "recvs")?, entries)?,
            slots: Table::new(&table_map(object, "inflight")?, SET_SLOTS * (settings.set_mask + 1))?,
            hists: Some(Hists::new(object, "recv_hists", entries, 1, config)?),
            seen: vec![0; if config.metrics { entries as usize } else { 0 }],
        })
    }

    /// Tables without histograms.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn of_tables(recvs: Table<RawRecv>, slots: Table<Slot>) -> Self {
        Self { recvs, slots, hists: None, seen: Vec::new() }
    }

    /// The messages that wait at `now`, by the entry of their association.
    pub(crate) fn waiting(&self, now: Duration) -> AllWaiting {
        let mut all = AllWaiting::new();
        let key = |place| self.slots.word(place, offset_of!(Slot, key)).unwrap_or_default();
        for place in (0..self.slots.len()).filter(|place| ![0, SLOT_BUSY].contains(&key(*place))) {
            let slot = stable(|| self.slots.read(place, |_| true));
            let Some(slot) = slot.filter(|slot| ![0, SLOT_BUSY].contains(&slot.key)) else { continue };
            let of = EntryRef { generation: slot.path_generation, index: slot.path };
            all.entry(of).or_default().add(now.saturating_sub(Duration::from_nanos(slot.sent_ns)));
        }
        all
    }

    /// Returns whether the reader of the association at this index may have done something in interval `number`.
    pub(crate) fn has_window(&self, index: u32, number: u32) -> bool {
        let first = offset_of!(RawRecv, window) + offset_of!(Window<RawRecvStats>, epoch);
        let at = first + (number & 1) as usize * size_of::<Window<RawRecvStats>>();
        self.recvs.word(index as usize, at).is_some_and(|word| word as u32 == number)
    }

    /// The indexes of entries whose association's reader may have done something since the start.
    pub(crate) fn active(&self) -> BTreeSet<u32> {
        let at = offset_of!(RawRecv, generation);
        let is_active =
            |index: &u32| self.recvs.word(*index as usize, at).is_some_and(|word| word as u32 != 0);
        (0..self.recvs.len() as u32).filter(is_active).collect()
    }

    /// What an association's reader did in interval `number`.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    pub(crate) fn interval(
        &mut self,
        of: EntryRef,
        number: u32,
        waiting: Waiting,
    ) -> Result<Received, Error> {
        let Some(recv) = self.read(of) else { return Ok(Received::new(&RawRecvStats::NONE, None, waiting)) };
        let mut hist = self.hist(of)?;
        if let (Some(hists), Some(hist)) = (&mut self.hists, &mut hist) {
            hists.since_last(of, hist);
        }
        let window = &recv.window[(number & 1) as usize];
        let stats = if window.epoch == number { window.stats } else { RawRecvStats::NONE };
        Ok(Received::new(&stats, hist.as_ref(), waiting))
    }

    /// What an association's reader did since the start.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    pub(crate) fn total(&mut self, of: EntryRef, waiting: Waiting) -> Result<Received, Error> {
        let Some(recv) = self.read(of) else { return Ok(lasting(RawRecvStats::NONE, None, waiting)) };
        let hist = self.hist(of)?;
        Ok(lasting(recv.stats, hist.as_ref(), waiting))
    }

    /// The indexes of entries whose association's reader has done something since the last call.
    pub(crate) fn changed(&mut self) -> Vec<u32> {
        let at = offset_of!(RawRecv, seq_tail);
        let mut changed = Vec::new();
        for (index, seen) in self.seen.iter_mut().enumerate() {
            let now = self.recvs.word(index, at).unwrap_or_default();
            if mem::replace(seen, now) != now {
                changed.extend(u32::try_from(index));
            }
        }
        changed
    }

    /// What an association's reader did since the start, with the octaves of the waits that are over; `None` if it did
    /// nothing.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    pub(crate) fn so_far(&self, of: EntryRef) -> Result<Option<(Received, Octaves)>, Error> {
        let (Some(recv), Some(hists)) = (self.read(of), &self.hists) else { return Ok(None) };
        let octaves = hists.octaves(of, &[0])?.pop().unwrap_or_default();
        Ok(Some((Received::new(&recv.stats, None, Waiting::default()), octaves)))
    }

    /// Reads the histograms of these entries, so that no count wraps more than once between two reads.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    pub(crate) fn carry(&mut self, entries: impl Iterator<Item = EntryRef>) -> Result<(), Error> {
        for of in entries {
            if self.read(of).is_some() {
                self.hist(of)?;
            }
        }
        Ok(())
    }

    /// Messages that are missing in the statistics, by reason.
    pub(crate) fn skipped(counted: &RawAccounting) -> [Skipped; 3] {
        let skipped = |reason, sentence, count| Skipped { reason, sentence, count };
        [
            skipped(
                "recv_evicted",
                "more messages waited to be read than there is room for: use --max-unread",
                counted.recv_evicted,
            ),
            skipped("recv_missed", "it was not seen when they were read", counted.recv_missed),
            skipped(
                "recv_late",
                "they were read or thrown away after the end of their association was shown",
                counted.recv_late,
            ),
        ]
    }

    /// A copy of what the reader of an association did; `None` if the reader did nothing, or if the place holds what
    /// another association's did.
    fn read(&self, of: EntryRef) -> Option<RawRecv> {
        let recv = self.recvs.read(of.index as usize, |recv| recv.seq_tail == recv.seq_head)?;
        (recv.generation == of.generation.wrapping_add(1)).then_some(recv)
    }

    fn hist(&mut self, of: EntryRef) -> Result<Option<[u64; HIST]>, Error> {
        let hists = self.hists.as_mut().map(|hists| hists.read(of)).transpose()?;
        Ok(hists.and_then(|mut hists| hists.pop()))
    }
}

fn lasting(stats: RawRecvStats, hist: Option<&[u64; HIST]>, waiting: Waiting) -> Received {
    let received = Received::new(&stats, hist, waiting);
    Received { wait: with_lasting(received.wait, waiting), ..received }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write};

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NS: u64 = 1_000_000_000;

    fn table<T: FromBytes>(words: &[u64], len: u32) -> Table<T> {
        let mut file = File::from(memfd_create(c"table", MFdFlags::empty()).unwrap());
        words.iter().for_each(|word| file.write_all(&word.to_ne_bytes()).unwrap());
        Table::new(&file, len).unwrap()
    }

    /// The reader of the association whose entry has generation 4: it has read two messages after 2 and 3 seconds, one
    /// of these in interval 7, in which one was thrown away. Two more wait since seconds 5 and 9, and one of another
    /// association; one slot is free, and one is being written.
    fn receivers() -> Receivers {
        let (all, last) = ([2, 5 * NS, 2 * NS, 3 * NS, 1], [1, 3 * NS, 3 * NS, 3 * NS, 1]);
        let none = [0, 0, u64::MAX, 0, 0];
        let recv = [&[6_u64, 5][..], &all, &[6], &none, &[7], &last, &[6]].concat();
        let slot = |key: u64, at: u64, generation: u64| [key, at * NS, generation << 32, 0];
        let slots = [slot(9, 5, 4), slot(0, 1, 4), slot(SLOT_BUSY, 1, 4), slot(3, 9, 4), slot(5, 1, 3)];
        Receivers::of_tables(table(&recv, 1), table(slots.as_flattened(), 5))
    }

    const OF: EntryRef = EntryRef { generation: 4, index: 0 };

    fn dist(waits: &[Duration]) -> DurationDist {
        DurationDist {
            count: waits.len() as u64,
            sum: waits.iter().sum(),
            min: waits.iter().min().copied(),
            max: waits.iter().max().copied(),
            percentiles: None,
        }
    }

    #[test]
    fn what_waits_is_known_by_its_association() {
        let waiting = receivers().waiting(10 * SECOND);
        let found: Vec<_> = waiting.iter().map(|(of, waiting)| (of.generation, waiting.count)).collect();
        assert_eq!(found, [(3, 1), (4, 2)]);
    }

    #[test]
    fn a_total_has_what_waits_and_an_interval_has_what_was_read_in_it() {
        let mut receivers = receivers();
        let waiting = receivers.waiting(10 * SECOND)[&OF];
        let total = receivers.total(OF, waiting).unwrap();
        let waits = [2, 3, 5, 1].map(|n| n * SECOND);
        assert_eq!(total, Received { wait: dist(&waits), read: 2, waiting: 2, unread: 1 });
        let interval = receivers.interval(OF, 7, waiting).unwrap();
        assert_eq!(interval, Received { wait: dist(&[3 * SECOND]), read: 1, waiting: 2, unread: 1 });
        let later = receivers.interval(OF, 8, Waiting::default()).unwrap();
        assert!(later.is_idle() && later.wait == dist(&[]));
        assert_eq!((receivers.has_window(0, 7), receivers.has_window(0, 8)), (true, false));
    }

    /// Another association has the entry. What the reader did there is not reported for it.
    #[test]
    fn no_association_has_what_anothers_reader_did() {
        let mut receivers = receivers();
        for generation in [3, 5] {
            let of = EntryRef { generation, index: 0 };
            assert!(receivers.total(of, Waiting::default()).unwrap().is_idle());
            assert!(receivers.interval(of, 7, Waiting::default()).unwrap().is_idle());
        }
    }
}
