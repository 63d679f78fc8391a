//! When a subscription begins: with the client's first control, or without one after a while.

use super::super::controls::Reader;
use crate::{
    hub::{Hub, Opening, Subscription},
    pipeline::output::Drain,
};
use bytes::Bytes;
use http_body::Body as HttpBody;
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::sleep};
use tokio_util::sync::CancellationToken;

/// How long a client may take to send its first control, which it does with the headers or right after them.
/// A client that sends none receives its first event after this time.
const BEGIN_WITHIN: Duration = Duration::from_millis(100);

/// Begins the subscription with the first controls, and then applies the others.
pub(super) async fn read_controls<B: HttpBody<Data = Bytes>>(
    mut reader: Reader<B>,
    mut opening: Opening,
    latest: LatestBegin,
    begun: oneshot::Sender<Arc<Subscription>>,
) {
    tokio::select! {
        () = reader.first() => {}
        () = latest.wait() => {}
    }
    reader.apply_arrived(&mut opening).await;
    let subscription = Arc::new(opening.begin());
    let reading = Arc::downgrade(&subscription);
    if begun.send(subscription).is_ok() {
        reader.apply_all(reading).await;
        // If the request were dropped before its end, HTTP/2 would send RST_STREAM behind the trailers, for
        // which some clients (grpclib) discard what they have not processed.
        reader.discard().await;
    }
}

/// When a subscription begins without a control.
#[derive(Clone)]
pub(super) struct LatestBegin {
    pub(super) hub: Arc<Hub>,
    pub(super) shutdown: CancellationToken,
    pub(super) drain: Drain,
}

impl LatestBegin {
    async fn wait(&self) {
        tokio::select! {
            () = sleep(BEGIN_WITHIN) => {}
            () = self.wait_at_shutdown() => {}
        }
    }

    /// A drain waits for a subscription to begin, and must leave time for the events. Without any there is
    /// nothing to wait for.
    async fn wait_at_shutdown(&self) {
        self.shutdown.cancelled().await;
        if self.hub.has_backlog() {
            sleep(match self.drain {
                Drain::Within(limit) => limit / 2,
                Drain::Complete => BEGIN_WITHIN,
            })
            .await;
        }
    }
}
