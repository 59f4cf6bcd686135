//! Tests of the output of `sctp-bufmon`, over records and statistics made here.

use std::time::Duration;

use clap::Parser;
use probes::{
    DurationDist, Identity, ValueDist,
    bufmon::{Buffers, Gaps, Limited, Received, Record, Row, Stall, StallCause, Wait},
};
use sctp_bufmon::{BANNERS, Flags, manual, report::Report};
use sctptrace_tests::report::{Fake, Tested, first_of};

const TESTED: Tested<'static, Flags, Report> =
    Tested { banners: &BANNERS, common: |flags| &flags.common, report: |common| Report::new(common, false) };
/// The tested command, with `--recv-wait`.
const RECV_WAIT: Tested<'static, Flags, Report> =
    Tested { report: |common| Report::new(common, true), ..TESTED };

fn id() -> Identity {
    Identity {
        assoc_id: 3,
        netns: 7,
        local: "10.1.0.1:46956".parse().ok(),
        peer: "10.2.0.1:5000".parse().ok(),
        life: 1,
        began_here: true,
        ..Identity::default()
    }
}

fn values(values: &[u64]) -> ValueDist {
    ValueDist {
        count: values.len() as u64,
        sum: values.iter().sum(),
        min: values.iter().copied().min(),
        max: values.iter().copied().max(),
        percentiles: values.iter().copied().max().map(|max| [max; 3]),
    }
}

/// A probe with a wait and a stall of one sender, and with rows of two senders and of an association that
/// only receives.
fn probe() -> Fake<Record, Row> {
    let wait = Duration::from_millis(20);
    let sender = Row {
        sndbuf_used: None,
        serial: 0,
        id: id(),
        util_ppm: values(&[500_000, 1_000_000]),
        outqueue_bytes: values(&[100, 200]),
        rwnd_bytes: values(&[0]),
        wait: DurationDist {
            count: 1,
            sum: wait,
            min: Some(wait),
            max: Some(wait),
            percentiles: Some([wait; 3]),
        },
        wait_events: 1,
        waited: wait,
        util_histogram: None,
        wait_histogram: None,
        refused: 4,
        refused_einval: 2,
        refused_other: 1,
        memory_waits: 0,
        zero_windows: 1,
        zero_window: Duration::from_millis(1500),
        window_bytes: Some(300),
        in_flight_max_bytes: 300,
        recv_ppm: values(&[]),
        own_rwnd_bytes: values(&[]),
        stalls: 1,
        stalled: Duration::from_secs(2),
        stall_max: Duration::from_secs(2),
        stall_cause: Some(StallCause::WindowClosed),
        stall_held: Duration::from_secs(2),
        stall_t3_expiries: 1,
        limited: Limited {
            app: Duration::from_millis(100),
            sndbuf: Duration::from_millis(200),
            nagle: Duration::from_millis(300),
            cwnd: Duration::from_millis(400),
            rwnd: Duration::from_millis(1500),
            other: Duration::ZERO,
        },
        received: None,
        buffers: Some(Buffers {
            sndbuf_bytes: 40_000,
            rcvbuf_bytes: 60_000,
            peer_initial_rwnd_bytes: 30_000,
            sock_assocs: 2,
            is_shared: true,
        }),
        held_ppm: Some(250_000),
    };
    let receiver = Row {
        serial: 1,
        id: Identity { assoc_id: 4, ..id() },
        util_ppm: values(&[]),
        outqueue_bytes: values(&[]),
        rwnd_bytes: values(&[]),
        wait: DurationDist::default(),
        wait_events: 0,
        waited: Duration::ZERO,
        recv_ppm: values(&[250_000]),
        own_rwnd_bytes: values(&[65_536]),
        stalls: 0,
        stall_cause: None,
        stall_held: Duration::ZERO,
        stall_t3_expiries: 0,
        limited: Limited::default(),
        buffers: None,
        held_ppm: None,
        ..sender.clone()
    };
    let stall = Stall {
        id: id(),
        since: Duration::from_secs(4),
        until: None,
        lasted: Duration::from_millis(1600),
        bytes: 500,
        sacks: 2,
        t3_expiries: 1,
        window: Some(0),
        gaps: None,
        is_idle: false,
        waiting: 1,
        cause: StallCause::WindowClosed,
        held: Duration::from_millis(1500),
    };
    let at = Duration::from_secs(5);
    let wait = Wait { at, wait, assoc_id: 3, id: Some(id().into()), msg_bytes: 200 };
    Fake::new(
        vec![Record::Wait(wait), Record::Stall(stall)],
        [vec![sender.clone()], Vec::new()],
        vec![sender.clone(), receiver, Row { id: Identity { assoc_id: 5, ..id() }, serial: 2, ..sender }],
    )
}

