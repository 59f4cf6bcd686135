//! Makes the scripts that measure in the guest, and the names of the measurements' files.

use std::fmt::Write as _;
use std::time::Duration;

use super::scenarios::{
    BULK, CSV, FLOORS, GROWTH, Growth, IDLE, Idle, JSON, Step, TABLE_SIZES, TICKS, Transfer, tracers,
};
use crate::programs::TOOLS;
use crate::vm::Case;

/// A transfer without commands is measured before the first set of commands, and again after each time this
/// many sets: the cost of the transfer itself changes while the guest runs.
const BASE_EVERY: usize = 3;

/// How often a transfer is measured with a program that does nothing, on each kind of hook.
pub(super) const FLOOR_ROUNDS: u32 = 2;

/// Indices of the sets of commands (in [`tracers`]) before which the transfer is measured without commands,
/// in each round.
pub(super) fn bases(transfer: &Transfer) -> impl Iterator<Item = usize> {
    (0..tracers(transfer.formats).len()).step_by(BASE_EVERY)
}

/// The capture of each transfer, which is made before the first measurement.
pub(super) const CAPTURE: &str = "a0.pcap";

/// Names of measurements, with which the names of their files begin.
pub(super) mod name {
    pub(in super::super) fn base(round: u32, tracers: usize) -> String {
        format!("none.{round}-{tracers}")
    }

    pub(in super::super) fn transfer(round: u32, tracers: usize) -> String {
        format!("{tracers}.{round}")
    }

    pub(in super::super) fn floor(kind: usize, round: u32) -> String {
        format!("floor{kind}.{round}")
    }

    pub(in super::super) fn stats(tool: usize) -> String {
        format!("stats{tool}")
    }

    pub(in super::super) fn tick(tool: &str, idle: usize) -> String {
        format!("{tool}.tick{idle}")
    }

    /// Name of the measurement of a step of [`GROWTH`](super::GROWTH). `tool` is `none` for the transfer
    /// without a command.
    pub(in super::super) fn growth(tool: &str, growth: usize, step: usize) -> String {
        format!("{tool}.{growth}.{step}")
    }
}

/// The case that captures a transfer, and measures it with each set of commands and without. That of [`BULK`]
/// also measures programs that do nothing, and each BPF program of the commands.
pub(super) fn transfer(transfer: &Transfer) -> Case {
    let ends = format!("'--bind 10.2.0.1 {}' '--bind 10.1.0.1 {}'", transfer.serve, transfer.send);
    let mut script = format!(
        ". /bench.sh\ntopology\ncapture a0\nbench captured {ends}\ncapture_stop\nbench warm {ends}\n"
    );
    let tracers = tracers(transfer.formats);
    for round in 0..transfer.rounds {
        for (number, tracers) in tracers.iter().enumerate() {
            if bases(transfer).any(|base| base == number) {
                let _ = writeln!(script, "bench {} {ends}", name::base(round, number));
            }
            let commands: Vec<String> =
                tracers.commands.iter().map(|command| format!("'{command}'")).collect();
            let _ = writeln!(script, "bench {} {ends} {}", name::transfer(round, number), commands.join(" "));
        }
    }
    if transfer.name == BULK.name {
        for (number, kind) in FLOORS.iter().enumerate() {
            for round in 0..FLOOR_ROUNDS {
                let _ = writeln!(script, "floor {} {kind} {ends}", name::floor(number, round));
            }
        }
        script.push_str("sysctl -qw kernel.bpf_stats_enabled=1; STATS=1\n");
        for (number, tool) in TOOLS.iter().enumerate() {
            let _ = writeln!(script, "bench {} {ends} 'sctp-{tool} {}'", name::stats(number), CSV.1);
        }
    }
    case(transfer.case, &script)
}

/// Name of the case of [`growth`].
pub(super) const GROWN: &str = "growth";

/// The case that measures the steps of [`GROWTH`], and the ticks of [`IDLE`].
pub(super) fn growth() -> Case {
    let mut script = String::from(". /bench.sh\ntopology\n");
    for (number, Idle { part, associations, .. }) in IDLE.iter().enumerate() {
        for (tool, flag, size) in TABLE_SIZES {
            let command = format!("'sctp-{tool} -i 1 {} {flag} {}'", JSON.1, size / part);
            let _ = writeln!(script, "ticks {} {TICKS} {associations} {command}", name::tick(tool, number));
        }
    }
    for (growth, Growth { steps, .. }) in GROWTH.iter().enumerate() {
        for (step, Step { path, serve, send, .. }) in steps.iter().enumerate() {
            let ends = format!("'--bind 10.2.0.1 {serve}' '--bind 10.1.0.1 {send}'");
            let _ = writeln!(script, "{path}\nbench {} {ends}", name::growth("none", growth, step));
            for (tool, flag, size) in TABLE_SIZES {
                let command = format!("'sctp-{tool} {} {flag} {size}'", CSV.1);
                let _ = writeln!(script, "bench {} {ends} {command}", name::growth(tool, growth, step));
            }
        }
    }
    case(GROWN, &script)
}

fn case(name: &str, script: &str) -> Case {
    let mut case = Case::new(name, script);
    case.limit = Duration::from_secs(3000);
    case
}
