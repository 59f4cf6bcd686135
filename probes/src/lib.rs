//! The only door to the kernel: every kernel-side program of the sctptrace commands, what this
//! kernel offers them, and typed samples and statistics out of it. No raw bytes leave this crate.
//!
//! Units: the kernel side stores nanoseconds; what is returned here says its unit in its type
//! ([`std::time::Duration`]) or its name.

mod assoc;
mod attach;
mod btf_map;
mod hist;
pub mod kernel;
mod pod;
mod ready;
pub mod rtt;
mod table;

pub use assoc::{Filter, Identity, PidNamespace};
pub use attach::{Error, Rung};
pub use ready::async_fd;
