//! Tests which cause `bufmon.bpf.c` finds for a stall. Each test runs a sequence of events through the
//! program's hooks, and checks the cause that the evidence shows afterwards. For each cause there are also
//! sequences that fail only one of its conditions.

use sctptrace_native::{
    Hook, Program,
    raw::{Settings, WANT_EXTENDED, WANT_WINDOWS},
    stall::{RawEvidence, StallCause, cause},
};
use std::time::Duration;

#[path = "bufmon/mod.rs"]
mod bufmon;
use bufmon::{Accounting, Buffer, Entry, SendArgs, Shared, StallEvent};

const MS: u64 = 1_000_000;
const JIFFY_NS: u64 = 4 * MS;
/// RTO of the active path (`Buffer::UP`), in milliseconds.
const RTO_MS: u64 = 1000;
const RTT_MS: u64 = 20;
/// Length of each chunk's user data, in bytes.
const CHUNK: u32 = 1000;

/// States of an association (`enum sctp_state`).
const COOKIE_WAIT: u32 = 1;
const COOKIE_ECHOED: u32 = 2;
const ESTABLISHED: u32 = 3;

/// An event of a sequence.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// This many milliseconds pass.
    Pass(u64),
    /// A process sends a message of one chunk, and it leaves.
    Send,
    /// A process sends a message of one chunk, which stays in the queue.
    Queue,
    /// A send is refused for want of room.
    Refuse,
    /// A SACK comes. The fields: by how many chunks its cumulative TSN is higher than the last one; its
    /// window in bytes; its gap blocks, relative to the cumulative TSN.
    Sack(u32, u32, &'static [(u16, u16)]),
    /// A SHUTDOWN comes, with the same cumulative TSN as the last SACK.
    Shutdown,
    /// Another packet comes from the peer, such as a HEARTBEAT ACK.
    Heard,
    /// T3-rtx of the active path expires, and the chunk that is due is sent again.
    T3,
    /// The chunk that is due is sent again, by fast retransmission.
    Again,
    /// The association is in this state from now on.
    State(u32),
    /// T1-init expires, and another INIT is made.
    T1,
    /// A process sends the first message, which begins the association, and waits until the association is
    /// up.
    SetUp,
    /// The active path is not the primary one from now on. The primary path's RTO has grown to this many
    /// jiffies.
    PrimaryIsDown(u32),
    /// The trace begins, and `bufmon_at_start()` looks at the association. No hook runs before this event.
    Start,
    /// The association ends.
    End,
    /// The interval ends.
    Interval,
}
use Step::{
    Again, End, Heard, Interval, Pass, PrimaryIsDown, Queue, Refuse, Sack, Send, SetUp, Shutdown, Start,
    State, T1, T3,
};

const OPEN: u32 = 50_000;
const NO_GAPS: &[(u16, u16)] = &[];
/// A SACK that comes for a chunk after the one that is due.
const ONE_BEHIND: &[(u16, u16)] = &[(2, 2)];

struct World {
    program: Program,
    now: u64,
    buffer: Buffer,
    started: bool,
}

impl World {
    fn new(kprobes: bool) -> Self {
        let wants = WANT_EXTENDED | WANT_WINDOWS;
        let settings = Settings { jiffy_ns: JIFFY_NS, wants, entry_mask: 15, ..Settings::default() };
        let mut program = Program::open("bufmon", &settings);
        program.kernel().kprobes = kprobes.into();
        program.kernel().has_bpf_rdonly_cast = 1;
        let mut world = Self { program, now: 0, buffer: Buffer::UP, started: true };
        world.pass(1000);
        world
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms * MS;
        self.program.kernel().now_ns = self.now;
    }

    fn run(&mut self, hook: &str) {
        self.run_with(hook, &[]);
    }

    fn run_with(&mut self, hook: &str, bytes: &[u8]) {
        let hook: Hook<Buffer> = self.program.hook(hook);
        if self.started {
            self.program.run(hook, &self.buffer, bytes);
        }
    }

