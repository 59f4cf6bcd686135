//! Entries of paths or associations (`entries.h`): who they are, and their statistics.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use crate::{Error, Identity, pod::Pod, table::Table};

/// Names an entry without its addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryRef {
    /// Running number of all entries ever made.
    pub(crate) uid: u32,
    pub(crate) index: u32,
}

impl EntryRef {
    /// The number of entries that were made before this one: a small number, in the order of appearance.
    #[must_use]
    pub fn serial(self) -> u32 {
        self.uid
    }
}

/// `struct entry` of a program.
pub(crate) trait Entry: Pod {
    /// Where the address stands, in bytes: 0 in a free one.
    const OBJECT: usize;
    /// Where the numbers of the intervals stand that its two windows are of.
    const EPOCHS: [usize; 2];
    fn is_whole(&self) -> bool;
    fn is_free(&self) -> bool;
    fn uid(&self) -> u32;
    fn identity(&self) -> Identity;
}

/// The table as this process sees it.
pub(crate) struct Entries<E> {
    table: Table<E>,
    /// Identities that were asked for, by index.
    known: Vec<Option<(u32, Identity)>>,
}

impl<E: Entry> Entries<E> {
    pub(crate) fn new(map: &impl AsFd, len: u32) -> io::Result<Self> {
        Ok(Self { table: Table::new(map, len)?, known: vec![None; len as usize] })
    }

    /// Every entry that is in use, whole.
    pub(crate) fn live(&self) -> impl Iterator<Item = (EntryRef, E)> + '_ {
        self.live_if(|_| true)
    }

    /// Those of whose index `wanted` says so, so that the others need not be copied.
    pub(crate) fn live_if(&self, wanted: impl Fn(u32) -> bool) -> impl Iterator<Item = (EntryRef, E)> {
        self.in_use().filter(move |index| wanted(*index)).filter_map(|index| self.get(index))
    }

    /// An entry, whole; `None` where it is free.
    pub(crate) fn get(&self, index: u32) -> Option<(EntryRef, E)> {
        let entry = self.whole(index)?;
        Some((EntryRef { uid: entry.uid(), index }, entry))
    }

    /// The indexes of entries in use.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = u32> {
        (0..self.table.len() as u32).filter(|index| self.word(*index, E::OBJECT) != 0)
    }

    /// Has the entry statistics of the interval with this number?
    pub(crate) fn has_window(&self, index: u32, number: u32) -> bool {
        let at = E::EPOCHS[(number & 1) as usize];
        self.word(index, at).to_ne_bytes()[..4] == number.to_ne_bytes()
    }

    /// The eight bytes at this offset of an entry.
    pub(crate) fn word(&self, index: u32, at: usize) -> u64 {
        self.table.word(index as usize, at / 8).unwrap_or_default()
    }

    /// The sum of counters at these offsets over all entries in use.
    pub(crate) fn sum(&self, counters: &[usize]) -> u64 {
        self.in_use().flat_map(|index| counters.iter().map(move |at| self.word(index, *at))).sum()
    }

    /// Whose an entry is; `None` where it was evicted meanwhile.
    pub(crate) fn identity(&mut self, wanted: EntryRef) -> Option<Identity> {
        if let Some((uid, id)) = self.known.get(wanted.index as usize)?
            && *uid == wanted.uid
        {
            return Some(*id);
        }
        let entry = self.whole(wanted.index).filter(|e| e.uid() == wanted.uid)?;
        self.known[wanted.index as usize] = Some((wanted.uid, entry.identity()));
        Some(entry.identity())
    }

    fn whole(&self, index: u32) -> Option<E> {
        self.table.whole(index as usize, E::is_whole).filter(|e| !e.is_free())
    }
}

