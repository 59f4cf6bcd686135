//! Compares `sctp-bufmon` with captures, and with the waits that `sctp-traffic` measured.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::sctp::Chunk;
use sctptrace_tests::truth::rtt::{Flow, flows};
use sctptrace_tests::vm::text;
use serde_json::Value;

use crate::cases::scenarios::Scenario;
use crate::compare::{Association, LeftOut, Report, captured, objects, traffic};

/// Compares each of the client's associations: the peer's windows with those of the SACKs that the client's
/// kernel took, and the refused sends with those that the client counted.
pub fn check(folder: &Path, scenario: &Scenario, left_out: LeftOut) -> Result<()> {
    let report = Report::read(folder, "bufmon")?;
    let clients = traffic(folder, "client.json")?;
    let flows = flows(&captured(folder, scenario.sender())?);
    ensure!(report.objects("summary").count() == clients.len(), "not {} summaries", clients.len());
    for client in &clients {
        let flow = flows.iter().find(|flow| client.is_of(flow)).context("not captured")?;
        let mut summaries =
            report.objects("summary").filter(|summary| summary["assoc_id"] == client.assoc_id);
        let summary = summaries.next().with_context(|| format!("no summary of {client:?}"))?;
        check_windows(&flow.windows, summary, left_out)?;
        let refused = summary["refused_events"].as_u64().context("refused_events")?;
        ensure!(left_out.explains(refused, client.sending.refused_sends), "{:?}: {summary}", client.sending);
    }
    Ok(())
}

/// For traffic of other programs than `sctp-traffic`, which write no report: compares the peer's windows with
/// those in the captures. Also ensures that `events` in the `end` object is the number of the summaries'
/// samples.
pub fn check_flows(folder: &Path, flows: &[Flow]) -> Result<()> {
    let report = Report::read(folder, "bufmon")?;
    // Sends and received SACKs give samples of the send buffer, SACKs sent give those of the receive buffer.
    let samples = report.sum("summary", "util_samples") + report.sum("summary", "recv_samples");
    ensure!(report.end["events"] == samples, "{samples} samples: {}", report.end);
    for flow in flows {
        let mut summaries = report.objects("summary").filter(|summary| flow.is_of(summary));
        let summary = summaries.next().with_context(|| format!("no summary of {flow:?}"))?;
        check_windows(&flow.windows, summary, LeftOut::NOTHING)?;
    }
    Ok(())
}

/// Returns the report, the summary of its only association, and the client's report of that association.
pub fn one(folder: &Path) -> Result<(Report, Value, Association)> {
    let report = Report::read(folder, "bufmon")?;
    let summaries: Vec<_> = report.objects("summary").cloned().collect();
    ensure!(summaries.len() == 1, "{} summaries", summaries.len());
    let client = traffic(folder, "client.json")?.pop().context("no association")?;
    ensure!(summaries[0]["assoc_id"] == client.assoc_id, "{} of {client:?}", summaries[0]);
    Ok((report, summaries[0].clone(), client))
}

/// Returns a member of an object as a number.
pub fn number(object: &Value, key: &str) -> Result<f64> {
    object[key].as_f64().with_context(|| format!("{key}: {object}"))
}

/// Returns the SACKs from port 5000 that were captured at a0: when each came, in ns, and its window in bytes.
fn windows(folder: &Path) -> Result<Vec<(u64, u32)>> {
    let mut found = Vec::new();
    for frame in captured(folder, &["a0"])? {
        let from_peer = frame.packet.source == 5000;
        for chunk in &frame.packet.chunks {
            if let (true, Chunk::Sack(sack)) = (from_peer, chunk) {
                found.push((frame.time_ns, sack.a_rwnd));
            }
        }
    }
    Ok(found)
}

