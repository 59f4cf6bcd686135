//! Tests `streamutil.bpf.c` against a model: each chunk counts once, in the association and stream that sent
//! it; each life of an association is reported once; and the messages counted as waiting are those in the
//! kernel's ordering lobby.

#[path = "streamutil/undelivered.rs"]
mod undelivered;

use std::collections::BTreeMap;

use fastrand::Rng;
use sctptrace_native::{
    Hook, Program,
    raw::{Settings, WANT_EXTENDED},
    streams::{self, Accounting, ESTABLISHED, EpochArgs, StreamArgs, data},
};
use zerocopy::FromBytes;

/// `struct assoc_stats` (`streamutil.bpf.c`): the program's own part of an association's entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct AssocStats {
    last_chunk: u64,
    recount_ns: u64,
    counted_before: u64,
    unseen: u64,
    refused: u64,
    discarded: u64,
    abandoned: [u64; 2],
    abandoned_before: [u64; 2],
    outcnt: u32,
    lobby: u32,
    lobby_generation: u32,
    beyond: u32,
    unknown_change: u8,
    pad: [u8; 7],
}

/// `struct stream_stats` (`streamutil.bpf.c`): the program's own part of a stream's entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct StreamStats {
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

type Entry = streams::Entry<AssocStats, StreamStats>;
type RawStream = sctptrace_native::raw::Stream<StreamStats>;

/// Chunks sent on a stream, and their bytes of user data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    chunks: u64,
    bytes: u64,
    rtx_chunks: u64,
    rtx_bytes: u64,
}

type Carried = BTreeMap<u16, Sums>;

fn carried(entry: &Entry) -> Carried {
    let sums = |stats: &StreamStats| Sums {
        chunks: stats.chunks,
        bytes: stats.payload_bytes,
        rtx_chunks: stats.rtx_chunks,
        rtx_bytes: stats.rtx_bytes,
    };
    entry.1.iter().map(|stream| (stream.sid, sums(&stream.stats))).collect()
}

/// How the programs are attached, and the size and the reuse of their tables.
#[derive(Clone, Copy, Debug)]
struct Setup {
    kprobes: bool,
    cast: bool,
    len: u32,
    reuse: bool,
}

impl Setup {
    const ROOMY: Self = Self { kprobes: false, cast: true, len: 1024, reuse: true };
}

/// Association id, and number of the life.
type Life = (u32, u32);

/// A living association.
#[derive(Clone, Debug)]
struct Assoc {
    args: StreamArgs,
    life: u32,
    sent: Carried,
}

impl Assoc {
    fn life(&self) -> Life {
        (self.args.assoc.assoc_id, self.life)
    }
}

struct World {
    program: Program,
    sent: Hook<StreamArgs>,
    end: Hook<StreamArgs>,
    update: Hook<StreamArgs>,
    begin_interval: Hook<EpochArgs>,
    now: u64,
    epoch: u32,
    last_id: u32,
    assocs: Vec<Assoc>,
    /// What each ended life has sent.
    ended: BTreeMap<Life, Carried>,
    /// What user space has reported of each life: one element per report.
    reported: BTreeMap<Life, Vec<Carried>>,
    /// True if temporary associations, which have no id, end between all other events.
    intruder: bool,
}

impl World {
    fn new(setup: Setup) -> Self {
        let settings = Settings {
            jiffy_ns: 4_000_000,
            wants: WANT_EXTENDED,
            want_reuse: setup.reuse.into(),
            assoc_mask: setup.len - 1,
            stream_mask: setup.len - 1,
            place_mask: 4 * setup.len - 1,
            ..Settings::default()
        };
        let mut program = Program::open("streamutil", &settings);
        let kernel = program.kernel();
        kernel.kprobes = setup.kprobes.into();
        kernel.has_bpf_rdonly_cast = setup.cast.into();
        kernel.now_ns = 1;
        Self {
            sent: program.hook("sent"),
            end: program.hook("end"),
            update: program.hook("update"),
            begin_interval: program.hook("begin_interval"),
            program,
            now: 1,
            epoch: 1,
            last_id: 0,
            assocs: Vec::new(),
            ended: BTreeMap::new(),
            reported: BTreeMap::new(),
            intruder: false,
        }
    }

    fn pass(&mut self, ns: u64) {
        self.now += ns;
        let kernel = self.program.kernel();
        kernel.now_ns = self.now;
        kernel.jiffies = self.now / 4_000_000;
    }

    /// If `intruder` is set, frees a temporary association, which has no id: the kernel makes one for an
    /// INIT, or for a cookie that comes twice.
    fn intrude(&mut self) {
        if self.intruder {
            self.program.run(self.end, &StreamArgs::new(63, 0), &[]);
        }
    }

    /// Begins an association in the first free memory, which another may have used before.
    fn begin(&mut self) -> usize {
        let free = (0..63).find(|index| self.assocs.iter().all(|assoc| assoc.args.assoc.index != *index));
        self.last_id = self.last_id % i32::MAX as u32 + 1;
        let mut args = StreamArgs::new(free.expect("there is memory for it"), self.last_id);
        args.assoc.next_tsn = self.last_id.wrapping_mul(0x9e37_79b9);
        self.assocs.push(Assoc { args, life: 1, sent: Carried::new() });
        self.assocs.len() - 1
    }

    /// Sends a new chunk or, with `again`, the last one once more.
    fn send(&mut self, index: usize, stream: u16, bytes: u16, again: bool) {
        self.intrude();
        let assoc = &mut self.assocs[index];
        assoc.args.times = if again { assoc.args.times + 1 } else { 0 };
        assoc.args.stream = stream.into();
        let sums = assoc.sent.entry(stream).or_default();
        if !again {
            sums.chunks += 1;
            sums.bytes += u64::from(bytes);
        } else {
            sums.rtx_chunks += 1;
            sums.rtx_bytes += u64::from(bytes);
        }
        let chunk = data(0, stream, 3, bytes);
        self.program.run(self.sent, &assoc.args, &chunk);
        assoc.args.counted += 1;
        assoc.args.assoc.next_tsn = assoc.args.assoc.next_tsn.wrapping_add(u32::from(!again));
        self.intrude();
    }

