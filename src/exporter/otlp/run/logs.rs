//! Logs: ordinary lines become records, which wait in a queue for their batch.
//!
//! Lines come beside the events, and each knows its [`Position`] among them: it is handled before the events
//! that follow it, so that it gets the span that was open when it was written. A line that no event follows
//! is handled when all events that were published before it have been taken from the feed. Otherwise lines
//! stay where they are while the queue is full: there they take less memory, and only whole lines are
//! dropped.

use super::Exporting;
use crate::{
    exporter::{
        feed::Feed,
        log::{Assembler, LineContext, MAX_HELD_NS, Output, Record},
        otlp::{
            Counter,
            environment::Batches,
            logs::LogQueue,
            request::{Request, Room},
            resource::Resource,
            run_span::RunSpan,
            signal::SignalPipeline,
            spans::Spans,
        },
    },
    pipeline::lines::{Chunk, LineReader, Missed, Position},
    system::clock::now_ns,
};
use memchr::memchr;
use std::{collections::VecDeque, future::pending, time::Duration};
use tokio::{task::yield_now, time::sleep};

/// Why lines are dropped.
const NO_ROOM: &str = "too many were waiting (OTEL_BLRP_MAX_QUEUE_SIZE, or 16 MiB)";

/// How long lines wait that could not be handled because events were still coming.
const RETRY: Duration = Duration::from_millis(10);

/// How many bytes are handled at a time, about: blank lines make no records that would fill the queue, and
/// meanwhile timers, sockets and the end of the drain wait.
const MAX_HANDLED_BYTES: usize = 256 * 1024;

pub(super) struct Logs {
    pipeline: SignalPipeline,
    reader: LineReader,
    assembler: Assembler,
    records: Records,
    batches: Batches,
    /// How many of the queue's records have waited for the schedule delay.
    flushable: usize,
    /// What was taken from the reader, the oldest first.
    chunks: VecDeque<Chunk>,
    /// How many pieces of the first chunk have been handled.
    handled: usize,
    /// Chunks up to this number need not wait for events.
    ready: u64,
    /// The timestamp of the last event, and how many in a row had it.
    last_event: (i64, usize),
    /// The place behind the events that were taken.
    taken: Position,
    /// Lines that were not handled by the end.
    lost: u64,
    /// Whether time goes by between lines: it does not in a replay.
    is_live: bool,
}

/// Where records go, and their spans come from.
struct Records {
    queue: LogQueue,
    /// The span of lines without another one.
    run: Option<LineContext>,
    lines: u64,
    cut_bytes: u64,
}

/// The same with the spans as they are now.
struct Sink<'a> {
    records: &'a mut Records,
    spans: &'a Spans,
}

impl Output for Sink<'_> {
    fn context(&mut self, correlation_id: Option<&str>) -> Option<LineContext> {
        self.spans.of_line(correlation_id).or(self.records.run)
    }

    fn record(&mut self, record: Record) {
        self.records.lines += record.lines;
        let cut_bytes = self.records.queue.push(&record);
        self.records.cut_bytes += record.cut_bytes + cut_bytes;
    }
}

impl Logs {
    pub(super) fn new(
        pipeline: SignalPipeline,
        reader: LineReader,
        batches: Batches,
        run: Option<&RunSpan>,
        lossless: bool,
    ) -> Self {
        let run = run.map(|run| LineContext {
            trace_id: run.context.trace_id,
            span_id: Some(run.context.span_id),
            flags: run.flags,
        });
        let queue = LogQueue::new(batches.max_queue, lossless);
        Self {
            pipeline,
            reader,
            assembler: Assembler::default(),
            records: Records { queue, run, lines: 0, cut_bytes: 0 },
            batches,
            flushable: 0,
            chunks: VecDeque::new(),
            handled: 0,
            ready: 0,
            last_event: (i64::MIN, 0),
            taken: Position::default(),
            lost: 0,
            is_live: !lossless,
        }
    }

    /// Waits until lines are to be [fetched](Self::fetch), or the time of a record is over.
    pub(super) async fn due(&mut self) {
        match self.chunks.front() {
            // The end of a request makes room in the queue.
            Some(chunk) if chunk.number <= self.ready && self.records.queue.is_full() => pending().await,
            Some(chunk) if chunk.number <= self.ready => yield_now().await,
            Some(_) => sleep(RETRY).await,
            None => match self.expires_in() {
                None => self.reader.collected().await,
                Some(wait) => tokio::select! {
                    () = self.reader.collected() => {}
                    () = sleep(wait) => {}
                },
            },
        }
    }

    /// Takes the lines that have been read so far. Returns up to which number their events were published.
    pub(super) fn fetch(&mut self) -> u64 {
        let published = self.reader.published();
        self.chunks.append(&mut self.reader.take());
        published
    }

    /// All events that were published before these chunks have been taken.
    pub(super) fn set_ready(&mut self, published: u64) {
        self.ready = published;
    }

    /// Handles the lines before an event, which is taken next.
    pub(super) fn before(&mut self, event_ns: i64, spans: &Spans) {
        let seen = if self.last_event.0 == event_ns { self.last_event.1 } else { 0 };
        while let Some((_, position)) = self.chunks.front().and_then(|chunk| chunk.pieces.get(self.handled))
            && (position.is_before(event_ns, seen) || position.is_reached_at(self.taken))
        {
            self.handle(spans);
        }
        self.last_event = (event_ns, seen + 1);
        self.taken = self.taken.after(event_ns);
    }

