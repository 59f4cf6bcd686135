//! State per association, and per association and stream (`streams.h`), of the commands that have it.

use std::{io, mem, os::fd::AsFd, time::Duration};

use crate::{Filter, Identity, Rung, pod::Pod, table::Table};

/// The most that [`Config::max_streams`] may be.
pub const MAX_STREAMS: u32 = 1 << 20;

/// What to trace, and how much room to take for it. All memory is taken at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose events.
    pub filter: Filter,
    /// Hand out the statistics of each interval, not only totals.
    pub intervals: bool,
    /// Gather what the scripts do not have, too.
    pub extended: bool,
    /// Keep histograms: of intervals between arrivals, or of lengths of messages.
    pub histograms: bool,
    /// Keep what has ended as long as there is room. Else it goes one interval after the one in which it ended.
    pub keep_ended: bool,
    /// Pairs of association and stream that fit (rounded up to a power of two); more evict those that were silent
    /// longest.
    pub max_streams: u32,
    /// Only this rung of the ladder; `None`: the best that works.
    pub rung: Option<Rung>,
}

/// An association that was traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Association {
    /// Who; its path is the one on which it was first seen.
    pub id: Identity,
    /// Differs for every association of this run, where the kernel's id may come again.
    pub uid: u32,
    /// The number of the interval in which it ended; `None` while it lives.
    pub ended: Option<u32>,
    /// When it was first seen, on `CLOCK_MONOTONIC`.
    pub first: Duration,
    /// When it ended, on that clock; zero while it lives.
    pub ended_at: Duration,
    /// Events of all its streams.
    pub events: u64,
}

/// What was seen, and what lost its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Events seen.
    pub events: u64,
    /// Associations whose place was taken by newer ones, before they had ended and been shown.
    pub assocs_evicted: u64,
    /// Streams, likewise.
    pub streams_evicted: u64,
    /// Events that are missing in the statistics for that.
    pub events_evicted: u64,
    /// Events for which no place was found.
    pub no_place: u64,
    /// Events at which the kernel did not run a program, at most.
    pub missed: u64,
    /// Messages in a lobby too long to be looked through.
    pub lobby_limit: u64,
}

/// A probe with entries per association and stream.
pub trait StreamProbe {
    /// Ends the current interval and gives its number.
    fn step(&mut self) -> u32;

    /// Detaches the programs: nothing changes any more, and statistics are exact.
    fn detach(&mut self);

    /// The books so far.
    fn accounting(&self) -> Accounting;
}

/// An entry of `assocs`.
pub(crate) trait AssocEntry: Pod {
    /// The word with its uid and the number of the interval in which it ended; 0 while it lives.
    const LIFE: usize;
    fn is_whole(&self) -> bool;
    /// `None` where it is free.
    fn association(&self) -> Option<Association>;
}

/// An entry of `streams`.
pub(crate) trait StreamEntry: Pod {
    /// The word with uid and index of its association.
    const ASSOC: usize;
    fn is_whole(&self) -> bool;
    /// Uid and index of its association; uid 0 where it is free.
    fn assoc(&self) -> (u32, usize);
    fn stream_id(&self) -> u16;
}

/// May an association have had events in the interval with that number? One that has ended has none, but its entry stays
/// for a while.
pub(crate) fn may_have_events(ended: Option<u32>, interval: u32) -> bool {
    ended.is_none_or(|ended| interval <= ended.saturating_add(1))
}

/// Where a stream is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Id and uid of its association, and its own.
    pub(crate) key: (u32, u32, u16),
    /// Of the entry in the pool.
    pub(crate) index: u32,
}

/// Entries of the pool that are mapped at start.
const FIRST_STREAMS: u32 = 1024;

/// The two tables as this process sees them.
pub(crate) struct Tables<A, S> {
    assocs: Table<A>,
    /// The first part of the pool, as the kernel counts all that is mapped as memory of this process.
    streams: Table<S>,
    /// Entries of the whole pool.
    len: u32,
    /// Those that were last sorted. Resident from the start, so that memory does not grow with traffic.
    places: Vec<Place>,
}

