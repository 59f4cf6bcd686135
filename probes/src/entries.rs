//! Entries of paths or associations (`entries.h`): their identities and statistics.

use std::{
    collections::BTreeMap,
    mem::{self, offset_of},
    os::fd::AsFd,
    rc::Rc,
};

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object};
use zerocopy::FromBytes;

use crate::{
    Change, Config, Due, Error, Identity, Octaves,
    error::malformed,
    hist::BUCKETS,
    object::{OpenPrograms, map, table_map},
    owner::Owners,
    raw::{self, Entry, Settings, WANT_EXTENDED, Window},
    table::{self, Table},
};

/// Names an entry: its index in the table, and its generation, which tells apart the paths or associations
/// that had this place one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryRef {
    /// Running number of the entry among all ever made, in the order in which they were made.
    pub(crate) generation: u32,
    /// Index of the entry in the table.
    pub(crate) index: u32,
}

/// A histogram as the kernel side has it, with counts of 32 bits that wrap.
pub(crate) type Hist = [u32; BUCKETS];

/// A histogram's counts in 64 bits, which do not wrap.
pub(crate) type Counts = [u64; BUCKETS];

/// A copy of an entry, with its statistics of an interval or since the start.
pub(crate) struct Snapshot<State, Stats> {
    pub(crate) of: EntryRef,
    pub(crate) id: Identity,
    pub(crate) state: State,
    /// Statistics of an interval, or since the start.
    pub(crate) stats: Stats,
    /// Histograms of the time that `stats` covers, as many as the program has per entry; empty unless it
    /// gathers any.
    pub(crate) hists: Vec<Counts>,
}

/// A copy of an entry that has changed.
pub(crate) struct Changed<State, Stats> {
    pub(crate) snapshot: Snapshot<State, Stats>,
    pub(crate) octaves: Vec<Octaves>,
    pub(crate) has_ended: bool,
}

impl<State, Stats> Changed<State, Stats> {
    /// The change with a row that is made of the copy.
    pub(crate) fn with<Row>(self, row: impl FnOnce(&Snapshot<State, Stats>) -> Row) -> Change<Row> {
        let EntryRef { generation, index } = self.snapshot.of;
        Change {
            place: index,
            serial: generation.into(),
            has_ended: self.has_ended,
            row: row(&self.snapshot),
            octaves: self.octaves,
        }
    }
}

impl<State, Stats> Snapshot<State, Stats> {
    /// The entry's histogram number `which`; `None` unless the program gathers histograms.
    pub(crate) fn hist(&self, which: usize) -> Option<&Counts> {
        self.hists.get(which)
    }
}

/// An identity that was read from an entry.
#[derive(Clone)]
struct Known {
    id: Rc<Identity>,
    /// The entry's generation.
    generation: u32,
    /// Number of the round ([`Owners::rounds_done`]) after which the identity was read.
    round: u32,
}

/// The table of entries, mapped into this process.
pub(crate) struct Entries<State, Stats> {
    table: Table<Entry<State, Stats>>,
    /// By index of an entry: the identity that was last read from it.
    known: Vec<Option<Known>>,
    owners: Option<Owners>,
    /// Sum, word by word, of the statistics of all entries that were handed out after their end. Their places
    /// may be taken by other paths or associations.
    gone: Vec<u64>,
    hists: Option<Hists>,
    /// By index of an entry: its [`Entry::seq_tail`] when [`Entries::changed`] last handed it out. Empty unless
    /// [`Config::metrics`].
    seen: Vec<u64>,
    /// True if an ended entry is free as soon as [`Entries::changed`] has handed it out, as no rows are handed out.
    frees: bool,
}

impl<State: FromBytes + Copy, Stats: FromBytes + Copy> Entries<State, Stats> {
    /// The most entries that the table may have.
    pub(crate) const MAX: u32 = table::max_len::<Entry<State, Stats>>();

