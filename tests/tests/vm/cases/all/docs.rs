//! README and the pages of `docs/`: the output that they show is what the commands print, and what their text
//! says of the output is true.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sctptrace_tests::docs::{MODE, Page, SERIES};
use sctptrace_tests::vm::text;

use crate::compare::{Association, traffic};
use crate::suite::Suite;
use crate::truth::jitter::BACKLOG_US;

/// A scenario of a page, a script in `guest/docs/`, that has run.
struct Run<'a> {
    page: &'a Page,
    /// The folder of the page's case; each scenario has its own folder in that.
    folder: &'a Path,
    scenario: &'a str,
}

/// Checks what a page's text says of a scenario.
type Claim = fn(&Run<'_>) -> Result<()>;

const CLAIMS: [(&str, Claim); 13] = [
    // README has a claim of its own, as it shows fewer of the scenario's commands than the page does.
    ("README/stopped-reader", stall),
    ("rtt", rtt),
    ("rto", rto),
    ("bufmon", bufmon),
    ("jitter", jitter),
    ("streamutil", streamutil),
    ("delayed-sack", delayed_sack),
    ("slow-reader", slow_reader),
    ("lossy-path", lossy_path),
    ("one-stream", one_stream),
    ("ten-streams", ten_streams),
    ("stopped-reader", stopped_reader),
    ("ends", ends),
];

/// Adds a case for each page.
pub fn add(suite: &mut Suite) {
    for page in Page::all().expect("the pages can be read") {
        let case = page.case().expect("a page's scenarios are there");
        suite.add(SERIES, MODE, case, move |folder| check(&page, folder));
    }
}

fn check(page: &Page, folder: &Path) -> Result<()> {
    for scenario in page.scenarios() {
        let here = format!("{}/{scenario}", page.title());
        let (_, claim) = CLAIMS
            .into_iter()
            .find(|(name, _)| *name == here)
            .or_else(|| CLAIMS.into_iter().find(|(name, _)| *name == scenario))
            .with_context(|| format!("{scenario}: nothing checks what the page says of it"))?;
        claim(&Run { page, folder, scenario }).with_context(|| scenario.to_owned())?;
    }
    page.ensure_current(folder)
}

impl Run<'_> {
    /// Returns the output of one of the commands that the page shows of the scenario, by its number from 0.
    fn output(&self, number: usize) -> Result<String> {
        let mut all = self.page.shown(self.folder, self.scenario)?;
        ensure!(number < all.len(), "{} commands", all.len());
        Ok(all.swap_remove(number).output)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(self.scenario).join(file)
    }

    /// Returns the client's report of the only association.
    fn client(&self) -> Result<Association> {
        traffic(&self.folder.join(self.scenario), "client.json")?.pop().context("no association")
    }

    /// Returns an SNMP counter of the sender's network namespace.
    fn snmp(&self, name: &str) -> Result<f64> {
        number(&text(&self.path("snmp"))?, name)
    }
}

/// Returns the numbers after the first occurrence of `words` in the text, up to the end of the line.
fn numbers(text: &str, words: &str) -> Result<Vec<f64>> {
    let line = from(text, words)?[words.len()..].lines().next().unwrap_or_default();
    let fields = line.split(|char: char| !char.is_ascii_digit() && char != '.');
    Ok(fields.filter_map(|field| field.parse().ok()).collect())
}

/// Returns the first number after the first occurrence of `words` in the text, on the same line.
fn number(text: &str, words: &str) -> Result<f64> {
    numbers(text, words)?.first().copied().with_context(|| format!("no number after {words:?} in {text}"))
}

/// Returns the text from the first occurrence of `words` on.
fn from<'a>(text: &'a str, words: &str) -> Result<&'a str> {
    text.find(words).map(|at| &text[at..]).with_context(|| format!("no {words:?} in {text}"))
}

/// Returns a column, by its index from 0, of the lines that begin with a digit.
fn column(text: &str, index: usize) -> Vec<&str> {
    let rows = text.lines().filter(|line| line.starts_with(|char: char| char.is_ascii_digit()));
    rows.filter_map(|row| row.split_whitespace().nth(index)).collect()
}

fn ends(run: &Run<'_>) -> Result<()> {
    let lines = run.output(0)?;
    let of = |words: &str| lines.lines().filter(|line| line.contains(words)).count();
    ensure!((of("shut down here"), of("shut down by the peer")) == (1, 1), "{lines}");
    let text = "cause 12 (user initiated) \"going down for maintenance\"";
    ensure!((of(text), of("ABORT received"), of("refused")) == (2, 2, 1), "{lines}");
    Ok(())
}

