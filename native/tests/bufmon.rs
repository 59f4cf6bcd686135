//! Tests `bufmon.bpf.c` against a model of send buffers, sending threads and the peer's window: for each life
//! of an association, waits and closed windows must count up to now, even while they last.
//!
//! `World` runs the hooks where the kernel would, or leaves them out, and keeps the true figures by itself.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::Index};
use sctptrace_native::{
    Hook, Program,
    association::AssocArgs,
    raw::{Settings, WANT_EVENTS, WANT_EXTENDED},
};

#[path = "bufmon/mod.rs"]
mod bufmon;
use bufmon::{Accounting, Buffer, Entry, Event, Send, SendArgs, Shared};

const EAGAIN: i32 = -11;
const EPIPE: i32 = -32;
const MSG_DONTWAIT: u32 = 0x40;
const MS: u64 = 1_000_000;

/// Figures of one life of an association.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Figures {
    waits: u64,
    waited_ns: u64,
    refused: u64,
    looks: u64,
    zero_windows: u64,
    zero_window_ns: u64,
    /// Waits that have ended, for memory.
    memory_waits: u64,
}

impl Figures {
    fn since(self, before: Self) -> Self {
        Self {
            waits: self.waits - before.waits,
            waited_ns: self.waited_ns - before.waited_ns,
            refused: self.refused - before.refused,
            looks: self.looks - before.looks,
            zero_windows: self.zero_windows - before.zero_windows,
            zero_window_ns: self.zero_window_ns - before.zero_window_ns,
            memory_waits: self.memory_waits - before.memory_waits,
        }
    }
}

#[derive(Clone, Debug)]
struct Assoc {
    buffer: Buffer,
    life: u32,
    /// Time at which the peer's window became zero; `None` while it is open.
    closed_at: Option<u64>,
}

impl Assoc {
    fn key(&self) -> (u32, u32) {
        (self.buffer.assoc.assoc_id, self.life)
    }
}

/// A send whose thread sleeps until there is room.
#[derive(Clone, Copy, Debug)]
struct Sleeper {
    buffer: Buffer,
    /// Id of the association that the message is for; `None` once the association has ended.
    assoc: Option<u32>,
    since: u64,
    msg_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    nvcsw: u64,
    /// True if the hook at the beginning of the thread's send was left out. With kprobes the hook at its end
    /// is then left out, too: it might find the frame of an earlier send whose end was left out.
    unseen: bool,
    sleeps: Option<Sleeper>,
}

struct World {
    program: Program,
    begins: Hook<SendArgs>,
    ends: Hook<SendArgs>,
    room: Hook<Buffer>,
    sack: Hook<Buffer>,
    restart: Hook<Buffer>,
    free: Hook<Buffer>,
    at_start: Hook<Buffer>,
    now: u64,
    last_id: u32,
    assocs: Vec<Assoc>,
    threads: [Thread; 9],
    truth: BTreeMap<(u32, u32), Figures>,
    events: u64,
    /// Taken from the end, one element for each hook: true leaves the hook out. When none is left, all hooks
    /// run.
    left_out: Vec<bool>,
}

impl World {
    fn new(kprobes: bool, left_out: Vec<bool>) -> Self {
        let settings = Settings {
            jiffy_ns: 4 * MS,
            wants: WANT_EVENTS | WANT_EXTENDED,
            entry_mask: 255,
            ..Settings::default()
        };
        let mut program = Program::open("bufmon", &settings);
        program.kernel().kprobes = kprobes.into();
        program.kernel().has_bpf_rdonly_cast = 1;
        Self {
            begins: program.hook("send_begins"),
            ends: program.hook("send_ends"),
            room: program.hook("room"),
            sack: program.hook("sack"),
            restart: program.hook("restart"),
            free: program.hook("end"),
            at_start: program.hook("at_start"),
            program,
            now: 0,
            last_id: 0,
            assocs: Vec::new(),
            threads: [Thread::default(); 9],
            truth: BTreeMap::new(),
            events: 0,
            left_out,
        }
    }