    /// Sets the size of the table (rounded up to a power of two), and of the histograms if they are gathered.
    ///
    /// # Errors
    /// Where the kernel has too little memory for the table.
    pub(crate) fn configure(open: &mut OpenPrograms, config: &Config, len: u32) -> Result<(), Error> {
        let len = len.max(8).next_power_of_two();
        open.settings.entry_mask = len - 1;
        // With `--json`, an entry that has ended is handed out at the end of the interval, and is free after that: so
        // the kernel side looks for such entries. (`-T` hands out none before the end of the run.) The same is true
        // where `changed()` alone hands out entries.
        open.settings.want_reuse = u32::from(config.intervals || !config.rows);
        if config.gathers_more() {
            open.settings.wants |= WANT_EXTENDED;
            open.resize("hists", len)?;
        }
        open.resize_lru("lives", 1024)?;
        open.set_table::<Entry<State, Stats>>("entries", len);
        Ok(())
    }

    /// Maps the table `entries` of loaded programs. Each entry has `hists` histograms.
    ///
    /// # Errors
    /// Where the kernel refuses the mapping (out of memory or address space).
    pub(crate) fn new(
        object: &Object,
        settings: &Settings,
        config: &Config,
        hists: usize,
    ) -> Result<Self, Error> {
        let len = settings.entry_mask + 1;
        let mut entries = Self::map(&table_map(object, "entries")?, len)?;
        entries.owners = Owners::new(object, config)?;
        if config.metrics {
            entries.keep_seen();
        }
        entries.frees = !config.rows;
        if config.gathers_more() {
            entries.hists = Some(Hists::new(object, "hists", len, hists, config)?);
        }
        Ok(entries)
    }

    /// Maps a table of `len` entries, without their histograms.
    ///
    /// # Errors
    /// Where the kernel refuses the mapping (out of memory or address space).
    pub(crate) fn map(table: &impl AsFd, len: u32) -> Result<Self, Error> {
        let (known, gone) = (vec![None; len as usize], vec![0; size_of::<Stats>() / 8]);
        let table = Table::writable(table, len)?;
        Ok(Self { table, known, owners: None, gone, hists: None, seen: Vec::new(), frees: false })
    }

    /// Remembers from now on which state of each entry [`Entries::changed`] has handed out.
    pub(crate) fn keep_seen(&mut self) {
        self.seen = vec![0; self.table.len()];
    }

    /// Returns the statistics since the start of every entry that was not idle since then and is due. With [`Due::All`]
    /// every entry is due; else an ended entry is due only until it was handed out.
    pub(crate) fn totals(
        &mut self,
        due: Due,
        is_idle: impl Fn(&Entry<State, Stats>) -> bool,
    ) -> impl Iterator<Item = Result<Snapshot<State, Stats>, Error>> {
        let indexes: Vec<_> =
            self.in_use().filter(|index| due != Due::Ended || self.has_ended(*index)).collect();
        indexes.into_iter().filter_map(move |index| {
            if due != Due::All && self.is_reported(index) {
                return None;
            }
            let entry = self.read(index)?;
            if due == Due::Ended && entry.ended == 0 {
                return None;
            }
            if due != Due::All && entry.ended != 0 && !self.was_seen(index, &entry) {
                return None;
            }
            let snapshot = (!is_idle(&entry)).then(|| self.snapshot(&entry));
            // Another path or association may take the place of a marked entry: so the snapshot is made
            // before the mark.
            if due != Due::All && entry.ended != 0 && !self.report_end(index, &entry) {
                return None;
            }
            snapshot
        })
    }

    /// Returns whether the entry's path or association, or its life, has ended.
    fn has_ended(&self, index: u32) -> bool {
        self.word(index, offset_of!(Entry<State, Stats>, object)) & 1 != 0
    }

