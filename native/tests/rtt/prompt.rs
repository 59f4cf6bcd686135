//! Tests which samples are prompt, against a model of the receiver: the SACK of a prompt sample must have
//! left within a millisecond after the sample's packet had come, whatever the receiver does and the network
//! loses.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use super::*;

const MS: u64 = 1_000_000;
/// Bytes that a chunk takes of the receiver's window.
const CHUNK: u32 = 1000;
/// Bytes of the receiver's window when its application has read everything.
const WINDOW: u32 = 200_000;
/// Path MTU in bytes: when the window has grown by as much, the receiver sends a SACK.
const PATH_MTU: u32 = 1500;

/// How a receiver sends SACKs: RFC 9260 6.2 leaves stacks some freedom.
#[derive(Clone, Copy, Debug)]
struct Manners {
    /// Number of packets after which the receiver sends a SACK at once.
    frequency: u32,
    /// Time in nanoseconds for which the receiver holds a SACK back.
    delay: u64,
    /// True: each packet starts the SACK timer anew, as in Linux. False: only the first packet starts it.
    restarts: bool,
    /// True if the receiver answers a packet with the I-bit at once.
    immediate: bool,
    /// Average nanoseconds between packets of data that the receiver sends itself; 0: it sends none.
    data_every: u64,
    /// Average nanoseconds between reads of the receiver's application; 0: it reads at once.
    reads_every: u64,
}

/// Delays and losses of the path, and the packets that are sent.
#[derive(Clone, Copy, Debug)]
struct Traffic {
    /// Delay of a packet, in nanoseconds.
    there: u64,
    /// Delay of a SACK, in nanoseconds.
    back: u64,
    /// How many of 100 packets are lost.
    lost_there: u32,
    /// How many of 100 SACKs are lost.
    lost_back: u32,
    /// Number of packets that are sent.
    packets: u32,
    /// Longest pause between two bursts, in nanoseconds.
    pause: u64,
    /// Number of packets in a burst.
    burst: u32,
    /// How many of 100 packets have the I-bit.
    immediate: u32,
}

/// An event of the simulation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A packet is sent. The number counts the packets left of its burst, this one included.
    Send(u32),
    /// A packet with these TSNs arrives. True: it has the I-bit.
    Arrive(Vec<u32>, bool),
    SackTimer(u32),
    OwnData,
    Read,
    Sack(Number),
    /// A chunk is sent again unless it was acknowledged.
    Resend(u32),
}

/// Index of a SACK in `Bed::sacks`.
type Number = usize;

/// A SACK that the receiver sent at the time `at`.
#[derive(Clone, Debug)]
struct Sent {
    sack: Sack,
    shape: Shape,
    at: u64,
}

struct Peer {
    manners: Manners,
    receiver: Receiver,
    /// Time at which each TSN first came.
    arrived: BTreeMap<u32, u64>,
    highest: u32,
    /// Number of packets since the last SACK.
    pending: u32,
    /// Number of the SACK timer that runs; `timers` is the last number given out.
    timer: Option<u32>,
    timers: u32,
    duplicates: u16,
    unread: u32,
    advertised: u32,
}

struct Bed {
    random: Rng,
    traffic: Traffic,
    world: World,
    peer: Peer,
    events: BinaryHeap<Reverse<(u64, usize, Event)>>,
    sacks: Vec<Sent>,
    sent: u32,
}

/// Number of samples, of prompt ones, and of those whose SACK left at once: within a millisecond.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    samples: u32,
    prompt: u32,
    at_once: u32,
}

impl Bed {
    fn new(seed: u64, manners: Manners, traffic: Traffic) -> Self {
        let world = World::new(Setup { exact: true, ..Setup::ROOMY }, &[(1, 0)]);
        let peer = Peer {
            manners,
            receiver: Receiver::new(1),
            arrived: BTreeMap::new(),
            highest: 0,
            pending: 0,
            timer: None,
            timers: 0,
            duplicates: 0,
            unread: 0,
            advertised: WINDOW,
        };
        let random = Rng::with_seed(seed);
        let mut bed =
            Self { random, traffic, world, peer, events: BinaryHeap::new(), sacks: Vec::new(), sent: 0 };
        bed.after(0, Event::Send(traffic.burst));
        for (every, event) in [(manners.data_every, Event::OwnData), (manners.reads_every, Event::Read)] {
            if every > 0 {
                bed.after(every, event);
            }
        }
        bed
    }

