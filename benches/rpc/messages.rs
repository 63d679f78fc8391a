//! gRPC messages of zeros as an HTTP/2 body, and the windows of both ends.

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use std::{
    cell::RefCell,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};
use telemetry_sidecar::event::frame::{PREFIX_BYTES, Prefix};

/// As in Snakepit's client, so that neither end limits a stream.
pub const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
pub const CONNECTION_WINDOW_BYTES: u32 = 2 * STREAM_WINDOW_BYTES;

/// Metadata of a request: how many messages it asks for, and the bytes of each.
pub const ANSWER_MESSAGES: &str = "answer-messages";
pub const ANSWER_BYTES: &str = "answer-bytes";

/// A message of zeros with its prefix. The latest is kept: further ones of the same size cost nothing.
fn message(bytes: usize) -> Bytes {
    thread_local! {
        static LATEST: RefCell<Bytes> = const { RefCell::new(Bytes::new()) };
    }
    LATEST.with_borrow_mut(|latest| {
        if latest.len() != PREFIX_BYTES + bytes {
            let prefix = Prefix { compressed: false, length: bytes.try_into().unwrap_or(u32::MAX) };
            let mut message = prefix.to_bytes().to_vec();
            message.resize(PREFIX_BYTES + bytes, 0);
            *latest = message.into();
        }
        latest.clone()
    })
}

/// A body of equal messages, then trailers.
pub struct Messages {
    message: Bytes,
    left: usize,
    trailers: Option<HeaderMap>,
}

impl Messages {
    /// `count` messages of `bytes` each.
    pub fn new(count: usize, bytes: usize, trailers: Option<HeaderMap>) -> Self {
        Self { message: message(bytes), left: count, trailers }
    }

    /// The bytes on the wire of `count` messages of `bytes` each.
    pub fn wire_bytes(count: usize, bytes: usize) -> usize {
        count * (PREFIX_BYTES + bytes)
    }
}

impl Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return Poll::Ready(Some(Ok(Frame::data(self.message.clone()))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.trailers.is_none()
    }
}
