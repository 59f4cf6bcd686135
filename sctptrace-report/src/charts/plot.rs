//! Axes, lines and areas: what all charts have in common.

use crate::{
    association::Association,
    bins::{Bucket, Series},
    charts::{
        Chart, Table,
        svg::{self, Anchor, Canvas, GRID, INK, LETTER, MARK, Rgb, STROKES, WIDTH, WRONG},
    },
    time,
};

/// Left end of the axis of time, in pixels.
pub const LEFT: i32 = 70;
/// Right end of the axis of time, in pixels.
pub const RIGHT: i32 = WIDTH - 14;
/// Height of the title and of the legend, in pixels each.
const BAND: i32 = 18;
/// Height of the plot itself.
const PLOT: i32 = 120;
/// Height of the labels of the axis of time.
const LABELS: i32 = 18;
/// Rows of a table of numbers, besides that of the whole time.
const SLICES: i64 = 12;

/// The axis of time, which all charts of an association share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Begin of the time that the axis shows.
    pub from: i64,
    /// End of the time that the axis shows; later than its begin.
    pub to: i64,
}

impl Axis {
    /// Makes an axis from the first of these times to the last, and a little further on both sides.
    #[must_use]
    pub const fn around([first, last]: [i64; 2]) -> Self {
        let margin = if last - first > 100_000 { (last - first) / 50 } else { 50_000 };
        Self { from: first - margin, to: last + margin }
    }

    /// The pixel of a time. A time beyond an end of the axis has the pixel of that end.
    #[must_use]
    pub fn x(&self, time: i64) -> i32 {
        let time = time.clamp(self.from, self.to);
        let part = (time - self.from) as f64 / (self.to - self.from) as f64;
        LEFT + (part * f64::from(RIGHT - LEFT)).round() as i32
    }

    /// The number of the slice that has `time`, if the axis is cut into [`SLICES`] equal slices.
    fn slice(&self, time: i64) -> usize {
        ((time - self.from) * SLICES / (self.to - self.from)).clamp(0, SLICES - 1) as usize
    }
}

/// The axis of values.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    min: f64,
    max: f64,
    is_log: bool,
}

impl Scale {
    /// Makes a linear scale from 0 to the largest of the values.
    pub fn linear(values: impl IntoIterator<Item = f64>) -> Self {
        let max = values.into_iter().fold(0.0, f64::max);
        Self { min: 0.0, max: if max > 0.0 { max * 1.08 } else { 1.0 }, is_log: false }
    }

    /// Makes a linear scale, as [`Self::linear`] does, or a logarithmic one if the values are of different magnitudes.
    pub fn fitting(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().filter(|value| *value > 0.0).collect();
        let max = values.iter().copied().fold(0.0, f64::max);
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        if max > min * 20.0 {
            return Self { min: min * 0.8, max: max * 1.3, is_log: true };
        }
        Self::linear(values)
    }

    /// A linear scale from 0 to 100 %.
    #[must_use]
    pub const fn percent() -> Self {
        Self { min: 0.0, max: 100.0, is_log: false }
    }

    fn part(&self, value: f64) -> f64 {
        let part = if self.is_log {
            (value.max(self.min) / self.min).ln() / (self.max / self.min).ln()
        } else {
            (value - self.min) / (self.max - self.min)
        };
        part.clamp(0.0, 1.0)
    }

    /// The values at which the scale has marks: about four, all of them round.
    fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let decades = (self.max / self.min).log10();
            let steps: &[f64] = if decades < 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let low = self.min.log10().floor() as i32;
            let every = (decades / 5.0).ceil().max(1.0) as usize;
            let powers = (low..=low + decades.ceil() as i32 + 1).step_by(every);
            let ticks = powers.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
            return ticks.filter(|tick| (self.min..=self.max).contains(tick)).collect();
        }
        let rough = self.max / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..).map(|n| f64::from(n) * step).take_while(|tick| *tick <= self.max * 1.0001).collect()
    }
}

/// An entry of a legend.
pub enum Key {
    /// A line of the stroke with this index.
    Line(usize, String),
    /// An area of this colour.
    Area(Rgb, f64, String),
    /// A triangle: [`Plot::triangle`].
    Triangle(Rgb, String),
    /// A cross: [`Plot::cross`].
    Cross(Rgb, String),
}

/// A chart while it is drawn.
pub struct Plot<'a, 'b> {
    canvas: &'a Canvas<'b>,
    /// Axis of time.
    pub axis: Axis,
    scale: Scale,
    /// First row of pixels of the plot.
    pub top: i32,
    /// Last row of pixels of the plot.
    pub bottom: i32,
}

