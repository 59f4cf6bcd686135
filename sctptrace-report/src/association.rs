//! What the page says of one association.

use std::collections::BTreeSet;

use crate::{
    bins::{Bucket, Series},
    histogram::Histogram,
    object::{Object, Stream},
};

/// At most this many stalls, events and state changes of an association are kept. Further ones are counted.
pub const MOST_MARKS: usize = 64;

/// At most this many paths of an association are kept.
pub const MOST_PATHS: usize = 8;

/// At most this many streams are told apart. The bytes of further ones are summed up.
pub const MOST_STREAMS: usize = 63;

/// The slot of the streams that are not told apart.
pub const OTHER_STREAMS: u8 = MOST_STREAMS as u8;

/// The commands, in the order in which the page has their charts.
pub const TOOLS: [&str; 5] = ["rtt", "rto", "bufmon", "jitter", "streamutil"];

/// An association, as all files together show it.
#[derive(Debug, Default)]
pub struct Association {
    /// Kernel's association id.
    pub id: u32,
    /// Own address and port; `None` if no line has it.
    pub local: Option<String>,
    /// Peer's address and port.
    pub peer: Option<String>,
    /// Inode of the network namespace.
    pub netns: Option<u64>,
    /// Host, if the lines name one.
    pub host: Option<String>,
    /// Process that has the socket: id and name.
    pub pid: Option<u64>,
    /// See [`Self::pid`].
    pub comm: Option<String>,
    /// The cgroup of the process that owns the socket.
    pub cgroup: Option<String>,
    /// Payload protocol.
    pub protocol: Option<String>,
    /// Size of the send buffer, in bytes.
    pub sndbuf_bytes: Option<u64>,
    /// Size of the receive buffer, in bytes.
    pub rcvbuf_bytes: Option<u64>,
    /// The numbers of the sources that have lines about the association.
    pub sources: BTreeSet<usize>,
    /// First and last time that is shown; `None` if no line is in the time that is shown.
    pub span: Option<[i64; 2]>,
    /// Number of lines about the association.
    pub lines: u64,
    /// Number of findings about the association.
    pub findings: u64,
    /// Acknowledgement latency.
    pub latency: Latency,
    /// The paths of which `sctp-rto` has lines: the first [`MOST_PATHS`].
    pub paths: Vec<Path>,
    /// Lines about other paths.
    pub more_paths: u64,
    /// What limited the sender.
    pub limited: Series<Limited>,
    /// Buffers and windows.
    pub buffers: Series<Buffers>,
    /// Stalls in order of their begin: the first [`MOST_MARKS`].
    pub stalls: Vec<Stall>,
    /// Number of other stalls.
    pub more_stalls: u64,
    /// Jitter.
    pub jitter: Series<Jitter>,
    /// What each stream carried.
    pub streams: Streams,
    /// Head-of-line blocking.
    pub blocking: Series<Blocking>,
    /// Begins, restarts and ends: the first [`MOST_MARKS`].
    pub events: Vec<Event>,
    /// Number of other events.
    pub more_events: u64,
}

impl Association {
    /// Extends the association's span to `time`, at which something is shown.
    pub fn cover(&mut self, time: i64) {
        self.span = Some(self.span.map_or([time; 2], |[first, last]| [first.min(time), last.max(time)]));
    }

    /// Bytes on the heap that the association's series take.
    #[must_use]
    pub fn heap(&self) -> usize {
        let paths: usize = self.paths.iter().map(|path| path.samples.heap() + path.intervals.heap()).sum();
        self.latency.samples.heap()
            + self.latency.intervals.heap()
            + paths
            + self.limited.heap()
            + self.buffers.heap()
            + self.jitter.heap()
            + self.streams.bytes.heap()
            + self.blocking.heap()
    }

    /// Reduces each series to at most `most` buckets.
    pub fn limit(&mut self, most: usize) {
        self.latency.samples.limit(most);
        self.latency.intervals.limit(most);
        for path in &mut self.paths {
            path.samples.limit(most);
            path.intervals.limit(most);
        }
        self.limited.limit(most);
        self.buffers.limit(most);
        self.jitter.limit(most);
        self.streams.bytes.limit(most);
        self.blocking.limit(most);
    }

