//! Tests that every change of an RTO gives a record, and that each record of a path begins with the RTO that
//! the path's record before has left.

use proptest::prelude::*;

use super::{
    CAUSE_HEARTBEAT, CAUSE_RTT, CAUSE_STATE, CAUSE_T2, CAUSE_T3, CLOSED, Event, MS, Setup, TIMER_T2,
    TIMER_T3, World,
};

const CAUSE_HEARTBEAT_TIMEOUT: u8 = 3;
const CAUSE_PRIMARY: u8 = 5;
const CAUSE_T4: u8 = 7;
const CAUSE_RECONF: u8 = 8;
const CAUSE_HEARTBEAT_DEMAND: u8 = 9;
const CAUSE_RESTART: u8 = 10;
const CAUSE_ECN: u8 = 11;
const CAUSE_OTHER: u8 = 12;

/// The timer of HEARTBEATs, in `enum timer_kind` (`rto.bpf.c`).
const TIMER_HEARTBEAT: u32 = 1;
/// The T4-rto timer of ASCONF (RFC 5061), in `enum timer_kind`.
const TIMER_T4: u32 = 3;
/// The timer of RE-CONFIG (RFC 6525), in `enum timer_kind`.
const TIMER_RECONF: u32 = 4;
/// All timers that may change an RTO.
const TIMERS: [u32; 5] = [TIMER_T3, TIMER_HEARTBEAT, TIMER_T2, TIMER_T4, TIMER_RECONF];
// Reasons of `sctp_transport_lower_cwnd()`: `SCTP_LOWER_CWND_*`.
const CUT_T3: u32 = 0;
const CUT_FAST: u32 = 1;
const CUT_ECN: u32 = 2;
const CUT_INACTIVE: u32 = 3;
/// HEARTBEATs of a path are switched on: `SPP_HB_ENABLE`.
const HB_ENABLE: u32 = 1;
// States of a path: `enum sctp_spinfo_state`.
const INACTIVE: u32 = 0;
const PF: u32 = 1;
const ACTIVE: u32 = 2;
const UNCONFIRMED: u32 = 3;
// Commands of `sctp_assoc_control_transport()`: `enum sctp_transport_cmd`.
const UP: u32 = 0;
const DOWN: u32 = 1;
const TO_PF: u32 = 2;
/// `rto_max` of the associations, in jiffies (`rto.c`).
const RTO_MAX: u32 = 15_000;

/// A model of a path: its values in the kernel, and the RTO that the path's last record has left.
#[derive(Clone, Copy, Debug)]
struct ModelPath {
    rto: u32,
    cwnd: u32,
    state: u32,
    error_count: u32,
    is_unanswered: bool,
    is_heartbeat_on: bool,
    known: Option<u32>,
}

/// A model of an association, whose paths change as the kernel changes them; and the records that the program
/// must make.
struct Paths {
    world: World,
    paths: [ModelPath; 4],
    primary: u32,
    /// For each record: number of the path, cause, and RTO before and after the change, in jiffies.
    expected: Vec<(u32, u8, u32, u32)>,
    cuts: [u64; 4],
}

/// What happens to a path.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// A SACK or HEARTBEAT ACK gives a round-trip time, and the RTO becomes `rto` jiffies.
    Rtt { is_heartbeat: bool, rto: u32 },
    /// The function of the timer `kind` (`TIMER_*`) runs. `is_busy`: a process uses the socket, so that the
    /// function does nothing yet.
    Timer { kind: u32, is_busy: bool },
    /// The application asks for a HEARTBEAT (SPP_HB_DEMAND).
    Demand,
    /// HEARTBEATs are switched on or off.
    Heartbeats(bool),
    /// An ECN-Echo comes, and the cwnd becomes this many bytes: less than before, or as many.
    Ecn(u32),
    /// Fast retransmission cuts the cwnd.
    Fast,
    /// The path is confirmed, or answers again.
    Up,
    /// The path becomes the primary one.
    Primary,
    /// The RTO becomes this many jiffies, and no hook sees the change.
    Hidden(u32),
    /// The peer restarts.
    Restart,
}

