//! The report as the message that `GetStatus` returns.

use super::{Report, WorkerReport};
use crate::{
    event::{
        proto::sidecar::{
            Backlog, Consumer, EndReason, GetStatusResponse, Malformed, Recording, Stream, Upstream, Vitals,
            Worker,
        },
        stats::{self, RecordingStats, SourceStats, UpstreamStats},
    },
    hub::{ConsumerAccount, Snapshot},
    worker::{
        End, Exit,
        vitals::{Sample, Seen},
    },
};
use std::time::{Duration, SystemTime};

impl From<Report> for GetStatusResponse {
    fn from(report: Report) -> Self {
        response(report)
    }
}

fn response(report: Report) -> GetStatusResponse {
    let Report { started, hub, worker, recording, prometheus, .. } = report;
    let Snapshot {
        sources,
        backlog,
        subscribers,
        observers,
        disconnected,
        disconnected_count,
        exporters,
        awaited_subscribers,
    } = hub;
    let consumers = |accounts: Vec<ConsumerAccount>| accounts.into_iter().map(consumer).collect();
    let events = sources.events();
    let SourceStats { stream, upstream, observed } = sources;
    let malformed = |reason| stream.malformed.get(reason);
    GetStatusResponse {
        version: env!("CARGO_PKG_VERSION").into(),
        worker: worker.map(worker_message),
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
            embedded_markers: stream.embedded_markers,
            embedded_malformed: stream.embedded_malformed,
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
        recording: recording.map(|RecordingStats { bytes_written, bytes_lost, stopped }| Recording {
            bytes_written,
            bytes_lost,
            stopped,
        }),
        prometheus_address: prometheus.map(|address| address.to_string()).unwrap_or_default(),
        upstream: upstream.map(|UpstreamStats { messages, events, malformed, oversized }| Upstream {
            messages,
            events,
            malformed,
            oversized,
        }),
        events,
        observers: consumers(observers),
        start_time_unix_nano: started.map_or(0, nanoseconds),
        pid: std::process::id(),
        awaited_subscribers: u32::try_from(awaited_subscribers).unwrap_or(u32::MAX),
        observed_events: observed.unwrap_or_default(),
    }
}

/// The time since 1970.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    nanoseconds_of(since)
}

fn worker_message(WorkerReport { pid, running, end, vitals }: WorkerReport) -> Worker {
    let worker = Worker {
        pid: pid.unwrap_or_default(),
        running,
        vitals: vitals.map(vitals_message),
        ..Worker::default()
    };
    let Some(End { exit, reason, usage, oom_kills }) = end else { return worker };
    let (exit_code, exit_signal) = match exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(signal) => (None, Some(signal)),
    };
    Worker {
        exit_code,
        exit_signal,
        end_reason: EndReason::from(reason).into(),
        cpu_time_nano: Some(nanoseconds_of(usage.cpu())),
        max_rss_bytes: Some(usage.max_rss_bytes),
        oom_kills,
        ..worker
    }
}

fn vitals_message(Seen { latest: Sample { cpu, usage }, peak_rss_bytes }: Seen) -> Vitals {
    Vitals {
        cpu_time_nano: nanoseconds_of(cpu.total()),
        rss_bytes: usage.map(|usage| usage.rss_bytes),
        peak_rss_bytes,
        processes: usage.map(|usage| usage.processes),
    }
}

fn nanoseconds_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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
