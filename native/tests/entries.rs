//! Tests the table of entries (`entries.h`) in the program `bufmon.bpf.c`: which entry is reused for a new
//! association, and the entries of associations that restart.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::Index};
use sctptrace_native::{
    Hook, Program,
    association::{AssocArgs, Sack},
    raw::{Settings, WANT_EXTENDED, WANT_WINDOWS},
};

#[path = "bufmon/mod.rs"]
mod bufmon;
use bufmon::{Accounting, Buffer, Entry, Shared};

/// A living association: its fields as hooks find them, the number of its life, and how many SACKs came in
/// that life.
#[derive(Clone, Debug)]
struct Assoc {
    buffer: Buffer,
    life: u32,
    sacks: u64,
}

struct World {
    program: Program,
    sack: Hook<Buffer>,
    restart: Hook<Buffer>,
    end: Hook<Buffer>,
    interval: Hook<u32>,
    report: Hook<[u32; 2]>,
    now: u64,
    last_id: u32,
    living: Vec<Assoc>,
    /// Number of SACKs in each ended life, by association id and life.
    ended: BTreeMap<(u32, u32), u64>,
}

impl World {
    fn new(entries: u32, kprobes: bool, reuse: bool) -> Self {
        let settings = Settings {
            jiffy_ns: 4_000_000,
            wants: WANT_EXTENDED | if reuse { WANT_WINDOWS } else { 0 },
            want_reuse: reuse.into(),
            entry_mask: entries - 1,
            ..Settings::default()
        };
        let mut program = Program::open("bufmon", &settings);
        program.kernel().kprobes = kprobes.into();
        program.kernel().has_bpf_rdonly_cast = 1;
        Self {
            sack: program.hook("sack"),
            restart: program.hook("restart"),
            end: program.hook("end"),
            interval: program.hook("interval"),
            report: program.hook("report_end"),
            program,
            now: 1,
            last_id: 0,
            living: Vec::new(),
            ended: BTreeMap::new(),
        }
    }

    /// Begins an association, and lets a SACK come. `place` picks one of the free places in memory.
    fn begin(&mut self, place: usize) {
        let used: Vec<_> = self.living.iter().map(|assoc| assoc.buffer.assoc.index).collect();
        let free: Vec<_> = (0..64).filter(|index| !used.contains(index)).collect();
        self.last_id = self.last_id % i32::MAX as u32 + 1;
        let assoc =
            AssocArgs { index: free[place % free.len()], assoc_id: self.last_id, ..AssocArgs::default() };
        self.living.push(Assoc { buffer: Buffer { assoc, ..Buffer::UP }, life: 1, sacks: 0 });
        self.sacks(self.living.len() - 1, 1);
    }

    fn sacks(&mut self, which: usize, count: u64) {
        for _ in 0..count {
            self.now += 1000;
            self.program.kernel().now_ns = self.now;
            let sack = Sack { cum_tsn: 7, gaps: Some(Vec::new()) };
            self.living[which].sacks += 1;
            self.program.run(self.sack, &self.living[which].buffer, &sack.bytes());
        }
    }

    fn restart(&mut self, which: usize) {
        self.program.run(self.restart, &self.living[which].buffer, &[]);
        let assoc = &mut self.living[which];
        self.ended.insert((assoc.buffer.assoc.assoc_id, assoc.life), assoc.sacks);
        (assoc.life, assoc.sacks) = (assoc.life + 1, 0);
        self.sacks(which, 1);
    }

    fn end(&mut self, which: usize) {
        let assoc = self.living.swap_remove(which);
        self.program.run(self.end, &assoc.buffer, &[]);
        self.ended.insert((assoc.buffer.assoc.assoc_id, assoc.life), assoc.sacks);
    }

    fn entries(&self) -> Vec<Entry> {
        let entries = self.program.table::<Entry>("entries");
        entries.into_iter().filter(|entry| entry.object != 0).collect()
    }