    /// Marks an ended entry, which no hook changes any more, as handed out. Returns false if the entry was
    /// marked before, or if it has made room for another; then the kernel side has counted it as evicted.
    fn report_end(&mut self, index: u32, entry: &Entry<State, Stats>) -> bool {
        let stats = offset_of!(Entry<State, Stats>, stats);
        let words: Vec<_> = (0..self.gone.len()).map(|n| self.word(index, stats + n * 8)).collect();
        let mark = entry.generation.wrapping_shl(1);
        let at = offset_of!(Entry<State, Stats>, mark);
        if !self.table.compare_exchange(index as usize, at, mark, mark | 1) {
            return false;
        }
        self.gone.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(word));
        true
    }

    /// Returns whether an entry was handed out since it ended.
    pub(crate) fn is_reported(&self, index: u32) -> bool {
        self.half_word(index, offset_of!(Entry<State, Stats>, mark)) & 1 != 0
    }

    /// Returns the statistics of interval `number`, of every entry that was not idle in it. To be called once
    /// per interval: it also sets the counts of histograms that the next interval subtracts.
    pub(crate) fn interval(
        &mut self,
        number: u32,
        is_idle: impl Fn(&Stats) -> bool,
    ) -> impl Iterator<Item = Result<Snapshot<State, Stats>, Error>> {
        let indexes: Vec<_> = self.in_use().filter(|index| self.has_window(*index, number)).collect();
        indexes.into_iter().filter_map(move |index| {
            let entry = self.read(index)?;
            let stats = window(&entry, number).filter(|stats| !is_idle(stats))?;
            Some(self.interval_snapshot(&entry, stats))
        })
    }

    /// Returns the statistics since the start of every entry that has changed since the last call, or in which
    /// something `lasts`; with the histograms whose numbers are in `hists`. (Percentiles are not computed.)
    pub(crate) fn changed(
        &mut self,
        hists: &'static [usize],
        lasts: impl Fn(&Self, u32) -> bool,
    ) -> impl Iterator<Item = Result<Changed<State, Stats>, Error>> {
        let seq_tail = offset_of!(Entry<State, Stats>, seq_tail);
        let has_changed = |index| self.seen.get(index as usize) != Some(&self.word(index, seq_tail));
        let indexes: Vec<_> =
            self.in_use().filter(|index| has_changed(*index) || lasts(self, *index)).collect();
        indexes.into_iter().filter_map(move |index| {
            let entry = self.read(index)?;
            self.change(&entry, hists).transpose()
        })
    }

    /// Copies an entry for [`Entries::changed`]; `None` if another entry has taken its place meanwhile.
    fn change(
        &mut self,
        entry: &Entry<State, Stats>,
        hists: &[usize],
    ) -> Result<Option<Changed<State, Stats>>, Error> {
        let of = entry_ref(entry);
        let octaves = match &self.hists {
            Some(table) if !hists.is_empty() => table.octaves(of, hists)?,
            _ => Vec::new(),
        };
        // The histograms may be the other entry's.
        if self.generation(of.index) != of.generation {
            return Ok(None);
        }
        if let Some(seen) = self.seen.get_mut(of.index as usize) {
            *seen = entry.seq_tail;
        }
        let has_ended = entry.ended != 0;
        if has_ended && self.frees {
            self.report_end(of.index, entry);
        }
        let id = self.identity_with_protocol(entry);
        let snapshot = Snapshot { of, id, state: entry.state, stats: entry.stats, hists: Vec::new() };
        Ok(Some(Changed { snapshot, octaves, has_ended }))
    }

    /// The identity of an entry. As long as the payload protocol is unknown, the identity is looked up anew in each
    /// call.
    fn identity_with_protocol(&mut self, entry: &Entry<State, Stats>) -> Identity {
        let of = entry_ref(entry);
        if let Some(known) = self.identity(of)
            && (known.payload_protocol.is_some() || self.owners.is_none())
        {
            return Identity::clone(&known);
        }
        let id = self.identify(entry.id);
        if let Some(Some(known)) = self.known.get_mut(of.index as usize)
            && known.generation == of.generation
            && *known.id != id
        {
            known.id = Rc::new(id.clone());
        }
        id
    }

    /// Returns whether [`Entries::changed`] need not hand out this state of an entry: it has done so, or is not in use.
    fn was_seen(&self, index: u32, entry: &Entry<State, Stats>) -> bool {
        self.seen.get(index as usize).is_none_or(|seen| *seen == entry.seq_tail)
    }

    /// Copies an entry, with its statistics and histograms since the start.
    pub(crate) fn snapshot(&mut self, entry: &Entry<State, Stats>) -> Result<Snapshot<State, Stats>, Error> {
        let of = entry_ref(entry);
        let hists = self.hists.as_mut().map(|hists| hists.read(of)).transpose()?;
        Ok(Snapshot {
            of,
            id: self.identify(entry.id),
            state: entry.state,
            stats: entry.stats,
            hists: hists.unwrap_or_default(),
        })
    }

    /// Copies an entry, with `stats`, its statistics of an interval, and the histograms of the same interval.
    pub(crate) fn interval_snapshot(
        &mut self,
        entry: &Entry<State, Stats>,
        stats: Stats,
    ) -> Result<Snapshot<State, Stats>, Error> {
        let mut snapshot = Snapshot { stats, ..self.snapshot(entry)? };
        if let Some(hists) = &mut self.hists {
            hists.since_last(snapshot.of, snapshot.hists.as_flattened_mut());
        }
        Ok(snapshot)
    }

    /// Reads the histograms of all entries, so that no count wraps more than once between two reads.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    pub(crate) fn carry(&mut self) -> Result<(), Error> {
        let in_use: Vec<_> = self.in_use().collect();
        for index in in_use {
            let of = EntryRef { generation: self.generation(index), index };
            self.hists.as_mut().map(|hists| hists.read(of)).transpose()?;
        }
        Ok(())
    }

    /// Copies an entry; `None` if the entry is free, or its writer does not finish.
    pub(crate) fn read(&self, index: u32) -> Option<Entry<State, Stats>> {
        let is_consistent = |entry: &Entry<State, Stats>| entry.seq_tail == entry.seq_head;
        self.table.read(index as usize, is_consistent).filter(|entry| entry.object != 0)
    }

    /// The indexes of all entries that are not free: living and ended ones.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = u32> {
        let object = offset_of!(Entry<State, Stats>, object);
        (0..self.table.len() as u32).filter(move |index| self.word(*index, object) != 0)
    }

    /// Returns whether the entry has statistics of interval `number`.
    pub(crate) fn has_window(&self, index: u32, number: u32) -> bool {
        let first = offset_of!(Entry<State, Stats>, window) + offset_of!(Window<Stats>, epoch);
        let at = first + (number & 1) as usize * size_of::<Window<Stats>>();
        self.word(index, at).to_ne_bytes()[..4] == number.to_ne_bytes()
    }

    /// The running number of the entry at this index.
    pub(crate) fn generation(&self, index: u32) -> u32 {
        self.half_word(index, offset_of!(Entry<State, Stats>, generation))
    }

    /// The four bytes at `offset`, a multiple of eight, of an entry.
    fn half_word(&self, index: u32, offset: usize) -> u32 {
        let [a, b, c, d, ..] = self.word(index, offset).to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }

    /// The eight bytes at `offset`, a multiple of eight, of an entry; 0 beyond the table.
    pub(crate) fn word(&self, index: u32, offset: usize) -> u64 {
        self.table.word(index as usize, offset).unwrap_or_default()
    }

    /// The sum of the counters at these offsets in `Stats`, since the start. It is taken over all entries in
    /// use, and over those that were handed out after their end, even if their places are taken by others.
    pub(crate) fn sum(&self, counters: &[usize]) -> u64 {
        let stats = offset_of!(Entry<State, Stats>, stats);
        let there = self.in_use().filter(|index| !self.is_reported(*index));
        let there = there.flat_map(|index| counters.iter().map(move |at| self.word(index, stats + at)));
        let gone = counters.iter().filter_map(|at| self.gone.get(at / 8)).copied();
        there.chain(gone).fold(0, u64::wrapping_add)
    }

    /// The identity of the path or association that `wanted` names; `None` if another one has taken its
    /// place, or the entry cannot be read. As long as it stays the same, so does the `Rc`: callers may keep what they
    /// have made of it.
    pub(crate) fn identity(&mut self, wanted: EntryRef) -> Option<Rc<Identity>> {
        let round = self.owners.as_ref().map_or(0, Owners::rounds_done);
        let known = self.known.get(wanted.index as usize)?.as_ref();
        let known = known.filter(|known| known.generation == wanted.generation);
        if let Some(known) = known
            && known.round == round
        {
            return Some(Rc::clone(&known.id));
        }
        let entry = self.read(wanted.index).filter(|entry| entry.generation == wanted.generation)?;
        let id = self.identify(entry.id);
        let id = match known {
            Some(known) if *known.id == id => Rc::clone(&known.id),
            _ => Rc::new(id),
        };
        let known = Known { id: Rc::clone(&id), generation: wanted.generation, round };
        self.known[wanted.index as usize] = Some(known);
        Some(id)
    }

    /// Converts an identity of the kernel side, and adds the association's owner and payload protocol.
    pub(crate) fn identify(&self, id: raw::Identity) -> Identity {
        let (owner, payload_protocol) =
            self.owners.as_ref().map_or((None, None), |owners| owners.of(id.assoc_id));
        Identity { owner, payload_protocol, ..id.into() }
    }

    /// How often an entry was left out, because its writer did not finish in time.
    pub(crate) fn busy(&self) -> u64 {
        self.table.busy()
    }
}

