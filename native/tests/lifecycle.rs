//! Tests `lifecycle.h` against a model of associations. The model says which records must come, and what must
//! be in each.

use std::collections::BTreeMap;

use fastrand::Rng;
use sctptrace_native::{
    Hook, Program,
    association::AssocArgs,
    raw::{Filter, LifeEvent, Settings, Shared},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct life_args` (`c/lifecycle.c`): what the kernel knows of an association when a hook runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Immutable, IntoBytes)]
struct LifeArgs {
    assoc: AssocArgs,
    state: u32,
    tag: u32,
    new_tag: u32,
    cookie_len: u32,
    error_count: u32,
    error_limit: u32,
    init_sent: u32,
    t5_runs: u32,
    has_process: u32,
    sk_shutdown: u32,
    linger: u32,
    linger_time: u32,
    in_progress: u32,
    notification: u32,
    error: u32,
    queued: u32,
    outstanding: u32,
    again: u32,
    paths: u32,
}

#[repr(C)]
#[derive(FromBytes)]
struct Accounting {
    none: u64,
}

/// `enum sctp_state`.
const CLOSED: u32 = 0;
const COOKIE_WAIT: u32 = 1;
const COOKIE_ECHOED: u32 = 2;
const ESTABLISHED: u32 = 3;

/// `enum sctp_sac_state`.
const COMM_UP: u32 = 0;
const COMM_LOST: u32 = 1;
const RESTART: u32 = 2;
const SHUTDOWN_COMP: u32 = 3;
const CANT_STR_ASSOC: u32 = 4;
const NOT_NOTIFIED: u32 = 0xffff;

/// What a record is about: `LIFE_*` in `lifecycle.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Found = 1,
    Up = 2,
    Restart = 3,
    End = 4,
    Failed = 5,
}

/// `cause.chunk` where the kernel processes no chunk.
const NO_CHUNK: u16 = 0xffff;

/// What a record has of a chunk (`struct abort_cause`): the chunk's type, and the code and text of its first
/// error cause.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    chunk: u16,
    code: Option<u16>,
    text: Vec<u8>,
}

impl Said {
    const NOTHING: Self = Self { chunk: NO_CHUNK, code: None, text: Vec::new() };

    /// Returns what a record must have of the chunk with these bytes, by RFC 9260 3.3.7 and 3.3.10. There is
    /// a text only if the cause is User-Initiated Abort or Protocol Violation (3.3.10.12, 3.3.10.13), and no
    /// byte of the text lies behind the end of the cause or of the chunk.
    fn by(bytes: &[u8]) -> Self {
        let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let end = usize::from(number(2));
        assert!(end <= bytes.len(), "the kernel discards a chunk that is longer than its packet");
        let mut said = Self { chunk: bytes[0].into(), ..Self::NOTHING };
        if said.chunk != 6 || end < 8 {
            return said;
        }
        said.code = Some(number(4));
        if matches!(number(4), 12 | 13) && number(6) >= 4 {
            let text = &bytes[8..end.min(4 + usize::from(number(6)))];
            said.text = text[..text.len().min(128)].to_vec();
        }
        said
    }

    fn of(event: &LifeEvent) -> Self {
        let cause = &event.cause;
        Self {
            chunk: cause.chunk,
            code: (cause.has_code != 0).then_some(cause.code),
            text: cause.text[..usize::from(cause.text_len)].to_vec(),
        }
    }
}

/// An association, as the model knows it.
#[derive(Clone, Debug)]
struct Assoc {
    args: LifeArgs,
    /// True if the programs know the association, as a hook has run for it.
    is_known: bool,
    /// True if this end began the association, false if the peer did; `None` if no hook has seen which.
    begun_here: Option<bool>,
    begun_ns: u64,
    up_ns: u64,
    is_up: bool,
    is_over: bool,
    inits: u32,
    life: u32,
    by_icmp: bool,
    by_t5: bool,
    /// The ABORT of a process of this host: whether by close(), whether `SO_LINGER` has time 0, and what the
    /// ABORT says.
    aborted: Option<(bool, bool, Said)>,
}

