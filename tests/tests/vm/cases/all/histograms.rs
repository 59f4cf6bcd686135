//! Compares the histograms of `-H` with captures and with the waits that `sctp-traffic` measured.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use sctptrace_tests::capture::Frame;
use sctptrace_tests::kernel::Series;
use sctptrace_tests::programs::TOOLS;
use sctptrace_tests::sctp::Chunk;
use sctptrace_tests::truth::{rtt, streams};
use sctptrace_tests::vm::{Case, Mode, text};

use crate::compare::{Association, captured, says_nothing, traffic};
use crate::suite::Suite;

/// Small messages over a path that is down for two seconds; then large messages through a small send buffer.
const SCRIPT: &str = "
topology; path 10ms; capture a0 b0
for tool in $TOOLS; do start $tool sctp-$tool -H; start plain-$tool sctp-$tool; done
traced
serve --bind 10.2.0.1 --streams 2 --sack-every 1
(sleep 1; path_down 0; sleep 2; path 10ms) &
send --bind 10.1.0.1 --streams 2 --count 300 --rate 100 --nodelay --rto-min 200
mv client.json first.json
serve --bind 10.2.0.1 --streams 2
send --bind 10.1.0.1 --streams 2 --count 200 --size 3000 --sndbuf 16384 --blocked
trace_stop; capture_stop
";

/// How far a value may lie on the wrong side of a row's end, as a share of that end. The kernel side counts
/// in 16 buckets per octave, and a row has all values of the buckets whose middle is in it: up to half a
/// bucket of them may belong to the next row.
const EDGE: f64 = 1.0 / 32.0;

/// The RTO without losses, in ms: `--rto-min`. Round-trip times alone would give less, as no SACK is delayed.
const RTO_MIN_MS: u64 = 200;

/// Adds the case.
pub fn add(suite: &mut Suite) {
    suite.add(Series::V6_12, Mode::Icount, Case::new("histograms", SCRIPT), check);
}

fn check(folder: &Path) -> Result<()> {
    let (sender, receiver) = (captured(folder, &["a0"])?, captured(folder, &["b0"])?);
    for tool in TOOLS {
        let [status, errors] = ["status", "err"].map(|end| text(&folder.join(format!("{tool}.{end}"))));
        let (status, errors) = (status?, errors?);
        // Chunks that were sent again give no round-trip time (RFC 9260 6.3.1 C5) and are counted as skipped.
        let only_skips = tool == "rtt" && errors.lines().all(|line| line.contains(" samples skipped: "));
        ensure!(status == "0\n" && (says_nothing(&errors) || only_skips), "{tool}: {status}{errors}");
        ensure_else_the_same(folder, tool)?;
    }
    check_rtt(folder, &sender)?;
    check_jitter(folder, &receiver)?;
    check_sizes(folder, &sender)?;
    check_bufmon(folder, &sender)?;
    check_rto(folder, &sender)
}

/// A row of a histogram: its smallest value, its largest value, and the number of values between them.
type Row = (u64, u64, u64);

/// A histogram as a command printed it.
struct Drawn {
    title: String,
    unit: String,
    rows: Vec<Row>,
}

/// Returns the histograms in the text output `NAME.out`, and the other lines.
fn drawn(folder: &Path, name: &str) -> Result<(Vec<Drawn>, Vec<String>)> {
    let (mut histograms, mut others): (Vec<Drawn>, Vec<String>) = Default::default();
    for line in text(&folder.join(format!("{name}.out")))?.lines() {
        if let Some(unit) = line.strip_suffix(": count     distribution") {
            let title = others.pop().context("no title")?;
            ensure!(others.pop().is_some_and(|line| line.is_empty()), "no empty line before {title}");
            histograms.push(Drawn { title, unit: unit.trim().to_owned(), rows: Vec::new() });
        } else if let Some((low, rest)) = line.split_once(" -> ") {
            let (high, rest) = rest.split_once(':').context("no count")?;
            let (count, stars) = rest.split_once('|').context("no bar")?;
            ensure!(stars.len() == 41 && stars.ends_with('|'), "{line}");
            let row = (low.trim().parse()?, high.trim().parse()?, count.trim().parse()?);
            histograms.last_mut().context("a row without header")?.rows.push(row);
        } else {
            others.push(line.to_owned());
        }
    }
    for histogram in &histograms {
        let joined =
            histogram.rows.windows(2).all(|rows| rows[0].1 + 1 == rows[1].0 && rows[1].0.is_power_of_two());
        ensure!(joined && histogram.rows[0].0 == 0, "{}: {:?}", histogram.title, histogram.rows);
    }
    Ok((histograms, others))
}

