//! One signal on its way to its server: one request at a time, its counters, and what was lost.

use super::{
    Counter,
    client::{Client, Files},
    endpoint::{Destination, Signal},
    request::Request,
    retry::{Outcome, deliver},
};
use crate::{
    exporter::feed::Feed,
    net::source_file::SourceError,
    pipeline::output::{Loss, Undelivered},
    system::log,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::task::{self, JoinSet};
use tokio_util::sync::CancellationToken;

/// Sends one signal.
pub(super) struct SignalPipeline {
    client: Arc<Client>,
    /// How long a request is sent again.
    limit: Option<Duration>,
    /// The number of spans, data points or log lines in flight.
    in_flight: u64,
    /// How many they are for the server: log records instead of lines.
    records: u64,
    task: Option<task::Id>,
    items: Items,
    last_failure: LastFailure,
    failed: Undelivered,
    rejected: Undelivered,
    dropped: Undelivered,
}

/// What a signal consists of, and its counters.
#[derive(Clone, Copy)]
struct Items {
    /// The singular.
    what: &'static str,
    exported: Counter,
    rejected: Counter,
    failed: Counter,
}

impl Items {
    fn of(signal: Signal) -> Self {
        match signal {
            Signal::Traces => Self {
                what: "span",
                exported: Counter::SpansExported,
                rejected: Counter::SpansRejected,
                failed: Counter::SpansFailed,
            },
            Signal::Metrics => Self {
                what: "data point",
                exported: Counter::PointsExported,
                rejected: Counter::PointsRejected,
                failed: Counter::PointsFailed,
            },
            Signal::Logs => Self {
                what: "log line",
                exported: Counter::LogsExported,
                rejected: Counter::LogsRejected,
                failed: Counter::LogsFailed,
            },
        }
    }
}

/// Why the latest attempt failed, while it is sent again; empty after a success.
#[derive(Clone, Default)]
struct LastFailure(Arc<Mutex<String>>);

impl LastFailure {
    fn lock(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SignalPipeline {
    /// Sends each request again for as long as `limit`; without one, until it succeeds.
    pub(super) fn new(
        destination: &Destination,
        files: Option<Files>,
        limit: Option<Duration>,
    ) -> Result<Self, SourceError> {
        let signal = destination.signal.name();
        if destination.enabled {
            tracing::info!("otlp: {signal} go to {destination}");
        } else {
            tracing::info!("otlp: {signal} are not exported (OTEL_{}_EXPORTER)", signal.to_ascii_uppercase());
        }
        Ok(Self {
            client: Arc::new(Client::new(destination.clone(), files)?),
            limit,
            in_flight: 0,
            records: 0,
            task: None,
            items: Items::of(destination.signal),
            last_failure: LastFailure::default(),
            failed: Undelivered::default(),
            rejected: Undelivered::default(),
            dropped: Undelivered::default(),
        })
    }

    pub(super) fn destination(&self) -> &Destination {
        &self.client.destination
    }

    /// Whether no request is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0
    }

    /// Whether this task sends the request in flight.
    pub(super) fn is_sent_by(&self, task: task::Id) -> bool {
        self.task == Some(task)
    }

    /// Starts to send a request, in a task of this set. `shutdown` cuts one pause between attempts short.
    pub(super) fn start(
        &mut self,
        request: Request,
        sending: &mut JoinSet<Outcome>,
        shutdown: CancellationToken,
    ) {
        (self.in_flight, self.records) = (request.items, request.records);
        let (client, limit) = (Arc::clone(&self.client), self.limit);
        let (signal, last_failure) = (self.destination().signal, self.last_failure.clone());
        let sent = sending.spawn(async move {
            let send = async || {
                let result = client.send(&request).await;
                *last_failure.lock() =
                    result.as_ref().err().map(|failure| failure.why.clone()).unwrap_or_default();
                result
            };
            deliver(signal.name(), send, limit, &shutdown).await
        });
        self.task = Some(sent.id());
    }

    /// Counts the outcome of the request in flight.
    pub(super) fn count(&mut self, outcome: Outcome, feed: &Feed<Counter>) {
        let signal = self.destination().signal.name();
        let items = std::mem::take(&mut self.in_flight);
        let Items { exported, rejected, failed, .. } = self.items;
        feed.count(Counter::Retries, outcome.retries);
        let accepted = match outcome.result {
            Ok(accepted) => accepted,
            Err(cause) => {
                log::limited!(INFO, "otlp: {signal}: given up: {cause}");
                feed.count(failed, items);
                self.failed.add(items, format_args!("{cause} at {}", self.destination().server()));
                return;
            }
        };
        let refused = in_items(accepted.rejected, self.records, items);
        feed.count(Counter::Exports, 1);
        feed.count(exported, items - refused);
        feed.count(rejected, refused);
        self.rejected.add(refused, format_args!("rejected: {}", accepted.message));
        if let Some(cause) = accepted.unreadable {
            log::limited!(INFO, "otlp: {signal}: accepted, but the answer cannot be read: {cause}");
        }
        if refused > 0 || !accepted.message.is_empty() {
            log::limited!(INFO, "otlp: {signal}: {refused} of {items} rejected: {}", accepted.message);
        }
    }

    /// Notes items for which there was no room.
    pub(super) fn add_dropped(&mut self, items: u64, reason: &str) {
        self.dropped.add(items, reason);
    }

    /// What failed and was rejected so far is sent again.
    pub(super) fn forget_losses(&mut self) {
        (self.failed, self.rejected) = Default::default();
    }

    /// Gives up what is in flight and what waits at the end. The latter is counted by this counter.
    pub(super) fn give_up(&mut self, waiting: u64, counter: Counter, feed: &Feed<Counter>, cause: &str) {
        feed.count(counter, waiting);
        feed.count(self.items.failed, self.in_flight);
        let failure = self.last_failure.lock();
        let items = waiting + self.in_flight;
        if failure.is_empty() {
            self.failed.add(items, cause);
        } else {
            self.failed.add(items, format_args!("{failure} at {}", self.client.destination.server()));
        }
    }

    /// What was lost since the last call.
    pub(super) fn take_losses(&mut self) -> Vec<Loss> {
        let lost = [&mut self.failed, &mut self.rejected, &mut self.dropped];
        lost.into_iter().filter_map(|lost| std::mem::take(lost).loss(self.items.what)).collect()
    }
}

/// The number of items in `rejected` of the `records` of a request. The server does not report which records
/// it rejected, so each is taken to have the average number of lines. Rounded up.
fn in_items(rejected: u64, records: u64, items: u64) -> u64 {
    let share = u128::from(rejected.min(records)) * u128::from(items);
    let rounded_up = share.div_ceil(u128::from(records.max(1)));
    u64::try_from(rounded_up).unwrap_or(items).min(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_records_are_counted_in_items() {
        assert_eq!([in_items(0, 5, 5), in_items(2, 5, 5), in_items(9, 5, 5)], [0, 2, 5]);
        assert_eq!([in_items(0, 5, 20), in_items(1, 3, 20), in_items(3, 3, 20)], [0, 7, 20]);
        assert_eq!([in_items(1, 0, 0), in_items(u64::MAX, u64::MAX, u64::MAX)], [0, u64::MAX]);
    }
}