    fn send(&mut self, returned: i32) {
        let msg_flags = 0x40; // MSG_DONTWAIT
        let args = SendArgs { buffer: self.buffer, msg_bytes: CHUNK.into(), returned, msg_flags };
        for hook in ["send_begins", "send_ends"] {
            let hook: Hook<SendArgs> = self.program.hook(hook);
            if self.started {
                self.program.run(hook, &args, &[]);
            }
        }
    }

    fn sack(&mut self, moved: u32, window: u32, gaps: &[(u16, u16)]) {
        let cum_tsn = self.buffer.assoc.ctsn_ack_point.wrapping_add(moved);
        let mut bytes = vec![3, 0, 0, 16 + 4 * gaps.len() as u8];
        bytes.extend(cum_tsn.to_be_bytes());
        bytes.extend(window.to_be_bytes());
        bytes.extend([0, gaps.len() as u8, 0, 0]);
        let bounds = gaps.iter().flat_map(|&(first, last)| [first, last]);
        bytes.extend(bounds.flat_map(u16::to_be_bytes));
        // The kernel notes that it has heard of the peer before it looks at a chunk.
        self.buffer.heard_ns = self.now - 1000;
        self.run_with("sack", &bytes);
        let buffer = &mut self.buffer;
        buffer.assoc.ctsn_ack_point = cum_tsn;
        buffer.closed = u64::from(window == 0);
        let above = buffer.assoc.next_tsn.wrapping_sub(cum_tsn).wrapping_sub(1);
        let acked: u32 =
            gaps.iter().map(|&(first, last)| u32::from(last + 1).saturating_sub(first.into())).sum();
        buffer.in_flight = above.saturating_sub(acked) * CHUNK;
        (buffer.missing_bytes, buffer.missing_sent) = match above {
            0 => (0, 0),
            _ if moved > 0 => (CHUNK, 1),
            _ => (CHUNK, buffer.missing_sent),
        };
    }

    fn step(&mut self, step: Step) {
        match step {
            Pass(ms) => self.pass(ms),
            Send => {
                let buffer = &mut self.buffer;
                buffer.assoc.next_tsn = buffer.assoc.next_tsn.wrapping_add(1);
                buffer.in_flight += CHUNK;
                if buffer.missing_bytes == 0 {
                    (buffer.missing_bytes, buffer.missing_sent) = (CHUNK, 1);
                }
                self.send(CHUNK as i32);
            }
            Queue => {
                self.buffer.queued += CHUNK;
                self.send(CHUNK as i32);
            }
            Refuse => self.send(-11),
            Sack(moved, window, gaps) => self.sack(moved, window, gaps),
            Shutdown => {
                let mut bytes = vec![7, 0, 0, 8];
                bytes.extend(self.buffer.assoc.ctsn_ack_point.to_be_bytes());
                self.buffer.heard_ns = self.now - 1000;
                self.run_with("sack", &bytes);
            }
            Heard => self.buffer.heard_ns = self.now,
            T3 => {
                self.buffer.rto *= 2; // before the hook: sctp_do_8_2_transport_strike()
                self.run("t3_expires");
                self.buffer.missing_sent += 1;
            }
            T1 => self.run("init_again"),
            // The send has not returned yet: so no hook sees its end.
            SetUp => (self.buffer.state, self.buffer.queued) = (COOKIE_WAIT, CHUNK),
            Again => self.buffer.missing_sent += 1,
            State(state) => self.buffer.state = state,
            PrimaryIsDown(rto) => (self.buffer.active, self.buffer.primary_rto) = (1, rto),
            Start => {
                self.started = true;
                self.run("at_start");
            }
            End => self.run("end"),
            Interval => {
                let hook: Hook<u32> = self.program.hook("interval");
                self.program.run(hook, &0, &[]);
            }
        }
    }

