//! Counts what a JSON object costs a command's own process, in instructions: a command's report writes records or rows
//! that are made here, under valgrind. Not in it: reading the ring buffer, and what the process does in the kernel, such as
//! writing the output.
//!
//! ```text
//! cargo run --release -p sctptrace-tests --example json_cost
//! ```

use std::{
    env, io,
    os::fd::OwnedFd,
    process::{Command, Stdio},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use cli::{Banners, Common, Out, Report, Run};
use probes::{
    Accounting, Change, Due, DurationDist, Error, Identity, Owner, Probe, bufmon, jitter, rto, rtt,
    streams::Association, streamutil,
};

/// Writes this number of objects.
type Write = fn(u32) -> Result<()>;

/// Each kind of object, with its command and what writes it.
const OBJECTS: [(&str, Write); 6] = [
    ("sctp-rtt: sample", samples_of_rtt),
    ("sctp-rto: sample", samples_of_rto),
    ("sctp-bufmon: sample", samples_of_bufmon),
    ("sctp-rtt: summary", rows_of_rtt),
    ("sctp-jitter: summary", rows_of_jitter),
    ("sctp-streamutil: summary of two streams", rows_of_streamutil),
];

/// The numbers of objects whose costs are compared: so the start and the end of a run are not counted.
const FEW: u32 = 6_400;
const MANY: u32 = 3 * FEW;

fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    if let (Some(which), Some(count)) = (args.next(), args.next()) {
        return OBJECTS[which.parse::<usize>()?].1(count.parse()?);
    }
    for (which, (name, _)) in OBJECTS.iter().enumerate() {
        let more = instructions(which, MANY)? - instructions(which, FEW)?;
        println!("{name}: {} instructions", more / u64::from(MANY - FEW));
    }
    Ok(())
}

/// Runs this program under valgrind, to write `count` objects. Returns the number of instructions.
fn instructions(which: usize, count: u32) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(env::current_exe()?);
    command.args([which.to_string(), count.to_string()]).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.spawn().context("valgrind runs")?.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{text}");
    let collected =
        text.lines().find_map(|line| line.split_once("Collected : ")).context("valgrind counts")?;
    Ok(collected.1.trim().parse()?)
}

/// A probe without a kernel, which hands out `left` records, or `left` rows of totals.
struct Source<Record, Row> {
    left: u32,
    record: fn(u32, &Rc<Identity>) -> Record,
    row: Option<fn(u32) -> Row>,
    id: Rc<Identity>,
}

impl<Record, Row: 'static> Probe for Source<Record, Row> {
    type Record = Record;
    type Row = Row;

    fn fd(&self) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    fn wake_me(&mut self) {}

    fn take(&mut self, into: &mut Vec<Record>, limit: usize) -> Result<bool, Error> {
        if self.row.is_some() {
            return Ok(false);
        }
        for _ in 0..limit.min(self.left as usize) {
            self.left -= 1;
            into.push((self.record)(self.left, &self.id));
        }
        Ok(self.left > 0)
    }

    fn end_interval(&mut self) {}

    fn interval(&mut self) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        Ok(std::iter::empty())
    }

    fn totals(&mut self, _: Due) -> Result<impl Iterator<Item = Result<Row, Error>>, Error> {
        let rows = self.row.into_iter().flat_map(|row| (0..self.left).map(row));
        Ok(rows.map(Ok))
    }

    fn changed(&mut self) -> Result<impl Iterator<Item = Result<Change<Row>, Error>>, Error> {
        Ok(std::iter::empty())
    }

    fn accounting(&self) -> Accounting {
        Accounting::default()
    }

    fn detach(&mut self) {}
}

/// Writes records or rows as a command does with `--json`.
fn write<Flags: Parser, R: Report>(
    banners: &Banners,
    common: fn(&Flags) -> &Common,
    report: fn(&Common) -> R,
    source: Source<R::Record, R::Row>,
) -> Result<()> {
    let flags = Flags::parse_from([banners.command, "--json"]);
    let common = common(&flags);
    let mut run = Run::new(banners, common, source, report(common), Out::new(None)?);
    run.begin()?;
    while run.records()? {}
    run.end()?;
    Ok(())
}

fn id() -> Identity {
    let owner = Owner {
        pid: Some(4711),
        comm: Some("amf".to_owned()),
        cgroup: Some("/system.slice/open5gs-amfd.service".to_owned()),
        owners: Some(1),
    };
    Identity {
        assoc_id: 3,
        netns: 4_026_531_840,
        local: "10.1.0.1:46956".parse().ok(),
        peer: "10.2.0.1:38412".parse().ok(),
        path: "10.2.0.1".parse().ok(),
        life: 1,
        began_here: true,
        payload_protocol: Some(60),
        owner: Some(Rc::new(owner)),
    }
}

