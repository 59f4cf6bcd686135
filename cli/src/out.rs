//! A command's output. Text for people goes to stdout; rows go to FILE (`-f`), or to stdout. Lines are
//! gathered, and written at the end of each batch, or as soon as 32 KiB are pending.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use anyhow::{Context, Result};
use nix::fcntl::Flock;
use serde::Serialize;

use crate::{
    live::Table,
    output_file::{self, create},
    sink::{Patience, Pieces, Sink},
};

/// A command's output: a destination for text, and another one for rows, if they go to FILE.
pub struct Out {
    text: Sink,
    rows: Option<Sink>,
    /// The lock of FILE, held as long as this output exists; `None` without FILE, and if FILE cannot be
    /// locked.
    _lock: Option<Flock<File>>,
    /// The rows that a screen shows.
    table: Table,
    /// True if `text` is a terminal that takes frames, and no lines.
    has_frames: bool,
}

impl Out {
    /// Opens an output whose rows go to `file`, or to stdout if `file` is `None`. Makes the file, and missing
    /// folders on its path; empties a file that exists.
    ///
    /// # Errors
    /// Where FILE cannot be made or opened, or another command writes to it.
    pub fn new(file: Option<&Path>) -> Result<Self> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        let text = Sink::open("standard output".to_owned(), stdout.try_clone()?.into())?;
        Self::with(text, Some(stdout.as_fd()), file)
    }

    /// Makes an output of frames to the terminal on standard output.
    ///
    /// # Errors
    /// Where this process may open no more descriptors.
    pub(crate) fn frames() -> Result<Self> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        let text = Sink::open("the terminal".to_owned(), stdout.into())?;
        Ok(Self { text, rows: None, _lock: None, table: Table::default(), has_frames: true })
    }

    /// Like [`Out::new`], with `writer` in place of stdout.
    ///
    /// # Errors
    /// Where FILE cannot be made or opened, or another command writes to it.
    pub fn to(writer: impl Write + 'static, file: Option<&Path>) -> Result<Self> {
        Self::with(Sink::new("standard output".to_owned(), Box::new(writer)), None, file)
    }

    fn with(text: Sink, stdout: Option<BorrowedFd>, file: Option<&Path>) -> Result<Self> {
        let none = Self { text, rows: None, _lock: None, table: Table::default(), has_frames: false };
        let Some(path) = file else { return Ok(none) };
        let name = format!("'{}'", path.display());
        let made = || -> Result<_> {
            let file = create(path)?;
            let lock = output_file::claim(&file)?;
            if let Some(stdout) = stdout {
                output_file::append_too(&file, stdout)?;
            }
            Ok((Sink::open(name.clone(), file)?, lock))
        };
        let (rows, lock) = made().with_context(|| format!("cannot make the file {name}"))?;
        Ok(Self { rows: Some(rows), _lock: lock, ..none })
    }

    /// Writes a line of text, always to stdout.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub fn text(&mut self, line: &str) -> Result<()> {
        self.text.line(|to| {
            to.extend_from_slice(line.as_bytes());
            to.push(b'\n');
            Ok(())
        })
    }

    /// Writes a row to FILE or stdout. `write` appends the row to the pending bytes, with a newline at its
    /// end.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub fn row(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        self.rows.as_mut().unwrap_or(&mut self.text).line(write)
    }

    /// Writes a JSON object as a line, to FILE or stdout.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub fn json(&mut self, object: &impl Serialize) -> Result<()> {
        self.rows.as_mut().unwrap_or(&mut self.text).json(object)
    }

    /// Writes a JSON object as a line, to FILE or stdout. `write` appends the object, without a newline.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub(crate) fn object(&mut self, write: impl FnOnce(&mut Pieces<'_>)) -> Result<()> {
        self.rows.as_mut().unwrap_or(&mut self.text).object(write)
    }

    /// Keeps the rows that the next frames show.
    pub(crate) fn show(&mut self, table: Table) {
        self.table = table;
    }

    /// The rows that frames show.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Writes as much of a frame as the terminal takes at once; nothing, if a part of the last one is still pending.
    /// Returns whether anything was written.
    ///
    /// # Errors
    /// Where the terminal cannot be written to.
    pub(crate) fn frame(&mut self, frame: &str) -> Result<bool> {
        if self.text.is_behind() {
            return Ok(false);
        }
        self.text.line(|to| {
            to.extend_from_slice(frame.as_bytes());
            Ok(())
        })?;
        self.text.flush()?;
        Ok(true)
    }

    /// Writes as many of the pending lines as can be written at once, without waiting for slow readers.
    ///
    /// # Errors
    /// Where the output cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.sinks().try_for_each(Sink::flush)
    }

    /// Writes all pending lines, and waits for slow readers as long as the patience allows
    /// ([`Out::set_patience`]). Then drops and counts the lines that are left.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.sinks().try_for_each(Sink::finish)
    }

    /// Returns how many lines were dropped so far because their readers were too slow.
    pub(crate) fn dropped(&self) -> u64 {
        self.text.dropped() + self.rows.as_ref().map_or(0, Sink::dropped)
    }

    /// Sets how long to wait for slow readers from now on, before lines are dropped. `None`: never wait, and
    /// never drop lines, but keep them pending.
    pub(crate) fn set_patience(&mut self, patience: Option<&Patience>) {
        self.sinks().for_each(|sink| sink.set_patience(patience.cloned()));
    }

    /// Waits for slow readers as long as `patience` allows. Returns true if no reader is slow any more.
    pub(crate) fn make_room(&mut self, patience: &Patience) -> Result<bool> {
        self.set_patience(Some(patience));
        self.sinks().try_for_each(Sink::catch_up)?;
        self.set_patience(None);
        Ok(!self.is_full())
    }

    /// Returns whether a reader is slow (8 KiB or more are pending for it). If so, callers should write only
    /// lines that cannot wait. A terminal never counts as slow: it has one frame at most, which nothing waits for.
    pub(crate) fn is_full(&self) -> bool {
        !self.has_frames && self.text.is_full() || self.rows.as_ref().is_some_and(Sink::is_full)
    }

    /// Registers the destinations with the running tokio runtime, so that [`Out::writable`] can wait for
    /// them.
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        self.sinks().try_for_each(Sink::watch)
    }

    /// Returns whether lines are pending: added, but not written yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.text.is_behind() || self.rows.as_ref().is_some_and(Sink::is_behind)
    }

    /// Waits until pending lines can be written: those for FILE if there are any, else those for stdout.
    pub(crate) async fn writable(&self) {
        match &self.rows {
            Some(rows) if rows.is_behind() => rows.writable().await,
            _ => self.text.writable().await,
        }
    }

    fn sinks(&mut self) -> impl Iterator<Item = &mut Sink> {
        self.rows.iter_mut().chain([&mut self.text])
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn row(out: &mut Out, line: &str) {
        out.row(|to| {
            to.extend_from_slice(line.as_bytes());
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn missing_folders_are_made_and_rows_arrive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/out.csv");
        let mut out = Out::new(Some(&path)).unwrap();
        row(&mut out, "x,y\n");
        out.json(&[1, 2]).unwrap();
        out.flush().unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "x,y\n[1,2]\n");
    }

    #[test]
    fn a_full_device_is_an_error_with_its_name() {
        let mut out = Out::new(Some(Path::new("/dev/full"))).unwrap();
        row(&mut out, "x\n");
        let error = format!("{:#}", out.flush().unwrap_err());
        assert!(error.starts_with("cannot write to '/dev/full': No space left on device"), "{error}");
    }

    #[test]
    fn a_long_batch_is_written_by_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut out = Out::new(Some(&path)).unwrap();
        for _ in 0..10_000 {
            row(&mut out, "0123456789\n");
        }
        let early = fs::read_to_string(&path).unwrap();
        assert!(!early.is_empty() && early.ends_with('\n'));
        out.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 10_000);
    }
}