impl<A: AssocEntry, S: StreamEntry> Tables<A, S> {
    pub(crate) fn new(assocs: &impl AsFd, streams: &impl AsFd, len: u32) -> io::Result<Self> {
        Ok(Self {
            assocs: Table::new(assocs, len)?,
            streams: Table::new(streams, len.min(FIRST_STREAMS))?,
            len,
            places: vec![Place { key: (0, 0, u16::MAX), index: 0 }; len as usize],
        })
    }

    /// Puts the streams of those associations that are due, by when they ended, into a steady order: by association, then
    /// by stream. Gives their number. Only the first `used` of the pool `streams` are looked at.
    ///
    /// # Errors
    /// Where more of the pool has to be mapped, and cannot be.
    pub(crate) fn sort(
        &mut self,
        streams: &impl AsFd,
        used: u32,
        is_due: impl Fn(Option<u32>) -> bool,
    ) -> io::Result<usize> {
        let used = used.min(self.len);
        if self.streams.len() < used as usize {
            self.streams = Table::new(streams, used.next_power_of_two().min(self.len))?;
        }
        let mut places = mem::take(&mut self.places);
        places.clear();
        places.extend((0..used as usize).filter_map(|index| {
            // Most are not due: a look at a word of each table comes first.
            let [uid, assoc] = halves(self.streams.word(index, S::ASSOC)?);
            let owner = (uid, assoc as usize);
            let [owner_uid, ended] = halves(self.assocs.word(owner.1, A::LIFE)?);
            if owner_uid != uid || !is_due((ended != 0).then_some(ended)) {
                return None;
            }
            let (association, _) = self.association(owner)?;
            let stream = self.streams.whole(index, S::is_whole).filter(|stream| stream.assoc() == owner)?;
            let key = (association.id.assoc_id, uid, stream.stream_id());
            Some(Place { key, index: index as u32 })
        }));
        places.sort_unstable_by_key(|place| place.key);
        self.places = places;
        Ok(self.places.len())
    }

    /// The stream that came out as number `n`, where it is, and its association; nothing if it has made room for another
    /// meanwhile.
    pub(crate) fn get(&self, n: usize) -> Option<(Place, Association, A, S)> {
        let place = *self.places.get(n)?;
        let found = self.at(place.index as usize)?;
        let key = (found.0.id.assoc_id, found.0.uid, found.2.stream_id());
        (key == place.key).then_some((place, found.0, found.1, found.2))
    }

    fn at(&self, index: usize) -> Option<(Association, A, S)> {
        let stream = self.streams.whole(index, S::is_whole)?;
        let (association, entry) = self.association(stream.assoc())?;
        Some((association, entry, stream))
    }

    /// By uid and index.
    fn association(&self, (uid, index): (u32, usize)) -> Option<(Association, A)> {
        let entry = self.assocs.whole(index, A::is_whole)?;
        // A free one has none.
        Some((entry.association().filter(|a| a.uid == uid)?, entry))
    }

    /// Events of all associations in the table.
    pub(crate) fn events(&self) -> u64 {
        (0..self.assocs.len())
            .filter_map(|index| self.assocs.whole(index, A::is_whole)?.association())
            .map(|a| a.events)
            .sum()
    }
}

/// The two members in a word of an entry.
fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes)
}

