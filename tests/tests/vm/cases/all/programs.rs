//! Programs that people run over SCTP, from Debian's packages. All five commands trace them at once and are
//! compared with captures at both ends.

use std::path::Path;

use anyhow::{Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::truth::rtt::{self as round_trips, Flow};
use sctptrace_tests::truth::streams;
use sctptrace_tests::vm::{Case, Mode};

use crate::compare::captured;
use crate::suite::Suite;
use crate::truth::{bufmon, jitter, rto, rtt, streamutil};

/// The programs' names.
const PROGRAMS: [&str; 6] = ["iperf3", "ncat", "sctp_darn", "sctp_test", "sipp", "socat"];

/// iperf3 sends from a to b, on four streams of two associations; from b to a; and both ways at once.
const IPERF3: &str = "
b iperf3 --server --bind 10.2.0.1 >server.log 2>&1 &
listening() { b grep -q ':1451 ' /proc/net/tcp; }
until_true 10 listening
for how in '--nstreams 4 --parallel 2' --reverse --bidir; do
    a iperf3 --sctp --client 10.2.0.1 --bind 10.1.0.1 --time 1 --length 1000 --bitrate 1M $how >>iperf3.log
done
";

/// `sctp_test` sends messages of 1 to 32,768 bytes, alternately ordered and unordered, on four streams; then
/// ordered messages of one byte on one stream.
const SCTP_TEST: &str = "
b sctp_test -H 10.2.0.1 -P 5000 -l >server.log 2>&1 &
until_true 10 b grep -q ' 5000 ' /proc/net/sctp/eps
a sctp_test -H 10.1.0.1 -P 6000 -h 10.2.0.1 -p 5000 -s -c 4 -o 2 -M 4 -x 5 >client.log
a sctp_test -H 10.1.0.1 -P 6001 -h 10.2.0.1 -p 5000 -s -c 0 -o 1 -x 50 >>client.log
";

/// While `sctp_darn` sends messages, it adds an address, changes the primary path, and removes its first
/// address. (At the end of its input it exits with 100.)
const SCTP_DARN: &str = "
for ns in a b; do $ns sysctl -qw net.sctp.addip_enable=1 net.sctp.addip_noauth_enable=1; done
b sctp_darn -H 10.2.0.1 -B 10.2.1.1 -P 5000 -l >server.log 2>&1 &
until_true 10 b grep -q ' 5000 ' /proc/net/sctp/eps
{
    for command in snd=100 snd=3000 bindx-add=10.1.1.1 snd=1000 primary=10.2.1.1 snd=1000 snd=1000 \\
        bindx-rem=10.1.0.1 snd=1000 snd=100 shutdown; do
        echo $command
        sleep 1
    done
} | a sctp_darn -H 10.1.0.1 -P 6000 -h 10.2.0.1 -p 5000 -s -I >client.log 2>&1 || [ $? = 100 ]
";

/// Short associations of socat and ncat, one after the other.
const IN_A_ROW: &str = "
b socat -u SCTP-LISTEN:5000,fork OPEN:/dev/null &
until_true 10 b grep -q ' 5000 ' /proc/net/sctp/eps
head -c 5000 /dev/zero >some
# A server that reaches the end of its input ends, whether it has been sent anything or not.
mkfifo endless
exec 9<>endless
for number in 1 2 3 4 5; do
    a socat -u OPEN:some SCTP:10.2.0.1:5000
    # With --keep-open it listens no more after the first.
    b ncat --sctp --listen --recv-only 10.2.0.1 5001 <&9 >/dev/null 2>&1 &
    server=$!
    until_true 10 b grep -q ' 5001 ' /proc/net/sctp/eps
    a ncat --sctp --send-only 10.2.0.1 5001 <some
    # Or the next client would find this one, as it ends.
    wait $server || true
done
";

/// SIP calls by sipp, each of several requests and responses.
const SIPP: &str = "
export TERM=dumb
b sipp -sn uas -t s1 -i 10.2.0.1 -p 5060 -nostdin -bg >server.log 2>&1 || true
until_true 10 b grep -q ' 5060 ' /proc/net/sctp/eps
a sipp 10.2.0.1:5060 -sn uac -t s1 -i 10.1.0.1 -p 5061 -m 20 -r 20 -d 100 -nostdin -bg >client.log 2>&1 || true
done_calling() { [ \"$(pidof sipp | wc -w)\" = 1 ]; }
until_true 60 done_calling
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    for (name, script) in [
        ("iperf3", IPERF3),
        ("sctp-test", SCTP_TEST),
        ("sctp-darn", SCTP_DARN),
        ("in-a-row", IN_A_ROW),
        ("sipp", SIPP),
    ] {
        let script = format!(
            "topology; path 10ms; path 10ms 1\ncapture a0 a1 b0 b1\ntrace_all\n{script}\nsleep 3\n\
             trace_stop; capture_stop\n"
        );
        for series in [Series::V6_12, Series::V6_1] {
            let case = Case { programs: &PROGRAMS, ..Case::new(&format!("programs-{name}"), &script) };
            suite.add(series, Mode::Icount, case, check);
        }
    }
}

/// Compares all five commands with the captures of both ends.
fn check(folder: &Path) -> Result<()> {
    let [at_a, at_b] = [captured(folder, &["a0", "a1"])?, captured(folder, &["b0", "b1"])?];
    let is_a = |flow: &Flow| flow.source.to_string().starts_with("10.1.");
    // From each end's capture, the flows that this end sent.
    let (from_a, from_b): (Vec<Flow>, Vec<Flow>) = (
        round_trips::flows(&at_a).into_iter().filter(is_a).collect(),
        round_trips::flows(&at_b).into_iter().filter(|flow| !is_a(flow)).collect(),
    );
    ensure!(!from_a.is_empty(), "nothing was sent");
    eprintln!("    {} associations sent from a, {} from b", from_a.len(), from_b.len());
    let sent: Vec<Flow> = from_a.iter().chain(&from_b).cloned().collect();
    rtt::check_flows(folder, &sent)?;
    rto::check_flows(folder, &from_a)?;
    bufmon::check_flows(folder, &from_a)?;
    let by_ports = |flows: &[Flow]| -> Vec<(u16, u16)> {
        flows.iter().map(|flow| (flow.source_port, flow.destination_port)).collect()
    };
    for (senders, here, there) in [(by_ports(&from_a), &at_a, &at_b), (by_ports(&from_b), &at_b, &at_a)] {
        let of = |frames| {
            let mut flows = streams::flows(frames);
            flows.retain(|flow| senders.contains(&(flow.source_port, flow.destination_port)));
            flows
        };
        streamutil::check_flows(folder, &of(here))?;
        jitter::check_flows(folder, &of(there))?;
    }
    Ok(())
}
