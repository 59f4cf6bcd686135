//! Man pages and shell completions of the commands. A page is made from the command's flags, its columns and
//! a written part.

mod report;

use std::{
    fs::{create_dir_all, write},
    io,
    path::Path,
};

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::{
    Generator, generate,
    shells::{Bash, Fish, Zsh},
};
use clap_mangen::Man;
use cli::{Manual, MetricField, Shown, Table};

pub use report::{REPORT, report_command, report_roff, write_report};

/// The text that all pages end with.
const COMMON: &str = include_str!("common.roff");

/// CHANGELOG.md, which says when this version was released.
const CHANGES: &str = include_str!("../../CHANGELOG.md");

/// The man page of a command: the text of its `manual.roff`, with the flags, the columns and the text of
/// `common.roff` in place of the comments `.\" options`, `.\" columns` and `.\" common`.
pub struct Page {
    manual: Manual,
    written: &'static str,
}

/// The page of each command.
#[must_use]
pub fn pages() -> Vec<Page> {
    let page = |manual, written| Page { manual, written };
    vec![
        page(sctp_bufmon::manual(), include_str!("../../sctp-bufmon/manual.roff")),
        page(sctp_jitter::manual(), include_str!("../../sctp-jitter/manual.roff")),
        page(sctp_rto::manual(), include_str!("../../sctp-rto/manual.roff")),
        page(sctp_rtt::manual(), include_str!("../../sctp-rtt/manual.roff")),
        page(sctp_streamutil::manual(), include_str!("../../sctp-streamutil/manual.roff")),
    ]
}

/// An example in a man page, which a VM test runs.
#[derive(Debug)]
pub struct Example {
    /// The command line.
    pub command: String,
    /// The file to which the command prints; `None`: standard output.
    pub file: Option<String>,
    /// An extended regular expression that has to match a line of what the command prints.
    pub prints: String,
}

impl Page {
    /// Name of the command that the page describes.
    #[must_use]
    pub fn name(&self) -> &str {
        self.command().get_name()
    }

    /// The flags of the command that the page describes.
    #[must_use]
    pub fn command(&self) -> &Command {
        &self.manual.command
    }

    /// The tables of columns that the command prints.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.manual.tables
    }

    /// The columns of `--live`.
    #[must_use]
    pub fn live(&self) -> &'static Shown {
        self.manual.live
    }

    /// The metrics of `--listen` and `--textfile`.
    #[must_use]
    pub fn metrics(&self) -> &[MetricField] {
        &self.manual.metrics
    }

    /// The page in roff.
    ///
    /// # Errors
    /// Where the command's `manual.roff` lacks one of the comments that the generated text stands for, or
    /// CHANGELOG.md has no heading with this version and its date.
    pub fn roff(&self) -> Result<String> {
        let section = |render: fn(&Man, &mut dyn io::Write) -> io::Result<()>| -> Result<String> {
            // clap_mangen would leave out the text of a flag that only `-h` hides.
            let command = self.command().clone().mut_args(|flag| flag.hide_short_help(false));
            let man = Man::new(command)
                .title(self.name().to_uppercase())
                .section("8")
                .date(released()?)
                .source(format!("sctptrace {}", env!("CARGO_PKG_VERSION")))
                .manual("System Administration");
            let mut roff = Vec::new();
            render(&man, &mut roff)?;
            // clap_mangen begins each section with the preamble; the page has it once, before the title.
            let roff = String::from_utf8(roff)?;
            Ok(roff.strip_prefix(PREAMBLE).unwrap_or(&roff).to_owned())
        };
        let [description, rest] = split(self.written, "options")?;
        let [output, rest] = split(rest, "columns")?;
        let [rest, _] = split(rest, "common")?;
        Ok([
            PREAMBLE,
            &section(Man::render_title)?,
            &section(Man::render_name_section)?,
            &format!(".SH SYNOPSIS\n.B {}\n[\\fIOPTIONS\\fR]\n", escaped(self.name())),
            &section(Man::render_description_section)?,
            description,
            // Groups of flags become subsections of OPTIONS; clap_mangen makes them sections.
            &section(Man::render_options_section)?.replace("\n.SH ", "\n.SS "),
            output,
            &self.tables().iter().map(table).collect::<String>(),
            &live(self.manual.live),
            &metrics(self.metrics()),
            rest,
            &COMMON.replace("@OTHERS@", &self.others()),
        ]
        .concat())
    }

    /// The examples of the page.
    ///
    /// # Errors
    /// Where an example has no comment `prints` with its regular expression.
    pub fn examples(&self) -> Result<Vec<Example>> {
        let mut examples = Vec::new();
        let mut lines = self.written.lines();
        while let Some(line) = lines.next() {
            let Some(command) = line.strip_prefix("# ") else { continue };
            let prints = lines.find_map(|line| line.strip_prefix(".\\\" prints")).context("prints what?")?;
            let (file, prints) = prints.split_once(": ").context("prints what?")?;
            let file = file.strip_prefix(" in ").map(str::to_owned);
            examples.push(Example {
                command: command.replace("\\-", "-").replace("\\(aq", "'"),
                file,
                prints: prints.to_owned(),
            });
        }
        Ok(examples)
    }

    /// The other commands, for "see also".
    fn others(&self) -> String {
        let pages = pages();
        let others = pages.iter().map(Page::name).filter(|other| *other != self.name());
        others.map(|other| format!(".BR {} (8)", escaped(other))).collect::<Vec<_>>().join(",\n")
    }

    /// Writes the page and the completions into folders of `dir`, which are made.
    ///
    /// # Errors
    /// Where a file or folder cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let name = self.name();
        put(&dir.join("man").join(format!("{name}.8")), self.roff()?.as_bytes())?;
        let completions = dir.join("completions");
        put(&completions.join("bash").join(name), &self.completion(Bash))?;
        put(&completions.join("fish").join(format!("{name}.fish")), &self.completion(Fish))?;
        put(&completions.join("zsh").join(format!("_{name}")), &self.completion(Zsh))
    }

    fn completion(&self, shell: impl Generator) -> Vec<u8> {
        let mut script = Vec::new();
        // bash would offer hidden flags.
        let whole = self.command();
        let shown: Vec<_> = whole.get_arguments().filter(|flag| !flag.is_hide_set()).cloned().collect();
        let is_shown = |id| shown.iter().any(|flag| flag.get_id() == id);
        let groups = whole.get_groups().filter(|group| group.get_args().all(is_shown)).cloned();
        let mut command = Command::default()
            .version(env!("CARGO_PKG_VERSION"))
            .disable_version_flag(true)
            .disable_help_flag(true)
            .groups(groups)
            .args(&shown);
        generate(shell, &mut command, self.name(), &mut script);
        script
    }
}