    /// Runs a sequence. If the program is started in it, nothing is seen before that.
    fn play(steps: &[Step], kprobes: bool) -> Self {
        let mut world = Self::new(kprobes);
        world.started = !steps.iter().any(|step| matches!(step, Start));
        steps.iter().for_each(|step| world.step(*step));
        world
    }

    fn entry(&self) -> Option<Entry> {
        self.program.table::<Entry>("entries").into_iter().find(|entry| entry.object != 0)
    }

    /// Returns the evidence of the stall that lasts, or of the last one that has ended.
    fn stall(&mut self) -> Option<RawEvidence> {
        let state = self.entry()?.state;
        let lasts = state.now.since_ns != 0 && self.now - state.now.since_ns > state.rto_ns;
        let ended = self.program.records::<StallEvent>().last().map(|event| event.evidence);
        if lasts { Some(state.now) } else { ended }
    }

    fn cause(&mut self) -> Option<StallCause> {
        let evidence = self.stall()?;
        Some(cause(&evidence, Duration::from_nanos(self.now)).0)
    }
}

/// Ensures that a sequence ends with a stall of this cause; `None`: with no stall.
#[track_caller]
fn check(what: &str, expected: impl Into<Option<StallCause>>, parts: &[&[Step]]) {
    let steps = parts.concat();
    let expected = expected.into();
    for kprobes in [false, true] {
        assert_eq!(World::play(&steps, kprobes).cause(), expected, "{what}: {steps:?}");
    }
}

/// Three chunks are sent and acknowledged, and so is a fourth after that.
const BEFORE: &[Step] = &[
    Send,
    Send,
    Send,
    Pass(RTT_MS),
    Sack(3, OPEN, NO_GAPS),
    Pass(100),
    Send,
    Pass(RTT_MS),
    Sack(1, OPEN, NO_GAPS),
];
/// The chunks in flight are acknowledged, and more are queued; the peer's window is closed. The probe is sent,
/// and answered.
const CLOSED: &[Step] =
    &[Send, Pass(RTT_MS), Queue, Sack(1, 0, NO_GAPS), Send, Pass(RTT_MS), Sack(0, 0, NO_GAPS)];
/// T3-rtx expires after its RTO, and the peer answers the probe that is sent again.
const PROBE: &[Step] = &[Pass(RTO_MS - RTT_MS), T3, Pass(RTT_MS), Sack(0, 0, NO_GAPS)];

#[test]
fn no_stall_without_its_premises() {
    check("all is acknowledged", None, &[BEFORE, &[Pass(5000)]]);
    check("within the RTO", None, &[BEFORE, &[Send, Pass(RTO_MS - 1)]]);
    check("nothing was sent", None, &[&[Pass(5000)]]);
    check("the TSN moves", None, &[BEFORE, &[Send, Send, Pass(900), Sack(1, OPEN, NO_GAPS), Pass(900)]]);
    check("sends that are refused begin none", None, &[BEFORE, &[Refuse, Pass(5000)]]);
}

/// Data goes by a path that is not the primary one: the RTO of that path counts, not the primary one's 60 s.
#[test]
fn the_rto_is_that_of_the_active_path() {
    let dead = PrimaryIsDown(15_000);
    check("acknowledged", None, &[&[dead], BEFORE, &[Pass(5000)]]);
    let stall = [Send, Pass(RTO_MS), T3, Pass(RTO_MS)];
    check("not acknowledged", StallCause::PathSilent, &[&[dead], BEFORE, &stall]);
}

