//! Plain counters. Each is owned by one thread and copied under the hub's lock.
//!
//! Invariants, checked by [`SourceStats::balances`] and [`ConsumerStats::balances`], and by tests while the
//! program runs:
//!
//! ```text
//! bytes_read       = bytes_passed + bytes_removed + bytes_dropped + bytes_held
//! telemetry_lines  = decoded + malformed + oversized
//! embedded_markers = embedded + embedded_malformed
//! messages         = events + malformed + oversized      (of the worker's own stream)
//! events           = decoded + embedded + upstream events + observed
//! offered          = delivered + disabled + filtered + sampled_out + dropped + abandoned + queued
//! accepted         = replayed + dropped + waiting
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Why a telemetry line was not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// It is not JSON (bare `NaN` and `Infinity`, which Python writes, are accepted).
    Json,
    /// It is JSON, but not an object.
    NotObject,
    /// `event` is missing, empty or not a string.
    Event,
    /// `measurements` or `metadata` is neither an object nor null.
    Shape,
}

impl Malformed {
    /// All reasons, in the order in which they are checked.
    pub const ALL: [Self; 4] = [Self::Json, Self::NotObject, Self::Event, Self::Shape];

    /// The reason's name in logs and statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::NotObject => "not_object",
            Self::Event => "event",
            Self::Shape => "shape",
        }
    }

    /// What is wrong with the line, as the end of a sentence about it.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Json => "is not JSON: print one object on one line, in one write",
            Self::NotObject => "is JSON, but no object",
            Self::Event => "has no \"event\" that is a non-empty string",
            Self::Shape => "has \"measurements\" or \"metadata\" that are no object",
        }
    }
}

/// Telemetry lines that did not decode, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MalformedCounts {
    counts: [u64; Malformed::ALL.len()],
    first: Option<Malformed>,
}

impl MalformedCounts {
    /// Counts one line.
    pub fn add(&mut self, reason: Malformed) {
        if let Some(count) = self.counts.get_mut(reason as usize) {
            *count += 1;
        }
        self.first.get_or_insert(reason);
    }

    /// The count for one reason.
    pub fn get(&self, reason: Malformed) -> u64 {
        self.counts.get(reason as usize).copied().unwrap_or(0)
    }

    /// The reason of the first line.
    pub fn first(&self) -> Option<Malformed> {
        self.first
    }

    /// The count for all reasons.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Counters of the worker's stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Bytes read from the worker.
    pub bytes_read: u64,
    /// Bytes written to the sidecar's stderr.
    pub bytes_passed: u64,
    /// Bytes removed as telemetry.
    pub bytes_removed: u64,
    /// Bytes that could not be written to stderr.
    pub bytes_dropped: u64,
    /// Bytes that may still be telemetry, or that wait for a slow reader of stderr.
    pub bytes_held: u64,
    /// Lines that start with `TELEMETRY:`.
    pub telemetry_lines: u64,
    /// Lines decoded to events.
    pub decoded: u64,
    /// Lines that did not decode.
    pub malformed: MalformedCounts,
    /// Lines that were too long, or whose message was.
    pub oversized: u64,
    /// Markers of events that were tried in the middle of a line.
    pub embedded_markers: u64,
    /// Events found in the middle of a line.
    pub embedded: u64,
    /// Markers in the middle of a line that start no event.
    pub embedded_malformed: u64,
}

impl StreamStats {
    /// The events that were on stderr.
    pub fn events(&self) -> u64 {
        self.decoded + self.embedded
    }

    /// Whether every byte, every telemetry line and every marker is accounted for.
    pub fn balances(&self) -> bool {
        self.bytes_read == self.bytes_passed + self.bytes_removed + self.bytes_dropped + self.bytes_held
            && self.telemetry_lines == self.decoded + self.malformed.total() + self.oversized
            && self.embedded_markers == self.embedded + self.embedded_malformed
    }
}

/// Counters of the telemetry stream that the worker serves itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpstreamStats {
    /// Messages received.
    pub messages: u64,
    /// Messages that became events.
    pub events: u64,
    /// Messages that are compressed, are not a `TelemetryEvent`, or have no name.
    pub malformed: u64,
    /// Messages that are too long.
    pub oversized: u64,
}

impl UpstreamStats {
    /// Whether every message is accounted for.
    pub fn balances(&self) -> bool {
        self.messages == self.events + self.malformed + self.oversized
    }
}

/// The counters of every source of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// The worker's stderr, or a recording of it.
    pub stream: StreamStats,
    /// The worker's own telemetry stream; none if it has not been opened.
    pub upstream: Option<UpstreamStats>,
    /// Events that the sidecar itself has made of what it observed; none if it observes nothing.
    pub observed: Option<u64>,
}

