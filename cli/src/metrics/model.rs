//! Sums of what has changed, by label set.
//!
//! The numbers in a change count from the start of its path, association or stream. The increase of each number since
//! the last change is added to a sum of the label set. So a sum never falls, whatever ends or is evicted.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    rc::Rc,
    time::{Duration, Instant},
};

use probes::{
    Change, Identity, Octaves,
    lifecycle::{AssocEvent, Happening, Side},
};

use super::{
    Labels, Metrics, Unit, Values,
    definition::{ASSOCIATIONS, ENDS, FINDINGS, HANDSHAKES, INFO},
    text::{Extra, Writer, escaped},
};
use crate::{
    lifecycle::{REASONS, reason},
    protocol::protocol_name,
};

/// After its end, the series of an association keep their last values for this long.
const KEEP: Duration = Duration::from_secs(5 * 60);

/// An eighth of the room is reserved: of the label sets, for those of peers or associations that get no series of their
/// own; and of all series, for those of paths.
const REST_PART: usize = 8;

/// An upper bound of the number of series without labels of associations: losses, the kernel's own counters.
const OF_HOST: usize = 64;

/// Bounds of the histogram of handshakes: from 131 us to 4.3 s.
const HANDSHAKE_EDGES: RangeInclusive<u32> = 17..=32;

/// The finding about the host, which all commands have ([`crate::HOST_RULES`]).
const HOST_FINDING: &str = "host_discards";

/// The value of a label for all that have no series of their own.
const OTHER: &str = "other";

/// The sums of each label set, and the last values from which the next increase is computed.
pub(crate) struct Model<Row: 'static> {
    metrics: &'static Metrics<Row>,
    labels: Labels,
    /// The largest number of label sets.
    room: usize,
    /// The largest number of series that metrics of paths may add.
    room_of_paths: usize,
    sets: Vec<Set>,
    /// Index of each label set, by its text.
    by_text: HashMap<String, usize>,
    /// What was last seen of each path, association or stream, by its place in the kernel side's table.
    entries: Vec<Option<Box<Entry>>>,
    /// The entries whose association has not begun, as far as the model knows: the association's id, and the entry's place.
    strays: BTreeSet<(u32, u32)>,
    /// The associations that live, by their ids.
    living: HashMap<u32, Living>,
    /// Associations that have no series of their own, as there was no room.
    folded: u64,
}

/// A label set, with its sums.
struct Set {
    labels: String,
    /// True for the set of those that have no series of their own.
    is_rest: bool,
    /// The sums of each metric of rows, one after the other: [`Values::sums`] of them for each.
    sums: Vec<u128>,
    /// The counts of each histogram of rows.
    octaves: Vec<Vec<u64>>,
    ends: [u64; REASONS.len()],
    handshakes: Vec<u64>,
    handshake_sum: u128,
    /// Number of associations that live.
    living: u64,
    /// When an association last got this label set, or lost it.
    used: Instant,
}

/// What was last seen of a path, an association or a stream.
struct Entry {
    serial: u64,
    assoc_id: u32,
    set: usize,
    has_ended: bool,
    /// True while the association lives: its end may be known before that of its paths and streams.
    lives: Rc<Cell<bool>>,
    path: Option<IpAddr>,
    /// The last numbers of each metric of rows, one after the other: [`Values::numbers`] numbers since the start, or one
    /// value.
    numbers: Vec<Option<u64>>,
    octaves: Vec<Octaves>,
}

/// An association that lives.
struct Living {
    id: Identity,
    began_here: bool,
    set: usize,
    /// What the labels of the set were made of.
    labelled: Labelled,
    /// True until the association ends.
    lives: Rc<Cell<bool>>,
}

/// What the labels of an association are made of, beside its id and who has begun it: payload protocol, addresses.
type Labelled = (Option<u32>, Option<SocketAddr>, Option<SocketAddr>);

impl<Row> Model<Row> {
    pub(crate) fn new(metrics: &'static Metrics<Row>, labels: Labels, max_series: u32) -> Self {
        let of_rows: usize = metrics.of_rows.iter().map(|metric| metric.values.series()).sum();
        let handshakes = if metrics.of_host { HANDSHAKE_EDGES.count() + 3 } else { 0 };
        let ends = if labels == Labels::Assoc { 1 } else { REASONS.len() };
        let info = usize::from(labels == Labels::Assoc);
        let has_paths = labels != Labels::Port
            && metrics.of_rows.iter().any(|metric| matches!(metric.values, Values::LargestOfPaths(_)));
        let room_of_paths = if has_paths { max_series as usize / REST_PART } else { 0 };
        let room = (max_series as usize).saturating_sub(room_of_paths + OF_HOST)
            / (1 + ends + info + metrics.findings.len() + handshakes + of_rows);
        Self {
            metrics,
            labels,
            room: room.max(1),
            room_of_paths,
            sets: Vec::new(),
            by_text: HashMap::new(),
            entries: Vec::new(),
            strays: BTreeSet::new(),
            living: HashMap::new(),
            folded: 0,
        }
    }

