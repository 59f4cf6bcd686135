//! `sctp-streamutil` against captures.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::truth::streams::{Flow, flows};
use sctptrace_tests::vm::Case;
use serde::Deserialize;

use crate::compare::{captured, no_loss, of_type, traffic};
use crate::suite::Suite;

/// How far the waiting time of a stream may be off, in us.
const WAIT_LIMIT_US: f64 = 200.0;

/// And how far for each message that waited, where there are many: between the tap and the hook lie some 10 us for the
/// first chunk of a packet, and more for the others; on 6.1 up to 60.
const EACH_WAIT_LIMIT_US: f64 = 100.0;

/// Traffic of which every stream is compared. `TRACE` starts the tool.
const EXACT: [(&str, &str); 8] = [
    (
        "streamutil-clean",
        "topology; path 10ms
        serve --bind 10.2.0.1 --associations 2 --streams 4; capture a0 b0; TRACE
        send --bind 10.1.0.1 --associations 2 --count 400 --rate 200 --streams 4 --nodelay",
    ),
    (
        "streamutil-loss",
        "topology; path 10ms 5%
        serve --bind 10.2.0.1 --streams 4; capture a0 b0; TRACE
        send --bind 10.1.0.1 --count 2000 --rate 400 --streams 4 --nodelay --unordered-every 4",
    ),
    (
        "streamutil-full-speed",
        "topology
        serve --bind 10.2.0.1 --streams 8; capture a0 b0; TRACE
        send --bind 10.1.0.1 --count 20000 --size 100 --streams 8",
    ),
    (
        "streamutil-bundled",
        "topology 1400; path 10ms 1%
        serve --bind 10.2.0.1 --streams 4; capture a0 b0; TRACE
        send --bind 10.1.0.1 --count 5000 --size 60 --rate 2500 --streams 4",
    ),
    (
        "streamutil-skewed",
        "topology; path 10ms 1%
        serve --bind 10.2.0.1 --streams 4; capture a0 b0; TRACE
        send --bind 10.1.0.1 --count 1000 --rate 400 --streams 4 --nodelay --skew --unordered-every 3",
    ),
    (
        "streamutil-fragments",
        "topology; path 10ms 2%
        serve --bind 10.2.0.1 --streams 4; capture a0 b0; TRACE
        send --bind 10.1.0.1 --count 400 --rate 50 --size 4000 --streams 4",
    ),
    (
        "streamutil-added",
        "topology; path 10ms 2%
        for ns in a b; do $ns sysctl -qw net.sctp.reconf_enable=1; done
        serve --bind 10.2.0.1 --streams 3; capture a0 b0; TRACE
        send --bind 10.1.0.1 --streams 3 --add-streams 4 --count 700 --rate 200 --nodelay",
    ),
    (
        "streamutil-idata",
        "topology; path 10ms 2%
        for ns in a b; do $ns sysctl -qw net.sctp.intl_enable=1; done
        serve --bind 10.2.0.1 --idata --streams 3; capture a0 b0; TRACE
        send --bind 10.1.0.1 --idata --streams 3 --count 1000 --rate 200 --unordered-every 4",
    ),
];

/// Chunks for which `MATCH` holds are kept back for a second or so; then their retransmissions get through.
const KEEP_BACK: &str = "
topology; path 10ms
serve --bind 10.2.0.1 --streams 4; capture a0 b0; TRACE
modprobe sch_ingress; modprobe cls_u32; modprobe act_gact
tc -n r qdisc add dev ra0 clsact
tc -n r filter add dev ra0 ingress protocol ip u32 match ip protocol 132 0xff MATCH action drop
(sleep 3; tc -n r qdisc del dev ra0 clsact) &
send --bind 10.1.0.1 --count 400 --rate 50 --streams 4 --nodelay
";

/// One chunk of stream 2 of four: message 102, number 25 of its stream.
const ONE_CHUNK: &str = "match u8 0 0xff at 32 match u16 2 0xffff at 40 match u16 25 0xffff at 42";

/// All of stream 0, of which every chunk is unordered (`--unordered-every 4`).
const UNORDERED: &str = "match u8 0 0xff at 32 match u16 0 0xffff at 40";

