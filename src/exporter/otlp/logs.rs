//! Log records of ordinary lines, and the queue in which they wait for their batch.
//!
//! A record has the attributes of OpenTelemetry's semantic conventions for
//! [exceptions](https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-logs/) and
//! [`log.iostream`](https://opentelemetry.io/docs/specs/semconv/general/logs/). Its `time_unix_nano` is set
//! only if the line has an unambiguous time.

use super::{
    attributes::{Attributes, CORRELATION_ID, MAX_VALUE_BYTES},
    proto::{
        common::v1::{AnyValue, any_value},
        logs::v1::LogRecord,
    },
};
use crate::exporter::{
    event::cut,
    log::{Record, Value},
};
use prost::Message as _;
use std::collections::VecDeque;

/// The longest stack trace, in bytes: those of Java have hundreds of lines.
const MAX_STACK_TRACE_BYTES: usize = 64 * 1024;

/// The largest size of the queue in memory, in bytes, whatever the number of records.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What a record adds to a request besides its encoding: a tag and a length.
const OVERHEAD_BYTES: usize = 8;

/// The message of a record, and how many bytes of attributes were cut off.
pub fn message(record: Record) -> (LogRecord, u64) {
    let mut attributes = Attributes::default();
    let mut cut_bytes = 0;
    let mut text = |key: &str, text: &str, limit, attributes: &mut Attributes| {
        let kept = cut(text, limit);
        cut_bytes += (text.len() - kept.len()) as u64;
        attributes.set(key, any_value::Value::StringValue(kept.to_owned()));
    };
    for (key, value) in &record.attributes {
        match value {
            Value::Text(value) => text(key, value, MAX_VALUE_BYTES, &mut attributes),
            Value::Int(int) => attributes.set(key, any_value::Value::IntValue(*int)),
            Value::Float(float) => attributes.set(key, any_value::Value::DoubleValue(*float)),
            Value::Bool(bool) => attributes.set(key, any_value::Value::BoolValue(*bool)),
        }
    }
    text("log.iostream", "stderr", MAX_VALUE_BYTES, &mut attributes);
    if let Some(id) = &record.correlation_id {
        text(CORRELATION_ID, id, MAX_VALUE_BYTES, &mut attributes);
    }
    if let Some(exception) = &record.exception {
        for (key, value, limit) in [
            ("exception.type", &exception.kind, MAX_VALUE_BYTES),
            ("exception.message", &exception.message, MAX_VALUE_BYTES),
            ("exception.stacktrace", &exception.stacktrace, MAX_STACK_TRACE_BYTES),
        ] {
            if !value.is_empty() {
                text(key, value, limit, &mut attributes);
            }
        }
    }
    let (severity_number, severity_text) =
        record.severity.map(|severity| (severity.number.into(), severity.text)).unwrap_or_default();
    let message = LogRecord {
        // The protocol has no times before 1970.
        time_unix_nano: record.time_ns.and_then(|ns| ns.try_into().ok()).unwrap_or_default(),
        observed_time_unix_nano: record.observed_ns.try_into().unwrap_or_default(),
        severity_number,
        severity_text,
        body: Some(AnyValue { value: Some(any_value::Value::StringValue(record.body)) }),
        attributes: attributes.list,
        dropped_attributes_count: attributes.dropped,
        trace_id: record.trace.map(|trace| trace.trace_id.to_vec()).unwrap_or_default(),
        span_id: record.trace.and_then(|trace| trace.span_id).map(|id| id.to_vec()).unwrap_or_default(),
        flags: record.trace.map_or(0, |trace| trace.flags.into()),
        ..LogRecord::default()
    };
    (message, cut_bytes)
}

/// A record in the queue.
#[derive(Debug)]
struct Waiting {
    message: LogRecord,
    lines: u64,
    encoded_bytes: usize,
}

impl Waiting {
    fn memory(&self) -> usize {
        size_of::<Self>() + 2 * self.encoded_bytes
    }
}

/// Records in the order of their lines.
#[derive(Debug)]
pub struct LogQueue {
    waiting: VecDeque<Waiting>,
    /// The lines in them.
    lines: u64,
    bytes: usize,
    max_records: usize,
    /// Whether records beyond 16 MiB are kept.
    lossless: bool,
    dropped: u64,
}

impl LogQueue {
    /// A queue that is [full](Self::is_full) with `max_records`. It takes more, because lines have to be
    /// handled before the events that follow them; but with more than 16 MiB it drops them, unless it is
    /// `lossless`.
    pub fn new(max_records: usize, lossless: bool) -> Self {
        Self { waiting: VecDeque::new(), lines: 0, bytes: 0, max_records, lossless, dropped: 0 }
    }

