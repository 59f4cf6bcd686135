//! Compares `sctp-rtt` with captures.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use sctptrace_tests::truth::rtt::{Flow, flows};
use sctptrace_tests::vm::text;
use serde::Deserialize;

use crate::cases::scenarios::Scenario;
use crate::compare::{LeftOut, captured, objects, percentile, traffic};
use crate::matrix::Cell;
use crate::suite::KPROBE;

/// How far the round-trip times of `sctp-rtt` may be from those of the capture.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Limits of the error's 50th and 99th percentile, in us.
    error_us: (f64, f64),
    /// Longest round-trip time of a prompt sample, in us; `None`: not checked. On a path with nothing but a
    /// constant delay, hardly any SACK that was due at once takes longer, and each SACK that waited for the
    /// timer or a second packet does.
    prompt_us: Option<f64>,
    /// True if the sender sends without a pause. On 7.3 more SACKs then wait in the backlog of its socket,
    /// for up to 2 ms.
    no_pause: bool,
}

/// Limits where SACKs wait for nothing. From the tap to `sctp_outq_sack()` a SACK takes 5 to 10 us. From
/// `sctp_chunk_assign_tsn()` to the tap a chunk takes another 1 to 20 us: for the later chunks of its
/// packet, the packet's checksum, and the programs of five commands.
pub const CLOSE: Limits = Limits::new(30.0, 50.0);

/// Limits with losses. A SACK may come while the kernel still retransmits what the SACK before it reported as
/// missing. Then it waits after the tap, for up to 60 us. This happens to about one SACK in a hundred.
pub const LOSSY: Limits = Limits::new(30.0, 100.0);

/// Limits with bursts. While the sending process holds the socket, sctp_rcv() puts SACKs into the socket's
/// backlog. The tap has seen them by then, but the command's time is that of sctp_outq_sack(), which comes
/// later.
pub const QUEUED: Limits = Limits::new(50.0, 2000.0);

/// Added to the limits with kprobes, in us. Each kprobe takes some microseconds, for each of a packet's
/// chunks.
const KPROBES: (f64, f64) = (40.0, 50.0);

/// Added to the limits on kernels other than 6.12, in us. From the tap to the hook 6.1 takes up to 10 us
/// more, and 100 us more for a SACK that causes retransmissions.
const OTHER_KERNELS: (f64, f64) = (10.0, 100.0);

/// Added to the limits on a hardened kernel, in us. There interrupts have threads, to which the CPU has to switch, and memory
/// is poisoned and wiped.
const HARDENED: (f64, f64) = (30.0, 50.0);

/// The largest error that a sample may have, in us. A sample of the wrong SACK or transmission would mostly
/// have a larger one. At full speed a SACK was seen to wait for 12 ms, while the five commands wrote their
/// output.
const FARTHEST: f64 = 20_000.0;

impl Limits {
    const fn new(p50_us: f64, p99_us: f64) -> Self {
        Self { error_us: (p50_us, p99_us), prompt_us: None, no_pause: false }
    }

    /// These limits, and `longest_us` for prompt samples.
    pub const fn prompt(self, longest_us: f64) -> Self {
        Self { prompt_us: Some(longest_us), ..self }
    }

    /// These limits, for a sender that sends without a pause.
    pub const fn sender_never_pauses(self) -> Self {
        Self { no_pause: true, ..self }
    }

    /// The limits of the error's 50th and 99th percentile on a kernel and with a kind of hooks, in us.
    fn on(self, cell: Cell) -> (f64, f64) {
        let more = match cell.hooks {
            _ if cell.series == "7.3" && self.no_pause => QUEUED.error_us,
            KPROBE if cell.series == "6.12" => KPROBES,
            KPROBE => (KPROBES.0 + OTHER_KERNELS.0, KPROBES.1 + OTHER_KERNELS.1),
            _ if cell.series == "6.12" => (0.0, 0.0),
            _ => OTHER_KERNELS,
        };
        let hardened = if cell.is_hardened { HARDENED } else { (0.0, 0.0) };
        (self.error_us.0 + more.0 + hardened.0, self.error_us.1 + more.1 + hardened.1)
    }
}

