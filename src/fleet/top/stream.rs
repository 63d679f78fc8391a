//! The event stream of one sidecar, as an observer: encoded events as they come, which are not decoded here.

use super::{model::Update, worker::Id};
use crate::{
    event::{
        batch::MAX_MESSAGE_BYTES,
        frame::{self, PREFIX_BYTES},
        proto::bridge::STREAM_TELEMETRY,
    },
    fleet::client::{ClientError, Connection},
    grpc::service::observer::{OBSERVE, WORKER_EXIT},
};
use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Request, Version, header};
use http_body_util::BodyExt as _;
use std::future::poll_fn;
use tokio::sync::mpsc;
use tonic::{Status, body::Body};
use tower_service::Service as _;

/// How often events come. The screen is drawn about as often.
const INTERVAL: HeaderValue = HeaderValue::from_static("200ms");

/// Receives events until the worker has ended, and returns how that was, as far as the sidecar says it.
/// Updates have whole gRPC frames.
///
/// # Errors
///
/// If the call fails, or the stream ends otherwise.
pub(super) async fn receive(
    id: Id,
    connection: &Connection,
    updates: &mpsc::Sender<Update>,
) -> Result<Option<String>, ClientError> {
    let failed = |status| connection.error(status);
    let mut channel = connection.channel();
    let broken = |error: tonic::transport::Error| connection.error(Status::from_error(Box::new(error)));
    poll_fn(|context| channel.poll_ready(context)).await.map_err(broken)?;
    let response = channel.call(request(connection)).await.map_err(broken)?;
    if let Some(status) = Status::from_header_map(response.headers()) {
        return ended(response.headers(), status).map_err(failed);
    }
    send(Update::Begun(id), updates).await;
    let (mut body, mut unread) = (response.into_body(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        match frame.map_err(failed)?.into_data() {
            Ok(data) if unread.is_empty() && complete(&data) == data.len() => {
                send(Update::Events(id, data), updates).await;
            }
            Ok(data) => {
                unread.extend_from_slice(&data);
                let whole = complete(&unread);
                if whole > 0 {
                    send(Update::Events(id, unread.split_to(whole).freeze()), updates).await;
                }
                if unread.len() > MAX_MESSAGE_BYTES {
                    return Err(failed(Status::internal("a message is longer than 4 MiB")));
                }
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                if let Some(status) = Status::from_header_map(&trailers) {
                    return ended(&trailers, status).map_err(failed);
                }
            }
        }
    }
    Err(failed(Status::unknown("the stream ended without a status")))
}

/// Sends an update. This fails while the program ends.
async fn send(update: Update, updates: &mpsc::Sender<Update>) {
    let _ = updates.send(update).await;
}

/// Closes its side at once, so that the subscription begins.
fn request(connection: &Connection) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static(STREAM_TELEMETRY);
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.extend(connection.request(()).metadata().clone().into_headers());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(OBSERVE, INTERVAL);
    request
}

fn ended(trailers: &HeaderMap, status: Status) -> Result<Option<String>, Status> {
    if status.code() != tonic::Code::Ok {
        return Err(status);
    }
    Ok(trailers.get(WORKER_EXIT).and_then(|exit| Some(exit.to_str().ok()?.to_owned())))
}

/// The length of the whole frames at the start.
fn complete(frames: &[u8]) -> usize {
    frame::whole(frames).map(|message| PREFIX_BYTES + message.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_frames_are_found() {
        let frames = b"\0\0\0\0\x02ab\0\0\0\0\0\0\0\0\0\x01c";
        for (length, expected) in [(0, 0), (4, 0), (6, 0), (7, 7), (11, 7), (12, 12), (17, 12), (18, 18)] {
            assert_eq!(complete(&frames[..length]), expected, "{length}");
        }
    }
}