impl Paths {
    fn new(kprobes: bool) -> Self {
        Self::of(Setup { kprobes, ..Setup::ROOMY })
    }

    fn of(setup: Setup) -> Self {
        let path = ModelPath {
            rto: 250,
            cwnd: 60_000,
            state: ACTIVE,
            error_count: 0,
            is_unanswered: false,
            is_heartbeat_on: true,
            known: None,
        };
        let world = World::new(setup, &[1]);
        let paths = [path; 4];
        let mut all = Self { world, paths, primary: 0, expected: Vec::new(), cuts: [0; 4] };
        (0..4).for_each(|at| all.write(at));
        all
    }

    /// Writes a path into the kernel's memory.
    fn write(&mut self, at: u32) {
        let path = self.paths[at as usize];
        self.world.set_path(0, at, |args| {
            args.rto = path.rto;
            args.cwnd = path.cwnd;
            args.state = path.state;
            args.error_count = path.error_count;
            args.hb_sent = path.is_unanswered.into();
            args.param_flags = if path.is_heartbeat_on { HB_ENABLE } else { 0 };
        });
    }

    fn change(&mut self, at: u32, change: impl FnOnce(&mut ModelPath)) {
        change(&mut self.paths[at as usize]);
        self.write(at);
    }

    /// An event happens at which the program learns that the RTO is `rto`. If no hook has seen the change to
    /// that value, a record with the cause "other" must come.
    fn catch_up(&mut self, at: u32, rto: u32) {
        let path = &mut self.paths[at as usize];
        if path.known.is_some_and(|known| known != rto) {
            self.expected.push((at, CAUSE_OTHER, path.known.unwrap_or(0), rto));
        }
        path.known = Some(rto);
    }

    fn expect(&mut self, at: u32, cause: u8, before: u32) {
        let rto = self.paths[at as usize].rto;
        self.expected.push((at, cause, before, rto));
        self.paths[at as usize].known = Some(rto);
    }

    /// A chunk is sent on a path, and its SACK comes on the same path.
    fn sack(&mut self, path: u32) {
        self.world.send(0, path, true);
        let bytes = self.world.sack_bytes(0);
        self.world.call_with("sack_on", 0, path, 0, &bytes);
    }

    /// Does what `sctp_assoc_control_transport()` does: sets the state of a path.
    fn control(&mut self, at: u32, command: u32) {
        let ModelPath { rto, state, .. } = self.paths[at as usize];
        let new = match command {
            UP => ACTIVE,
            TO_PF => PF,
            _ if state == UNCONFIRMED => UNCONFIRMED,
            _ => INACTIVE,
        };
        if new != state {
            self.catch_up(at, rto);
            self.expect(at, CAUSE_STATE, rto);
        }
        self.world.call("control", 0, at, command);
        self.change(at, |path| path.state = new);
    }

    /// Does what `sctp_do_8_2_transport_strike()` does: counts an error of a path, and doubles the path's
    /// RTO.
    fn strike(&mut self, at: u32, is_heartbeat: bool) {
        let path = self.paths[at as usize];
        if is_heartbeat && !path.is_unanswered {
            return;
        }
        self.world.assocs[0].errors += u32::from(!is_heartbeat || path.state != UNCONFIRMED);
        self.change(at, |path| path.error_count += u32::from(path.state != INACTIVE));
        let path = self.paths[at as usize];
        if path.state == ACTIVE && path.error_count == 1 {
            self.control(at, TO_PF);
        } else if path.state != INACTIVE && path.error_count > 5 {
            self.control(at, DOWN);
        }
        self.change(at, |path| path.rto = (2 * path.rto).min(RTO_MAX));
    }

    /// Does what `sctp_transport_lower_cwnd()` does: cuts the cwnd, and runs the hooks around that.
    fn lower(&mut self, at: u32, reason: u32, cwnd: u32) {
        self.world.call("lower_begins", 0, at, reason);
        self.cuts[reason as usize] += u64::from(cwnd < self.paths[at as usize].cwnd);
        self.change(at, |path| path.cwnd = cwnd);
        self.world.call("lower_ends", 0, at, reason);
    }