    /// Number of associations that have no series of their own.
    pub(crate) fn folded(&self) -> u64 {
        self.folded
    }

    /// Adds a change to the sums of its label set.
    pub(crate) fn add(&mut self, change: &Change<Row>) {
        let id = (self.metrics.id)(&change.row);
        let set = self.set_of_change(id);
        let mut entry = self.entry(change, id, set);
        let sums = &mut self.sets[set];
        let mut numbers = entry.numbers.iter_mut();
        let (mut at, mut histograms) = (0, 0);
        for metric in self.metrics.of_rows {
            match &metric.values {
                Values::Counter(of) => grow(&mut sums.sums[at], of(&change.row), numbers.next()),
                Values::Counters { of, .. } => {
                    for (sum, (_, of)) in sums.sums[at..].iter_mut().zip(*of) {
                        grow(sum, of(&change.row), numbers.next());
                    }
                }
                Values::Divided { of, .. } => {
                    let (number, cause) = of(&change.row);
                    grow(&mut sums.sums[at + cause], number, numbers.next());
                }
                Values::LargestOfPaths(of) | Values::Least(of) => replace(numbers.next(), of(&change.row)),
                Values::Fullest { of, .. } => replace(numbers.next(), of(&change.row).map(pair)),
                Values::InState { of, .. } => {
                    replace(numbers.next(), of(&change.row).map(|state| state as u64));
                }
                Values::Histogram { sum, .. } => {
                    grow(&mut sums.sums[at], nanoseconds(sum(&change.row)), numbers.next());
                    if let Some(now) = change.octaves.get(histograms) {
                        let before = entry.octaves.get(histograms).copied().unwrap_or_default();
                        let new = now.since(&before);
                        sums.octaves[histograms].iter_mut().zip(new).for_each(|(sum, new)| *sum += new);
                    }
                    histograms += 1;
                }
            }
            at += metric.values.sums();
        }
        entry.octaves.clone_from(&change.octaves);
        if let Some(place) = self.entries.get_mut(change.place as usize) {
            *place = Some(entry);
        }
    }

    /// The label set of a change. While an association lives, and nothing new is known that its labels say, that is the one
    /// it has: nothing is formatted.
    fn set_of_change(&mut self, id: &Identity) -> usize {
        let Some(living) = self.living.get_mut(&id.assoc_id) else { return self.set(id, id.began_here) };
        if id.owner.is_some() {
            living.id.owner.clone_from(&id.owner);
        }
        living.id.payload_protocol = id.payload_protocol.or(living.id.payload_protocol);
        let labelled = (living.id.payload_protocol, id.local, id.peer);
        // What has no series of its own may get one now.
        if living.labelled == labelled && !self.sets[living.set].is_rest {
            return living.set;
        }
        living.labelled = labelled;
        let (began_here, payload_protocol) = (living.began_here, living.id.payload_protocol);
        let set = self.set(&Identity { payload_protocol, ..id.clone() }, began_here);
        if let Some(living) = self.living.get_mut(&id.assoc_id)
            && living.set != set
        {
            let left = mem::replace(&mut living.set, set);
            self.leave(left);
            self.sets[set].living += 1;
        }
        set
    }

    /// Takes the entry of a change out of its place, with its last numbers. A new one has none.
    fn entry(&mut self, change: &Change<Row>, id: &Identity, set: usize) -> Box<Entry> {
        let Change { place, serial, has_ended, .. } = *change;
        if self.entries.len() <= place as usize {
            self.entries.resize_with(place as usize + 1, || None);
        }
        let before = self.entries[place as usize].take();
        if let Some(before) = &before
            && (has_ended || before.serial != serial)
        {
            self.strays.remove(&(before.assoc_id, place));
        }
        if let Some(mut entry) = before.filter(|entry| entry.serial == serial) {
            (entry.set, entry.path, entry.has_ended) = (set, id.path, has_ended);
            return entry;
        }
        let lives = self.living.get(&id.assoc_id).map(|living| Rc::clone(&living.lives));
        if lives.is_none() && !has_ended {
            self.strays.insert((id.assoc_id, place));
        }
        let numbers = self.metrics.of_rows.iter().map(|metric| metric.values.numbers()).sum();
        Box::new(Entry {
            serial,
            assoc_id: id.assoc_id,
            set,
            has_ended,
            lives: lives.unwrap_or_default(),
            path: id.path,
            numbers: vec![None; numbers],
            octaves: Vec::new(),
        })
    }

