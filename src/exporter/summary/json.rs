//! The summary for scripts: one JSON object.

use super::Run;
use crate::{
    event::stats::ConsumerStats,
    exporter::digest::{Measurement, Operation},
    pipeline::output::Loss,
    worker::{Exit, exit::signal_name, vitals::Seen},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The key that every summary has: its value is the sidecar's version.
const MARK: &str = "telemetry_sidecar";

/// No summary is longer, in bytes.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The object and a newline. Numbers that JSON lacks are null.
pub fn text(run: &Run<'_>) -> String {
    let report = run.report;
    let operations: Vec<_> = run.digest.operations().iter().map(operation).collect();
    let measurements: Vec<_> =
        run.digest.measurements().map(|(operation, value)| measurement(operation, value)).collect();
    let summary = report.summary.unwrap_or_default();
    let started = report.started.and_then(|started| Timestamp::try_from(started).ok());
    let object = json!({
        MARK: env!("CARGO_PKG_VERSION"),
        "started_at": started.map(|at| at.to_string()),
        "command": report.worker.map(|_| words(run)),
        "recordings": report.worker.is_none().then(|| words(run)),
        "worker": worker(run),
        "seconds": run.time.as_secs_f64(),
        "events": report.hub.sources.events(),
        "observed_events": report.hub.sources.observed.unwrap_or(0),
        "operations": operations,
        "other_operations": run.digest.other().map(operation),
        "measurements": measurements,
        "other_values": run.digest.other_values(),
        "not_summarized": {
            "dropped": summary.dropped + summary.queued + summary.abandoned,
            "filtered": summary.filtered,
            "disabled": summary.disabled,
        },
        "outputs": outputs(run),
        "losses": run.losses,
    });
    format!("{object}\n")
}

/// Whether the content of a file is a summary.
pub fn is_summary(content: &[u8]) -> bool {
    serde_json::from_slice::<Map<String, Value>>(content).is_ok_and(|object| object.contains_key(MARK))
}

/// The words of the command line. Bytes that are no UTF-8 are replaced.
fn words(run: &Run<'_>) -> Vec<String> {
    run.words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn worker(run: &Run<'_>) -> Value {
    let Some(worker) = run.report.worker else { return Value::Null };
    let end = worker.end;
    let (code, killed_by) = match end.map(|end| end.exit) {
        Some(Exit::Code(code)) => (Some(code), None),
        Some(Exit::Signal(number)) => (None, Some(number)),
        None => (None, None),
    };
    json!({
        "program": run.program,
        "pid": worker.pid,
        "exit_code": code,
        "signal": killed_by.map(signal_name),
        "reason": end.map(|end| end.reason.as_str()),
        "cpu_seconds": end.map(|end| end.usage.cpu().as_secs_f64()),
        "max_rss_bytes": end.map(|end| end.usage.max_rss_bytes),
        "oom_kills": end.and_then(|end| end.oom_kills),
        "vitals": worker.vitals.map(vitals),
    })
}

/// What the worker and all its descendants have used.
fn vitals(Seen { latest, peak_rss_bytes }: Seen) -> Value {
    json!({ "cpu_seconds": latest.cpu.total().as_secs_f64(), "peak_rss_bytes": peak_rss_bytes })
}

fn operation(operation: &Operation) -> Value {
    let durations = &operation.durations;
    let duration = durations.range().map(|(min, max)| {
        json!({
            "count": durations.count(),
            "sum": durations.sum(),
            "min": min,
            "max": max,
            "p50": durations.quantile(0.5),
            "p95": durations.quantile(0.95),
            "p99": durations.quantile(0.99),
        })
    });
    json!({
        "name": operation.name,
        "count": operation.count(),
        "errors": operation.errors,
        "in_flight": operation.in_flight(),
        "duration_seconds": duration,
        "last_timestamp_ns": operation.last_ns,
    })
}

#[allow(clippy::cast_precision_loss, reason = "a mean of more than 2^53 values")]
fn measurement(operation: &Operation, value: &Measurement) -> Value {
    json!({
        "operation": operation.name,
        "key": value.key,
        "count": value.count,
        "first": value.first,
        "last": value.last,
        "min": value.min,
        "max": value.max,
        "mean": value.sum / value.count as f64,
        "course": value.course.points(),
    })
}

fn outputs(run: &Run<'_>) -> Vec<Value> {
    let output = |name: &str, count: Option<u64>, stats: &ConsumerStats, counters: &[(&str, u64)]| {
        let known = run.destinations.iter().find(|(known, _)| *known == name);
        let counters: Map<_, _> =
            counters.iter().map(|(name, count)| ((*name).to_owned(), (*count).into())).collect();
        let lost = run.undelivered.iter().filter(|(of, _)| of == name).filter_map(|(_, loss)| match loss {
            Loss::Undelivered { what, count, reason } => {
                Some(json!({ "count": count, "what": what, "reason": reason }))
            }
            Loss::Failed(_) => None,
        });
        json!({
            "name": name,
            "destination": known.map(|(_, destination)| destination),
            "count": count,
            "delivered": stats.delivered,
            "not_wanted": stats.disabled + stats.filtered + stats.sampled_out,
            "dropped": stats.dropped,
            "abandoned": stats.abandoned,
            "queued": stats.queued,
            "counters": counters,
            "lost": lost.collect::<Vec<_>>(),
        })
    };
    let report = run.report;
    let subscribers = output("subscribers", Some(report.subscriber_count), &report.subscribers, &[]);
    let exporters = report.hub.exporters.iter();
    let exporters =
        exporters.map(|exporter| output(&exporter.name, None, &exporter.stats, &exporter.counters));
    std::iter::once(subscribers).chain(exporters).collect()
}