/// Makes the entries of a skeleton known. Each program has its own types with the same members: hence macros.
macro_rules! entries {
    ($types:ident) => {
        // SAFETY: a struct of integers, generated from the C one.
        unsafe impl $crate::pod::Pod for $types::entry {}
        // SAFETY: as above.
        unsafe impl $crate::pod::Pod for $types::hist {}
        // SAFETY: as above.
        unsafe impl $crate::pod::Pod for $types::event {}
        // SAFETY: as above.
        unsafe impl $crate::pod::Pod for $types::accounting {}

        impl $crate::entries::Entry for $types::entry {
            const OBJECT: usize = std::mem::offset_of!($types::entry, object);
            const EPOCHS: [usize; 2] = {
                let first =
                    std::mem::offset_of!($types::entry, window) + std::mem::offset_of!($types::window, epoch);
                [first, first + size_of::<$types::window>()]
            };

            fn is_whole(&self) -> bool {
                self.done == self.begun
            }

            fn is_free(&self) -> bool {
                self.object == 0
            }

            fn uid(&self) -> u32 {
                self.uid
            }

            fn identity(&self) -> $crate::Identity {
                $crate::assoc::identity!(&self.id)
            }
        }
    };
}
pub(crate) use entries;

/// A probe with an entry per path or association, and records of single events.
pub trait EntryProbe {
    /// A single event.
    type Record;
    /// The statistics of an entry.
    type Stats;

    /// A descriptor that becomes readable when the kernel wakes us; `None` where no records were asked for.
    ///
    /// # Errors
    /// Where there is no descriptor left.
    fn fd(&self) -> io::Result<Option<OwnedFd>>;

    /// Asks to be woken at the next record. Those that came before are not announced: take them between this and waiting.
    fn wake_me(&mut self);

    /// Moves at most `limit` records into `into`. Returns whether there may be more.
    ///
    /// # Errors
    /// Where libbpf fails to read the ring buffer.
    fn take(&mut self, into: &mut Vec<Self::Record>, limit: usize) -> Result<bool, Error>;

    /// Whose a record is; `None` where it was evicted meanwhile.
    fn identity(&mut self, of: EntryRef) -> Option<Identity>;

    /// Statistics since the start, of every entry that has any.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn totals(&self) -> Result<Vec<Self::Stats>, Error>;

    /// Statistics of the interval that ends now, of every entry that has any; the next interval begins. Needs `intervals`
    /// of the configuration.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    fn interval(&mut self) -> Result<Vec<Self::Stats>, Error>;

    /// Events at which the kernel did not run a program, because it was at work already on that CPU for another event.
    fn missed(&self) -> u64;

    /// Detaches the programs: nothing changes any more, and statistics are exact.
    fn detach(&mut self);
}

/// Makes a probe an [`EntryProbe`]. Its fields are named alike but for the table `$entries`, its entries have `$hists`
/// histograms, and it reads its statistics by `read_totals` and `read_interval`.
macro_rules! entry_probe {
    ($probe:ident, $types:ident, $entries:ident, $config:ident, $record:ty, $hists:literal) => {
        const _: () = assert!(size_of::<$types::hist>() == $hists * 4 * $crate::hist::BUCKETS);

        impl $probe {
            /// Loads and attaches the programs. What may be missing here has been asked before, by [`crate::kernel::can_trace`].
            ///
            /// # Errors
            /// [`Error::Absent`] where too few files may be open, [`Error::Refused`] where the kernel does not accept
            /// the programs on any rung.
            pub fn open(config: &$config) -> Result<Self, Error> {
                $crate::attach::climb(config.rung, |rung| Self::open_on(rung, config))
            }

            /// The histograms of an entry; `None` unless extended. Read by a system call, as mapped they would all
            /// count as memory of this process.
            fn hist(&self, of: $crate::EntryRef) -> Result<Option<$types::hist>, Error> {
                use libbpf_rs::{MapCore, MapFlags};
                if !self.extended {
                    return Ok(None);
                }
                let mut bytes = [0; size_of::<$types::hist>()];
                self.skel.maps.hists.lookup_into(&of.index.to_ne_bytes(), &mut bytes, MapFlags::ANY)?;
                Ok($crate::pod::read(&bytes))
            }
        }

        impl $crate::EntryProbe for $probe {
            type Record = $record;
            type Stats = Stats;

            fn fd(&self) -> std::io::Result<Option<std::os::fd::OwnedFd>> {
                self.ring.as_ref().map(|ring| ring.fd()).transpose()
            }

            fn wake_me(&mut self) {
                if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
                    $crate::pod::store(&mut bss.want_wakeup, 1);
                }
            }

            fn take(&mut self, into: &mut Vec<$record>, limit: usize) -> Result<bool, Error> {
                self.ring.as_ref().map_or(Ok(false), |ring| ring.take(into, limit))
            }

            fn identity(&mut self, of: $crate::EntryRef) -> Option<$crate::Identity> {
                self.$entries.identity(of)
            }

            fn totals(&self) -> Result<Vec<Stats>, Error> {
                self.read_totals()
            }

            fn interval(&mut self) -> Result<Vec<Stats>, Error> {
                self.read_interval()
            }

            fn missed(&self) -> u64 {
                use libbpf_rs::skel::Skel;
                self.links.missed() + $crate::attach::missed(self.skel.object())
            }

            fn detach(&mut self) {
                self.links.detach();
            }
        }
    };
}
pub(crate) use entry_probe;

