//! The scenarios of a machine, all in one case: the five commands are started once, which takes longer than most scenarios.
//! What they write is known by its network namespaces, which live until the end so that no number comes twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, tail, text};

/// The name of the case.
pub const NAME: &str = "scenarios";

/// One case of several, which begins with `head`.
pub fn case(scenarios: &[Case], head: &str) -> Case {
    let mut script = format!("{head}modprobe sctp\ntrace_all\n");
    for Case { name, script: part, .. } in scenarios {
        script += &format!("scenario {name} <<'END_OF_SCENARIO'\n{part}\nEND_OF_SCENARIO\n");
    }
    script += "trace_stop\n";
    let mut case = Case::new(NAME, &script);
    case.limit = scenarios.iter().map(|scenario| scenario.limit).sum();
    case
}

/// The folder of a scenario, with what each command wrote of its namespaces, and the accounting of all.
pub fn folder_of(session: &Path, scenario: &str) -> Result<PathBuf> {
    static SPLITTING: Mutex<()> = Mutex::new(());
    let _one = SPLITTING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = session.join(scenario);
    let status = text(&folder.join("status"))?;
    if status.trim() != "0" {
        bail!("{scenario} exited with {}\n{}", status.trim(), tail(&folder.join("log"), 30));
    }
    if folder.join("rtt.json").exists() {
        return Ok(folder);
    }
    let netns = text(&folder.join("netns"))?;
    let netns: Vec<String> = netns.lines().map(|inode| format!("\"netns\":{inode},")).collect();
    let sender = netns.first().context("no namespace of the sender")?;
    // Last, so that all are there once it is.
    for tool in TOOLS.into_iter().rev() {
        let is_of = |line: &&str| match tool {
            "rto" | "bufmon" => line.contains(sender),
            _ => netns.iter().any(|netns| line.contains(netns)),
        };
        let all = text(&session.join(format!("{tool}.json")))?;
        let mut lines: Vec<&str> = all.lines().filter(is_of).collect();
        lines.extend(all.lines().last());
        for end in ["err", "status"] {
            fs::copy(session.join(format!("{tool}.{end}")), folder.join(format!("{tool}.{end}")))?;
        }
        fs::write(folder.join(format!("{tool}.json")), lines.join("\n") + "\n")?;
    }
    Ok(folder)
}
