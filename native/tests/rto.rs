//! Tests `rto.bpf.c` against a model: updates of RTOs are those of the kernel, and each retransmission counts
//! once, as does each duplicate that the peer names.
//!
//! `World` models a sending kernel, a network that loses packets, and peers that name duplicates in their
//! SACKs.

#[path = "rto/chain.rs"]
mod chain;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Range;

use proptest::{prelude::*, sample::Index};
use sctptrace_native::{
    Hook, Program,
    association::{AssocArgs, Receiver, Sack, Sender, before},
    raw::{Dist, Entry, Filter, Settings, Shared, WANT_EVENTS, WANT_EXTENDED},
    streams::ESTABLISHED,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct stats` (`rto.bpf.c`): statistics of a path.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct Stats {
    rto: Dist,
    srtt: Dist,
    rttvar: Dist,
    t3_expiries: u64,
    heartbeat_timeouts: u64,
    t3_retransmits: u64,
    fast_retransmits: u64,
    pmtud_retransmits: u64,
    rtx_chunks: u64,
    rtx_for_path: u64,
    spurious: u64,
    dup_tsns: u64,
    early_acks: u64,
    cwnd_cuts: [u64; 4],
}

/// `struct values` (`rto.bpf.c`): the values of a path after its last event.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct Values {
    rto: u32,
    srtt: u32,
    rttvar: u32,
    rtt: u32,
    cwnd: u32,
    ssthresh: u32,
    flight: u32,
    pmtu: u32,
    error_count: u16,
    error_limit: u16,
    assoc_errors: u16,
    assoc_error_limit: u16,
    path_state: u8,
    primary: u8,
    paths_known: u8,
    pad: u8,
    paths: u32,
}

/// `struct state` (`rto.bpf.c`): what the program keeps of a path besides statistics.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct State {
    last: Values,
    payload_noted: u32,
    cwnd_before: u32,
    made_ns: u64,
    sack_ns: u64,
    failover_ns: u64,
    /// `since_ns` of `struct min_rtt`: when the current period of measurement began; 0: nothing was measured.
    min_since_ns: u64,
    /// `ns` of `struct min_rtt`: smallest round-trip time of the current period.
    min_ns: u64,
    /// `before_ns` of `struct min_rtt`: smallest round-trip time of the period before; all ones: none.
    min_before_ns: u64,
    transitions: [u32; 4],
}

/// `struct accounting` (`rto.bpf.c`): counts of what was lost, evicted or left out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes)]
struct Accounting {
    lost: u64,
    paths_evicted: u64,
    updates_evicted: u64,
    assocs_evicted: u64,
    chunks_evicted: u64,
    unseen: u64,
    scan_limit: u64,
}

/// `struct event` (`rto.bpf.c`): the record of an RTO update, an expired timer or a change of path state.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct Event {
    time_ns: u64,
    assoc_id: u32,
    path: u32,
    path_generation: u32,
    cause: u8,
    old_state: u8,
    pad: u16,
    old_rto: u32,
    values: Values,
}

const CAUSE_RTT: u8 = 0;
const CAUSE_HEARTBEAT: u8 = 1;
const CAUSE_T3: u8 = 2;
const CAUSE_STATE: u8 = 4;
const CAUSE_T2: u8 = 6;

/// `PATH_REMOVED` (`rto.bpf.c`): the state of a path whose address was deleted.
const REMOVED: u8 = 255;

/// The T3-rtx timer, of `enum timer_kind` (`rto.bpf.c`).
const TIMER_T3: u32 = 0;
/// The T2-shutdown timer, of `enum timer_kind` (`rto.bpf.c`).
const TIMER_T2: u32 = 2;

/// `struct path_args` (`rto.c`): arguments of the hook `set_path`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
struct PathArgs {
    assoc: AssocArgs,
    path: u32,
    host: u32,
    rto: u32,
    srtt: u32,
    rttvar: u32,
    state: u32,
    error_count: u32,
    hb_sent: u32,
    param_flags: u32,
    cwnd: u32,
}

/// `struct call_args` (`rto.c`): arguments of the hooks in `CALLS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
struct Call {
    assoc: AssocArgs,
    path: u32,
    value: u32,
    assoc_state: u32,
    assoc_errors: u32,
}

/// `struct sent_args` (`rto.c`): arguments of the hook `sent`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
struct Sent {
    assoc: AssocArgs,
    path: u32,
    former: u32,
    sent_count: u32,
    packet_size: u32,
    skips: u32,
}

const NO_PATH: u32 = u32::MAX;
const CLOSED: u32 = 0;
const MS: u64 = 1_000_000;
const JIFFY: u64 = 4 * MS;
/// Delay of each path in one direction, in nanoseconds, in the random tests.
const ONE_WAY: u64 = 10 * MS;

/// Names of the hooks that are called for a path and a value.
const CALLS: [&str; 19] = [
    "update",
    "update_begins",
    "update_ends",
    "lower_cwnd",
    "lower_begins",
    "lower_ends",
    "demand_begins",
    "demand_ends",
    "reset_begins",
    "reset_ends",
    "sack_on",
    "set_active",
    "timer_begins",
    "timer_ends",
    "control",
    "set_primary",
    "retransmit",
    "free_path",
    "restart",
];

/// The model's data about a chunk: the path that its last copy took, or `NO_PATH` if that path was removed,
/// and when that copy left.
#[derive(Clone, Copy, Debug)]
struct Note {
    path: u32,
    sent_ns: u64,
}

/// A path of an association: its number, and the last byte of its address.
type Address = (u32, u32);

/// A chunk that was sent again: the path for which its retransmissions count, and how many of them the peer
/// has not named as duplicates yet.
#[derive(Clone, Copy, Debug)]
struct Again {
    path: Address,
    unnamed: u64,
}

/// Counts by association id, life and path, named as in `Stats`: `rtx_chunks`, `rtx_for_path`, `dup_tsns`,
/// `early_acks` and `spurious`.
type Counts = BTreeMap<(u32, u32, Address), [u64; 5]>;

struct Assoc {
    sender: Sender<Note>,
    receiver: Receiver,
    /// TSNs that have arrived, or that a FORWARD-TSN has skipped: another copy of them is a duplicate to the
    /// peer.
    arrived: HashSet<u32>,
    /// Duplicates to be named in the next SACK.
    duplicates: Vec<u32>,
    /// Copies of chunks under way: when each arrives, and its TSN.
    copies: Vec<(u64, u32)>,
    /// SACKs under way: when each arrives, the SACK, and the duplicates that it names.
    sacks: VecDeque<(u64, Sack, Vec<u32>)>,
    /// Chunks of this life that were sent again, by TSN.
    again: BTreeMap<u32, Again>,
    /// TSNs whose data has arrived; a TSN that a FORWARD-TSN has skipped is not one of them.
    had: HashSet<u32>,
    /// Last byte of each path's address.
    hosts: [u32; 4],
    life: u32,
    state: u32,
    errors: u32,
}

/// How the programs are attached, and the sizes of their tables.
#[derive(Clone, Copy, Debug)]
struct Setup {
    kprobes: bool,
    cast: bool,
    paths: u32,
    /// Number of entries of associations; no more than `paths`.
    assocs: u32,
    sets: u32,
    /// Only this path of the first association passes the filter (`--addr`).
    only_path: Option<u8>,
}

impl Setup {
    const ROOMY: Self =
        Self { kprobes: false, cast: true, paths: 256, assocs: 256, sets: 1024, only_path: None };
}

struct World {
    program: Program,
    calls: BTreeMap<&'static str, Hook<Call>>,
    set_path: Hook<PathArgs>,
    sent: Hook<Sent>,
    sack: Hook<AssocArgs>,
    end: Hook<AssocArgs>,
    now: u64,
    last_id: u32,
    assocs: Vec<Assoc>,
    truth: Counts,
    /// Number of copies that arrived although their data had arrived before.
    needless: u64,
    /// True if `truth` also has the counts of removed paths.
    counts_removed: bool,
}

impl World {
    fn new(setup: Setup, isns: &[u32]) -> Self {
        let mut filter = Filter::default();
        if let Some(path) = setup.only_path {
            filter.family = 2; // AF_INET
            filter.ip[..4].copy_from_slice(&[10, path, 0, 2]);
        }
        let settings = Settings {
            jiffy_ns: JIFFY,
            wants: WANT_EVENTS | WANT_EXTENDED,
            filter,
            want_filter: setup.only_path.is_some().into(),
            entry_mask: setup.paths - 1,
            assoc_mask: setup.assocs.min(setup.paths) - 1,
            set_mask: setup.sets - 1,
            ..Settings::default()
        };
        let mut program = Program::open("rto", &settings);
        let kernel = program.kernel();
        kernel.kprobes = setup.kprobes.into();
        kernel.has_bpf_rdonly_cast = setup.cast.into();
        kernel.now_ns = 1;
        let calls = CALLS.map(|name| (name, program.hook(name))).into();
        let mut world = Self {
            calls,
            set_path: program.hook("set_path"),
            sent: program.hook("sent"),
            sack: program.hook("sack"),
            end: program.hook("end"),
            program,
            now: 1,
            last_id: 0,
            assocs: Vec::new(),
            truth: BTreeMap::new(),
            needless: 0,
            counts_removed: false,
        };
        for (index, &isn) in isns.iter().enumerate() {
            let assoc = world.new_assoc(index as u32, isn);
            world.assocs.push(assoc);
        }
        world
    }

    fn new_assoc(&mut self, index: u32, isn: u32) -> Assoc {
        self.last_id += 1;
        Assoc {
            sender: Sender::new(index, self.last_id, isn, isn),
            receiver: Receiver::new(isn),
            arrived: HashSet::new(),
            duplicates: Vec::new(),
            copies: Vec::new(),
            sacks: VecDeque::new(),
            again: BTreeMap::new(),
            had: HashSet::new(),
            hosts: [2 + index; 4],
            life: 1,
            state: ESTABLISHED,
            errors: 0,
        }
    }

    fn pass(&mut self, ns: u64) {
        self.now += ns;
        self.program.kernel().now_ns = self.now;
    }

    fn args(&self, index: usize) -> AssocArgs {
        self.assocs[index].sender.args
    }

    /// Runs a hook of `CALLS` for a path and a value, while the kernel processes a SACK.
    fn call(&mut self, name: &str, index: usize, path: u32, value: u32) {
        self.call_with(name, index, path, value, &[3, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    fn call_with(&mut self, name: &str, index: usize, path: u32, value: u32, chunk: &[u8]) {
        let Assoc { state, errors, .. } = self.assocs[index];
        let call = Call { assoc: self.args(index), path, value, assoc_state: state, assoc_errors: errors };
        self.program.run(self.calls[name], &call, chunk);
    }

    fn set_path(&mut self, index: usize, path: u32, change: impl FnOnce(&mut PathArgs)) {
        let mut args = PathArgs {
            assoc: self.args(index),
            path,
            host: 0,
            rto: 50,
            srtt: 5,
            rttvar: 1,
            state: 2,
            error_count: 0,
            hb_sent: 0,
            param_flags: 1,
            cwnd: 4380,
        };
        change(&mut args);
        self.program.run(self.set_path, &args, &[]);
    }

    /// A SACK of data comes and gives the path a round-trip time, in jiffies.
    fn rtt(&mut self, index: usize, path: u32, jiffies: u32) {
        let sack = self.sack_bytes(index);
        self.call_with("update", index, path, jiffies, &sack);
    }

    /// A HEARTBEAT ACK comes and gives the path a round-trip time, in jiffies.
    fn heartbeat(&mut self, index: usize, path: u32, jiffies: u32) {
        self.call_with("update", index, path, jiffies, &[5, 0, 0, 4]);
    }

    fn run_sent(&mut self, index: usize, path: u32, former: u32, tsn: u32, sent_count: u32, skips: u32) {
        let mut args = self.args(index);
        if sent_count == 1 {
            args.next_tsn = tsn; // the chunk gets it after the hook
        }
        let mut chunk = vec![0, 3, 0, 116];
        chunk.extend(tsn.to_be_bytes());
        chunk.resize(16, 0);
        let sent = Sent { assoc: args, path, former, sent_count, packet_size: 32, skips };
        self.program.run(self.sent, &sent, &chunk);
    }

    /// Sends a new chunk in a packet of its own, which arrives or not.
    fn send(&mut self, index: usize, path: u32, arrives: bool) -> u32 {
        let tsn = self.send_copy(index, path, 0);
        if arrives {
            self.arrive(index, tsn);
        }
        tsn
    }

    fn send_copy(&mut self, index: usize, path: u32, skips: u32) -> u32 {
        let note = Note { path, sent_ns: self.now };
        let tsn = self.assocs[index].sender.send(note);
        self.run_sent(index, path, NO_PATH, tsn, 1, skips);
        tsn
    }

    /// Sends a chunk again, in a packet of its own, which arrives or not.
    fn resend(&mut self, index: usize, path: u32, tsn: u32, arrives: bool) {
        self.resend_copy(index, path, tsn, 0);
        if arrives {
            self.arrive(index, tsn);
        }
    }

    fn resend_copy(&mut self, index: usize, path: u32, tsn: u32, skips: u32) {
        let now = self.now;
        let Assoc { sender, again, life, hosts, .. } = &mut self.assocs[index];
        let (assoc_id, life) = (sender.args.assoc_id, *life);
        let chunk = sender.chunk(tsn).expect("it is outstanding");
        chunk.sent_count += 1;
        let (former, sent_count) = (chunk.note.path, chunk.sent_count);
        chunk.note = Note { path, sent_ns: now };
        chunk.covered = false; // a SACK that came out of order may have withdrawn the acknowledgement
        let address = |path: u32| (path, hosts[path as usize]);
        let from = address(if former == NO_PATH { path } else { former });
        let again = again.entry(tsn).or_insert(Again { path: from, unnamed: 0 });
        if address(again.path.0) != again.path {
            *again = Again { path: from, unnamed: 0 };
        }
        again.unnamed += 1;
        self.truth.entry((assoc_id, life, address(path))).or_default()[0] += 1;
        self.truth.entry((assoc_id, life, again.path)).or_default()[1] += 1;
        self.run_sent(index, path, former, tsn, sent_count, skips);
    }

    fn arrive(&mut self, index: usize, tsn: u32) {
        let assoc = &mut self.assocs[index];
        self.needless += u64::from(!assoc.had.insert(tsn));
        if assoc.arrived.insert(tsn) {
            assoc.receiver.receive(tsn);
        } else {
            assoc.duplicates.push(tsn);
        }
    }

    fn sack_bytes(&self, index: usize) -> Vec<u8> {
        let assoc = &self.assocs[index];
        bytes_of(&assoc.receiver.sack(), &assoc.duplicates)
    }

    /// The peer sends a SACK, which arrives at once or is lost.
    fn answer(&mut self, index: usize, arrives: bool) {
        let assoc = &mut self.assocs[index];
        let (sack, duplicates) = (assoc.receiver.sack(), std::mem::take(&mut assoc.duplicates));
        if arrives {
            self.acknowledge(index, &sack, &duplicates, true);
        }
    }

    /// A SACK arrives, which is ignored if the kernel drops it as too old.
    fn acknowledge(&mut self, index: usize, sack: &Sack, duplicates: &[u32], run: bool) {
        let (now, counts_removed) = (self.now, self.counts_removed);
        let Assoc { sender, again, life, hosts, .. } = &mut self.assocs[index];
        if !sender.takes(sack) {
            return;
        }
        let args = sender.args;
        if run {
            self.program.run(self.sack, &args, &bytes_of(sack, duplicates));
        }
        // A SACK may acknowledge an abandoned TSN, or name it as a duplicate, though its chunk never arrived.
        let given_up = |tsn| !before(args.adv_peer_ack_point, tsn);
        // Nothing is counted for a path that was removed. (But if a program is left out, the retransmission may be
        // booked on another path, which is there.)
        let is_there = |path: Address| counts_removed || hosts[path.0 as usize] == path.1;
        for tsn in duplicates {
            let skipped = sender.chunk(*tsn).is_some_and(|chunk| !chunk.covered && given_up(*tsn));
            let Some(again) = again.get_mut(tsn).filter(|again| is_there(again.path)) else { continue };
            let counts = self.truth.entry((args.assoc_id, *life, again.path)).or_default();
            counts[2] += 1;
            if again.unnamed > 0 && !skipped {
                again.unnamed -= 1;
                counts[4] += 1;
            }
        }
        sender.acknowledge(sack, |chunk| {
            let Some(again) = again.get_mut(&chunk.tsn) else { return };
            if given_up(chunk.tsn) {
                again.unnamed = 0;
            } else if again.unnamed > 0
                && now - chunk.note.sent_ns < 2 * ONE_WAY / 8 * 7
                && chunk.note.path != NO_PATH
                && is_there(again.path)
            {
                self.truth.entry((args.assoc_id, *life, again.path)).or_default()[3] += 1;
            }
        });
    }

    /// The peer restarts the association.
    fn restart(&mut self, index: usize, isn: u32, run: bool) {
        if run {
            self.call("restart", index, 0, 0);
        }
        let assoc = &mut self.assocs[index];
        assoc.sender.restart(isn);
        assoc.receiver = Receiver::new(isn);
        assoc.arrived.clear();
        assoc.duplicates.clear();
        assoc.copies.clear();
        assoc.sacks.clear();
        assoc.again.clear();
        assoc.had.clear();
        assoc.life += 1;
    }

    /// An association ends, and its paths with it.
    fn end(&mut self, index: usize) {
        let args = self.args(index);
        self.program.run(self.end, &args, &[]);
    }

    /// Moves TSNs on, as if `chunks` chunks had been sent and acknowledged without any hook.
    fn skip(&mut self, index: usize, chunks: u32) {
        let assoc = &mut self.assocs[index];
        assoc.sender.skip(chunks);
        assoc.receiver = Receiver::new(assoc.sender.args.next_tsn);
        assoc.arrived.clear();
        assoc.again.clear();
        assoc.had.clear();
    }

    fn accounting(&self) -> Accounting {
        self.program.variable::<Shared<Accounting>>("shared").accounting
    }

    fn entries(&self) -> Vec<Entry<State, Stats>> {
        let entries = self.program.table::<Entry<State, Stats>>("entries");
        entries.into_iter().filter(|entry| entry.object != 0).collect()
    }

    fn sum(&self, counter: impl Fn(&Stats) -> u64) -> u64 {
        self.entries().iter().map(|entry| counter(&entry.stats)).sum()
    }

    /// Returns the causes in the records since the last call.
    fn causes(&mut self) -> Vec<u8> {
        self.program.records::<Event>().iter().map(|event| event.cause).collect()
    }

    /// Lets the program measure the path's own round-trip time, for which it needs two packets and one SACK
    /// for both.
    fn measure(&mut self, index: usize, path: u32, rtt_ns: u64) {
        for _ in 0..3 {
            self.send(index, path, true);
        }
        self.pass(rtt_ns);
        self.answer(index, true);
        self.send(index, path, true);
        self.send(index, path, true);
        self.pass(rtt_ns);
        self.answer(index, true);
    }
}

/// Returns the bytes of a SACK that names these duplicates.
fn bytes_of(sack: &Sack, duplicates: &[u32]) -> Vec<u8> {
    let mut bytes = sack.bytes();
    bytes[14..16].copy_from_slice(&(duplicates.len() as u16).to_be_bytes());
    bytes.extend(duplicates.iter().flat_map(|tsn| tsn.to_be_bytes()));
    let len = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    bytes
}

fn address_of(entry: Entry<State, Stats>) -> Address {
    (entry.id.path.ip[1].into(), entry.id.path.ip[3].into())
}

/// What happens next to an association. An `Index` picks one of several chunks, copies or SACKs.
#[derive(Clone, Debug)]
enum Op {
    Send(u32),
    /// An unacknowledged chunk is sent again, on this path.
    Resend(Index, u32),
    /// One of the copies under way arrives.
    Arrive(Index),
    Lose(Index),
    Acknowledge,
    Sack(Index),
    LoseSack(Index),
    /// A chunk is given up (PR-SCTP), and a FORWARD-TSN is sent. True: the FORWARD-TSN is lost.
    Abandon(Index, bool),
    Expire(u32),
    /// A path becomes the primary one.
    Primary(u32),
    /// The address of a path is deleted, and a path to another address gets its memory.
    Move(u32),
    Restart(u32),
    Replace(u32),
}

/// An operation, the association that it happens to, the time that passes before it, and which programs are
/// left out.
#[derive(Clone, Debug)]
struct Step {
    op: Op,
    assoc: Index,
    ns: u64,
    skips: u32,
}

fn steps(len: Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let index = any::<Index>;
    let isn = || prop_oneof![Just(1_u32), Just(u32::MAX - 2), any::<u32>()];
    let op = prop_oneof![
        10 => (0..4_u32).prop_map(Op::Send),
        8 => (index(), 0..4_u32).prop_map(|(at, path)| Op::Resend(at, path)),
        12 => index().prop_map(Op::Arrive),
        4 => index().prop_map(Op::Lose),
        8 => Just(Op::Acknowledge),
        8 => index().prop_map(Op::Sack),
        2 => index().prop_map(Op::LoseSack),
        2 => (index(), any::<bool>()).prop_map(|(at, lost)| Op::Abandon(at, lost)),
        2 => (0..4_u32).prop_map(Op::Expire),
        1 => (0..4_u32).prop_map(Op::Primary),
        1 => (0..4_u32).prop_map(Op::Move),
        1 => isn().prop_map(Op::Restart),
        1 => isn().prop_map(Op::Replace),
    ];
    let ns = prop_oneof![Just(0), 1..30 * MS, 1..1000 * MS];
    let step = (op, index(), ns, 0..8_u32);
    prop::collection::vec(step.prop_map(|(op, assoc, ns, skips)| Step { op, assoc, ns, skips }), len)
}

impl World {
    fn step(&mut self, step: &Step, skips: u32) {
        self.pass(step.ns);
        let index = step.assoc.index(self.assocs.len());
        let waiting = self.assocs[index].sender.unacknowledged();
        let pick = |at: &Index| (!waiting.is_empty()).then(|| waiting[at.index(waiting.len())]);
        // HEARTBEATs keep each path's round-trip time known to the program.
        (0..4).for_each(|path| self.heartbeat(index, path, (2 * ONE_WAY / JIFFY) as u32 + 1));
        match &step.op {
            Op::Send(path) => {
                let tsn = self.send_copy(index, *path, skips);
                self.assocs[index].copies.push((self.now + ONE_WAY, tsn));
            }
            Op::Resend(at, path) => {
                let Some(tsn) = pick(at) else { return };
                self.resend_copy(index, *path, tsn, skips);
                self.assocs[index].copies.push((self.now + ONE_WAY, tsn));
            }
            Op::Arrive(at) | Op::Lose(at) => {
                let copies = &mut self.assocs[index].copies;
                if copies.is_empty() {
                    return;
                }
                let (time, tsn) = copies.swap_remove(at.index(copies.len()));
                if matches!(step.op, Op::Arrive(_)) {
                    self.pass(time.saturating_sub(self.now));
                    self.arrive(index, tsn);
                }
            }
            Op::Acknowledge => {
                let assoc = &mut self.assocs[index];
                let duplicates = std::mem::take(&mut assoc.duplicates);
                assoc.sacks.push_back((self.now + ONE_WAY, assoc.receiver.sack(), duplicates));
            }
            Op::Sack(at) | Op::LoseSack(at) => {
                let sacks = &mut self.assocs[index].sacks;
                let Some((time, sack, duplicates)) =
                    (!sacks.is_empty()).then(|| sacks.remove(at.index(sacks.len()))).flatten()
                else {
                    return;
                };
                if matches!(step.op, Op::Sack(_)) {
                    self.pass(time.saturating_sub(self.now));
                    self.acknowledge(index, &sack, &duplicates, skips & 1 == 0);
                }
            }
            Op::Abandon(at, lost) => {
                let Some(tsn) = pick(at) else { return };
                let assoc = &mut self.assocs[index];
                if !assoc.sender.prsctp {
                    return;
                }
                assoc.sender.chunk(tsn).expect("it is outstanding").abandoned = true;
                assoc.sender.give_up();
                if !lost {
                    let upto = assoc.sender.args.adv_peer_ack_point;
                    assoc.receiver.forward(upto);
                    // To the peer a copy of a skipped chunk is a duplicate from now on.
                    let skipped = waiting.iter().filter(|tsn| !before(upto, **tsn));
                    assoc.arrived.extend(skipped);
                }
            }
            Op::Expire(path) => {
                self.call("timer_begins", index, *path, TIMER_T3);
                self.call("lower_cwnd", index, *path, 0);
                self.call("timer_ends", index, *path, TIMER_T3);
            }
            Op::Primary(path) => self.make_primary(index, *path),
            Op::Move(path) => {
                if self.args(index).primary == *path {
                    self.make_primary(index, (path + 1) % 4);
                }
                self.call("free_path", index, *path, 0);
                let assoc = &mut self.assocs[index];
                assoc.hosts[*path as usize] += 5;
                let host = assoc.hosts[*path as usize];
                let there = assoc.sender.outstanding.iter_mut().filter(|chunk| chunk.note.path == *path);
                there.for_each(|chunk| chunk.note.path = NO_PATH);
                self.set_path(index, *path, |path| path.host = host);
            }
            Op::Restart(isn) => self.restart(index, *isn, skips & 1 == 0),
            Op::Replace(isn) => {
                if skips & 1 == 0 {
                    self.end(index);
                }
                let prsctp = self.assocs[index].sender.prsctp;
                self.assocs[index] = self.new_assoc(index as u32, *isn);
                self.assocs[index].sender.prsctp = prsctp;
                let host = self.assocs[index].hosts[0];
                (0..4).for_each(|path| self.set_path(index, path, |path| path.host = host));
            }
        }
    }

    fn make_primary(&mut self, index: usize, path: u32) {
        self.call("set_primary", index, path, 0);
        self.assocs[index].sender.args.primary = path;
        let assoc = &self.assocs[index];
        let is_own =
            |entry: &Entry<State, Stats>| (entry.id.assoc_id, entry.ended) == (assoc.sender.args.assoc_id, 0);
        let entries: Vec<_> = self.entries().into_iter().filter(is_own).collect();
        let new = (path, assoc.hosts[path as usize]);
        // In a small table the primary path's entry may have made room: so each entry that is left is
        // checked.
        for entry in entries {
            assert_eq!(entry.state.last.primary != 0, address_of(entry) == new, "{entry:?}");
        }
    }

    /// Returns the counts in the program's table of paths, to be compared with `truth`.
    fn counted(&self) -> Counts {
        let mut counted = Counts::new();
        for entry in self.entries() {
            let stats = entry.stats;
            assert!(stats.spurious <= stats.rtx_for_path && stats.spurious <= stats.dup_tsns, "{stats:?}");
            let counts =
                [stats.rtx_chunks, stats.rtx_for_path, stats.dup_tsns, stats.early_acks, stats.spurious];
            if counts != [0; 5] {
                let there = (entry.id.assoc_id, entry.id.life, address_of(entry));
                let there = counted.entry(there).or_default();
                (0..5).for_each(|n| there[n] += counts[n]);
            }
        }
        counted
    }
}

fn random_world(setup: Setup, isns: &[(u32, bool)]) -> World {
    let mut world = World::new(setup, &isns.iter().map(|(isn, _)| *isn).collect::<Vec<_>>());
    for (assoc, (_, prsctp)) in world.assocs.iter_mut().zip(isns) {
        assoc.sender.prsctp = *prsctp;
    }
    world.pass(1);
    world
}

fn setups() -> impl Strategy<Value = Setup> {
    (any::<bool>(), any::<bool>()).prop_map(|(kprobes, cast)| Setup { kprobes, cast, ..Setup::ROOMY })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Each retransmission is counted once on the path that it takes and once on the path that it is booked
    /// on; each duplicate that the peer names, and each early acknowledgement, is counted once; over ends and
    /// restarts, with any TSNs.
    #[test]
    fn every_retransmission_is_counted_once(
        setup in setups(),
        isns in prop::collection::vec((any::<u32>(), any::<bool>()), 1..4),
        steps in steps(0..120),
    ) {
        let mut world = random_world(setup, &isns);
        steps.iter().for_each(|step| world.step(step, 0));
        prop_assert_eq!(world.counted(), world.truth.clone());
        prop_assert!(world.sum(|stats| stats.spurious) <= world.needless);
    }

    /// If programs are left out, or tables are too small, fewer retransmissions and duplicates may be
    /// counted, and never more; nor are there more early acknowledgements than retransmissions.
    #[test]
    fn what_is_left_out_is_not_made_up(
        setup in setups(),
        small in any::<bool>(),
        isns in prop::collection::vec((any::<u32>(), any::<bool>()), 1..12),
        steps in steps(0..120),
    ) {
        let setup = if small { Setup { paths: 8, sets: 1, ..setup } } else { setup };
        let mut world = random_world(setup, &isns);
        world.counts_removed = true;
        steps.iter().for_each(|step| world.step(step, if small { 0 } else { step.skips }));
        let sum = |all: &Counts| {
            let mut sums: BTreeMap<u32, [u64; 5]> = BTreeMap::new();
            for ((assoc_id, _, _), counts) in all {
                let sum = sums.entry(*assoc_id).or_default();
                (0..5).for_each(|n| sum[n] += counts[n]);
            }
            sums
        };
        let truth = sum(&world.truth);
        for (assoc_id, counts) in sum(&world.counted()) {
            let most = truth.get(&assoc_id).copied().unwrap_or_default();
            prop_assert!((0..3).all(|n| counts[n] <= most[n]), "{:?} of {:?}", counts, most);
            prop_assert!(counts[3] <= counts[1], "{:?}", counts);
        }
    }
}

/// A packet is lost after a queue of 400 ms on its path has drained. The retransmission is not spurious, but
/// its acknowledgement counts as early.
#[test]
fn a_loss_on_a_path_that_became_quicker_is_not_spurious() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    world.measure(0, 0, 420 * MS);
    let tsn = world.send(0, 0, false);
    world.pass(1000 * MS);
    world.resend(0, 0, tsn, true);
    world.pass(20 * MS);
    world.answer(0, true);
    assert_eq!(world.sum(|stats| stats.rtx_chunks), 1);
    assert_eq!(world.sum(|stats| stats.spurious), 0);
    assert_eq!(world.sum(|stats| stats.early_acks), 1, "sooner than the path was known to answer");
}

/// An acknowledgement is not early once the path was measured to be that quick, or once no measurement is
/// recent.
#[test]
fn what_is_known_of_a_path_ages() {
    for (measured, idle_ns) in [(true, 0), (false, 61_000 * MS)] {
        let mut world = World::new(Setup::ROOMY, &[1]);
        world.measure(0, 0, 420 * MS);
        if measured {
            world.measure(0, 0, 20 * MS);
        }
        world.pass(idle_ns);
        let tsn = world.send(0, 0, false);
        world.pass(1000 * MS);
        world.resend(0, 0, tsn, true);
        world.pass(20 * MS);
        world.answer(0, true);
        assert_eq!(world.sum(|stats| stats.early_acks), 0);
        // The first copy has arrived, and its SACK comes 10 ms after the second copy was sent: the path needs
        // 40 ms.
        world.measure(0, 0, 40 * MS);
        let tsn = world.send(0, 0, true);
        world.pass(1000 * MS);
        world.resend(0, 0, tsn, false);
        world.pass(10 * MS);
        world.answer(0, true);
        assert_eq!(world.sum(|stats| stats.early_acks), 1);
    }
}

/// The smallest round-trip time of the period of 30 s before the present one counts, too; older ones do not.
#[test]
fn two_periods_of_measurement_count() {
    // The path's round-trip time in each period; how long it is idle before each; whether an answer after 100
    // ms is early.
    for (rtts, idle_ns, early_acks) in [
        (&[20, 420][..], 31_000 * MS, 0),
        (&[420, 20], 31_000 * MS, 0),
        (&[20, 420, 420], 31_000 * MS, 1),
        (&[20, 420], 61_000 * MS, 1),
        (&[420, 420], 31_000 * MS, 1),
    ] {
        let mut world = World::new(Setup::ROOMY, &[1]);
        for rtt in rtts {
            world.pass(idle_ns);
            world.measure(0, 0, rtt * MS);
        }
        let tsn = world.send(0, 0, true);
        world.pass(1000 * MS);
        world.resend(0, 0, tsn, false);
        world.pass(100 * MS);
        world.answer(0, true);
        assert_eq!(world.sum(|stats| stats.early_acks), early_acks, "{rtts:?}, {idle_ns}");
    }
}

/// An acknowledgement is early if it comes before seven eighths of the smallest round-trip time measured.
#[test]
fn an_answer_is_early_by_an_eighth() {
    for (answer, early_acks) in [(69 * MS, 1), (71 * MS, 0)] {
        let mut world = World::new(Setup::ROOMY, &[1]);
        world.measure(0, 0, 80 * MS);
        let tsn = world.send(0, 0, true);
        world.pass(1000 * MS);
        world.resend(0, 0, tsn, false);
        world.pass(answer);
        world.answer(0, true);
        assert_eq!(world.sum(|stats| stats.early_acks), early_acks);
    }
}

/// A retransmission that a SACK acknowledges early and also names as a duplicate counts as spurious only.
#[test]
fn what_is_named_is_not_early() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    world.measure(0, 0, 420 * MS);
    let tsn = world.send(0, 0, true);
    world.pass(1000 * MS);
    world.resend(0, 0, tsn, true);
    world.pass(20 * MS);
    world.answer(0, true);
    let counts = |stats: &Stats| [stats.rtx_for_path, stats.spurious, stats.dup_tsns, stats.early_acks];
    assert_eq!(world.entries().iter().map(|entry| counts(&entry.stats)).collect::<Vec<_>>(), [[1, 1, 1, 0]]);
}

/// If the network duplicates packets, the peer names more duplicates than retransmissions were sent: no more
/// of them than retransmissions count as spurious, and none of a chunk that was sent once.
#[test]
fn duplicates_by_the_network_make_a_retransmission_spurious_once() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    let never = world.send(0, 0, true);
    let once = world.send(0, 0, false);
    world.resend(0, 0, once, true);
    for _ in 0..3 {
        world.arrive(0, never);
        world.arrive(0, once);
    }
    world.answer(0, true);
    assert_eq!([world.sum(|stats| stats.dup_tsns), world.sum(|stats| stats.spurious)], [3, 1]);
}

/// Each retransmission that the peer names as a duplicate is spurious, however often the chunk was sent
/// again, and however late the SACK comes.
#[test]
fn each_copy_that_the_peer_names_is_counted() {
    let mut world = World::new(Setup::ROOMY, &[u32::MAX]);
    let tsn = world.send(0, 0, true);
    for _ in 0..40 {
        world.pass(1000 * MS);
        world.resend(0, 0, tsn, true);
    }
    world.answer(0, true);
    assert_eq!(world.sum(|stats| stats.spurious), 40);
}

/// A path in the memory of a deleted one is another path, with an entry of its own; the deleted path's entry
/// ends.
#[test]
fn an_address_in_the_memory_of_a_deleted_one_is_another_path() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    world.set_path(0, 1, |path| path.host = 7);
    world.rtt(0, 1, 5);
    world.call("free_path", 0, NO_PATH, 0);
    world.call("free_path", 0, 1, 0);
    world.set_path(0, 1, |path| path.host = 9);
    world.rtt(0, 1, 5);
    let rows: Vec<_> =
        world.entries().iter().map(|entry| (entry.id.path.ip[3], entry.stats.rto.count)).collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows.contains(&(7, 1)) && rows.contains(&(9, 1)), "{rows:?}");
    for entry in world.entries() {
        let is_gone = entry.id.path.ip[3] == 7;
        let last = entry.state.last;
        assert_eq!((entry.ended != 0, last.path_state == REMOVED), (is_gone, is_gone), "{last:?}");
    }
    assert_eq!(world.causes(), [CAUSE_RTT, CAUSE_STATE, CAUSE_RTT]);
}

