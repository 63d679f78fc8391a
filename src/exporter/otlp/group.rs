//! The open spans of one correlation id, and which of them may be within which.
//!
//! A span is taken to be within the innermost span that was open when it started and is still open when it
//! ends, with two exceptions for operations that run at the same time, as tasks of asyncio do:
//!
//! 1. Of two operations that do the same and are open at the same time neither is within the other, nor
//!    within what is within the other. Concurrency is far more frequent than recursion. They do the same if
//!    they have the same name and their metadata differs in values with digits only: numbers and ids, but not
//!    the name of a tool ([`identity`](super::metadata::identity)).
//! 2. The same holds for two operations that were once seen to overlap: one started while the other was open,
//!    and ended after it. This is remembered as long as spans of the correlation id are open.

use super::started::{Number, Open};
use std::collections::BTreeMap;

/// How many open spans of one correlation id are searched. Only a worker that does not end its spans has more
/// of them, and they must not make the handling of every event slow.
const MAX_SEARCHED: usize = 1000;

/// How many operations that a span has outlived are remembered until its end.
const MAX_OVERLAPS: usize = 8;

/// How many pairs of operations that overlap are remembered.
const MAX_PAIRS: usize = 64;

/// Identities of operations that a span has outlived.
#[derive(Debug, Default)]
pub struct Overlaps(Vec<u64>);

impl Overlaps {
    /// Adds an operation if there is room.
    pub fn add(&mut self, identity: u64) {
        if self.0.len() < MAX_OVERLAPS && !self.0.contains(&identity) {
            self.0.push(identity);
        }
    }
}

/// The spans of a correlation id.
#[derive(Debug, Default)]
pub struct Group {
    /// The numbers in ascending order.
    pub numbers: Vec<Number>,
    /// Operations that overlap, as [`pair`]s.
    pairs: Vec<(u64, u64)>,
}

impl Group {
    /// Removes a span.
    pub fn remove(&mut self, number: Number) {
        if let Ok(at) = self.numbers.binary_search(&number) {
            self.numbers.remove(at);
        }
    }

    /// The spans that started after another, the oldest first.
    pub fn after(&self, number: Number) -> &[Number] {
        let after = self.numbers.get(self.numbers.partition_point(|other| *other <= number)..);
        let after = after.unwrap_or_default();
        after.get(..MAX_SEARCHED).unwrap_or(after)
    }

    /// The latest spans, the oldest of them first.
    pub fn latest(&self) -> &[Number] {
        self.numbers.get(self.numbers.len().saturating_sub(MAX_SEARCHED)..).unwrap_or_default()
    }

    /// Remembers that an operation has outlived others.
    pub fn learn(&mut self, identity: u64, outlived: &Overlaps) {
        for other in &outlived.0 {
            let pair = pair(identity, *other);
            if !self.pairs.contains(&pair) {
                if self.pairs.len() == MAX_PAIRS {
                    self.pairs.remove(0);
                }
                self.pairs.push(pair);
            }
        }
    }

    /// The innermost span that started before a number, that fits, and that an operation may be within.
    pub fn enclosing(
        &self,
        spans: &BTreeMap<Number, Open>,
        identity: u64,
        before: Number,
        fits: impl Fn(&Open) -> bool,
    ) -> Option<Number> {
        let is_concurrent = |other| other == identity || self.pairs.contains(&pair(other, identity));
        // What runs at the same time, and everything within: in ascending order.
        let mut excluded: Vec<Number> = Vec::new();
        let mut innermost = None;
        for number in self.latest().iter().take_while(|number| **number < before) {
            let Some(span) = spans.get(number) else { continue };
            let within_excluded = span.around.is_some_and(|around| excluded.binary_search(&around).is_ok());
            if within_excluded || is_concurrent(span.identity) {
                excluded.push(*number);
            } else if fits(span) {
                innermost = Some(*number);
            }
        }
        innermost
    }
}

/// Two operations in any order.
fn pair(one: u64, other: u64) -> (u64, u64) {
    (one.min(other), one.max(other))
}
