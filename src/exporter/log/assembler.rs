//! Splits the worker's bytes into lines, and puts lines that belong together into one record.

use super::{
    Output, Record,
    line::{Line, MAX_LINE_BYTES, Shown, plain_prefix, shown},
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
}

impl Assembler {
    /// Takes bytes that were read at this time, in nanoseconds since 1970; times should not decrease. First
    /// it does what [`expire`](Self::expire) does at that time.
    pub fn push(&mut self, mut bytes: &[u8], now_ns: i64, output: &mut impl Output) {
        self.expire(now_ns, output);
        while let Some(end) = memchr(b'\n', bytes) {
            let (start, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
            let line = self.end_line(start, now_ns);
            add(line, output);
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.line.push(bytes, now_ns);
    }

    /// Releases records whose time is over. To be called at [`deadline_ns`](Self::deadline_ns), when all
    /// bytes that were read before that time have been pushed.
    pub fn expire(&mut self, now_ns: i64, output: &mut impl Output) {
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
        self.line.deadline_ns()
    }

    /// Completes the line.
    fn end_line(&mut self, rest: &[u8], now_ns: i64) -> Shown {
        let plain = rest.strip_suffix(b"\r").unwrap_or(rest);
        if self.line.is_empty() && plain.len() <= MAX_LINE_BYTES && plain_prefix(plain) == plain.len() {
            return Shown { text: shown(plain, false), observed_ns: now_ns, cut_bytes: 0 };
        }
        self.line.push(rest, now_ns);
        self.line.finish(now_ns)
    }

    fn add_unfinished(&mut self, output: &mut impl Output) {
        if let Some(line) = self.line.take() {
            add(line, output);
        }
    }
}

fn add(line: Shown, output: &mut impl Output) {
    let Shown { text, observed_ns, cut_bytes } = line;
    if !text.is_empty() {
        let trace = output.context(None);
        output.record(Record { observed_ns, body: text, trace, lines: 1, cut_bytes, ..Record::default() });
    }
}