/// The parts of a chart around its lines: title, scale, legend and table.
pub struct Frame {
    /// Name in ids and names of files.
    pub name: &'static str,
    /// Title with unit.
    pub title: String,
    /// What the chart shows, in words, for people who cannot see it.
    pub description: String,
    /// Axis of values.
    pub scale: Scale,
    /// Legend.
    pub keys: Vec<Key>,
    /// Pixels between the plot and the labels of the axis of time.
    pub lanes: i32,
    /// Height of the plot, if it is not the usual one.
    pub height: Option<i32>,
    /// Whether the axis of values has marks.
    pub has_values: bool,
    /// Whether the times of stalls are shaded.
    pub has_stalls: bool,
    /// The numbers that the chart shows.
    pub table: Table,
}

impl Frame {
    /// Makes a frame with these members, and with defaults for the others.
    #[must_use]
    pub const fn new(name: &'static str, title: String, scale: Scale, keys: Vec<Key>, table: Table) -> Self {
        Self {
            name,
            title,
            description: String::new(),
            scale,
            keys,
            lanes: 0,
            height: None,
            has_values: true,
            has_stalls: false,
            table,
        }
    }

    /// Draws the frame, then what `inside` draws, then marks where the association began, restarted and ended.
    #[must_use]
    pub fn draw(self, association: &Association, axis: Axis, inside: impl FnOnce(&Plot<'_, '_>)) -> Chart {
        let rows = legend_rows(&self.keys);
        let top = BAND * (1 + rows.len() as i32) + 4;
        let bottom = top + self.height.unwrap_or(PLOT);
        let height = bottom + self.lanes + LABELS;
        let body = svg::draw(height, |canvas| {
            let plot = Plot { canvas, axis, scale: self.scale, top, bottom };
            canvas.text(&self.title, (2, BAND / 2), Anchor::Start, INK);
            for (row, keys) in rows.iter().enumerate() {
                keys.iter().for_each(|(x, key)| plot.legend(*x, BAND * (row as i32 + 1) + BAND / 2, key));
            }
            if self.has_values {
                plot.values();
            }
            plot.times(bottom + self.lanes);
            if self.has_stalls {
                plot.stalls(association);
            }
            inside(&plot);
            canvas.line(vec![(LEFT, top), (LEFT, bottom), (RIGHT, bottom)], INK, 1);
            for event in &association.events {
                let x = axis.x(event.time);
                canvas.line(vec![(x, top), (x, bottom + self.lanes)], MARK, 1);
            }
        });
        let Scale { min, max, is_log } = self.scale;
        let attributes = format!(
            " data-from=\"{}\" data-to=\"{}\" data-left=\"{LEFT}\" data-right=\"{RIGHT}\" data-top=\"{top}\" \
             data-bottom=\"{bottom}\" data-min=\"{min}\" data-max=\"{max}\" data-log=\"{is_log}\"",
            axis.from, axis.to
        );
        Chart {
            name: self.name,
            title: self.title,
            description: self.description,
            body,
            attributes,
            table: self.table,
        }
    }
}

/// Pixels that an entry of a legend takes.
fn key_width(key: &Key) -> i32 {
    let (Key::Line(_, text) | Key::Area(_, _, text) | Key::Triangle(_, text) | Key::Cross(_, text)) = key;
    44 + (text.chars().count() as f64 * LETTER) as i32
}

/// The legend in rows: each entry with its left end.
fn legend_rows(keys: &[Key]) -> Vec<Vec<(i32, &Key)>> {
    let mut rows: Vec<Vec<(i32, &Key)>> = Vec::new();
    let mut x = WIDTH;
    for key in keys {
        if x + key_width(key) > RIGHT {
            rows.push(Vec::new());
            x = LEFT;
        }
        rows.last_mut().into_iter().for_each(|row| row.push((x, key)));
        x += key_width(key);
    }
    rows
}

