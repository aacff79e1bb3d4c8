//! Prometheus' text format, version 0.0.4.
//!
//! Source: prometheus.io, "Exposition formats" and "Metric and label naming".

use std::fmt::{Display, Write as _};

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, but for restarts.
    Counter,
    /// Counts by upper bound, their number and their sum.
    Histogram,
}

/// A metric, and how it is read off what is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family<T: ?Sized> {
    /// `segue_…`, with its unit, and `_total` if it is a counter.
    pub(super) name: &'static str,
    /// Its kind.
    pub(super) kind: Kind,
    /// What it says, and why one would want to be woken by it.
    pub(super) help: &'static str,
    /// Puts its samples.
    pub(super) show: fn(&mut Samples<'_>, &T),
}

impl<T: ?Sized> Family<T> {
    /// Its samples of all that is shown, each under the labels that stand with it.
    pub(super) fn write<'a>(
        &self,
        text: &mut String,
        shown: impl IntoIterator<Item = (&'a str, &'a T)>,
    ) where
        T: 'a,
    {
        let kind = match self.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        let name = self.name;
        let _infallible = write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n", self.help);
        for (labels, shown) in shown {
            let mut samples = Samples { text, name, labels };
            (self.show)(&mut samples, shown);
        }
    }
}

/// The samples of one metric.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    text: &'a mut String,
    name: &'static str,
    labels: &'a str,
}

impl Samples<'_> {
    /// One sample with no further label.
    pub(super) fn put(&mut self, value: impl Display) {
        self.put_with(&[], value);
    }

    /// One sample with these labels too.
    pub(super) fn put_with(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.put_part("", labels, value);
    }

    /// One sample for each of `all`: 1 where it is so, else 0.
    pub(super) fn put_set<'a>(
        &mut self,
        label: &str,
        all: impl IntoIterator<Item = (&'a str, bool)>,
    ) {
        for (name, holds) in all {
            self.put_with(&[(label, name)], u8::from(holds));
        }
    }

    /// A sample of a part of a histogram: `_bucket`, `_sum` or `_count`.
    pub(super) fn put_part(&mut self, part: &str, labels: &[(&str, &str)], value: impl Display) {
        let written = labels_of(labels);
        let comma = if self.labels.is_empty() || written.is_empty() {
            ""
        } else {
            ","
        };
        let (name, before) = (self.name, self.labels);
        let _infallible = if before.is_empty() && written.is_empty() {
            writeln!(self.text, "{name}{part} {value}")
        } else {
            writeln!(
                self.text,
                "{name}{part}{{{before}{comma}{written}}} {value}"
            )
        };
    }
}

/// Labels as they stand in a sample.
pub(super) fn labels_of(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        let _infallible = write!(text, "{name}=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text
}
