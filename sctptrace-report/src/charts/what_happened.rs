//! What happened: begin, restart and end of the association, stalls, and findings.

use crate::{
    charts::{
        Chart, Table,
        plot::{Axis, Frame, LEFT, RIGHT, Scale},
        svg::{Anchor, INK, LETTER, Rgb, WRONG},
    },
    escape::{short, visible},
    model::Model,
    time::{length, of_day},
};

const ROW: i32 = 18;
/// At most this many codes of findings have a lane.
const MOST_CODES: usize = 10;
const UP: Rgb = (0x00, 0x9E, 0x74);
const FOUND: Rgb = (0xE6, 0x9F, 0x01);

/// Draws the chart of events, stalls and findings; `None` if there is none of these.
pub fn chart(model: &Model, index: usize, axis: Axis) -> Option<Chart> {
    let association = &model.associations[index];
    let findings = model.findings.of(index);
    if association.events.is_empty() && association.stalls.is_empty() && findings.is_empty() {
        return None;
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    let at = |time: i64| of_day(time, 1);
    for event in &association.events {
        rows.push(vec![at(event.time), String::new(), visible(&event.text)]);
    }
    for stall in &association.stalls {
        let lasted = length(stall.lasted_ms * 1e3);
        let text =
            if stall.is_over { format!("stall of {lasted}") } else { format!("stall, {lasted} so far") };
        rows.push(vec![at(stall.begin), at(stall.end()), format!("{text}: {}", visible(&stall.text))]);
    }
    for finding in &findings {
        let begin = finding.begin.unwrap_or(finding.time);
        let end = finding.end.map_or("lasts".to_owned(), at);
        rows.push(vec![at(begin), end, format!("finding {}", visible(&finding.code))]);
    }
    rows.sort();
    for (more, what) in [(association.more_events, "events"), (association.more_stalls, "stalls")] {
        if more > 0 {
            rows.push(vec!["later".to_owned(), String::new(), format!("{more} more {what} are left out")]);
        }
    }
    let table = Table { head: ["from", "to", "what"].map(str::to_owned).to_vec(), rows };

    // A lane for each code.
    let mut codes: Vec<&str> = Vec::new();
    for finding in &findings {
        if !codes.contains(&&*finding.code) && codes.len() < MOST_CODES {
            codes.push(&finding.code);
        }
    }
    let shown = codes.len();
    let has_stalls = !association.stalls.is_empty();
    let lanes = 1 + usize::from(has_stalls) + shown;
    let mut frame = Frame::new("events", "What happened".to_owned(), Scale::percent(), Vec::new(), table);
    frame.description = "Lanes of time: the association, its stalls, and the findings about it.".to_owned();
    frame.height = Some(ROW * lanes as i32 + 4);
    frame.has_values = false;
    Some(frame.draw(association, axis, |plot| {
        let lane = |row: usize| plot.top + 2 + ROW * row as i32;
        let bar = |row: usize, from: i64, to: i64, rgb: Rgb, opacity: f64| {
            let [left, right] = [from, to].map(|time| axis.x(time));
            let top = lane(row);
            plot.canvas().rectangle([(left, top + 2), (right.max(left + 2), top + ROW - 2)], rgb, opacity);
        };
        let label = |row: usize, text: &str| {
            plot.canvas().text(text, (LEFT - 6, lane(row) + ROW / 2), Anchor::End, INK);
        };
        label(0, if association.events.is_empty() { "seen" } else { "up" });
        for (from, to) in lives(association, axis) {
            bar(0, from, to, UP, 0.35);
        }
        // Labels stand right of their events, or left of them at the right end, as long as they do not overlap.
        let mut free = LEFT;
        for event in &association.events {
            let x = axis.x(event.time);
            let text = short(&visible(&event.text), 60);
            let width = (text.chars().count() as f64 * LETTER) as i32 + 8;
            let middle = lane(0) + ROW / 2;
            if x >= free && x + width <= RIGHT {
                plot.canvas().text(&text, (x + 4, middle), Anchor::Start, INK);
                free = x + width;
            } else if x - width >= free {
                plot.canvas().text(&text, (x - 4, middle), Anchor::End, INK);
                free = x;
            }
        }
        if has_stalls {
            label(1, "stalls");
            for stall in &association.stalls {
                bar(1, stall.begin, stall.end(), WRONG, 0.8);
            }
        }
        for (row, code) in codes.iter().enumerate() {
            let row = row + 1 + usize::from(has_stalls);
            label(row, if row == 1 + usize::from(has_stalls) { "findings" } else { "" });
            let mut first = None;
            for finding in findings.iter().filter(|finding| finding.code == *code) {
                let (from, to) = (finding.begin.unwrap_or(finding.time), finding.end.unwrap_or(axis.to));
                bar(row, from, to, FOUND, 0.5);
                first.get_or_insert(axis.x(from));
            }
            let text = visible(code);
            let width = (text.chars().count() as f64 * LETTER) as i32;
            let left = (first.unwrap_or(LEFT) + 4).min(RIGHT - width);
            plot.canvas().text(&text, (left, lane(row) + ROW / 2), Anchor::Start, INK);
        }
    }))
}

/// The times in which the association was up, as far as its events show; without events, the time in which it was seen.
fn lives(association: &crate::association::Association, axis: Axis) -> Vec<(i64, i64)> {
    let [first, last] = association.span.unwrap_or([axis.from, axis.to]);
    let mut lives = Vec::new();
    let mut from = Some(first);
    for event in &association.events {
        match &*event.kind {
            "up" | "found" | "restart" => {
                from = Some(from.filter(|_| event.kind == "restart").unwrap_or(event.time))
            }
            "end" | "failed" => {
                lives.extend(from.map(|from| (from, event.time)));
                from = None;
            }
            _ => {}
        }
    }
    lives.extend(from.map(|from| (from, last)));
    lives.retain(|(from, to)| to > from);
    lives
}
