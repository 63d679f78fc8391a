//! One StreamTelemetry at the worker, from the request to its end.

use super::{Connection, RelayError, Relayed, Unavailable, call::own_request, events::Events};
use crate::{
    event::{
        batch::MAX_MESSAGE_BYTES,
        frame::{Deframer, Prefix},
        proto::bridge::{STREAM_TELEMETRY, TelemetryControl, TelemetryToggle, telemetry_control::Control},
    },
    hub::{Coalescer, Hub},
    system::clock::now_ns,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use prost::Message as _;
use std::{
    convert::Infallible,
    fmt::Display,
    future::ready,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::timeout_at;
use tonic::{Code, Status};

/// Events that arrive together are published together, up to about this many bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// A way to send requests to the worker.
pub trait Transport {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Display> + Unpin;

    /// Why there is no answer.
    type Error: Into<End>;

    /// Sends a request and waits for the head of the answer. It waits for a worker that does not serve yet,
    /// but not for one that has exited.
    fn send(
        &self,
        request: Request<Controls>,
    ) -> impl Future<Output = Result<Response<Self::Body>, Self::Error>>;
}

impl Transport for Connection {
    type Body = Relayed;
    type Error = RelayError;

    async fn send(&self, request: Request<Controls>) -> Result<Response<Self::Body>, RelayError> {
        self.relay(request).await
    }
}

/// The request's body: one control that switches telemetry on. It stays open, because a worker may take its
/// end for the end of the stream.
#[derive(Debug)]
pub struct Controls(Option<Bytes>);

impl Controls {
    fn switching_on() -> Self {
        let control = Control::Toggle(TelemetryToggle { enabled: true });
        let message = TelemetryControl { control: Some(control) }.encode_to_vec();
        // A few bytes.
        let length = u32::try_from(message.len()).unwrap_or_default();
        let prefix = Prefix { compressed: false, length }.to_bytes();
        Self(Some([&prefix[..], &message].concat().into()))
    }
}

impl Body for Controls {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |control| Poll::Ready(Some(Ok(Frame::data(control)))))
    }
}

/// How a stream ended.
#[derive(Debug)]
pub enum End {
    /// The worker has no such stream.
    Unimplemented,
    /// The worker has ended it, or a deadline of its own has.
    Ended,
    /// It failed, or could not be opened.
    Failed(String),
}

impl End {
    /// The end, if the head of the answer is already that.
    fn of_head(head: &response::Parts) -> Option<Self> {
        match (Status::from_header_map(&head.headers), head.status) {
            (Some(status), _) => Some(status.into()),
            (None, StatusCode::OK) => None,
            // gRPC takes it for that.
            (None, StatusCode::NOT_FOUND) => Some(Self::Unimplemented),
            (None, status) => Some(Self::Failed(format!("HTTP status {status}"))),
        }
    }
}

impl From<RelayError> for End {
    fn from(error: RelayError) -> Self {
        match error {
            // That is logged once, and it does not change.
            RelayError::Unavailable(Unavailable::NotReady(_)) => Self::Unimplemented,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unimplemented => Self::Unimplemented,
            Code::Ok | Code::DeadlineExceeded => Self::Ended,
            code => Self::Failed(format!("{code:?}: {}", status.message())),
        }
    }
}

/// Opens a stream and publishes its events until it ends. This may be dropped at any time: every message that
/// was read is published.
pub(super) async fn receive(transport: &impl Transport, events: &mut Events, hub: &Arc<Hub>) -> End {
    let answer = match transport.send(own_request(STREAM_TELEMETRY, Controls::switching_on())).await {
        Ok(answer) => answer,
        Err(error) => return error.into(),
    };
    let (head, mut body) = answer.into_parts();
    if let Some(end) = End::of_head(&head) {
        return end;
    }
    // Messages are taken as soon as they are complete, so no other bytes are kept.
    let mut messages = Deframer::new(MAX_MESSAGE_BYTES, 0);
    let (mut status, mut unpublished, mut coalescer) = (None, 0, Coalescer::new(Arc::clone(hub)));
    loop {
        let arrived = if unpublished < BATCH_BYTES { now(body.frame()).await } else { None };
        let frame = if let Some(frame) = arrived {
            frame
        } else {
            // The first time there are no events: the counters show that the stream is open.
            coalescer.publish(events.take(), events.stats());
            unpublished = 0;
            let arrived = match coalescer.due() {
                Some(due) => timeout_at(due.into(), body.frame()).await.ok(),
                None => None,
            };
            if let Some(frame) = arrived {
                frame
            } else {
                coalescer.flush();
                body.frame().await
            }
        };
        let end = match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                unpublished += data.len();
                messages.add(data);
                let now_ns = now_ns();
                while let Some(message) = messages.next() {
                    events.add(message, now_ns);
                }
                continue;
            }
            Some(Ok(Err(frame))) => {
                status = frame.into_trailers().ok().and_then(|trailers| Status::from_header_map(&trailers));
                continue;
            }
            Some(Err(error)) => End::Failed(error.to_string()),
            None => status.map_or_else(|| End::Failed("it ended without a status".into()), End::from),
        };
        coalescer.publish(events.take(), events.stats());
        coalescer.flush();
        return end;
    }
}

/// The result, if the future is ready.
async fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        result = future => Some(result),
        () = ready(()) => None,
    }
}
