//! What two lists of events have in common, and the keys in which two events differ.

use serde::Deserialize;
use serde_json::Value;
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// After this time lists that have little in common are compared less precisely.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// A step from the expected events to those found. The numbers are indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Same {
        expected: usize,
        found: usize,
    },
    Missing(usize),
    New(usize),
    /// Two events with one name.
    Changed {
        expected: usize,
        found: usize,
    },
}

/// The steps from one list of lines to the other.
pub(super) fn steps(expected: &[&str], found: &[&str]) -> Vec<Step> {
    let mut steps = Vec::new();
    for operation in operations(expected, found) {
        match operation {
            DiffOp::Equal { old_index, new_index, len } => steps
                .extend((0..len).map(|by| Step::Same { expected: old_index + by, found: new_index + by })),
            DiffOp::Replace { .. } => replaced(&operation, expected, found, &mut steps),
            DiffOp::Delete { .. } | DiffOp::Insert { .. } => one_sided(&operation, (0, 0), &mut steps),
        }
    }
    steps
}

/// Pairs those of replaced events that have the same names in the same order.
fn replaced(operation: &DiffOp, expected: &[&str], found: &[&str], steps: &mut Vec<Step>) {
    let (old, new) = (operation.old_range(), operation.new_range());
    let start = (old.start, new.start);
    let expected = names(expected.get(old).unwrap_or_default());
    let found = names(found.get(new).unwrap_or_default());
    for operation in operations(&expected, &found) {
        if let DiffOp::Equal { old_index, new_index, len } = operation {
            let changed =
                |by| Step::Changed { expected: start.0 + old_index + by, found: start.1 + new_index + by };
            steps.extend((0..len).map(changed));
        } else {
            one_sided(&operation, start, steps);
        }
    }
}

/// First those that are missing, then those that are new.
fn one_sided(operation: &DiffOp, start: (usize, usize), steps: &mut Vec<Step>) {
    steps.extend(operation.old_range().map(|index| Step::Missing(start.0 + index)));
    steps.extend(operation.new_range().map(|index| Step::New(start.1 + index)));
}

fn operations<T: std::hash::Hash + Ord>(expected: &[T], found: &[T]) -> Vec<DiffOp> {
    let deadline = Some(Instant::now() + TIME_LIMIT);
    capture_diff_slices_deadline(Algorithm::Myers, expected, found, deadline)
}

/// The names of events.
fn names<'l>(lines: &[&'l str]) -> Vec<Cow<'l, str>> {
    #[derive(Deserialize)]
    struct Named<'l> {
        #[serde(borrow)]
        event: Cow<'l, str>,
    }
    let name = |line: &&'l str| serde_json::from_str::<Named<'l>>(line).map(|named| named.event);
    lines.iter().map(|line| name(line).unwrap_or_default()).collect()
}

/// The keys in which two events differ, with what was found and what was expected.
pub(super) fn keys(expected: &str, found: &str) -> Vec<String> {
    let (mut expected, found) = (flat(expected), flat(found));
    let mut keys = Vec::new();
    for (key, value) in found {
        match expected.remove(&key) {
            Some(other) if other == value => {}
            Some(other) => keys.push(format!("{key}: {value}, expected {other}")),
            None => keys.push(format!("{key}: {value}, expected none")),
        }
    }
    keys.extend(expected.into_iter().map(|(key, value)| format!("{key}: missing, expected {value}")));
    keys
}

/// The values of a line by their keys, such as `measurements.rows`.
fn flat(line: &str) -> BTreeMap<String, Value> {
    let parts: BTreeMap<String, Value> = serde_json::from_str(line).unwrap_or_default();
    let mut flat = BTreeMap::new();
    for (part, value) in parts {
        match value {
            Value::Object(entries) => {
                flat.extend(entries.into_iter().map(|(key, value)| (format!("{part}.{key}"), value)));
            }
            value => {
                flat.insert(part, value);
            }
        }
    }
    flat
}
