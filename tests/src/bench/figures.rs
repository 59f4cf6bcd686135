//! Computes figures from measurements, and compares them with the baseline.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::guest::{CAPTURE, FLOOR_ROUNDS, bases, name};
use super::measured::{Measured, Traffic, per_tick, program_stats};
use super::scenarios::{BULK, FLOORS, GROWTH, Growth, IDLE, SIGNALLING, TABLE_SIZES, Transfer, tracers};
use crate::programs::TOOLS;

/// Figures by name: costs in instructions, memory and sizes in bytes, numbers of lines and runs.
pub type Figures = BTreeMap<String, f64>;

/// Adds the figures of one transfer to `figures`, from the files in `folder`.
pub(super) fn of_transfer(transfer: &Transfer, folder: &Path, figures: &mut Figures) -> Result<()> {
    let Transfer { name: of, chunks, rounds, .. } = transfer;
    of_capture(transfer, folder, figures)?;
    let read = |name: &str| Measured::read(folder, name, *chunks);
    let mut none = Vec::new();
    // Per round, the median of the transfers without commands. The kernel side's cost of a command is what a
    // transfer with the command takes beyond this median, without the command's own process.
    let mut bases_of_rounds = Vec::new();
    for round in 0..*rounds {
        let of_round = bases(transfer)
            .map(|tracers| Ok(read(&name::base(round, tracers))?.busy))
            .collect::<Result<Vec<_>>>()?;
        none.extend(&of_round);
        bases_of_rounds.push(median(of_round)?);
    }
    let spread =
        none.iter().copied().fold(f64::MIN, f64::max) - none.iter().copied().fold(f64::MAX, f64::min);
    let base = median(none)?;
    let mut put = |name: String, value: f64| figures.insert(name, value);
    put(format!("none: {of}: instructions per chunk"), base);
    put(format!("none: {of}: spread"), spread);
    for (number, tracers) in tracers(transfer.formats).iter().enumerate() {
        let runs =
            (0..*rounds).map(|round| read(&name::transfer(round, number))).collect::<Result<Vec<_>>>()?;
        let middle = |of: fn(&Measured) -> f64| median(runs.iter().map(of).collect());
        let added = runs.iter().zip(&bases_of_rounds).map(|(m, base)| m.busy - m.own - base);
        let name = &tracers.name;
        put(format!("{name}: {of}: kernel"), median(added.collect())?);
        put(format!("{name}: {of}: own"), middle(|m| m.own)?);
        put(format!("{name}: {of}: after"), middle(|m| m.after)?);
        put(format!("{name}: {of}: samples"), middle(|m| m.samples)?);
        put(format!("{name}: {of}: complaints"), middle(|m| m.complaints)?);
        put(format!("{name}: {of}: peak"), middle(|m| m.peak_bytes)?);
        if *of == BULK.name {
            put(format!("{name}: start"), middle(|m| m.start)?);
            put(format!("{name}: kernel memory"), middle(|m| m.locked_bytes)?);
        }
    }
    if *of == BULK.name {
        for (number, kind) in FLOORS.iter().enumerate() {
            let runs = (0..FLOOR_ROUNDS)
                .map(|round| Ok(read(&name::floor(number, round))?.busy))
                .collect::<Result<Vec<_>>>()?;
            put(format!("floor: {kind}"), runs.iter().sum::<f64>() / f64::from(FLOOR_ROUNDS) - base);
        }
        for (number, tool) in TOOLS.iter().enumerate() {
            for (program, (runs, ns)) in program_stats(folder, &name::stats(number))? {
                put(format!("{tool}: {program}: runs per chunk"), runs / f64::from(*chunks));
                put(format!("{tool}: {program}: per run"), ns / runs);
            }
        }
    }
    Ok(())
}

/// Adds the numbers of packets and SACKs of a transfer to `figures`, from its capture. Fails if the transfer is not the
/// workload that its name says.
fn of_capture(transfer: &Transfer, folder: &Path, figures: &mut Figures) -> Result<()> {
    let Traffic { chunks, packets, sacks } = Traffic::read(&folder.join(CAPTURE))?;
    let of = transfer.name;
    ensure!(chunks == transfer.chunks, "{of}: {chunks} chunks instead of {}", transfer.chunks);
    if of == SIGNALLING.name {
        ensure!(packets == chunks, "{of}: {packets} packets for {chunks} chunks");
        // The receiver may send one that nobody waits for, as its window opens.
        let pairs = packets / 2;
        ensure!((pairs..=pairs + pairs / 100).contains(&sacks), "{of}: {sacks} SACKs for {packets} packets");
    }
    figures.insert(format!("none: {of}: packets"), packets.into());
    figures.insert(format!("none: {of}: SACKs"), sacks.into());
    Ok(())
}

/// Adds the figures of [`GROWTH`] and [`IDLE`] to `figures`, from the files in `folder`.
pub(super) fn of_growth(folder: &Path, figures: &mut Figures) -> Result<()> {
    for (growth, Growth { of, steps, .. }) in GROWTH.iter().enumerate() {
        for (number, step) in steps.iter().enumerate() {
            let read = |tool: &str| Measured::read(folder, &name::growth(tool, growth, number), step.events);
            let (base, size) = (read("none")?.busy, step.size);
            for (tool, ..) in TABLE_SIZES {
                let m = read(tool)?;
                figures.insert(format!("{tool}: {size} {of}: kernel"), m.busy - m.own - base);
                figures.insert(format!("{tool}: {size} {of}: complaints"), m.complaints);
            }
        }
    }
    for (number, idle) in IDLE.iter().enumerate() {
        for (tool, ..) in TABLE_SIZES {
            let per_tick = per_tick(folder, &name::tick(tool, number))?;
            figures.insert(format!("{tool}: a tick, {}: own", idle.name), per_tick);
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("nothing was measured")
}

/// Returns a message for each figure that is more than a tenth above the baseline's. Instructions per event
/// and per tick may be 60 higher still, which is noise. Figures that the baseline lacks, spreads, and costs
/// per run of a program are not compared.
pub fn over(figures: &Figures, baseline: &Figures) -> Vec<String> {
    let grown = figures.iter().filter_map(|(name, value)| {
        let is_time = [": kernel", ": own", ": after"].iter().any(|end| name.ends_with(end));
        let noise = if is_time { 60.0 } else { 0.0 };
        let before = baseline.get(name)?;
        (*value > before * 1.1 + noise).then(|| format!("{name}: {value:.0}, was {before:.0}"))
    });
    grown.filter(|line| !line.contains("spread") && !line.contains("per run")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_more_is_reported_and_noise_is_not() {
        let figures =
            |all: &[(&str, f64)]| all.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect::<Figures>();
        let before = figures(&[("a: kernel", 500.0), ("b: start", 1000.0), ("c: kernel", 50.0)]);
        assert!(over(&before, &before).is_empty());
        let after =
            figures(&[("a: kernel", 620.0), ("b: start", 1090.0), ("c: kernel", 100.0), ("new: own", 9.0)]);
        assert_eq!(over(&after, &before), ["a: kernel: 620, was 500"]);
    }
}
