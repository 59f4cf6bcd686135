//! Tests `jitter.bpf.c` against a model: each interval between two arrivals of a stream counts once, in the
//! life of the association in which it lies, and no interval spans two lives.

use std::collections::BTreeMap;

use fastrand::Rng;
use sctptrace_native::{
    Hook, Program,
    raw::{Dist, Settings, WANT_EXTENDED, WANT_WINDOWS},
    streams::{self, Accounting, EpochArgs, StreamArgs, data},
};
use zerocopy::FromBytes;

/// `struct assoc_stats` (`jitter.bpf.c`): the program's own part of an association's entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct AssocStats {
    packet_ns: u64,
    packet_end: u64,
    came_before: u32,
    thrown_away: u32,
    reneged: u32,
    uncounted: u32,
}

/// `struct arrivals` (`jitter.bpf.c`): intervals between arrivals of chunks or of messages, and their jitter.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct Arrivals {
    last_ns: u64,
    last_interval_ns: u64,
    jitter16_ns: u64,
    interval: Dist,
}

/// `struct window` (`jitter.bpf.c`): statistics of a stream in one interval of user space.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct Window {
    epoch: u32,
    pad: u32,
    chunks: u64,
    reordered: u64,
    messages: u64,
    chunk: Dist,
    message: Dist,
}

/// `struct stream_stats` (`jitter.bpf.c`): the program's own part of a stream's entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct StreamStats {
    hist: u32,
    pad: u32,
    reordered: u64,
    chunk: Arrivals,
    message: Arrivals,
    window: [Window; 2],
}

/// `struct wrap_args` (`jitter.c`): arguments of the hooks `fill` and `read_wraps`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, zerocopy::Immutable, zerocopy::IntoBytes)]
struct WrapArgs {
    hist: u32,
    count: u32,
}

type Entry = streams::Entry<AssocStats, StreamStats>;

/// Number, sum, minimum and maximum of the intervals between arrivals, and number of chunks that came.
type Sums = (u64, u64, u64, u64, u64);

fn sums(intervals: &[u64], chunks: u64) -> Sums {
    let min = intervals.iter().min().copied().unwrap_or(u64::MAX);
    let max = intervals.iter().max().copied().unwrap_or(0);
    (intervals.len() as u64, intervals.iter().sum(), min, max, chunks)
}

fn of_dist(dist: &Dist, chunks: u64) -> Sums {
    (dist.count, dist.sum, dist.min, dist.max, chunks)
}

/// A stream of a living association: when its last chunk came, and the intervals between its chunks.
#[derive(Clone, Debug, Default)]
struct Stream {
    last: Option<u64>,
    intervals: Vec<u64>,
    chunks: u64,
    /// Intervals between chunks, and number of chunks, in the present interval of user space.
    window: (Vec<u64>, u64),
}

/// Association id, life, and stream.
type Key = (u32, u32, u16);

struct World {
    program: Program,
    arrival: Hook<StreamArgs>,
    end: Hook<StreamArgs>,
    update: Hook<StreamArgs>,
    begin_interval: Hook<EpochArgs>,
    now: u64,
    epoch: u32,
    last_id: u32,
    /// Living associations: index in memory, id, life, next TSN.
    assocs: Vec<(u32, u32, u32, u32)>,
    streams: BTreeMap<Key, Stream>,
    truth: BTreeMap<Key, Vec<Sums>>,
    reported: BTreeMap<Key, Vec<Sums>>,
}

impl World {
    fn new(len: u32, kprobes: bool) -> Self {
        let settings = Settings {
            jiffy_ns: 4_000_000,
            wants: WANT_EXTENDED | WANT_WINDOWS,
            want_reuse: 1,
            assoc_mask: len - 1,
            stream_mask: len - 1,
            place_mask: 4 * len - 1,
            ..Settings::default()
        };
        let mut program = Program::open("jitter", &settings);
        let kernel = program.kernel();
        kernel.kprobes = kprobes.into();
        kernel.has_bpf_rdonly_cast = (!kprobes).into();
        kernel.now_ns = 1;
        Self {
            arrival: program.hook("arrival"),
            end: program.hook("end"),
            update: program.hook("update"),
            begin_interval: program.hook("begin_interval"),
            program,
            now: 1,
            epoch: 1,
            last_id: 0,
            assocs: Vec::new(),
            streams: BTreeMap::new(),
            truth: BTreeMap::new(),
            reported: BTreeMap::new(),
        }
    }

