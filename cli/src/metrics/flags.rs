//! The flags of metrics.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use probes::inherited_sockets;

/// Flags that ask for metrics.
#[derive(Args, Clone, Debug)]
pub struct MetricsFlags {
    /// Serve metrics to Prometheus: GET /metrics
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Metrics", hide_short_help = true)]
    pub listen: Option<SocketAddr>,
    /// Write metrics to PATH at each interval
    #[arg(long, value_name = "PATH", help_heading = "Metrics", hide_short_help = true)]
    pub textfile: Option<PathBuf>,
    /// What has series of its own: a service's port, a peer, or an association
    #[arg(
        long,
        value_name = "port|peer|assoc",
        default_value = "port",
        hide_possible_values = true,
        help_heading = "Metrics",
        hide_short_help = true
    )]
    pub labels: Labels,
    /// At most this many series; the rest is in those of "other"
    #[arg(long, value_name = "N", default_value_t = 2000, help_heading = "Metrics", hide_short_help = true, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub max_series: u32,
}

/// The level at which metrics have series of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Labels {
    /// The port of a service, with its protocol.
    Port,
    /// A peer.
    Peer,
    /// An association.
    Assoc,
}

impl MetricsFlags {
    /// Returns whether metrics are asked for: by a flag, or by a socket that systemd has handed over.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.listen.is_some() || self.textfile.is_some() || inherited_sockets() > 0
    }
}
