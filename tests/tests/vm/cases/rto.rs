//! Cases of `sctp-rto`: its output formats.

use std::path::Path;

use anyhow::{Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode, text};

use crate::compare::{contract, same_by_kprobes, says_filtered, says_nothing};
use crate::suite::Suite;

const FORMS: &str = "topology; path 10ms; lose 2 1; remember
    serve --bind 10.2.0.1 --associations 2
    trace text sctp-rto --netns /run/netns/a
    trace csv sctp-rto -c --netns /run/netns/a
    trace csv-quiet sctp-rto --csv -q --netns /run/netns/a
    trace file sctp-rto --file rows/rto.csv --netns /run/netns/a
    trace extended sctp-rto -x --netns /run/netns/a
    trace none sctp-rto --lport 9
    trace kprobe sctp-rto -c -q $HOOKS_FLAG kprobe --netns /run/netns/a
    trace kprobe-extended sctp-rto -x -q $HOOKS_FLAG kprobe --netns /run/netns/a
    send --bind 10.1.0.1 --associations 2 --count 300 --rate 100
    trace_stop INT; nothing_left";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for series in [Series::V6_12, Series::V6_1] {
        suite.add(series, Mode::Icount, Case::new("rto-forms", FORMS), check_forms);
    }
}

fn check_forms(folder: &Path) -> Result<()> {
    for name in ["text", "csv", "csv-quiet", "file", "extended", "none", "kprobe", "kprobe-extended"] {
        let errors = text(&folder.join(format!("{name}.err")))?;
        let status = text(&folder.join(format!("{name}.status")))?;
        let said = if name == "none" { says_filtered(&errors) } else { says_nothing(&errors) };
        ensure!(status == "0\n" && said, "{name}: {status}: {errors}");
    }
    contract(folder, "rto-text", &["text.out"])?;
    contract(folder, "rto-csv", &["csv.out"])?;
    contract(folder, "rto-csv-quiet", &["csv-quiet.out"])?;
    contract(folder, "rto-file", &["file.out", "rows/rto.csv"])?;
    ensure!(text(&folder.join("none.out"))?.contains("\nNo RTO events recorded yet.\n"), "none");
    same_by_kprobes(folder)
}
