//! The running outputs, and how they end.

use crate::{
    hub::Hub,
    pipeline::output::{DRAIN_TIMEOUT_EXPIRED, Drain, DrainEnd, ENDED_BY_SIGNAL, Loss, Running},
};
use std::{
    future::pending,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How long exporters may take to count what they have not delivered, after the end of the drain. A quarter
/// of the drain timeout at most is reserved for it. It is used up only by an exporter that hangs.
const COUNTING: Duration = Duration::from_millis(500);

/// How long a recording is still written after a signal has ended the drain. Most have nothing left then.
const RECORDING: Duration = Duration::from_millis(100);

/// Everything that carries events out of the hub.
pub(super) struct Outputs {
    pub(super) hub: Arc<Hub>,
    pub(super) exporters: Vec<Running>,
    /// The summary's thread, if there is one.
    pub(super) summary: Option<Running>,
    pub(super) server: Running,
    pub(super) drain: Drain,
    pub(super) linger: Duration,
    /// Ends the server.
    pub(super) shutdown: CancellationToken,
    pub(super) drain_end: DrainEnd,
}

/// How the outputs ended.
pub(super) struct Drained {
    pub(super) losses: Vec<(&'static str, Loss)>,
    /// Why the drain ended before all had delivered everything, if it did.
    pub(super) cut: Option<&'static str>,
    /// Until when a recording may still be written.
    pub(super) deadline: Option<Instant>,
}

impl Outputs {
    /// Lingers, then waits for all outputs up to one deadline, whether they drain, hang or have ended
    /// already.
    pub(super) async fn drain(self) -> Drained {
        let Self { hub, exporters, summary, server, drain, linger, shutdown, drain_end } = self;
        // A timeout of zero would still take a tick of the clock.
        if !linger.is_zero() {
            tokio::select! {
                () = hub.lingered() => {}
                () = sleep(linger) => {}
                _ = drain_end.ended() => {}
            }
        }
        let deadline = drain.deadline();
        let mut drained = Drained { losses: Vec::new(), cut: None, deadline };
        // In a replay the exporters may wait long for their servers; meanwhile the status is still served.
        if deadline.is_some() {
            shutdown.cancel();
        }
        let reserve = match drain {
            Drain::Within(limit) => COUNTING.min(limit / 4),
            Drain::Complete => Duration::ZERO,
        };
        let counting = async {
            let deadline = deadline.map(|deadline| deadline - reserve);
            let cause = until(deadline, &drain_end).await;
            drain_end.end(cause);
            sleep(COUNTING).await;
            cause
        };
        let (mut counting, mut is_over) = (pin!(counting), false);
        for exporter in exporters {
            is_over = drained.wait_for(exporter, is_over, counting.as_mut()).await;
        }
        if let Some(summary) = summary {
            // What it has not read is said in the summary, and is no loss.
            let (losses, cut) = (drained.losses.len(), drained.cut);
            drained.wait_for(summary, is_over, counting.as_mut()).await;
            drained.losses.truncate(losses);
            drained.cut = cut;
        }
        shutdown.cancel();
        drained.wait_for(server, false, pin!(until(deadline, &drain_end))).await;
        // An exporter that was told of the end may have drained in time.
        drained.cut = drained.cut.or(drain_end.reason());
        if drained.cut == Some(ENDED_BY_SIGNAL) {
            drained.deadline = Some(Instant::now() + RECORDING);
        }
        drained
    }
}

/// Waits until the deadline, or until a signal ends the drain, and returns which of them it was.
async fn until(deadline: Option<Instant>, drain_end: &DrainEnd) -> &'static str {
    let expired = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => pending().await,
        }
    };
    let ended_by_signal = async {
        if drain_end.ended().await != ENDED_BY_SIGNAL {
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = expired => DRAIN_TIMEOUT_EXPIRED,
        () = ended_by_signal => ENDED_BY_SIGNAL,
    }
}

impl Drained {
    /// Waits until an output has drained and closed its connections, or the time for that is over. Returns
    /// whether it is.
    async fn wait_for(
        &mut self,
        mut output: Running,
        is_over: bool,
        over: Pin<&mut impl Future<Output = &'static str>>,
    ) -> bool {
        let name = output.name;
        let mut losses = None;
        let ended = async {
            losses = Some((&mut output).await);
            output.closed().await;
        };
        let cause = if is_over {
            // It may have drained while others were waited for.
            timeout(Duration::ZERO, ended).await.is_err().then_some(DRAIN_TIMEOUT_EXPIRED)
        } else {
            tokio::select! {
                biased;
                () = ended => None,
                cause = over => Some(cause),
            }
        };
        if let Some(cause) = cause {
            self.cut.get_or_insert(cause);
        }
        self.losses.extend(losses.into_iter().flatten().map(|loss| (name, loss)));
        is_over || cause.is_some()
    }
}

#[cfg(test)]
mod tests;