    fn after(&mut self, ns: u64, event: Event) {
        let order = self.events.len();
        self.events.push(Reverse((self.world.now + ns, order, event)));
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.random.u32(0..100) < percent
    }

    fn run(mut self) -> Figures {
        let mut figures = Figures::default();
        // Until all that was sent has been acknowledged.
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if self.sent == self.traffic.packets && self.world.assocs[0].sender.outstanding.is_empty() {
                break;
            }
            self.world.pass(at - self.world.now);
            match event {
                Event::Send(left) => self.send(left),
                Event::Arrive(tsns, immediate) => self.arrive(&tsns, immediate),
                Event::SackTimer(number) => {
                    if self.peer.timer == Some(number) {
                        self.sack(false);
                    }
                }
                Event::OwnData => {
                    // A SACK that is held back is bundled with the data (RFC 9260 6.10).
                    if self.peer.timer.is_some() {
                        self.sack(true);
                    }
                    let every = self.peer.manners.data_every;
                    let pause = self.random.u64(0..2 * every);
                    self.after(pause, Event::OwnData);
                }
                Event::Read => {
                    self.peer.unread = 0;
                    // A window update, as sctp_assoc_rwnd_increase() sends it.
                    if WINDOW - self.peer.advertised >= PATH_MTU {
                        self.sack(false);
                    }
                    let pause = self.random.u64(0..2 * self.peer.manners.reads_every);
                    self.after(pause, Event::Read);
                }
                Event::Sack(number) => self.acknowledge(number, &mut figures),
                Event::Resend(tsn) => self.resend(tsn),
            }
        }
        self.world.check_sum();
        figures
    }

    fn send(&mut self, left: u32) {
        let chunks = self.random.u32(1..3);
        self.world.immediate = self.percent(self.traffic.immediate);
        let tsns = self.world.send(0, 0, chunks, |_| true);
        tsns.iter().for_each(|tsn| self.after(600 * MS, Event::Resend(*tsn)));
        self.sent += 1;
        if !self.percent(self.traffic.lost_there) {
            self.after(self.traffic.there, Event::Arrive(tsns, self.world.immediate));
        }
        if self.sent == self.traffic.packets {
            return;
        }
        let pause = self.random.u64(1..self.traffic.pause);
        match left - 1 {
            0 => self.after(pause, Event::Send(self.traffic.burst)),
            left => self.after(10_000, Event::Send(left)),
        }
    }

    fn resend(&mut self, tsn: u32) {
        let sender = &mut self.world.assocs[0].sender;
        if !sender.unacknowledged().contains(&tsn) {
            return;
        }
        self.world.immediate = false;
        self.world.resend(0, 0, tsn, true);
        if !self.percent(self.traffic.lost_there) {
            self.after(self.traffic.there, Event::Arrive(vec![tsn], false));
        }
        // The next retransmission, by a timer or a fast one, if this copy is lost as well.
        let pause = self.random.u64(2 * (self.traffic.there + self.traffic.back)..1000 * MS);
        self.after(pause, Event::Resend(tsn));
    }

    /// A packet arrives at the receiver, which sends a SACK or starts its timer, as `sctp_gen_sack()` does.
    fn arrive(&mut self, tsns: &[u32], immediate: bool) {
        let now = self.world.now;
        let peer = &mut self.peer;
        for &tsn in tsns {
            if peer.arrived.contains_key(&tsn) {
                peer.duplicates += 1;
                continue;
            }
            peer.arrived.insert(tsn, now);
            peer.receiver.receive(tsn);
            peer.highest = peer.highest.max(tsn);
            peer.unread += if peer.manners.reads_every > 0 { CHUNK } else { 0 };
        }
        peer.pending += 1;
        let has_gap = peer.receiver.sack().cum_tsn != peer.highest;
        let at_once = has_gap || peer.duplicates > 0 || (immediate && peer.manners.immediate);
        if at_once || peer.pending >= peer.manners.frequency {
            return self.sack(false);
        }
        if peer.timer.is_none() || peer.manners.restarts {
            peer.timers += 1;
            peer.timer = Some(peer.timers);
            let (delay, timer) = (peer.manners.delay, peer.timers);
            self.after(delay, Event::SackTimer(timer));
        }
    }

    fn sack(&mut self, bundled: bool) {
        let peer = &mut self.peer;
        peer.advertised = WINDOW.saturating_sub(peer.unread);
        let shape = Shape { bundled, a_rwnd: peer.advertised, duplicates: peer.duplicates };
        let sack = peer.receiver.sack();
        (peer.pending, peer.timer, peer.duplicates) = (0, None, 0);
        self.sacks.push(Sent { sack, shape, at: self.world.now });
        if !self.percent(self.traffic.lost_back) {
            self.after(self.traffic.back, Event::Sack(self.sacks.len() - 1));
        }
    }

    fn acknowledge(&mut self, number: Number, figures: &mut Figures) {
        let Sent { sack, shape, at } = self.sacks[number].clone();
        self.world.acknowledge_as(0, &sack, true, shape);
        for event in self.world.program.records::<super::Event>() {
            let late = at - self.peer.arrived[&event.tsn];
            let what = || format!("TSN {} waited for {} us: {sack:?}, {shape:?}", event.tsn, late / 1000);
            assert!(
                event.prompt == 0 || late <= MS,
                "{}; {:?}, {:?}",
                what(),
                self.peer.manners,
                self.traffic
            );
            figures.samples += 1;
            figures.prompt += event.prompt;
            figures.at_once += u32::from(late <= MS);
        }
    }
}

