//! What limits a sender: random sequences of sends, SACKs, expiries and settings, run through the hooks of
//! `bufmon.bpf.c`, and a model of the kernel's outqueue. The model sends chunks one by one, as
//! `sctp_outq_flush()` does, and notes which rule has stopped it. The program does not see that: it must find the
//! same from what the kernel's objects say afterwards. So each share, an integral over time, is compared.

use std::collections::{BTreeMap, VecDeque};

use proptest::{collection::vec, prelude::*, sample::Index};
use sctptrace_native::{
    Hook, Program,
    raw::{Settings, WANT_EXTENDED, WANT_WINDOWS},
};

#[path = "bufmon/mod.rs"]
mod bufmon;
use bufmon::{Buffer, Entry, SendArgs};

const MS: u64 = 1_000_000;
const EAGAIN: i32 = -11;
const MSG_DONTWAIT: u32 = 0x40;

const COOKIE_WAIT: u32 = 1;
const ESTABLISHED: u32 = 3;
const SHUTDOWN_PENDING: u32 = 4;
const INACTIVE: u32 = 0;
const ACTIVE: u32 = 2;
const UNCONFIRMED: u32 = 3;

const MTU: u32 = 1500;
/// Headers of IPv4 and SCTP.
const OVERHEAD: u32 = 32;
const SNDBUF: u32 = 20_000;
/// The longest user data of a chunk.
const FRAGMENT: u32 = 1452;

/// What limits a sender, in the order of `LIMITED_BY_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Limit {
    App,
    Sndbuf,
    Nagle,
    Cwnd,
    Rwnd,
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    bytes: u32,
    can_delay: bool,
    /// Path that the application chose.
    chosen: Option<usize>,
    /// Path on which the chunk was sent last.
    path: usize,
}

#[derive(Clone, Copy, Debug)]
struct Path {
    cwnd: u32,
    flight: u32,
    state: u32,
}

/// The outqueue of an association, as the kernel has it.
struct Outqueue {
    queue: VecDeque<Chunk>,
    again: VecDeque<Chunk>,
    sent: VecDeque<Chunk>,
    paths: [Path; 2],
    active: usize,
    retran: usize,
    window: u32,
    state: u32,
    nodelay: bool,
    more: bool,
    idata: bool,
    /// Packets that may be sent at once; 0: any number (`Max.Burst`).
    max_burst: u32,
    /// The stream of the queued chunks is being reset: none of them is sent.
    reset: bool,
    used: u32,
}

/// The packet that the kernel fills for a path.
struct Packet {
    size: u32,
}

impl Outqueue {
    fn header(&self) -> u32 {
        if self.idata { 20 } else { 16 }
    }

    fn in_flight(&self) -> u32 {
        self.paths.iter().map(|path| path.flight).sum()
    }

    fn queued(&self) -> u32 {
        self.queue.iter().map(|chunk| chunk.bytes + self.header()).sum()
    }

    /// `sctp_packet_can_append_data()`. `rest`: bytes of the other chunks that are queued. `cwnd`: what is left of
    /// the path's by Max.Burst.
    fn can_append(
        &self,
        chunk: &Chunk,
        path: usize,
        cwnd: u32,
        packet: &Packet,
        rest: u32,
    ) -> Result<(), Limit> {
        let path = &self.paths[path];
        if chunk.bytes > self.window && self.in_flight() > 0 {
            return Err(Limit::Rwnd);
        }
        if path.flight >= cwnd {
            return Err(if path.flight >= path.cwnd { Limit::Cwnd } else { Limit::Other });
        }
        if (self.nodelay || self.in_flight() == 0) && !self.more {
            return Ok(());
        }
        if packet.size > OVERHEAD || self.state != ESTABLISHED {
            return Ok(());
        }
        let enough = chunk.bytes + self.header() + rest > MTU - OVERHEAD - self.header() - 4;
        if enough || !chunk.can_delay { Ok(()) } else { Err(Limit::Nagle) }
    }

