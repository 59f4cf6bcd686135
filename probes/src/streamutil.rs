//! Data sent on the streams of an association, and how long received messages waited in their order
//! (`streamutil.bpf.c`).

use std::{
    iter,
    mem::{self, offset_of},
    time::Duration,
};

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object};
use zerocopy::FromBytes;

pub use crate::streams::Sizes;
use crate::{
    Accounting, Change, Config, Due, Error, Histogram, kernel,
    object::{OpenPrograms, map},
    program::{Moment, Program},
    raw::{Settings, Stream as RawEntry, WANT_EXTENDED, WANT_PATHS, WANT_SIZES, same_layout},
    streams::{Association, Found, RawAccounting, Tables, halves},
    table::Table,
    trace::Trace,
};

#[allow(missing_docs, clippy::all, clippy::absolute_paths, clippy::wildcard_imports, unused_qualifications)]
#[allow(clippy::undocumented_unsafe_blocks, dead_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/streamutil.skel.rs"));
}
use skel::types;

/// A running trace of the use of streams.
pub type Streamutil = Trace<Programs>;

/// One stream of one association: the data sent on it, and how long messages received on it had to wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Stream identifier.
    pub stream_id: u16,
    /// User data sent, in bytes, without retransmissions.
    pub payload_bytes: u64,
    /// Chunks sent, without retransmissions.
    pub chunks: u64,
    /// How many of `chunks` were sent unordered.
    pub unordered: u64,
    /// Messages of which the last chunk was sent; 0 unless [`Config::extended`].
    pub messages: u64,
    /// Retransmissions of chunks.
    pub rtx_chunks: u64,
    /// User data in retransmissions, in bytes.
    pub rtx_bytes: u64,
    /// Complete received messages that had to wait for an earlier one of the stream; 0 unless
    /// [`Config::extended`].
    pub hol_messages: u64,
    /// Sum of the times that received messages waited for an earlier one of the stream, up to now.
    pub hol_wait: Duration,
    /// How long at least one received message waited for an earlier one of the stream, up to now.
    pub hol_blocked: Duration,
    /// Histogram of the lengths of messages sent, in bytes; `None` in statistics of an interval, and unless
    /// [`Config::histograms`]. Boxed, as an association may have 65,535 streams.
    pub sizes: Option<Box<Histogram>>,
}

impl Stream {
    /// Returns whether nothing was sent on this stream, and no received message waited.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.chunks == 0 && self.rtx_chunks == 0 && self.hol_messages == 0 && self.hol_wait.is_zero()
    }
}

/// One association, and the statistics of its streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The association.
    pub association: Association,
    /// Number of outbound streams: those negotiated, and those added since (RFC 6525).
    pub total_streams: u32,
    /// Length of the time that the statistics cover.
    pub period: Duration,
    /// What was not delivered.
    pub undelivered: Undelivered,
    /// The streams that are not idle, in the order of their identifiers; none if all that happened is in
    /// `undelivered`.
    pub streams: Vec<Stream>,
}

/// What an association did not deliver; all 0 unless [`Config::extended`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undelivered {
    /// Sends of this host's application that failed with `EINVAL`, as the association had no such outbound
    /// stream (`sctp_sendmsg_check_stream()`).
    pub refused_invalid_stream: u64,
    /// DATA chunks received on an inbound stream that the association does not have: acknowledged, reported to
    /// the peer by an ERROR chunk, and discarded (RFC 9260 6.5).
    pub discarded_invalid_stream: u64,
    /// Messages that PR-SCTP gave up after a part of them was sent, over all policies, as
    /// `SCTP_PR_ASSOC_STATUS` returns them (RFC 7496 4.4).
    pub abandoned_sent: u64,
    /// Messages that PR-SCTP gave up before a part of them was sent: see [`Undelivered::abandoned_sent`].
    pub abandoned_unsent: u64,
}

impl Undelivered {
    fn of(counts: [u64; UNDELIVERED]) -> Self {
        let [refused_invalid_stream, discarded_invalid_stream, abandoned_sent, abandoned_unsent] = counts;
        Self { refused_invalid_stream, discarded_invalid_stream, abandoned_sent, abandoned_unsent }
    }
}

/// Messages that PR-SCTP has given up: `struct abandoned` of `streamutil.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct RawAbandoned {
    sent: u64,
    unsent: u64,
}

