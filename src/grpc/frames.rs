//! The headers of HTTP/2 frames in a sequence of bytes.

/// Length of a frame's header (RFC 9113, section 4.1).
pub(super) const HEADER_BYTES: usize = 9;

/// Frame types.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

/// Flags. ACK is a flag of SETTINGS, END_STREAM of DATA and HEADERS, END_HEADERS of HEADERS and CONTINUATION.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Header {
    pub(super) fn is_ack(self) -> bool {
        self.flags & ACK != 0
    }

    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    pub(super) fn ends_headers(self) -> bool {
        self.flags & END_HEADERS != 0
    }
}

/// An encoded frame. Its payload is shorter than 256 bytes.
pub(super) fn encode(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    [&[0, 0, length, kind, 0, 0, 0, 0, 0], payload].concat()
}

/// Finds the frames in bytes that arrive in parts of any size.
#[derive(Debug)]
pub(super) struct FrameReader {
    /// The part of the next header that has arrived.
    partial: Vec<u8>,
    /// The frame whose payload is not complete yet.
    current: Option<Header>,
    /// How many bytes to skip until the next header.
    payload: usize,
}

impl FrameReader {
    /// Reads frames behind this many other bytes.
    pub(super) fn after(bytes: usize) -> Self {
        Self { partial: Vec::with_capacity(HEADER_BYTES), current: None, payload: bytes }
    }

    /// Whether the last frame is complete and no part of the next one has arrived.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.partial.is_empty() && self.payload == 0
    }

    /// Reads the next bytes and calls `complete` for each frame that ends in them.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut complete: impl FnMut(Header)) {
        loop {
            let (payload, rest) = bytes.split_at(self.payload.min(bytes.len()));
            self.payload -= payload.len();
            if self.payload > 0 {
                return;
            }
            if let Some(header) = self.current.take() {
                complete(header);
            }
            let (part, rest) = rest.split_at((HEADER_BYTES - self.partial.len()).min(rest.len()));
            self.partial.extend_from_slice(part);
            let &[high, middle, low, kind, flags, a, b, c, d] = self.partial.as_slice() else {
                return;
            };
            self.partial.clear();
            self.payload = u32::from_be_bytes([0, high, middle, low]) as usize;
            // The first bit is reserved.
            let stream = u32::from_be_bytes([a & 0x7f, b, c, d]);
            self.current = Some(Header { kind, flags, stream });
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let frame = |length: u8, kind, flags, stream| {
            let header = [0, 0, length, kind, flags, 0x80, 0, 0, stream];
            [&header[..], &vec![b'x'; usize::from(length)]].concat()
        };
        let bytes =
            [b"preface".to_vec(), frame(0, SETTINGS, 1, 0), frame(200, DATA, 0, 3), frame(7, 9, 4, 5)];
        let bytes = bytes.concat();
        let header = |kind, flags, stream| Header { kind, flags, stream };
        let expected = [header(SETTINGS, 1, 0), header(DATA, 0, 3), header(CONTINUATION, 4, 5)];
        for size in 1..=bytes.len() {
            let (mut reader, mut found) = (FrameReader::after(7), Vec::new());
            for part in bytes.chunks(size) {
                reader.read(part, |header| found.push(header));
            }
            assert_eq!(found, expected, "parts of {size} bytes");
            assert!(reader.is_at_boundary());
            reader.read(&[0], |_| panic!("a part of a header is no frame"));
            assert!(!reader.is_at_boundary());
        }
    }
}
