//! The data of responses. Events count as delivered when their bytes are written, not when HTTP/2 takes them:
//! it may hold them for long, and loses them with the connection.

use crate::{event::batch::FrameSlice, hub::Subscription, upstream::Relayed};
use bytes::{Buf, Bytes};
use http_body::Body;
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use std::{error::Error, sync::Arc};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The body of a response.
pub type ResponseBody = UnsyncBoxBody<Payload, BoxError>;

/// Any error of a body.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Part of a response.
#[derive(Debug)]
pub struct Payload(Content);

#[derive(Debug)]
enum Content {
    /// A subscriber is registered until all of its events are written or lost.
    Events(FrameSlice, Arc<Subscription>),
    /// The permit is released when the bytes are written, or lost with the connection.
    Other(
        Bytes,
        #[expect(dead_code, reason = "dropping it is the message")] Option<Arc<OwnedSemaphorePermit>>,
    ),
}

impl Payload {
    /// Whole frames with events of a subscription.
    pub(super) fn events(frames: FrameSlice, subscription: &Arc<Subscription>) -> Self {
        Self(Content::Events(frames, Arc::clone(subscription)))
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.chunk().len()
    }

    fn chunk(&self) -> &[u8] {
        match &self.0 {
            Content::Events(frames, _) => frames,
            Content::Other(bytes, _) => bytes,
        }
    }

    fn advance(&mut self, count: usize) {
        match &mut self.0 {
            Content::Events(frames, subscription) => subscription.acknowledge(frames.read(count) as u64),
            Content::Other(bytes, _) => bytes.advance(count),
        }
    }
}

/// The body of a response without events.
pub(super) fn without_events(body: tonic::body::Body) -> ResponseBody {
    holding(body, None)
}

/// The same with a permit that it holds until it is written.
pub(super) fn holding(body: tonic::body::Body, permit: Option<OwnedSemaphorePermit>) -> ResponseBody {
    let permit = permit.map(Arc::new);
    boxed(body, move |bytes| Payload(Content::Other(bytes, permit.clone())))
}

/// The body of a relayed answer. The token counts the call as open.
pub(super) fn relayed(body: Relayed, open: TaskTrackerToken) -> ResponseBody {
    boxed(body, move |bytes| {
        let _ = &open;
        Payload(Content::Other(bytes, None))
    })
}

fn boxed<B>(body: B, mut payload: impl FnMut(Bytes) -> Payload + Send + 'static) -> ResponseBody
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    body.map_frame(move |frame| frame.map_data(&mut payload)).map_err(Into::into).boxed_unsync()
}
