//! Draws histograms as text for a terminal, in the layout of BCC's `print_log2_hist()`.

use anyhow::Result;
use probes::Histogram;

use crate::Out;

/// Number of stars in the longest line of a histogram.
const STARS: u64 = 40;

/// Draws a histogram under the line `title:`. `unit`: the unit of the values, such as `usecs`. Draws nothing
/// if the histogram is empty.
///
/// # Errors
/// Where the output cannot be written.
pub fn draw(out: &mut Out, title: &str, unit: &str, histogram: &Histogram) -> Result<()> {
    let rows: Vec<_> = histogram.rows().collect();
    let Some(most) = rows.iter().map(|(_, _, count)| *count).max() else { return Ok(()) };
    out.text("")?;
    out.text(&format!("{title}:"))?;
    out.text(&format!("     {unit:<19} : count     distribution"))?;
    rows.iter().try_for_each(|row| out.text(&line(*row, most)))
}

fn line((low, high, count): (u64, u64, u64), most: u64) -> String {
    let stars = "*".repeat((u128::from(count) * u128::from(STARS) / u128::from(most.max(1))) as usize);
    format!("{low:>10} -> {high:<10} : {count:<8} |{stars:<40}|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bccs() {
        // From the man page of BCC's biolatency.
        assert_eq!(
            line((16, 31, 1743), 3485),
            "        16 -> 31         : 1743     |********************                    |"
        );
        assert_eq!(
            line((0, 1, 0), 7),
            "         0 -> 1          : 0        |                                        |"
        );
        assert_eq!(line((2, 3, u64::MAX), u64::MAX).matches('*').count(), 40);
    }
}