    fn append(&mut self, chunk: Chunk, path: usize, packet: &mut Packet) {
        packet.size += (chunk.bytes + self.header()).next_multiple_of(4);
        self.paths[path].flight += chunk.bytes;
        self.window = self.window.saturating_sub(chunk.bytes);
        self.sent.push_back(Chunk { path, ..chunk });
    }

    fn fits(&self, chunk: &Chunk, packet: &Packet) -> bool {
        packet.size == OVERHEAD || packet.size + (chunk.bytes + self.header()).next_multiple_of(4) <= MTU
    }

    /// What keeps the kernel from sending a chunk that it has stopped at for a reason of its own (Max.Burst, a
    /// reset, or one packet after T3-rtx): a rule, if one holds, or else that reason.
    fn stopped_at(&self, chunk: &Chunk, path: usize, rest: u32) -> Limit {
        let packet = Packet { size: OVERHEAD };
        self.can_append(chunk, path, self.paths[path].cwnd, &packet, rest).err().unwrap_or(Limit::Other)
    }

    /// `sctp_outq_flush_rtx()`. Returns what has stopped it; `None` where all was sent.
    fn flush_again(&mut self, by_timeout: bool) -> Option<Limit> {
        let path = self.retran;
        if self.paths[path].state == UNCONFIRMED {
            return Some(Limit::Other);
        }
        let mut packet = Packet { size: OVERHEAD };
        while let Some(chunk) = self.again.front().copied() {
            let (cwnd, rest) = (self.paths[path].cwnd, self.queued());
            if let Err(limit) = self.can_append(&chunk, path, cwnd, &packet, rest) {
                return Some(limit);
            }
            if !self.fits(&chunk, &packet) {
                packet.size = OVERHEAD;
                if by_timeout {
                    return Some(self.stopped_at(&chunk, path, rest));
                }
                continue;
            }
            self.again.pop_front();
            self.append(chunk, path, &mut packet);
        }
        None
    }

    /// `sctp_outq_flush()`. Returns what has stopped it; `None` where all was sent.
    fn flush(&mut self, by_timeout: bool) -> Option<Limit> {
        if self.queue.is_empty() && self.again.is_empty() {
            return None;
        }
        if self.state < ESTABLISHED {
            return Some(Limit::Other);
        }
        if !self.again.is_empty() {
            let stopped = self.flush_again(by_timeout);
            if stopped.is_some() {
                return stopped;
            }
        }
        let burst = |path: &Path| match self.max_burst {
            0 => path.cwnd,
            n => path.cwnd.min(path.flight + n * MTU),
        };
        let cwnd = [burst(&self.paths[0]), burst(&self.paths[1])];
        let mut packets = [Packet { size: OVERHEAD }, Packet { size: OVERHEAD }];
        while let Some(chunk) = self.queue.front().copied() {
            let chosen = chunk.chosen.filter(|path| self.paths[*path].state == ACTIVE);
            let path = chosen.unwrap_or(self.active);
            let rest = self.queued() - chunk.bytes - self.header();
            if self.reset {
                return Some(self.stopped_at(&chunk, path, rest));
            }
            match self.can_append(&chunk, path, cwnd[path], &packets[path], rest) {
                Err(Limit::Other) => return Some(self.stopped_at(&chunk, path, rest)),
                Err(limit) => return Some(limit),
                Ok(()) => {}
            }
            if !self.fits(&chunk, &packets[path]) {
                packets[path].size = OVERHEAD;
                continue;
            }
            self.queue.pop_front();
            self.append(chunk, path, &mut packets[path]);
        }
        None
    }
}

/// A send whose thread sleeps.
#[derive(Clone, Copy, Debug)]
struct Sleeper {
    bytes: u32,
    more: bool,
    chosen: Option<usize>,
}

struct World {
    program: Program,
    now: u64,
    q: Outqueue,
    life: u32,
    /// The sleeping send of each thread; there is no thread 0.
    sleepers: [Option<Sleeper>; 4],
    switches: [u64; 4],
    /// Whether the last send was refused, and the buffer has been full since.
    refused: bool,
    /// What has stopped the last flush.
    stopped: Option<Limit>,
    /// What limits the sender, and since when that is counted; `None` while the program has not seen it.
    since: Option<(Limit, u64)>,
    /// Times of each life.
    truth: BTreeMap<u32, [u64; 6]>,
}

