//! Tests the counts of what was not delivered: sends and chunks for streams that do not exist, and messages
//! given up by PR-SCTP. The counts must be those of the model's application and kernel.

use std::collections::BTreeMap;

use fastrand::Rng;
use sctptrace_native::{
    Hook,
    streams::{Accounting, ESTABLISHED, StreamArgs, data},
};
use zerocopy::{Immutable, IntoBytes};

use crate::{Life, Setup, World};

/// `struct given_up_args` (`streamutil.c`): arguments of the hook `given_up`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
struct GivenUp {
    stream: StreamArgs,
    /// Messages given up after a part was sent, by policy of PR-SCTP; `unsent` has those given up before.
    sent: [u32; 3],
    unsent: [u32; 3],
    listed: u32,
    queued: u32,
    dead: u32,
}

/// Number of outbound streams, as `kernel_stream_assoc()` in `stream_args.h` sets it.
const STREAMS: u32 = 10;
/// Cause of an ERROR chunk (RFC 9260 3.3.10.1): invalid stream identifier.
const INVALID_STREAM: u32 = 1;
/// `SCTP_ERROR_INV_STRM` as `sctp_stream_shrink_out()` passes it to `sctp_chunk_fail()`: in network order.
const SHRUNK: u32 = 0x0100;

/// What was not delivered in one life of an association: sends refused, chunks discarded, and messages given
/// up after and before a part of them was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    refused: u64,
    discarded: u64,
    sent: u64,
    unsent: u64,
}

/// The kernel's own counts of an association, which go on over restarts.
#[derive(Clone, Copy, Default)]
struct Kernel {
    sent: [u32; 3],
    unsent: [u32; 3],
    listed: bool,
    queued: bool,
}

/// An association: the kernel's counts, and the true counts of its present life.
#[derive(Clone, Copy, Default)]
struct Peer {
    kernel: Kernel,
    counts: Counts,
    tsn: u32,
}

struct Undelivered {
    world: World,
    given_up: Hook<GivenUp>,
    send: Hook<StreamArgs>,
    op_error: Hook<StreamArgs>,
    ftsn: Hook<StreamArgs>,
    chunk_fail: Hook<StreamArgs>,
    prune: Hook<StreamArgs>,
    at_start: Hook<StreamArgs>,
    at_end: Hook<StreamArgs>,
    /// All associations that have begun, by association id.
    peers: BTreeMap<u32, Peer>,
    ended: BTreeMap<Life, Counts>,
    rng: Rng,
}

impl Undelivered {
    fn new(setup: Setup, seed: u64) -> Self {
        let world = World::new(Setup { reuse: false, ..setup });
        let program = &world.program;
        Self {
            given_up: program.hook("given_up"),
            send: program.hook("send"),
            op_error: program.hook("op_error"),
            ftsn: program.hook("ftsn"),
            chunk_fail: program.hook("chunk_fail"),
            prune: program.hook("prune"),
            at_start: program.hook("at_start"),
            at_end: program.hook("at_end"),
            world,
            peers: BTreeMap::new(),
            ended: BTreeMap::new(),
            rng: Rng::with_seed(seed),
        }
    }

    fn args(&self, index: usize) -> StreamArgs {
        self.world.assocs[index].args
    }

    fn peer(&mut self, index: usize) -> &mut Peer {
        self.peers.get_mut(&self.world.assocs[index].args.assoc.assoc_id).expect("it was begun")
    }

    /// Writes the kernel's counts of an association into the stub kernel, where hooks find them.
    fn show(&mut self, index: usize, dead: bool) {
        let Kernel { sent, unsent, listed, queued } = self.peer(index).kernel;
        let stream = self.args(index);
        let args = GivenUp {
            stream,
            sent,
            unsent,
            listed: listed.into(),
            queued: if queued { 500 } else { 0 },
            dead: dead.into(),
        };
        self.world.program.run(self.given_up, &args, &[]);
    }

    fn begin(&mut self) -> usize {
        let index = self.world.begin();
        self.peers.insert(self.args(index).assoc.assoc_id, Peer::default());
        self.show(index, false);
        index
    }

    /// The application sends on a stream, with a policy of PR-SCTP (0: none).
    fn send(&mut self, index: usize, stream: u32, policy: u32) {
        let args = StreamArgs { stream, flags: policy << 4, ..self.args(index) };
        self.world.program.run(self.send, &args, &[]);
        self.peer(index).counts.refused += u64::from(stream >= STREAMS);
    }

    /// A new chunk arrives on a stream that does not exist. `copies`: which copies of the program run
    /// (`COPY_*`).
    fn discard(&mut self, index: usize, stream: u16, copies: u32) {
        let peer = self.peer(index);
        peer.tsn += 1;
        peer.counts.discarded += 1;
        let chunk = data(peer.tsn, stream, 3, 10);
        let args = StreamArgs { copies, flags: INVALID_STREAM, ..self.args(index) };
        self.world.program.run(self.op_error, &args, &chunk);
    }

