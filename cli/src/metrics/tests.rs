//! Tests of what the metrics' text says, by a parser that shares no code with the encoder.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    iter,
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use probes::{
    Accounting, Change, Identity, Octaves, Skipped,
    lifecycle::{AssocEvent, Ending, Happening, Reason, Side},
};
use proptest::prelude::*;
use tokio::{runtime::Builder, time::timeout};

use super::{
    Exporter, Labels, Metric, Metrics, MetricsFlags, TextFormat, Unit, Values,
    server::{self, Server},
};

/// A path of a command that does not exist, which has a metric of each kind.
#[derive(Clone, Debug, Default)]
struct Row {
    id: Identity,
    count: u64,
    by_cause: [u64; 2],
    stalled: Duration,
    is_closed: bool,
    rto: u64,
    window: Option<u64>,
    buffer: Option<[u32; 2]>,
    state: usize,
    times: Vec<u64>,
}

const METRICS: Metrics<Row> = Metrics {
    id: |row| &row.id,
    of_rows: &[
        Metric {
            name: "sctp_count_total",
            help: "A count.",
            unit: Unit::One,
            values: Values::Counter(|row| row.count),
        },
        Metric {
            name: "sctp_rto_seconds",
            help: "A timeout.",
            unit: Unit::Nanoseconds,
            values: Values::LargestOfPaths(|row| Some(row.rto)),
        },
        Metric {
            name: "sctp_time_seconds",
            help: "Times.",
            unit: Unit::Nanoseconds,
            values: Values::Histogram {
                sum: |row| Duration::from_nanos(row.times.iter().sum()),
                edges: 15..=30,
            },
        },
        Metric {
            name: "sctp_by_cause_total",
            help: "Counts.",
            unit: Unit::One,
            values: Values::Counters {
                label: "cause",
                of: &[("t3", |row| row.by_cause[0]), ("fast", |row| row.by_cause[1])],
            },
        },
        Metric {
            name: "sctp_stall_seconds_total",
            help: "A time that is divided.",
            unit: Unit::Nanoseconds,
            values: Values::Divided {
                label: "cause",
                names: &["silent", "closed"],
                of: |row| (row.stalled.as_nanos() as u64, usize::from(row.is_closed)),
            },
        },
        Metric {
            name: "sctp_window_bytes",
            help: "A window.",
            unit: Unit::One,
            values: Values::Least(|row| row.window),
        },
        Metric {
            name: "sctp_buffer_used_bytes",
            help: "A buffer.",
            unit: Unit::One,
            values: Values::Fullest { of: |row| row.buffer, is_limit: false },
        },
        Metric {
            name: "sctp_buffer_limit_bytes",
            help: "Its limit.",
            unit: Unit::One,
            values: Values::Fullest { of: |row| row.buffer, is_limit: true },
        },
        Metric {
            name: "sctp_states",
            help: "States.",
            unit: Unit::One,
            values: Values::InState {
                label: "state",
                names: &["active", "inactive"],
                of: |row| Some(row.state),
            },
        },
    ],
    findings: &["slow", "lossy"],
    of_host: true,
};

fn flags(labels: Labels, max_series: u32) -> MetricsFlags {
    MetricsFlags { listen: None, textfile: None, labels, max_series }
}

/// The text of all metrics, without findings.
fn text(exporter: &Exporter<Row>, format: TextFormat) -> String {
    exporter.text(format, iter::empty())
}

/// Labels of a sample in the order of their names.
type Sample = (String, BTreeMap<String, String>);

