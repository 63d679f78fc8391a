//! The path for lines like ones seen before: workers print the same few events over and over.
//!
//! What stays the same between two lines of a kind, their name and keys and everything around the values, is a shape.
//! It is learned from the fast path. A line that has all of a shape's literal text in its places needs no key looked
//! at: only values are read, and between them go pieces of wire bytes that were made once.
//!
//! At anything unexpected it gives up, and the fast path starts anew. Learning costs more than it saves for a worker
//! whose lines are never alike, so it is done less often while nothing comes of it.

use super::{
    Fields, Reject,
    cursor::{Cursor, Key, Literal},
    entry,
    fast::{self, CORRELATION_ID, Field, LastName, Observer},
    head::{MadeHead, Map},
    room_for,
    wire::Writer,
};
use crate::event::batch::BatchBuilder;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// How many shapes are remembered.
const MAX_SHAPES: usize = 32;

/// How many lines of unknown shape are learned before it has to pay.
const MAX_CREDIT: u32 = 64;

/// What learning costs, when decoding a line of known shape gains 1.
const COST: u32 = 8;

/// While nothing is gained one line in so many is learned all the same: the worker may print others now.
const PAUSE: u32 = 256;

/// And one in so many is looked at for a shape that is known.
const TRY: u32 = 32;

/// How many bytes at the start of a line tell shapes apart.
const KEY_BYTES: usize = 32;

/// How many shapes that start like a line are tried for it.
const MAX_TRIES: usize = 8;

/// Longer lines are not learned: their shapes would take memory, and what is between the values is little of them.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// The shapes of lines seen before.
#[derive(Debug)]
pub(super) struct Shapes {
    known: Vec<Shape>,
    /// The one that matched last.
    last: usize,
    /// The one to be forgotten next.
    oldest: usize,
    /// How many lines more have been decoded than it cost to learn them.
    credit: u32,
    /// How many lines were of no known shape.
    unknown: u32,
}

impl Default for Shapes {
    fn default() -> Self {
        Self { known: Vec::new(), last: 0, oldest: 0, credit: MAX_CREDIT * COST, unknown: 0 }
    }
}

impl Shapes {
    /// Decodes a line of known shape, or gives up.
    pub(super) fn decode(
        &mut self,
        json: &[u8],
        now_ns: i64,
        batch: &mut BatchBuilder,
    ) -> Option<Result<(), Reject>> {
        // Not worth the trouble while nothing is ever known.
        if self.credit == 0 && !self.unknown.is_multiple_of(TRY) {
            return None;
        }
        // Events come in the same order again and again.
        let expected = self.known.get(self.last).map_or(0, |last| last.next);
        let (number, result) = self
            .known
            .get(expected)
            .and_then(|shape| Some((expected, shape.decode(json, now_ns, batch)?)))
            .or_else(|| {
                let key = key_of(json)?;
                let alike = self.known.iter().enumerate().filter(|(_, shape)| shape.key == key);
                let mut others = alike.filter(|(number, _)| *number != expected).take(MAX_TRIES);
                others.find_map(|(number, shape)| Some((number, shape.decode(json, now_ns, batch)?)))
            })?;
        self.follow(number);
        self.credit = (self.credit + 1).min(MAX_CREDIT * COST);
        Some(result)
    }

    /// A line of this shape has come after one of the last shape.
    fn follow(&mut self, number: usize) {
        if let Some(last) = self.known.get_mut(self.last) {
            last.next = number;
        }
        self.last = number;
    }

    /// Learns the shape of a line that the fast path has decoded.
    pub(super) fn learn(&mut self, json: &[u8], extra_metadata: &[(String, String)]) {
        self.unknown = self.unknown.wrapping_add(1);
        let due = self.credit >= COST || self.unknown.is_multiple_of(PAUSE);
        if !due || json.len() > MAX_LINE_BYTES {
            return;
        }
        self.credit = self.credit.saturating_sub(COST);
        let Some(shape) = Shape::of(json, extra_metadata) else { return };
        let number = self.oldest;
        self.oldest = (self.oldest + 1) % MAX_SHAPES;
        match self.known.get_mut(number) {
            Some(place) => *place = shape,
            None => self.known.push(shape),
        }
        self.follow(number);
    }
}

/// A hash of a line's first bytes, which the name is among. None if it is too short.
fn key_of(json: &[u8]) -> Option<u64> {
    json.first_chunk::<KEY_BYTES>().map(|start| xxh3_64(start))
}

/// What lines of a kind have in common.
#[derive(Debug, Default)]
struct Shape {
    /// The text before the first value, which has the name.
    start: Vec<u8>,
    /// What its first bytes hash to.
    key: u64,
    slots: Vec<Slot>,
    name: Vec<u8>,
    /// The name's parts and the added metadata, as wire bytes.
    fixed: Vec<u8>,
    /// The shape of the line that came after one of this shape.
    next: usize,
}

/// A value, and the text up to the next one.
#[derive(Debug)]
struct Slot {
    kind: Kind,
    after: Literal,
}

#[derive(Debug)]
enum Kind {
    Measurement(MadeHead),
    Metadata(MadeHead),
    MetadataScalar(MadeHead),
    /// Metadata that stands in for the correlation id.
    MetadataCorrelationId(MadeHead),
    Timestamp,
    CorrelationId,
}