    /// The kernel gives up messages. The next hook finds them.
    fn give_up(&mut self, index: usize, sent: u32, unsent: u32) {
        let policies = [self.rng.usize(..3), self.rng.usize(..3)];
        let peer = self.peer(index);
        peer.kernel.sent[policies[0]] += sent;
        peer.kernel.unsent[policies[1]] += unsent;
        peer.kernel.listed |= sent > 0;
        peer.counts.sent += u64::from(sent);
        peer.counts.unsent += u64::from(unsent);
        self.show(index, false);
    }

    fn run(&mut self, hook: Hook<StreamArgs>, index: usize, flags: u32) {
        let args = StreamArgs { flags, function: self.rng.u32(..2), ..self.args(index) };
        self.world.program.run(hook, &args, &[]);
    }

    /// The peer restarts the association: the kernel's counts stay, and a new life begins.
    fn restart(&mut self, index: usize) {
        let life = self.world.assocs[index].life();
        self.world.update(index, ESTABLISHED);
        self.world.assocs[index].life = life.1 + 1;
        let counts = std::mem::take(&mut self.peer(index).counts);
        self.ended.insert(life, counts);
    }

    /// Ends an association. Then the kernel frees the chunks that are left.
    fn end(&mut self, index: usize) {
        let life = self.world.assocs[index].life();
        let (args, counts) = (self.args(index), self.peer(index).counts);
        self.ended.insert(life, counts);
        self.world.program.run(self.world.end, &args, &[]);
        self.show(index, true);
        self.run(self.chunk_fail, index, 0);
        self.world.assocs.swap_remove(index);
    }

    /// Returns the counts in the program's entries, by life. Asserts that an association without any stream,
    /// which user space cannot find, has no counts.
    fn found(&self) -> BTreeMap<Life, Counts> {
        let mut found = BTreeMap::new();
        for (assoc, streams) in self.world.entries() {
            let [sent, unsent] = assoc.stats.abandoned;
            let counts =
                Counts { refused: assoc.stats.refused, discarded: assoc.stats.discarded, sent, unsent };
            assert!(!streams.is_empty() || counts == Counts::default(), "{counts:?} cannot be found");
            if counts != Counts::default() {
                let before = found.insert((assoc.id.assoc_id, assoc.id.life), counts);
                assert_eq!(before, None, "two entries of one life");
            }
        }
        found
    }

    /// Asserts that an association's entry has all counts up to now. To be called after a hook that reads the
    /// kernel's.
    fn check_now(&mut self, index: usize) {
        let (life, counts) = (self.world.assocs[index].life(), self.peer(index).counts);
        assert_eq!(self.found().get(&life).copied().unwrap_or_default(), counts);
    }

    /// Ends the run, as user space does: the iterator looks at what lives. Asserts that all is as it was.
    fn check(&mut self) {
        for index in 0..self.world.assocs.len() {
            self.run(self.at_end, index, 0);
            let (life, counts) = (self.world.assocs[index].life(), self.peer(index).counts);
            self.ended.insert(life, counts);
        }
        self.ended.retain(|_, counts| *counts != Counts::default());
        assert_eq!(self.found(), self.ended);
    }
}

fn setups() -> impl Iterator<Item = Setup> {
    let kinds = [(false, true), (false, false), (true, true), (true, false)];
    kinds.into_iter().map(|(kprobes, cast)| Setup { kprobes, cast, len: 512, ..Setup::ROOMY })
}

