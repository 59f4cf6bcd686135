//! What limited the sender, as shares of time.

use crate::{
    association::{Association, LIMITS},
    charts::{
        Chart,
        plot::{Axis, Frame, Key, Scale, cell, columns, slices},
        svg::Rgb,
    },
};

/// Colours of [`LIMITS`]: from the harmless one to the worst, told apart by lightness, too.
const COLOURS: [Rgb; 6] = [
    (0xD0, 0xDC, 0xE8),
    (0xF0, 0xE4, 0x42),
    (0x56, 0xB4, 0xE8),
    (0x00, 0x72, 0xB1),
    (0xD5, 0x5E, 0x02),
    (0x99, 0x99, 0x99),
];

/// Draws the chart of what limited the sender. `period`: length of an interval, in microseconds. `None` without data of
/// `sctp-bufmon`.
pub fn chart(association: &Association, axis: Axis, period: i64) -> Option<Chart> {
    let series = &association.limited;
    if series.iter().all(|(_, limited)| limited.total() <= 0.0) {
        return None;
    }
    let heads = LIMITS.map(|(_, text)| format!("{text} %"));
    let share = |us: f64, total: f64| (total > 0.0).then(|| 100.0 * us / total);
    let table = slices(series, axis, &heads.each_ref().map(String::as_str), |limited| {
        limited.us.iter().map(|us| cell(share(*us, limited.total()))).collect()
    });
    let sums: Vec<f64> = (0..6).map(|n| series.iter().map(|(_, limited)| limited.us[n]).sum()).collect();
    let key = |n: usize| Key::Area(COLOURS[n], 1.0, LIMITS[n].1.to_owned());
    let keys = (0..6).filter(|n| sums[*n] > 0.0).map(key).collect();
    let mut frame = Frame::new(
        "limited",
        "What limited the sender (% of time)".to_owned(),
        Scale::percent(),
        keys,
        table,
    );
    frame.description = "Stacked shares of each interval's time.".to_owned();
    Some(frame.draw(association, axis, |plot| {
        let mut columns = columns(series, |limited| limited.total() as i64);
        // A column ends at the time of its interval's line. But if the association ended before, the measured time is
        // shorter than the interval, and begins where the interval before it ended. So the column is moved to that time.
        for index in 1..columns.len() {
            let before = columns[index - 1].1;
            let (from, to, _) = &mut columns[index];
            if *from > before && *to - before <= period + period / 4 {
                (*from, *to) = (before, before + *to - *from);
            }
        }
        for (limit, rgb) in COLOURS.into_iter().enumerate() {
            let column = |(from, to, limited): &(i64, i64, &crate::association::Limited)| {
                let total = limited.total();
                let up_to = |n: usize| share(limited.us[..n].iter().sum(), total).unwrap_or(0.0);
                (*from, *to, up_to(limit), up_to(limit + 1))
            };
            plot.columns(&columns.iter().map(column).collect::<Vec<_>>(), rgb, 1.0);
        }
    }))
}