/// A record that must come.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    event: Event,
    at_ns: u64,
    assoc_id: u32,
    life: u32,
    initiated_here: bool,
    /// What the identity says by itself, whatever was seen.
    began_here: bool,
    begun_ns: u64,
    up_ns: u64,
    inits: u32,
    notified: u32,
    error: u32,
    state: u32,
    errors: (u32, u32),
    left_bytes: u64,
    /// The flags `by_icmp`, `by_t5`, `t5_runs`, `no_init`, `is_orphan`, `aborted`, `by_close`, `lingers`.
    flags: [bool; 8],
    said: Said,
    /// Number of paths in the record, at most 8; `None` if the record has no settings.
    paths: Option<u32>,
}

struct World {
    program: Program,
    hooks: BTreeMap<&'static str, Hook<LifeArgs>>,
    rng: Rng,
    now: u64,
    last_id: u32,
    assocs: BTreeMap<u32, Assoc>,
    expected: Vec<Record>,
    /// Size of the ring buffer in bytes, and how many of these bytes are used.
    ring: (u64, u64),
    lost: u64,
    seen: BTreeMap<Event, u64>,
}

const HOOKS: [&str; 10] =
    ["associate", "make_init", "abort_it", "icmp", "t5", "update", "change", "free", "found", "switch_off"];

impl World {
    fn new(seed: u64, has_cast: bool, lives: u32, filter: Filter) -> Self {
        // The wrapper takes the number of lives from this setting, which lifecycle.h does not use.
        let settings = Settings {
            entry_mask: lives - 1,
            want_filter: u32::from(filter.lport != 0),
            filter,
            ..Settings::default()
        };
        let mut program = Program::open("lifecycle", &settings);
        program.kernel().has_bpf_rdonly_cast = has_cast.into();
        let ring = (program.kernel().ring_size, 0);
        let hooks = HOOKS.map(|name| (name, program.hook(name))).into();
        Self {
            program,
            hooks,
            rng: Rng::with_seed(seed),
            now: 1,
            last_id: 0,
            assocs: BTreeMap::new(),
            expected: Vec::new(),
            ring,
            lost: 0,
            seen: BTreeMap::new(),
        }
    }

    /// Makes an association in the memory `index`; no hook has run for it yet.
    fn make(&mut self, index: u32) -> &mut Assoc {
        self.last_id += 1;
        let rng = &mut self.rng;
        let args = LifeArgs {
            assoc: AssocArgs { index, assoc_id: self.last_id, ..AssocArgs::default() },
            tag: rng.u32(1..),
            cookie_len: if rng.bool() { 0 } else { rng.u32(1..300) },
            error_count: rng.u32(..5),
            error_limit: rng.u32(1..5),
            init_sent: rng.bool().into(),
            has_process: rng.bool().into(),
            queued: rng.u32(..2000),
            outstanding: rng.u32(..2000),
            again: if rng.bool() { 0 } else { rng.u32(1..1400) },
            paths: rng.u32(1..=12),
            ..LifeArgs::default()
        };
        let assoc = Assoc {
            args,
            is_known: false,
            begun_here: None,
            begun_ns: 0,
            up_ns: 0,
            is_up: false,
            is_over: false,
            inits: 0,
            life: 1,
            by_icmp: false,
            by_t5: false,
            aborted: None,
        };
        self.assocs.insert(index, assoc);
        self.of(index)
    }

    fn of(&mut self, index: u32) -> &mut Assoc {
        self.assocs.get_mut(&index).unwrap()
    }

    /// Runs a hook for an association.
    fn run(&mut self, hook: &str, index: u32, bytes: &[u8]) {
        self.now += 1000;
        self.program.kernel().now_ns = self.now;
        let args = self.of(index).args;
        self.program.run(self.hooks[hook], &args, bytes);
    }

