//! Tests `recv_wait.h` through `bufmon.bpf.c` against a model of sockets and their readers: how long each message
//! waits, from when its last byte can be read until it is.
//!
//! `World` does what the kernel does with events (`ulpqueue.c`, `stream_interleave.c`, `ulpevent.c` and `socket.c`
//! of net/sctp), runs the hooks where the kernel would, and keeps the true figures by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::{collection::vec, prelude::*, sample::Index};
use sctptrace_native::{
    Hook, Program,
    association::AssocArgs,
    raw::{Dist, SET_SLOTS, Settings, Slot, WANT_EXTENDED, WANT_WINDOWS, Window},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

#[path = "bufmon/mod.rs"]
mod bufmon;
use bufmon::{Buffer, Entry, Shared};

/// Flags of events (`sctp_ulpevent.msg_flags`).
const LAST: u16 = 1;
const FIRST: u16 = 2;
const UNORDERED: u16 = 4;
const EOR: u16 = 0x80;
const NOTIFICATION: u16 = 0x8000;

/// The same as `SKBS` of `bufmon.c`.
const SKBS: u32 = 512;
/// The same as `SOCKETS` of `bufmon.c`.
const SOCKETS: usize = 16;

/// `struct recv_args` (`bufmon.c`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Immutable, IntoBytes)]
struct RecvArgs {
    assoc: AssocArgs,
    socket: u32,
    other: u32,
    pd_mode: u32,
    has_pd: u32,
    frag_interleave: u32,
    only: u32,
}

/// `struct recv_event` (`bufmon.c`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
struct RecvEvent {
    skb: u32,
    assoc: u32,
    msg_flags: u16,
    /// 1: the association has ended.
    is_dead: u16,
}

/// `struct recv_stats` (`recv_wait.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct Stats {
    wait: Dist,
    unread: u64,
}

/// `struct recv` (`recv_wait.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct Recv {
    seq_tail: u64,
    generation: u32,
    pad: u32,
    stats: Stats,
    window: [Window<Stats>; 2],
    seq_head: u64,
}

/// An association's id, and the number of its life.
type Life = (u32, u32);

/// What the reader of a life's messages did: in this interval, or since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Figures {
    count: u64,
    sum: u64,
    min: Option<u64>,
    max: Option<u64>,
    unread: u64,
}

impl Figures {
    fn read(&mut self, wait: u64) {
        self.count += 1;
        self.sum += wait;
        self.min = Some(self.min.map_or(wait, |min| min.min(wait)));
        self.max = self.max.max(Some(wait));
    }

    fn of(stats: &Stats) -> Self {
        let Stats { wait, unread } = stats;
        let some = |value| (wait.count > 0).then_some(value);
        Self { count: wait.count, sum: wait.sum, min: some(wait.min), max: some(wait.max), unread: *unread }
    }
}

#[derive(Clone, Debug)]
struct Event {
    skb: u32,
    /// Index in memory of its association.
    assoc: u32,
    flags: u16,
    /// The life in which its message could be read, and when; `None` if it has none, or it cannot be read yet.
    ready: Option<(Life, u64)>,
    /// False once the program had no room for the message.
    is_known: bool,
}

impl Event {
    fn is_message(&self) -> bool {
        self.flags & EOR != 0 && self.flags & NOTIFICATION == 0
    }
}

#[derive(Clone, Debug)]
struct Assoc {
    args: AssocArgs,
    life: u32,
    socket: usize,
    /// I-DATA was negotiated.
    idata: bool,
    /// True if a message of the association is delivered in parts.
    has_pd: bool,
    is_alive: bool,
}

#[derive(Clone, Debug, Default)]
struct Socket {
    queue: VecDeque<Event>,
    lobby: Vec<Event>,
    pd_mode: u32,
    frag_interleave: bool,
    /// True if no process can receive from the socket any more.
    is_shut: bool,
    is_closed: bool,
}

