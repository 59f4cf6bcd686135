//! What a program is to keep beside totals: the bits of `wants` (`stats.h`).

/// Statistics of each interval too.
pub(crate) const WINDOWS: u32 = 1;
/// Histograms, and what else a program has for `-x`.
pub(crate) const EXTENDED: u32 = 2;
/// One ring buffer record per event.
pub(crate) const EVENTS: u32 = 4;
/// Histograms of the lengths of messages.
pub(crate) const SIZES: u32 = 8;

/// The bits of what is wanted.
pub(crate) fn bits(all: &[(u32, bool)]) -> u32 {
    all.iter().filter(|(_, wanted)| *wanted).map(|(bit, _)| bit).sum()
}
