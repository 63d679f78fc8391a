//! All counters as text for people: a line for each topic, problems first. Zeros are left out.

use crate::{
    event::proto::sidecar::{
        Backlog, Consumer, EndReason, GetStatusResponse, Malformed, Recording, Stream, Upstream, Vitals,
        Worker,
    },
    system::visible::one_line,
    terminal::number::{bytes, counted, grouped, seconds},
    worker::{end::Reason, exit::signal_name},
};
use std::{fmt, time::Duration};

/// How many subscribers have a line of their own.
const MAX_SUBSCRIBERS: usize = 20;

/// How the names of an exporter's own counters end if they count what went wrong.
const FAILURES: [&str; 8] =
    ["collisions", "dropped", "failed", "invalid", "oversized", "refused", "rejected", "unsent"];

/// The counters of log lines that an exporter has lost.
const LOST_LOGS: [&str; 3] = ["logs_dropped", "logs_failed", "logs_rejected"];

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// What it is about.
    pub name: String,
    /// What there is to say, in one line without control characters.
    pub text: String,
    /// Whether something is wrong.
    pub is_problem: bool,
}

impl fmt::Display for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.name, self.text)
    }
}

/// The events that were dropped: those of subscribers, and those of exporters. An event counts once for each
/// of them.
pub fn lost_events(status: &GetStatusResponse) -> u64 {
    let consumers = status.subscribers.iter().chain(&status.departed).chain(&status.exporters);
    total(consumers.map(|consumer| consumer.dropped))
}

/// The log lines that no collector has accepted.
pub fn lost_log_lines(status: &GetStatusResponse) -> u64 {
    let counters = status.exporters.iter().flat_map(|exporter| &exporter.counters);
    total(counters.filter(|(name, _)| LOST_LOGS.contains(&name.as_str())).map(|(_, count)| *count))
}

/// The sum of counters that a peer has sent, which may be any numbers.
pub fn total(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

/// Lines of stderr that start like telemetry and are no events.
pub fn malformed_lines(status: &GetStatusResponse) -> u64 {
    let stream = status.stream.unwrap_or_default();
    let Malformed { json, not_object, event, shape } = stream.malformed.unwrap_or_default();
    total([json, not_object, event, shape, stream.oversized])
}

/// What a text that states a worker's exit status adds, in parentheses: nothing, unless memory ran out.
pub fn memory_note(worker: &Worker) -> &'static str {
    match worker.end_reason() {
        EndReason::OutOfMemory => Reason::OutOfMemory.note(),
        EndReason::MaybeOutOfMemory => Reason::MaybeOutOfMemory.note(),
        EndReason::Unspecified | EndReason::Exit | EndReason::Signal => "",
    }
}

/// What a worker uses or has used: with its descendants if that is sampled, else with the children that it
/// waited for.
fn used(worker: &Worker) -> Option<String> {
    let Worker { cpu_time_nano, max_rss_bytes, oom_kills, vitals, .. } = *worker;
    let (cpu, memory) = match vitals {
        Some(Vitals { cpu_time_nano, rss_bytes, peak_rss_bytes, .. }) => {
            let peak = peak_rss_bytes.map(|peak| format!("peak memory {}", bytes(peak)));
            let now = rss_bytes.map(|now| format!("memory {}", bytes(now)));
            let memory = now.into_iter().chain(peak).collect::<Vec<_>>().join(", ");
            (Some(cpu_time_nano), Some(memory).filter(|memory| !memory.is_empty()))
        }
        None => (cpu_time_nano, max_rss_bytes.map(|max| format!("largest process {}", bytes(max)))),
    };
    let processes = vitals.and_then(|vitals| vitals.processes);
    let used = [
        cpu.map(|cpu| format!("CPU time {}", seconds(Duration::from_nanos(cpu).as_secs_f64()))),
        memory,
        processes.map(
            |count| if count == 1 { "1 process".into() } else { format!("{} processes", grouped(count)) },
        ),
        oom_kills
            .filter(|kills| *kills > 0)
            .map(|kills| format!("out of memory: {}", counted(kills, "kill"))),
    ];
    let used = used.into_iter().flatten().collect::<Vec<_>>().join(", ");
    (!used.is_empty()).then_some(used)
}

/// Messages of the worker's own stream that are no events.
pub fn malformed_messages(status: &GetStatusResponse) -> u64 {
    let upstream = status.upstream.unwrap_or_default();
    total([upstream.malformed, upstream.oversized])
}

/// What a replay waits for, if it does.
pub fn waits(status: &GetStatusResponse) -> Option<String> {
    let count = u64::from(status.awaited_subscribers);
    (count > 0).then(|| format!("waits for {}", counted(count, "subscriber")))
}

