//! Scrapes metrics at a steady rate, as a scraper that asks too often does: a connection for each scrape, one after the
//! other, as an answer of the commands ends its connection. At its end it prints a JSON line for each address: how many
//! scrapes there were, how many got a whole answer, and how often the watched counter fell from one to the next.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::Serialize;

#[derive(Parser)]
#[command(about, version)]
struct Flags {
    /// Scrapes a second of each address
    #[arg(long)]
    rate: u32,
    /// How many seconds to scrape
    #[arg(long)]
    seconds: u32,
    /// Name of the counter to watch: the sum of its series
    #[arg(long)]
    watch: String,
    /// Where metrics are served
    #[arg(required = true)]
    to: Vec<SocketAddr>,
}

/// What became of the scrapes of an address.
#[derive(Clone, Serialize)]
struct Scrapes {
    to: SocketAddr,
    asked: u64,
    answered: u64,
    fell: u64,
    /// Scrapes between which the counter grew.
    grew: u64,
    last: u64,
    bytes: u64,
    longest_us: u128,
    all_us: u128,
    /// Why the last scrape without an answer had none.
    error: Option<String>,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let none = |to| Scrapes {
        to,
        asked: 0,
        answered: 0,
        fell: 0,
        grew: 0,
        last: 0,
        bytes: 0,
        longest_us: 0,
        all_us: 0,
        error: None,
    };
    let mut all: Vec<_> = flags.to.iter().map(|to| none(*to)).collect();
    let started = Instant::now();
    for n in 0..flags.rate * flags.seconds {
        sleep((Duration::from_secs(n.into()) / flags.rate).saturating_sub(started.elapsed()));
        for scrapes in &mut all {
            let asked = Instant::now();
            scrapes.asked += 1;
            match scrape(scrapes.to).and_then(|text| Ok((text.len(), sum(&text, &flags.watch)?))) {
                Ok((bytes, value)) => {
                    scrapes.answered += 1;
                    scrapes.bytes += bytes as u64;
                    scrapes.fell += u64::from(value < scrapes.last);
                    scrapes.grew += u64::from(value > scrapes.last);
                    scrapes.last = value;
                }
                Err(error) => scrapes.error = Some(format!("{error:#}")),
            }
            scrapes.longest_us = scrapes.longest_us.max(asked.elapsed().as_micros());
        }
    }
    for scrapes in &mut all {
        scrapes.all_us = started.elapsed().as_micros();
        println!("{}", serde_json::to_string(scrapes)?);
    }
    Ok(())
}

/// Returns the text of a whole answer.
fn scrape(to: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {to}\r\nAccept: application/openmetrics-text\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").context("no head")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).context("no length")?;
    ensure!(length.parse() == Ok(text.len()), "{} bytes of {length}", text.len());
    ensure!(text.ends_with("\n# EOF\n"), "the text has no end");
    Ok(text.to_owned())
}

/// The sum of all series of this name.
fn sum(text: &str, name: &str) -> Result<u64> {
    let series = text.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with('{'));
    let values = series.filter_map(|rest| rest.rsplit_once(' ')).map(|(_, value)| Ok(value.parse::<u64>()?));
    values.sum()
}
