//! Distributions of times and of other values (`struct dist` of `stats.h`).

use std::time::Duration;

use crate::{
    hist::{BUCKETS, percentiles},
    raw,
};

/// Count, sum, extremes and percentiles of times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DurationDist {
    /// Number of samples.
    pub count: u64,
    /// Sum of the samples.
    pub sum: Duration,
    /// Smallest sample; `None` where there are no samples.
    pub min: Option<Duration>,
    /// Largest sample; `None` where there are no samples.
    pub max: Option<Duration>,
    /// 50th, 90th and 99th percentile: from 4.1 us on within 1/32 of their value, from 137 s on within 1/8.
    /// `None` without samples, without a histogram, or after [`DurationDist::merge`].
    pub percentiles: Option<[Duration; 3]>,
}

impl DurationDist {
    /// Adds the samples of another distribution. Percentiles do not add up: they become `None`.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = [self.min, other.min].into_iter().flatten().min();
        self.max = [self.max, other.max].into_iter().flatten().max();
        self.percentiles = None;
    }

    /// Converts the kernel side's distribution of nanoseconds. Percentiles come from `hist`, its histogram.
    pub(crate) fn new<Count: Copy + Into<u64>>(dist: &raw::Dist, hist: Option<&[Count; BUCKETS]>) -> Self {
        let some = dist.count > 0;
        let [min, max] = [dist.min, dist.max].map(Duration::from_nanos);
        Self {
            count: dist.count,
            sum: Duration::from_nanos(dist.sum),
            min: some.then_some(min),
            max: some.then_some(max),
            percentiles: hist.filter(|_| some).map(|h| percentiles(h).map(|p| p.min(max).max(min))),
        }
    }

    /// The mean in microseconds; `None` if there are no samples.
    #[must_use]
    pub fn mean_us(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum.as_nanos() as f64 / 1e3 / self.count as f64)
    }
}

/// Count, sum, extremes and percentiles of samples that are not times (bytes, ppm).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueDist {
    /// Number of samples.
    pub count: u64,
    /// Sum of the samples.
    pub sum: u64,
    /// Smallest sample; `None` where there are no samples.
    pub min: Option<u64>,
    /// Largest sample; `None` where there are no samples.
    pub max: Option<u64>,
    /// 50th, 90th and 99th percentile: from 5 on within 1/32 of their value (and rounded), from 137 million
    /// on within 1/8. `None` without samples, or without a histogram.
    pub percentiles: Option<[u64; 3]>,
}

impl ValueDist {
    /// Converts the kernel side's distribution of numbers. Percentiles come from `hist`, its histogram, which
    /// counts 1 as 1 us.
    pub(crate) fn new<Count: Copy + Into<u64>>(dist: &raw::Dist, hist: Option<&[Count; BUCKETS]>) -> Self {
        let raw::Dist { count, sum, min, max } = *dist;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> DurationDist {
        let min = values.iter().copied().min().unwrap_or(u64::MAX);
        let max = values.iter().copied().max().unwrap_or(0);
        let dist = raw::Dist { count: values.len() as u64, sum: values.iter().sum(), min, max };
        DurationDist::new::<u64>(&dist, None)
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