/// Reads Prometheus' text format. Fails where a line is not of this format, a series is there twice, or a metric's
/// samples do not stand together under its type.
fn parse(text: &str) -> BTreeMap<Sample, f64> {
    let mut samples = BTreeMap::new();
    let mut families = Vec::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, _) = kind.split_once(' ').unwrap();
            assert!(!families.contains(&name), "{name} is there twice");
            families.push(name);
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
            None => (series, ""),
        };
        assert!(name.starts_with(families.last().unwrap()), "{line} stands under {:?}", families.last());
        let mut pairs = BTreeMap::new();
        let mut rest = labels;
        while !rest.is_empty() {
            let (label, more) = rest.split_once("=\"").unwrap();
            let end = (0..more.len()).find(|at| {
                let before = &more.as_bytes()[..*at];
                let escapes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
                more.as_bytes()[*at] == b'"' && escapes % 2 == 0
            });
            let (value, more) = more.split_at(end.unwrap());
            assert!(pairs.insert(label.to_owned(), value.to_owned()).is_none(), "{line}");
            rest = more[1..].strip_prefix(',').unwrap_or(&more[1..]);
        }
        let sample = (name.to_owned(), pairs);
        assert!(samples.insert(sample, value.parse().unwrap()).is_none(), "twice: {line}");
    }
    samples
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect()
}

/// An association: even ones were begun here, to port 38412; odd ones by the peer, to port 2905.
fn identity(assoc_id: u32) -> Identity {
    let begun_here = assoc_id.is_multiple_of(2);
    let addr = |end: u8, port| SocketAddr::from(([10, end, (assoc_id / 5) as u8, assoc_id as u8], port));
    let [own, others] = if begun_here { [40_000, 38_412] } else { [2905, 50_000] };
    Identity {
        assoc_id,
        local: Some(addr(1, own)),
        peer: Some(addr(2, others)),
        path: Some(addr(2, others).ip()),
        life: 1,
        began_here: begun_here,
        payload_protocol: Some(if begun_here { 60 } else { 3 }),
        ..Identity::default()
    }
}

fn port_of(assoc_id: u32) -> &'static str {
    if assoc_id.is_multiple_of(2) { "38412" } else { "2905" }
}

fn event(assoc_id: u32, happening: Happening, reason: Option<Reason>) -> AssocEvent {
    AssocEvent {
        at: Duration::ZERO,
        id: identity(assoc_id),
        happening,
        duration: None,
        handshake: (happening == Happening::Up).then_some(Duration::from_millis(7)),
        inits: None,
        initiated: if assoc_id.is_multiple_of(2) { Side::Here } else { Side::Peer },
        is_orphan: false,
        ending: reason.map(|reason| Ending { reason, by: None, cause: None, left_bytes: 0 }),
        settings: None,
    }
}

/// What happens between two looks of the command.
#[derive(Clone, Debug)]
enum Step {
    /// An association comes up. Its entry takes the place of another one.
    Up { place: u32 },
    /// An event in the entry at this place.
    Sample { place: u32, ns: u64 },
    /// Time goes by in a stall.
    Stall { place: u32, ns: u64, is_closed: bool },
    /// The association begins another life: a new entry at the same place.
    Restart { place: u32 },
    /// The association ends.
    End { place: u32, reason: Reason },
    /// Changes are handed over, and the text is read.
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = 0_u32..6;
    let reason = prop::sample::select(vec![Reason::Shutdown, Reason::AbortReceived, Reason::Refused]);
    let step = prop_oneof![
        2 => place.clone().prop_map(|place| Step::Up { place }),
        8 => (place.clone(), prop_oneof![0_u64..1 << 20, 0_u64..1 << 34])
            .prop_map(|(place, ns)| Step::Sample { place, ns }),
        2 => (place.clone(), 0_u64..1 << 34, any::<bool>())
            .prop_map(|(place, ns, is_closed)| Step::Stall { place, ns, is_closed }),
        1 => place.clone().prop_map(|place| Step::Restart { place }),
        1 => (place, reason).prop_map(|(place, reason)| Step::End { place, reason }),
        4 => Just(Step::Look),
    ];
    prop::collection::vec(step, 0..120)
}

