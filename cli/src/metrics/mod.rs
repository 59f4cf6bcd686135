//! Metrics for Prometheus: `--listen` and `--textfile`.
//!
//! A command says in a table of [`Metric`]s what it measures ([`Metrics`]). The model adds up what has changed, by label
//! set; the encoder writes the sums as text; the server and the text file hand the text out.
//!
//! The encoder is our own: the crate `prometheus-client` writes OpenMetrics only, not the text format that node_exporter's
//! textfile collector reads, and each of its histograms and counters is an object of atomics, for which each sum would be
//! copied twice. So is the server ([`server`]), upon the parser `httparse`.

mod definition;
mod exporter;
mod flags;
mod host;
mod model;
mod request;
pub(crate) mod server;
#[cfg(test)]
mod tests;
mod text;
pub(crate) mod textfile;

pub use definition::{Metric, MetricField, Metrics, Unit, Values};
pub(crate) use exporter::Exporter;
pub use flags::{Labels, MetricsFlags};
pub(crate) use text::TextFormat;
