//! What the five commands share: flags, run loop, text, CSV and JSON output, exit codes.
//!
//! A command is its flags, a [`Tool`] (its probe, statistics and rows) and a call of [`run`].

mod clock;
mod column;
mod confine;
mod create;
mod entries;
mod flags;
mod histogram;
mod manual;
mod out;
mod rows;
mod run;
mod streams;
mod version;

pub use clock::{Clock, TimesOfDay};
pub use column::{Column, Value, csv_header, csv_row, ends, json_object, ms, us};
pub use entries::{EntryReport, EntryTool};
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub use flags::fuzz_flags;
pub use flags::{Common, Format, command, parse};
pub use histogram::draw;
pub use manual::{Manual, Table};
pub use out::Out;
pub use probes::Identity;
pub use rows::{Period, Rows};
pub use run::{Accounting, Banners, Skipped, Tool, missed, run};
pub use streams::{Room, StreamReport, StreamTool, is_due};
