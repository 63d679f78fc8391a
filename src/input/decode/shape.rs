//! The structure that lines of one kind have in common, and how it is learned from the fast path.

use super::{
    cursor::{Cursor, Key},
    entry,
    fast::{self, Field, LastName, Observer},
    message::{Fields, message_capacity},
    prefix::{CachedPrefix, Map},
    text::Literal,
    wire::Writer,
};
use crate::{event::batch::BatchBuilder, input::dialect::Dialect};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// How many bytes at the start of a line are hashed. They contain the event's name.
const HASHED_BYTES: usize = 32;

/// A hash of the start of a line. None if the line is too short.
pub(super) fn hash_of(json: &[u8]) -> Option<u64> {
    json.first_chunk::<HASHED_BYTES>().map(|start| xxh3_64(start))
}

/// What lines of one kind have in common.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The text before the first value. It contains the name.
    start: Vec<u8>,
    /// The [`hash_of`] the start.
    pub(super) hash: u64,
    slots: Vec<Slot>,
    name: Vec<u8>,
    /// The wire bytes of the name's parts and of the added metadata.
    fixed: Vec<u8>,
    /// The index of the shape that came after this one last time.
    pub(super) next: usize,
}

/// A value and the text between it and the next one.
#[derive(Debug)]
struct Slot {
    kind: Kind,
    after: Literal,
}

#[derive(Debug)]
enum Kind {
    Measurement(CachedPrefix),
    Metadata(CachedPrefix),
    MetadataScalar(CachedPrefix),
    MetadataCorrelationId(CachedPrefix),
    Timestamp,
    CorrelationId,
}

impl Shape {
    /// Learns the shape of a line that the fast path decodes.
    pub(super) fn of(input: &fast::Input<'_>) -> Option<Self> {
        let json = input.json;
        let mut learner =
            Learner { json, shape: Self::default(), learned: 0, metadata: Vec::new(), complete: true };
        let line_only = fast::Input { extra_metadata: &[], ..*input };
        let length =
            fast::decode(&line_only, &mut BatchBuilder::default(), &mut LastName::default(), &mut learner)?
                .ok()?;
        learner.literal_to(json.get(..length)?.trim_ascii_end().len());
        let Learner { mut shape, metadata, complete: true, .. } = learner else { return None };

        let mut fixed = vec![0; message_capacity(&shape.name, input.extra_metadata)];
        let mut out = Writer::new(&mut fixed);
        out.event_parts(&shape.name)?;
        for (key, value) in input.extra_metadata {
            if !metadata.iter().any(|known| known == key.as_bytes()) {
                out.metadata(key.as_bytes(), value.as_bytes())?;
            }
        }
        let length = out.written();
        fixed.truncate(length);
        shape.fixed = fixed;
        shape.hash = hash_of(&shape.start)?;
        Some(shape)
    }

    /// Decodes a line of this shape and returns the length of what is decoded. None if the line has another
    /// shape, or does not fit a message.
    pub(super) fn decode(
        &self,
        dialect: &Dialect,
        json: &[u8],
        now_ns: i64,
        batch: &mut BatchBuilder,
    ) -> Option<usize> {
        let (mut correlation_id, mut metadata_correlation_id) = (&[][..], &[][..]);
        let mut timestamp_ns = None;
        let mut cursor = Cursor::new(json);
        cursor.literal(&self.start)?;
        let mut out = Writer::new(batch.spare(message_capacity(json, &[]) + self.fixed.len()));
        out.bytes(&self.fixed)?;
        for slot in &self.slots {
            match &slot.kind {
                Kind::Measurement(prefix) => entry::measurement(&mut cursor, &mut out, prefix)?,
                Kind::Metadata(prefix) => entry::rest_of_metadata(&mut cursor, &mut out, prefix)?,
                Kind::MetadataScalar(prefix) => entry::out_of_line(&mut cursor, &mut out, |cursor, out| {
                    out.entry_of(prefix, |out| out.bytes(cursor.scalar()?))
                })?,
                Kind::MetadataCorrelationId(prefix) => {
                    metadata_correlation_id = entry::rest_of_id(&mut cursor)?;
                    entry::out_of_line(&mut cursor, &mut out, |_, out| {
                        out.entry_of(prefix, |out| out.bytes(metadata_correlation_id))
                    })?;
                }
                Kind::Timestamp => timestamp_ns = Some(cursor.integer()?),
                Kind::CorrelationId => correlation_id = entry::rest_of_id(&mut cursor)?,
            }
            cursor.short_literal(&slot.after)?;
        }
        let length = cursor.end(dialect)?;
        if correlation_id.is_empty() {
            correlation_id = metadata_correlation_id;
        }
        let fields = Fields { name: &self.name, correlation_id, timestamp_ns };
        let message_bytes = fields.write(&mut out, now_ns)?;
        fields.add(message_bytes, now_ns, batch).is_ok().then_some(length)
    }
}

/// Builds a shape from the values that the fast path finds.
struct Learner<'a> {
    json: &'a [u8],
    shape: Shape,
    /// Everything before this position is part of the shape.
    learned: usize,
    /// The keys of the line's metadata.
    metadata: Vec<Vec<u8>>,
    /// False if a part of the line does not fit into a shape.
    complete: bool,
}

impl Learner<'_> {
    /// Adds the text from the last value up to `end` to the shape.
    fn literal_to(&mut self, end: usize) {
        let text = self.json.get(self.learned..end).unwrap_or_default();
        match (self.shape.slots.last_mut(), Literal::new(text)) {
            (None, _) => self.shape.start.extend_from_slice(text),
            (Some(slot), Some(literal)) => slot.after = literal,
            (Some(_), None) => self.complete = false,
        }
    }

    fn entry(&mut self, key: Key<'_>, map: Map, kind: fn(CachedPrefix) -> Kind, value: Range<usize>) {
        self.slot(key.prefix(map).map(|prefix| kind(prefix.into())), value);
    }

    fn slot(&mut self, kind: Option<Kind>, value: Range<usize>) {
        self.literal_to(value.start);
        self.learned = value.end;
        match kind {
            Some(kind) => self.shape.slots.push(Slot { kind, after: Literal::default() }),
            None => self.complete = false,
        }
    }
}

impl Observer for Learner<'_> {
    fn value(&mut self, field: Field<'_>, at: Range<usize>) {
        if let Field::Metadata(key) | Field::MetadataScalar(key) | Field::MetadataCorrelationId(key) = field {
            self.metadata.push(key.text.to_vec());
        }
        // A string's slot includes its closing quote.
        let string = at.start..at.end + 1;
        match field {
            Field::Event => {
                let name = self.json.get(at).unwrap_or_default();
                self.shape.name = name.to_vec();
            }
            Field::Measurement(key) => self.entry(key, Map::Measurements, Kind::Measurement, at),
            Field::MetadataCorrelationId(key) => {
                self.entry(key, Map::Metadata, Kind::MetadataCorrelationId, string);
            }
            Field::Metadata(key) => self.entry(key, Map::Metadata, Kind::Metadata, string),
            Field::MetadataScalar(key) => self.entry(key, Map::Metadata, Kind::MetadataScalar, at),
            Field::Timestamp => self.slot(Some(Kind::Timestamp), at),
            Field::CorrelationId => self.slot(Some(Kind::CorrelationId), string),
        }
    }
}
