//! What the streams of an association carry (`streamutil.bpf.c`).

use std::{io, iter, mem::MaybeUninit, os::fd::AsFd, time::Duration};

use libbpf_rs::{
    MapCore, MapFlags, OpenObject,
    skel::{OpenSkel, Skel, SkelBuilder},
};
use nix::time::{ClockId, clock_gettime};

pub use crate::streams::{Accounting, Association, Config};
use crate::{
    Error, Histogram, Rung,
    attach::{Links, attach_loaded, climb, leave_out, malformed, missed, name_module},
    pod::{self, Pod},
    streams::{
        Place, StreamProbe, Tables, may_have_events, pool_used, prepare_streams, step_epoch,
        stream_accounting, stream_entries,
    },
    wants,
};

#[allow(missing_docs, clippy::all, clippy::absolute_paths, clippy::wildcard_imports, unused_qualifications)]
#[allow(clippy::undocumented_unsafe_blocks, dead_code)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/streamutil.skel.rs"));
}
use skel::{StreamutilSkel, StreamutilSkelBuilder, types};

stream_entries!(types);
// SAFETY: a struct of integers, generated from the C one.
unsafe impl Pod for types::sizes {}

/// Words that an interval needs of the one before it, per stream: association and stream id, and [`COUNTERS`].
const EARLIER: usize = 1 + COUNTERS;
const COUNTERS: usize = 9;
/// Of no association.
const NOBODY: u64 = u64::MAX;

/// One stream of one association: what was sent on it, and how what was received on it had to wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Stream identifier.
    pub stream_id: u16,
    /// User data sent, without retransmissions.
    pub payload_bytes: u64,
    /// Its chunks.
    pub chunks: u64,
    /// Chunks of those that were sent unordered.
    pub unordered: u64,
    /// Messages sent to their end.
    pub messages: u64,
    /// Chunks sent again.
    pub rtx_chunks: u64,
    /// User data in those.
    pub rtx_bytes: u64,
    /// Received messages that had to wait for one before them.
    pub hol_messages: u64,
    /// How long they waited, all taken together.
    pub hol_wait: Duration,
    /// How long at least one of them waited.
    pub hol_blocked: Duration,
    /// Of the lengths of messages sent, in bytes; only in totals, and if [`Config::histograms`].
    pub sizes: Option<Histogram>,
}

impl Stream {
    /// Is there nothing to tell of it?
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.chunks == 0 && self.rtx_chunks == 0 && self.hol_wait.is_zero()
    }
}

/// One association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Who.
    pub association: Association,
    /// Outbound streams: as negotiated, and added since (RFC 6525).
    pub total_streams: u32,
    /// How long the statistics cover.
    pub period: Duration,
    /// Streams that are not idle, by their identifiers.
    pub streams: Vec<Stream>,
}

/// A running trace.
pub struct Streamutil {
    // Declared, and so dropped, in this order.
    links: Links,
    tables: Tables<types::assoc, types::stream>,
    rung: Rung,
    skel: StreamutilSkel<'static>,
    histograms: bool,
    /// When the last interval ended, on `CLOCK_MONOTONIC`.
    stepped: Duration,
    /// When the programs were detached.
    detached: Option<Duration>,
    /// By place in the pool, [`EARLIER`] words as they stood at the last interval. Resident from the start, so that
    /// memory does not grow with traffic.
    earlier: Vec<u64>,
}

impl Streamutil {
    /// Loads and attaches the programs. What may be missing here has been asked before, by [`crate::kernel::can_trace`].
    ///
    /// # Errors
    /// [`Error::Absent`] where too few files may be open, [`Error::Refused`] where the kernel does not accept the
    /// programs on any rung.
    pub fn open(config: &Config) -> Result<Self, Error> {
        climb(config.rung, |rung| Self::open_on(rung, config))
    }

    fn open_on(rung: Rung, config: &Config) -> Result<Self, Error> {
        // The skeleton borrows its object; one per process and run, so it may stay until exit.
        let object = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = StreamutilSkelBuilder::default().open(object)?;
        let len = prepare_streams!(open, config, rung);
        open.maps.frames.set_autocreate(rung == Rung::Kprobe)?;
        let rodata = open.maps.rodata_data.as_deref_mut().ok_or_else(malformed)?;
        rodata.wants = wants::bits(&[(wants::EXTENDED, config.extended), (wants::SIZES, config.histograms)]);
        open.maps.sizes.set_max_entries(if config.histograms { len } else { 1 })?;
        // Which path a chunk takes is only told by the costlier hook.
        let other = if config.filter.addr.is_some() { "streamutil_assign" } else { "streamutil_append" };
        leave_out(open.open_object_mut(), other);
        if !config.extended {
            leave_out_receive_side(open.open_object_mut());
        }
        name_module(open.open_object_mut())?;
        let skel = open.load()?;
        Ok(Self {
            links: attach_loaded(skel.object())?,
            tables: Tables::new(&skel.maps.bss_assocs.as_fd(), &skel.maps.bss_streams.as_fd(), len)?,
            skel,
            rung,
            histograms: config.histograms,
            stepped: now(),
            detached: None,
            earlier: vec![NOBODY; if config.intervals { len as usize * EARLIER } else { 0 }],
        })
    }

