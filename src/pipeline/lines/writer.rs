//! The end of the thread that reads the worker's stderr.

use super::{Chunk, LineTap, MAX_BYTES, Missed, OVERHEAD_BYTES, Position};
use crate::event::batch::{Batch, Event};
use memchr::{memchr, memrchr};
use std::{ops::Range, sync::Arc};

/// How far the time of a replay goes on between two reads, at most, in nanoseconds. A replay may wait long
/// for its outputs, and lines that were recorded together must not look as if a second had been between them.
const MAX_STEP_NS: i64 = 1_000_000;

/// What the splitter found in a read, in the order of the stream.
#[derive(Debug, Clone, Copy)]
pub struct Read<'a> {
    /// The bytes.
    pub buffer: &'a [u8],
    /// The ranges of bytes that pass.
    pub passing: &'a [Range<usize>],
    /// The events.
    pub batch: &'a Batch,
    /// Where each event starts in the buffer.
    pub starts: &'a [usize],
}

/// Copies ordinary bytes.
#[derive(Debug)]
pub struct LineWriter {
    tap: Arc<LineTap>,
    position: Position,
    last_read_ns: Option<i64>,
    /// The number of the next chunk.
    next: u64,
    /// Whether the last byte that was copied is in mid-line.
    in_line: bool,
    dropping: Option<Dropping>,
    /// Whether the newline of the last line that was copied was dropped.
    owes_newline: bool,
}

/// What is being dropped until the next newline.
#[derive(Debug, Clone, Copy)]
enum Dropping {
    /// The rest of a line whose start was copied.
    Rest,
    /// A whole line, and whether it has other than white space so far.
    Line { has_text: bool },
}

impl LineWriter {
    /// The only writer.
    pub fn new(tap: Arc<LineTap>) -> Self {
        Self {
            tap,
            position: Position::default(),
            last_read_ns: None,
            next: 1,
            in_line: false,
            dropping: None,
            owes_newline: false,
        }
    }

    /// Copies what passes of a read, before the events in it are published. While it waits for room, in a
    /// replay only, it calls `idle` several times a second.
    pub fn copy(&mut self, read: &Read<'_>, now_ns: i64, idle: &mut dyn FnMut()) {
        let read_ns = self.time(now_ns);
        let mut chunk = Chunk {
            bytes: Vec::with_capacity(read.passing.iter().map(Range::len).sum()),
            pieces: Vec::with_capacity(read.passing.len()),
            read_ns,
            number: self.next,
        };
        let mut events = (0..read.batch.len()).filter_map(|index| read.batch.event(index));
        let mut starts = read.starts.iter().copied().peekable();
        for range in read.passing {
            let mut from = range.start;
            while from < range.end {
                while starts.next_if(|start| *start <= from).is_some() {
                    self.pass_event(events.next(), now_ns);
                }
                let to = starts.peek().map_or(range.end, |start| range.end.min(*start));
                chunk.bytes.extend_from_slice(read.buffer.get(from..to).unwrap_or_default());
                chunk.pieces.push((chunk.bytes.len(), self.position));
                from = to;
            }
        }
        events.for_each(|event| self.pass_event(Some(event), now_ns));
        self.add(chunk, idle);
    }

    /// Copies bytes that were not searched for events.
    pub fn copy_raw(&mut self, bytes: &[u8], read_ns: i64) {
        let read_ns = self.time(read_ns);
        let pieces = vec![(bytes.len(), self.position)];
        self.add(Chunk { bytes: bytes.to_vec(), pieces, read_ns, number: self.next }, &mut || {});
        self.published();
    }

    /// The events of what was copied have been published.
    pub fn published(&self) {
        self.tap.lock().published = self.next - 1;
    }

    /// The stream ends, and with it the last line.
    pub fn finish(&mut self, idle: &mut dyn FnMut()) {
        if let Some(Dropping::Line { has_text: true }) = self.dropping.take() {
            self.miss(Missed { lines: 1, cut_bytes: 0 });
        }
        self.owes_newline = false;
        if std::mem::take(&mut self.in_line) {
            let (read_ns, number) = (self.last_read_ns.unwrap_or_default(), self.next);
            let newline = Chunk { bytes: vec![b'\n'], pieces: vec![(1, self.position)], read_ns, number };
            self.add(newline, idle);
            self.published();
        }
    }