    /// Ends an association.
    fn end(&mut self, index: usize) {
        let assoc = self.assocs.swap_remove(index);
        self.program.run(self.end, &assoc.args, &[]);
        self.ended.insert(assoc.life(), assoc.sent);
        self.intrude();
    }

    /// Runs `sctp_assoc_update()`, which restarts an association that is up; before it is up, no life ends.
    fn update(&mut self, index: usize, state: u32) {
        let assoc = &mut self.assocs[index];
        self.program.run(self.update, &StreamArgs { state, ..assoc.args }, &[]);
        // No test restarts an association of which the program has seen nothing.
        if state >= ESTABLISHED && (assoc.life > 1 || !assoc.sent.is_empty()) {
            self.ended.insert(assoc.life(), std::mem::take(&mut assoc.sent));
            assoc.life += 1;
            assoc.args.assoc.next_tsn = 1000;
        }
        self.intrude();
    }

    fn entries(&self) -> Vec<Entry> {
        streams::entries(&self.program)
    }

    /// Ends an interval as user space does, and reports the associations that ended in it.
    fn tick(&mut self) {
        let ended = self.epoch;
        self.epoch += 1;
        self.program.run(self.begin_interval, &EpochArgs { epoch: self.epoch }, &[]);
        for entry in self.entries().iter().filter(|entry| entry.0.ended == ended) {
            self.report(entry);
        }
        self.intrude();
    }

    fn report(&mut self, entry: &Entry) {
        let carried = carried(entry);
        if !carried.is_empty() {
            self.reported.entry((entry.0.id.assoc_id, entry.0.id.life)).or_default().push(carried);
        }
    }

    /// Ends the run: reports the living associations, and those that ended in the last interval.
    fn finish(&mut self) {
        let ended = self.epoch;
        for entry in self.entries().iter().filter(|entry| entry.0.ended == 0 || entry.0.ended == ended) {
            self.report(entry);
        }
        for assoc in self.assocs.drain(..) {
            self.ended.insert(assoc.life(), assoc.sent);
        }
    }

    fn accounting(&self) -> Accounting {
        streams::accounting(&self.program)
    }

    /// Asserts that each life that has sent was reported once, with all that it sent.
    fn check_reports(&mut self) {
        self.ended.retain(|_, sent| !sent.is_empty());
        let truth: BTreeMap<_, _> = self.ended.iter().map(|(id, sent)| (*id, vec![sent.clone()])).collect();
        assert_eq!(self.reported, truth);
    }
}

/// How many associations a run has, and what they do.
#[derive(Clone, Copy, Debug)]
struct Traffic {
    /// Number of long associations, which live for the whole run.
    living: usize,
    /// Number of short associations per interval, which begin and end in it.
    short: usize,
    /// Number of chunks that each short association sends.
    chunks: usize,
    streams: u16,
    /// True if `World::update` is called for one of the long associations in each interval.
    restarts: bool,
    intervals: usize,
}

/// Runs long and short associations, which send in random order, up to the end of the run.
fn run(world: &mut World, traffic: Traffic, rng: &mut Rng) {
    for _ in 0..traffic.living {
        let index = world.begin();
        world.send(index, rng.u16(..traffic.streams), rng.u16(1..1400), false);
    }
    for _ in 0..traffic.intervals {
        for _ in 0..traffic.short {
            let short = world.begin();
            for _ in 0..traffic.chunks {
                world.pass(rng.u64(..10_000_000));
                world.send(short, rng.u16(..traffic.streams), rng.u16(1..1400), false);
                let any = rng.usize(..world.assocs.len());
                world.send(any, rng.u16(..traffic.streams), rng.u16(1..1400), rng.bool());
            }
            world.end(short);
        }
        if traffic.restarts {
            let index = rng.usize(..traffic.living);
            world.update(index, [2, ESTABLISHED, ESTABLISHED + 2][rng.usize(..3)]);
        }
        world.tick();
    }
    world.finish();
}

/// Each association is reported once, though there are more associations than entries, and INITs arrive all
/// the time.
#[test]
fn each_association_is_reported_once() {
    for (seed, kprobes) in [(1, false), (2, true), (3, false)] {
        let mut world = World::new(Setup { len: 64, kprobes, ..Setup::ROOMY });
        world.intruder = true;
        let traffic = Traffic { living: 4, short: 5, chunks: 3, streams: 2, restarts: false, intervals: 100 };
        run(&mut world, traffic, &mut Rng::with_seed(seed));
        assert_eq!(world.accounting().assocs_evicted, 0);
        world.check_reports();
    }
}

/// A temporary association, which has no id, never gets an entry: a chunk of it would be counted in `no_place`.
#[test]
fn a_temporary_association_has_no_entry() {
    let mut world = World::new(Setup::ROOMY);
    world.program.run(world.sent, &StreamArgs::new(63, 0), &data(0, 0, 3, 100));
    assert!(world.entries().is_empty());
    assert_eq!(world.accounting(), Accounting { no_place: 1, ..Accounting::default() });
}

/// In tables smaller than the traffic nothing is evicted as long as there is an ended entry that was shown,
/// wherever that entry lies.
#[test]
fn nothing_living_makes_room_while_there_are_dead_ones() {
    for seed in 1..6 {
        for (len, living) in [(64, 20), (64, 32), (256, 48)] {
            let mut world = World::new(Setup { len, ..Setup::ROOMY });
            let short = (len as usize - living) / 8;
            let traffic = Traffic { living, short, chunks: 2, streams: 1, restarts: false, intervals: 200 };
            run(&mut world, traffic, &mut Rng::with_seed(seed));
            let Accounting { events_gone, .. } = world.accounting();
            assert_eq!(world.accounting(), Accounting { events_gone, ..Accounting::default() });
            assert!(events_gone > 0, "no entry was used again");
            world.check_reports();
        }
    }
}