fn three_kinds(run: &Run<'_>) -> Result<()> {
    let plain = run.output(0)?;
    let rows: Vec<f64> = column(&plain, 2).into_iter().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(rows.len() as u64 == run.client()?.stats.data_sent, "{plain}");
    let of = |from: f64, to: f64| rows.iter().filter(|ms| (from..to).contains(*ms)).count();
    ensure!((of(20.0, 21.0), of(70.0, 71.0), of(200.0, 230.0)) == (6, 5, 1), "three kinds: {plain}");
    ensure!(rows.last().is_some_and(|ms| *ms > 200.0), "the last has no successor: {plain}");
    Ok(())
}

fn rtt(run: &Run<'_>) -> Result<()> {
    three_kinds(run)?;
    let extended = run.output(1)?;
    let prompt = column(&extended, 4).iter().filter(|word| **word == "yes").count();
    ensure!(prompt == 5 && number(&extended, "Prompt samples:")? == 5.0, "{extended}");
    let spread = numbers(&extended, "Prompt Min/Max RTT:")?;
    ensure!(spread.iter().all(|us| (20_000.0..21_000.0).contains(us)), "the path's: {extended}");
    Ok(())
}

fn is_backed_off(extended: &str) -> Result<()> {
    let expiries: Vec<_> = extended.lines().filter(|line| line.contains(" t3 ")).collect();
    ensure!(expiries.len() > 1, "no back-off: {extended}");
    for row in expiries {
        let fields: Vec<_> = row.split_whitespace().collect();
        let [after, before] = [fields[3], fields[8]].map(|field| field.parse::<f64>().unwrap_or(0.0));
        ensure!(after == 2.0 * before && fields[9] == "1500", "doubled, cwnd one MTU: {row}");
    }
    Ok(())
}

fn rto(run: &Run<'_>) -> Result<()> {
    let plain = run.output(0)?;
    ensure!(number(&plain, "SRTT:")? > 40.0, "far above the path's 20 ms: {plain}");
    let extended = run.output(1)?;
    ensure!(number(&extended, "T3-rtx expiries:")? == run.snmp("SctpT3RtxExpireds")?, "{extended}");
    is_backed_off(&extended)?;
    let states: Vec<_> = extended.lines().filter(|line| line.contains(" state ")).collect();
    let [fails, recovers] = states[..] else { anyhow::bail!("two changes of state: {extended}") };
    ensure!(fails.contains(" 1/5 ") && fails.contains(" pf "), "one error is enough: {fails}");
    ensure!(recovers.contains(" active "), "{recovers}");
    let after = from(&extended, recovers)?.lines().nth(1).unwrap_or_default();
    ensure!(after.contains(" heartbeat "), "an answered HEARTBEAT: {after}");
    Ok(())
}

/// Ensures that the sender's `sctp-bufmon` shows what a slow reader causes: as many waits as the client
/// counted, a full send buffer, data in the outqueue, and a small receive window.
fn is_slow_reader(output: &str, client: &Association) -> Result<()> {
    ensure!(number(output, "Wait events:")? == client.sending.blocked_sends as f64, "waits: {output}");
    ensure!(client.sending.blocked_sends > 50, "{:?}", client.sending);
    ensure!(number(output, "Average:")? > 75.0, "the buffer is full: {output}");
    ensure!(number(from(output, "Outqueue")?, "Average:")? > 5000.0, "data sits in the outqueue: {output}");
    ensure!(number(from(output, "Receiver Window")?, "Average:")? < 10_000.0, "a small window: {output}");
    Ok(())
}

fn bufmon(run: &Run<'_>) -> Result<()> {
    let client = run.client()?;
    is_slow_reader(&run.output(0)?, &client)?;
    let extended = run.output(1)?;
    is_slow_reader(&extended, &client)?;
    let waited = number(&extended, "Wait time:")? * 1e3;
    ensure!(
        (waited / client.sending.blocked_us as f64 - 1.0).abs() < 0.02,
        "{:?}: {extended}",
        client.sending
    );
    let [theirs, own] = ["Receiver Window", "Own Window"]
        .map(|words| from(&extended, words).and_then(|block| number(block, "Average:")));
    let (theirs, own) = (theirs?, own?);
    ensure!((theirs / own - 1.0).abs() < 0.05, "the window that it sees: {extended}");
    Ok(())
}