struct World {
    program: Program,
    event: Hook<RecvArgs>,
    ievent: Hook<RecvArgs>,
    clear_pd: Hook<RecvArgs>,
    migrate: Hook<RecvArgs>,
    purge: Hook<RecvArgs>,
    free: Hook<RecvArgs>,
    restart: Hook<Buffer>,
    end: Hook<Buffer>,
    interval: Hook<u32>,
    report: Hook<[u32; 2]>,
    now: u64,
    last_id: u32,
    skbs: Vec<u32>,
    assocs: Vec<Assoc>,
    sockets: Vec<Socket>,
    total: BTreeMap<Life, Figures>,
    window: BTreeMap<Life, Figures>,
    /// Lives whose entry was shown after its end.
    shown: Vec<Life>,
    /// The life of each entry that there was, by the entry's generation.
    lives: BTreeMap<u32, Life>,
    /// Lives of which a message could be read: these have an entry.
    seen: BTreeSet<Life>,
    /// Messages that could be read; and of these, those that the program had no room for.
    begun: u64,
    evicted: u64,
    /// Messages whose end the program could count nowhere; and of these, those that had been able to be read.
    late: u64,
    late_ready: u64,
    /// Messages that could be read, that the program had room for, and that were thrown away.
    unread: u64,
    /// Number of messages that there is room for.
    room: usize,
    /// Which of the two programs at the end of an event runs: 0: both.
    only: u32,
}

impl World {
    fn new(kprobes: bool, sets: u32) -> Self {
        let settings = Settings {
            jiffy_ns: 4_000_000,
            wants: WANT_EXTENDED | WANT_WINDOWS,
            entry_mask: 255,
            set_mask: sets - 1,
            ..Settings::default()
        };
        let mut program = Program::open("bufmon", &settings);
        program.kernel().kprobes = kprobes.into();
        program.kernel().has_bpf_rdonly_cast = 1;
        let mut world = Self {
            event: program.hook("recv_event"),
            ievent: program.hook("recv_ievent"),
            clear_pd: program.hook("recv_clear_pd"),
            migrate: program.hook("recv_migrate"),
            purge: program.hook("recv_purge"),
            free: program.hook("recv_free"),
            restart: program.hook("restart"),
            end: program.hook("end"),
            interval: program.hook("interval"),
            report: program.hook("report_end"),
            program,
            now: 0,
            last_id: 0,
            skbs: (0..SKBS).rev().collect(),
            assocs: Vec::new(),
            sockets: vec![Socket::default(); 3],
            total: BTreeMap::new(),
            window: BTreeMap::new(),
            shown: Vec::new(),
            lives: BTreeMap::new(),
            seen: BTreeSet::new(),
            begun: 0,
            evicted: 0,
            late: 0,
            late_ready: 0,
            unread: 0,
            room: sets as usize * 4,
            only: 0,
        };
        world.sockets[1].frag_interleave = true;
        world.pass(1000);
        world
    }

    fn pass(&mut self, ns: u64) {
        self.now += ns;
        self.program.kernel().now_ns = self.now;
    }

    /// Begins an association on one of the first three sockets. Two of three use DATA, one I-DATA.
    fn begin(&mut self, socket: usize) {
        let held = |index: u32| {
            self.assocs.iter().any(|assoc| assoc.args.index == index && assoc.is_alive)
                || self.events().any(|event| event.assoc == index)
        };
        let Some(index) = (0..64).find(|index| !held(*index)) else { return };
        if self.sockets[socket].is_closed {
            return;
        }
        self.last_id += 1;
        let args = AssocArgs { index, assoc_id: self.last_id, ..AssocArgs::default() };
        let idata = self.last_id.is_multiple_of(3);
        self.assocs.retain(|assoc| assoc.args.index != index);
        self.assocs.push(Assoc { args, life: 1, socket, idata, has_pd: false, is_alive: true });
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        self.sockets.iter().flat_map(|socket| socket.queue.iter().chain(&socket.lobby))
    }

    /// The association at this index in memory. Events hold its memory after its end.
    fn assoc(&self, index: u32) -> &Assoc {
        self.assocs.iter().find(|assoc| assoc.args.index == index).expect("held")
    }

    fn args(&self, which: usize) -> RecvArgs {
        let assoc = &self.assocs[which];
        let socket = &self.sockets[assoc.socket];
        RecvArgs {
            assoc: assoc.args,
            socket: assoc.socket as u32,
            other: 0,
            pd_mode: socket.pd_mode,
            has_pd: assoc.has_pd.into(),
            frag_interleave: socket.frag_interleave.into(),
            only: self.only,
        }
    }

    fn run(&mut self, hook: Hook<RecvArgs>, args: &RecvArgs, events: &[Event]) {
        let is_dead = |index| !self.assoc(index).is_alive;
        let events: Vec<_> = events
            .iter()
            .map(|e| RecvEvent {
                skb: e.skb,
                assoc: e.assoc,
                msg_flags: e.flags,
                is_dead: is_dead(e.assoc).into(),
            })
            .collect();
        self.program.run(hook, args, events.as_slice().as_bytes());
    }

