//! Recordings: raw stderr as `decode` reads it, or the JSON lines that `decode` has printed.

use super::{
    model::Update,
    worker::{Id, Joined},
};
use crate::{
    event::{
        batch::Batch,
        frame::{PREFIX_BYTES, Prefix},
        proto::bridge::TelemetryEvent,
        stats::StreamStats,
    },
    input::{
        decode::Decoder,
        dialect,
        splitter::{Embedded, MAX_LINE_BYTES, Splitter},
    },
    pipeline::{
        Parts, Pipeline, Publisher,
        passthrough::Passthrough,
        recording::{Recording, RecordingError},
    },
    system::{log, visible::one_line},
};
use bytes::{Bytes, BytesMut};
use prost::Message as _;
use std::fs::File;
use tokio::sync::mpsc;

/// Reads a recording to its end, or until nobody receives its events.
pub(super) fn read(id: Id, recording: Recording, updates: &mpsc::Sender<Update>) {
    let joined = Joined { name: one_line(&recording.name), is_recording: true, ..Joined::default() };
    let send = |update| updates.blocking_send(update).is_ok();
    if !(send(Update::Joined(id, joined)) && send(Update::Begun(id))) {
        return;
    }
    let end = match read_all(id, recording, updates) {
        Ok(()) => Update::Ended(id, "complete".into()),
        Err(error) => Update::Ended(id, one_line(&error)),
    };
    send(end);
}

fn read_all(id: Id, recording: Recording, updates: &mpsc::Sender<Update>) -> Result<(), String> {
    let null = File::options().write(true).open("/dev/null");
    let mut pipeline = Pipeline::new(Parts {
        splitter: Splitter::new(&dialect::SNAKEPIT, Embedded::default(), MAX_LINE_BYTES),
        decoder: Decoder::default(),
        publisher: Sender { id, updates, span: None, is_closed: false },
        passthrough: Passthrough::new(null.map_err(|error| format!("/dev/null: {error}"))?),
        recorder: None,
        log: log::Lines::default(),
    });
    let mut lines = Lines::default();
    let told = recording
        .feed_edited(&mut pipeline, &mut |bytes, out| lines.edit(bytes, out), |sender| sender.is_closed);
    told.map_err(|error: RecordingError| error.to_string())
}

/// Sends batches to the model.
struct Sender<'a> {
    id: Id,
    updates: &'a mpsc::Sender<Update>,
    span: Option<(i64, i64)>,
    is_closed: bool,
}

impl Sender<'_> {
    fn send(&mut self, update: Update) {
        self.is_closed |= self.updates.blocking_send(update).is_err();
    }
}

impl Publisher for Sender<'_> {
    fn publish(&mut self, batch: Batch, _: &StreamStats, _: &mut dyn FnMut()) {
        if batch.is_empty() {
            return;
        }
        let span = self.span;
        let mut is_any_timeless = false;
        for event in (0..batch.len()).filter_map(|index| batch.event(index)) {
            if event.timestamp_given {
                let now = event.timestamp_ns;
                let (first, last) = self.span.unwrap_or((now, now));
                self.span = Some((first.min(now), last.max(now)));
            } else {
                is_any_timeless = true;
            }
        }
        let frames = if is_any_timeless {
            timeless(&batch)
        } else {
            batch.frames().slice(batch.frame_range(0..batch.len()))
        };
        self.send(Update::Events(self.id, frames));
        if let Some(now) = self.span.filter(|now| Some(*now) != span) {
            self.send(Update::Span(self.id, now));
        }
    }

    fn account(&mut self, _: &StreamStats) {}
}

/// The frames of a batch. Events whose lines have no timestamp have none, instead of the time of reading.
fn timeless(batch: &Batch) -> Bytes {
    let mut frames = BytesMut::new();
    for index in 0..batch.len() {
        let frame = batch.frames().slice(batch.frame_range(index..index + 1));
        let message = frame.slice(PREFIX_BYTES.min(frame.len())..);
        match TelemetryEvent::decode(message) {
            Ok(event) if batch.event(index).is_some_and(|event| !event.timestamp_given) => {
                let message = TelemetryEvent { timestamp_ns: 0, ..event }.encode_to_vec();
                // It is shorter than it was.
                let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
                frames.extend_from_slice(&Prefix { compressed: false, length }.to_bytes());
                frames.extend_from_slice(&message);
            }
            _ => frames.extend_from_slice(&frame),
        }
    }
    frames.freeze()
}

/// Puts the prefix in front of JSON lines, which lack it: the first byte says whether they are some.
#[derive(Default)]
struct Lines {
    /// Known from the first byte on.
    are_json: Option<bool>,
    in_line: bool,
}

impl Lines {
    fn edit(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        if self.are_json.is_none() {
            self.are_json = first.map(|first| *first == b'{');
        }
        if self.are_json != Some(true) {
            return out.extend_from_slice(bytes);
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.in_line {
                out.extend_from_slice(dialect::SNAKEPIT.prefix);
            }
            out.extend_from_slice(line);
            self.in_line = !line.ends_with(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_get_the_marker_however_they_are_cut() {
        let text = b"{\"event\": \"a\"}\n{\"event\": \"b\"}";
        for size in 1..=text.len() {
            let (mut lines, mut all) = (Lines::default(), Vec::new());
            for part in text.chunks(size) {
                lines.edit(part, &mut all);
            }
            assert_eq!(all, b"TELEMETRY:{\"event\": \"a\"}\nTELEMETRY:{\"event\": \"b\"}");
        }
        for text in [&b"TELEMETRY:{}\n"[..], b"text\n{\n"] {
            let mut all = Vec::new();
            Lines::default().edit(text, &mut all);
            assert_eq!(all, text);
        }
    }
}
