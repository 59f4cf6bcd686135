//! Where lines go: stdout for people, stdout or FILE for rows. Whole lines only, written at the end of each batch.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::output_file::create;

/// Bytes gathered before they are written in mid-batch.
const BATCH: usize = 32 * 1024;

/// A destination of lines.
pub struct Out {
    text: Sink,
    rows: Option<Sink>,
}

struct Sink {
    name: String,
    writer: Box<dyn Write>,
    pending: Vec<u8>,
}

impl Out {
    /// Rows to `file` (made, with its missing folders, or emptied), or to stdout where there is none.
    ///
    /// # Errors
    /// Where FILE cannot be made.
    pub fn new(file: Option<&Path>) -> Result<Self> {
        Self::to(io::stdout(), file)
    }

    /// The same, with `writer` in place of stdout.
    ///
    /// # Errors
    /// Where FILE cannot be made.
    pub fn to(writer: impl Write + 'static, file: Option<&Path>) -> Result<Self> {
        let rows = file.map(Sink::file).transpose()?;
        Ok(Self { text: Sink::new("standard output".to_owned(), Box::new(writer)), rows })
    }

    /// A line for the person: always to stdout.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn text(&mut self, line: &str) -> Result<()> {
        self.text.line(line.as_bytes())
    }

    /// A line of rows, which `write` adds with its newline: to FILE or stdout.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn row(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let sink = self.rows();
        write(&mut sink.pending)?;
        sink.push(b"")
    }

    /// A JSON object as a line, to FILE or stdout.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn json(&mut self, object: &impl Serialize) -> Result<()> {
        let sink = self.rows();
        serde_json::to_writer(&mut sink.pending, object)?;
        sink.push(b"\n")
    }

    /// Writes what is pending.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        if let Some(rows) = &mut self.rows {
            rows.flush()?;
        }
        self.text.flush()
    }

    fn rows(&mut self) -> &mut Sink {
        self.rows.as_mut().unwrap_or(&mut self.text)
    }
}

impl Sink {
    fn file(path: &Path) -> Result<Self> {
        let name = format!("'{}'", path.display());
        let file = create(path).with_context(|| format!("cannot make the file {name}"))?;
        Ok(Self::new(name, Box::new(file)))
    }

    fn new(name: String, writer: Box<dyn Write>) -> Self {
        Self { name, writer, pending: Vec::with_capacity(2 * BATCH) }
    }

    fn line(&mut self, line: &[u8]) -> Result<()> {
        self.pending.extend_from_slice(line);
        self.push(b"\n")
    }

    fn push(&mut self, end: &[u8]) -> Result<()> {
        self.pending.extend_from_slice(end);
        if self.pending.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.writer.write_all(&self.pending).and_then(|()| self.writer.flush());
        self.pending.clear();
        written.with_context(|| format!("cannot write to {}", self.name))
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