    /// The message of an event can be read from now on: where there is no room, that which came first gives way.
    fn ready(&mut self, event: &mut Event) {
        let assoc = self.assoc(event.assoc);
        let life = (assoc.args.assoc_id, assoc.life);
        if !event.is_message() {
            return;
        }
        if !assoc.is_alive {
            self.late += 1;
            return;
        }
        event.ready = Some((life, self.now));
        self.seen.insert(life);
        self.begun += 1;
        let all = self.sockets.iter_mut().flat_map(|socket| socket.queue.iter_mut().chain(&mut socket.lobby));
        let known: Vec<_> = all.filter(|event| event.ready.is_some() && event.is_known).collect();
        if known.len() >= self.room {
            let oldest = known.into_iter().min_by_key(|event| event.ready.map(|(_, at)| at)).expect("some");
            oldest.is_known = false;
            self.evicted += 1;
        }
    }

    /// `sctp_ulpq_tail_event()`, or `sctp_enqueue_event()` with I-DATA: an association's events of these flags come.
    fn deliver(&mut self, which: usize, flags: &[u16]) {
        let Assoc { args: AssocArgs { index: assoc, .. }, socket, idata, has_pd, is_alive, .. } =
            self.assocs[which];
        if !is_alive || self.skbs.len() < flags.len() {
            return;
        }
        let mut events: Vec<_> = flags
            .iter()
            .map(|flags| {
                let skb = self.skbs.pop().expect("there are some");
                Event { skb, assoc, flags: *flags, ready: None, is_known: true }
            })
            .collect();
        let args = self.args(which);
        self.run(if idata { self.ievent } else { self.event }, &args, &events);
        let to = &self.sockets[socket];
        let is_whole = flags[0] & NOTIFICATION != 0 || flags[0] & (FIRST | LAST) == FIRST | LAST;
        let to_lobby = !idata && to.pd_mode > 0 && if has_pd { is_whole } else { !to.frag_interleave };
        if !to_lobby {
            events.iter_mut().for_each(|event| self.ready(event));
        }
        if self.sockets[socket].is_shut && flags[0] & NOTIFICATION == 0 {
            self.throw_away(events);
        } else if to_lobby {
            self.sockets[socket].lobby.extend(events);
        } else {
            self.sockets[socket].queue.extend(events);
        }
    }

    /// Begins or ends the delivery of a message in parts.
    fn deliver_part(&mut self, which: usize) {
        let assoc = &self.assocs[which];
        let (socket, idata, has_pd) = (assoc.socket, assoc.idata, assoc.has_pd);
        let to = &self.sockets[socket];
        if !assoc.is_alive || to.is_shut {
            return;
        }
        if has_pd {
            self.deliver(which, &[LAST | EOR]);
            self.end_pd(which);
        } else if idata {
            self.deliver(which, &[FIRST]);
            self.deliver(which, &[0]);
            self.deliver(which, &[LAST | EOR]);
        } else if to.frag_interleave || to.pd_mode == 0 {
            self.sockets[socket].pd_mode += 1;
            self.assocs[which].has_pd = true;
            self.deliver(which, &[FIRST]);
        }
    }

    /// Does to the model what `sctp_ulpq_clear_pd()` does in the kernel.
    fn end_pd(&mut self, which: usize) {
        let (socket, index) = (self.assocs[which].socket, self.assocs[which].args.index);
        if !std::mem::take(&mut self.assocs[which].has_pd) {
            return;
        }
        let args = self.args(which);
        self.leave_lobby(args, socket, Some(index));
    }

    /// `sctp_clear_pd()`; `assoc` is the index in memory of its second argument.
    fn leave_lobby(&mut self, args: RecvArgs, socket: usize, assoc: Option<u32>) {
        let lobby = std::mem::take(&mut self.sockets[socket].lobby);
        self.run(self.clear_pd, &RecvArgs { other: assoc.is_none().into(), ..args }, &lobby);
        self.sockets[socket].pd_mode -= 1;
        let all = self.sockets[socket].pd_mode == 0;
        for mut event in lobby {
            if all || assoc == Some(event.assoc) {
                self.ready(&mut event);
                self.sockets[socket].queue.push_back(event);
            } else {
                self.sockets[socket].lobby.push(event);
            }
        }
    }