    /// T3-rtx expiries in the time that is shown; `None` if `sctp-rto` has no line about the association.
    #[must_use]
    pub fn t3_expiries(&self) -> Option<u64> {
        (!self.paths.is_empty())
            .then(|| self.paths.iter().map(Path::t3_expiries).fold(0, u64::saturating_add))
    }

    /// Number of stalls; `None` if `sctp-bufmon` has no line about the association.
    #[must_use]
    pub fn stall_count(&self) -> Option<u64> {
        let is_measured = !self.buffers.is_empty() || !self.stalls.is_empty();
        is_measured.then_some(self.stalls.len() as u64 + self.more_stalls)
    }

    /// The longest of the stalls that are kept.
    #[must_use]
    pub fn longest_stall(&self) -> Option<&Stall> {
        self.stalls.iter().max_by(|a, b| a.lasted_ms.total_cmp(&b.lasted_ms))
    }

    /// The number of findings, then that of T3-rtx expiries and stalls, then that of lines. The page draws the
    /// associations with the greatest rank first.
    #[must_use]
    pub fn rank(&self) -> [u64; 3] {
        let stalls = self.stall_count().unwrap_or(0);
        [self.findings, self.t3_expiries().unwrap_or(0).saturating_add(stalls), self.lines]
    }
}

/// Takes `new` if it is larger.
fn raise(old: &mut Option<f64>, new: Option<f64>) {
    if let Some(new) = new {
        *old = Some(old.map_or(new, |old| old.max(new)));
    }
}

/// Takes `new` if it is smaller.
fn lower(old: &mut Option<f64>, new: Option<f64>) {
    if let Some(new) = new {
        *old = Some(old.map_or(new, |old| old.min(new)));
    }
}

/// Acknowledgement latency, of all paths together.
#[derive(Debug, Default)]
pub struct Latency {
    /// `sample` objects.
    pub samples: Series<Acks>,
    /// `interval` objects.
    pub intervals: Series<AckFigures>,
    /// All `sample` objects in the time that is shown.
    pub all: Acks,
    /// Number of `sample` objects, inside and outside the time that is shown.
    pub sample_objects: u64,
    /// Number of samples that `interval` objects count, inside and outside the time that is shown.
    pub in_intervals: u64,
    /// Number of samples that `summary` objects count.
    pub in_summaries: u64,
}

impl Latency {
    /// Whether there is a `sample` object for each sample. With `--no-samples` or `--above`, or if lines were dropped,
    /// there is not: then charts are made of the figures in `interval` objects.
    #[must_use]
    pub const fn has_all_samples(&self) -> bool {
        self.sample_objects > 0
            && self.sample_objects >= self.in_intervals
            && self.sample_objects >= self.in_summaries
    }

    /// Whether the input has no figure of latency to show.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.intervals.is_empty()
    }
}

/// Acknowledgement latencies in microseconds.
#[derive(Debug, Default)]
pub struct Acks {
    /// Latencies of all chunks.
    pub all: Histogram,
    /// Latencies of chunks whose SACK was due at once.
    pub prompt: Histogram,
}

impl Bucket for Acks {
    fn merge(&mut self, next: &Self) {
        self.all.merge(&next.all);
        self.prompt.merge(&next.prompt);
    }

    fn heap(&self) -> usize {
        self.all.heap() + self.prompt.heap()
    }
}

/// What `interval` objects say about the acknowledgement latency, in microseconds.
#[derive(Debug, Default)]
pub struct AckFigures {
    /// Number of samples.
    pub samples: u64,
    /// Sum over all intervals of the interval's median times its number of samples.
    pub p50_sum: f64,
    /// The largest 99th percentile of an interval.
    pub p99: Option<f64>,
    /// The largest acknowledgement latency.
    pub max: Option<f64>,
    /// Number of prompt samples.
    pub prompt_samples: u64,
    /// Sum over all intervals of the interval's median of prompt samples times their number.
    pub prompt_p50_sum: f64,
    /// The largest 99th percentile of an interval's prompt samples.
    pub prompt_p99: Option<f64>,
}

