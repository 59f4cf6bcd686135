//! The scenarios: traffic on which all five commands are compared with the truth at once, that is, with
//! captures at both ends, the kernel's counters, socket options, and what `sctp-traffic` measured.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use sctptrace_tests::capture::Frame;
use sctptrace_tests::losses::Losses;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::vm::{Case, text};
use serde_json::Value;

use crate::compare::{LeftOut, captured, of_type};
use crate::matrix::Cell;
use crate::suite::{Compare, Suite};
use crate::truth::{bufmon, jitter, rto, rtt, streamutil};

/// Traffic on which the commands are compared with the truth. To add a scenario, add it to [`SCENARIOS`].
pub struct Scenario {
    /// The scenario's name. The trial that compares a command on it is named `NAME-TOOL`.
    pub name: &'static str,
    /// The hosts and what is between them: see `topology`, `path` and `lose` in `guest/lib.sh`.
    network: &'static str,
    /// Flags of `sctp-traffic server`.
    server: &'static str,
    /// Lines of shell that run once the commands trace and the capture runs, before the client starts.
    before: &'static str,
    /// Flags of `sctp-traffic client`.
    client: &'static str,
    /// How many paths are captured: 1 or 2.
    paths: usize,
    /// True if the content of packets depends on the messages alone, not on timing, so that losses must be
    /// the same on all machines.
    has_steady_packets: bool,
    /// How far the round-trip times of `sctp-rtt` may be off.
    pub rtt: rtt::Limits,
    /// How far the times that messages waited for earlier ones may be off in `sctp-streamutil`.
    pub waits: streamutil::Limits,
    /// The commands that are not compared, each by its name without `sctp-`.
    without: &'static [&'static str],
    /// Further checks, each with the command whose output it checks.
    more: &'static [(&'static str, More)],
}

type More = fn(&Path, LeftOut) -> Result<()>;

/// The values of the fields that a scenario does not set.
const PLAIN: Scenario = Scenario {
    name: "",
    network: "topology; path 10ms",
    server: "--bind 10.2.0.1",
    before: "",
    client: "",
    paths: 1,
    has_steady_packets: false,
    rtt: rtt::LOSSY,
    waits: streamutil::EACH,
    without: &[],
    more: &[],
};

/// Lines of shell that keep back chunks until 3 s have passed: packets from a that `$match` fits (`tc`'s
/// filter `u32`) are dropped until then. After that the chunks' retransmissions get through.
macro_rules! keep_back {
    ($match:literal) => {
        concat!(
            "modprobe sch_ingress; modprobe cls_u32; modprobe act_gact
            tc -n r qdisc add dev ra0 clsact
            tc -n r filter add dev ra0 ingress protocol ip u32 match ip protocol 132 0xff ",
            $match,
            " action drop
            (sleep 3; tc -n r qdisc del dev ra0 clsact) &"
        )
    };
}

const IDATA: &str = "topology; path 10ms; lose 2 6
    for ns in a b; do $ns sysctl -qw net.sctp.intl_enable=1; done";

/// Two associations of one socket share its send buffer (sndbuf_policy=0).
const SHARED_BUFFER: Scenario = Scenario {
    name: "shared-buffer",
    network: "topology; path 10ms; a sysctl -qw net.sctp.sndbuf_policy=0",
    server: "--bind 10.2.0.1 --one-to-many --associations 2 --port 5000,5001 --read-delay 5 --rcvbuf 30000",
    client: "--bind 10.1.0.1 --one-to-many --associations 2 --port 5000,5001 --count 200 --size 1000 \
        --sndbuf 20000 --nodelay --linger 3000",
    rtt: rtt::QUEUED,
    more: &[("bufmon", bufmon::check_policy)],
    ..PLAIN
};

