//! The only door to the kernel: every kernel-side program of the sctptrace commands, what this
//! kernel offers them, and typed samples and statistics out of it. No raw bytes leave this crate.
//!
//! Units: the kernel side stores nanoseconds; what is returned here says its unit in its type
//! ([`std::time::Duration`]) or its name.

#![allow(unsafe_code)]

mod assoc;
mod attach;
mod btf_map;
pub mod bufmon;
mod dist;
mod entries;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod hist;
pub mod jitter;
pub mod kernel;
mod pod;
mod ready;
mod ring;
pub mod rto;
pub mod rtt;
pub mod streams;
pub mod streamutil;
mod table;
pub mod verifier;
mod version;
mod wants;

pub use assoc::{Filter, Identity, PidNamespace};
pub use attach::{BPF_COMMANDS, Error, IOCTL_REQUEST, Rung};
pub use dist::{Dist, Levels};
pub use entries::{EntryProbe, EntryRef};
pub use hist::Histogram;
pub use ready::async_fd;
pub use version::libbpf_version;
