//! Buckets of time: what happened in equal lengths of time, in bounded memory.

/// Length of the first buckets, in microseconds. Doubled, it becomes 0.25, 0.5, 1, 2 s and so on.
pub const FIRST_WIDTH: i64 = 15_625;

/// Largest number of buckets of one series, if there are few associations.
pub const MOST_BUCKETS: usize = 512;

/// A series keeps at least this many buckets, even if memory is short.
pub const FEWEST_BUCKETS: usize = 8;

/// What a bucket holds.
pub trait Bucket: Default {
    /// Adds what happened in the bucket after this one.
    fn merge(&mut self, next: &Self);

    /// Bytes on the heap.
    fn heap(&self) -> usize {
        0
    }
}

impl Bucket for u64 {
    fn merge(&mut self, next: &Self) {
        *self += next;
    }
}

/// What happened over time, in buckets. When the time from the first bucket to the last is too long for the number of
/// buckets, buckets are merged in pairs, until it is not.
#[derive(Debug)]
pub struct Series<T> {
    /// Length of a bucket in microseconds.
    width: i64,
    /// The largest number of buckets.
    most: usize,
    /// Buckets in order of time, each with its number: its begin divided by the width. Times in which nothing happened have
    /// none.
    buckets: Vec<(i64, T)>,
}

impl<T> Default for Series<T> {
    fn default() -> Self {
        Self { width: FIRST_WIDTH, most: MOST_BUCKETS, buckets: Vec::new() }
    }
}

impl<T: Bucket> Series<T> {
    /// Returns the bucket of `time`, which is made if there is none.
    pub fn at(&mut self, time: i64) -> &mut T {
        loop {
            let number = time.div_euclid(self.width);
            let first = self.buckets.first().map_or(number, |(first, _)| number.min(*first));
            let last = self.buckets.last().map_or(number, |(last, _)| number.max(*last));
            if last - first < self.most as i64 {
                let found = match self.buckets.last() {
                    Some((last, _)) if *last == number => Ok(self.buckets.len() - 1),
                    Some((last, _)) if *last < number => Err(self.buckets.len()),
                    _ => self.buckets.binary_search_by_key(&number, |(number, _)| *number),
                };
                let index = found.unwrap_or_else(|index| {
                    self.buckets.insert(index, (number, T::default()));
                    index
                });
                return &mut self.buckets[index].1;
            }
            self.double();
        }
    }

    /// Makes each bucket twice as long.
    fn double(&mut self) {
        self.width *= 2;
        let mut merged: Vec<(i64, T)> = Vec::with_capacity(self.buckets.len() / 2 + 1);
        for (number, bucket) in self.buckets.drain(..) {
            let number = number.div_euclid(2);
            match merged.last_mut() {
                Some((last, kept)) if *last == number => kept.merge(&bucket),
                _ => merged.push((number, bucket)),
            }
        }
        self.buckets = merged;
    }

    /// Reduces the number of buckets to at most `most`.
    pub fn limit(&mut self, most: usize) {
        self.most = self.most.min(most.max(1));
        while let (Some((first, _)), Some((last, _))) = (self.buckets.first(), self.buckets.last())
            && last - first >= self.most as i64
        {
            self.double();
        }
    }

    /// Bytes on the heap that the buckets take.
    #[must_use]
    pub fn heap(&self) -> usize {
        let buckets: usize = self.buckets.iter().map(|(_, bucket)| bucket.heap()).sum();
        self.buckets.capacity() * size_of::<(i64, T)>() + buckets
    }

    /// The buckets in order of time, each with the time of its middle. The time is exact to half of [`Series::width`].
    pub fn iter(&self) -> impl Iterator<Item = (i64, &T)> {
        self.buckets.iter().map(|(number, bucket)| (number * self.width + self.width / 2, bucket))
    }

    /// Length of a bucket in microseconds.
    #[must_use]
    pub const fn width(&self) -> i64 {
        self.width
    }

    /// Number of buckets.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether the series has no bucket.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn a_time_is_in_its_bucket() {
        let mut series = Series::<u64>::default();
        for time in [5_000_000, 1_000_000, 1_000_001, -1] {
            *series.at(time) += 1;
        }
        assert_eq!(series.width(), FIRST_WIDTH);
        let buckets: Vec<_> = series.iter().map(|(middle, count)| (middle, *count)).collect();
        assert_eq!(buckets, [(-7813, 1), (1_007_812, 2), (5_007_812, 1)]);
    }

    #[test]
    fn an_hour_takes_buckets_of_eight_seconds() {
        let mut series = Series::<u64>::default();
        (0..3600).for_each(|second| *series.at(1_767_268_800_000_000 + second * 1_000_000) += 1);
        assert_eq!((series.width(), series.len()), (8_000_000, 450));
        assert!(series.iter().all(|(_, count)| *count == 8));
    }

    proptest! {
        #[test]
        fn counts_are_kept_and_buckets_bounded(
            times in vec(-1_000_000_000_000_i64..2_000_000_000_000_000, 1..400),
            most in 1_usize..600,
        ) {
            let mut series = Series::<u64>::default();
            times.iter().for_each(|time| *series.at(*time) += 1);
            prop_assert!(series.len() <= MOST_BUCKETS);
            series.limit(most);
            prop_assert!(series.len() <= most.min(MOST_BUCKETS));
            prop_assert_eq!(series.iter().map(|(_, count)| *count).sum::<u64>(), times.len() as u64);
            // Each time is in the bucket around it.
            let half = series.width() / 2 + 1;
            let middles: Vec<i64> = series.iter().map(|(middle, _)| middle).collect();
            prop_assert!(middles.is_sorted());
            for time in times {
                prop_assert!(middles.iter().any(|middle| (middle - time).abs() <= half));
            }
        }
    }
}
