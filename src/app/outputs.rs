//! The running outputs, and how they end.

use crate::{
    hub::Hub,
    pipeline::output::{DRAIN_TIMEOUT_EXPIRED, Drain, ENDED_BY_SIGNAL, Loss, Running},
};
use std::{
    future::pending,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How long exporters may still take to count what they have not delivered, after the drain was cut short.
const COUNTING: Duration = Duration::from_millis(100);

/// Everything that carries events out of the hub.
pub(super) struct Outputs {
    pub(super) hub: Arc<Hub>,
    pub(super) exporters: Vec<Running>,
    pub(super) server: Running,
    pub(super) drain: Drain,
    pub(super) linger: Duration,
    /// Ends the server.
    pub(super) shutdown: CancellationToken,
    /// Ends the drain.
    pub(super) cut_short: CancellationToken,
}

/// How the outputs ended.
pub(super) struct Drained {
    pub(super) losses: Vec<(&'static str, Loss)>,
    /// Why some had not drained, if there were any.
    pub(super) cut: Option<&'static str>,
    pub(super) deadline: Option<Instant>,
}

impl Outputs {
    /// Lingers, then waits for all outputs up to one deadline, whether they drain, hang or have ended
    /// already.
    pub(super) async fn drain(self) -> Drained {
        let Self { hub, exporters, server, drain, linger, shutdown, cut_short } = self;
        // A timeout of zero would still take a tick of the clock.
        if !linger.is_zero() {
            let _ = timeout(linger, cut_short.run_until_cancelled(hub.lingered())).await;
        }
        let deadline = drain.deadline();
        let mut drained = Drained { losses: Vec::new(), cut: None, deadline };
        let mut over = pin!(over(deadline, &cut_short));
        // In a replay the exporters may wait long for their servers; meanwhile the status is still served.
        if deadline.is_some() {
            shutdown.cancel();
        }
        for exporter in exporters {
            drained.wait_for(exporter, over.as_mut()).await;
        }
        shutdown.cancel();
        drained.wait_for(server, over).await;
        drained
    }
}

/// Waits until the time for the drain is over, and returns why it is.
async fn over(deadline: Option<Instant>, cut_short: &CancellationToken) -> &'static str {
    tokio::select! {
        () = cut_short.cancelled() => {
            sleep(COUNTING).await;
            ENDED_BY_SIGNAL
        }
        () = async { match deadline { Some(at) => sleep_until(at).await, None => pending().await } } => {
            DRAIN_TIMEOUT_EXPIRED
        }
    }
}

impl Drained {
    /// Waits until an output has drained and closed its connections, or the time for that is over.
    async fn wait_for(&mut self, mut output: Running, over: Pin<&mut impl Future<Output = &'static str>>) {
        let name = output.name;
        let mut losses = None;
        let ended = async {
            losses = Some((&mut output).await);
            output.closed().await;
        };
        if self.cut.is_none() {
            tokio::select! {
                biased;
                () = ended => {}
                cause = over => self.cut = Some(cause)
            }
        } else {
            // It may have drained while others were waited for.
            let _ = timeout(Duration::ZERO, ended).await;
        }
        self.losses.extend(losses.into_iter().flatten().map(|loss| (name, loss)));
    }
}

#[cfg(test)]
mod tests;