    /// Expects the record of a timer's expiry. If the RTO after it is the largest possible, the program
    /// cannot compute the RTO before, and must take that of the last record (`known`).
    fn expect_expiry(&mut self, at: u32, cause: u8, before: u32) {
        let path = self.paths[at as usize];
        let is_unclear = path.rto == RTO_MAX && path.known.is_some_and(|known| 2 * known >= RTO_MAX);
        let before = if is_unclear { path.known.unwrap_or(before) } else { before };
        self.catch_up(at, before);
        self.expect(at, cause, before);
    }

    fn step(&mut self, at: u32, step: Change) {
        self.world.pass(MS);
        let ModelPath { rto, cwnd, .. } = self.paths[at as usize];
        match step {
            Change::Rtt { is_heartbeat, rto: new } => {
                self.catch_up(at, rto);
                self.world.call("update_begins", 0, at, 5);
                self.change(at, |path| path.rto = new);
                let (cause, kind) = if is_heartbeat { (CAUSE_HEARTBEAT, 5) } else { (CAUSE_RTT, 3) };
                self.expect(at, cause, rto);
                self.world.call_with("update_ends", 0, at, 5, &[kind, 0, 0, 16, 0, 0, 0, 0]);
                self.world.assocs[0].errors = 0;
                self.change(at, |path| (path.error_count, path.is_unanswered) = (0, false));
            }
            Change::Timer { kind, is_busy } => {
                self.world.call("timer_begins", 0, at, kind);
                if !is_busy {
                    self.expire(at, kind, rto);
                }
                self.world.call("timer_ends", 0, at, kind);
            }
            Change::Demand => {
                self.catch_up(at, rto);
                self.world.call("demand_begins", 0, at, 0);
                let before = self.paths[at as usize].error_count;
                let records = self.expected.len();
                self.strike(at, true);
                let path = self.paths[at as usize];
                // At the largest RTO the RTO cannot grow: then only a change of the state shows the error.
                let has_counted = path.error_count != before && self.expected.len() == records;
                if path.rto != rto || has_counted {
                    self.expect(at, CAUSE_HEARTBEAT_DEMAND, rto);
                }
                self.change(at, |path| path.is_unanswered = true);
                self.world.call("demand_ends", 0, at, 0);
            }
            Change::Heartbeats(is_on) => self.change(at, |path| path.is_heartbeat_on = is_on),
            Change::Ecn(new) => {
                self.catch_up(at, rto);
                if new < cwnd {
                    self.expect(at, CAUSE_ECN, rto);
                }
                self.lower(at, CUT_ECN, new);
            }
            Change::Fast => self.lower(at, CUT_FAST, cwnd / 2),
            Change::Up => {
                self.change(at, |path| path.error_count = 0);
                self.control(at, UP);
            }
            Change::Primary => {
                if self.primary != at {
                    self.catch_up(at, rto);
                    self.expect(at, CAUSE_PRIMARY, rto);
                }
                self.world.call("set_primary", 0, at, 0);
                self.primary = at;
                self.world.assocs[0].sender.args.primary = at;
            }
            Change::Hidden(rto) => self.change(at, |path| path.rto = rto),
            Change::Restart => {
                self.world.restart(0, 1, true);
                self.world.assocs[0].sender.args.primary = self.primary;
                for at in 0..4 {
                    let before = self.paths[at as usize].rto;
                    self.world.call("reset_begins", 0, at, 0);
                    self.change(at, |path| {
                        (path.rto, path.error_count, path.is_unanswered) = (250, 0, false)
                    });
                    self.expect(at, CAUSE_RESTART, before);
                    self.world.call("reset_ends", 0, at, 0);
                }
                self.world.assocs[0].errors = 0;
            }
        }
    }