/// `read_totals` and `read_interval` of a probe whose statistics come from one entry each, by its `stats`.
macro_rules! plain_statistics {
    ($probe:ident, $entries:ident) => {
        impl $probe {
            fn read_totals(&self) -> Result<Vec<Stats>, Error> {
                let live = self.$entries.live().filter(|(_, entry)| !is_idle(&entry.stats));
                live.map(|(of, entry)| {
                    let hist = self.hist(of)?;
                    Ok(self.stats(of, &entry, &entry.stats, hist.as_ref().map(|h| each(&h.counts))))
                })
                .collect()
            }

            fn read_interval(&mut self) -> Result<Vec<Stats>, Error> {
                let ended = $crate::entries::next_epoch!(self.skel);
                let mut found = Vec::new();
                for (of, entry) in self.$entries.live_if(|index| self.$entries.has_window(index, ended)) {
                    let Some(window) = $crate::entries::window!(entry, ended).filter(|w| !is_idle(w)) else {
                        continue;
                    };
                    let mut hist = self.hist(of)?;
                    if let (Some(hist), Some(earlier)) = (&mut hist, &mut self.earlier) {
                        earlier.since(of, hist.counts.iter_mut());
                    }
                    found.push(self.stats(of, &entry, window, hist.as_ref().map(|h| each(&h.counts))));
                }
                Ok(found)
            }
        }
    };
}
pub(crate) use plain_statistics;

/// Ends the current interval and gives its number.
macro_rules! next_epoch {
    ($skel:expr) => {
        $skel.maps.bss_data.as_deref_mut().map_or(0, |bss| {
            let ended = bss.epoch;
            $crate::pod::store(&mut bss.epoch, ended.wrapping_add(1));
            ended
        })
    };
}
pub(crate) use next_epoch;

/// The statistics of an entry in the interval with this number; `None` where it has none.
macro_rules! window {
    ($entry:expr, $number:expr) => {{
        let window = &$entry.window[($number & 1) as usize];
        (window.epoch == $number).then_some(&window.stats)
    }};
}
pub(crate) use window;

/// Histograms in which an interval looks for what was there before it.
pub(crate) struct Earlier {
    words: usize,
    counts: Vec<u32>,
}

impl Earlier {
    /// For `entries` of `words` each; zeroed memory of fixed size, of which only what is used is resident.
    pub(crate) fn new(entries: u32, words: usize) -> Self {
        Self { words, counts: vec![0; entries as usize * (1 + words)] }
    }

    /// Turns counts since the start into those since the last call.
    pub(crate) fn since<'a>(&mut self, of: EntryRef, now: impl Iterator<Item = &'a mut u32>) {
        let start = of.index as usize * (1 + self.words);
        let Some([uid, counts @ ..]) = self.counts.get_mut(start..start + 1 + self.words) else { return };
        let same = std::mem::replace(uid, of.uid) == of.uid;
        for (count, before) in now.zip(counts) {
            let before = std::mem::replace(before, *count);
            if same {
                *count = count.wrapping_sub(before);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_what_came_since_the_last_one() {
        let mut earlier = Earlier::new(2, 3);
        let mut since = |uid, counts: [u32; 3]| {
            let mut counts = counts;
            earlier.since(EntryRef { uid, index: 1 }, counts.iter_mut());
            counts
        };
        assert_eq!(since(7, [1, 2, 3]), [1, 2, 3]);
        assert_eq!(since(7, [2, 2, 5]), [1, 0, 2]);
        // Another one has the entry now.
        assert_eq!(since(8, [1, 0, 0]), [1, 0, 0]);
        assert_eq!(since(8, [1, 4, 0]), [0, 4, 0]);
    }
}