    /// Marks all ended entries as shown, as user space does.
    fn report_ended(&mut self) {
        for entry in self.entries().iter().filter(|entry| entry.ended != 0) {
            self.program.run(self.report, &[entry.key, entry.generation], &[]);
        }
    }

    fn accounting(&self) -> Accounting {
        self.program.variable::<Shared>("shared").accounting
    }

    /// Checks that each living association has one living entry, with all SACKs of its life, and that entries
    /// of ended lives are unchanged.
    fn check_living(&self) -> Result<(), TestCaseError> {
        let mut living = BTreeMap::new();
        for entry in self.entries() {
            prop_assert_eq!(entry.seq_tail, entry.seq_head);
            let key = (entry.id.assoc_id, entry.id.life);
            if entry.ended == 0 {
                prop_assert_eq!(living.insert(key, entry.stats.rwnd.count), None, "twice: {:?}", key);
            } else {
                prop_assert_eq!(self.ended.get(&key), Some(&entry.stats.rwnd.count), "{:?}", key);
            }
        }
        let expected =
            self.living.iter().map(|assoc| ((assoc.buffer.assoc.assoc_id, assoc.life), assoc.sacks));
        prop_assert_eq!(living, expected.collect());
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    Sacks(Index, u64),
    Restart(Index),
    End(Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_usize..64).prop_map(Step::Begin),
        4 => (any::<Index>(), 1_u64..5).prop_map(|(which, count)| Step::Sacks(which, count)),
        1 => any::<Index>().prop_map(Step::Restart),
        3 => any::<Index>().prop_map(Step::End),
    ]
}

proptest! {
    /// While no more associations live than there are entries, no living one makes room, and an ended one
    /// does not as long as there is an entry that was never used.
    #[test]
    fn no_living_association_makes_room_while_a_dead_one_is_there(
        steps in vec(step(), 1..600),
        entries in prop::sample::select(vec![8_u32, 16, 64]),
        kprobes: bool,
    ) {
        let mut world = World::new(entries, kprobes, false);
        let mut lives = 0_u64;
        for step in steps {
            let living = world.living.len();
            match step {
                Step::Begin(place) if living < entries as usize => {
                    lives += 1;
                    world.begin(place);
                }
                Step::Sacks(which, count) if living > 0 => world.sacks(which.index(living), count),
                Step::Restart(which) if living > 0 => {
                    lives += 1;
                    world.restart(which.index(living));
                }
                Step::End(which) if living > 0 => world.end(which.index(living)),
                _ => {}
            }
            // Each life has an entry. The entry of a life that a restart ended stays until its place is
            // needed.
            world.check_living()?;
            prop_assert_eq!(world.entries().len() as u64, lives.min(entries.into()));
            prop_assert_eq!(world.accounting().assocs_evicted, lives.saturating_sub(entries.into()));
        }
    }

    /// Entries that user space has shown make room before entries that ended later, and do not count as
    /// evicted.
    #[test]
    fn what_was_shown_makes_room_first(
        counts in vec(1_usize..12, 1..40),
        entries in prop::sample::select(vec![32_u32, 64]),
        place in 0_usize..64,
    ) {
        let mut world = World::new(entries, false, true);
        for count in counts {
            (0..count).for_each(|_| world.begin(place));
            world.check_living()?;
            (0..count).for_each(|_| world.end(0));
            world.program.run(world.interval, &0, &[]);
            world.report_ended();
            let ended = world.ended.iter().rev().take(count);
            let there: Vec<_> = world.entries().iter().map(|e| (e.id.assoc_id, e.id.life)).collect();
            prop_assert!(ended.into_iter().all(|(key, _)| there.contains(key)));
        }
        prop_assert_eq!(world.accounting().assocs_evicted, 0);
    }
}