/// A table of entries, and the sums that the metrics should have.
#[derive(Default)]
struct Table {
    places: BTreeMap<u32, (Change<Row>, bool)>,
    next: u32,
    serial: u64,
    /// By service port: counts, nanoseconds by cause of stalls, all times.
    truth: BTreeMap<&'static str, (u64, [u64; 2], Vec<u64>)>,
    /// What was not looked at yet, by place.
    pending: BTreeMap<u32, (u64, u64, Vec<u64>)>,
    ends: BTreeMap<(&'static str, &'static str), u64>,
    living: BTreeMap<&'static str, i64>,
}

impl Table {
    fn entry(&mut self, place: u32, id: Identity) {
        self.serial += 1;
        let row = Row { id, rto: 1_000_000_000 * (1 + self.serial % 7), ..Row::default() };
        let change = Change {
            place,
            serial: self.serial,
            has_ended: false,
            row,
            octaves: vec![Octaves::of_times(&[])],
        };
        // What was not looked at is lost with the entry.
        self.pending.remove(&place);
        self.places.insert(place, (change, true));
    }

    fn step(&mut self, step: &Step, exporter: &mut Exporter<Row>) {
        match step {
            Step::Up { place } => {
                self.next += 1;
                exporter.happened(&event(self.next, Happening::Up, None));
                *self.living.entry(port_of(self.next)).or_default() += 1;
                self.entry(*place, identity(self.next));
            }
            Step::Restart { place } => {
                let Some((change, _)) = self.places.get(place).filter(|(change, _)| !change.has_ended) else {
                    return;
                };
                let id = Identity { life: change.row.id.life + 1, ..change.row.id.clone() };
                exporter.happened(&event(id.assoc_id, Happening::Restart, None));
                self.entry(*place, id);
            }
            Step::Sample { place, ns } => {
                let Some((change, is_new)) =
                    self.places.get_mut(place).filter(|(change, _)| !change.has_ended)
                else {
                    return;
                };
                change.row.count += 1;
                change.row.by_cause[change.row.count as usize % 2] += 1;
                change.row.times.push(*ns);
                change.octaves = vec![Octaves::of_times(&change.row.times)];
                *is_new = true;
                let pending = self.pending.entry(*place).or_default();
                pending.0 += 1;
                pending.2.push(*ns);
            }
            Step::Stall { place, ns, is_closed } => {
                let Some((change, is_new)) =
                    self.places.get_mut(place).filter(|(change, _)| !change.has_ended)
                else {
                    return;
                };
                change.row.stalled += Duration::from_nanos(*ns);
                change.row.is_closed = *is_closed;
                *is_new = true;
                self.pending.entry(*place).or_default().1 += ns;
            }
            Step::End { place, reason } => {
                let Some((change, is_new)) =
                    self.places.get_mut(place).filter(|(change, _)| !change.has_ended)
                else {
                    return;
                };
                change.has_ended = true;
                *is_new = true;
                let id = change.row.id.assoc_id;
                exporter.happened(&event(id, Happening::End, Some(*reason)));
                let name = match reason {
                    Reason::Shutdown => "shutdown",
                    Reason::AbortReceived => "abort_received",
                    _ => "refused",
                };
                *self.ends.entry((port_of(id), name)).or_default() += 1;
                *self.living.entry(port_of(id)).or_default() -= 1;
            }
            Step::Look => self.look(exporter),
        }
    }

    fn look(&mut self, exporter: &mut Exporter<Row>) {
        for (place, (change, is_new)) in &mut self.places {
            if std::mem::take(is_new) {
                exporter.add(change);
                let truth = self.truth.entry(port_of(change.row.id.assoc_id)).or_default();
                let (count, stalled, times) = self.pending.remove(place).unwrap_or_default();
                truth.0 += count;
                truth.1[usize::from(change.row.is_closed)] += stalled;
                truth.2.extend(times);
            }
        }
    }
}

fn is_near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= expected.abs() * 1e-12
}