fn run(seed: u64, manners: Manners, traffic: Traffic) -> Figures {
    Bed::new(seed, manners, traffic).run()
}

/// How Linux sends SACKs by default.
const LINUX: Manners =
    Manners { frequency: 2, delay: 200 * MS, restarts: true, immediate: true, data_every: 0, reads_every: 0 };
/// A path without losses, a round trip of 20 ms, and a packet about every 5 ms.
const CLEAN: Traffic = Traffic {
    there: 10 * MS,
    back: 10 * MS,
    lost_there: 0,
    lost_back: 0,
    packets: 400,
    pause: 10 * MS,
    burst: 1,
    immediate: 0,
};

/// No sample is prompt whose SACK waited, whatever the receiver does and the network loses either way:
/// `Bed::acknowledge` asserts that.
#[test]
fn no_sample_is_prompt_whose_sack_waited() {
    let mut all = Figures::default();
    let mut silent = BTreeSet::new();
    for seed in 0..1500 {
        let mut random = Rng::with_seed(seed);
        let frequency = random.choice([1, 2, 2, 2, 4, 13]).unwrap_or(2);
        let lost_back = random.choice([0, 0, 5, 30]).unwrap_or(0);
        // Delays below 100 ms and window updates can deceive the program if SACKs are rare or lost, too.
        let safe = frequency <= 2 && lost_back == 0;
        let delay = if safe { 2 * MS } else { 100 * MS };
        let manners = Manners {
            frequency,
            delay: random.u64(delay..500 * MS),
            restarts: random.bool(),
            immediate: random.bool(),
            data_every: random.choice([0, 3 * MS, 40 * MS, 400 * MS]).unwrap_or(0),
            reads_every: if safe { random.choice([0, 3 * MS, 50 * MS]).unwrap_or(0) } else { 0 },
        };
        let traffic = Traffic {
            there: random.u64(10_000..60 * MS),
            back: random.u64(10_000..60 * MS),
            lost_there: random.choice([0, 0, 2, 20]).unwrap_or(0),
            lost_back,
            packets: 200,
            pause: random.choice([MS, 10 * MS, 40 * MS, 600 * MS]).unwrap_or(MS),
            burst: random.u32(1..5),
            immediate: random.choice([0, 0, 20]).unwrap_or(0),
        };
        let figures = run(seed, manners, traffic);
        all.samples += figures.samples;
        all.prompt += figures.prompt;
        all.at_once += figures.at_once;
        if figures.prompt == 0 {
            silent.insert(seed);
        }
    }
    assert!(all.prompt > all.at_once / 10, "{all:?}: too few to be of use");
    assert!(silent.len() < 750, "{} runs without any, {all:?}", silent.len());
}

