//! Reads the files that a case left, and has the checks that several cases share.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::capture::{self, Frame};
use sctptrace_tests::command;
use sctptrace_tests::truth::rtt::Flow;
use sctptrace_tests::vm::text;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::matrix::Cell;
use crate::suite::KPROBE;

/// Returns the SCTP packets captured on these interfaces, in the order of time.
pub fn captured(folder: &Path, interfaces: &[&str]) -> Result<Vec<Frame>> {
    let paths: Vec<_> = interfaces.iter().map(|interface| folder.join(format!("{interface}.pcap"))).collect();
    capture::read(&paths)
}

/// Returns the kernel's counters that the case has left in the file `snmp`, by their names in /proc/net/sctp/snmp.
pub fn kernel_counters(folder: &Path) -> Result<HashMap<String, u64>> {
    text(&folder.join("snmp"))?
        .lines()
        .map(|line| {
            let (name, value) = line.split_once(char::is_whitespace).context("snmp")?;
            Ok((name.to_owned(), value.trim().parse()?))
        })
        .collect()
}

/// Returns the objects of a JSON Lines file.
pub fn objects<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    text(path)?
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display())))
        .collect()
}

/// Returns the objects of one type (their member `type`) that a command wrote to `NAME.json`.
pub fn of_type<T: DeserializeOwned>(folder: &Path, name: &str, kind: &str) -> Result<Vec<T>> {
    let objects: Vec<Value> = objects(&folder.join(format!("{name}.json")))?;
    objects
        .into_iter()
        .filter(|object| object["type"] == kind)
        .map(|object| serde_json::from_value(object.clone()).with_context(|| object.to_string()))
        .collect()
}

/// How a command's message about missed events ends: events at which the kernel skipped a program. The message alone is
/// no failure, as the missed events may not matter to a comparison (a chunk of another kind, an association that the
/// filter leaves out). If they matter, the comparison's counts differ.
const MISSED: &str = "the kernel does not run a program that interrupts itself";

/// End of a command's message about unseen chunks.
const UNSEEN: &str = "the kernel counted them, and ran no program at them";

/// Returns whether a command's stderr has no message but those that end in [`MISSED`] or [`UNSEEN`].
pub fn says_nothing(errors: &str) -> bool {
    errors.lines().all(|line| line.ends_with(MISSED) || line.ends_with(UNSEEN))
}

/// Returns whether a command's stderr says that its filters left out all events, and has no other message but how often
/// the kernel skipped a program.
pub fn says_filtered(errors: &str) -> bool {
    let mut lines =
        errors.lines().filter(|line| !line.contains("does not run a program that interrupts itself"));
    let is_filtered =
        lines.next().is_some_and(|line| line.ends_with("the filters (-p, --addr, ...) left them out"));
    is_filtered && lines.next().is_none()
}

/// Ensures that the command exited with 0, and that its accounting has nothing lost, evicted or skipped.
/// Missed events are allowed.
pub fn no_loss(folder: &Path, name: &str, tool: &str) -> Result<()> {
    let [status, errors] = ["status", "err"].map(|end| text(&folder.join(format!("{name}.{end}"))));
    let (status, errors) = (status?, errors?);
    ensure!(status.trim() == "0" && says_nothing(&errors), "{tool} exited with {}: {errors}", status.trim());
    let ends: Vec<Value> = of_type(folder, name, "end")?;
    let [end] = ends.as_slice() else { anyhow::bail!("not one end object: {ends:?}") };
    ensure!(end["lost"] == 0 && end["evicted"] == 0, "{end}");
    let skipped = end["skipped"].as_object().context("skipped is no object")?;
    ensure!(skipped.iter().all(|(reason, count)| reason == "missed" || *count == 0), "{end}");
    Ok(())
}

/// How many events may be missing from a command's output in a comparison.
///
/// The kernel does not run a kprobe's program that would interrupt another one on its CPU
/// (`kprobe_running()`, `trace_call_bpf()`). From 6.7 the kernel counts the programs that it left out, and
/// commands report the count, which here is that of all scenarios of a machine together. With fentry no event
/// may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut(u64);