impl World {
    fn new(kprobes: bool) -> Self {
        let wants = WANT_EXTENDED | WANT_WINDOWS;
        let settings = Settings { jiffy_ns: 4 * MS, wants, entry_mask: 15, ..Settings::default() };
        let mut program = Program::open("bufmon", &settings);
        program.kernel().kprobes = kprobes.into();
        program.kernel().has_bpf_rdonly_cast = 1;
        let path = Path { cwnd: 4380, flight: 0, state: ACTIVE };
        let q = Outqueue {
            queue: VecDeque::new(),
            again: VecDeque::new(),
            sent: VecDeque::new(),
            paths: [path; 2],
            active: 0,
            retran: 0,
            window: 100_000,
            state: ESTABLISHED,
            nodelay: false,
            more: false,
            idata: false,
            max_burst: 0,
            reset: false,
            used: 0,
        };
        let mut world = Self {
            program,
            now: 0,
            q,
            life: 1,
            sleepers: [None; 4],
            switches: [0; 4],
            refused: false,
            stopped: None,
            since: None,
            truth: BTreeMap::new(),
        };
        world.pass(MS);
        world
    }

    fn pass(&mut self, ns: u64) {
        self.now += ns;
        self.program.kernel().now_ns = self.now;
    }

    /// The kernel's objects, as hooks in this thread find them.
    fn buffer(&self, tid: usize) -> Buffer {
        let q = &self.q;
        let two = |of: fn(&Path) -> u32| [of(&q.paths[0]), of(&q.paths[1]), 0, 0];
        let head = q.queue.front();
        let waiters = (1..4).filter(|tid| self.sleepers[*tid].is_some()).fold(0, |all, tid| all | 1 << tid);
        Buffer {
            state: q.state,
            sndbuf: SNDBUF as i32,
            used: q.used as i32,
            forward_alloc: 1 << 20,
            queued: q.queued(),
            in_flight: q.in_flight(),
            tid: tid as u32,
            nvcsw: self.switches[tid],
            waiters,
            active: q.active as u32,
            window: q.window,
            flight: two(|path| path.flight),
            cwnd: two(|path| path.cwnd),
            path_state: two(|path| path.state),
            retran: q.retran as u32,
            chosen: head.and_then(|chunk| chunk.chosen).map_or(0, |path| path as u32 + 1),
            head_bytes: head.map_or(0, |chunk| chunk.bytes),
            again_bytes: q.again.front().map_or(0, |chunk| chunk.bytes),
            idata: q.idata.into(),
            nodelay: q.nodelay.into(),
            more: q.more.into(),
            can_delay: q.again.front().or(head).is_some_and(|chunk| chunk.can_delay).into(),
            ..Buffer::UP
        }
    }

    fn run(&mut self, hook: &str, tid: usize) {
        let hook: Hook<Buffer> = self.program.hook(hook);
        let buffer = self.buffer(tid);
        self.program.run(hook, &buffer, &[]);
    }

    fn run_send(&mut self, hook: &str, tid: usize, blocking: bool, bytes: u32, returned: i32) {
        let hook: Hook<SendArgs> = self.program.hook(hook);
        let msg_flags = if blocking { 0 } else { MSG_DONTWAIT };
        let args = SendArgs { buffer: self.buffer(tid), msg_bytes: bytes.into(), returned, msg_flags };
        self.program.run(hook, &args, &[]);
    }

    /// What limits the sender now.
    fn limit(&self) -> Limit {
        let waits = self.sleepers.iter().any(Option::is_some) || self.refused;
        self.stopped.unwrap_or(if waits { Limit::Sndbuf } else { Limit::App })
    }

    /// Something has changed: counts the time until now. `seen`: whether an association that was not seen yet has
    /// an entry from now on.
    fn changed(&mut self, seen: bool) {
        let limit = self.limit();
        self.stop();
        if seen || self.truth.contains_key(&self.life) {
            self.truth.entry(self.life).or_default();
            self.since = Some((limit, self.now));
        }
    }

