//! Windows, and the data that waits for them.

use crate::{
    association::Association,
    charts::{
        Chart,
        figures::{Figure, table_and_keys},
        plot::{Axis, Frame, Scale, gap},
    },
};

/// Draws the chart of windows and of data that waits for them; `None` without data of `sctp-bufmon`.
pub fn chart(association: &Association, axis: Axis) -> Option<Chart> {
    const FIGURES: [Figure; 4] = [
        ("peer's window, smallest", |b| b.rwnd),
        ("never sent yet, most", |b| b.outqueue),
        ("in flight, most", |b| b.in_flight),
        ("own window, smallest", |b| b.own_rwnd),
    ];
    let series = &association.buffers;
    let (table, keys) = table_and_keys(association, axis, &FIGURES, " (bytes)")?;
    let kilobytes = |bytes: f64| bytes / 1e3;
    let values = series.iter().flat_map(|(_, b)| FIGURES.map(|(_, get)| get(b))).flatten().map(kilobytes);
    let scale = Scale::linear(values);
    let mut frame = Frame::new("windows", "Windows and waiting data (kB)".to_owned(), scale, keys, table);
    frame.description =
        "The smallest windows, and the most data, of each interval. Stalls are shaded.".to_owned();
    frame.has_stalls = true;
    Some(frame.draw(association, axis, |plot| {
        for (index, (_, get)) in FIGURES.iter().enumerate().rev() {
            let points = series.iter().filter_map(|(time, b)| Some((time, kilobytes(get(b)?))));
            plot.line(points, gap(series), index);
        }
    }))
}
