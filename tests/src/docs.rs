//! README and the pages of `docs/` that show commands and their output: the test bed runs the commands, and
//! compares or refreshes the output.
//!
//! A block of a page is the line `<!-- bed: SCENARIO -->` and fenced text. In the text, a line `# sctp-…` is
//! a command, and the lines after it are the command's output. SCENARIO names a shell snippet in
//! `guest/docs/`, which makes traffic and calls `watch` and `watched` of `guest/docs.sh`. All commands that a
//! page shows with one scenario run at once, on the same traffic.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::arch::Arch;
use crate::kernel::Series;
use crate::programs;
use crate::vm::{self, Case, Mode, Vm, to_stderr};

const PAGES: [&str; 3] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/.."),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples"),
];
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/docs");
const LIBRARY: &str = include_str!("../guest/docs.sh");

const MARK: &str = "<!-- bed: ";
const FENCE: &str = "```\n";
const PROMPT: &str = "# ";

/// The kernel series on which the pages' commands run.
pub const SERIES: Series = Series::V6_12;
/// How time passes in the guest that runs the pages' commands: with icount, the numbers are nearly the same
/// in every run.
pub const MODE: Mode = Mode::Icount;

/// A page that has blocks: commands with their output.
pub struct Page {
    path: PathBuf,
    text: String,
    blocks: Vec<Block>,
}

/// A block of a page: commands that run in one scenario, with their output.
struct Block {
    scenario: String,
    commands: Vec<String>,
    /// The block's text without the fences; `start` is its offset in the page's text.
    shown: String,
    start: usize,
}

/// A command of a page, and its output in the test bed.
pub struct Shown {
    /// The command, as the page shows it.
    pub command: String,
    /// What the command wrote to standard output and standard error.
    pub output: String,
}

impl Page {
    /// Reads all pages that have blocks of commands with their output (see the top of this file).
    ///
    /// # Errors
    /// Where a page cannot be read, or a block in it is incomplete.
    pub fn all() -> Result<Vec<Self>> {
        let mut paths = Vec::new();
        for folder in PAGES {
            for entry in fs::read_dir(folder).context(folder)? {
                paths.push(entry?.path());
            }
        }
        paths.sort();
        let mut pages = Vec::new();
        for path in paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
            let text = vm::text(&path)?;
            let blocks = blocks(&text).with_context(|| path.display().to_string())?;
            if !blocks.is_empty() {
                pages.push(Self { path, text, blocks });
            }
        }
        Ok(pages)
    }

    /// The name of the page's file, without `.md`.
    #[must_use]
    pub fn title(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The name of the case that runs the page's commands.
    #[must_use]
    pub fn name(&self) -> String {
        format!("docs-{}", self.title())
    }

    /// The names of the scenarios in the page's blocks, each once.
    #[must_use]
    pub fn scenarios(&self) -> Vec<&str> {
        let mut scenarios: Vec<&str> = Vec::new();
        for block in &self.blocks {
            if !scenarios.contains(&block.scenario.as_str()) {
                scenarios.push(&block.scenario);
            }
        }
        scenarios
    }

    /// The case that runs the page's commands: scenario by scenario, each in a folder of its own.
    ///
    /// # Errors
    /// Where a scenario of the page has no snippet in `guest/docs/`.
    pub fn case(&self) -> Result<Case> {
        let mut script = LIBRARY.to_owned();
        for scenario in self.scenarios() {
            let path = format!("{SCENARIOS}/{scenario}.sh");
            let traffic = fs::read_to_string(&path).context(path)?;
            write!(script, "mkdir {scenario}\ncd {scenario}\n")?;
            for (index, block) in
                self.blocks.iter().enumerate().filter(|(_, block)| block.scenario == scenario)
            {
                for (number, command) in block.commands.iter().enumerate() {
                    write!(script, "cat >{index}-{number}.command <<'END'\n{command}\nEND\n")?;
                }
            }
            write!(script, "(\n{traffic})\ncd ..\nend_scenario\n")?;
        }
        Ok(Case { limit: Duration::from_secs(240), ..Case::new(&self.name(), &script) })
    }

    /// Returns the page's commands of one scenario with their output, which is read from the case's folder of
    /// results.
    ///
    /// # Errors
    /// Where an output cannot be read.
    pub fn shown(&self, folder: &Path, scenario: &str) -> Result<Vec<Shown>> {
        let mut all = Vec::new();
        for (index, block) in self.blocks.iter().enumerate().filter(|(_, block)| block.scenario == scenario) {
            all.extend(block.run(index, folder)?);
        }
        Ok(all)
    }

    /// Compares the page with the output that the commands printed now, in the case's folder of results. Both
    /// must have the same lines, apart from numbers and repeated lines (see `shape`).
    ///
    /// # Errors
    /// Where the lines differ, or an output cannot be read.
    pub fn ensure_current(&self, folder: &Path) -> Result<()> {
        for (index, block) in self.blocks.iter().enumerate() {
            let now = transcript(&block.run(index, folder)?);
            let (old, new) = (shape(&block.shown), shape(&now));
            let place = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
            ensure!(
                old == new,
                "{} shows other lines than its commands do (if that is meant: cargo xtask docs)\n\
                 in block {}: {:?}, now {:?}; all of it now:\n{now}",
                self.path.display(),
                block.scenario,
                old.get(place),
                new.get(place),
            );
        }
        Ok(())
    }

    /// Writes the page again, with the output that the commands printed now.
    fn refresh(&self, folder: &Path) -> Result<()> {
        let mut text = self.text.clone();
        for (index, block) in self.blocks.iter().enumerate().rev() {
            let now = transcript(&block.run(index, folder)?);
            text.replace_range(block.start..block.start + block.shown.len(), &now);
        }
        fs::write(&self.path, text).with_context(|| self.path.display().to_string())
    }
}

