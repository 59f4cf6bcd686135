//! Cases of `sctp-rtt`: its flags, output formats and filters, and chunks outstanding at its end.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::{contract, ensure_sentence, of_type, says_nothing, traffic};
use crate::suite::Suite;
use crate::truth::rtt::{Seen, check_outstanding};

/// All forms of text and CSV output at once, over the same two associations.
const FORMS: &str = "
topology; path 10ms; remember
serve --bind 10.2.0.1 --associations 2
trace text sctp-rtt
trace csv sctp-rtt -c
trace csv-quiet sctp-rtt --csv -q
trace csv-file sctp-rtt -c -f rows/rtt.csv
mv rows csv-rows
trace file sctp-rtt --file rows/rtt.csv
send --bind 10.1.0.1 --associations 2 --count 300 --rate 100
trace_stop INT
nothing_left
";

/// Two associations with echoes, of one client, and an association without echoes, of another. All are set up
/// before the commands start.
pub const FILTERS: &str = "
topology; path 10ms
serve --bind 10.2.0.1 --associations 2 --port 5000,5001 --echo
echoing=$(pidof sctp-traffic)
/sbin/ip netns exec b sctp-traffic server --bind 10.2.1.1 --port 5002 >other-server.json &
sleep 0.5
/sbin/ip netns exec a sctp-traffic client --bind 10.1.0.1 --local-port 6000 --port 5000,5001 --associations 2 --echo \\
    --count 20 --pause 25000 >client.json &
first=$!
/sbin/ip netns exec a sctp-traffic client --bind 10.1.1.1 --local-port 6002 --port 5002 --to 10.2.1.1 \\
    --count 20 --pause 25000 >other.json &
other=$!
sleep 1
a cat /proc/net/sctp/assocs >assocs
assoc=$(awk '$12 == 6001 { print $7 }' assocs)
trace all sctp-rtt --json -q -f all.json
trace lport sctp-rtt --json -q -f lport.json --lport 6001
trace rport sctp-rtt --json -q -f rport.json --rport 6000
trace addr sctp-rtt --json -q -f addr.json --addr 10.2.1.1
trace netns-path sctp-rtt --json -q -f netns-path.json --netns /run/netns/a
trace netns-pid sctp-rtt --json -q -f netns-pid.json --netns $echoing
trace assoc sctp-rtt --json -q -f assoc.json --assoc $assoc
trace pid sctp-rtt --json -q -f pid.json -p $other
trace both sctp-rtt --json -q -f both.json --lport 6000 --rport 5001
wait $first $other
trace_stop
";

/// The filter `-p`, with processes that open or accept their sockets after the commands have started.
const PID: &str = "
topology; path 10ms
serve --bind 10.2.0.1 --associations 2 --port 5000,5001 --echo
echoing=$(pidof sctp-traffic)
/sbin/ip netns exec a sctp-traffic client --bind 10.1.0.1 --local-port 6000 --port 5000 --echo \\
    --count 20 --delay 12000 >client.json &
first=$!
/sbin/ip netns exec a sctp-traffic client --bind 10.1.0.1 --local-port 6001 --port 5001 --echo \\
    --count 20 --delay 12000 >other.json &
other=$!
trace rtt-first sctp-rtt --json -q -f rtt-first.json -p $first
trace rtt-other sctp-rtt --json -q -f rtt-other.json --pid $other
trace rtt-server sctp-rtt --json -q -f rtt-server.json -p $echoing
wait $first $other
trace_stop
";

/// `sctp-rtt` refuses to run without root and with flags that it does not understand; `--help` and
/// `--duration` work.
const REFUSALS: &str = "
modprobe sctp
exits 3 no-root su -s /bin/sh nobody -c sctp-rtt
for flags in --nonsense '-i 0' '-i -1' '-i soon' '-p none' '-d 0' '--addr here' '--json -c' '--lport 70000'; do
    exits 2 usage sctp-rtt $flags
    [ -s usage.err ] || fail \"$flags: no word about it\"
