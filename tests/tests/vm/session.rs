//! Runs all scenarios of a machine as one case. So the five commands start only once, which takes longer than
//! most scenarios. Each object that they write has the number of its network namespace, by which it is sorted
//! to its scenario. The namespaces stay until the end of the case, so that no number is used twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, tail, text};

/// The name of the case that runs a machine's scenarios.
pub const NAME: &str = "scenarios";

/// Makes one case of several scenarios. `head` is the beginning of its script.
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

/// Returns the folder of a scenario in that of the case, `session`. Into `TOOL.json` there it copies each
/// command's objects of the scenario's namespaces, and the `end` object, whose accounting is that of all
/// scenarios.
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
    // In reverse order: `rtt.json` comes last, so that all files are there once it exists.
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
