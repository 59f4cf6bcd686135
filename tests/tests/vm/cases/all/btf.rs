//! BTF, the kernels' type information. Debian 11's kernel has none of modules. Newer Debian kernels have some
//! of the sctp module's types in `vmlinux`, too; those of some distributions have none there.

use std::path::Path;

use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, Mode};

use crate::compare::ensure_sentence;
use crate::suite::Suite;

/// libbpf finds a type that only the sctp module's own BTF has.
const SPLIT: &str = "
modprobe sctp
! grep -q sctp_flush_ctx /sys/kernel/btf/vmlinux || fail 'not only the module has the type'
grep -q sctp_flush_ctx /sys/kernel/btf/sctp || fail 'the module has no such type'
bpf-floor split 2>split.err &
until_true 20 grep -qs attached split.err
kill $!
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    let too_old =
        Case::new("too-old", "modprobe sctp; for tool in $TOOLS; do exits 3 sctp-$tool sctp-$tool; done");
    suite.add(Series::V5_10, Mode::Icount, too_old, |folder: &Path| {
        TOOLS
            .iter()
            .map(|tool| format!("sctp-{tool}"))
            .try_for_each(|tool| ensure_sentence(folder, &tool, &tool, "CONFIG_DEBUG_INFO_BTF_MODULES"))
    });
    for series in Series::TRACED {
        suite.add(series, Mode::Icount, Case::new("split-btf", SPLIT), |_| Ok(()));
    }
}
