//! Decimal digits of small numbers, made faster than those of numbers of any size.

/// The two digits of each number below 100.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + n as u8 / 10, b'0' + n as u8 % 10];
        n += 1;
    }
    pairs
};

/// The last six digits of a number, with zeros before them if it has fewer.
pub(crate) fn last_six(n: u32) -> [u8; 6] {
    let pair = |n: u32| PAIRS[n as usize % 100];
    let [[a, b], [c, d], [e, f]] = [pair(n / 10_000), pair(n / 100), pair(n)];
    [a, b, c, d, e, f]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_are_those_of_format(n: u32) {
            prop_assert_eq!(last_six(n).to_vec(), format!("{:06}", n % 1_000_000).into_bytes());
        }
    }
}