    /// Notes that the hook that ran last for an association must have written this record.
    fn expect(&mut self, index: u32, event: Event, notified: u32, bytes: &[u8]) {
        let room = (size_of::<LifeEvent>() as u64 + 8).next_multiple_of(8);
        if self.ring.1 + room >= self.ring.0 {
            self.lost += 1;
            return;
        }
        self.ring.1 += room;
        *self.seen.entry(event).or_default() += 1;
        let at_ns = self.now;
        let Assoc { args, begun_here, begun_ns, up_ns, inits, life, by_icmp, by_t5, aborted, .. } =
            self.of(index).clone();
        let is_over = matches!(event, Event::End | Event::Failed);
        let own = aborted.as_ref().map(|(.., said)| said);
        let said = match own {
            _ if !is_over => Said::NOTHING,
            _ if args.in_progress != 0 => Said::by(bytes),
            Some(said) => Said { chunk: NO_CHUNK, ..said.clone() },
            None => Said::NOTHING,
        };
        let (by_close, lingers) = aborted.as_ref().map_or((false, false), |own| (own.0, own.1));
        let record = Record {
            event,
            at_ns,
            assoc_id: args.assoc.assoc_id,
            life,
            initiated_here: begun_here.unwrap_or(event == Event::Failed || args.cookie_len > 0),
            began_here: args.init_sent != 0 || args.cookie_len > 0,
            begun_ns,
            up_ns,
            inits,
            notified,
            error: if notified == NOT_NOTIFIED || notified == COMM_UP { 0 } else { args.error },
            state: args.state,
            errors: (args.error_count, args.error_limit),
            left_bytes: u64::from(args.queued) + u64::from(args.outstanding) + 3 * u64::from(args.again),
            flags: [
                by_icmp,
                by_t5,
                args.t5_runs != 0,
                args.init_sent == 0,
                args.has_process == 0,
                aborted.is_some(),
                by_close,
                lingers,
            ],
            said,
            paths: matches!(event, Event::Found | Event::Up).then(|| args.paths.min(8)),
        };
        self.expected.push(record);
    }

    // --- what happens ---

    fn begin_here(&mut self, index: u32) {
        self.make(index).args.cookie_len = 0;
        self.run("associate", index, &[]);
        let now = self.now;
        let assoc = self.of(index);
        (assoc.begun_ns, assoc.begun_here, assoc.is_known) = (now, Some(true), true);
        self.init(index);
        self.of(index).args.state = COOKIE_WAIT;
    }

    fn init(&mut self, index: u32) {
        self.run("make_init", index, &[]);
        let assoc = self.of(index);
        assoc.inits += u32::from(assoc.is_known);
    }

    fn comes_up(&mut self, index: u32) {
        // An association that the peer begins is still CLOSED (sctp_sf_do_5_1D_ce()).
        let assoc = self.of(index);
        assoc.args.state = if assoc.begun_here == Some(true) { ESTABLISHED } else { CLOSED };
        assoc.args.notification = COMM_UP;
        assoc.args.in_progress = 0;
        self.run("change", index, &[]);
        let now = self.now;
        let assoc = self.of(index);
        (assoc.is_up, assoc.is_known, assoc.up_ns) = (true, true, now);
        // The association has a cookie of the peer's only if this end has echoed that cookie.
        assoc.begun_here = assoc.begun_here.or(Some(assoc.args.cookie_len > 0));
        self.expect(index, Event::Up, COMM_UP, &[]);
        self.of(index).args.state = ESTABLISHED;
    }

    /// Both ends send an INIT at the same time: case B of RFC 9260 5.2.4, before the association is up. This
    /// end keeps its tag.
    fn collide(&mut self, index: u32) {
        let assoc = self.of(index);
        assoc.args.state = if assoc.inits.is_multiple_of(2) { COOKIE_WAIT } else { COOKIE_ECHOED };
        assoc.args.new_tag = assoc.args.tag;
        self.run("update", index, &[]);
    }

    /// The peer has restarted: case A of RFC 9260 5.2.4. This end gets a new tag.
    fn restart(&mut self, index: u32) {
        let tag = self.rng.u32(1..);
        let state = self.rng.u32(3..7);
        let assoc = self.of(index);
        assoc.args.new_tag = tag;
        assoc.args.state = state;
        self.run("update", index, &[]);
        self.expect(index, Event::Restart, NOT_NOTIFIED, &[]);
        let now = self.now;
        let assoc = self.of(index);
        (assoc.up_ns, assoc.begun_ns, assoc.inits) = (now, 0, 0);
        (assoc.is_up, assoc.is_known, assoc.begun_here) = (true, true, Some(false));
        assoc.life += 1;
        assoc.args.tag = tag;
        // The kernel also notifies COMM_UP in case B while the association is up: that gives no second
        // record.
        let assoc = self.of(index);
        assoc.args.state = ESTABLISHED;
        assoc.args.notification = if tag.is_multiple_of(2) { COMM_UP } else { RESTART };
        self.run("change", index, &[]);
    }