impl AckFigures {
    /// Adds the figures of an `interval` object.
    pub fn add(&mut self, object: &Object<'_>) {
        if let (Some(samples), Some(p50)) = (object.samples, object.rtt_p50_us) {
            self.samples = self.samples.saturating_add(samples);
            self.p50_sum += p50 * samples as f64;
        }
        if let (Some(samples), Some(p50)) = (object.prompt_samples, object.prompt_rtt_p50_us) {
            self.prompt_samples = self.prompt_samples.saturating_add(samples);
            self.prompt_p50_sum += p50 * samples as f64;
        }
        raise(&mut self.p99, object.rtt_p99_us);
        raise(&mut self.max, object.rtt_max_us);
        raise(&mut self.prompt_p99, object.prompt_rtt_p99_us);
    }

    /// Mean of the intervals' medians, each weighted by the interval's number of samples.
    #[must_use]
    pub fn p50(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.p50_sum / self.samples as f64)
    }

    /// Mean of the intervals' medians of prompt samples, each weighted by the interval's number of prompt samples.
    #[must_use]
    pub fn prompt_p50(&self) -> Option<f64> {
        (self.prompt_samples > 0).then(|| self.prompt_p50_sum / self.prompt_samples as f64)
    }
}

impl Bucket for AckFigures {
    fn merge(&mut self, next: &Self) {
        self.samples = self.samples.saturating_add(next.samples);
        self.p50_sum += next.p50_sum;
        self.prompt_samples = self.prompt_samples.saturating_add(next.prompt_samples);
        self.prompt_p50_sum += next.prompt_p50_sum;
        raise(&mut self.p99, next.p99);
        raise(&mut self.max, next.max);
        raise(&mut self.prompt_p99, next.prompt_p99);
    }
}

/// A path's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In use, or ready to be.
    Active,
    /// Potentially failed (RFC 7829).
    PotentiallyFailed,
    /// Failed.
    Inactive,
    /// The peer has not answered a HEARTBEAT yet.
    Unconfirmed,
    /// Address taken away, or a state of a later version.
    Other,
}

impl State {
    /// The state that the input calls `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name {
            "active" => Self::Active,
            "pf" => Self::PotentiallyFailed,
            "inactive" => Self::Inactive,
            "unconfirmed" => Self::Unconfirmed,
            _ => Self::Other,
        }
    }

    /// The state's name on the page.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::PotentiallyFailed => "potentially failed",
            Self::Inactive => "inactive",
            Self::Unconfirmed => "unconfirmed",
            Self::Other => "removed or other",
        }
    }
}

/// What `sctp-rto` has said about a path.
#[derive(Debug, Default)]
pub struct Path {
    /// Peer's address; `None` if no line has it.
    pub address: Option<String>,
    /// The address before it was made anonymous, by which the path is found.
    pub key: Option<String>,
    /// `sample` and `path` objects.
    pub samples: Series<Timeouts>,
    /// `interval` objects.
    pub intervals: Series<Timeouts>,
    /// Each state of the path, with the time at which it was first seen in that state; in order of time, the first
    /// [`MOST_MARKS`].
    pub states: Vec<(i64, State)>,
    /// Number of other changes of state.
    pub more_states: u64,
}

impl Path {
    /// Notes that the path is in this state at `time`.
    pub fn is_in(&mut self, time: i64, state: State) {
        if self.states.last().is_some_and(|(_, last)| *last == state) {
            return;
        }
        if self.states.len() < MOST_MARKS {
            self.states.push((time, state));
        } else {
            self.more_states += 1;
        }
    }

    /// The series to draw: of `sample` objects, or without samples of `interval` objects.
    #[must_use]
    pub const fn series(&self) -> &Series<Timeouts> {
        if self.samples.is_empty() { &self.intervals } else { &self.samples }
    }