/// The program's own part of an association's entry: `struct assoc_stats` of `streamutil.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawAssoc {
    last_chunk: u64,
    recount_ns: u64,
    counted_before: u64,
    unseen: u64,
    refused: u64,
    discarded: u64,
    abandoned: RawAbandoned,
    abandoned_before: RawAbandoned,
    outcnt: u32,
    lobby: u32,
    lobby_generation: u32,
    beyond: u32,
    unknown_change: u8,
    pad: [u8; 7],
}

/// Where the number of a stream's messages that wait lies; before it, all are counters and times.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) const WAITING: usize = offset_of!(RawStream, waiting);

/// Statistics of a stream: `struct stream_stats` of `streamutil.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
pub(crate) struct RawStream {
    payload_bytes: u64,
    chunks: u64,
    unordered: u64,
    messages: u64,
    rtx_chunks: u64,
    rtx_bytes: u64,
    hol_messages: u64,
    hol_wait_ns: u64,
    hol_blocked_ns: u64,
    hol_ns: u64,
    waiting: u32,
    lobby_generation: u32,
    known: u32,
    pad: u32,
}

/// Number of counts in [`RawSizes`], since a length has 0 to 32 bits: `SIZE_BITS` of `streamutil.bpf.c`.
const SIZE_BITS: usize = 33;

/// How many messages a stream has sent, by the number of bits of their length: `struct sizes` of
/// `streamutil.bpf.c`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct RawSizes {
    message: u32,
    by_bits: [u32; SIZE_BITS],
}

same_layout!(types;
    @streams;
    RawAbandoned = abandoned { sent, unsent };
    RawAssoc = assoc_stats {
        last_chunk, recount_ns, counted_before, unseen, refused, discarded, abandoned, abandoned_before, outcnt,
        lobby, lobby_generation, beyond, unknown_change
    };
    RawStream = stream_stats {
        payload_bytes, chunks, unordered, messages, rtx_chunks, rtx_bytes, hol_messages, hol_wait_ns, hol_blocked_ns,
        hol_ns, waiting, lobby_generation, known
    };
    RawSizes = sizes { message, by_bits };
    RawAccounting = accounting {
        assocs_evicted, streams_evicted, events_evicted, events_gone, no_place, unseen, uncounted,
        lobby_limit, no_id
    };
);

/// Number of counters of a stream, as `counters()` returns them.
const COUNTERS: usize = 9;
/// Number of counters of an association, as `undelivered()` returns them.
const UNDELIVERED: usize = 4;
/// The key of an element of a [`Baseline`] that was never used.
const NOBODY: u64 = u64::MAX;

/// The tables of the loaded programs of `sctp-streamutil`.
pub struct Programs {
    pub(crate) tables: Tables<RawAssoc, RawStream>,
    /// The map of the histograms of the lengths of messages; `None` unless they are gathered.
    pub(crate) sizes: Option<MapHandle>,
    pub(crate) baseline: Baseline<COUNTERS>,
    /// The baseline of what associations did not deliver; empty unless [`Config::extended`].
    pub(crate) undelivered: Baseline<UNDELIVERED>,
    /// When the current interval began, on `CLOCK_MONOTONIC`.
    pub(crate) interval_began: Duration,
}

impl Program for Programs {
    const NAME: &'static str = "streamutil_bpf";
    const OBJECT: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/streamutil.o"));
    const MARKED: Option<&'static str> = Some("streamutil_assign");

    type Sizes = Sizes;
    /// No events come through a ring buffer: `sctp-streamutil` has no records.
    type Event = [u8; 0];
    type Accounting = RawAccounting;
    type Record = ();
    type Row = Row;

    fn configure(open: &mut OpenPrograms, config: &Config, sizes: &Sizes) -> Result<(), Error> {
        let len = Tables::<RawAssoc, RawStream>::configure(open, config, sizes)?;
        if config.filter.addr.is_some() {
            open.settings.wants |= WANT_PATHS;
        }
        if config.extended {
            open.settings.wants |= WANT_EXTENDED;
        } else {
            open.leave_out("streamutil_x_");
        }
        if config.histograms {
            open.settings.wants |= WANT_SIZES;
            open.resize("sizes", len)?;
        }
        Ok(())
    }