/// The generation and the index of an entry.
pub(crate) fn entry_ref<State, Stats>(entry: &Entry<State, Stats>) -> EntryRef {
    EntryRef { generation: entry.generation, index: entry.key }
}

/// An entry's statistics of interval `number`; `None` if the entry has none.
pub(crate) fn window<State, Stats: Copy>(entry: &Entry<State, Stats>, number: u32) -> Option<Stats> {
    let window = &entry.window[(number & 1) as usize];
    (window.epoch == number).then_some(window.stats)
}

/// The octaves of some of an entry's histograms, whose bytes these are.
pub(crate) fn octaves(hists: &[u8], which: &[usize]) -> Result<Vec<Octaves>, Error> {
    let hists = <[Hist]>::ref_from_bytes(hists).map_err(|_| malformed())?;
    Ok(which.iter().filter_map(|which| hists.get(*which)).map(Octaves::of).collect())
}

/// Histograms of entries (`hists.h`). They are read by system calls: mapped, all of them would count as
/// memory of this process.
pub(crate) struct Hists {
    map: MapHandle,
    /// Number of histograms per entry.
    hists: usize,
    /// Counts since the start, as they stood at the last read.
    carried: Carried,
    /// Counts since the start, as they stood when the last interval was handed out.
    baseline: Carried,
}