    /// Does what the function of an expired timer does.
    fn expire(&mut self, at: u32, kind: u32, rto: u32) {
        let path = self.paths[at as usize];
        match kind {
            TIMER_T3 => {
                self.strike(at, false);
                self.expect_expiry(at, CAUSE_T3, rto);
                self.lower(at, CUT_T3, 1500);
            }
            TIMER_HEARTBEAT => {
                if path.is_heartbeat_on {
                    self.strike(at, true);
                    if path.is_unanswered {
                        self.expect_expiry(at, CAUSE_HEARTBEAT_TIMEOUT, rto);
                    }
                    self.change(at, |path| path.is_unanswered = true);
                }
                let cwnd = self.paths[at as usize].cwnd;
                self.lower(at, CUT_INACTIVE, (cwnd / 2).max(6000));
            }
            _ => {
                self.strike(at, false);
                let cause = [CAUSE_T2, CAUSE_T4, CAUSE_RECONF][kind as usize - 2];
                self.expect_expiry(at, cause, rto);
            }
        }
    }
}

fn step() -> impl Strategy<Value = (u32, Change)> {
    let rto = || prop_oneof![Just(250), Just(RTO_MAX), 50..RTO_MAX];
    let step = prop_oneof![
        4 => (any::<bool>(), rto()).prop_map(|(is_heartbeat, rto)| Change::Rtt { is_heartbeat, rto }),
        6 => (prop::sample::select(&TIMERS), prop::bool::weighted(0.2)).prop_map(|(kind, is_busy)| Change::Timer { kind, is_busy }),
        2 => Just(Change::Demand),
        1 => any::<bool>().prop_map(Change::Heartbeats),
        1 => (1500..90_000_u32).prop_map(Change::Ecn),
        1 => Just(Change::Fast),
        1 => Just(Change::Up),
        1 => Just(Change::Primary),
        1 => rto().prop_map(Change::Hidden),
        1 => Just(Change::Restart),
    ];
    (0..4_u32, step)
}

proptest! {
    /// Each change of an RTO has its record with its cause, each record begins with the RTO that the record
    /// before has left, and nothing else has a record. Cuts of the cwnd are counted by reason.
    #[test]
    fn rtos_are_a_chain(kprobes: bool, steps in prop::collection::vec(step(), 1..60)) {
        let mut all = Paths::new(kprobes);
        for (at, step) in steps {
            all.step(at, step);
        }
        let records = all.world.program.records::<Event>();
        let entries = all.world.entries();
        let path_of = |event: &Event| {
            let entry = entries.iter().find(|entry| entry.generation == event.path_generation);
            entry.map(|entry| u32::from(entry.id.path.ip[1])).expect("the path has an entry")
        };
        let seen: Vec<_> =
            records.iter().map(|event| (path_of(event), event.cause, event.old_rto, event.values.rto)).collect();
        prop_assert_eq!(&seen, &all.expected);
        for at in 0..4 {
            let mut last = None;
            for (_, cause, before, rto) in seen.iter().filter(|record| record.0 == at) {
                // At a restart the RTO before may differ from that of the last record: a change that no hook saw is not
                // reported for the old life.
                prop_assert!(*cause == CAUSE_RESTART || last.is_none_or(|last| last == *before), "{:?}", seen);
                last = Some(*rto);
            }
        }
        let cuts = [0, 1, 2, 3].map(|reason| all.world.sum(|stats| stats.cwnd_cuts[reason]));
        prop_assert_eq!(cuts, all.cuts);
    }
}

/// The expiry that ends an association has its record, whichever timer it is. Only that of ASCONF doubles the RTO
/// once more.
#[test]
fn the_expiry_that_ends_an_association_has_a_record() {
    for kprobes in [false, true] {
        for (kind, cause, rto) in [
            (TIMER_T3, CAUSE_T3, 250),
            (TIMER_HEARTBEAT, CAUSE_HEARTBEAT_TIMEOUT, 250),
            (TIMER_T2, CAUSE_T2, 250),
            (TIMER_T4, CAUSE_T4, 500),
            (TIMER_RECONF, CAUSE_RECONF, 250),
        ] {
            let mut all = Paths::new(kprobes);
            all.change(0, |path| path.is_unanswered = true);
            all.world.call("timer_begins", 0, 0, kind);
            all.change(0, |path| path.rto = rto);
            all.world.assocs[0].state = CLOSED;
            all.world.end(0);
            all.world.call("timer_ends", 0, 0, kind);
            let records = all.world.program.records::<Event>();
            let seen: Vec<_> =
                records.iter().map(|event| (event.cause, event.old_rto, event.values.rto)).collect();
            assert_eq!(seen, [(cause, 250, rto)]);
        }
    }
}