    fn new(object: &Object, settings: &Settings, config: &Config) -> Result<Self, Error> {
        let len = |wanted, mask| if wanted { mask as usize + 1 } else { 0 };
        Ok(Self {
            tables: Tables::new(object, settings, config)?,
            sizes: if config.histograms { Some(map(object, "sizes")?) } else { None },
            baseline: Baseline::new(len(config.intervals, settings.stream_mask)),
            undelivered: Baseline::new(len(config.intervals && config.extended, settings.assoc_mask)),
            interval_began: kernel::now(),
        })
    }

    fn decode(&mut self, _: &[u8; 0]) {}

    fn interval(&mut self, moment: Moment) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        let period = moment.now.saturating_sub(mem::replace(&mut self.interval_began, moment.now));
        let Self { tables, baseline, undelivered: of_assocs, .. } = self;
        let mut last = None;
        let streams = tables.interval(moment)?.map(move |found| {
            // All streams of an association come in a row: what it did not deliver goes with the first one.
            let generation = found.association.generation;
            let is_first = last.replace(generation) != Some(generation);
            let undelivered = if is_first {
                of_assocs.subtract(found.stream.assoc, generation.into(), undelivered(&found))
            } else {
                [0; UNDELIVERED]
            };
            let counters =
                baseline.subtract(found.place.index, found.place.serial(), counters(&found, moment.now));
            Part {
                total_streams: found.assoc.stats.outcnt,
                period,
                undelivered: Undelivered::of(undelivered),
                stream: named(found.stream.sid, counters),
                association: found.association,
            }
        });
        Ok(group(streams))
    }

    fn totals(
        &mut self,
        due: Due,
        moment: Moment,
    ) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        let Self { tables, sizes, .. } = self;
        let streams = tables.due(due, moment)?.map(move |found| {
            let period = until(&found, moment.now).saturating_sub(found.association.first);
            let sizes = sizes.as_ref().and_then(|map| read_sizes(map, found.place.index)).map(Box::new);
            let counters = counters(&found, moment.now);
            Part {
                total_streams: found.assoc.stats.outcnt,
                period,
                undelivered: Undelivered::of(undelivered(&found)),
                stream: Stream { sizes, ..named(found.stream.sid, counters) },
                association: found.association,
            }
        });
        Ok(group(streams))
    }

    fn changed(&mut self, moment: Moment) -> Result<impl Iterator<Item = Result<Change<Row>, Error>>, Error> {
        let waits = |streams: &Table<RawEntry<RawStream>>, index| {
            let waiting = offset_of!(RawEntry<RawStream>, stats) + offset_of!(RawStream, waiting);
            streams.word(index, waiting).is_some_and(|word| halves(word)[0] != 0)
        };
        Ok(self.tables.changed(moment, waits)?.map(move |found| {
            let row = Row {
                association: found.association.clone(),
                total_streams: found.assoc.stats.outcnt,
                period: until(&found, moment.now).saturating_sub(found.association.first),
                undelivered: Undelivered::of(undelivered(&found)),
                streams: vec![named(found.stream.sid, counters(&found, moment.now))],
            };
            Ok(found.change(row, Vec::new()))
        }))
    }

    fn accounting(&self, counted: &RawAccounting, misses: u64) -> Accounting {
        Accounting { unseen: Some(counted.unseen), ..self.tables.accounting(counted, misses) }
    }
}

/// The histogram of the lengths of messages of the stream at `index`. `None` if it cannot be read, which does
/// not happen with an array.
fn read_sizes(map: &MapHandle, index: u32) -> Option<Histogram> {
    let mut bytes = [0; size_of::<RawSizes>()];
    map.lookup_into(&index.to_ne_bytes(), &mut bytes, MapFlags::ANY).ok()?;
    RawSizes::read_from_bytes(&bytes).ok().map(|sizes| Histogram::of_bits(&sizes.by_bits))
}

/// The counters of streams, or of associations, as they stood at the last interval, by the index of the entry.
/// Resident from the start, so that memory does not grow with traffic; empty without intervals.
pub(crate) struct Baseline<const N: usize> {
    /// By index of an entry: a key that names the stream or association that has it, and the counters.
    entries: Vec<(u64, [u64; N])>,
}

