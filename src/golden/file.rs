//! Golden files: JSON lines, or recorded stderr.

use super::{Events, Fields, MAX_BYTES};
use crate::{
    event::{batch::BatchBuilder, stats::Malformed},
    input::{
        decode::{Decoder, Reject},
        dialect,
    },
    system::file_error::{describe, missing_directory},
};
use std::{
    fs::File,
    io::{self, ErrorKind, Read as _},
    path::Path,
};

/// Reads a golden file; none if it does not exist.
///
/// A file in which lines start with `TELEMETRY:` is recorded stderr, and those that are events count. In any
/// other every line that is not empty has to be an event.
///
/// # Errors
///
/// If it cannot be read, or what is wrong in which line, without the file's name.
pub fn read(path: &Path, fields: &Fields) -> Result<Option<Events>, String> {
    let bytes = match bytes(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound && missing_directory(path).is_none() => {
            return Ok(None);
        }
        Err(error) => return Err(describe(path, error)),
    };
    if bytes.len() > MAX_BYTES {
        return Err(format!("longer than {} MiB", MAX_BYTES >> 20));
    }
    let marker = dialect::SNAKEPIT.prefix;
    let is_recording = bytes.split(|byte| *byte == b'\n').any(|line| line.starts_with(marker));
    let (mut decoder, mut builder, mut events) = <(Decoder, BatchBuilder, Events)>::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let json = if is_recording { line.strip_prefix(marker) } else { Some(line.trim_ascii()) };
        let Some(json) = json.filter(|json| !json.is_empty()) else { continue };
        match decoder.decode(json, 0, &mut builder) {
            Ok(length) if is_recording || length == json.len() => events.add(&builder.take(), fields),
            // Such a line of a worker passes through.
            Err(_) if is_recording => {}
            outcome => {
                let line = index + 1;
                let cause = match outcome {
                    Err(Reject::Malformed(Malformed::Json)) => "is not JSON",
                    Err(Reject::Malformed(reason)) => reason.describe(),
                    Err(Reject::Oversized) => "is too long",
                    Ok(_) => "has more than one event",
                };
                return Err(format!("line {line} {cause}: expected JSON lines, such as decode prints"));
            }
        }
    }
    Ok(Some(events))
}

/// As much of the file as is needed to see that it is too long.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
