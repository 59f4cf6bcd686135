//! Reading what the guest left, and comparing.

use std::collections::BTreeMap;
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

/// The packets that the taps of these interfaces saw.
pub fn captured(folder: &Path, interfaces: &[&str]) -> Result<Vec<Frame>> {
    let paths: Vec<_> = interfaces.iter().map(|interface| folder.join(format!("{interface}.pcap"))).collect();
    capture::read(&paths)
}

/// The objects of a JSON Lines file.
pub fn objects<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    text(path)?
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display())))
        .collect()
}

/// The objects of one type that a tool wrote to `NAME.json`.
pub fn of_type<T: DeserializeOwned>(folder: &Path, name: &str, kind: &str) -> Result<Vec<T>> {
    let objects: Vec<Value> = objects(&folder.join(format!("{name}.json")))?;
    objects
        .into_iter()
        .filter(|object| object["type"] == kind)
        .map(|object| serde_json::from_value(object.clone()).with_context(|| object.to_string()))
        .collect()
}

/// What a tool says of events at which the kernel did not run a program. Such may be of no concern to a comparison (a
/// chunk of another kind, a filtered association), which sees whether they are.
const MISSED: &str = "the kernel does not run a program that interrupts itself";

/// What it adds where the kernel tells that chunks were among these.
const UNSEEN: &str = "the kernel sent them without running the programs at them";

/// Nothing else stands on stderr.
pub fn says_nothing(errors: &str) -> bool {
    errors.lines().all(|line| line.ends_with(MISSED) || line.ends_with(UNSEEN))
}

/// A filter that fits nothing is told of, and nothing else.
pub fn says_filtered(errors: &str) -> bool {
    errors.lines().count() == 1 && errors.trim_end().ends_with("the filters (-p, --addr, ...) left them out")
}

/// The tool ended well, and its accounting says that nothing was lost, evicted or skipped.
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

/// How many events a comparison may find missing.
///
/// The kernel does not run a kprobe's program that would interrupt another one on its CPU (`kprobe_running()`,
/// `trace_call_bpf()`). From 6.7 it counts them, and commands report the count; here that of all scenarios of a machine.
/// Programs of fentry are compared as if they always ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut(u64);

/// As many were seen to be left out by kprobes on 6.1, in all scenarios of a machine, of some 100,000 events; and as many
/// again.
const UNCOUNTED: u64 = 100;

/// The same of arrivals, which interrupt whatever else is at work: later kernels count 2,874 and 3,245 of 50,000 there; and
/// as many again.
const UNCOUNTED_ARRIVALS: u64 = 6000;

impl LeftOut {
    /// Nothing was.
    pub const NOTHING: Self = Self(0);

    /// By what a command says at its end.
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

    /// Whether a count may stand where another one is true.
    pub const fn explains(self, count: u64, truth: u64) -> bool {
        count.abs_diff(truth) <= self.0
    }

    /// The same where an event counts for several: all chunks that are sent again at one expiry, say.
    pub const fn explains_sum(self, sum: u64, truth: u64) -> bool {
        sum.abs_diff(truth) <= self.0 * 100
    }

    /// Whether values that hang on each single event are to be compared.
    pub const fn is_nothing(self) -> bool {
        self.0 == 0
    }
}

/// What one end of `sctp-traffic` says of an association.
#[derive(Debug, Deserialize)]
pub struct Association {
    pub assoc_id: u32,
    pub local_port: u16,
    pub out_streams: u64,
    pub stats: Stats,
    pub paths: Vec<PeerPath>,
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

/// The associations of one end of `sctp-traffic`.
pub fn traffic(folder: &Path, name: &str) -> Result<Vec<Association>> {
    let mut ends: Vec<End> = objects(&folder.join(name))?;
    Ok(ends.pop().context("sctp-traffic said nothing")?.associations)
}

impl Association {
    /// Whether it is what the flow belongs to, seen from the flow's sender.
    pub fn is_of(&self, flow: &Flow) -> bool {
        self.local_port == flow.source_port
            && self.paths.iter().any(|path| path.address.port() == flow.destination_port)
    }

    /// The kernel counted what the capture holds: else the capture is no truth.
    pub fn ensure_counts(&self, flow: &Flow) -> Result<()> {
        let kernel = (self.stats.data_sent, self.stats.retransmitted);
        let capture = (flow.tsns.len() as u64, flow.retransmissions());
        ensure!(kernel == capture, "chunks sent and retransmitted: kernel {kernel:?}, capture {capture:?}");
        let sent: u64 = self.sent.values().map(|count| count.bytes).sum();
        // The farewell has four bytes.
        ensure!(sent + 4 == flow.bytes, "bytes: sent {sent} + 4, captured {}", flow.bytes);
        Ok(())
    }
}

/// The value below which `percent` of the sorted values lie.
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// Let the Python script check an output: see `contract.py` for the forms.
pub fn contract(folder: &Path, form: &str, files: &[&str]) -> Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/contract.py");
    let files = files.iter().map(|file| folder.join(file));
    command::run(Command::new("python3").arg(script).arg(form).args(files))
        .with_context(|| form.to_owned())?;
    Ok(())
}

/// One line that names the command and the reason.
pub fn ensure_sentence(folder: &Path, tool: &str, name: &str, reason: &str) -> Result<()> {
    let errors = text(&folder.join(format!("{name}.err")))?;
    let good =
        errors.lines().count() == 1 && errors.starts_with(&format!("{tool}: ")) && errors.contains(reason);
    ensure!(good, "{name}: not one sentence about {reason:?}: {errors}");
    Ok(())
}

/// The rows of `csv-quiet.out` and `kprobe.out` have the same numbers, within 10 %: the kernel drops a kprobe that
/// interrupts another one's program (`trace_call_bpf()`), and several run here; 6.12 counts that, and so do we.
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

/// All that a run of a tool with `--json -f NAME.json` printed.
pub struct Report {
    objects: Vec<Value>,
    /// The `end` object.
    pub end: Value,
}

impl Report {
    /// Read it, and make sure that the tool ended well and reported no loss.
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

    /// The same, typed.
    pub fn of<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>> {
        self.objects(kind)
            .map(|object| serde_json::from_value(object.clone()).with_context(|| object.to_string()))
            .collect()
    }

    /// A member of the objects of a type, summed up.
    pub fn sum(&self, kind: &str, key: &str) -> u64 {
        self.objects(kind).filter_map(|object| object[key].as_u64()).sum()
    }
}