/// When the primary path changes, only the new one is marked as primary.
#[test]
fn one_path_is_primary() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    world.rtt(0, 0, 5);
    world.rtt(0, 1, 5);
    world.call("set_primary", 0, 1, 0);
    world.assocs[0].sender.args.primary = 1;
    let primary: Vec<_> = world
        .entries()
        .iter()
        .filter(|entry| entry.state.last.primary != 0)
        .map(|entry| entry.id.path.ip[1])
        .collect();
    assert_eq!(primary, [1]);
}

/// A primary path whose address is deleted is not primary any more.
#[test]
fn a_deleted_path_is_not_primary() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    world.rtt(0, 0, 5);
    assert_eq!(world.entries()[0].state.last.primary, 1);
    world.call("free_path", 0, 0, 0);
    let last = world.entries()[0].state.last;
    assert_eq!((last.primary, last.path_state), (0, REMOVED));
}

/// If there are more associations than entries, round-trip times of data and of HEARTBEATs still have the
/// right cause.
#[test]
fn more_associations_than_room_are_no_heartbeats() {
    let isns: Vec<_> = (1..40).collect();
    let mut world = World::new(Setup { paths: 8, ..Setup::ROOMY }, &isns);
    for index in 0..isns.len() {
        world.send(index, 0, true);
        world.pass(20 * MS);
        world.rtt(index, 0, 5);
        world.heartbeat(index, 0, 5);
    }
    let causes = world.causes();
    assert!(causes.chunks(2).all(|pair| pair == [CAUSE_RTT, CAUSE_HEARTBEAT]), "{causes:?}");
}

