//! Source to sinks: bytes of a worker or of a recording go in, ordinary ones come out on stderr and events at a
//! publisher.
//!
//! ```text
//! source → buffer → splitter ─┬→ passthrough (stderr)
//!                             └→ decoder → batch → publisher (hub)
//! ```
//!
//! Events are published before ordinary bytes are written: a reader of stderr who does not read makes the worker
//! wait, as without the sidecar, but not the subscribers.

pub mod live;
pub mod pace;
pub mod passthrough;
pub mod publisher;
pub mod record;
pub mod recording;

use crate::{
    event::{
        batch::{Batch, BatchBuilder},
        stats::StreamStats,
    },
    input::{
        decode::{Decoder, Reject},
        splitter::{Handler, PREFIX, Splitter},
    },
    pipeline::{passthrough::Passthrough, record::Recorder},
    system::log::Log,
};
use std::{
    io::IoSlice,
    ops::Range,
    os::fd::AsFd,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// The size of a page of memory, or a part of it.
const PAGE_BYTES: usize = 4096;

/// Where events go.
pub trait Publisher {
    /// Takes a batch, which may be empty, with the account of the stream that goes with it.
    fn publish(&mut self, batch: Batch, stats: &StreamStats);

    /// Takes a newer account of the stream: what was held has been passed on.
    fn account(&mut self, stats: &StreamStats);
}

/// What a pipeline is made of.
pub struct Parts<P, F> {
    /// Finds telemetry lines.
    pub splitter: Splitter,
    /// Makes them events.
    pub decoder: Decoder,
    /// Where events go.
    pub publisher: P,
    /// Where everything else goes.
    pub passthrough: Passthrough<F>,
    /// Where all bytes are copied to.
    pub recorder: Option<Arc<Recorder>>,
    /// Where the sidecar's own log lines come from.
    pub log: Log,
}

/// The pipeline.
pub struct Pipeline<P, F> {
    parts: Parts<P, F>,
    stats: StreamStats,
    /// Read bytes that are not done with: `start..end` of the buffer.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    batch: BatchBuilder,
    pass: Vec<Range<usize>>,
}

impl<P: Publisher, F: AsFd> Pipeline<P, F> {
    /// A pipeline at the start of a stream.
    pub fn new(parts: Parts<P, F>) -> Self {
        Self {
            parts,
            stats: StreamStats::default(),
            buffer: Vec::new(),
            start: 0,
            end: 0,
            batch: BatchBuilder::default(),
            pass: Vec::new(),
        }
    }

    /// Room for a read of `size` bytes, to be followed by [`advance`](Self::advance).
    pub fn spare(&mut self, size: usize) -> &mut [u8] {
        let kept = self.end - self.start;
        if kept == 0 && self.buffer.len() > 4 * (size + PAGE_BYTES) {
            // A long line is over: give its memory back.
            self.buffer = Vec::new();
            (self.start, self.end) = (0, 0);
        }
        if self.buffer.is_empty() {
            // Zeroed by the allocator: pages that no read touches cost nothing.
            self.buffer = vec![0; size + 2 * PAGE_BYTES];
        }
        // Moving what is kept only when it is the smaller part keeps the cost of long lines linear.
        let end = self.page_at_or_after(kept);
        if self.start >= kept && end <= self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, end - kept);
            (self.start, self.end) = (end - kept, end);
        }
        let needed = self.end + size;
        if self.buffer.len() < needed {
            self.buffer.resize(needed.max(self.end + kept), 0);
        }
        self.buffer.get_mut(self.end..needed).unwrap_or_default()
    }

    /// The first place in the buffer, at `least` or behind it, where a page starts.
    ///
    /// A pipe's bytes lie in pages. A copy to a place a few bytes further into its page than where it comes from takes
    /// twice as long on some processors (AMD's Zen), because every load seems to depend on the store before.
    fn page_at_or_after(&self, least: usize) -> usize {
        let first = self.buffer.as_ptr().align_offset(PAGE_BYTES);
        first + least.saturating_sub(first).next_multiple_of(PAGE_BYTES)
    }

    /// Works through `count` bytes just read into the [spare room](Self::spare).
    pub fn advance(&mut self, count: usize) {
        let read_to = self.buffer.len().min(self.end + count);
        if let (Some(recorder), Some(read)) = (&self.parts.recorder, self.buffer.get(self.end..read_to)) {
            recorder.record(read);
        }
        self.stats.bytes_read += (read_to - self.end) as u64;
        self.end = read_to;
        self.work(false);
    }

    /// Ends the stream: what was held back is decided. Another one may follow.
    pub fn finish(&mut self) {
        self.work(true);
    }

    /// Prints the sidecar's own log lines, if stderr is at the start of a line and takes them.
    pub fn print_log(&mut self) {
        if !self.parts.passthrough.at_line_start() {
            return;
        }
        for line in self.parts.log.take() {
            if self.parts.passthrough.is_ready() {
                self.parts.passthrough.write(&mut [IoSlice::new(line.as_bytes())]);
            }
        }
    }

    /// Prints what is left of the log and a last line, from the start of a line on, even if that takes a newline that
    /// the worker did not write.
    pub fn print_last(&mut self, line: &str) {
        if !self.parts.passthrough.at_line_start() && self.parts.passthrough.is_ready() {
            self.parts.passthrough.write(&mut [IoSlice::new(b"\n")]);
        }
        self.print_log();
        if self.parts.passthrough.is_ready() {
            self.parts.passthrough.write(&mut [IoSlice::new(line.as_bytes())]);
        }
    }

    /// The account so far.
    pub fn stats(&self) -> &StreamStats {
        &self.stats
    }

    /// Where events go.
    pub fn publisher(&self) -> &P {
        &self.parts.publisher
    }

    fn work(&mut self, end: bool) {
        let Some(buffer) = self.buffer.get(self.start..self.end) else {
            return;
        };
        let mut sink = Sink {
            decoder: &mut self.parts.decoder,
            now_ns: now_ns(),
            batch: &mut self.batch,
            pass: &mut self.pass,
            stats: &mut self.stats,
        };
        let done = self.parts.splitter.split(buffer, end, &mut sink);
        let to_pass: usize = self.pass.iter().map(Range::len).sum();
        self.stats.bytes_held = (self.parts.splitter.held(buffer.len() - done) + to_pass) as u64;
        self.parts.publisher.publish(self.batch.take(), &self.stats);

        if to_pass > 0 {
            let slices = self.pass.drain(..).filter_map(|range| buffer.get(range));
            let mut slices: Vec<_> = slices.map(IoSlice::new).collect();
            let written = self.parts.passthrough.write(&mut slices);
            self.stats.bytes_passed += written.passed;
            self.stats.bytes_dropped += written.dropped;
            self.stats.bytes_held -= to_pass as u64;
            self.parts.publisher.account(&self.stats);
        }
        self.start += done;
    }
}