/// A time that differs from record to record.
fn time(number: u32) -> Duration {
    Duration::from_nanos(20_000_000 + u64::from(number) * 12_347 % 1_000_000)
}

fn at(number: u32) -> Duration {
    Duration::from_secs(100) + Duration::from_micros(u64::from(number) * 10)
}

fn times(number: u32) -> DurationDist {
    let times = [time(number), time(number + 1), time(number + 2)];
    DurationDist {
        count: 3,
        sum: times.iter().sum(),
        min: times.iter().min().copied(),
        max: times.iter().max().copied(),
        percentiles: Some(times),
    }
}

fn samples_of_rtt(count: u32) -> Result<()> {
    let record = |number, id: &Rc<Identity>| rtt::Sample {
        at: at(number),
        rtt: time(number),
        assoc_id: 3,
        tsn: 1_805_979_775 + number,
        id: Some(Rc::clone(id)),
        prompt: true,
    };
    let source = Source { left: count, record, row: None, id: id().into() };
    write(&sctp_rtt::BANNERS, |f: &sctp_rtt::Flags| &f.common, sctp_rtt::report::Report::new, source)
}

fn samples_of_rto(count: u32) -> Result<()> {
    let record = |number, id: &Rc<Identity>| rto::Update {
        at: at(number),
        assoc_id: 3,
        transport_id: 0,
        id: Some(Rc::clone(id)),
        cause: rto::Cause::Rtt { rtt: time(number) },
        old_rto: Some(Duration::from_millis(200)),
        values: rto::Values {
            rto: Duration::from_millis(200),
            srtt: time(number + 1),
            rttvar: time(number + 2) / 5,
            error_count: 0,
            more: Some(rto::More {
                error_limit: 5,
                cwnd_bytes: 4380 + number,
                ssthresh_bytes: 106_496,
                flight_bytes: 400,
                pmtu_bytes: 1500,
                state: rto::PathState::Active,
                primary: true,
                assoc_errors: 0,
                assoc_error_limit: 10,
                paths: None,
            }),
        },
    };
    let source = Source { left: count, record, row: None, id: id().into() };
    write(&sctp_rto::BANNERS, |f: &sctp_rto::Flags| &f.common, sctp_rto::report::Report::new, source)
}

fn samples_of_bufmon(count: u32) -> Result<()> {
    let record = |number, id: &Rc<Identity>| {
        bufmon::Record::Wait(bufmon::Wait {
            at: at(number),
            wait: time(number),
            assoc_id: 3,
            id: Some(Rc::clone(id)),
            msg_bytes: 1400,
        })
    };
    let source = Source { left: count, record, row: None, id: id().into() };
    write(
        &sctp_bufmon::BANNERS,
        |f: &sctp_bufmon::Flags| &f.common,
        |common| sctp_bufmon::report::Report::new(common, false),
        source,
    )
}

fn rows_of_rtt(count: u32) -> Result<()> {
    let row = |number| rtt::Row {
        id: id(),
        retransmitted: 2,
        all: times(number),
        prompt: times(number),
        histogram: None,
    };
    let source = Source { left: count, record: |_, _| unreachable!(), row: Some(row), id: id().into() };
    write(&sctp_rtt::BANNERS, |f: &sctp_rtt::Flags| &f.common, sctp_rtt::report::Report::new, source)
}

fn association() -> Association {
    Association {
        id: id(),
        generation: 3,
        ended: None,
        first: Duration::ZERO,
        ended_at: Duration::ZERO,
        events: 9,
    }
}

fn rows_of_jitter(count: u32) -> Result<()> {
    let row = |number| {
        let arrivals = || jitter::Arrivals { count: 4, interval: times(number), jitter: Some(time(number)) };
        jitter::Row {
            association: association(),
            stream_id: 7,
            chunks: arrivals(),
            histogram: None,
            messages: arrivals(),
            reordered: 1,
        }
    };
    let source = Source { left: count, record: |_, _| (), row: Some(row), id: id().into() };
    write(&sctp_jitter::BANNERS, |f: &sctp_jitter::Flags| &f.common, sctp_jitter::report::Report::new, source)
}

fn rows_of_streamutil(count: u32) -> Result<()> {
    let row = |number| {
        let stream = |stream_id| streamutil::Stream {
            stream_id,
            payload_bytes: 1000 + u64::from(number),
            chunks: 5,
            messages: 5,
            ..streamutil::Stream::default()
        };
        streamutil::Row {
            association: association(),
            total_streams: 4,
            period: Duration::from_secs(2),
            undelivered: streamutil::Undelivered::default(),
            streams: vec![stream(0), stream(1)],
        }
    };
    let source = Source { left: count, record: |_, _| (), row: Some(row), id: id().into() };
    write(
        &sctp_streamutil::BANNERS,
        |f: &sctp_streamutil::Flags| &f.common,
        sctp_streamutil::report::Report::new,
        source,
    )
}
