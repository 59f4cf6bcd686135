//! What the commands share: flags, run loop, text, CSV and JSON output, exit codes.
//!
//! A command consists of its flags, a [`Report`] that says what to print, and three calls: [`parse`],
//! [`Session::start`] and [`Session::run`]. Before the last of these calls, the command opens its probe.

mod clock;
mod column;
mod confine;
mod csv_line;
mod digits;
#[cfg(test)]
mod fake;
mod findings;
mod flags;
mod histogram;
mod host;
mod json;
mod lifecycle;
mod live;
mod manual;
mod metrics;
mod out;
mod output_file;
mod parts;
mod progress;
mod protocol;
mod report;
mod rows;
mod run;
mod schema;
mod session;
mod signals;
mod sink;
mod snmp;
mod version;

pub use clock::{Clock, TimesOfDay};
pub use column::{Column, Columns, Field, Get, Kind, List, Part, Shared, Type};
pub use findings::{Figures, Findings, LONGEST_SACK_DELAY, Rule, Words, codes};
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub use flags::fuzz_flags;
pub use flags::{Common, Format, TableSize, command, milliseconds, parse};
pub use histogram::draw;
pub use host::HOST_RULES;
pub use live::Shown;
pub use manual::{Manual, Table};
pub use metrics::{Labels, Metric, MetricField, Metrics, MetricsFlags, Unit, Values};
pub use out::Out;
pub use parts::{
    ASSOC_ID, DIST_FIXED_US, DIST_US, EXTREMES_MS, IDENTITY, OWNER, PATH, PERCENTILES_BYTES,
    PERCENTILES_FIXED_US, PERCENTILES_MS, PERCENTILES_US, endpoints, ms, us,
};
pub use report::{Form, Report};
pub use rows::{Events, Period, Rows};
pub use run::{Banners, Run};
pub use session::{Session, exit_code};
