//! What the page shows, gathered line by line.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use crate::{
    accounting::Accounting,
    anonymous::{Kind, Names},
    args::{Args, Peer},
    association::{
        Association, Buffers, Event, Jitter, Limited, MOST_MARKS, MOST_PATHS, Path, Stall, State, TOOLS,
        Timeouts,
    },
    bins::{Bucket, FEWEST_BUCKETS, MOST_BUCKETS},
    escape::short,
    findings::{Finding, Findings, documented_sentence},
    object::Object,
    time::{self, Bound},
};

/// At most this many associations are kept. Of further ones only lines are counted and findings listed.
pub const MOST_ASSOCIATIONS: usize = 1000;

/// The series of all associations may take this many bytes. If they take more, all get fewer buckets.
const MEMORY: usize = 40 << 20;

/// The memory is counted again after each time this many lines.
const CHECK_EACH: u64 = 1 << 14;

/// Lines of intervals belong to the same interval if their times are closer together than this, in microseconds.
const SAME_INTERVAL: i64 = 50_000;

/// The longest stall that can be drawn, in milliseconds: about thirty years.
const LONGEST_STALL: f64 = 1e12;

/// A text is kept up to this many characters.
const LONGEST_TEXT: usize = 300;

/// Beyond [`MOST_ASSOCIATIONS`], at most this many further associations are told apart, to count them.
const MOST_LEFT_OUT: usize = 100_000;

/// What the input says, gathered line by line.
#[derive(Debug)]
pub struct Model {
    /// The names of files, or of hosts if lines name them.
    pub sources: Vec<Source>,
    /// Associations in the order in which they were seen first.
    pub associations: Vec<Association>,
    /// Findings.
    pub findings: Findings,
    /// What was lost.
    pub accounting: Accounting,
    /// Objects of types that the page does not use.
    pub unknown: u64,
    /// Lines about associations beyond [`MOST_ASSOCIATIONS`].
    pub left_out_lines: u64,
    /// First and last time of what is shown.
    pub span: Option<[i64; 2]>,
    assoc: Vec<u32>,
    peer: Vec<Peer>,
    bounds: [Option<Bound>; 2],
    /// The time that is shown: from the first inclusive to the second exclusive.
    limits: Option<[i64; 2]>,
    names: Names,
    lines: u64,
    hasher: RandomState,
    /// Index of each association, by the hash of its identity.
    known: HashMap<u64, usize>,
    /// Index of the last association with an id, by source.
    by_id: HashMap<(usize, u32), usize>,
    /// Hashes of the associations that are left out.
    left_out: HashSet<u64>,
    most_buckets: usize,
    /// For each of [`TOOLS`]: the shortest time between two of its intervals.
    periods: [Option<i64>; 5],
}

/// A file, or standard input.
#[derive(Debug)]
pub struct Source {
    /// The name on the page.
    pub name: String,
    /// Lines that the page uses.
    pub lines: u64,
    /// Whether the source's last line was cut.
    pub is_cut: bool,
    /// For each of [`TOOLS`]: whether the source has lines of this command, and whether it has the command's `end` object.
    pub tools: [[bool; 2]; 5],
    /// For each of [`TOOLS`]: when the command's last interval ended.
    last_intervals: [Option<i64>; 5],
}

impl Model {
    /// Makes a model of no input, to which [`read::all`](crate::read::all) adds lines. The arguments say what to show.
    #[must_use]
    pub fn new(args: &Args) -> Self {
        Self {
            sources: Vec::new(),
            associations: Vec::new(),
            findings: Findings::default(),
            accounting: Accounting::default(),
            unknown: 0,
            left_out_lines: 0,
            span: None,
            assoc: args.assoc.clone(),
            peer: args.peer.clone(),
            bounds: [args.from, args.to],
            limits: None,
            names: Names::new(args.anonymous),
            lines: 0,
            hasher: RandomState::new(),
            known: HashMap::new(),
            by_id: HashMap::new(),
            left_out: HashSet::new(),
            most_buckets: MOST_BUCKETS,
            periods: [None; 5],
        }
    }

