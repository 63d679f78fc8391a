//! `snakepit.bridge.BridgeService/StreamTelemetry`.
//!
//! The hub's chunks are complete gRPC frames, so the response body passes them to HTTP/2 unchanged; tonic's
//! codec would encode every event again. `grpc-timeout` is ignored: Snakepit opens the stream with five
//! seconds and then listens without a limit.
//!
//! The response headers go out at once. The subscription begins with the client's first control, so that this
//! applies to all that the client receives, or when the client closes its side or has sent nothing for a
//! while. Only if the request asks how many events waited for the subscription, the headers wait until it
//! begins.
//!
//! A request with the header of an [observer](super::observer) opens a subscription that takes no backlog and
//! that nothing waits for.

use super::{
    controls,
    observer::{self, Pause, WORKER_EXIT},
};
use crate::grpc::{
    limits::{ClientLimits, permits},
    payload::{Payload, ResponseBody, without_events},
    rate_limit::Throttle,
};
use crate::hub::{Hub, Opening, Subscription};
use crate::{pipeline::output::Drain, worker::state::WorkerState};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The path of the method.
pub const STREAM_TELEMETRY: &str = "/snakepit.bridge.BridgeService/StreamTelemetry";

/// Controls of a subscriber that are applied each second, and as many at once. Long ones, and those with many
/// patterns in force, count more than once. People and consoles send a few; the worker waits while patterns
/// are evaluated.
const CONTROLS_PER_SECOND: u32 = 1000;

/// How long a client may take to send its first control, which it does with the headers or right after them.
/// A client that sends none receives its first event after this time.
const BEGIN_WITHIN: Duration = Duration::from_millis(100);

/// The response header with the number of older events that the backlog has dropped, if any.
pub const MISSING_EVENTS: &str = "telemetry-sidecar-missing-events";

/// The request header that makes the response headers wait until the subscription begins, and have
/// [`BACKLOG_EVENTS`].
pub const REPORT_BACKLOG: &str = "telemetry-sidecar-report-backlog";

/// The response header with the number of events that have waited for this subscription and pass its first
/// controls. The stream has these first; with `--when-full drop-oldest` a full queue may drop some of them.
pub const BACKLOG_EVENTS: &str = "telemetry-sidecar-backlog-events";

/// Tracks the requests of one connection, to decide when and how it is closed. Relaxed atomics are enough:
/// the serving thread alone uses it, and only hyper's bounds require `Sync`.
#[derive(Debug, Default)]
pub struct StreamTracker {
    open: AtomicUsize,
    /// Whether there was a stream of a subscriber, and not only of observers.
    subscribed: AtomicBool,
    /// Cancelled when the sidecar has ended the last open stream with status OK.
    ended: CancellationToken,
    /// Whether the sidecar has ended a stream with an error.
    failed: AtomicBool,
    admitted: AtomicBool,
    relayed: AtomicBool,
    /// Calls that are not answered any more.
    held: AtomicUsize,
}

impl StreamTracker {
    /// Records that a request, of any kind, is authenticated and for something that is served.
    pub fn admit(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }

    /// Records the same of a request that the worker answers.
    pub fn relay(&self) {
        self.admit();
        self.relayed.store(true, Ordering::Relaxed);
    }

