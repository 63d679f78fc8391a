//! Log records of ordinary lines, and the queue in which they wait for their batch.
//!
//! A record has the attributes of OpenTelemetry's semantic conventions for
//! [exceptions](https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-logs/) and
//! [`log.iostream`](https://opentelemetry.io/docs/specs/semconv/general/logs/). Its `time_unix_nano` is set
//! only if the line has an unambiguous time.

use super::{
    attributes::{self, Attributes, CORRELATION_ID, MAX_VALUE_BYTES, Owner},
    request::{Items, Room},
    waiting::{Head, Waiting},
    wire,
};
use crate::exporter::{
    event::cut,
    log::{Record, Value},
};

/// The longest stack trace, in bytes: those of Java have hundreds of lines.
const MAX_STACK_TRACE_BYTES: usize = 64 * 1024;

/// The largest size of the queue in memory, in bytes, whatever the number of records.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The size from which a queue is full: what a request can have.
const FULL_BYTES: usize = 4 * 1024 * 1024;

/// The fields of `LogRecord`; attributes have theirs already.
const TIME: u8 = 1;
const SEVERITY_NUMBER: u8 = 2;
const SEVERITY_TEXT: u8 = 3;
const BODY: u8 = 5;
const DROPPED_ATTRIBUTES: u8 = 7;
const FLAGS: u8 = 8;
const TRACE_ID: u8 = 9;
const SPAN_ID: u8 = 10;
const OBSERVED_TIME: u8 = 11;

/// What a record has at most besides texts and attributes: tags, lengths, numbers, times and ids.
const OVERHEAD_BYTES: usize = 96;

/// The attributes of a record. Returns how many bytes of them were cut off.
fn set_attributes(record: &Record, attributes: &mut Attributes) -> u64 {
    let mut cut_bytes = 0;
    let mut text = |key: &str, text: &str, limit, attributes: &mut Attributes| {
        let kept = cut(text, limit);
        cut_bytes += (text.len() - kept.len()) as u64;
        attributes.set(key, attributes::Value::Text(kept));
    };
    for (key, value) in &record.attributes {
        match value {
            Value::Text(value) => text(key, value, MAX_VALUE_BYTES, attributes),
            Value::Int(int) => attributes.set(key, attributes::Value::Int(*int)),
            Value::Float(float) => attributes.set(key, attributes::Value::Float(*float)),
            Value::Bool(bool) => attributes.set(key, attributes::Value::Bool(*bool)),
        }
    }
    text("log.iostream", "stderr", MAX_VALUE_BYTES, attributes);
    if let Some(id) = &record.correlation_id {
        text(CORRELATION_ID, id, MAX_VALUE_BYTES, attributes);
    }
    if let Some(exception) = &record.exception {
        for (key, value, limit) in [
            ("exception.type", &exception.kind, MAX_VALUE_BYTES),
            ("exception.message", &exception.message, MAX_VALUE_BYTES),
            ("exception.stacktrace", &exception.stacktrace, MAX_STACK_TRACE_BYTES),
        ] {
            if !value.is_empty() {
                text(key, value, limit, attributes);
            }
        }
    }
    cut_bytes
}

/// Appends the message of a record with these attributes.
fn write(record: &Record, attributes: &Attributes, buffer: &mut Vec<u8>) {
    // The protocol has no times before 1970.
    let time_ns = |ns: i64| u64::try_from(ns).unwrap_or_default();
    wire::time(buffer, TIME, record.time_ns.map(time_ns).unwrap_or_default());
    wire::time(buffer, OBSERVED_TIME, time_ns(record.observed_ns));
    if let Some(severity) = &record.severity {
        wire::count(buffer, SEVERITY_NUMBER, severity.number.into());
        wire::text(buffer, SEVERITY_TEXT, &severity.text);
    }
    attributes::any_text(buffer, BODY, &record.body);
    buffer.extend_from_slice(attributes.encoded());
    wire::count(buffer, DROPPED_ATTRIBUTES, attributes.dropped());
    if let Some(trace) = &record.trace {
        wire::bytes(buffer, TRACE_ID, &trace.trace_id);
        if let Some(span_id) = &trace.span_id {
            wire::bytes(buffer, SPAN_ID, span_id);
        }
        wire::flags(buffer, FLAGS, trace.flags.into());
    }
}

/// The lines of a record in the queue.
#[derive(Debug)]
struct Lines(u64);

impl Head for Lines {
    fn count(&self) -> u64 {
        self.0
    }

    fn write(&self, _: &mut Vec<u8>) {}
}

/// Records in the order of their lines.
#[derive(Debug)]
pub struct LogQueue {
    waiting: Waiting<Lines>,
    /// The lines in them.
    lines: u64,
    max_records: usize,
    /// Whether records beyond 16 MiB are kept.
    lossless: bool,
    dropped: u64,
    /// Memory for the attributes of a record.
    attributes: Attributes,
}

