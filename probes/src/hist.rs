//! Percentiles, and histograms by powers of two, from the kernel side's log-linear histograms.

use std::{ops::RangeInclusive, time::Duration};

const MIN_BITS: u32 = 12;
const SUB_BITS: u32 = 4;
/// Number of fine buckets: 16 for each of 25 octaves. Five octaves of four coarse buckets each come after
/// them.
const FINE: usize = 25 << SUB_BITS;
const COARSE_SUB_BITS: u32 = 2;
/// Number of buckets of a kernel-side histogram.
pub(crate) const BUCKETS: usize = FINE + (5 << COARSE_SUB_BITS);

/// Number of rows of a [`Histogram`]: enough for values of 32 bits, and for the largest bucket in
/// microseconds.
const ROWS: usize = 32;

/// 50th, 90th and 99th percentile of a log-linear histogram of times: each is the middle of the bucket that
/// the nearest-rank rule finds. With 16 buckets per octave, from 4.1 us to 137 s, it is off by at most 1/32;
/// with four, from there to 73 min, by 1/8 (`bucket_of()` in `stats.h`). Times below or above all buckets
/// count in the first or last one. Zeros if the histogram is empty.
pub(crate) fn percentiles<Count: Copy + Into<u64>>(counts: &[Count; BUCKETS]) -> [Duration; 3] {
    [50, 90, 99].map(|p| percentile(counts, p))
}

fn percentile<Count: Copy + Into<u64>>(counts: &[Count; BUCKETS], p: u64) -> Duration {
    let total: u128 = counts.iter().map(|count| u128::from((*count).into())).sum();
    let rank = (u128::from(p) * total).div_ceil(100).max(1);
    let mut below = 0;
    let found = counts.iter().position(|count| {
        below += u128::from((*count).into());
        below >= rank
    });
    found.map(bucket_range).map_or(Duration::ZERO, |(from, to)| Duration::from_nanos(from.midpoint(to)))
}

/// The first nanosecond of a bucket, and the first of the next bucket.
fn bucket_range(bucket: usize) -> (u64, u64) {
    let start = |bucket: usize| {
        let (bucket, sub_bits, first) = match bucket.checked_sub(FINE) {
            None => (bucket, SUB_BITS, MIN_BITS),
            Some(coarse) => (coarse, COARSE_SUB_BITS, MIN_BITS + (FINE >> SUB_BITS) as u32),
        };
        let (octave, sub) = ((bucket >> sub_bits) as u32, (bucket & ((1 << sub_bits) - 1)) as u64);
        ((1 << sub_bits) + sub) << (octave + first - sub_bits)
    };
    (if bucket == 0 { 0 } else { start(bucket) }, start(bucket + 1))
}

/// Number of octaves in [`Octaves`].
const OCTAVES: usize = 30;
const _: () = assert!(OCTAVES == (FINE >> SUB_BITS) + ((BUCKETS - FINE) >> COARSE_SUB_BITS));

/// A kernel-side histogram of times by octaves, whose edges are powers of two of nanoseconds, and edges of the
/// kernel's buckets. The counts are of 32 bits, and wrap: only differences count ([`Octaves::since`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Octaves([u32; OCTAVES]);

impl Octaves {
    /// The smallest and the largest edge are two to these powers. (The first bucket reaches beyond the edge before.)
    pub const EDGES: RangeInclusive<u32> = MIN_BITS + 1..=MIN_BITS + OCTAVES as u32 - 1;

    /// Adds up the buckets of a kernel-side histogram.
    pub(crate) fn of(buckets: &[u32; BUCKETS]) -> Self {
        let (fine, coarse) = buckets.split_at(FINE);
        let octaves = fine.chunks_exact(1 << SUB_BITS).chain(coarse.chunks_exact(1 << COARSE_SUB_BITS));
        let mut sums = [0; OCTAVES];
        for (sum, octave) in sums.iter_mut().zip(octaves) {
            *sum = octave.iter().fold(0, |sum: u32, count| sum.wrapping_add(*count));
        }
        Self(sums)
    }

    /// Octaves in which each of these times, in nanoseconds, counts once.
    #[must_use]
    pub fn of_times(times: &[u64]) -> Self {
        let mut counts = [0; OCTAVES];
        for ns in times {
            counts[(bits(*ns).saturating_sub(MIN_BITS + 1) as usize).min(OCTAVES - 1)] += 1;
        }
        Self(counts)
    }

    /// Returns, for each octave, the number of times that came since `before`: fewer than 2^32. The first octave has all
    /// times below the smallest edge, the last one all from the largest edge on.
    pub fn since(&self, before: &Self) -> impl Iterator<Item = u64> + use<> {
        self.0.into_iter().zip(before.0).map(|(now, before)| now.wrapping_sub(before).into())
    }
}

/// Counts of values by powers of two: the first row begins at 0, and each further row is one octave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// The first row ends below two to this power.
    first: u32,
    counts: [u64; ROWS],
}

impl Histogram {
    /// Makes rows, in units of `unit_ns` nanoseconds, of the buckets of a log-linear histogram. A bucket
    /// counts in the row of its middle: so a row may have values that are up to 1/32 (from 137 s on, 1/8)
    /// outside its range. The first bucket, which has all values that are too small for the others, counts in
    /// the first row.
    pub(crate) fn of<Count: Copy + Into<u64>>(buckets: &[Count; BUCKETS], unit_ns: u64) -> Self {
        let first = bits(bucket_range(0).1 / unit_ns).saturating_sub(1).max(1);
        let mut counts = [0; ROWS];
        let counts_of = buckets.iter().map(|count| (*count).into());
        for (bucket, count) in counts_of.enumerate().filter(|(_, count)| *count > 0) {
            let (from, to) = bucket_range(bucket);
            let row = if bucket == 0 { 0 } else { bits(from.midpoint(to) / unit_ns).saturating_sub(first) };
            counts[row as usize] += count;
        }
        Self { first, counts }
    }

