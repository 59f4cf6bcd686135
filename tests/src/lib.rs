//! The test bed: boots stock kernels in virtual machines, makes SCTP traffic, captures the traffic, and
//! computes from the capture what the commands must report.

pub mod arch;
pub mod bench;
pub mod busy;
pub mod capture;
pub mod command;
pub mod container;
pub mod docs;
pub mod hostile;
pub mod image;
pub mod kernel;
pub mod kubernetes;
pub mod losses;
pub mod programs;
pub mod prometheus;
pub mod report;
pub mod sctp;
pub mod socket;
pub mod sysroot;
pub mod tree;
pub mod truth;
pub mod vm;
pub mod wire;
