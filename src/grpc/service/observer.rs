//! Observers: subscriptions of a viewer. Events come at intervals, so that an observer costs the worker's
//! machine few wake-ups.

use crate::{
    hub::Subscription,
    system::value::duration,
    worker::{End, Exit},
};
use http::{HeaderMap, HeaderValue};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, sleep};
use tonic::Status;

/// The request header that makes a subscription an observer. Its value is the interval: `100ms`.
pub const OBSERVE: &str = "telemetry-sidecar-observe";

/// The request header that asks for [`WORKER_EXIT`]. Observers get it anyway.
pub const REPORT_EXIT: &str = "telemetry-sidecar-report-exit";

/// The trailer that says how the worker has ended: `exit 3`, `signal 9`, `signal 9 (out of memory)`.
pub const WORKER_EXIT: &str = "telemetry-sidecar-worker-exit";

/// An observer would not see for longer whether anything happens. Queues hold what comes meanwhile.
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// How long the end of the sidecar waits for observers to read their last events, and as long for their
/// connections to close.
pub const OBSERVER_END: Duration = Duration::from_millis(250);

/// The interval that a request asks for, if it is one of an observer.
///
/// # Errors
///
/// INVALID_ARGUMENT if it is no duration, or longer than a minute.
pub(super) fn interval(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get(OBSERVE) else { return Ok(None) };
    let interval = value.to_str().ok().and_then(|text| duration(text).ok());
    match interval.filter(|interval| interval.0 <= MAX_INTERVAL) {
        Some(interval) => Ok(Some(interval.0)),
        None => Err(Status::invalid_argument(format!("{OBSERVE}: a duration up to 60s, such as 100ms"))),
    }
}

/// The value of [`WORKER_EXIT`].
pub(super) fn worker_exit(End { exit, reason, .. }: End) -> HeaderValue {
    let status = match exit {
        Exit::Code(code) => format!("exit {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    };
    HeaderValue::from_str(&(status + reason.note())).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Holds back events after some were taken.
#[derive(Debug)]
pub(super) struct Pause {
    interval: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Pause {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, waiting: None }
    }

    /// Starts when nothing is queued any more.
    pub(super) fn start(&mut self) {
        if !self.interval.is_zero() {
            self.waiting = Some(Box::pin(sleep(self.interval)));
        }
    }

    /// Waits until the interval is over, unless the queue is half full or the stream closed before.
    pub(super) fn poll(&mut self, subscription: &Subscription, context: &mut Context<'_>) -> Poll<()> {
        if let Some(waiting) = &mut self.waiting
            && waiting.as_mut().poll(context).is_pending()
            && subscription.poll_half_full(context).is_pending()
        {
            return Poll::Pending;
        }
        self.waiting = None;
        Poll::Ready(())
    }
}
