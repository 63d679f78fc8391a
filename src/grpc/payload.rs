//! The data of responses. Events count as delivered when their bytes are written, not when HTTP/2 takes them:
//! it may hold them for long, and loses them with the connection.

use crate::{
    event::frame::{PREFIX_BYTES, Prefix},
    hub::Subscription,
    upstream::Relayed,
};
use bytes::{Buf, Bytes};
use http_body::Body;
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use std::{error::Error, io::IoSlice, sync::Arc};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The body of a response.
pub type ResponseBody = UnsyncBoxBody<Payload, BoxError>;

/// Any error of a body.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Part of a response.
#[derive(Debug)]
pub struct Payload {
    bytes: Bytes,
    events: Option<InFlight>,
    /// Released when the bytes are written, or lost with the connection.
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

/// The events in a payload.
#[derive(Debug)]
struct InFlight {
    /// A subscriber is registered until all of its events are written or lost.
    subscription: Arc<Subscription>,
    /// How many bytes are left of the next event.
    next: usize,
}

impl Payload {
    /// Whole frames with events of a subscription.
    pub(super) fn events(frames: Bytes, subscription: &Arc<Subscription>) -> Self {
        let next = frame_bytes(&frames);
        let events = Some(InFlight { subscription: Arc::clone(subscription), next });
        Self { bytes: frames, events, _permit: None }
    }
}

/// The size of the frame that starts here.
fn frame_bytes(bytes: &[u8]) -> usize {
    Prefix::split(bytes).map_or(usize::MAX, |(prefix, _)| PREFIX_BYTES + prefix.length as usize)
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        if let Some(InFlight { subscription, next }) = &mut self.events {
            let mut written = 0;
            while *next <= count {
                written += 1;
                *next = next.saturating_add(frame_bytes(self.bytes.get(*next..).unwrap_or_default()));
            }
            *next -= count;
            subscription.acknowledge(written);
        }
        self.bytes.advance(count);
    }
}

/// The body of a response without events.
pub(super) fn without_events(body: tonic::body::Body) -> ResponseBody {
    holding(body, None)
}

/// The same with a permit that it holds until it is written.
pub(super) fn holding(body: tonic::body::Body, permit: Option<OwnedSemaphorePermit>) -> ResponseBody {
    let permit = permit.map(Arc::new);
    boxed(body, move |bytes| Payload { bytes, events: None, _permit: permit.clone() })
}

/// The body of a relayed answer. The token counts the call as open.
pub(super) fn relayed(body: Relayed, open: TaskTrackerToken) -> ResponseBody {
    boxed(body, move |bytes| {
        let _ = &open;
        Payload { bytes, events: None, _permit: None }
    })
}

fn boxed<B>(body: B, mut payload: impl FnMut(Bytes) -> Payload + Send + 'static) -> ResponseBody
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    body.map_frame(move |frame| frame.map_data(&mut payload)).map_err(Into::into).boxed_unsync()
}
