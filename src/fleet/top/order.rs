//! The orders of rows.

use super::worker::Worker;
use crate::exporter::digest::table::Order;

/// The order of workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum WorkerOrder {
    /// Failures, and others in the order in which they joined.
    #[default]
    Joined,
    Rate,
    /// Failures, and others by their errors.
    Errors,
    /// The slowest 95th percentile of all operations first.
    Slowest,
    Lost,
    Name,
}

impl WorkerOrder {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Joined => "failure, start",
            Self::Rate => "rate",
            Self::Errors => "failure, errors",
            Self::Slowest => "p95",
            Self::Lost => "lost",
            Self::Name => "name",
        }
    }

    pub(super) fn next(self) -> Self {
        match self {
            Self::Joined => Self::Rate,
            Self::Rate => Self::Errors,
            Self::Errors => Self::Slowest,
            Self::Slowest => Self::Lost,
            Self::Lost => Self::Name,
            Self::Name => Self::Joined,
        }
    }

    /// Sorts workers. Those that have failed are first if the order is one of failures, and others that have
    /// ended are last. Equal ones are in the order in which they joined.
    pub(super) fn sort(self, workers: &mut [&Worker]) {
        let rate = |worker: &Worker| worker.rate().unwrap_or(-1.0);
        let p95 = |worker: &Worker| worker.digest.durations().quantile(0.95).unwrap_or(-1.0);
        match self {
            Self::Joined => {}
            Self::Rate => workers.sort_by(|one, other| rate(other).total_cmp(&rate(one))),
            Self::Errors => workers.sort_by_key(|worker| std::cmp::Reverse(worker.errors())),
            Self::Slowest => workers.sort_by(|one, other| p95(other).total_cmp(&p95(one))),
            Self::Lost => workers.sort_by_key(|worker| std::cmp::Reverse(worker.lost)),
            Self::Name => workers.sort_by(|one, other| one.joined.name.cmp(&other.joined.name)),
        }
        let is_of_failures = matches!(self, Self::Joined | Self::Errors);
        workers.sort_by_key(|worker| match worker {
            worker if is_of_failures && worker.has_failed() => 0,
            worker if worker.has_ended() && !worker.joined.is_recording => 2,
            _ => 1,
        });
    }
}

/// The names of the orders of operations.
pub(super) fn order_name(order: Order) -> &'static str {
    match order {
        Order::Time => "time",
        Order::Count => "count",
        Order::Errors => "errors",
        Order::Slowest => "p95",
        Order::Name => "name",
    }
}

pub(super) fn next_order(order: Order) -> Order {
    match order {
        Order::Time => Order::Count,
        Order::Count => Order::Errors,
        Order::Errors => Order::Slowest,
        Order::Slowest => Order::Name,
        Order::Name => Order::Time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::top::worker::{Joined, State};

    #[test]
    fn failed_workers_are_first_by_failure_and_others_that_have_ended_are_last() {
        let workers = [None, Some("exit 0"), Some("exit 3"), None, Some("signal 15"), Some("signal 9")];
        let worker = |(id, end): (usize, Option<&str>)| {
            let mut worker = Worker::new(id, Joined::default());
            worker.state = end.map_or(State::Running, |how| State::Ended(how.into()));
            worker
        };
        let workers: Vec<_> = workers.into_iter().enumerate().map(worker).collect();
        let mut order = WorkerOrder::default();
        loop {
            let mut sorted: Vec<_> = workers.iter().collect();
            order.sort(&mut sorted);
            let ids: Vec<_> = sorted.iter().map(|worker| worker.id).collect();
            let is_by_failure = order.name().starts_with("failure");
            assert_eq!(ids, if is_by_failure { [2, 5, 0, 3, 1, 4] } else { [0, 3, 1, 2, 4, 5] }, "{order:?}");
            order = order.next();
            if order == WorkerOrder::default() {
                return;
            }
        }
    }
}