proptest! {
    /// Whatever begins, restarts, makes room and ends: no counter falls, and each is the sum over all samples.
    #[test]
    fn sums_are_those_of_the_samples_and_never_fall(steps in steps()) {
        let mut exporter = Exporter::new(&METRICS, &flags(Labels::Port, 2000));
        let mut table = Table::default();
        let mut before = BTreeMap::<Sample, f64>::new();
        for step in steps.iter().chain([&Step::Look]) {
            table.step(step, &mut exporter);
            if !matches!(step, Step::Look) {
                continue;
            }
            let samples = parse(&text(&exporter, TextFormat::Prometheus));
            for (sample, value) in &before {
                let is_sum = ["_total", "_bucket", "_sum", "_count"].iter().any(|end| sample.0.ends_with(end));
                // The kernel's own counters are this machine's.
                if is_sum && !sample.0.starts_with("sctp_host_") {
                    prop_assert!(samples.get(sample).is_some_and(|now| now >= value), "{sample:?}: {value}");
                }
            }
            for (port, (count, stalled, times)) in &table.truth {
                let protocol = if *port == "2905" { "M3UA" } else { "NGAP" };
                let service = labels([("service_port", port), ("protocol", protocol)]);
                let value = |name: &str, more: &[(&str, &str)]| {
                    let mut labels = service.clone();
                    labels.extend(more.iter().map(|(label, value)| ((*label).into(), (*value).into())));
                    samples.get(&(name.to_owned(), labels)).copied().unwrap_or(f64::NAN)
                };
                prop_assert_eq!(value("sctp_count_total", &[]), *count as f64);
                let causes = ["t3", "fast"].map(|cause| value("sctp_by_cause_total", &[("cause", cause)]));
                prop_assert_eq!(causes[0] + causes[1], *count as f64);
                for (cause, ns) in ["silent", "closed"].iter().zip(stalled) {
                    let found = value("sctp_stall_seconds_total", &[("cause", cause)]);
                    prop_assert!(is_near(found, *ns as f64 / 1e9), "{found} {ns}");
                }
                prop_assert_eq!(value("sctp_time_seconds_count", &[]), times.len() as f64);
                let sum = times.iter().sum::<u64>() as f64 / 1e9;
                prop_assert!(is_near(value("sctp_time_seconds_sum", &[]), sum));
                let mut bounds = 0;
                for (sample, found) in &samples {
                    let ours = sample.0 == "sctp_time_seconds_bucket" && sample.1["service_port"] == *port;
                    if ours {
                        bounds += 1;
                        let bound: f64 = sample.1["le"].parse().unwrap();
                        let inside = times.iter().filter(|ns| **ns as f64 / 1e9 <= bound).count();
                        prop_assert_eq!(*found, inside as f64, "{:?}", sample);
                    }
                }
                prop_assert_eq!(bounds, 17);
                let living = table.places.values().filter(|(change, _)| {
                    !change.has_ended && port_of(change.row.id.assoc_id) == *port
                });
                let rto = living.clone().map(|(change, _)| change.row.rto as f64 / 1e9).reduce(f64::max);
                let found = value("sctp_rto_seconds", &[]);
                prop_assert_eq!(rto.unwrap_or(f64::NAN).to_bits(), found.to_bits(), "{:?} {}", rto, found);
                let paths = value("sctp_states", &[("state", "active")]);
                prop_assert_eq!(living.count() as f64, if paths.is_nan() { 0.0 } else { paths });
            }
            for (port, living) in &table.living {
                let all: f64 = samples.iter().filter(|(sample, _)| {
                    sample.0 == "sctp_associations" && sample.1["service_port"] == *port
                }).map(|(_, value)| value).sum();
                prop_assert_eq!(all, *living as f64);
            }
            for ((port, reason), count) in &table.ends {
                let found: f64 = samples.iter().filter(|(sample, _)| {
                    sample.0 == "sctp_association_ends_total"
                        && sample.1["service_port"] == *port
                        && sample.1["reason"] == *reason
                }).map(|(_, value)| value).sum();
                prop_assert_eq!(found, *count as f64);
            }
            before = samples;
        }
    }

    /// However many peers and associations there are, there are no more series than allowed, and nothing is missing in
    /// their sum.
    #[test]
    fn series_are_bounded(
        labels in prop::sample::select(vec![Labels::Port, Labels::Peer, Labels::Assoc]),
        max_series in 100_u32..800,
        associations in 0_u32..200,
    ) {
        let mut exporter = Exporter::new(&METRICS, &flags(labels, max_series));
        for n in 1..=associations {
            exporter.happened(&event(n, Happening::Up, None));
            let row = Row { id: identity(n), count: 3, rto: 1, window: Some(n.into()), ..Row::default() };
            let octaves = vec![Octaves::of_times(&[])];
            exporter.add(&Change { place: n, serial: n.into(), has_ended: false, row, octaves });
        }
        exporter.account(&Accounting::default());
        let samples = parse(&text(&exporter, TextFormat::Prometheus));
        prop_assert!(samples.len() <= max_series as usize, "{}", samples.len());
        let sum = |name: &str| -> f64 {
            samples.iter().filter(|(sample, _)| sample.0 == name).map(|(_, value)| value).sum()
        };
        prop_assert_eq!(sum("sctp_count_total"), f64::from(3 * associations));
        prop_assert_eq!(sum("sctp_associations"), f64::from(associations));
        prop_assert_eq!(sum("sctp_states"), f64::from(associations));
        let folded = samples.iter().filter(|(sample, _)| {
            let label = if labels == Labels::Port { "service_port" } else { "peer" };
            sample.0 == "sctp_associations" && sample.1[label] == "other"
        }).map(|(_, value)| value).sum::<f64>();
        let lost = ("sctptrace_lost_total".to_owned(), self::labels([("reason", "max_series")]));
        prop_assert_eq!(samples[&lost], folded);
    }
}