    /// T3-rtx expiries in the time that is shown: as intervals count them, or else those that have a line.
    #[must_use]
    pub fn t3_expiries(&self) -> u64 {
        let counted = if self.intervals.is_empty() { &self.samples } else { &self.intervals };
        counted.iter().map(|(_, timeouts)| timeouts.t3_expiries).fold(0, u64::saturating_add)
    }
}

/// Retransmission timeouts of a path.
#[derive(Debug, Default)]
pub struct Timeouts {
    /// The last RTO, in milliseconds.
    pub last_ms: Option<f64>,
    /// The largest RTO, in milliseconds.
    pub max_ms: Option<f64>,
    /// T3-rtx expiries.
    pub t3_expiries: u64,
    /// HEARTBEATs that were not answered in time.
    pub heartbeat_timeouts: u64,
}

impl Bucket for Timeouts {
    fn merge(&mut self, next: &Self) {
        self.last_ms = next.last_ms.or(self.last_ms);
        raise(&mut self.max_ms, next.max_ms);
        self.t3_expiries = self.t3_expiries.saturating_add(next.t3_expiries);
        self.heartbeat_timeouts = self.heartbeat_timeouts.saturating_add(next.heartbeat_timeouts);
    }
}

/// How long each of [`LIMITS`] applied to the sender, in microseconds.
#[derive(Debug, Default)]
pub struct Limited {
    /// Time of each of [`LIMITS`].
    pub us: [f64; 6],
}

/// What may limit the sender: the member of the JSON object, and its meaning.
pub const LIMITS: [(&str, &str); 6] = [
    ("app", "application: nothing to send"),
    ("sndbuf", "send buffer full"),
    ("nagle", "Nagle's rule"),
    ("cwnd", "congestion window"),
    ("rwnd", "peer's window"),
    ("other", "other"),
];

impl Limited {
    /// The times in an `interval` object; `None` if it has none.
    #[must_use]
    pub fn of(object: &Object<'_>) -> Option<Self> {
        let us = [
            object.limited_app_us?,
            object.limited_sndbuf_us?,
            object.limited_nagle_us?,
            object.limited_cwnd_us?,
            object.limited_rwnd_us?,
            object.limited_other_us?,
        ];
        Some(Self { us })
    }

    /// The sum of the times of all limits.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.us.iter().sum()
    }
}

impl Bucket for Limited {
    fn merge(&mut self, next: &Self) {
        self.us.iter_mut().zip(next.us).for_each(|(us, next)| *us += next);
    }
}

/// How full the buffers were, and how wide the windows, in a bucket of time.
#[derive(Debug, Default)]
pub struct Buffers {
    /// Largest use of the send buffer, in percent.
    pub util_pct: Option<f64>,
    /// Largest use of the receive buffer, in percent.
    pub recv_util_pct: Option<f64>,
    /// Most data never sent yet, in bytes.
    pub outqueue: Option<f64>,
    /// Most data sent and not acknowledged, in bytes.
    pub in_flight: Option<f64>,
    /// Smallest window that the peer advertised, in bytes.
    pub rwnd: Option<f64>,
    /// Smallest window that this side advertised, in bytes.
    pub own_rwnd: Option<f64>,
}

impl Buffers {
    /// The figures of an interval.
    #[must_use]
    pub const fn of(object: &Object<'_>) -> Self {
        Self {
            util_pct: object.util_max_pct,
            recv_util_pct: object.recv_util_max_pct,
            outqueue: object.outqueue_max_bytes,
            in_flight: object.in_flight_max_bytes,
            rwnd: object.rwnd_min_bytes,
            own_rwnd: object.own_rwnd_min_bytes,
        }
    }
}

impl Bucket for Buffers {
    fn merge(&mut self, next: &Self) {
        raise(&mut self.util_pct, next.util_pct);
        raise(&mut self.recv_util_pct, next.recv_util_pct);
        raise(&mut self.outqueue, next.outqueue);
        raise(&mut self.in_flight, next.in_flight);
        lower(&mut self.rwnd, next.rwnd);
        lower(&mut self.own_rwnd, next.own_rwnd);
    }
}

