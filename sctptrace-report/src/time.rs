//! Times. Each is in microseconds since 1970-01-01 00:00 UTC, as an `i64`.

use jiff::{Timestamp, civil, tz::TimeZone};

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Parses a time in the format of RFC 3339, as the commands print it. `None` if `text` is not such a time.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

/// The time that `--from` or `--to` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A date and time.
    At(i64),
    /// A time of the day (UTC) of the input's first line, in microseconds since midnight.
    OfDay(i64),
}

impl Bound {
    /// The time. `first` is the time of the input's first line.
    #[must_use]
    pub const fn resolve(self, first: i64) -> i64 {
        match self {
            Self::At(time) => time,
            Self::OfDay(time) => first - first.rem_euclid(DAY) + time,
        }
    }
}

/// Parses what `--from` or `--to` gives. A time without a zone is UTC.
///
/// # Errors
/// Where `text` is neither a time nor a time of the day.
pub fn parse_bound(text: &str) -> Result<Bound, String> {
    if let Some(time) = parse(text) {
        return Ok(Bound::At(time));
    }
    // A date alone parses as the midnight at which it begins.
    if let Ok(time) = text.parse::<civil::DateTime>()
        && let Ok(time) = time.to_zoned(TimeZone::UTC)
    {
        return Ok(Bound::At(time.timestamp().as_microsecond()));
    }
    let time: civil::Time = text.parse().map_err(|_| "neither 2026-01-31T14:20:00Z nor 14:20".to_owned())?;
    let since_midnight = time.duration_since(civil::Time::midnight());
    Ok(Bound::OfDay(i64::try_from(since_midnight.as_micros()).unwrap_or(0)))
}

/// Date and time of day to the millisecond, as `2026-01-01 12:03:53.528`.
#[must_use]
pub fn date_time(time: i64) -> String {
    strftime(time, "%Y-%m-%d %H:%M:%S%.3f")
}

/// Time of day for marks that are `step` microseconds apart: with as many decimals of a second as they need, and without
/// seconds where all marks are on full minutes.
#[must_use]
pub fn of_day(time: i64, step: i64) -> String {
    match step {
        _ if step % (60 * SECOND) == 0 => strftime(time, "%H:%M"),
        _ if step % SECOND == 0 => strftime(time, "%H:%M:%S"),
        _ if step % 100_000 == 0 => strftime(time, "%H:%M:%S%.1f"),
        _ => strftime(time, "%H:%M:%S%.3f"),
    }
}

fn strftime(time: i64, format: &str) -> String {
    Timestamp::from_microsecond(time).map_or_else(|_| "?".to_owned(), |t| t.strftime(format).to_string())
}

/// A length of time in a form for people: `12.3 ms`, `4.5 s`, `2 h 5 min`.
#[must_use]
pub fn length(us: f64) -> String {
    match us {
        _ if us < 1e3 => format!("{us:.0} µs"),
        _ if us < 1e6 => format!("{} ms", figures(us / 1e3)),
        _ if us < 120e6 => format!("{} s", figures(us / 1e6)),
        _ if us < 7200e6 => format!("{:.0} min {:.0} s", (us / 60e6).floor(), us % 60e6 / 1e6),
        _ => format!("{:.0} h {:.0} min", (us / 3600e6).floor(), us % 3600e6 / 60e6),
    }
}

/// A number with about four significant digits; from 10,000 on, with commas between thousands.
#[must_use]
pub fn figures(number: f64) -> String {
    let magnitude = number.abs();
    let text = match magnitude {
        _ if magnitude >= 1e15 => return format!("{number:.3e}"),
        _ if magnitude >= 10_000.0 => return thousands(number.round() as i64),
        _ if magnitude >= 100.0 => format!("{number:.1}"),
        _ if magnitude >= 10.0 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A whole number with commas between thousands.
#[must_use]
pub fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Times to mark on an axis from `from` to `to`, at most `most` of them, and the step between them. They are round times of
/// day.
#[must_use]
pub fn ticks(from: i64, to: i64, most: i64) -> (Vec<i64>, i64) {
    const SECONDS: &[i64] =
        &[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];
    let below = [1, 2, 5, 10, 20, 50, 100, 200, 500].into_iter().map(|ms| ms * 1000);
    let steps = below.chain(SECONDS.iter().map(|seconds| seconds * SECOND));
    let fits = |step: &i64| (to - from) / step < most.max(1);
    let step = steps.into_iter().find(fits).unwrap_or_else(|| ((to - from) / DAY / most.max(1) + 1) * DAY);
    let first = from.div_euclid(step) + i64::from(from.rem_euclid(step) > 0);
    ((first..=to.div_euclid(step)).map(|n| n * step).collect(), step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_times_or_times_of_day() {
        let day = parse("2026-01-01T00:00:00Z").unwrap();
        let hour = 3600 * SECOND;
        for text in
            ["2026-01-01T14:00:00Z", "2026-01-01T15:00:00+01:00", "2026-01-01T14:00", "2026-01-01 14:00:00"]
        {
            assert_eq!(parse_bound(text), Ok(Bound::At(day + 14 * hour)), "{text}");
        }
        for text in ["14:00", "14:00:00"] {
            assert_eq!(parse_bound(text).unwrap().resolve(day + 20 * hour), day + 14 * hour, "{text}");
        }
        assert!(parse_bound("soon").is_err());
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.0004, 1.5, 20.0, 99.999, 123.45, 12_345.6].map(figures);
        assert_eq!(texts, ["0", "0", "1.5", "20", "100", "123.5", "12,346"]);
        assert_eq!(thousands(-1_234_567), "-1,234,567");
        assert_eq!(length(7_500_000.0), "7.5 s");
    }

    #[test]
    fn ticks_are_round_times() {
        let noon = parse("2026-01-01T12:00:00Z").unwrap();
        let (times, step) = ticks(noon + 100, noon + 9 * SECOND, 8);
        assert_eq!(step, 2 * SECOND);
        assert_eq!(times, [2, 4, 6, 8].map(|s| noon + s * SECOND));
        assert_eq!(of_day(times[0], step), "12:00:02");
        assert!(ticks(noon, noon + 40 * DAY, 8).0.len() <= 9);
    }
}