#[test]
fn every_form_keeps_the_contract() {
    TESTED.keeps_the_contract(probe, &manual());
}

#[test]
fn who_only_receives_has_no_row_unless_extended() {
    let csv = TESTED.play(&["-cq"], probe());
    assert_eq!(csv.lines().nth(1), Some("3,75.0,50.0,100.0,2,150.0,200,2,0.0,0,1,1"));
    assert_eq!(csv.lines().count(), 3);
    let csv = TESTED.play(&["-cqx"], probe());
    assert_eq!(csv.lines().count(), 4);
    assert!(csv.lines().nth(2).unwrap().starts_with("4,0.0,0.0,0.0,0,0.0,0,0,0.0,0,0,0,10.1.0.1:46956,"));
}

/// The times in which something limited the sender: in JSON each by its name, in text their shares.
#[test]
fn what_limits_a_sender_is_shown_if_extended() {
    let summary = first_of(&TESTED.play(&["--json"], probe()), "summary");
    let times = ["app", "sndbuf", "nagle", "cwnd", "rwnd", "other"]
        .map(|name| summary[format!("limited_{name}_us")].as_f64().unwrap());
    assert_eq!(times, [0.1e6, 0.2e6, 0.3e6, 0.4e6, 1.5e6, 0.0]);
    let line = "  Limited by: application 4.0%, send buffer 8.0%, Nagle 12.0%, cwnd 16.0%, peer's window 60.0%, other \
                0.0%\n";
    let text = TESTED.play(&["-qx"], probe());
    assert_eq!(text.matches(line).count(), 2, "of the senders: {text}");
    assert!(!TESTED.play(&["-q"], probe()).contains("Limited"));
}

/// An association without a sample of its send buffer has a row if one of its sends waits.
#[test]
fn who_waits_has_a_row_before_anything_else_is_known() {
    let probe = || {
        let mut probe = probe();
        let mut waiting = probe.totals.swap_remove(1);
        (waiting.wait_events, waiting.waited) = (1, Duration::from_secs(600));
        probe.totals = vec![waiting];
        probe
    };
    assert_eq!(TESTED.play(&["-cq"], probe()).lines().nth(1), Some("4,0.0,0.0,0.0,0,0.0,0,0,0.0,0,0,1"));
    let text = TESTED.play(&["-q"], probe());
    assert_eq!(text, "\nAssociation 4:\n  Send Buffer Pressure:\n    Wait events: 1\n");
    let summary = first_of(&TESTED.play(&["--json"], probe()), "summary");
    assert_eq!((&summary["wait_events"], &summary["wait_total_us"]), (&1.into(), &600e6.into()));
}

/// The columns of `--recv-wait`, in their order.
const RECEIVED: [&str; 9] = [
    "recv_wait_avg_us",
    "recv_wait_min_us",
    "recv_wait_max_us",
    "recv_wait_p50_us",
    "recv_wait_p90_us",
    "recv_wait_p99_us",
    "recv_read",
    "recv_waiting",
    "recv_unread",
];