fn pause(run: &Run<'_>) -> Result<()> {
    let plain = run.output(0)?;
    let [first, second] = [from(&plain, "Stream 0")?, from(&plain, "Stream 1")?];
    let sent = run.client()?.sent;
    let messages = |stream: u16| sent.get(&stream).map_or(0.0, |count| count.messages as f64);
    // A stream has one interval less than chunks; stream 0 has the farewell as one chunk more.
    ensure!(number(first, "Samples:")? == messages(0), "{plain}");
    ensure!(number(second, "Samples:")? == messages(1) - 1.0, "{plain}");
    let [paused, even] = [number(first, "Jitter:")?, number(second, "Jitter:")?];
    ensure!(paused > 2.0 * even && even > 1000.0, "the pause: {plain}");
    let [paused, even] = [number(first, "Interval:")?, number(second, "Interval:")?];
    ensure!(paused < 1.2 * even, "the average hardly shows it: {plain}");
    Ok(())
}

fn jitter(run: &Run<'_>) -> Result<()> {
    pause(run)?;
    let extended = run.output(1)?;
    let percentiles: Vec<_> = extended.lines().filter(|line| line.contains("p50/p90/p99:")).collect();
    ensure!(percentiles.len() == 2, "{extended}");
    for line in percentiles {
        ensure!(numbers(line, "p99:")?.iter().all(|us| *us < 40_000.0), "do not mind the pause: {line}");
    }
    ensure!(number(&extended, "Messages:")? == number(&extended, "Chunks:")?, "{extended}");
    Ok(())
}

fn four_streams(run: &Run<'_>) -> Result<()> {
    let plain = run.output(0)?;
    // The farewell has four bytes and is not in `sent`.
    let bytes = run.client()?.sent.values().map(|count| count.bytes).sum::<u64>() + 4;
    ensure!(number(&plain, "Data:")? == bytes as f64, "{plain}");
    ensure!(number(&plain, "Parallelism:")? == 40.0 && number(&plain, "Index:")? < 0.9, "{plain}");
    let [ordered, unordered] = numbers(&plain, "Ordering:")?[..] else { anyhow::bail!("{plain}") };
    ensure!(9.0 * unordered == ordered - 1.0, "one in ten, and the farewell: {plain}");
    Ok(())
}

fn streamutil(run: &Run<'_>) -> Result<()> {
    four_streams(run)?;
    let extended = run.output(1)?;
    ensure!(
        number(&extended, "Retransmitted:")? == 100.0 * run.client()?.stats.retransmitted as f64,
        "{extended}"
    );
    let receiver = from(&extended, "(10.2.0.1:5000 ")?;
    ensure!(number(receiver, "0 retransmitted;")? > 0.0, "messages waited: {receiver}");
    Ok(())
}

fn delayed_sack(run: &Run<'_>) -> Result<()> {
    let output = run.output(0)?;
    let spurious = number(&output, "Spurious retransmissions:")?;
    let sent_again = run.client()?.stats.retransmitted;
    ensure!(spurious > 3.0 && spurious == sent_again as f64, "all of {sent_again} are spurious: {output}");
    ensure!(number(&output, "T3-rtx expiries:")? == run.snmp("SctpT3RtxExpireds")?, "{output}");
    ensure!(number(&output, "SRTT:")? == 20.0, "{output}");
    let rows = output.lines().filter(|line| line.contains(" t3 "));
    for fields in rows.map(|row| row.split_whitespace().collect::<Vec<_>>()) {
        ensure!(fields[9] == "1500" && fields[14] == "pf", "one MTU, and potentially failed: {fields:?}");
    }
    Ok(())
}

fn slow_reader(run: &Run<'_>) -> Result<()> {
    let sender = run.output(0)?;
    let client = run.client()?;
    is_slow_reader(&sender, &client)?;
    let mean_ms = numbers(&sender, "Wait time:")?[1];
    ensure!((18.0..22.0).contains(&mean_ms), "20 ms on average: {sender}");
    let receiver = run.output(1)?;
    ensure!(
        number(from(&receiver, "Own Window")?, "Average:")? < 10_000.0,
        "its window is small: {receiver}"
    );
    ensure!(number(from(&receiver, "Receive Buffer")?, "Average:")? > 40.0, "full of data: {receiver}");
    Ok(())
}

