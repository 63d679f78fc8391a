//! The account that `-v` prints at exit.

use crate::{
    event::stats::{ConsumerStats, Malformed, RecordingStats, StreamStats},
    hub::Snapshot,
};
use std::fmt::Write as _;

/// The final account in one line.
pub fn account(snapshot: &Snapshot, recording: Option<RecordingStats>) -> String {
    let Snapshot { stream, backlog, subscribers, disconnected, disconnected_count, exporters } = snapshot;
    let mut line = String::new();
    let StreamStats { bytes_read, bytes_passed, bytes_removed, bytes_dropped, bytes_held, .. } = stream;
    let _ = write!(
        line,
        "bytes read {bytes_read} = passed {bytes_passed} + removed {bytes_removed} + dropped {bytes_dropped} + \
         held {bytes_held}; telemetry lines {} = decoded {} + malformed {}{} + oversized {}",
        stream.telemetry_lines,
        stream.decoded,
        stream.malformed.total(),
        reasons(stream),
        stream.oversized
    );
    let _ = write!(
        line,
        "; events {} = decoded {} + embedded {}",
        stream.events(),
        stream.decoded,
        stream.embedded
    );
    let mut all = *disconnected;
    for subscriber in subscribers {
        all.add(&subscriber.stats);
    }
    let count = disconnected_count + subscribers.len() as u64;
    let _ = write!(line, "; subscribers {count}: {}", outcomes(&all));
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
    if let Some(recording) = recording {
        let stopped = if recording.stopped { ", stopped" } else { "" };
        let _ =
            write!(line, "; recorded {}, lost {}{stopped}", recording.bytes_written, recording.bytes_lost);
    }
    line
}

/// Why lines were malformed, in parentheses; nothing if none was.
fn reasons(stream: &StreamStats) -> String {
    let counts = Malformed::ALL.into_iter().map(|reason| (reason.name(), stream.malformed.get(reason)));
    let counts: Vec<_> =
        counts.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) }
}

fn outcomes(stats: &ConsumerStats) -> String {
    format!(
        "offered {} = delivered {} + switched off {} + filtered {} + sampled out {} + dropped {} + abandoned {} + \
         queued {}",
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