/// The topics that there is something to say about.
pub fn topics(status: &GetStatusResponse) -> Vec<Topic> {
    let mut topics = Topics::default();
    topics.problems(status);
    topics.worker(status);
    topics.sources(status);
    topics.subscribers(status);
    for exporter in &status.exporters {
        topics.add(&exporter.name, outcomes(exporter) + &own_counters(exporter, false));
    }
    if let Some(Backlog { taken_in, handed_over, dropped, waiting }) = status.backlog {
        let parts = [(handed_over, "replayed"), (dropped, "dropped"), (waiting, "waiting")];
        topics.add_if(taken_in > 0, "backlog", sum(&(grouped(taken_in) + " accepted"), &parts));
    }
    if let Some(Recording { bytes_written, .. }) = status.recording {
        topics.add("recording", counted(bytes_written, "byte") + " written");
    }
    topics.add_if(!status.prometheus_address.is_empty(), "metrics", one_line(&status.prometheus_address));
    topics.0
}

#[derive(Default)]
struct Topics(Vec<Topic>);

impl Topics {
    fn add(&mut self, name: &str, text: impl Into<String>) {
        self.0.push(Topic { name: one_line(name), text: text.into(), is_problem: false });
    }

    fn add_if(&mut self, exists: bool, name: &str, text: impl Into<String>) {
        if exists {
            self.add(name, text);
        }
    }

    fn problem(&mut self, exists: bool, name: &str, text: impl Into<String>) {
        if exists {
            self.0.push(Topic { name: one_line(name), text: text.into(), is_problem: true });
        }
    }

    fn problems(&mut self, status: &GetStatusResponse) {
        let subscribers = status.subscribers.iter().chain(&status.departed);
        let dropped = total(subscribers.clone().map(|subscriber| subscriber.dropped));
        let rejected = total(subscribers.map(|subscriber| subscriber.controls_refused));
        let lost = counted(dropped, "event") + " of subscribers dropped: a queue was full";
        self.problem(dropped > 0, "lost", lost);
        for exporter in &status.exporters {
            let lost = counted(exporter.dropped, "event") + " dropped or not sent";
            let failures = own_counters(exporter, true);
            let failures = failures.strip_prefix("; ").unwrap_or_default();
            let texts = [lost.as_str(), failures];
            let texts = texts.into_iter().skip(usize::from(exporter.dropped == 0));
            let texts: Vec<_> = texts.filter(|text| !text.is_empty()).collect();
            self.problem(!texts.is_empty(), &format!("{} failures", exporter.name), texts.join("; "));
        }
        if let Some(Recording { bytes_lost, stopped, .. }) = status.recording {
            let stopped_text = if stopped { "it has stopped; " } else { "" };
            let text = format!("{stopped_text}{} missing", counted(bytes_lost, "byte"));
            self.problem(stopped || bytes_lost > 0, "recording failures", text);
        }
        if let Some(stream) = &status.stream {
            let dropped =
                counted(stream.bytes_dropped, "byte") + " not written: it is closed, or its disk is full";
            // A replay may leave them out (--no-stderr).
            let is_lost = stream.bytes_dropped > 0 && status.worker.is_some();
            self.problem(is_lost, "stderr failures", dropped);
            let reasons = malformed(stream);
            self.problem(!reasons.is_empty(), "malformed lines", reasons);
        }
        if let Some(Upstream { malformed, oversized, .. }) = status.upstream {
            let reasons = list(&[(malformed, "malformed"), (oversized, "too long")]);
            self.problem(!reasons.is_empty(), "malformed messages", reasons);
        }
        self.problem(rejected > 0, "rejected controls", grouped(rejected));
    }

    fn worker(&mut self, status: &GetStatusResponse) {
        let Some(worker) = &status.worker else {
            let waits = waits(status).map(|waits| format!(": it {waits}"));
            return self.add("worker", "none, this is a replay".to_owned() + &waits.unwrap_or_default());
        };
        let Worker { pid, running, exit_code, exit_signal, .. } = worker;
        let failed = exit_signal.is_some() || exit_code.is_some_and(|code| code != 0);
        let text = match (exit_code, exit_signal) {
            _ if *running => format!("process {pid}, running"),
            (Some(code), _) => format!("exited with {code}{}", memory_note(worker)),
            (None, Some(signal)) => format!("killed by {}{}", signal_name(*signal), memory_note(worker)),
            (None, None) => "not started".to_owned(),
        };
        self.0.push(Topic { name: "worker".into(), text, is_problem: failed });
        if let Some(used) = used(worker) {
            self.add("worker usage", used);
        }
    }