fn lossy_path(run: &Run<'_>) -> Result<()> {
    let output = run.output(0)?;
    let (primary, other) = output.split_once("Transport 1").context("one path only")?;
    ensure!(primary.contains("(10.2.0.1:5000)") && other.contains("(10.2.1.1:5000)"), "{output}");
    let [Ok(primary), Ok(other)] = [primary, other].map(|path| numbers(path, "Retransmissions:")) else {
        anyhow::bail!("{output}")
    };
    // The five numbers in the line: retransmissions by T3-rtx, the 3 of that name, fast retransmissions, those for the
    // path MTU, and chunks.
    let [t3, _, fast, _, chunks] = primary[..] else { anyhow::bail!("{primary:?}") };
    ensure!(t3 == run.snmp("SctpT3Retransmits")? && fast == run.snmp("SctpFastRetransmits")?, "{output}");
    ensure!(fast > 5.0 && chunks == 0.0, "{output}");
    let sent_again = run.client()?.stats.retransmitted as f64;
    ensure!(other == [0.0, 3.0, 0.0, 0.0, sent_again], "on the other path, for the first: {output}");
    ensure!(!output.contains("Spurious"), "{output}");
    let rtt = run.output(1)?;
    let quiet = 20_000.0..21_000.0;
    let percentiles = numbers(from(&rtt, "Prompt p50")?, " RTT:")?;
    ensure!(percentiles.len() == 3 && percentiles.iter().all(|us| quiet.contains(us)), "a quiet path: {rtt}");
    // One packet may have waited for a reader who was preempted.
    let [least, most] = numbers(&rtt, "Prompt Min/Max RTT:")?[..] else { anyhow::bail!("{rtt}") };
    ensure!(quiet.contains(&least) && most < quiet.end + BACKLOG_US, "a quiet path: {rtt}");
    Ok(())
}

fn one_stream(run: &Run<'_>) -> Result<()> {
    let sender = run.output(0)?;
    ensure!(number(&sender, "Streams:")? == 1.0 && number(&sender, "Parallelism:")? == 10.0, "{sender}");
    ensure!(number(&sender, "Index:")? == 0.0, "{sender}");
    let receiver = run.output(1)?;
    let lost = run.client()?.stats.retransmitted as f64;
    ensure!(lost > 10.0, "{lost} were lost");
    ensure!(number(&receiver, "0 retransmitted;")? > 2.0 * lost, "{lost} were lost: {receiver}");
    Ok(())
}

fn ten_streams(run: &Run<'_>) -> Result<()> {
    let sender = run.output(0)?;
    ensure!(number(&sender, "Parallelism:")? == 100.0 && number(&sender, "Index:")? > 0.999, "{sender}");
    let lost = run.client()?.stats.retransmitted;
    let before = Run { scenario: "one-stream", ..*run }.client()?.stats.retransmitted;
    ensure!(lost == before, "the same losses: {lost}, before {before}");
    let receiver = run.output(1)?;
    ensure!(receiver.contains("nothing was seen"), "{receiver}");
    Ok(())
}

fn stall(run: &Run<'_>) -> Result<()> {
    let output = run.output(0)?;
    let line = output.lines().next().unwrap_or_default();
    ensure!(line.contains(" is stalled since ") && line.contains("the peer's window is closed"), "{output}");
    Ok(())
}

fn stopped_reader(run: &Run<'_>) -> Result<()> {
    stall(run)?;
    let output = run.output(0)?;
    ensure!(number(&output, "Zero window:")? == 1.0, "{output}");
    let stalled = number(from(&output, "Stalls: 1")?, ",")?;
    ensure!((4000.0..7000.0).contains(&stalled), "{output}");
    let longest = *numbers(&output, "Wait time:")?.last().context("no wait")?;
    ensure!(longest > 0.9 * stalled, "one send waited nearly all that time: {output}");
    let rows = run.output(1)?;
    let of = |cause: &str| rows.lines().filter(|row| row.contains(cause)).count();
    ensure!(of(" t3 ") > 1 && of(" heartbeat ") > 1, "T3-rtx expires, and HEARTBEATs are answered: {rows}");
    let sent_again = run.client()?.stats.retransmitted;
    ensure!(of(" t3 ") as u64 <= sent_again, "{sent_again} sent again: {rows}");
    let errors = rows.lines().filter(|row| row.contains(" 0/5 ") || row.contains(" 1/5 ")).count();
    ensure!(errors == rows.lines().count(), "the errors do not add up: {rows}");
    Ok(())
}
