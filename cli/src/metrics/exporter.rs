//! All metrics of a command.

use std::collections::BTreeMap;

use nix::sys::utsname::uname;
use probes::{Accounting, Change, Identity, lifecycle::AssocEvent};

use super::{
    Metrics, MetricsFlags, Unit,
    definition::{BUILD, HOST, LOST},
    host::HostCounters,
    model::Model,
    text::{Extra, TextFormat, Writer, escaped},
};
use crate::version::VERSION;

/// Reasons in [`Accounting::skipped`] that are no loss: an event of this kind never gives a sample.
const NO_LOSS: [&str; 6] = ["retransmitted", "before_start", "abandoned", "ended", "restarted", "no_id"];

/// Adds up what happens, and writes it as text.
pub(crate) struct Exporter<Row: 'static> {
    model: Model<Row>,
    host: Option<HostCounters>,
    /// What the command itself has lost, by reason.
    lost: BTreeMap<&'static str, u64>,
    build: String,
}

impl<Row> Exporter<Row> {
    /// Makes an exporter, as the flags say. Opens the kernel's own counters, if the command has their metrics.
    pub(crate) fn new(metrics: &'static Metrics<Row>, flags: &MetricsFlags) -> Self {
        let kernel = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
        Self {
            model: Model::new(metrics, flags.labels, flags.max_series),
            host: if metrics.of_host { HostCounters::open() } else { None },
            lost: BTreeMap::new(),
            build: format!("version=\"{}\",kernel=\"{}\"", escaped(version()), escaped(&kernel)),
        }
    }

    /// Adds a change to the sums of its label set.
    pub(crate) fn add(&mut self, change: &Change<Row>) {
        self.model.add(change);
    }

    /// Adds a begin, restart or end of an association.
    pub(crate) fn happened(&mut self, event: &AssocEvent) {
        self.model.happened(event);
    }

    /// Copies from the accounting how many events were lost up to now.
    pub(crate) fn account(&mut self, accounting: &Accounting) {
        let skipped = accounting.skipped.iter().filter(|skipped| !NO_LOSS.contains(&skipped.reason));
        let skipped = skipped.map(|skipped| (skipped.reason, skipped.count));
        let own = [("ring_buffer", accounting.lost), ("max_series", self.model.folded())];
        for (reason, count) in skipped.chain(own).chain(accounting.unseen.map(|count| ("unseen", count))) {
            let lost = self.lost.entry(reason).or_default();
            // Some of these counts are upper bounds, which may fall. A counter must not.
            *lost = count.max(*lost);
        }
    }

    /// Writes all metrics. `findings`: the present findings, each with its code and the association that has it.
    pub(crate) fn text<'a>(
        &self,
        format: TextFormat,
        findings: impl Iterator<Item = (&'static str, Option<&'a Identity>)>,
    ) -> String {
        let mut to = Writer::new(format);
        self.model.write(&mut to, findings);
        for (name, value) in self.host.iter().flat_map(HostCounters::read) {
            to.family(&name, HOST.kind, HOST.help);
            to.sample(&name, "", "", None, value.into(), Unit::One);
        }
        to.head(&LOST);
        for (reason, count) in &self.lost {
            to.sample(LOST.name, "", "", Some(Extra("reason", reason)), (*count).into(), Unit::One);
        }
        to.head(&BUILD);
        to.sample(BUILD.name, "", &self.build, None, 1, Unit::One);
        to.finish()
    }
}

/// The first word of the version.
fn version() -> &'static str {
    VERSION.split_whitespace().next().unwrap_or_default()
}