    fn pass(&mut self, ns: u64) {
        self.now += ns;
        self.program.kernel().now_ns = self.now;
    }

    /// Returns whether the next hook runs.
    fn runs(&mut self) -> bool {
        !self.left_out.pop().unwrap_or(false)
    }

    fn begin(&mut self) {
        let used: Vec<_> = self.assocs.iter().map(|assoc| assoc.buffer.assoc.index).collect();
        let index = (0..64).find(|index| !used.contains(index)).expect("there are few");
        self.last_id += 1;
        let assoc = AssocArgs { index, assoc_id: self.last_id, ..Buffer::UP.assoc };
        // Half of the associations may lack memory because of their cgroup, half because all sockets together
        // have too much.
        let [memcg, pressure] = [self.last_id & 1, !self.last_id & 1];
        let buffer = Buffer { assoc, sndbuf: 10_000, forward_alloc: 2000, memcg, pressure, ..Buffer::UP };
        self.assocs.push(Assoc { buffer, life: 1, closed_at: None });
    }

    fn idle_threads(&self) -> Vec<usize> {
        (1..self.threads.len()).filter(|tid| self.threads[*tid].sleeps.is_none()).collect()
    }

    /// Returns an association's fields as hooks in this thread find them.
    fn buffer(&self, which: usize, tid: usize) -> Buffer {
        let buffer = self.assocs[which].buffer;
        let sleeps_here = |tid: &usize| {
            self.threads[*tid].sleeps.is_some_and(|sleeper| sleeper.assoc == Some(buffer.assoc.assoc_id))
        };
        let waiters = (1..self.threads.len()).filter(sleeps_here).fold(0, |all, tid| all | 1 << tid);
        Buffer { tid: tid as u32, nvcsw: self.threads[tid].nvcsw, waiters, ..buffer }
    }

    fn figures(&mut self, which: usize) -> &mut Figures {
        self.truth.entry(self.assocs[which].key()).or_default()
    }

    fn ends(&mut self, buffer: Buffer, msg_bytes: u64, returned: i32) {
        let unseen = self.threads[buffer.tid as usize].unseen && self.program.kernel().kprobes == 1;
        if self.runs() && !unseen {
            self.program.run(self.ends, &SendArgs { buffer, msg_bytes, returned, msg_flags: 0 }, &[]);
        }
    }

    /// The kernel takes a thread's message, after a wait or without one.
    fn taken(&mut self, which: usize, tid: usize, msg_bytes: u64) {
        let buffer = self.buffer(which, tid);
        if self.runs() {
            self.program.run(self.room, &buffer, &[]);
        }
        self.assocs[which].buffer.used += msg_bytes as i32;
        self.pass(1000);
        self.figures(which).looks += 1;
        let buffer = self.buffer(which, tid);
        self.ends(buffer, msg_bytes, msg_bytes as i32);
    }

    fn send(&mut self, which: usize, tid: usize, msg_bytes: u64, blocking: bool, has_memory: bool) {
        let buffer = self.buffer(which, tid);
        let msg_flags = if blocking { 0 } else { MSG_DONTWAIT };
        let runs = self.runs();
        self.threads[tid].unseen = !runs;
        if runs {
            self.program.run(self.begins, &SendArgs { buffer, msg_bytes, returned: 0, msg_flags }, &[]);
        }
        let full = buffer.used >= buffer.sndbuf;
        if !full && (msg_bytes <= buffer.forward_alloc as u64 || has_memory) {
            self.pass(1000);
            return self.taken(which, tid, msg_bytes);
        }
        if !blocking {
            let figures = self.figures(which);
            figures.refused += 1;
            figures.looks += 1;
            return self.ends(buffer, msg_bytes, EAGAIN);
        }
        let assoc = Some(buffer.assoc.assoc_id);
        self.threads[tid].nvcsw += 1;
        self.threads[tid].sleeps = Some(Sleeper { buffer, assoc, since: self.now, msg_bytes });
    }