/// Each retransmission is booked on the path of the chunk's first copy, also if chunks of two paths are sent
/// again on a third.
#[test]
fn a_retransmission_is_booked_on_the_path_that_lost_it() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    let first = world.send(0, 0, true);
    let second = world.send(0, 1, true);
    world.pass(1000 * MS);
    world.call("lower_cwnd", 0, 0, 0);
    world.call("lower_cwnd", 0, 1, 0);
    world.resend(0, 2, first, true);
    world.resend(0, 2, second, true);
    world.answer(0, true);
    let row = |entry: &Entry<State, Stats>| {
        (entry.id.path.ip[1], entry.stats.rtx_chunks, entry.stats.rtx_for_path, entry.stats.spurious)
    };
    let mut rows: Vec<_> = world.entries().iter().map(row).collect();
    rows.sort();
    assert_eq!(rows, [(0, 0, 1, 1), (1, 0, 1, 1), (2, 2, 0, 0)]);
}

/// Retransmitted chunks of an association that has ended make room, and do not count as evicted.
#[test]
fn chunks_of_ended_associations_are_not_evicted() {
    let mut world = World::new(Setup { sets: 1, ..Setup::ROOMY }, &[1, 1]);
    for _ in 0..4 {
        let tsn = world.send(0, 0, false);
        world.pass(MS);
        world.resend(0, 0, tsn, false);
    }
    world.end(0);
    let tsn = world.send(1, 0, false);
    world.pass(MS);
    world.resend(1, 0, tsn, false);
    assert_eq!(world.accounting().chunks_evicted, 0);
}

