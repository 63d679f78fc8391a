//! Splits the worker's bytes into lines, and puts lines that belong together into one record.

use super::{
    Output,
    line::{Line, MAX_LINE_BYTES, Shown, plain_prefix, shown},
    pending::{Pending, emit_line},
};
use memchr::memchr;

/// The longest time for which a line waits: for its end, or for further lines of its record. In nanoseconds.
pub const MAX_HELD_NS: i64 = 1_000_000_000;

/// Makes records of a stream of bytes. Memory: at most a few hundred KiB.
///
/// Blank lines end with no record. A line without newline is a record after [`MAX_HELD_NS`]; if more of it
/// comes later, that is another record.
#[derive(Debug, Default)]
pub struct Assembler {
    line: Line,
    pending: Option<Pending>,
}

impl Assembler {
    /// Takes bytes that were read at this time, in nanoseconds since 1970; times should not decrease. First
    /// it does what [`expire`](Self::expire) does at that time.
    pub fn push(&mut self, mut bytes: &[u8], now_ns: i64, output: &mut impl Output) {
        self.expire(now_ns, output);
        while let Some(end) = memchr(b'\n', bytes) {
            let (start, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
            let line = self.end_line(start, now_ns);
            self.add(line, output);
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.line.push(bytes, now_ns);
    }

    /// Releases records whose time is over. To be called at [`deadline_ns`](Self::deadline_ns), when all
    /// bytes that were read before that time have been pushed.
    pub fn expire(&mut self, now_ns: i64, output: &mut impl Output) {
        if self.pending.as_ref().is_some_and(|pending| pending.deadline_ns() <= now_ns) {
            self.release(output);
        }
        if self.line.deadline_ns().is_some_and(|deadline| deadline <= now_ns) {
            self.add_unfinished(output);
        }
    }

    /// Ends the stream, and releases all records.
    pub fn finish(&mut self, output: &mut impl Output) {
        self.add_unfinished(output);
        *self = Self::default();
    }

    /// When [`expire`](Self::expire) has something to release; none if nothing waits.
    pub fn deadline_ns(&self) -> Option<i64> {
        let pending = self.pending.as_ref().map(Pending::deadline_ns);
        [pending, self.line.deadline_ns()].into_iter().flatten().min()
    }

    /// Completes the line.
    fn end_line(&mut self, rest: &[u8], now_ns: i64) -> Shown {
        let plain = rest.strip_suffix(b"\r").unwrap_or(rest);
        if self.line.is_empty() && plain.len() <= MAX_LINE_BYTES && plain_prefix(plain) == plain.len() {
            return Shown { text: shown(plain), observed_ns: now_ns, cut_bytes: 0 };
        }
        self.line.push(rest, now_ns);
        self.line.finish(now_ns)
    }

    /// Releases an unfinished line, and everything before it: it has waited long enough.
    fn add_unfinished(&mut self, output: &mut impl Output) {
        if let Some(line) = self.line.take() {
            self.add(line, output);
        }
        self.release(output);
    }

    fn add(&mut self, line: Shown, output: &mut impl Output) {
        if let Some(pending) = &mut self.pending {
            if line.text.is_empty() {
                if !pending.add_blank() {
                    self.release(output);
                }
                return;
            }
            match pending.add(line) {
                Added::Taken => {}
                Added::Last => self.release(output),
                Added::Foreign(line) => emit_line(line, output),
                Added::Refused(other) => {
                    self.release(output);
                    self.pending = Some(Pending::new(other, output));
                }
            }
        } else if !line.text.is_empty() {
            self.pending = Some(Pending::new(line, output));
        }
    }

    fn release(&mut self, output: &mut impl Output) {
        if let Some(pending) = self.pending.take() {
            pending.emit(output);
        }
    }
}

/// What a pending record did with a line.
#[derive(Debug)]
pub(super) enum Added {
    /// It is part of the record.
    Taken,
    /// It is the last line of the record.
    Last,
    /// It is a record of its own, and more lines may follow.
    Foreign(Shown),
    /// The record ended before it.
    Refused(Shown),
}