    /// Adds a thread's wait until now to the true figures, and the record that it gives.
    fn book(&mut self, key: (u32, u32), sleeper: &Sleeper) {
        let figures = self.truth.entry(key).or_default();
        figures.waits += 1;
        figures.waited_ns += self.now - sleeper.since;
        figures.memory_waits += u64::from(sleeper.buffer.used < sleeper.buffer.sndbuf);
        self.events += 1;
    }

    /// Wakes a sleeping thread: the kernel takes its message, or the send fails with `error`.
    fn wake(&mut self, tid: usize, error: Option<i32>) {
        let Some(sleeper) = self.threads[tid].sleeps.take() else { return };
        let here = |assoc: &Assoc| Some(assoc.buffer.assoc.assoc_id) == sleeper.assoc;
        let Some(which) = self.assocs.iter().position(here) else {
            let buffer = Buffer { tid: tid as u32, nvcsw: self.threads[tid].nvcsw, ..sleeper.buffer };
            return self.ends(buffer, sleeper.msg_bytes, EPIPE);
        };
        self.book(self.assocs[which].key(), &sleeper);
        let Some(error) = error else { return self.taken(which, tid, sleeper.msg_bytes) };
        if error == EAGAIN {
            let figures = self.figures(which);
            figures.refused += 1;
            figures.looks += 1;
        }
        let buffer = self.buffer(which, tid);
        self.ends(buffer, sleeper.msg_bytes, error);
    }

    fn sack(&mut self, which: usize, acked: i32, rwnd: u32) {
        let mut bytes = vec![3, 0, 0, 16, 0, 0, 0, 7];
        bytes.extend(rwnd.to_be_bytes());
        bytes.extend([0; 4]);
        if !self.runs() {
            return;
        }
        let now = self.now;
        match (self.assocs[which].closed_at, rwnd) {
            (None, 0) => {
                self.assocs[which].closed_at = Some(now);
                self.figures(which).zero_windows += 1;
            }
            (Some(since), 1..) => {
                self.assocs[which].closed_at = None;
                self.figures(which).zero_window_ns += now - since;
            }
            _ => {}
        }
        self.figures(which).looks += 1;
        let buffer = self.buffer(which, 0);
        self.program.run(self.sack, &buffer, &bytes);
        let used = &mut self.assocs[which].buffer.used;
        *used = (*used - acked).max(0);
    }

    /// Ends a life of an association, and with it the closed window and the waits of that life. If there is a
    /// `next` life, its sends wait on in that.
    fn life_ends(&mut self, which: usize, next: bool) {
        let key = self.assocs[which].key();
        if let Some(since) = self.assocs[which].closed_at.take() {
            self.figures(which).zero_window_ns += self.now - since;
        }
        for tid in 1..self.threads.len() {
            let Some(mut sleeper) = self.threads[tid].sleeps.filter(|s| s.assoc == Some(key.0)) else {
                continue;
            };
            self.book(key, &sleeper);
            sleeper.since = self.now;
            sleeper.assoc = sleeper.assoc.filter(|_| next);
            self.threads[tid].sleeps = Some(sleeper);
        }
    }

    fn restart(&mut self, which: usize) {
        let buffer = self.buffer(which, 0);
        self.program.run(self.restart, &buffer, &[]);
        self.life_ends(which, true);
        self.assocs[which].life += 1;
        self.assocs[which].buffer.used = 0;
    }

    fn end(&mut self, which: usize) {
        let buffer = self.buffer(which, 0);
        self.program.run(self.free, &buffer, &[]);
        self.life_ends(which, false);
        self.assocs.remove(which);
    }