/// Compares `rtt.json` with the capture at the sender: samples (see [`compare()`]), summaries, and, where the
/// scenario limits them, prompt samples. If the scenario also has text rows, `rows.out`, compares those.
pub fn check(folder: &Path, cell: Cell, scenario: &Scenario, left_out: LeftOut) -> Result<()> {
    let seen = Seen::read(folder, "rtt")?;
    let flows = flows(&captured(folder, scenario.sender())?);
    ensure!(!flows.is_empty(), "the capture holds no DATA");
    for flow in &flows {
        let association = traffic(folder, "client.json")?
            .into_iter()
            .find(|association| association.is_of(flow))
            .context("a captured flow that the client knows nothing of")?;
        association.ensure_counts(flow)?;
    }
    ensure!(!left_out.is_nothing() || seen.end.unseen == Some(0), "{:?}", seen.end);
    let figures = compare(&flows, &seen, scenario.rtt.on(cell), left_out)?;
    check_summaries(&flows, &seen, left_out)?;
    if let Some(longest_us) = scenario.rtt.prompt_us {
        check_prompt(&seen, longest_us)?;
    }
    if folder.join("rows.out").exists() {
        let [flow] = flows.as_slice() else { bail!("{} associations", flows.len()) };
        let rows = Seen::read_rows(folder, "rows", flow)?;
        eprintln!("    rows: {}", compare(&flows, &rows, scenario.rtt.on(cell), left_out)?);
    }
    eprintln!("    {}: {figures}", scenario.name);
    Ok(())
}

/// For traffic of other programs than `sctp-traffic`, which write no report: compares samples and summaries
/// with the captures, and checks that all chunks are accounted for. No event may be missing.
pub fn check_flows(folder: &Path, flows: &[Flow]) -> Result<()> {
    let seen = Seen::read(folder, "rtt")?;
    eprintln!("    rtt: {}", compare(flows, &seen, QUEUED.error_us, LeftOut::NOTHING)?);
    check_summaries(flows, &seen, LeftOut::NOTHING)?;
    check_sum(flows, &seen)
}

/// Case `rtt-outstanding`: the chunks that the capture and the kernel's own count have without an
/// acknowledgement are counted as outstanding at the end, or as skipped if they were sent again.
pub fn check_outstanding(folder: &Path) -> Result<()> {
    let flows = flows(&captured(folder, &["a0"])?);
    let seen = Seen::read(folder, "rtt")?;
    let tsns = flows.iter().flat_map(|flow| flow.tsns.values());
    let waiting = tsns.filter(|tsn| tsn.acknowledged_ns.is_none()).count() as u64;
    // Some chunks that nobody acknowledged may have been sent again before the trace ended.
    let again = seen.end.skipped.get("retransmitted").context("skipped.retransmitted")?;
    ensure!(seen.end.outstanding > 10, "{:?}", seen.end);
    ensure!(waiting == seen.end.outstanding + again, "{waiting} wait: {:?}", seen.end);
    // The path was down when the client asked, and T3-rtx had not expired: nothing was sent or acknowledged
    // between then and the end of the trace.
    let [client] = &traffic(folder, "client.json")?[..] else { bail!("not one association") };
    let unacked = client.unacked_after_sending;
    ensure!(unacked == seen.end.outstanding + again, "{unacked} unacked in the kernel: {:?}", seen.end);
    check_sum(&flows, &seen)
}

/// Scenario `two-paths`: there are samples on both paths.
pub fn check_two_paths(folder: &Path, _: LeftOut) -> Result<()> {
    let seen = Seen::read(folder, "rtt")?;
    let paths: HashSet<_> = seen.samples.iter().map(|sample| sample.path).collect();
    ensure!(paths.len() == 2, "samples on {paths:?} only");
    Ok(())
}

/// A `sample` object of `sctp-rtt`.
#[derive(Debug, Clone, Deserialize)]
pub struct Sample {
    pub assoc_id: u32,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub path: IpAddr,
    pub tsn: u32,
    pub rtt_us: f64,
    pub prompt: bool,
    pub life: u32,
}

/// A `summary` object of `sctp-rtt`.
#[derive(Debug, Clone, Deserialize)]
struct Summary {
    local: SocketAddr,
    peer: SocketAddr,
    path: IpAddr,
    samples: u64,
    rtt_avg_us: Option<f64>,
    rtt_min_us: Option<f64>,
    rtt_max_us: Option<f64>,
    rtt_p50_us: Option<f64>,
    rtt_p90_us: Option<f64>,
    rtt_p99_us: Option<f64>,
    prompt_samples: u64,
    retransmitted: u64,
    life: u32,
}

