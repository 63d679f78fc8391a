//! Recordings: raw stderr as `decode` reads it, or the JSON lines that `decode` has printed.

use super::{
    json_lines::JsonLines,
    model::Update,
    worker::{Id, Joined, State, Worker},
};
use crate::{
    event::{
        batch::{Batch, FrameSlice},
        frame::Prefix,
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
    terminal::number::grouped,
};
use bytes::{Bytes, BytesMut};
use prost::Message as _;
use std::{fs::File, sync::Arc};
use tokio::sync::mpsc;

/// How the state starts of a recording that was read to its end.
pub(super) const COMPLETE: &str = "complete";

/// Why a recording could not be read to its end.
pub(super) fn failure(worker: &Worker) -> Option<&str> {
    match &worker.state {
        State::Ended(how) if worker.joined.is_recording && !how.starts_with(COMPLETE) => Some(how),
        _ => None,
    }
}

/// Reads a recording to its end, or until the receiver is closed.
pub(super) fn read(id: Id, recording: Recording, updates: &mpsc::Sender<Update>) {
    let joined = Joined { name: one_line(&recording.name), is_recording: true, ..Joined::default() };
    let send = |update| updates.blocking_send(update).is_ok();
    if !(send(Update::Joined(id, joined)) && send(Update::Begun(id))) {
        return;
    }
    let end = match read_all(id, recording, updates) {
        Ok(0) => Update::Ended(id, COMPLETE.into()),
        Ok(1) => Update::Ended(id, format!("{COMPLETE}, 1 line is no event")),
        Ok(lines) => Update::Ended(id, format!("{COMPLETE}, {} lines are no events", grouped(lines))),
        Err(error) => Update::Ended(id, one_line(&error)),
    };
    send(end);
}

/// Returns the number of malformed lines. In raw stderr these are lines that start like telemetry; in other
/// recordings, all lines that are not events.
fn read_all(id: Id, recording: Recording, updates: &mpsc::Sender<Update>) -> Result<u64, String> {
    let null = File::options().write(true).open("/dev/null");
    let mut pipeline = Pipeline::new(Parts {
        splitter: Splitter::new(&dialect::SNAKEPIT, Embedded::default(), MAX_LINE_BYTES),
        decoder: Decoder::default(),
        publisher: Sender { id, updates, span: None, is_closed: false },
        passthrough: Passthrough::new(null.map_err(|error| format!("/dev/null: {error}"))?),
        recorder: None,
        last_bytes: None,
        lines: None,
        log: log::Lines::default(),
    });
    let mut lines = JsonLines::default();
    let mut edit = |bytes: &[u8], out: &mut Vec<u8>| match bytes {
        [] => lines.finish(out),
        _ => lines.edit(bytes, out),
    };
    recording
        .feed_edited(&mut pipeline, &mut edit, |sender| sender.is_closed)
        .map_err(|error: RecordingError| error.to_string())?;
    let stats = pipeline.stats();
    let is_raw = stats.telemetry_lines > lines.decoded || stats.embedded > 0;
    let rejected = stats.malformed.total() + stats.oversized;
    Ok(if is_raw { rejected } else { rejected + lines.others })
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
    fn publish(&mut self, batch: Arc<Batch>, _: &StreamStats, _: &mut dyn FnMut()) {
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
            FrameSlice::new(Arc::clone(batch.shared_frames()), 0..batch.len()).into_bytes()
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
        let frame = batch.frames().get(batch.frame_range(index..index + 1)).unwrap_or_default();
        match TelemetryEvent::decode(batch.message(index).unwrap_or_default()) {
            Ok(event) if batch.event(index).is_some_and(|event| !event.timestamp_given) => {
                let message = TelemetryEvent { timestamp_ns: 0, ..event }.encode_to_vec();
                // It is shorter than it was.
                let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
                frames.extend_from_slice(&Prefix { compressed: false, length }.to_bytes());
                frames.extend_from_slice(&message);
            }
            _ => frames.extend_from_slice(frame),
        }
    }
    frames.freeze()
}
