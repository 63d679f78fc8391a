//! Encodes samples as protocol lines. Performs no I/O.
//!
//! | sample | StatsD | DogStatsD |
//! | --- | --- | --- |
//! | an event | `PREFIX.EVENT:1\|c` | the same |
//! | a duration | `PREFIX.OPERATION.duration:MILLISECONDS\|ms` | with the tag `result:ok` or `result:error` |
//! | a counter | `PREFIX.OPERATION.KEY:NUMBER\|c` | the same |
//! | a gauge | `PREFIX.OPERATION.KEY:NUMBER\|g` | the same |
//! | a histogram | `PREFIX.OPERATION.KEY:NUMBER\|ms` (no other type) | `PREFIX.OPERATION.KEY:NUMBER\|h` |
//! | a distribution | as a histogram | `PREFIX.OPERATION.KEY:NUMBER\|d` |
//!
//! With `--statsd-distributions` a duration in DogStatsD is a `d` as well.
//!
//! DogStatsD lines end with the event's labels and the tags of all lines, `|#KEY:VALUE,KEY:VALUE`, and with
//! the origin, `|c:CONTAINER`. See
//! <https://github.com/statsd/statsd/blob/master/docs/metric_types.md> and
//! <https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/>.
//!
//! Names consist of letters, digits, `_`, `-` and `.`; every other character becomes `_`, so that a line can
//! never be parsed as more than one metric.

use super::{
    args::{Dialect, Prefix, is_name_char},
    number,
    tags::{Labels, MAX_TAG_BYTES, Tag, clean, push_tag, separate},
};
use crate::exporter::{
    event::cut,
    metrics::{
        key::Key,
        sample::{Kind, Sample, Subject},
    },
};

/// The metric type of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// The server sums the values.
    Counter,
    /// The server keeps the latest value.
    Gauge,
    /// A duration in milliseconds; the server computes the distribution.
    Timer,
    /// Any number; the agent computes the distribution of its host.
    Histogram,
    /// Any number; Datadog computes the distribution over all hosts.
    Distribution,
}

impl Type {
    fn letters(self) -> &'static str {
        match self {
            Self::Counter => "c",
            Self::Gauge => "g",
            Self::Timer => "ms",
            Self::Histogram => "h",
            Self::Distribution => "d",
        }
    }

    /// Whether negative values are valid. StatsD rejects negative timers; Telegraf, Prometheus'
    /// statsd_exporter and this project's other exporters reject negative counters.
    fn may_be_negative(self) -> bool {
        matches!(self, Self::Gauge | Self::Histogram | Self::Distribution)
    }
}

/// A line of the protocol.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    encoder: &'a Encoder,
    subject: Subject<'a>,
    pub kind: Type,
    /// Finite, and never a negative zero, whose sign would be significant.
    pub value: f64,
    /// Whether it counts an event.
    pub is_event: bool,
}

impl Line<'_> {
    /// The key of the series: lines with the same key are of one series.
    pub fn key(&self) -> &Key {
        &self.encoder.key
    }

    /// The line without its value: `NAME:|TYPE`, followed by the tags if any. It identifies the series.
    pub fn series(&self) -> String {
        self.encoder.series(self.subject, self.kind)
    }
}

/// Appends a line.
pub fn write(line: &mut String, series: &str, value: f64) {
    let (name, rest) = series.split_once(':').unwrap_or((series, ""));
    line.push_str(name);
    line.push(':');
    number::write(line, value);
    line.push_str(rest);
}

/// What all lines have in common.
#[derive(Debug, Clone, Default)]
pub struct Common {
    /// Tags of lines whose event has no label of that key.
    pub tags: Vec<Tag>,
    /// The fields behind the tags: `|c:CONTAINER|e:EXTERNAL`, or empty.
    pub origin: String,
}

/// Encodes samples as lines.
#[derive(Debug)]
pub struct Encoder {
    dialect: Dialect,
    /// Whether durations are distributions.
    distributions: bool,
    prefix: String,
    common: Common,
    /// The labels of the event.
    labels: Labels,
    /// The key of the line.
    key: Key,
}

