//! Tests of the output of `sctp-rto`, over records and statistics made here.

use std::time::Duration;

use probes::{
    DurationDist, Identity,
    rto::{Cause, CwndCuts, More, PathCounts, PathState, PathTransitions, Row, Update, Values},
};
use sctp_rto::{BANNERS, Flags, manual, report::Report};
use sctptrace_tests::report::{Fake, Tested, first_of};

const TESTED: Tested<'static, Flags, Report> =
    Tested { banners: &BANNERS, common: |flags| &flags.common, report: Report::new };

const ID: Identity = Identity {
    assoc_id: 3,
    netns: 7,
    local: None,
    peer: None,
    path: None,
    life: 1,
    began_here: true,
    payload_protocol: None,
    owner: None,
};

fn id() -> Identity {
    Identity { peer: "10.2.0.1:5000".parse().ok(), path: "10.2.0.1".parse().ok(), ..ID }
}

fn values(rto_ms: u64) -> Values {
    Values {
        rto: Duration::from_millis(rto_ms),
        srtt: Duration::from_millis(20),
        rttvar: Duration::from_millis(4),
        error_count: 1,
        more: Some(More {
            error_limit: 5,
            cwnd_bytes: 4380,
            ssthresh_bytes: 106_496,
            flight_bytes: 400,
            pmtu_bytes: 1500,
            state: PathState::PotentiallyFailed,
            primary: true,
            assoc_errors: 2,
            assoc_error_limit: 10,
            paths: Some(PathCounts { inactive: 0, potentially_failed: 1, active: 2, unconfirmed: 3 }),
        }),
    }
}

fn dist(times_ms: &[u64]) -> DurationDist {
    let times = || times_ms.iter().copied().map(Duration::from_millis);
    DurationDist {
        count: times_ms.len() as u64,
        sum: times().sum(),
        min: times().min(),
        max: times().max(),
        percentiles: None,
    }
}

fn update(old_rto_ms: Option<u64>, cause: Cause, rto_ms: u64) -> Update {
    Update {
        at: Duration::from_secs(5),
        assoc_id: 3,
        transport_id: 0,
        id: Some(id().into()),
        cause,
        old_rto: old_rto_ms.map(Duration::from_millis),
        values: values(rto_ms),
    }
}

/// A probe with one path, and three records of it: a round-trip time, a T3-rtx expiry, and a change of state.
fn probe() -> Fake<Update, Row> {
    let updates = vec![
        update(None, Cause::Rtt { rtt: Duration::from_millis(24) }, 300),
        update(Some(300), Cause::T3, 600),
        update(Some(600), Cause::State { old: PathState::Active }, 600),
    ];
    Fake::new(updates, [vec![a_row()], Vec::new()], vec![a_row()])
}

fn a_row() -> Row {
    Row {
        transport_id: 0,
        id: id(),
        rto: dist(&[300, 600]),
        histogram: None,
        srtt: dist(&[20, 20]),
        rttvar: dist(&[4, 4]),
        t3_expiries: 1,
        heartbeat_timeouts: 0,
        t3_retransmits: 1,
        fast_retransmits: 0,
        pmtud_retransmits: 0,
        rtx_chunks: 1,
        rtx_for_path: 1,
        spurious: 1,
        dup_tsns: 1,
        early_acks: 0,
        cwnd_cuts: CwndCuts { t3: 4, fast: 5, ecn: 6, inactive: 7 },
        failover: None,
        transitions: PathTransitions::default(),
        last: values(600),
    }
}

#[test]
fn every_form_keeps_the_contract() {
    TESTED.keeps_the_contract(probe, &manual());
}

#[test]
fn charts_find_their_names_on_standard_output() {
    let csv = TESTED.play(&["-cq"], probe());
    assert_eq!(
        csv,
        "transport_id,ip_address,port,samples,rto_ms,srtt_ms,rttvar_ms\n0,10.2.0.1,5000,2,450.00,20.00,4.00\n"
    );
    assert!(TESTED.play(&["-cqx"], probe()).starts_with("transport_id,ip_address,port,samples,rto_ms,"));
}

#[test]
fn changes_of_a_path_are_only_in_extended_text() {
    let plain = TESTED.play(&["-q"], probe());
    assert_eq!(plain.lines().filter(|line| line.starts_with('0')).count(), 2, "{plain}");
    let extended = TESTED.play(&["-qx"], probe());
    let rows: Vec<&str> = extended.lines().filter(|line| line.starts_with('0')).collect();
    assert_eq!(rows.len(), 3, "{extended}");
    assert!(
        rows[1].contains(" t3 ") && rows[1].contains(" 300.00 ") && rows[1].contains(" 1/5 "),
        "{}",
        rows[1]
    );
    assert!(
        rows[2].contains(" state ") && rows[2].contains(" active ") && rows[2].contains(" pf "),
        "{}",
        rows[2]
    );
    assert!(extended.contains("Spurious retransmissions: 1"));
}

