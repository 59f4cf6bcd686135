//! Tests of the kernel side's C without a kernel: each `c/NAME.c` wraps the program `NAME.bpf.c` of `probes`, compiled
//! for this machine against stubs of the kernel's helpers, and `tests/NAME.rs` compares what it does with a model. VM
//! tests are the truth about the kernel; these are the truth about our logic, in seconds and without root.
//!
//! For another program, write these two files. `program.h` and `objects.h` say what a wrapper has; the build script
//! finds it. [`Program`] opens one, runs its hooks and reads its memory; [`association`] has both ends of an association
//! as far as TSNs and SACKs go; [`streams`] what programs with streams have in common.

pub mod association;
mod ffi;
/// The kernel side's structs, the same file that reads them in `probes`.
#[path = "../../probes/src/raw.rs"]
#[allow(missing_docs, unused_imports, unused_macros)]
pub mod raw;
pub mod streams;

pub use ffi::{Hook, Kernel, Program};
