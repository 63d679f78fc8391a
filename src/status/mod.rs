//! The state of a run: one report of all counters, which the accounting at exit, `GetStatus` and the metrics
//! page only render.

pub mod account;
mod message;
pub mod text;

use crate::{
    event::stats::{ConsumerStats, RecordingCounters, RecordingStats},
    hub::{Hub, Snapshot},
    worker::{
        End,
        state::WorkerState,
        vitals::{Seen, Vitals},
    },
};
use std::{net::SocketAddr, sync::Arc, time::SystemTime};

/// The name of the consumer that the summary at the end is made of. It is a part of the sidecar, and no
/// exporter in reports.
pub const SUMMARY: &str = "summary";

/// The sources of a report.
#[derive(Debug, Clone)]
pub struct Status {
    /// When the sidecar started to serve.
    pub started: SystemTime,
    /// Counts the stream, the backlog and all consumers.
    pub hub: Arc<Hub>,
    /// The worker; none in a replay.
    pub worker: Option<Arc<WorkerState>>,
    /// The counters of the recording, if there is one.
    pub recording: Option<Arc<RecordingCounters>>,
    /// The address of the metrics page, if it is served.
    pub prometheus: Option<SocketAddr>,
}

/// All counters at one moment, with their sums.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// When the sidecar started to serve; none in a report that was made otherwise.
    pub started: Option<SystemTime>,
    /// The hub's counters, at a batch boundary; those of the summary are apart.
    pub hub: Snapshot,
    /// The counters of the summary, if there is one.
    pub summary: Option<ConsumerStats>,
    /// The sum over all subscribers, connected and disconnected.
    pub subscribers: ConsumerStats,
    /// The number of all subscribers, connected and disconnected.
    pub subscriber_count: u64,
    /// The worker; none in a replay.
    pub worker: Option<WorkerReport>,
    /// The recording, if there is one.
    pub recording: Option<RecordingStats>,
    /// The address of the metrics page, if it is served.
    pub prometheus: Option<SocketAddr>,
}

/// The state of the worker. All fields are of the same moment.
#[derive(Debug, Clone, Copy)]
pub struct WorkerReport {
    /// The process id; none before the worker was started.
    pub pid: Option<u32>,
    /// Whether the worker was started and has not exited.
    pub running: bool,
    /// How the worker has ended, if it has.
    pub end: Option<End>,
    /// What the worker and all its descendants use, if that is sampled.
    pub vitals: Option<Seen>,
}

impl Status {
    /// The sources of a run that serves no metrics page.
    pub fn new(
        hub: Arc<Hub>,
        worker: Option<Arc<WorkerState>>,
        recording: Option<Arc<RecordingCounters>>,
    ) -> Self {
        Self { started: SystemTime::now(), hub, worker, recording, prometheus: None }
    }

    /// The report of this moment.
    pub fn report(&self) -> Report {
        let mut hub = self.hub.snapshot();
        let summary = hub.exporters.extract_if(.., |exporter| exporter.name == SUMMARY).last();
        let summary = summary.map(|summary| summary.stats);
        let mut subscribers = hub.disconnected;
        hub.subscribers.iter().for_each(|subscriber| subscribers.add(&subscriber.stats));
        let subscriber_count = hub.disconnected_count + hub.subscribers.len() as u64;
        let worker = self.worker.as_ref().map(|worker| {
            // Read once, because the worker may exit meanwhile.
            let end = worker.end();
            let running = worker.is_running(end.map(|end| end.exit));
            WorkerReport { pid: worker.pid(), running, end, vitals: worker.vitals().and_then(Vitals::seen) }
        });
        let recording = self.recording.as_ref().map(|counters| counters.stats());
        let (started, prometheus) = (Some(self.started), self.prometheus);
        Report { started, hub, summary, subscribers, subscriber_count, worker, recording, prometheus }
    }
}
