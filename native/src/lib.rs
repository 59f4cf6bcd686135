//! Tests of the BPF programs' C code without a kernel. Each `c/NAME.c` wraps the program `NAME.bpf.c` of
//! `probes`, compiled for this machine against stubs of the kernel's helpers. `tests/NAME.rs` compares the
//! program's results with a model. VM tests show what the kernel does; these tests check our own logic, in
//! seconds and without root.
//!
//! To test another program, write its `c/NAME.c` and `tests/NAME.rs`. `program.h` and `objects.h` say what a
//! wrapper needs; the build script finds it. [`Program`] opens a wrapped program, runs its hooks and reads
//! its memory. [`association`] models both ends of an association, as far as TSNs and SACKs go. [`streams`]
//! has what the tests of programs with statistics per stream share.

pub mod association;
mod ffi;
/// The structs that BPF programs share with user space: the same source file that `probes` compiles.
#[path = "../../probes/src/raw.rs"]
#[allow(missing_docs, unused_imports, unused_macros)]
pub mod raw;
/// The causes of stalls: the same source file that `probes` compiles.
#[path = "../../probes/src/stall.rs"]
#[allow(missing_docs)]
pub mod stall;
pub mod streams;

pub use ffi::{Hook, Kernel, Program};
