//! One operation, and one of its measurements.

use super::{course::Course, sketch::Sketch};
use crate::event::view::{Phase, View};

/// The events of an operation (`NAME.start`, `NAME.stop`, `NAME.exception`), or of the same name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Operation {
    /// The name, as the worker wrote it: not for a terminal.
    pub name: String,
    /// `.start` events.
    pub starts: u64,
    /// `.stop` events.
    pub stops: u64,
    /// `.exception` events, and other events of a failure.
    pub errors: u64,
    /// Events of just this name that are no failure.
    pub points: u64,
    /// How long the operation took.
    pub durations: Sketch,
    /// The timestamp of the last event, in nanoseconds since the Unix epoch.
    pub last_ns: i64,
    /// The measurements, in the order of their first values.
    pub measurements: Vec<Measurement>,
}

/// A measurement that is a number, other than the duration.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// The key, as the worker wrote it: not for a terminal.
    pub key: String,
    /// The number of values.
    pub count: u64,
    /// The first value.
    pub first: f64,
    /// The latest value.
    pub last: f64,
    /// The smallest value; NaN if all are.
    pub min: f64,
    /// The largest value; NaN if all are.
    pub max: f64,
    /// The sum of all values.
    pub sum: f64,
    /// The course of the values.
    pub course: Course,
}

impl Operation {
    /// How often the operation has ended, and how many events have just this name.
    pub fn count(&self) -> u64 {
        self.stops + self.errors + self.points
    }

    /// How many have started and not ended, as far as their events came.
    pub fn in_flight(&self) -> u64 {
        self.starts.saturating_sub(self.stops + self.errors)
    }

    pub(super) fn add(&mut self, event: &View<'_>) {
        match event.phase() {
            _ if event.has_failed() => self.errors += 1,
            Phase::Start => self.starts += 1,
            Phase::Stop => self.stops += 1,
            Phase::Exception | Phase::Point => self.points += 1,
        }
        self.last_ns = event.timestamp_ns();
    }
}

impl Measurement {
    pub(super) fn new(key: &str) -> Self {
        let (key, nan) = (key.to_owned(), f64::NAN);
        Self { key, count: 0, first: nan, last: nan, min: nan, max: nan, sum: 0.0, course: Course::default() }
    }

    pub(super) fn add(&mut self, value: f64) {
        if self.count == 0 {
            self.first = value;
        }
        self.count += 1;
        self.last = value;
        // Of a number and NaN these are the number.
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += value;
        self.course.add(value);
    }
}
