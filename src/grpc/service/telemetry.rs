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

mod begin;
mod events;

use super::{
    controls,
    observer::{self, Pause, REPORT_EXIT},
};
use crate::{
    grpc::{
        limits::{ClientLimits, permits},
        payload::{ResponseBody, without_events},
        rate_limit::Throttle,
        stream_tracker::StreamTracker,
    },
    hub::Hub,
    pipeline::output::Drain,
    worker::state::WorkerState,
};
use begin::{LatestBegin, read_controls};
use bytes::Bytes;
use events::{Events, Source};
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use std::sync::Arc;
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Controls of a subscriber that are applied each second, and as many at once. Long ones, and those with many
/// patterns in force, count more than once. People and consoles send a few; the worker waits while patterns
/// are evaluated.
const CONTROLS_PER_SECOND: u32 = 1000;

/// The response header with the number of older events that the backlog has dropped, if any.
pub const MISSING_EVENTS: &str = "telemetry-sidecar-missing-events";

/// The request header that makes the response headers wait until the subscription begins, and have
/// [`BACKLOG_EVENTS`].
pub const REPORT_BACKLOG: &str = "telemetry-sidecar-report-backlog";

/// The response header with the number of events that have waited for this subscription and pass its first
/// controls. The stream has these first; with `--when-full drop-oldest` a full queue may drop some of them.
pub const BACKLOG_EVENTS: &str = "telemetry-sidecar-backlog-events";

/// Subscribes clients to the hub, within limits.
pub struct Telemetry {
    hub: Arc<Hub>,
    permits: Arc<Semaphore>,
    /// Apart, so that observers do not keep subscribers out.
    observer_permits: Arc<Semaphore>,
    latest: LatestBegin,
    /// The worker. Its exit is reported to observers, and to subscribers that request it.
    pub worker: Option<Arc<WorkerState>>,
}

impl Telemetry {
    pub fn new(hub: Arc<Hub>, limits: &ClientLimits, shutdown: CancellationToken, drain: Drain) -> Self {
        let latest = LatestBegin { hub: Arc::clone(&hub), shutdown, drain };
        let [permits, observer_permits] = [(); 2].map(|()| Arc::new(permits(limits.subscribers)));
        Self { hub, permits, observer_permits, latest, worker: None }
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
        let reports_exit = request.headers().contains_key(REPORT_EXIT);
        let interval = match observer::interval(request.headers()) {
            Ok(interval) => interval,
            Err(status) => return status.into_http().map(without_events),
        };
        let request = request.into_body();
        let permits = if interval.is_some() { &self.observer_permits } else { &self.permits };
        let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
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
        streams.open_stream(interval.is_some());
        let (streams, pause) = (Arc::clone(streams), interval.map(Pause::new));
        let observed = self.worker.clone().filter(|_| reports_exit || interval.is_some());
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

#[cfg(test)]
mod tests;