/// Makes the entries of a skeleton's tables known. Each program has its own types with the same members: hence macros.
macro_rules! stream_entries {
    ($types:ident) => {
        const _: () = assert!($crate::table::most::<$types::assoc>() >= $crate::streams::MAX_STREAMS);
        const _: () = assert!($crate::table::most::<$types::stream>() >= $crate::streams::MAX_STREAMS);

        // SAFETY: a struct of integers, generated from the C one.
        unsafe impl $crate::pod::Pod for $types::assoc {}
        // SAFETY: as above.
        unsafe impl $crate::pod::Pod for $types::stream {}
        // SAFETY: as above.
        unsafe impl $crate::pod::Pod for $types::accounting {}

        const _: () = assert!(
            std::mem::offset_of!($types::assoc, ended) == std::mem::offset_of!($types::assoc, uid) + 4
        );

        impl $crate::streams::AssocEntry for $types::assoc {
            const LIFE: usize = std::mem::offset_of!($types::assoc, uid) / 8;

            fn is_whole(&self) -> bool {
                self.done == self.begun
            }

            fn association(&self) -> Option<$crate::streams::Association> {
                (self.uid != 0).then(|| $crate::streams::Association {
                    id: $crate::assoc::identity!(&self.id),
                    uid: self.uid,
                    ended: (self.ended != 0).then_some(self.ended),
                    first: std::time::Duration::from_nanos(self.first_ns),
                    ended_at: std::time::Duration::from_nanos(self.ended_ns),
                    events: self.events,
                })
            }
        }

        const _: () = assert!(
            std::mem::offset_of!($types::stream, assoc)
                == std::mem::offset_of!($types::stream, assoc_uid) + 4
        );

        impl $crate::streams::StreamEntry for $types::stream {
            const ASSOC: usize = std::mem::offset_of!($types::stream, assoc_uid) / 8;

            fn is_whole(&self) -> bool {
                self.done == self.begun
            }

            fn assoc(&self) -> (u32, usize) {
                (self.assoc_uid, self.assoc as usize)
            }

            fn stream_id(&self) -> u16 {
                self.sid
            }
        }
    };
}
pub(crate) use stream_entries;

/// Configures an open skeleton for a rung: its programs, filter and tables. Gives the length of the tables.
macro_rules! prepare_streams {
    ($open:expr, $config:expr, $rung:expr) => {{
        use libbpf_rs::skel::OpenSkel;
        let config: &$crate::streams::Config = $config;
        $crate::attach::choose_rung($open.open_object_mut(), $rung);
        $crate::assoc::set_filter!($open, &config.filter, $rung)?;
        let len = config.max_streams.max(64).next_power_of_two();
        let rodata = $open.maps.rodata_data.as_deref_mut().ok_or_else($crate::attach::malformed)?;
        rodata.assoc_mask = len - 1;
        rodata.stream_mask = len - 1;
        rodata.place_mask = 4 * len - 1;
        rodata.want_reuse = !config.keep_ended;
        $crate::table::make::<types::assoc>(&mut $open.maps.bss_assocs, len)?;
        $crate::table::make::<types::stream>(&mut $open.maps.bss_streams, len)?;
        $open.maps.places.set_max_entries(4 * len)?;
        len
    }};
}
pub(crate) use prepare_streams;

/// Ends the current interval and gives its number.
macro_rules! step_epoch {
    ($skel:expr) => {
        $skel.maps.data_data.as_deref_mut().map_or(0, |data| {
            let ended = data.epoch;
            $crate::pod::store(&mut data.epoch, ended.wrapping_add(1));
            ended
        })
    };
}
pub(crate) use step_epoch;

/// How many entries of the pool were ever used.
macro_rules! pool_used {
    ($skel:expr) => {
        $skel.maps.bss_data.as_deref().map_or(0, |bss| $crate::pod::load(&bss.pool_used))
    };
}
pub(crate) use pool_used;

/// The books of a skeleton.
macro_rules! stream_accounting {
    ($skel:expr, $tables:expr) => {
        $skel.maps.bss_data.as_deref().map_or_else($crate::streams::Accounting::default, |bss| {
            let a = $crate::pod::load(&bss.accounting);
            $crate::streams::Accounting {
                events: $tables.events() + a.events_gone,
                assocs_evicted: a.assocs_evicted,
                streams_evicted: a.streams_evicted,
                events_evicted: a.events_evicted,
                no_place: a.no_place,
                lobby_limit: a.lobby_limit,
                missed: 0,
            }
        })
    };
}
pub(crate) use stream_accounting;