/// With a Linux receiver and a path without losses more than 40 % of the samples are prompt, and with the
/// I-bit nearly all.
#[test]
fn a_usual_receiver_has_prompt_samples() {
    for traffic in [
        CLEAN,
        Traffic { pause: MS, ..CLEAN },
        Traffic { pause: 50 * MS, ..CLEAN },
        Traffic { burst: 2, pause: 600 * MS, ..CLEAN },
    ] {
        let figures = run(1, LINUX, traffic);
        assert!(figures.prompt * 10 > figures.samples * 4, "{figures:?} of {traffic:?}");
    }
    let asked = run(1, LINUX, Traffic { immediate: 100, pause: 600 * MS, ..CLEAN });
    // The samples of the first packet's chunks, at most 2, are not prompt: no SACK before has told the receiver's window, so
    // that the first SACK may have been due to a larger window only.
    assert!(asked.at_once == asked.samples && asked.samples - asked.prompt <= 2, "{asked:?}");
}

/// Packets come about 300 ms apart and mostly wait for the receiver's timer; 30 % of the SACKs are lost. That
/// one SACK acknowledges two packets does not make their samples prompt: `Bed::acknowledge` asserts that.
#[test]
fn two_delayed_packets_are_not_a_second_one() {
    let sparse = Traffic { pause: 600 * MS, lost_back: 30, ..CLEAN };
    for frequency in [2, 4] {
        let figures = run(2, Manners { frequency, ..LINUX }, sparse);
        assert!(figures.samples > 300, "{figures:?}");
    }
}

/// The peer bundles SACKs that it holds back with its own data, and some are lost. No sample that waited is
/// prompt, as `Bed::acknowledge` asserts; those of SACKs that came by themselves still are.
#[test]
fn a_sack_that_came_with_data_is_not_prompt() {
    let both_ways = Manners { data_every: 15 * MS, ..LINUX };
    let figures = run(3, both_ways, Traffic { pause: 40 * MS, lost_back: 5, packets: 3000, ..CLEAN });
    assert!(figures.prompt > 100, "{figures:?}: some came by themselves");
}

/// If the round trip takes longer than `SACK_DELAY_MIN_NS`, the program cannot tell whether a SACK waited: no
/// sample is prompt.
#[test]
fn a_long_path_has_no_prompt_samples() {
    let figures = run(4, LINUX, Traffic { there: 60 * MS, back: 60 * MS, ..CLEAN });
    assert!(figures.samples > 300 && figures.prompt == 0, "{figures:?}");
}

/// A retransmission keeps samples from being prompt until it is acknowledged, and not again when TSNs have
/// moved on by 2^31 and more.
#[test]
fn a_retransmission_of_long_ago_keeps_no_sample_from_being_prompt() {
    let mut world = World::new(Setup { exact: true, ..Setup::ROOMY }, &[(1, 0)]);
    let tsn = world.send(0, 0, 1, |_| true)[0];
    world.resend(0, 0, tsn, true);
    world.assocs[0].receiver.receive(tsn);
    world.answer(0, true);
    for further in [1 << 30, 1 << 30, 1, 1 << 30] {
        world.go_on(further);
        world.send_through(0, 2);
        world.answer(0, true);
        let prompt: u32 = world.program.records::<super::Event>().iter().map(|event| event.prompt).sum();
        assert_eq!(prompt, 1);
    }
}

/// If a packet was not seen, the program cannot tell which one is a second packet, whose SACK is due at once:
/// the next sample is not prompt.
#[test]
fn packets_that_were_not_seen_make_none_prompt() {
    for missed in [false, true] {
        let mut world = World::new(Setup { exact: true, ..Setup::ROOMY }, &[(1, 0)]);
        let mut step = |packets: &[bool]| {
            packets.iter().for_each(|seen| {
                let tsns = world.send(0, 0, 1, |_| *seen);
                tsns.into_iter().for_each(|tsn| world.assocs[0].receiver.receive(tsn));
            });
            world.answer(0, true);
            world.program.records::<super::Event>().iter().map(|event| event.prompt).sum::<u32>()
        };
        assert_eq!(step(&[true]), 0, "the first tells where numbers are");
        assert_eq!(step(&[true, true]), 1);
        step(&[true, !missed]);
        assert_eq!(step(&[true]), 0, "it may have waited");
        assert_eq!(step(&[true, true]), 1);
    }
}

