//! Plays many hosts, on each of which the five commands serve metrics, to a real Prometheus on this machine. Prints what
//! that costs Prometheus: docs/fleet.md has the figures.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::prometheus::{Prometheus, dashboard_queries};

#[derive(Parser)]
#[command(about, version)]
struct Flags {
    /// Folder with a text file of metrics for each command, such as rtt.prom: that of the case `prometheus`, in
    /// target/bed/6.12-icount*/prometheus/metrics
    metrics: PathBuf,
    /// Number of hosts
    #[arg(long, default_value_t = 1000)]
    hosts: u32,
    /// Only this service of those in the files
    #[arg(long, default_value_t = 5000)]
    service_port: u16,
    /// Seconds between two scrapes of a target
    #[arg(long, default_value_t = 15)]
    scrape: u64,
    /// Seconds to run before the queries
    #[arg(long, default_value_t = 300)]
    duration: u64,
}

/// A line of a command's metrics.
enum Line {
    /// A line of help or type, or a gauge's: the same at each host and time.
    Same(String),
    /// A counter's series, and its value in the file.
    Grows(String, f64),
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let templates: Vec<Vec<Line>> = TOOLS
        .iter()
        .map(|tool| {
            let file = flags.metrics.join(format!("{tool}.prom"));
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            template(&text, flags.service_port)
        })
        .collect::<Result<_>>()?;
    let begun = Instant::now();
    let bytes: usize = templates.iter().map(|template| page(template, 1, 0.0).len()).sum();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    spawn(move || {
        for stream in listener.incoming().flatten() {
            // A scraper that goes away comes again.
            let _ = answer(&stream, &templates, begun.elapsed().as_secs_f64());
        }
    });
    let prometheus = Prometheus::scrape(&configuration(&flags, port))?;
    sleep(Duration::from_secs(flags.duration));

    let figure = |name: &str| prometheus.own(name);
    let (samples, cpu_s) =
        (figure("prometheus_tsdb_head_samples_appended_total")?, figure("process_cpu_seconds_total")?);
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "hosts: {}, of five targets each; a scrape every {} s, for {seconds:.0} s",
        flags.hosts, flags.scrape
    );
    println!("text per host and scrape: {bytes} bytes");
    println!("series: {:.0}", figure("prometheus_tsdb_head_series")?);
    println!("samples: {samples:.0}, {:.0} a second", samples / seconds);
    println!("memory: {:.0} MB resident", figure("process_resident_memory_bytes")? / 1e6);
    println!("CPU: {:.2} of one", cpu_s / seconds);
    println!("on disk: {:.2} bytes a sample", prometheus.snapshot()? as f64 / samples);
    for (what, instance) in [("all hosts", ".*"), ("one host", "host-1")] {
        let mut costs = Vec::new();
        for query in dashboard_queries(instance, "1m")? {
            let before = figure("process_cpu_seconds_total")?;
            let found = prometheus.now(&query)?;
            costs.push((figure("process_cpu_seconds_total")? - before, found.len(), query));
        }
        costs.sort_by(|(one, ..), (other, ..)| other.total_cmp(one));
        let all: f64 = costs.iter().map(|(cost, ..)| cost).sum();
        println!(
            "queries of the dashboard, {what}: {} at one moment, {all:.2} s of CPU together",
            costs.len()
        );
        for (cost, found, query) in costs.iter().take(3) {
            println!("  {cost:.2} s, {found} series: {query}");
        }
    }
    Ok(())
}

/// The lines of a command's metrics that are about one service, or about the host.
fn template(text: &str, service_port: u16) -> Result<Vec<Line>> {
    let service = format!("service_port=\"{service_port}\"");
    let (mut lines, mut grows) = (Vec::new(), false);
    for line in text.lines() {
        if line.starts_with('#') {
            if line.starts_with("# TYPE ") {
                grows = !line.ends_with(" gauge");
            }
            lines.push(Line::Same(line.to_owned()));
        } else if !line.contains("service_port=") || line.contains(&service) {
            let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            lines.push(match grows {
                true => Line::Grows(series.to_owned(), value.parse()?),
                false => Line::Same(line.to_owned()),
            });
        }
    }
    ensure!(lines.iter().any(|line| matches!(line, Line::Grows(..))), "no counter of service {service_port}");
    Ok(lines)
}

/// A command's metrics at a host, `seconds` after the begin: hosts grow at seven different rates.
fn page(template: &[Line], host: u32, seconds: f64) -> String {
    let grown = 1.0 + seconds * f64::from(1 + host % 7) / 100.0;
    let mut page = String::new();
    for line in template {
        match line {
            Line::Same(line) => page.push_str(line),
            Line::Grows(series, value) if value.fract() == 0.0 => {
                page += &format!("{series} {}", (value * grown).floor());
            }
            Line::Grows(series, value) => page += &format!("{series} {:.6}", value * grown),
        }
        page.push('\n');
    }
    page
}

/// Answers `GET /COMMAND/HOST`: the command by its place in `TOOLS`.
fn answer(stream: &TcpStream, templates: &[Vec<Line>], seconds: f64) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::from("-");
    while !header.trim().is_empty() {
        header.clear();
        reader.read_line(&mut header)?;
    }
    let mut path = request.split(' ').nth(1).context("no path")?.split('/').skip(1);
    let command: usize = path.next().context("no command")?.parse()?;
    let host = path.next().context("no host")?.parse()?;
    let page = page(templates.get(command).context("no such command")?, host, seconds);
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    )?;
    Ok(())
}

fn configuration(flags: &Flags, port: u16) -> String {
    let mut text = format!("global: {{ scrape_interval: {}s }}\nscrape_configs:\n", flags.scrape);
    for (command, tool) in TOOLS.iter().enumerate() {
        text += &format!("  - job_name: sctp-{tool}\n    static_configs:\n");
        for host in 1..=flags.hosts {
            text += &format!(
                "      - targets: [\"127.0.0.1:{port}\"]\n        labels: {{ instance: host-{host}, __metrics_path__: \
                /{command}/{host} }}\n"
            );
        }
    }
    text
}
