//! The test bed itself: captures and the kernel's own counters must agree, as commands are compared with
//! both.

use std::path::Path;

use anyhow::{Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::truth::rtt::flows;
use sctptrace_tests::vm::{Case, Mode};

use crate::compare::{captured, traffic};
use crate::suite::Suite;

/// Three associations of one-to-many sockets, over two ports and a path with losses.
const COUNTS: &str = "
topology
path 10ms
lose 5 1
serve --bind 10.2.0.1 --one-to-many --associations 3 --port 5000,5001 --streams 4
capture a0 b0
send --bind 10.1.0.1 --count 500 --one-to-many --associations 3 --port 5000,5001 --streams 4 --skew --nodelay
capture_stop
";

/// Adds the case.
pub fn add(suite: &mut Suite) {
    suite.add(Series::V6_12, Mode::Icount, Case::new("bed-counts", COUNTS), check_counts);
}

fn check_counts(folder: &Path) -> Result<()> {
    let flows = flows(&captured(folder, &["a0"])?);
    let client = traffic(folder, "client.json")?;
    let server = traffic(folder, "server.json")?;
    ensure!(flows.len() == 3 && client.len() == 3 && server.len() == 3, "not three associations");
    let mut retransmitted = 0;
    for flow in &flows {
        let found = client.iter().find(|association| association.is_of(flow));
        let association = found.ok_or_else(|| anyhow::anyhow!("no association of {flow:?}"))?;
        association.ensure_counts(flow)?;
        retransmitted += flow.retransmissions();
    }
    ensure!(retransmitted > 20, "5 % of 1500 packets lost, but {retransmitted} retransmissions");
    for association in &server {
        ensure!(association.stats.data_received == 501, "{association:?}");
    }
    Ok(())
}