/// Sends packets of one chunk each, which all arrive, and lets their SACK come. `seen`: for each packet,
/// whether the hook of its chunk runs. Returns the number of prompt samples.
fn prompt_of(world: &mut World, seen: &[bool]) -> u32 {
    for &seen in seen {
        let tsn = world.send(0, 0, 1, |_| seen)[0];
        world.assocs[0].receiver.receive(tsn);
    }
    world.answer(0, true);
    prompts(world)
}

fn prompts(world: &mut World) -> u32 {
    world.program.records::<super::Event>().iter().map(|event| event.prompt).sum()
}

/// A world in which the program knows which packets of the first association the last SACK has acknowledged.
fn known(setup: Setup, isns: &[(u32, u32)]) -> World {
    let mut world = World::new(Setup { exact: true, ..setup }, isns);
    prompt_of(&mut world, &[true]);
    assert_eq!(prompt_of(&mut world, &[true, true]), 1);
    world
}

/// If a packet between two others was not seen, their SACK may have waited: the receiver has counted three.
#[test]
fn an_unseen_packet_among_others_makes_none_prompt() {
    let mut world = known(Setup::ROOMY, &[(1, 0)]);
    assert_eq!(prompt_of(&mut world, &[true, false, true]), 0);
    assert_eq!(prompt_of(&mut world, &[true, true]), 1);
}

/// If a SACK was not seen, the packet after it is not a second one.
#[test]
fn an_unseen_sack_makes_none_prompt() {
    let mut world = known(Setup::ROOMY, &[(1, 0)]);
    let tsn = world.send(0, 0, 1, |_| true)[0];
    world.assocs[0].receiver.receive(tsn);
    world.answer(0, false);
    assert_eq!(prompt_of(&mut world, &[true]), 0);
    assert_eq!(prompt_of(&mut world, &[true, true]), 1);
}

/// If a retransmission was not seen, SACKs may answer it until it is acknowledged, gap blocks or not.
#[test]
fn an_unseen_retransmission_makes_none_prompt() {
    let mut world = known(Setup::ROOMY, &[(1, 0)]);
    let lost = world.send(0, 0, 1, |_| true)[0];
    prompt_of(&mut world, &[true]);
    world.resend(0, 0, lost, false);
    world.answer(0, true);
    assert_eq!(prompt_of(&mut world, &[true]), 0, "the SACK has a gap block");
    world.assocs[0].receiver.receive(lost);
    world.answer(0, true);
    assert_eq!(prompt_of(&mut world, &[true, true]), 1);
}

/// After a restart the receiver counts packets anew: packets of the old life that were outstanding do not count.
#[test]
fn packets_of_the_old_life_make_none_prompt() {
    let mut world = known(Setup::ROOMY, &[(1, 0)]);
    world.send(0, 0, 1, |_| true);
    world.restart(0, 77, true);
    assert_eq!(prompt_of(&mut world, &[true]), 0);
    assert_eq!(prompt_of(&mut world, &[true, true]), 1);
}

/// A SHUTDOWN, which acknowledges as well, comes when the peer's application closes.
#[test]
fn a_shutdown_makes_none_prompt() {
    let mut world = known(Setup::ROOMY, &[(1, 0)]);
    for _ in 0..2 {
        let tsn = world.send(0, 0, 1, |_| true)[0];
        world.assocs[0].receiver.receive(tsn);
    }
    world.pass(MS);
    let shutdown = world.assocs[0].receiver.shutdown();
    world.acknowledge(0, &shutdown, true);
    assert_eq!(prompts(&mut world), 0);
}

/// Chunks of another association take the slot of a packet's chunk. If that was the last packet before a SACK,
/// the next packet is not known to be a second one. If it was the first, its SACK may have come from the
/// receiver's timer.
#[test]
fn a_packet_without_a_slot_makes_none_prompt() {
    for last in [true, false] {
        let mut world = known(Setup { sets: 1, ..Setup::ROOMY }, &[(1, 0), (1, 0)]);
        let tsn = world.send(0, 0, 1, |_| true)[0];
        world.assocs[0].receiver.receive(tsn);
        world.pass(150 * MS);
        for _ in 0..4 {
            world.pass(1);
            world.send(1, 0, 1, |_| true);
        }
        if last {
            world.answer(0, true);
        }
        assert_eq!(prompt_of(&mut world, &[true]), 0, "{last}");
        assert_eq!(prompt_of(&mut world, &[true, true]), 1);
    }
}
