//! The test bed: boots stock kernels, makes SCTP traffic, captures it, and computes the truth from the capture.

pub mod arch;
pub mod bench;
pub mod busy;
pub mod capture;
pub mod command;
pub mod docs;
pub mod hostile;
pub mod image;
pub mod kernel;
pub mod losses;
pub mod programs;
pub mod report;
pub mod sctp;
pub mod socket;
pub mod sysroot;
pub mod tree;
pub mod truth;
pub mod vm;
pub mod wire;
