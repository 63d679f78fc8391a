//! Metrics about the sidecar itself: its counters, its worker and its process.

use super::{names::OWN_PREFIX, page::Page, process, vitals};
use crate::{
    event::stats::{ConsumerStats, Malformed, RecordingStats, SourceStats, UpstreamStats},
    exporter::{metrics::sample::Kind, number::Number},
    hub::{ConsumerAccount, Snapshot},
    status::{Report, Status, WorkerReport},
    worker::{Exit, state::WorkerState},
};
use std::time::{SystemTime, UNIX_EPOCH};

/// Families, or their series with these values of a label, that are left out while they are zero: most
/// sidecars never have them. They break a total down, or count what somebody chose. What counts losses is not
/// among them: to Prometheus the first value of a series is no increase, so an alert would miss it.
const RARE: [(&str, &[&str]); 11] = [
    ("backlog_events", &["handed_over"]),
    ("embedded_markers", &["decoded"]),
    ("events", &["embedded"]),
    (
        "exporter_counts",
        &[
            "context_invalid",
            "datagrams",
            "exports",
            "log_lines",
            "logs_cut",
            "retries",
            "spans_incomplete",
            "spans_overdue",
            "spans_unsampled",
            "timestamps_odd",
        ],
    ),
    ("exporter_events", &["filtered", "sampled_out", "switched_off"]),
    ("exporter_queued_bytes", &[]),
    ("malformed_lines", &[]),
    ("subscriber_controls", &[]),
    ("subscriber_events", &["filtered", "sampled_out", "switched_off"]),
    ("subscriber_queued_bytes", &[]),
    ("subscribers_departed", &[]),
];

/// Renders the sidecar's own families.
#[derive(Debug)]
pub struct SelfMetrics {
    status: Status,
    started: SystemTime,
    /// Whether series that are rare are written while they are zero.
    all: bool,
}

/// Labels and a value.
type Row<'a> = (Vec<(&'static str, &'a str)>, Number);

impl SelfMetrics {
    /// The metrics of a session that starts now.
    pub fn new(status: Status, all: bool) -> Self {
        Self { status, started: SystemTime::now(), all }
    }

    /// The worker, if there is one.
    pub fn worker(&self) -> Option<&WorkerState> {
        self.status.worker.as_deref()
    }

    /// Writes all families in the order of their names.
    pub fn write(&self, page: &mut Page) {
        let Report { hub, subscribers, worker, recording, .. } = self.status.report();
        let Snapshot { sources: SourceStats { stream, upstream, observed }, backlog, exporters, .. } = &hub;

        let mut own = Families { page, all: self.all };
        own.counter(
            "backlog_events",
            "Events that came without a subscriber and no longer wait.",
            by("outcome", &[("dropped", backlog.dropped), ("handed_over", backlog.replayed)]),
        );
        own.gauge("backlog_waiting_events", "Events that wait for a subscriber.", one(backlog.waiting));
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        own.gauge("build_info", "Always 1; the label is the version.", vec![(version, Number::Int(1))]);
        own.counter(
            "embedded_markers",
            "Markers of events that were tried in mid-line.",
            by("outcome", &[("decoded", stream.embedded), ("malformed", stream.embedded_malformed)]),
        );
        let mut events = vec![("embedded", stream.embedded), ("line", stream.decoded)];
        events.extend(observed.map(|observed| ("observed", observed)));
        events.extend(upstream.map(|upstream| ("upstream", upstream.events)));
        own.counter(
            "events",
            "Events of the worker: from lines of their own, embedded in others, observed by the sidecar, or \
             from the worker's own stream.",
            by("source", &events),
        );
        own.exporters(exporters);
        own.counter(
            "malformed_lines",
            "Telemetry lines that do not decode, by reason.",
            Malformed::ALL
                .map(|reason| (vec![("reason", reason.name())], Number::from(stream.malformed.get(reason))))
                .into(),
        );
        own.process();
        if let Some(recording) = recording {
            own.recording(recording);
        }
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        own.gauge(
            "start_time_seconds",
            "When the sidecar started, since the Unix epoch.",
            vec![(vec![], started.into())],
        );
        own.counter(
            "stderr_bytes",
            "Bytes of the worker's stderr: passed through, removed as telemetry, or dropped because \
             stderr did not accept them.",
            by(
                "outcome",
                &[
                    ("dropped", stream.bytes_dropped),
                    ("passed", stream.bytes_passed),
                    ("removed", stream.bytes_removed),
                ],
            ),
        );
        own.gauge(
            "stderr_held_bytes",
            "Bytes that may still be telemetry, or wait for a slow reader.",
            one(stream.bytes_held),
        );
        own.counter("stderr_read_bytes", "Bytes read from the worker's stderr.", one(stream.bytes_read));
        own.subscribers(&subscribers);
        own.gauge("subscribers", "Subscribers that are connected.", one(hub.subscribers.len() as u64));
        own.counter(
            "subscribers_departed",
            "Subscribers that have disconnected.",
            one(hub.disconnected_count),
        );
        own.counter(
            "telemetry_lines",
            "Lines that start like telemetry.",
            by(
                "outcome",
                &[
                    ("decoded", stream.decoded),
                    ("malformed", stream.malformed.total()),
                    ("oversized", stream.oversized),
                ],
            ),
        );
        if let Some(upstream) = upstream {
            own.upstream(*upstream);
        }
        if let Some(worker) = worker {
            own.worker(worker, self.worker());
        }
    }
}