/// Ensures that `-H` adds histograms and changes nothing else: the other lines are of the same kinds as
/// without `-H`, that is, the same but for their numbers. Numbers differ, as the two commands began and ended
/// at different times.
fn ensure_else_the_same(folder: &Path, tool: &str) -> Result<()> {
    let kinds = |lines: Vec<String>| -> Vec<String> {
        let words = |line: &String| {
            let word =
                |word: &str| if word.contains(|c: char| c.is_ascii_digit()) { "N" } else { word }.to_owned();
            line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
        };
        lines.iter().map(words).collect()
    };
    let (with, without) = (drawn(folder, tool)?, drawn(folder, &format!("plain-{tool}"))?);
    ensure!(!with.0.is_empty() && without.0.is_empty(), "{tool}: {} and {}", with.0.len(), without.0.len());
    // Compared as sets: one of the two may have printed a line once more, at the end of one more interval.
    let (with, without) = (kinds(with.1), kinds(without.1));
    let (with, without): (HashSet<_>, HashSet<_>) = (with.iter().collect(), without.iter().collect());
    ensure!(with == without, "{tool}: {with:?} with histograms, {without:?} without");
    Ok(())
}

fn count(rows: &[Row]) -> u64 {
    rows.iter().map(|row| row.2).sum()
}

/// Ensures that a histogram has as many values as the truth, in all and below each row's end. Below an end it
/// may have more or fewer by as many true values as lie nearer to that end than [`EDGE`] of it plus `slack`.
fn ensure_rows(rows: &[Row], truth: &[f64], slack: f64) -> Result<()> {
    ensure!(count(rows) == truth.len() as u64, "{} values, and {rows:?}", truth.len());
    let below = |limit: f64| truth.iter().filter(|value| **value < limit).count() as u64;
    let mut so_far = 0;
    for (_, high, count) in rows {
        so_far += count;
        let end = (high + 1) as f64;
        let (least, most) = (below(end * (1.0 - EDGE) - slack), below(end * (1.0 + EDGE) + slack));
        ensure!((least..=most).contains(&so_far), "{so_far} below {end}, not {least} to {most}: {rows:?}");
    }
    Ok(())
}

fn merged<'a>(histograms: impl IntoIterator<Item = &'a Drawn>) -> Vec<Row> {
    let mut rows: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for (low, high, count) in histograms.into_iter().flat_map(|histogram| &histogram.rows) {
        *rows.entry((*low, *high)).or_default() += count;
    }
    rows.into_iter().map(|((low, high), count)| (low, high, count)).collect()
}

fn check_rtt(folder: &Path, sender: &[Frame]) -> Result<()> {
    let (histograms, _) = drawn(folder, "rtt")?;
    ensure!(
        histograms.len() == 2 && histograms.iter().all(|h| h.unit == "usecs"),
        "{} of rtt",
        histograms.len()
    );
    let flows = rtt::flows(sender);
    let truth: Vec<_> = flows
        .iter()
        .flat_map(|flow| flow.tsns.values())
        .filter_map(|tsn| Some(tsn.rtt_ns()? as f64 / 1e3))
        .collect();
    ensure!(truth.len() > 400, "{} round trips", truth.len());
    ensure_rows(&merged(&histograms), &truth, 500.0).context("rtt")
}

/// Compares the RTO's histogram with the capture. The chunk that was sent most often was sent again at each
/// expiry of T3-rtx while the path was down: its times give the RTOs of the back-off.
fn check_rto(folder: &Path, sender: &[Frame]) -> Result<()> {
    let (histograms, _) = drawn(folder, "rto")?;
    let mut times: BTreeMap<(u32, u32), Vec<u64>> = BTreeMap::new();
    for frame in sender {
        for chunk in &frame.packet.chunks {
            let Chunk::Data(data) = chunk else { continue };
            times.entry((frame.packet.tag, data.tsn)).or_default().push(frame.time_ns);
        }
    }
    let times = times.into_values().max_by_key(Vec::len).context("no DATA")?;
    // Each expiry of T3-rtx doubles the RTO (RFC 9260 6.3.3 E2). A retransmission that comes sooner than the RTO has
    // another cause.
    let (mut expected, mut rto_ms): (BTreeMap<u32, u64>, u64) = (BTreeMap::new(), RTO_MIN_MS);
    for (n, pair) in times.windows(2).enumerate() {
        if n > 0 && (pair[1] - pair[0]) / 1_000_000 < rto_ms * 9 / 10 {
            break;
        }
        rto_ms *= 2;
        *expected.entry(rto_ms.ilog2()).or_default() += 1;
    }
    ensure!(expected.len() > 1, "sent at {times:?}");
    let first = &histograms.first().context("no histogram")?;
    let backed_off: BTreeMap<u32, u64> =
        first.rows.iter().filter(|row| row.0 >= 256 && row.2 > 0).map(|row| (row.0.ilog2(), row.2)).collect();
    ensure!(backed_off == expected, "{expected:?} by power of two, and {:?}", first.rows);
    // All other RTOs are at least RTO.min: no row below 128 ms has any.
    ensure!(first.rows.iter().all(|row| row.2 == 0 || row.0 >= 128), "{:?}", first.rows);
    ensure!(histograms.iter().all(|h| h.unit == "msecs"), "units of rto");
    Ok(())
}