/// In a table of streams that is searched in two laps, and in which nearly all streams live, the ended
/// streams that were shown are found wherever they lie.
#[test]
fn the_dead_streams_of_a_large_table_are_found() {
    let mut world = World::new(Setup { len: 16_384, ..Setup::ROOMY });
    let mut rng = Rng::with_seed(1);
    let long = world.begin();
    let mut next = 0;
    for round in 0..24 {
        let short = world.begin();
        for stream in 0..40 {
            // In the first rounds the short association's streams lie among streams that stay.
            for _ in 0..if round < 4 { 100 } else { 0 } {
                world.send(long, next, 1, false);
                next += 1;
            }
            world.send(short, stream, rng.u16(1..1400), false);
        }
        world.end(short);
        (0..3).for_each(|_| world.tick());
    }
    // As many streams as fit beside those of the last short association.
    while next < 16_384 - 40 {
        world.send(long, next, 1, false);
        next += 1;
    }
    world.finish();
    let Accounting { events_gone, .. } = world.accounting();
    assert_eq!(world.accounting(), Accounting { events_gone, ..Accounting::default() });
    world.check_reports();
}

/// If no stream has ended, the longest silent of a few makes room: a stream in use keeps its entry.
#[test]
fn among_the_living_the_silent_make_room() {
    let mut world = World::new(Setup { len: 64, ..Setup::ROOMY });
    let busy = world.begin();
    let silent = world.begin();
    (0..60).for_each(|sid| world.send(silent, sid, 10, false));
    for sid in 0..1000 {
        world.pass(5_000_000);
        world.send(busy, 0, 10, false);
        world.send(silent, sid, 10, false);
    }
    let entries = world.entries();
    let busy = entries.iter().find(|entry| entry.0.living_id == 1).expect("it lives");
    assert_eq!(carried(busy)[&0].chunks, 1000);
    assert!(world.accounting().streams_evicted > 900);
}

/// If no stream has ended, and no association has half of the table, the longest silent stream makes room: a
/// stream in use keeps its entry.
#[test]
fn among_many_associations_the_silent_stream_makes_room() {
    let mut world = World::new(Setup { len: 64, ..Setup::ROOMY });
    for index in 0..8 {
        world.begin();
        world.send(index, 0, 10, false);
    }
    for round in 1..1000 {
        world.pass(5_000_000);
        world.send(0, 0, 10, false);
        world.send(1 + usize::from(round) % 7, round, 10, false);
    }
    let entries = world.entries();
    let busy = entries.iter().find(|entry| entry.0.living_id == 1).expect("it lives");
    assert_eq!(carried(busy)[&0].chunks, 1000);
    assert!(world.accounting().streams_evicted > 900);
}

/// An association of 65,536 streams gets half of the table at most: streams of the others keep their entries,
/// however silent they are.
#[test]
fn an_association_of_many_streams_leaves_room_for_the_others() {
    let mut world = World::new(Setup { len: 1024, ..Setup::ROOMY });
    for _ in 0..32 {
        let index = world.begin();
        (0..16).for_each(|sid| world.send(index, sid, 10, false));
    }
    let greedy = world.begin();
    for sid in 0..=u16::MAX {
        world.pass(1_000_000);
        world.send(greedy, sid, 10, false);
    }
    for (index, assoc) in world.assocs.iter().enumerate().filter(|(index, _)| *index != greedy) {
        let entries = world.entries();
        let entry = entries.iter().find(|entry| (entry.0.id.assoc_id, entry.0.id.life) == assoc.life());
        assert_eq!(entry.map(carried), Some(assoc.sent.clone()), "{index}");
    }
    assert_eq!(world.accounting().streams_evicted, 65_536 - 512);
}

/// After a restart (RFC 9260 5.2) figures begin anew in an entry of the new life, and each life is reported
/// once.
#[test]
fn each_life_is_reported_once() {
    for (seed, kprobes) in [(1, false), (2, true)] {
        let mut world = World::new(Setup { len: 64, kprobes, ..Setup::ROOMY });
        world.intruder = true;
        let traffic = Traffic { living: 4, short: 3, chunks: 3, streams: 2, restarts: true, intervals: 100 };
        run(&mut world, traffic, &mut Rng::with_seed(seed));
        let lives = world.reported.keys().map(|life| life.1).max();
        assert!(lives > Some(10), "{lives:?} lives");
        world.check_reports();
    }
}

/// Chunks that the kernel counted as sent and no program saw are counted as unseen, from the association's
/// first event to its end.
#[test]
fn what_the_kernel_sent_and_nobody_saw_is_counted() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::new(Setup { kprobes: rng.bool(), ..Setup::ROOMY });
        world.begin();
        let mut unseen = 0;
        for _ in 0..rng.usize(1..100) {
            world.pass(rng.u64(..8_000_000));
            match rng.u8(..10) {
                0..6 => world.send(0, rng.u16(..3), 10, rng.bool()),
                6..8 => {
                    world.assocs[0].args.counted += 1;
                    unseen += u64::from(!world.assocs[0].sent.is_empty());
                }
                8 if !world.assocs[0].sent.is_empty() => {
                    world.update(0, ESTABLISHED);
                    world.send(0, 0, 10, false);
                }
                _ => {
                    world.end(0);
                    world.begin();
                }
            }
        }
        world.end(0);
        assert_eq!(world.accounting().unseen, unseen, "seed {seed}");
    }
}

/// While ten million short associations come and go, the entries of living ones stay. Ids wrap on the way as
/// the kernel's do: after 2^31 - 1 comes 1.
#[test]
fn ten_million_associations_leave_those_that_live_alone() {
    const SHORT: u32 = 10_000_000;
    let mut world = World::new(Setup { len: 64, reuse: false, ..Setup::ROOMY });
    world.last_id = i32::MAX as u32 - SHORT / 2;
    for index in 0..8 {
        world.begin();
        world.send(index, 0, 10, false);
    }
    for _ in 0..SHORT {
        world.begin();
        world.send(8, 1, 10, false);
        world.end(8);
        world.ended.clear();
    }
    for index in 0..8 {
        world.send(index, 0, 10, false);
        let life = world.assocs[index].life();
        let entries = world.entries();
        let mut own = entries.iter().filter(|entry| (entry.0.id.assoc_id, entry.0.id.life) == life);
        assert_eq!(own.next().map(carried), Some(world.assocs[index].sent.clone()));
        assert!(own.next().is_none());
    }
    let Accounting { assocs_evicted, unseen, .. } = world.accounting();
    assert_eq!((assocs_evicted, unseen), (u64::from(SHORT) + 8 - 64, 0));
}