/// Writes families with the prefix of the sidecar's own metrics.
struct Families<'a> {
    page: &'a mut Page,
    all: bool,
}

impl Families<'_> {
    fn counter(&mut self, name: &str, help: &str, rows: Vec<Row<'_>>) {
        self.write(name, Kind::Counter, help, rows);
    }

    fn gauge(&mut self, name: &str, help: &str, rows: Vec<Row<'_>>) {
        self.write(name, Kind::Gauge, help, rows);
    }

    fn write(&mut self, name: &str, kind: Kind, help: &str, mut rows: Vec<Row<'_>>) {
        rows.retain(|(labels, value)| self.all || *value != Number::Int(0) || !is_rare(name, labels));
        if rows.is_empty() {
            return;
        }
        let name = format!("{OWN_PREFIX}{name}");
        let mut family = self.page.family(&name, kind, help);
        for (labels, value) in rows {
            family.series(&labels, value);
        }
    }

    fn process(&mut self) {
        if let Some(seconds) = process::cpu_seconds() {
            self.counter(
                "process_cpu_seconds",
                "Processor time of the sidecar itself.",
                vec![(vec![], seconds.into())],
            );
        }
        if let Some(count) = process::open_descriptors() {
            self.gauge("process_open_fds", "Open descriptors of the sidecar itself.", one(count));
        }
        if let Some(bytes) = process::resident_bytes() {
            self.gauge("process_resident_memory_bytes", "Memory of the sidecar itself.", one(bytes));
        }
    }

    fn recording(&mut self, recording: RecordingStats) {
        self.counter(
            "recording_bytes",
            "Bytes of the recording: written, or lost because it stopped.",
            by("outcome", &[("lost", recording.bytes_lost), ("written", recording.bytes_written)]),
        );
        self.gauge(
            "recording_stopped",
            "Whether recording has stopped permanently.",
            one(recording.stopped.into()),
        );
    }

    fn upstream(&mut self, UpstreamStats { events, malformed, oversized, .. }: UpstreamStats) {
        self.counter(
            "upstream_messages",
            "Messages of the worker's own telemetry stream.",
            by("outcome", &[("decoded", events), ("malformed", malformed), ("oversized", oversized)]),
        );
    }

    fn worker(&mut self, WorkerReport { running, end, .. }: WorkerReport, state: Option<&WorkerState>) {
        if let Some(end) = end {
            let (kind, number) = match end.exit {
                Exit::Code(code) => ("code", code),
                Exit::Signal(signal) => ("signal", signal),
            };
            self.gauge(
                "worker_exit_status",
                "The exit code of the worker, or the signal that killed it.",
                vec![(vec![("kind", kind)], Number::Int(number.into()))],
            );
            self.gauge(
                "worker_oom_kills",
                "Processes of the worker's control group that the kernel killed because memory ran out.",
                end.oom_kills.map(one).unwrap_or_default(),
            );
        }
        // After the worker's end there is only the processor time, which is not among these.
        if let Some(worker) = state.filter(|_| end.is_none()) {
            vitals::write(worker, self.page, true);
        }
        self.gauge("worker_up", "Whether the worker runs.", one(running.into()));
    }

    fn exporters(&mut self, exporters: &[ConsumerAccount]) {
        let each = |value: fn(&ConsumerStats) -> u64| {
            let row = |exporter| account_row(exporter, vec![], value(&exporter.stats));
            exporters.iter().map(row).collect::<Vec<_>>()
        };
        let counts = exporters.iter().flat_map(|exporter| {
            let counters = exporter.counters.iter();
            counters.map(|(counter, count)| account_row(exporter, vec![("counter", *counter)], *count))
        });
        self.counter("exporter_counts", "Exporters' own counters.", counts.collect());
        let events = exporters.iter().flat_map(|exporter| {
            let outcomes = outcomes(&exporter.stats).into_iter();
            outcomes.map(|(outcome, count)| account_row(exporter, vec![("outcome", outcome)], count))
        });
        self.counter("exporter_events", "Events offered to exporters, by outcome.", events.collect());
        self.gauge(
            "exporter_queued_bytes",
            "Bytes that wait for an exporter.",
            each(|stats| stats.queued_bytes),
        );
        self.gauge("exporter_queued_events", "Events that wait for an exporter.", each(|stats| stats.queued));
    }

    fn subscribers(&mut self, all: &ConsumerStats) {
        self.counter(
            "subscriber_controls",
            "Controls that subscribers sent.",
            by("outcome", &[("applied", all.controls_applied), ("refused", all.controls_refused)]),
        );
        self.counter(
            "subscriber_events",
            "Events offered to subscribers, connected or disconnected, by outcome.",
            by("outcome", &outcomes(all)),
        );
        self.gauge("subscriber_queued_bytes", "Bytes that wait for subscribers.", one(all.queued_bytes));
        self.gauge("subscriber_queued_events", "Events that wait for subscribers.", one(all.queued));
    }
}

