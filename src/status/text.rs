//! The summary that `-v` prints at exit.

use super::Report;
use crate::{
    event::stats::{ConsumerStats, Malformed, StreamStats},
    hub::Snapshot,
};
use std::fmt::Write as _;

/// All counters in one line.
pub fn summary(report: &Report) -> String {
    let Snapshot { stream, backlog, exporters, .. } = &report.hub;
    let mut line = String::new();
    let StreamStats { bytes_read, bytes_passed, bytes_removed, bytes_dropped, bytes_held, .. } = stream;
    let _ = write!(
        line,
        "bytes read {bytes_read} = passed {bytes_passed} + removed {bytes_removed} + dropped {bytes_dropped} \
         + held {bytes_held}; telemetry lines {} = decoded {} + malformed {}{} + oversized {}",
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

/// The counts of malformed lines by reason, in parentheses; empty if there are none.
fn reasons(stream: &StreamStats) -> String {
    let counts = Malformed::ALL.into_iter().map(|reason| (reason.name(), stream.malformed.get(reason)));
    let counts: Vec<_> =
        counts.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
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
