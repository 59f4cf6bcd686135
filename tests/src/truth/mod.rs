//! The truth: what a command under test must have reported, computed from packet captures alone.

pub mod accepted;
pub mod rtt;
pub mod streams;
