//! Source to sinks: bytes of a worker or of a recording go in, ordinary ones come out on stderr and events at
//! a publisher.
//!
//! ```text
//! source → buffer → splitter ─┬→ passthrough (stderr)
//!                             ├→ lines (log records)
//!                             └→ decoder → batch → publisher (hub)
//! ```
//!
//! Events are published before ordinary bytes are written: if stderr is not read the worker waits, as without
//! the sidecar, but subscribers do not.

mod deferred;
pub mod driver;
pub mod leftover;
pub mod lines;
pub mod live;
pub mod output;
pub mod pace;
pub mod passthrough;
pub mod publisher;
mod read_buffer;
pub mod record;
mod recorded_bytes;
pub mod recording;
mod sink;
pub mod wake;

use crate::{
    event::{
        batch::{Batch, BatchBuilder},
        stats::StreamStats,
    },
    input::{decode::Decoder, splitter::Splitter},
    system::{clock::now_ns, last_bytes::LastBytes, log},
};
use deferred::Deferred;
use lines::{LineWriter, Read};
use output::{Loss, Undelivered};
use passthrough::Passthrough;
use read_buffer::ReadBuffer;
use record::Recorder;
use sink::Sink;
use std::{
    io::IoSlice,
    ops::Range,
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

/// What is due waits for this time longer if nothing is read: the next read mostly comes before, and then the
/// thread does not wake for it.
const TIMER_SLACK: Duration = Duration::from_micros(1500);

/// Where events go.
pub trait Publisher {
    /// Takes a batch, which may be empty, with the counters of the stream that belong to it. While it waits
    /// it calls `idle` several times a second.
    fn publish(&mut self, batch: Arc<Batch>, stats: &StreamStats, idle: &mut dyn FnMut());

    /// Takes newer counters of the stream: what was held has been passed.
    fn account(&mut self, stats: &StreamStats);

    /// When events that are held back are to be [flushed](Self::flush), if there are any.
    fn flush_due(&self) -> Option<Instant> {
        None
    }

    /// Sends on what is held back.
    fn flush(&mut self) {}
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
    /// Keeps the last ordinary bytes, if they are wanted.
    pub last_bytes: Option<LastBytes>,
    /// Copies everything else for the output that makes log records of it.
    pub lines: Option<LineWriter>,
    /// Lines of the sidecar's own log that wait to be printed.
    pub log: log::Lines,
}

/// The pipeline.
pub struct Pipeline<P, F> {
    parts: Parts<P, F>,
    stats: StreamStats,
    buffer: ReadBuffer,
    /// The last bytes of the buffer that were not processed.
    deferred: Deferred,
    batch: BatchBuilder,
    /// Ranges of the unfinished bytes that are still to be passed.
    pass: Vec<Range<usize>>,
    /// Where the events of the batch start in the unfinished bytes, if ordinary bytes are copied.
    starts: Vec<usize>,
    /// How many of the last bytes of the buffer were neither passed nor removed, nor stand in `pass`.
    held: usize,
    /// How many of the first bytes of the buffer are to be removed when `pass` is written.
    done: usize,
    /// While the splitter works: the counters as they were before it.
    before_split: Option<StreamStats>,
}

impl<P: Publisher, F: AsFd> Pipeline<P, F> {
    /// A pipeline at the start of a stream.
    pub fn new(parts: Parts<P, F>) -> Self {
        Self {
            parts,
            stats: StreamStats::default(),
            buffer: ReadBuffer::default(),
            deferred: Deferred::default(),
            batch: BatchBuilder::default(),
            pass: Vec::new(),
            starts: Vec::new(),
            held: 0,
            done: 0,
            before_split: None,
        }
    }

    /// Room for a read of `size` bytes, to be followed by [`advance`](Self::advance).
    pub fn spare(&mut self, size: usize) -> &mut [u8] {
        self.buffer.spare(size)
    }

    /// Works through `count` bytes just read into the [spare room](Self::spare).
    pub fn advance(&mut self, count: usize) {
        self.add(count);
        self.work(false);
    }

    /// The same, unless they are telemetry lines whose events would be held back: then they are processed
    /// together with the next ones, or when [`flush_at`](Self::flush_at) finds that it is time to.
    pub fn advance_or_defer(&mut self, count: usize, now: Instant) {
        let is_held_back = self.parts.publisher.flush_due().is_some_and(|due| due > now)
            && self.deferred.due().is_none_or(|due| due > now);
        let is_at_line_start =
            self.buffer.unfinished().len() == self.deferred.bytes() && self.parts.splitter.is_at_line_start();
        let read = self.add(count);
        let is_deferred = is_held_back
            && is_at_line_start
            && self.deferred.has_room(count)
            && self.parts.splitter.are_telemetry_lines(self.buffer.last(read));
        if is_deferred {
            self.deferred.add(read, now, now_ns());
        } else {
            self.work(false);
        }
    }

    /// Adds bytes just read, and returns how many.
    fn add(&mut self, count: usize) -> usize {
        let read = self.buffer.add(count);
        self.held += read.len();
        self.stats.bytes_read += read.len() as u64;
        if let Some(recorder) = &self.parts.recorder {
            recorder.record(read);
        }
        read.len()
    }

    /// Ends the stream: what was held back is decided. Another one may follow.
    pub fn finish(&mut self) {
        self.work(true);
        let Parts { lines, passthrough, log, .. } = &mut self.parts;
        if let Some(lines) = lines {
            lines.finish(&mut || print_log(log, passthrough));
        }
    }

    /// Prints the sidecar's own log lines, if stderr is at the start of a line and takes them.
    pub fn print_log(&mut self) {
        print_log(&self.parts.log, &mut self.parts.passthrough);
    }

    /// Prints the rest of the log and this text after it, from the start of a line on, even if that takes a
    /// newline that the worker did not write. The text ends with a newline. Nothing is printed while stderr
    /// does not take it.
    pub fn print_text(&mut self, text: &str) {
        self.print_last([]);
        let passthrough = &mut self.parts.passthrough;
        if passthrough.is_ready() {
            passthrough.write(&mut [IoSlice::new(text.as_bytes())]);
        }
    }

    /// Prints the rest of the log and these lines after it, from the start of a line on, even if that takes a
    /// newline that the worker did not write. Nothing is printed while stderr does not take it.
    pub fn print_last(&mut self, lines: impl IntoIterator<Item = String>) {
        let passthrough = &mut self.parts.passthrough;
        if !passthrough.at_line_start() && passthrough.is_ready() {
            passthrough.write(&mut [IoSlice::new(b"\n")]);
        }
        self.print_log();
        for line in lines {
            if self.parts.log.is_on() {
                tracing::info!("{line}");
                self.print_log();
            } else if self.parts.passthrough.is_ready() {
                self.parts.passthrough.write(&mut [IoSlice::new(log::line(line).as_bytes())]);
            }
        }
    }

    /// The ordinary bytes that could not be written to stderr.
    pub fn loss(&self) -> Option<Loss> {
        let mut undelivered = Undelivered::default();
        if let Some(errno) = self.parts.passthrough.last_error() {
            undelivered.add(self.stats.bytes_dropped, errno.desc());
        }
        undelivered.loss("byte")
    }

    /// The counters so far.
    pub fn stats(&self) -> &StreamStats {
        &self.stats
    }

    /// Where events go.
    pub fn publisher(&self) -> &P {
        &self.parts.publisher
    }

    /// Passes what was read and not passed when a call panicked. Lines whose events were not published pass
    /// as well. Only [`pass_raw`](Self::pass_raw) and [`print_last`](Self::print_last) make sense afterwards.
    pub fn pass_unfinished(&mut self) {
        if let Some(before) = self.before_split.take() {
            self.stats = before;
            self.pass.clear();
            self.starts.clear();
        }
        let unfinished = self.buffer.unfinished();
        let end = unfinished.len();
        let held = end - std::mem::take(&mut self.held)..end;
        if let Some(lines) = &mut self.parts.lines {
            lines.copy_raw(unfinished.get(held.clone()).unwrap_or_default(), now_ns());
        }
        self.pass.push(held);
        self.write_passing();
        (self.stats.bytes_held, self.done) = (0, 0);
        self.deferred.clear();
        self.buffer.remove(end);
        self.parts.publisher.account(&self.stats);
    }

    /// Passes bytes unseen.
    pub fn pass_raw(&mut self, bytes: &[u8]) {
        if let Some(lines) = &mut self.parts.lines {
            lines.copy_raw(bytes, now_ns());
        }
        if let Some(last) = &mut self.parts.last_bytes {
            last.add([bytes].into_iter());
        }
        self.stats.bytes_read += bytes.len() as u64;
        self.parts.pass(&mut [IoSlice::new(bytes)], &mut self.stats);
    }

    /// The last ordinary bytes, if they were kept.
    pub fn take_last_bytes(&mut self) -> Option<LastBytes> {
        self.parts.last_bytes.take()
    }

    fn work(&mut self, end: bool) {
        self.before_split = Some(self.stats);
        let unfinished = self.buffer.unfinished();
        let now_ns = now_ns();
        let mut sink = Sink {
            decoder: &mut self.parts.decoder,
            now_ns,
            deferred: &self.deferred,
            batch: &mut self.batch,
            pass: &mut self.pass,
            starts: self.parts.lines.is_some().then_some(&mut self.starts),
            buffer: unfinished.as_ptr().addr(),
            stats: &mut self.stats,
        };
        let done = self.parts.splitter.split(unfinished, end, &mut sink);
        self.held = self.parts.splitter.held(unfinished.len() - done);
        self.before_split = None;
        self.deferred.clear();
        let to_pass: usize = self.pass.iter().map(Range::len).sum();
        self.stats.bytes_held = (self.held + to_pass) as u64;
        let Parts { publisher, passthrough, lines, log, .. } = &mut self.parts;
        let mut idle = || print_log(log, passthrough);
        let batch = self.batch.share();
        if let Some(lines) = lines {
            let read = Read { buffer: unfinished, passing: &self.pass, batch: &batch, starts: &self.starts };
            lines.copy(&read, now_ns, &mut idle);
            self.starts.clear();
        }
        publisher.publish(batch, &self.stats, &mut idle);
        if let Some(lines) = lines {
            lines.published();
        }

        self.done = done;
        self.resume();
    }

    /// Whether ordinary bytes wait for stderr: [`resume`](Self::resume) comes next.
    pub fn is_blocked(&self) -> bool {
        !self.pass.is_empty()
    }

    /// Writes the ordinary bytes that wait for stderr.
    pub fn resume(&mut self) {
        if !self.pass.is_empty() {
            self.write_passing();
            self.parts.publisher.account(&self.stats);
        }
        if self.pass.is_empty() {
            self.buffer.remove(std::mem::take(&mut self.done));
        }
    }

    /// Writes the ranges in `pass`. Those that stderr does not take stay there.
    fn write_passing(&mut self) {
        let unfinished = self.buffer.unfinished();
        let slices = self.pass.iter().filter_map(|range| unfinished.get(range.clone()));
        let mut slices: Vec<_> = slices.map(IoSlice::new).collect();
        let mut written = self.parts.pass(&mut slices, &mut self.stats);
        self.stats.bytes_held = self.stats.bytes_held.saturating_sub(written as u64);
        self.pass.retain_mut(|range| {
            let end = range.start + written.min(range.len());
            if let Some(last) = &mut self.parts.last_bytes {
                last.add([unfinished.get(range.start..end).unwrap_or_default()].into_iter());
            }
            (range.start, written) = (end, written - (end - range.start));
            range.start < range.end
        });
    }

    /// When to call this again, because events are held back or bytes deferred. What is due now is processed
    /// and flushed.
    pub fn flush_at(&mut self, now: Instant) -> Option<Instant> {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(self.deferred.due())
            || (is_due(self.parts.publisher.flush_due()) && self.deferred.bytes() > 0)
        {
            self.work(false);
        }
        if is_due(self.parts.publisher.flush_due()) {
            self.parts.publisher.flush();
        }
        let due = self.parts.publisher.flush_due().into_iter().chain(self.deferred.due()).min()?;
        due.checked_add(TIMER_SLACK)
    }

    /// Whether writing to stderr may wait for its reader. If not, bytes that it does not take
    /// [stay](Self::is_blocked).
    pub fn wait_for_stderr(&mut self, waits: bool) {
        self.parts.passthrough.set_waiting(waits);
    }

    /// Whether stderr can be written without waiting for its reader.
    pub fn can_write_without_waiting(&self) -> bool {
        self.parts.passthrough.can_write_without_waiting()
    }

    /// Whether writing to stderr had to wait for its reader since the last call.
    pub fn has_waited(&mut self) -> bool {
        self.parts.passthrough.take_waited()
    }
}

impl<P, F: AsFd> Parts<P, F> {
    /// Passes ordinary bytes and returns how many. The others have to wait for stderr.
    fn pass(&mut self, slices: &mut [IoSlice<'_>], stats: &mut StreamStats) -> usize {
        let written = self.passthrough.pass(slices);
        stats.bytes_passed += written.passed;
        stats.bytes_dropped += written.dropped;
        usize::try_from(written.passed + written.dropped).unwrap_or(usize::MAX)
    }
}

fn print_log<F: AsFd>(log: &log::Lines, passthrough: &mut Passthrough<F>) {
    if !passthrough.at_line_start() {
        return;
    }
    for line in log.take() {
        if passthrough.is_ready() {
            passthrough.write(&mut [IoSlice::new(line.as_bytes())]);
        }
    }
}

#[cfg(test)]
mod tests;
