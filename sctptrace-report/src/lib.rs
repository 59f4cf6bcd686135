//! Makes one HTML page from the JSON Lines of the five sctptrace commands.
//!
//! The way of a line: [`read`] takes it from a file, [`object`] parses it, [`model`] adds its figures to those of its
//! association, and [`page`] writes what the model has, with the charts of [`charts`].
//!
//! Memory grows with what is drawn, not with the length of the input: [`bins`] has a bounded number of buckets of time
//! for each association, which become longer as more time is covered.
//!
//! The charts are SVG made by plotters. Three things plotters cannot do, so `charts::svg` adds them to its text: dashes
//! of a line that is one element (its dashed series makes an element of each dash), `<title>` and `<desc>`, and the scales
//! as attributes. Without its font libraries plotters cannot measure text either: a legend's width is estimated.

pub mod accounting;
pub mod anonymous;
pub mod args;
pub mod association;
pub mod bins;
pub mod charts;
pub mod escape;
pub mod findings;
pub mod histogram;
pub mod model;
pub mod object;
pub mod page;
pub mod read;
pub mod time;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::{args::Args, model::Model};

/// Runs the command. Returns its exit code: 0 if the page is written, 1 if the input or the output has an error. Wrong
/// usage ends the process with exit code 2.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr cannot be written, the exit code still reports the failure.
            let _ = writeln!(io::stderr(), "sctptrace-report: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the input, and writes the page and the files of charts.
///
/// # Errors
/// Where a file cannot be read, a line is not what a command prints, nothing is to be shown, or the output cannot be
/// written. Then no page is written.
pub fn run(args: &Args) -> Result<()> {
    let mut model = Model::new(args);
    read::all(&args.files, &mut model)?;
    model.finish();
    if model.lines() == 0 {
        bail!("the input is empty: there is nothing to show");
    }
    if !model.has_something() {
        bail!("nothing in the input is of that time, peer or association: there is nothing to show");
    }
    let page = page::page(&model);
    if let Some(dir) = &args.svg {
        write_charts(dir, &model)?;
    }
    match &args.output {
        Some(path) => fs::write(path, page).with_context(|| format!("cannot write {}", path.display())),
        None => match io::stdout().lock().write_all(page.as_bytes()) {
            // A reader that leaves has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("cannot write to standard output"),
        },
    }
}

/// Writes each chart of the associations that the page draws into a file of `dir`, which is made.
fn write_charts(dir: &Path, model: &Model) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for index in page::drawn(model) {
        for chart in charts::of(model, index) {
            let path = dir.join(format!("a{}-{}.svg", index + 1, chart.name));
            fs::write(&path, chart.file()).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}