    /// Statistics since the start, of those associations that are due, by the interval in which they ended:
    /// `None` while they live.
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    pub fn totals(
        &mut self,
        is_due: impl Fn(Option<u32>) -> bool,
    ) -> Result<impl Iterator<Item = Stats>, Error> {
        let now = self.now();
        let due = self.sort(is_due)?;
        let streams = (0..due).filter_map(move |n| {
            let (place, association, assoc, stream) = self.tables.get(n)?;
            let until = if association.ended.is_some() { association.ended_at } else { now };
            let period = until.saturating_sub(association.first);
            let sizes = self.sizes(place.index);
            let stream = Stream { sizes, ..named(stream.sid, counters(&stream, now)) };
            Some((association, assoc.stats.outcnt, period, stream))
        });
        Ok(group(streams))
    }

    fn sort(&mut self, is_due: impl Fn(Option<u32>) -> bool) -> io::Result<usize> {
        self.tables.sort(&self.skel.maps.bss_streams.as_fd(), pool_used!(self.skel), is_due)
    }

    /// Statistics since the last call, of every association of which there are any, when [`Streamutil::step`] has just
    /// ended the interval with this number. Needs [`Config::intervals`].
    ///
    /// # Errors
    /// Where the kernel does not let a table be read.
    pub fn interval(&mut self, number: u32) -> Result<impl Iterator<Item = Stats>, Error> {
        let now = self.now();
        let period = now.saturating_sub(self.stepped);
        self.stepped = now;
        let all = self.sort(|ended| may_have_events(ended, number))?;
        let streams = (0..all).filter_map(move |n| {
            let (place, association, assoc, stream) = self.tables.get(n)?;
            let counters = self.since(&place, counters(&stream, now));
            Some((association, assoc.stats.outcnt, period, named(stream.sid, counters)))
        });
        Ok(group(streams))
    }

    /// The histogram of a stream; `None` unless asked for. A look into an array cannot fail.
    fn sizes(&self, index: u32) -> Option<Histogram> {
        if !self.histograms {
            return None;
        }
        let mut bytes = [0; size_of::<types::sizes>()];
        self.skel.maps.sizes.lookup_into(&index.to_ne_bytes(), &mut bytes, MapFlags::ANY).ok()?;
        pod::read::<types::sizes>(&bytes).map(|sizes| Histogram::of_bits(&sizes.by_bits))
    }

    /// What counters got since the last interval; as they stand now is kept for the next.
    fn since(&mut self, place: &Place, mut counters: [u64; COUNTERS]) -> [u64; COUNTERS] {
        let start = place.index as usize * EARLIER;
        if let Some([own, earlier @ ..]) = self.earlier.get_mut(start..start + EARLIER) {
            let key = u64::from(place.key.1) << 16 | u64::from(place.key.2);
            let same = std::mem::replace(own, key) == key;
            for (counter, before) in counters.iter_mut().zip(earlier) {
                let before = std::mem::replace(before, *counter);
                if same {
                    *counter = counter.saturating_sub(before);
                }
            }
        }
        counters
    }

    /// Of twins of fentry one at least is run; kprobes have none.
    fn missed(&self) -> u64 {
        if self.rung == Rung::Kprobe { self.links.missed() + missed(self.skel.object()) } else { 0 }
    }

    fn now(&self) -> Duration {
        self.detached.unwrap_or_else(now)
    }
}

impl StreamProbe for Streamutil {
    fn step(&mut self) -> u32 {
        step_epoch!(self.skel)
    }

    fn detach(&mut self) {
        self.links.detach();
        self.detached = Some(now());
    }

    fn accounting(&self) -> Accounting {
        Accounting { missed: self.missed(), ..stream_accounting!(self.skel, self.tables) }
    }
}

fn leave_out_receive_side(object: &mut OpenObject) {
    const SENDING: [&str; 10] = [
        "streamutil_assign",
        "streamutil_assign_twin",
        "streamutil_assign_kprobe",
        "streamutil_append",
        "streamutil_append_twin",
        "streamutil_append_kprobe",
        "streamutil_append_over_kprobe",
        "streamutil_free",
        "streamutil_free_twin",
        "streamutil_free_kprobe",
    ];
    for mut program in object.progs_mut() {
        let name = program.name().to_string_lossy();
        if name.starts_with("streamutil_") && !SENDING.contains(&&*name) {
            program.set_autoload(false);
        }
    }
}

fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(tables: &crate::fuzz::Bytes<'_>) {
    let mut streams = Vec::new();
    tables.streams::<types::assoc, types::stream>(|association, assoc, stream| {
        let counters = counters(&stream, Duration::from_secs(1 << 40));
        streams.push((association, assoc.stats.outcnt, association.ended_at, named(stream.sid, counters)));
    });
    group(streams.into_iter()).for_each(drop);
}

/// The counters of an entry, with what waits now waiting until `now`.
fn counters(stream: &types::stream, now: Duration) -> [u64; COUNTERS] {
    let s = &stream.stats;
    let since = if s.waiting > 0 { (now.as_nanos() as u64).saturating_sub(s.hol_ns) } else { 0 };
    [
        s.payload_bytes,
        s.chunks,
        s.unordered,
        s.messages,
        s.rtx_chunks,
        s.rtx_bytes,
        s.hol_messages,
        s.hol_wait_ns.saturating_add(s.waiting.saturating_mul(since)),
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

/// Streams, which come by association, as associations; idle ones left out.
fn group(streams: impl Iterator<Item = (Association, u32, Duration, Stream)>) -> impl Iterator<Item = Stats> {
    let mut streams = streams.filter(|(_, _, _, stream)| !stream.is_idle()).peekable();
    iter::from_fn(move || {
        let (association, total_streams, period, first) = streams.next()?;
        let mut own = vec![first];
        while let Some((_, _, _, next)) = streams.next_if(|(a, ..)| a.uid == association.uid) {
            own.push(next);
        }
        Some(Stats { association, total_streams, period, streams: own })
    })
}