    /// Adds a source of lines. Returns its number.
    pub fn add_source(&mut self, name: &str) -> usize {
        let name = self.names.name(Kind::Source, &short(name, LONGEST_TEXT));
        self.sources.push(Source {
            name,
            lines: 0,
            is_cut: false,
            tools: [[false; 2]; 5],
            last_intervals: [None; 5],
        });
        self.sources.len() - 1
    }

    /// Notes that the last line of a source was cut.
    pub fn add_cut(&mut self, source: usize) {
        self.sources[source].is_cut = true;
    }

    /// Counts an object of a type that the page does not use.
    pub const fn add_unknown(&mut self) {
        self.lines += 1;
        self.unknown += 1;
    }

    /// Number of lines.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// Whether the page has anything to show: an association, a finding or, if nothing is filtered, the accounting
    /// of a run.
    #[must_use]
    pub fn has_something(&self) -> bool {
        let is_shown = |association: &Association| association.span.is_some();
        self.associations.iter().any(is_shown)
            || !self.findings.is_empty()
            || (self.is_whole() && !self.accounting.runs.is_empty())
    }

    /// Whether no flag leaves out lines.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.assoc.is_empty() && self.peer.is_empty() && self.bounds == [None; 2]
    }

    /// Number of associations that are left out, and whether the number is exact. If it is not, there are more.
    #[must_use]
    pub fn left_out(&self) -> (usize, bool) {
        (self.left_out.len(), self.left_out.len() < MOST_LEFT_OUT)
    }

    /// Whether numbered names replace those of the input (`--anonymous`).
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        self.names.is_on()
    }

    /// The index of the same association as its peer saw it, if the input has that end, too: its addresses and ports
    /// are the same, but local and peer are swapped.
    #[must_use]
    pub fn other_end(&self, index: usize) -> Option<usize> {
        let this = &self.associations[index];
        if this.local.is_none() || this.peer.is_none() {
            return None;
        }
        self.associations
            .iter()
            .position(|other| other.span.is_some() && other.local == this.peer && other.peer == this.local)
    }

    /// Adds an object of the input.
    ///
    /// # Errors
    /// Where the object lacks a member that each object of its type has. The error is the sentence that says so.
    pub fn add(&mut self, source: usize, object: &Object<'_>) -> Result<(), String> {
        let Some(time) = time::parse(&object.time) else {
            return Err(format!("`time` is not a time: {:?}", short(&object.time, 40)));
        };
        self.lines += 1;
        let Some(tool) = TOOLS.iter().position(|tool| *tool == object.tool) else {
            self.unknown += 1;
            return Ok(());
        };
        self.sources[source].lines += 1;
        self.sources[source].tools[tool][0] = true;
        if self.lines.is_multiple_of(CHECK_EACH) {
            self.fit();
        }
        if object.r#type == "interval" {
            self.note_interval(source, tool, time);
        }
        match &*object.r#type {
            "end" => {
                self.sources[source].tools[tool][1] = true;
                self.accounting.add(source, time, object);
            }
            "finding" => self.add_finding(source, time, object),
            _ => {
                let Some(id) = object.assoc_id else {
                    return Err("it has no `assoc_id`".to_owned());
                };
                let [from, to] = self.limits(time);
                let last = match &*object.r#type {
                    // A later line may say that this stall lasted longer. So each such stall is kept until `finish`, which
                    // drops those that were over before the time that is shown.
                    "stall" if object.over != Some(true) => i64::MAX,
                    "stall" => stall(time, object).end(),
                    _ => time,
                };
                let is_shown = time < to && last >= from;
                if let Some(index) = self.find(source, id, object) {
                    self.add_to(index, tool, time, is_shown, object);
                }
            }
        }
        Ok(())
    }

    /// The lines of an interval have nearly the same time.
    fn note_interval(&mut self, source: usize, tool: usize, time: i64) {
        if let Some(last) = self.sources[source].last_intervals[tool].replace(time)
            && time - last >= SAME_INTERVAL
        {
            let period = &mut self.periods[tool];
            *period = Some(period.map_or(time - last, |period| period.min(time - last)));
        }
    }

    /// How long an interval of a command lasts, in microseconds: the shortest time between the ends of two intervals. 0
    /// if there is only one.
    #[must_use]
    pub fn period(&self, tool: &str) -> i64 {
        let index = TOOLS.iter().position(|known| *known == tool);
        index.and_then(|index| self.periods[index]).unwrap_or(0)
    }

    fn limits(&mut self, time: i64) -> [i64; 2] {
        let [from, to] = self.bounds;
        *self.limits.get_or_insert_with(|| {
            [from.map_or(i64::MIN, |b| b.resolve(time)), to.map_or(i64::MAX, |b| b.resolve(time))]
        })
    }

    /// Ends the input. If only a part of the time is shown, leaves out the stalls that were over before it, and extends
    /// the span of each association to the stalls that remain.
    pub fn finish(&mut self) {
        let Some([from, to]) = self.limits else { return };
        for association in &mut self.associations {
            association.stalls.retain(|stall| stall.end() >= from);
            let within = |time: i64| time.clamp(from, to.saturating_sub(1));
            let times: Vec<i64> =
                association.stalls.iter().flat_map(|stall| [stall.begin, stall.end()]).collect();
            times.into_iter().for_each(|time| association.cover(within(time)));
            if let Some([first, last]) = association.span {
                let [from, to] = self.span.unwrap_or([first, last]);
                self.span = Some([from.min(first), to.max(last)]);
            }
        }
    }

    /// The index of the association that an object is about; `None` if it is not shown.
    fn find(&mut self, source: usize, id: u32, object: &Object<'_>) -> Option<usize> {
        if !self.assoc.is_empty() && !self.assoc.contains(&id) {
            return None;
        }
        if object.local.is_none() && object.peer.is_none() {
            // Its identity was not known when the line was made.
            if let Some(index) = self.by_id.get(&(source, id)) {
                return Some(*index);
            }
        }
        let is_asked_for =
            || self.peer.iter().any(|peer| object.peer.as_ref().is_some_and(|p| peer.matches(p)));
        if !self.peer.is_empty() && !is_asked_for() {
            return None;
        }
        let key = (object.host.as_deref(), object.netns, id, object.local.as_deref(), object.peer.as_deref());
        let hash = self.hasher.hash_one(key);
        let index = match self.known.get(&hash) {
            Some(index) => *index,
            None if self.associations.len() < MOST_ASSOCIATIONS => {
                let index = self.associations.len();
                self.known.insert(hash, index);
                let association = self.new_association(id, object);
                self.associations.push(association);
                index
            }
            None => {
                self.left_out_lines += 1;
                if self.left_out.len() < MOST_LEFT_OUT {
                    self.left_out.insert(hash);
                }
                return None;
            }
        };
        if self.associations[index].sources.insert(source) || !self.by_id.contains_key(&(source, id)) {
            self.by_id.insert((source, id), index);
        }
        Some(index)
    }

    fn new_association(&mut self, id: u32, object: &Object<'_>) -> Association {
        let mut name = |kind, text: &Option<Cow<'_, str>>| {
            text.as_deref().map(|text| self.names.name(kind, &short(text, LONGEST_TEXT)))
        };
        Association {
            id,
            local: name(Kind::Address, &object.local),
            peer: name(Kind::Address, &object.peer),
            host: name(Kind::Source, &object.host),
            netns: object.netns,
            ..Association::default()
        }
    }

    /// Adds what an object says of an association. What is not in the time that is shown only counts for
    /// [`has_all_samples`](crate::association::Latency::has_all_samples).
    fn add_to(&mut self, index: usize, tool: usize, time: i64, is_shown: bool, object: &Object<'_>) {
        let association = &mut self.associations[index];
        let latency = &mut association.latency;
        match (&*object.r#type, TOOLS[tool]) {
            ("sample", "rtt") => latency.sample_objects += 1,
            ("interval", "rtt") => {
                latency.in_intervals = latency.in_intervals.saturating_add(object.samples.unwrap_or(0))
            }
            ("summary", "rtt") => {
                latency.in_summaries = latency.in_summaries.saturating_add(object.samples.unwrap_or(0))
            }
            _ => {}
        }
        // A summary is of the whole time, and has nothing that the intervals do not have.
        if !is_shown || object.r#type == "summary" {
            return;
        }
        association.lines += 1;
        if object.r#type != "stall" {
            association.cover(time);
        }
        if association.comm.is_none()
            && let Some(comm) = object.comm.as_deref()
        {
            association.comm = Some(self.names.name(Kind::Process, &short(comm, LONGEST_TEXT)));
            association.pid = object.pid;
        }
        if association.cgroup.is_none()
            && let Some(cgroup) = object.cgroup.as_deref()
        {
            association.cgroup = Some(self.names.name(Kind::Cgroup, &short(cgroup, LONGEST_TEXT)));
        }
        if association.protocol.is_none() {
            association.protocol = object.protocol.as_deref().map(|text| short(text, 40));
        }
        association.sndbuf_bytes = object.sndbuf_bytes.or(association.sndbuf_bytes);
        association.rcvbuf_bytes = object.rcvbuf_bytes.or(association.rcvbuf_bytes);
        match (&*object.r#type, TOOLS[tool]) {
            ("association", _) => add_event(association, &mut self.names, time, object),
            ("sample", "rtt") => {
                if let Some(us) = object.rtt_us.filter(|us| *us >= 0.0) {
                    let latency = &mut association.latency;
                    for acks in [latency.samples.at(time), &mut latency.all] {
                        acks.all.add(us);
                        if object.prompt == Some(true) {
                            acks.prompt.add(us);
                        }
                    }
                }
            }
            ("interval", "rtt") => {
                association.latency.intervals.at(time).add(object);
            }
            ("sample" | "path" | "interval", "rto") => add_rto(association, &mut self.names, time, object),
            ("interval", "bufmon") => {
                association.buffers.at(time).merge(&Buffers::of(object));
                prolong_stall(association, time, object);
                if let Some(limited) = Limited::of(object) {
                    association.limited.at(time).merge(&limited);
                }
            }
            ("stall", "bufmon") => {
                add_stall(association, stall(time, object));
            }
            ("interval", "jitter") => {
                if let Some(us) = object.jitter_us {
                    association.jitter.at(time).merge(&Jitter::of(us));
                }
            }
            ("interval", "streamutil") => {
                association.streams.add(time, object.streams.as_deref().unwrap_or_default());
                let blocking = association.blocking.at(time);
                blocking.messages = blocking.messages.saturating_add(object.hol_messages.unwrap_or(0));
                blocking.wait_us += object.hol_wait_us.unwrap_or(0.0);
            }
            _ => {}
        }
    }

    fn add_finding(&mut self, source: usize, time: i64, object: &Object<'_>) {
        let parse = |text: &Option<Cow<'_, str>>| text.as_deref().and_then(time::parse);
        let (begin, end) = (parse(&object.begin), parse(&object.end));
        let [from, to] = self.limits(time);
        if begin.unwrap_or(time) >= to || end.unwrap_or(i64::MAX) < from {
            return;
        }
        let index = match object.assoc_id {
            Some(id) => {
                let before = self.left_out_lines;
                let index = self.find(source, id, object);
                if index.is_none() && self.left_out_lines == before {
                    return;
                }
                index
            }
            None if self.assoc.is_empty() && self.peer.is_empty() => None,
            None => return,
        };
        let text = |text: &Option<Cow<'_, str>>| short(text.as_deref().unwrap_or(""), LONGEST_TEXT);
        let code = short(object.code.as_deref().unwrap_or("?"), 40);
        // Nobody has checked what a sentence of an unknown finding names.
        let sentence = if self.names.is_on() {
            documented_sentence(&code).unwrap_or("").to_owned()
        } else {
            text(&object.sentence)
        };
        let mut name = |text: &Option<Cow<'_, str>>| {
            text.as_deref().map(|text| self.names.name(Kind::Address, &short(text, LONGEST_TEXT)))
        };
        let about = object.assoc_id.map_or_else(String::new, |id| {
            let [local, peer] = [&object.local, &object.peer].map(|end| name(end).unwrap_or("?".to_owned()));
            format!("association {id}, {local} to {peer}")
        });
        let evidence =
            object.evidence.iter().flatten().filter_map(|(name, n)| Some((short(name, 40), (*n)?)));
        let finding = Finding {
            path: name(&object.path),
            code,
            sentence,
            begin,
            end,
            time,
            association: index,
            about,
            evidence: evidence.take(8).collect(),
            source,
        };
        let is_new = self.findings.add(finding);
        if let Some(index) = index {
            let association = &mut self.associations[index];
            association.findings += u64::from(is_new);
            let clamped = |time: i64| time.clamp(from, to.saturating_sub(1));
            [begin, end, Some(time)].into_iter().flatten().for_each(|time| association.cover(clamped(time)));
        }
    }

    /// Gives all series fewer buckets, if they take too much memory.
    fn fit(&mut self) {
        loop {
            let most = self.most_buckets;
            self.associations.iter_mut().for_each(|association| association.limit(most));
            let heap: usize = self.associations.iter().map(Association::heap).sum();
            if heap <= MEMORY || most <= FEWEST_BUCKETS {
                return;
            }
            self.most_buckets /= 2;
        }
    }
}