/// The cases.
pub fn add(suite: &mut Suite) {
    let trace = "trace streamutil sctp-streamutil -i 1 --json -q -f streamutil.json";
    let script = |script: &str| format!("{}\ntrace_stop\ncapture_stop\n", script.replace("TRACE", trace));
    for (name, traffic) in EXACT {
        let case = Case::new(name, &script(traffic));
        suite.compare("streamutil", &case, move |folder, _| {
            eprintln!("    {name}: {}", compare(folder, EACH_WAIT_LIMIT_US)?);
            Ok(())
        });
    }
    let unordered = KEEP_BACK.replace("MATCH", UNORDERED).replace("--rate", "--unordered-every 4 --rate");
    let case = Case::new("streamutil-unordered-late", &script(&unordered));
    suite.compare("streamutil", &case, |folder, _| {
        eprintln!("    streamutil-unordered-late: {}", compare(folder, 0.0)?);
        check_unordered_late(folder)
    });
    let case = Case::new("streamutil-blocked", &script(&KEEP_BACK.replace("MATCH", ONE_CHUNK)));
    suite.compare("streamutil", &case, |folder, _| {
        eprintln!("    streamutil-blocked: {}", compare(folder, 0.0)?);
        check_blocked(folder)
    });
}

/// A `summary` object.
#[derive(Debug, Deserialize)]
struct Summary {
    local: SocketAddr,
    peer: SocketAddr,
    total_streams: u64,
    active_streams: u64,
    total_bytes: u64,
    total_chunks: u64,
    ordered: u64,
    unordered: u64,
    sui: f64,
    stream_parallelism: f64,
    rtx_chunks: u64,
    rtx_bytes: u64,
    streams: Vec<Stream>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Stream {
    stream_id: u16,
    bytes: u64,
    chunks: u64,
    ordered: u64,
    unordered: u64,
    messages: u64,
    rtx_chunks: u64,
    rtx_bytes: u64,
    hol_messages: u64,
    hol_wait_us: f64,
    hol_blocked_us: f64,
}

impl Summary {
    fn stream(&self, id: u16) -> Stream {
        self.streams.iter().find(|stream| stream.stream_id == id).cloned().unwrap_or_default()
    }
}

/// What the sender sent, and how what the receiver got had to wait, stream by stream. Returns figures for people.
fn compare(folder: &Path, each_wait_limit_us: f64) -> Result<String> {
    no_loss(folder, "streamutil", "sctp-streamutil")?;
    let summaries: Vec<Summary> = of_type(folder, "streamutil", "summary")?;
    let find = |local: u16, peer: u16| {
        let found = summaries.iter().find(|s| (s.local.port(), s.peer.port()) == (local, peer));
        found.with_context(|| format!("no summary of {local} to {peer}"))
    };
    let (mut chunks, mut rtx, mut waits, mut worst_us) = (0, 0, 0, 0.0_f64);
    let clients = traffic(folder, "client.json")?;
    for flow in flows(&captured(folder, &["a0"])?) {
        let summary = find(flow.source_port, flow.destination_port)?;
        compare_sent(&flow, summary)?;
        let client =
            clients.iter().find(|client| client.local_port == flow.source_port).context("no client")?;
        ensure!(summary.total_streams == client.out_streams, "of {}: {summary:?}", client.out_streams);
        chunks += summary.total_chunks;
        rtx += summary.rtx_chunks;
    }
    ensure!(chunks > 0, "the capture holds no DATA");
    for flow in flows(&captured(folder, &["b0"])?) {
        for (id, stream) in &flow.streams {
            let summary = find(flow.destination_port, flow.source_port);
            // A receiver on which nothing waited has no summary.
            let seen = summary.map(|summary| summary.stream(*id)).unwrap_or_default();
            let expected = stream.waits_ns.len() as u64;
            ensure!(seen.hol_messages == expected, "stream {id}: {expected} messages waited: {seen:?}");
            let [wait_us, blocked_us] = [stream.wait_ns(), stream.blocked_ns()].map(|ns| ns as f64 / 1e3);
            let error_us = (seen.hol_wait_us - wait_us).abs().max((seen.hol_blocked_us - blocked_us).abs());
            ensure!(
                error_us <= WAIT_LIMIT_US.max(expected as f64 * each_wait_limit_us),
                "stream {id}: {expected} waits of {wait_us} us, {blocked_us} us blocked: {seen:?}"
            );
            waits += expected;
            worst_us = worst_us.max(error_us);
        }
    }
    Ok(format!(
        "{chunks} chunks, {rtx} retransmitted; {waits} messages waited, error at most {worst_us:.1} us"
    ))
}

fn compare_sent(flow: &Flow, summary: &Summary) -> Result<()> {
    for (id, sent) in &flow.streams {
        let seen = summary.stream(*id);
        let expected =
            [sent.bytes, sent.chunks, sent.unordered, sent.messages, sent.rtx_chunks, sent.rtx_bytes];
        let got = [seen.bytes, seen.chunks, seen.unordered, seen.messages, seen.rtx_chunks, seen.rtx_bytes];
        ensure!(expected == got, "stream {id}: sent {expected:?}, seen {got:?}");
        ensure!(seen.ordered == seen.chunks - seen.unordered, "{seen:?}");
    }
    let sum = |of: fn(&Stream) -> u64| summary.streams.iter().map(of).sum::<u64>();
    let sums = [
        (summary.total_bytes, sum(|s| s.bytes)),
        (summary.total_chunks, sum(|s| s.chunks)),
        (summary.ordered, sum(|s| s.ordered)),
        (summary.unordered, sum(|s| s.unordered)),
        (summary.rtx_chunks, sum(|s| s.rtx_chunks)),
        (summary.rtx_bytes, sum(|s| s.rtx_bytes)),
        (summary.active_streams, flow.streams.len() as u64),
    ];
    ensure!(sums.iter().all(|(all, sum)| all == sum), "{summary:?}");
    let share = 100.0 * summary.active_streams as f64 / summary.total_streams as f64;
    ensure!((summary.stream_parallelism - share).abs() < 0.1, "{summary:?}");
    let total: f64 = flow.streams.values().map(|s| s.bytes as f64).sum();
    let entropy: f64 = flow.streams.values().map(|s| s.bytes as f64 / total).map(|p| -p * p.log2()).sum();
    let index = if flow.streams.len() > 1 { entropy / (flow.streams.len() as f64).log2() } else { 0.0 };
    ensure!((summary.sui - index).abs() < 1e-4, "index {index}: {summary:?}");
    Ok(())
}

/// Only the stream of the chunk that was kept back waited, and for long.
fn check_blocked(folder: &Path) -> Result<()> {
    let summaries: Vec<Summary> = of_type(folder, "streamutil", "summary")?;
    let receiver = summaries.iter().find(|s| s.local.port() == 5000).context("no receiver")?;
    let [blocked] = receiver.streams.as_slice() else {
        anyhow::bail!("not one stream that waited: {receiver:?}");
    };
    ensure!(receiver.total_streams == 4, "{receiver:?}");
    ensure!(blocked.stream_id == 2 && blocked.hol_messages > 5, "{blocked:?}");
    ensure!(blocked.hol_blocked_us > 300_000.0, "{blocked:?}");
    Ok(())
}

/// The chunks that were kept back came late, and what came with them waited for nothing.
fn check_unordered_late(folder: &Path) -> Result<()> {
    let flows = flows(&captured(folder, &["b0"])?);
    let late = flows.iter().find(|flow| flow.destination_port == 5000).context("no flow")?;
    let late = late.streams.get(&0).context("nothing on stream 0")?;
    ensure!(late.reordered > 5 && late.unordered + 1 == late.chunks, "not kept back: {late:?}");
    let summaries: Vec<Summary> = of_type(folder, "streamutil", "summary")?;
    let waited = summaries.iter().flat_map(|summary| &summary.streams).find(|s| s.hol_messages > 0);
    ensure!(waited.is_none(), "{waited:?}");
    Ok(())
}