    /// A process aborts.
    fn abort(&mut self, index: u32) {
        let bytes = self.abort_chunk();
        let bytes = if self.rng.u8(..4) == 0 { Vec::new() } else { bytes };
        let (shutdown, linger, time) = (self.rng.u32(..4), self.rng.bool(), self.rng.u32(..2));
        let assoc = self.of(index);
        (assoc.args.sk_shutdown, assoc.args.linger, assoc.args.linger_time) = (shutdown, linger.into(), time);
        self.run("abort_it", index, &bytes);
        let said = if bytes.is_empty() { Said::NOTHING } else { Said::by(&bytes) };
        let assoc = self.of(index);
        assoc.aborted = Some((shutdown == 3, linger && time == 0, said));
        assoc.is_known = true;
    }

    /// The association ends, and the kernel notifies the process.
    fn end(&mut self, index: u32) {
        let rng = &mut self.rng;
        let in_progress = rng.bool();
        let bytes = match rng.u8(..3) {
            0 => vec![rng.u8(..), rng.u8(..), 0, 4],
            _ => self.abort_chunk(),
        };
        let (error, state, t5) = (self.rng.u32(..=0xffff), self.rng.u32(..8), self.rng.bool());
        let lost = if self.rng.bool() { COMM_LOST } else { SHUTDOWN_COMP };
        let failed = self.rng.bool();
        let assoc = self.of(index);
        let (event, notification) = match assoc.begun_here {
            _ if assoc.is_up => (Event::End, lost),
            None if !failed => (Event::End, lost),
            _ => (Event::Failed, CANT_STR_ASSOC),
        };
        let args = &mut assoc.args;
        (args.in_progress, args.error, args.state, args.t5_runs) =
            (in_progress.into(), error, state, t5.into());
        args.notification = notification;
        let was_over = assoc.is_over;
        self.run("change", index, &bytes);
        if !was_over {
            self.expect(index, event, notification, &bytes);
        }
        let assoc = self.of(index);
        (assoc.is_over, assoc.is_known) = (true, true);
    }

    /// The kernel frees the association. If the association was up, or this end began it, and the kernel has
    /// not notified of its end, the record of the end comes now.
    fn free(&mut self, index: u32) {
        let bytes = self.abort_chunk();
        let in_progress = self.rng.u8(..4) == 0;
        let assoc = self.of(index);
        assoc.args.in_progress = in_progress.into();
        let event = match assoc {
            _ if assoc.is_over || !assoc.is_known => None,
            _ if assoc.is_up => Some(Event::End),
            _ => (assoc.begun_here == Some(true)).then_some(Event::Failed),
        };
        self.run("free", index, &bytes);
        if let Some(event) = event {
            self.expect(index, event, NOT_NOTIFIED, &bytes);
        }
        self.assocs.remove(&index);
    }

    /// A chunk, mostly an ABORT, as a hostile peer makes it: of any length, with causes of any length.
    fn abort_chunk(&mut self) -> Vec<u8> {
        let rng = &mut self.rng;
        let length = match rng.u8(..8) {
            0 => 4,
            1 => rng.usize(4..12),
            2 => 65_535,
            3 => rng.usize(128..160),
            _ => rng.usize(8..80),
        };
        let mut bytes = vec![6, rng.u8(..2)];
        bytes.extend((length as u16).to_be_bytes());
        bytes.extend([12_u16, 12, 13, 1, 0, 0xffff][rng.usize(..6)].to_be_bytes());
        let cause = [0, 3, 4, 5, length as u16 - 4, length as u16 - 3, 0xffff, rng.u16(..)][rng.usize(..8)];
        bytes.extend(cause.to_be_bytes());
        bytes.resize_with(length.max(8), || rng.u8(..));
        // A second cause, which the programs must ignore.
        if length >= 40 && rng.bool() {
            bytes[4..12].copy_from_slice(&[0, 1, 0, 8, 0, 7, 0, 0]);
            bytes[12..20].copy_from_slice(&[0, 12, 0, 8, b't', b'e', b'x', b't']);
        }
        bytes.truncate(length);
        bytes
    }