    /// `sctp_recvmsg()`: reads the first event of the socket's queue to its end, or only looks at it or at its first
    /// bytes, for which no hook runs.
    fn read(&mut self, socket: usize, to_its_end: bool) {
        if !to_its_end {
            return;
        }
        let Some(event) = self.sockets[socket].queue.pop_front() else { return };
        self.free(&event);
        let Some((life, at)) = event.ready.filter(|_| event.is_known) else { return };
        if self.shown.contains(&life) {
            self.late += 1;
            self.late_ready += 1;
            return;
        }
        for figures in [&mut self.total, &mut self.window] {
            figures.entry(life).or_default().read(self.now - at);
        }
    }

    fn free(&mut self, event: &Event) {
        let args = RecvArgs { only: self.only, ..RecvArgs::default() };
        self.run(self.free, &args, std::slice::from_ref(event));
        self.skbs.push(event.skb);
    }

    /// Does to the model what `sctp_queue_purge_ulpevents()` does in the kernel.
    fn throw_away(&mut self, events: Vec<Event>) {
        self.run(self.purge, &RecvArgs::default(), &events);
        for event in events {
            self.free(&event);
            if !event.is_message() {
                continue;
            }
            let assoc = self.assoc(event.assoc);
            let living = (assoc.args.assoc_id, assoc.life);
            let living = (assoc.is_alive && self.seen.contains(&living)).then_some(living);
            let life = event.ready.filter(|_| event.is_known).map(|(life, _)| life);
            let is_ready = life.is_some();
            match life.or(living).filter(|life| !self.shown.contains(life)) {
                Some(life) => {
                    self.unread += u64::from(is_ready);
                    self.total.entry(life).or_default().unread += 1;
                    self.window.entry(life).or_default().unread += 1;
                }
                None => {
                    self.late += 1;
                    self.late_ready += u64::from(is_ready);
                }
            }
        }
    }

    /// close(2): of the first three sockets, another one takes its place.
    fn close(&mut self, socket: usize) {
        let frag_interleave = self.sockets[socket].frag_interleave;
        let mut closed = std::mem::take(&mut self.sockets[socket]);
        self.throw_away(closed.queue.drain(..).collect());
        self.throw_away(closed.lobby);
        for which in 0..self.assocs.len() {
            if self.assocs[which].socket == socket && self.assocs[which].is_alive {
                self.program.run(self.end, &self.buffer(which), &[]);
                self.assocs[which].is_alive = false;
            }
        }
        self.sockets[socket] = Socket { frag_interleave, is_closed: socket >= 3, ..Socket::default() };
    }

    /// Does to the model what `sctp_sock_migrate()` does in the kernel.
    fn peel_off(&mut self, which: usize) {
        let (old, index, has_pd) =
            (self.assocs[which].socket, self.assocs[which].args.index, self.assocs[which].has_pd);
        if !self.assocs[which].is_alive || old >= 3 || self.sockets.len() == SOCKETS {
            return;
        }
        let new = self.sockets.len();
        let args = RecvArgs { other: new as u32, ..self.args(which) };
        let frag_interleave = self.sockets[old].frag_interleave;
        self.sockets.push(Socket { frag_interleave, pd_mode: has_pd.into(), ..Socket::default() });
        let (moved, stay): (VecDeque<_>, _) =
            self.sockets[old].queue.drain(..).partition(|event| event.assoc == index);
        self.sockets[old].queue = stay;
        self.sockets[new].queue = moved;
        if self.sockets[old].pd_mode > 0 {
            let (moved, stay): (Vec<_>, _) =
                self.sockets[old].lobby.drain(..).partition(|event| event.assoc == index);
            self.sockets[old].lobby = stay;
            if has_pd {
                self.sockets[new].lobby = moved;
                self.leave_lobby(RecvArgs { other: 1, ..args }, old, None);
            } else {
                let queue: Vec<_> = self.sockets[new].queue.iter().chain(&moved).cloned().collect();
                self.run(self.migrate, &args, &queue);
                for mut event in moved {
                    self.ready(&mut event);
                    self.sockets[new].queue.push_back(event);
                }
                self.assocs[which].socket = new;
                return;
            }
        }
        let queue: Vec<_> = self.sockets[new].queue.iter().cloned().collect();
        let args = RecvArgs { pd_mode: self.sockets[old].pd_mode, ..args };
        self.run(self.migrate, &args, &queue);
        self.assocs[which].socket = new;
    }

