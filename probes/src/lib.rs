//! The only door to the kernel: every kernel-side program of the sctptrace commands, what this
//! kernel offers them, and typed records and statistics out of it. No raw bytes leave this crate.
//!
//! Units: the kernel side stores nanoseconds; what is returned here says its unit in its type
//! ([`std::time::Duration`]) or its name.

#![allow(unsafe_code)]

mod accounting;
#[cfg(feature = "map-btf")]
mod btf_map;
pub mod bufmon;
mod dist;
mod entries;
mod error;
mod filter;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod hist;
mod hooks;
mod identity;
pub mod jitter;
pub mod kernel;
mod links;
mod object;
mod program;
mod raw;
mod ready;
pub mod rto;
pub mod rtt;
mod second_signal;
pub mod streams;
pub mod streamutil;
mod table;
mod trace;
mod version;

pub use accounting::{Accounting, Skipped};
pub use dist::{DurationDist, ValueDist};
pub use error::Error;
pub use filter::Filter;
pub use hist::Histogram;
pub use hooks::HookKind;
pub use identity::Identity;
pub use object::{BPF_COMMANDS, IOCTL_REQUEST};
pub use program::{Config, Due, Probe};
pub use ready::async_fd;
pub use second_signal::end_at_second;
pub use trace::Trace;
pub use version::libbpf_version;