    // --- what must come ---

    /// Compares all records with those that must have come.
    fn check(&mut self) {
        let records: Vec<LifeEvent> = self.program.records();
        self.ring.1 = 0;
        let expected = std::mem::take(&mut self.expected);
        let taken: Vec<Record> = records.iter().map(record).collect();
        for (taken, expected) in taken.iter().zip(&expected) {
            assert_eq!(taken, expected);
        }
        assert_eq!(taken.len(), expected.len(), "more or less records than there must be");
        assert_eq!(self.program.variable::<Shared<Accounting>>("shared").lives_lost, self.lost);
        for record in &records {
            check_identity(record);
        }
    }
}

fn record(raw: &LifeEvent) -> Record {
    let event = [Event::Found, Event::Up, Event::Restart, Event::End, Event::Failed]
        .into_iter()
        .find(|event| *event as u32 == raw.event)
        .expect("an event");
    let has_settings = raw.settings.streams_out != 0;
    Record {
        event,
        at_ns: raw.at_ns,
        assoc_id: raw.id.assoc_id,
        life: raw.id.life,
        initiated_here: raw.initiated_here != 0,
        began_here: raw.id.began_here != 0,
        begun_ns: raw.begun_ns,
        up_ns: raw.up_ns,
        inits: raw.inits,
        notified: raw.notified.into(),
        error: raw.error.into(),
        state: raw.state,
        errors: (raw.error_count, raw.error_limit),
        left_bytes: raw.left_bytes,
        flags: [
            raw.by_icmp,
            raw.by_t5,
            raw.t5_runs,
            raw.no_init,
            raw.is_orphan,
            raw.aborted,
            raw.by_close,
            raw.lingers,
        ]
        .map(|flag| flag != 0),
        said: Said::of(raw),
        paths: has_settings.then_some(raw.settings.paths),
    }
}

/// Checks the addresses and settings in a record, which `lifecycle.c` derives from the association's index in
/// memory.
fn check_identity(raw: &LifeEvent) {
    let index = u32::from(raw.id.peer.ip[3]) - 2;
    assert_eq!((raw.id.netns, raw.id.local.port, raw.id.peer.port), (4_026_531_840, 5000, 5001));
    assert_eq!((&raw.id.local.ip[..4], raw.owners), (&[10, 0, 0, 1][..], LifeEvent::NO_OWNER));
    let has_settings = matches!(raw.event, 1 | 2);
    let s = &raw.settings;
    let numbers = [
        s.streams_out,
        s.streams_in,
        s.sndbuf,
        s.rcvbuf,
        s.peer_rwnd,
        s.own_rwnd,
        s.rto_initial,
        s.rto_min,
        s.rto_max,
        s.sack_delay,
        s.sack_freq,
        s.hb_interval,
        s.path_max_retrans,
        s.pf_retrans,
        s.encap_port,
    ];
    let bits = [s.idata, s.prsctp, s.reconf, s.auth, s.ecn, s.nodelay];
    if !has_settings {
        assert_eq!((numbers, bits, s.paths, s.assoc_max_retrans), ([0; 15], [0; 6], 0, 0));
        return;
    }
    assert_eq!(numbers, std::array::from_fn(|n| 100 * (n as u32 + 1) + index));
    assert_eq!(bits, std::array::from_fn(|n| (index >> n & 1) as u8));
    assert_eq!(s.assoc_max_retrans, raw.error_limit);
    for (n, path) in s.path.iter().enumerate().take(s.paths as usize) {
        assert_eq!((&path.local.ip[..4], path.local.port), (&[10, n as u8, 0, 1][..], 5000));
        assert_eq!((&path.peer.ip[..4], path.peer.port), (&[10, n as u8, 0, 2 + index as u8][..], 5001));
        assert_eq!(path.state, n as u32 % 4);
    }
}