/// A chunk that waits keeps its slot while there is one whose chunk was acknowledged, however old.
#[test]
fn an_acknowledged_chunk_makes_room_before_one_that_waits() {
    let mut world = World::new(Setup { sets: 1, ..Setup::ROOMY }, &[1, 1]);
    let waits = world.send(0, 0, true);
    world.resend(0, 0, waits, true);
    for _ in 0..3 {
        world.pass(MS);
        let tsn = world.send(1, 0, true);
        world.resend(1, 0, tsn, true);
    }
    world.answer(1, true);
    for _ in 0..3 {
        world.pass(MS);
        let tsn = world.send(1, 0, false);
        world.resend(1, 0, tsn, false);
    }
    assert_eq!(world.accounting().chunks_evicted, 0);
    world.answer(0, true);
    let spurious: Vec<_> =
        world.entries().iter().map(|entry| (entry.id.assoc_id, entry.stats.spurious)).collect();
    assert!(spurious.contains(&(1, 1)), "{spurious:?}");
}

/// A chunk that was given up (PR-SCTP) is acknowledged though it never arrived: that counts neither as early
/// nor as spurious.
#[test]
fn what_was_given_up_is_not_early() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    world.assocs[0].sender.prsctp = true;
    world.measure(0, 0, 20 * MS);
    let tsn = world.send(0, 0, false);
    world.pass(1000 * MS);
    world.assocs[0].sender.chunk(tsn).expect("it is outstanding").abandoned = true;
    world.resend(0, 0, tsn, false);
    world.assocs[0].sender.give_up();
    world.assocs[0].receiver.forward(tsn);
    world.pass(MS);
    world.answer(0, true);
    assert_eq!([world.sum(|stats| stats.spurious), world.sum(|stats| stats.early_acks)], [0, 0]);
}