    fn buffer(&self, which: usize) -> Buffer {
        Buffer { assoc: self.assocs[which].args, ..Buffer::UP }
    }

    fn restart(&mut self, which: usize) {
        if self.assocs[which].is_alive {
            self.program.run(self.restart, &self.buffer(which), &[]);
            self.assocs[which].life += 1;
        }
    }

    /// The association ends; what it has received stays in the socket's queue.
    fn end(&mut self, which: usize) {
        if self.assocs[which].is_alive {
            self.end_pd(which);
            self.program.run(self.end, &self.buffer(which), &[]);
            self.assocs[which].is_alive = false;
        }
    }

    fn entries(&self) -> Vec<Entry> {
        self.program.table::<Entry>("entries").into_iter().filter(|entry| entry.object != 0).collect()
    }

    /// Marks all ended entries as shown, as user space does.
    fn report_ended(&mut self) {
        for entry in self.entries().iter().filter(|entry| entry.ended != 0) {
            self.program.run(self.report, &[entry.key, entry.generation], &[]);
            self.shown.push((entry.id.assoc_id, entry.id.life));
        }
    }

    fn next_interval(&mut self) {
        self.program.run(self.interval, &0, &[]);
        self.window.clear();
    }

    fn step(&mut self, step: &Step, pick: Index) {
        self.pass(1 + pick.index(5_000_000) as u64);
        if self.assocs.is_empty() {
            self.begin(0);
        }
        let which = pick.index(self.assocs.len());
        match *step {
            Step::Begin => self.begin(pick.index(3)),
            Step::Message => self.deliver(which, &[FIRST | LAST | EOR]),
            Step::Unordered => self.deliver(which, &[FIRST | LAST | UNORDERED | EOR]),
            // A message of several chunks keeps the flags of its first.
            Step::Reassembled => self.deliver(which, &[FIRST | EOR]),
            // The missing message has come, and those behind it can be read too. (Where there is no room for all of
            // them, which one gives way is not known: they come at the same time.)
            Step::Gap(n) if self.room > 8 => self.deliver(which, &vec![FIRST | LAST | EOR; n]),
            Step::Gap(_) => self.deliver(which, &[FIRST | LAST | EOR]),
            Step::Notification => self.deliver(which, &[NOTIFICATION]),
            Step::Part if self.room > 8 => self.deliver_part(which),
            Step::Part => {}
            Step::Read => self.read(pick.index(self.sockets.len()), true),
            Step::Look => self.read(pick.index(self.sockets.len()), false),
            Step::PeelOff => self.peel_off(which),
            Step::Close => self.close(pick.index(self.sockets.len())),
            Step::ShutDown => self.sockets[pick.index(3)].is_shut = true,
            Step::Restart => self.restart(which),
            Step::End => self.end(which),
            Step::Report => self.report_ended(),
            Step::Interval => self.next_interval(),
        }
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let recvs = self.program.table::<Recv>("recvs");
        let epoch = self.program.variable::<Shared>("shared").epoch;
        let mut there = BTreeSet::new();
        let (mut total, mut window) = (BTreeMap::new(), BTreeMap::new());
        for entry in self.entries() {
            let life = (entry.id.assoc_id, entry.id.life);
            self.lives.insert(entry.generation, life);
            there.insert(life);
            let recv = &recvs[entry.key as usize];
            prop_assert_eq!(recv.seq_head, recv.seq_tail);
            if recv.generation == entry.generation + 1 {
                total.insert(life, Figures::of(&recv.stats));
                let now = &recv.window[(epoch & 1) as usize];
                if now.epoch == epoch {
                    window.insert(life, Figures::of(&now.stats));
                }
            }
        }
        // An entry that was shown may have made room for another.
        let gone: Vec<_> = self.total.keys().filter(|life| !there.contains(*life)).collect();
        prop_assert!(gone.iter().all(|life| self.shown.contains(*life)), "{:?}", gone);
        let some = |all: &BTreeMap<Life, Figures>| {
            let mut all = all.clone();
            all.retain(|life, figures| there.contains(life) && *figures != Figures::default());
            all
        };
        prop_assert_eq!(&some(&total), &some(&self.total));
        prop_assert_eq!(&some(&window), &some(&self.window));

        let slots = self.program.table::<[Slot; SET_SLOTS as usize]>("inflight");
        let mut waiting: Vec<_> = slots
            .iter()
            .flatten()
            .filter(|slot| slot.key != 0)
            .map(|slot| (self.lives[&slot.path_generation], slot.sent_ns))
            .collect();
        let known = self.events().filter(|event| event.is_known);
        let mut expected: Vec<_> = known.filter_map(|event| event.ready).collect();
        waiting.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(&waiting, &expected);
        let read: u64 = self.total.values().map(|figures| figures.count).sum();
        prop_assert_eq!(
            self.begun,
            read + self.unread + self.evicted + self.late_ready + waiting.len() as u64
        );

        let counted = self.program.variable::<Shared>("shared").accounting;
        prop_assert_eq!(
            [counted.recv_evicted, counted.recv_missed, counted.recv_late],
            [self.evicted, 0, self.late]
        );
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Begin,
    Message,
    Unordered,
    Reassembled,
    Gap(usize),
    Notification,
    Part,
    Read,
    Look,
    PeelOff,
    Close,
    ShutDown,
    Restart,
    End,
    Report,
    Interval,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Begin),
        12 => Just(Step::Message),
        4 => Just(Step::Unordered),
        4 => Just(Step::Reassembled),
        6 => (2_usize..6).prop_map(Step::Gap),
        3 => Just(Step::Notification),
        12 => Just(Step::Part),
        30 => Just(Step::Read),
        6 => Just(Step::Look),
        3 => Just(Step::PeelOff),
        2 => Just(Step::Close),
        1 => Just(Step::ShutDown),
        2 => Just(Step::Restart),
        2 => Just(Step::End),
        2 => Just(Step::Report),
        3 => Just(Step::Interval),
    ]
}

