//! Reads the files that the guest's `bench.sh` left in a measurement's folder.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::scenarios::TICKS;
use crate::capture::{self, Frame};
use crate::sctp::Chunk;
use crate::vm::text;

/// The costs of one transfer, with or without commands that trace it: the results of `bench` in the guest's
/// `bench.sh`.
pub(super) struct Measured {
    /// CPU time of the whole guest during the transfer, in instructions per event.
    pub busy: f64,
    /// CPU time of the commands' own processes during the transfer, in instructions per event.
    pub own: f64,
    /// CPU time of these processes after the transfer until they had written what it left to write, in instructions per
    /// event.
    pub after: f64,
    /// Objects of type `sample` that the commands wrote as JSON, per event.
    pub samples: f64,
    /// Instructions that the processes ran from their start until all hooks were attached, summed over the
    /// commands.
    pub start: f64,
    /// Peak resident memory of the processes in bytes, summed over the commands.
    pub peak_bytes: f64,
    /// Kernel memory of BPF maps and programs in bytes, summed over the commands.
    pub locked_bytes: f64,
    /// Lines on stderr, summed over the commands: each reports something lost, skipped or evicted.
    pub complaints: f64,
}

impl Measured {
    /// Reads the files of the measurement `name`. `events` is the number of events (mostly chunks) in the
    /// transfer, by which CPU times are divided.
    pub fn read(folder: &Path, name: &str, events: u32) -> Result<Self> {
        let truth: Value = serde_json::from_str(&text(&folder.join(format!("{name}.json")))?)?;
        let per_event = |ns: f64| ns / f64::from(events);
        let time =
            |key: &str| truth[key].as_f64().context("this kernel does not count the time of its tasks");
        let own = per_event(time("named_ns")?);
        let mut m = Self {
            busy: per_event(time("busy_ns")?),
            own,
            after: -own,
            samples: 0.0,
            start: 0.0,
            peak_bytes: 0.0,
            locked_bytes: 0.0,
            complaints: 0.0,
        };
        for index in 1.. {
            let own = folder.join(format!("{name}.{index}.own"));
            if !own.exists() {
                break;
            }
            let numbers = numbers(&own)?;
            let [start, before, after, peak, locked, samples] = numbers[..] else {
                bail!("{name}: {numbers:?}")
            };
            m.after += per_event(after - before);
            m.samples += per_event(samples);
            m.start += start;
            m.peak_bytes += peak;
            m.locked_bytes += locked;
            m.complaints += text(&folder.join(format!("{name}.{index}.err")))?.lines().count() as f64;
            let status = text(&folder.join(format!("{name}.{index}.status")))?;
            ensure!(status.trim() == "0", "{name}: command {index} exited with {status}");
        }
        Ok(m)
    }
}

/// What a capture of a transfer shows.
pub(super) struct Traffic {
    /// DATA chunks sent.
    pub chunks: u32,
    /// Number of packets that carry these DATA chunks.
    pub packets: u32,
    /// SACK chunks.
    pub sacks: u32,
}

impl Traffic {
    /// Counts what is in the file `capture`.
    pub fn read(capture: &Path) -> Result<Self> {
        let frames = capture::read(&[capture])?;
        let count = |frame: &Frame, is: fn(&Chunk) -> bool| {
            frame.packet.chunks.iter().filter(|chunk| is(chunk)).count() as u32
        };
        let data = |frame: &Frame| count(frame, |chunk| matches!(chunk, Chunk::Data(_)));
        let sacks = |frame: &Frame| count(frame, |chunk| matches!(chunk, Chunk::Sack(_)));
        Ok(Self {
            chunks: frames.iter().map(data).sum(),
            packets: frames.iter().filter(|frame| data(frame) > 0).count() as u32,
            sacks: frames.iter().map(sacks).sum(),
        })
    }
}

/// Instructions of a command's own process per tick without events: the result of `ticks` in the guest's
/// `bench.sh`.
pub(super) fn per_tick(folder: &Path, name: &str) -> Result<f64> {
    let numbers = numbers(&folder.join(format!("{name}.own")))?;
    let [before, after] = numbers[..] else { bail!("{name}: {numbers:?}") };
    Ok((after - before) / TICKS)
}

/// Number of runs and run time in ns of each BPF program during a transfer, by `HOOK NAME`. The kernel cuts
/// names to 15 bytes, so that a program and its second copy may share an entry.
pub(super) fn program_stats(folder: &Path, name: &str) -> Result<BTreeMap<String, (f64, f64)>> {
    let counted = |when: &str| {
        let mut counts: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for line in text(&folder.join(format!("{name}.{when}")))?.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [hook, program, runs, ns] = words[..] else { bail!("{line}") };
            let count = counts.entry(format!("{hook} {program}")).or_default();
            count.0 += runs.parse::<f64>()?;
            count.1 += ns.parse::<f64>()?;
        }
        Ok(counts)
    };
    let (before, mut after) = (counted("before")?, counted("after")?);
    for (program, (runs, ns)) in &mut after {
        let (r, n) = before.get(program).copied().unwrap_or_default();
        *runs -= r;
        *ns -= n;
    }
    after.retain(|_, (runs, _)| *runs > 0.0);
    Ok(after)
}

fn numbers(file: &Path) -> Result<Vec<f64>> {
    let words = text(file)?;
    let numbers: std::result::Result<_, _> = words.split_whitespace().map(str::parse).collect();
    numbers.with_context(|| format!("{}: {words}", file.display()))
}
