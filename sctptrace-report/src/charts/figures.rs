//! Figures of `sctp-bufmon` that are drawn as lines: what the charts of buffers and of windows have in common.

use crate::{
    association::{Association, Buffers},
    charts::{
        Table,
        plot::{Axis, Key, cell, slices},
        svg::WRONG,
    },
};

/// A figure's name, and the function that reads it from a bucket.
pub type Figure = (&'static str, fn(&Buffers) -> Option<f64>);

/// The table and the keys for a chart of these figures; `None` if none of the figures was measured. `unit` follows each
/// name in the table.
pub fn table_and_keys(
    association: &Association,
    axis: Axis,
    figures: &[Figure],
    unit: &str,
) -> Option<(Table, Vec<Key>)> {
    let series = &association.buffers;
    let is_measured = |(_, get): &Figure| series.iter().any(|(_, buffers)| get(buffers).is_some());
    let lines = figures.iter().enumerate().filter(|(_, figure)| is_measured(figure));
    let mut keys: Vec<_> = lines.map(|(index, (name, _))| Key::Line(index, (*name).to_owned())).collect();
    if keys.is_empty() {
        return None;
    }
    if !association.stalls.is_empty() {
        keys.push(Key::Area(WRONG, 0.18, "stall".to_owned()));
    }
    let heads: Vec<_> = figures.iter().map(|(name, _)| format!("{name}{unit}")).collect();
    let heads: Vec<_> = heads.iter().map(String::as_str).collect();
    let table =
        slices(series, axis, &heads, |buffers| figures.iter().map(|(_, get)| cell(get(buffers))).collect());
    Some((table, keys))
}