/// What the program counted is what the readers did, for each life and interval: with room for all messages, and
/// with room for four.
fn run(steps: &[(Step, Index)], kprobes: bool, sets: u32, only: u32) -> Result<(), TestCaseError> {
    let mut world = World::new(kprobes, sets);
    world.only = only;
    for (step, pick) in steps {
        world.step(step, *pick);
        world.check()?;
    }
    // All that waits is read in the end.
    for socket in 0..world.sockets.len() {
        while !world.sockets[socket].queue.is_empty() {
            world.pass(7);
            world.read(socket, true);
        }
    }
    world.check()
}

/// Sets of slots with which all messages of `SKBS` fit.
const ENOUGH: u32 = SKBS / 4;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn each_message_counts_from_when_it_can_be_read_until_it_is(
        steps in vec((step(), any::<Index>()), 1..250),
        kprobes: bool,
        only in 0_u32..3,
    ) {
        run(&steps, kprobes, ENOUGH, only)?;
    }

    #[test]
    fn messages_for_which_there_is_no_room_are_counted(
        steps in vec((step(), any::<Index>()), 1..250),
        kprobes: bool,
    ) {
        run(&steps, kprobes, 1, 0)?;
    }
}

/// A message that is read after its association's entry was taken by another association is counted as such, and
/// not as the other's.
#[test]
fn a_message_is_never_another_associations() {
    let mut world = World::new(false, ENOUGH);
    world.begin(0);
    world.deliver(0, &[FIRST | LAST | EOR]);
    world.end(0);
    world.report_ended();
    for _ in 0..60 {
        world.begin(0);
    }
    for which in 1..world.assocs.len() {
        world.deliver(which, &[FIRST | LAST | EOR]);
    }
    while !world.sockets[0].queue.is_empty() {
        world.pass(1000);
        world.read(0, true);
    }
    world.check().unwrap();
    assert_eq!(world.late, 1);
}

/// Where both programs at the end of a message were left out, the next message in the same memory waits anew.
#[test]
fn an_end_that_was_not_seen_is_counted_once() {
    let mut world = World::new(false, ENOUGH);
    world.begin(0);
    world.deliver(0, &[FIRST | LAST | EOR]);
    let lost = world.sockets[0].queue.pop_front().unwrap();
    world.skbs.push(lost.skb);
    world.pass(5000);
    world.deliver(0, &[FIRST | LAST | EOR]);
    world.pass(300);
    world.read(0, true);
    let recv = world.program.table::<Recv>("recvs");
    let found: Vec<_> =
        recv.iter().filter(|recv| recv.generation > 0).map(|recv| Figures::of(&recv.stats)).collect();
    let expected = Figures { count: 1, sum: 300, min: Some(300), max: Some(300), unread: 0 };
    assert_eq!(found, [expected]);
    assert_eq!(world.program.variable::<Shared>("shared").accounting.recv_missed, 1);
}