/// If another CPU makes an entry while one is being made, each association gets its own entry, or its chunk
/// is counted in `no_place`.
#[test]
fn two_writers_have_two_entries() {
    let mut lost = 0;
    // Either no entry was ever used, or all were, and have ended and been shown.
    for (used, moment) in [false, true].into_iter().flat_map(|used| (1..12).map(move |n| (used, n))) {
        let mut world = World::new(Setup { len: 64, ..Setup::ROOMY });
        if used {
            for _ in 0..64 {
                let index = world.begin();
                world.send(index, 0, 4, false);
                world.end(index);
            }
            (0..3).for_each(|_| world.tick());
        }
        let rival_hook = world.program.hook::<StreamArgs>("rival");
        let mine = world.begin();
        world.last_id += 63; // the next id has the same place in the table
        let rival = world.begin();
        world.program.run(rival_hook, &world.assocs[rival].args.clone(), &[]);
        world.program.kernel().rival_at = moment;
        world.send(mine, 0, 4, false);
        let came = world.program.kernel().rival_at == 0;
        world.program.kernel().rival_at = 0;
        if came {
            world.assocs[rival].args.assoc.next_tsn += 1;
            *world.assocs[rival].sent.entry(0).or_default() = Sums { chunks: 1, bytes: 4, ..Sums::default() };
        }
        world.send(rival, 0, 4, false);
        world.send(mine, 0, 4, false);
        let counted = |assoc: &Assoc| {
            let entries = world.entries();
            let mut own = entries.iter().filter(|entry| entry.0.living_id == assoc.args.assoc.assoc_id);
            let chunks = own.next().map_or(0, |entry| carried(entry).values().map(|sums| sums.chunks).sum());
            assert!(own.next().is_none(), "two entries of one association");
            chunks
        };
        let (mine, rival) = (counted(&world.assocs[mine]), counted(&world.assocs[rival]));
        let Accounting { no_place, .. } = world.accounting();
        let sent = 3 + u64::from(came);
        assert_eq!(mine + rival + no_place, sent, "used {used}, moment {moment}");
        assert!(mine >= 1 && rival >= 1, "used {used}, moment {moment}: {mine} and {rival}");
        lost += no_place;
        let streams = world.entries().iter().map(|entry| entry.1.len()).sum::<usize>();
        assert!(!used || streams <= 64);
    }
    assert!(lost < 6, "{lost} chunks for which there was no place");
}

/// If two CPUs each make an entry of a stream while one entry was never used, both have one, or what was lost is
/// counted.
#[test]
fn the_last_stream_entry_has_one_writer() {
    let mut met = 0;
    for moment in 1..12 {
        let mut world = World::new(Setup { len: 64, ..Setup::ROOMY });
        for index in 0..3 {
            world.begin();
            (0..21).for_each(|sid| world.send(index, sid, 4, false));
        }
        let rival_hook = world.program.hook::<StreamArgs>("rival");
        let rival = StreamArgs { stream: 100, times: 0, ..world.assocs[1].args };
        world.program.run(rival_hook, &rival, &[]);
        world.program.kernel().rival_at = moment;
        world.send(0, 100, 4, false);
        let came = std::mem::take(&mut world.program.kernel().rival_at) == 0;
        let counted: u64 =
            world.entries().iter().flat_map(|entry| carried(entry).into_values()).map(|s| s.chunks).sum();
        let Accounting { events_evicted, no_place, .. } = world.accounting();
        assert_eq!(counted + events_evicted + no_place, 3 * 21 + 1 + u64::from(came), "moment {moment}");
        met += u32::from(came);
    }
    assert!(met > 2, "the rival came {met} times");
}

/// A stream that lost its entry and gets the same one back begins at zero. User space notices that by the
/// entry's `made`, which has changed.
#[test]
fn a_stream_that_comes_back_is_made_anew() {
    let mut world = World::new(Setup { len: 64, ..Setup::ROOMY });
    let index = world.begin();
    let mut seen = BTreeMap::new();
    let mut came_back = 0;
    for n in 0..2000_u32 {
        world.pass(5_000_000);
        let sid = Rng::with_seed(n.into()).u16(..80);
        world.send(index, sid, 10, false);
        for (place, stream) in world.program.table::<RawStream>("streams").iter().enumerate() {
            if let Some(chunks) = seen.insert((place, stream.sid, stream.made), stream.stats.chunks) {
                assert!(stream.stats.chunks >= chunks, "figures went back");
            }
        }
        came_back += u32::from(seen.keys().any(|&(place, s, made)| s == sid && made > 1 && place < 64));
    }
    assert!(came_back > 0 && world.accounting().streams_evicted > 100);
}

// --- received messages that wait ---

const STREAMS: usize = 4;
/// Number of functions that change the lobby in unknown ways: `lobby_programs` in `streamutil.c`.
const LOBBY_FUNCTIONS: u32 = 8;
const FIRST: u8 = 2;
const LAST: u8 = 1;
const UNORDERED: u8 = 4;

/// A chunk of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frag {
    tsn: u32,
    sid: u16,
    /// Number of its message in the stream: SSN or MID.
    number: u32,
    flags: u8,
    /// TSN of the last chunk of its message.
    end: u32,
}

/// A whole message on its way to the user; or a part of one, in partial delivery.
#[derive(Clone, Copy, Debug)]
struct Event {
    frag: Frag,
    whole: bool,
}

/// A model of the kernel's `struct sctp_ulpq`, which reassembles and orders received messages: `ulpqueue.c`
/// and `stream_interleave.c` in `net/sctp`.
#[derive(Clone, Debug, Default)]
struct Ulpq {
    /// True if messages come in I-DATA chunks (RFC 8260).
    interleaved: bool,
    reasm: BTreeMap<u32, Frag>,
    /// Messages that wait for an earlier one of their stream, ordered by stream, then by number.
    lobby: Vec<Frag>,
    next: [u32; STREAMS],
    /// True if the association is in partial delivery, without I-DATA.
    pd_mode: bool,
    /// True for each stream that is in partial delivery, with I-DATA.
    stream_pd: [bool; STREAMS],
    /// Number of a message's first chunks at which partial delivery begins, if the rest is missing; 0: never.
    pd_point: usize,
    cum_tsn: u32,
    /// Number of messages that ever came into the lobby, by stream.
    entered: [u64; STREAMS],
}

