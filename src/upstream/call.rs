//! A relayed call: the frames of both directions pass as they come, without being decoded.
//!
//! Flow control is end to end. A frame is taken from one side when the other side has taken the one before
//! it, and only then is the sender's window enlarged. So no more waits in the sidecar than a window and a
//! frame for each direction.
//!
//! The answer is relayed in the task that hyper has for the client's stream. That task does not poll the
//! answer while the client's window is full, so a request that is not complete at once has a task of its own.

use super::{connection::RelayError, worker::Upstream};
use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri,
    header::{CONTENT_TYPE, TE},
};
use http_body::{Body, Frame};
use std::{
    error::Error,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::task::JoinSet;
use tonic::Status;

/// The body of a request: a client's, or one of the sidecar's own.
pub trait RequestBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static> RequestBody for B {}

type BoxError = Box<dyn Error + Send + Sync>;

/// A request of the sidecar's own.
pub(super) fn own_request<B>(path: &'static str, body: B) -> Request<B> {
    let mut request = Request::new(body);
    (*request.method_mut(), *request.uri_mut()) = (Method::POST, Uri::from_static(path));
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    request
}

/// A call whose answer has not begun.
pub(super) struct Call<B> {
    request: Option<Sending<B>>,
    answer: ResponseFuture,
    upstream: Arc<Upstream>,
}

impl<B: RequestBody> Call<B> {
    /// Sends the head of a request. The body follows while the answer is waited for.
    pub(super) fn start(
        mut sender: SendRequest<Bytes>,
        head: Request<()>,
        body: B,
        upstream: &Arc<Upstream>,
    ) -> Result<Self, RelayError> {
        let is_complete = body.is_end_stream();
        let sent = sender.send_request(head, is_complete);
        let (answer, stream) = sent.map_err(|error| RelayError::new(error, upstream))?;
        let request = (!is_complete).then(|| Sending { body, stream, chunk: Bytes::new() });
        Ok(Self { request, answer, upstream: Arc::clone(upstream) })
    }

    /// Waits for the head of the answer.
    pub(super) async fn answer(self) -> Result<Response<Relayed>, RelayError> {
        let Self { request, answer, upstream } = self;
        let mut sending = JoinSet::new();
        if let Some(mut request) = request {
            // Short requests have arrived completely.
            let is_sent = poll_fn(|context| Poll::Ready(request.poll_sent(context).is_ready())).await;
            if !is_sent {
                sending.spawn(request);
            }
        }
        let answer = answer.await.map_err(|error| RelayError::new(error, &upstream))?;
        Ok(answer.map(|stream| Relayed { _sending: sending, stream, next: Next::Data, upstream }))
    }
}

/// A request's body on its way to the worker.
#[derive(Debug)]
struct Sending<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// The rest of a frame that waits for room in the worker's window.
    chunk: Bytes,
}

impl<B: RequestBody> Sending<B> {
    /// Relays what can be relayed now. Ready when all of it is sent, or when the worker does not want the
    /// rest.
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Self { body, stream, chunk } = self;
        loop {
            // The worker may have answered without reading the request to its end.
            if stream.poll_reset(context).is_ready() {
                return Poll::Ready(());
            }
            if !chunk.is_empty() {
                let Some(room) = ready!(poll_room(stream, context)) else { return Poll::Ready(()) };
                let part = chunk.split_to(room.min(chunk.len()));
                let is_last = chunk.is_empty() && body.is_end_stream();
                if stream.send_data(part, is_last).is_err() || is_last {
                    return Poll::Ready(());
                }
                continue;
            }
            // An error to send means that the worker has ended the call, which its answer says.
            let _ = match ready!(Pin::new(&mut *body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => {
                        stream.reserve_capacity(data.len());
                        *chunk = data;
                        continue;
                    }
                    Ok(_) if !body.is_end_stream() => continue,
                    Ok(_) => stream.send_data(Bytes::new(), true),
                    Err(frame) => stream.send_trailers(frame.into_trailers().unwrap_or_default()),
                },
                None => stream.send_data(Bytes::new(), true),
                Some(Err(error)) => {
                    stream.send_reset(reset_reason(&*error.into()));
                    Ok(())
                }
            };
            return Poll::Ready(());
        }
    }
}

impl<B: RequestBody> Future for Sending<B> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.poll_sent(context)
    }
}

/// How many bytes the worker's window has room for, at least one; none if the call has ended.
fn poll_room(stream: &mut SendStream<Bytes>, context: &mut Context<'_>) -> Poll<Option<usize>> {
    loop {
        match stream.capacity() {
            0 => match ready!(stream.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(None),
            },
            room => return Poll::Ready(Some(room)),
        }
    }
}

/// Why the client has reset its stream. A lost connection cancels its calls.
fn reset_reason(error: &(dyn Error + 'static)) -> Reason {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.and_then(h2::Error::reason).unwrap_or(Reason::CANCEL)
}

/// The body and the trailers of the worker's answer.
#[derive(Debug)]
pub struct Relayed {
    /// The rest of the request. It ends with the answer.
    _sending: JoinSet<()>,
    stream: RecvStream,
    next: Next,
    upstream: Arc<Upstream>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Data,
    Trailers,
    Nothing,
}

impl Relayed {
    /// The end of an answer that the worker has not ended. A reset is passed on; if the worker was lost, the
    /// client gets trailers that say so.
    fn failed(&mut self, error: h2::Error) -> Result<Frame<Bytes>, h2::Error> {
        self.next = Next::Nothing;
        match RelayError::new(error, &self.upstream) {
            RelayError::Reset(error) => Err(error),
            RelayError::Unavailable(cause) => {
                Ok(Frame::trailers(trailers(&Status::unavailable(cause.to_string()))))
            }
        }
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Its text is percent-encoded, so that it is a valid header.
    let _ = status.add_header(&mut trailers);
    trailers
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = &mut *self;
        if this.next == Next::Data {
            match ready!(this.stream.poll_data(context)) {
                Some(Ok(data)) => {
                    // It fails if the call has ended meanwhile.
                    let _ = this.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(this.failed(error))),
                None => this.next = Next::Trailers,
            }
        }
        if this.next == Next::Trailers {
            let trailers = ready!(this.stream.poll_trailers(context));
            this.next = Next::Nothing;
            return Poll::Ready(match trailers {
                Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
                Err(error) => Some(this.failed(error)),
            });
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.next == Next::Nothing || self.stream.is_end_stream()
    }
}
