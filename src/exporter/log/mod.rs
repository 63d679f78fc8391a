//! The worker's ordinary lines as log records: severity, trace context and exceptions, as far as the text
//! says so. `docs/logs.md` has the formats.
//!
//! ```text
//! bytes → line (carriage returns, escape sequences, limits) → assembler ─┬→ format (one line)
//!                                                                        └→ stack (lines of one traceback)
//! ```
//!
//! Nothing here reads a clock or does input or output: the caller passes the time. The records depend on the
//! bytes and the times only, not on how the bytes are split.

mod assembler;
mod format;
mod header;
mod ids;
mod json;
mod line;
mod logfmt;
mod pending;
mod severity;
mod stack;
mod time;

pub use assembler::{Assembler, MAX_HELD_NS};
pub use line::MAX_LINE_BYTES;

use super::trace_ids::{SpanId, TraceId};

/// One log record: a line, or the lines of one traceback or one JSON text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// When the first byte of it was read, in nanoseconds since 1970. Of a line that was redrawn: the first
    /// byte of its last state.
    pub observed_ns: i64,
    /// The time in the line, in nanoseconds since 1970, if it has a date, a time of day and an offset from
    /// UTC.
    pub time_ns: Option<i64>,
    /// The severity that the line states; never derived from the stream it was written to.
    pub severity: Option<Severity>,
    /// The line as it was written, without escape sequences and trailing white space. Of a structured line
    /// (JSON, logfmt) it is the message. With an exception it is the text before the traceback, or
    /// `type: message` if there is none.
    pub body: String,
    /// The span of the line: from the line, otherwise from [`Output::context`].
    pub trace: Option<LineContext>,
    /// The correlation id in the line, at most 256 bytes.
    pub correlation_id: Option<String>,
    /// The exception in the record.
    pub exception: Option<Exception>,
    /// Fields of a structured line that are not in the fields above: at most 64, each key once.
    pub attributes: Vec<(String, Value)>,
    /// The lines in the record, without blank ones: at least 1.
    pub lines: u64,
    /// Bytes that were cut off, because a line or the record was longer than its limit.
    pub cut_bytes: u64,
}

/// The severity of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Severity {
    /// OpenTelemetry's severity number, 1 to 24: TRACE is 1 to 4, then DEBUG, INFO, WARN, ERROR and FATAL.
    pub number: u8,
    /// The name or number as it was written.
    pub text: String,
}

/// The span that a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineContext {
    /// The trace, never all zeros.
    pub trace_id: TraceId,
    /// The span, never all zeros.
    pub span_id: Option<SpanId>,
    /// The trace flags; 0 if the line does not state them.
    pub flags: u8,
}

/// An exception or a panic, as the attributes `exception.*` of OpenTelemetry's semantic conventions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exception {
    /// `exception.type`, as it was written; `panic` or `fatal error` for Go, `panic` for Rust. May be empty.
    pub kind: String,
    /// `exception.message`; may be empty.
    pub message: String,
    /// `exception.stacktrace`: the lines of the traceback; may be empty.
    pub stacktrace: String,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text, or a nested value as JSON text.
    Text(String),
    /// An integer.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
}

/// Where an [`Assembler`] puts records.
pub trait Output {
    /// The span of a line that does not name one itself. It is asked as soon as the line is complete,
    /// although its record may follow up to a second later: which spans are open is known now. Of the lines
    /// of a record, only the first one is asked for.
    ///
    /// `correlation_id` is the one in the line.
    fn context(&mut self, correlation_id: Option<&str>) -> Option<LineContext>;

    /// Takes the next record.
    fn record(&mut self, record: Record);
}

/// For tests: records without a context.
impl Output for Vec<Record> {
    fn context(&mut self, _correlation_id: Option<&str>) -> Option<LineContext> {
        None
    }

    fn record(&mut self, record: Record) {
        self.push(record);
    }
}