impl<const N: usize> Baseline<N> {
    /// A baseline of `len` entries, which has no counters yet.
    pub(crate) fn new(len: usize) -> Self {
        Self { entries: vec![(NOBODY, [NOBODY; N]); len] }
    }

    /// Subtracts from the counters of the entry at `index` their values at the last interval, if the entry had
    /// the same `key` then, and keeps the present values for the next.
    fn subtract(&mut self, index: u32, key: u64, mut counters: [u64; N]) -> [u64; N] {
        if let Some((owner, baseline)) = self.entries.get_mut(index as usize) {
            let same = mem::replace(owner, key) == key;
            for (counter, before) in counters.iter_mut().zip(baseline) {
                let before = mem::replace(before, *counter);
                if same {
                    *counter = counter.saturating_sub(before);
                }
            }
        }
        counters
    }
}

/// What the association of a stream did not deliver.
fn undelivered(found: &Found<RawAssoc, RawStream>) -> [u64; UNDELIVERED] {
    let a = &found.assoc.stats;
    [a.refused, a.discarded, a.abandoned.sent, a.abandoned.unsent]
}

/// The moment up to which a stream's statistics go: the end of its association, or `now` while the
/// association lives.
fn until(found: &Found<RawAssoc, RawStream>, now: Duration) -> Duration {
    if found.association.ended.is_some() { found.association.ended_at } else { now }
}

/// The counters of a stream. Messages that still wait count as if their wait ended at `now`.
fn counters(found: &Found<RawAssoc, RawStream>, now: Duration) -> [u64; COUNTERS] {
    let s = &found.stream.stats;
    // Messages that were counted in a former `lobby_generation` have left the lobby.
    let waits = s.lobby_generation == found.assoc.stats.lobby_generation && s.waiting > 0;
    let since = if waits { (until(found, now).as_nanos() as u64).saturating_sub(s.hol_ns) } else { 0 };
    [
        s.payload_bytes,
        s.chunks,
        s.unordered,
        s.messages,
        s.rtx_chunks,
        s.rtx_bytes,
        s.hol_messages,
        s.hol_wait_ns.saturating_add(u64::from(s.waiting).saturating_mul(since)),
        s.hol_blocked_ns.saturating_add(since),
    ]
}

fn named(stream_id: u16, counters: [u64; COUNTERS]) -> Stream {
    let [payload_bytes, chunks, unordered, messages, rtx_chunks, rtx_bytes, hol_messages, wait, blocked] =
        counters;
    Stream {
        stream_id,
        payload_bytes,
        chunks,
        unordered,
        messages,
        rtx_chunks,
        rtx_bytes,
        hol_messages,
        hol_wait: Duration::from_nanos(wait),
        hol_blocked: Duration::from_nanos(blocked),
        sizes: None,
    }
}

/// A stream, and what the row says about the association. The row takes `undelivered` from the first stream of
/// the association.
struct Part {
    association: Association,
    total_streams: u32,
    period: Duration,
    undelivered: Undelivered,
    stream: Stream,
}

