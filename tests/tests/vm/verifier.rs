//! What each program costs each kernel's verifier, against `tests/verifier.csv`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode, text};

use crate::suite::{RUNGS, Suite, writes};

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/verifier.csv");
const HEADER: &str = "kernel,program,instructions,states\n";

/// By kernel and program: instructions and states.
type Costs = BTreeMap<(String, String), [u64; 2]>;

/// The cases.
pub fn add(suite: &mut Suite) {
    // With all that the flags can ask for.
    let script = format!(
        "modprobe sctp
        for rung in {}; do
            for tool in $TOOLS; do
                exits 0 $tool-$rung sctp-$tool --json -p $$ --hooks $rung --load-stats
                cat $tool-$rung.out >>costs
            done
        done",
        RUNGS.join(" ")
    );
    for series in Series::TRACED {
        let check = move |folder: &Path| check(series.name(), &text(&folder.join("costs"))?);
        suite.add(series, Mode::Icount, Case::new("verifier", &script), check);
    }
}

/// No program costs more than a fifth more than it did, and none is unknown.
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
        for ((kernel, program), [instructions, states]) in baseline {
            let _ = writeln!(file, "{kernel},{program},{instructions},{states}");
        }
        return fs::write(BASELINE, file).context(BASELINE);
    }
    for (key, cost) in &seen {
        let (_, program) = key;
        let before = baseline.get(key);
        let before =
            before.with_context(|| format!("{program} is not in tests/verifier.csv: use --write"))?;
        let grown = cost.iter().zip(before).any(|(now, before)| now * 10 > before * 12);
        ensure!(!grown, "{program} costs the verifier {cost:?}, more than {before:?} and a fifth");
    }
    let gone = baseline.keys().find(|key| key.0 == kernel && !seen.contains_key(*key));
    ensure!(gone.is_none(), "{gone:?} is in tests/verifier.csv, but not loaded: use --write");
    Ok(())
}

fn parse(rows: &str) -> Result<Costs> {
    rows.lines()
        .map(|row| {
            let fields: Vec<&str> = row.split(',').collect();
            let [kernel, program, instructions, states] = fields[..] else { anyhow::bail!("{row}") };
            Ok(((kernel.to_owned(), program.to_owned()), [instructions.parse()?, states.parse()?]))
        })
        .collect()
}
