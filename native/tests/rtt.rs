//! Tests `rtt.bpf.c` against a model: each chunk sent once gives one sample, at the first SACK that covers
//! its TSN.
//!
//! `World` models a sending kernel, a network and peers. It runs the hooks where the kernel would, or leaves
//! them out, and keeps the true samples by itself. `rtt/prompt.rs` tests which samples are prompt.

#[path = "rtt/prompt.rs"]
mod prompt;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use fastrand::Rng;
use proptest::{prelude::*, sample::Index};
use sctptrace_native::{
    Hook, Program,
    association::{AssocArgs, Chunk, Receiver, Sack, Sender, before},
    raw::{Dist, Entry, Settings, Shared, WANT_EVENTS, WANT_EXTENDED, WANT_PATHS},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct stats` (`rtt.bpf.c`): statistics of a path.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct Stats {
    retransmitted: u64,
    all: Dist,
    prompt: Dist,
}

/// `struct accounting` (`rtt.bpf.c`): counts of chunks without a sample, and of what was lost or evicted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes)]
struct Accounting {
    lost: u64,
    assocs_evicted: u64,
    paths_evicted: u64,
    before_start: u64,
    slots_evicted: u64,
    samples_evicted: u64,
    retransmitted: u64,
    abandoned: u64,
    scan_limit: u64,
    sack_missed: u64,
    ended: u64,
    restarted: u64,
    unseen: u64,
}

impl Accounting {
    /// Returns the number of chunks that gave no sample, or whose sample went with an evicted entry.
    fn skipped(&self) -> u64 {
        self.slots_evicted
            + self.samples_evicted
            + self.retransmitted
            + self.abandoned
            + self.scan_limit
            + self.sack_missed
            + self.ended
            + self.restarted
    }
}

/// `struct event` (`rtt.bpf.c`): the record of a sample.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct Event {
    time_ns: u64,
    rtt_ns: u64,
    assoc_id: u32,
    tsn: u32,
    path: u32,
    path_generation: u32,
    prompt: u32,
    pad: u32,
}

/// `struct set` (`chunks.h`): the slots that a chunk may have.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct Set([Slot; 4]);

/// `struct slot` (`chunks.h`): a chunk that waits for its SACK.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct Slot {
    assoc_id: u32,
    tsn: u32,
    sent_ns: u64,
    path: u32,
    path_generation: u32,
    note: u32,
    pad: u32,
}

/// `struct counters` (`rtt.c`): fields of an association that hooks read, besides `AssocArgs`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Immutable, IntoBytes)]
struct Counters {
    prsctp: u32,
    gapcnt: u32,
    rtxchunks: u32,
    new_chunks: u32,
}

impl<Note> From<&Sender<Note>> for Counters {
    fn from(sender: &Sender<Note>) -> Self {
        Self {
            prsctp: sender.prsctp.into(),
            gapcnt: sender.gapcnt,
            rtxchunks: sender.rtxchunks,
            new_chunks: sender.new_chunks,
        }
    }
}

/// `struct sack_args` (`rtt.c`): arguments of the hook `sack`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
struct SackArgs {
    assoc: AssocArgs,
    counters: Counters,
    bundled: u32,
}

/// `struct update_args` (`rtt.c`): arguments of the hook `update`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
struct Update {
    assoc: AssocArgs,
    counters: Counters,
    state: u32,
    next_tsn: u32,
}

/// `struct end_args` (`rtt.c`): arguments of the hook `end`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
struct End {
    assoc: AssocArgs,
    counters: Counters,
}

/// `SCTP_STATE_COOKIE_ECHOED` of the kernel's `enum sctp_state`.
const COOKIE_ECHOED: u32 = 2;
/// `SCTP_STATE_ESTABLISHED` of the kernel's `enum sctp_state`.
const ESTABLISHED: u32 = 3;

/// `struct sent_args` (`rtt.c`): arguments of the hook `assign`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
struct Sent {
    assoc: AssocArgs,
    counters: Counters,
    path: u32,
    choice: u32,
    sent_count: u32,
    packet_size: u32,
    overhead: u32,
}

/// How the programs are attached, and the sizes of their tables.
#[derive(Clone, Copy, Debug)]
struct Setup {
    /// True: each chunk counts for the path that it takes. False: all count for one.
    exact: bool,
    kprobes: bool,
    cast: bool,
    paths: u32,
    assocs: u32,
    sets: u32,
}

impl Setup {
    const ROOMY: Self =
        Self { exact: false, kprobes: false, cast: true, paths: 1024, assocs: 64, sets: 4096 };

    fn any() -> impl Strategy<Value = Self> {
        (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(exact, kprobes, cast)| Self {
            exact,
            kprobes,
            cast,
            ..Self::ROOMY
        })
    }
}

/// One chunk's round trip: a sample of the program, or a true round trip of the model. Sorts by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sample {
    at: u64,
    assoc_id: u32,
    tsn: u32,
    rtt: u64,
    path: u32,
    /// Life of the association: 1, and one more after each restart.
    life: u32,
}

/// A true round trip, and whether the program can know it.
#[derive(Clone, Copy, Debug)]
struct Truth {
    sample: Sample,
    /// True if the hooks of the chunk's sending and of its SACK ran.
    seen: bool,
    /// True if also the association was settled when the chunk was sent: the program must have this sample.
    settled: bool,
}

/// The model's data about a chunk, as of its sending.
#[derive(Clone, Copy, Debug)]
struct Note {
    sent_ns: u64,
    path: u32,
    seen: bool,
    settled: bool,
    /// True if the program has seen neither this chunk nor one before it of the association.
    before_start: bool,
}

/// Returns whether the chunk should be in the table `inflight`: it was seen, sent once, and covered by no
/// SACK.
fn waits(chunk: &Chunk<Note>) -> bool {
    chunk.note.seen && chunk.sent_count == 1 && !chunk.covered
}

struct Assoc {
    sender: Sender<Note>,
    receiver: Receiver,
    /// Packets on their way to the peer: the TSNs of each.
    data: VecDeque<Vec<u32>>,
    /// SACKs on their way back.
    sacks: VecDeque<Sack>,
    /// True if the program has seen a send of the association.
    known: bool,
    /// True if the program knows the association well. No hook is left out any more; and since the last one
    /// that was, the association has begun, or the program has seen a send and then a SACK.
    settled: bool,
    sent_since: bool,
    life: u32,
}

impl Assoc {
    /// Returns the number of chunks that should be in the table `inflight`.
    fn outstanding(&self) -> u64 {
        self.sender.outstanding.iter().filter(|chunk| waits(chunk)).count() as u64
    }

    /// TSNs begin anew at the sender's next one: drops the packets and SACKs under way, which have old TSNs.
    fn begin_anew(&mut self) {
        self.receiver = Receiver::new(self.sender.args.next_tsn);
        self.data.clear();
        self.sacks.clear();
    }
}

struct World {
    program: Program,
    setup: Setup,
    assign: Hook<Sent>,
    /// Number of chunks sent, from which follows why each takes its path (`enum choice` in `rtt.c`).
    sends: u32,
    sack: Hook<SackArgs>,
    update: Hook<Update>,
    end: Hook<End>,
    now: u64,
    last_id: u32,
    assocs: Vec<Assoc>,
    truth: Vec<Truth>,
    /// The accounting that the program should have, as far as the model computes it.
    counts: Accounting,
    /// Number of new chunks whose sending the program saw.
    sent: u64,
    /// Number of retransmissions that the program saw, by association id, life and path.
    retransmitted: BTreeMap<(u32, u32, u32), u64>,
    /// True if no hook is left out from now on.
    settled: bool,
    /// True if chunks are sent with the I-bit.
    immediate: bool,
}

/// Fields of a SACK beside the TSNs that it acknowledges.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// True if another chunk follows in the SACK's packet.
    bundled: bool,
    a_rwnd: u32,
    /// Number of duplicate TSNs in the SACK's header.
    duplicates: u16,
}

impl Shape {
    const PLAIN: Self = Self { bundled: false, a_rwnd: 100_000, duplicates: 0 };
}

impl World {
    fn new(setup: Setup, isns: &[(u32, u32)]) -> Self {
        let settings = Settings {
            jiffy_ns: 4_000_000,
            wants: WANT_EVENTS | if setup.exact { WANT_EXTENDED | WANT_PATHS } else { 0 },
            entry_mask: setup.paths - 1,
            assoc_mask: setup.assocs - 1,
            set_mask: setup.sets - 1,
            ..Settings::default()
        };
        let mut program = Program::open("rtt", &settings);
        let kernel = program.kernel();
        kernel.kprobes = setup.kprobes.into();
        kernel.has_bpf_rdonly_cast = setup.cast.into();
        let mut world = Self {
            assign: program.hook("assign"),
            sends: 0,
            sack: program.hook("sack"),
            update: program.hook("update"),
            end: program.hook("end"),
            program,
            setup,
            now: 1,
            last_id: 0,
            assocs: Vec::new(),
            truth: Vec::new(),
            counts: Accounting::default(),
            sent: 0,
            retransmitted: BTreeMap::new(),
            settled: true,
            immediate: false,
        };
        for (index, &(isn, highest)) in isns.iter().enumerate() {
            let assoc = world.new_assoc(index as u32, isn, highest);
            world.assocs.push(assoc);
        }
        world
    }

    fn new_assoc(&mut self, index: u32, isn: u32, highest: u32) -> Assoc {
        self.last_id += 1;
        Assoc {
            sender: Sender::new(index, self.last_id, isn, highest),
            receiver: Receiver::new(isn),
            data: VecDeque::new(),
            sacks: VecDeque::new(),
            known: false,
            settled: self.settled,
            sent_since: false,
            life: 1,
        }
    }

    fn pass(&mut self, ns: u64) {
        self.now += ns;
        self.program.kernel().now_ns = self.now;
    }

    /// Runs the hook for a chunk that is put into a packet, with `place` chunks before it. `tsn` is `None`
    /// for a new chunk.
    fn run_sent(
        &mut self,
        (args, counters): (AssocArgs, Counters),
        path: u32,
        tsn: Option<u32>,
        sent_count: u32,
        place: u32,
    ) {
        let mut header = vec![0, if self.immediate { 11 } else { 3 }, 0, 116];
        header.extend(tsn.unwrap_or(0).to_be_bytes());
        header.resize(16, 0);
        self.sends += 1;
        let sent = Sent {
            assoc: args,
            counters,
            path,
            choice: self.sends % 3,
            sent_count: sent_count - 1,
            packet_size: 32 + 116 * place,
            overhead: 32,
        };
        self.program.run(self.assign, &sent, &header);
    }

    /// Sends a packet of new chunks and returns their TSNs. `run` returns for each chunk whether its hook runs.
    fn send(&mut self, index: usize, path: u32, chunks: u32, run: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut tsns = Vec::new();
        for place in 0..chunks {
            let assoc = &mut self.assocs[index];
            let (args, counters) = (assoc.sender.args, Counters::from(&assoc.sender));
            let seen = run(place);
            let before_start = !seen && !assoc.known;
            let note = Note { sent_ns: self.now, path, seen, settled: assoc.settled, before_start };
            tsns.push(assoc.sender.send(note));
            if seen {
                assoc.known = true;
                assoc.sent_since = self.settled;
                self.sent += 1;
                self.run_sent((args, counters), path, None, 1, place);
            }
        }
        tsns
    }

    /// Sends a chunk again.
    fn resend(&mut self, index: usize, path: u32, tsn: u32, run: bool) {
        let assoc = &mut self.assocs[index];
        let args = assoc.sender.args;
        let Some(chunk) = assoc.sender.chunk(tsn) else { return };
        let waited = waits(chunk);
        chunk.sent_count += 1;
        let sent_count = chunk.sent_count;
        let counters = Counters::from(&assoc.sender);
        assoc.sender.rtxchunks += 1;
        if run {
            assoc.known = true;
            self.counts.retransmitted += u64::from(waited);
            let path = if self.setup.exact { path } else { args.primary };
            *self.retransmitted.entry((args.assoc_id, assoc.life, path)).or_default() += 1;
            self.run_sent((args, counters), path, Some(tsn), sent_count, 0);
        }
    }

    /// A SACK reaches the sender.
    fn acknowledge(&mut self, index: usize, sack: &Sack, run: bool) {
        self.acknowledge_as(index, sack, run, Shape::PLAIN);
    }

    fn acknowledge_as(&mut self, index: usize, sack: &Sack, run: bool, shape: Shape) {
        let (now, exact, settled) = (self.now, self.setup.exact, self.settled);
        let assoc = &mut self.assocs[index];
        let (life, prsctp, counters) = (assoc.life, assoc.sender.prsctp, Counters::from(&assoc.sender));
        if !assoc.sender.takes(sack) {
            return;
        }
        let args = assoc.sender.args;
        let before_start = |chunk: &&Chunk<Note>| chunk.note.before_start && !before(sack.cum_tsn, chunk.tsn);
        if run && assoc.known {
            self.counts.before_start += assoc.sender.outstanding.iter().filter(before_start).count() as u64;
        }
        assoc.sender.acknowledge(sack, |chunk| {
            let given_up = prsctp && !before(args.adv_peer_ack_point, chunk.tsn);
            if chunk.sent_count > 1 {
                return;
            }
            let seen = run && chunk.note.seen;
            if given_up {
                self.counts.abandoned += u64::from(seen);
                return;
            }
            let path = if exact { chunk.note.path } else { args.primary };
            let rtt = now - chunk.note.sent_ns;
            let sample = Sample { at: now, assoc_id: args.assoc_id, tsn: chunk.tsn, rtt, path, life };
            self.truth.push(Truth { sample, seen, settled: seen && settled && chunk.note.settled });
        });
        if !run {
            return;
        }
        assoc.settled |= assoc.sent_since;
        let mut bytes = sack.bytes();
        if sack.gaps.is_some() {
            bytes[8..12].copy_from_slice(&shape.a_rwnd.to_be_bytes());
            bytes[14..16].copy_from_slice(&shape.duplicates.to_be_bytes());
        }
        let args = SackArgs { assoc: args, counters, bundled: shape.bundled.into() };
        self.program.run(self.sack, &args, &bytes);
    }

    /// The peer restarts the association.
    fn restart(&mut self, index: usize, isn: u32, run: bool) {
        let assoc = &mut self.assocs[index];
        if run {
            self.counts.restarted += assoc.outstanding();
            let update = Update {
                assoc: assoc.sender.args,
                counters: Counters::from(&assoc.sender),
                state: ESTABLISHED,
                next_tsn: isn,
            };
            self.program.run(self.update, &update, &[]);
            assoc.life += 1;
        }
        assoc.sender.restart(isn);
        assoc.begin_anew();
    }

    /// An association ends, and another begins in its memory.
    fn replace(&mut self, index: usize, isn: u32, highest: u32, run: bool) {
        let sender = &self.assocs[index].sender;
        let end = End { assoc: sender.args, counters: Counters::from(sender) };
        if run {
            self.counts.ended += self.assocs[index].outstanding();
            self.program.run(self.end, &end, &[]);
        }
        self.assocs[index] = self.new_assoc(index as u32, isn, highest);
    }

    fn accounting(&self) -> Accounting {
        self.program.variable::<Shared<Accounting>>("shared").accounting
    }

    fn entries(&self) -> Vec<Entry<(), Stats>> {
        self.program.table("entries")
    }

    /// Returns the program's samples since the last call, sorted.
    fn samples(&mut self, entries: &[Entry<(), Stats>]) -> Vec<Sample> {
        let sample = |event: Event| {
            let path = &entries[event.path as usize];
            assert_eq!((path.generation, path.id.assoc_id), (event.path_generation, event.assoc_id));
            assert!(self.setup.exact || event.prompt == 0);
            Sample {
                at: event.time_ns,
                assoc_id: event.assoc_id,
                tsn: event.tsn,
                rtt: event.rtt_ns,
                path: path.id.path.ip[1].into(),
                life: path.id.life,
            }
        };
        let mut samples: Vec<_> = self.program.records().into_iter().map(sample).collect();
        samples.sort();
        samples
    }

    /// Returns the true samples for which `which` holds, sorted.
    fn truth(&self, which: impl Fn(&Truth) -> bool) -> Vec<Sample> {
        let mut samples: Vec<_> =
            self.truth.iter().filter(|truth| which(truth)).map(|truth| truth.sample).collect();
        samples.sort();
        samples
    }

    /// Returns the slots of the table `inflight` that are in use.
    fn slots(&self) -> Vec<Slot> {
        let sets = self.program.table::<Set>("inflight");
        sets.iter().flat_map(|set| set.0).filter(|slot| slot.assoc_id != 0).collect()
    }

    /// Asserts what always holds: each chunk whose sending was seen gave a sample, was skipped, or has a
    /// slot.
    fn check_sum(&self) {
        let samples: u64 = self.entries().iter().map(|entry| entry.stats.all.count).sum();
        let outstanding = self.slots().len() as u64;
        let accounting = self.accounting();
        assert_eq!(self.sent, samples + accounting.skipped() + outstanding, "{accounting:?}");
    }

    /// Asserts that all tables are as in the model. To be called if no hook was left out.
    fn check_tables(&self, samples: &[Sample], entries: &[Entry<(), Stats>]) {
        for entry in entries.iter().filter(|entry| entry.object != 0) {
            let path = (entry.id.assoc_id, entry.id.life, u32::from(entry.id.path.ip[1]));
            let own = samples.iter().filter(|sample| (sample.assoc_id, sample.life, sample.path) == path);
            let rtts: Vec<_> = own.map(|sample| sample.rtt).collect();
            let all = entry.stats.all;
            let got = (all.count, all.sum, all.min, all.max);
            let min = rtts.iter().min().copied().unwrap_or(u64::MAX);
            let max = rtts.iter().max().copied().unwrap_or(0);
            assert_eq!(got, (rtts.len() as u64, rtts.iter().sum(), min, max), "of path {path:?}");
            assert_eq!(entry.stats.retransmitted, self.retransmitted.get(&path).copied().unwrap_or(0));
            assert_eq!(entry.seq_head, entry.seq_tail);
        }
        let sampled: u64 = entries.iter().map(|entry| entry.stats.all.count).sum();
        assert_eq!(sampled, samples.len() as u64);

        // The table `inflight` has exactly the chunks for which `waits` holds.
        let mut waiting = Vec::new();
        for Assoc { sender, .. } in &self.assocs {
            let args = sender.args;
            let outstanding = args.next_tsn.wrapping_sub(args.ctsn_ack_point).wrapping_sub(1);
            let mine = sender.outstanding.iter().filter(|chunk| waits(chunk));
            let others = sender.outstanding.iter().filter(|chunk| !waits(chunk)).count();
            waiting.extend(mine.map(|chunk| (args.assoc_id, chunk.tsn, chunk.note.sent_ns)));
            let slots = self.slots().iter().filter(|slot| slot.assoc_id == args.assoc_id).count();
            assert_eq!(slots + others, outstanding as usize, "of association {}", args.assoc_id);
        }
        let mut slots: Vec<_> =
            self.slots().iter().map(|slot| (slot.assoc_id, slot.tsn, slot.sent_ns)).collect();
        waiting.sort();
        slots.sort();
        assert_eq!(slots, waiting);
        self.check_sum();
    }
}

/// What happens next to an association. An `Index` picks one of several chunks, packets or SACKs.
#[derive(Clone, Debug)]
enum Op {
    Send {
        path: u32,
        chunks: u32,
        runs: u32,
    },
    /// One of the packets under way arrives.
    Arrive(Index),
    Lose(Index),
    Acknowledge,
    Sack(Index),
    LoseSack(Index),
    /// The peer sends a SACK, which arrives at once.
    Answer,
    Resend(Index, u32),
    /// A SACK arrives with these gap blocks, whether or not their chunks were sent.
    Lie(Vec<(u16, u16)>),
    Renege,
    /// A chunk is given up (PR-SCTP), and a FORWARD-TSN is sent. True: the FORWARD-TSN is lost.
    Abandon(Index, bool),
    Shutdown,
    /// The peer restarts the association, and TSNs move on by this number.
    Restart(u32),
    /// TSNs move on by this number, if no chunk is outstanding. True: by an SSN/TSN reset. False: by chunks
    /// that no hook saw.
    Jump(u32, bool),
    Replace(u32, u32),
}

/// An operation, the association that it happens to, the time that passes before it, and whether its hook
/// runs.
#[derive(Clone, Debug)]
struct Step {
    op: Op,
    assoc: Index,
    ns: u64,
    run: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<Index>;
    let gap = (0..24_u16, prop_oneof![9 => 0..24_u16, 1 => any::<u16>()]);
    let near = prop_oneof![1..20_u32, (1..20_u32).prop_map(u32::wrapping_neg), any::<u32>()];
    prop_oneof![
        12 => (0..4_u32, 1..5_u32, any::<u32>()).prop_map(|(path, chunks, runs)| Op::Send { path, chunks, runs }),
        8 => index().prop_map(Op::Arrive),
        3 => index().prop_map(Op::Lose),
        6 => Just(Op::Acknowledge),
        5 => index().prop_map(Op::Sack),
        2 => index().prop_map(Op::LoseSack),
        6 => Just(Op::Answer),
        4 => (index(), 0..4_u32).prop_map(|(index, path)| Op::Resend(index, path)),
        2 => prop::collection::vec(gap, 0..6).prop_map(Op::Lie),
        1 => Just(Op::Renege),
        2 => (index(), any::<bool>()).prop_map(|(index, lost)| Op::Abandon(index, lost)),
        1 => Just(Op::Shutdown),
        1 => near.clone().prop_map(Op::Restart),
        1 => (near, any::<bool>()).prop_map(|(by, reset)| Op::Jump(by, reset)),
        1 => (any::<u32>(), any::<u32>()).prop_map(|(isn, highest)| Op::Replace(isn, highest)),
    ]
}

fn steps(len: Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let ns = prop_oneof![Just(0), 1..1_000_000_u64, 1..10_000_000_000_u64];
    let step = (op(), any::<Index>(), ns, any::<bool>());
    prop::collection::vec(step.prop_map(|(op, assoc, ns, run)| Step { op, assoc, ns, run }), len)
}

/// Generates associations: the initial TSN and `highest_sacked` of each, and whether its peer supports
/// PR-SCTP.
fn associations() -> impl Strategy<Value = Vec<(u32, u32, bool)>> {
    let isn = prop_oneof![any::<u32>(), (0..40_u32).prop_map(|n| 0_u32.wrapping_sub(n))];
    let assoc = (isn, any::<u32>(), any::<bool>(), any::<bool>());
    let highest = |(isn, highest, any, prsctp): (u32, u32, bool, bool)| {
        (isn, if any { highest } else { isn.wrapping_sub(1) }, prsctp)
    };
    prop::collection::vec(assoc.prop_map(highest), 1..4)
}

fn world(setup: Setup, assocs: &[(u32, u32, bool)]) -> World {
    let isns: Vec<_> = assocs.iter().map(|&(isn, highest, _)| (isn, highest)).collect();
    let mut world = World::new(setup, &isns);
    for (assoc, &(_, _, prsctp)) in world.assocs.iter_mut().zip(assocs) {
        assoc.sender.prsctp = prsctp;
    }
    world
}

/// Which hooks run, and which are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    All,
    None,
    /// Hooks run at random, but those of restarts always: the program takes an old chunk for the new one with
    /// the same TSN if it did not see the restart.
    Some,
}

impl World {
    fn step(&mut self, step: &Step, runs: Runs) {
        self.pass(step.ns);
        let index = step.assoc.index(self.assocs.len());
        let run = match runs {
            Runs::All => true,
            Runs::None => false,
            Runs::Some => step.run,
        };
        let take = |from: &mut VecDeque<Sack>, at: Index| {
            (!from.is_empty()).then(|| from.remove(at.index(from.len()))).flatten()
        };
        let assoc = &mut self.assocs[index];
        match &step.op {
            &Op::Send { path, chunks, runs: mask } => {
                let tsns = self.send(index, path, chunks, |place| match runs {
                    Runs::Some => mask >> place & 3 != 0,
                    _ => run,
                });
                self.assocs[index].data.push_back(tsns);
            }
            Op::Arrive(at) if !assoc.data.is_empty() => {
                let at = at.index(assoc.data.len());
                for tsn in assoc.data.remove(at).unwrap_or_default() {
                    assoc.receiver.receive(tsn);
                }
            }
            Op::Lose(at) if !assoc.data.is_empty() => {
                let at = at.index(assoc.data.len());
                assoc.data.remove(at);
            }
            Op::Arrive(_) | Op::Lose(_) => {}
            Op::Acknowledge => assoc.sacks.push_back(assoc.receiver.sack()),
            Op::Sack(at) => {
                if let Some(sack) = take(&mut assoc.sacks, *at) {
                    self.acknowledge(index, &sack, run);
                }
            }
            Op::LoseSack(at) => drop(take(&mut assoc.sacks, *at)),
            Op::Answer => {
                let sack = assoc.receiver.sack();
                self.acknowledge(index, &sack, run);
            }
            Op::Shutdown => {
                let sack = assoc.receiver.shutdown();
                self.acknowledge(index, &sack, run);
            }
            Op::Lie(gaps) => {
                let sack = Sack { cum_tsn: assoc.sender.args.ctsn_ack_point, gaps: Some(gaps.clone()) };
                self.acknowledge(index, &sack, run);
            }
            Op::Resend(at, path) => {
                let waiting = assoc.sender.unacknowledged();
                if !waiting.is_empty() {
                    let tsn = waiting[at.index(waiting.len())];
                    assoc.data.push_back(vec![tsn]);
                    self.resend(index, *path, tsn, run);
                }
            }
            Op::Renege => assoc.receiver.renege(),
            Op::Abandon(at, lost) => {
                let waiting = assoc.sender.unacknowledged();
                if assoc.sender.prsctp && !waiting.is_empty() {
                    let tsn = waiting[at.index(waiting.len())];
                    assoc.sender.chunk(tsn).expect("it is outstanding").abandoned = true;
                    assoc.sender.give_up();
                    if !lost {
                        assoc.receiver.forward(assoc.sender.args.adv_peer_ack_point);
                    }
                }
            }
            Op::Restart(by) => {
                let isn = assoc.sender.args.next_tsn.wrapping_add(*by);
                self.restart(index, isn, runs != Runs::None);
            }
            &Op::Jump(by, reset) if assoc.sender.outstanding.is_empty() => {
                if reset {
                    assoc.sender.restart(assoc.sender.args.next_tsn.wrapping_add(by));
                } else {
                    assoc.sender.skip(by);
                }
                assoc.begin_anew();
            }
            Op::Jump(..) => {}
            &Op::Replace(isn, highest) => self.replace(index, isn, highest, run),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// If no hook is left out once tracing has begun, samples are exactly the true ones, and each chunk
    /// without a sample is counted.
    #[test]
    fn samples_are_the_true_ones(
        setup in Setup::any(),
        assocs in associations(),
        earlier in steps(0..30),
        steps in steps(0..200),
    ) {
        let mut world = world(setup, &assocs);
        earlier.iter().for_each(|step| world.step(step, Runs::None));
        world.truth.clear();
        steps.iter().for_each(|step| world.step(step, Runs::All));
        let entries = world.entries();
        let samples = world.samples(&entries);
        prop_assert_eq!(&samples, &world.truth(|truth| truth.seen));
        world.check_tables(&samples, &entries);
        prop_assert_eq!(world.accounting(), world.counts);
    }

    /// Whatever hooks are left out, except those of restarts, no sample is wrong; and once all hooks run
    /// again, none is missing of an association that is settled.
    #[test]
    fn left_out_runs_make_nothing_wrong(
        setup in Setup::any(),
        assocs in associations(),
        earlier in steps(0..150),
        later in steps(0..60),
    ) {
        let mut world = world(setup, &assocs);
        world.settled = false;
        world.assocs.iter_mut().for_each(|assoc| assoc.settled = false);
        earlier.iter().for_each(|step| world.step(step, Runs::Some));
        world.settled = true;
        later.iter().for_each(|step| world.step(step, Runs::All));
        let entries = world.entries();
        let samples = world.samples(&entries);
        let truth = world.truth(|truth| truth.seen);
        for sample in &samples {
            prop_assert!(truth.binary_search(sample).is_ok(), "{:?} is not true", sample);
        }
        for sample in world.truth(|truth| truth.settled) {
            prop_assert!(samples.binary_search(&sample).is_ok(), "{:?} is missing", sample);
        }
        world.check_sum();
    }

    /// If tables are too small for the traffic, lost samples are counted, and no sample is wrong.
    #[test]
    fn small_tables_make_nothing_wrong(
        setup in Setup::any(),
        assocs in prop::collection::vec((any::<u32>(), any::<u32>(), any::<bool>()), 8..12),
        steps in steps(0..120),
    ) {
        let mut world = world(Setup { paths: 8, assocs: 8, sets: 8, ..setup }, &assocs);
        for step in &steps {
            world.step(step, Runs::All);
            let truth = world.truth(|truth| truth.seen);
            for sample in world.all_samples() {
                prop_assert!(truth.contains(&sample), "{:?} is not true", sample);
            }
            world.truth.clear();
            world.check_sum();
        }
    }
}

/// Millions of chunks go over two lossy paths, and TSNs wrap at 2^32: each sample is right, and none is
/// missing.
#[test]
fn a_long_transfer_is_exact() {
    const CHUNKS: u32 = 3_000_000;
    const WINDOW: u32 = 48;
    let mut random = Rng::with_seed(1);
    let mut world = World::new(Setup { exact: true, ..Setup::ROOMY }, &[(u32::MAX - CHUNKS / 2, 7)]);
    let (mut sent, mut taken, mut rounds) = (0, 0, 0_u32);
    while sent < CHUNKS {
        rounds += 1;
        world.pass(random.u64(1..200_000));
        let chunks = random.u32(1..5);
        let path = random.u32(0..2);
        let tsns = world.send(0, path, chunks, |_| true);
        sent += chunks;
        let assoc = &mut world.assocs[0];
        if random.u32(0..100) != 0 {
            assoc.data.push_back(tsns);
        }
        // Packets and SACKs overtake others now and then.
        while assoc.data.len() > 3 {
            let at = if random.u32(0..50) == 0 { 1 } else { 0 };
            assoc.data.remove(at).into_iter().flatten().for_each(|tsn| assoc.receiver.receive(tsn));
            if random.bool() {
                assoc.sacks.push_back(assoc.receiver.sack());
            }
        }
        while world.assocs[0].sacks.len() > 2 {
            let at = if random.u32(0..50) == 0 { 1 } else { 0 };
            let sack = world.assocs[0].sacks.remove(at).expect("there are more");
            if random.u32(0..50) != 0 {
                world.acknowledge(0, &sack, true);
            }
        }
        // When the window is full, the oldest chunks that are missing are sent again, on the other path.
        let lost = |chunk: &&Chunk<Note>| !chunk.gap_acked;
        let outstanding = &world.assocs[0].sender.outstanding;
        if outstanding.len() as u32 > WINDOW {
            let lost: Vec<_> = outstanding.iter().take(8).filter(lost).map(|chunk| chunk.tsn).collect();
            for tsn in lost {
                world.resend(0, 1 - path, tsn, true);
                world.assocs[0].data.push_back(vec![tsn]);
            }
        }
        if rounds.is_multiple_of(1024) || sent >= CHUNKS {
            let entries = world.entries();
            let samples = world.samples(&entries);
            assert_eq!(samples, world.truth(|_| true));
            taken += samples.len() as u64;
            world.truth.clear();
        }
    }
    assert_eq!(world.accounting(), world.counts);
    let again = world.counts.retransmitted;
    assert!(again > 10_000 && taken > 2_900_000, "{taken} samples, {again} retransmissions: too tame");
}

impl World {
    /// Sends this number of chunks, one in each packet; all of them arrive.
    fn send_through(&mut self, index: usize, chunks: u32) {
        for _ in 0..chunks {
            self.pass(1000);
            let tsns = self.send(index, 0, 1, |_| true);
            tsns.into_iter().for_each(|tsn| self.assocs[index].receiver.receive(tsn));
        }
    }

    /// The peer sends a SACK, which arrives a millisecond after the last event.
    fn answer(&mut self, index: usize, run: bool) {
        self.pass(1_000_000);
        let sack = self.assocs[index].receiver.sack();
        self.acknowledge(index, &sack, run);
    }

    fn all_samples(&mut self) -> Vec<Sample> {
        let entries = self.entries();
        self.samples(&entries)
    }
}

/// The program looks at 8,192 chunks of one SACK. The others give no sample and are counted, and later
/// samples are exact again.
#[test]
fn a_sack_of_too_many_chunks_counts_the_rest() {
    let mut world = World::new(Setup { sets: 8192, ..Setup::ROOMY }, &[(u32::MAX - 5000, 0)]);
    world.send_through(0, 10_000);
    world.answer(0, true);
    let samples = world.all_samples();
    assert_eq!(samples, world.truth(|truth| truth.sample.tsn.wrapping_add(5001) < 8192));
    assert_eq!(world.accounting(), Accounting { scan_limit: 10_000 - 8192, ..Accounting::default() });

    world.truth.clear();
    world.send_through(0, 100);
    world.answer(0, true);
    assert_eq!(world.all_samples(), world.truth(|_| true));
}

/// The program looks at one gap block and 8,191 of its chunks. The others give no sample, and are counted
/// when the cumulative TSN covers them.
#[test]
fn a_gap_block_of_too_many_chunks_counts_the_rest() {
    let mut world = World::new(Setup { sets: 8192, ..Setup::ROOMY }, &[(100, 0)]);
    world.send(0, 0, 1, |_| true);
    world.send_through(0, 20_000);
    world.answer(0, true);
    let samples = world.all_samples();
    assert_eq!(samples, world.truth(|truth| truth.sample.tsn <= 100 + 8191));
    assert_eq!(samples.len(), 8191);
    assert_eq!(world.accounting(), Accounting::default());

    world.assocs[0].receiver.receive(100);
    world.answer(0, true);
    assert_eq!(world.all_samples(), []);
    assert_eq!(world.accounting(), Accounting { scan_limit: 20_001 - 8191, ..Accounting::default() });
}

/// If a SACK has more gap blocks than the program looks at, its samples are true, and later ones are exact
/// again.
#[test]
fn a_sack_of_too_many_gap_blocks_makes_nothing_wrong() {
    let mut world = World::new(Setup { sets: 8192, ..Setup::ROOMY }, &[(100, 0)]);
    for n in 0..22_000 {
        world.pass(1000);
        let tsn = world.send(0, 0, 1, |_| true)[0];
        if n % 2 == 1 {
            world.assocs[0].receiver.receive(tsn);
        }
    }
    assert_eq!(world.assocs[0].receiver.sack().gaps().len(), 11_000);
    world.answer(0, true);
    let samples = world.all_samples();
    assert_eq!(samples, world.truth(|_| true)[..4096], "half of the steps go to blocks");
    // A SACK of the last 100 gap blocks only: the program looks at them now, but an earlier SACK has covered
    // them.
    let mut sack = world.assocs[0].receiver.sack();
    sack.gaps.as_mut().expect("it is no SHUTDOWN").drain(..10_900);
    world.acknowledge(0, &sack, true);
    assert_eq!(world.all_samples(), []);
    assert_eq!(world.accounting().scan_limit, 100);

    (100..22_100).for_each(|tsn| world.assocs[0].receiver.receive(tsn));
    world.answer(0, true);
    assert_eq!(world.all_samples(), []);

    world.truth.clear();
    world.send_through(0, 100);
    world.answer(0, true);
    assert_eq!(world.all_samples(), world.truth(|_| true));
}

/// After a SACK of too many chunks, later ones do not make the chunks that it left out look newly covered.
#[test]
fn two_sacks_of_too_many_chunks_make_nothing_wrong() {
    let mut world = World::new(Setup { sets: 8192, ..Setup::ROOMY }, &[(0, 0)]);
    world.send(0, 0, 1, |_| true);
    world.send_through(0, 30_000);
    world.answer(0, true);
    assert_eq!(world.all_samples().len(), 8191);
    world.assocs[0].receiver.renege();
    (0..9000).for_each(|tsn| world.assocs[0].receiver.receive(tsn));
    world.answer(0, true);
    (25_000..25_010).for_each(|tsn| world.assocs[0].receiver.receive(tsn));
    world.answer(0, true);
    assert_eq!(world.all_samples(), []);
}

/// Four chunks fit into a set of slots; one more takes the place of the oldest.
#[test]
fn the_oldest_chunk_makes_room() {
    let mut world = World::new(Setup { sets: 1, ..Setup::ROOMY }, &[(1, 0)]);
    world.send_through(0, 6);
    world.answer(0, true);
    assert_eq!(world.all_samples(), world.truth(|_| true)[2..]);
    assert_eq!(world.accounting(), Accounting { slots_evicted: 2, ..Accounting::default() });
}

/// In a table of paths that is full to the last entry each path is still found, wherever its entry lies.
#[test]
fn a_full_table_of_paths_finds_each() {
    for first in 0..8 {
        let isns = vec![(1, 0); first + 2];
        let mut world = World::new(Setup { exact: true, paths: 8, ..Setup::ROOMY }, &isns);
        let mut samples = Vec::new();
        for round in 0..40 {
            let (index, path) = (first + round % 2, round as u32 / 2 % 4);
            world.pass(1000);
            let tsns = world.send(index, path, 1, |_| true);
            tsns.into_iter().for_each(|tsn| world.assocs[index].receiver.receive(tsn));
            world.answer(index, true);
            samples.extend(world.all_samples());
        }
        assert_eq!(samples, world.truth(|_| true));
        world.check_tables(&samples, &world.entries());
        assert_eq!(world.accounting(), Accounting::default());
    }
}

/// Associations that use the same memory one after the other have an entry each.
#[test]
fn an_entry_is_of_one_association() {
    let mut world = World::new(Setup { paths: 8, ..Setup::ROOMY }, &[(1, 0)]);
    let mut samples = Vec::new();
    for _ in 0..8 {
        world.send_through(0, 1);
        world.answer(0, true);
        samples.extend(world.all_samples());
        world.replace(0, 77, 0, true);
    }
    assert_eq!(samples, world.truth(|_| true));
    world.check_tables(&samples, &world.entries());
    assert_eq!(world.accounting(), Accounting::default());
}

/// If the ring buffer is full, lost records are counted, and totals still have all samples.
#[test]
fn a_full_ring_counts_what_it_loses() {
    let mut world = World::new(Setup::ROOMY, &[(1, 0)]);
    world.program.kernel().ring_size = 1024;
    world.send_through(0, 100);
    world.answer(0, true);
    let fit = 1024 / (size_of::<Event>() as u64 + 8) - u64::from(1024 % (size_of::<Event>() + 8) == 0);
    assert_eq!(world.all_samples().len() as u64, fit);
    assert_eq!(world.accounting(), Accounting { lost: 100 - fit, ..Accounting::default() });
    assert_eq!(world.entries().iter().map(|entry| entry.stats.all.count).sum::<u64>(), 100);
}

impl World {
    /// Moves the association on by about `chunks` TSNs, of which the program sees few. The gaps between those
    /// that it sees are a little shorter than 65,536 TSNs: the program takes longer gaps for a restart.
    fn go_on(&mut self, chunks: u32) {
        for _ in 0..chunks.div_ceil(65_000) {
            self.assocs[0].sender.skip(65_000);
            self.assocs[0].begin_anew();
            let unseen = self.send(0, 0, 1, |_| false)[0];
            self.counts.unseen += 1;
            self.assocs[0].receiver.receive(unseen);
            self.send_through(0, 1);
            self.answer(0, true);
            self.program.records::<Event>();
        }
        self.truth.clear();
    }
}

/// Samples stay exact at any distance of the TSNs from those seen first: 2^31 and more, until they come
/// round.
#[test]
fn no_number_of_the_first_chunks_matters_for_ever() {
    let mut world = World::new(Setup::ROOMY, &[(1, 0)]);
    world.send_through(0, 1);
    world.answer(0, true);
    assert_eq!(world.all_samples(), world.truth(|_| true));
    for further in [1 << 30, 1 << 30, 1, 1 << 30, 1 << 30] {
        world.go_on(further);
        world.send_through(0, 100);
        world.answer(0, true);
        assert_eq!(world.all_samples(), world.truth(|_| true));
        assert_eq!(world.accounting(), Accounting { unseen: world.counts.unseen, ..Accounting::default() });
        world.check_sum();
    }
}

/// Without PR-SCTP `adv_peer_ack_point` keeps its first value, which says nothing: no chunk counts as given
/// up, be it 2^31 chunks later or when TSNs come round. With PR-SCTP none does either, as none was given up.
#[test]
fn without_pr_sctp_nothing_is_given_up() {
    for prsctp in [false, true] {
        for distance in
            [0, 1, (1 << 31) - 1, 1 << 31, (1 << 31) + 50, u32::MAX - 101, u32::MAX - 50, u32::MAX]
        {
            let mut world = World::new(Setup::ROOMY, &[(1, 0)]);
            world.assocs[0].sender.prsctp = prsctp;
            world.assocs[0].sender.skip(distance);
            world.assocs[0].begin_anew();
            world.send_through(0, 100);
            world.answer(0, true);
            assert_eq!(world.all_samples(), world.truth(|_| true), "at {distance}");
            assert_eq!(world.accounting(), Accounting::default());
        }
    }
}

/// With PR-SCTP chunks that were given up count as `abandoned`, at any distance from the first TSN.
#[test]
fn with_pr_sctp_chunks_given_up_are_counted() {
    for distance in [0, (1 << 31) - 1, 1 << 31, u32::MAX - 50, u32::MAX] {
        let mut world = World::new(Setup::ROOMY, &[(1, 0)]);
        world.assocs[0].sender.prsctp = true;
        world.assocs[0].sender.skip(distance);
        world.assocs[0].begin_anew();
        world.pass(1);
        let tsns = world.send(0, 0, 3, |_| true);
        for &tsn in &tsns[..2] {
            world.assocs[0].sender.chunk(tsn).expect("it is outstanding").abandoned = true;
        }
        world.assocs[0].sender.give_up();
        world.assocs[0].receiver.forward(tsns[1]);
        world.assocs[0].receiver.receive(tsns[2]);
        world.answer(0, true);
        assert_eq!(world.all_samples(), world.truth(|_| true), "at {distance}");
        assert_eq!(world.truth(|_| true).len(), 1);
        assert_eq!(world.accounting(), Accounting { abandoned: 2, ..Accounting::default() });
        world.check_sum();
    }
}

/// What spoils samples of some TSNs ends when these are acknowledged, and does not come back when TSNs come
/// round: a chunk sent before tracing began, a SACK that covered too many chunks, a missed SACK, a
/// retransmission.
#[test]
fn what_was_doubtful_once_is_not_for_ever() {
    let mut world = World::new(Setup { exact: true, sets: 8192, ..Setup::ROOMY }, &[(1, 0)]);
    world.send(0, 0, 1, |_| false);
    world.send_through(0, 10_000);
    world.answer(0, true);
    world.resend(0, 0, 1, true);
    world.assocs[0].receiver.receive(1);
    world.answer(0, true);
    world.send(0, 0, 1, |_| true);
    world.send_through(0, 2);
    world.answer(0, false);
    world.send_through(0, 1);
    world.answer(0, true);
    let last = world.assocs[0].sender.args.next_tsn.wrapping_sub(4);
    world.assocs[0].receiver.receive(last);
    world.answer(0, true);
    let mut before = world.accounting();
    assert!(before.before_start == 1 && before.scan_limit > 0 && before.sack_missed > 0);
    for further in [1 << 30, 1 << 30, 1, 1 << 30, 1 << 30] {
        world.go_on(further);
        world.send_through(0, 100);
        world.answer(0, true);
        assert_eq!(world.all_samples(), world.truth(|_| true));
        before.unseen = world.counts.unseen;
        assert_eq!(world.accounting(), before);
        world.check_sum();
    }
}

/// Paths of ended associations make room before a path of a living one, however long that has been silent.
#[test]
fn a_living_path_does_not_make_room_before_dead_ones() {
    let isns: Vec<_> = (1..10).map(|n| (n, 0)).collect();
    let mut world = World::new(Setup { paths: 8, ..Setup::ROOMY }, &isns);
    world.send_through(0, 1);
    for dead in 1..8 {
        world.send_through(dead, 1);
        world.answer(dead, true);
        world.replace(dead, 0, 0, true);
    }
    world.all_samples();
    world.send_through(8, 1);
    world.truth.clear();
    world.answer(0, true);
    assert_eq!(world.all_samples(), world.truth(|_| true));
    assert_eq!(world.truth.len(), 1);
    let evicted = Accounting { paths_evicted: 1, samples_evicted: 1, ..Accounting::default() };
    assert_eq!(world.accounting(), evicted, "it had ended");
    world.check_sum();
}

/// Chunks that are outstanding when their association ends or restarts are all counted, however many there
/// are.
#[test]
fn chunks_outstanding_at_the_end_are_counted() {
    for chunks in [3, 8192, 20_000] {
        let mut world = World::new(Setup { sets: 8192, ..Setup::ROOMY }, &[(1, 0), (1, 0)]);
        world.send_through(0, chunks);
        world.replace(0, 1, 0, true);
        assert_eq!(world.accounting(), Accounting { ended: chunks.into(), ..Accounting::default() });
        world.send_through(1, chunks);
        world.restart(1, 1000, true);
        world.send_through(1, 1);
        world.answer(1, true);
        assert_eq!(world.all_samples(), world.truth(|_| true));
        assert_eq!(world.truth(|_| true).len(), 1);
        let counted = Accounting { ended: chunks.into(), restarted: chunks.into(), ..Accounting::default() };
        assert_eq!(world.accounting(), counted);
        world.check_tables(&world.truth(|_| true), &world.entries());
    }
}

/// If an association ends with more chunks than there are slots, each chunk counts once: as evicted, as
/// ended, or in a slot.
#[test]
fn an_end_looks_at_no_slot_twice() {
    let mut world = World::new(Setup { sets: 8, ..Setup::ROOMY }, &[(1, 0), (1, 0)]);
    world.send_through(0, 16);
    world.send_through(1, 100);
    world.replace(1, 1, 0, true);
    let Accounting { slots_evicted, ended, .. } = world.accounting();
    assert!(slots_evicted > 0 && ended > 0);
    assert_eq!(slots_evicted + ended + world.slots().len() as u64, 116);
    world.check_sum();
}

/// `sctp_assoc_update()` before an association is up is no restart: chunks that were sent stay outstanding.
#[test]
fn an_update_before_it_is_up_is_no_restart() {
    let mut world = World::new(Setup::ROOMY, &[(1, 0)]);
    world.send_through(0, 1);
    let sender = &world.assocs[0].sender;
    let (assoc, counters) = (sender.args, Counters::from(sender));
    let update = Update { assoc, counters, state: COOKIE_ECHOED, next_tsn: 500 };
    world.program.run(world.update, &update, &[]);
    world.answer(0, true);
    assert_eq!(world.all_samples(), world.truth(|_| true));
    assert_eq!(world.truth.len(), 1);
    assert_eq!(world.accounting(), Accounting::default());
}

/// A temporary association, which the kernel makes when an INIT comes, has the id 0: its end, or a SACK for
/// it, changes no entry.
#[test]
fn the_end_of_a_temporary_association_ends_nothing() {
    let mut world = World::new(Setup::ROOMY, &[(1, 0)]);
    world.send_through(0, 1);
    let temporary = AssocArgs { assoc_id: 0, index: 1, ..AssocArgs::default() };
    let free = world.program.table::<[u64; 13]>("assocs");
    let end = End { assoc: temporary, counters: Counters::default() };
    world.program.run(world.end, &end, &[]);
    world.program.run(
        world.sack,
        &SackArgs { assoc: temporary, counters: Counters::default(), bundled: 0 },
        &world.assocs[0].receiver.sack().bytes(),
    );
    assert_eq!(world.program.table::<[u64; 13]>("assocs"), free, "an entry was written to");
    world.answer(0, true);
    assert_eq!(world.all_samples(), world.truth(|_| true));
    assert_eq!(world.accounting(), Accounting::default());
}

/// A temporary association never gets an entry: a chunk of it would be counted as one without room.
#[test]
fn a_temporary_association_has_no_entry() {
    let mut world = World::new(Setup::ROOMY, &[]);
    let temporary = AssocArgs { assoc_id: 0, index: 1, ..AssocArgs::default() };
    let free = world.program.table::<[u64; 13]>("assocs");
    world.run_sent((temporary, Counters::default()), 0, None, 1, 0);
    assert_eq!(world.program.table::<[u64; 13]>("assocs"), free, "an entry was written to");
    assert_eq!(world.accounting(), Accounting { slots_evicted: 1, ..Accounting::default() });
}

/// Chunks that a SACK leaves unscanned are counted, but not those that have given a sample before.
#[test]
fn sampled_chunks_do_not_count_as_unscanned() {
    let mut world = World::new(Setup { sets: 8192, ..Setup::ROOMY }, &[(0, 0)]);
    world.pass(1);
    let tsns: Vec<_> = (0..10_000).flat_map(|_| world.send(0, 0, 1, |_| true)).collect();
    tsns[9000..9100].iter().for_each(|&tsn| world.assocs[0].receiver.receive(tsn));
    world.answer(0, true);
    tsns.iter().for_each(|&tsn| world.assocs[0].receiver.receive(tsn));
    world.answer(0, true);
    let counted = world.all_samples().len() as u64 + world.accounting().scan_limit;
    assert_eq!(counted, 10_000);
    world.check_tables(
        &world.truth(|truth| truth.sample.tsn < 8192 || (9000..9100).contains(&truth.sample.tsn)),
        &world.entries(),
    );
}

/// A chunk that is sent again twice counts once as retransmitted; one that has given a sample before does not
/// count.
#[test]
fn a_chunk_sent_again_counts_once() {
    let mut world = World::new(Setup::ROOMY, &[(1, 0)]);
    world.send(0, 0, 3, |_| true);
    world.assocs[0].receiver.receive(3);
    world.answer(0, true);
    world.assocs[0].receiver.renege();
    world.answer(0, true);
    [1, 1, 2, 3].into_iter().for_each(|tsn| world.resend(0, 0, tsn, true));
    assert_eq!(world.accounting(), Accounting { retransmitted: 2, ..Accounting::default() });
    assert_eq!(world.all_samples().len(), 1);
    world.check_sum();
    let again: u64 = world.entries().iter().map(|entry| entry.stats.retransmitted).sum();
    assert_eq!(again, 4, "the path's row has every transmission");
}

/// If the hook of a retransmission was left out, the kernel's count of retransmissions shows that, and chunks
/// outstanding then give no sample.
#[test]
fn a_retransmission_left_out_gives_no_sample() {
    let mut world = World::new(Setup::ROOMY, &[(1, 0)]);
    world.send(0, 0, 2, |_| true);
    world.resend(0, 0, 1, false);
    (1..3).for_each(|tsn| world.assocs[0].receiver.receive(tsn));
    world.answer(0, true);
    assert_eq!(world.all_samples(), []);
    assert_eq!(world.accounting(), Accounting { sack_missed: 2, unseen: 1, ..Accounting::default() });

    world.truth.clear();
    world.send_through(0, 2);
    world.answer(0, true);
    assert_eq!(world.all_samples(), world.truth(|_| true));
    world.check_sum();
}

/// If a SACK was missed, the kernel's count of gap blocks shows that, and a later SACK gives no late sample.
/// The missed SACK moves neither the cumulative TSN nor `highest_sacked`: it covers a chunk below one covered
/// before; or `highest_sacked` began far ahead.
#[test]
fn a_sack_left_out_gives_no_late_sample() {
    for (seen_first, highest) in [(true, 0), (false, 1000)] {
        let mut world = World::new(Setup::ROOMY, &[(1, highest)]);
        let tsns = world.send(0, 0, 4, |_| true);
        if seen_first {
            world.assocs[0].receiver.receive(tsns[3]);
            world.answer(0, true);
            world.all_samples();
        }
        world.assocs[0].receiver.receive(tsns[1]);
        world.answer(0, false);
        world.answer(0, true);
        assert_eq!(world.all_samples(), []);
        assert_eq!(world.accounting(), Accounting { sack_missed: 1, ..Accounting::default() });
        world.check_sum();
    }
}

/// If a path's entry makes room for another path of the same association, chunks of the old path give no
/// sample to the new one.
#[test]
fn a_path_that_made_room_for_its_sibling_gives_no_sample() {
    let isns: Vec<_> = (1..9).map(|n| (n, 0)).collect();
    let mut world = World::new(Setup { exact: true, paths: 8, ..Setup::ROOMY }, &isns);
    for index in 0..8 {
        world.send_through(index, 1);
    }
    world.pass(1000);
    world.send(0, 1, 1, |_| true);
    world.answer(0, true);
    let paths: Vec<_> = world.truth(|_| true).iter().map(|truth| truth.path).collect();
    assert_eq!(paths, [0], "the first chunk went by path 0");
    assert_eq!(world.all_samples(), []);
    assert_eq!(world.accounting().samples_evicted, 1);
    world.check_sum();
}

/// `struct free_path_args` (`rtt.c`): arguments of the hook `free_path`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
struct FreePath {
    assoc: AssocArgs,
    path: u32,
}

/// A path in the memory of a deleted one is another path, with an entry of its own, for either hook kind.
#[test]
fn a_path_in_the_memory_of_a_deleted_one_is_another() {
    for kprobes in [false, true] {
        let mut world = World::new(Setup { exact: true, kprobes, ..Setup::ROOMY }, &[(1, 0)]);
        let free_path = world.program.hook::<FreePath>("free_path");
        let send = |world: &mut World| {
            world.pass(1000);
            let tsns = world.send(0, 1, 1, |_| true);
            tsns.into_iter().for_each(|tsn| world.assocs[0].receiver.receive(tsn));
        };
        for _ in 0..3 {
            send(&mut world);
        }
        world.answer(0, true);
        let assoc = world.assocs[0].sender.args;
        world.program.run(free_path, &FreePath { assoc, path: 1 }, &[]);
        send(&mut world);
        world.answer(0, true);
        let mut rows: Vec<_> = world
            .entries()
            .iter()
            .filter(|entry| entry.object != 0)
            .map(|entry| (entry.ended != 0, entry.id.path.ip[1], entry.stats.all.count))
            .collect();
        rows.sort_unstable();
        assert_eq!(rows, [(false, 1, 1), (true, 1, 3)]);
        assert_eq!(world.all_samples(), world.truth(|_| true));
        world.check_sum();
    }
}

/// After a restart to TSNs that were outstanding, the SACK of a new chunk that was not seen gives no sample
/// of the old chunk with the same TSN.
#[test]
fn a_restart_leaves_no_old_chunk() {
    let mut world = World::new(Setup::ROOMY, &[(1, 0)]);
    world.send(0, 0, 1, |_| true);
    world.restart(0, 1, true);
    world.pass(1_000_000);
    world.send(0, 0, 1, |_| false);
    world.assocs[0].receiver.receive(1);
    world.answer(0, true);
    assert_eq!(world.all_samples(), []);
    assert_eq!(world.accounting(), Accounting { restarted: 1, ..Accounting::default() });
}

/// Chunks that the kernel counted as sent and no program saw are counted as unseen, from the first chunk of
/// the association that was seen to its end: new chunks and retransmissions, also over restarts.
#[test]
fn what_the_kernel_sent_and_nobody_saw_is_counted() {
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let setup = Setup { exact: rng.bool(), kprobes: rng.bool(), cast: rng.bool(), ..Setup::ROOMY };
        let mut world = World::new(setup, &[(rng.u32(..), rng.u32(..)), (u32::MAX - 3, 0)]);
        let mut unseen = 0;
        for _ in 0..rng.u32(1..300) {
            let index = rng.usize(..2);
            let (known, run) = (world.assocs[index].known, rng.u8(..4) > 0);
            world.pass(rng.u64(..1_000_000));
            let missed = u64::from(known && !run);
            match rng.u8(..20) {
                0..9 => {
                    let tsns = world.send(index, rng.u32(..2), 1, |_| run);
                    if rng.u8(..4) > 0 {
                        tsns.into_iter().for_each(|tsn| world.assocs[index].receiver.receive(tsn));
                    }
                    unseen += missed;
                }
                9..14 => {
                    let waiting = world.assocs[index].sender.unacknowledged();
                    if let Some(tsn) = rng.choice(waiting) {
                        world.resend(index, 0, tsn, run);
                        unseen += missed;
                    }
                }
                14..18 => world.answer(index, run),
                18 => world.restart(index, rng.u32(..), true),
                _ => world.replace(index, rng.u32(..), 0, true),
            }
        }
        (0..2).for_each(|index| world.replace(index, 1, 0, true));
        assert_eq!(world.accounting().unseen, unseen, "seed {seed}: {setup:?}");
    }
}

/// `struct race_args` (`rtt.c`): the argument of the hook `race`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
struct Race {
    rounds: u32,
}

/// `struct raced` (`rtt.c`): counts of chunks in the hook `race`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes)]
struct Raced {
    sent: u64,
    evicted: u64,
    taken: u64,
    wrong: u64,
}

/// Associations on several CPUs share a set of slots: each chunk is taken out by its own association, or
/// counted when it makes room, or is in its slot at the end.
#[test]
fn cpus_that_share_slots_lose_no_chunk() {
    let mut world = World::new(Setup { sets: 1, ..Setup::ROOMY }, &[]);
    let race = world.program.hook::<Race>("race");
    world.program.run(race, &Race { rounds: 10_000_000 }, &[]);
    let raced: Raced = world.program.variable("raced");
    assert_eq!(raced.wrong, 0, "{raced:?}");
    assert!(raced.evicted > 0 && raced.taken > 0, "{raced:?}: too tame");
    assert_eq!(raced.sent, raced.evicted + raced.taken + world.slots().len() as u64, "{raced:?}");
}

impl World {
    /// Has another CPU send a chunk of the association `index` at this moment of the next hook.
    fn rival_at(&mut self, index: usize, moment: u32) {
        let sender = &self.assocs[index].sender;
        let (assoc, counters) = (sender.args, Counters::from(sender));
        let sent = Sent { assoc, counters, path: 0, choice: 0, sent_count: 0, packet_size: 32, overhead: 32 };
        let rival = self.program.hook::<Sent>("rival");
        self.program.run(rival, &sent, &[]);
        self.program.kernel().rival_at = moment;
    }

    /// Returns whether the rival has come; if so, its chunk has arrived at the peer.
    fn rival_came(&mut self, index: usize) -> bool {
        let came = std::mem::take(&mut self.program.kernel().rival_at) == 0;
        if came {
            let tsn = self.send(index, 0, 1, |_| false)[0];
            let assoc = &mut self.assocs[index];
            assoc.known = true;
            assoc.sender.chunk(tsn).expect("it is outstanding").note.seen = true;
            assoc.receiver.receive(tsn);
            self.sent += 1;
        }
        came
    }
}

/// If another CPU makes entries while some are being made, each association and path gets its own, or its chunk
/// is counted in `slots_evicted`; nothing is evicted as long as there is room for both.
#[test]
fn two_writers_have_two_entries() {
    let (mut met, mut lost) = (0, 0);
    for (id, moment) in (1..20).flat_map(|id| (1..12).map(move |moment| (id, moment))) {
        // Six of the eight entries of paths are taken.
        let mut world = World::new(Setup { paths: 8, ..Setup::ROOMY }, &[(1, 0); 6]);
        (0..6).for_each(|index| world.send_through(index, 1));
        world.last_id += id;
        let mine = world.new_assoc(6, 1, 0);
        world.last_id += 63; // the next id has the same place in the table of associations
        let rival = world.new_assoc(7, 1, 0);
        world.assocs.extend([mine, rival]);
        world.pass(1000);
        world.rival_at(7, moment);
        let tsn = world.send(6, 0, 1, |_| true)[0];
        world.assocs[6].receiver.receive(tsn);
        met += u32::from(world.rival_came(7));
        for index in 0..8 {
            world.send_through(index, 1);
            world.answer(index, true);
        }
        let truth = world.truth(|truth| truth.seen);
        let samples = world.all_samples();
        assert!(samples.iter().all(|sample| truth.contains(sample)), "{id}, {moment}: {samples:?}");
        world.check_sum();
        assert_eq!(world.slots().len(), 0, "{id}, {moment}");
        let Accounting { slots_evicted, before_start, .. } = world.accounting();
        let counted = Accounting { slots_evicted, before_start, ..Accounting::default() };
        assert_eq!(world.accounting(), counted, "{id}, {moment}");
        lost += slots_evicted;
    }
    assert!(met > 60 && lost < 60, "{met} rivals, {lost} chunks for which there was no place");
}

/// Another CPU takes the last free entry of a path while one is being made: the chunk without an entry is counted.
#[test]
fn a_chunk_whose_path_has_no_entry_is_counted() {
    let mut counted = 0;
    for moment in 1..12 {
        let mut world = World::new(Setup { paths: 8, ..Setup::ROOMY }, &[(1, 0); 7]);
        (0..7).for_each(|index| world.send_through(index, 1));
        let mine = world.new_assoc(7, 1, 0);
        let rival = world.new_assoc(8, 1, 0);
        world.assocs.extend([mine, rival]);
        world.pass(1000);
        world.rival_at(8, moment);
        let before = world.accounting().slots_evicted;
        world.send(7, 0, 1, |_| true);
        world.rival_came(8);
        counted += world.accounting().slots_evicted - before;
        world.check_sum();
    }
    assert!(counted > 0, "no chunk was without an entry");
}

/// A chunk makes room for another CPU's while its SACK comes: it gives a sample, or counts as evicted, and not
/// both.
#[test]
fn a_chunk_that_makes_room_while_its_sack_comes_gives_no_sample() {
    let mut counts = Vec::new();
    for moment in 1..=2 {
        let mut world = World::new(Setup { sets: 1, ..Setup::ROOMY }, &[(1, 0), (1, 0)]);
        world.send_through(1, 1);
        world.answer(1, true);
        world.send_through(0, 4);
        world.all_samples();
        world.pass(1000);
        world.rival_at(1, moment);
        world.acknowledge(0, &Sack { cum_tsn: 1, gaps: Some(Vec::new()) }, true);
        assert!(world.rival_came(1), "a slot is taken by compare-and-swap");
        counts.push((world.all_samples().len(), world.accounting().slots_evicted));
        world.check_sum();
    }
    assert_eq!(counts, [(0, 1), (1, 0)], "before and after the chunk is taken out");
}