    fn pass(&mut self, ns: u64) {
        self.now += ns;
        let kernel = self.program.kernel();
        kernel.now_ns = self.now;
        kernel.jiffies = self.now / 4_000_000;
    }

    /// Frees a temporary association, which has no id: the kernel makes one when an INIT comes.
    fn intrude(&mut self) {
        self.program.run(self.end, &StreamArgs::new(63, 0), &[]);
    }

    fn begin(&mut self) -> usize {
        let free = (0..63).find(|index| self.assocs.iter().all(|assoc| assoc.0 != *index));
        self.last_id += 1;
        self.assocs.push((free.expect("there is memory for it"), self.last_id, 1, 1));
        self.assocs.len() - 1
    }

    /// A chunk arrives, in a packet of its own.
    fn arrive(&mut self, index: usize, sid: u16) {
        self.intrude();
        let (memory, id, life, tsn) = &mut self.assocs[index];
        let stream = self.streams.entry((*id, *life, sid)).or_default();
        if let Some(last) = stream.last.replace(self.now) {
            stream.intervals.push(self.now - last);
            stream.window.0.push(self.now - last);
        }
        stream.chunks += 1;
        stream.window.1 += 1;
        self.program.run(self.arrival, &StreamArgs::new(*memory, *id), &data(*tsn, sid, 3, 100));
        *tsn += 1;
        self.intrude();
    }

    /// Ends the streams of a life: moves their sums to `truth`.
    fn over(&mut self, id: u32, life: u32) {
        let ended: Vec<Key> =
            self.streams.range((id, life, 0)..=(id, life, u16::MAX)).map(|(key, _)| *key).collect();
        for key in ended {
            let stream = self.streams.remove(&key).expect("it is there");
            self.truth.entry(key).or_default().push(sums(&stream.intervals, stream.chunks));
        }
    }

    fn end(&mut self, index: usize) {
        let (memory, id, life, _) = self.assocs.swap_remove(index);
        self.program.run(self.end, &StreamArgs::new(memory, id), &[]);
        self.over(id, life);
        self.intrude();
    }

    fn restart(&mut self, index: usize) {
        let (memory, id, life, _) = self.assocs[index];
        self.program.run(self.update, &StreamArgs::new(memory, id), &[]);
        self.over(id, life);
        self.assocs[index].2 += 1;
    }

    fn entries(&self) -> Vec<Entry> {
        streams::entries(&self.program)
    }

    /// Ends an interval as user space does: checks the windows of that interval, and reports the associations
    /// that ended in it.
    fn tick(&mut self) {
        let ended = self.epoch;
        self.epoch += 1;
        self.program.run(self.begin_interval, &EpochArgs { epoch: self.epoch }, &[]);
        let entries = self.entries();
        let mut windows = BTreeMap::new();
        for (assoc, streams) in &entries {
            for stream in streams.iter().filter(|_| assoc.ended == 0) {
                let window = &stream.stats.window[(ended & 1) as usize];
                if window.epoch == ended && window.chunks > 0 {
                    let key = (assoc.id.assoc_id, assoc.id.life, stream.sid);
                    windows.insert(key, of_dist(&window.chunk, window.chunks));
                }
            }
        }
        let mut truth = BTreeMap::new();
        for (key, stream) in &mut self.streams {
            let (intervals, chunks) = std::mem::take(&mut stream.window);
            if chunks > 0 {
                truth.insert(*key, sums(&intervals, chunks));
            }
        }
        assert_eq!(windows, truth);
        for entry in entries.iter().filter(|entry| entry.0.ended == ended) {
            self.report(entry);
        }
        self.intrude();
    }

    fn report(&mut self, (assoc, streams): &Entry) {
        for stream in streams {
            let key = (assoc.id.assoc_id, assoc.id.life, stream.sid);
            let chunk = &stream.stats.chunk;
            let sums = of_dist(&chunk.interval, chunk.interval.count + u64::from(chunk.last_ns != 0));
            self.reported.entry(key).or_default().push(sums);
        }
    }

    fn finish(&mut self) {
        let ended = self.epoch;
        for entry in self.entries().iter().filter(|entry| entry.0.ended == 0 || entry.0.ended == ended) {
            self.report(entry);
        }
        for (_, id, life, _) in std::mem::take(&mut self.assocs) {
            self.over(id, life);
        }
        assert_eq!(self.reported, self.truth);
    }

    fn accounting(&self) -> Accounting {
        streams::accounting(&self.program)
    }
}

