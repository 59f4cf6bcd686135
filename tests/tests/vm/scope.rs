//! How many of the VM tests to run: `$SCTPTRACE_SCOPE`, which `cargo xtask test` sets.

use std::env;

use anyhow::{Result, bail};
use sctptrace_tests::kernel::Series;

use crate::suite::{FENTRY, KPROBE};

/// How many of the VM tests to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A few scenarios and cases on 6.12 with fentry, which take some minutes.
    Quick,
    /// What every change has to pass: nearly everything on 6.12 with fentry; with kprobes and on other
    /// kernels the scenarios and cases that differ most.
    Ci,
    /// All scenarios and cases, on every kernel and with each kind of hooks.
    All,
}

/// Scenarios of [`Scope::Quick`], on 6.12 with fentry.
const QUICK: [&str; 3] = ["loss", "two-paths", "slow-reader"];

/// Other cases of [`Scope::Quick`], on 6.12.
const QUICK_CASES: [&str; 2] = ["rtt-forms", "privilege-file"];

/// Kernels and kinds of hooks on which [`Scope::Ci`] runs the scenarios of [`SUBSET`]. On 6.12 with fentry it
/// runs all scenarios.
const ELSEWHERE_WITH: [(Series, &str); 3] =
    [(Series::V6_1, FENTRY), (Series::V6_12, KPROBE), (Series::V7_3, FENTRY)];

/// Scenarios that [`Scope::Ci`] runs on [`ELSEWHERE_WITH`], and [`Scope::All`] on a hardened kernel: losses, bundled messages at full speed, messages
/// in several chunks, two paths of which one fails, a full send buffer, and messages that wait for an earlier
/// one.
const SUBSET: [&str; 6] = ["loss", "full-speed", "idata-fragments", "two-paths", "slow-reader", "blocked"];

/// Cases on 6.12 that [`Scope::Ci`] leaves out: each takes long, or repeats another case with
/// kprobes or with another command of the same family.
const LONG: [&str; 39] = [
    "containers",
    "ftrace-off-later",
    "lockdown",
    "live",
    "live-tmux",
    "metrics-kprobe",
    "metrics-load",
    "metrics-prometheus",
    "bufmon-limited-kprobe",
    "recv-wait-kprobe",
    "no-samples-kprobe",
    "rto-paths-kprobe",
    "ends-begins-kprobe",
    "ends-kprobe",
    "ends-raw-kprobe",
    "rto-causes-kprobe",
    "stalls-kprobe",
    "faults-full",
    "limits-churn",
    "limits-overrun",
    "man-examples",
    "overload-no-reader",
    "owners",
    "owners-kprobe",
    "programs-sipp",
    "streamutil-filters",
    "limits-starts",
    "streams-crowd",
    "streams-wide",
    "rto-filters-kprobe",
    "bufmon-filters-kprobe",
    "jitter-filters-kprobe",
    "streamutil-filters-kprobe",
    "attack-kprobe",
    "bufmon-blocked-kprobe",
    "bufmon-memory-kprobe",
    "rtt-outstanding-kprobe",
    "undelivered-kprobe",
    "findings-kprobe",
];

/// Cases that [`Scope::Ci`] runs on kernels other than 6.12: their subject is what differs between kernels.
const ELSEWHERE: [&str; 3] = ["too-old", "split-btf", "verifier"];

/// Cases of [`ELSEWHERE`] that [`Scope::Ci`] leaves out on a kernel: 7.3's verifier takes three minutes for all programs, and
/// the scenarios there load the same programs.
const LONG_ELSEWHERE: [(Series, &str); 1] = [(Series::V7_3, "verifier")];

impl Scope {
    /// Returns the scope that `$SCTPTRACE_SCOPE` names, or [`Scope::All`] if the variable is not set.
    ///
    /// # Errors
    /// When there is no such scope.
    pub fn chosen() -> Result<Self> {
        Ok(match env::var("SCTPTRACE_SCOPE").as_deref() {
            Ok("quick") => Self::Quick,
            Ok("ci") => Self::Ci,
            Ok("all") | Err(_) => Self::All,
            Ok(other) => bail!("no scope {other}: choose from quick, ci, all"),
        })
    }

    /// Returns whether this scope runs a scenario on a kernel and with a kind of hooks.
    pub fn has_scenario(self, name: &str, series: Series, hooks: &str) -> bool {
        let main = series == Series::V6_12 && hooks == FENTRY;
        match self {
            Self::Quick => main && QUICK.contains(&name),
            Self::Ci => main || (ELSEWHERE_WITH.contains(&(series, hooks)) && SUBSET.contains(&name)),
            Self::All => true,
        }
    }

    /// Returns whether this scope runs a scenario on 6.12 in [`Mode::Hardened`](sctptrace_tests::vm::Mode::Hardened).
    pub fn has_hardened_scenario(self, name: &str) -> bool {
        self == Self::All && SUBSET.contains(&name)
    }

    /// Returns whether this scope runs a case, which is no scenario, on a kernel.
    pub fn has_case(self, name: &str, series: Series) -> bool {
        match self {
            Self::Quick => series == Series::V6_12 && QUICK_CASES.contains(&name),
            Self::Ci if series == Series::V6_12 || series == Series::V6_12Rt => !LONG.contains(&name),
            Self::Ci => ELSEWHERE.contains(&name) && !LONG_ELSEWHERE.contains(&(series, name)),
            Self::All => true,
        }
    }
}