/// If a copy of a chunk that was given up (PR-SCTP) comes after the FORWARD-TSN, the peer names a duplicate
/// though no copy had arrived before: that is not spurious.
#[test]
fn what_was_given_up_is_not_spurious() {
    for late in [false, true] {
        let mut world = World::new(Setup::ROOMY, &[1]);
        world.assocs[0].sender.prsctp = true;
        let tsn = world.send(0, 0, false);
        world.resend(0, 0, tsn, false);
        world.assocs[0].sender.chunk(tsn).expect("it is outstanding").abandoned = true;
        world.assocs[0].sender.give_up();
        world.assocs[0].receiver.forward(tsn);
        if late {
            world.answer(0, true);
        }
        world.assocs[0].duplicates.push(tsn);
        world.answer(0, true);
        assert_eq!([world.sum(|stats| stats.spurious), world.sum(|stats| stats.dup_tsns)], [0, 1]);
    }
}

/// Without PR-SCTP `adv_peer_ack_point` keeps its first value, which says nothing: spurious retransmissions and
/// early acknowledgements count at any distance of the TSNs from the first one. With PR-SCTP they do, too.
#[test]
fn no_distance_of_tsns_hides_what_is_spurious() {
    for prsctp in [false, true] {
        for distance in [0, 1, (1 << 31) - 1, 1 << 31, (1 << 31) + 50, u32::MAX - 50, u32::MAX] {
            let mut world = World::new(Setup::ROOMY, &[1]);
            world.assocs[0].sender.prsctp = prsctp;
            world.skip(0, distance);
            world.measure(0, 0, 420 * MS);
            let tsn = world.send(0, 0, true);
            world.resend(0, 0, tsn, true);
            world.answer(0, true);
            let tsn = world.send(0, 0, false);
            world.pass(1000 * MS);
            world.resend(0, 0, tsn, true);
            world.pass(20 * MS);
            world.answer(0, true);
            let counts = [world.sum(|stats| stats.spurious), world.sum(|stats| stats.early_acks)];
            assert_eq!(counts, [1, 1], "at {distance}, PR-SCTP {prsctp}");
        }
    }
}

