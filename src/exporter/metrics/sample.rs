//! The numbers in events, interpreted in the same way by all exporters.
//!
//! | part of an event | metric |
//! | --- | --- |
//! | the event itself | a counter |
//! | `duration` (ns) or `duration_ms` | a histogram of the operation, in seconds |
//! | every other measurement that is a number | a gauge, or the kind that `--metric-kind` sets |
//! | `system_time` | nothing, unless `--metric-kind` sets a kind |

use super::{buckets::Buckets, last_match};
use crate::{control::glob::Glob, event::view::View, exporter::number::Number};

/// How samples are aggregated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The sum.
    Counter,
    /// The latest value.
    Gauge,
    /// The number of samples in each bucket.
    Histogram,
    /// A histogram, except in protocols whose server computes percentiles over all hosts.
    Distribution,
}

/// A measurement that has no kind by default: the absolute time at which an operation started, which every
/// start event of Snakepit's workers has. A time is neither summed nor compared, and as a gauge it would only
/// repeat when the last event came.
pub(in crate::exporter) const ABSOLUTE_TIME: &str = "system_time";

/// What a sample measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// Events of this name.
    Event(&'a str),
    /// The time an operation took, in seconds.
    Duration {
        /// The operation.
        operation: &'a str,
        /// Whether it has failed.
        failed: bool,
    },
    /// A measurement of an operation.
    Measurement {
        /// The operation.
        operation: &'a str,
        /// The measurement's key.
        key: &'a str,
    },
}

/// One number of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    /// What it measures.
    pub subject: Subject<'a>,
    /// How it is aggregated.
    pub kind: Kind,
    /// The value; any double, infinite and NaN included.
    pub value: Number,
}

/// Which metrics are made of events: the options `--metric-kind`, `--metric-buckets` and `--metric-label`.
#[derive(Debug, Clone, Default)]
pub struct Measures {
    /// The kinds of measurements by their dotted names `OPERATION.KEY`; the last match is used. Measurements
    /// without a kind are left out.
    pub kinds: Vec<(Glob, Option<Kind>)>,
    /// The bounds of histograms' buckets.
    pub buckets: Buckets,
    /// The metadata keys that become labels.
    pub labels: Vec<String>,
}

impl Measures {
    /// The labels of an event's samples, in the order of the options.
    pub fn labels<'a>(&'a self, event: &'a View<'_>) -> impl Iterator<Item = (&'a str, &'a str)> + Clone {
        self.labels.iter().filter_map(|key| Some((key.as_str(), event.metadatum(key)?)))
    }

    /// The samples of an event.
    pub fn samples<'a>(&'a self, event: &'a View<'_>) -> impl Iterator<Item = Sample<'a>> {
        let operation = event.operation();
        let failed = event.has_failed();
        let count =
            Sample { subject: Subject::Event(event.name()), kind: Kind::Counter, value: Number::Int(1) };
        // `duration` is a duration in events without an operation, too.
        let duration = event.duration_seconds().map(|value| Sample {
            subject: Subject::Duration { operation, failed },
            kind: Kind::Histogram,
            value: value.into(),
        });
        let used = event.duration_key();
        let others = event.measurements().iter().filter(move |(key, _)| Some(*key) != used);
        let others = others.filter_map(move |(key, value)| {
            let value = Number::measured(*value)?;
            Some(Sample {
                subject: Subject::Measurement { operation, key },
                kind: self.kind(operation, key)?,
                value,
            })
        });
        std::iter::once(count).chain(duration).chain(others)
    }

    fn kind(&self, operation: &str, key: &str) -> Option<Kind> {
        let default = (key != ABSOLUTE_TIME).then_some(Kind::Gauge);
        if self.kinds.is_empty() {
            return default;
        }
        let name = format!("{operation}.{key}");
        last_match(&self.kinds, |glob| glob.matches(&name)).copied().unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value::Value};

    /// The kinds of the measurements of an event `a.start` with these globs.
    fn kinds(globs: &[(&str, Option<Kind>)]) -> Vec<(String, Kind)> {
        let value = |value| TelemetryValue { value: Some(Value::IntValue(value)) };
        let measurements = ["rss", "rows", "system_time"].map(|key| (key.to_owned(), value(1)));
        let event = TelemetryEvent {
            event_parts: vec!["a".into(), "start".into()],
            measurements: measurements.into_iter().collect(),
            ..TelemetryEvent::default()
        };
        let kinds = globs.iter().map(|(glob, kind)| (Glob::new(glob), *kind)).collect();
        let measures = Measures { kinds, ..Measures::default() };
        let view = View::from(&event);
        let samples = measures.samples(&view).filter_map(|sample| match sample.subject {
            Subject::Measurement { key, .. } => Some((key.to_owned(), sample.kind)),
            _ => None,
        });
        let mut kinds: Vec<_> = samples.collect();
        kinds.sort();
        kinds
    }

    fn expected(kinds: &[(&str, Kind)]) -> Vec<(String, Kind)> {
        kinds.iter().map(|(key, kind)| ((*key).to_owned(), *kind)).collect()
    }

    #[test]
    fn absolute_times_are_left_out_until_a_glob_sets_their_kind() {
        assert_eq!(kinds(&[]), expected(&[("rows", Kind::Gauge), ("rss", Kind::Gauge)]));
        assert_eq!(kinds(&[("*.rows", None)]), expected(&[("rss", Kind::Gauge)]));
        assert_eq!(kinds(&[("*", None), ("*.system_time", Some(Kind::Gauge))]).len(), 1);
        assert_eq!(kinds(&[("a.system_time", Some(Kind::Gauge))]).len(), 3);
    }

    #[test]
    fn the_last_glob_that_matches_decides() {
        let globs = [("*", None), ("a.r*", Some(Kind::Distribution)), ("*.rows", Some(Kind::Counter))];
        assert_eq!(kinds(&globs), expected(&[("rows", Kind::Counter), ("rss", Kind::Distribution)]));
        assert!(kinds(&[globs[2], globs[1], globs[0]]).is_empty());
    }
}
