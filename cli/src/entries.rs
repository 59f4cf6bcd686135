//! What the commands with an entry per path or association do alike.

use std::{io, os::fd::OwnedFd};

use anyhow::Result;
use probes::{EntryProbe, EntryRef, Identity};

use crate::{Accounting, Out, Tool};

/// Records taken from the ring buffer at a time.
const BATCH: usize = 1024;

/// The rows of such a command.
pub trait EntryReport {
    /// What it reports of.
    type Probe: EntryProbe;

    /// Is there anything to print at every interval?
    fn has_intervals(&self) -> bool;

    /// What comes after the banner: the header of text rows or of CSV.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn header(&self, out: &mut Out) -> Result<()>;

    /// A row or object per record.
    ///
    /// # Errors
    /// Where they cannot be written.
    fn records(
        &self,
        out: &mut Out,
        records: impl Iterator<Item = <Self::Probe as EntryProbe>::Record>,
        identity: impl FnMut(EntryRef) -> Option<Identity>,
    ) -> Result<()>;

    /// What comes at every interval before its rows, and without them.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn before_interval(&self, _out: &mut Out, _probe: &mut Self::Probe) -> Result<()> {
        Ok(())
    }

    /// Rows or objects of an interval.
    ///
    /// # Errors
    /// Where they cannot be written.
    fn interval(&self, out: &mut Out, stats: Vec<<Self::Probe as EntryProbe>::Stats>) -> Result<()>;

    /// What is due at the end.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn summary(&self, out: &mut Out, stats: Vec<<Self::Probe as EntryProbe>::Stats>) -> Result<()>;

    /// The books, at the end.
    fn accounting(&self, probe: &Self::Probe) -> Accounting;
}

/// Such a command at work.
pub struct EntryTool<R: EntryReport> {
    probe: R::Probe,
    report: R,
    batch: Vec<<R::Probe as EntryProbe>::Record>,
}

impl<R: EntryReport> EntryTool<R> {
    /// A command that reports so of a probe.
    pub fn new(probe: R::Probe, report: R) -> Self {
        Self { probe, report, batch: Vec::with_capacity(BATCH) }
    }
}

impl<R: EntryReport> Tool for EntryTool<R> {
    fn fd(&self) -> io::Result<Option<OwnedFd>> {
        self.probe.fd()
    }

    fn wake_me(&mut self) {
        self.probe.wake_me();
    }

    fn events(&mut self, out: &mut Out) -> Result<bool> {
        let more = self.probe.take(&mut self.batch, BATCH)?;
        self.report.records(out, self.batch.drain(..), |of| self.probe.identity(of))?;
        Ok(more)
    }

    fn begin(&mut self, out: &mut Out) -> Result<()> {
        self.report.header(out)
    }

    fn interval(&mut self, out: &mut Out) -> Result<()> {
        self.report.before_interval(out, &mut self.probe)?;
        if self.report.has_intervals() { self.report.interval(out, self.probe.interval()?) } else { Ok(()) }
    }

    fn stop(&mut self) {
        self.probe.detach();
    }

    fn end(&mut self, out: &mut Out) -> Result<()> {
        self.interval(out)?;
        self.report.summary(out, self.probe.totals()?)
    }

    fn accounting(&self) -> Accounting {
        self.report.accounting(&self.probe)
    }
}