impl<'b> Plot<'_, 'b> {
    /// The canvas on which the plot is drawn.
    #[must_use]
    pub const fn canvas(&self) -> &Canvas<'b> {
        self.canvas
    }

    /// The pixel of a value.
    #[must_use]
    pub fn y(&self, value: f64) -> i32 {
        self.bottom - (self.scale.part(value) * f64::from(self.bottom - self.top)).round() as i32
    }

    fn legend(&self, x: i32, y: i32, key: &Key) {
        let (Key::Line(_, text) | Key::Area(_, _, text) | Key::Triangle(_, text) | Key::Cross(_, text)) = key;
        match key {
            Key::Line(stroke, _) => self.canvas.line(vec![(x, y), (x + 24, y)], STROKES[*stroke].rgb, 2),
            Key::Area(rgb, opacity, _) => {
                self.canvas.rectangle([(x + 8, y - 5), (x + 24, y + 5)], *rgb, *opacity);
            }
            Key::Triangle(rgb, _) => self.triangle_at((x + 18, y), *rgb),
            Key::Cross(rgb, _) => self.cross_at((x + 18, y), *rgb),
        }
        self.canvas.text(text, (x + 29, y), Anchor::Start, INK);
    }

    fn values(&self) {
        for tick in self.scale.ticks() {
            let y = self.y(tick);
            self.canvas.line(vec![(LEFT, y), (RIGHT, y)], GRID, 1);
            self.canvas.text(&time::figures(tick), (LEFT - 6, y), Anchor::End, INK);
        }
    }

    fn times(&self, bottom: i32) {
        let (ticks, step) = time::ticks(self.axis.from, self.axis.to, 9);
        for tick in ticks {
            let x = self.axis.x(tick);
            self.canvas.line(vec![(x, self.top), (x, bottom + 3)], GRID, 1);
            let text = time::of_day(tick, step);
            // Half of the text has to fit at the right.
            let half = (text.len() as f64 * LETTER / 2.0) as i32;
            self.canvas.text(&text, (x.min(WIDTH - half), bottom + 10), Anchor::Middle, INK);
        }
    }

    fn stalls(&self, association: &Association) {
        for stall in &association.stalls {
            let [left, right] = [stall.begin, stall.end()].map(|time| self.axis.x(time));
            self.canvas.rectangle([(left, self.top), (right.max(left + 1), self.bottom)], WRONG, 0.18);
        }
    }

    /// Draws a line through points. The line is interrupted where two points are further apart than `gap`.
    pub fn line(&self, points: impl IntoIterator<Item = (i64, f64)>, gap: i64, stroke: usize) {
        let rgb = STROKES[stroke].rgb;
        let mut part: Vec<(i32, i32)> = Vec::new();
        let mut last = i64::MIN;
        let end = |part: &mut Vec<(i32, i32)>| match std::mem::take(part) {
            part if part.len() == 1 => self.canvas.dot(part[0], rgb),
            part if part.is_empty() => {}
            part => self.canvas.line(part, rgb, 2),
        };
        for (time, value) in points {
            if last != i64::MIN && time - last > gap {
                end(&mut part);
            }
            part.push((self.axis.x(time), self.y(value)));
            last = time;
        }
        end(&mut part);
    }

    /// Draws a line that keeps a value until the next one. Each point is `(time, largest, last)`: values of a bucket.
    pub fn steps(&self, points: impl IntoIterator<Item = (i64, f64, f64)>, stroke: usize) {
        let mut line: Vec<(i32, i32)> = Vec::new();
        for (time, max, last) in points {
            let x = self.axis.x(time);
            if let Some((_, before)) = line.last().copied() {
                line.push((x, before));
            }
            line.extend([(x, self.y(max)), (x, self.y(last))]);
        }
        line.dedup();
        // Of three points at the same height, the middle one is left out.
        let mut kept: Vec<(i32, i32)> = Vec::with_capacity(line.len());
        for point in line {
            if let [.., (_, a), (_, b)] = kept[..]
                && a == b
                && b == point.1
            {
                kept.pop();
            }
            kept.push(point);
        }
        match kept[..] {
            [] => {}
            [only] => self.canvas.dot(only, STROKES[stroke].rgb),
            _ => self.canvas.line(kept, STROKES[stroke].rgb, 2),
        }
    }

    /// Draws columns as filled areas. Each column is `(from, to, low, high)`. Columns that touch become one polygon.
    pub fn columns(&self, columns: &[(i64, i64, f64, f64)], rgb: Rgb, opacity: f64) {
        let mut rest = columns;
        while !rest.is_empty() {
            let together =
                rest.windows(2).take_while(|pair| self.axis.x(pair[0].1) >= self.axis.x(pair[1].0));
            let (these, others) = rest.split_at(together.count() + 1);
            let side = |(from, to, value): (i64, i64, f64)| {
                let y = self.y(value);
                [(self.axis.x(from), y), (self.axis.x(to).max(self.axis.x(from) + 1), y)]
            };
            let high = these.iter().flat_map(|(from, to, _, high)| side((*from, *to, *high)));
            let low = these.iter().rev().flat_map(|(from, to, low, _)| {
                let [a, b] = side((*from, *to, *low));
                [b, a]
            });
            let has_height = these.iter().any(|(_, _, low, high)| self.y(*high) < self.y(*low));
            let mut points: Vec<_> = high.chain(low).collect();
            points.dedup();
            if has_height {
                self.canvas.polygon(points, rgb, opacity);
            }
            rest = others;
        }
    }

    /// Draws a triangle at the top of the plot.
    pub fn triangle(&self, time: i64, rgb: Rgb) {
        self.triangle_at((self.axis.x(time), self.top + 5), rgb);
    }

    fn triangle_at(&self, (x, y): (i32, i32), rgb: Rgb) {
        self.canvas.polygon(vec![(x - 5, y - 5), (x + 5, y - 5), (x, y + 5)], rgb, 1.0);
    }

    /// Draws a cross, lower than [`Plot::triangle`] draws.
    pub fn cross(&self, time: i64, rgb: Rgb) {
        self.cross_at((self.axis.x(time), self.top + 17), rgb);
    }

    fn cross_at(&self, (x, y): (i32, i32), rgb: Rgb) {
        self.canvas.line(vec![(x - 4, y - 4), (x + 4, y + 4)], rgb, 2);
        self.canvas.line(vec![(x - 4, y + 4), (x + 4, y - 4)], rgb, 2);
    }
}

