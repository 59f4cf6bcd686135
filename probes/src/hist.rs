//! Percentiles from the kernel side's histograms.

use std::time::Duration;

const MIN_BITS: u32 = 12;
const SUB_BITS: u32 = 4;
/// Buckets of a histogram: 16 per octave, 25 octaves.
pub(crate) const BUCKETS: usize = 25 << SUB_BITS;

/// A log-linear histogram of times: 16 buckets per octave from 4.1 us to 137 s (`bucket_of()` in `rtt.bpf.c`), so
/// that a percentile is off by at most 1/32 of its value. What is below or above counts in the first or last bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hist {
    counts: Box<[u32; BUCKETS]>,
}

impl Hist {
    pub(crate) fn new(counts: [u32; BUCKETS]) -> Self {
        Self { counts: Box::new(counts) }
    }

    /// What came since `earlier`, a state of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts.clone();
        for (count, before) in counts.iter_mut().zip(earlier.counts.iter()) {
            *count = count.wrapping_sub(*before);
        }
        Self { counts }
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count = count.wrapping_add(*more);
        }
    }

    /// The `p`-th percentile (0 to 100) by the nearest-rank rule, as the middle of its bucket; `None` where there
    /// are no samples. Bound it by the exact minimum and maximum where they are known.
    #[must_use]
    pub fn percentile(&self, p: f64) -> Option<Duration> {
        let total: u64 = self.counts.iter().map(|c| u64::from(*c)).sum();
        let rank = (p / 100.0 * total as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        self.counts.iter().enumerate().find_map(|(bucket, count)| {
            below += u64::from(*count);
            let (from, to) = bucket_range(bucket);
            (below >= rank).then(|| Duration::from_nanos(from.midpoint(to)))
        })
    }
}

/// First nanosecond of a bucket and of the next one.
fn bucket_range(bucket: usize) -> (u64, u64) {
    let start = |b: usize| {
        let (octave, sub) = ((b >> SUB_BITS) as u32, (b & ((1 << SUB_BITS) - 1)) as u64);
        ((1 << SUB_BITS) + sub) << (octave + MIN_BITS - SUB_BITS)
    };
    (if bucket == 0 { 0 } else { start(bucket) }, start(bucket + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `bucket_of()` of the kernel side, word for word.
    fn bucket_of(ns: u64) -> usize {
        if ns < 1 << MIN_BITS {
            return 0;
        }
        let bits = ns.ilog2();
        let bucket = ((bits - MIN_BITS) << SUB_BITS) as usize + ((ns >> (bits - SUB_BITS)) & 15) as usize;
        bucket.min(BUCKETS - 1)
    }

    fn hist(values: &[u64]) -> Hist {
        let mut counts = [0; BUCKETS];
        for v in values {
            counts[bucket_of(*v)] += 1;
        }
        Hist::new(counts)
    }

    #[test]
    fn buckets_join_without_gap() {
        for b in 0..BUCKETS - 1 {
            assert_eq!(bucket_range(b).1, bucket_range(b + 1).0);
        }
        assert_eq!(bucket_range(BUCKETS - 1).1, 1 << 37);
    }

    #[test]
    fn empty_has_no_percentile() {
        assert_eq!(hist(&[]).percentile(50.0), None);
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket(ns in 0_u64..1 << 37) {
            let (from, to) = bucket_range(bucket_of(ns));
            prop_assert!((from..to).contains(&ns));
        }

        #[test]
        fn percentiles_are_within_a_32nd(
            mut values in prop::collection::vec(1_u64 << 12..1 << 37, 1..500),
            p in 0.0..=100.0,
        ) {
            let got = hist(&values).percentile(p).unwrap().as_nanos() as f64;
            values.sort_unstable();
            let rank = ((p / 100.0 * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1] as f64;
            prop_assert!((got - exact).abs() <= exact / 32.0 + 1.0, "{got} for {exact}");
        }

        #[test]
        fn difference_undoes_merge(
            a in prop::collection::vec(0_u64..1 << 37, 0..50),
            b in prop::collection::vec(0_u64..1 << 37, 0..50),
        ) {
            let mut both = hist(&a);
            both.merge(&hist(&b));
            prop_assert_eq!(both.since(&hist(&a)), hist(&b));
        }
    }
}
