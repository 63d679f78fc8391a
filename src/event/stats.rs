//! The books: plain counters, owned by whoever does the counting and copied out under the hub's lock.
//!
//! Invariants (checked by [`StreamStats::balances`] and [`ConsumerStats::balances`], and by the tests while
//! the program runs):
//!
//! ```text
//! bytes_read      = bytes_passed + bytes_removed + bytes_dropped + bytes_held
//! telemetry_lines = decoded + malformed + oversized
//! offered         = delivered + switched_off + filtered + sampled_out + dropped + abandoned + queued
//! taken_in        = handed_over + dropped + waiting
//! ```

/// Why a line that starts like telemetry did not become an event.
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
    /// All reasons, in the order in which they are looked for.
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
}

/// Telemetry lines that did not decode, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MalformedCounts([u64; Malformed::ALL.len()]);

impl MalformedCounts {
    /// Counts one.
    pub fn add(&mut self, reason: Malformed) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count += 1;
        }
    }

    /// How many failed for this reason.
    pub fn get(&self, reason: Malformed) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// How many failed in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// What became of the worker's stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Bytes read from the worker.
    pub bytes_read: u64,
    /// Bytes written to the sidecar's stderr.
    pub bytes_passed: u64,
    /// Bytes of telemetry taken out.
    pub bytes_removed: u64,
    /// Bytes that stderr would not take.
    pub bytes_dropped: u64,
    /// Bytes that may still turn out to be telemetry, or wait for a slow reader of stderr.
    pub bytes_held: u64,
    /// Lines that start with `TELEMETRY:`.
    pub telemetry_lines: u64,
    /// Those that became events.
    pub decoded: u64,
    /// Those that did not decode.
    pub malformed: MalformedCounts,
    /// Those whose line or message was too long.
    pub oversized: u64,
    /// Events found in mid-line.
    pub embedded: u64,
}

impl StreamStats {
    /// All events.
    pub fn events(&self) -> u64 {
        self.decoded + self.embedded
    }

    /// Whether every byte and every telemetry line is accounted for.
    pub fn balances(&self) -> bool {
        self.bytes_read == self.bytes_passed + self.bytes_removed + self.bytes_dropped + self.bytes_held
            && self.telemetry_lines == self.decoded + self.malformed.total() + self.oversized
    }
}

/// What became of the events offered to one subscriber or exporter, or to all that left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsumerStats {
    /// Events since it was registered, and the backlog it was handed.
    pub offered: u64,
    /// Events it acknowledged: they were taken by HTTP/2, written or sent.
    pub delivered: u64,
    /// Events that came while it was switched off.
    pub switched_off: u64,
    /// Events its filter left out.
    pub filtered: u64,
    /// Events its sampling left out.
    pub sampled_out: u64,
    /// Events given up because its queue was full, or because they could not be written or sent.
    pub dropped: u64,
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
                + self.switched_off
                + self.filtered
                + self.sampled_out
                + self.dropped
                + self.abandoned
                + self.queued
    }

    /// Adds the counters of one that has left.
    pub fn add(&mut self, left: &Self) {
        self.offered += left.offered;
        self.delivered += left.delivered;
        self.switched_off += left.switched_off;
        self.filtered += left.filtered;
        self.sampled_out += left.sampled_out;
        self.dropped += left.dropped;
        self.abandoned += left.abandoned;
        self.queued += left.queued;
        self.queued_bytes += left.queued_bytes;
        self.controls_applied += left.controls_applied;
        self.controls_refused += left.controls_refused;
    }
}

/// What became of the events that came while nobody was subscribed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BacklogStats {
    /// Events that had to wait, dropped ones included.
    pub taken_in: u64,
    /// Events handed to a subscriber.
    pub handed_over: u64,
    /// Events given up because the backlog was full.
    pub dropped: u64,
    /// Events waiting now.
    pub waiting: u64,
}

impl BacklogStats {
    /// Whether every event taken in is accounted for.
    pub fn balances(&self) -> bool {
        self.taken_in == self.handed_over + self.dropped + self.waiting
    }
}

/// What became of the recording of raw stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordingStats {
    /// Bytes written to the file.
    pub bytes_written: u64,
    /// Bytes not recorded because recording stopped.
    pub bytes_lost: u64,
    /// Whether recording stopped for good before the worker's end.
    pub stopped: bool,
}