/// If the SACK of a chunk that was sent again was not seen, no later SACK is scanned for that chunk, and a
/// chunk that is sent again later counts as any other, however far TSNs have moved on.
#[test]
fn what_an_unseen_sack_has_acknowledged_is_over() {
    for distance in [100_000, (1 << 31) - 1, 1 << 31, (1 << 31) + 50, u32::MAX - 50] {
        for seen_between in [false, true] {
            let mut world = World::new(Setup::ROOMY, &[1]);
            world.measure(0, 0, 20 * MS);
            let tsn = world.send(0, 0, false);
            world.resend(0, 0, tsn, true);
            let sack = world.assocs[0].receiver.sack();
            world.acknowledge(0, &sack, &[], false);
            world.skip(0, distance);
            if seen_between {
                world.send(0, 0, true);
                world.answer(0, true);
                assert_eq!(world.accounting(), Accounting::default(), "at {distance}");
            }
            let tsn = world.send(0, 0, false);
            world.pass(1000 * MS);
            world.resend(0, 0, tsn, true);
            world.pass(5 * MS);
            world.answer(0, true);
            assert_eq!(world.sum(|stats| stats.early_acks), 1, "at {distance}, {seen_between}");
            assert_eq!(world.accounting(), Accounting::default());
        }
    }
}