/// How many events may be missing with kprobes on 6.1, which does not count them: twice as many as were seen
/// to be missing in all scenarios of a machine, of some 100,000 events.
const UNCOUNTED: u64 = 100;

/// How many arrivals may be missing with kprobes on 6.1. Arrivals interrupt whatever else runs: in all
/// scenarios of a machine, later kernels leave out 2,874 and 3,245 of 50,000. The limit is twice that.
const UNCOUNTED_ARRIVALS: u64 = 6000;

impl LeftOut {
    /// No event may be missing.
    pub const NOTHING: Self = Self(0);

    /// The limit for a command's output on a kernel and with a kind of hooks. With kprobes it is the number
    /// of missed events in the command's `end` object, or a constant on 6.1; with fentry it is 0.
    pub fn of(cell: Cell, folder: &Path, tool: &str) -> Result<Self> {
        let ends: Vec<Value> = of_type(folder, tool, "end")?;
        let [end] = ends.as_slice() else { anyhow::bail!("not one end object: {ends:?}") };
        Ok(Self(match (cell.hooks, cell.series) {
            (KPROBE, "6.1") if tool == "jitter" => UNCOUNTED_ARRIVALS,
            (KPROBE, "6.1") => UNCOUNTED,
            (KPROBE, _) => {
                let skipped = end["skipped"].as_object().context("skipped is no object")?;
                ["missed", "sack_missed"].iter().filter_map(|reason| skipped.get(*reason)?.as_u64()).sum()
            }
            _ => 0,
        }))
    }

    /// Returns whether missed events can explain the difference between a command's count and the true one.
    pub const fn explains(self, count: u64, truth: u64) -> bool {
        count.abs_diff(truth) <= self.0
    }

    /// Returns whether missed events can explain the difference between a command's sum and the true one, if
    /// an event adds up to 100 to the sum: for example, all chunks that are sent again at one expiry of
    /// T3-rtx.
    pub const fn explains_sum(self, sum: u64, truth: u64) -> bool {
        sum.abs_diff(truth) <= self.0 * 100
    }

    /// Returns whether no event may be missing. Only then can values be compared that depend on each single
    /// event.
    pub const fn is_nothing(self) -> bool {
        self.0 == 0
    }
}

/// An association in the report of one end of `sctp-traffic`.
#[derive(Debug, Deserialize)]
pub struct Association {
    pub assoc_id: u32,
    pub local_port: u16,
    pub out_streams: u64,
    pub stats: Stats,
    pub paths: Vec<PeerPath>,
    pub unacked_after_sending: u64,
    pub sent: BTreeMap<u16, Count>,
    pub sending: Sending,
}

#[derive(Debug, Deserialize)]
pub struct Sending {
    pub blocked_sends: u64,
    pub blocked_us: u64,
    pub refused_sends: u64,
}

#[derive(Debug, Deserialize)]
pub struct Stats {
    pub data_sent: u64,
    pub retransmitted: u64,
    pub data_received: u64,
}

#[derive(Debug, Deserialize)]
pub struct PeerPath {
    pub address: SocketAddr,
    pub rto_ms: u32,
    pub srtt_ms: u32,
}

#[derive(Debug, Deserialize)]
pub struct Count {
    pub messages: u64,
    pub bytes: u64,
}

#[derive(Deserialize)]
struct End {
    associations: Vec<Association>,
}

/// Returns the associations in the report of one end of `sctp-traffic`, the file `name`.
pub fn traffic(folder: &Path, name: &str) -> Result<Vec<Association>> {
    let mut ends: Vec<End> = objects(&folder.join(name))?;
    Ok(ends.pop().context("sctp-traffic said nothing")?.associations)
}

impl Association {
    /// Returns whether the flow has this association's ports, if this is the report of the flow's sender.
    pub fn is_of(&self, flow: &Flow) -> bool {
        self.local_port == flow.source_port
            && self.paths.iter().any(|path| path.address.port() == flow.destination_port)
    }