impl Hists {
    /// The octaves of some of an entry's histograms.
    pub(crate) fn octaves(&self, of: EntryRef, which: &[usize]) -> Result<Vec<Octaves>, Error> {
        let mut bytes = vec![0; self.hists * size_of::<Hist>()];
        self.map.lookup_into(&of.index.to_ne_bytes(), &mut bytes, MapFlags::ANY)?;
        octaves(&bytes, which)
    }

    /// The histograms of `entries` entries, `hists` of each, in the map `name` of loaded programs.
    ///
    /// # Errors
    /// Where the programs have no such map.
    pub(crate) fn new(
        object: &Object,
        name: &str,
        entries: u32,
        hists: usize,
        config: &Config,
    ) -> Result<Self, Error> {
        let before = if config.intervals { entries } else { 0 };
        Ok(Self {
            map: map(object, name)?,
            hists,
            carried: Carried::new(entries, hists),
            baseline: Carried::new(before, hists),
        })
    }

    /// Subtracts from an entry's counts since the start those of the last call: what is left came after it.
    pub(crate) fn since_last(&mut self, of: EntryRef, counts: &mut [u64]) {
        self.baseline.subtract(of, counts);
    }

    /// The counts of an entry since the start.
    ///
    /// # Errors
    /// Where the kernel does not let the map be read.
    pub(crate) fn read(&mut self, of: EntryRef) -> Result<Vec<Counts>, Error> {
        let mut bytes = vec![0; self.hists * size_of::<Hist>()];
        self.map.lookup_into(&of.index.to_ne_bytes(), &mut bytes, MapFlags::ANY)?;
        let wrapped = <[u32]>::ref_from_bytes(&bytes).map_err(|_| malformed())?;
        let mut counts = vec![[0; BUCKETS]; self.hists];
        self.carried.carry(of, wrapped, counts.as_flattened_mut());
        Ok(counts)
    }
}

