//! The numbers in events, interpreted in the same way by all exporters.
//!
//! | part of an event | metric |
//! | --- | --- |
//! | the event itself | a counter |
//! | `duration` (ns) or `duration_ms` | a histogram of the operation, in seconds |
//! | every other measurement that is a number | a gauge, or the kind that `--metric-kind` sets |

use crate::{
    control::glob::Glob,
    exporter::event::{Event, Phase, number},
};

/// How samples are aggregated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The sum.
    Counter,
    /// The latest value.
    Gauge,
    /// The number of samples in each bucket.
    Histogram,
}

/// What a sample measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// Events of this name.
    Event(&'a str),
    /// The time an operation took, in seconds.
    Duration {
        /// The operation.
        operation: &'a str,
        /// Whether it ended with an exception.
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
    /// The value; any double.
    pub value: f64,
}

/// Which metrics are made of events: the options `--metric-kind` and `--metric-label`.
#[derive(Debug, Clone, Default)]
pub struct Measures {
    /// The kinds of measurements by their dotted names `OPERATION.KEY`; the last match is used.
    pub kinds: Vec<(Glob, Kind)>,
    /// The metadata keys that become labels.
    pub labels: Vec<String>,
}

impl Measures {
    /// The labels of an event's samples, in the order of the options.
    pub fn labels<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = (&'a str, &'a str)> {
        let metadata = &event.event.metadata;
        self.labels.iter().filter_map(|key| Some((key.as_str(), metadata.get(key)?.as_str())))
    }

    /// The samples of an event.
    pub fn samples<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = Sample<'a>> {
        let operation = event.operation();
        let failed = event.phase() == Phase::Exception;
        let count = Sample { subject: Subject::Event(event.name()), kind: Kind::Counter, value: 1.0 };
        // `duration` is a duration in events without an operation, too.
        let duration = event.duration_seconds().map(|value| Sample {
            subject: Subject::Duration { operation, failed },
            kind: Kind::Histogram,
            value,
        });
        let used = match duration {
            None => "",
            Some(_) if event.number("duration").is_some() => "duration",
            Some(_) => "duration_ms",
        };
        let others = event.event.measurements.iter().filter(move |(key, _)| *key != used);
        let others = others.filter_map(move |(key, value)| {
            let value = number(value.value.as_ref()?)?;
            Some(Sample {
                subject: Subject::Measurement { operation, key },
                kind: self.kind(operation, key),
                value,
            })
        });
        std::iter::once(count).chain(duration).chain(others)
    }

    fn kind(&self, operation: &str, key: &str) -> Kind {
        if self.kinds.is_empty() {
            return Kind::Gauge;
        }
        let name = format!("{operation}.{key}");
        let matching = self.kinds.iter().rev().find(|(glob, _)| glob.matches(&name));
        matching.map_or(Kind::Gauge, |(_, kind)| *kind)
    }
}