/// Ensures that the number, mean and minimum of the summary's peer windows are those of these windows, in
/// bytes. If events may be missing, only the number is compared.
fn check_windows(windows: &[u32], summary: &Value, left_out: LeftOut) -> Result<()> {
    let samples = summary["rwnd_samples"].as_u64().context("rwnd_samples")?;
    ensure!(left_out.explains(samples, windows.len() as u64), "{} SACKs: {summary}", windows.len());
    if !left_out.is_nothing() {
        return Ok(());
    }
    let mean = windows.iter().map(|window| f64::from(*window)).sum::<f64>() / windows.len() as f64;
    let min = windows.iter().min().copied().map_or(f64::NAN, f64::from);
    ensure!((number(summary, "rwnd_avg_bytes")? / mean - 1.0).abs() < 0.01, "mean {mean}: {summary}");
    ensure!(number(summary, "rwnd_min_bytes")? == min, "minimum {min}: {summary}");
    Ok(())
}

/// Ensures that number and total time of the waits are those that the client measured, and that the `sample`
/// objects add up to the summary.
pub fn check_waits(report: &Report, summary: &Value, client: &Association, left_out: LeftOut) -> Result<()> {
    let (waited, expected) = (number(summary, "wait_total_us")?, client.sending.blocked_us as f64);
    eprintln!(
        "    {} waits of {}, {waited:.0} us of {expected:.0}",
        summary["wait_events"], client.sending.blocked_sends
    );
    let waits = summary["wait_events"].as_u64().context("wait_events")?;
    ensure!(left_out.explains(waits, client.sending.blocked_sends), "{:?}: {summary}", client.sending);
    let right = (waited / expected - 1.0).abs() < 0.02;
    ensure!(right || !left_out.is_nothing(), "waited {expected} us: {summary}");
    ensure!(report.objects("sample").count() as u64 == waits, "objects of waits");
    let sum: f64 = report.objects("sample").filter_map(|wait| wait["wait_us"].as_f64()).sum();
    ensure!((sum - waited).abs() < 1.0, "{sum} us in samples, {waited} in the summary");
    Ok(())
}

/// Scenario `slow-reader`: more than 50 sends wait, as the client measured, and the send buffer gets full.
pub fn check_slow_reader(folder: &Path, left_out: LeftOut) -> Result<()> {
    let (report, summary, client) = one(folder)?;
    ensure!(client.sending.blocked_sends > 50, "{:?}", client.sending);
    check_waits(&report, &summary, &client, left_out)?;
    let util = number(&summary, "util_max_pct")?;
    // A send that waits does so until the buffer has room for the message's length; the kernel's own overhead
    // comes on top of that.
    ensure!((90.0..=110.0).contains(&util), "a full buffer: {summary}");
    Ok(())
}

/// Scenarios `shared-buffer` and `own-buffers`: for each of the two associations the send buffer gets full,
/// and more than 20 sends wait.
pub fn check_policy(folder: &Path, _: LeftOut) -> Result<()> {
    let report = Report::read(folder, "bufmon")?;
    let summaries: Vec<_> = report.objects("summary").collect();
    ensure!(summaries.len() == 2, "{} summaries", summaries.len());
    for summary in summaries {
        let util = number(summary, "util_max_pct")?;
        ensure!((90.0..=110.0).contains(&util), "{summary}");
        ensure!(summary["wait_events"].as_u64().is_some_and(|n| n > 20), "{summary}");
    }
    Ok(())
}

/// Scenario `clean`: no send waits, and there is no stall.
pub fn check_unblocked(folder: &Path, _: LeftOut) -> Result<()> {
    ensure!(
        traffic(folder, "client.json")?.iter().all(|client| client.sending.blocked_sends == 0),
        "blocked"
    );
    for summary in Report::read(folder, "bufmon")?.objects("summary") {
        ensure!(summary["wait_events"] == 0 && summary["stalls"] == 0, "{summary}");
    }
    Ok(())
}