/// Counts of the histograms of all entries, in 64 bits, as they stood at an earlier time. The upper halves of
/// counts are stored only where they are not 0, which is rare.
pub(crate) struct Carried {
    /// Number of counts per entry.
    each: usize,
    /// By index: the entry's generation plus one; 0 where it has no counts yet.
    generations: Vec<u64>,
    /// The lower halves of all counts, entry by entry.
    low: Vec<u32>,
    /// The upper halves that are not 0, by place in `low`.
    high: BTreeMap<usize, u32>,
}

impl Carried {
    /// Counts of 0, for `entries` entries of `hists` histograms each. The memory is of fixed size and zeroed,
    /// so that only what is used becomes resident.
    pub(crate) fn new(entries: u32, hists: usize) -> Self {
        let each = hists * BUCKETS;
        let (generations, low) = (vec![0; entries as usize], vec![0; entries as usize * each]);
        Self { each, generations, low, high: BTreeMap::new() }
    }

    /// Returns the place in `low` where an entry's counts begin; `None` beyond the table. First sets the
    /// counts to 0 if they are of another generation.
    fn begin(&mut self, of: EntryRef) -> Option<usize> {
        let at = of.index as usize * self.each;
        let generation = self.generations.get_mut(of.index as usize)?;
        let new = u64::from(of.generation) + 1;
        if mem::replace(generation, new) != new {
            self.low[at..at + self.each].fill(0);
            self.high.retain(|place, _| !(at..at + self.each).contains(place));
        }
        Some(at)
    }

    fn get(&self, place: usize) -> u64 {
        let high = if self.high.is_empty() { 0 } else { self.high.get(&place).copied().unwrap_or(0) };
        u64::from(high) << 32 | u64::from(self.low[place])
    }

    fn set(&mut self, place: usize, count: u64) {
        self.low[place] = count as u32;
        if count >> 32 != 0 {
            self.high.insert(place, (count >> 32) as u32);
        }
    }

    /// Makes counts of 64 bits from counts of 32 bits, which may have wrapped once since the last call.
    pub(crate) fn carry(&mut self, of: EntryRef, wrapped: &[u32], counts: &mut [u64]) {
        let Some(at) = self.begin(of) else {
            counts.iter_mut().zip(wrapped).for_each(|(count, low)| *count = (*low).into());
            return;
        };
        for (n, (count, low)) in counts.iter_mut().zip(wrapped).take(self.each).enumerate() {
            let before = self.get(at + n);
            *count = before.wrapping_add(low.wrapping_sub(before as u32).into());
            self.set(at + n, *count);
        }
    }

    /// Subtracts from an entry's counts since the start the counts that the last call was given. Keeps the new
    /// ones for the next call.
    pub(crate) fn subtract(&mut self, of: EntryRef, counts: &mut [u64]) {
        let Some(at) = self.begin(of) else { return };
        for (n, count) in counts.iter_mut().take(self.each).enumerate() {
            let (before, now) = (self.get(at + n), *count);
            self.set(at + n, now);
            *count = now.saturating_sub(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write, os::unix::fs::FileExt};

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    type TestEntry = Entry<(), u64>;

    /// The bytes of a kernel-side entry: the address of its object, its generation, the number of the
    /// interval in which it ended (0: it lives), and its only counter.
    fn entry(object: u64, generation: u32, ended: u32, count: u64) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<TestEntry>()];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(offset_of!(TestEntry, object), &(object | u64::from(ended != 0)).to_ne_bytes());
        put(offset_of!(TestEntry, generation), &generation.to_ne_bytes());
        put(offset_of!(TestEntry, ended), &ended.to_ne_bytes());
        put(offset_of!(TestEntry, mark), &(generation << 1).to_ne_bytes());
        put(offset_of!(TestEntry, stats), &count.to_ne_bytes());
        bytes
    }