    /// An association does not count in this label set any more.
    fn leave(&mut self, set: usize) {
        self.sets[set].living -= 1;
        self.sets[set].used = Instant::now();
    }

    /// Adds a begin, restart or end of an association.
    pub(crate) fn happened(&mut self, event: &AssocEvent) {
        let began_here = event.initiated == Side::Here;
        let set = self.set(&event.id, began_here);
        match event.happening {
            Happening::Found | Happening::Up => {
                self.folded += u64::from(self.sets[set].is_rest);
                self.sets[set].living += 1;
                let labelled = (event.id.payload_protocol, event.id.local, event.id.peer);
                let lives = match self.living.remove(&event.id.assoc_id) {
                    Some(replaced) => {
                        self.leave(replaced.set);
                        replaced.lives
                    }
                    None => Rc::new(Cell::new(true)),
                };
                self.find_strays(event.id.assoc_id, &lives);
                let living = Living { id: event.id.clone(), began_here, set, labelled, lives };
                self.living.insert(event.id.assoc_id, living);
            }
            Happening::Restart => {
                if let Some(living) = self.living.get_mut(&event.id.assoc_id) {
                    living.id = event.id.clone();
                }
            }
            Happening::End => {
                if let Some(gone) = self.living.remove(&event.id.assoc_id) {
                    self.leave(gone.set);
                    gone.lives.set(false);
                }
            }
            Happening::Failed => {}
        }
        let set = &mut self.sets[set];
        if let Some(ending) = &event.ending
            && let Some(n) = REASONS.iter().position(|name| *name == reason(ending.reason))
        {
            set.ends[n] += 1;
        }
        if let Some(handshake) = event.handshake.map(nanoseconds) {
            set.handshake_sum += u128::from(handshake);
            let new = Octaves::of_times(&[handshake]);
            set.handshakes.iter_mut().zip(new.since(&Octaves::default())).for_each(|(sum, new)| *sum += new);
        }
    }

    /// Finds the entries that came before the begin of their association.
    fn find_strays(&mut self, assoc_id: u32, lives: &Rc<Cell<bool>>) {
        let mut later = self.strays.split_off(&(assoc_id, 0));
        let mut others = later.split_off(&(assoc_id.saturating_add(1), 0));
        for (_, place) in later {
            if let Some(Some(entry)) = self.entries.get_mut(place as usize) {
                entry.lives = Rc::clone(lives);
            }
        }
        self.strays.append(&mut others);
    }

    /// Returns the label set of an association, which it makes if it is new.
    fn set(&mut self, id: &Identity, began_here: bool) -> usize {
        let accepted = if began_here { id.peer } else { id.local };
        let port = accepted.map_or_else(|| "unknown".to_owned(), |addr| addr.port().to_string());
        let protocol = match id.payload_protocol {
            None => "unknown",
            Some(0) => "unspecified",
            Some(identifier) => protocol_name(identifier).unwrap_or(OTHER),
        };
        let service = format!("service_port=\"{port}\",protocol=\"{protocol}\"");
        let peer = id.peer.map_or_else(|| "unknown".to_owned(), |addr| addr.ip().to_string());
        let own = match self.labels {
            Labels::Port => service.clone(),
            Labels::Peer => format!("{service},peer=\"{peer}\""),
            Labels::Assoc => format!("{service},peer=\"{peer}\",assoc=\"{}\"", id.assoc_id),
        };
        let rest_of = |service: &str| match self.labels {
            Labels::Port => service.to_owned(),
            Labels::Peer => format!("{service},peer=\"{OTHER}\""),
            Labels::Assoc => format!("{service},peer=\"{OTHER}\",assoc=\"{OTHER}\""),
        };
        let rest = rest_of(&service);
        let rest_of_all = rest_of(&format!("service_port=\"{OTHER}\",protocol=\"{OTHER}\""));
        let for_rest = if self.labels == Labels::Port { 0 } else { self.room.div_ceil(REST_PART) };
        let now = Instant::now();
        let found = self
            .find_or_make(own, self.room.saturating_sub(for_rest + 1), now)
            .or_else(|| self.find_or_make(rest, self.room.saturating_sub(1), now))
            .or_else(|| self.find_or_make(rest_of_all, usize::MAX, now));
        found.unwrap_or_default()
    }

