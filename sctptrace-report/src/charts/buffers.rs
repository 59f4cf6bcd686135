//! Use of the buffers.

use crate::{
    association::Association,
    charts::{
        Chart,
        figures::{Figure, table_and_keys},
        plot::{Axis, Frame, Scale, gap},
    },
};

/// Draws the chart of how full the buffers were; `None` without data of `sctp-bufmon`.
pub fn chart(association: &Association, axis: Axis) -> Option<Chart> {
    const FIGURES: [Figure; 2] =
        [("send buffer, largest", |b| b.util_pct), ("receive buffer, largest", |b| b.recv_util_pct)];
    let series = &association.buffers;
    let (table, keys) = table_and_keys(association, axis, &FIGURES, " %")?;
    // A buffer may hold more than its size: the kernel looks before it adds.
    let values = series.iter().flat_map(|(_, b)| [b.util_pct, b.recv_util_pct]).flatten();
    let most = values.fold(100.0, f64::max);
    let scale = if most > 100.0 { Scale::linear([most]) } else { Scale::percent() };
    let mut frame = Frame::new("buffers", "Use of the buffers (%)".to_owned(), scale, keys, table);
    frame.description = "The largest use in each interval. Stalls are shaded.".to_owned();
    frame.has_stalls = true;
    Some(frame.draw(association, axis, |plot| {
        for (index, (_, get)) in FIGURES.iter().enumerate().rev() {
            plot.line(series.iter().filter_map(|(time, b)| Some((time, get(b)?))), gap(series), index);
        }
    }))
}