    /// Returns the true figures of each life, up to now.
    fn truth(&self) -> BTreeMap<(u32, u32), Figures> {
        let mut truth = self.truth.clone();
        for assoc in &self.assocs {
            if let Some(since) = assoc.closed_at {
                truth.entry(assoc.key()).or_default().zero_window_ns += self.now - since;
            }
        }
        for sleeper in self.threads.iter().filter_map(|thread| thread.sleeps) {
            let here = |assoc: &&Assoc| Some(assoc.buffer.assoc.assoc_id) == sleeper.assoc;
            if let Some(assoc) = self.assocs.iter().find(here) {
                let figures = truth.entry(assoc.key()).or_default();
                figures.waits += 1;
                figures.waited_ns += self.now - sleeper.since;
            }
        }
        truth.retain(|_, figures| *figures != Figures::default());
        truth
    }

    /// Returns the figures of each life in the program's tables, up to now.
    fn seen(&self) -> BTreeMap<(u32, u32), Figures> {
        let open = self.sends_open() > 0;
        let sends = if open { self.program.table::<Send>("sends") } else { Vec::new() };
        let mut seen = BTreeMap::new();
        for entry in self.program.table::<Entry>("entries").iter().filter(|entry| entry.object != 0) {
            assert_eq!(entry.seq_tail, entry.seq_head);
            let (state, stats) = (&entry.state, &entry.stats);
            let mut figures = Figures {
                waits: stats.wait.count,
                waited_ns: stats.wait.sum,
                refused: stats.refused,
                looks: stats.util.count,
                zero_windows: stats.zero_windows,
                zero_window_ns: stats.zero_window_ns,
                memory_waits: stats.memory_waits,
            };
            if state.zero_window_ns != 0 {
                figures.zero_window_ns += self.now - state.zero_window_ns;
            }
            let waits = |send: &&Send| {
                send.tid != 0
                    && send.start_ns != 0
                    && (send.entry, send.generation) == (entry.key, entry.generation)
            };
            assert_eq!(state.waiting as usize, sends.iter().filter(waits).count(), "sends that wait");
            for send in sends.iter().filter(waits) {
                figures.waits += 1;
                figures.waited_ns += self.now - send.start_ns;
            }
            let known = seen.insert((entry.id.assoc_id, entry.id.life), figures);
            assert_eq!(known, None, "twice: {:?}", entry.id);
        }
        seen.retain(|_, figures| *figures != Figures::default());
        seen
    }

    fn sends_open(&self) -> u32 {
        self.program.variable::<Shared>("shared").sends_open
    }

    fn accounting(&self) -> Accounting {
        self.program.variable::<Shared>("shared").accounting
    }

