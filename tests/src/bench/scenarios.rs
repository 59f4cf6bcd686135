//! What the bench measures: transfers, series of transfers in which one quantity grows, ticks without events,
//! and the sets of commands that trace.

use crate::programs::TOOLS;

/// A transfer whose cost is measured.
#[derive(Clone, Copy)]
pub(super) struct Transfer {
    /// The workload's name in tables.
    pub name: &'static str,
    /// Name of the case that measures it.
    pub case: &'static str,
    /// Number and size of the messages, for the table of workloads.
    pub messages: &'static str,
    /// Number of DATA chunks sent, including each association's farewell (see `sctp-traffic`).
    pub chunks: u32,
    /// Flags of `sctp-traffic server`.
    pub serve: &'static str,
    /// Flags of `sctp-traffic client`.
    pub send: &'static str,
    /// How often the transfer is measured with each set of commands.
    pub rounds: u32,
    /// The forms of output with which it is measured.
    pub formats: &'static [Format],
}

/// A bulk of small messages, as fast as they go. The kernel bundles them into packets, so that the receiver
/// sends about one SACK per 13 chunks.
pub(super) const BULK: Transfer = Transfer {
    name: "bulk of small messages",
    case: "bulk",
    messages: "20,000 x 100 B",
    chunks: 20_001,
    serve: "--streams 4",
    send: "--streams 4 --count 20000 --size 100",
    rounds: 3,
    formats: &FORMATS,
};

/// Signalling: each message is a packet of its own, and the receiver sends a SACK for every second packet. The
/// bench fails if the capture shows another number of either.
pub(super) const SIGNALLING: Transfer = Transfer {
    name: "signalling",
    case: "signalling",
    messages: "20,000 x 100 B, `SCTP_NODELAY`",
    send: "--streams 4 --count 20000 --size 100 --nodelay",
    ..BULK
};

/// Large messages, as iperf3 sends: the kernel fragments each into 46 chunks.
pub(super) const LARGE: Transfer = Transfer {
    name: "large messages",
    case: "large",
    messages: "400 x 64 KiB",
    chunks: 400 * 46 + 1,
    send: "--streams 4 --count 400 --size 65536",
    rounds: 5,
    formats: &[CSV],
    ..BULK
};

/// The workloads that are measured with every form of output.
pub(super) const WORKLOADS: [Transfer; 2] = [SIGNALLING, BULK];

pub(super) const TRANSFERS: [Transfer; 5] = [
    SIGNALLING,
    BULK,
    Transfer {
        name: "full packets",
        case: "full",
        messages: "5,000 x 1,400 B",
        chunks: 5_001,
        send: "--streams 4 --count 5000 --size 1400",
        formats: &[CSV],
        ..BULK
    },
    Transfer {
        name: "64 associations",
        case: "associations",
        messages: "64 at once, 300 x 200 B each",
        chunks: 64 * 301,
        serve: "--streams 4 --associations 64",
        send: "--streams 4 --associations 64 --count 300 --size 200",
        rounds: 1,
        formats: &[CSV],
    },
    LARGE,
];

/// A quantity that a cost may grow with, and transfers with more and more of it.
pub(super) struct Growth {
    pub of: &'static str,
    /// The event that costs are given per: costs are divided by its number, [`Step::events`].
    pub per: &'static str,
    pub steps: [Step; 3],
}

/// A transfer with `size` of the quantity that grows, [`Growth::of`].
pub(super) struct Step {
    pub size: u32,
    /// How many of the events named by [`Growth::per`] the transfer has.
    pub events: u32,
    /// Shell line for the guest that sets up the path; empty to leave the path as it is.
    pub path: &'static str,
    /// Flags of `sctp-traffic server`; from `gap_peer` on, of `sctp-fuzz echo`.
    pub serve: &'static str,
    /// Flags of `sctp-traffic client`; from `gap_peer` on, of `sctp-fuzz gaps`.
    pub send: &'static str,
}

const fn step(size: u32, events: u32, path: &'static str, serve: &'static str, send: &'static str) -> Step {
    Step { size, events, path, serve, send }
}