#[test]
fn a_silent_path() {
    let silent = StallCause::PathSilent;
    check("T3-rtx expires", silent, &[BEFORE, &[Send, Pass(RTO_MS), T3, Pass(1)]]);
    check("and again", silent, &[BEFORE, &[Send, Pass(RTO_MS), T3, Pass(2 * RTO_MS), T3, Pass(1)]]);
    let last = [Send, Send, Pass(RTT_MS), Sack(1, OPEN, NO_GAPS)];
    check("after a SACK", silent, &[BEFORE, &last, &[Pass(RTO_MS), T3, Pass(1)]]);
    check("a closed window", silent, &[BEFORE, CLOSED, PROBE, &[Pass(1980), T3, Pass(4000), T3, Pass(9000)]]);
    check("from its beginning", silent, &[&[Send, Pass(RTO_MS), T3, Pass(1)]]);

    let unknown = StallCause::Unknown;
    check("T3-rtx has not expired", unknown, &[BEFORE, &[Send, Pass(RTO_MS + 500)]]);
    check("others came", unknown, &[BEFORE, &[Send, Pass(500), Heard, Pass(500), T3, Pass(100)]]);
    let heard = [Send, Pass(500), Heard, Pass(500), T3, Pass(1000), Heard, Pass(1000), T3, Pass(100)];
    check("others come all the time", unknown, &[BEFORE, &heard]);
    let again = [Send, Pass(500), Heard, Pass(500), T3, Pass(2000), T3, Pass(100)];
    check("others came, and then none", silent, &[BEFORE, &again]);
    let sack = [Send, Pass(RTO_MS - RTT_MS), Sack(0, OPEN, NO_GAPS), Pass(RTT_MS), T3, Pass(100)];
    check("a SACK came", unknown, &[BEFORE, &sack]);
    let shutdown = [Send, Pass(RTO_MS - RTT_MS), Shutdown, Pass(RTT_MS), T3, Pass(100)];
    check("a SHUTDOWN came", unknown, &[BEFORE, &shutdown]);
}

/// The silence begins when the peer was heard of last, not with the stall.
#[test]
fn a_silence_is_as_long_as_nothing_was_heard() {
    let steps =
        [Send, Pass(500), Heard, Pass(500), T3, Pass(1500), Heard, Pass(500), T3, Pass(4000), T3, Pass(100)];
    let mut world = World::play(&[BEFORE, &steps].concat(), false);
    let (evidence, now) = (world.stall().expect("a stall"), Duration::from_nanos(world.now));
    assert_eq!(cause(&evidence, now), (StallCause::PathSilent, Duration::from_millis(500 + 4000 + 100)));
}

#[test]
fn a_closed_window() {
    let closed = StallCause::WindowClosed;
    check("two probes", closed, &[BEFORE, CLOSED, PROBE, &[Pass(100)]]);
    check("a send is refused", closed, &[BEFORE, CLOSED, &[Refuse], PROBE, &[Pass(100)]]);
    let probes = [Pass(1980), T3, Pass(20), Sack(0, 0, NO_GAPS)];
    check("more probes", closed, &[BEFORE, CLOSED, PROBE, &probes, &probes]);
    check("the last one is not answered yet", closed, &[BEFORE, CLOSED, PROBE, &[Pass(1980), T3, Pass(10)]]);
    check("HEARTBEATs are answered", closed, &[BEFORE, CLOSED, PROBE, &[Heard, Pass(100)]]);
    check("it was over later", closed, &[BEFORE, CLOSED, PROBE, &[Pass(500), Sack(1, OPEN, NO_GAPS)]]);
    let opens = [Sack(0, OPEN, NO_GAPS), Send, Pass(RTT_MS), Sack(0, OPEN, ONE_BEHIND), Pass(400)];
    check(
        "the probe was lost as it opened",
        closed,
        &[BEFORE, CLOSED, PROBE, &opens, &[Sack(2, OPEN, NO_GAPS)]],
    );
    // FreeBSD and usrsctp close their windows with 1 byte.
    let one_byte = [Send, Pass(RTT_MS), Queue, Sack(1, 1, NO_GAPS), Send, Pass(RTT_MS), Sack(0, 1, NO_GAPS)];
    let probe = [Pass(RTO_MS - RTT_MS), T3, Pass(RTT_MS), Sack(0, 1, NO_GAPS), Pass(100)];
    check("one byte", closed, &[BEFORE, &one_byte, &probe]);

    let unknown = StallCause::Unknown;
    let open = [Send, Pass(RTT_MS), Sack(0, CHUNK, NO_GAPS), Pass(RTO_MS - RTT_MS), T3, Pass(RTT_MS)];
    check("room for the chunk", unknown, &[BEFORE, &open, &[Sack(0, CHUNK, NO_GAPS), Pass(100)]]);
    check("it opened soon", unknown, &[BEFORE, CLOSED, &[Sack(0, OPEN, NO_GAPS), Pass(RTO_MS), T3, Pass(9)]]);
    let lost = [Pass(1980), Heard, T3, Pass(4000), Heard, T3, Pass(9000)];
    check("nothing answers the probes", unknown, &[BEFORE, CLOSED, &[Pass(980), T3], &lost]);
    // The peer's window was closed, and opened again, before the stall.
    let reopened = [Queue, Pass(9), Sack(0, OPEN, NO_GAPS), Send, Pass(RTT_MS), Sack(2, OPEN, NO_GAPS)];
    let later = [Send, Pass(RTO_MS), T3, Pass(1)];
    check("long ago", StallCause::PathSilent, &[BEFORE, CLOSED, &reopened, &later]);
}

