//! A connection to the worker: opened by the first call, and again when it was lost.

use super::{
    call::{Call, Relayed, RequestBody},
    worker::{Unavailable, Upstream},
};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{
    Request, Response, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use std::{sync::Arc, time::Duration};
use thiserror::Error;
use tokio::{sync::Mutex, time::sleep};
use tokio_util::sync::CancellationToken;

/// HTTP/2 window of a stream in bytes: how much of an answer a client that does not read leaves in the
/// sidecar.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// HTTP/2 window of a connection in bytes: that of a thousand streams, so that calls that are not read do not
/// stop the others of their connection. h2 also adds up by how much each unread frame is shorter than 256
/// bytes, and closes the connection when the sum reaches half of this. Frames of ten bytes in twenty streams
/// that are not read stay below that; it bounds the memory that they take to 130 MB.
pub const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024 * 1024;

/// The headers of a request or an answer, as HTTP/2 counts them: more than gRPC servers accept by default.
pub const MAX_HEADER_BYTES: u32 = 256 * 1024;

/// How long a connection stays open after its client has disconnected, to cancel its calls at the worker.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// How long frames of a cancelled call are expected, and of how many such calls. h2 counts frames beyond that
/// as errors of the worker.
const RESET_DURATION: Duration = Duration::from_secs(30);
const MAX_RESET_STREAMS: usize = 10_000;

/// Why a call has no answer from the worker.
#[derive(Debug, Error)]
pub enum RelayError {
    /// The worker has reset it. The client gets the same reset.
    #[error(transparent)]
    Reset(h2::Error),
    /// The worker cannot be reached, or was lost.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl RelayError {
    /// The meaning of an error of the connection to the worker, for one of its calls.
    pub(super) fn new(error: h2::Error, upstream: &Upstream) -> Self {
        if error.is_go_away() && error.is_remote() {
            // The worker has not seen the call. Clients repeat a refused one by themselves.
            Self::Reset(h2::Reason::REFUSED_STREAM.into())
        } else if error.is_reset() {
            Self::Reset(error)
        } else {
            Self::Unavailable(upstream.lost(describe(&error)))
        }
    }
}

/// Says what happened instead of how the system noticed it.
fn describe(error: &h2::Error) -> String {
    match error.get_io() {
        Some(_) => "the connection was lost".into(),
        None => error.to_string(),
    }
}

/// A connection to the worker for the calls of one client.
#[derive(Debug)]
pub struct Connection {
    upstream: Arc<Upstream>,
    /// None before the first call.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    /// Cancelled when this is dropped.
    dropped: CancellationToken,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.dropped.cancel();
    }
}

impl Connection {
    /// A connection that is not open yet.
    pub fn new(upstream: Arc<Upstream>) -> Self {
        Self { upstream, sender: Mutex::new(None), dropped: CancellationToken::new() }
    }

    /// The worker's server.
    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Relays a call and returns the worker's answer, whose body and trailers are relayed as they come. The
    /// request's body is relayed while the answer and its body are polled. Dropping them cancels the call.
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn relay<B: RequestBody>(&self, request: Request<B>) -> Result<Response<Relayed>, RelayError> {
        let sender = self.sender().await?;
        let (mut head, body) = request.into_parts();
        head.uri = uri(head.uri);
        // They are of the client's connection.
        head.extensions.clear();
        Call::start(sender, Request::from_parts(head, ()), body, &self.upstream)?.answer().await
    }

    /// A handle of the open connection. Opens it if there is none, or if it takes no more calls.
    async fn sender(&self) -> Result<SendRequest<Bytes>, RelayError> {
        let mut current = self.sender.lock().await;
        if let Some(open) = &*current
            && let Ok(ready) = open.clone().ready().await
        {
            return Ok(ready);
        }
        let sender = self.open().await?;
        *current = Some(sender.clone());
        Ok(sender)
    }

    async fn open(&self) -> Result<SendRequest<Bytes>, RelayError> {
        let socket = self.upstream.connect().await?;
        let lost = |error| RelayError::new(error, &self.upstream);
        let (sender, connection) = http2().handshake(socket).await.map_err(lost)?;
        // It ends when the worker closes it, or when the last handle and the last call are dropped. What
        // fails is reported to each call.
        let dropped = self.dropped.clone();
        tokio::spawn(async move {
            let limit = async {
                dropped.cancelled().await;
                sleep(END_TIMEOUT).await;
            };
            tokio::select! {
                _ = connection => {}
                () = limit => {}
            }
        });
        Ok(sender)
    }
}

fn http2() -> Builder {
    let mut http2 = Builder::new();
    http2
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .reset_stream_duration(RESET_DURATION)
        .max_concurrent_reset_streams(MAX_RESET_STREAMS)
        // The worker is trusted.
        .max_local_error_reset_streams(None);
    http2
}

/// The same with what HTTP/2 requires. There is no TLS between the sidecar and the worker.
fn uri(original: Uri) -> Uri {
    let mut parts = original.into_parts();
    parts.scheme = Some(Scheme::HTTP);
    // HTTP/2 allows a request without one, h2 does not.
    parts.authority.get_or_insert_with(|| Authority::from_static("localhost"));
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    // All parts are valid.
    Uri::from_parts(parts).unwrap_or_default()
}
