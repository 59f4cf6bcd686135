//! The progress line on stderr, which a person at a terminal sees in a run with `-q` and `-f`.

use std::path::Path;

use anyhow::{Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode, text};

use crate::suite::Suite;

/// Three runs: on a terminal with `-q -f`; the same without a terminal; and on a terminal with rows on stdout, which
/// has no progress line.
const PROGRESS: &str = "
modprobe sctp
on_terminal() { env -i PATH=$PATH script -qec \"$*\" /dev/null; }
on_terminal sctp-rtt -q -f rows.csv -d 25 >file.out
sctp-rtt -q -f rows.csv -d 12 >pipe.out 2>&1
on_terminal sctp-rtt -q -d 12 >rows.out
";

/// Adds the case.
pub fn add(suite: &mut Suite) {
    suite.add(Series::V6_12, Mode::Icount, Case::new("progress", PROGRESS), check);
}

fn check(folder: &Path) -> Result<()> {
    let [file, pipe, rows] = ["file", "pipe", "rows"].map(|name| text(&folder.join(format!("{name}.out"))));
    let (file, pipe, rows) = (file?, pipe?, rows?);
    // The progress line ends with the first line break; after that come the messages of the end.
    let progress = file.split("\r\n").next().unwrap_or_default();
    let said: Vec<_> = progress.split('\r').filter(|part| !part.is_empty()).collect();
    let well = |line: &&str| line.starts_with("sctp-rtt: ") && line.ends_with(" s, 0 events");
    // 25 s have two updates, each over the last. At the end the cursor is at the beginning of a line.
    ensure!(said.len() == 2 && said.iter().all(well) && file.ends_with("\r\n"), "file: {file:?}");
    ensure!(pipe.lines().count() == 1 && pipe.contains("nothing was seen"), "pipe: {pipe:?}");
    ensure!(!rows.contains(" events"), "rows: {rows:?}");
    Ok(())
}