/// A probe that measures how long messages wait: of one association two were read, of another none.
fn receivers() -> Fake<Record, Row> {
    let mut probe = probe();
    probe.totals.iter_mut().for_each(|row| row.received = Some(Received::default()));
    let [short, long] = [4, 5].map(Duration::from_millis);
    let wait = DurationDist {
        count: 2,
        sum: short + long,
        min: Some(short),
        max: Some(long),
        percentiles: Some([short, long, long]),
    };
    probe.totals[0].received = Some(Received { wait, read: 2, waiting: 3, unread: 6 });
    probe
}

/// What `--recv-wait` adds stands at the right end, and nothing else changes.
#[test]
fn receive_waits_stand_at_the_right_end() {
    let (without, with) =
        (TESTED.play(&["-cqx"], receivers()), RECV_WAIT.play(&["-cqx", "--recv-wait"], receivers()));
    let added: Vec<_> = without
        .lines()
        .zip(with.lines())
        .map(|(without, with)| with.strip_prefix(without).expect("at the right end"))
        .collect();
    assert_eq!(added.len(), without.lines().count());
    assert_eq!(added[0], format!(",{}", RECEIVED.join(",")));
    assert_eq!(added[1], ",4500.0,4000.0,5000.0,4000.0,5000.0,5000.0,2,3,6");
    assert_eq!(added[2], ",,,,,,,0,0,0");
    let object = |tested: &Tested<'_, Flags, Report>, args: &[&str]| {
        first_of(&tested.play(args, receivers()), "summary")
    };
    let (without, with) = (object(&TESTED, &["--json"]), object(&RECV_WAIT, &["--json", "--recv-wait"]));
    assert!(RECEIVED.iter().all(|name| without.get(*name).is_none() && with.get(*name).is_some()));
    assert_eq!((&with["recv_wait_p50_us"], &with["recv_unread"]), (&4000.0.into(), &6.into()));
    let text = RECV_WAIT.play(&["-qx", "--recv-wait"], receivers());
    let block = "  Messages received:\n    Read: 2, waiting: 3, thrown away unread: 6\n    \
                 Wait until read: 4.500 ms avg, 5.000 ms max\n    p50/p90/p99: 4.000/5.000/5.000 ms\n";
    assert!(text.contains(block), "{text}");
}

#[test]
fn receive_waits_keep_the_schema() {
    RECV_WAIT.keeps_the_schema(&["--json", "--recv-wait"], receivers(), &manual());
}

/// Metrics may be asked for beside CSV: that stays as it is.
#[test]
fn receive_waits_for_metrics_are_in_no_row() {
    let without = TESTED.play(&["-cq"], receivers());
    let with = RECV_WAIT.play(&["-cq", "--recv-wait", "--textfile", "unused"], receivers());
    assert_eq!(with, without);
}

/// The text of the Python script and its CSV have no place for more: there the flag is an error.
#[test]
fn receive_waits_need_extended_output_or_metrics() {
    for (args, is_right) in [
        (&["--recv-wait"][..], false),
        (&["--recv-wait", "-c"], false),
        (&["--recv-wait", "-x"], true),
        (&["--recv-wait", "-xc"], true),
        (&["--recv-wait", "--json"], true),
        (&["--recv-wait", "--textfile", "x"], true),
        (&["--recv-wait", "--listen", "[::1]:1"], true),
        (&["-x", "--max-unread", "9"], false),
    ] {
        let parsed = Flags::try_parse_from([&["sctp-bufmon"][..], args].concat());
        assert_eq!(parsed.is_ok(), is_right, "{args:?}");
    }
}

#[test]
fn a_stall_is_a_line_of_extended_text_and_an_object() {
    assert!(!TESTED.play(&["-q"], probe()).contains("stalled"));
    let text = TESTED.play(&["-qx"], probe());
    let line = text.lines().find(|line| line.contains("is stalled since")).expect("a line");
    assert!(
        line.starts_with("Association 3 (10.1.0.1:46956 to 10.2.0.1:5000, netns 7)")
            && line.contains("for 1.6 s, with 500 bytes")
            && line.ends_with("; for 1.5 s the peer's window is closed: its receive buffer is full (0 bytes, by its last SACK)"),
        "{line}"
    );
    let stall = first_of(&TESTED.play(&["--json"], probe()), "stall");
    assert_eq!((&stall["lasted_ms"], &stall["over"]), (&1600.0.into(), &false.into()));
    assert_eq!((&stall["cause"], &stall["cause_ms"]), (&"window_closed".into(), &1500.0.into()));
    assert!(stall["window_bytes"] == 0 && stall["missing_tsn"].is_null(), "{stall}");
}