impl LogQueue {
    /// A queue that is [full](Self::is_full) with `max_records`. It takes more, because lines have to be
    /// handled before the events that follow them; but with more than 16 MiB it drops them, unless it is
    /// `lossless`.
    pub fn new(max_records: usize, lossless: bool) -> Self {
        let (waiting, attributes) = (Waiting::default(), Attributes::new(Owner::Record));
        Self { waiting, lines: 0, max_records, lossless, dropped: 0, attributes }
    }

    /// Adds a record, or counts its lines as dropped. Returns how many bytes of attributes were cut off.
    pub fn push(&mut self, record: &Record) -> u64 {
        self.attributes.clear();
        let cut_bytes = set_attributes(record, &mut self.attributes);
        let attributes = &self.attributes;
        let severity_bytes = record.severity.as_ref().map_or(0, |severity| severity.text.len());
        let bytes = OVERHEAD_BYTES + severity_bytes + record.body.len() + attributes.encoded().len();
        if !self.lossless && self.waiting.bytes() + Waiting::<Lines>::size(bytes) > MAX_BYTES {
            self.dropped += record.lines;
        } else {
            self.lines += record.lines;
            self.waiting.push(Lines(record.lines), bytes, |buffer| write(record, attributes, buffer));
        }
        cut_bytes
    }

    /// Takes the oldest records for a request: at most `max_records` and as many as there is room for, but
    /// at least one.
    pub fn take(&mut self, room: Room, max_records: usize) -> Items {
        let taken = self.waiting.take(room.front, max_records, room.items);
        self.lines -= taken.items;
        taken
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
        self.waiting.len() >= self.max_records || self.waiting.bytes() >= FULL_BYTES
    }

    /// How many lines were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exporter::{
        log::{Exception, LineContext, Severity},
        otlp::proto::{
            common::v1::{AnyValue, any_value},
            logs::v1::{LogRecord, ScopeLogs},
        },
    };
    use prost::Message as _;

    impl LogQueue {
        /// Takes records as a receiver decodes them, and the number of lines.
        fn records(&mut self, max_records: usize, max_bytes: usize) -> (Vec<LogRecord>, u64) {
            let items = self.take(Room { front: 3, items: max_bytes }, max_records);
            let records = ScopeLogs::decode(items.encoded()).unwrap().log_records;
            assert_eq!(items.records, records.len() as u64);
            (records, items.items)
        }
    }

    /// What a receiver decodes of a record, and how many bytes of attributes were cut off.
    fn message(record: &Record) -> (LogRecord, u64) {
        let mut queue = LogQueue::new(1, false);
        let cut_bytes = queue.push(record);
        (queue.records(1, 0).0.remove(0), cut_bytes)
    }

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
        let (message, cut_bytes) = message(&record);
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
        let (message, _) = message(&Record { body: "hello".into(), time_ns: Some(-5), ..Record::default() });
        let body = any_value::Value::StringValue("hello".into());
        assert_eq!(message.body, Some(AnyValue { value: Some(body) }));
        assert_eq!((message.time_unix_nano, message.severity_number, message.flags), (0, 0, 0));
        assert!(
            message.trace_id.is_empty() && message.span_id.is_empty() && message.severity_text.is_empty()
        );
        assert_eq!(message.attributes.len(), 1);
    }

    fn record(bytes: usize, lines: u64) -> Record {
        Record { body: "x".repeat(bytes), lines, ..Record::default() }
    }

    #[test]
    fn a_batch_has_at_most_so_many_records_and_bytes_and_knows_its_lines() {
        let mut queue = LogQueue::new(4, false);
        (0..6).for_each(|lines| {
            queue.push(&record(1000, lines));
        });
        assert_eq!((queue.len(), queue.is_full(), queue.take_dropped(), queue.lines()), (6, true, 0, 15));
        assert_eq!(queue.records(2, usize::MAX).1, 1);
        assert_eq!(queue.records(9, 2500).0.len(), 2);
        let (records, lines) = queue.records(9, 1);
        assert_eq!((records.len(), lines), (1, 4));
        assert_eq!((queue.records(9, usize::MAX).1, queue.lines(), queue.waiting.bytes()), (5, 0, 0));
    }

    #[test]
    fn beyond_16_mib_lines_are_dropped_unless_none_may_be() {
        for lossless in [false, true] {
            let mut queue = LogQueue::new(usize::MAX, lossless);
            (0..100).for_each(|_| {
                queue.push(&record(1024 * 1024, 2));
            });
            assert!(queue.is_full());
            assert_eq!(queue.lines() + queue.take_dropped(), 200);
            assert_eq!(queue.len() == 100, lossless);
            assert!(lossless || queue.waiting.bytes() <= MAX_BYTES);
        }
    }
}