pub(super) const GROWTH: [Growth; 4] = [
    Growth {
        of: "associations",
        per: "chunk",
        steps: [
            step(1, 20_000, "", "--one-to-many", "--crowd --count 20000"),
            step(
                100,
                20_000,
                "",
                "--one-to-many --associations 100",
                "--crowd --associations 100 --count 200",
            ),
            step(
                10_000,
                40_000,
                "",
                "--one-to-many --associations 10000 --streams 4",
                "--crowd --associations 10000 --streams 4 --count 4",
            ),
        ],
    },
    Growth {
        of: "streams",
        per: "chunk",
        steps: [
            step(1, 65_535, "", "--one-to-many", "--crowd --count 65535"),
            step(64, 65_535, "", "--one-to-many --streams 64", "--crowd --streams 64 --count 65535"),
            step(
                65_535,
                65_535,
                "",
                "--one-to-many --streams 65535",
                "--crowd --streams 65535 --count 65535",
            ),
        ],
    },
    Growth {
        of: "outstanding chunks",
        per: "chunk",
        steps: [
            step(1, 5001, "path 0.5ms", "", "--count 5000 --rate 1000 --nodelay"),
            step(64, 5001, "path 32ms", "", "--count 5000 --rate 1000 --nodelay"),
            step(
                4096,
                20_001,
                "path 2048ms",
                "--rcvbuf 20000000",
                "--count 20000 --rate 1000 --nodelay --sndbuf 20000000",
            ),
        ],
    },
    // Must be last: after `gap_peer`, the guest's `serve` and `send` run `sctp-fuzz`.
    Growth {
        of: "gap blocks",
        per: "SACK for 44 chunks",
        steps: [
            step(0, SACKS, "gap_peer; path 0ms", "", "--blocks 0"),
            step(4, SACKS, "gap_peer", "", "--blocks 4"),
            step(64, SACKS, "gap_peer", "", "--blocks 64"),
        ],
    },
];

/// Number of SACKs in each transfer of the growth "gap blocks".
const SACKS: u32 = 300;

/// By command: the command's flag for the size of its table, and a size that holds the largest step of
/// [`GROWTH`].
pub(super) const TABLE_SIZES: [(&str, &str, u32); 5] = [
    ("rtt", "--max-paths", 32_768),
    ("rto", "--max-paths", 32_768),
    ("bufmon", "--max-assocs", 32_768),
    ("jitter", "--max-streams", 131_072),
    ("streamutil", "--max-streams", 131_072),
];

/// A measurement of each command's own process with `-i 1 --json`, at ticks (the ends of intervals) without
/// events.
pub(super) struct Idle {
    pub name: &'static str,
    /// The size of the command's table is the one in [`TABLE_SIZES`] divided by this.
    pub part: u32,
    /// Number of associations that began and ended before the measurement.
    pub associations: u32,
}

pub(super) const IDLE: [Idle; 3] = [
    Idle { name: "a 32nd of the table, empty", part: 32, associations: 0 },
    Idle { name: "the table, empty", part: 1, associations: 0 },
    Idle { name: "the table, after 10,000 associations", part: 1, associations: 10_000 },
];

/// Number of ticks in each measurement of [`IDLE`], a second apart.
pub(super) const TICKS: f64 = 10.0;

/// A form of output, and the flags for it.
pub(super) type Format = (&'static str, &'static str);

pub(super) const CSV: Format = ("CSV", "-c");
/// Text with more columns.
pub(super) const EXTENDED: Format = ("`-x`", "-x");
pub(super) const JSON: Format = ("JSON", "--json");
pub(super) const NO_SAMPLES: Format = ("JSON, `--no-samples`", "--json --no-samples");
pub(super) const FORMATS: [Format; 5] = [CSV, ("text", ""), EXTENDED, JSON, NO_SAMPLES];

/// Kinds of hook whose own cost is measured: `bpf-floor` attaches a program that does nothing.
pub(super) const FLOORS: [&str; 4] = ["fentry", "fexit", "kprobe", "kretprobe"];

/// A set of commands that trace one transfer at the same time.
pub(super) struct Tracers {
    pub name: String,
    pub commands: Vec<String>,
}

/// The sets of commands with which a transfer is measured: each command by itself, with each of these forms of
/// output, and all five at once with CSV.
pub(super) fn tracers(formats: &[Format]) -> Vec<Tracers> {
    let mut all = Vec::new();
    for tool in TOOLS {
        for (format, flags) in formats {
            all.push(Tracers {
                name: format!("{tool} {format}"),
                commands: vec![format!("sctp-{tool} {flags}")],
            });
        }
    }
    let five = TOOLS.map(|tool| format!("sctp-{tool} {}", CSV.1)).to_vec();
    all.push(Tracers { name: format!("{ALL_FIVE} {}", CSV.0), commands: five });
    all
}

/// Name of the set of all five commands.
pub(super) const ALL_FIVE: &str = "all five";
