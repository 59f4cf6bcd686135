//! Tests that need a kernel: `cargo test -p sctptrace-tests --features vm [FILTER]`.
//!
//! A trial is named `<machine>/<case>`, where a machine is `<kernel>-<mode>`, or `<kernel>-<rung>` for comparisons with
//! the truth, which run on every kernel and each rung of the hook ladder. Cases of one machine share a boot; only those
//! that the filter leaves run.
//! `SCTPTRACE_ARCH=aarch64` makes the comparisons in arm64 guests, `<kernel>-arm64-<rung>`. What a case wrote stays in `target/bed/<machine>/<case>/`.

mod absent;
mod bed;
mod btf;
mod bufmon;
mod compare;
mod docs;
mod faults;
mod histograms;
mod hostile;
mod jitter;
mod limits;
mod manual;
mod matrix;
mod privilege;
mod rto;
mod rtt;
mod rtt_flags;
mod streams_flags;
mod streamutil;
mod suite;
mod terminal;
mod verifier;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use sctptrace_tests::arch::Arch;

use crate::suite::Suite;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let arch = match Arch::chosen() {
        Ok(arch) => arch,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut suite = Suite::new(arch);
    // Before anything loads SCTP.
    absent::add(&mut suite);
    bed::add(&mut suite);
    btf::add(&mut suite);
    bufmon::add(&mut suite);
    rto::add(&mut suite);
    jitter::add(&mut suite);
    rtt::add(&mut suite);
    rtt_flags::add(&mut suite);
    privilege::add(&mut suite);
    streamutil::add(&mut suite);
    streams_flags::add(&mut suite);
    faults::add(&mut suite);
    limits::add(&mut suite);
    hostile::add(&mut suite);
    if let Err(error) = docs::add(&mut suite) {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    histograms::add(&mut suite);
    manual::add(&mut suite);
    terminal::add(&mut suite);
    verifier::add(&mut suite);
    if suite.left_out() > 0 {
        eprintln!("{}: comparisons only, {} other cases left out", arch.name(), suite.left_out());
    }
    let (trials, matrix) = suite.trials(&arguments);
    if arguments.list {
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !conclusion.has_failed()
        && let Err(error) = matrix.conclude()
    {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
