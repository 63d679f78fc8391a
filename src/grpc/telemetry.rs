//! `snakepit.bridge.BridgeService`: StreamTelemetry, and nothing else.
//!
//! The hub's chunks are ready gRPC frames already, so the response body hands them to HTTP/2 as they are; tonic's
//! codec would encode every event again. Nothing here looks at `grpc-timeout`: Snakepit opens the stream with five
//! seconds and then listens for ever.

use crate::{
    control::Control,
    hub::{Hub, Subscription},
    proto::bridge::{TelemetryControl, telemetry_control},
};
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use http_body::{Body as HttpBody, Frame};
use prost::Message as _;
use std::{
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    body::Body,
    codec::{DecodeBuf, Decoder, Streaming},
};

/// The path of the one method.
pub const STREAM_TELEMETRY: &str = "/snakepit.bridge.BridgeService/StreamTelemetry";

/// The telemetry streams of one connection: whether closing it needs care.
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

/// Answers StreamTelemetry: subscribes, and reads controls beside the stream.
pub fn stream<B>(hub: &Arc<Hub>, peer: &str, activity: &Arc<Activity>, request: B) -> Response<Body>
where
    B: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let subscription = Arc::new(hub.subscribe(peer));
    let controls = Streaming::new_request(ControlDecoder, request, None, None);
    let reader = tokio::spawn(read_controls(controls, Arc::downgrade(&subscription)));
    activity.open.fetch_add(1, Ordering::Relaxed);
    let events = Events { subscription, reader, activity: Arc::clone(activity), ended: false };

    let mut response = Response::new(Body::new(events));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Applies controls until the client closes its side, which does not end the stream.
async fn read_controls(
    mut controls: Streaming<Result<TelemetryControl, prost::DecodeError>>,
    subscription: Weak<Subscription>,
) {
    loop {
        let message = controls.message().await;
        let Some(subscription) = subscription.upgrade() else {
            return;
        };
        match message {
            Ok(Some(Ok(TelemetryControl { control: Some(control) }))) => subscription.control(control.into()),
            // An empty one asks for nothing.
            Ok(Some(Ok(TelemetryControl { control: None }))) => {}
            Ok(Some(Err(_))) => subscription.refuse_control(),
            Ok(None) => return,
            // Compressed or too long: where the next one starts cannot be told.
            Err(_) => return subscription.refuse_control(),
        }
    }
}

impl From<telemetry_control::Control> for Control {
    fn from(control: telemetry_control::Control) -> Self {
        match control {
            telemetry_control::Control::Toggle(toggle) => Self::Toggle(toggle.enabled),
            telemetry_control::Control::Sampling(update) => {
                Self::Sampling { rate: update.sampling_rate, patterns: update.event_patterns }
            }
            telemetry_control::Control::Filter(filter) => {
                Self::Filter { allow: filter.allow, deny: filter.deny }
            }
        }
    }
}

/// Decodes controls one by one: a bad one is an item, not the end of the stream.
#[derive(Debug)]
struct ControlDecoder;

impl Decoder for ControlDecoder {
    type Item = Result<TelemetryControl, prost::DecodeError>;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let bytes = message.copy_to_bytes(message.remaining());
        Ok(Some(TelemetryControl::decode(bytes)))
    }
}

/// The response body: frames from the hub, then trailers with status OK.
#[derive(Debug)]
struct Events {
    subscription: Arc<Subscription>,
    reader: tokio::task::JoinHandle<()>,
    activity: Arc<Activity>,
    ended: bool,
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