/// A few associations, with names that need escapes.
fn some() -> Exporter<Row> {
    let mut exporter = Exporter::new(&METRICS, &flags(Labels::Assoc, 2000));
    for n in 1..=3 {
        let mut up = event(n, Happening::Up, None);
        let owner = probes::Owner { comm: Some("a\"b\\c".to_owned()), pid: Some(7), ..Default::default() };
        up.id.owner = Some(owner.into());
        exporter.happened(&up);
        let id = up.id.clone();
        let times = vec![1000, 70_000, 1 << 20];
        let octaves = vec![Octaves::of_times(&times)];
        let row = Row { id, times, window: Some(5), ..Row::default() };
        exporter.add(&Change { place: n, serial: 1, has_ended: false, row, octaves });
    }
    exporter.happened(&event(3, Happening::End, Some(Reason::Unknown)));
    let skipped = |reason| Skipped { reason, sentence: "", count: 4 };
    exporter.account(&Accounting {
        skipped: vec![skipped("missed"), skipped("retransmitted")],
        unseen: Some(1),
        ..Accounting::default()
    });
    exporter
}

#[test]
fn labels_say_who_it_is() {
    let text = text(&some(), TextFormat::Prometheus);
    let samples = parse(&text);
    let first =
        labels([("service_port", "2905"), ("protocol", "M3UA"), ("peer", "10.2.0.1"), ("assoc", "1")]);
    assert_eq!(samples[&("sctp_associations".to_owned(), first)], 1.0);
    let info = samples.keys().filter(|sample| sample.0 == "sctp_association_info");
    let info: Vec<_> = info.map(|(_, labels)| (labels["assoc"].as_str(), labels["comm"].as_str())).collect();
    assert_eq!(info, [("1", "a\\\"b\\\\c"), ("2", "a\\\"b\\\\c")]);
    let lost: Vec<_> = samples
        .iter()
        .filter(|(sample, _)| sample.0 == "sctptrace_lost_total")
        .map(|(s, v)| (s.1["reason"].as_str(), *v))
        .collect();
    assert_eq!(lost, [("max_series", 0.0), ("missed", 4.0), ("ring_buffer", 0.0), ("unseen", 1.0)]);
}