/// The usual time between two buckets of a series: the median.
pub fn step<T: Bucket>(series: &Series<T>) -> i64 {
    let times: Vec<i64> = series.iter().map(|(time, _)| time).collect();
    let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or(series.width())
}

/// A line is interrupted where two points are further apart than this.
pub fn gap<T: Bucket>(series: &Series<T>) -> i64 {
    (3 * step(series)).max(4 * series.width())
}

/// The buckets as columns: `(from, to, bucket)`. The figures of an interval are about the time before its line;
/// `length` returns that time in microseconds. Columns do not overlap. Small gaps, which come from inexact times, are
/// closed.
pub fn columns<T: Bucket>(series: &Series<T>, length: impl Fn(&T) -> i64) -> Vec<(i64, i64, &T)> {
    let width = series.width();
    let mut columns: Vec<(i64, i64, &T)> = Vec::with_capacity(series.len());
    for (time, bucket) in series.iter() {
        let length = length(bucket);
        let (from, to) =
            if length >= 2 * width { (time - length, time) } else { (time - width / 2, time + width / 2) };
        let before = columns.last().map(|(_, to, _)| *to).filter(|before| from - before < (to - from) / 4);
        columns.push((before.unwrap_or(from), to, bucket));
    }
    columns
}

/// A table of numbers: the whole time, then equal slices of the axis, without slices in which nothing happened. `cells`
/// makes the cells of a row from the merged buckets.
pub fn slices<T: Bucket>(
    series: &Series<T>,
    axis: Axis,
    head: &[&str],
    cells: impl Fn(&T) -> Vec<String>,
) -> Table {
    let mut whole = T::default();
    let mut parts: Vec<Option<T>> = (0..SLICES).map(|_| None).collect();
    for (time, bucket) in series.iter() {
        whole.merge(bucket);
        parts[axis.slice(time)].get_or_insert_default().merge(bucket);
    }
    let length = (axis.to - axis.from) / SLICES;
    let row = |label: String, bucket: &T| [vec![label], cells(bucket)].concat();
    let mut rows = vec![row("whole time".to_owned(), &whole)];
    for (index, part) in parts.iter().enumerate() {
        if let Some(part) = part {
            let begin = axis.from + length * index as i64;
            rows.push(row(format!("from {}", time::of_day(begin, 1)), part));
        }
    }
    Table { head: [&["time"], head].concat().into_iter().map(str::to_owned).collect(), rows }
}

/// A cell of a table: a number, or that it was not measured.
#[must_use]
pub fn cell(number: Option<f64>) -> String {
    number.map_or("–".to_owned(), time::figures)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn each_scale_has_some_marks(values in vec(1e-3..1e9_f64, 1..20)) {
            for scale in [Scale::linear(values.iter().copied()), Scale::fitting(values.iter().copied())] {
                let ticks = scale.ticks();
                prop_assert!((2..=9).contains(&ticks.len()), "{scale:?}: {ticks:?}");
                prop_assert!(ticks.iter().all(|tick| (0.0..=1.0).contains(&scale.part(*tick))));
                prop_assert!(values.iter().all(|value| scale.part(*value) < 1.0));
            }
        }

        #[test]
        fn times_are_on_the_axis(first in 0..4_000_000_000_000_000_i64, length in 0..100_000_000_000_000_i64, part in 0.0..1.0_f64) {
            let axis = Axis::around([first, first + length]);
            let x = axis.x(first + (length as f64 * part) as i64);
            prop_assert!((LEFT..=RIGHT).contains(&x));
            prop_assert!(axis.slice(first) < SLICES as usize && axis.slice(first + length) < SLICES as usize);
        }
    }

    #[test]
    fn columns_do_not_overlap_and_small_gaps_are_closed() {
        let mut series = Series::<u64>::default();
        // Intervals of a second, whose lines come some milliseconds early or late.
        [1_000_000, 2_020_000, 2_990_000, 6_000_000].iter().for_each(|time| *series.at(*time) += 1);
        let columns: Vec<_> =
            columns(&series, |_| 1_000_000).iter().map(|(from, to, _)| (*from, *to)).collect();
        assert_eq!(columns[1].0, columns[0].1);
        assert_eq!(columns[2].0, columns[1].1);
        assert_eq!(columns[3].1 - columns[3].0, 1_000_000);
    }
}
