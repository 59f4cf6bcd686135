//! Percentiles from the kernel side's histograms.

use std::time::Duration;

const MIN_BITS: u32 = 12;
const SUB_BITS: u32 = 4;
/// Buckets of a histogram: 16 per octave, 25 octaves.
pub(crate) const BUCKETS: usize = 25 << SUB_BITS;

/// The histograms of an entry, which `hists.h` has one after the other.
pub(crate) fn each(counts: &[u32]) -> &[[u32; BUCKETS]] {
    counts.as_chunks().0
}

/// 50th, 90th and 99th percentile of a log-linear histogram of times, by the nearest-rank rule, as the middle of their
/// buckets: off by at most 1/32. It has 16 buckets per octave from 4.1 us to 137 s (`bucket_of()` in `stats.h`); what
/// is below or above counts in the first or last one. Zeros where it is empty.
pub(crate) fn percentiles(counts: &[u32; BUCKETS]) -> [Duration; 3] {
    [50, 90, 99].map(|p| percentile(counts, p))
}

fn percentile(counts: &[u32; BUCKETS], p: u64) -> Duration {
    let total: u64 = counts.iter().map(|c| u64::from(*c)).sum();
    let rank = (p * total).div_ceil(100).max(1);
    let mut below = 0;
    let found = counts.iter().position(|count| {
        below += u64::from(*count);
        below >= rank
    });
    found.map(bucket_range).map_or(Duration::ZERO, |(from, to)| Duration::from_nanos(from.midpoint(to)))
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

    fn hist(values: &[u64]) -> [u32; BUCKETS] {
        let mut counts = [0; BUCKETS];
        for v in values {
            counts[bucket_of(*v)] += 1;
        }
        counts
    }

    #[test]
    fn buckets_join_without_gap() {
        for b in 0..BUCKETS - 1 {
            assert_eq!(bucket_range(b).1, bucket_range(b + 1).0);
        }
        assert_eq!(bucket_range(BUCKETS - 1).1, 1 << 37);
    }

    #[test]
    fn empty_has_zeros() {
        assert_eq!(percentiles(&hist(&[])), [Duration::ZERO; 3]);
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
            p in 1_u64..=100,
        ) {
            let got = percentile(&hist(&values), p).as_nanos() as f64;
            values.sort_unstable();
            let rank = (p as usize * values.len()).div_ceil(100).max(1);
            let exact = values[rank - 1] as f64;
            prop_assert!((got - exact).abs() <= exact / 32.0 + 1.0, "{got} for {exact}");
        }
    }
}