/// The lines with which clap_mangen begins each section. They define the string `Aq`, an apostrophe.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// The day of this version's release, from CHANGELOG.md.
fn released() -> Result<&'static str> {
    let version = env!("CARGO_PKG_VERSION");
    let heading = CHANGES.lines().find_map(|line| line.strip_prefix("## ")?.strip_prefix(version));
    let date = heading.and_then(|rest| rest.strip_prefix(" (")?.strip_suffix(')'));
    date.with_context(|| format!("CHANGELOG.md has no heading \"## {version} (DATE)\""))
}

/// Splits the text of a `manual.roff` at the comment `.\" PLACE`; `place` says which one. Returns the text
/// before and after the comment.
fn split<'a>(written: &'a str, place: &str) -> Result<[&'a str; 2]> {
    let (before, after) =
        written.split_once(&format!(".\\\" {place}\n")).with_context(|| format!("no place for {place}"))?;
    Ok([before, after])
}

fn table(table: &Table) -> String {
    let columns = table
        .fields
        .iter()
        .map(|field| format!(".TP\n.B {}\n{}\n", escaped(&field.name), escaped(&field.doc)));
    format!(".SS {}\n{}", escaped(table.title), columns.collect::<String>())
}

/// The columns of a screen, which the tables explain.
fn live(shown: &Shown) -> String {
    let list =
        |names: &[&str]| names.iter().map(|name| format!(".I {}\n", escaped(name))).collect::<String>();
    format!(
        ".SS Columns of \\-\\-live\nFrom left to right:\n{}.br\nSorted by, the worst first:\n{}",
        list(shown.columns),
        list(shown.worst)
    )
}

fn metrics(metrics: &[MetricField]) -> String {
    let metrics = metrics.iter().map(|metric| {
        let labels = match metric.labels.join(", ") {
            labels if labels.is_empty() => labels,
            labels => format!("; {labels}"),
        };
        let help = escaped(metric.help);
        format!(".TP\n.BR {} \" ({}{labels})\"\n{help}\n", escaped(metric.name), metric.kind)
    });
    format!(".SH METRICS\n{METRICS}{}", metrics.collect::<String>())
}

/// What the page says before the table of metrics.
const METRICS: &str = "With
.BR \\-\\-listen ,
.BR \\-\\-textfile ,
or a socket that
.BR systemd.socket (5)
hands over, the command has these metrics, and prints no rows unless
.BR \\-c ,
.BR \\-f ,
.B \\-H
or
.B \\-\\-json
asks for them.
Each has the labels
.I service_port
(the port of the end that accepted the association) and
.IR protocol ,
with
.BR \\-\\-labels
.I peer
also
.IR peer ,
and with
.I assoc
both
.I peer
and
.IR assoc .
.I path
is a label only with one of these two.
";

/// Escapes a text for roff, so that roff prints its control characters as they are. (A point at the beginning
/// of a line is not escaped, as no line here begins with one.)
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq")
}

fn put(path: &Path, content: &[u8]) -> Result<()> {
    let put = || {
        create_dir_all(path.parent().unwrap_or(path))?;
        write(path, content)
    };
    put().with_context(|| format!("cannot write {}", path.display()))
}
