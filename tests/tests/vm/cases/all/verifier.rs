//! Compares how many instructions each kernel's verifier goes through for each program with
//! `tests/verifier.csv`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode, text};

use crate::suite::{HOOK_KINDS, Suite, writes};

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/verifier.csv");
const HEADER: &str = "kernel,program,instructions\n";

/// The commands' flag that chooses the kind of hooks.
const HOOKS_FLAG: &str = "--hooks";

/// Instructions by kernel and program.
type Costs = BTreeMap<(String, String), u64>;

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    // With these flags the commands load all programs but sctp-rtt's cheaper hook for plain text rows.
    let script = format!(
        "modprobe sctp
        for hooks in {}; do
            for tool in $TOOLS; do
                more=
                [ $tool != bufmon ] || more=--recv-wait
                start $tool-$hooks sctp-$tool --json -e $more -p $$ {HOOKS_FLAG} $hooks
            done
            traced
            bpf-objects --verified >>costs
            trace_stop
        done
        for status in *.status; do
            [ $(cat $status) = 0 ] || fail $status: $(cat $status ${{status%.status}}.err)
        done",
        HOOK_KINDS.join(" ")
    );
    for series in Series::TRACED {
        let check = move |folder: &Path| check(series.name(), &text(&folder.join("costs"))?);
        suite.add(series, Mode::Icount, Case::new("verifier", &script), check);
    }
}

/// Compares the programs that a kernel loaded with those in `tests/verifier.csv`: they must be the same, and
/// none may take more than a fifth more instructions. Or writes them to that file, if [`writes()`] says so.
fn check(kernel: &str, costs: &str) -> Result<()> {
    static FILE: Mutex<()> = Mutex::new(());
    let _guard = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let rows = costs.lines().map(|line| format!("{kernel},{line}\n")).collect::<String>();
    let seen = parse(&rows)?;
    ensure!(seen.len() >= 50, "{} programs", seen.len());
    let mut baseline = parse(&text(Path::new(BASELINE))?.replace(HEADER, ""))?;
    if writes() {
        baseline.retain(|(of, _), _| of != kernel);
        baseline.extend(seen);
        let mut file = HEADER.to_owned();
        for ((kernel, program), instructions) in baseline {
            let _ = writeln!(file, "{kernel},{program},{instructions}");
        }
        return fs::write(BASELINE, file).context(BASELINE);
    }
    for (key, now) in &seen {
        let (_, program) = key;
        let before = baseline.get(key);
        let before =
            before.with_context(|| format!("{program} is not in tests/verifier.csv: use --write"))?;
        ensure!(
            now * 10 <= before * 12,
            "{program} takes the verifier {now} instructions, more than {before} and a fifth"
        );
    }
    let gone = baseline.keys().find(|key| key.0 == kernel && !seen.contains_key(*key));
    ensure!(gone.is_none(), "{gone:?} is in tests/verifier.csv, but not loaded: use --write");
    Ok(())
}

/// Parses lines of `kernel,program,instructions`. Several commands have the programs of `-p`: of these the
/// highest figure counts.
fn parse(rows: &str) -> Result<Costs> {
    let mut costs = Costs::new();
    for row in rows.lines() {
        let fields: Vec<&str> = row.split(',').collect();
        let [kernel, program, instructions] = fields[..] else { anyhow::bail!("{row}") };
        let cost = costs.entry((kernel.to_owned(), program.to_owned())).or_default();
        *cost = (*cost).max(instructions.parse().with_context(|| row.to_owned())?);
    }
    Ok(costs)
}
