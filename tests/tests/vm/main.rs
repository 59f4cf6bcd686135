//! Tests that need a kernel: `cargo test -p sctptrace-tests --features vm [FILTER]`.
//!
//! A trial is named `<machine>/<case>`. A machine is `<kernel>-<mode>`; for comparisons with the truth, which
//! run on every kernel and with each kind of hooks, it is `<kernel>-<hooks>`. Cases of one machine share a
//! boot, and only those run that the filter selects. If a machine has very many cases, they are dealt out to
//! several boots: `<machine>`, `<machine>-2`, and so on. `SCTPTRACE_ARCH=aarch64` makes the comparisons in
//! arm64 guests, `<kernel>-arm64-<hooks>`. The files of a case stay in `target/bed/<machine>/<case>/`, those
//! of a comparison's scenario in `target/bed/<machine>/scenarios/<scenario>/`.

mod cases {
    //! The cases: a module for each file in `cases` and `cases/all`, and a function `add()` that calls the
    //! `add()` of each module. `build.rs` writes them.

    include!(concat!(env!("OUT_DIR"), "/cases.rs"));
}
mod compare;
mod matrix;
mod scope;
mod session;
mod suite;
mod truth;

use std::mem;
use std::process::ExitCode;

use libtest_mimic::Arguments;
use sctptrace_tests::arch::Arch;

use crate::scope::Scope;
use crate::suite::{Suite, is_timed};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let (arch, scope) = match Arch::chosen().and_then(|arch| Ok((arch, Scope::chosen()?))) {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut suite = Suite::new(arch, scope);
    cases::add(&mut suite);
    if suite.left_out() > 0 {
        eprintln!("{}: {} cases left out", arch.name(), suite.left_out());
    }
    let mut run = suite.trials(&arguments);
    let conclusion = libtest_mimic::run(&arguments, mem::take(&mut run.trials));
    if arguments.list {
        return conclusion.exit_code();
    }
    if is_timed() {
        run.print_costs();
    }
    if !conclusion.has_failed()
        && let Err(error) = run.matrix.conclude()
    {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