    /// Moves on behind an event. A timestamp in the future counts as the present: it must not come after
    /// everything that follows. The present is that of the events, not the slowed time of a replay: events
    /// without a timestamp have it.
    fn pass_event(&mut self, event: Option<Event<'_>>, now_ns: i64) {
        if let Some(event) = event {
            self.position = self.position.after(event.timestamp_ns.min(now_ns));
        }
    }

    fn time(&mut self, read_ns: i64) -> i64 {
        let latest = self.last_read_ns.filter(|_| self.tap.lossless).map(|last| last + MAX_STEP_NS);
        let read_ns = latest.map_or(read_ns, |latest| latest.min(read_ns));
        self.last_read_ns = Some(read_ns);
        read_ns
    }

    fn add(&mut self, mut chunk: Chunk, idle: &mut dyn FnMut()) {
        if chunk.bytes.is_empty() {
            return;
        }
        if self.tap.lossless {
            self.tap.wait_for_room(chunk.memory(), idle);
        }
        let room = {
            let state = self.tap.lock();
            if state.closed {
                return;
            }
            MAX_BYTES.saturating_sub(state.used)
        };
        let is_whole = self.dropping.is_none() && !self.owes_newline && chunk.memory() <= room;
        if !self.tap.lossless && !is_whole {
            self.shorten(&mut chunk, room.saturating_sub(OVERHEAD_BYTES + size_of::<(usize, Position)>()));
        }
        if let Some(last) = chunk.bytes.last() {
            self.in_line = *last != b'\n';
            self.next += 1;
            self.tap.push(chunk);
        }
    }

    /// Keeps the whole lines that fit into this many bytes, or everything, and counts what is dropped.
    fn shorten(&mut self, chunk: &mut Chunk, room: usize) {
        let bytes = std::mem::take(&mut chunk.bytes);
        let mut rest = &bytes[..];
        if self.dropping.is_some() {
            rest = self.drop_line(rest);
        }
        let added: &[u8] = if self.owes_newline { b"\n" } else { b"" };
        let room = room.saturating_sub(added.len());
        let kept = match rest.get(..room) {
            _ if rest.is_empty() => 0,
            Some(fitting) if fitting.len() < rest.len() => memrchr(b'\n', fitting).map_or(0, |at| at + 1),
            _ => rest.len(),
        };
        let (kept, dropped) = rest.split_at_checked(kept).unwrap_or((rest, &[]));
        if !kept.is_empty() {
            chunk.bytes = [added, kept].concat();
            self.owes_newline = false;
        } else if !dropped.is_empty() && self.in_line && !self.owes_newline {
            self.dropping = Some(Dropping::Rest);
        }
        rest = dropped;
        while !rest.is_empty() {
            rest = self.drop_line(rest);
        }
        chunk.pieces = vec![(chunk.bytes.len(), self.position)];
    }

    /// Drops bytes up to and with the next newline, and returns those after it.
    fn drop_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = memchr(b'\n', bytes);
        let (dropped, rest) =
            bytes.split_at_checked(end.map_or(bytes.len(), |end| end + 1)).unwrap_or_default();
        let text = dropped.trim_ascii();
        match self.dropping.take() {
            Some(Dropping::Rest) => {
                self.miss(Missed { lines: 0, cut_bytes: text.len() as u64 });
                self.owes_newline = end.is_some();
                self.dropping = end.is_none().then_some(Dropping::Rest);
            }
            line => {
                let had_text = matches!(line, Some(Dropping::Line { has_text: true }));
                let has_text = had_text || !text.is_empty();
                self.miss(Missed { lines: (has_text && end.is_some()).into(), cut_bytes: 0 });
                self.dropping = end.is_none().then_some(Dropping::Line { has_text });
            }
        }
        rest
    }

    fn miss(&self, Missed { lines, cut_bytes }: Missed) {
        let missed = &mut self.tap.lock().missed;
        missed.lines += lines;
        missed.cut_bytes += cut_bytes;
    }
}