/// A stall: the cumulative TSN stood still for longer than the RTO.
#[derive(Clone, Debug)]
pub struct Stall {
    /// When the stall began.
    pub begin: i64,
    /// How long the stall lasted, or has lasted so far, in milliseconds.
    pub lasted_ms: f64,
    /// Whether the stall was over when the last line about it was printed.
    pub is_over: bool,
    /// The cause that held for the longest part of the stall, as one word.
    pub cause: String,
    /// The same cause as a sentence.
    pub text: String,
}

impl Stall {
    /// When the stall was over; if it lasts, until when it has lasted so far.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.begin.saturating_add((self.lasted_ms * 1e3) as i64)
    }
}

/// Jitter of all streams, in microseconds.
#[derive(Debug, Default)]
pub struct Jitter {
    /// The jitter of the stream that has the largest.
    pub max: Option<f64>,
    /// Sum of the jitters, over streams and intervals.
    pub sum: f64,
    /// Number of summands.
    pub count: u64,
}

impl Jitter {
    /// The jitter of a stream in an interval.
    #[must_use]
    pub const fn of(us: f64) -> Self {
        Self { max: Some(us), sum: us, count: 1 }
    }

    /// Mean over streams and intervals.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

impl Bucket for Jitter {
    fn merge(&mut self, next: &Self) {
        raise(&mut self.max, next.max);
        self.sum += next.sum;
        self.count += next.count;
    }
}

/// What each stream carried.
#[derive(Debug, Default)]
pub struct Streams {
    /// The streams that are told apart, by their slots.
    pub ids: Vec<u32>,
    /// Bytes over time.
    pub bytes: Series<StreamBytes>,
}

impl Streams {
    /// Adds what the streams carried in an interval, which ended at `time`.
    pub fn add(&mut self, time: i64, streams: &[Stream]) {
        let bucket = self.bytes.at(time);
        for stream in streams.iter().filter(|stream| stream.bytes > 0) {
            let slot = match self.ids.iter().position(|id| *id == stream.stream_id) {
                Some(slot) => slot as u8,
                None if self.ids.len() < MOST_STREAMS => {
                    self.ids.push(stream.stream_id);
                    (self.ids.len() - 1) as u8
                }
                None => OTHER_STREAMS,
            };
            bucket.add(slot, stream.bytes);
        }
    }
}

/// Bytes of streams, by their slots.
#[derive(Debug, Default)]
pub struct StreamBytes(pub Vec<(u8, u64)>);

impl StreamBytes {
    fn add(&mut self, slot: u8, bytes: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == slot) {
            Some((_, sum)) => *sum = sum.saturating_add(bytes),
            None => self.0.push((slot, bytes)),
        }
    }
}

impl Bucket for StreamBytes {
    fn merge(&mut self, next: &Self) {
        next.0.iter().for_each(|(slot, bytes)| self.add(*slot, *bytes));
    }

    fn heap(&self) -> usize {
        self.0.capacity() * size_of::<(u8, u64)>()
    }
}

/// Head-of-line blocking in a bucket of time.
#[derive(Debug, Default)]
pub struct Blocking {
    /// Messages that waited for an earlier one of their stream.
    pub messages: u64,
    /// Sum of the times that the messages waited, in microseconds.
    pub wait_us: f64,
}

impl Bucket for Blocking {
    fn merge(&mut self, next: &Self) {
        self.messages = self.messages.saturating_add(next.messages);
        self.wait_us += next.wait_us;
    }
}

/// An association was found, came up, restarted, ended or failed to come up.
#[derive(Clone, Debug)]
pub struct Event {
    /// When the event happened.
    pub time: i64,
    /// `found`, `up`, `restart`, `end` or `failed`.
    pub kind: String,
    /// What happened, and why, in words.
    pub text: String,
}