impl World {
    /// Something random happens to the association in this memory; if there is none, one begins.
    fn step(&mut self, index: u32) {
        let Some(assoc) = self.assocs.get(&index) else {
            match self.rng.u8(..4) {
                0 | 1 => self.begin_here(index),
                2 => {
                    self.make(index);
                    self.comes_up(index);
                }
                // An association from before the trace began, or one that was evicted: no hook has seen its
                // begin.
                _ => drop(self.make(index)),
            }
            return;
        };
        let (is_up, is_over, is_known) = (assoc.is_up, assoc.is_over, assoc.is_known);
        match self.rng.u8(..16) {
            // No hook sees its end, and another association will take its memory.
            0 => drop(self.assocs.remove(&index)),
            _ if is_over => match self.rng.u8(..3) {
                0 => self.end(index),
                _ => self.free(index),
            },
            1 | 2 => self.free(index),
            3 | 4 => self.end(index),
            5 => {
                self.abort(index);
                self.end(index);
            }
            6 | 7 if is_up || !is_known => self.restart(index),
            8 if is_up => {
                self.run("t5", index, &[]);
                self.of(index).by_t5 = true;
            }
            6 | 7 => self.collide(index),
            8 => {
                self.run("icmp", index, &[]);
                self.of(index).by_icmp = is_known;
            }
            9..=11 if !is_up => self.comes_up(index),
            _ => self.init(index),
        }
    }
}

#[test]
fn each_begin_restart_and_end_has_one_record() {
    let mut seen = BTreeMap::new();
    for (seed, has_cast) in (0..40).flat_map(|seed| [(seed, true), (seed, false)]) {
        let mut world = World::new(seed, has_cast, 64, Filter::default());
        for _ in 0..1000 {
            let index = world.rng.u32(..48);
            world.step(index);
            if world.rng.u8(..50) == 0 {
                world.check();
            }
        }
        world.check();
        assert_eq!(world.lost, 0);
        for (event, count) in world.seen {
            *seen.entry(event).or_insert(0) += count;
        }
    }
    for event in [Event::Up, Event::Restart, Event::End, Event::Failed] {
        assert!(seen[&event] > 1000, "{seen:?}");
    }
}

#[test]
fn what_the_ring_has_no_room_for_is_counted() {
    let mut world = World::new(1, true, 64, Filter::default());
    let size = 3 * (size_of::<LifeEvent>() as u64 + 8) + 8;
    world.program.kernel().ring_size = size;
    world.ring.0 = size;
    for _ in 0..2000 {
        let index = world.rng.u32(..48);
        world.step(index);
        if world.rng.u8(..30) == 0 {
            world.check();
        }
    }
    world.check();
    let taken: u64 = world.seen.values().sum();
    assert!(world.lost > 100 && taken > 100, "{} lost, {taken} taken", world.lost);
}

#[test]
fn the_text_is_in_the_first_cause_and_in_the_chunk() {
    let mut world = World::new(1, true, 64, Filter::default());
    let text = [7_u8; 65_535];
    // Length of the chunk; code and length of its first cause; and bytes of text.
    for (chunk, code, cause, expected) in [
        (4_usize, 12_u16, 4_u16, None),
        (7, 12, 4, None),
        (8, 12, 4, Some(0)),
        (8, 12, 60_000, Some(0)),
        (20, 12, 0, Some(0)),
        (20, 12, 3, Some(0)),
        (20, 12, 5, Some(1)),
        (20, 13, 16, Some(12)),
        (20, 12, 17, Some(12)),
        (20, 12, 65_535, Some(12)),
        (20, 1, 16, Some(0)),
        (136, 12, 132, Some(128)),
        (135, 12, 132, Some(127)),
        (137, 12, 133, Some(128)),
        (65_535, 12, 65_531, Some(128)),
        (65_535, 12, 65_535, Some(128)),
    ] {
        let mut bytes = vec![6, 0];
        bytes.extend((chunk as u16).to_be_bytes());
        bytes.extend(code.to_be_bytes());
        bytes.extend(cause.to_be_bytes());
        // Behind the chunk lie the bytes of another chunk, which must not be taken for text.
        bytes.extend(&text[..chunk.max(8) - 8]);
        world.make(0);
        world.comes_up(0);
        let args = &mut world.of(0).args;
        (args.in_progress, args.notification, args.error) = (1, COMM_LOST, u32::from(code));
        world.run("change", 0, &bytes);
        let event = world.program.records::<LifeEvent>().pop().unwrap();
        let said = Said::of(&event);
        let expected =
            Said { chunk: 6, code: expected.map(|_| code), text: vec![7; expected.unwrap_or_default()] };
        assert_eq!(said, expected, "chunk of {chunk}, cause {code} of {cause}");
        world.assocs.clear();
    }
}

