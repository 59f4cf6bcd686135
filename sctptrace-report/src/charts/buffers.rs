//! Use of the buffers.

use crate::{
    association::{Association, Buffers},
    charts::{
        Chart,
        plot::{Axis, Frame, Key, Scale, cell, gap, slices},
        svg::WRONG,
    },
};

/// Gets a figure of a bucket.
type Get = fn(&Buffers) -> Option<f64>;

/// The chart; `None` without data of `sctp-bufmon`.
pub fn chart(association: &Association, axis: Axis) -> Option<Chart> {
    const SERIES: [(&str, Get); 2] =
        [("send buffer", |b| b.util_pct), ("receive buffer", |b| b.recv_util_pct)];
    let series = &association.buffers;
    let has = |get: Get| series.iter().any(|(_, buffers)| get(buffers).is_some());
    if !SERIES.iter().any(|(_, get)| has(*get)) {
        return None;
    }
    let table = slices(series, axis, &["send buffer, largest %", "receive buffer, largest %"], |buffers| {
        vec![cell(buffers.util_pct), cell(buffers.recv_util_pct)]
    });
    let mut keys: Vec<Key> = Vec::new();
    for (index, (name, get)) in SERIES.iter().enumerate() {
        if has(*get) {
            keys.push(Key::Line(index, format!("{name}, largest")));
        }
    }
    if !association.stalls.is_empty() {
        keys.push(Key::Area(WRONG, 0.18, "stall".to_owned()));
    }
    // A buffer may hold more than its size: the kernel looks before it adds.
    let values = series.iter().flat_map(|(_, b)| [b.util_pct, b.recv_util_pct]).flatten();
    let most = values.fold(100.0, f64::max);
    let scale = if most > 100.0 { Scale::linear([most]) } else { Scale::percent() };
    let mut frame = Frame::new("buffers", "Use of the buffers (%)".to_owned(), scale, keys, table);
    frame.description = "The largest use in each interval. Stalls are shaded.".to_owned();
    frame.has_stalls = true;
    Some(frame.draw(association, axis, |plot| {
        for (index, (_, get)) in SERIES.iter().enumerate().rev() {
            plot.line(series.iter().filter_map(|(time, b)| Some((time, get(b)?))), gap(series), index);
        }
    }))
}