impl Block {
    fn run(&self, index: usize, folder: &Path) -> Result<Vec<Shown>> {
        let shown = self.commands.iter().enumerate().map(|(number, command)| {
            let path = folder.join(&self.scenario).join(format!("{index}-{number}.shown"));
            Ok(Shown { command: command.clone(), output: vm::text(&path)? })
        });
        shown.collect()
    }
}

/// Runs the commands of all pages whose case has a name that contains `filter`, and writes the pages again
/// with the new output.
///
/// # Errors
/// When the machine or one of the scenarios fails.
pub fn refresh(filter: &str) -> Result<()> {
    let pages: Vec<_> = Page::all()?.into_iter().filter(|page| page.name().contains(filter)).collect();
    ensure!(!pages.is_empty(), "no page is named {filter}");
    let cases = pages.iter().map(Page::case).collect::<Result<Vec<_>>>()?;
    let machine = Vm {
        name: "docs".to_owned(),
        arch: Arch::X86_64,
        series: SERIES,
        mode: MODE,
        programs: programs::build(Arch::X86_64)?,
        files: Vec::new(),
    };
    let _lock = vm::lock()?;
    let results = machine.run(&cases, to_stderr)?;
    for page in pages {
        page.refresh(&results.case(&page.name())?)?;
        println!("{}", page.path.display());
    }
    Ok(())
}

fn transcript(shown: &[Shown]) -> String {
    let mut text = String::new();
    for Shown { command, output } in shown {
        text.push_str(&[PROMPT, command, "\n", output].concat());
    }
    text
}

fn blocks(text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(MARK) {
        let (scenario, after) = after.split_once(" -->\n").context("a mark does not end")?;
        let after =
            after.strip_prefix(FENCE).with_context(|| format!("{scenario}: no fence below the mark"))?;
        // The closing fence is at the beginning of a line; in an empty block, at the very start.
        let end = if after.starts_with(FENCE) { Some(0) } else { after.find("\n```\n").map(|end| end + 1) };
        let (shown, after) = after.split_at(end.with_context(|| format!("{scenario}: no second fence"))?);
        let commands: Vec<_> = shown.lines().filter(|line| line.starts_with("# sctp-")).collect();
        ensure!(
            shown.starts_with(PROMPT) && !commands.is_empty(),
            "{scenario}: it does not begin with a command"
        );
        let commands = commands.iter().map(|line| line[PROMPT.len()..].to_owned()).collect();
        let start = text.len() - after.len() - shown.len();
        blocks.push(Block { scenario: scenario.to_owned(), commands, shown: shown.to_owned(), start });
        rest = after;
    }
    Ok(blocks)
}