    fn stop(&mut self) {
        if let Some((limit, since)) = self.since.take() {
            self.truth.entry(self.life).or_default()[limit as usize] += self.now - since;
        }
    }

    fn flush(&mut self, by_timeout: bool, tid: usize) {
        self.stopped = self.q.flush(by_timeout);
        self.run("flushed", tid);
        self.changed(self.stopped.is_some());
    }

    fn is_full(&self) -> bool {
        self.q.used >= SNDBUF
    }

    fn send(&mut self, tid: usize, blocking: bool, what: Sleeper) {
        self.run_send("send_begins", tid, blocking, what.bytes, 0);
        if !self.is_full() {
            return self.taken(tid, what);
        }
        if blocking {
            self.sleepers[tid] = Some(what);
            self.switches[tid] += 1;
            return self.changed(true);
        }
        self.refused = true;
        self.run_send("send_ends", tid, blocking, what.bytes, EAGAIN);
        self.changed(true);
    }

    /// The kernel takes a message, which waits no more.
    fn taken(&mut self, tid: usize, what: Sleeper) {
        self.run("room", tid);
        let fits = what.bytes < FRAGMENT;
        let mut left = what.bytes;
        self.q.used += what.bytes;
        self.q.more = what.more;
        while left > 0 {
            let bytes = left.min(FRAGMENT);
            let chunk = Chunk { bytes, can_delay: fits, chosen: what.chosen, path: 0 };
            self.q.queue.push_back(chunk);
            left -= bytes;
        }
        self.refused = false;
        self.flush(false, tid);
        self.run_send("send_ends", tid, true, what.bytes, what.bytes as i32);
        self.changed(true);
    }

    fn wake(&mut self, tid: usize, fails: bool) {
        let Some(what) = self.sleepers[tid] else { return };
        if fails {
            self.sleepers[tid] = None;
            self.run_send("send_ends", tid, true, what.bytes, -4);
            return self.changed(false);
        }
        if self.q.used + what.bytes > SNDBUF {
            return; // sleeps again
        }
        self.sleepers[tid] = None;
        self.taken(tid, what);
    }

    /// A SACK takes the first `acked` chunks, of those sent.
    fn sack(&mut self, acked: usize, window: u32, grow: u32) {
        for _ in 0..acked.min(self.q.sent.len()) {
            let chunk = self.q.sent.pop_front().expect("a chunk");
            self.q.paths[chunk.path].flight -= chunk.bytes;
            self.q.paths[chunk.path].cwnd += grow;
            self.q.used -= chunk.bytes;
        }
        self.q.window = window.saturating_sub(self.q.in_flight());
        self.refused &= self.is_full();
        self.flush(false, 0);
    }

    /// T3-rtx of a path expires: what is in flight on it is to be sent again, on another path if that is up.
    fn expires(&mut self, path: usize) {
        let (again, sent): (Vec<_>, Vec<_>) = self.q.sent.iter().partition(|chunk| chunk.path == path);
        if again.is_empty() {
            return;
        }
        self.q.sent = sent.into();
        self.q.paths[path].cwnd = MTU;
        for chunk in again.iter().rev() {
            self.q.paths[path].flight -= chunk.bytes;
            self.q.window += chunk.bytes;
            self.q.again.push_front(*chunk);
        }
        if path == self.q.retran {
            self.q.retran = 1 - path;
        }
        self.flush(true, 0);
    }

    fn end(&mut self, restarts: bool) {
        self.run(if restarts { "restart" } else { "end" }, 0);
        self.stop();
        self.life += 1;
        self.stopped = None;
        self.refused = false;
        let q = &mut self.q;
        (q.queue, q.again, q.sent) = Default::default();
        q.used = 0;
        q.paths.iter_mut().for_each(|path| (path.flight, path.cwnd) = (0, 4380));
        // Sends go on waiting in the next life, which has an entry at once.
        if restarts && self.sleepers.iter().any(Option::is_some) {
            self.truth.entry(self.life).or_default();
        }
    }