    /// Returns the label set with this text; `None` if it is new and there are as many as `room` already.
    fn find_or_make(&mut self, labels: String, room: usize, now: Instant) -> Option<usize> {
        if let Some(set) = self.by_text.get(&labels) {
            self.sets[*set].used = now;
            return Some(*set);
        }
        let octaves = vec![0; Octaves::EDGES.count() + 1];
        let of_rows = self.metrics.of_rows.iter();
        let histograms = of_rows.clone().filter(|metric| matches!(metric.values, Values::Histogram { .. }));
        let set = Set {
            is_rest: self.is_rest(&labels),
            labels: labels.clone(),
            sums: vec![0; of_rows.map(|metric| metric.values.sums()).sum()],
            octaves: vec![octaves.clone(); histograms.count()],
            ends: [0; REASONS.len()],
            handshakes: octaves,
            handshake_sum: 0,
            living: 0,
            used: now,
        };
        let at = if self.sets.len() < room {
            self.sets.push(set);
            self.sets.len() - 1
        } else {
            let at = self.longest_unused(now)?;
            let gone = mem::replace(&mut self.sets[at], set);
            self.by_text.remove(&gone.labels);
            // Paths and streams of this label set may not have ended, as far as the model knows.
            let entries = self.entries.iter_mut().flatten().filter(|entry| entry.set == at);
            entries.for_each(|entry| entry.has_ended = true);
            at
        };
        self.by_text.insert(labels, at);
        Some(at)
    }

    /// Returns the label set that is no longer shown and was used before all others of these; `None` if all are shown.
    fn longest_unused(&self, now: Instant) -> Option<usize> {
        let hidden = self.sets.iter().enumerate().filter(|(_, set)| !self.is_shown(set, now));
        hidden.min_by_key(|(_, set)| set.used).map(|(at, _)| at)
    }

    fn is_rest(&self, labels: &str) -> bool {
        let label = if self.labels == Labels::Port { "service_port" } else { "peer" };
        labels.contains(&format!("{label}=\"{OTHER}\""))
    }

    /// Services are shown for ever; peers and associations as long as an association of the set lives, and for the time
    /// [`KEEP`] after the last change.
    fn is_shown(&self, set: &Set, now: Instant) -> bool {
        self.labels == Labels::Port || set.living > 0 || now.saturating_duration_since(set.used) < KEEP
    }