/// What the splitter finds, sorted into a batch and ranges to pass.
struct Sink<'a> {
    decoder: &'a mut Decoder,
    now_ns: i64,
    batch: &'a mut BatchBuilder,
    pass: &'a mut Vec<Range<usize>>,
    stats: &'a mut StreamStats,
}

impl Sink<'_> {
    fn decode(&mut self, line: &[u8]) -> Result<(), Reject> {
        let json = line.get(PREFIX.len()..).unwrap_or_default();
        self.decoder.decode(json, self.now_ns, self.batch)
    }
}

impl Handler for Sink<'_> {
    fn telemetry_line(&mut self, line: &[u8]) -> bool {
        self.stats.telemetry_lines += 1;
        let decoded = self.decode(line);
        match decoded {
            Ok(()) => self.stats.decoded += 1,
            Err(Reject::Oversized) => self.stats.oversized += 1,
            Err(Reject::Malformed(reason)) => self.stats.malformed.add(reason),
        }
        decoded.is_ok()
    }

    fn oversized_line(&mut self) {
        self.stats.telemetry_lines += 1;
        self.stats.oversized += 1;
    }

    fn embedded(&mut self, candidate: &[u8]) -> bool {
        let decoded = self.decode(candidate).is_ok();
        self.stats.embedded += u64::from(decoded);
        decoded
    }

    fn pass(&mut self, range: Range<usize>) {
        self.pass.push(range);
    }

    fn removed(&mut self, bytes: usize) {
        self.stats.bytes_removed += bytes as u64;
    }
}

/// The time, nanoseconds since the Unix epoch.
fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