/// Scenario `nonblocking`: more than 50 sends are refused, and none waits.
pub fn check_nonblocking(folder: &Path, _: LeftOut) -> Result<()> {
    let (_, summary, client) = one(folder)?;
    ensure!(client.sending.refused_sends > 50, "{:?}", client.sending);
    ensure!(summary["wait_events"] == 0, "{summary}");
    Ok(())
}

/// Returns the report's only `stall` object.
fn only_stall(report: &Report) -> Result<&Value> {
    let stalls: Vec<_> = report.objects("stall").collect();
    ensure!(stalls.len() == 1, "{} stalls: {stalls:?}", stalls.len());
    Ok(stalls[0])
}

/// Scenario `reader-stops`: there is one stall, as the peer's window is closed. How often and how long the
/// window is closed agrees with the capture, and the server's own report shows it, too.
pub fn check_reader_stops(folder: &Path, left_out: LeftOut) -> Result<()> {
    let (report, summary, _) = one(folder)?;
    let stall = only_stall(&report)?;
    ensure!(stall["cause"] == "window_closed" && stall["gap_acked"].is_null(), "{stall}");
    ensure!(number(stall, "unacked_bytes")? > 1000.0, "{stall}");
    ensure!(summary["stalls"] == 1 && summary["stall_cause"] == "window_closed", "{summary}");
    let lasted = number(&summary, "stall_total_ms")?;
    ensure!((3000.0..7000.0).contains(&lasted), "{summary}");

    let (mut closed_ms, mut episodes, mut since) = (0.0, 0, None);
    for (time_ns, window) in windows(folder)? {
        match (since, window) {
            (None, 0) => {
                since = Some(time_ns);
                episodes += 1;
            }
            (Some(begin), 1..) => {
                closed_ms += (time_ns - begin) as f64 / 1e6;
                since = None;
            }
            _ => {}
        }
    }
    let exact = left_out.is_nothing();
    ensure!(
        !exact || (summary["zero_window_events"] == episodes && episodes > 0),
        "{episodes} episodes: {summary}"
    );
    let shown = number(&summary, "zero_window_ms")?;
    ensure!(!exact || (shown / closed_ms - 1.0).abs() < 0.01, "closed for {closed_ms} ms: {summary}");

    // Meanwhile the receiver's buffer was more than half full, and its own window closed.
    let server: Vec<Value> = objects(&folder.join("server-side.json"))?;
    let server = server.iter().find(|object| object["type"] == "summary").context("no server side")?;
    ensure!(number(server, "recv_util_max_pct")? > 50.0 && server["own_rwnd_min_bytes"] == 0, "{server}");
    let text = text(&folder.join("extended.out"))?;
    ensure!(text.matches(" stalled since ").count() == 1, "{text}");
    Ok(())
}

/// Scenario `blackout`: there is one stall, as nothing comes from the peer; the peer's window is never closed.
pub fn check_blackout(folder: &Path, _: LeftOut) -> Result<()> {
    let (report, summary, _) = one(folder)?;
    let stall = only_stall(&report)?;
    ensure!(stall["cause"] == "path_silent", "{stall}");
    ensure!(summary["stalls"] == 1 && summary["zero_window_events"] == 0, "{summary}");
    let lasted = number(&summary, "stall_total_ms")?;
    ensure!((3500.0..9000.0).contains(&lasted), "{summary}");
    Ok(())
}

/// Scenario `full-speed`: more than 20,000 samples of the send buffer, as many waits as the client counted,
/// and intervals.
pub fn check_full_speed(folder: &Path, left_out: LeftOut) -> Result<()> {
    let (report, summary, client) = one(folder)?;
    ensure!(summary["util_samples"].as_u64().is_some_and(|n| n > 20_000), "{summary}");
    let waits = summary["wait_events"].as_u64().context("wait_events")?;
    ensure!(left_out.explains(waits, client.sending.blocked_sends), "{:?}: {summary}", client.sending);
    ensure!(report.objects("interval").count() > 0, "no intervals");
    Ok(())
}