/// A finding counts for each association that lives and has it; of the host once.
#[test]
fn findings_are_those_of_associations_that_live() {
    let mut exporter = Exporter::new(&METRICS, &flags(Labels::Port, 2000));
    for n in 1..=4 {
        exporter.happened(&event(n, Happening::Up, None));
    }
    exporter.happened(&event(3, Happening::End, Some(Reason::Shutdown)));
    let ids: Vec<_> = (0..=5).map(identity).collect();
    let found = [
        ("slow", Some(&ids[1])),
        ("slow", Some(&ids[2])),
        ("slow", Some(&ids[3])),
        ("slow", Some(&ids[4])),
        ("lossy", Some(&ids[5])),
        ("host_discards", None),
    ];
    let samples = parse(&exporter.text(TextFormat::Prometheus, found.into_iter()));
    let findings: Vec<_> = samples
        .iter()
        .filter(|(sample, _)| sample.0 == "sctp_findings")
        .map(|((_, labels), count)| {
            (labels.get("service_port").map(String::as_str), &*labels["code"], *count)
        })
        .collect();
    let expected = [
        (None, "host_discards", 1.0),
        (Some("2905"), "lossy", 0.0),
        (Some("38412"), "lossy", 0.0),
        (Some("2905"), "slow", 1.0),
        (Some("38412"), "slow", 2.0),
    ];
    assert_eq!(findings, expected);
}

/// Both numbers are of one buffer: the one of which the largest part is used, whatever its size.
#[test]
fn the_fullest_buffer_is_shown() {
    let mut exporter = Exporter::new(&METRICS, &flags(Labels::Port, 2000));
    let buffers = [Some([50, 100]), Some([3, 4]), None, Some([700, 1000])];
    for (n, buffer) in (1..).zip(buffers) {
        // All odd: of one service.
        exporter.happened(&event(2 * n + 1, Happening::Up, None));
        let row = Row { id: identity(2 * n + 1), buffer, ..Row::default() };
        let octaves = vec![Octaves::of_times(&[])];
        exporter.add(&Change { place: n, serial: 1, has_ended: false, row, octaves });
    }
    let samples = parse(&text(&exporter, TextFormat::Prometheus));
    let of = |name: &str| samples.iter().find(|(sample, _)| sample.0 == name).map(|(_, value)| *value);
    assert_eq!([of("sctp_buffer_used_bytes"), of("sctp_buffer_limit_bytes")], [Some(3.0), Some(4.0)]);
}

/// While the end of an association is known, and that of its paths is not yet, its paths are no more.
#[test]
fn what_has_ended_has_no_paths() {
    let mut exporter = Exporter::new(&METRICS, &flags(Labels::Port, 2000));
    exporter.happened(&event(1, Happening::Up, None));
    let row = Row { id: identity(1), rto: 5, ..Row::default() };
    let octaves = vec![Octaves::of_times(&[])];
    exporter.add(&Change { place: 1, serial: 1, has_ended: false, row, octaves });
    let states = |exporter: &Exporter<Row>| {
        let samples = parse(&text(exporter, TextFormat::Prometheus));
        samples.keys().filter(|sample| ["sctp_states", "sctp_rto_seconds"].contains(&&*sample.0)).count()
    };
    assert_eq!(states(&exporter), 3);
    exporter.happened(&event(1, Happening::End, Some(Reason::Shutdown)));
    assert_eq!(states(&exporter), 0);
}