/// Groups streams into rows, one per association, and leaves out idle streams, and associations in which nothing
/// happened. All streams of an association have to come in a row.
fn group(parts: impl Iterator<Item = Part>) -> impl Iterator<Item = Result<Row, Error>> {
    let mut parts = parts.peekable();
    iter::from_fn(move || {
        loop {
            let Part { association, total_streams, period, undelivered, stream } = parts.next()?;
            let mut streams = Vec::new();
            let mut next = Some(stream);
            while let Some(stream) = next {
                if !stream.is_idle() {
                    if streams.is_empty() {
                        // So that a vector of 65,535 streams does not grow by doubling. What is not used is not
                        // resident.
                        streams.reserve_exact(total_streams.clamp(1, 1 << 16) as usize);
                    }
                    streams.push(stream);
                }
                let is_own = |part: &Part| part.association.generation == association.generation;
                next = parts.next_if(is_own).map(|part| part.stream);
            }
            if !streams.is_empty() || undelivered != Undelivered::default() {
                return Some(Ok(Row { association, total_streams, period, undelivered, streams }));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::{Assoc, Stream as Entry};
    use crate::streams::Place;

    fn zeroed<T: FromBytes>() -> T {
        T::new_zeroed()
    }

    /// A stream on which two messages wait. One second of each wait is counted already, up to second 5.
    fn found(ended: Option<u64>) -> Found<RawAssoc, RawStream> {
        let second = 1_000_000_000;
        let mut assoc: Assoc<RawAssoc> = zeroed();
        let mut stream: Entry<RawStream> = zeroed();
        (assoc.generation, assoc.stats.lobby_generation) = (1, 7);
        (assoc.ended, assoc.ended_ns) = (u32::from(ended.is_some()), ended.unwrap_or(0) * second);
        let stats = &mut stream.stats;
        (stats.waiting, stats.lobby_generation, stats.hol_ns) = (2, 7, 5 * second);
        (stats.hol_wait_ns, stats.hol_blocked_ns, stats.hol_messages) = (2 * second, second, 2);
        let place = Place { key: (3, 1, 0), made: 1, index: 0 };
        Found { place, association: Association::from(&assoc), assoc, stream }
    }

    fn waits(found: &Found<RawAssoc, RawStream>, now: u64) -> (u64, u64) {
        let stream = named(0, counters(found, Duration::from_secs(now)));
        assert!(!stream.is_idle());
        (stream.hol_wait.as_secs(), stream.hol_blocked.as_secs())
    }

    #[test]
    fn what_waits_waits_up_to_now() {
        assert_eq!(waits(&found(None), 5), (2, 1));
        assert_eq!(waits(&found(None), 15), (22, 11));
        assert_eq!(waits(&found(Some(6)), 15), (4, 2), "its association has ended");
        let mut left = found(None);
        left.assoc.stats.lobby_generation = 8;
        assert_eq!(waits(&left, 15), (2, 1), "the lobby was empty since");
    }

    /// Messages that wait during the whole run add a part of their wait to each interval.
    #[test]
    fn each_interval_has_its_share_of_a_wait() {
        let mut baseline = Baseline::new(1);
        let found = found(None);
        let share = |baseline: &mut Baseline<COUNTERS>, now| {
            let counters =
                baseline.subtract(0, found.place.serial(), counters(&found, Duration::from_secs(now)));
            let stream = named(0, counters);
            (stream.is_idle(), stream.hol_wait.as_secs())
        };
        assert_eq!(
            [6, 7, 8, 18].map(|now| share(&mut baseline, now)),
            [(false, 4), (false, 2), (false, 2), (false, 20)]
        );
    }

    /// A stream that was evicted, and came back to the entry that it had, begins at zero again.
    #[test]
    fn a_stream_made_anew_shows_all_of_its_traffic() {
        let mut baseline = Baseline::new(4);
        let mut chunks = |made, chunks| {
            let place = Place { key: (3, 9, 5), made, index: 2 };
            baseline.subtract(place.index, place.serial(), [chunks; COUNTERS])[1]
        };
        assert_eq!([chunks(1, 100), chunks(1, 150), chunks(2, 30), chunks(2, 35)], [100, 50, 30, 5]);
    }

    fn part(generation: u32, stream_id: u16, chunks: u64, refused_invalid_stream: u64) -> Part {
        let mut assoc: Assoc<RawAssoc> = zeroed();
        assoc.generation = generation;
        Part {
            association: Association::from(&assoc),
            total_streams: 10,
            period: Duration::ZERO,
            undelivered: Undelivered { refused_invalid_stream, ..Undelivered::default() },
            stream: Stream { stream_id, chunks, ..Stream::default() },
        }
    }

    /// An association has a row if anything happened: on a stream, or a send that was refused. What was not
    /// delivered is taken from the first stream, idle or not.
    #[test]
    fn an_association_without_streams_has_a_row_if_sends_were_refused() {
        let parts = [
            part(1, 0, 0, 0),
            part(2, 0, 0, 3),
            part(3, 0, 0, 2),
            part(3, 1, 5, 0),
            part(3, 2, 0, 0),
            part(3, 3, 6, 0),
            part(4, 0, 0, 0),
        ];
        let rows: Vec<_> = group(parts.into_iter())
            .map(|row| row.unwrap())
            .map(|row| {
                let streams: Vec<_> = row.streams.iter().map(|s| (s.stream_id, s.chunks)).collect();
                (row.association.generation, row.undelivered.refused_invalid_stream, streams)
            })
            .collect();
        assert_eq!(rows, [(2, 3, vec![]), (3, 2, vec![(1, 5), (3, 6)])]);
    }
}
