//! Tests of the output of `sctp-rto`, over records and statistics made here.

use std::time::Duration;

use probes::{
    DurationDist, Identity,
    rto::{Cause, More, PathState, Row, Update, Values},
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

/// A probe with one path, and three records of it: a round-trip time, a T3-rtx expiry, and a change of state.
fn probe() -> Fake<Update, Row> {
    let update = |rto_ms, cause| Update {
        at: Duration::from_secs(5),
        assoc_id: 3,
        transport_id: 0,
        id: Some(id().into()),
        cause,
        values: values(rto_ms),
    };
    let old_rto = Duration::from_millis(300);
    let updates = vec![
        update(300, Cause::Rtt { rtt: Duration::from_millis(24) }),
        update(600, Cause::T3 { old_rto }),
        update(600, Cause::State { old: PathState::Active }),
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

/// A T2-shutdown expiry shows in extended text and in JSON only, as the Python script does not print it.
#[test]
fn a_t2_expiry_shows_in_extended_forms_only() {
    let probe = || {
        let old_rto = Duration::from_millis(300);
        let update = Update {
            at: Duration::from_secs(5),
            assoc_id: 3,
            transport_id: 0,
            id: Some(id().into()),
            cause: Cause::T2 { old_rto },
            values: values(600),
        };
        Fake::new(vec![update], [Vec::new(), Vec::new()], Vec::new())
    };
    assert!(!TESTED.play(&["-q"], probe()).contains("600.00"));
    assert!(TESTED.play(&["-qx"], probe()).contains(" t2                300.00 "));
    let json = TESTED.play(&["--json"], probe());
    assert!(
        json.contains(r#""cause":"t2","rto_ms":600.0,"#) && json.contains(r#""old_rto_ms":300.0"#),
        "{json}"
    );
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