impl Ulpq {
    fn waiting(&self) -> [u64; STREAMS] {
        std::array::from_fn(|sid| {
            self.lobby.iter().filter(|frag| usize::from(frag.sid) == sid).count() as u64
        })
    }

    /// Takes a chunk, as `sctp_ulpq_tail_data()` and `sctp_ulpevent_idata()` do. Returns whether a whole
    /// message was passed up.
    fn tail_data(&mut self, frag: Frag) -> bool {
        let Some(event) = self.reassemble(frag) else { return false };
        if event.whole && !self.order(event.frag) {
            return false;
        }
        self.tail_event(event);
        event.whole
    }

    fn reassemble(&mut self, frag: Frag) -> Option<Event> {
        if frag.flags & (FIRST | LAST) == FIRST | LAST {
            return Some(Event { frag, whole: true });
        }
        self.reasm.insert(frag.tsn, frag);
        if self.interleaved {
            return self.retrieve_message(frag);
        }
        if !self.pd_mode {
            return self.retrieve_reassembled();
        }
        if frag.tsn <= self.cum_tsn { self.retrieve_partial() } else { None }
    }

    /// With I-DATA: returns the message of this chunk, if complete. No other can have become complete.
    fn retrieve_message(&mut self, frag: Frag) -> Option<Event> {
        let sid = usize::from(frag.sid);
        let own: Vec<Frag> =
            self.reasm.values().filter(|f| (f.sid, f.number) == (frag.sid, frag.number)).copied().collect();
        let first = own.first()?;
        let begins = first.flags & FIRST != 0 || self.stream_pd[sid];
        let run = own.windows(2).all(|pair| pair[1].tsn == pair[0].tsn + 1);
        if !begins || !run || own.last()?.flags & LAST == 0 {
            return None;
        }
        self.reasm.retain(|tsn, _| own.iter().all(|f| f.tsn != *tsn));
        self.stream_pd[sid] = false;
        Some(Event { frag: *own.last()?, whole: true })
    }

    /// Returns the chunks of one message that have consecutive TSNs, from the TSN `from` on.
    fn run(&self, from: u32) -> Vec<Frag> {
        let mut run: Vec<Frag> = Vec::new();
        while let Some(frag) = self.reasm.get(&(from + run.len() as u32)) {
            if !run.is_empty() && frag.flags & FIRST != 0 {
                break;
            }
            run.push(*frag);
            if frag.flags & LAST != 0 {
                break;
            }
        }
        run
    }

    fn take(&mut self, run: &[Frag], whole: bool) -> Option<Event> {
        self.reasm.retain(|tsn, _| run.iter().all(|frag| frag.tsn != *tsn));
        Some(Event { frag: *run.last()?, whole })
    }

    fn retrieve_reassembled(&mut self) -> Option<Event> {
        let firsts: Vec<u32> =
            self.reasm.values().filter(|frag| frag.flags & FIRST != 0).map(|frag| frag.tsn).collect();
        for &first in &firsts {
            let run = self.run(first);
            if run.last()?.flags & LAST != 0 {
                return self.take(&run, true);
            }
        }
        let first = *self.reasm.keys().next()?;
        let run = self.run(first);
        let begins = self.reasm[&first].flags & FIRST != 0;
        if !begins || self.pd_mode || self.pd_point == 0 || run.len() < self.pd_point {
            return None;
        }
        self.pd_mode = true;
        self.take(&run, false)
    }

    fn retrieve_partial(&mut self) -> Option<Event> {
        let first = *self.reasm.keys().next()?;
        if self.reasm[&first].flags & FIRST != 0 {
            return None;
        }
        let run = self.run(first);
        let whole = run.last()?.flags & LAST != 0;
        self.take(&run, whole)
    }

    /// Returns whether the message is passed up now. If not, the message comes into the lobby.
    fn order(&mut self, frag: Frag) -> bool {
        let sid = usize::from(frag.sid);
        if frag.flags & UNORDERED != 0 {
            return true;
        }
        if frag.number != self.next[sid] {
            self.entered[sid] += 1;
            let place = self.lobby.partition_point(|f| (f.sid, f.number) < (frag.sid, frag.number));
            self.lobby.insert(place, frag);
            return false;
        }
        self.next[sid] += 1;
        self.retrieve_ordered(sid);
        true
    }

    fn retrieve_ordered(&mut self, sid: usize) {
        while let Some(place) =
            self.lobby.iter().position(|f| usize::from(f.sid) == sid && f.number == self.next[sid])
        {
            self.lobby.remove(place);
            self.next[sid] += 1;
        }
    }

    fn tail_event(&mut self, event: Event) {
        let fragment = event.frag.flags & (FIRST | LAST) != FIRST | LAST;
        if self.pd_mode && fragment && event.whole {
            self.clear_pd();
        }
    }

    fn clear_pd(&mut self) {
        self.pd_mode = false;
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.retrieve_reassembled() {
            if !event.whole || self.order(event.frag) {
                self.tail_event(event);
            }
        }
    }

    /// Begins partial delivery if it can, as `sctp_ulpq_partial_delivery()` and `sctp_intl_start_pd()` do.
    fn start_pd(&mut self) {
        let Some((&first, &frag)) = self.reasm.iter().next() else { return };
        if frag.flags & FIRST == 0 || first > self.cum_tsn || self.pd_mode {
            return;
        }
        if !self.interleaved {
            let run = self.run(first);
            self.take(&run, false);
            self.pd_mode = true;
        } else if frag.number == self.next[usize::from(frag.sid)] && frag.flags & UNORDERED == 0 {
            let run = self.run(first);
            if run.last().is_some_and(|last| last.flags & LAST == 0) {
                self.take(&run, false);
                self.stream_pd[usize::from(frag.sid)] = true;
            }
        }
    }