/// One TSN is lost twice, and the receiver's window stays open.
#[test]
fn one_missing_chunk() {
    let lost = [Send, Send, Pass(RTT_MS), Sack(0, OPEN, ONE_BEHIND)];
    let more = [Send, Send, Pass(RTT_MS), Sack(0, OPEN, &[(2, 4)]), Again, Pass(800)];
    let missing = StallCause::OneMissing;
    check("lost twice", missing, &[BEFORE, &lost, &more, &[T3, Pass(300)]]);
    check("until it came", missing, &[BEFORE, &lost, &more, &[T3, Pass(300), Sack(4, OPEN, NO_GAPS)]]);
    check("with a send refused", missing, &[BEFORE, &lost, &more, &[Refuse, T3, Pass(300)]]);
    let unanswered = [T3, Pass(1000), Heard, Pass(1000), T3, Pass(300)];
    check("lost thrice", missing, &[BEFORE, &lost, &more, &unanswered]);
    let silent = [T3, Pass(2000), T3, Pass(300)];
    check("and nothing else came", StallCause::PathSilent, &[BEFORE, &lost, &more, &silent]);
    check("a SHUTDOWN has no gap blocks", missing, &[BEFORE, &lost, &more, &[Shutdown, T3, Pass(300)]]);

    let taken_back = [Sack(0, OPEN, NO_GAPS), Pass(1500)];
    check("taken back", StallCause::Unknown, &[BEFORE, &lost, &taken_back]);
    check(
        "no gap blocks",
        StallCause::Unknown,
        &[BEFORE, &[Send, Pass(20), Sack(0, OPEN, NO_GAPS), Pass(1500)]],
    );
    let never_sent = [Send, Pass(20), Sack(0, OPEN, &[(5, 9)]), Pass(1500)];
    check("of chunks that were never sent", StallCause::Unknown, &[BEFORE, &never_sent]);
    let out_of_order = [Send, Send, Pass(20), Sack(0, OPEN, &[(2, 1)]), Pass(1500)];
    check("that end before they begin", StallCause::Unknown, &[BEFORE, &out_of_order]);

    let e = World::play(&[BEFORE, &lost, &more, &[T3, Pass(300)]].concat(), false).stall().expect("a stall");
    assert_eq!((e.missing_tsn, e.missing, e.gap_acked, e.sacks, e.t3_expiries), (12, 1, 3, 2, 1));
    assert_eq!(e.missing_sent, 2, "before the expiry");
    let two = [Pass(20), Sack(0, OPEN, &[(2, 3), (5, 9)]), Pass(1500)];
    let e = World::play(&[BEFORE, &[Send; 9], &two].concat(), false).stall().expect("a stall");
    assert_eq!((e.missing, e.gap_acked), (2, 7));
}