/// An ended entry that was shown makes room before one that was not, even if the latter was silent for longer.
#[test]
fn what_was_shown_makes_room_before_what_was_silent_longer() {
    let mut world = World::new(8, false, true);
    (0..8).for_each(|n| world.begin(n));
    let at = |world: &World, id| {
        world.living.iter().position(|assoc| assoc.buffer.assoc.assoc_id == id).expect("it lives")
    };
    world.end(at(&world, 5));
    world.program.run(world.interval, &0, &[]);
    world.report_ended();
    world.end(at(&world, 1));
    world.begin(0);
    let there: Vec<_> = world.entries().iter().map(|entry| entry.id.assoc_id).collect();
    assert!(there.contains(&1) && !there.contains(&5), "{there:?}");
    assert_eq!(world.accounting().assocs_evicted, 0);
}

/// An entry made in the place of another, while user space reads the last interval, has no statistics of that
/// interval.
#[test]
fn an_entry_made_at_a_tick_has_no_interval_of_its_predecessor() {
    let mut world = World::new(8, false, true);
    (0..8).for_each(|n| world.begin(n));
    (0..8).for_each(|_| world.end(0));
    world.program.run(world.interval, &0, &[]);
    (0..8).for_each(|n| world.begin(n));
    let now = world.program.variable::<Shared>("shared").epoch;
    let entries = world.entries();
    assert!(entries.len() == 8 && entries.iter().all(|entry| entry.id.assoc_id > 8), "others made room");
    for entry in entries {
        let intervals: Vec<_> =
            entry.window.iter().filter(|w| w.epoch != 0).map(|w| (w.epoch, w.stats.rwnd.count)).collect();
        assert_eq!(intervals, [(now, 1)], "{}", entry.id.assoc_id);
    }
}

#[test]
fn beyond_the_table_the_longest_silent_of_a_few_goes() {
    let mut world = World::new(8, false, false);
    for n in 0..9 {
        world.begin(n);
    }
    let mut there: Vec<_> = world.entries().iter().map(|entry| entry.id.assoc_id).collect();
    there.sort_unstable();
    assert_eq!(there, (2..=9).collect::<Vec<_>>());
    assert_eq!(world.accounting().assocs_evicted, 1);
}

/// While ten million short associations come and go, the entries of living ones stay. Meanwhile association
/// ids wrap as in the kernel: after 2^31 - 1 comes 1.
#[test]
fn ten_million_associations_leave_those_that_live_alone() {
    const SHORT: u32 = 10_000_000;
    let mut world = World::new(64, false, false);
    world.last_id = i32::MAX as u32 - SHORT / 2;
    (0..8).for_each(|n| world.begin(n));
    for n in 0..SHORT {
        world.begin(n as usize);
        world.end(8);
        world.ended.clear();
    }
    (0..8).for_each(|which| world.sacks(which, 1));
    let entries = world.entries();
    let living: BTreeMap<_, _> = entries
        .iter()
        .filter(|entry| entry.ended == 0)
        .map(|entry| (entry.id.assoc_id, entry.stats.rwnd.count))
        .collect();
    let expected = world.living.iter().map(|assoc| (assoc.buffer.assoc.assoc_id, assoc.sacks));
    assert_eq!(living, expected.collect());
    assert_eq!(world.accounting().assocs_evicted, u64::from(SHORT) + 8 - 64);
}

#[test]
fn an_init_that_completes_an_association_begins_no_life() {
    let mut world = World::new(8, false, false);
    world.begin(0);
    let echoed = Buffer { state: 2, ..world.living[0].buffer };
    world.program.run(world.restart, &echoed, &[]);
    world.sacks(0, 1);
    world.check_living().unwrap();
}

/// An association with the id and the memory of one that restarted and ended begins with life 1.
#[test]
fn an_ended_association_leaves_no_life_to_another() {
    let mut world = World::new(8, false, false);
    world.begin(5);
    world.restart(0);
    world.end(0);
    world.last_id -= 1;
    world.ended.clear();
    world.begin(5);
    let living: Vec<_> = world.entries().iter().filter(|entry| entry.ended == 0).map(|e| e.id.life).collect();
    assert_eq!(living, [1]);
}
