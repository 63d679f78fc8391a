//! Numbers of events, and what they mean: the same to every backend.
//!
//! | of an event | becomes |
//! | --- | --- |
//! | that it came | a counter |
//! | `duration` (ns) or `duration_ms` | a histogram of the operation, in seconds |
//! | every other measurement that is a number | a gauge, or what `--metric-kind` says |

use crate::{
    control::glob::Glob,
    exporter::event::{Event, Phase, number},
};

/// How numbers of a kind are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Their sum.
    Counter,
    /// The latest.
    Gauge,
    /// How many were in each range.
    Histogram,
}

/// What a number is of.
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
    /// What it is of.
    pub subject: Subject<'a>,
    /// How it is joined with others.
    pub kind: Kind,
    /// The number; any double.
    pub value: f64,
}

/// What is measured: the options `--metric-kind` and `--metric-label`.
#[derive(Debug, Clone, Default)]
pub struct Measures {
    /// What kind a measurement is, by its dotted name `OPERATION.KEY`; the last that matches counts.
    pub kinds: Vec<(Glob, Kind)>,
    /// The keys of metadata that become labels.
    pub labels: Vec<String>,
}

impl Measures {
    /// The labels of an event's samples: those allowed that it has, in the order of the options.
    pub fn labels<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = (&'a str, &'a str)> {
        let metadata = &event.event.metadata;
        self.labels.iter().filter_map(|key| Some((key.as_str(), metadata.get(key)?.as_str())))
    }

    /// The numbers of an event.
    pub fn samples<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = Sample<'a>> {
        let operation = event.operation();
        let failed = event.phase() == Phase::Exception;
        let count = Sample { subject: Subject::Event(event.name()), kind: Kind::Counter, value: 1.0 };
        // Of other events `duration` is a duration just as well.
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
