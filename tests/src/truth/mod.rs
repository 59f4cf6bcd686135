//! The values that a command under test should have reported, computed from captures alone.

pub mod accepted;
pub mod rtt;
pub mod streams;
