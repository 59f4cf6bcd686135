//! Times of day for events that the kernel side stamps by `CLOCK_MONOTONIC`.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use probes::kernel;

use crate::digits::last_six;

/// Turns times of `CLOCK_MONOTONIC`, by which the kernel side stamps events, into times of day. Callers make
/// a new `Clock` for each batch of events, so that a step of the system clock shows in the next batch.
pub struct Clock {
    offset_ns: i128,
    now: Timestamp,
}

impl Clock {
    /// Reads the system clock and `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn now() -> Self {
        let now = Timestamp::now();
        Self { offset_ns: now.as_nanosecond() - kernel::now().as_nanos() as i128, now }
    }

    /// The moment at which this `Clock` was made, in the format of RFC 3339, in UTC with microseconds.
    #[must_use]
    pub fn rfc3339_now(&self) -> String {
        format!("{:.6}", self.now)
    }

    /// The time of day at the moment `at` of `CLOCK_MONOTONIC`, in the format of RFC 3339, in UTC with microseconds.
    fn rfc3339(&self, at: Duration) -> String {
        format!("{:.6}", self.timestamp(at))
    }

    /// The time of day at the moment `at` of `CLOCK_MONOTONIC`, as `HH:MM:SS` in `zone`.
    #[must_use]
    pub fn time_of_day(&self, at: Duration, zone: &TimeZone) -> String {
        self.timestamp(at).to_zoned(zone.clone()).strftime("%H:%M:%S").to_string()
    }

    fn timestamp(&self, at: Duration) -> Timestamp {
        Timestamp::from_nanosecond(at.as_nanos() as i128 + self.offset_ns).unwrap_or(self.now)
    }
}

/// Local times of day for a batch of events. Many of these are in the same second: the last text is kept and
/// used again.
pub struct TimesOfDay<'a> {
    clock: &'a Clock,
    zone: &'a TimeZone,
    second: u64,
    text: String,
}

impl<'a> TimesOfDay<'a> {
    /// Times of day by `clock`, in `zone`.
    #[must_use]
    pub fn new(clock: &'a Clock, zone: &'a TimeZone) -> Self {
        Self { clock, zone, second: u64::MAX, text: String::new() }
    }

    /// The time of day at the moment `at` of `CLOCK_MONOTONIC`, as `HH:MM:SS`. The text is made anew only
    /// when `at` is in another second of `CLOCK_MONOTONIC`. Seconds of the two clocks need not begin
    /// together, so the text may be one second off.
    pub fn of(&mut self, at: Duration) -> &str {
        if self.second != at.as_secs() {
            self.second = at.as_secs();
            self.text = self.clock.time_of_day(at, self.zone);
        }
        &self.text
    }
}

/// Times of events in the format of RFC 3339, in UTC with microseconds. Many events are in the same second: its text is
/// kept and used again.
#[derive(Default)]
pub(crate) struct Times {
    /// The second of the last time, since 1970; `None` if that was out of range.
    second: Option<i64>,
    text: Vec<u8>,
}

impl Times {
    /// The time of day by `clock` at the moment `at` of `CLOCK_MONOTONIC`.
    pub(crate) fn of(&mut self, clock: &Clock, at: Duration) -> &[u8] {
        let since_1970 = i64::try_from(at.as_nanos() as i128 + clock.offset_ns).ok().filter(|ns| *ns >= 0);
        let second = since_1970.map(|ns| ns / NS_PER_S);
        let known = since_1970.filter(|_| second == self.second);
        match known.zip(self.text.last_chunk_mut::<7>()) {
            Some((ns, end)) => {
                let [a, b, c, d, e, f] = last_six((ns % NS_PER_S / 1000) as u32);
                *end = [a, b, c, d, e, f, b'Z'];
            }
            None => {
                self.second = second;
                self.text = clock.rfc3339(at).into_bytes();
            }
        }
        &self.text
    }
}

const NS_PER_S: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_are_those_of_the_clock(
            offset_s in 0..4_000_000_000_i64,
            moments in proptest::collection::vec(prop_oneof![0..3_000_000_000_u64, any::<u64>()], 1..9),
        ) {
            let clock = Clock { offset_ns: i128::from(offset_s) * 1_000_000_123, now: Timestamp::UNIX_EPOCH };
            let mut times = Times::default();
            for at in moments.into_iter().map(Duration::from_nanos) {
                prop_assert_eq!(times.of(&clock, at).to_vec(), clock.rfc3339(at).into_bytes());
            }
        }
    }

    #[test]
    fn a_moment_of_monotonic_is_a_time_of_day() {
        let clock = Clock { offset_ns: 1_000_000_000_000_000_000, now: Timestamp::UNIX_EPOCH };
        let at = Duration::from_nanos(1_500_000_000);
        assert_eq!(clock.rfc3339(at), "2001-09-09T01:46:41.500000Z");
        assert_eq!(clock.time_of_day(at, &TimeZone::UTC), "01:46:41");
        assert_eq!(clock.time_of_day(at, &TimeZone::fixed(jiff::tz::offset(2))), "03:46:41");
    }
}
