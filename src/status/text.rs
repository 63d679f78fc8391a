//! The state of a run in a line: the summary that `-v` prints at exit, and what a replay says about itself.

use super::Report;
use crate::{
    event::stats::{ConsumerStats, Malformed, SourceStats, StreamStats, UpstreamStats},
    hub::Snapshot,
    system::value::counted,
};
use std::fmt::Write as _;

/// All counters in one line.
pub fn summary(report: &Report) -> String {
    let Snapshot { sources, backlog, exporters, .. } = &report.hub;
    let SourceStats { stream, upstream } = sources;
    let mut line = String::new();
    let StreamStats { bytes_read, bytes_passed, bytes_removed, bytes_dropped, bytes_held, .. } = stream;
    let _ = write!(
        line,
        "bytes read {bytes_read} = passed {bytes_passed} + removed {bytes_removed} + dropped {bytes_dropped} \
         + held {bytes_held}; telemetry lines {} = decoded {} + malformed {}{} + oversized {}",
        stream.telemetry_lines,
        stream.decoded,
        stream.malformed.total(),
        reasons(stream, 0),
        stream.oversized
    );
    let _ = write!(
        line,
        "; events {} = decoded {} + embedded {}",
        sources.events(),
        stream.decoded,
        stream.embedded
    );
    if let Some(upstream) = upstream {
        let _ = write!(line, " + upstream {}", upstream.events);
    }
    let _ = write!(
        line,
        "; embedded markers {} = embedded {} + malformed {}",
        stream.embedded_markers, stream.embedded, stream.embedded_malformed
    );
    if let Some(UpstreamStats { messages, events, malformed, oversized }) = upstream {
        let _ = write!(
            line,
            "; upstream messages {messages} = events {events} + malformed {malformed} + oversized {oversized}"
        );
    }
    let _ = write!(line, "; subscribers {}: {}", report.subscriber_count, outcomes(&report.subscribers));
    for exporter in exporters {
        let _ = write!(line, "; {}: {}", exporter.name, outcomes(&exporter.stats));
        for (counter, count) in exporter.counters.iter().filter(|(_, count)| *count > 0) {
            let _ = write!(line, " ({counter} {count})");
        }
    }
    let _ = write!(
        line,
        "; backlog {} = handed over {} + dropped {} + waiting {}",
        backlog.accepted, backlog.replayed, backlog.dropped, backlog.waiting
    );
    if let Some(recording) = report.recording {
        let stopped = if recording.stopped { ", stopped" } else { "" };
        let _ =
            write!(line, "; recorded {}, lost {}{stopped}", recording.bytes_written, recording.bytes_lost);
    }
    line
}

/// What a replay has served, in a line.
pub fn served(report: &Report) -> String {
    let events = report.hub.sources.events();
    let mut line = format!("{}; {}: ", counted(events, "event"), subscribers(report.subscriber_count));
    line.push_str(&served_to(&report.subscribers));
    for exporter in &report.hub.exporters {
        let _ = write!(line, "; {}: {}", exporter.name, served_to(&exporter.stats));
    }
    line
}

/// What became of the events offered to consumers; only what there was.
fn served_to(stats: &ConsumerStats) -> String {
    let mut text = format!("{} delivered", stats.delivered);
    let others = [
        (stats.disabled + stats.filtered + stats.sampled_out, "not wanted"),
        (stats.dropped, "dropped"),
        (stats.abandoned, "abandoned"),
    ];
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, ", {count} {what}");
    }
    text
}

/// The lines that start like telemetry and are no events, if there are any: how many, why, and what the first
/// one lacks.
pub fn rejected(stream: &StreamStats) -> Option<String> {
    let lines = stream.malformed.total() + stream.oversized;
    let lacks = match stream.malformed.first() {
        _ if lines == 0 => return None,
        Some(Malformed::Json) => "is not JSON: print one object on one line, in one write",
        Some(Malformed::NotObject) => "is JSON, but no object",
        Some(Malformed::Event) => "has no \"event\" that is a non-empty string",
        Some(Malformed::Shape) => "has \"measurements\" or \"metadata\" that are no object",
        None => "is too long (--max-line-bytes)",
    };
    Some(if lines == 1 {
        format!("1 line starts with TELEMETRY: and is no event: it {lacks}")
    } else {
        format!(
            "{lines} lines start with TELEMETRY: and are no events{}: the first one {lacks}",
            reasons(stream, stream.oversized)
        )
    })
}

/// Why a replay for which this many subscribers were `wanted` has not ended yet.
pub fn unfinished(report: &Report, wanted: usize) -> String {
    let Snapshot { sources, backlog, subscribers: present, exporters, .. } = &report.hub;
    if sources.events() == 0 && present.len() < wanted {
        return format!("{} of {} came", present.len(), subscribers(wanted as u64));
    }
    let queued = present.iter().chain(exporters).map(|consumer| consumer.stats.queued);
    let waiting = if wanted > 0 { backlog.waiting } else { 0 };
    match queued.sum::<u64>() + waiting {
        0 if exporters.is_empty() => {
            "all events read so far are delivered, but the recording has not ended, stderr is not read, or \
             connections are still open"
                .to_owned()
        }
        0 => "an exporter waits for its server (-v says why), the recording has not ended, stderr is not \
              read, or connections are still open"
            .to_owned(),
        count => format!("{count} of the {} read so far not delivered", counted(sources.events(), "event")),
    }
}

/// `1 subscriber`, `2 subscribers`.
pub fn subscribers(count: u64) -> String {
    counted(count, "subscriber")
}

/// The counts of malformed lines by reason and of lines that are too long, in parentheses; empty if there are
/// none.
fn reasons(stream: &StreamStats, too_long: u64) -> String {
    let counts = Malformed::ALL.into_iter().map(|reason| (reason.name(), stream.malformed.get(reason)));
    let counts = counts.chain([("too long", too_long)]).filter(|(_, count)| *count > 0);
    let counts: Vec<_> = counts.map(|(name, count)| format!("{name} {count}")).collect();
    if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) }
}

fn outcomes(stats: &ConsumerStats) -> String {
    format!(
        "offered {} = delivered {} + switched off {} + filtered {} + sampled out {} + dropped {} \
         + abandoned {} + queued {}",
        stats.offered,
        stats.delivered,
        stats.disabled,
        stats.filtered,
        stats.sampled_out,
        stats.dropped,
        stats.abandoned,
        stats.queued
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_upstream_parts_if_the_worker_serves_a_stream() {
        let mut report = Report::default();
        let sources = &mut report.hub.sources;
        sources.stream = StreamStats { telemetry_lines: 2, decoded: 2, ..StreamStats::default() };
        assert!(summary(&report).contains("; events 2 = decoded 2 + embedded 0; embedded markers 0"));
        assert!(!summary(&report).contains("upstream"));
        report.hub.sources.upstream =
            Some(UpstreamStats { messages: 6, events: 3, malformed: 2, oversized: 1 });
        let text = summary(&report);
        assert!(
            text.contains("; events 5 = decoded 2 + embedded 0 + upstream 3; embedded markers 0"),
            "{text}"
        );
        assert!(text.contains("; upstream messages 6 = events 3 + malformed 2 + oversized 1; sub"), "{text}");
        assert!(served(&report).starts_with("5 events; "));
    }
}