    /// Ends partial delivery, as `sctp_ulpq_abort_pd()` and `sctp_intl_abort_pd()` do.
    fn abort_pd(&mut self) {
        if self.interleaved {
            for sid in 0..STREAMS {
                if std::mem::take(&mut self.stream_pd[sid]) {
                    self.skip(sid, self.next[sid]);
                }
            }
            self.flush();
        } else if self.pd_mode {
            self.clear_pd();
        }
    }

    fn flush(&mut self) {
        self.reasm.clear();
        self.lobby.clear();
    }

    /// Skips a stream's messages up to `number`, as `sctp_ulpq_skip()` and `sctp_intl_skip()` do.
    fn skip(&mut self, sid: usize, number: u32) {
        if number < self.next[sid] {
            return;
        }
        self.stream_pd[sid] = false;
        self.next[sid] = number + 1;
        let before = self.lobby.len();
        self.lobby.retain(|frag| usize::from(frag.sid) != sid || frag.number > number);
        if self.lobby.len() != before
            || self.lobby.iter().any(|f| (usize::from(f.sid), f.number) == (sid, number + 1))
        {
            self.retrieve_ordered(sid);
        }
    }
}

/// A receiver, its peer, and the true figures of the messages that wait in the receiver's lobby.
struct Lobby {
    world: World,
    data: Hook<StreamArgs>,
    data_over: Hook<StreamArgs>,
    idata_over: Hook<StreamArgs>,
    recount: Hook<StreamArgs>,
    settled: Hook<StreamArgs>,
    lobby: Hook<StreamArgs>,
    rng: Rng,
    args: StreamArgs,
    ulpq: Ulpq,
    next_tsn: u32,
    numbers: [u32; STREAMS],
    /// Chunks that the peer has sent and that have not arrived yet.
    pending: Vec<Frag>,
    wait_ns: [u64; STREAMS],
    blocked_ns: [u64; STREAMS],
    /// Number of messages by which the kernel's outermost calls have made the lobby grow, by stream.
    net: [u64; STREAMS],
    /// Number of messages in the lobby when the current outermost call began, by stream.
    before: [u64; STREAMS],
    /// On average one of this number of hooks is left out, at random; 0: none is.
    leave_out: u32,
}

impl Lobby {
    fn new(setup: Setup, interleaved: bool, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let world = World::new(setup);
        let program = &world.program;
        let mut lobby = Self {
            data: program.hook("data"),
            data_over: program.hook("data_over"),
            idata_over: program.hook("idata_over"),
            recount: program.hook("recount"),
            settled: program.hook("settled"),
            lobby: program.hook("lobby"),
            world,
            args: StreamArgs::new(0, 7),
            ulpq: Ulpq { interleaved, pd_point: rng.usize(..5), ..Ulpq::default() },
            rng,
            next_tsn: 1,
            numbers: [0; STREAMS],
            pending: Vec::new(),
            wait_ns: [0; STREAMS],
            blocked_ns: [0; STREAMS],
            net: [0; STREAMS],
            before: [0; STREAMS],
            leave_out: 0,
        };
        // A chunk is sent, so that the association has an entry.
        lobby.world.program.run(lobby.world.sent, &lobby.args, &data(0, 0, 3, 100));
        lobby
    }

    fn pass(&mut self, ns: u64) {
        for (sid, waiting) in self.ulpq.waiting().into_iter().enumerate() {
            self.wait_ns[sid] += waiting * ns;
            self.blocked_ns[sid] += if waiting > 0 { ns } else { 0 };
        }
        self.world.pass(ns);
    }

    /// Fills the stub kernel's lobby from the model, and then runs the hook or leaves it out.
    fn run(&mut self, hook: Hook<StreamArgs>, bytes: &[u8]) {
        self.args.pd_mode = self.ulpq.pd_mode.into();
        let sids: Vec<u8> = self.ulpq.lobby.iter().flat_map(|frag| frag.sid.to_ne_bytes()).collect();
        self.world.program.run(self.lobby, &self.args, &sids);
        if self.leave_out == 0 || self.rng.u32(..self.leave_out) != 0 {
            self.world.program.run(hook, &self.args, bytes);
        }
    }

    /// Begins a call of a kernel function.
    fn enter(&mut self) {
        if self.args.depth == 0 {
            self.before = self.ulpq.waiting();
        }
        self.args.depth += 1;
    }

    /// Ends a call of a kernel function. Adds to `net` how much the lobby has grown, if it was an outermost
    /// call.
    fn leave(&mut self) {
        self.args.depth -= 1;
        if self.args.depth == 0 {
            for (sid, waiting) in self.ulpq.waiting().into_iter().enumerate() {
                self.net[sid] += waiting.saturating_sub(self.before[sid]);
            }
        }
    }

    fn receive(&mut self, frag: Frag) -> bool {
        self.enter();
        let chunk = data(frag.tsn, frag.sid, frag.flags, 100);
        if !self.ulpq.interleaved {
            self.run(self.data, &chunk);
        }
        let passed_up = self.ulpq.tail_data(frag);
        let over = if self.ulpq.interleaved { self.idata_over } else { self.data_over };
        self.run(over, &chunk);
        self.leave();
        passed_up
    }

    /// Runs the hooks at the entry and return of a function that changes the lobby in unknown ways, and
    /// `work` in between.
    fn around(&mut self, work: impl FnOnce(&mut Self)) {
        self.args.function = self.rng.u32(..LOBBY_FUNCTIONS);
        self.enter();
        self.run(self.recount, &[]);
        work(self);
        self.run(self.settled, &[]);
        self.leave();
    }

    fn set_cum_tsn(&mut self) {
        let lowest = self.pending.iter().map(|frag| frag.tsn).min();
        self.ulpq.cum_tsn = lowest.unwrap_or(self.next_tsn) - 1;
    }

    /// The peer sends a message.
    fn message(&mut self) {
        let sid = self.rng.u16(..STREAMS as u16);
        let unordered = if self.rng.u32(..6) == 0 { UNORDERED } else { 0 };
        let frags = if self.rng.bool() { 1 } else { self.rng.u32(1..6) };
        let number = self.numbers[usize::from(sid)];
        self.numbers[usize::from(sid)] += u32::from(unordered == 0);
        for n in 0..frags {
            let first = if n == 0 { FIRST } else { 0 };
            let last = if n == frags - 1 { LAST } else { 0 };
            let flags = unordered | first | last;
            let end = self.next_tsn + frags - 1 - n;
            self.pending.push(Frag { tsn: self.next_tsn, sid, number, flags, end });
            self.next_tsn += 1;
        }
    }

