//! A connection's bytes on the way between HTTP/2 and the socket: which responses have been written to their
//! end. hyper reports neither that nor when a frame has been written.

use super::frames::{CONTINUATION, FrameReader, HEADERS, Header, RST_STREAM, SETTINGS};
use std::{
    collections::BTreeSet,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Length of the client's preface (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;

/// A transport, shared between HTTP/2 and the code that closes the connection. Only one task uses it.
#[derive(Debug)]
pub(super) struct Wire<T>(Arc<Mutex<State<T>>>);

impl<T> Clone for Wire<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct State<T> {
    transport: T,
    sent: FrameReader,
    received: FrameReader,
    streams: Streams,
}

/// The streams and settings of a connection, by the frames in both directions.
#[derive(Debug, Default)]
struct Streams {
    /// Requests whose responses have not ended.
    open: BTreeSet<u32>,
    /// The highest stream that is in `open`, or was.
    last: u32,
    /// Whether further requests are ignored.
    closing: bool,
    /// A stream that ends with the header block that is being written.
    ends: Option<u32>,
    settings_sent: u32,
    settings_acknowledged: u32,
}

impl Streams {
    fn received(&mut self, header: Header) {
        match header.kind {
            HEADERS if header.stream > self.last && !self.closing => {
                self.last = header.stream;
                self.open.insert(header.stream);
            }
            RST_STREAM => {
                self.open.remove(&header.stream);
            }
            SETTINGS if header.is_ack() => self.settings_acknowledged += 1,
            _ => {}
        }
    }

    fn sent(&mut self, header: Header) {
        if header.ends_stream() || header.kind == RST_STREAM {
            self.ends = Some(header.stream);
        }
        if matches!(header.kind, HEADERS | CONTINUATION) && !header.ends_headers() {
            return;
        }
        if let Some(ended) = self.ends.take() {
            self.open.remove(&ended);
        }
        if header.kind == SETTINGS && !header.is_ack() {
            self.settings_sent += 1;
        }
    }
}

impl<T> Wire<T> {
    pub(super) fn new(transport: T) -> Self {
        Self(Arc::new(Mutex::new(State {
            transport,
            sent: FrameReader::after(0),
            received: FrameReader::after(PREFACE_BYTES),
            streams: Streams::default(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ignores requests from now on. Returns the highest stream that is not ignored.
    pub(super) fn close_to_requests(&self) -> u32 {
        let streams = &mut self.state().streams;
        streams.closing = true;
        streams.last
    }

    /// Whether every response has been written to its end, and no part of a further frame.
    pub(super) fn is_idle(&self) -> bool {
        self.is_idle_but(0)
    }

    /// The same with a number of requests that are not going to be answered.
    pub(super) fn is_idle_but(&self, unanswered: usize) -> bool {
        let state = self.state();
        state.streams.open.len() <= unanswered && state.sent.is_at_boundary()
    }

    /// Whether the peer has acknowledged settings at all.
    pub(super) fn acknowledges_settings(&self) -> bool {
        self.state().streams.settings_acknowledged > 0
    }

    /// Whether the peer has acknowledged all settings.
    pub(super) fn settings_are_acknowledged(&self) -> bool {
        let streams = &self.state().streams;
        streams.settings_acknowledged >= streams.settings_sent
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let State { transport, received, streams, .. } = &mut *self.state();
        let before = buffer.filled().len();
        ready!(Pin::new(transport).poll_read(context, buffer))?;
        if let Some(bytes) = buffer.filled().get(before..) {
            received.read(bytes, |header| streams.received(header));
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let State { transport, sent, streams, .. } = &mut *self.state();
        let written = ready!(Pin::new(transport).poll_write_vectored(context, slices))?;
        let mut left = written;
        for slice in slices {
            let part = slice.get(..left.min(slice.len())).unwrap_or_default();
            left -= part.len();
            sent.read(part, |header| streams.sent(header));
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.state().transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.state().transport).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.state().transport).poll_shutdown(context)
    }
}
