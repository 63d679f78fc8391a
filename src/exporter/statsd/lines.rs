//! Samples as lines of the protocol. Pure.
//!
//! | sample | StatsD | DogStatsD |
//! | --- | --- | --- |
//! | an event | `PREFIX.EVENT:1\|c` | the same |
//! | a duration | `PREFIX.OPERATION.duration:MILLISECONDS\|ms` | with the tag `result:ok` or `result:error` |
//! | a counter | `PREFIX.OPERATION.KEY:NUMBER\|c` | the same |
//! | a gauge | `PREFIX.OPERATION.KEY:NUMBER\|g` | the same |
//! | a histogram | `PREFIX.OPERATION.KEY:NUMBER\|ms`, for there is nothing else | `PREFIX.OPERATION.KEY:NUMBER\|h` |
//!
//! DogStatsD's lines end with the event's labels as tags, `|#KEY:VALUE,KEY:VALUE`. See
//! <https://github.com/statsd/statsd/blob/master/docs/metric_types.md> and
//! <https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/>.
//!
//! Names are letters, digits, `_`, `-` and `.`; everything else a worker sends becomes `_`, so that no line can be more
//! than one metric.

use super::settings::{Dialect, Prefix, is_name_char};
use crate::exporter::metrics::sample::{Kind, Sample, Subject};
use std::fmt::Write as _;

/// The longest tag in bytes, its key included: <https://docs.datadoghq.com/getting_started/tagging/#define-tags>.
const MAX_TAG_BYTES: usize = 200;

/// As much as need be looked at of a name: a line with more is longer than any datagram.
const MAX_TEXT_CHARS: usize = 8192;

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Added up by the server.
    Counter,
    /// The server keeps the latest.
    Gauge,
    /// A time in milliseconds; the server tells their distribution.
    Timer,
    /// The same for any number.
    Histogram,
}

impl Type {
    fn letters(self) -> &'static str {
        match self {
            Self::Counter => "c",
            Self::Gauge => "g",
            Self::Timer => "ms",
            Self::Histogram => "h",
        }
    }

    /// Whether a negative number means anything. A negative timer is a bad line to StatsD; a negative counter is one to
    /// Telegraf and to Prometheus' statsd_exporter, and to our other exporters no counter either.
    fn may_be_negative(self) -> bool {
        matches!(self, Self::Gauge | Self::Histogram)
    }
}

/// A line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line<'a> {
    /// All of it but the number: `NAME:|TYPE`, with tags if there are any. Lines of which this is the same are of one
    /// series.
    pub series: &'a str,
    /// What it is.
    pub kind: Type,
    /// The number: finite, and not a negative zero, which would be a sign.
    pub value: f64,
    /// Whether it counts an event.
    pub is_event: bool,
}

/// Writes a series with its number. It is as short as it can be without becoming another double, and has no exponent,
/// which not all servers read.
pub fn write(line: &mut String, series: &str, value: f64) {
    let (name, rest) = series.split_once(':').unwrap_or((series, ""));
    // Writing to a String does not fail.
    let _ = write!(line, "{name}:{value}{rest}");
}

/// Makes lines of samples.
#[derive(Debug)]
pub struct Encoder {
    dialect: Dialect,
    prefix: String,
    tags: String,
    series: String,
}

impl Encoder {
    /// An encoder for a server's dialect.
    pub fn new(dialect: Dialect, prefix: &Prefix) -> Self {
        Self { dialect, prefix: prefix.as_str().to_owned(), tags: String::new(), series: String::new() }
    }

    /// Takes the labels of an event, for the lines of its samples. Empty values are left out.
    pub fn label<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        self.tags.clear();
        if self.dialect == Dialect::Dogstatsd {
            for (key, value) in labels.filter(|(_, value)| !value.is_empty()) {
                push_tag(&mut self.tags, key, value);
            }
        }
    }

    /// The line of a sample; none if the protocol cannot say its number.
    pub fn line(&mut self, sample: &Sample<'_>) -> Option<Line<'_>> {
        let (kind, value) = match (sample.subject, sample.kind) {
            (Subject::Duration { .. }, _) => (Type::Timer, milliseconds(sample.value)),
            (_, Kind::Counter) => (Type::Counter, sample.value),
            (_, Kind::Gauge) => (Type::Gauge, sample.value),
            (_, Kind::Histogram) => match self.dialect {
                Dialect::Statsd => (Type::Timer, sample.value),
                Dialect::Dogstatsd => (Type::Histogram, sample.value),
            },
        };
        if !value.is_finite() || (value < 0.0 && !kind.may_be_negative()) {
            return None;
        }
        self.write_series(sample.subject, kind);
        let is_event = matches!(sample.subject, Subject::Event(_));
        // Nothing is added but a negative zero made a positive one.
        Some(Line { series: &self.series, kind, value: value + 0.0, is_event })
    }

    fn write_series(&mut self, subject: Subject<'_>, kind: Type) {
        self.series.clear();
        self.series.push_str(&self.prefix);
        match subject {
            Subject::Event(name) => self.series.extend(clean(name, is_name_char)),
            Subject::Duration { operation, .. } => {
                self.series.extend(clean(operation, is_name_char));
                self.series.push_str(".duration");
            }
            Subject::Measurement { operation, key } => {
                self.series.extend(clean(operation, is_name_char));
                self.series.push('.');
                self.series.extend(clean(key, is_name_char));
            }
        }
        self.series.push_str(":|");
        self.series.push_str(kind.letters());
        if self.dialect == Dialect::Statsd {
            return;
        }
        // Datadog wants a letter first, and its agent takes what starts with `_sc` for something else.
        if !self.series.starts_with(|first: char| first.is_ascii_alphabetic()) {
            self.series.insert(0, 'x');
        }
        let result = match subject {
            Subject::Duration { failed: true, .. } => "result:error",
            Subject::Duration { failed: false, .. } => "result:ok",
            _ => "",
        };
        let mut before = "|#";
        for tags in [result, &self.tags] {
            if !tags.is_empty() {
                self.series.push_str(before);
                self.series.push_str(tags);
                before = ",";
            }
        }
    }
}

/// Seconds as milliseconds. As a rule they came as whole nanoseconds, and get no digits from being divided twice.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1e6
}

/// A tag, with a comma before it unless it is the first.
fn push_tag(tags: &mut String, key: &str, value: &str) {
    if !tags.is_empty() {
        tags.push(',');
    }
    let end = tags.len() + MAX_TAG_BYTES;
    tags.extend(clean(key, is_tag_char));
    tags.push(':');
    tags.extend(clean(value, is_tag_char));
    // All of it is ASCII.
    tags.truncate(end);
}

/// Whether a tag may have it: what can be printed and does not part tags.
fn is_tag_char(char: char) -> bool {
    char.is_ascii_graphic() && !matches!(char, '|' | '#' | ':' | '@' | ',')
}

/// The text with `_` for everything that may not be in it, as far as it could find room in a datagram.
fn clean(text: &str, may_be: impl Fn(char) -> bool) -> impl Iterator<Item = char> {
    text.chars().take(MAX_TEXT_CHARS).map(move |char| if may_be(char) { char } else { '_' })
}
