//! `--live`: one screen on a terminal, redrawn at each interval, with the worst rows first.
//!
//! A command names the columns that its screen shows ([`Shown`]); their definitions are those of all other output.
//! [`table`] picks the worst rows of an interval, [`layout`] makes lines of them (both pure), [`screen`] makes a frame
//! of the lines, and [`terminal`] has the terminal's state.
//!
//! This takes no more than two ioctls of `rustix`, which is among our dependencies anyway, and ten control sequences
//! that every terminal of today knows. The crate `crossterm` would bring code for input, which a screen without keys
//! does not need, and makes system calls that a confined process may not make.

mod layout;
mod screen;
mod table;
pub(crate) mod terminal;
#[cfg(test)]
mod tests;

pub(crate) use layout::{Head, Size, lost};
pub(crate) use screen::Screen;
pub(crate) use table::{Picker, Table};
pub(crate) use terminal::Terminal;

/// What a command's screen shows of its rows. The names are those of the columns in JSON and `-x`.
pub struct Shown {
    /// The columns, from left to right. What matters most comes first: a narrow screen cuts the rest.
    pub columns: &'static [&'static str],
    /// The columns by which rows are sorted, the worst rows first. Rows that are equal in one column are sorted by the
    /// next.
    pub worst: &'static [&'static str],
    /// The columns in which the lowest value is the worst. In the others the highest is.
    pub low: &'static [&'static str],
}
