//! Makes frames: the bytes that draw a screen.

use std::{env, fmt::Write as _};

use super::{
    Head, Size, Table,
    layout::{Stress, lines},
};

/// The size that is used where a terminal does not report its own.
pub(crate) const USUAL: Size = Size { width: 80, height: 24 };

/// Moves the cursor to the first line and column.
const HOME: &str = "\x1b[H";
/// Erases from the cursor to the end of the line.
const ERASE_LINE: &str = "\x1b[K";
/// Erases from the cursor to the end of the screen.
const ERASE_REST: &str = "\x1b[J";
/// The sequence that ends bold type and colours.
const PLAIN: &str = "\x1b[0m";

/// Makes frames for a screen of a size, with colours or without.
pub(crate) struct Screen {
    pub(crate) size: Size,
    colour: bool,
    /// Number of frames that were not drawn, as the terminal was slow.
    pub(crate) skipped: u64,
}

impl Screen {
    /// A screen of the usual size. It has colours, unless the environment has a `NO_COLOR` that is not empty
    /// (no-color.org).
    pub(crate) fn new() -> Self {
        Self::with_colour(env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    pub(crate) fn with_colour(colour: bool) -> Self {
        Self { size: USUAL, colour, skipped: 0 }
    }

    /// The bytes that draw a screen over the last one. Each line overwrites the old one, so that nothing flickers.
    pub(crate) fn frame(&self, head: &Head, findings: &[String], table: &Table) -> String {
        let mut frame = HOME.to_owned();
        for (n, line) in lines(head, findings, table, self.size).iter().enumerate() {
            let stress = self.stress(line.stress);
            let plain = if stress.is_empty() { "" } else { PLAIN };
            // After a character in the last column the cursor is still upon it: erasing would erase it.
            let rest = if line.text.len() < self.size.width { ERASE_LINE } else { "" };
            let end = if n == 0 { "" } else { "\r\n" };
            // Writing to a String cannot fail.
            let _ = write!(frame, "{end}{stress}{}{plain}{rest}", line.text);
        }
        let below = "\r\n";
        // If the last line is also the screen's last, there is nothing below it to erase.
        if frame.matches('\n').count() + 1 < self.size.height {
            frame += below;
            frame += ERASE_REST;
        }
        frame
    }

    fn stress(&self, stress: Stress) -> &'static str {
        match (stress, self.colour) {
            (Stress::None, _) => "",
            (Stress::Names, _) => "\x1b[7m",                      // reverse
            (Stress::Lost, true) => "\x1b[1;31m",                 // bold red
            (Stress::Finding, true) => "\x1b[33m",                // yellow
            (Stress::Lost | Stress::Finding, false) => "\x1b[1m", // bold
        }
    }
}