/// Returns the lines of an output, without the parts that may differ from run to run. Every number becomes 0, and
/// successive blanks become one. A line that begins with a digit is a table's row: only its number of fields remains.
/// Successive equal lines become one, as the number of rows may differ. A command's findings come after its other
/// lines: between which rows they are printed depends on when an interval ends.
fn shape(text: &str) -> Vec<String> {
    let (mut lines, mut findings) = (Vec::new(), Vec::new());
    for line in text.lines() {
        if line.starts_with("# ") {
            lines.append(&mut findings);
        }
        if line.starts_with("Finding ") {
            findings.push(mask(line));
        } else if line.starts_with(|char: char| char.is_ascii_digit()) {
            lines.push(fields(line));
        } else {
            lines.push(mask(line));
        }
    }
    lines.append(&mut findings);
    lines.dedup();
    lines
}

fn fields(row: &str) -> String {
    format!("a row of {} fields", row.split([' ', ',']).filter(|field| !field.is_empty()).count())
}

fn mask(line: &str) -> String {
    let mut masked = String::new();
    for char in line.trim_end().chars() {
        let last = masked.chars().next_back();
        match char {
            '0'..='9' if last == Some('0') => {}
            '0'..='9' if masked.ends_with("0.") => {
                masked.pop();
            }
            '0'..='9' => masked.push('0'),
            ' ' if last == Some(' ') => {}
            _ => masked.push(char),
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "Words.\n\n<!-- bed: here -->\n```\n# sctp-rtt -d 1\n3 a\n\n# sctp-rto | tail -n 1\nb\n```\n\
                        More.\n<!-- bed: there -->\n```\n# sctp-rtt\n```\n";

    #[test]
    fn blocks_are_found() {
        let blocks = blocks(PAGE).unwrap();
        let commands: Vec<_> =
            blocks.iter().map(|block| (block.scenario.as_str(), &block.commands[..])).collect();
        assert_eq!(
            commands[0],
            ("here", &["sctp-rtt -d 1".to_owned(), "sctp-rto | tail -n 1".to_owned()][..])
        );
        assert_eq!(commands[1], ("there", &["sctp-rtt".to_owned()][..]));
        for block in blocks {
            assert_eq!(&PAGE[block.start..block.start + block.shown.len()], block.shown);
        }
    }

    #[test]
    fn half_a_block_is_an_error() {
        for text in ["<!-- bed: a", "<!-- bed: a -->\nwords", "<!-- bed: a -->\n```\n# sctp-rtt\n"] {
            assert!(blocks(text).is_err(), "{text}");
        }
        assert!(blocks("<!-- bed: a -->\n```\nno command\n```\n").is_err());
    }

    #[test]
    fn numbers_are_no_shape() {
        assert_eq!(shape("Avg:  12.500 us\n"), shape("Avg: 7 us"));
        assert_eq!(shape("3        1805979775 22.335"), shape("12 9 1.5\n10 8 1.25\n"));
        assert_ne!(shape("3 1805979775 22.335"), shape("3 1805979775"));
        assert_ne!(shape("1,2,3"), shape("1,2"));
        assert_ne!(shape("RTO: 1 ms"), shape("RTO: - ms"));
        assert_ne!(shape("a 1\nb 1"), shape("b 1\na 1"));
        let [early, late] = ["1 2\nFinding x: 3\n4 5\nend", "1 2\n3 4\n4 5\nFinding x: 7\nend"];
        assert_eq!(shape(early), shape(late), "between which rows");
        assert_ne!(shape(early), shape("1 2\n4 5\nend"), "none");
        assert_ne!(
            shape("# a\nFinding x: 3\n# b\nend"),
            shape("# a\n# b\nFinding x: 3\nend"),
            "of the other command"
        );
    }

    #[test]
    fn every_scenario_is_there_and_shown() {
        let mut shown = Vec::new();
        for page in Page::all().unwrap() {
            page.case().unwrap();
            shown.extend(page.scenarios().into_iter().map(|scenario| format!("{scenario}.sh")));
        }
        for scenario in fs::read_dir(SCENARIOS).unwrap() {
            let name = scenario.unwrap().file_name().into_string().unwrap();
            assert!(shown.contains(&name), "no page shows {name}");
        }
    }
}