    /// Handles some of the lines that need not wait for events, as long as there is room for their records.
    pub(super) fn advance(&mut self, spans: &Spans) {
        let mut bytes = 0;
        while !self.records.queue.is_full()
            && bytes < MAX_HANDLED_BYTES
            && self.chunks.front().is_some_and(|chunk| chunk.number <= self.ready)
        {
            bytes += self.handle(spans);
        }
        // On a busy machine the rest of a line may have been read in time, and wait to be taken.
        if self.chunks.is_empty()
            && self.reader.is_empty()
            && let Some(deadline_ns) = self.assembler.deadline_ns().filter(|_| self.is_live)
        {
            let now_ns = now_ns();
            // A clock that was set back must not hold a record.
            let was_set_back = deadline_ns.saturating_sub(now_ns) > MAX_HELD_NS;
            let now_ns = if was_set_back { deadline_ns } else { now_ns };
            self.assembler.expire(now_ns, &mut Sink { records: &mut self.records, spans });
        }
    }

    /// Handles all lines, and ends the last record. Once the time for that `is_over` it counts the others
    /// as lost.
    pub(super) fn finish(&mut self, spans: &Spans, is_over: impl Fn() -> bool) {
        self.fetch();
        while !self.chunks.is_empty() && !is_over() {
            self.handle(spans);
        }
        let rest = self.take_rest();
        // The assembler may have the start of the first line.
        let end = memchr(b'\n', &rest).map_or(rest.len(), |end| end + 1);
        let (first, others) = rest.split_at_checked(end).unwrap_or_default();
        let mut sink = Sink { records: &mut self.records, spans };
        if !first.is_empty() {
            self.assembler.push(first, now_ns(), &mut sink);
        }
        self.assembler.finish(&mut sink);
        let is_text = |line: &&[u8]| !line.trim_ascii().is_empty();
        self.lost = others.split(|byte| *byte == b'\n').filter(is_text).count() as u64;
        self.records.lines += self.lost;
    }

    /// Takes the bytes that were not handled.
    fn take_rest(&mut self) -> Vec<u8> {
        let pieces = self.chunks.front().map(|chunk| &chunk.pieces[..]).unwrap_or_default();
        let handled = self.handled.checked_sub(1).and_then(|piece| pieces.get(piece));
        let start = handled.map_or(0, |(end, _)| *end);
        let bytes: Vec<u8> = self.chunks.drain(..).flat_map(|chunk| chunk.bytes).collect();
        bytes.get(start..).unwrap_or_default().to_vec()
    }

    /// The schedule delay is over.
    pub(super) fn flush(&mut self) {
        self.flushable = self.records.queue.len();
    }

    /// Handles the next piece. Returns its length in bytes.
    fn handle(&mut self, spans: &Spans) -> usize {
        let Some(chunk) = self.chunks.front() else { return 0 };
        let end_of = |piece: usize| chunk.pieces.get(piece).map(|(end, _)| *end);
        let start = self.handled.checked_sub(1).and_then(end_of).unwrap_or_default();
        let bytes = chunk.bytes.get(start..end_of(self.handled).unwrap_or(start)).unwrap_or_default();
        self.assembler.push(bytes, chunk.read_ns, &mut Sink { records: &mut self.records, spans });
        let handled_bytes = bytes.len();
        self.handled += 1;
        if self.handled >= chunk.pieces.len() {
            let memory = chunk.memory();
            self.handled = 0;
            self.chunks.pop_front();
            self.reader.release(memory);
        }
        handled_bytes
    }

    /// How long until the time of a record is over, if there is one that waits.
    fn expires_in(&self) -> Option<Duration> {
        let deadline_ns = self.assembler.deadline_ns().filter(|_| self.is_live)?;
        let wait_ns = deadline_ns.saturating_sub(now_ns()).clamp(0, MAX_HELD_NS);
        Some(Duration::from_nanos(wait_ns.unsigned_abs()))
    }
}

impl Exporting for Logs {
    fn pipeline(&mut self) -> &mut SignalPipeline {
        &mut self.pipeline
    }

    fn next_request(&mut self, resource: &Resource) -> Option<Request> {
        let queue = &mut self.records.queue;
        let is_due = self.flushable > 0 || queue.len() >= self.batches.max_batch || queue.is_full();
        if !is_due || queue.is_empty() {
            return None;
        }
        let resource = resource.encoded();
        let records = queue.take(Room::beside(&resource), self.batches.max_batch);
        let taken = usize::try_from(records.records).unwrap_or(usize::MAX);
        self.flushable = self.flushable.saturating_sub(taken);
        Some(Request::new(records, &resource, self.pipeline.destination()))
    }

    fn close(&mut self, _: &Resource) {
        self.flush();
    }

    fn count(&mut self, feed: &Feed<Counter>) {
        let Missed { lines, cut_bytes } = self.reader.take_missed();
        let records = &mut self.records;
        feed.count(Counter::LogLines, lines + std::mem::take(&mut records.lines));
        feed.count(Counter::LogsCut, cut_bytes + std::mem::take(&mut records.cut_bytes));
        let dropped = lines + records.queue.take_dropped();
        feed.count(Counter::LogsDropped, dropped);
        self.pipeline.add_dropped(dropped, NO_ROOM);
    }

    fn give_up(&mut self, feed: &Feed<Counter>, cause: &str) {
        let waiting = self.records.queue.lines() + self.lost;
        self.pipeline.give_up(waiting, Counter::LogsDropped, feed, cause);
    }
}