fn add_event(association: &mut Association, names: &mut Names, time: i64, object: &Object<'_>) {
    if association.events.len() >= MOST_MARKS {
        association.more_events += 1;
        return;
    }
    let kind = short(object.event.as_deref().unwrap_or("?"), 20);
    // All commands print the same event with `-e`, each by its own clock reading.
    let is_same = |e: &Event| e.kind == kind && (e.time - time).abs() < 1000;
    if association.events.iter().any(is_same) {
        return;
    }
    let text = event_text(&kind, names, object);
    let at = association.events.partition_point(|event| event.time <= time);
    association.events.insert(at, Event { time, kind, text });
}

/// What happened and why, in the words of the object.
fn event_text(kind: &str, names: &mut Names, object: &Object<'_>) -> String {
    let mut text = match kind {
        "found" => "there at the start".to_owned(),
        "up" => "came up".to_owned(),
        "restart" => "restarted".to_owned(),
        "end" => "ended".to_owned(),
        "failed" => "did not come up".to_owned(),
        other => other.to_owned(),
    };
    let word = |text: &Option<Cow<'_, str>>| text.as_deref().map(|t| short(t, 40).replace('_', " "));
    if let Some(us) = object.handshake_us.filter(|_| kind == "up") {
        text += &format!(", handshake {}", time::length(us));
    }
    if let Some(s) = object.duration_s.filter(|_| kind == "end") {
        text += &format!(" after {}", time::length(s * 1e6));
    }
    if let Some(reason) = word(&object.reason) {
        text += &format!(": {}", reason.replace("abort", "ABORT"));
    }
    for (before, word) in
        [("by", word(&object.by)), ("why", word(&object.why)), ("limit", word(&object.limit))]
    {
        if let Some(word) = word {
            let before = if before == "by" { "by ".to_owned() } else { format!("{before}: ") };
            text += &format!(", {before}{word}");
        }
    }
    if let Some(code) = object.cause_code {
        text += &format!(", cause {code}");
        if let Some(cause) = word(&object.cause) {
            text += &format!(" ({cause})");
        }
    }
    if let Some(said) = object.text.as_deref() {
        text += &format!(" “{}”", names.name(Kind::Text, &short(said, LONGEST_TEXT)));
    }
    if let Some(bytes) = object.left_bytes.filter(|bytes| *bytes > 0) {
        text += &format!(", {} bytes left", time::thousands(i64::try_from(bytes).unwrap_or(i64::MAX)));
    }
    text
}