    #[test]
    fn what_has_ended_is_handed_out_once_and_counts_for_ever() {
        let mut file = File::from(memfd_create(c"entries", MFdFlags::empty()).unwrap());
        for entry in [entry(64, 0, 0, 1), entry(128, 1, 3, 10), entry(192, 2, 4, 100), entry(0, 0, 0, 0)] {
            file.write_all(&entry).unwrap();
        }
        let mut entries = Entries::<(), u64>::map(&file, 4).unwrap();
        let due = |entries: &mut Entries<(), u64>, due| {
            let found: Vec<_> =
                entries.totals(due, |entry| entry.stats == 0).map(|found| found.unwrap()).collect();
            found.iter().map(|found| found.stats).collect::<Vec<_>>()
        };
        assert_eq!(entries.sum(&[0]), 111);
        assert_eq!(due(&mut entries, Due::All), [1, 10, 100]);
        assert_eq!(due(&mut entries, Due::Ended), [10, 100], "whenever they ended");
        assert_eq!(due(&mut entries, Due::Ended), []);
        assert_eq!(entries.sum(&[0]), 111);
        // Another association takes the place of one that was handed out.
        file.write_all_at(&entry(256, 5, 0, 1000), size_of::<TestEntry>() as u64).unwrap();
        assert_eq!(entries.sum(&[0]), 1111);
        assert_eq!(due(&mut entries, Due::EndedAndLiving), [1, 1000]);
        file.write_all_at(&entry(256, 5, 7, 1000), size_of::<TestEntry>() as u64).unwrap();
        assert_eq!(due(&mut entries, Due::EndedAndLiving), [1, 1000]);
        assert_eq!(due(&mut entries, Due::EndedAndLiving), [1]);
        assert_eq!(entries.sum(&[0]), 1111);
    }

    #[test]
    fn an_interval_has_what_came_since_the_last_one() {
        let mut baseline = Carried::new(2, 1);
        let mut since = |generation, counts: [u64; 3]| {
            let mut all = [0; BUCKETS];
            all[..3].copy_from_slice(&counts);
            baseline.subtract(EntryRef { generation, index: 1 }, &mut all);
            assert!(all[3..].iter().all(|count| *count == 0));
            [all[0], all[1], all[2]]
        };
        assert_eq!(since(7, [1, 2, 3]), [1, 2, 3]);
        assert_eq!(since(7, [2, 2, 5]), [1, 0, 2]);
        // Another path or association has the entry now.
        assert_eq!(since(8, [1, 0, 0]), [1, 0, 0]);
        assert_eq!(since(8, [1, 4, 0]), [0, 4, 0]);
    }
    #[test]
    fn counts_that_wrap_are_carried_on() {
        let mut carried = Carried::new(4, 1);
        let mut total = |generation, index, count: u32| {
            let mut counts = [0; BUCKETS];
            let mut wrapped = [0; BUCKETS];
            wrapped[17] = count;
            carried.carry(EntryRef { generation, index }, &wrapped, &mut counts);
            assert!(counts.iter().enumerate().all(|(n, count)| n == 17 || *count == 0));
            counts[17]
        };
        assert_eq!(total(0, 2, u32::MAX), u64::from(u32::MAX));
        assert_eq!(total(0, 2, 5), (1 << 32) + 5);
        assert_eq!(total(1, 3, 7), 7, "another entry");
        assert_eq!(total(0, 2, 4), (2 << 32) + 4);
        assert_eq!(total(0, 2, 4), (2 << 32) + 4);
        assert_eq!(total(2, 2, 9), 9, "its place was taken");
    }
}