    /// Records that a call is not answered any more.
    pub fn hold(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls are not answered any more.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether there was such a request.
    pub fn has_admitted(&self) -> bool {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Whether a stream is open or was ended by the sidecar, so that the peer must be able to read its last
    /// events, or the worker's last answers.
    pub fn need_graceful_close(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
            || self.ended.is_cancelled()
            || self.failed.load(Ordering::Relaxed)
            || self.relayed.load(Ordering::Relaxed)
    }

    /// Whether all streams, if there were any, were those of observers.
    pub fn only_observed(&self) -> bool {
        !self.subscribed.load(Ordering::Relaxed) && !self.relayed.load(Ordering::Relaxed)
    }

    /// Waits until the sidecar has ended the last open stream. After an error the client may try again.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// Subscribes clients to the hub, within limits.
pub struct Telemetry {
    hub: Arc<Hub>,
    permits: Arc<Semaphore>,
    latest: LatestBegin,
    /// The worker, whose end observers are told.
    pub worker: Option<Arc<WorkerState>>,
}

impl Telemetry {
    pub fn new(hub: Arc<Hub>, limits: &ClientLimits, shutdown: CancellationToken, drain: Drain) -> Self {
        let latest = LatestBegin { hub: Arc::clone(&hub), shutdown, drain };
        Self { hub, permits: Arc::new(permits(limits.subscribers)), latest, worker: None }
    }

    /// Answers StreamTelemetry: opens a subscription, and reads controls beside the stream.
    pub async fn stream<B>(
        &self,
        peer: &str,
        streams: &Arc<StreamTracker>,
        request: Request<B>,
    ) -> Response<ResponseBody>
    where
        B: HttpBody<Data = Bytes, Error: Send> + Send + 'static,
    {
        let reports_backlog = request.headers().contains_key(REPORT_BACKLOG);
        let interval = match observer::interval(request.headers()) {
            Ok(interval) => interval,
            Err(status) => return status.into_http().map(without_events),
        };
        let request = request.into_body();
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let status = Status::resource_exhausted("the limit of --max-subscribers is reached");
            return status.into_http().map(without_events);
        };
        let opening = if interval.is_some() { self.hub.observe(peer) } else { self.hub.open(peer) };
        let missing = opening.missing();
        let mut tasks = JoinSet::new();
        let source = if request.is_end_stream() {
            Source::Begun(Arc::new(opening.begin()))
        } else {
            let throttle = Throttle::per_second(CONTROLS_PER_SECOND, Instant::now().into_std());
            let reader = controls::Reader::new(request, opening.pattern_limits(), throttle);
            let (begun, subscription) = oneshot::channel();
            tasks.spawn(read_controls(reader, opening, self.latest.clone(), begun));
            Source::Opening(subscription)
        };
        streams.open.fetch_add(1, Ordering::Relaxed);
        streams.subscribed.fetch_or(interval.is_none(), Ordering::Relaxed);
        let (streams, pause) = (Arc::clone(streams), interval.map(Pause::new));
        let observed = self.worker.clone().filter(|_| interval.is_some());
        let mut events = Events { source, pause, observed, streams, end: None, tasks, _permit: permit };
        let backlog = if reports_backlog { events.backlog().await } else { None };

        let mut response = Response::new(events.map_err(Into::into).boxed_unsync());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        if missing > 0 {
            headers.insert(MISSING_EVENTS, missing.into());
        }
        if let Some(backlog) = backlog {
            headers.insert(BACKLOG_EVENTS, backlog.into());
        }
        response
    }
}

/// Begins the subscription with the first controls, and then applies the others.
async fn read_controls<B: HttpBody<Data = Bytes>>(
    mut reader: controls::Reader<B>,
    mut opening: Opening,
    latest: LatestBegin,
    begun: oneshot::Sender<Arc<Subscription>>,
) {
    tokio::select! {
        () = reader.first() => {}
        () = latest.wait() => {}
    }
    reader.apply_arrived(&mut opening).await;
    let subscription = Arc::new(opening.begin());
    let reading = Arc::downgrade(&subscription);
    if begun.send(subscription).is_ok() {
        reader.apply_all(reading).await;
        // If the request were dropped before its end, HTTP/2 would send RST_STREAM behind the trailers, for
        // which some clients (grpclib) discard what they have not processed.
        reader.discard().await;
    }
}

/// When a subscription begins without a control.
#[derive(Clone)]
struct LatestBegin {
    hub: Arc<Hub>,
    shutdown: CancellationToken,
    drain: Drain,
}

impl LatestBegin {
    async fn wait(&self) {
        tokio::select! {
            () = sleep(BEGIN_WITHIN) => {}
            () = self.wait_at_shutdown() => {}
        }
    }

    /// A drain waits for a subscription to begin, and must leave time for the events. Without any there is
    /// nothing to wait for.
    async fn wait_at_shutdown(&self) {
        self.shutdown.cancelled().await;
        if self.hub.has_backlog() {
            sleep(match self.drain {
                Drain::Within(limit) => limit / 2,
                Drain::Complete => BEGIN_WITHIN,
            })
            .await;
        }
    }
}

/// The response body: frames from the hub, then trailers with status OK, or UNAVAILABLE if the hub has
/// disconnected the subscriber.
///
/// It may always have a frame ready. HTTP/2 takes no more than fit its buffer of 400 KiB and the client's
/// window before it yields to other streams and connections.
#[derive(Debug)]
struct Events {
    source: Source,
    /// Between the events of an observer.
    pause: Option<Pause>,
    /// The worker, if an observer is to be told how it ended.
    observed: Option<Arc<WorkerState>>,
    streams: Arc<StreamTracker>,
    /// How the sidecar has ended it.
    end: Option<End>,
    /// Reads controls.
    tasks: JoinSet<()>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Complete,
    Failed,
}

#[derive(Debug)]
enum Source {
    /// Sends the subscription when it begins.
    Opening(oneshot::Receiver<Arc<Subscription>>),
    Begun(Arc<Subscription>),
}

impl Source {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<&Arc<Subscription>, Status>> {
        if let Self::Opening(begun) = self {
            // The task that begins it ends early only if it panics.
            let subscription = ready!(Pin::new(begun).poll(context))
                .map_err(|_| Status::internal("the subscription cannot begin"))?;
            *self = Self::Begun(subscription);
        }
        match self {
            Self::Begun(subscription) => Poll::Ready(Ok(subscription)),
            Self::Opening(_) => Poll::Pending,
        }
    }
}

impl Events {
    /// Waits until the subscription begins. How many events of the backlog it gets.
    async fn backlog(&mut self) -> Option<usize> {
        let begun = poll_fn(|context| self.source.poll(context).map_ok(|begun| begun.replayed()));
        begun.await.ok()
    }
}

impl HttpBody for Events {
    type Data = Payload;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Payload>, Status>>> {
        let Self { source, pause, observed, end, .. } = &mut *self;
        if end.is_some() {
            return Poll::Ready(None);
        }
        let subscription = ready!(source.poll(context))?;
        if let Some(pause) = pause {
            ready!(pause.poll(subscription, context));
        }
        let chunk = ready!(subscription.poll_to_write(context));
        Poll::Ready(Some(Ok(if let Some(chunk) = chunk {
            if let Some(pause) = pause.as_mut().filter(|_| chunk.is_last) {
                pause.start();
            }
            Frame::data(Payload::events(chunk.frames, subscription))
        } else {
            let failed = subscription.is_disconnected();
            *end = Some(if failed { End::Failed } else { End::Complete });
            Frame::trailers(if failed { failed_trailers() } else { ok_trailers(observed.as_deref()) })
        })))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if self.end.is_some() {
            self.tasks.detach_all();
        }
        let was_last = self.streams.open.fetch_sub(1, Ordering::Relaxed) == 1;
        match self.end {
            Some(End::Complete) if was_last => self.streams.ended.cancel(),
            Some(End::Failed) => self.streams.failed.store(true, Ordering::Relaxed),
            _ => {}
        }
    }
}

/// Trailers with status OK, and how the observed worker has ended.
fn ok_trailers(observed: Option<&WorkerState>) -> HeaderMap {
    let exit = observed.and_then(WorkerState::exit).map(observer::worker_exit);
    let exit = exit.map(|exit| (HeaderName::from_static(WORKER_EXIT), exit));
    let status = (Status::GRPC_STATUS, HeaderValue::from_static("0"));
    [status].into_iter().chain(exit).collect()
}

/// Trailers of a stream that a client may open again.
fn failed_trailers() -> HeaderMap {
    let status = Status::unavailable("the stream fails for a test (--fail-after)");
    status.into_http::<()>().into_parts().0.headers
}

#[cfg(test)]
mod tests;