impl Shape {
    /// The shape of a line that the fast path decodes.
    fn of(json: &[u8], extra_metadata: &[(String, String)]) -> Option<Self> {
        let mut learner =
            Learner { json, shape: Self::default(), learned: 0, metadata: Vec::new(), whole: true };
        fast::decode(json, &[], 0, &mut BatchBuilder::default(), &mut LastName::default(), &mut learner)?
            .ok()?;
        learner.literal_to(json.len());
        let Learner { mut shape, metadata, whole: true, .. } = learner else { return None };

        let mut fixed = vec![0; room_for(&shape.name, extra_metadata)];
        let mut out = Writer::new(&mut fixed);
        out.event_parts(&shape.name)?;
        for (key, value) in extra_metadata {
            if !metadata.iter().any(|known| known == key.as_bytes()) {
                out.metadata(key.as_bytes(), value.as_bytes())?;
            }
        }
        let length = out.written();
        fixed.truncate(length);
        shape.fixed = fixed;
        shape.key = key_of(&shape.start)?;
        Some(shape)
    }

    fn decode(&self, json: &[u8], now_ns: i64, batch: &mut BatchBuilder) -> Option<Result<(), Reject>> {
        let (mut correlation_id, mut metadata_correlation_id) = (&[][..], &[][..]);
        let mut timestamp_ns = None;
        let mut cursor = Cursor::new(json);
        cursor.literal(&self.start)?;
        let mut out = Writer::new(batch.room(room_for(json, &[]) + self.fixed.len()));
        out.bytes(&self.fixed)?;
        for slot in &self.slots {
            match &slot.kind {
                Kind::Measurement(head) => entry::measurement(&mut cursor, &mut out, head)?,
                Kind::Metadata(head) => entry::rest_of_metadata(&mut cursor, &mut out, head)?,
                Kind::MetadataScalar(head) => entry::apart(&mut cursor, &mut out, |cursor, out| {
                    out.entry_of(head, |out| out.bytes(cursor.scalar()?))
                })?,
                Kind::MetadataCorrelationId(head) => {
                    metadata_correlation_id = entry::rest_of_id(&mut cursor)?;
                    entry::apart(&mut cursor, &mut out, |_, out| {
                        out.entry_of(head, |out| out.bytes(metadata_correlation_id))
                    })?;
                }
                Kind::Timestamp => timestamp_ns = Some(cursor.integer()?),
                Kind::CorrelationId => correlation_id = entry::rest_of_id(&mut cursor)?,
            }
            cursor.short_literal(&slot.after)?;
        }
        cursor.end()?;
        if correlation_id.is_empty() {
            correlation_id = metadata_correlation_id;
        }
        let fields = Fields { name: &self.name, correlation_id, timestamp_ns };
        let message_bytes = fields.write(&mut out, now_ns)?;
        Some(fields.add(message_bytes, now_ns, batch))
    }
}

/// Makes a shape of what the fast path finds.
struct Learner<'a> {
    json: &'a [u8],
    shape: Shape,
    /// Everything before it is part of the shape.
    learned: usize,
    /// The keys of the line's metadata.
    metadata: Vec<Vec<u8>>,
    /// Whether everything could be made part of the shape.
    whole: bool,
}

impl Learner<'_> {
    /// The text since the last value, up to here, belongs to the shape.
    fn literal_to(&mut self, end: usize) {
        let text = self.json.get(self.learned..end).unwrap_or_default();
        match (self.shape.slots.last_mut(), Literal::new(text)) {
            (None, _) => self.shape.start.extend_from_slice(text),
            (Some(slot), Some(literal)) => slot.after = literal,
            (Some(_), None) => self.whole = false,
        }
    }

    fn entry(&mut self, key: Key<'_>, map: Map, kind: fn(MadeHead) -> Kind, value: Range<usize>) {
        self.slot(key.head(map).map(|head| kind(head.into())), value);
    }

    fn slot(&mut self, kind: Option<Kind>, value: Range<usize>) {
        self.literal_to(value.start);
        self.learned = value.end;
        match kind {
            Some(kind) => self.shape.slots.push(Slot { kind, after: Literal::default() }),
            None => self.whole = false,
        }
    }
}

impl Observer for Learner<'_> {
    fn value(&mut self, field: Field<'_>, at: Range<usize>) {
        if let Field::Metadata(key) | Field::MetadataScalar(key) = field {
            self.metadata.push(key.text.to_vec());
        }
        // A string is read together with its closing quote.
        let string = at.start..at.end + 1;
        match field {
            Field::Event => {
                let name = self.json.get(at).unwrap_or_default();
                self.shape.name = name.to_vec();
            }
            Field::Measurement(key) => self.entry(key, Map::Measurements, Kind::Measurement, at),
            Field::Metadata(key) if key.text == CORRELATION_ID => {
                self.entry(key, Map::Metadata, Kind::MetadataCorrelationId, string);
            }
            Field::Metadata(key) => self.entry(key, Map::Metadata, Kind::Metadata, string),
            Field::MetadataScalar(key) => self.entry(key, Map::Metadata, Kind::MetadataScalar, at),
            Field::Timestamp => self.slot(Some(Kind::Timestamp), at),
            Field::CorrelationId => self.slot(Some(Kind::CorrelationId), string),
        }
    }
}