fn add_rto(association: &mut Association, names: &mut Names, time: i64, object: &Object<'_>) {
    let key = object.path.as_deref();
    let index = match association.paths.iter().position(|path| path.key.as_deref() == key) {
        Some(index) => index,
        None if association.paths.len() < MOST_PATHS => {
            let text = key.map(|text| short(text, LONGEST_TEXT));
            let address = text.as_deref().map(|text| names.name(Kind::Address, text));
            association.paths.push(Path { address, key: text, ..Path::default() });
            association.paths.len() - 1
        }
        None => {
            association.more_paths += 1;
            return;
        }
    };
    let since = association.span.map_or(time, |[first, _]| first);
    let path = &mut association.paths[index];
    let cause = object.cause.as_deref();
    match &*object.r#type {
        "interval" => path.intervals.at(time).merge(&Timeouts {
            last_ms: object.rto_last_ms,
            max_ms: object.rto_max_ms.or(object.rto_last_ms),
            t3_expiries: object.t3_expiries.unwrap_or(0),
            heartbeat_timeouts: object.heartbeat_timeouts.unwrap_or(0),
        }),
        "sample" => path.samples.at(time).merge(&Timeouts {
            last_ms: object.rto_ms,
            max_ms: object.rto_ms,
            t3_expiries: u64::from(cause == Some("t3")),
            heartbeat_timeouts: u64::from(cause == Some("heartbeat_timeout")),
        }),
        // A `path` object reports a change of the path's state, without figures. Runs without samples have it, too.
        _ => {}
    }
    if let Some(old) = object.old_state.as_deref().filter(|_| path.states.is_empty()) {
        path.is_in(since, State::of(old));
    }
    if let Some(state) = object.new_state.as_deref().or(object.state.as_deref()) {
        path.is_in(time, State::of(state));
    }
}

