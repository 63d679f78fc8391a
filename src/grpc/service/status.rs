//! `telemetry_sidecar.v1.Sidecar`: the books, readable while the program runs.

use crate::{
    event::{
        proto::sidecar::{
            Backlog, Consumer, GetStatusRequest, GetStatusResponse, Malformed, Recording, Stream, Worker,
            sidecar_server::Sidecar,
        },
        stats,
    },
    hub::{ConsumerAccount, Hub, Snapshot},
    pipeline::{output::Context, record::Recorder},
    worker::{Exit, state::WorkerState},
};
use std::{net::SocketAddr, sync::Arc};
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug, Clone)]
pub struct StatusService {
    /// Whose books.
    pub hub: Arc<Hub>,
    /// The worker; none in a replay.
    pub worker: Option<Arc<WorkerState>>,
    /// The recording, if there is one.
    pub recorder: Option<Arc<Recorder>>,
    /// Where metrics are served, if they are.
    pub prometheus: Option<SocketAddr>,
}

impl StatusService {
    /// The service of an output that is started in this context.
    pub fn new(context: &Context) -> Self {
        let prometheus = context.served.iter().find(|(name, _)| *name == "prometheus");
        Self {
            hub: Arc::clone(&context.hub),
            worker: context.mode.worker().cloned(),
            recorder: context.recorder.clone(),
            prometheus: prometheus.map(|(_, address)| *address),
        }
    }
}

#[tonic::async_trait]
impl Sidecar for StatusService {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let worker = self.worker.as_ref().map(|worker| {
            let exit = worker.exit();
            let (exit_code, exit_signal) = match exit {
                None => (None, None),
                Some(Exit::Code(code)) => (Some(code), None),
                Some(Exit::Signal(signal)) => (None, Some(signal)),
            };
            Worker {
                pid: worker.pid().unwrap_or_default(),
                running: worker.is_running(exit),
                exit_code,
                exit_signal,
            }
        });
        let recording = self.recorder.as_ref().map(|recorder| {
            let stats = recorder.stats();
            Recording {
                bytes_written: stats.bytes_written,
                bytes_lost: stats.bytes_lost,
                stopped: stats.stopped,
            }
        });
        let prometheus_address = self.prometheus.map(|address| address.to_string()).unwrap_or_default();
        Ok(Response::new(response(self.hub.snapshot(), worker, recording, prometheus_address)))
    }
}

fn response(
    snapshot: Snapshot,
    worker: Option<Worker>,
    recording: Option<Recording>,
    prometheus_address: String,
) -> GetStatusResponse {
    let Snapshot { stream, backlog, subscribers, disconnected, disconnected_count, exporters } = snapshot;
    let consumers = |accounts: Vec<ConsumerAccount>| accounts.into_iter().map(consumer).collect();
    let malformed = |reason| stream.malformed.get(reason);
    GetStatusResponse {
        version: env!("CARGO_PKG_VERSION").into(),
        worker,
        stream: Some(Stream {
            bytes_read: stream.bytes_read,
            bytes_passed: stream.bytes_passed,
            bytes_removed: stream.bytes_removed,
            bytes_dropped: stream.bytes_dropped,
            bytes_held: stream.bytes_held,
            telemetry_lines: stream.telemetry_lines,
            decoded: stream.decoded,
            malformed: Some(Malformed {
                json: malformed(stats::Malformed::Json),
                not_object: malformed(stats::Malformed::NotObject),
                event: malformed(stats::Malformed::Event),
                shape: malformed(stats::Malformed::Shape),
            }),
            oversized: stream.oversized,
            embedded: stream.embedded,
            events: stream.events(),
        }),
        backlog: Some(Backlog {
            taken_in: backlog.accepted,
            handed_over: backlog.replayed,
            dropped: backlog.dropped,
            waiting: backlog.waiting,
        }),
        subscribers: consumers(subscribers),
        departed: Some(consumer(ConsumerAccount { stats: disconnected, ..ConsumerAccount::default() })),
        departed_count: disconnected_count,
        exporters: consumers(exporters),
        recording,
        prometheus_address,
    }
}

fn consumer(account: ConsumerAccount) -> Consumer {
    let ConsumerAccount { id, name, stats, counters } = account;
    Consumer {
        id,
        name,
        offered: stats.offered,
        delivered: stats.delivered,
        switched_off: stats.disabled,
        filtered: stats.filtered,
        sampled_out: stats.sampled_out,
        dropped: stats.dropped,
        abandoned: stats.abandoned,
        queued: stats.queued,
        queued_bytes: stats.queued_bytes,
        controls_applied: stats.controls_applied,
        controls_refused: stats.controls_refused,
        counters: counters
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), count))
            .collect(),
    }
}
