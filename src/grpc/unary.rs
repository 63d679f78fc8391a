//! Requests other than telemetry: read whole before a service sees them, so that a client cannot have the sidecar keep
//! what it never finishes.
//!
//! tonic's services take messages of 4 MiB, take bytes out of HTTP/2's window as they come, and wait for the rest for as
//! long as the client likes: without these bounds one connection without a token could have 400 MiB.

use super::until_end::until_end;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, Uri};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt as _, Full};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};

/// The longest request, in bytes, its prefix included; and for reflection the longest message. They hold a name at most.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024;

/// The longest path of a request, in bytes: more than any method has that is served.
const MAX_PATH_BYTES: usize = 128;

/// How many reflection requests may be open at a time. They stay open as long as the client likes, and it takes one to
/// look at everything.
const MAX_REFLECTIONS: usize = 32;

/// What gRPC calls the compression of messages.
const GRPC_ENCODING: &str = "grpc-encoding";

/// What becomes of a request that is not telemetry.
pub struct Requests {
    within: Duration,
    reflections: Arc<Semaphore>,
    end: CancellationToken,
}

impl Requests {
    /// A request has to come whole within this time. Open-ended answers end when `end` is cancelled.
    pub fn new(within: Duration, end: CancellationToken) -> Self {
        Self { within, reflections: Arc::new(Semaphore::new(MAX_REFLECTIONS)), end }
    }

    /// Has a request of one message answered.
    ///
    /// # Errors
    ///
    /// If it does not come whole in time, or is no such request.
    pub async fn unary<B, A>(&self, request: Request<B>, answer: A) -> Result<Response<Body>, Status>
    where
        B: HttpBody<Data = Bytes>,
        A: AsyncFnOnce(Request<Body>) -> Response<Body>,
    {
        if request.headers().get(GRPC_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(Status::unimplemented("compressed requests are not taken"));
        }
        let path = request.uri().path();
        let not_served = || Status::unimplemented("no such method is served here");
        let uri = Uri::try_from(path).ok().filter(|_| path.len() <= MAX_PATH_BYTES).ok_or_else(not_served)?;
        // Nothing else is looked at, and headers may be long: they go before the rest comes.
        let message = timeout(self.within, whole(request.into_body()))
            .await
            .map_err(|_| Status::deadline_exceeded("the request did not come whole in time"))??;
        let mut request = Request::new(Body::new(Full::new(message)));
        (*request.method_mut(), *request.uri_mut()) = (Method::POST, uri);
        let response = answer(request).await;
        Ok(response.map(|body| until_end(body, self.end.clone(), None)))
    }

    /// Has a stream of requests answered, whose messages the service bounds.
    ///
    /// # Errors
    ///
    /// If there are too many of them.
    pub async fn reflection<B, A>(&self, request: Request<B>, answer: A) -> Result<Response<Body>, Status>
    where
        B: HttpBody<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
        A: AsyncFnOnce(Request<Body>) -> Response<Body>,
    {
        let place = Arc::clone(&self.reflections)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many reflection requests are open"))?;
        let response = answer(request.map(Body::new)).await;
        Ok(response.map(|body| until_end(body, self.end.clone(), Some(place))))
    }
}

/// The whole of a request's body. It is copied, so that the frames it came in can go.
async fn whole<B: HttpBody<Data = Bytes>>(body: B) -> Result<Bytes, Status> {
    let mut body = std::pin::pin!(body);
    let mut message = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Status::cancelled("the request was given up"))?;
        if let Ok(data) = frame.into_data() {
            if message.len() + data.len() > MAX_REQUEST_BYTES {
                return Err(Status::resource_exhausted("the request is too long"));
            }
            message.extend_from_slice(&data);
        }
    }
    Ok(message.freeze())
}