fn stall(time: i64, object: &Object<'_>) -> Stall {
    let cause = short(object.cause.as_deref().unwrap_or("unknown"), 40);
    Stall {
        begin: time,
        lasted_ms: object.lasted_ms.unwrap_or(0.0).clamp(0.0, LONGEST_STALL),
        is_over: object.over == Some(true),
        text: short(object.cause_text.as_deref().unwrap_or(&cause), LONGEST_TEXT),
        cause,
    }
}

/// A stall's line is printed once, while it lasts. How long it lasts is in the intervals: a stall that goes on counts up to
/// the end of each, and its whole length is in the interval in which it is over.
fn prolong_stall(association: &mut Association, time: i64, object: &Object<'_>) {
    let Some(stall) = association.stalls.last_mut().filter(|stall| !stall.is_over) else { return };
    match (object.stalls, object.stall_total_ms, object.stall_max_ms) {
        (Some(0), Some(total), _) if total > 0.0 && time > stall.begin => {
            stall.lasted_ms = stall.lasted_ms.max((time - stall.begin) as f64 / 1e3);
        }
        (Some(1), _, Some(max)) if max >= stall.lasted_ms - 1.0 => {
            stall.lasted_ms = max.min(LONGEST_STALL);
            stall.is_over = true;
        }
        _ => {}
    }
}

