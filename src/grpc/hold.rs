//! Heartbeats of a Snakepit pool that fail because the worker has exited are not answered.
//!
//! A pool starts a worker again when its process exits. But if a heartbeat fails before that, the pool takes
//! the exit for a planned one and does not start the worker again. Without the sidecar the connection ends
//! together with the process. So no heartbeat may fail, and no connection of a pool may close, before the
//! sidecar exits.

use super::stream_tracker::StreamTracker;
use crate::worker::state::WorkerState;
use std::{future::pending, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// The path of the calls that are held.
pub const HEARTBEAT: &str = "/snakepit.bridge.BridgeService/Heartbeat";

/// How long the exit of a worker whose connection was lost is waited for: it follows within milliseconds.
const EXIT_WITHIN: Duration = Duration::from_secs(1);

/// The interval between looks at the worker's state.
const INTERVAL: Duration = Duration::from_millis(5);

/// Holds heartbeats back.
#[derive(Debug)]
pub struct Hold(Arc<WorkerState>);

impl Hold {
    pub fn new(worker: Arc<WorkerState>) -> Self {
        Self(worker)
    }

    /// Does not return if the worker has exited.
    pub async fn if_exited(&self, streams: &StreamTracker) {
        if self.0.exit().is_some() {
            streams.hold();
            pending::<()>().await;
        }
    }

    /// The same for a heartbeat that has failed, perhaps because the worker is exiting.
    pub async fn if_exiting(&self, streams: &StreamTracker) {
        let exited = async {
            while self.0.exit().is_none() {
                sleep(INTERVAL).await;
            }
        };
        if timeout(EXIT_WITHIN, exited).await.is_ok() {
            self.if_exited(streams).await;
        }
    }
}