done
exits 0 help sctp-rtt --help
exits 0 duration sctp-rtt -d 1
tail -1 duration.out | grep -qx 'Tracing completed.'
";

/// Measures the time until the first row, the peak memory, and the size of the program.
const FIGURES: &str = "
topology; path 10ms
serve --bind 10.2.0.1
a sctp-traffic client --bind 10.1.0.1 --count 2000 --rate 200 --nodelay >client.json &
sleep 2
now() { cut -d' ' -f1 /proc/uptime; }
begin=$(now)
sctp-rtt 2>rtt.err | { read -r line; read -r line; read -r row; echo \"$row\" >row; now >first; cat >/dev/null; } &
until_true 60 test -s first
echo \"$begin $(cat first)\" | awk '{ printf \"%.2f\\n\", $2 - $1 }' >first_row_s
sleep 2
awk '/VmHWM/ { print $2 }' /proc/$(pidof sctp-rtt)/status >peak_rss_kb
wc -c </bin/sctp-rtt >binary_bytes
killall -TERM sctp-rtt
";

/// The path goes down, and the trace ends while chunks are outstanding.
const OUTSTANDING: &str = "topology; path 10ms
    serve --bind 10.2.0.1; capture a0
    trace rtt sctp-rtt --json -q -f rtt.json
    send --bind 10.1.0.1 --count 110 --rate 100 --nodelay --linger 5000 &
    sender=$!
    sleep 0.8; path_down 0; sleep 0.6
    trace_stop; capture_stop
    path 10ms; wait $sender || true";

/// Every second chunk waits for another packet before its SACK leaves.
const ABOVE: &str = "
topology; path 10ms
serve --bind 10.2.0.1
trace all sctp-rtt --json -q -f all.json
trace above sctp-rtt --json -q -f above.json --above 40
trace text sctp-rtt -q --above 40
send --bind 10.1.0.1 --count 41 --rate 20 --nodelay
trace_stop
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    let mut icount = |name, script, check: fn(&Path) -> Result<()>| {
        suite.add(Series::V6_12, Mode::Icount, Case::new(name, script), check);
    };
    icount("rtt-refusals", REFUSALS, check_refusals);
    icount("rtt-forms", FORMS, check_forms);
    icount("rtt-filters", FILTERS, check_filters);
    icount("rtt-pid", PID, check_pid);
    icount("rtt-above", ABOVE, check_above);
    for series in [Series::V6_12, Series::V6_1] {
        for (suffix, hooks) in [("", ""), ("-kprobe", "HOOKS=\"$HOOKS_FLAG kprobe\"\n")] {
            let case = Case::new(&format!("rtt-outstanding{suffix}"), &format!("{hooks}{OUTSTANDING}"));
            suite.add(series, Mode::Icount, case, check_outstanding);
        }
    }
    suite.add(Series::V6_12, Mode::Smp, Case::new("rtt-figures", FIGURES), check_figures);
}

fn check_forms(folder: &Path) -> Result<()> {
    for name in ["text", "csv", "csv-quiet", "csv-file", "file"] {
        let errors = text(&folder.join(format!("{name}.err")))?;
        ensure!(
            text(&folder.join(format!("{name}.status")))? == "0\n" && says_nothing(&errors),
            "{name}: {errors}"
        );
    }
    contract(folder, "rtt-text", &["text.out"])?;
    contract(folder, "rtt-csv", &["csv.out"])?;
    contract(folder, "rtt-csv-quiet", &["csv-quiet.out"])?;
    contract(folder, "rtt-csv-file", &["csv-file.out", "csv-rows/rtt.csv"])?;
    contract(folder, "rtt-file", &["file.out", "rows/rtt.csv"])
}

/// How many samples there are by the ports of their sender and receiver.
type Ports = BTreeMap<(u16, u16), usize>;

fn seen_ports(folder: &Path, name: &str) -> Result<Ports> {
    let mut ports = Ports::new();
    for sample in Seen::read(folder, name)?.samples {
        *ports.entry((sample.local.port(), sample.peer.port())).or_default() += 1;
    }
    Ok(ports)
}