/// The heartbeat timer may close an association for the errors of other paths: a path that has no HEARTBEAT to
/// be answered has no timeout.
#[test]
fn no_heartbeat_no_timeout() {
    for (is_unanswered, is_on, ends) in [(false, true, true), (true, false, false)] {
        let mut all = Paths::new(false);
        all.change(0, |path| (path.is_unanswered, path.is_heartbeat_on) = (is_unanswered, is_on));
        all.world.call("timer_begins", 0, 0, TIMER_HEARTBEAT);
        if ends {
            all.world.assocs[0].state = CLOSED;
            all.world.end(0);
        } else {
            all.lower(0, CUT_INACTIVE, 30_000);
        }
        all.world.call("timer_ends", 0, 0, TIMER_HEARTBEAT);
        assert!(all.world.causes().is_empty());
    }
}

/// A failover takes from the last SACK on the path that failed to the first on the path that took over, which may
/// have failed before. If the path answers again before another has taken over, there was none, and the last
/// failover stays the last.
#[test]
fn a_failover_takes_from_sack_to_sack() {
    let mut all = Paths::new(false);
    let failovers = |all: &mut Paths| {
        let entries = all.world.entries();
        [0, 1].map(|path| {
            let entry = entries.iter().find(|entry| u32::from(entry.id.path.ip[1]) == path);
            entry.map_or(0, |entry| entry.state.failover_ns)
        })
    };
    all.step(1, Change::Rtt { is_heartbeat: true, rto: 250 });
    all.step(0, Change::Rtt { is_heartbeat: false, rto: 250 });
    all.control(1, TO_PF);
    all.sack(0);
    all.world.pass(300 * MS);
    all.control(0, TO_PF);
    all.world.call("set_active", 0, 1, 0);
    all.control(1, UP);
    all.sack(0); // on the path that carries no data any more
    all.world.pass(400 * MS);
    all.sack(1);
    all.world.pass(50 * MS);
    all.sack(1);
    assert_eq!(failovers(&mut all), [0, 700 * MS]);
    all.world.pass(300 * MS);
    all.control(1, TO_PF);
    all.control(1, UP);
    all.sack(1);
    assert_eq!(failovers(&mut all), [0, 700 * MS]);
    all.world.call("set_active", 0, 0, 0);
}

/// A filter that takes one path alone (`--addr`) leaves no entry of another one to a failover.
#[test]
fn a_failover_makes_no_entry_of_a_path_that_is_left_out() {
    for only in [0, 1] {
        let mut all = Paths::of(Setup { only_path: Some(only), ..Setup::ROOMY });
        all.sack(0);
        all.control(0, TO_PF);
        all.world.call("set_active", 0, 1, 0);
        all.sack(1);
        all.sack(1);
        let paths: Vec<u8> = all.world.entries().iter().map(|entry| entry.id.path.ip[1]).collect();
        assert_eq!(paths, [only]);
        all.world.call("set_active", 0, 0, 0);
    }
}

/// The numbers of an association's paths by state are those of its list of paths.
#[test]
fn paths_are_counted_by_state() {
    let mut all = Paths::new(false);
    for (path, state) in [INACTIVE, PF, UNCONFIRMED, ACTIVE].into_iter().enumerate() {
        all.change(path as u32, |path| path.state = state);
    }
    all.step(3, Change::Rtt { is_heartbeat: false, rto: 250 });
    all.control(2, UP);
    for event in all.world.program.records::<Event>() {
        let by_state = if event.cause == CAUSE_STATE { [1, 1, 2, 0] } else { [1, 1, 1, 1] };
        assert_eq!((event.values.paths_known, event.values.paths.to_le_bytes()), (1, by_state));
    }
}
