//! The command's flags.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::Parser;

use crate::time::{Bound, parse_bound};

/// Makes one HTML page with charts from what the sctptrace commands print with --json
///
/// The page needs nothing else: no network, no script, no other file. Times are UTC.
#[derive(Clone, Debug, Default, Parser)]
#[command(
    version,
    after_help = "Example:\n  \
    sctp-rtt --json --no-samples -d 60 >rtt.jsonl &\n  \
    sctp-bufmon --json -e --no-samples -d 60 >bufmon.jsonl; wait\n  \
    sctptrace-report rtt.jsonl bufmon.jsonl -o page.html"
)]
pub struct Args {
    /// JSON Lines of sctp-rtt, sctp-rto, sctp-bufmon, sctp-jitter and sctp-streamutil, in any number and mixture; `-` or
    /// none: standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write the page to this file, not to standard output
    #[arg(short, long, value_name = "PAGE")]
    pub output: Option<PathBuf>,
    /// Show only associations with this id (may be given several times)
    #[arg(long, value_name = "ID")]
    pub assoc: Vec<u32>,
    /// Show only associations with this peer: an address, or address:port (may be given several times)
    #[arg(long, value_name = "ADDR", value_parser = parse_peer)]
    pub peer: Vec<Peer>,
    /// Show only what happened at this time or later: 2026-01-31T14:20:00Z, without Z the same, or 14:20 of the first line's
    /// day (UTC)
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    pub from: Option<Bound>,
    /// Show only what happened before this time
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    pub to: Option<Bound>,
    /// Replace addresses, names of processes, cgroups and files, and texts of ABORTs by numbered names. Ports, ids and
    /// times stay
    #[arg(long)]
    pub anonymous: bool,
    /// Write each chart to a file in this folder, too
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,
}

/// The peer that `--peer` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    ip: IpAddr,
    /// `None`: any port.
    port: Option<u16>,
}

impl Peer {
    /// Whether an association with the peer `text` (address:port) is asked for.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        text.parse::<SocketAddr>().is_ok_and(|address| {
            address.ip() == self.ip && self.port.is_none_or(|port| port == address.port())
        })
    }
}

fn parse_peer(text: &str) -> Result<Peer, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse() {
        return Ok(Peer { ip, port: None });
    }
    let address: SocketAddr = text.parse().map_err(|_| "not an IP address, nor address:port".to_owned())?;
    Ok(Peer { ip: address.ip(), port: Some(address.port()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_an_address_with_or_without_a_port() {
        let matches = |flag: &str, peer: &str| parse_peer(flag).unwrap().matches(peer);
        assert!(matches("10.2.0.1", "10.2.0.1:5000"));
        assert!(matches("10.2.0.1:5000", "10.2.0.1:5000"));
        assert!(!matches("10.2.0.1:5001", "10.2.0.1:5000"));
        assert!(matches("fd00::1", "[fd00::1]:5000") && matches("[fd00::1]", "[fd00::1]:5000"));
        assert!(!matches("10.2.0.1", "10.2.0.11:5000"));
        assert!(parse_peer("host").is_err());
    }
}
