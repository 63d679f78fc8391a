//! The state of a run in a sentence: what a replay has served or waits for, and lines that are no events.

use super::Report;
use crate::{
    event::stats::{ConsumerStats, Malformed, StreamStats},
    hub::Snapshot,
    system::value::counted,
};
use std::fmt::Write as _;

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
        Some(reason) => reason.describe(),
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