/// A row may come before the begin of its association, and an association that is found may be known already.
#[test]
fn a_begin_may_come_late_and_twice() {
    let mut exporter = Exporter::new(&METRICS, &flags(Labels::Port, 2000));
    let change = |serial| {
        let row = Row { id: identity(1), rto: 5, ..Row::default() };
        Change { place: 1, serial, has_ended: false, row, octaves: vec![Octaves::of_times(&[])] }
    };
    let series = |exporter: &Exporter<Row>, name: &str| {
        let samples = parse(&text(exporter, TextFormat::Prometheus));
        samples.iter().filter(|(sample, _)| sample.0 == name).map(|(_, value)| *value).collect::<Vec<_>>()
    };
    exporter.add(&change(1));
    assert_eq!(series(&exporter, "sctp_rto_seconds"), [0.0; 0]);
    exporter.happened(&event(1, Happening::Up, None));
    assert_eq!(series(&exporter, "sctp_rto_seconds"), [5e-9]);
    exporter.happened(&event(1, Happening::Found, None));
    exporter.add(&change(2));
    assert_eq!(series(&exporter, "sctp_rto_seconds"), [5e-9]);
    assert_eq!(series(&exporter, "sctp_associations"), [1.0]);
    exporter.happened(&event(1, Happening::End, Some(Reason::Shutdown)));
    assert_eq!(series(&exporter, "sctp_rto_seconds"), [0.0; 0]);
    // Another association has this id.
    exporter.happened(&event(1, Happening::Up, None));
    assert_eq!(series(&exporter, "sctp_rto_seconds"), [0.0; 0]);
    assert_eq!(series(&exporter, "sctp_associations"), [1.0]);
}

/// Once the protocol of an association is known, what comes counts there, and nothing that came before moves.
#[test]
fn an_association_gets_the_labels_of_its_protocol() {
    let mut exporter = Exporter::new(&METRICS, &flags(Labels::Port, 2000));
    let with = |payload_protocol| Identity { payload_protocol, ..identity(2) };
    exporter.happened(&AssocEvent { id: with(None), ..event(2, Happening::Up, None) });
    for (payload_protocol, count) in [(None, 3), (Some(60), 5), (Some(60), 6), (None, 10)] {
        let row = Row { id: with(payload_protocol), count, ..Row::default() };
        exporter.add(&Change { place: 0, serial: 1, has_ended: false, row, octaves: Vec::new() });
    }
    let samples = parse(&text(&exporter, TextFormat::Prometheus));
    let of = |name: &str, protocol| {
        samples[&(name.to_owned(), labels([("service_port", "38412"), ("protocol", protocol)]))]
    };
    assert_eq!(["unknown", "NGAP"].map(|protocol| of("sctp_count_total", protocol)), [3.0, 7.0]);
    assert_eq!(["unknown", "NGAP"].map(|protocol| of("sctp_associations", protocol)), [0.0, 1.0]);
}

/// With the labels of services, a scrape's size does not grow with the number of associations.
#[test]
fn ten_thousand_associations_are_a_small_scrape() {
    let mut exporter = Exporter::new(&METRICS, &flags(Labels::Port, 2000));
    let change = |n: u32, count| {
        let row = Row { id: identity(n), count, rto: n.into(), window: Some(n.into()), ..Row::default() };
        Change { place: n, serial: n.into(), has_ended: false, row, octaves: vec![Octaves::of_times(&[])] }
    };
    for n in 1..=10_000 {
        exporter.happened(&event(n, Happening::Up, None));
        exporter.add(&change(n, 1));
    }
    (1..=100).for_each(|n| exporter.add(&change(n, 2)));
    let text = text(&exporter, TextFormat::Prometheus);
    assert!(text.len() < 30_000, "{}", text.len());
    let samples = parse(&text);
    let counts = samples.iter().filter(|(sample, _)| sample.0 == "sctp_count_total");
    let count: f64 = counts.map(|(_, n)| n).sum();
    assert_eq!(count, 10_100.0);
}

