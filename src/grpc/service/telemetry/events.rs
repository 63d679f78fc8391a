//! The response body of a stream of events.

use super::super::observer::{self, Pause, WORKER_EXIT};
use crate::{
    grpc::{
        payload::Payload,
        stream_tracker::{StreamEnd, StreamTracker},
    },
    hub::Subscription,
    worker::state::WorkerState,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    task::JoinSet,
};
use tonic::Status;

/// The response body: frames from the hub, then trailers with status OK, or UNAVAILABLE if the hub has
/// disconnected the subscriber.
///
/// It may always have a frame ready. HTTP/2 takes no more than fit its buffer of 400 KiB and the client's
/// window before it yields to other streams and connections.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) source: Source,
    /// Between the events of an observer.
    pub(super) pause: Option<Pause>,
    /// The worker, if the client wants to know how it ended.
    pub(super) observed: Option<Arc<WorkerState>>,
    pub(super) streams: Arc<StreamTracker>,
    /// How the sidecar has ended it.
    pub(super) end: Option<StreamEnd>,
    /// Reads controls.
    pub(super) tasks: JoinSet<()>,
    pub(super) _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub(super) enum Source {
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
    pub(super) async fn backlog(&mut self) -> Option<usize> {
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
            *end = Some(if failed { StreamEnd::Failed } else { StreamEnd::Complete });
            Frame::trailers(if failed { failed_trailers() } else { ok_trailers(observed.as_deref()) })
        })))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if self.end.is_some() {
            self.tasks.detach_all();
        }
        self.streams.close_stream(self.pause.is_some(), self.end);
    }
}

/// Trailers with status OK, and how the observed worker has ended.
fn ok_trailers(observed: Option<&WorkerState>) -> HeaderMap {
    let exit = observed.and_then(WorkerState::end).map(observer::worker_exit);
    let exit = exit.map(|exit| (HeaderName::from_static(WORKER_EXIT), exit));
    let status = (Status::GRPC_STATUS, HeaderValue::from_static("0"));
    [status].into_iter().chain(exit).collect()
}

/// Trailers of a stream that a client may open again.
fn failed_trailers() -> HeaderMap {
    let status = Status::unavailable("the stream fails for a test (--fail-after)");
    status.into_http::<()>().into_parts().0.headers
}