    fn sources(&mut self, status: &GetStatusResponse) {
        let stream = status.stream.unwrap_or_default();
        let bytes = [
            (stream.bytes_passed, "passed"),
            (stream.bytes_removed, "removed"),
            (stream.bytes_dropped, "dropped"),
            (stream.bytes_held, "held"),
        ];
        let bytes = sum(&(counted(stream.bytes_read, "byte") + " read"), &bytes);
        self.add_if(stream.bytes_read > 0, "stderr", bytes);
        let Malformed { json, not_object, event, shape } = stream.malformed.unwrap_or_default();
        let lines = [
            (stream.decoded, "decoded"),
            (total([json, not_object, event, shape]), "malformed"),
            (stream.oversized, "too long"),
        ];
        let lines = sum(&grouped(stream.telemetry_lines), &lines);
        self.add_if(stream.telemetry_lines > 0, "telemetry lines", lines);
        let markers = [(stream.embedded, "decoded"), (stream.embedded_malformed, "malformed")];
        let markers = sum(&counted(stream.embedded_markers, "marker"), &markers);
        self.add_if(stream.embedded_markers > 0, "in mid-line", markers);
        if let Some(Upstream { messages, events, malformed, oversized }) = status.upstream {
            let parts = [(events, "decoded"), (malformed, "malformed"), (oversized, "too long")];
            self.add("upstream", sum(&counted(messages, "message"), &parts));
        }
        let upstream = status.upstream.map_or(0, |upstream| upstream.events);
        let events = [
            (stream.decoded, "decoded"),
            (stream.embedded, "in mid-line"),
            (upstream, "upstream"),
            (status.observed_events, "observed"),
        ];
        self.add("events", sum(&grouped(status.events), &events));
    }

    fn subscribers(&mut self, status: &GetStatusResponse) {
        let mut all = status.departed.clone().unwrap_or_default();
        for subscriber in &status.subscribers {
            add(&mut all, subscriber);
        }
        let connected = status.subscribers.len() as u64;
        let counts = list(&[(connected, "connected"), (status.departed_count, "disconnected")]);
        self.add_if(!counts.is_empty(), "subscribers", format!("{counts}; {}", outcomes(&all)));
        for subscriber in status.subscribers.iter().take(MAX_SUBSCRIBERS) {
            let name = format!("subscriber {}", subscriber.id);
            self.add(&name, format!("{}; {}", one_line(&subscriber.name), outcomes(subscriber)));
        }
        let others = status.subscribers.len().saturating_sub(MAX_SUBSCRIBERS);
        self.add_if(others > 0, "others", counted(others as u64, "more subscriber"));
        let observers = status.observers.len() as u64;
        self.add_if(observers > 0, "observers", format!("{} connected", grouped(observers)));
    }
}

/// What became of a consumer's events, and its controls.
fn outcomes(consumer: &Consumer) -> String {
    let parts = [
        (consumer.delivered, "delivered"),
        (consumer.switched_off, "disabled"),
        (consumer.filtered, "filtered"),
        (consumer.sampled_out, "sampled out"),
        (consumer.dropped, "dropped"),
        (consumer.abandoned, "abandoned"),
        (consumer.queued, "queued"),
    ];
    let text = sum(&(grouped(consumer.offered) + " offered"), &parts);
    match consumer.controls_applied {
        0 => text,
        count => format!("{text}; {}", counted(count, "control")),
    }
}

/// An exporter's own counters: those of failures, or the others.
fn own_counters(exporter: &Consumer, failures: bool) -> String {
    let is_failure = |name: &str| FAILURES.iter().any(|end| name.ends_with(end));
    let counters = exporter.counters.iter();
    let counters = counters.filter(|(name, count)| **count > 0 && is_failure(name) == failures);
    counters
        .flat_map(|(name, count)| ["; ".to_owned(), one_line(name), " ".into(), grouped(*count)])
        .collect()
}

fn malformed(stream: &Stream) -> String {
    let Malformed { json, not_object, event, shape } = stream.malformed.unwrap_or_default();
    list(&[
        (json, "not JSON"),
        (not_object, "no object"),
        (event, "without \"event\""),
        (shape, "with \"measurements\" or \"metadata\" that are no object"),
        (stream.oversized, "too long"),
    ])
}

/// `3 decoded, 1 malformed`: only what there is.
fn list(counts: &[(u64, &str)]) -> String {
    join(counts, ", ")
}

/// `4 lines = 3 decoded + 1 malformed`: only what there is.
fn sum(total: &str, parts: &[(u64, &str)]) -> String {
    let parts = join(parts, " + ");
    if parts.is_empty() { total.to_owned() } else { format!("{total} = {parts}") }
}

fn join(counts: &[(u64, &str)], separator: &str) -> String {
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    counts.map(|(count, what)| format!("{} {what}", grouped(*count))).collect::<Vec<_>>().join(separator)
}

/// Adds the counters of another subscriber.
fn add(sum: &mut Consumer, other: &Consumer) {
    sum.offered += other.offered;
    sum.delivered += other.delivered;
    sum.switched_off += other.switched_off;
    sum.filtered += other.filtered;
    sum.sampled_out += other.sampled_out;
    sum.dropped += other.dropped;
    sum.abandoned += other.abandoned;
    sum.queued += other.queued;
    sum.controls_applied += other.controls_applied;
}

#[cfg(test)]
mod tests;
