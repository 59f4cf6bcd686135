//! Retransmission timeout of each path, with T3-rtx expiries, and the states of the paths.

use crate::{
    association::{Association, Path, State},
    charts::{
        Chart, Table,
        plot::{Axis, Frame, Key, LEFT, RIGHT, Scale, cell},
        svg::{Anchor, INK, LETTER, Rgb},
    },
    escape::visible,
    time::{of_day, thousands},
};

/// Height of the lane that shows a path's states, in pixels.
const LANE: i32 = 16;
const EXPIRY: Rgb = (0xD5, 0x5E, 0x01);
const HEARTBEAT: Rgb = (0x66, 0x66, 0x67);

/// Draws the chart of the retransmission timeouts and states of paths; `None` without data of `sctp-rto`.
pub fn chart(association: &Association, axis: Axis) -> Option<Chart> {
    let paths = &association.paths;
    if paths.iter().all(|path| path.series().is_empty()) {
        return None;
    }
    let values = paths.iter().flat_map(|path| path.series().iter().filter_map(|(_, t)| t.max_ms));
    let scale = Scale::fitting(values);
    let mut keys: Vec<Key> = paths
        .iter()
        .enumerate()
        .map(|(index, path)| Key::Line(index, format!("path {}: {}", index + 1, name(path))))
        .collect();
    let sum = |get: fn(&crate::association::Timeouts) -> u64| -> u64 {
        paths
            .iter()
            .flat_map(|path| path.series().iter())
            .map(|(_, timeouts)| get(timeouts))
            .fold(0, u64::saturating_add)
    };
    if sum(|t| t.t3_expiries) > 0 {
        keys.push(Key::Triangle(EXPIRY, "T3-rtx expired".to_owned()));
    }
    if sum(|t| t.heartbeat_timeouts) > 0 {
        keys.push(Key::Cross(HEARTBEAT, "HEARTBEAT timed out".to_owned()));
    }
    let mut frame =
        Frame::new("rto", "Retransmission timeout (ms)".to_owned(), scale, keys, table(association));
    frame.description =
        "Retransmission timeout of each path; below, a lane for the states of each path.".to_owned();
    frame.lanes = 4 + LANE * paths.len() as i32;
    Some(frame.draw(association, axis, |plot| {
        for (index, path) in paths.iter().enumerate() {
            let points = path.series().iter().filter_map(|(time, t)| {
                let last = t.last_ms?;
                Some((time, t.max_ms.unwrap_or(last), last))
            });
            plot.steps(points, index);
            for (time, timeouts) in path.series().iter() {
                if timeouts.t3_expiries > 0 {
                    plot.triangle(time, EXPIRY);
                }
                if timeouts.heartbeat_timeouts > 0 {
                    plot.cross(time, HEARTBEAT);
                }
            }
            let top = plot.bottom + 4 + LANE * index as i32;
            let middle = top + LANE / 2;
            plot.canvas().text(&format!("path {}", index + 1), (LEFT - 6, middle), Anchor::End, INK);
            let mut end = LEFT;
            for (state, from, to) in spans(path, axis) {
                let [left, right] = [from, to].map(|time| axis.x(time));
                end = right;
                let (rgb, opacity) = colour(state);
                plot.canvas().rectangle(
                    [(left, top + 2), (right.max(left + 2), top + LANE - 2)],
                    rgb,
                    opacity,
                );
                // A text that fits says what the colour says.
                let text = state.name();
                if f64::from(right - left) > text.len() as f64 * LETTER + 6.0 {
                    plot.canvas().text(text, (left + 4, middle), Anchor::Start, INK);
                }
            }
            let more = format!("{} more changes are not kept", path.more_states);
            let width = (more.len() as f64 * LETTER) as i32;
            if path.more_states > 0 {
                plot.canvas().text(&more, ((end + 4).min(RIGHT - width), middle), Anchor::Start, INK);
            }
        }
    }))
}

fn name(path: &Path) -> String {
    path.address.as_deref().map_or("unknown".to_owned(), visible)
}

const fn colour(state: State) -> (Rgb, f64) {
    match state {
        State::Active => ((0x00, 0x9E, 0x74), 0.25),
        State::PotentiallyFailed => ((0xE6, 0x9F, 0x01), 0.7),
        State::Inactive => ((0xD5, 0x5E, 0x01), 0.8),
        State::Unconfirmed => ((0x56, 0xB4, 0xEA), 0.4),
        State::Other => ((0x88, 0x88, 0x88), 0.5),
    }
}

/// The states of a path, each with its begin and end.
fn spans(path: &Path, axis: Axis) -> Vec<(State, i64, i64)> {
    // If more changes came than are kept, nobody knows how long the last one lasted.
    let last = (path.more_states == 0).then_some(axis.to);
    let ends = path.states.iter().skip(1).map(|(time, _)| *time).chain(last);
    let spans = path.states.iter().zip(ends).map(|((from, state), to)| (*state, *from, to));
    spans.filter(|(_, from, to)| to > from).collect()
}

fn table(association: &Association) -> Table {
    let head = [
        "path",
        "updates with",
        "smallest RTO ms",
        "largest RTO ms",
        "last RTO ms",
        "T3-rtx expiries",
        "HEARTBEAT timeouts",
        "states",
    ];
    let row = |path: &Path| {
        let series = path.series();
        let of = |get: fn(&crate::association::Timeouts) -> Option<f64>| {
            series.iter().filter_map(move |(_, timeouts)| get(timeouts))
        };
        let states = path.states.iter().map(|(time, state)| format!("{} {}", of_day(*time, 1), state.name()));
        let mut states = states.collect::<Vec<_>>().join(", ");
        if path.more_states > 0 {
            states += &format!(", {} changes more", path.more_states);
        }
        vec![
            name(path),
            if path.samples.is_empty() { "intervals" } else { "each update" }.to_owned(),
            cell(of(|t| t.last_ms).reduce(f64::min)),
            cell(of(|t| t.max_ms).reduce(f64::max)),
            cell(of(|t| t.last_ms).last()),
            thousands(path.t3_expiries() as i64),
            thousands(series.iter().map(|(_, t)| t.heartbeat_timeouts).fold(0, u64::saturating_add) as i64),
            states,
        ]
    };
    let mut rows: Vec<_> = association.paths.iter().map(row).collect();
    if association.more_paths > 0 {
        rows.push(vec![format!("{} lines about more paths are left out", association.more_paths)]);
    }
    Table { head: head.map(str::to_owned).to_vec(), rows }
}