    /// Makes rows of `by_bits`, which has the number of values that have 0 bits, 1 bit, 2 bits and so on.
    pub(crate) fn of_bits(by_bits: &[u32]) -> Self {
        let mut counts = [0; ROWS];
        for (bits, count) in by_bits.iter().enumerate() {
            counts[bits.saturating_sub(1).min(ROWS - 1)] += u64::from(*count);
        }
        Self { first: 1, counts }
    }

    /// Adds the counts of another histogram, which has to be of the same unit.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
    }

    /// For each row its smallest value, its largest value, and its count, up to the last row that has a
    /// count.
    pub fn rows(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let rows = self.counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        self.counts.iter().take(rows).zip(self.first..).map(move |(count, end)| {
            let low = if end == self.first { 0 } else { 1 << (end - 1) };
            (low, (1 << end) - 1, *count)
        })
    }
}

/// Number of bits of a value without leading zeros; 0 for 0.
fn bits(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Computes the bucket as the kernel side's `bucket_of()` does.
    fn bucket_of(ns: u64) -> usize {
        if ns < 1 << MIN_BITS {
            return 0;
        }
        let bits = ns.ilog2();
        if bits >= 37 {
            let bucket = FINE + ((bits - 37) << 2) as usize + ((ns >> (bits - 2)) & 3) as usize;
            return bucket.min(BUCKETS - 1);
        }
        ((bits - MIN_BITS) << SUB_BITS) as usize + ((ns >> (bits - SUB_BITS)) & 15) as usize
    }

    fn hist(values: &[u64]) -> [u64; BUCKETS] {
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
        assert_eq!(bucket_range(FINE).0, 1 << 37);
        assert_eq!(bucket_range(BUCKETS - 1).1, 1 << 42);
    }

    #[test]
    fn empty_has_zeros() {
        assert_eq!(percentiles(&hist(&[])), [Duration::ZERO; 3]);
    }

    #[test]
    fn rows_are_powers_of_two() {
        let rows = |values: &[u64], unit| Histogram::of(&hist(values), unit).rows().collect::<Vec<_>>();
        assert_eq!(rows(&[], 1000), []);
        assert_eq!(rows(&[0, 3_999, 4_400, 7_800, 8_000], 1000), [(0, 3, 2), (4, 7, 2), (8, 15, 1)]);
        assert_eq!(rows(&[900_000, 2_100_000], 1_000_000), [(0, 1, 1), (2, 3, 1)]);
        let sizes: Vec<_> = Histogram::of_bits(&[1, 2, 0, 5]).rows().collect();
        assert_eq!(sizes, [(0, 1, 3), (2, 3, 0), (4, 7, 5)]);
    }

    proptest! {
        #[test]
        fn every_value_is_in_its_row_or_just_below(
            values in prop::collection::vec(0_u64..1 << 37, 1..50),
            unit in prop::sample::select(vec![1000_u64, 1_000_000, 10_000_000]),
        ) {
            let histogram = Histogram::of(&hist(&values), unit);
            prop_assert_eq!(histogram.rows().map(|(_, _, n)| n).sum::<u64>(), values.len() as u64);
            for (low, high, count) in histogram.rows() {
                let fits = |v: &&u64| {
                    let value = **v as f64 / unit as f64;
                    value >= low as f64 * (1.0 - 1.0 / 32.0) && value < (high + 1) as f64 * (1.0 + 1.0 / 32.0)
                };
                prop_assert!(values.iter().filter(fits).count() as u64 >= count, "{low} {high} {count}");
            }
        }

        /// Below each edge are as many as there are times below it, whatever the counts were before.
        #[test]
        fn octaves_have_exact_edges(
            values in prop::collection::vec(prop_oneof![0_u64..1 << 14, 0_u64..1 << 42], 0..50),
            before: u32,
        ) {
            let mut buckets = [before; BUCKETS];
            values.iter().for_each(|ns| buckets[bucket_of(*ns)] = buckets[bucket_of(*ns)].wrapping_add(1));
            let (now, before) = (Octaves::of(&buckets), Octaves::of(&[before; BUCKETS]));
            let counts: Vec<_> = now.since(&before).collect();
            prop_assert_eq!(&Octaves::of_times(&values).since(&Octaves::default()).collect::<Vec<_>>(), &counts);
            for (octave, edge) in Octaves::EDGES.enumerate() {
                let below = values.iter().filter(|ns| **ns < 1 << edge).count() as u64;
                prop_assert_eq!(counts[..=octave].iter().sum::<u64>(), below, "2^{}", edge);
            }
            prop_assert_eq!(counts.iter().sum::<u64>(), values.len() as u64);
        }

        #[test]
        fn a_value_lies_in_its_bucket(ns in prop_oneof![0_u64..1 << 37, 0_u64..1 << 42]) {
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

        #[test]
        fn percentiles_of_up_to_an_hour_are_within_an_8th(ns in 1_u64 << 37..3_600_000_000_001, p in 1_u64..=100) {
            let got = percentile(&hist(&[ns]), p).as_nanos() as f64;
            prop_assert!((got - ns as f64).abs() <= ns as f64 / 8.0, "{got} for {ns}");
        }
    }
}
