//! Distributions of times (`stats.h`).

use std::time::Duration;

use crate::hist::{BUCKETS, percentiles};

/// Count, sum and extremes of times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dist {
    /// Number of samples.
    pub count: u64,
    /// Their sum.
    pub sum: Duration,
    /// The smallest; `None` where there are no samples.
    pub min: Option<Duration>,
    /// The largest.
    pub max: Option<Duration>,
    /// 50th, 90th and 99th percentile, within 1/32 of their value; `None` without samples, without
    /// a histogram, or after [`Dist::merge`].
    pub percentiles: Option<[Duration; 3]>,
}

impl Dist {
    /// Adds the samples of another one; percentiles do not add up.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = [self.min, other.min].into_iter().flatten().min();
        self.max = [self.max, other.max].into_iter().flatten().max();
        self.percentiles = None;
    }

    /// As the kernel side keeps it, in nanoseconds.
    pub(crate) fn of(count: u64, sum: u64, [min, max]: [u64; 2], hist: Option<&[u32; BUCKETS]>) -> Self {
        let some = count > 0;
        let [min, max] = [min, max].map(Duration::from_nanos);
        Self {
            count,
            sum: Duration::from_nanos(sum),
            min: some.then_some(min),
            max: some.then_some(max),
            percentiles: hist.filter(|_| some).map(|h| percentiles(h).map(|p| p.min(max).max(min))),
        }
    }

    /// The mean; `None` where there are no samples.
    #[must_use]
    pub fn mean_us(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum.as_nanos() as f64 / 1e3 / self.count as f64)
    }
}

/// Count, sum and extremes of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Number of samples.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The smallest; `None` where there are no samples.
    pub min: Option<u64>,
    /// The largest.
    pub max: Option<u64>,
    /// 50th, 90th and 99th percentile, within 1/32 of their value; `None` without samples or histogram.
    pub percentiles: Option<[u64; 3]>,
}

impl Levels {
    /// As the kernel side keeps it. Its histogram has them as if they were microseconds.
    pub(crate) fn of(count: u64, sum: u64, [min, max]: [u64; 2], hist: Option<&[u32; BUCKETS]>) -> Self {
        let some = count > 0;
        let rounded = |p: Duration| ((p.as_nanos() + 500) / 1000) as u64;
        Self {
            count,
            sum,
            min: some.then_some(min),
            max: some.then_some(max),
            percentiles: hist.filter(|_| some).map(|h| percentiles(h).map(|p| rounded(p).min(max).max(min))),
        }
    }

    /// The mean; `None` where there are no samples.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }
}

/// A [`Dist`] of a `struct dist` and perhaps its histogram. Each program has its own skeleton types with the same members:
/// hence a macro.
macro_rules! dist {
    ($dist:expr, $hist:expr) => {{
        let dist = &$dist;
        $crate::dist::Dist::of(dist.count, dist.sum, [dist.min, dist.max], $hist)
    }};
}
pub(crate) use dist;

/// [`Levels`] of a `struct dist` and perhaps its histogram.
macro_rules! levels {
    ($dist:expr, $hist:expr) => {{
        let dist = &$dist;
        $crate::dist::Levels::of(dist.count, dist.sum, [dist.min, dist.max], $hist)
    }};
}
pub(crate) use levels;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Dist {
        let min = values.iter().copied().min().unwrap_or(u64::MAX);
        let max = values.iter().copied().max().unwrap_or(0);
        Dist::of(values.len() as u64, values.iter().sum(), [min, max], None)
    }

    proptest! {
        #[test]
        fn merging_is_as_if_there_had_been_one(
            a in prop::collection::vec(0_u64..1 << 40, 0..50),
            b in prop::collection::vec(0_u64..1 << 40, 0..50),
        ) {
            let mut both = of(&a);
            both.merge(&of(&b));
            prop_assert_eq!(both, of(&[a, b].concat()));
        }
    }

    #[test]
    fn nothing_has_no_mean() {
        assert_eq!(of(&[]).mean_us(), None);
        assert_eq!(of(&[1000, 2000]).mean_us(), Some(1.5));
    }
}
