//! Tests that need a kernel: `cargo test -p sctptrace-tests --features vm [FILTER]`.
//!
//! A trial is named `<kernel>-<mode>/<case>`. Cases of one kernel and mode share a boot; only those that the
//! filter leaves run. What a case wrote stays in `target/bed/<kernel>-<mode>/<case>/`.

mod absent;
mod bed;
mod bufmon;
mod compare;
mod faults;
mod jitter;
mod limits;
mod rto;
mod rtt;
mod rtt_flags;
mod streams_flags;
mod streamutil;
mod suite;

use std::process::ExitCode;

use libtest_mimic::Arguments;

use crate::suite::Suite;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut suite = Suite::default();
    // Before anything loads SCTP.
    absent::add(&mut suite);
    bed::add(&mut suite);
    bufmon::add(&mut suite);
    rto::add(&mut suite);
    jitter::add(&mut suite);
    rtt::add(&mut suite);
    rtt_flags::add(&mut suite);
    streamutil::add(&mut suite);
    streams_flags::add(&mut suite);
    faults::add(&mut suite);
    limits::add(&mut suite);
    let trials = suite.trials(&arguments);
    libtest_mimic::run(&arguments, trials).exit_code()
}