    /// Writes all series. `findings`: the present findings, each with its code and the association that has it.
    pub(crate) fn write<'a>(
        &self,
        to: &mut Writer,
        findings: impl Iterator<Item = (&'static str, Option<&'a Identity>)>,
    ) {
        let now = Instant::now();
        let mut shown: Vec<_> =
            (0..self.sets.len()).filter(|set| self.is_shown(&self.sets[*set], now)).collect();
        shown.sort_unstable_by(|a, b| self.sets[*a].labels.cmp(&self.sets[*b].labels));
        self.write_associations(to, &shown);
        self.write_findings(to, &shown, findings);
        let mut at = 0;
        let (mut number, mut histogram) = (0, 0);
        for metric in self.metrics.of_rows {
            to.family(metric.name, metric.values.kind(), metric.help);
            match &metric.values {
                Values::Histogram { edges, .. } => {
                    for set in shown.iter().map(|set| &self.sets[*set]) {
                        let counts = &set.octaves[histogram];
                        to.histogram(metric.name, &set.labels, counts, edges.clone(), set.sums[at]);
                    }
                    histogram += 1;
                }
                Values::LargestOfPaths(_)
                | Values::Least(_)
                | Values::Fullest { .. }
                | Values::InState { .. } => {
                    self.write_gauge(to, metric.name, metric.unit, &metric.values, number);
                }
                values => {
                    let own = values.own_label();
                    for set in shown.iter().map(|set| &self.sets[*set]) {
                        for (n, sum) in set.sums[at..at + values.sums()].iter().enumerate() {
                            let extra = own.as_ref().map(|(label, names)| Extra(label, names[n]));
                            to.sample(metric.name, "", &set.labels, extra, *sum, metric.unit);
                        }
                    }
                }
            }
            at += metric.values.sums();
            number += metric.values.numbers();
        }
    }

    fn write_associations(&self, to: &mut Writer, shown: &[usize]) {
        let sets = || shown.iter().map(|set| &self.sets[*set]);
        to.head(&ASSOCIATIONS);
        sets().for_each(|set| {
            to.sample(ASSOCIATIONS.name, "", &set.labels, None, set.living.into(), Unit::One)
        });
        if self.labels == Labels::Assoc {
            to.head(&INFO);
            let mut living: Vec<_> =
                self.living.values().filter(|living| !self.sets[living.set].is_rest).collect();
            living.sort_unstable_by_key(|living| living.id.assoc_id);
            for living in living {
                to.sample(INFO.name, "", &info(&living.id), None, 1, Unit::One);
            }
        }
        to.head(&ENDS);
        for set in sets() {
            for (reason, count) in REASONS.iter().zip(set.ends) {
                if count > 0 || self.labels != Labels::Assoc {
                    let extra = Some(Extra("reason", reason));
                    to.sample(ENDS.name, "", &set.labels, extra, count.into(), Unit::One);
                }
            }
        }
        if self.metrics.of_host {
            to.head(&HANDSHAKES);
            for set in sets() {
                to.histogram(
                    HANDSHAKES.name,
                    &set.labels,
                    &set.handshakes,
                    HANDSHAKE_EDGES,
                    set.handshake_sum,
                );
            }
        }
    }

    /// Writes how many associations that live have each finding.
    fn write_findings<'a>(
        &self,
        to: &mut Writer,
        shown: &[usize],
        findings: impl Iterator<Item = (&'static str, Option<&'a Identity>)>,
    ) {
        let mut of_host = BTreeMap::from([(HOST_FINDING, 0)]);
        let mut of_sets = BTreeMap::<_, u64>::new();
        for (code, id) in findings {
            match id {
                None => *of_host.entry(code).or_default() += 1,
                Some(id) => {
                    if let Some(living) = self.living.get(&id.assoc_id) {
                        *of_sets.entry((living.set, code)).or_default() += 1;
                    }
                }
            }
        }
        to.head(&FINDINGS);
        for (code, count) in of_host {
            to.sample(FINDINGS.name, "", "", Some(Extra("code", code)), count, Unit::One);
        }
        for set in shown {
            for code in self.metrics.findings {
                let count = of_sets.get(&(*set, *code)).copied().unwrap_or_default();
                if count > 0 || self.labels == Labels::Port {
                    let extra = Some(Extra("code", code));
                    to.sample(FINDINGS.name, "", &self.sets[*set].labels, extra, count.into(), Unit::One);
                }
            }
        }
    }

    /// Writes a gauge, in which only paths and associations that live count. `number`: the index of its values in
    /// [`Entry::numbers`].
    fn write_gauge(&self, to: &mut Writer, name: &str, unit: Unit, values: &Values<Row>, number: usize) {
        let living = self.entries.iter().flatten().filter(|entry| entry.lives.get() && !entry.has_ended);
        let values_of = living.filter_map(|entry| Some((&**entry, (*entry.numbers.get(number)?)?)));
        let mut found = match values {
            Values::LargestOfPaths(_) if self.labels != Labels::Port => self.largest_of_paths(values_of),
            _ => self.of_sets(values, values_of),
        };
        found.sort_unstable_by_key(|(labels, own, _)| (*labels, *own));
        let names = values.own_label();
        for (labels, own, value) in found {
            let path;
            let extra = match own {
                Own::None => None,
                Own::State(state) => names.as_ref().map(|(label, names)| Extra(label, names[state])),
                Own::Path(None) => Some(Extra("path", "unknown")),
                Own::Path(Some(found)) => {
                    path = found.to_string();
                    Some(Extra("path", &path))
                }
                Own::OtherPath => Some(Extra("path", OTHER)),
            };
            let value = match values {
                Values::Fullest { is_limit, .. } => unpair(value)[usize::from(*is_limit)].into(),
                _ => value.into(),
            };
            to.sample(name, "", labels, extra, value, unit);
        }
    }

    /// The values that a metric has in each label set.
    fn of_sets<'a>(
        &'a self,
        values: &Values<Row>,
        values_of: impl Iterator<Item = (&'a Entry, u64)>,
    ) -> Vec<(&'a str, Own, u64)> {
        let states = match values {
            Values::InState { names, .. } => Some(names.len()),
            _ => None,
        };
        let each = states.unwrap_or(1).max(1);
        // For each label set as many as there are states.
        let mut found = vec![None; self.sets.len() * each];
        for (entry, value) in values_of {
            let state = if states.is_some() { (value as usize).min(each - 1) } else { 0 };
            let Some(found) = found.get_mut(entry.set * each + state) else { continue };
            *found = Some(match (values, *found) {
                (Values::InState { .. }, count) => count.unwrap_or(0) + 1,
                (Values::Least(_), Some(least)) => least.min(value),
                (Values::LargestOfPaths(_), Some(largest)) => largest.max(value),
                (Values::Fullest { .. }, Some(fullest)) if !is_fuller(value, fullest) => fullest,
                _ => value,
            });
        }
        let of_set = |(set, found): (&'a Set, &[Option<u64>])| -> Vec<_> {
            let is_here = found.iter().any(Option::is_some);
            let all = found.iter().enumerate().filter(|_| is_here);
            let own = |state| if states.is_some() { Own::State(state) } else { Own::None };
            all.map(|(state, value)| (&*set.labels, own(state), value.unwrap_or(0))).collect()
        };
        self.sets.iter().zip(found.chunks(each)).flat_map(of_set).collect()
    }

    /// The largest value of each path.
    fn largest_of_paths<'a>(
        &'a self,
        values_of: impl Iterator<Item = (&'a Entry, u64)>,
    ) -> Vec<(&'a str, Own, u64)> {
        let mut found = BTreeMap::<(usize, Own), u64>::new();
        for (entry, value) in values_of {
            let own = Own::Path(entry.path);
            let is_full = found.len() >= self.room_of_paths && !found.contains_key(&(entry.set, own));
            let largest =
                found.entry((entry.set, if is_full { Own::OtherPath } else { own })).or_insert(value);
            *largest = value.max(*largest);
        }
        found.into_iter().map(|((set, own), value)| (&*self.sets[set].labels, own, value)).collect()
    }
}