#[test]
fn those_there_at_the_start_are_found_once() {
    for has_cast in [true, false] {
        let mut world = World::new(2, has_cast, 64, Filter::default());
        // All associations have the arguments of a template; the one at index n in memory has n added to its assoc_id
        // and to its tag.
        let all: Vec<u8> = (10..40).collect();
        world.make(0);
        world.of(0).args.state = ESTABLISHED;
        let template = world.of(0).args;
        // A hook has seen the association 12 begin.
        let know = |world: &mut World, index: u32| {
            world.make(index);
            let at = &mut world.of(index).args;
            *at = LifeArgs { assoc: at.assoc, ..template };
            at.assoc.assoc_id = template.assoc.assoc_id + index;
            at.tag = template.tag.wrapping_add(index);
        };
        know(&mut world, 12);
        world.comes_up(12);
        world.check();
        world.assocs.insert(0, Assoc { args: template, ..world.assocs[&12].clone() });
        world.run("found", 0, &all);
        for index in all.iter().map(|index| u32::from(*index)).filter(|index| *index != 12) {
            know(&mut world, index);
            let assoc = world.of(index);
            (assoc.is_up, assoc.is_known) = (true, true);
            assoc.begun_here = Some(assoc.args.cookie_len > 0);
            world.expect(index, Event::Found, NOT_NOTIFIED, &[]);
        }
        world.assocs.remove(&0);
        world.check();
        // The iterator runs once more for the same socket, as of another open file.
        world.make(0);
        world.of(0).args = template;
        world.run("found", 0, &all);
        world.assocs.remove(&0);
        world.check();
        // It is not known when the associations found began, nor when they came up.
        for index in 10..40 {
            world.end(index);
            world.free(index);
        }
        world.check();
        assert_eq!(world.seen[&Event::Found], 29);
        assert_eq!(world.seen[&Event::End], 30);
    }
}

#[test]
fn however_many_are_there_at_the_start_all_are_found() {
    for (seed, lives) in (0..20).flat_map(|seed| [(seed, 64), (seed, 8)]) {
        let mut world = World::new(seed, true, lives, Filter::default());
        // Half of the ring has room for three records.
        let size = 6 * (size_of::<LifeEvent>() as u64 + 8);
        world.program.kernel().ring_size = size;
        let mut all: Vec<u8> = (10..60).collect();
        world.make(0).args.state = ESTABLISHED;
        let template = world.of(0).args;
        let (mut found, mut ended) = (Vec::new(), Vec::new());
        let mut runs = 0;
        loop {
            world.of(0).args = template;
            world.run("found", 0, &all);
            runs += 1;
            for event in world.program.records::<LifeEvent>() {
                let index = event.id.peer.ip[3] - 2;
                if event.event == Event::Found as u32 { &mut found } else { &mut ended }.push(index);
            }
            if world.program.variable::<u32>("paused") == 0 {
                break;
            }
            // Some associations end meanwhile: some before they are found, some after that.
            for _ in 0..world.rng.usize(..3) {
                let index = all.swap_remove(world.rng.usize(..all.len()));
                all.sort_unstable();
                let mut args = template;
                args.assoc.index = index.into();
                args.assoc.assoc_id += u32::from(index);
                args.tag = args.tag.wrapping_add(index.into());
                args.notification = COMM_LOST;
                for hook in ["change", "free"] {
                    world.program.run(world.hooks[hook], &args, &[]);
                }
            }
        }
        assert!(runs > 10, "{runs} runs");
        let count = found.len();
        found.sort_unstable();
        found.dedup();
        // After a pause the walk may look at an association again. If there is room for few lives, it may have forgotten
        // that it has reported the association, and reports it twice.
        assert!(lives == 8 || found.len() == count, "found twice");
        assert!(all.iter().all(|index| found.contains(index)), "not all of {all:?} in {found:?}");
        assert!(count - found.len() < 20, "{count} found, {} of them once", found.len());
        assert_eq!(world.program.variable::<Shared<Accounting>>("shared").lives_lost, 0);
        let (ends, distinct) = (ended.len(), ended.iter().collect::<std::collections::BTreeSet<_>>().len());
        assert_eq!(ends, distinct, "an end twice");
    }
}

