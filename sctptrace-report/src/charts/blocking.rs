//! Head-of-line blocking.

use crate::{
    association::Association,
    charts::{
        Chart,
        plot::{Axis, Frame, Key, Scale, cell, columns, slices},
        svg::Rgb,
    },
    time::{length, thousands},
};

const BLOCKED: Rgb = (0xCC, 0x79, 0xA8);

/// Draws the chart of head-of-line blocking. `period`: length of an interval, in microseconds. `None` without data of
/// `sctp-streamutil`, or if nothing was blocked.
pub fn chart(association: &Association, axis: Axis, period: i64) -> Option<Chart> {
    let series = &association.blocking;
    if series.iter().all(|(_, blocking)| blocking.messages == 0) {
        return None;
    }
    let table = slices(series, axis, &["messages that waited", "waited together, ms"], |blocking| {
        vec![thousands(blocking.messages as i64), cell(Some(blocking.wait_us / 1e3))]
    });
    let scale = Scale::linear(series.iter().map(|(_, blocking)| blocking.wait_us / 1e3));
    let keys = vec![Key::Area(BLOCKED, 0.8, "time that messages waited, all together".to_owned())];
    // The chart shows sums over this length of time.
    let step = match period {
        0 => "interval".to_owned(),
        _ => length(period.max(series.width()) as f64),
    };
    let title = format!("Head-of-line blocking (ms in each {step})");
    let mut frame = Frame::new("blocking", title, scale, keys, table);
    frame.description =
        "How long messages that had arrived waited for an earlier one of their stream, all together."
            .to_owned();
    Some(frame.draw(association, axis, |plot| {
        let columns = columns(series, |_| period);
        let column =
            |(from, to, b): &(i64, i64, &crate::association::Blocking)| (*from, *to, 0.0, b.wait_us / 1e3);
        let waits = columns.iter().filter(|(_, _, b)| b.messages > 0).map(column);
        plot.columns(&waits.collect::<Vec<_>>(), BLOCKED, 0.8);
    }))
}