impl SourceStats {
    /// The events of all sources.
    pub fn events(&self) -> u64 {
        let upstream = self.upstream.map_or(0, |upstream| upstream.events);
        self.stream.events() + upstream + self.observed.unwrap_or(0)
    }

    /// Whether every byte, line, marker and message is accounted for.
    pub fn balances(&self) -> bool {
        self.stream.balances() && self.upstream.is_none_or(|upstream| upstream.balances())
    }
}

/// The counters of one source, which changes only its own. They are stored once with each publication.
pub trait Source {
    /// Brings the counters of this source up to date.
    fn store(&self, all: &mut SourceStats);
}

impl Source for StreamStats {
    fn store(&self, all: &mut SourceStats) {
        all.stream = *self;
    }
}

impl Source for UpstreamStats {
    fn store(&self, all: &mut SourceStats) {
        all.upstream = Some(*self);
    }
}

/// How many events the sidecar has made of what it observed since it published the last ones. Several threads
/// observe, so that none of them knows the sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observed(pub u64);

impl Source for Observed {
    fn store(&self, all: &mut SourceStats) {
        *all.observed.get_or_insert_default() += self.0;
    }
}

/// What became of the events offered to one consumer, or to all that have left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsumerStats {
    /// Events since it registered, and the backlog replayed to it.
    pub offered: u64,
    /// Events it acknowledged: they were taken by HTTP/2, written or sent.
    pub delivered: u64,
    /// Events that arrived while it was disabled.
    pub disabled: u64,
    /// Events rejected by its filter.
    pub filtered: u64,
    /// Events rejected by sampling.
    pub sampled_out: u64,
    /// Events dropped because its queue was full or they could not be written or sent.
    pub dropped: u64,
    /// Of the dropped ones, those that could not be written or sent.
    pub unsent: u64,
    /// Events queued or in flight when it left.
    pub abandoned: u64,
    /// Events queued now, or in flight: taken and not acknowledged yet.
    pub queued: u64,
    /// Bytes queued now, without those in flight, gRPC's five-byte message prefixes included.
    pub queued_bytes: u64,
    /// Controls applied.
    pub controls_applied: u64,
    /// Controls refused.
    pub controls_refused: u64,
}

impl ConsumerStats {
    /// Whether every event offered is accounted for.
    pub fn balances(&self) -> bool {
        self.offered
            == self.delivered
                + self.disabled
                + self.filtered
                + self.sampled_out
                + self.dropped
                + self.abandoned
                + self.queued
    }

    /// Adds the counters of another consumer.
    pub fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.delivered += other.delivered;
        self.disabled += other.disabled;
        self.filtered += other.filtered;
        self.sampled_out += other.sampled_out;
        self.dropped += other.dropped;
        self.unsent += other.unsent;
        self.abandoned += other.abandoned;
        self.queued += other.queued;
        self.queued_bytes += other.queued_bytes;
        self.controls_applied += other.controls_applied;
        self.controls_refused += other.controls_refused;
    }
}

/// Counters of the events that arrived without a subscriber.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BacklogStats {
    /// Events that arrived, those dropped included.
    pub accepted: u64,
    /// Events offered to a subscriber later.
    pub replayed: u64,
    /// Events dropped because the backlog was full.
    pub dropped: u64,
    /// Events waiting now.
    pub waiting: u64,
}

impl BacklogStats {
    /// Whether every accepted event is accounted for.
    pub fn balances(&self) -> bool {
        self.accepted == self.replayed + self.dropped + self.waiting
    }
}

/// Counters of the recording of raw stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordingStats {
    /// Bytes written to the file.
    pub bytes_written: u64,
    /// Bytes not recorded because recording stopped, or because they were not written before the exit.
    pub bytes_lost: u64,
    /// Whether recording stopped before the worker's end.
    pub stopped: bool,
}

/// The live counters behind [`RecordingStats`]: the recording updates them, reports read them.
#[derive(Debug, Default)]
pub struct RecordingCounters {
    bytes_written: AtomicU64,
    bytes_lost: AtomicU64,
    stopped: AtomicBool,
}

impl RecordingCounters {
    /// Adds bytes written to the file.
    pub fn add_written(&self, bytes: usize) {
        self.bytes_written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Adds bytes that are not recorded.
    pub fn add_lost(&self, bytes: usize) {
        self.bytes_lost.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes that recording has stopped. True the first time.
    pub fn stop(&self) -> bool {
        !self.stopped.swap(true, Ordering::Relaxed)
    }

    /// Whether recording has stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The counters at this moment.
    pub fn stats(&self) -> RecordingStats {
        RecordingStats {
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
            bytes_lost: self.bytes_lost.load(Ordering::Relaxed),
            stopped: self.is_stopped(),
        }
    }
}
