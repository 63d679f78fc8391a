//! `snakepit.bridge.BridgeService`: StreamTelemetry, and nothing else.
//!
//! The hub's chunks are ready gRPC frames already, so the response body hands them to HTTP/2 as they are; tonic's
//! codec would encode every event again. Nothing here looks at `grpc-timeout`: Snakepit opens the stream with five
//! seconds and then listens for ever.

use super::controls;
use crate::grpc::{
    limits::{ClientLimits, places},
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

/// The path of the one method.
pub const STREAM_TELEMETRY: &str = "/snakepit.bridge.BridgeService/StreamTelemetry";

/// The telemetry streams of one connection: whether closing it needs care. All of it is on the thread that serves; it is
/// an atomic because a runtime with several threads could hold it, and nothing else depends on its order.
#[derive(Debug, Default)]
pub struct Activity {
    open: AtomicUsize,
    /// Cancelled when the sidecar has brought the last open stream to its end.
    ended: CancellationToken,
}

impl Activity {
    /// Whether a stream is open, or was brought to its end by the sidecar.
    pub fn matters(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0 || self.ended.is_cancelled()
    }

    /// Waits until the sidecar has brought the last open stream to its end.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// Where events come from, and how many may subscribe to them.
pub struct Telemetry {
    hub: Arc<Hub>,
    places: Arc<Semaphore>,
    controls_per_second: u32,
}

impl Telemetry {
    /// The events of a hub, within limits.
    pub fn new(hub: Arc<Hub>, limits: &ClientLimits) -> Self {
        let places = Arc::new(places(limits.subscribers));
        Self { hub, places, controls_per_second: limits.controls_per_second }
    }

    /// Answers StreamTelemetry: subscribes, and reads controls beside the stream.
    pub fn stream<B>(&self, peer: &str, activity: &Arc<Activity>, request: B) -> Response<Body>
    where
        B: HttpBody<Data = Bytes, Error: Send> + Send + 'static,
    {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Status::resource_exhausted("there are --max-subscribers already").into_http();
        };
        let subscription = Arc::new(self.hub.subscribe(peer));
        let throttle = Throttle::per_second(self.controls_per_second, Instant::now().into_std());
        let reader = tokio::spawn(controls::read(request, Arc::downgrade(&subscription), throttle));
        activity.open.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::clone(activity);
        let events = Events { subscription, reader, activity, ended: false, _place: place };

        let mut response = Response::new(Body::new(events));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

/// The response body: frames from the hub, then trailers with status OK.
///
/// There may be frames for ever. HTTP/2 takes no more than fit its buffer of 400 KiB and the client's window before
/// other streams and connections have their turn.
#[derive(Debug)]
struct Events {
    subscription: Arc<Subscription>,
    reader: tokio::task::JoinHandle<()>,
    activity: Arc<Activity>,
    ended: bool,
    _place: OwnedSemaphorePermit,
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
        let was_last = self.activity.open.fetch_sub(1, Ordering::Relaxed) == 1;
        if was_last && self.ended {
            self.activity.ended.cancel();
        }
    }
}

/// The trailers of a call that went well.
fn ok_trailers() -> HeaderMap {
    HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))])
}
