//! Writes metrics as text: OpenMetrics 1.0, or Prometheus' text format 0.0.4.

use std::{fmt::Write as _, ops::RangeInclusive};

use probes::Octaves;

use super::{Unit, definition::Head};

/// A format of the metrics' text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextFormat {
    /// `text/plain; version=0.0.4`
    Prometheus,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

impl TextFormat {
    /// Value of the header `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A label that only one metric has, and its value, which needs no escapes.
pub(crate) struct Extra<'a>(pub(crate) &'a str, pub(crate) &'a str);

/// Writes the text of all metrics.
pub(crate) struct Writer {
    format: TextFormat,
    text: String,
}

impl Writer {
    pub(crate) fn new(format: TextFormat) -> Self {
        Self { format, text: String::new() }
    }

    /// Begins a metric that is not computed from rows. All its samples follow.
    pub(crate) fn head(&mut self, head: &Head) {
        self.family(head.name, head.kind, head.help);
    }

    /// Begins a metric. All its samples follow.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let family = match (self.format, kind) {
            // In OpenMetrics `_total` belongs to the sample, not to the family.
            (TextFormat::OpenMetrics, "counter") => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        // Writing to a String cannot fail.
        let _ = write!(self.text, "# HELP {family} {help}\n# TYPE {family} {kind}\n");
    }

    /// Writes a sample. `labels`: the text between the braces, or nothing.
    pub(crate) fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &str,
        extra: Option<Extra<'_>>,
        value: u128,
        unit: Unit,
    ) {
        self.text += name;
        self.text += suffix;
        if !labels.is_empty() || extra.is_some() {
            self.text.push('{');
            self.text += labels;
            if let Some(Extra(label, value)) = extra {
                if !labels.is_empty() {
                    self.text.push(',');
                }
                self.text += label;
                self.text += "=\"";
                self.text += value;
                self.text.push('"');
            }
            self.text.push('}');
        }
        self.text.push(' ');
        number(&mut self.text, value, unit);
        self.text.push('\n');
    }

    /// Writes a histogram of times. `counts`: by octave ([`Octaves::EDGES`]). Bounds are two to the powers of `edges`.
    pub(crate) fn histogram(
        &mut self,
        name: &str,
        labels: &str,
        counts: &[u64],
        edges: RangeInclusive<u32>,
        sum: u128,
    ) {
        let mut below = 0_u64;
        for (count, edge) in counts.iter().zip(Octaves::EDGES) {
            below += count;
            if edges.contains(&edge) {
                let mut bound = String::new();
                number(&mut bound, (1 << edge) - 1, Unit::Nanoseconds);
                self.sample(name, "_bucket", labels, Some(Extra("le", &bound)), below.into(), Unit::One);
            }
        }
        let all = counts.iter().map(|count| u128::from(*count)).sum();
        self.sample(name, "_bucket", labels, Some(Extra("le", "+Inf")), all, Unit::One);
        self.sample(name, "_sum", labels, None, sum, Unit::Nanoseconds);
        self.sample(name, "_count", labels, None, all, Unit::One);
    }

    /// Ends the text, and returns it.
    pub(crate) fn finish(mut self) -> String {
        if self.format == TextFormat::OpenMetrics {
            self.text += "# EOF\n";
        }
        self.text
    }
}

/// Appends a number: nanoseconds as seconds, with the digits that are not 0.
fn number(to: &mut String, value: u128, unit: Unit) {
    let mut digits = itoa::Buffer::new();
    match unit {
        Unit::One => to.push_str(digits.format(value)),
        Unit::Nanoseconds => {
            const SECOND: u128 = 1_000_000_000;
            to.push_str(digits.format(value / SECOND));
            let rest = value % SECOND;
            if rest > 0 {
                // A second is added and its digit cut off: so the zeros at the beginning of the fraction stay.
                let rest = &digits.format(SECOND + rest)[1..];
                to.push('.');
                to.push_str(rest.trim_end_matches('0'));
            }
        }
    }
}

/// A label's value with the escapes that the format asks for.
pub(crate) fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