fn is_rare(family: &str, labels: &[(&str, &str)]) -> bool {
    RARE.iter().any(|(name, values)| {
        *name == family && (values.is_empty() || labels.iter().any(|(_, value)| values.contains(value)))
    })
}

/// The outcomes of a consumer's events, without those that are queued.
fn outcomes(stats: &ConsumerStats) -> [(&'static str, u64); 6] {
    [
        ("abandoned", stats.abandoned),
        ("delivered", stats.delivered),
        ("dropped", stats.dropped),
        ("filtered", stats.filtered),
        ("sampled_out", stats.sampled_out),
        ("switched_off", stats.disabled),
    ]
}

fn account_row<'a>(exporter: &'a ConsumerAccount, more: Vec<(&'static str, &'a str)>, count: u64) -> Row<'a> {
    let mut labels = vec![("exporter", exporter.name.as_str())];
    labels.extend(more);
    (labels, Number::from(count))
}

/// A family without labels.
fn one<'a>(count: u64) -> Vec<Row<'a>> {
    vec![(vec![], Number::from(count))]
}

/// A family with one label.
fn by<'a>(label: &'static str, counts: &[(&'a str, u64)]) -> Vec<Row<'a>> {
    counts.iter().map(|(value, count)| (vec![(label, *value)], Number::from(*count))).collect()
}
