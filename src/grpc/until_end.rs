//! Ends open responses other than telemetry (a health Watch, a reflection stream) at shutdown, so that they
//! do not delay the exit.

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};

/// A response body that ends with status UNAVAILABLE if it is still open at shutdown.
struct UntilEnd {
    inner: Body,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Wraps a response body. The permit, if any, is released when the body is dropped.
pub fn until_end(inner: Body, end: CancellationToken, permit: Option<OwnedSemaphorePermit>) -> Body {
    Body::new(UntilEnd { inner, end: Box::pin(end.cancelled_owned()), ended: false, _permit: permit })
}

impl HttpBody for UntilEnd {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let ready @ Poll::Ready(_) = Pin::new(&mut self.inner).poll_frame(context) {
            return ready;
        }
        ready!(self.end.as_mut().poll(context));
        self.ended = true;
        let mut trailers = http::HeaderMap::new();
        let status = Status::unavailable("shutdown").add_header(&mut trailers);
        Poll::Ready(Some(status.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }
}
