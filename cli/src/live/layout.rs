//! Makes the lines of a screen. Pure: no line is wider than the screen, and each character is printable ASCII, so that it
//! takes one column whatever the terminal.

use std::{fmt::Write as _, time::Duration};

use probes::Accounting;

use super::table::{Table, Value};

/// Size of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// What the first line says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) command: &'static str,
    /// The time of day.
    pub(crate) time: String,
    /// How long the trace has been running.
    pub(crate) up: Duration,
    /// What was lost up to now, as words; empty if nothing was.
    pub(crate) lost: String,
}

/// How a line is stressed. The text alone says everything as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stress {
    None,
    /// The first line, while something is lost.
    Lost,
    Finding,
    /// The names of the columns.
    Names,
}

/// A line of a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) stress: Stress,
}

/// At most a third of a screen's lines are findings.
const FINDINGS_PART: usize = 3;
/// Where a row is wider than the screen, columns of text are narrowed, but to no fewer than this many characters.
const NARROWEST: usize = 15;
/// Number of spaces between two columns.
const GAP: usize = 1;

/// The words for what was lost, for the first line; empty if nothing was. `skipped`: intervals that were not drawn, as the
/// terminal was slow.
pub(crate) fn lost(accounting: &Accounting, skipped: u64) -> String {
    let counts = [
        ("events LOST", accounting.lost),
        ("table entries EVICTED", accounting.evicted),
        ("chunks UNSEEN", accounting.unseen.unwrap_or(0)),
        ("screens SKIPPED", skipped),
    ];
    let words = counts.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{what}: {count}"));
    words.collect::<Vec<_>>().join(", ")
}

/// The lines of a screen, from the top: what the trace is, findings that last, and as many rows as fit. Rows that do not
/// fit are counted in the last line.
pub(crate) fn lines(head: &Head, findings: &[String], table: &Table, size: Size) -> Vec<Line> {
    let mut lines = vec![first_line(head, table)];
    let most = (size.height / FINDINGS_PART).max(1);
    let shown = if findings.len() > most { most - 1 } else { findings.len() };
    let finding = |text: &str| Line { text: text.to_owned(), stress: Stress::Finding };
    lines.extend(findings[..shown].iter().map(|text| finding(text)));
    if shown < findings.len() {
        lines.push(finding(&counted(findings.len() - shown, "finding")));
    }
    let plain = |text: String| Line { text, stress: Stress::None };
    if table.headings.is_empty() {
        lines.push(plain("The first interval is not over yet.".to_owned()));
    } else if table.total == 0 {
        lines.push(plain("Nothing happened in the last interval.".to_owned()));
    } else {
        let room = size.height.saturating_sub(lines.len() + 1);
        let rows =
            if table.total > room { room.saturating_sub(1) } else { table.total }.min(table.rows.len());
        let mut of_table = rows_of(table, rows, size.width).into_iter();
        lines.extend(of_table.next().map(|text| Line { text, stress: Stress::Names }));
        lines.extend(of_table.map(plain));
        if rows < table.total {
            lines.push(plain(counted(table.total - rows, "row")));
        }
    }
    lines.truncate(size.height);
    lines.iter_mut().for_each(|line| line.text = cut(&printable(&line.text), size.width));
    lines
}

fn first_line(head: &Head, table: &Table) -> Line {
    let Head { command, time, up, lost } = head;
    let seconds = up.as_secs();
    let up = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let s = if table.associations == 1 { "" } else { "s" };
    let more = format!("{time}, up {up}, {} association{s}", table.associations);
    // What was lost comes first, as a narrow screen cuts the end.
    if lost.is_empty() {
        Line { text: format!("{command}: {more}, nothing lost"), stress: Stress::None }
    } else {
        Line { text: format!("{command}: {lost}; {more}"), stress: Stress::Lost }
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("... {count} more {what}{}", if count == 1 { "" } else { "s" })
}

/// The line of the columns' names, and those of the first `count` rows.
fn rows_of(table: &Table, count: usize, width: usize) -> Vec<String> {
    let names = table.headings.iter().map(|heading| heading.name.clone()).collect();
    let texts = |row: &Vec<Value>| row.iter().map(|value| printable(&value.to_string())).collect();
    let cells: Vec<Vec<String>> = [names].into_iter().chain(table.rows[..count].iter().map(texts)).collect();
    let widest = |column: usize| cells.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..table.headings.len()).map(widest).collect();
    narrow(table, &mut widths, width);
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for ((cell, heading), width) in row.iter().zip(&table.headings).zip(&widths) {
            let gap = if line.is_empty() { 0 } else { GAP };
            let cell = cut(cell, *width);
            // Writing to a String cannot fail.
            let _ = if heading.is_text {
                write!(line, "{:gap$}{cell:<width$}", "")
            } else {
                write!(line, "{:gap$}{cell:>width$}", "")
            };
        }
        line.trim_end().to_owned()
    };
    cells.iter().map(line).collect()
}

/// Narrows the widest columns of text, as long as rows are wider than the screen.
fn narrow(table: &Table, widths: &mut [usize], width: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let texts = widths.iter_mut().zip(&table.headings).filter(|(_, heading)| heading.is_text);
        let widest = texts.map(|(width, _)| width).max_by_key(|width| **width);
        match widest.filter(|width| **width > NARROWEST) {
            Some(widest) => *widest -= 1,
            None => return,
        }
    }
}

/// Escapes characters that are not printable ASCII: control characters, and characters that may take two columns of a
/// terminal or none. In names and ABORT texts, what could harm a terminal is escaped already; this function makes any
/// other text safe, too.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if c == ' ' || c.is_ascii_graphic() {
            printable.push(c)
        } else {
            printable.extend(c.escape_default())
        }
    }
    printable
}

/// Cuts a text of printable ASCII to `width` characters.
fn cut(text: &str, width: usize) -> String {
    text[..text.len().min(width)].to_owned()
}