/// Each stream is reported once per life of its association, with exactly its intervals between arrivals;
/// windows have exactly those of their interval of user space; and no living entry makes room. There are more
/// associations than entries, INITs arrive all the time, and some associations restart.
#[test]
fn each_interval_counts_once() {
    for (seed, kprobes) in [(1, false), (2, true), (3, false), (4, true)] {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::new(64, kprobes);
        for _ in 0..20 {
            let index = world.begin();
            world.arrive(index, 0);
        }
        for _ in 0..200 {
            for _ in 0..4 {
                let short = world.begin();
                for _ in 0..3 {
                    world.pass(rng.u64(1..50_000_000));
                    world.arrive(short, rng.u16(..2));
                    let any = rng.usize(..world.assocs.len());
                    world.arrive(any, 0);
                }
                world.end(short);
            }
            if rng.u32(..4) == 0 {
                let index = rng.usize(..20);
                world.restart(index);
            }
            world.tick();
        }
        let Accounting { events_gone, .. } = world.accounting();
        assert_eq!(world.accounting(), Accounting { events_gone, ..Accounting::default() });
        assert!(events_gone > 0, "no entry was used again");
        let lives = world.truth.keys().map(|key| key.1).max();
        assert!(lives > Some(3), "{lives:?} lives");
        world.finish();
    }
}

/// A histogram's bucket that wraps is counted each time; and the next stream with that histogram begins
/// without wraps.
#[test]
fn a_bucket_that_wraps_is_counted() {
    let mut world = World::new(64, false);
    let (fill, wraps) = (world.program.hook::<WrapArgs>("fill"), "wrapped");
    let index = world.begin();
    world.arrive(index, 5);
    let hist = world.entries()[0].1[0].stats.hist;
    let wrapped = |world: &mut World, count| {
        let read = world.program.hook::<WrapArgs>("read_wraps");
        world.program.run(read, &WrapArgs { hist, count: 0 }, &[]);
        let now: [u32; 2] = world.program.variable(wraps);
        assert_eq!(now, count);
    };
    wrapped(&mut world, [0, 0]);
    for n in 1..4 {
        world.program.run(fill, &WrapArgs { hist, count: u32::MAX }, &[]);
        world.pass(1_000_000);
        world.arrive(index, 5);
        // One bucket has wrapped, `n` times up to now.
        wrapped(&mut world, [n, n]);
    }
    world.end(index);
    for _ in 0..3 {
        world.tick();
    }
    // Other streams come, and one of them gets the ended stream's entry.
    for _ in 0..64 {
        let next = world.begin();
        world.pass(1_000_000);
        world.arrive(next, 1);
        world.end(next);
    }
    assert!(world.entries().iter().any(|entry| entry.1.iter().any(|s| s.stats.hist == hist && s.sid == 1)));
    wrapped(&mut world, [0, 0]);
}

/// An interval may have more than 2^32 chunks.
#[test]
fn the_chunks_of_an_interval_do_not_wrap() {
    let mut world = World::new(64, false);
    let index = world.begin();
    world.arrive(index, 5);
    let hist = world.entries()[0].1[0].stats.hist;
    let fill = world.program.hook::<WrapArgs>("fill_window");
    world.program.run(fill, &WrapArgs { hist, count: u32::MAX }, &[]);
    world.arrive(index, 5);
    assert_eq!(world.entries()[0].1[0].stats.window[world.epoch as usize & 1].chunks, 1 << 32);
}

/// The buckets of a histogram: 16 per octave from 2^12 ns on, and 4 per octave from 2^37 to 2^42. Smaller times
/// are in the first, larger ones in the last.
#[test]
fn buckets_are_as_stats_h_says() {
    let mut world = World::new(64, false);
    let find = world.program.hook::<u64>("find_bucket");
    let mut bucket_of = |ns: u64| {
        world.program.run(find, &ns, &[]);
        world.program.variable::<u32>("bucket")
    };
    let fine = (12..37).flat_map(|octave| (16..32_u64).map(move |n| n << (octave - 4)));
    let coarse = (37..42).flat_map(|octave| (4..8_u64).map(move |n| n << (octave - 2)));
    let starts: Vec<u64> = fine.chain(coarse).collect();
    for (bucket, &start) in (0..).zip(&starts) {
        assert_eq!(bucket_of(start), bucket);
        assert_eq!(bucket_of(start - 1), bucket.saturating_sub(1));
    }
    let last = starts.len() as u32 - 1;
    assert_eq!([0, (1 << 42) - 1, 1 << 42, u64::MAX].map(bucket_of), [0, last, last, last]);
}