    /// Returns one of the next chunks, which arrives now; `None` if there is none.
    fn arrive(&mut self) -> Option<Frag> {
        let near = self.pending.len().min(30);
        let index = if self.rng.u32(..8) == 0 { 0 } else { self.rng.usize(..near.max(1)) };
        (index < self.pending.len()).then(|| self.pending.remove(index)).inspect(|_| self.set_cum_tsn())
    }

    /// The peer gives up the first messages, and sends a FORWARD-TSN (RFC 3758).
    fn forward(&mut self) {
        let Some(frag) = self.pending.first().copied() else { return };
        let cum = frag.end + if self.rng.bool() { 0 } else { self.rng.u32(..4) };
        let cum = self.pending.iter().filter(|f| f.tsn <= cum).map(|f| f.end).max().unwrap_or(cum);
        let (lost, pending): (Vec<Frag>, _) = self.pending.iter().partition(|f| f.tsn <= cum);
        self.pending = pending;
        self.set_cum_tsn();
        let highest = self.next_tsn - 1 == cum;
        // As in sctp_report_fwdtsn() and sctp_report_iftsn().
        self.ulpq.reasm.retain(|tsn, _| *tsn > cum);
        if !self.ulpq.interleaved || highest {
            self.around(|own| own.ulpq.abort_pd());
        }
        let ordered = lost.iter().filter(|frag| frag.flags & UNORDERED == 0);
        let skips: BTreeMap<u16, u32> = ordered.map(|frag| (frag.sid, frag.number)).collect();
        self.around(|own| skips.into_iter().for_each(|(sid, number)| own.ulpq.skip(sid.into(), number)));
    }

    /// There is no memory for a chunk that arrives: messages in the lobby have to make room.
    fn renege(&mut self) {
        let Some(chunk) = self.arrive() else { return };
        let count = self.rng.usize(..3);
        self.around(|own| {
            for _ in 0..count {
                // A real peer sends all chunks of the message again; this one sends a single chunk.
                if own.ulpq.lobby.last().is_some_and(|frag| frag.tsn > own.ulpq.cum_tsn) {
                    let frag = own.ulpq.lobby.pop().expect("there is one");
                    own.pending.push(Frag { flags: frag.flags | FIRST | LAST, end: frag.tsn, ..frag });
                    own.pending.sort_by_key(|frag| frag.tsn);
                    own.set_cum_tsn();
                }
            }
            if own.receive(chunk) { own.ulpq.drain() } else { own.ulpq.start_pd() }
        });
    }

    /// The peer resets its streams (RFC 6525): chunks that have not arrived yet never will.
    fn reset(&mut self) {
        self.pending.clear();
        self.set_cum_tsn();
        self.ulpq.reasm.clear();
        self.around(|own| own.ulpq.abort_pd());
        self.ulpq.next = [0; STREAMS];
        self.numbers = [0; STREAMS];
        // Messages that wait with old numbers are dropped. A real peer resets only when all have arrived.
        self.around(|own| own.ulpq.flush());
    }

    fn step(&mut self) {
        let ns = self.rng.u64(..20_000_000);
        self.pass(ns);
        match self.rng.u32(..100) {
            0..40 => self.message(),
            40..85 => {
                if let Some(frag) = self.arrive() {
                    self.receive(frag);
                }
            }
            85..90 => self.forward(),
            90..95 => self.renege(),
            95..97 => self.ulpq.start_pd(),
            97 => self.reset(),
            _ => {
                // The receiver sends a chunk of its own.
                self.args.times += 1;
                self.run(self.world.sent, &data(0, 0, 3, 100));
            }
        }
    }

    fn entry(&self) -> Entry {
        self.world.entries().pop().expect("it has an entry")
    }

    /// Returns the program's figures of each stream, up to now: messages that wait, sum of their waiting
    /// times, time with any waiting, and messages that had to wait.
    fn counted(&self) -> ([u64; STREAMS], [u64; STREAMS], [u64; STREAMS], [u64; STREAMS]) {
        let (assoc, streams) = self.entry();
        let (mut waiting, mut wait, mut blocked, mut messages) = Default::default();
        let of = |sums: &mut [u64; STREAMS], sid: u16, n| sums[usize::from(sid)] = n;
        for stream in &streams {
            let stats = stream.stats;
            let waits = stats.lobby_generation == assoc.stats.lobby_generation;
            let now = if waits { u64::from(stats.waiting) } else { 0 };
            let since = if now > 0 { self.world.now - stats.hol_ns } else { 0 };
            of(&mut waiting, stream.sid, now);
            of(&mut wait, stream.sid, stats.hol_wait_ns + now * since);
            of(&mut blocked, stream.sid, stats.hol_blocked_ns + since);
            of(&mut messages, stream.sid, stats.hol_messages);
        }
        (waiting, wait, blocked, messages)
    }

    fn check(&self) {
        let (waiting, wait, blocked, messages) = self.counted();
        assert_eq!(waiting, self.ulpq.waiting());
        assert_eq!(wait, self.wait_ns);
        assert_eq!(blocked, self.blocked_ns);
        let entered = self.ulpq.entered;
        for sid in 0..STREAMS {
            let (net, entered, counted) = (self.net[sid], entered[sid], messages[sid]);
            assert!((net..=entered).contains(&counted), "{net} <= {counted} <= {entered}");
        }
    }
}

fn lobbies() -> impl Iterator<Item = (Setup, bool, u64)> {
    (0..120).map(|n| {
        let setup = Setup { len: 64, kprobes: n & 1 != 0, cast: n & 2 != 0, ..Setup::ROOMY };
        (setup, n & 4 != 0, n)
    })
}

/// After each step as many messages of each stream are counted as waiting as are in the kernel's lobby, and
/// their waiting times are exact.
#[test]
fn as_many_wait_as_are_in_the_lobby() {
    let (mut most, mut entered) = (0, 0);
    for (setup, interleaved, seed) in lobbies() {
        let mut lobby = Lobby::new(setup, interleaved, seed);
        for _ in 0..400 {
            lobby.step();
            lobby.check();
            most = most.max(lobby.ulpq.lobby.len());
        }
        entered += lobby.ulpq.entered.iter().sum::<u64>();
    }
    assert!(most > 10 && entered > 2000, "{entered} messages, {most} at once: too tame");
}

