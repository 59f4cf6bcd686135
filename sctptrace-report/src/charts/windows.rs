//! Windows, and the data that waits for them.

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
    const SERIES: [(&str, Get); 4] = [
        ("peer's window, smallest", |b| b.rwnd),
        ("never sent yet, most", |b| b.outqueue),
        ("in flight, most", |b| b.in_flight),
        ("own window, smallest", |b| b.own_rwnd),
    ];
    let series = &association.buffers;
    let has = |get: Get| series.iter().any(|(_, buffers)| get(buffers).is_some());
    if !SERIES.iter().any(|(_, get)| has(*get)) {
        return None;
    }
    let heads = SERIES.map(|(name, _)| format!("{name} (bytes)"));
    let table = slices(series, axis, &heads.each_ref().map(String::as_str), |buffers| {
        SERIES.iter().map(|(_, get)| cell(get(buffers))).collect()
    });
    let mut keys: Vec<Key> = Vec::new();
    for (index, (name, get)) in SERIES.iter().enumerate() {
        if has(*get) {
            keys.push(Key::Line(index, (*name).to_owned()));
        }
    }
    if !association.stalls.is_empty() {
        keys.push(Key::Area(WRONG, 0.18, "stall".to_owned()));
    }
    let kilobytes = |bytes: f64| bytes / 1e3;
    let values = series.iter().flat_map(|(_, b)| SERIES.map(|(_, get)| get(b))).flatten().map(kilobytes);
    let scale = Scale::linear(values);
    let mut frame = Frame::new("windows", "Windows and waiting data (kB)".to_owned(), scale, keys, table);
    frame.description =
        "The smallest windows, and the most data, of each interval. Stalls are shaded.".to_owned();
    frame.has_stalls = true;
    Some(frame.draw(association, axis, |plot| {
        for (index, (_, get)) in SERIES.iter().enumerate().rev() {
            let points = series.iter().filter_map(|(time, b)| Some((time, kilobytes(get(b)?))));
            plot.line(points, gap(series), index);
        }
    }))
}
