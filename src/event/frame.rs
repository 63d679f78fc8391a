//! gRPC's framing: each message follows a prefix of five bytes, which are 1 if the message is compressed or
//! 0, and its length, big-endian: <https://grpc.github.io/grpc/core/md_doc__p_r_o_t_o_c_o_l-_h_t_t_p2.html>.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Bytes of the prefix.
pub const PREFIX_BYTES: usize = 5;

/// The prefix of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Whether the message is compressed.
    pub compressed: bool,
    /// Bytes of the message.
    pub length: u32,
}

impl Prefix {
    /// Encodes the prefix.
    pub fn to_bytes(self) -> [u8; PREFIX_BYTES] {
        let [a, b, c, d] = self.length.to_be_bytes();
        [u8::from(self.compressed), a, b, c, d]
    }

    /// Splits the prefix off the beginning of some frames; `None` if it is not complete.
    pub fn split(frames: &[u8]) -> Option<(Self, &[u8])> {
        let ([compressed, length @ ..], rest) = frames.split_first_chunk::<PREFIX_BYTES>()?;
        Some((Self { compressed: *compressed != 0, length: u32::from_be_bytes(*length) }, rest))
    }
}

/// Splits the first message off some frames; `None` if it is not complete.
pub fn split(frames: &[u8]) -> Option<(&[u8], &[u8])> {
    let (prefix, rest) = Prefix::split(frames)?;
    rest.split_at_checked(prefix.length as usize)
}

/// The messages of the frames that are complete, borrowed. Ends at the first incomplete one.
pub fn whole(mut frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (message, rest) = split(frames)?;
        frames = rest;
        Some(message)
    })
}

/// The messages of complete frames. Ends at the first incomplete one.
pub fn messages(mut frames: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let (prefix, rest) = Prefix::split(&frames)?;
        let length = prefix.length as usize;
        if rest.len() < length {
            return None;
        }
        frames.advance(PREFIX_BYTES);
        Some(frames.split_to(length))
    })
}

/// Why a message was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// It is compressed.
    Compressed,
    /// It is longer than the limit.
    TooLong,
}

/// Collects chunks of any size and splits them into messages. Memory is bounded: a message that is compressed
/// or too long is discarded as it arrives.
#[derive(Debug)]
pub(crate) struct Deframer {
    max_message_bytes: usize,
    max_buffered_bytes: usize,
    unread: BytesMut,
    /// How many bytes of a skipped message are still to arrive.
    to_skip: usize,
}

impl Deframer {
    /// A deframer that skips messages longer than `max_message_bytes` and has room while less than
    /// `max_buffered_bytes` are buffered, or less than the next message needs.
    pub(crate) fn new(max_message_bytes: usize, max_buffered_bytes: usize) -> Self {
        Self { max_message_bytes, max_buffered_bytes, unread: BytesMut::new(), to_skip: 0 }
    }

    /// Whether another chunk may be added. This holds until the next message is complete, whatever its
    /// length.
    pub(crate) fn has_room(&self) -> bool {
        let next = match Prefix::split(&self.unread) {
            Some((prefix, _)) if self.skips(prefix).is_none() => prefix.length as usize,
            _ => 0,
        };
        self.unread.len() < self.max_buffered_bytes.max(PREFIX_BYTES + next)
    }

    /// Adds a chunk. It is copied, so that the buffer that it is a part of can be freed.
    pub(crate) fn add(&mut self, mut chunk: Bytes) {
        let skipped = self.to_skip.min(chunk.len());
        chunk.advance(skipped);
        self.to_skip -= skipped;
        self.unread.put(chunk);
    }

    /// The length of what [`next`](Self::next) returns, 0 for a skipped message; `None` if the next message
    /// is not complete.
    pub(crate) fn next_length(&self) -> Option<usize> {
        let (prefix, rest) = Prefix::split(&self.unread)?;
        if self.skips(prefix).is_some() {
            return Some(0);
        }
        let length = prefix.length as usize;
        (rest.len() >= length).then_some(length)
    }

    /// The next message.
    pub(crate) fn next(&mut self) -> Option<Result<Bytes, Skipped>> {
        let (prefix, rest) = Prefix::split(&self.unread)?;
        let length = prefix.length as usize;
        let available = length.min(rest.len());
        let message = if let Some(reason) = self.skips(prefix) {
            self.unread.advance(PREFIX_BYTES + available);
            self.to_skip = length - available;
            Err(reason)
        } else if available < length {
            return None;
        } else {
            self.unread.advance(PREFIX_BYTES);
            Ok(self.unread.split_to(length).freeze())
        };
        if self.unread.is_empty() {
            // Frees the memory of a long message.
            self.unread = BytesMut::new();
        }
        Some(message)
    }

    /// Why the message with this prefix is skipped, if it is.
    fn skips(&self, prefix: Prefix) -> Option<Skipped> {
        if prefix.compressed {
            Some(Skipped::Compressed)
        } else {
            (prefix.length as usize > self.max_message_bytes).then_some(Skipped::TooLong)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(compressed: bool, length: u32) -> Vec<u8> {
        [&Prefix { compressed, length }.to_bytes()[..], &vec![b'x'; length as usize]].concat()
    }

    #[test]
    fn a_prefix_is_encoded_big_endian_and_split_off_again() {
        let prefix = Prefix { compressed: true, length: 0x0102_0304 };
        assert_eq!(prefix.to_bytes(), [1, 1, 2, 3, 4]);
        assert_eq!(Prefix::split(&[1, 1, 2, 3, 4, 5]), Some((prefix, &[5][..])));
        assert_eq!(Prefix::split(&[1, 1, 2, 3]), None);
    }

    #[test]
    fn complete_frames_are_split_into_messages() {
        let frames = [frame(false, 2), frame(false, 0), frame(false, 1), vec![0, 0, 0, 0, 1]].concat();
        let lengths: Vec<_> = messages(frames.into()).map(|message| message.len()).collect();
        assert_eq!(lengths, [2, 0, 1]);
    }

    #[test]
    fn messages_come_out_whole_whatever_the_chunks_and_unreadable_ones_are_skipped() {
        let parts = [
            frame(false, 3),
            frame(true, 5),
            frame(false, 0),
            frame(false, 70_001),
            frame(false, 70_000),
            frame(false, 1),
        ];
        let (compressed, too_long) = (Err(Skipped::Compressed), Err(Skipped::TooLong));
        let expected = [Ok(3), compressed, Ok(0), too_long, Ok(70_000), Ok(1)];
        let stream = parts.concat();
        for size in [1, 7, 16_384, stream.len()] {
            let mut deframer = Deframer::new(70_000, 64 * 1024);
            let mut got = Vec::new();
            for chunk in stream.chunks(size) {
                assert!(deframer.has_room());
                deframer.add(Bytes::copy_from_slice(chunk));
                while let Some(length) = deframer.next_length() {
                    let message = deframer.next().unwrap().map(|message| message.len());
                    assert_eq!(message.as_ref().copied().unwrap_or(0), length);
                    got.push(message);
                }
                assert!(deframer.next().is_none());
                // A skipped message is not kept.
                assert!(deframer.unread.len() <= 70_000 + PREFIX_BYTES + size);
            }
            assert_eq!(got, expected, "chunks of {size}");
        }
    }
}