/// The `end` object of `sctp-rtt`.
#[derive(Debug, Deserialize)]
pub struct End {
    lost: u64,
    evicted: u64,
    outstanding: u64,
    unseen: Option<u64>,
    pub skipped: BTreeMap<String, u64>,
}

/// All that a run of `sctp-rtt --json` printed.
pub struct Seen {
    pub samples: Vec<Sample>,
    summaries: Vec<Summary>,
    pub end: End,
}

impl Seen {
    /// Reads `NAME.json`, and ensures that the command exited with 0, and lost and evicted nothing.
    pub fn read(folder: &Path, name: &str) -> Result<Self> {
        let status = text(&folder.join(format!("{name}.status")))?;
        let errors = text(&folder.join(format!("{name}.err")))?;
        ensure!(status.trim() == "0", "sctp-rtt exited with {}: {errors}", status.trim());
        let (mut samples, mut summaries, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let objects: Vec<serde_json::Value> = objects(&folder.join(format!("{name}.json")))?;
        for object in objects {
            ensure!(object["tool"] == "rtt", "tool: {object}");
            ensure!(ends.is_empty(), "an object after the end: {object}");
            match object["type"].as_str() {
                Some("sample") => samples.push(serde_json::from_value::<Sample>(object)?),
                Some("summary") => summaries.push(serde_json::from_value(object)?),
                Some("end") => ends.push(serde_json::from_value::<End>(object)?),
                Some("interval" | "finding") => {}
                _ => bail!("type: {object}"),
            }
        }
        let end = ends.pop().context("no end object")?;
        ensure!(end.lost == 0 && end.evicted == 0, "{end:?}");
        Ok(Self { samples, summaries, end })
    }
}

impl Seen {
    /// Reads the text rows in `NAME.out`, all of one association. Text rows have no path: it is taken from
    /// the capture's flow.
    fn read_rows(folder: &Path, name: &str, flow: &Flow) -> Result<Self> {
        let status = text(&folder.join(format!("{name}.status")))?;
        ensure!(status.trim() == "0", "sctp-rtt exited with {}", status.trim());
        let output = text(&folder.join(format!("{name}.out")))?;
        let rows = output.lines().skip(1).take_while(|line| !line.starts_with("Association "));
        let samples = rows
            .map(|row| {
                let words: Vec<&str> = row.split_whitespace().collect();
                let [assoc_id, tsn, rtt_ms, _] = words[..] else { bail!("not a row: {row}") };
                let tsn = tsn.parse()?;
                let path = flow.tsns.get(&tsn).map_or(flow.source, |tsn| tsn.path);
                Ok(Sample {
                    assoc_id: assoc_id.parse()?,
                    local: (flow.source, flow.source_port).into(),
                    peer: (path, flow.destination_port).into(),
                    path,
                    tsn,
                    rtt_us: rtt_ms.parse::<f64>()? * 1000.0,
                    prompt: false,
                    life: 1,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            samples,
            summaries: Vec::new(),
            end: End { lost: 0, evicted: 0, outstanding: 0, unseen: None, skipped: BTreeMap::new() },
        })
    }
}

/// The ports of an association: the sender's and the receiver's.
type Ports = (u16, u16);

/// Ensures that each valid TSN has one sample, that no other TSN has any, and that the samples' errors are
/// within the limits (50th and 99th percentile, in us). A TSN is valid if it was acknowledged after it had
/// been sent only once, so that its round-trip time is known. Returns figures for people.
pub fn compare(flows: &[Flow], seen: &Seen, limits: (f64, f64), left_out: LeftOut) -> Result<String> {
    // An association that was restarted has several flows, in which the same TSNs may occur.
    let mut by_ports: HashMap<Ports, Vec<&Flow>> = HashMap::new();
    for flow in flows {
        by_ports.entry((flow.source_port, flow.destination_port)).or_default().push(flow);
    }
    for flows in by_ports.values_mut() {
        flows.sort_by_key(|flow| flow.tsns.values().map(|tsn| tsn.sent_ns).min());
    }
    let mut sampled: HashSet<(Ports, usize, u32)> = HashSet::new();
    let mut lives: BTreeMap<(Ports, u32), BTreeMap<u32, usize>> = BTreeMap::new();
    let (mut errors, mut invalid) = (Vec::new(), 0);
    for sample in &seen.samples {
        let ports = (sample.local.port(), sample.peer.port());
        let flows =
            by_ports.get(&ports).ok_or_else(|| anyhow!("a sample of a foreign association: {sample:?}"))?;
        let mut known: Vec<_> = flows.iter().enumerate().collect();
        known.retain(|(_, flow)| flow.tsns.contains_key(&sample.tsn));
        ensure!(!known.is_empty(), "a TSN never sent: {sample:?}");
        known.retain(|(_, flow)| flow.tsns[&sample.tsn].rtt_ns().is_some());
        // A restart begins a new flow and a new life. Lives come in the order of their flows; a life in which
        // no DATA was sent has no flow.
        let places = lives.entry((ports, sample.assoc_id)).or_default();
        let earlier = places.range(..sample.life).next_back().map(|(_, index)| *index);
        match places.get(&sample.life) {
            _ if sample.life == 1 => {}
            Some(place) => known.retain(|(index, _)| index == place),
            None => known.retain(|(index, _)| earlier.is_none_or(|earlier| *index > earlier)),
        }
        // The TSN was sent again, but the kernel left out the program at the retransmission.
        if known.is_empty() && left_out.explains(invalid + 1, 0) {
            invalid += 1;
            continue;
        }
        ensure!(!known.is_empty(), "no valid TSN, or of another life: {sample:?}");
        let new = known.into_iter().find(|(index, _)| sampled.insert((ports, *index, sample.tsn)));
        let (index, flow) = new.ok_or_else(|| anyhow!("sampled twice: {sample:?}"))?;
        let tsn = flow.tsns[&sample.tsn];
        places.insert(sample.life, index);
        let rtt_ns = tsn.rtt_ns().context("no valid TSN")?;
        ensure!(tsn.path == sample.path, "sent to {}: {sample:?}", tsn.path);
        errors.push((sample.rtt_us - rtt_ns as f64 / 1000.0).abs());
    }
    // Valid TSNs may have no sample if a SACK covered or named more chunks than the kernel side scans. Then
    // `skipped.scan_limit` must not be 0.
    let (mut valid, mut missing, mut unseen) = (0, 0, 0);
    for (ports, flows) in &by_ports {
        for (index, flow) in flows.iter().enumerate() {
            for (number, tsn) in flow.tsns.iter().filter(|(_, tsn)| tsn.rtt_ns().is_some()) {
                let is_sampled = sampled.contains(&(*ports, index, *number));
                unseen += u64::from(!is_sampled && !tsn.crowded);
                let is_explained = is_sampled || tsn.crowded || left_out.explains(unseen, 0);
                ensure!(is_explained, "no sample of {number}, {tsn:?}; {:?}", seen.end.skipped);
                valid += 1;
                missing += usize::from(!is_sampled && tsn.crowded);
            }
        }
    }
    ensure!(
        missing == 0 || seen.end.skipped.get("scan_limit").is_some_and(|count| *count > 0),
        "{missing} samples are missing"
    );
    errors.sort_by(f64::total_cmp);
    let (p50, p99) = (percentile(&errors, 50), percentile(&errors, 99));
    let retransmitted: u64 = flows.iter().map(Flow::retransmissions).sum();
    let max = percentile(&errors, 100);
    let figures = format!(
        "{} of {valid} valid TSNs sampled, {retransmitted} retransmissions, error p50 {p50:.1} us, p99 {p99:.1} us, \
         max {max:.1} us",
        sampled.len(),
    );
    ensure!(p50 <= limits.0 && p99 <= limits.1 && (max <= FARTHEST || !left_out.is_nothing()), "{figures}");
    Ok(figures)
}

/// Ensures that each chunk sent gave a sample, or is counted under one reason in `skipped`, or is
/// outstanding, or was missed.
fn check_sum(flows: &[Flow], seen: &Seen) -> Result<()> {
    let sent: u64 = flows.iter().map(|flow| flow.tsns.len() as u64).sum();
    let End { outstanding, skipped, .. } = &seen.end;
    let others = ["missed", "before_start", "busy"];
    let chunks = skipped.iter().filter(|(reason, _)| !others.contains(&reason.as_str()));
    let known = seen.samples.len() as u64 + chunks.map(|(_, count)| count).sum::<u64>() + outstanding;
    // A chunk at which the kernel left out the program is in none of these counts, but in `unseen`.
    let unseen = seen.end.unseen.context("unseen")?;
    let missed = skipped.get("missed").copied().unwrap_or(0);
    ensure!(unseen <= missed, "{:?}", seen.end);
    // Chunks missed before the first event that was seen of an association are not even in `unseen`.
    ensure!((known..=known + missed).contains(&sent), "{sent} sent, {known} known: {:?}", seen.end);
    Ok(())
}

/// Ensures that there are prompt samples, and that they take at most `longest_us`, the path's own round-trip
/// time; and that some other samples take longer. (That each sample is true was checked before.)
fn check_prompt(seen: &Seen, longest_us: f64) -> Result<()> {
    let (prompt, other): (Vec<_>, Vec<_>) = seen.samples.iter().partition(|sample| sample.prompt);
    ensure!(!prompt.is_empty(), "no prompt sample");
    // One prompt sample in fifty may be late for another reason: its end was busy for a jiffy, while five
    // commands ended an interval.
    let late: Vec<_> = prompt.iter().filter(|sample| sample.rtt_us > longest_us).collect();
    ensure!(late.len() * 50 <= prompt.len(), "{} prompt, later than {longest_us} us: {late:?}", prompt.len());
    ensure!(other.iter().any(|sample| sample.rtt_us > longest_us), "no sample that had to wait");
    Ok(())
}

/// Ensures that each association, path and life with samples has one `summary` object, which agrees with
/// these samples; and that the summaries count as many retransmissions as the capture has.
pub fn check_summaries(flows: &[Flow], seen: &Seen, left_out: LeftOut) -> Result<()> {
    let mut groups: BTreeMap<(SocketAddr, SocketAddr, IpAddr, u32), Vec<&Sample>> = BTreeMap::new();
    for sample in &seen.samples {
        groups.entry((sample.local, sample.peer, sample.path, sample.life)).or_default().push(sample);
    }
    for ((local, peer, path, life), samples) in &groups {
        let mut rows = seen.summaries.iter().filter(|row| {
            let ports = (row.local.port(), row.peer.port());
            (row.path, row.life) == (*path, *life) && ports == (local.port(), peer.port())
        });
        let row = rows.next().ok_or_else(|| anyhow!("no row for {local} {peer} {path}"))?;
        ensure!(rows.next().is_none(), "two rows for {local} {peer} {path}");
        let mut times: Vec<f64> = samples.iter().map(|sample| sample.rtt_us).collect();
        times.sort_by(f64::total_cmp);
        ensure!(row.samples == times.len() as u64, "{} samples, and {row:?}", times.len());
        let prompt = samples.iter().filter(|sample| sample.prompt).count() as u64;
        ensure!(row.prompt_samples == prompt, "{prompt} prompt samples, and {row:?}");
        let avg = times.iter().sum::<f64>() / times.len() as f64;
        // Each value, the samples' own, and the tolerance: the rounding of the samples, or for percentiles
        // the width of a histogram's bucket, 1/16.
        let expected = [
            (row.rtt_avg_us, avg, 0.01),
            (row.rtt_min_us, times[0], 0.001),
            (row.rtt_max_us, times[times.len() - 1], 0.001),
            (row.rtt_p50_us, percentile(&times, 50), percentile(&times, 50) / 16.0),
            (row.rtt_p90_us, percentile(&times, 90), percentile(&times, 90) / 16.0),
            (row.rtt_p99_us, percentile(&times, 99), percentile(&times, 99) / 16.0),
        ];
        for (value, truth, tolerance) in expected {
            let value = value.context("null where there are samples")?;
            ensure!((value - truth).abs() <= tolerance, "{value} where the samples say {truth}: {row:?}");
        }
    }
    let sampled: u64 = seen.summaries.iter().map(|row| row.samples).sum();
    ensure!(
        sampled == seen.samples.len() as u64,
        "rows sum up to {sampled} of {} samples",
        seen.samples.len()
    );
    let rows: u64 = seen.summaries.iter().map(|row| row.retransmitted).sum();
    let truth: u64 = flows.iter().map(Flow::retransmissions).sum();
    ensure!(left_out.explains(rows, truth), "{rows} retransmissions in the rows, {truth} in the capture");
    Ok(())
}
