//! What a tool should have seen, computed from captures alone.

pub mod accepted;
pub mod rtt;
pub mod streams;