/// One TSN is lost twice, and the receiver's memory is smaller than the sender's buffer.
#[test]
fn a_window_that_closes_behind_a_missing_chunk() {
    let lost = [Send, Send, Pass(RTT_MS), Sack(0, OPEN, ONE_BEHIND), Send, Send, Again, Queue];
    let full = [Pass(RTT_MS), Sack(0, 0, &[(2, 4)]), Pass(900)];
    let both = StallCause::WindowFullOfGaps;
    check("closed", both, &[BEFORE, &lost, &full, &[T3, Pass(300)]]);
    check(
        "smaller than the chunk",
        both,
        &[BEFORE, &lost, &[Pass(RTT_MS), Sack(0, CHUNK - 1, &[(2, 4)]), Pass(900), T3, Pass(300)]],
    );
    check(
        "not closed",
        StallCause::OneMissing,
        &[BEFORE, &lost, &[Pass(RTT_MS), Sack(0, CHUNK, &[(2, 4)]), Pass(900), T3, Pass(300)]],
    );
    check("no gap blocks", StallCause::WindowClosed, &[BEFORE, CLOSED, PROBE, &[Pass(9)]]);
    check(
        "not known any more",
        StallCause::OneMissing,
        &[
            BEFORE,
            &lost,
            &[
                Pass(RTT_MS),
                Sack(0, 0, &[(2, 4)]),
                Pass(20),
                Sack(0, OPEN, &[(2, 4)]),
                Pass(900),
                T3,
                Pass(300),
            ],
        ],
    );
}

#[test]
fn an_unanswered_handshake() {
    let handshake = StallCause::HandshakeUnanswered;
    let waiting = [State(COOKIE_WAIT), Queue, Pass(1500)];
    check("INIT", handshake, &[&waiting]);
    check("a send is refused", handshake, &[&waiting, &[Refuse, Pass(9)]]);
    check("COOKIE ECHO", handshake, &[&[State(COOKIE_ECHOED), Queue, Pass(1500)]]);
    check(
        "with a chunk that was sent",
        handshake,
        &[&[State(COOKIE_ECHOED), Send, Pass(1000), T3, Pass(500)]],
    );
    check("answered late", handshake, &[&waiting, &[State(ESTABLISHED), Pass(20), Sack(0, OPEN, NO_GAPS)]]);
    check("of a send that waits", handshake, &[&[SetUp, Pass(1000), T1, Pass(2000), T1, Pass(500)]]);
    check(
        "of a connect() without data",
        None,
        &[&[State(COOKIE_WAIT), Pass(1000), T1, Pass(2000), T1, Pass(500)]],
    );
    check("no data", None, &[&[State(COOKIE_WAIT), Pass(5000)]]);
    check("it was answered", StallCause::Unknown, &[&[State(ESTABLISHED), Queue, Pass(1500)]]);
    // The data was sent after the handshake, and the time since then is the path's.
    let answered = [State(COOKIE_WAIT), Queue, Pass(300), State(ESTABLISHED), Pass(1000), T3, Pass(1000)];
    check("and then the path is silent", StallCause::PathSilent, &[&answered]);
    let late = [State(COOKIE_WAIT), Queue, Pass(2500), State(ESTABLISHED), Pass(1000), T3, Pass(100)];
    check("for the lesser part", handshake, &[&late]);
}

#[test]
fn what_is_not_known() {
    // Nothing is in flight: the stream is being reset, or the application asked for more (MSG_MORE).
    check("a queue that nothing leaves", StallCause::Unknown, &[BEFORE, &[Queue, Pass(1500)]]);
    check("with a send that is refused", StallCause::Unknown, &[BEFORE, &[Queue, Refuse, Pass(1500)]]);
    let mut world = World::play(&[BEFORE, &[Queue, Pass(1500)]].concat(), false);
    assert_eq!(world.stall().map(|evidence| evidence.is_idle), Some(1));
}