    fn step(&mut self, step: &Step) {
        let assocs = self.assocs.len();
        match *step {
            Step::Pass(ns) => self.pass(ns),
            Step::Begin if assocs < 4 => self.begin(),
            Step::Send { which, thread, msg_bytes, blocking, has_memory } if assocs > 0 => {
                let idle = self.idle_threads();
                if !idle.is_empty() {
                    self.send(which.index(assocs), *thread.get(&idle), msg_bytes, blocking, has_memory);
                }
            }
            Step::Wake(tid, error) => self.wake(tid, error),
            Step::Sack(which, acked, rwnd) if assocs > 0 => self.sack(which.index(assocs), acked, rwnd),
            Step::Restart(which) if assocs > 0 => self.restart(which.index(assocs)),
            Step::End(which) if assocs > 0 => self.end(which.index(assocs)),
            _ => {}
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Begin,
    Send { which: Index, thread: Index, msg_bytes: u64, blocking: bool, has_memory: bool },
    Wake(usize, Option<i32>),
    Sack(Index, i32, u32),
    Restart(Index),
    End(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let send = (any::<Index>(), any::<Index>(), 1_u64..5000, any::<bool>(), any::<bool>());
    let error = prop_oneof![2 => Just(None), 1 => Just(Some(EAGAIN)), 1 => Just(Some(EPIPE))];
    let rwnd = prop_oneof![Just(0_u32), Just(50_000)];
    prop_oneof![
        6 => (1_u64..100 * MS).prop_map(Step::Pass),
        2 => Just(Step::Begin),
        8 => send.prop_map(|(which, thread, msg_bytes, blocking, has_memory)| {
            Step::Send { which, thread, msg_bytes, blocking, has_memory }
        }),
        6 => (1_usize..9, error).prop_map(|(tid, error)| Step::Wake(tid, error)),
        4 => (any::<Index>(), 0_i32..12_000, rwnd).prop_map(|(which, acked, rwnd)| Step::Sack(which, acked, rwnd)),
        1 => any::<Index>().prop_map(Step::Restart),
        1 => any::<Index>().prop_map(Step::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// After each step the program's figures of each life, living or ended, are those of the model, with
    /// waits and closed windows that still last. Each wait that has ended gives one record.
    #[test]
    fn what_lasts_is_there_before_it_is_over(steps in vec(step(), 1..200), kprobes: bool) {
        let mut world = World::new(kprobes, Vec::new());
        world.pass(MS);
        world.begin();
        for step in &steps {
            world.step(step);
            prop_assert_eq!(world.seen(), world.truth());
        }
        prop_assert_eq!(world.accounting(), Accounting::default());
        prop_assert_eq!(world.program.records::<Event>().len() as u64, world.events);
    }

    /// Hooks left out do no lasting harm: once each thread has sent again and each association has had a
    /// SACK, all later figures are exact.
    #[test]
    fn left_out_hooks_leave_nothing_behind(
        before in vec(step(), 1..100),
        after in vec(step(), 1..100),
        left_out in vec(prop::bool::weighted(0.3), 0..100),
        kprobes: bool,
    ) {
        let mut world = World::new(kprobes, left_out);
        world.pass(MS);
        world.begin();
        before.iter().for_each(|step| world.step(step));
        world.left_out.clear();
        (1..9).for_each(|tid| world.wake(tid, None));
        if world.assocs.is_empty() {
            world.begin();
        }
        for tid in 1..9 {
            world.assocs[0].buffer.used = 0;
            world.send(0, tid, 100, true, true);
        }
        for which in 0..world.assocs.len() {
            world.sack(which, 0, 50_000);
        }
        prop_assert_eq!(world.sends_open(), 0);
        let (seen, truth) = (world.seen(), world.truth());
        after.iter().for_each(|step| world.step(step));
        for (key, figures) in world.truth() {
            let of = |figures: &BTreeMap<_, Figures>| figures.get(&key).copied().unwrap_or_default();
            prop_assert_eq!(of(&world.seen()).since(of(&seen)), figures.since(of(&truth)), "{:?}", key);
        }
    }
}

/// Returns a world with one association, whose send buffer is full.
fn blocked(kprobes: bool) -> World {
    let mut world = World::new(kprobes, Vec::new());
    world.pass(MS);
    world.begin();
    world.assocs[0].buffer.used = 10_000;
    world
}

#[test]
fn a_send_blocked_for_the_whole_run_shows_without_any_sack() {
    let mut world = blocked(false);
    world.send(0, 1, 100, true, true);
    world.pass(600_000 * MS);
    let seen = world.seen();
    assert_eq!(seen[&(1, 1)], Figures { waits: 1, waited_ns: 600_000 * MS, ..Figures::default() });
}

#[test]
fn a_send_that_was_blocked_at_the_start_waits_from_there() {
    let mut world = blocked(false);
    let full = world.assocs[0].buffer;
    world.threads[3].nvcsw = 7;
    world.threads[3].sleeps =
        Some(Sleeper { buffer: full, assoc: Some(1), since: world.now, msg_bytes: 100 });
    let buffer = world.buffer(0, 0);
    // The iterator finds the socket twice, as a process and its child have it open.
    (0..2).for_each(|_| world.program.run(world.at_start, &buffer, &[]));
    world.pass(5000 * MS);
    assert_eq!(world.seen(), world.truth());
    assert_eq!(world.seen()[&(1, 1)].waited_ns, 5000 * MS);
    world.wake(3, None);
    assert_eq!(world.seen(), world.truth());
    assert_eq!(world.sends_open(), 0);
}

#[test]
fn what_stands_still_at_the_start_has_an_entry() {
    let mut world = World::new(false, Vec::new());
    world.pass(MS);
    world.begin();
    let idle = world.buffer(0, 0);
    world.program.run(world.at_start, &idle, &[]);
    assert!(world.program.table::<Entry>("entries").iter().all(|entry| entry.object == 0));
    world.program.run(world.at_start, &Buffer { queued: 500, in_flight: 100, ..idle }, &[]);
    let entries = world.program.table::<Entry>("entries");
    let entry = entries.iter().find(|entry| entry.object != 0).expect("an entry");
    assert_eq!((entry.state.now.since_ns, entry.state.now.bytes), (MS, 600));
}

/// A window that was closed at the start counts as closed from there.
#[test]
fn a_window_that_was_closed_at_the_start_is_closed() {
    let mut world = World::new(false, Vec::new());
    world.pass(MS);
    world.begin();
    let buffer = Buffer { queued: 500, closed: 1, ..world.buffer(0, 0) };
    world.program.run(world.at_start, &buffer, &[]);
    world.pass(5000 * MS);
    let closed = Figures { zero_windows: 1, zero_window_ns: 5000 * MS, ..Figures::default() };
    assert_eq!(world.seen()[&(1, 1)], closed);
    world.sack(0, 0, 50_000);
    world.pass(1000 * MS);
    assert_eq!(world.seen()[&(1, 1)], Figures { looks: 1, ..closed });
}

/// An association that was not up at the start has no entry then: data that is queued waits for the setup.
#[test]
fn what_is_not_up_at_the_start_does_not_stand_still() {
    const COOKIE_WAIT: u32 = 1;
    let mut world = World::new(false, Vec::new());
    world.pass(MS);
    world.begin();
    let buffer = Buffer { queued: 500, state: COOKIE_WAIT, ..world.buffer(0, 0) };
    world.program.run(world.at_start, &buffer, &[]);
    assert!(world.program.table::<Entry>("entries").iter().all(|entry| entry.object == 0));
}

/// A T3-rtx expiry shows that data is outstanding: if the program has not seen that before, the stall begins
/// there.
#[test]
fn a_stall_whose_beginning_was_not_seen_begins_at_an_expiry() {
    for kprobes in [false, true] {
        let mut world = World::new(kprobes, Vec::new());
        world.pass(MS);
        world.begin();
        let expires = world.program.hook::<Buffer>("t3_expires");
        let buffer = Buffer { in_flight: 300, queued: 200, ..world.buffer(0, 0) };
        for _ in 0..2 {
            world.program.run(expires, &buffer, &[]);
            world.pass(2000 * MS);
        }
        let entries = world.program.table::<Entry>("entries");
        let now = entries.iter().find(|entry| entry.object != 0).expect("an entry").state.now;
        assert_eq!((now.since_ns, now.t3_expiries, now.bytes), (MS, 2, 500));
    }
}

#[test]
fn a_wait_for_memory_is_a_wait() {
    let mut world = World::new(false, Vec::new());
    world.pass(MS);
    world.begin();
    world.send(0, 1, 4000, true, false);
    world.pass(50 * MS);
    world.wake(1, None);
    assert_eq!(world.seen()[&(1, 1)].waited_ns, 50 * MS);
}

#[test]
fn a_refused_send_whose_end_was_not_seen_is_no_wait() {
    for kprobes in [false, true] {
        let mut world = blocked(kprobes);
        // Taken from the end: the hook at the send's beginning runs, and the hook at its end is left out.
        world.left_out = vec![true, false];
        world.send(0, 1, 100, false, true);
        world.pass(5000 * MS);
        assert_eq!(world.seen().get(&(1, 1)), None);
        world.assocs[0].buffer.used = 0;
        world.threads[1].nvcsw += 9;
        world.send(0, 1, 100, false, true);
        assert_eq!(world.seen()[&(1, 1)], Figures { looks: 1, ..Figures::default() });
    }
}

#[test]
fn a_wait_whose_end_was_not_seen_goes_with_the_next_send() {
    let mut world = blocked(true);
    world.send(0, 1, 100, true, true);
    world.left_out = vec![true];
    world.pass(MS);
    world.wake(1, Some(EPIPE));
    world.pass(5000 * MS);
    world.assocs[0].buffer.used = 0;
    world.send(0, 1, 100, true, true);
    assert_eq!(world.seen()[&(1, 1)], Figures { looks: 1, ..Figures::default() });
    assert_eq!(world.accounting().waits_missed, 1);
}

#[test]
fn data_that_is_given_up_ends_a_stall_and_does_not_hide_it() {
    let mut world = World::new(false, Vec::new());
    world.pass(MS);
    world.begin();
    world.sack(0, 0, 50_000);
    world.send(0, 1, 100, true, true);
    world.pass(5000 * MS);
    // The cumulative TSN is the same, but no data is outstanding or queued: the chunk was abandoned (RFC
    // 3758).
    world.sack(0, 0, 50_000);
    let entries = world.program.table::<Entry>("entries");
    let entry = entries.iter().find(|entry| entry.object != 0).expect("an entry");
    assert_eq!((entry.stats.stalls, entry.state.now.since_ns), (1, 0));
}

#[test]
fn a_send_that_asks_for_too_much_is_counted_by_its_error() {
    const EINVAL: i32 = -22;
    const EMSGSIZE: i32 = -90;
    for kprobes in [false, true] {
        let mut world = World::new(kprobes, Vec::new());
        world.pass(MS);
        world.begin();
        for returned in [EINVAL, EMSGSIZE, EINVAL] {
            let args = SendArgs { buffer: world.buffer(0, 1), msg_bytes: 100, returned, msg_flags: 0 };
            world.program.run(world.begins, &args, &[]);
            world.program.run(world.ends, &args, &[]);
        }
        let entries = world.program.table::<Entry>("entries");
        let stats = entries.iter().find(|entry| entry.object != 0).expect("an entry").stats;
        assert_eq!((stats.refused_einval, stats.refused_other, stats.refused), (2, 1, 0));
        assert_eq!(stats.util.count, 0, "no look at a buffer that this send did not reach");
    }
}

/// If waiting senders occupy all return probes of `sctp_sendmsg_to_asoc()`, the probe at the end of
/// `sctp_primitive_SEND()` still takes a sample after each message.
#[test]
fn a_message_that_was_taken_is_looked_at_without_a_return_probe_of_its_send() {
    let mut world = World::new(true, Vec::new());
    world.pass(MS);
    world.begin();
    let buffer = world.buffer(0, 1);
    let args = SendArgs { buffer, msg_bytes: 100, returned: 100, msg_flags: 0 };
    let queued = world.program.hook("queued");
    for _ in 0..3 {
        world.program.run(world.begins, &args, &[]);
        world.program.run(world.room, &buffer, &[]);
        world.program.run(queued, &args, &[]);
    }
    assert_eq!(world.seen()[&(1, 1)], Figures { looks: 3, ..Figures::default() });
}

/// A return probe that finds no frame, as the probe at the entry was missed, is counted in `frames_lost`.
#[test]
fn a_return_without_a_frame_is_counted() {
    let mut world = World::new(true, Vec::new());
    world.pass(MS);
    world.begin();
    let args = SendArgs { buffer: world.buffer(0, 1), msg_bytes: 100, returned: EPIPE, msg_flags: 0 };
    (0..2).for_each(|_| world.program.run(world.ends, &args, &[]));
    assert_eq!(world.program.variable::<Shared>("shared").frames_lost, 2);
    // A frame is that of one call: the next return at the same address does not find it.
    world.program.run(world.begins, &args, &[]);
    (0..2).for_each(|_| world.program.run(world.ends, &args, &[]));
    assert_eq!(world.program.variable::<Shared>("shared").frames_lost, 3);
}
