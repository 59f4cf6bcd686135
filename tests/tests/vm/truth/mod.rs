//! Each command against the truth: captures, the kernel's counters, and what the traffic's own ends know.

pub mod bufmon;
pub mod jitter;
pub mod rto;
pub mod rtt;
pub mod streamutil;
