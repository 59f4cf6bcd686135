//! Tests of the output of `sctp-rtt`, over records and statistics made here.

use std::{rc::Rc, time::Duration};

use probes::{
    DurationDist, Identity, Owner,
    rtt::{Row, Sample},
};
use sctp_rtt::{BANNERS, Flags, manual, report::Report};
use sctptrace_tests::report::{Fake, Tested, first_of};

const TESTED: Tested<'static, Flags, Report> =
    Tested { banners: &BANNERS, common: |flags| &flags.common, report: Report::new };

fn id(path: &str) -> Identity {
    let owner = Owner {
        pid: Some(4711),
        comm: Some("amf".to_owned()),
        cgroup: Some("/core.slice/amf.service".to_owned()),
        owners: Some(2),
    };
    Identity {
        assoc_id: 3,
        netns: 7,
        local: "10.1.0.1:46956".parse().ok(),
        peer: "[fd00::2]:5000".parse().ok(),
        path: path.parse().ok(),
        life: 1,
        began_here: true,
        payload_protocol: Some(60),
        owner: Some(Rc::new(owner)),
    }
}

fn dist(times_us: &[u64]) -> DurationDist {
    let times = || times_us.iter().copied().map(Duration::from_micros);
    DurationDist {
        count: times_us.len() as u64,
        sum: times().sum(),
        min: times().min(),
        max: times().max(),
        percentiles: times().max().map(|max| [max; 3]),
    }
}

/// A probe with three samples, and with rows of two paths of one association.
fn probe() -> Fake<Sample, Row> {
    let sample = |tsn, rtt_us, prompt: bool| Sample {
        at: Duration::from_secs(5),
        rtt: Duration::from_micros(rtt_us),
        assoc_id: 3,
        tsn,
        id: prompt.then(|| id("10.2.0.1").into()),
        prompt,
    };
    let row = |path, times: &[u64], prompt: &[u64]| Row {
        id: id(path),
        retransmitted: 2,
        all: dist(times),
        prompt: dist(prompt),
        histogram: None,
    };
    let rows = vec![row("10.2.0.1", &[20_000, 20_500], &[20_000]), row("10.3.0.1", &[70_125], &[])];
    Fake::new(
        vec![sample(u32::MAX, 20_000, true), sample(0, 20_500, false), sample(1, 70_125, false)],
        [rows.clone(), Vec::new()],
        rows,
    )
}

#[test]
fn every_form_keeps_the_contract() {
    TESTED.keeps_the_contract(probe, &manual());
}

#[test]
fn each_life_has_a_row_of_its_own() {
    let row = |life, path, times: &[u64]| Row {
        id: Identity { life, ..id(path) },
        retransmitted: 0,
        all: dist(times),
        prompt: dist(&[]),
        histogram: None,
    };
    let rows = vec![
        row(2, "10.2.0.1", &[100]),
        row(1, "10.3.0.1", &[30_000]),
        row(1, "10.2.0.1", &[20_000, 10_000]),
    ];
    let csv = TESTED.play(&["-cq"], Fake::new(Vec::new(), [Vec::new(), Vec::new()], rows));
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    assert_eq!(rows, ["3,3,20000.0,10000.0,30000.0", "3,1,100.0,100.0,100.0"]);
}

#[test]
fn paths_are_merged_unless_extended() {
    let csv = TESTED.play(&["-cq"], probe());
    assert_eq!(csv, "assoc_id,samples,rtt_avg_us,rtt_min_us,rtt_max_us\n3,3,36875.0,20000.0,70125.0\n");
    let csv = TESTED.play(&["-cqx"], probe());
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(
        rows[1],
        "3,2,20250.0,20000.0,20500.0,10.1.0.1:46956,[fd00::2]:5000,7,10.2.0.1,20500.0,20500.0,20500.0,\
         1,20000.0,20000.0,20000.0,20000.0,20000.0,20000.0,2,\
         4711,amf,/core.slice/amf.service,2,60,NGAP,1"
    );
    assert!(rows[2].starts_with("3,1,70125.0,") && rows[2].contains(",0,,,,,,,2,4711,"), "{}", rows[2]);
}

#[test]
fn a_sample_of_a_path_that_is_gone_has_nulls() {
    let json = TESTED.play(&["--json"], probe());
    let known = first_of(&json, "sample");
    assert_eq!((&known["tsn"], &known["path"]), (&u32::MAX.into(), &"10.2.0.1".into()));
    let gone = json.lines().nth(1).unwrap();
    assert!(gone.contains(r#""local":null,"peer":null,"netns":null,"path":null,"tsn":0,"#), "{gone}");
    assert_eq!(first_of(&json, "end")["skipped"]["missed"], 3);
}

#[test]
fn a_screen_has_a_row_per_path_the_slowest_first() {
    let screen = TESTED.screen(&[], probe());
    assert!(screen[0].starts_with("sctp-rtt: events LOST: 1, table entries EVICTED: 2; "), "{screen:?}");
    let names = "assoc_id path     rtt_p99_us rtt_p50_us rtt_max_us samples retransmitted prompt_";
    assert_eq!(screen[1], names);
    let rows = [
        "       3 10.3.0.1  70125.000  70125.000  70125.000       1             2",
        "       3 10.2.0.1  20500.000  20500.000  20500.000       2             2",
    ];
    assert!(screen[2].starts_with(rows[0]) && screen[3].starts_with(rows[1]), "{screen:?}");
    assert_eq!(screen.len(), 4);
    let sorted = TESTED.screen(&["--sort", "samples"], probe());
    assert!(sorted[2].starts_with(rows[1]) && sorted[3].starts_with(rows[0]), "{sorted:?}");
}
