//! The tables of associations and of their streams (`streams.h`) that `sctp-jitter` and `sctp-streamutil`
//! have.

use std::{
    cell::RefCell,
    io,
    mem::{self, offset_of},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use libbpf_rs::Object;
use zerocopy::FromBytes;

use crate::{
    Accounting, Change, Config, Due, Error, Identity, Octaves, Skipped,
    accounting::{busy, missed},
    object::{OpenPrograms, table_map},
    owner::{Known, Owners},
    program::Moment,
    raw::{Assoc, Settings, Stream, TAKEN},
    table::{Table, max_len},
};

/// The largest value of [`Sizes::max_streams`].
pub const MAX_STREAMS: u32 = 1 << 20;

/// Size of the tables.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Number of streams, over all associations, that fit (rounded up to a power of two). A new stream beyond
    /// that evicts a stream of an ended association; if there is none, a stream of an association that has half
    /// of all streams; else the longest silent of a few.
    pub max_streams: u32,
}

/// An association that was traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// Identity of the association. Its path is the one of the first chunk (`sctp-jitter`), or the primary
    /// path when the entry was made (`sctp-streamutil`, and after a restart).
    pub id: Identity,
    /// A number that differs for every life of every association in this run. (The kernel may give
    /// `id.assoc_id` to another association later.)
    pub generation: u32,
    /// The number of the interval in which the association, or its life, ended; `None` while it lives.
    pub ended: Option<u32>,
    /// When the association's life was first seen, on `CLOCK_MONOTONIC`.
    pub first: Duration,
    /// When the association, or its life, ended, on `CLOCK_MONOTONIC`. Valid only if `ended` is not `None`.
    pub ended_at: Duration,
    /// Number of events of all streams: chunks that arrived, or that were sent.
    pub events: u64,
}

impl<Stats> From<&Assoc<Stats>> for Association {
    fn from(assoc: &Assoc<Stats>) -> Self {
        Self {
            id: assoc.id.into(),
            generation: assoc.generation,
            ended: (assoc.ended != 0).then_some(assoc.ended),
            first: Duration::from_nanos(assoc.first_ns),
            ended_at: Duration::from_nanos(assoc.ended_ns),
            events: assoc.events,
        }
    }
}

/// Evicted entries, and events that are in no entry: `struct accounting` of `streams.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub struct RawAccounting {
    pub(crate) assocs_evicted: u64,
    pub(crate) streams_evicted: u64,
    pub(crate) events_evicted: u64,
    pub(crate) events_gone: u64,
    pub(crate) no_place: u64,
    pub(crate) unseen: u64,
    pub(crate) uncounted: u64,
    pub(crate) lobby_limit: u64,
    pub(crate) no_id: u64,
}

/// Returns whether an association may have had events in `interval`. `ended`: the interval in which it ended,
/// after which its entry stays for a while; `None` while it lives.
fn may_have_events(ended: Option<u32>, interval: u32) -> bool {
    ended.is_none_or(|ended| interval <= ended.saturating_add(1))
}

impl Place {
    /// A number that differs for each stream that had this entry: a stream that was evicted and got the same entry again
    /// begins at zero.
    pub(crate) fn serial(&self) -> u64 {
        let (_, generation, sid) = self.key;
        u64::from(self.made as u16) << 48 | u64::from(generation) << 16 | u64::from(sid)
    }
}

/// Names the entry of a stream in the pool.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Association id, generation of the association, and stream identifier.
    pub(crate) key: (u32, u32, u16),
    /// How often the entry was made ([`Stream::made`]): differs where a stream comes back to an entry that it
    /// had before.
    pub(crate) made: u32,
    /// Index of the entry in the pool.
    pub(crate) index: u32,
}

/// Copies of a stream's entry and of its association's.
pub(crate) struct Found<A, S> {
    pub(crate) place: Place,
    pub(crate) association: Association,
    pub(crate) assoc: Assoc<A>,
    pub(crate) stream: Stream<S>,
}

impl<A, S> Found<A, S> {
    /// The change of the stream, of which `row` was made.
    pub(crate) fn change<Row>(&self, row: Row, octaves: Vec<Octaves>) -> Change<Row> {
        let has_ended = self.association.ended.is_some();
        Change { place: self.place.index, serial: self.place.serial(), has_ended, row, octaves }
    }
}

/// Number of entries of the pool of streams that are mapped at start.
const FIRST_STREAMS: u32 = 1024;

/// The tables of associations and streams, mapped into this process. `A` and `S`: the program's own part of
/// an entry of each.
pub(crate) struct Tables<A, S> {
    assocs: Table<Assoc<A>>,
    /// The whole pool of streams. Only the part that was used is mapped (`streams`), because the kernel
    /// counts all that is mapped as memory of this process.
    pool: OwnedFd,
    streams: Table<Stream<S>>,
    /// Number of entries of the whole pool.
    len: u32,
    /// The streams that `sort()` found last, in its order. Resident from the start, so that memory does not
    /// grow with traffic.
    places: Vec<Place>,
    owners: Option<Owners>,
    /// What is known of the association that was found last, with the association's generation:
    /// streams of one association follow each other.
    last_owner: RefCell<Option<(u32, Known)>>,
    /// By index of a stream: the [`Stream::seq_tail`] of its entry when [`Tables::changed`] last handed it out. Empty
    /// unless [`Config::metrics`].
    seen: Vec<u64>,
}