/// OpenMetrics differs in the names of counters' families and in its end, and in nothing else.
#[test]
fn both_formats_have_the_same_samples() {
    let exporter = some();
    let samples = |format| {
        let text = text(&exporter, format);
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(samples(TextFormat::OpenMetrics), samples(TextFormat::Prometheus));
    let text = text(&exporter, TextFormat::OpenMetrics);
    assert!(text.ends_with("\n# EOF\n") && !text.contains("# TYPE sctp_count_total"));
    assert!(text.contains("# TYPE sctp_count counter\n"));
}

/// `promtool check metrics` finds nothing wrong.
#[test]
fn promtool_agrees() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = promtool.expect("promtool of the Debian package prometheus");
    promtool.stdin.take().unwrap().write_all(text(&some(), TextFormat::Prometheus).as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Serves a text until `clients`, which run in a thread of their own, are done. Returns what they return.
fn serve<T: Send>(text: &str, clients: impl FnOnce(SocketAddr) -> T + Send) -> T {
    let sockets = server::open(Some(([127, 0, 0, 1], 0).into())).unwrap();
    let addr = sockets[0].local_addr().unwrap();
    let runtime = Builder::new_current_thread().enable_io().enable_time().build().unwrap();
    thread::scope(|scope| {
        let clients = scope.spawn(move || clients(addr));
        runtime.block_on(async {
            let mut server = Server::new(sockets).unwrap();
            while !clients.is_finished() {
                // The wait is given up again and again, as the command's loop does.
                if let Ok(asked) = timeout(Duration::from_millis(5), server.asked()).await {
                    server.answer(&asked, text);
                }
            }
        });
        clients.join().unwrap()
    })
}

fn ask(addr: SocketAddr, request: &[u8]) -> String {
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(request).unwrap();
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer);
    answer
}

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn metrics_are_served() {
    // More than the socket takes at once.
    let text = "sctp_count_total 1\n".repeat(300_000);
    serve(&text, |addr| {
        let answer = ask(addr, GET);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("version=0.0.4"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", text.len())), "{head}");
        assert!(body == text);
        let head = ask(addr, b"HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        let open = ask(addr, b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n");
        assert!(open.contains("Content-Type: application/openmetrics-text; version=1.0.0"));
        assert!(ask(addr, b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(ask(addr, b"\x16\x03\x01\x00\r\n\r\n").starts_with("HTTP/1.1 400 "));
    });
}

/// Clients that hold connections, send without end or nothing, or do not read: each other client is answered at once, and
/// each of theirs is closed in time.
#[test]
fn hostile_clients_are_bounded() {
    let text = "x".repeat(10_000_000);
    serve(&text, |addr| {
        let held: Vec<_> = (0..1000).map(|_| TcpStream::connect(addr).unwrap()).collect();
        // Asks, and never reads.
        let mut deaf = TcpStream::connect(addr).unwrap();
        deaf.write_all(GET).unwrap();
        assert_eq!(ask(addr, GET).len(), text.len() + "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 10000000\r\nConnection: close\r\n\r\n".len());
        // 100 MB of a header.
        let mut endless = TcpStream::connect(addr).unwrap();
        endless.write_all(b"GET /metrics HTTP/1.1\r\nA: ").unwrap();
        let block = vec![b'a'; 1 << 20];
        let written = (0..100).take_while(|_| endless.write_all(&block).is_ok()).count();
        assert!(written < 100, "it was closed before it had sent all");
        // The connections that were held are closed: the oldest to make room, the others when their time is over. If
        // one were not, this would wait for ever.
        for mut client in held {
            let mut byte = [0];
            let read = client.read(&mut byte);
            assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        }
        assert!(ask(addr, GET).starts_with("HTTP/1.1 200 OK"));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever bytes a client sends, in whatever pieces, it gets an answer of HTTP or none, and the next client is served.
    #[test]
    fn any_bytes_are_answered_or_not(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6)) {
        serve("x 1\n", |addr| {
            let mut client = TcpStream::connect(addr).unwrap();
            for piece in pieces {
                if client.write_all(&piece).is_err() {
                    break;
                }
            }
            let _ = client.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer);
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "));
            assert!(ask(addr, GET).ends_with("\r\n\r\nx 1\n"));
        });
    }
}
