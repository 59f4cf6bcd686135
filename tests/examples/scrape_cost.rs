//! Counts what a scrape costs a command's own process, in instructions: under valgrind a command reads tables of 10,000
//! associations that are made here, adds up what has changed, and writes the text. Not in it: what the process does in the
//! kernel, and what it asks the kernel's maps for (owners and histograms; their counts are added up all the same).
//!
//! ```text
//! cargo run --release -p sctptrace-tests --example scrape_cost [ASSOCIATIONS]
//! ```

use std::{
    env, io,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use cli::{Banners, Common, Out, Report, Run};
use probes::{
    Probe,
    crowd::{self, Crowd},
};

/// What to do: so many associations, of which so many change before each of so many scrapes.
#[derive(Clone, Copy)]
struct Work {
    all: u32,
    changed: u32,
    scrapes: u32,
}

/// Does the work. Returns the length of the last text.
type Scrape = fn(Work) -> Result<usize>;

const COMMANDS: [(&str, Scrape); 5] = [
    ("sctp-rtt", |work| {
        let (crowd, common) = (crowd::rtt(work.all)?, |flags: &sctp_rtt::Flags| flags.common.clone());
        scrapes(&sctp_rtt::BANNERS, common, sctp_rtt::report::Report::new, crowd, Crowd::touch, work)
    }),
    ("sctp-rto", |work| {
        let (crowd, common) = (crowd::rto(work.all)?, |flags: &sctp_rto::Flags| flags.common.clone());
        scrapes(&sctp_rto::BANNERS, common, sctp_rto::report::Report::new, crowd, Crowd::touch, work)
    }),
    ("sctp-bufmon", |work| {
        let (crowd, common) = (crowd::bufmon(work.all)?, |flags: &sctp_bufmon::Flags| flags.common.clone());
        let report = |common: &Common| sctp_bufmon::report::Report::new(common, false);
        scrapes(&sctp_bufmon::BANNERS, common, report, crowd, Crowd::touch, work)
    }),
    ("sctp-jitter", |work| {
        let (crowd, common) = (crowd::jitter(work.all)?, |flags: &sctp_jitter::Flags| flags.common.clone());
        scrapes(&sctp_jitter::BANNERS, common, sctp_jitter::report::Report::new, crowd, Crowd::touch, work)
    }),
    ("sctp-streamutil", |work| {
        let (crowd, common) =
            (crowd::streamutil(work.all)?, |flags: &sctp_streamutil::Flags| flags.common.clone());
        let report = sctp_streamutil::report::Report::new;
        scrapes(&sctp_streamutil::BANNERS, common, report, crowd, Crowd::touch, work)
    }),
];

/// Before each scrape that counts, and in their stead in the run that they are compared with, associations change so often.
const ROUNDS: u32 = 4;

fn main() -> Result<()> {
    let numbers: Vec<u32> = env::args().skip(1).map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    if let [which, all, changed, scrapes] = numbers[..] {
        println!("{}", COMMANDS[which as usize].1(Work { all, changed, scrapes })?);
        return Ok(());
    }
    let all = numbers.first().copied().unwrap_or(10_000);
    for (which, (name, _)) in COMMANDS.iter().enumerate() {
        for changed in [0, all / 100, all] {
            let run = |scrapes| counted(which, Work { all, changed, scrapes });
            let ((without, _), (with, bytes)) = (run(0)?, run(ROUNDS)?);
            let each = (with - without) / u64::from(ROUNDS);
            println!("{name}, {all} associations, {changed} changed: {each} instructions, {bytes} bytes");
        }
    }
    Ok(())
}

/// Runs this program under valgrind. Returns the number of instructions, and the length of the text.
fn counted(which: usize, Work { all, changed, scrapes }: Work) -> Result<(u64, u64)> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(env::current_exe()?);
    command.args([which as u32, all, changed, scrapes].map(|number| number.to_string()));
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().context("valgrind runs")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{text}");
    let collected =
        text.lines().find_map(|line| line.split_once("Collected : ")).context("valgrind counts")?;
    Ok((collected.1.trim().parse()?, String::from_utf8_lossy(&output.stdout).trim().parse()?))
}

/// Scrapes a command until it knows all associations, and then as often as the work says.
fn scrapes<Flags: Parser, P: Probe, R: Report<Record = P::Record, Row = P::Row>>(
    banners: &Banners,
    common: fn(&Flags) -> Common,
    report: impl Fn(&Common) -> R,
    crowd: P,
    touch: fn(&P, u32) -> io::Result<()>,
    work: Work,
) -> Result<usize> {
    let flags = Flags::parse_from([banners.command, "--textfile", "none"]);
    let common = common(&flags);
    touch(&crowd, u32::MAX)?;
    let mut run = Run::new(banners, &common, crowd, report(&common), Out::new(None)?).with_own_metrics();
    let mut len = 0;
    for _ in 0..4 {
        len = run.scrape()?.len();
    }
    for round in 0..ROUNDS {
        touch(run.probe(), work.changed)?;
        if round < work.scrapes {
            len = run.scrape()?.len();
        }
    }
    Ok(len)
}
