//! The path for lines whose structure is known: workers print the same few events again and again.
//!
//! A shape is everything that two such lines have in common: the name, the keys, and all text around the
//! values. A line that has the literal text of a shape in the right positions is decoded by reading its
//! values only; the wire bytes between them were prepared when the shape was learned. A line that does not
//! match goes to the fast path.
//!
//! Learning a shape costs several times as much as decoding a line, and pays off only if such lines come
//! again. The first [`LEARN_FIRST`] lines of unknown shape are learned, and then one in [`LEARN_ONE_IN`].

use super::{
    fast,
    shape::{Shape, hash_of},
};
use crate::{event::batch::BatchBuilder, input::dialect::Dialect};

/// How many shapes are remembered.
const MAX_SHAPES: usize = 32;

/// The learning budget at the start: a worker prints its usual lines early.
const LEARN_FIRST: u64 = 64;

/// The learning budget afterwards, so that a worker may change what it prints.
const LEARN_ONE_IN: u64 = 256;

/// After more than [`LEARN_FIRST`] unknown lines in a row only one line in this many is compared with the
/// shapes.
const COMPARE_ONE_IN: u64 = 32;

/// At most this many shapes with the same hash are compared with a line.
const MAX_COMPARED: usize = 8;

/// Longer lines are not learned: the memory would be large, and the time between the values is a small part.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// The shapes of earlier lines.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    known: Vec<Shape>,
    /// The index of the shape that matched last.
    last: usize,
    /// The index of the shape that is replaced next.
    oldest: usize,
    /// How many lines had an unknown shape.
    unknown: u64,
    /// How many of them came since the last line of known shape.
    unknown_in_a_row: u64,
}

impl Shapes {
    /// Decodes a line of known shape and returns the length of what is decoded. None if another path has to;
    /// that says why a line is no event. A `Result` with that reason would cost time here: it is copied in
    /// parts of other sizes than it was written in, and such reads wait for the writes.
    pub(super) fn decode(
        &mut self,
        dialect: &Dialect,
        json: &[u8],
        now_ns: i64,
        batch: &mut BatchBuilder,
    ) -> Option<usize> {
        if self.unknown_in_a_row > LEARN_FIRST && !self.unknown_in_a_row.is_multiple_of(COMPARE_ONE_IN) {
            return None;
        }
        // Events often come in the same order.
        let expected = self.known.get(self.last).map_or(0, |last| last.next);
        let (index, length) = self
            .known
            .get(expected)
            .and_then(|shape| Some((expected, shape.decode(dialect, json, now_ns, batch)?)))
            .or_else(|| {
                let hash = hash_of(json)?;
                let same_hash = self.known.iter().enumerate().filter(|(_, shape)| shape.hash == hash);
                let mut others = same_hash.filter(|(index, _)| *index != expected).take(MAX_COMPARED);
                others.find_map(|(index, shape)| Some((index, shape.decode(dialect, json, now_ns, batch)?)))
            })?;
        self.follow(index);
        self.unknown_in_a_row = 0;
        Some(length)
    }

    /// Records that a line of this shape came after a line of the last shape.
    fn follow(&mut self, index: usize) {
        if let Some(last) = self.known.get_mut(self.last) {
            last.next = index;
        }
        self.last = index;
    }

    /// Counts a line of unknown shape that the fast path has decoded, and learns its shape if the budget
    /// allows it.
    pub(super) fn learn(&mut self, input: &fast::Input<'_>) {
        self.unknown += 1;
        self.unknown_in_a_row += 1;
        let in_budget = self.unknown <= LEARN_FIRST || self.unknown.is_multiple_of(LEARN_ONE_IN);
        if !in_budget || input.json.len() > MAX_LINE_BYTES {
            return;
        }
        let Some(shape) = Shape::of(input) else { return };
        let index = self.oldest;
        self.oldest = (self.oldest + 1) % MAX_SHAPES;
        match self.known.get_mut(index) {
            Some(oldest) => *oldest = shape,
            None => self.known.push(shape),
        }
        self.follow(index);
    }
}
