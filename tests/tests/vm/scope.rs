//! How much of the tests to make: `$SCTPTRACE_SCOPE`, which `cargo xtask test` sets.

use std::env;

use anyhow::{Result, bail};
use sctptrace_tests::kernel::Series;

use crate::suite::{FENTRY, KPROBE};

/// How much to test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Some minutes: the commands against captures on one kernel, with a few scenarios.
    Quick,
    /// What every change has to pass: 6.12 with fentry whole, and the rest where it differs most.
    Ci,
    /// The whole matrix.
    All,
}

/// Scenarios of [`Scope::Quick`], on 6.12 with fentry.
const QUICK: [&str; 3] = ["loss", "two-paths", "slow-reader"];

/// Other cases of [`Scope::Quick`], on 6.12.
const QUICK_CASES: [&str; 2] = ["rtt-forms", "privilege-file"];

/// Where [`Scope::Ci`] runs some scenarios, besides 6.12 with fentry, which runs all.
const ELSEWHERE_WITH: [(Series, &str); 3] =
    [(Series::V6_1, FENTRY), (Series::V6_12, KPROBE), (Series::V7_3, FENTRY)];

/// Scenarios of [`Scope::Ci`] there: losses, bundles as fast as they go, messages in
/// several chunks, two paths of which one fails, a full buffer, and messages that wait for one before them.
const SUBSET: [&str; 6] = ["loss", "full-speed", "idata-fragments", "two-paths", "slow-reader", "blocked"];

/// Cases on 6.12 that [`Scope::Ci`] leaves out: each takes more than a minute, or repeats with kprobes what a case beside it
/// has shown.
const LONG: [&str; 7] = [
    "limits-churn",
    "limits-starts",
    "streams-crowd",
    "rto-filters-kprobe",
    "bufmon-filters-kprobe",
    "jitter-filters-kprobe",
    "streamutil-filters-kprobe",
];

/// Cases of [`Scope::Ci`] on kernels other than 6.12: what differs by kernel alone.
const ELSEWHERE: [&str; 3] = ["too-old", "split-btf", "verifier"];

impl Scope {
    /// The one that `$SCTPTRACE_SCOPE` names; all without it.
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

    /// Whether a scenario runs on a kernel and with a kind of hooks.
    pub fn has_scenario(self, name: &str, series: Series, hooks: &str) -> bool {
        let main = series == Series::V6_12 && hooks == FENTRY;
        match self {
            Self::Quick => main && QUICK.contains(&name),
            Self::Ci => main || (ELSEWHERE_WITH.contains(&(series, hooks)) && SUBSET.contains(&name)),
            Self::All => true,
        }
    }

    /// Whether another case runs on a kernel.
    pub fn has_case(self, name: &str, series: Series) -> bool {
        match self {
            Self::Quick => series == Series::V6_12 && QUICK_CASES.contains(&name),
            Self::Ci if series == Series::V6_12 || series == Series::V6_12Rt => !LONG.contains(&name),
            Self::Ci => ELSEWHERE.contains(&name),
            Self::All => true,
        }
    }
}
