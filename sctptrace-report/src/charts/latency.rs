//! Acknowledgement latency, and the round-trip time: that of prompt samples.

use crate::{
    association::Association,
    charts::{
        Chart,
        plot::{Axis, Frame, Key, Scale, cell, gap, slices},
    },
    time::thousands,
};

/// A time; and in milliseconds p50 and p99 of all samples, then of prompt samples.
type Point = (i64, [Option<f64>; 4]);

/// Draws the chart of the acknowledgement latency; `None` without data of `sctp-rtt`.
pub fn chart(association: &Association, axis: Axis) -> Option<Chart> {
    let latency = &association.latency;
    if latency.is_empty() {
        return None;
    }
    let ms = |us: Option<f64>| us.map(|us| us / 1e3);
    let is_exact = latency.has_all_samples() && !latency.samples.is_empty() || latency.intervals.is_empty();
    let (points, gap): (Vec<Point>, i64) = if is_exact {
        let figures = |(time, acks): (i64, &crate::association::Acks)| {
            let of = [acks.all.percentile(0.5), acks.all.percentile(0.99)];
            let prompt = [acks.prompt.percentile(0.5), acks.prompt.percentile(0.99)];
            (time, [of[0], of[1], prompt[0], prompt[1]].map(ms))
        };
        (latency.samples.iter().map(figures).collect(), gap(&latency.samples))
    } else {
        let figures = |(time, f): (i64, &crate::association::AckFigures)| {
            (time, [f.p50(), f.p99, f.prompt_p50(), f.prompt_p99].map(ms))
        };
        (latency.intervals.iter().map(figures).collect(), gap(&latency.intervals))
    };
    let table = if is_exact {
        slices(
            &latency.samples,
            axis,
            &["samples", "p50 ms", "p99 ms", "max ms", "prompt samples", "prompt p50 ms", "prompt p99 ms"],
            |acks| {
                vec![
                    thousands(acks.all.count() as i64),
                    cell(ms(acks.all.percentile(0.5))),
                    cell(ms(acks.all.percentile(0.99))),
                    cell(ms(acks.all.max())),
                    thousands(acks.prompt.count() as i64),
                    cell(ms(acks.prompt.percentile(0.5))),
                    cell(ms(acks.prompt.percentile(0.99))),
                ]
            },
        )
    } else {
        slices(
            &latency.intervals,
            axis,
            &[
                "samples",
                "mean of p50 ms",
                "largest p99 ms",
                "max ms",
                "prompt samples",
                "mean of prompt p50 ms",
                "largest prompt p99 ms",
            ],
            |f| {
                vec![
                    thousands(f.samples as i64),
                    cell(ms(f.p50())),
                    cell(ms(f.p99)),
                    cell(ms(f.max)),
                    thousands(f.prompt_samples as i64),
                    cell(ms(f.prompt_p50())),
                    cell(ms(f.prompt_p99)),
                ]
            },
        )
    };
    let names = ["p50", "p99", "prompt p50 (round-trip time)", "prompt p99"];
    let has = |series: usize| points.iter().any(|(_, values)| values[series].is_some());
    let keys = (0..4).filter(|n| has(*n)).map(|n| Key::Line(n, names[n].to_owned())).collect();
    let scale = Scale::fitting(points.iter().flat_map(|(_, values)| values.iter().flatten().copied()));
    let mut frame = Frame::new("latency", "Acknowledgement latency (ms)".to_owned(), scale, keys, table);
    frame.has_stalls = true;
    frame.description = if is_exact {
        "Median and 99th percentile of the samples, at most 5 % off; all paths together.".to_owned()
    } else {
        "By the figures of intervals: mean of their medians, and the largest of their 99th percentiles; all paths together."
            .to_owned()
    };
    Some(frame.draw(association, axis, |plot| {
        for series in (0..4).rev() {
            let line = points.iter().filter_map(|(time, values)| Some((*time, values[series]?)));
            plot.line(line, gap, series);
        }
    }))
}