impl<A: FromBytes + Copy, S: FromBytes + Copy> Tables<A, S> {
    /// Sets the sizes of the tables. Returns the number of entries in each of the two tables.
    ///
    /// # Errors
    /// Where the kernel has too little memory for the tables.
    pub(crate) fn configure(open: &mut OpenPrograms, config: &Config, sizes: &Sizes) -> Result<u32, Error> {
        const { assert!(max_len::<Assoc<A>>() >= MAX_STREAMS && max_len::<Stream<S>>() >= MAX_STREAMS) };
        let len = sizes.max_streams.max(64).next_power_of_two();
        open.settings.assoc_mask = len - 1;
        open.settings.stream_mask = len - 1;
        open.settings.place_mask = 4 * len - 1;
        open.settings.want_reuse = u32::from(!config.keep_ended);
        open.set_table::<Assoc<A>>("assocs", len);
        open.set_table::<Stream<S>>("streams", len);
        open.resize("places", 4 * len)?;
        Ok(len)
    }

    /// Maps the tables of loaded programs.
    ///
    /// # Errors
    /// Where the kernel refuses the mapping (out of memory or address space).
    pub(crate) fn new(object: &Object, settings: &Settings, config: &Config) -> Result<Self, Error> {
        let (assocs, pool) = (table_map(object, "assocs")?, table_map(object, "streams")?);
        let tables = Self::map(&assocs, pool.as_fd().try_clone_to_owned()?, settings.stream_mask + 1)?;
        let mut tables = Self { owners: Owners::new(object, config)?, ..tables };
        if config.metrics {
            tables.keep_seen();
        }
        Ok(tables)
    }

    /// Remembers from now on which state of each stream [`Tables::changed`] has handed out.
    pub(crate) fn keep_seen(&mut self) {
        self.seen = vec![0; self.len as usize];
    }

    /// Maps the tables of associations and of streams, of `len` entries each.
    ///
    /// # Errors
    /// Where the kernel refuses the mapping (out of memory or address space).
    pub(crate) fn map(assocs: &impl AsFd, pool: OwnedFd, len: u32) -> Result<Self, Error> {
        Ok(Self {
            assocs: Table::new(assocs, len)?,
            streams: Table::new(&pool, len.min(FIRST_STREAMS))?,
            pool,
            len,
            places: vec![Place { key: (0, 0, u16::MAX), made: 0, index: 0 }; len as usize],
            owners: None,
            last_owner: RefCell::default(),
            seen: Vec::new(),
        })
    }

    /// Returns the streams of the associations that are due at `moment`.
    ///
    /// # Errors
    /// Where more of the pool has to be mapped, and cannot be.
    pub(crate) fn due(
        &mut self,
        due: Due,
        moment: Moment,
    ) -> Result<impl Iterator<Item = Found<A, S>>, Error> {
        let streams = self.sort(moment.pool_used, |ended| due.includes(ended, moment.interval))?;
        Ok((0..streams).filter_map(|n| self.get(n)))
    }

    /// Returns the streams that may have had events in the interval that has just ended.
    ///
    /// # Errors
    /// Where more of the pool has to be mapped, and cannot be.
    pub(crate) fn interval(&mut self, moment: Moment) -> Result<impl Iterator<Item = Found<A, S>>, Error> {
        let streams = self.sort(moment.pool_used, |ended| may_have_events(ended, moment.interval))?;
        Ok((0..streams).filter_map(|n| self.get(n)))
    }

    /// Returns the streams that have changed since the last call, or in which something `lasts`, which that function
    /// finds out from a few words of an entry. Needs [`Config::metrics`].
    ///
    /// # Errors
    /// Where more of the pool has to be mapped, and cannot be.
    pub(crate) fn changed(
        &mut self,
        moment: Moment,
        lasts: impl Fn(&Table<Stream<S>>, usize) -> bool,
    ) -> Result<impl Iterator<Item = Found<A, S>>, Error> {
        let used = self.map_used(moment.pool_used)?;
        self.last_owner.take();
        Ok((0..used).filter_map(move |index| {
            let seq_tail = self.streams.word(index, offset_of!(Stream<S>, seq_tail))?;
            if self.seen.get(index) == Some(&seq_tail) && !lasts(&self.streams, index) {
                return None;
            }
            let mut found = self.at(index as u32)?;
            *self.seen.get_mut(index)? = found.stream.seq_tail;
            let id = &mut found.association.id;
            (id.owner, id.payload_protocol) = self.owner(id.assoc_id, found.association.generation);
            Some(found)
        }))
    }

    /// Maps the first `used` entries of the pool of streams. Returns their number.
    fn map_used(&mut self, used: u32) -> io::Result<usize> {
        let used = used.min(self.len);
        if self.streams.len() < used as usize {
            self.streams = Table::new(&self.pool, used.next_power_of_two().min(self.len))?;
        }
        Ok(used as usize)
    }

