//! `decode`: prints the events of recordings as JSON lines.

use crate::terminal::standard_output;
use crate::{
    config::Framing,
    event::{batch::Batch, json, stats::StreamStats, view::View},
    input::{decode::Decoder, dialect, splitter::Splitter},
    pipeline::{Parts, Pipeline, Publisher, passthrough::Passthrough, recording},
    status::text,
    system::{log, visible::escape_in_json},
    worker::Exit,
};
use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
    sync::Arc,
};

/// Prints the events of all files. Ordinary lines are omitted; invalid telemetry lines are counted on stderr.
pub fn run(framing: Framing, files: &[PathBuf]) -> Result<Exit, String> {
    let standard_input = [PathBuf::from("-")];
    let recordings = recording::open(if files.is_empty() { &standard_input } else { files })
        .map_err(|error| error.to_string())?;
    let null =
        File::options().write(true).open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    let mut pipeline = Pipeline::new(Parts {
        splitter: Splitter::new(&dialect::SNAKEPIT, framing.embedded, framing.max_line_bytes),
        decoder: Decoder::default(),
        publisher: Printer { lines: Vec::new(), result: Ok(()) },
        passthrough: Passthrough::new(null),
        recorder: None,
        last_bytes: None,
        lines: None,
        log: log::Lines::default(),
    });
    let mut result = Ok(());
    for recording in recordings {
        result = result.and(recording.feed(&mut pipeline, false, |printer| printer.result.is_err()));
    }
    let printed = &pipeline.publisher().result;
    standard_output::printed(printed)?;
    if printed.is_err() {
        // The reader has what it wants.
        return Ok(Exit::Code(0));
    }
    let stats = pipeline.stats();
    let embedded = stats.embedded_malformed;
    let embedded =
        (embedded > 0).then(|| format!("TELEMETRY:{{ in mid-line that starts no event: {embedded}"));
    let rejected = text::rejected(stats);
    let none = (stats.bytes_read > 0
        && stats.events() == 0
        && rejected.is_none()
        && embedded.is_none()
        && result.is_ok())
    .then(|| no_events(files));
    rejected.into_iter().chain(embedded).chain(none).for_each(log::error_line);
    result.map(|()| Exit::Code(0)).map_err(|error| error.to_string())
}

/// The note about recordings without a telemetry line.
fn no_events(files: &[PathBuf]) -> String {
    json_lines(files).unwrap_or_else(|| "no telemetry lines (TELEMETRY:{...})".to_owned())
}

/// What is wrong with recordings without a telemetry line, if one of them looks like what this prints.
pub(super) fn json_lines(files: &[PathBuf]) -> Option<String> {
    let is_json = |file: &&PathBuf| {
        let mut first = [0];
        let is_file = file.is_file();
        is_file && File::open(file).and_then(|mut file| file.read_exact(&mut first)).is_ok() && &first == b"{"
    };
    let file = files.iter().find(is_json)?;
    Some(format!(
        "no telemetry lines: {} has JSON lines, such as decode prints: put TELEMETRY: in front of each",
        file.display()
    ))
}

/// Writes batches to stdout until a write fails.
struct Printer {
    lines: Vec<u8>,
    result: io::Result<()>,
}

impl Publisher for Printer {
    fn publish(&mut self, batch: Arc<Batch>, _: &StreamStats, _: &mut dyn FnMut()) {
        self.lines.clear();
        for index in 0..batch.len() {
            let (Some(event), Some(message)) = (batch.event(index), batch.message(index)) else {
                continue;
            };
            // The decoder made these messages, so they are valid.
            if let Some(view) = View::of(message) {
                let timestamp_ns = event.timestamp_given.then_some(event.timestamp_ns);
                json::write(&mut self.lines, &view, timestamp_ns);
            }
        }
        escape_in_json(&mut self.lines);
        if self.result.is_ok() {
            self.result = standard_output::write(&self.lines);
        }
    }

    fn account(&mut self, _: &StreamStats) {}
}