/// If more messages wait than the program looks at, the others are counted in `lobby_limit`, each once.
#[test]
fn a_lobby_of_too_many_messages_counts_the_rest() {
    let mut lobby = Lobby::new(Setup { len: 64, ..Setup::ROOMY }, false, 1);
    let frag = |number| Frag { tsn: number + 2, sid: 1, number, flags: FIRST | LAST, end: 0 };
    lobby.ulpq.lobby = (1..=9000).map(frag).collect();
    for _ in 0..3 {
        lobby.around(|_| ());
        lobby.pass(2_000_000_000);
    }
    assert_eq!(lobby.counted().0, [0, 8192, 0, 0]);
    assert_eq!(lobby.world.accounting().lobby_limit, 9000 - 8192);
    lobby.ulpq.lobby.truncate(100);
    lobby.around(|_| ());
    assert_eq!(lobby.counted().0, [0, 100, 0, 0]);
    assert_eq!(lobby.world.accounting().lobby_limit, 9000 - 8192);
}

/// If messages leave the lobby and no hook runs, the next chunk of any stream shows that the count does not
/// fit the lobby's length, and all messages are counted anew.
#[test]
fn a_count_that_does_not_fit_is_counted_anew_at_once() {
    for interleaved in [false, true] {
        let mut lobby = Lobby::new(Setup { len: 64, ..Setup::ROOMY }, interleaved, 1);
        let frag = |tsn, sid, number| Frag { tsn, sid, number, flags: FIRST | LAST, end: tsn };
        for number in 1..4 {
            lobby.receive(frag(number + 1, 1, number));
        }
        lobby.receive(frag(7, 2, 1));
        lobby.receive(frag(9, 3, 1));
        assert_eq!(lobby.counted().0, [0, 3, 1, 1]);
        lobby.ulpq.lobby.retain(|frag| frag.sid == 3);
        lobby.pass(1000);
        lobby.receive(frag(10, 0, 0));
        assert_eq!(lobby.counted().0, [0, 0, 0, 1]);
        // Next, all messages leave the lobby without a hook.
        lobby.receive(frag(11, 1, 5));
        lobby.ulpq.flush();
        lobby.pass(1000);
        lobby.receive(frag(12, 0, 1));
        assert_eq!(lobby.counted().0, [0; STREAMS]);
    }
}

/// If messages leave the lobby and no hook runs, and no chunk arrives after that, the next chunk that is sent
/// shows that the count does not fit the lobby's length.
#[test]
fn a_sent_chunk_shows_that_a_count_does_not_fit() {
    let mut lobby = Lobby::new(Setup { len: 64, ..Setup::ROOMY }, false, 1);
    for number in 1..4 {
        lobby.receive(Frag { tsn: number + 1, sid: 1, number, flags: FIRST | LAST, end: number + 1 });
    }
    assert_eq!(lobby.counted().0, [0, 3, 0, 0]);
    lobby.ulpq.flush();
    lobby.pass(4_000_000);
    lobby.args.times += 1;
    lobby.run(lobby.world.sent, &data(0, 0, 3, 100));
    assert_eq!(lobby.counted().0, [0; STREAMS]);
}

/// An association whose messages waited before any event of it was seen: the first event counts them, be it a
/// chunk that arrives or one that is sent.
#[test]
fn what_waited_before_the_first_event_is_counted() {
    for arrives in [false, true] {
        let mut lobby = Lobby::new(Setup { len: 64, ..Setup::ROOMY }, false, 1);
        lobby.world.program.run(lobby.world.end, &lobby.args, &[]);
        lobby.args.assoc.assoc_id = 8;
        let frag = |tsn, sid, number| Frag { tsn, sid, number, flags: FIRST | LAST, end: tsn };
        lobby.ulpq.lobby = vec![frag(2, 1, 1), frag(3, 1, 2), frag(4, 2, 1)];
        if arrives {
            lobby.receive(frag(5, 3, 1));
        } else {
            lobby.run(lobby.world.sent, &data(0, 0, 3, 100));
        }
        let entries = lobby.world.entries();
        let (assoc, streams) = entries.iter().find(|entry| entry.0.living_id == 8).expect("it has an entry");
        let mut waiting = [0; STREAMS];
        for stream in streams {
            let counts = stream.stats.lobby_generation == assoc.stats.lobby_generation;
            waiting[usize::from(stream.sid)] = if counts { u64::from(stream.stats.waiting) } else { 0 };
        }
        assert_eq!(waiting, lobby.ulpq.waiting());
    }
}

/// If hooks are left out at random, counts may be wrong; they are right again with the first arrival a second
/// later.
#[test]
fn a_lobby_that_was_not_seen_is_counted_anew() {
    let mut wrong = 0;
    for (setup, interleaved, seed) in lobbies() {
        let mut lobby = Lobby::new(setup, interleaved, seed);
        for _ in 0..4 {
            lobby.leave_out = 3;
            for _ in 0..60 {
                lobby.step();
                wrong += u32::from(lobby.counted().0 != lobby.ulpq.waiting());
            }
            lobby.leave_out = 0;
            // A message arrives, and waits.
            lobby.pass(2_000_000_000);
            let number = lobby.numbers[0] + 1000;
            let frag = Frag { tsn: lobby.next_tsn + 1000, sid: 0, number, flags: FIRST | LAST, end: 0 };
            lobby.receive(frag);
            assert_eq!(lobby.counted().0, lobby.ulpq.waiting());
            // From here on all is exact.
            let (_, wait, blocked, _) = lobby.counted();
            (lobby.wait_ns, lobby.blocked_ns) = (wait, blocked);
            let messages = lobby.counted().3;
            (lobby.net, lobby.ulpq.entered) = (messages, messages);
            for _ in 0..60 {
                lobby.step();
                lobby.check();
            }
        }
    }
    assert!(wrong > 1000, "{wrong} times: too tame");
}