    fn step(&mut self, step: &Step) {
        match step.clone() {
            Step::Pass(ns) => self.pass(ns),
            Step::Send { thread, blocking, bytes, more, chosen } => {
                let idle: Vec<_> = (1..4).filter(|tid| self.sleepers[*tid].is_none()).collect();
                if !idle.is_empty() {
                    self.send(*thread.get(&idle), blocking, Sleeper { bytes, more, chosen });
                }
            }
            Step::Wake(tid, fails) => self.wake(tid, fails),
            Step::Sack { acked, window, grow } => self.sack(acked, window, grow),
            Step::Expires(path) => self.expires(path),
            Step::Room(more) => {
                let head = self.q.again.front().or(self.q.queue.front());
                self.q.window = (head.map_or(0, |chunk| chunk.bytes) + more).saturating_sub(1);
                self.flush(false, 0);
            }
            Step::Cwnd(path, more) => {
                self.q.paths[path].cwnd = (self.q.paths[path].flight + more).saturating_sub(1);
                self.flush(false, 0);
            }
            Step::Received => self.flush(false, 0),
            Step::Nodelay(on) => {
                self.q.nodelay = on;
                self.flush(false, 0);
            }
            Step::Idata(on) if self.q.queue.is_empty() && self.q.again.is_empty() => self.q.idata = on,
            Step::Burst(n) => self.q.max_burst = n,
            Step::Reset(on) => {
                self.q.reset = on;
                self.flush(false, 0);
            }
            Step::Active(path) => {
                self.q.active = path;
                self.flush(false, 0);
            }
            Step::Path(path, state) => {
                self.q.paths[path].state = state;
                self.flush(false, 0);
            }
            Step::State(state) => {
                self.q.state = state;
                self.flush(false, 0);
            }
            // sctp_assoc_update() ends no life before the handshake is over.
            Step::End { restarts: true } if self.q.state < ESTABLISHED => {}
            Step::End { restarts } if restarts || self.sleepers.iter().all(Option::is_none) => {
                self.end(restarts)
            }
            Step::Interval => {
                let hook: Hook<u32> = self.program.hook("interval");
                self.program.run(hook, &0, &[]);
            }
            Step::Idata(_) | Step::End { .. } => {}
        }
    }

    /// The true times of each life, up to now.
    fn truth(&self) -> BTreeMap<u32, [u64; 6]> {
        let mut truth = self.truth.clone();
        if let Some((limit, since)) = self.since {
            truth.entry(self.life).or_default()[limit as usize] += self.now - since;
        }
        truth.retain(|_, times| *times != [0; 6]);
        truth
    }

    /// The times of each life in the program's table, up to now.
    fn seen(&self) -> BTreeMap<u32, [u64; 6]> {
        let mut seen = BTreeMap::new();
        for entry in self.program.table::<Entry>("entries").iter().filter(|entry| entry.object != 0) {
            let state = &entry.state;
            let mut times = state.limited_ns;
            if state.limited_since_ns != 0 {
                times[state.limited_by as usize] += self.now - state.limited_since_ns;
            }
            assert_eq!(entry.seq_tail, entry.seq_head);
            // The lives of an association are numbered in the order of their generations.
            seen.insert(entry.generation, times);
        }
        let seen: BTreeMap<_, _> = seen.into_values().filter(|times| *times != [0; 6]).enumerate().collect();
        seen.into_iter().map(|(n, times)| (n as u32, times)).collect()
    }

    fn entry(&self) -> Entry {
        let entries = self.program.table::<Entry>("entries");
        entries.into_iter().find(|entry| entry.object != 0).expect("an entry")
    }

