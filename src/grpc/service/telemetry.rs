//! `snakepit.bridge.BridgeService`: StreamTelemetry, and no other method.
//!
//! The hub's chunks are complete gRPC frames, so the response body passes them to HTTP/2 unchanged; tonic's
//! codec would encode every event again. `grpc-timeout` is ignored: Snakepit opens the stream with five
//! seconds and then listens without a limit.

use super::controls;
use crate::grpc::{
    limits::{ClientLimits, permits},
    rate_limit::Throttle,
};
use crate::hub::{Hub, Subscription};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use http_body::{Body as HttpBody, Frame};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};

/// The path of the method.
pub const STREAM_TELEMETRY: &str = "/snakepit.bridge.BridgeService/StreamTelemetry";

/// Controls of a subscriber that are applied each second, and as many at once. Long ones, and those with many
/// patterns in force, count more than once. People and consoles send a few; the worker waits while patterns
/// are evaluated.
const CONTROLS_PER_SECOND: u32 = 1000;

/// Tracks the telemetry streams of one connection, to decide how it is closed. Relaxed atomics are enough:
/// the serving thread alone uses it, and only hyper's bounds require `Sync`.
#[derive(Debug, Default)]
pub struct StreamTracker {
    open: AtomicUsize,
    /// Cancelled when the sidecar has ended the last open stream.
    ended: CancellationToken,
}

impl StreamTracker {
    /// Whether a stream is open or was ended by the sidecar, so that the peer must be able to read its last
    /// events.
    pub fn need_graceful_close(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0 || self.ended.is_cancelled()
    }

    /// Waits until the sidecar has ended the last open stream.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// Subscribes clients to the hub, within limits.
pub struct Telemetry {
    hub: Arc<Hub>,
    permits: Arc<Semaphore>,
}

impl Telemetry {
    pub fn new(hub: Arc<Hub>, limits: &ClientLimits) -> Self {
        Self { hub, permits: Arc::new(permits(limits.subscribers)) }
    }

    /// Answers StreamTelemetry: subscribes, and reads controls beside the stream.
    pub fn stream<B>(&self, peer: &str, streams: &Arc<StreamTracker>, request: B) -> Response<Body>
    where
        B: HttpBody<Data = Bytes, Error: Send> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return Status::resource_exhausted("the limit of --max-subscribers is reached").into_http();
        };
        let subscription = Arc::new(self.hub.subscribe(peer));
        let throttle = Throttle::per_second(CONTROLS_PER_SECOND, Instant::now().into_std());
        let reader = tokio::spawn(controls::read(request, Arc::downgrade(&subscription), throttle));
        streams.open.fetch_add(1, Ordering::Relaxed);
        let streams = Arc::clone(streams);
        let events = Events { subscription, reader, streams, ended: false, _permit: permit };

        let mut response = Response::new(Body::new(events));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

/// The response body: frames from the hub, then trailers with status OK.
///
/// It may always have a frame ready. HTTP/2 takes no more than fit its buffer of 400 KiB and the client's
/// window before it yields to other streams and connections.
#[derive(Debug)]
struct Events {
    subscription: Arc<Subscription>,
    reader: tokio::task::JoinHandle<()>,
    streams: Arc<StreamTracker>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.subscription.poll_frames(context).map(|frames| {
            Some(Ok(frames.map_or_else(
                || {
                    self.ended = true;
                    Frame::trailers(ok_trailers())
                },
                Frame::data,
            )))
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.reader.abort();
        let was_last = self.streams.open.fetch_sub(1, Ordering::Relaxed) == 1;
        if was_last && self.ended {
            self.streams.ended.cancel();
        }
    }
}

/// Trailers with status OK.
fn ok_trailers() -> HeaderMap {
    HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))])
}
