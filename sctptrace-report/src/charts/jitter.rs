//! Jitter of arrivals.

use crate::{
    association::Association,
    charts::{
        Chart,
        plot::{Axis, Frame, Key, Scale, cell, gap, slices},
    },
};

/// Draws the chart of the jitter; `None` without data of `sctp-jitter`.
pub fn chart(association: &Association, axis: Axis) -> Option<Chart> {
    let series = &association.jitter;
    if series.is_empty() {
        return None;
    }
    let ms = |us: Option<f64>| us.map(|us| us / 1e3);
    let table = slices(series, axis, &["largest jitter ms", "mean jitter ms"], |jitter| {
        vec![cell(ms(jitter.max)), cell(ms(jitter.mean()))]
    });
    let keys =
        vec![Key::Line(0, "stream with the most".to_owned()), Key::Line(1, "mean of the streams".to_owned())];
    let scale = Scale::fitting(series.iter().flat_map(|(_, j)| [ms(j.max), ms(j.mean())]).flatten());
    let mut frame = Frame::new("jitter", "Jitter of arrivals (ms)".to_owned(), scale, keys, table);
    frame.description = "Jitter at the end of each interval.".to_owned();
    Some(frame.draw(association, axis, |plot| {
        plot.line(series.iter().filter_map(|(time, j)| Some((time, ms(j.mean())?))), gap(series), 1);
        plot.line(series.iter().filter_map(|(time, j)| Some((time, ms(j.max)?))), gap(series), 0);
    }))
}