impl Encoder {
    pub fn new(dialect: Dialect, distributions: bool, prefix: &Prefix, common: Common) -> Self {
        let prefix = prefix.as_str().to_owned();
        let (labels, key) = (Labels::default(), Key::default());
        Self { dialect, distributions, prefix, common, labels, key }
    }

    /// Sets the labels for the next lines, which are those of one event. Empty values are omitted.
    pub fn label<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        self.labels.clear();
        if self.dialect == Dialect::Dogstatsd {
            for (key, value) in labels.filter(|(_, value)| !value.is_empty()) {
                self.labels.push(key, cut(value, MAX_TAG_BYTES));
            }
        }
    }

    /// The line of a sample, or `None` if the protocol cannot represent its value.
    pub fn line<'a>(&'a mut self, sample: &Sample<'a>) -> Option<Line<'a>> {
        let value = sample.value.as_f64();
        let (kind, value) = match (sample.subject, sample.kind) {
            (Subject::Duration { .. }, _) if self.distributions => (Type::Distribution, milliseconds(value)),
            (Subject::Duration { .. }, _) => (Type::Timer, milliseconds(value)),
            (_, Kind::Counter) => (Type::Counter, value),
            (_, Kind::Gauge) => (Type::Gauge, value),
            (_, Kind::Histogram | Kind::Distribution) if self.dialect == Dialect::Statsd => {
                (Type::Timer, value)
            }
            (_, Kind::Histogram) => (Type::Histogram, value),
            (_, Kind::Distribution) => (Type::Distribution, value),
        };
        let subject = sample.subject;
        let may_be_negative = kind.may_be_negative() && !matches!(subject, Subject::Duration { .. });
        if !value.is_finite() || (value < 0.0 && !may_be_negative) {
            return None;
        }
        self.key.start(subject);
        for (key, value) in self.labels.iter() {
            self.key.label(key, value);
        }
        let is_event = matches!(subject, Subject::Event(_));
        // Adding 0.0 turns a negative zero into a positive one.
        Some(Line { encoder: self, subject, kind, value: value + 0.0, is_event })
    }

    fn series(&self, subject: Subject<'_>, kind: Type) -> String {
        let mut series = self.prefix.clone();
        match subject {
            Subject::Event(name) => series.extend(clean(name, is_name_char)),
            Subject::Duration { operation, .. } => {
                series.extend(clean(operation, is_name_char));
                series.push_str(".duration");
            }
            Subject::Measurement { operation, key } => {
                series.extend(clean(operation, is_name_char));
                series.push('.');
                series.extend(clean(key, is_name_char));
            }
        }
        series.push_str(":|");
        series.push_str(kind.letters());
        if self.dialect == Dialect::Statsd {
            return series;
        }
        // Datadog requires a leading letter, and its agent treats lines that start with `_sc` as service
        // checks.
        if !series.starts_with(|first: char| first.is_ascii_alphabetic()) {
            series.insert(0, 'x');
        }
        let result = match subject {
            Subject::Duration { failed: true, .. } => "result:error",
            Subject::Duration { failed: false, .. } => "result:ok",
            _ => "",
        };
        let mut before = "|#";
        for tags in [result, &self.tags()] {
            if !tags.is_empty() {
                series.push_str(before);
                series.push_str(tags);
                before = ",";
            }
        }
        series.push_str(&self.common.origin);
        series
    }

    /// The labels of the event, and the tags of all lines.
    fn tags(&self) -> String {
        let mut tags = String::new();
        for (key, value) in self.labels.iter() {
            push_tag(&mut tags, key, value);
        }
        let is_label = |tag: &&Tag| self.labels.iter().any(|(key, _)| key == tag.key());
        for tag in self.common.tags.iter().filter(|tag| !is_label(tag)) {
            separate(&mut tags);
            tags.push_str(tag.text());
        }
        tags
    }
}

/// Converts seconds to milliseconds, rounded to nanoseconds: most durations were integers of nanoseconds, and
/// dividing twice would add digits.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1e6
}
