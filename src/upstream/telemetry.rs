//! The worker's own telemetry stream: a source of events beside its stderr.
//!
//! The stream is opened without a deadline, switched on, and opened again whenever it ends while the worker
//! lives. There is never more than one: Snakepit's workers have one queue for all streams. Nothing else is
//! sent: the controls of subscribers are applied in the sidecar.
//!
//! It has a thread of its own. Publishing evaluates the patterns of all subscribers, and relayed calls must
//! not wait for that; and what a worker sent before it exited is still read while everything else ends.

use super::{
    events::Events,
    stream::{End, Transport, receive},
};
use crate::{
    hub::Hub,
    system::{backoff::Backoff, log, thread},
};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The pauses before a stream that failed or did not last is opened again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A stream that the worker ends after this time is opened again at once, and the pauses start anew. Workers
/// keep few events while there is no stream.
const LASTED: Duration = Duration::from_secs(1);

/// How long the thread may take to stop. It needs a moment if it is publishing.
const STOP_TIMEOUT: Duration = Duration::from_millis(100);

/// The ends that the source waits for.
#[derive(Debug, Clone, Default)]
struct Ends {
    /// The worker has exited: what it has sent is read, and no stream is opened again.
    worker: CancellationToken,
    /// Nothing is read any more.
    source: CancellationToken,
}

/// The running source.
#[derive(Debug)]
pub struct Running {
    ends: Ends,
    /// Closed when the thread has ended.
    done: oneshot::Receiver<()>,
}

impl Running {
    /// Starts the thread, which makes the transport. `metadata` is added to every event that does not have
    /// the key.
    ///
    /// # Errors
    ///
    /// If the system refuses a thread or what a runtime needs.
    pub fn start<T: Transport>(
        transport: impl FnOnce() -> T + Send + 'static,
        hub: Arc<Hub>,
        metadata: Vec<(String, String)>,
    ) -> io::Result<Self> {
        let runtime = thread::runtime().enable_io().enable_time().build()?;
        let (open, done) = oneshot::channel();
        let ends = Ends::default();
        let running = Self { ends: ends.clone(), done };
        thread::spawn("upstream", move || {
            // A panic drops it, too.
            let _open: oneshot::Sender<()> = open;
            runtime.block_on(async {
                Source { transport: transport(), hub, events: Events::new(metadata), ends }.run().await;
            });
        })?;
        Ok(running)
    }

    /// Waits, when the worker has exited, until the rest of its stream is published, up to `limit` or until
    /// `cut` resolves. Nothing is published afterwards.
    pub async fn finish(self, limit: Duration, cut: impl Future) {
        let Self { ends, mut done } = self;
        ends.worker.cancel();
        tokio::select! {
            _ = &mut done => return,
            () = sleep(limit) => {}
            _ = cut => {}
        }
        ends.source.cancel();
        let _ = timeout(STOP_TIMEOUT, done).await;
    }
}

/// The state of the source's thread.
struct Source<T> {
    transport: T,
    hub: Arc<Hub>,
    events: Events,
    ends: Ends,
}

impl<T: Transport> Source<T> {
    /// Opens the stream again and again until the worker has exited, or has no such stream.
    async fn run(self) {
        let Self { transport, hub, mut events, ends: Ends { worker, source } } = self;
        let mut backoff = Backoff::new(FIRST_PAUSE, MAX_PAUSE);
        loop {
            let opened = Instant::now();
            let end = tokio::select! {
                end = receive(&transport, &mut events, &hub) => end,
                () = source.cancelled() => return,
            };
            let has_lasted = opened.elapsed() >= LASTED;
            if has_lasted {
                backoff.reset();
            }
            let (pause, reason) = match end {
                End::Unimplemented => {
                    tracing::debug!("upstream: the worker has no telemetry stream");
                    return;
                }
                End::Ended if has_lasted => (Duration::ZERO, None),
                End::Ended => (backoff.pause(), None),
                End::Failed(reason) => (backoff.pause(), Some(reason)),
            };
            tokio::select! {
                biased;
                () = worker.cancelled() => return,
                () = sleep(pause) => {}
            }
            // Not before the pause, because the end of the worker is no failure of its stream.
            if let Some(reason) = reason {
                log::limited!(INFO, "upstream: telemetry stream failed, will be opened again: {reason}");
            }
        }
    }
}

#[cfg(test)]
mod tests;