    #[track_caller]
    fn check(&self) {
        let truth: Vec<_> = self.truth().into_values().collect();
        let seen: Vec<_> = self.seen().into_values().collect();
        assert_eq!(seen, truth, "app, sndbuf, nagle, cwnd, rwnd, other");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Send {
        thread: Index,
        blocking: bool,
        bytes: u32,
        more: bool,
        chosen: Option<usize>,
    },
    /// A sleeping send is woken, and goes on if there is room, or fails.
    Wake(usize, bool),
    Sack {
        acked: usize,
        window: u32,
        grow: u32,
    },
    /// T3-rtx of a path expires.
    Expires(usize),
    /// The peer's window is as large as the next chunk; one byte smaller (0), or larger (2).
    Room(u32),
    /// The cwnd of a path is as large as its flight; one byte smaller (0), or larger (2).
    Cwnd(usize, u32),
    /// A packet without a SACK comes.
    Received,
    Nodelay(bool),
    Idata(bool),
    Burst(u32),
    Reset(bool),
    Active(usize),
    Path(usize, u32),
    State(u32),
    End {
        restarts: bool,
    },
    Interval,
}

fn step() -> impl Strategy<Value = Step> {
    // Among them the longest message that Nagle's rule holds back alone: 1,432 bytes, or 1,424 with I-DATA.
    let bytes = prop_oneof![6 => 1_u32..200, 3 => 200_u32..3000, 1 => 3000_u32..15_000, 2 => 1424_u32..1434];
    let chosen = prop_oneof![4 => Just(None), 1 => (0_usize..2).prop_map(Some)];
    let send = (any::<Index>(), any::<bool>(), bytes, prop::bool::weighted(0.1), chosen);
    let window = prop_oneof![4 => Just(100_000_u32), 2 => 0_u32..6000, 1 => Just(0)];
    let grow = prop_oneof![2 => Just(0_u32), 1 => Just(500)];
    let state = prop_oneof![4 => Just(ESTABLISHED), 1 => Just(SHUTDOWN_PENDING), 1 => Just(COOKIE_WAIT)];
    prop_oneof![
        12 => (1_u64..100 * MS).prop_map(Step::Pass),
        16 => send.prop_map(|(thread, blocking, bytes, more, chosen)| {
            Step::Send { thread, blocking, bytes, more, chosen }
        }),
        8 => (1_usize..4, prop::bool::weighted(0.2)).prop_map(|(tid, fails)| Step::Wake(tid, fails)),
        12 => (0_usize..12, window, grow).prop_map(|(acked, window, grow)| Step::Sack { acked, window, grow }),
        2 => (0_usize..2).prop_map(Step::Expires),
        3 => (0_u32..3).prop_map(Step::Room),
        3 => (0_usize..2, 0_u32..3).prop_map(|(path, more)| Step::Cwnd(path, more)),
        2 => Just(Step::Received),
        1 => any::<bool>().prop_map(Step::Nodelay),
        1 => any::<bool>().prop_map(Step::Idata),
        1 => (0_u32..3).prop_map(Step::Burst),
        2 => any::<bool>().prop_map(Step::Reset),
        1 => (0_usize..2).prop_map(Step::Active),
        1 => (0_usize..2, prop_oneof![2 => Just(ACTIVE), 1 => Just(INACTIVE), 1 => Just(UNCONFIRMED)])
            .prop_map(|(path, state)| Step::Path(path, state)),
        1 => state.prop_map(Step::State),
        1 => any::<bool>().prop_map(|restarts| Step::End { restarts }),
        1 => Just(Step::Interval),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// After each step the times of each life are those of the model.
    #[test]
    fn each_share_is_the_models(steps in vec(step(), 1..200), kprobes: bool) {
        let mut world = World::new(kprobes);
        for step in &steps {
            world.step(step);
            world.check();
        }
    }
}

/// An association shares its send buffer with another, which holds all of it: each send is refused, though nothing of
/// its own is in flight. It is limited by the buffer until that has room.
#[test]
fn a_shared_buffer_limits_who_holds_nothing_of_it() {
    for kprobes in [false, true] {
        let mut world = World::new(kprobes);
        let full = Buffer { shared: 1, used_by_all: SNDBUF as i32, sock_assocs: 2, ..world.buffer(1) };
        let run = |world: &mut World, hook: &str, buffer: Buffer, returned| {
            let args = SendArgs { buffer, msg_bytes: 100, returned, msg_flags: MSG_DONTWAIT };
            let hook: Hook<SendArgs> = world.program.hook(hook);
            world.program.run(hook, &args, &[]);
        };
        for hook in ["send_begins", "send_ends"] {
            run(&mut world, hook, full, EAGAIN);
        }
        world.pass(700 * MS);
        let flushed: Hook<Buffer> = world.program.hook("flushed");
        world.program.run(flushed, &full, &[]);
        world.pass(300 * MS);
        world.program.run(flushed, &Buffer { used_by_all: SNDBUF as i32 - 1, ..full }, &[]);
        world.pass(50 * MS);
        assert_eq!(world.seen().into_values().collect::<Vec<_>>(), [[50 * MS, 1000 * MS, 0, 0, 0, 0]]);
        let entry = world.entry();
        let (stats, state) = (entry.stats, entry.state);
        assert_eq!((stats.held, stats.held_by_all), (0, SNDBUF.into()));
        assert_eq!((state.sndbuf, state.rcvbuf), (SNDBUF, Buffer::UP.rcvbuf as u32));
        assert_eq!([state.sndbuf_used, state.sndbuf_limit], [SNDBUF; 2], "full at the last look");
        assert_eq!((state.sock_assocs, state.peer_rwnd), (2, Buffer::UP.peer_rwnd));
        assert_eq!(state.sndbuf_policy, 0);
    }
}

/// An association that this host begins has no id before the INIT ACK. Until then it gets no entry, which would be of
/// another id later.
#[test]
fn an_association_without_an_id_gets_no_entry() {
    for kprobes in [false, true] {
        let mut world = World::new(kprobes);
        let flushed: Hook<Buffer> = world.program.hook("flushed");
        let begun = Buffer { state: COOKIE_WAIT, queued: 1, ..Buffer::UP };
        let mut without = begun;
        without.assoc.assoc_id = 0;
        world.program.run(flushed, &without, &[]);
        assert_eq!(world.seen().len(), 0);
        world.program.run(flushed, &begun, &[]);
        world.pass(MS);
        assert_eq!(world.seen().into_values().collect::<Vec<_>>(), [[0, 0, 0, 0, 0, MS]]);
    }
}

/// What an association holds of the socket's send buffer is added up at each look, in total and by interval.
#[test]
fn what_an_association_holds_is_added_up() {
    let mut world = World::new(false);
    for (used, used_by_all) in [(1000, 4000), (3000, 4000), (500, 500)] {
        let buffer = Buffer { used, used_by_all, ..world.buffer(1) };
        let hook: Hook<SendArgs> = world.program.hook("send_ends");
        let args = SendArgs { buffer, msg_bytes: 100, returned: 100, msg_flags: 0 };
        world.program.run(hook, &args, &[]);
    }
    let entry = world.entry();
    assert_eq!((entry.stats.held, entry.stats.held_by_all), (4500, 8500));
    let window = entry.window.iter().find(|window| window.epoch != 0).expect("an interval").stats;
    assert_eq!((window.held, window.held_by_all), (4500, 8500));
}

/// The socket is looked at again after a second, when what limits the sender changes; and at most 256 of its
/// associations are counted.
#[test]
fn the_socket_is_looked_at_once_a_second() {
    let mut world = World::new(false);
    let flushed: Hook<Buffer> = world.program.hook("flushed");
    let look = |world: &mut World, sock_assocs, queued| {
        let buffer = Buffer { sock_assocs, queued, state: COOKIE_WAIT, ..Buffer::UP };
        world.program.run(flushed, &buffer, &[]);
        world.entry().state.sock_assocs
    };
    assert_eq!(look(&mut world, 1, 100), 1);
    world.pass(1000 * MS);
    assert_eq!(look(&mut world, 300, 0), 1, "not yet");
    world.pass(1);
    assert_eq!(look(&mut world, 300, 0), 1, "nothing has changed");
    assert_eq!(look(&mut world, 300, 100), 256);
    assert_eq!(world.entry().state.sndbuf_policy, 1 - Buffer::UP.shared);
}