    /// Fills `places` with the streams of the associations that are due, in a steady order: by association,
    /// then by stream. `is_due` is given the interval in which an association ended (`None`: it lives). Only
    /// the first `used` entries of the pool are looked at. Returns the number of streams.
    fn sort(&mut self, used: u32, is_due: impl Fn(Option<u32>) -> bool) -> io::Result<usize> {
        let used = self.map_used(used)?;
        let mut places = mem::take(&mut self.places);
        places.clear();
        places.extend((0..used).filter_map(|index| self.place(index, &is_due)));
        places.sort_unstable_by_key(|place| place.key);
        self.places = places;
        self.last_owner.take();
        Ok(self.places.len())
    }

    /// The place of the stream in the entry `index`, if its association is due. Most associations are not
    /// due: so a word of each table is looked at before the entries are copied.
    fn place(&self, index: usize, is_due: &impl Fn(Option<u32>) -> bool) -> Option<Place> {
        let owner = offset_of!(Stream<S>, assoc_generation);
        let life = offset_of!(Assoc<A>, generation);
        const {
            assert!(offset_of!(Stream<S>, assoc) == offset_of!(Stream<S>, assoc_generation) + 4);
            assert!(offset_of!(Assoc<A>, ended) == offset_of!(Assoc<A>, generation) + 4);
        }
        let [generation, assoc] = halves(self.streams.word(index, owner)?);
        let [assoc_generation, ended] = halves(self.assocs.word(assoc as usize, life)?);
        if assoc_generation != generation || !is_due((ended != 0).then_some(ended)) {
            return None;
        }
        let found = self.at(index as u32)?;
        (found.place.key.1 == generation).then_some(found.place)
    }

    /// The `n`-th stream in the order of `sort()`; `None` if another stream has taken its entry since.
    fn get(&self, n: usize) -> Option<Found<A, S>> {
        let place = *self.places.get(n)?;
        let mut found = self.at(place.index)?;
        let id = &mut found.association.id;
        (id.owner, id.payload_protocol) = self.owner(id.assoc_id, found.association.generation);
        ((found.place.key, found.place.made) == (place.key, place.made)).then_some(found)
    }

    fn owner(&self, assoc_id: u32, generation: u32) -> Known {
        let Some(owners) = &self.owners else { return (None, None) };
        let mut last = self.last_owner.borrow_mut();
        let last = match last.take().filter(|(of, _)| *of == generation) {
            Some(last_owner) => last.insert(last_owner),
            None => last.insert((generation, owners.of(assoc_id))),
        };
        last.1.clone()
    }

    fn at(&self, index: u32) -> Option<Found<A, S>> {
        let stream = self.streams.read(index as usize, |stream| stream.seq_tail == stream.seq_head)?;
        let assoc = self.assoc(stream.assoc as usize)?;
        let association = Association::from(&assoc);
        let key = (association.id.assoc_id, association.generation, stream.sid);
        let place = Place { key, made: stream.made, index };
        let is_its = stream.assoc_generation == association.generation;
        is_its.then_some(Found { place, association, assoc, stream })
    }

    /// A copy of an association's entry; `None` if it is free or being made, or its writer does not finish.
    fn assoc(&self, index: usize) -> Option<Assoc<A>> {
        let assoc = self.assocs.read(index, |assoc| assoc.seq_tail == assoc.seq_head)?;
        (assoc.generation != 0 && assoc.generation != TAKEN).then_some(assoc)
    }

    /// Number of an association's events, without a copy of its entry; `None` if that is free or being made.
    fn events(&self, index: usize) -> Option<u64> {
        let [generation, _] = halves(self.assocs.word(index, offset_of!(Assoc<A>, generation))?);
        if generation == 0 || generation == TAKEN {
            return None;
        }
        self.assocs.word(index, offset_of!(Assoc<A>, events))
    }

    /// Returns how many events were seen, evicted and skipped.
    pub(crate) fn accounting(&self, counted: &RawAccounting, misses: u64) -> Accounting {
        let skipped = |reason, sentence, count| Skipped { reason, sentence, count };
        let events: u64 = (0..self.assocs.len()).filter_map(|index| self.events(index)).sum();
        Accounting {
            events: events + counted.events_gone,
            lost: 0,
            evicted: counted.assocs_evicted + counted.streams_evicted,
            skipped: vec![
                skipped(
                    "evicted",
                    "their association or stream had to make room for another: use --max-streams",
                    counted.events_evicted,
                ),
                skipped(
                    "no_place",
                    "there was no room for their stream: use --max-streams",
                    counted.no_place,
                ),
                skipped(
                    "lobby_limit",
                    "more than 8,192 messages of an association waited for one before them",
                    counted.lobby_limit,
                ),
                skipped("no_id", "sends refused before their association had an id", counted.no_id),
                missed(misses),
                busy(self.assocs.busy() + self.streams.busy()),
            ],
            ..Accounting::default()
        }
    }
}

/// Splits a word of an entry into its two members of 32 bits.
pub(crate) fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes)
}
