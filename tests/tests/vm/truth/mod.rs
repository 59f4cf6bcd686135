//! Compares each command with the truth: captures, the kernel's counters, socket options, and what
//! `sctp-traffic` measured.

pub mod bufmon;
pub mod jitter;
pub mod rto;
pub mod rtt;
pub mod streamutil;