fn check_jitter(folder: &Path, receiver: &[Frame]) -> Result<()> {
    let (histograms, _) = drawn(folder, "jitter")?;
    let mut truth: BTreeMap<u16, Vec<f64>> = BTreeMap::new();
    for flow in streams::flows(receiver).iter().filter(|flow| flow.destination_port == 5000) {
        for (id, stream) in &flow.streams {
            truth.entry(*id).or_default().extend(streams::intervals_us(&stream.arrivals_ns));
        }
    }
    ensure!(histograms.len() == truth.len() && truth.len() == 2, "{} of jitter", histograms.len());
    for (drawn, (id, truth)) in histograms.iter().zip(&truth) {
        ensure!(drawn.title.starts_with(&format!("Stream {id}:")), "{} is not of {id}", drawn.title);
        ensure_rows(&drawn.rows, truth, 300.0).with_context(|| drawn.title.clone())?;
    }
    Ok(())
}

/// Returns the client's reports of the two associations, in the order in which they ran.
fn clients(folder: &Path) -> Result<[Association; 2]> {
    let [first, second] =
        ["first.json", "client.json"].map(|name| -> Result<_> { Ok(traffic(folder, name)?.remove(0)) });
    Ok([first?, second?])
}

/// Ensures that each row of the message sizes' histogram counts exactly the capture's messages of that size.
fn check_sizes(folder: &Path, sender: &[Frame]) -> Result<()> {
    let (histograms, _) = drawn(folder, "streamutil")?;
    for client in clients(folder)? {
        let title = format!("Association {}: messages sent:", client.assoc_id);
        let drawn = histograms.iter().find(|h| h.title == title).with_context(|| title.clone())?;
        let mut seen = HashSet::new();
        let mut messages: BTreeMap<_, u64> = BTreeMap::new();
        for frame in sender.iter().filter(|frame| frame.packet.source == client.local_port) {
            for chunk in &frame.packet.chunks {
                let Chunk::Data(data) = chunk else { continue };
                if seen.insert(data.tsn) {
                    *messages.entry((data.stream, data.sequence)).or_default() += data.payload as u64;
                }
            }
        }
        let truth: Vec<_> = messages.into_values().collect();
        ensure!(truth.len() > 200, "{} messages", truth.len());
        ensure!(count(&drawn.rows) == truth.len() as u64, "{} messages: {:?}", truth.len(), drawn.rows);
        for (low, high, count) in &drawn.rows {
            let expected = truth.iter().filter(|size| (low..=high).contains(size)).count() as u64;
            ensure!(*count == expected, "{expected} messages of {low} to {high} bytes: {:?}", drawn.rows);
        }
    }
    Ok(())
}

fn check_bufmon(folder: &Path, sender: &[Frame]) -> Result<()> {
    let (histograms, _) = drawn(folder, "bufmon")?;
    let [_, client] = clients(folder)?;
    let of = |what: &str| {
        let title = format!("Association {}: {what}:", client.assoc_id);
        histograms.iter().find(|h| h.title == title).with_context(|| title.clone())
    };
    let waits = &of("sends that waited for room")?.rows;
    let (sends, waited_us) = (client.sending.blocked_sends, client.sending.blocked_us);
    ensure!(count(waits) == sends && sends > 20, "{sends} waits: {waits:?}");
    let [least, most] =
        [0, 1].map(|end| waits.iter().map(|(low, high, n)| [*low, high + 1][end] * n).sum::<u64>() as f64);
    let waited = waited_us as f64;
    // The client measures the whole system call, which takes up to 10 % longer than the wait.
    ensure!(least * (1.0 - EDGE) <= waited && waited <= most * 1.1, "{waited_us} us: {waits:?}");
    ensure!(most < waited * 3.0 && least > waited / 3.0, "{waited_us} us: {waits:?}");

    // Each received SACK and each send gives a sample of the buffer's utilisation.
    let sacks = sender
        .iter()
        .filter(|frame| frame.packet.destination == client.local_port)
        .flat_map(|frame| &frame.packet.chunks)
        .filter(|chunk| matches!(chunk, Chunk::Sack(_)))
        .count() as u64;
    let utilisation = &of("send buffer utilisation")?.rows;
    let looks = count(utilisation);
    let messages: u64 = 200;
    ensure!((sacks + messages..=sacks + messages + 2).contains(&looks), "{looks} looks, {sacks} SACKs");
    let Some((low, high, _)) = utilisation.last() else { bail!("no utilisation") };
    ensure!(*low == 64 && *high == 127, "a buffer that was full: {utilisation:?}");
    Ok(())
}
