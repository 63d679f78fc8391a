//! Lines that belong together: tracebacks of Python, Java, Node, Go and Rust, and JSON on several lines.

mod frames;
mod go;
mod json;
mod python;
mod rust;

use super::Exception;

/// What a line is to an open group of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It belongs to the group.
    Continues,
    /// It belongs to the group, which ends with it.
    Last,
    /// It belongs to another thread or process: the group is not complete yet.
    Foreign,
    /// The group ended before it.
    Ended,
}

/// Lines that belong together, as far as they were read.
#[derive(Debug, Clone)]
pub(super) enum Stack {
    Python(python::Python),
    Frames(frames::Frames),
    Go(go::Go),
    Rust(rust::Rust),
    Json(json::Json),
}

impl Stack {
    /// The group that starts with this line.
    pub(super) fn start(line: &str) -> Option<Self> {
        let stack = match line.as_bytes().first()? {
            b'{' | b'[' if line.len() == 1 => Some(Self::Json(json::Json::start(line))),
            b'E' | b' ' | b'T' | b'P' => python::Python::start(line).map(Self::Python),
            b't' => rust::Rust::start(line).map(Self::Rust),
            b'p' | b'f' | b'g' | b'r' | b'S' => go::Go::start(line).map(Self::Go),
            _ => None,
        };
        stack.or_else(|| frames::Frames::start(line).map(Self::Frames))
    }

    /// The group that starts with this line, or in the middle of the line before it, with the position of
    /// its start in that line. `is_log` says whether that line is of a logger.
    pub(super) fn start_after(before: &str, is_log: bool, line: &str) -> Option<(Self, usize)> {
        if let Some((frames, start)) = frames::Frames::start_after(before, line) {
            return Some((Self::Frames(frames), start));
        }
        let stack = Self::start(line)?;
        let continues = match &stack {
            Self::Json(_) => false,
            Self::Go(go) => is_log || go.is_trace() && before.contains("panic"),
            Self::Python(_) | Self::Frames(_) | Self::Rust(_) => is_log,
        };
        // The newline after the line is not part of the group.
        continues.then_some((stack, before.len() + 1))
    }

    /// What the next line is to this group. `blanks` blank lines are before it; `is_log` says whether it is
    /// of a logger.
    pub(super) fn next(&mut self, line: &str, blanks: usize, is_log: impl FnOnce() -> bool) -> Next {
        match self {
            Self::Python(python) => python.next(line, blanks, is_log),
            Self::Frames(frames) => frames.next(line, blanks),
            Self::Go(go) => go.next(line, blanks),
            Self::Rust(rust) => rust.next(line, blanks, is_log),
            Self::Json(json) => json.next(line),
        }
    }

    /// Whether the lines read so far are certainly such a group.
    pub(super) fn is_certain(&self) -> bool {
        match self {
            Self::Python(python) => python.is_certain(),
            Self::Frames(frames) => frames.is_certain(),
            Self::Go(go) => go.is_certain(),
            Self::Rust(_) => true,
            Self::Json(json) => json.is_complete(),
        }
    }

    /// The exception; `head` is the first line of the record.
    pub(super) fn exception(&self, head: &str, text: &str) -> Exception {
        let (kind, message) = match self {
            Self::Python(_) => python::cause(text),
            Self::Frames(_) => frames::cause(text),
            Self::Go(_) => go::cause(head, text),
            Self::Rust(_) => rust::cause(text),
            Self::Json(_) => Default::default(),
        };
        Exception { kind, message, stacktrace: text.to_owned() }
    }
}

/// The exception of a traceback in a field of a structured line.
pub(super) fn parse(text: &str) -> Option<Exception> {
    let (kind, message) = if text.contains("Traceback (most recent call last):") {
        python::cause(text)
    } else if text.contains("panicked at") {
        rust::cause(text)
    } else if text.starts_with("panic: ") {
        go::cause("", text)
    } else if text.lines().nth(1).is_some_and(frames::is_frame) {
        frames::cause(text)
    } else {
        return None;
    };
    Some(Exception { kind, message, stacktrace: text.to_owned() })
}

/// Splits `type: message`; the type is one word.
fn split_cause(line: &str) -> (String, String) {
    let (kind, message) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
    if kind.contains(' ') { (String::new(), line.to_owned()) } else { (kind.to_owned(), message.to_owned()) }
}
