//! Requests other than telemetry. They are read completely, within bounds, before a service sees them, so
//! that clients cannot fill the memory with unfinished requests.
//!
//! tonic's services accept messages of 4 MiB, release HTTP/2's flow-control window as bytes arrive, and wait
//! for the rest without a timeout: without these bounds one unauthenticated connection could hold 400 MiB.

use super::until_end::until_end;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, Uri};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt as _, Full};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};

/// Maximum size in bytes of a request, prefix included, and of a reflection message. Most hold no more than a
/// name; a Snakepit pool's InitializeSession has a session's id, the name of a node, of 255 bytes at most,
/// and a time.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024;

/// Maximum length in bytes of a request's path. Every path that is served is shorter.
const MAX_PATH_BYTES: usize = 128;

/// Maximum number of open reflection requests. Clients may keep them open, and need only one.
const MAX_REFLECTIONS: usize = 32;

const GRPC_ENCODING: &str = "grpc-encoding";

/// Runs requests other than telemetry within their bounds.
pub struct Requests {
    within: Duration,
    reflections: Arc<Semaphore>,
    end: CancellationToken,
}

impl Requests {
    /// A request must arrive completely within this time. Open responses end when `end` is cancelled.
    pub fn new(within: Duration, end: CancellationToken) -> Self {
        Self { within, reflections: Arc::new(Semaphore::new(MAX_REFLECTIONS)), end }
    }

    /// Reads a unary request and passes it to `answer`.
    ///
    /// # Errors
    ///
    /// If it does not arrive completely in time, is too long, is compressed, or has an invalid path.
    pub async fn unary<B, A>(&self, request: Request<B>, answer: A) -> Result<Response<Body>, Status>
    where
        B: HttpBody<Data = Bytes>,
        A: AsyncFnOnce(Request<Body>) -> Response<Body>,
    {
        if request.headers().get(GRPC_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(Status::unimplemented("compressed requests are not supported"));
        }
        let path = request.uri().path();
        let not_served = || Status::unimplemented("no such method is served here");
        let uri = Uri::try_from(path).ok().filter(|_| path.len() <= MAX_PATH_BYTES).ok_or_else(not_served)?;
        // Nothing else is used, and headers may be long: drop them before the body is read.
        let message = timeout(self.within, read_body(request.into_body()))
            .await
            .map_err(|_| Status::deadline_exceeded("the request did not arrive completely in time"))??;
        let mut request = Request::new(Body::new(Full::new(message)));
        (*request.method_mut(), *request.uri_mut()) = (Method::POST, uri);
        let response = answer(request).await;
        Ok(response.map(|body| until_end(body, self.end.clone(), None)))
    }

    /// Passes a reflection stream to `answer`, which bounds its messages.
    ///
    /// # Errors
    ///
    /// If too many are open.
    pub async fn reflection<B, A>(&self, request: Request<B>, answer: A) -> Result<Response<Body>, Status>
    where
        B: HttpBody<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
        A: AsyncFnOnce(Request<Body>) -> Response<Body>,
    {
        let permit = Arc::clone(&self.reflections)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many reflection requests are open"))?;
        let response = answer(request.map(Body::new)).await;
        Ok(response.map(|body| until_end(body, self.end.clone(), Some(permit))))
    }
}

/// Reads a request's body to its end. It is copied, so that the frames that it arrived in can be freed.
async fn read_body<B: HttpBody<Data = Bytes>>(body: B) -> Result<Bytes, Status> {
    let mut body = std::pin::pin!(body);
    let mut message = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Status::cancelled("the client cancelled the request"))?;
        if let Ok(data) = frame.into_data() {
            if message.len() + data.len() > MAX_REQUEST_BYTES {
                return Err(Status::resource_exhausted("the request is too long"));
            }
            message.extend_from_slice(&data);
        }
    }
    Ok(message.freeze())
}
