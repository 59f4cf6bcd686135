//! Tests of the output of `sctp-jitter`, over statistics made here.

use std::time::Duration;

use probes::{
    DurationDist, Identity,
    jitter::{Arrivals, Row},
    streams::Association,
};
use sctp_jitter::{BANNERS, Flags, manual, report::Report};
use sctptrace_tests::report::{Fake, Tested};

const TESTED: Tested<'static, Flags, Report> =
    Tested { banners: &BANNERS, common: |flags| &flags.common, report: Report::new };

fn row(assoc_id: u32, stream_id: u16, intervals_us: &[u64], jitter_us: u64) -> Row {
    let times = || intervals_us.iter().copied().map(Duration::from_micros);
    let interval = DurationDist {
        count: intervals_us.len() as u64,
        sum: times().sum(),
        min: times().min(),
        max: times().max(),
        percentiles: times().max().map(|max| [max; 3]),
    };
    let count = intervals_us.len() as u64 + 1;
    let jitter = (intervals_us.len() > 1).then(|| Duration::from_micros(jitter_us));
    let id = Identity { assoc_id, netns: 7, life: 1, ..Identity::default() };
    Row {
        association: Association {
            id,
            generation: assoc_id,
            ended: None,
            first: Duration::ZERO,
            ended_at: Duration::ZERO,
            events: count,
        },
        stream_id,
        chunks: Arrivals { count, interval: interval.clone(), jitter },
        histogram: None,
        messages: Arrivals { count, interval, jitter },
        reordered: 1,
    }
}

/// A probe with two associations. Both have a stream 0; one also has a stream 1, on which a single chunk
/// came.
fn probe() -> Fake<(), Row> {
    let rows =
        vec![row(3, 0, &[20_000, 22_000, 24_000], 100), row(3, 1, &[], 0), row(4, 0, &[30_000, 32_000], 400)];
    Fake::new(Vec::new(), [rows.clone(), Vec::new()], rows)
}

#[test]
fn every_form_keeps_the_contract() {
    TESTED.keeps_the_contract(probe, &manual());
}

#[test]
fn streams_are_merged_by_their_identifiers_unless_extended() {
    let csv = TESTED.play(&["-cq"], probe());
    // The jitter is weighted by samples: (3 * 100 + 2 * 400) / 5.
    assert_eq!(
        csv,
        "stream_id,samples,delta_avg_us,delta_min_us,delta_max_us,jitter_us\n0,5,25600.000,20000.000,32000.000,220.000\n"
    );
    let csv = TESTED.play(&["-cqx"], probe());
    assert_eq!(csv.lines().count(), 4);
    assert_eq!(csv.lines().nth(2), Some("1,0,,,,,3,,,7,,,,1,1,1,0,,,,,,,,,,,1"));
}

#[test]
fn text_comes_at_every_interval_and_at_the_end() {
    let text = TESTED.play(&["-q"], probe());
    assert_eq!(text.matches("Stream 0:\n  Samples: 5\n").count(), 2, "{text}");
}

#[test]
fn a_screen_has_a_row_per_stream_the_most_uneven_first() {
    let screen = TESTED.screen(&[], probe());
    let rows: Vec<Vec<_>> =
        screen[2..].iter().map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(rows, [["4", "0", "400.000"], ["3", "0", "100.000"], ["3", "1", "-"]], "{screen:?}");
    assert!(screen[0].ends_with(", 2 "), "the rest is cut: {screen:?}");
}