/// A stall that lasts already when the trace starts, so that no hook has seen its begin.
#[test]
fn stalls_that_last_at_the_start() {
    check("a closed window", StallCause::WindowClosed, &[BEFORE, CLOSED, &[Start, Pass(1500)]]);
    check(
        "and its probes",
        StallCause::WindowClosed,
        &[BEFORE, CLOSED, &[Pass(20), Start], PROBE, &[Pass(900)]],
    );
    check("one expiry", StallCause::Unknown, &[BEFORE, &[Send, Pass(500), Start, Pass(500), T3, Pass(700)]]);
    let two = [Send, Pass(1000), T3, Pass(500), Start, Pass(1500), T3, Pass(4000), T3, Pass(9)];
    check("two expiries", StallCause::PathSilent, &[BEFORE, &two]);
    check("only T3-rtx is seen", StallCause::PathSilent, &[&[T3, Pass(2000), T3, Pass(9)]]);
}

/// Each stall that ends gives one record, with its own figures: also where several end within one interval.
#[test]
fn each_stall_is_a_record() {
    let stall = [Send, Pass(RTO_MS), T3, Pass(500), Sack(1, OPEN, NO_GAPS), Pass(50)];
    for kprobes in [false, true] {
        // The RTO of the stub kernel stays doubled after T3-rtx.
        let steps =
            [BEFORE, &stall, &[Send, Pass(9000)], &[Sack(1, OPEN, NO_GAPS), Send, Pass(5000), End]].concat();
        let mut world = World::play(&steps, kprobes);
        let records = world.program.records::<StallEvent>();
        let lasted: Vec<_> =
            records.iter().map(|r| (r.evidence.until_ns - r.evidence.since_ns) / MS).collect();
        assert_eq!(lasted, [1500, 9000, 5000]);
        let stats =
            world.program.table::<Entry>("entries").into_iter().find(|e| e.object != 0).unwrap().stats;
        assert_eq!((stats.stalls, stats.stall_ns / MS), (3, 15_500));
        for record in &records {
            let held: u64 = record.evidence.held_ns.iter().sum();
            assert_eq!(held, record.evidence.until_ns - record.evidence.since_ns, "the parts are the whole");
            assert_eq!(record.id.assoc_id, 1);
        }
    }
}

/// If there is no room for the record of a stall, that is counted.
#[test]
fn a_lost_record_is_counted() {
    let mut world = World::new(false);
    world.program.kernel().ring_size = 8;
    for step in [Send, Pass(1500), Interval, Sack(1, OPEN, NO_GAPS)] {
        world.step(step);
    }
    let shared = world.program.variable::<Shared>("shared");
    assert_eq!(shared.accounting, Accounting { lost: 1, ..Accounting::default() });
    assert_eq!(world.entry().unwrap().stats.stalls, 1);
}

/// An association that a send has set up gets its id with the INIT ACK. Its stall ends with the first SACK.
#[test]
fn a_stall_of_an_association_without_an_id_ends() {
    let mut world = World::new(false);
    world.buffer.assoc.assoc_id = 0;
    for step in [State(COOKIE_WAIT), Queue, Pass(1500), State(ESTABLISHED)] {
        world.step(step);
    }
    assert_eq!(world.cause(), Some(StallCause::HandshakeUnanswered));
    world.buffer.assoc.assoc_id = 7;
    world.buffer.queued = 0;
    for step in [Send, Pass(20), Sack(1, OPEN, NO_GAPS), Pass(5000)] {
        world.step(step);
    }
    let records = world.program.records::<StallEvent>();
    assert_eq!(records.len(), 1);
    let entries = world.program.table::<Entry>("entries");
    assert!(entries.iter().filter(|entry| entry.object != 0).all(|entry| entry.state.now.since_ns == 0));
}