/// The value of the label that only one metric has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Own {
    /// There is no such label.
    None,
    /// The index in the names of an [`Values::InState`].
    State(usize),
    /// A path; `None`: its address is not known.
    Path(Option<IpAddr>),
    /// Paths for which there is no room.
    OtherPath,
}

/// Adds to `sum` by how much `number` exceeds its last value. Then the last value is the larger of the two. A number may
/// fall, as when a send only seemed to wait: then it counts again only once it exceeds its old value.
fn grow(sum: &mut u128, number: u64, last: Option<&mut Option<u64>>) {
    let Some(last) = last else { return };
    let before = last.unwrap_or(0);
    *sum += u128::from(number.saturating_sub(before));
    *last = Some(number.max(before));
}

/// Puts a number in the place of its last value.
fn replace(last: Option<&mut Option<u64>>, number: Option<u64>) {
    if let Some(last) = last {
        *last = number;
    }
}

/// Two numbers as one, for [`Entry::numbers`].
fn pair([used, limit]: [u32; 2]) -> u64 {
    u64::from(used) << 32 | u64::from(limit)
}

/// The two numbers of [`pair`].
fn unpair(pair: u64) -> [u32; 2] {
    [(pair >> 32) as u32, pair as u32]
}

/// Returns whether more is used of the limit of pair `a` than of that of pair `b`.
fn is_fuller(a: u64, b: u64) -> bool {
    let ([used_a, limit_a], [used_b, limit_b]) = (unpair(a), unpair(b));
    u64::from(used_a) * u64::from(limit_b) > u64::from(used_b) * u64::from(limit_a)
}

/// The labels of `sctp_association_info`.
fn info(id: &Identity) -> String {
    let mut labels = format!("assoc=\"{}\",netns=\"{}\"", id.assoc_id, id.netns);
    for (end, addr) in [("local", id.local), ("peer", id.peer)] {
        if let Some(addr) = addr {
            labels += &format!(",{end}=\"{}\",{end}_port=\"{}\"", addr.ip(), addr.port());
        }
    }
    if let Some(owner) = &id.owner {
        let texts = [
            ("pid", owner.pid.map(|pid| pid.to_string())),
            ("comm", owner.comm.clone()),
            ("cgroup", owner.cgroup.clone()),
        ];
        for (label, text) in texts {
            if let Some(text) = text {
                labels += &format!(",{label}=\"{}\"", escaped(&text));
            }
        }
    }
    labels
}

/// A time of less than 584 years, in nanoseconds.
fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}