/// All scenarios.
pub const SCENARIOS: [Scenario; 28] = [
    Scenario {
        name: "clean",
        server: "--bind 10.2.0.1 --associations 2 --streams 4",
        client: "--bind 10.1.0.1 --associations 2 --count 500 --rate 100 --streams 4 --nodelay --blocked",
        rtt: rtt::CLOSE.prompt(21_000.0),
        more: &[("rto", rto::check_clean), ("bufmon", bufmon::check_unblocked)],
        ..PLAIN
    },
    // The size: no two messages fit into a packet, so that packets do not depend on cwnd. The rate: messages
    // do not arrive just when others are sent, as with kprobes the kernel would leave out programs each time.
    Scenario {
        name: "loss",
        network: "topology; path 10ms; lose 5 1",
        server: "--bind 10.2.0.1 --streams 4",
        client: "--bind 10.1.0.1 --count 2000 --rate 130 --size 750 --streams 4 --nodelay --unordered-every 4",
        rtt: rtt::LOSSY.prompt(21_000.0),
        more: &[("rto", rto::check_loss)],
        has_steady_packets: true,
        ..PLAIN
    },
    // Packets come so seldom that the SACK of each waits for the receiver's timer, unless the packet before
    // was lost. SACKs get lost, too.
    Scenario {
        name: "sparse",
        network: "topology; path 10ms; lose_sacks 20 13; lose 10 12",
        client: "--bind 10.1.0.1 --count 300 --rate 3 --size 750 --nodelay",
        rtt: rtt::LOSSY.prompt(21_000.0),
        ..PLAIN
    },
    Scenario {
        name: "loss-bursts",
        network: "topology; path 10ms; lose 5 2",
        server: "--bind 10.2.0.1 --streams 4",
        client: "--bind 10.1.0.1 --count 3000 --rate 2000 --streams 4 --nodelay",
        rtt: rtt::QUEUED,
        ..PLAIN
    },
    Scenario {
        name: "full-speed",
        network: "topology",
        server: "--bind 10.2.0.1 --streams 8",
        client: "--bind 10.1.0.1 --count 20000 --size 100 --streams 8 --blocked",
        rtt: rtt::CLOSE.sender_never_pauses(),
        more: &[("rto", rto::check_clean), ("bufmon", bufmon::check_full_speed)],
        ..PLAIN
    },
    Scenario {
        name: "bundled",
        network: "topology 1400; path 10ms; lose 2 3",
        server: "--bind 10.2.0.1 --streams 4",
        client: "--bind 10.1.0.1 --count 5000 --size 60 --rate 2500 --streams 4",
        rtt: rtt::QUEUED.sender_never_pauses(),
        ..PLAIN
    },
    Scenario {
        name: "fragments",
        network: "topology; path 10ms; lose 2 4",
        server: "--bind 10.2.0.1 --streams 4",
        client: "--bind 10.1.0.1 --count 400 --rate 50 --size 4000 --streams 4",
        has_steady_packets: true,
        ..PLAIN
    },
    Scenario {
        name: "skewed",
        network: "topology; path 10ms; lose 1 5",
        server: "--bind 10.2.0.1 --streams 4",
        client: "--bind 10.1.0.1 --count 1000 --rate 400 --streams 4 --nodelay --skew --unordered-every 3",
        has_steady_packets: true,
        ..PLAIN
    },
    Scenario {
        name: "idata",
        network: IDATA,
        server: "--bind 10.2.0.1 --idata --streams 3",
        client: "--bind 10.1.0.1 --idata --streams 3 --count 1000 --rate 200 --unordered-every 4 --nodelay",
        has_steady_packets: true,
        ..PLAIN
    },
    Scenario {
        name: "idata-fragments",
        network: IDATA,
        server: "--bind 10.2.0.1 --idata --streams 3",
        client: "--bind 10.1.0.1 --idata --streams 3 --count 400 --rate 50 --size 4000 --unordered-every 4",
        has_steady_packets: true,
        ..PLAIN
    },
    Scenario {
        name: "ipv6",
        network: "topology; path 10ms; lose 3 7",
        server: "--bind fd00:2:0::1 --associations 2",
        client: "--bind fd00:1:0::1 --to fd00:2:0::1 --associations 2 --count 500 --rate 100 --nodelay",
        rtt: rtt::LOSSY.prompt(21_000.0),
        more: &[("rto", rto::check_ipv6)],
        has_steady_packets: true,
        ..PLAIN
    },
    Scenario {
        name: "one-to-many",
        network: "topology; path 10ms; lose 2 8",
        server: "--bind 10.2.0.1 --one-to-many --associations 6 --port 5000,5001,5002",
        client: "--bind 10.1.0.1 --one-to-many --associations 6 --port 5000,5001,5002 --count 300 --rate 100",
        rtt: rtt::LOSSY.prompt(21_000.0),
        ..PLAIN
    },
    Scenario {
        name: "udp",
        network: "topology; path 10ms; lose 2 9
            for ns in a b; do $ns sysctl -qw net.sctp.encap_port=9899 net.sctp.udp_port=9899; done",
        client: "--bind 10.1.0.1 --count 500 --rate 200 --nodelay",
        rtt: rtt::LOSSY.prompt(21_000.0),
        has_steady_packets: true,
        ..PLAIN
    },
    // `rows` is plain text output, for which sctp-rtt uses another hook, without the chunk's path: it is
    // compared, too.
    Scenario {
        name: "two-paths",
        network: "topology; path 10ms; lose 2 10; path 20ms 1",
        server: "--bind 10.2.0.1,10.2.1.1",
        before: "trace rows sctp-rtt -q; (sleep 1; path_down 0) &",
        client: "--bind 10.1.0.1,10.1.1.1 --to 10.2.0.1,10.2.1.1 --count 400 --rate 100 --nodelay --path-retrans 1",
        paths: 2,
        more: &[("rtt", rtt::check_two_paths)],
        ..PLAIN
    },
    Scenario {
        name: "varied",
        network: "topology; netem rb0 delay 20ms 5ms; netem ra0 delay 10ms",
        server: "--bind 10.2.0.1 --associations 2 --port 5000,5001 --streams 4",
        client: "--bind 10.1.0.1 --associations 2 --port 5000,5001 --count 1000 --rate 200 --streams 4 --nodelay",
        ..PLAIN
    },
    Scenario {
        name: "added",
        network: "topology; path 10ms; lose 2 11
            for ns in a b; do $ns sysctl -qw net.sctp.reconf_enable=1; done",
        server: "--bind 10.2.0.1 --streams 3",
        client: "--bind 10.1.0.1 --streams 3 --add-streams 4 --count 700 --rate 200 --nodelay",
        has_steady_packets: true,
        ..PLAIN
    },
    // All chunks of stream 0 are kept back. They are unordered: each fourth message, on the first of four
    // streams.
    Scenario {
        name: "unordered-late",
        server: "--bind 10.2.0.1 --streams 4",
        before: keep_back!("match u8 0 0xff at 32 match u16 0 0xffff at 40"),
        client: "--bind 10.1.0.1 --count 400 --unordered-every 4 --rate 50 --streams 4 --nodelay",
        waits: streamutil::ALL,
        more: &[("streamutil", streamutil::check_unordered_late)],
        ..PLAIN
    },
    // One chunk is kept back: message 102, which has stream sequence number 25 on stream 2 of four.
    Scenario {
        name: "blocked",
        server: "--bind 10.2.0.1 --streams 4",
        before: keep_back!("match u8 0 0xff at 32 match u16 2 0xffff at 40 match u16 25 0xffff at 42"),
        client: "--bind 10.1.0.1 --count 400 --rate 50 --streams 4 --nodelay",
        waits: streamutil::ALL,
        more: &[("streamutil", streamutil::check_blocked)],
        ..PLAIN
    },
    // An idle second path, with HEARTBEATs.
    Scenario {
        name: "heartbeat",
        network: "topology; path 10ms; path 30ms 1",
        server: "--bind 10.2.0.1,10.2.1.1",
        client: "--bind 10.1.0.1,10.1.1.1 --to 10.2.0.1,10.2.1.1 --count 800 --rate 100 --heartbeat 1000 --nodelay",
        paths: 2,
        rtt: rtt::CLOSE,
        more: &[("rto", rto::check_heartbeat)],
        ..PLAIN
    },
    // Path 0 fails under traffic and comes back; path 1 fails while it is idle. SACKs are delayed by 40 ms at
    // most, so that a delayed SACK does not let T3-rtx expire.
    Scenario {
        name: "states",
        network: "topology; path 10ms; path 10ms 1",
        server: "--bind 10.2.0.1,10.2.1.1 --sack-delay 40",
        before: "(sleep 2; path_down 0; sleep 12; path 10ms; sleep 6; path_down 1) &",
        client: "--bind 10.1.0.1,10.1.1.1 --to 10.2.0.1,10.2.1.1 --count 3500 --rate 100 --heartbeat 500 \
            --path-retrans 2 --rto-min 200 --rto-initial 500 --rto-max 1000 --nodelay",
        paths: 2,
        more: &[("rto", rto::check_states)],
        ..PLAIN
    },
    // The receiver delays SACKs by 500 ms, longer than the sender's RTO: so retransmissions are spurious.
    Scenario {
        name: "spurious",
        server: "--bind 10.2.0.1 --sack-delay 500",
        client: "--bind 10.1.0.1 --count 40 --rate 1 --rto-min 100 --rto-initial 300 --rto-max 400 --nodelay",
        more: &[("rto", rto::check_spurious)],
        ..PLAIN
    },
    // The path is down for four seconds. SACKs are delayed by 40 ms at most, so that a delayed SACK does not let
    // T3-rtx expire.
    Scenario {
        name: "blackout",
        server: "--bind 10.2.0.1 --sack-delay 40",
        before: "(sleep 3; path_down 0; sleep 4; path 10ms) &",
        client: "--bind 10.1.0.1 --count 800 --rate 100 --size 500 --nodelay \
            --rto-min 200 --rto-initial 500",
        rtt: rtt::QUEUED,
        more: &[("rto", rto::check_blackout), ("bufmon", bufmon::check_blackout)],
        ..PLAIN
    },
    // The path is down when the client closes its socket: nobody answers its SHUTDOWN.
    Scenario {
        name: "shutdown",
        before: "(sleep 3; path_down 0; sleep 5; path 10ms) &",
        client: "--bind 10.1.0.1 --count 50 --rate 100 --linger 4000 --rto-min 200 --rto-initial 500 --nodelay",
        more: &[("rto", rto::check_shutdown)],
        ..PLAIN
    },
    // A reader that takes 10 ms for each message.
    Scenario {
        name: "slow-reader",
        server: "--bind 10.2.0.1 --read-delay 10 --rcvbuf 30000",
        client: "--bind 10.1.0.1 --count 500 --size 1000 --sndbuf 20000 --blocked --nodelay --linger 3000",
        rtt: rtt::QUEUED,
        more: &[("bufmon", bufmon::check_slow_reader)],
        ..PLAIN
    },
    SHARED_BUFFER,
    // Two associations of one socket, each with a send buffer of its own (sndbuf_policy=1).
    Scenario {
        name: "own-buffers",
        network: "topology; path 10ms; a sysctl -qw net.sctp.sndbuf_policy=1",
        ..SHARED_BUFFER
    },
    Scenario {
        name: "nonblocking",
        server: "--bind 10.2.0.1 --read-delay 10 --rcvbuf 30000",
        client: "--bind 10.1.0.1 --count 300 --size 1000 --sndbuf 20000 --nonblocking --nodelay --linger 3000",
        rtt: rtt::QUEUED,
        more: &[("bufmon", bufmon::check_nonblocking)],
        ..PLAIN
    },
    // A receiver without room drops chunks, and the capture does not show which ones it accepted. So the
    // commands that look at received chunks are not compared.
    Scenario {
        name: "reader-stops",
        server: "--bind 10.2.0.1 --read-after 6000 --rcvbuf 30000",
        before: "trace server sctp-bufmon --json -q -f server-side.json --netns /run/netns/b
            trace extended sctp-bufmon -x --netns /run/netns/a",
        client: "--bind 10.1.0.1 --count 300 --size 1000 --nodelay",
        rtt: rtt::QUEUED,
        without: &["jitter", "streamutil"],
        more: &[("bufmon", bufmon::check_reader_stops)],
        ..PLAIN
    },
];