    /// Ensures that the capture has as many chunks, retransmissions and bytes as the sender's kernel and
    /// `sctp-traffic` counted. Otherwise the capture cannot serve as the truth.
    pub fn ensure_counts(&self, flow: &Flow) -> Result<()> {
        let kernel = (self.stats.data_sent, self.stats.retransmitted);
        let capture = (flow.tsns.len() as u64, flow.retransmissions());
        ensure!(kernel == capture, "chunks sent and retransmitted: kernel {kernel:?}, capture {capture:?}");
        let sent: u64 = self.sent.values().map(|count| count.bytes).sum();
        // The farewell, the client's last message, has four bytes and is not in `sent`.
        ensure!(sent + 4 == flow.bytes, "bytes: sent {sent} + 4, captured {}", flow.bytes);
        Ok(())
    }
}

/// The smallest of the sorted values at or below which `percent` % of them lie; NaN if there are none.
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// Lets `contract.py` check the output files of a command. `form` is a key of the script's `FORMS`.
pub fn contract(folder: &Path, form: &str, files: &[&str]) -> Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/contract.py");
    let files = files.iter().map(|file| folder.join(file));
    command::run(Command::new("python3").arg(script).arg(form).args(files))
        .with_context(|| form.to_owned())?;
    Ok(())
}

/// Ensures that `NAME.err` is a single line, which begins with the command's name and contains `reason`.
pub fn ensure_sentence(folder: &Path, tool: &str, name: &str, reason: &str) -> Result<()> {
    let errors = text(&folder.join(format!("{name}.err")))?;
    let good =
        errors.lines().count() == 1 && errors.starts_with(&format!("{tool}: ")) && errors.contains(reason);
    ensure!(good, "{name}: not one sentence about {reason:?}: {errors}");
    Ok(())
}

/// Ensures that `csv-quiet.out` (by fentry) and `kprobe.out` have the same numbers, within 10 %. By kprobes
/// some events are missing: several commands run at the same time, and the kernel leaves out a program that
/// would interrupt another one (`trace_call_bpf()`).
pub fn same_by_kprobes(folder: &Path) -> Result<()> {
    let [csv, kprobe] = ["csv-quiet.out", "kprobe.out"].map(|name| text(&folder.join(name)));
    let (csv, kprobe) = (csv?, kprobe?);
    let fields = |text: &str| text.replace('\n', ",").split(',').map(str::to_owned).collect::<Vec<_>>();
    let (csv_fields, kprobe_fields) = (fields(&csv), fields(&kprobe));
    let same = csv_fields.len() == kprobe_fields.len()
        && csv_fields.iter().zip(&kprobe_fields).all(|(one, other)| match (one.parse(), other.parse()) {
            (Ok::<f64, _>(one), Ok::<f64, _>(other)) => (one - other).abs() <= 0.1 * one.max(other),
            _ => one == other,
        });
    ensure!(same, "by kprobes the counts are others:\n{csv}\n{kprobe}");
    Ok(())
}

/// All objects that a command with `--json -f NAME.json` wrote.
pub struct Report {
    objects: Vec<Value>,
    /// The last object, of type `end`, with the command's accounting.
    pub end: Value,
}

impl Report {
    /// Reads `NAME.json`, and ensures that the command exited with 0 and reported no loss (see [`no_loss`]).
    pub fn read(folder: &Path, name: &str) -> Result<Self> {
        no_loss(folder, name, name)?;
        let mut objects: Vec<Value> = objects(&folder.join(format!("{name}.json")))?;
        let end = objects.pop().context("no objects")?;
        ensure!(end["type"] == "end", "the last object: {end}");
        Ok(Self { objects, end })
    }

    /// The objects of a type.
    pub fn objects<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["type"] == kind)
    }

    /// All objects but the last, in the order of the output.
    pub fn all(&self) -> &[Value] {
        &self.objects
    }

    /// Returns the objects of a type, each read as a `T`.
    pub fn of<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>> {
        self.objects(kind)
            .map(|object| serde_json::from_value(object.clone()).with_context(|| object.to_string()))
            .collect()
    }

    /// The sum of a member over the objects of a type; objects without the member add nothing.
    pub fn sum(&self, kind: &str, key: &str) -> u64 {
        self.objects(kind).filter_map(|object| object[key].as_u64()).sum()
    }
}