/// Each cause has the figures that it rests on, and claims no more.
#[test]
fn a_cause_has_its_figures() {
    let line = |change: &dyn Fn(&mut Stall)| {
        let mut probe = probe();
        for record in &mut probe.records {
            if let Record::Stall(stall) = record {
                change(stall);
            }
        }
        let text = TESTED.play(&["-qx"], probe);
        let line = text.lines().find(|line| line.contains(" stalled since ")).expect("a line");
        line.split_once("; for 1.5 s ").expect("a cause").1.to_owned()
    };
    let gaps = Gaps { tsn: 77, sent: Some(2), missing: 3, acked: 184 };
    assert_eq!(
        line(&|s| (s.cause, s.gaps) = (StallCause::OneMissing, Some(gaps))),
        "a chunk is missing: the peer has acknowledged what was sent after it (TSN 77, sent twice or more, 2 more; \
         184 behind it are acknowledged)"
    );
    let one = Gaps { sent: None, missing: 1, ..gaps };
    assert_eq!(
        line(&|s| (s.cause, s.gaps) = (StallCause::WindowFullOfGaps, Some(one))),
        "a chunk is missing, and behind it the peer's window is closed (TSN 77; 184 behind it are acknowledged)"
    );
    assert_eq!(
        line(&|s| s.cause = StallCause::PathSilent),
        "T3-rtx expires, and nothing comes from the peer (expired once)"
    );
    assert_eq!(
        line(&|s| s.cause = StallCause::HandshakeUnanswered),
        "the peer does not answer the handshake"
    );
    assert_eq!(
        line(&|s| (s.cause, s.is_idle) = (StallCause::Unknown, true)),
        "no cause is proven (2 SACKs came, T3-rtx expired once, and nothing is in flight)"
    );
}

#[test]
fn what_has_no_samples_is_null_in_json() {
    let json = TESTED.play(&["--json"], probe());
    let receiver = json.lines().find(|line| line.contains(r#""assoc_id":4"#)).expect("a row");
    assert!(receiver.contains(r#""util_avg_pct":null,"util_min_pct":null"#), "{receiver}");
    assert!(receiver.contains(r#""recv_util_avg_pct":25.0"#), "{receiver}");
}

#[test]
fn extended_text_has_the_largest_window() {
    let probe = || {
        let mut probe = probe();
        probe.totals.truncate(1);
        probe.totals[0].rwnd_bytes = values(&[100, 300]);
        probe
    };
    let window = |flags| {
        let text = TESTED.play(&[flags], probe());
        let from = text.find("Receiver Window").expect("a window");
        text[from..].lines().skip(1).take(3).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(window("-q"), ["Average: 200.0 bytes", "Minimum: 100 bytes", "Samples: 2"]);
    assert_eq!(window("-qx"), ["Average: 200.0 bytes", "Minimum: 100 bytes", "Maximum: 300 bytes"]);
}

#[test]
fn a_screen_begins_with_what_stands_still() {
    let screen = TESTED.screen(&[], probe());
    let table = screen.iter().position(|line| line.starts_with("assoc_id peer")).unwrap();
    let row: Vec<_> = screen[table + 1].split_whitespace().collect();
    // stall_total_ms, wait_total_us, limited_rwnd_us
    assert_eq!(row[2..5], ["2000.000", "20000.000", "1500000.000"], "{screen:?}");
    let lasts = screen[1..table].iter().any(|line| line.starts_with("Finding window_closed: association "));
    assert!(lasts, "{screen:?}");
    let sorted = TESTED.screen(&["--sort", "assoc_id"], probe());
    assert_eq!(sorted.len(), screen.len());
}
