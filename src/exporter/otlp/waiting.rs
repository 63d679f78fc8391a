//! Encoded items in the order in which they are sent.
//!
//! An item is encoded when it is added, into a chunk of memory that it shares with its neighbours, and
//! copied once, into its request. The fields that may still change are kept beside it until then: its head.

use super::{request::Items, wire};
use std::collections::VecDeque;

/// The size of a chunk, unless an item is larger.
const CHUNK_BYTES: usize = 32 * 1024;

/// The field of spans, metrics or log records in the message of their scope.
pub const ITEMS: u8 = 2;

/// The fields of an item that may change until it is sent.
pub trait Head {
    /// How many spans or lines the item is.
    fn count(&self) -> u64;

    /// Appends the fields.
    fn write(&self, buffer: &mut Vec<u8>);
}

/// The most bytes that [`Head::write`] may append.
const MAX_HEAD_BYTES: usize = 128;

/// Items with their heads.
#[derive(Debug)]
pub struct Waiting<H> {
    /// Heads, and how many bytes of the chunks belong to each.
    items: VecDeque<(H, usize)>,
    chunks: VecDeque<Chunk>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
}

impl<H> Default for Waiting<H> {
    fn default() -> Self {
        Self { items: VecDeque::new(), chunks: VecDeque::new(), bytes: 0 }
    }
}

impl<H: Head> Waiting<H> {
    /// The size in memory that an item has, in bytes: more than it has in a request.
    pub fn size(body_bytes: usize) -> usize {
        MAX_HEAD_BYTES.max(size_of::<(H, usize)>()) + body_bytes
    }

    /// Adds an item whose body `write` appends: this many bytes.
    pub fn push(&mut self, head: H, body_bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let is_full = |chunk: &Chunk| chunk.bytes.capacity() - chunk.bytes.len() < body_bytes;
        if self.chunks.back().is_none_or(is_full) {
            let bytes = Vec::with_capacity(body_bytes.max(CHUNK_BYTES));
            self.chunks.push_back(Chunk { bytes, taken: 0 });
        }
        if let Some(chunk) = self.chunks.back_mut() {
            let before = chunk.bytes.len();
            write(&mut chunk.bytes);
            let written = chunk.bytes.len() - before;
            self.bytes += Self::size(written);
            self.items.push_back((head, written));
        }
    }

    /// Adds an item before all others.
    pub fn push_first(&mut self, head: H, body: Vec<u8>) {
        self.bytes += Self::size(body.len());
        self.items.push_front((head, body.len()));
        self.chunks.push_front(Chunk { bytes: body, taken: 0 });
    }

    /// Takes the oldest items: at most `max_items` and `max_bytes`, but at least one. Before them there is
    /// room for `front` bytes.
    pub fn take(&mut self, front: usize, max_items: usize, max_bytes: usize) -> Items {
        let (mut number, mut bytes) = (0, 0);
        for (_, body) in self.items.iter().take(max_items) {
            let size = Self::size(*body);
            if number > 0 && bytes + size > max_bytes {
                break;
            }
            (number, bytes) = (number + 1, bytes + size);
        }
        let mut taken = Items::new(front, bytes);
        let mut head_fields = Vec::with_capacity(MAX_HEAD_BYTES);
        for (head, body) in self.items.drain(..number) {
            head_fields.clear();
            head.write(&mut head_fields);
            taken.items += head.count();
            taken.records += 1;
            wire::length(&mut taken.buffer, ITEMS, head_fields.len() + body);
            taken.buffer.extend_from_slice(&head_fields);
            copy(&mut self.chunks, body, &mut taken.buffer);
        }
        self.bytes -= bytes;
        taken
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The size of all items in memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The head of an item, by its position.
    pub fn head_mut(&mut self, position: usize) -> Option<&mut H> {
        self.items.get_mut(position).map(|(head, _)| head)
    }
}

/// Moves the body of the first item.
fn copy(chunks: &mut VecDeque<Chunk>, bytes: usize, buffer: &mut Vec<u8>) {
    let is_last = chunks.len() == 1;
    let Some(chunk) = chunks.front_mut() else { return };
    let end = chunk.taken + bytes;
    buffer.extend_from_slice(chunk.bytes.get(chunk.taken..end).unwrap_or_default());
    chunk.taken = end;
    if end < chunk.bytes.len() {
        return;
    }
    if is_last && chunk.bytes.capacity() <= CHUNK_BYTES {
        chunk.bytes.clear();
        chunk.taken = 0;
    } else {
        chunks.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An item that counts as this many lines.
    struct Lines(u64);

    impl Head for Lines {
        fn count(&self) -> u64 {
            self.0
        }

        fn write(&self, buffer: &mut Vec<u8>) {
            buffer.push(b'0' + u8::try_from(self.0).unwrap());
        }
    }

    fn push(waiting: &mut Waiting<Lines>, lines: u64, body: &[u8]) {
        waiting.push(Lines(lines), body.len(), |buffer| buffer.extend_from_slice(body));
    }

    /// What is taken: the number of lines and the encoded items.
    fn take(waiting: &mut Waiting<Lines>, max_items: usize, max_bytes: usize) -> (u64, Vec<Vec<u8>>) {
        let items = waiting.take(7, max_items, max_bytes);
        let mut rest = &items.buffer[7..];
        let mut found = Vec::new();
        while let [field, bytes @ ..] = rest {
            assert_eq!(*field, ITEMS << 3 | 2);
            let mut bytes = bytes;
            let length = prost::encoding::decode_varint(&mut bytes).unwrap();
            let (item, others) = bytes.split_at(length.try_into().unwrap());
            found.push(item.to_vec());
            rest = others;
        }
        assert_eq!(items.records, found.len() as u64);
        (items.items, found)
    }

    #[test]
    fn items_come_out_whole_and_in_order_whatever_their_size() {
        let mut waiting = Waiting::default();
        let body = |number: usize| vec![b'x'; [0, 10, 1000, CHUNK_BYTES / 3, 2 * CHUNK_BYTES][number % 5]];
        for round in 1..50 {
            for number in 0..round {
                push(&mut waiting, number as u64 % 10, &body(number));
            }
            let mut number = 0;
            while !waiting.is_empty() {
                for item in take(&mut waiting, round % 7 + 1, usize::MAX).1 {
                    let head = b'0' + u8::try_from(number % 10).unwrap();
                    assert_eq!(item, [&[head][..], &body(number)].concat(), "{number} of {round}");
                    number += 1;
                }
            }
            assert_eq!((number, waiting.bytes()), (round, 0));
            assert!(waiting.chunks.len() <= 1, "what was taken is freed");
        }
    }

    #[test]
    fn number_and_bytes_are_bounded_and_the_first_item_fits_in_any_case() {
        let mut waiting = Waiting::default();
        (0..6).for_each(|lines| push(&mut waiting, lines, &[b'x'; 1000]));
        assert_eq!(take(&mut waiting, 2, usize::MAX).0, 1);
        assert_eq!(take(&mut waiting, 9, 2500).1.len(), 2);
        assert_eq!(take(&mut waiting, 9, 1).0, 4);
        waiting.push_first(Lines(3), b"first".to_vec());
        let (lines, items) = take(&mut waiting, 9, usize::MAX);
        assert_eq!((lines, &items[0][..], items.len()), (8, &b"3first"[..], 2));
        assert_eq!(take(&mut waiting, 9, usize::MAX), (0, Vec::new()));
    }
}
