//! Finds the start with the same metadata as an end among all spans, however many of one correlation id are
//! open.

use super::{
    metadata::Fingerprint,
    started::{Correlation, Number, Open},
};
use std::{
    cmp::Reverse,
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// How many spans with equal hashes are checked in each direction of time. More than the first are only
/// needed if some of them have an id from the worker.
const MAX_SEARCHED: usize = 1000;

/// Spans by hash, start and number.
#[derive(Debug, Default)]
pub struct ByMetadata(BTreeSet<(u64, u64, Number)>);

impl ByMetadata {
    /// Adds a span.
    pub fn insert(&mut self, number: Number, span: &Open) {
        self.0.insert(key(number, span));
    }

    /// Removes a span.
    pub fn remove(&mut self, number: Number, span: &Open) {
        self.0.remove(&key(number, span));
    }

    /// Of the spans with a [`hash`] that fit, the one whose start is nearest to a time; of several, the
    /// latest.
    pub fn nearest(&self, hash: u64, start_ns: u64, fits: impl Fn(Number) -> bool) -> Option<Number> {
        let range = |from, to| self.0.range((hash, from, 0)..=(hash, to, Number::MAX));
        let fits = |(_, _, number): &&(u64, u64, Number)| fits(*number);
        let before = range(0, start_ns).rev().take(MAX_SEARCHED).find(fits);
        let after =
            start_ns.checked_add(1).and_then(|next| range(next, u64::MAX).take(MAX_SEARCHED).find(fits));
        let latest =
            after.and_then(|(_, start, _)| range(*start, *start).rev().take(MAX_SEARCHED).find(fits));
        let nearest = before.into_iter().chain(latest);
        let rank = |(_, start, number): &&(u64, u64, Number)| (start.abs_diff(start_ns), Reverse(*number));
        nearest.min_by_key(rank).map(|(_, _, number)| *number)
    }
}

/// A hash of what an end has to have in common with its start.
pub fn hash(correlation: Correlation, operation: &str, metadata: &[Fingerprint]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (correlation, operation, metadata).hash(&mut hasher);
    hasher.finish()
}

fn key(number: Number, span: &Open) -> (u64, u64, Number) {
    (hash(span.correlation, &span.operation, &span.metadata), span.start_ns, number)
}