#[test]
fn what_was_not_found_before_the_end_of_the_run_is_counted() {
    let mut world = World::new(6, true, 64, Filter::default());
    world.program.kernel().ring_size = 6 * (size_of::<LifeEvent>() as u64 + 8);
    world.make(0).args.state = ESTABLISHED;
    let all: Vec<u8> = (10..60).collect();
    world.run("found", 0, &all);
    let found = world.program.records::<LifeEvent>().len() as u64;
    world.run("switch_off", 0, &[]);
    world.of(0).args.state = ESTABLISHED;
    world.run("found", 0, &all);
    assert!(world.program.records::<LifeEvent>().is_empty());
    assert_eq!(world.program.variable::<u32>("paused"), 0);
    let lost = world.program.variable::<Shared<Accounting>>("shared").lives_lost;
    assert_eq!((found > 0, found + lost), (true, 50));
}

#[test]
fn what_is_being_begun_at_the_start_was_begun_here() {
    let mut world = World::new(3, true, 64, Filter::default());
    world.make(0);
    world.of(0).args.state = COOKIE_WAIT;
    world.run("found", 0, &[0]);
    world.check();
    let assoc = world.of(0);
    (assoc.is_known, assoc.begun_here) = (true, Some(true));
    world.comes_up(0);
    world.end(0);
    world.check();
    // Another association, which never comes up.
    world.make(1);
    world.of(1).args.state = COOKIE_WAIT;
    let args = world.of(1).args;
    world.make(0).args = LifeArgs { assoc: AssocArgs { index: 0, ..args.assoc }, ..args };
    world.of(0).args.assoc.assoc_id = args.assoc.assoc_id - 1;
    world.of(0).args.tag = args.tag.wrapping_sub(1);
    world.run("found", 0, &[1]);
    let assoc = world.of(1);
    (assoc.is_known, assoc.begun_here) = (true, Some(true));
    world.free(1);
    world.check();
}

#[test]
fn an_end_whose_begin_was_forgotten_is_reported_once() {
    // The map `known_lives` has room for four associations.
    let mut world = World::new(4, true, 4, Filter::default());
    for index in 0..16 {
        world.make(index);
        world.comes_up(index);
    }
    world.check();
    // The first twelve of the sixteen were evicted: nothing is known of them any more.
    for index in 0..16 {
        if index < 12 {
            let assoc = world.of(index);
            assoc.is_known = false;
            assoc.begun_here = None;
            (assoc.up_ns, assoc.is_up) = (0, false);
        }
    }
    for index in (0..16).rev() {
        world.end(index);
        world.end(index);
        world.free(index);
    }
    world.check();
    assert_eq!(world.seen.values().sum::<u64>(), 32);
}

#[test]
fn the_filter_and_the_end_of_the_run_hold() {
    let mut world = World::new(5, true, 64, Filter { lport: 5001, ..Filter::default() });
    world.begin_here(0);
    world.run("change", 0, &[]);
    world.run("found", 0, &[1, 2]);
    assert!(world.program.records::<LifeEvent>().is_empty());
    let shared = world.program.variable::<Shared<Accounting>>("shared");
    assert_eq!((shared.passed_over, shared.lives_lost), (1, 0));
    drop(world);

    let mut world = World::new(5, true, 64, Filter { lport: 5000, ..Filter::default() });
    world.make(0);
    world.comes_up(0);
    world.check();
    world.run("switch_off", 0, &[]);
    for hook in ["associate", "make_init", "abort_it", "icmp", "t5", "update", "change", "free"] {
        world.run(hook, 0, &[6, 0, 0, 4]);
    }
    world.check();
}