/// A SACK is scanned from the cumulative TSN on, even if a chunk far below it was sent again, and others that
/// were sent again have been outstanding ever since.
#[test]
fn a_scan_begins_at_the_cumulative_tsn() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    let first = world.send(0, 0, false);
    world.resend(0, 0, first, true);
    for _ in 0..9000 {
        world.send(0, 0, true);
    }
    let last = world.send(0, 0, false);
    world.resend(0, 0, last, false);
    for cum_tsn in [first + 5000, first + 9000] {
        world.acknowledge(0, &Sack { cum_tsn, gaps: Some(Vec::new()) }, &[], true);
    }
    assert_eq!(world.accounting(), Accounting::default(), "neither SACK covers 8,192 chunks");
}

/// When TSNs have come round, a chunk has the TSN of one that was sent again long ago. The peer may name it as
/// a duplicate, as the network duplicates packets: that is not spurious, and its own retransmission is so once.
#[test]
fn a_tsn_that_came_round_is_another_chunk() {
    for again in [false, true] {
        let mut world = World::new(Setup::ROOMY, &[1]);
        let old = world.send(0, 0, false);
        world.resend(0, 0, old, true);
        world.answer(0, true);
        world.skip(0, u32::MAX);
        world.pass(700_000 * MS);
        assert_eq!(world.send(0, 0, true), old);
        if again {
            world.resend(0, 0, old, true);
        }
        world.arrive(0, old);
        world.answer(0, true);
        let counts = [world.sum(|stats| stats.dup_tsns), world.sum(|stats| stats.spurious)];
        assert_eq!(counts, if again { [2, 1] } else { [0, 0] });
    }
}

/// If a path's entry makes room for another path of the same association, nothing of the old path is booked
/// on the new one.
#[test]
fn a_path_in_the_place_of_another_gets_nothing_of_it() {
    let mut world = World::new(Setup { paths: 8, ..Setup::ROOMY }, &[1; 8]);
    let tsns: Vec<_> = (0..8).map(|index| world.send(index, 0, true)).collect();
    for (index, tsn) in tsns.iter().enumerate() {
        world.pass(MS);
        world.rtt(index, 0, 5);
        world.resend(index, 0, *tsn, true);
    }
    world.pass(MS);
    world.rtt(0, 1, 5);
    assert_eq!(world.accounting().paths_evicted, 1);
    (0..8).for_each(|index| world.answer(index, true));
    let mut rows: Vec<_> =
        world.entries().iter().map(|entry| (entry.id.assoc_id, entry.stats.spurious)).collect();
    rows.sort();
    assert_eq!(rows, [(1, 0), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1)]);
}

/// A round-trip time is measured from the second packet on, however many chunks the first one has.
#[test]
fn a_packet_of_two_chunks_is_one_packet() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    world.send(0, 0, true);
    let tsn = world.assocs[0].sender.send(Note { path: 0, sent_ns: 1 });
    let assoc = AssocArgs { next_tsn: tsn, ..world.args(0) };
    let behind = Sent { assoc, path: 0, former: NO_PATH, sent_count: 1, packet_size: 32 + 116, skips: 0 };
    world.program.run(world.sent, &behind, &[0, 3, 0, 116, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    world.arrive(0, tsn);
    world.pass(5 * MS);
    world.send(0, 0, true);
    world.pass(20 * MS);
    world.answer(0, true);
    assert_eq!(world.entries()[0].state.min_ns, 20 * MS);
}

/// After a restart to any TSN, whether the program saw the restart or not, it measures round-trip times
/// again.
#[test]
fn a_restart_does_not_stop_measuring() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    world.send(0, 0, false);
    for (run, isn) in [(false, (1_u32 << 31) + 5), (true, 77)] {
        world.restart(0, isn, run);
        world.measure(0, 0, 20 * MS);
        let last =
            world.entries().into_iter().max_by_key(|entry| entry.generation).expect("there are entries");
        assert_eq!(last.state.min_ns, 20 * MS);
    }
}

/// After a restart to TSNs shortly before the old ones, the peer may name a TSN that was sent again in the
/// old life: that counts neither as a duplicate nor as spurious.
#[test]
fn after_a_restart_nothing_of_the_old_life_is_spurious() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    let old = world.send(0, 0, false);
    world.pass(MS);
    world.resend(0, 0, old, false);
    world.pass(MS);
    world.restart(0, old.wrapping_sub(1), true);
    let lost = world.send(0, 0, false);
    world.pass(MS);
    world.resend(0, 0, lost, true);
    world.assocs[0].duplicates.push(old);
    world.answer(0, true);
    assert_eq!([world.sum(|stats| stats.dup_tsns), world.sum(|stats| stats.spurious)], [0, 0]);
}

/// After a restart chunks that were sent again in the old life make room, and do not count as evicted.
#[test]
fn chunks_of_the_old_life_are_not_evicted() {
    let mut world = World::new(Setup { sets: 1, ..Setup::ROOMY }, &[1]);
    for _ in 0..4 {
        let tsn = world.send(0, 0, false);
        world.pass(MS);
        world.resend(0, 0, tsn, false);
    }
    world.pass(MS);
    world.restart(0, 1000, true);
    for _ in 0..4 {
        let tsn = world.send(0, 0, false);
        world.pass(MS);
        world.resend(0, 0, tsn, false);
        assert_eq!(world.accounting().chunks_evicted, 0);
    }
}

/// After a restart to TSNs of the old life, a SACK covers a TSN that was sent again in the old life only. That
/// acknowledges no retransmission of the new life: all of these are still looked for.
#[test]
fn after_a_restart_no_chunk_of_the_old_life_is_acknowledged() {
    let mut world = World::new(Setup::ROOMY, &[100]);
    let old = world.send(0, 0, false);
    world.resend(0, 0, old, false);
    world.pass(MS);
    world.restart(0, old - 6, true);
    world.measure(0, 0, 20 * MS);
    let lost = [world.send(0, 0, false), world.send(0, 0, true), world.send(0, 0, false)];
    assert_eq!(lost[1], old);
    world.pass(1000 * MS);
    world.resend(0, 0, lost[0], true);
    world.resend(0, 0, lost[2], false);
    for early_acks in [1, 2] {
        world.pass(5 * MS);
        world.answer(0, true);
        assert_eq!(world.sum(|stats| stats.early_acks), early_acks);
        world.arrive(0, lost[2]);
    }
}