fn ensure_ports(folder: &Path, name: &str, expected: &[((u16, u16), usize)]) -> Result<()> {
    let expected: Ports = expected.iter().copied().collect();
    let seen = seen_ports(folder, name)?;
    ensure!(seen == expected, "{name}: samples of {seen:?}, not of {expected:?}");
    Ok(())
}

// Ports and number of samples, by sender: a client (A) sends twenty messages and the farewell, a server (B)
// twenty echoes.
const A0: ((u16, u16), usize) = ((6000, 5000), 21);
const A1: ((u16, u16), usize) = ((6001, 5001), 21);
const A2: ((u16, u16), usize) = ((6002, 5002), 21);
const B0: ((u16, u16), usize) = ((5000, 6000), 20);
const B1: ((u16, u16), usize) = ((5001, 6001), 20);

fn check_filters(folder: &Path) -> Result<()> {
    ensure_ports(folder, "all", &[A0, A1, A2, B0, B1])?;
    ensure_ports(folder, "lport", &[A1])?;
    ensure_ports(folder, "rport", &[B0])?;
    ensure_ports(folder, "addr", &[A2])?;
    ensure_ports(folder, "netns-path", &[A0, A1, A2])?;
    ensure_ports(folder, "netns-pid", &[B0, B1])?;
    ensure_ports(folder, "assoc", &[A1])?;
    ensure_ports(folder, "pid", &[A2])?;
    ensure_ports(folder, "both", &[])?;
    // The samples have the association id that the client's socket has.
    let client = traffic(folder, "client.json")?;
    let known = client.iter().find(|association| association.local_port == 6001).context("no port 6001")?;
    let seen = Seen::read(folder, "assoc")?;
    ensure!(seen.samples.iter().all(|sample| sample.assoc_id == known.assoc_id), "not {}", known.assoc_id);
    Ok(())
}

/// Ensures that `--above` leaves out the records below, and nothing of the statistics.
fn check_above(folder: &Path) -> Result<()> {
    let of = |name: &str, kind: &str| of_type::<Value>(folder, name, kind);
    let tsns = |samples: &[Value]| samples.iter().map(|s| s["tsn"].clone()).collect::<Vec<_>>();
    let (all, above) = (of("all", "sample")?, of("above", "sample")?);
    let expected: Vec<Value> =
        all.iter().filter(|sample| sample["rtt_us"].as_f64() > Some(40_000.0)).cloned().collect();
    ensure!(!expected.is_empty() && expected.len() < all.len(), "{} of {}", expected.len(), all.len());
    ensure!(tsns(&above) == tsns(&expected), "{above:?}, not {expected:?}");
    let samples = |name: &str| Ok::<_, anyhow::Error>(of(name, "summary")?[0]["samples"].as_u64());
    ensure!(
        samples("above")? == Some(all.len() as u64),
        "{:?} samples, not {}",
        samples("above")?,
        all.len()
    );
    let lines = text(&folder.join("text.out"))?;
    let rows = lines.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    ensure!(rows.count() == expected.len() && lines.contains(&format!("Samples: {}", all.len())), "{lines}");
    Ok(())
}

fn check_pid(folder: &Path) -> Result<()> {
    ensure_ports(folder, "rtt-first", &[A0])?;
    ensure_ports(folder, "rtt-other", &[A1])?;
    ensure_ports(folder, "rtt-server", &[B0, B1])
}

fn check_refusals(folder: &Path) -> Result<()> {
    ensure_sentence(folder, "sctp-rtt", "no-root", "root")
}

fn check_figures(folder: &Path) -> Result<()> {
    let figure = |name| text(&folder.join(name)).map(|text| text.trim().to_owned());
    let row = figure("row")?;
    ensure!(row.split_whitespace().count() == 4, "no row: {row:?}");
    eprintln!(
        "    sctp-rtt: first row after {} s, peak RSS {} kB, binary {} bytes",
        figure("first_row_s")?,
        figure("peak_rss_kb")?,
        figure("binary_bytes")?
    );
    Ok(())
}