    /// Adds a record of some lines, or counts them as dropped.
    pub fn push(&mut self, message: LogRecord, lines: u64) {
        let encoded_bytes = message.encoded_len() + OVERHEAD_BYTES;
        let record = Waiting { message, lines, encoded_bytes };
        if !self.lossless && self.bytes + record.memory() > MAX_BYTES {
            self.dropped += lines;
            return;
        }
        self.bytes += record.memory();
        self.lines += lines;
        self.waiting.push_back(record);
    }

    /// Takes the oldest records, at most `max_records` and `max_bytes` encoded but at least one, and the
    /// number of lines in them.
    pub fn take(&mut self, max_records: usize, max_bytes: usize) -> (Vec<LogRecord>, u64) {
        let (mut records, mut lines, mut bytes) = (Vec::new(), 0, 0);
        while records.len() < max_records
            && let Some(first) = self.waiting.front()
            && (records.is_empty() || bytes + first.encoded_bytes <= max_bytes)
            && let Some(record) = self.waiting.pop_front()
        {
            bytes += record.encoded_bytes;
            self.bytes -= record.memory();
            lines += record.lines;
            records.push(record.message);
        }
        self.lines -= lines;
        (records, lines)
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The lines in all records.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Whether lines that need not be handled yet should wait. There is still room for others.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= self.max_records || self.bytes >= MAX_BYTES / 2
    }

    /// How many lines were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exporter::log::{Exception, LineContext, Severity};

    #[test]
    fn a_record_has_what_is_known_of_its_lines() {
        let record = Record {
            observed_ns: 7,
            time_ns: Some(5),
            severity: Some(Severity { number: 17, text: "ERROR".into() }),
            body: "failed".into(),
            trace: Some(LineContext { trace_id: [1; 16], span_id: Some([2; 8]), flags: 1 }),
            correlation_id: Some("c".into()),
            exception: Some(Exception {
                kind: "ValueError".into(),
                message: String::new(),
                stacktrace: "x".repeat(MAX_STACK_TRACE_BYTES + 5),
            }),
            attributes: vec![("user".into(), Value::Int(3)), ("log.iostream".into(), Value::Bool(true))],
            lines: 3,
            cut_bytes: 0,
        };
        let (message, cut_bytes) = message(record);
        assert_eq!((message.time_unix_nano, message.observed_time_unix_nano), (5, 7));
        assert_eq!((message.severity_number, &*message.severity_text), (17, "ERROR"));
        assert_eq!((message.trace_id, message.span_id, message.flags), (vec![1; 16], vec![2; 8], 1));
        let keys: Vec<_> = message.attributes.iter().map(|attribute| &*attribute.key).collect();
        let expected = ["user", "log.iostream", CORRELATION_ID, "exception.type", "exception.stacktrace"];
        assert_eq!((keys, cut_bytes), (expected.to_vec(), 5));
        let stream = message.attributes[1].value.clone().and_then(|value| value.value);
        assert_eq!(stream, Some(any_value::Value::StringValue("stderr".into())));
    }

    #[test]
    fn nothing_is_made_up_for_a_plain_line() {
        let (message, _) = message(Record { body: "hello".into(), time_ns: Some(-5), ..Record::default() });
        assert_eq!((message.time_unix_nano, message.severity_number, message.flags), (0, 0, 0));
        assert!(
            message.trace_id.is_empty() && message.span_id.is_empty() && message.severity_text.is_empty()
        );
        assert_eq!(message.attributes.len(), 1);
    }

    fn record(bytes: usize) -> LogRecord {
        LogRecord { severity_text: "x".repeat(bytes), ..LogRecord::default() }
    }

    #[test]
    fn a_batch_has_at_most_so_many_records_and_bytes_and_knows_its_lines() {
        let mut queue = LogQueue::new(4, false);
        (0..6).for_each(|lines| queue.push(record(1000), lines));
        assert_eq!((queue.len(), queue.is_full(), queue.take_dropped(), queue.lines()), (6, true, 0, 15));
        assert_eq!(queue.take(2, usize::MAX).1, 1);
        assert_eq!(queue.take(9, 2500).0.len(), 2);
        assert_eq!(queue.take(9, 1), (vec![record(1000)], 4));
        assert_eq!((queue.take(9, usize::MAX).1, queue.lines(), queue.bytes), (5, 0, 0));
    }

    #[test]
    fn beyond_16_mib_lines_are_dropped_unless_none_may_be() {
        for lossless in [false, true] {
            let mut queue = LogQueue::new(usize::MAX, lossless);
            (0..100).for_each(|_| queue.push(record(1024 * 1024), 2));
            assert!(queue.is_full());
            assert_eq!(queue.lines() + queue.take_dropped(), 200);
            assert_eq!(queue.len() == 100, lossless);
            assert!(lossless || queue.bytes <= MAX_BYTES);
        }
    }
}