/// Associations that were there at the start and others, which restart and end: each life has what happened in
/// it since the start. Some hooks come long after the kernel has given a message up.
#[test]
fn each_life_has_what_it_did_not_deliver() {
    let mut all = Counts::default();
    for (seed, setup) in setups().enumerate() {
        let mut run = Undelivered::new(setup, seed as u64);
        for n in 0..6 {
            let index = run.begin();
            // Half of the associations have given up messages before the trace; a third have messages in their queues.
            let before = if n % 2 == 0 { [n, n + 1, 2] } else { [0; 3] };
            run.peer(index).kernel =
                Kernel { sent: before, unsent: before, listed: n == 4, queued: n % 3 == 0 };
            run.world.assocs[index].args.counted = 100 * n;
            run.show(index, false);
            run.run(run.at_start, index, 0);
        }
        for _ in 0..2000 {
            let index = run.rng.usize(..run.world.assocs.len());
            run.world.pass(1_000_000);
            match run.rng.u32(..14) {
                0 => {
                    let (stream, policy) = (run.rng.u32(..65_536), run.rng.u32(..4));
                    run.send(index, stream, policy);
                }
                1 => {
                    let policy = run.rng.u32(..4);
                    run.send(index, STREAMS - 1, policy);
                }
                2 => {
                    let (stream, copies) = (run.rng.u16(10..), run.rng.u32(1..4));
                    run.discard(index, stream, copies);
                }
                3 => {
                    run.send(index, 0, 1);
                    run.give_up(index, 0, 1);
                    run.run(run.chunk_fail, index, 0);
                    run.check_now(index);
                }
                4 => {
                    run.send(index, 0, 2);
                    let count = run.rng.u32(1..5);
                    run.give_up(index, count, 0);
                    run.run(run.ftsn, index, 0);
                    run.check_now(index);
                }
                5 => {
                    run.send(index, 0, 3);
                    let counts = [run.rng.u32(..5), run.rng.u32(..5)];
                    run.give_up(index, counts[0], counts[1]);
                    run.run(run.prune, index, 0);
                    run.check_now(index);
                }
                6 => {
                    // A flush of the queue of chunks to be sent again: no hook.
                    run.send(index, 0, 1);
                    run.give_up(index, 1, 0);
                }
                7 => {
                    // All that was given up is acknowledged.
                    run.run(run.ftsn, index, 0);
                    run.peer(index).kernel.listed = false;
                    run.show(index, false);
                }
                8 => run.run(run.chunk_fail, index, SHRUNK),
                9 => run.run(run.op_error, index, INVALID_STREAM + 1),
                10 => {
                    let stream = run.rng.u16(..10);
                    run.world.send(index, stream, 100, false);
                }
                11 => drop(run.begin()),
                12 if run.world.assocs.len() > 4 => {
                    run.end(index);
                }
                _ => run.restart(index),
            }
        }
        run.check();
        for counts in run.ended.values() {
            all.refused += counts.refused;
            all.discarded += counts.discarded;
            all.sent += counts.sent;
            all.unsent += counts.unsent;
        }
        assert_eq!(run.world.accounting(), Accounting::default());
    }
    assert!(all.refused.min(all.discarded).min(all.sent).min(all.unsent) > 300, "too tame: {all:?}");
}

/// What was given up before the start is in no count, whether the programs see the association then or not.
#[test]
fn what_was_given_up_before_is_not_counted() {
    for setup in setups() {
        let mut run = Undelivered::new(setup, 1);
        let index = run.begin();
        run.peer(index).kernel = Kernel { sent: [1, 2, 3], unsent: [4, 5, 6], listed: true, queued: true };
        run.show(index, false);
        run.run(run.at_start, index, 0);
        for _ in 0..3 {
            run.run(run.ftsn, index, 0);
            run.run(run.prune, index, 0);
            run.run(run.chunk_fail, index, 0);
        }
        assert_eq!(run.found(), BTreeMap::new());
        run.give_up(index, 7, 8);
        run.run(run.ftsn, index, 0);
        run.end(index);
        run.check();
        assert_eq!(run.ended[&(1, 1)], Counts { sent: 7, unsent: 8, ..Counts::default() });
    }
}

/// A peer or an application may use all stream identifiers there are: they share one entry of a stream.
#[test]
fn streams_that_do_not_exist_take_no_entries() {
    for setup in setups() {
        let mut run = Undelivered::new(setup, 1);
        let index = run.begin();
        for stream in 10..=u16::MAX {
            run.discard(index, stream, 3);
            run.send(index, stream.into(), 0);
        }
        let entries = run.world.entries();
        assert_eq!(entries.iter().map(|(_, streams)| streams.len()).collect::<Vec<_>>(), [1]);
        run.check();
        assert_eq!(run.world.accounting(), Accounting::default());
    }
}

/// Messages that were sent before their association had an id, and that are given up before anything was sent.
#[test]
fn messages_older_than_their_association_id_are_counted() {
    for setup in setups() {
        let mut run = Undelivered::new(setup, 1);
        let index = run.begin();
        let before = StreamArgs { flags: 0x10, ..StreamArgs::new(run.args(index).assoc.index, 0) };
        run.world.program.run(run.send, &before, &[]);
        run.give_up(index, 0, 3);
        run.run(run.chunk_fail, index, 0);
        run.check_now(index);
        run.end(index);
        run.check();
    }
}

/// Before its handshake an association may have no id: a send that is refused then is counted apart.
#[test]
fn a_send_refused_before_there_is_an_id_is_counted() {
    for setup in setups() {
        let mut run = Undelivered::new(setup, 1);
        for (stream, flags) in [(STREAMS, 0), (9, 0x10), (u32::from(u16::MAX), 0x20)] {
            let args = StreamArgs { stream, flags, ..StreamArgs::new(63, 0) };
            run.world.program.run(run.send, &args, &[]);
        }
        assert!(run.world.entries().is_empty());
        assert_eq!(run.world.accounting(), Accounting { no_id: 2, ..Accounting::default() });
    }
}
