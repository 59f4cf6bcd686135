//! Tests of the output of `sctp-streamutil`, over statistics made here.

use std::time::Duration;

use probes::{
    Identity,
    streams::Association,
    streamutil::{Row, Stream, Undelivered},
};
use sctp_streamutil::{BANNERS, Flags, manual, report::Report};
use sctptrace_tests::report::{Fake, Tested, first_of};

const TESTED: Tested<'static, Flags, Report> =
    Tested { banners: &BANNERS, common: |flags| &flags.common, report: Report::new };

fn row(assoc_id: u32, streams: Vec<Stream>) -> Row {
    let id = Identity { assoc_id, netns: 7, life: 1, ..Identity::default() };
    Row {
        association: Association {
            id,
            generation: assoc_id,
            ended: None,
            first: Duration::ZERO,
            ended_at: Duration::ZERO,
            events: 9,
        },
        total_streams: 4,
        period: Duration::from_secs(2),
        undelivered: Undelivered::default(),
        streams,
    }
}

/// A probe with an association that sends on two streams, and one that only receives.
fn probe() -> Fake<(), Row> {
    let stream = |stream_id, payload_bytes| Stream {
        stream_id,
        payload_bytes,
        chunks: 5,
        unordered: 2,
        messages: 5,
        ..Stream::default()
    };
    let waited = Stream {
        stream_id: 1,
        hol_messages: 1,
        hol_wait: Duration::from_millis(30),
        hol_blocked: Duration::from_millis(20),
        ..Stream::default()
    };
    let rows = vec![row(3, vec![stream(0, 100), stream(65_535, 300)]), row(4, vec![waited])];
    Fake::new(Vec::new(), [rows.clone(), Vec::new()], rows)
}

#[test]
fn every_form_keeps_the_contract() {
    TESTED.keeps_the_contract(probe, &manual());
}

#[test]
fn the_script_knows_senders_only() {
    let csv = TESTED.play(&["-cq"], probe());
    // The entropy of a quarter and three quarters is 0.8113 bits.
    assert_eq!(csv.lines().skip(1).collect::<Vec<_>>(), ["3,4,2,400,10,6,4,0.8113,50.0"]);
}

#[test]
fn extended_csv_has_a_row_per_stream_and_json_a_list() {
    let csv = TESTED.play(&["-cqx"], probe());
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(csv.lines().nth(2).unwrap().contains(",65535,300,5,3,2,5,0,0,0.7500,150.0,0,"), "{csv}");
    assert!(csv.lines().skip(1).all(|line| line.ends_with(",1,0,0,0,0")), "{csv}");
    let json = first_of(&TESTED.play(&["--json"], probe()), "interval");
    assert_eq!(json["streams"][1]["stream_id"], 65_535);
    assert_eq!(json["streams"].as_array().map(Vec::len), Some(2));
}

/// An association whose application sends only on streams that do not exist, and one that gives up messages.
#[test]
fn what_was_not_delivered_is_shown_even_without_streams() {
    let probe = || {
        let refused = Undelivered { refused_invalid_stream: 3, ..Undelivered::default() };
        let lost = Undelivered {
            discarded_invalid_stream: 4,
            abandoned_sent: 5,
            abandoned_unsent: 6,
            ..Undelivered::default()
        };
        let mut sends = row(4, vec![Stream { chunks: 1, payload_bytes: 10, ..Stream::default() }]);
        sends.undelivered = lost;
        let rows = vec![Row { undelivered: refused, ..row(3, Vec::new()) }, sends];
        Fake::new(Vec::new(), [rows.clone(), Vec::new()], rows)
    };
    TESTED.keeps_the_contract(probe, &manual());
    let csv = TESTED.play(&["-cqx"], probe());
    let lines: Vec<_> = csv.lines().skip(1).collect();
    assert!(lines[0].starts_with("3,4,0,0,0,") && lines[0].ends_with(",1,3,0,0,0"), "{csv}");
    assert!(lines[1].starts_with("4,4,1,10,1,") && lines[1].ends_with(",1,0,4,5,6"), "{csv}");
    assert_eq!(lines.len(), 2, "{csv}");
    assert_eq!(TESTED.play(&["-cq"], probe()).lines().count(), 2, "the script knows senders only");
    let json = first_of(&TESTED.play(&["--json"], probe()), "summary");
    assert_eq!((&json["refused_invalid_stream"], &json["streams"]), (&3.into(), &serde_json::json!([])));
    let text = TESTED.play(&["-qx"], probe());
    for line in [
        "  Streams not negotiated: 3 sends refused, 0 received chunks discarded",
        "  Streams not negotiated: 0 sends refused, 4 received chunks discarded",
        "  Abandoned by PR-SCTP: 5 messages sent in part, 6 not sent",
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line}: {text}");
    }
    let plain = TESTED.play(&["-q"], probe());
    assert!(!plain.contains("negotiated:") && !plain.contains("Abandoned"), "{plain}");
}

/// An association may have 65,536 streams, as the peer negotiates their number. Sums over all streams must be
/// made once per association: made once per line, they take minutes.
#[test]
fn an_association_of_65536_streams_is_shown_whole() {
    let stream = |stream_id| Stream { stream_id, payload_bytes: 10, chunks: 1, ..Stream::default() };
    let probe = || {
        let row = row(3, (0..=u16::MAX).map(stream).collect());
        Fake::new(Vec::new(), [Vec::new(), Vec::new()], vec![row])
    };
    let csv = TESTED.play(&["-cqx"], probe());
    let ids = csv.lines().skip(1).filter(|line| line.starts_with("3,4,65536,655360,65536,"));
    assert_eq!((csv.lines().count(), ids.count()), (65_537, 65_536));
    let json = first_of(&TESTED.play(&["--json"], probe()), "summary");
    assert_eq!(json["streams"].as_array().map(Vec::len), Some(65_536));
    assert_eq!((&json["total_bytes"], &json["sui"]), (&655_360.into(), &1.0.into()));
    let text = TESTED.play(&["-qx"], probe());
    let lines =
        text.lines().filter(|line| line.starts_with("  Stream ") && line.contains(" across ")).count();
    assert!(lines > 0 && lines % 65_536 == 0, "{lines}");
}

/// After a restart an association has two lives, of one id. Text has a block for each life.
#[test]
fn each_life_has_a_block_of_its_own() {
    let probe = || {
        let mut probe = probe();
        let mut second = probe.totals[0].clone();
        second.association.id.life = 2;
        probe.totals.insert(1, second);
        probe
    };
    let plain = TESTED.play(&["-q"], probe());
    let text = TESTED.play(&["-qx"], probe());
    let blocks = ["Association 3 (", "Association 3, life 2 ("].map(|heading| text.matches(heading).count());
    assert!(blocks[0] > 0 && blocks[0] == blocks[1], "{text}");
    assert_eq!(plain.matches("Association 3:").count(), blocks.iter().sum::<usize>(), "{plain}");
}

#[test]
fn a_screen_has_a_row_per_stream_the_blocked_first() {
    let screen = TESTED.screen(&[], probe());
    let rows: Vec<Vec<_>> =
        screen[2..].iter().map(|line| line.split_whitespace().take(3).collect()).collect();
    let expected = [["4", "1", "20000.000"], ["3", "65535", "0.000"], ["3", "0", "0.000"]];
    assert_eq!(rows, expected, "{screen:?}");
}
