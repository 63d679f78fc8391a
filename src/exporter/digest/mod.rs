//! A stream of events as a person wants to see it: operations with their durations, and measurements with
//! their course. Memory is bounded.
//!
//! The numbers mean what they mean to exporters ([`sample`](super::metrics::sample)).

pub mod course;
pub mod operation;
pub mod sketch;
pub mod table;

#[cfg(test)]
mod tests;

pub use self::operation::{Measurement, Operation};

use self::sketch::Sketch;
use super::{event::cut, metrics::sample::ABSOLUTE_TIME};
use crate::event::view::{View, Views};
use std::collections::HashMap;

/// The longest name of an operation or key of a measurement, in bytes. Longer ones are cut.
const MAX_NAME_BYTES: usize = 128;

/// The name of the row that counts everything beyond the limits.
const OTHER: &str = "(other)";

/// How many names are kept. What comes later under another name is counted in [`Digest::other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Operations.
    pub operations: usize,
    /// Measurements of all operations together.
    pub measurements: usize,
}

impl Default for Limits {
    /// Several screens full, and at most some megabytes.
    fn default() -> Self {
        Self { operations: 256, measurements: 256 }
    }
}

/// Operations and measurements of a stream of events.
#[derive(Debug, Clone)]
pub struct Digest {
    limits: Limits,
    operations: Vec<Operation>,
    /// The indices of the operations by their names.
    index: HashMap<String, usize>,
    /// The index of the operation of the last event: the next one is often of the same.
    latest: usize,
    /// The number of measurements of all operations.
    measurements: usize,
    other: Operation,
    durations: Sketch,
    other_values: u64,
    events: u64,
}

impl Digest {
    /// A digest of no events.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            operations: Vec::new(),
            index: HashMap::new(),
            latest: 0,
            measurements: 0,
            other: Operation { name: OTHER.into(), ..Operation::default() },
            durations: Sketch::default(),
            other_values: 0,
            events: 0,
        }
    }

    /// Adds the events in gRPC frames. Returns how many there were.
    pub fn add_frames(&mut self, frames: &[u8]) -> u64 {
        self.add_frames_unless(frames, |_| false)
    }

    /// Adds the events in gRPC frames; those that are left out are only counted. Returns how many there were.
    pub fn add_frames_unless(
        &mut self,
        frames: &[u8],
        mut is_left_out: impl FnMut(&View<'_>) -> bool,
    ) -> u64 {
        let mut events = Views::of(frames);
        while let Some(event) = events.read() {
            if is_left_out(event) {
                self.events += 1;
            } else {
                self.add(event);
            }
        }
        events.count()
    }

    /// The number of events.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The operations, in the order of their first events.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operation of this name.
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.get(*self.index.get(cut(name, MAX_NAME_BYTES))?)
    }

    /// All measurements with their operations.
    pub fn measurements(&self) -> impl Iterator<Item = (&Operation, &Measurement)> {
        self.operations.iter().flat_map(|operation| {
            operation.measurements.iter().map(move |measurement| (operation, measurement))
        })
    }

    /// The operations beyond the limit, all in one; none if there are none.
    pub fn other(&self) -> Option<&Operation> {
        let Operation { starts, stops, errors, points, .. } = self.other;
        (starts + stops + errors + points > 0).then_some(&self.other)
    }

    /// The durations of all operations.
    pub fn durations(&self) -> &Sketch {
        &self.durations
    }

    /// How many operations have failed.
    pub fn errors(&self) -> u64 {
        self.operations.iter().chain([&self.other]).map(|operation| operation.errors).sum()
    }

    /// How many values have measurements beyond the limit.
    pub fn other_values(&self) -> u64 {
        self.other_values
    }

    /// Adds an event.
    pub fn add(&mut self, event: &View<'_>) {
        self.events += 1;
        let duration = event.duration_seconds();
        let used = event.duration_key();
        let index = self.operation_index(cut(event.operation(), MAX_NAME_BYTES));
        let operation = index.and_then(|index| self.operations.get_mut(index));
        let is_other = operation.is_none();
        let operation = operation.unwrap_or(&mut self.other);
        operation.add(event);
        if let Some(seconds) = duration {
            operation.durations.add(seconds);
            self.durations.add(seconds);
        }
        // Events of one operation mostly have the same keys in the same order.
        let mut next = 0;
        for (key, value) in event.measurements() {
            let Some(number) = value.as_f64().filter(|_| *key != ABSOLUTE_TIME && Some(*key) != used) else {
                continue;
            };
            let key = cut(key, MAX_NAME_BYTES);
            let known = &mut operation.measurements;
            let at = match known.get(next) {
                Some(expected) if expected.key == key => next,
                _ => known.iter().position(|known| known.key == key).unwrap_or(known.len()),
            };
            if at == known.len() && !is_other && self.measurements < self.limits.measurements {
                self.measurements += 1;
                known.push(Measurement::new(key));
            }
            match known.get_mut(at) {
                Some(measurement) => measurement.add(number),
                None => self.other_values += 1,
            }
            next = at + 1;
        }
    }

    /// The index of the operation of this name, which is added if there is room.
    fn operation_index(&mut self, name: &str) -> Option<usize> {
        if self.operations.get(self.latest).is_some_and(|operation| operation.name == name) {
            return Some(self.latest);
        }
        if let Some(known) = self.index.get(name) {
            self.latest = *known;
            return Some(*known);
        }
        if self.operations.len() >= self.limits.operations {
            return None;
        }
        let added = self.operations.len();
        self.operations.push(Operation { name: name.to_owned(), ..Operation::default() });
        self.index.insert(name.to_owned(), added);
        Some(added)
    }
}