/// An association whose entry made room, and was made anew: a chunk that was sent again before is one that was
/// sent again after, too, if it is sent again.
#[test]
fn what_is_sent_again_after_an_eviction_is_looked_for() {
    let mut world = World::new(Setup { assocs: 8, ..Setup::ROOMY }, &[1; 9]);
    world.measure(0, 0, 20 * MS);
    let tsn = world.send(0, 0, false);
    world.resend(0, 0, tsn, false);
    for index in 1..9 {
        world.pass(MS);
        world.send(index, 0, true);
    }
    assert_eq!(world.accounting().assocs_evicted, 1);
    world.pass(1000 * MS);
    world.resend(0, 0, tsn, true);
    world.pass(5 * MS);
    world.answer(0, true);
    assert_eq!(world.sum(|stats| stats.early_acks), 1);
}

/// The last T3-rtx expiry, at which the kernel gives up the association, gives a record and counts for its
/// path.
#[test]
fn the_last_expiry_counts() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    world.set_path(0, 0, |_| {});
    world.call("timer_begins", 0, 0, TIMER_T3);
    world.assocs[0].state = CLOSED;
    world.end(0);
    world.call("timer_ends", 0, 0, TIMER_T3);
    assert_eq!(world.causes(), [CAUSE_T3]);
    assert_eq!(world.entries().len(), 1);
    assert_eq!(world.sum(|stats| stats.t3_expiries), 1);
}

/// A T2-shutdown expiry gives a record after that of the path becoming potentially failed, and no RTO in the
/// statistics. A timer that finds the socket busy gives none.
#[test]
fn a_t2_expiry_is_a_sample() {
    for kprobes in [false, true] {
        let mut world = World::new(Setup { kprobes, ..Setup::ROOMY }, &[1]);
        for strikes in [true, false] {
            world.set_path(0, 1, |path| path.rto = 50);
            world.call("timer_begins", 0, 1, TIMER_T2);
            if strikes {
                world.call("control", 0, 1, 2);
                world.set_path(0, 1, |path| (path.rto, path.state) = (100, 1));
                world.assocs[0].errors += 1;
            }
            world.call("timer_ends", 0, 1, TIMER_T2);
        }
        let rows: Vec<_> =
            world.program.records::<Event>().into_iter().map(|e| (e.cause, e.old_rto)).collect();
        assert_eq!(rows, [(CAUSE_STATE, 50), (CAUSE_T2, 50)]);
        assert_eq!(world.entries()[0].state.last.rto, 100);
        assert_eq!(world.entries()[0].state.transitions, [0, 1, 0, 0], "to potentially failed");
        assert_eq!(world.sum(|stats| stats.rto.count), 0, "no update of the script's");
    }
}

/// After a restart each path has an entry of its own, which has nothing of the old life's chunks and
/// round-trip times.
#[test]
fn each_life_has_its_rows() {
    let mut world = World::new(Setup::ROOMY, &[1]);
    let tsn = world.send(0, 0, true);
    world.resend(0, 0, tsn, true);
    world.rtt(0, 0, 5);
    // The new life has the same TSNs: duplicates that the peer names now are not of the old life's chunks.
    world.restart(0, 1, true);
    let tsn = world.send(0, 0, true);
    world.arrive(0, tsn);
    world.answer(0, true);
    world.rtt(0, 0, 7);
    world.rtt(0, 0, 7);
    let mut rows: Vec<_> = world
        .entries()
        .iter()
        .map(|entry| {
            (entry.id.assoc_id, entry.id.life, entry.ended != 0, entry.stats.rto.count, entry.stats.dup_tsns)
        })
        .collect();
    rows.sort();
    assert_eq!(rows, [(1, 1, true, 1, 0), (1, 2, false, 2, 0)]);
}

/// If more associations have ended than there are entries, ended ones make room, and no living one does.
#[test]
fn the_dead_make_room_first() {
    let isns = [1; 5];
    let mut world = World::new(Setup { paths: 8, ..Setup::ROOMY }, &isns);
    let tsn = world.send(0, 0, true);
    world.resend(0, 0, tsn, true);
    for round in 0..100 {
        world.pass(MS);
        let index = 1 + round % 4;
        let tsn = world.send(index, 0, true);
        world.resend(index, 0, tsn, true);
        world.end(index);
        world.assocs[index] = world.new_assoc(index as u32, 1);
    }
    world.answer(0, true);
    assert_eq!(world.accounting().assocs_evicted, 0);
    let first: Vec<_> = world.entries().into_iter().filter(|entry| entry.id.assoc_id == 1).collect();
    assert_eq!(first.iter().map(|entry| entry.stats.spurious).collect::<Vec<_>>(), [1]);
}

/// Entries of associations whose end was missed make room for those of newer associations.
#[test]
fn an_end_that_was_missed_makes_room() {
    let mut world = World::new(Setup { paths: 8, ..Setup::ROOMY }, &[1]);
    for _ in 0..100 {
        world.pass(MS);
        let tsn = world.send(0, 0, true);
        world.resend(0, 0, tsn, true);
        world.answer(0, true);
        assert_eq!(world.entries().iter().map(|entry| entry.generation).max(), Some(world.last_id - 1));
        world.assocs[0] = world.new_assoc(0, 1);
    }
    let last = world.entries().into_iter().max_by_key(|entry| entry.generation).expect("there are entries");
    assert_eq!(last.stats.spurious, 1);
}

/// If another CPU makes an entry for an association while one is being made, no retransmission is taken for one
/// of the other association.
#[test]
fn two_writers_have_two_entries() {
    let mut met = 0;
    for moment in 1..12 {
        let mut world = World::new(Setup::ROOMY, &[1]);
        world.last_id = 256; // the next id has the same place in the table
        let assoc = world.new_assoc(1, 1);
        world.assocs.push(assoc);
        let tsn = world.send_copy(0, 0, 1);
        world.arrive(0, tsn);
        let assoc = world.args(1);
        let sent = Sent { assoc, path: 0, former: NO_PATH, sent_count: 1, packet_size: 32, skips: 0 };
        let rival = world.program.hook::<Sent>("rival");
        world.program.run(rival, &sent, &[]);
        world.program.kernel().rival_at = moment;
        world.pass(MS);
        world.resend(0, 0, tsn, true);
        let came = std::mem::take(&mut world.program.kernel().rival_at) == 0;
        met += u32::from(came);
        assert_eq!(world.send_copy(1, 0, u32::from(came)), tsn);
        (0..2).for_each(|_| world.arrive(1, tsn));
        world.answer(1, true);
        assert_eq!(world.sum(|stats| stats.dup_tsns), 0, "moment {moment}: the rival sent its chunk once");
        world.answer(0, true);
        let tsn = world.send(0, 0, true);
        world.resend(0, 0, tsn, true);
        let before = world.sum(|stats| stats.spurious);
        world.answer(0, true);
        assert_eq!(world.sum(|stats| stats.spurious), before + 1, "moment {moment}");
    }
    assert!(met > 2, "the rival came {met} times");
}