impl Scenario {
    fn case(&self) -> Case {
        let Self { name, network, server, before, client, .. } = self;
        let taps = [self.sender(), self.receiver()].concat().join(" ");
        let script = format!(
            "{network}\nserve {server}\ncapture {taps}\n{before}\nsend {client}\n\
             trace_stop; lose_stop; capture_stop; a cat /proc/net/sctp/snmp >snmp\n"
        );
        Case::new(name, &script)
    }

    /// The sender's interfaces.
    pub fn sender(&self) -> &'static [&'static str] {
        &["a0", "a1"][..self.paths]
    }

    /// The receiver's interfaces.
    pub fn receiver(&self) -> &'static [&'static str] {
        &["b0", "b1"][..self.paths]
    }

    /// Ensures that sctp-drop dropped exactly the transmissions that its seed chooses in the capture, in this
    /// order; and, if the scenario has steady packets, the same ones as on other machines.
    fn check_losses(&self, folder: &Path, cell: Cell) -> Result<()> {
        let sacks = folder.join("sack-losses.json");
        if sacks.exists() {
            let losses: Losses = serde_json::from_str(&text(&sacks)?)?;
            let from_receiver = |frame: &Frame| (5000..=5009).contains(&frame.source.port());
            let chosen = losses.choice.of_sacks(&captured(folder, &["b0"])?, from_receiver);
            ensure!(!chosen.is_empty() && losses.dropped == chosen, "{:?}, not {chosen:?}", losses.dropped);
        }
        static BEFORE: Mutex<BTreeMap<&str, (Cell, Losses)>> = Mutex::new(BTreeMap::new());
        let path = folder.join("losses.json");
        if !path.exists() {
            return Ok(());
        }
        let losses: Losses = serde_json::from_str(&text(&path)?)?;
        let from_sender = |frame: &Frame| !(5000..=5009).contains(&frame.source.port());
        let chosen = losses.choice.of(&captured(folder, &["a0"])?, from_sender);
        ensure!(!chosen.is_empty(), "nothing was lost");
        ensure!(losses.dropped == chosen, "dropped {:?}, chosen {chosen:?}", losses.dropped);
        if self.has_steady_packets {
            let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
            let (other, there) = before.entry(self.name).or_insert_with(|| (cell, losses.clone()));
            ensure!(*there == losses, "dropped {:?}, but on {other:?} {:?}", losses.dropped, there.dropped);
        }
        Ok(())
    }

    fn check(&self, tool: &str, folder: &Path, cell: Cell) -> Result<()> {
        self.check_losses(folder, cell)?;
        self.check_findings(folder, tool)?;
        let left_out = LeftOut::of(cell, folder, tool)?;
        match tool {
            "rtt" => rtt::check(folder, cell, self, left_out),
            "rto" => rto::check(folder, left_out),
            "bufmon" => bufmon::check(folder, self, left_out),
            "jitter" => jitter::check(folder, self, left_out),
            _ => streamutil::check(folder, self, left_out),
        }?;
        self.more.iter().filter(|(of, _)| *of == tool).try_for_each(|(_, check)| check(folder, left_out))
    }
}

