//! Distributions in bounded memory.

use crate::bins::Bucket;

/// Bins of an octave. A bin is 9 % wide, so a percentile is at most 4.5 % off.
const PER_OCTAVE: f64 = 8.0;

/// How often values came, by their logarithm.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Bins with a value in them, in order: number and count.
    bins: Vec<(u8, u32)>,
    count: u64,
    min: f64,
    max: f64,
}

impl Histogram {
    /// Adds a value of at least 0. Percentiles do not tell values above 3.6e9 apart (in microseconds, an hour).
    pub fn add(&mut self, value: f64) {
        let bin = if value < 1.0 { 0 } else { (1.0 + value.log2() * PER_OCTAVE).min(255.0) as u8 };
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        self.add_to_bin(bin, 1);
    }

    fn add_to_bin(&mut self, bin: u8, count: u32) {
        match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(index) => self.bins[index].1 = self.bins[index].1.saturating_add(count),
            Err(index) => self.bins.insert(index, (bin, count)),
        }
    }

    /// Number of values.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The largest value, exactly; `None` if there is none.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The percentile `part` (0 to 1): this part of all values is not above it. At most 4.5 % off; `None` if there are
    /// no values.
    #[must_use]
    pub fn percentile(&self, part: f64) -> Option<f64> {
        let rank = (part * self.count as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        for (bin, count) in &self.bins {
            below += u64::from(*count);
            if below >= rank {
                let middle = if *bin == 0 { 0.5 } else { ((f64::from(*bin) - 0.5) / PER_OCTAVE).exp2() };
                return Some(middle.clamp(self.min, self.max));
            }
        }
        None
    }
}

impl Bucket for Histogram {
    fn merge(&mut self, next: &Self) {
        if next.count == 0 {
            return;
        }
        self.min = if self.count == 0 { next.min } else { self.min.min(next.min) };
        self.max = self.max.max(next.max);
        self.count += next.count;
        next.bins.iter().for_each(|(bin, count)| self.add_to_bin(*bin, *count));
    }

    fn heap(&self) -> usize {
        self.bins.capacity() * size_of::<(u8, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn percentiles_are_near(values in vec(1.0..1e9_f64, 1..300), part in 0.01..1.0_f64, cut in 0_usize..300) {
            let cut = cut.min(values.len());
            let mut whole = Histogram::default();
            let mut rest = Histogram::default();
            values[..cut].iter().for_each(|value| whole.add(*value));
            values[cut..].iter().for_each(|value| rest.add(*value));
            whole.merge(&rest);

            let mut sorted = values;
            sorted.sort_by(f64::total_cmp);
            let rank = (part * sorted.len() as f64).ceil() as usize;
            let exact = sorted[rank.max(1) - 1];
            let near = whole.percentile(part).unwrap();
            prop_assert!((near / exact - 1.0).abs() < 0.046, "{near} for {exact}");
            prop_assert_eq!(whole.max(), sorted.last().copied());
            prop_assert_eq!(whole.count(), sorted.len() as u64);
        }
    }
}