/// Adds a stall. A later line about the same stall takes the place of an earlier one.
fn add_stall(association: &mut Association, stall: Stall) {
    // The begin is measured once, but its time of day is computed for each line.
    let is_same = |known: &&mut Stall| (known.begin - stall.begin).abs() < 1000;
    if let Some(known) = association.stalls.iter_mut().find(is_same) {
        if stall.lasted_ms >= known.lasted_ms {
            *known = stall;
        }
    } else if association.stalls.len() < MOST_MARKS {
        let at = association.stalls.partition_point(|known| known.begin <= stall.begin);
        association.stalls.insert(at, stall);
    } else {
        association.more_stalls += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Parsed, parse};

    fn model_of(lines: &[&str]) -> Model {
        let mut model = Model::new(&Args::default());
        let source = model.add_source("x");
        for line in lines {
            let Ok(Parsed::Object(object)) = parse(line.as_bytes()) else { panic!("{line}") };
            model.add(source, &object).unwrap();
        }
        model
    }

    #[test]
    fn a_stall_lasts_as_long_as_the_intervals_say() {
        let stall = r#"{"type":"stall","tool":"bufmon","time":"2026-01-01T12:00:00Z","assoc_id":7,"lasted_ms":1500.0,"over":false}"#;
        let lasts = r#"{"type":"interval","tool":"bufmon","time":"2026-01-01T12:00:03Z","assoc_id":7,"stalls":0,"stall_total_ms":1000.0,"stall_max_ms":0.0}"#;
        let over = r#"{"type":"interval","tool":"bufmon","time":"2026-01-01T12:00:04Z","assoc_id":7,"stalls":1,"stall_total_ms":100.0,"stall_max_ms":3100.5}"#;
        let quiet = r#"{"type":"interval","tool":"bufmon","time":"2026-01-01T12:00:09Z","assoc_id":7,"stalls":0,"stall_total_ms":0.0,"stall_max_ms":0.0}"#;
        let of = |lines: &[&str]| {
            let model = model_of(lines);
            let [stall] = &model.associations[0].stalls[..] else { panic!("one stall") };
            (stall.lasted_ms, stall.is_over)
        };
        assert_eq!(of(&[stall]), (1500.0, false));
        assert_eq!(of(&[stall, lasts]), (3000.0, false));
        assert_eq!(of(&[stall, lasts, over, quiet]), (3100.5, true));
        assert_eq!(of(&[stall, quiet]), (1500.0, false));
    }

    #[test]
    fn a_stall_is_shown_if_a_part_of_it_is_in_the_time_shown() {
        let stall = r#"{"type":"stall","tool":"bufmon","time":"2026-01-01T12:00:00Z","assoc_id":7,"lasted_ms":1500.0,"over":OVER}"#;
        let stalls = |over: &str, from: &str| {
            let from = time::parse_bound(from).unwrap();
            let mut model = Model::new(&Args { from: Some(from), ..Args::default() });
            let source = model.add_source("x");
            let line = stall.replace("OVER", over);
            let Ok(Parsed::Object(object)) = parse(line.as_bytes()) else { panic!("{line}") };
            model.add(source, &object).unwrap();
            model.finish();
            (model.associations[0].stalls.len(), model.has_something())
        };
        for over in ["true", "false"] {
            assert_eq!(stalls(over, "12:00:01"), (1, true));
            assert_eq!(stalls(over, "12:00:02"), (0, false));
        }
    }

    #[test]
    fn samples_count_as_all_only_if_the_intervals_have_no_more() {
        let sample =
            r#"{"type":"sample","tool":"rtt","time":"2026-01-01T12:00:00Z","assoc_id":7,"rtt_us":5.0}"#;
        let interval =
            r#"{"type":"interval","tool":"rtt","time":"2026-01-01T12:00:01Z","assoc_id":7,"samples":2}"#;
        let has_all = |lines: &[&str]| model_of(lines).associations[0].latency.has_all_samples();
        assert!(has_all(&[sample]) && has_all(&[sample, sample, interval]));
        assert!(!has_all(&[sample, interval]) && !has_all(&[interval]));
    }

    #[test]
    fn a_line_without_ends_is_about_the_last_association_of_that_id() {
        let whole = r#"{"type":"sample","tool":"rtt","time":"2026-01-01T12:00:00Z","assoc_id":7,"local":"10.1.0.1:1","peer":"10.2.0.1:2","netns":4,"rtt_us":5.0}"#;
        let bare = r#"{"type":"sample","tool":"rtt","time":"2026-01-01T12:00:01Z","assoc_id":7,"local":null,"peer":null,"netns":null,"rtt_us":5.0}"#;
        let model = model_of(&[whole, bare]);
        assert_eq!((model.associations.len(), model.associations[0].lines), (1, 2));
    }
}