impl Scenario {
    /// Ensures that the command has found nothing that this traffic cannot have.
    fn check_findings(&self, folder: &Path, tool: &str) -> Result<()> {
        let findings: Vec<Value> = of_type(folder, tool, "finding")?;
        for finding in &findings {
            let code = finding["code"].as_str().context("no code")?;
            ensure!(self.can_have(code), "{tool}: a finding that cannot be: {finding}");
        }
        Ok(())
    }

    /// Returns whether what a finding says can be so, by how the traffic is made.
    fn can_have(&self, code: &str) -> bool {
        let is_down = self.before.contains("path_down");
        let is_lossy = self.network.contains("lose ") || self.before.contains("action drop") || is_down;
        match code {
            "real_loss" | "one_missing" | "hol_blocking" => is_lossy,
            "sacks_lost" => self.network.contains("lose_sacks"),
            "path_silent" => is_down,
            "path_jumped" | "no_spare_path" => is_down && self.paths == 2,
            "rto_below_sack_delay" => self.client.contains("--rto-min"),
            // One to three packets a second: each SACK waits for its timer.
            "delayed_sack" => ["--rate 1 ", "--rate 3 "].iter().any(|rate| self.client.contains(rate)),
            "nagle_delayed_sack" => !self.client.contains("--nodelay"),
            "window_closed" | "window_full_of_gaps" => self.server.contains("--read-"),
            _ => false,
        }
    }
}

/// Adds all scenarios, each with a comparison for each command.
pub fn add(suite: &mut Suite) {
    for scenario in &SCENARIOS {
        let compared = TOOLS.into_iter().filter(|tool| !scenario.without.contains(tool));
        let checks: Vec<_> = compared
            .map(|tool| {
                let check: Compare = Arc::new(move |folder, cell| scenario.check(tool, folder, cell));
                (tool, check)
            })
            .collect();
        suite.compare(&scenario.case(), &checks);
    }
}
