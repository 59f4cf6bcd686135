//! The forms of `sctp-bufmon`.

use std::path::Path;

use anyhow::{Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode, text};

use crate::compare::{contract, same_by_kprobes, says_nothing};
use crate::suite::Suite;

const FORMS: &str = "topology; path 10ms; remember
    serve --bind 10.2.0.1 --associations 2 --read-delay 2 --rcvbuf 30000
    trace text sctp-bufmon --netns /run/netns/a
    trace csv sctp-bufmon -c --netns /run/netns/a
    trace csv-quiet sctp-bufmon --csv -q --netns /run/netns/a
    trace file sctp-bufmon --file rows/bufmon.csv --netns /run/netns/a
    trace extended sctp-bufmon -x --netns /run/netns/a
    trace kprobe sctp-bufmon -c -q $HOOKS_FLAG kprobe --netns /run/netns/a
    trace kprobe-extended sctp-bufmon -x -q $HOOKS_FLAG kprobe --netns /run/netns/a
    send --bind 10.1.0.1 --associations 2 --count 300 --size 1000 --sndbuf 20000 --linger 3000
    trace_stop INT; nothing_left";

/// The cases.
pub fn add(suite: &mut Suite) {
    for series in [Series::V6_12, Series::V6_1] {
        suite.add(series, Mode::Icount, Case::new("bufmon-forms", FORMS), check_forms);
    }
}

fn check_forms(folder: &Path) -> Result<()> {
    for name in ["text", "csv", "csv-quiet", "file", "extended", "kprobe", "kprobe-extended"] {
        let errors = text(&folder.join(format!("{name}.err")))?;
        let status = text(&folder.join(format!("{name}.status")))?;
        ensure!(status == "0\n" && says_nothing(&errors), "{name}: {status}: {errors}");
    }
    contract(folder, "bufmon-text", &["text.out"])?;
    contract(folder, "bufmon-csv", &["csv.out"])?;
    contract(folder, "bufmon-csv-quiet", &["csv-quiet.out"])?;
    contract(folder, "bufmon-file", &["file.out", "rows/bufmon.csv"])?;
    same_by_kprobes(folder)
}
