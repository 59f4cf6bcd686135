//! Streams as a heat map: how much each carried, and when.

use std::collections::BTreeMap;

use crate::{
    association::{Association, OTHER_STREAMS, StreamBytes},
    charts::{
        Chart, Table,
        plot::{Axis, Frame, Key, LEFT, Scale, columns},
        svg::{Anchor, INK, Rgb},
    },
    time::thousands,
};

/// At most this many streams have a row. One more row has all other streams.
const MOST_ROWS: usize = 16;
/// Height of a row in pixels.
const ROW: i32 = 16;
/// The largest number of columns.
const MOST_COLUMNS: i64 = 60;
const HOT: Rgb = (0x00, 0x72, 0xB3);
/// How dark a cell is, from little to much.
const SHADES: [f64; 5] = [0.12, 0.3, 0.5, 0.75, 1.0];

/// Draws the heat map of streams. `period`: length of an interval, in microseconds. `None` without data of
/// `sctp-streamutil`.
pub fn chart(association: &Association, axis: Axis, period: i64) -> Option<Chart> {
    let streams = &association.streams;
    let mut whole = StreamBytes::default();
    streams.bytes.iter().for_each(|(_, bytes)| crate::bins::Bucket::merge(&mut whole, bytes));
    if whole.0.is_empty() {
        return None;
    }
    // The rows: the streams with the most bytes, in order of their numbers; then all others together.
    let mut by_bytes: Vec<(u8, u64)> =
        whole.0.iter().copied().filter(|(slot, _)| *slot != OTHER_STREAMS).collect();
    by_bytes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    by_bytes.truncate(MOST_ROWS);
    by_bytes.sort_by_key(|(slot, _)| streams.ids.get(usize::from(*slot)));
    let row_of = |slot: u8| by_bytes.iter().position(|(known, _)| *known == slot).unwrap_or(by_bytes.len());
    let mut names: Vec<String> = by_bytes
        .iter()
        .filter_map(|(slot, _)| streams.ids.get(usize::from(*slot)))
        .map(u32::to_string)
        .collect();
    let others: u64 = whole
        .0
        .iter()
        .filter(|(slot, _)| row_of(*slot) == by_bytes.len())
        .fold(0, |sum, (_, b)| sum.saturating_add(*b));
    if others > 0 {
        names.push("others".to_owned());
    }

    // The cells: bytes per second, by row and column.
    let columns = columns(&streams.bytes, |_| period);
    let longest = columns.iter().map(|(from, to, _)| to - from).max().unwrap_or(1);
    let width = longest.max((axis.to - axis.from) / MOST_COLUMNS).max(1);
    let last = columns.last().map_or(axis.to, |(_, to, _)| *to);
    let mut cells: BTreeMap<(usize, i64), u64> = BTreeMap::new();
    for (from, to, bytes) in &columns {
        // Columns are counted back from the last one, so that intervals and columns fall together.
        let column = (last - (from + to) / 2) / width;
        for (slot, bytes) in &bytes.0 {
            let cell = cells.entry((row_of(*slot), column)).or_default();
            *cell = cell.saturating_add(*bytes);
        }
    }
    // The other streams together would make each single one pale.
    let single = cells.iter().filter(|((row, _), _)| *row < by_bytes.len()).map(|(_, bytes)| *bytes);
    let most = single.max().or_else(|| cells.values().copied().max()).unwrap_or(1).max(1);

    let mut rows: Vec<Vec<String>> = Vec::new();
    let total: f64 = whole.0.iter().map(|(_, bytes)| *bytes as f64).sum();
    for (index, name) in names.iter().enumerate() {
        let bytes = by_bytes.get(index).map_or(others, |(_, bytes)| *bytes);
        rows.push(vec![
            name.clone(),
            thousands(bytes as i64),
            format!("{:.1}", 100.0 * bytes as f64 / total),
        ]);
    }
    let head = ["stream", "bytes", "% of all"].map(str::to_owned).to_vec();
    // How long the only interval was is not known.
    let (unit, per) =
        if period > 0 { ("bytes/s", 1e6 / width as f64) } else { ("bytes in the interval", 1.0) };
    let keys = [1, 3, 5].map(|n: usize| {
        let bytes = thousands((most as f64 * n as f64 / 5.0 * per) as i64);
        Key::Area(HOT, SHADES[n - 1], format!("up to {bytes} {unit}"))
    });
    let mut frame = Frame::new(
        "streams",
        "Streams: user data by stream number".to_owned(),
        Scale::percent(),
        keys.into(),
        Table { head, rows },
    );
    frame.description = "Heat map: a row for each stream, darker where it carried more.".to_owned();
    frame.height = Some(ROW * names.len() as i32);
    frame.has_values = false;
    Some(frame.draw(association, axis, |plot| {
        for (row, name) in names.iter().enumerate() {
            let middle = plot.top + ROW * row as i32 + ROW / 2;
            plot.canvas().text(name, (LEFT - 6, middle), Anchor::End, INK);
        }
        let shade_of = |bytes: u64| (bytes.div_ceil(most.div_ceil(5)) as usize).clamp(1, 5) - 1;
        let mut cells = cells.iter().filter(|(_, bytes)| **bytes > 0).peekable();
        while let Some(((row, first), bytes)) = cells.next() {
            let shade = shade_of(*bytes);
            // Neighbours of the same shade are one rectangle.
            let mut column = *first;
            while let Some(((_, next), _)) =
                cells.next_if(|((r, next), b)| r == row && *next == column + 1 && shade_of(**b) == shade)
            {
                column = *next;
            }
            let [left, right] = [last - (column + 1) * width, last - first * width].map(|time| axis.x(time));
            let top = plot.top + ROW * *row as i32;
            plot.canvas().rectangle(
                [(left, top + 1), (right.max(left + 1), top + ROW - 1)],
                HOT,
                SHADES[shade],
            );
        }
    }))
}
