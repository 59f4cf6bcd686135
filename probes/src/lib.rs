//! All access of the sctptrace commands to kernel-side programs: loads them, checks whether this kernel can
//! run them, and reads their records and statistics as Rust types. No raw bytes leave this crate.
//!
//! Units: the kernel side stores times in nanoseconds (`rto`: some in jiffies). Values that this crate
//! returns have their unit in their type ([`std::time::Duration`]) or in their name.

#![allow(unsafe_code)]

mod accounting;
mod background;
#[cfg(feature = "map-btf")]
mod btf_map;
pub mod bufmon;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod crowd;
mod dist;
mod entries;
mod error;
mod escape;
mod filter;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod hist;
mod hooks;
mod identity;
mod inherited;
pub mod jitter;
pub mod kernel;
pub mod lifecycle;
mod links;
mod object;
mod owner;
mod program;
mod raw;
mod recv_wait;
mod ring;
pub mod rto;
pub mod rtt;
mod second_signal;
mod stall;
pub mod streams;
pub mod streamutil;
mod table;
mod trace;
mod version;

pub use accounting::{Accounting, Skipped};
pub use background::MEMBARRIER_COMMAND;
pub use dist::{DurationDist, ValueDist};
pub use error::Error;
pub use filter::Filter;
pub use hist::{Histogram, Octaves};
pub use hooks::HookKind;
pub use identity::{Identity, Owner};
pub use inherited::{inherited_listeners, inherited_sockets};
pub use object::{BPF_COMMANDS, IOCTL_REQUEST};
pub use owner::ROUND_PERIOD;
pub use program::{Change, Config, Due, Probe};
pub use ring::async_fd;
pub use rto::PathState;
pub use second_signal::end_at_second;
pub use trace::Trace;
pub use version::libbpf_version;