/// Early acknowledgements, which the peer does not report, have a line apart from spurious retransmissions,
/// which it reports. Chunks of this path that were sent again on another path have a line, too.
#[test]
fn early_acknowledgements_are_told_apart() {
    let text = |[rtx_chunks, rtx_for_path, spurious, early_acks]: [u64; 4]| {
        let row = Row { rtx_chunks, rtx_for_path, spurious, early_acks, ..a_row() };
        TESTED.play(&["-qx"], Fake::new(Vec::new(), [Vec::new(), Vec::new()], vec![row]))
    };
    let early = text([2, 2, 0, 1]);
    assert!(early.contains("\n  Early acknowledgements: 1: ") && !early.contains("Spurious"), "{early}");
    assert!(!early.contains("of this path sent again"), "{early}");
    let other = text([0, 2, 1, 0]);
    assert!(other.contains("\n  Chunks of this path sent again: 2\n"), "{other}");
    assert!(other.contains("Spurious retransmissions: 1: ") && !other.contains("Early"), "{other}");
}

/// An RTO below the longest delay of a SACK may have expired meanwhile; a longer one cannot.
#[test]
fn the_question_is_asked_where_it_may_be_so() {
    for (shortest_ms, asks) in [(500, true), (501, false)] {
        let row = Row { rto: dist(&[shortest_ms, 1000]), ..a_row() };
        let text = TESTED.play(&["-qx"], Fake::new(Vec::new(), [Vec::new(), Vec::new()], vec![row]));
        assert!(text.contains("Spurious retransmissions: 1: the peer had the data already"), "{text}");
        assert_eq!(text.contains("is RTO.min below its SACK delay?"), asks, "{text}");
    }
}

/// The summary of a path has its state, and those of its association.
#[test]
fn a_summary_has_states_and_errors() {
    let row = || Row { failover: Some(Duration::from_micros(1_234_500)), ..a_row() };
    let probe = || Fake::new(Vec::new(), [Vec::new(), Vec::new()], vec![row()]);
    let text = TESTED.play(&["-qx"], probe());
    for line in [
        "  State: pf, primary\n",
        "  Errors in a row: 1 (more than 5 make the path inactive)\n",
        "  Paths of the association: 2 active, 1 potentially failed, 0 inactive, 3 unconfirmed\n",
        "  Errors of the association in a row: 2 (after 10 the next expiry ends it)\n",
        "  Failover to this path: 1234.50 ms from the last SACK",
        "  Cuts of cwnd: 4 by T3-rtx, 5 fast, 6 by ECN, 7 as the path was idle\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let json = TESTED.play(&["--json"], probe());
    for part in [
        r#""cwnd_cuts_t3":4,"cwnd_cuts_fast":5,"cwnd_cuts_ecn":6,"cwnd_cuts_inactive":7"#,
        r#""paths_active":2,"paths_pf":1,"paths_inactive":0,"paths_unconfirmed":3"#,
        r#""assoc_errors":2,"assoc_error_limit":10,"failover_ms":1234.5"#,
    ] {
        assert!(json.contains(part), "{part}: {json}");
    }
}

/// Causes that the Python script does not print show in extended text and in JSON only.
#[test]
fn other_causes_show_in_extended_forms_only() {
    for cause in [
        Cause::HeartbeatTimeout,
        Cause::T2,
        Cause::T4,
        Cause::Reconf,
        Cause::HeartbeatDemand,
        Cause::Restart,
        Cause::Ecn,
        Cause::Other,
    ] {
        let update = || update(Some(300), cause, 600);
        let probe = || Fake::new(vec![update()], [Vec::new(), Vec::new()], Vec::new());
        assert!(!TESTED.play(&["-q"], probe()).contains("600.00"));
        let text = TESTED.play(&["-qx"], probe());
        assert!(text.contains(&format!(" {:<17} 300.00 ", cause.name())), "{text}");
        let json = TESTED.play(&["--json"], probe());
        let expected = format!(r#""cause":"{}","rto_ms":600.0,"#, cause.name());
        assert!(json.contains(&expected) && json.contains(r#""old_rto_ms":300.0"#), "{json}");
    }
}

#[test]
fn nothing_seen_is_said_as_the_script_does() {
    let text = TESTED.play(&["-q"], Fake::new(Vec::new(), [Vec::new(), Vec::new()], Vec::new()));
    assert!(text.ends_with("\nNo RTO events recorded yet.\n"), "{text}");
}

#[test]
fn an_expiry_has_its_old_rto_and_no_round_trip() {
    let json = TESTED.play(&["--json"], probe());
    let t3 = json.lines().nth(1).unwrap();
    assert!(
        t3.contains(r#""cause":"t3","rto_ms":600.0,"#) && t3.contains(r#""rtt_ms":null,"old_rto_ms":300.0"#)
    );
    let change = first_of(&json, "path");
    assert_eq!((&change["old_state"], &change["new_state"]), (&"active".into(), &"pf".into()));
}

#[test]
fn a_screen_has_a_row_per_path_with_the_last_rto() {
    let screen = TESTED.screen(&[], probe());
    let table = screen.iter().position(|line| line.starts_with("assoc_id path")).unwrap();
    let names: Vec<_> = screen[table].split_whitespace().collect();
    let row: Vec<_> = screen[table + 1].split_whitespace().collect();
    let of = |name| row[names.iter().position(|other| *other == name).unwrap()];
    assert_eq!((of("rto_last_ms"), of("t3_expiries"), of("samples")), ("600.000", "1", "2"), "{screen:?}");
}
