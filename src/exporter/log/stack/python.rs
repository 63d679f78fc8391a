//! Tracebacks of Python: chained ones, groups, syntax errors, and those of threads.

use super::Next;

const HEADER: &str = "Traceback (most recent call last):";

const GROUP_HEADER: &str = "  + Exception Group Traceback (most recent call last):";

/// Lines of other threads between the lines of a traceback, at most.
const MAX_FOREIGN: u32 = 16;

/// A traceback, as far as it was read.
#[derive(Debug, Clone)]
pub(in super::super) struct Python {
    state: State,
    foreign: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// After a line that a traceback may follow.
    Announced,
    /// Among frames.
    Frames,
    /// After the line with the exception.
    Raised,
    /// After the line that connects two tracebacks.
    Connected,
    /// In a group of exceptions.
    Group,
}

impl Python {
    pub(super) fn start(line: &str) -> Option<Self> {
        let state = if is_header(line) {
            State::Frames
        } else if line == GROUP_HEADER {
            State::Group
        } else if is_file(line) {
            State::Frames
        } else if line.starts_with("Exception in thread ") && !line.contains('"') && line.ends_with(':')
            || line.starts_with("Exception ignored in")
            || line.starts_with("Process ") && line.ends_with(':')
        {
            State::Announced
        } else {
            return None;
        };
        Some(Self { state, foreign: 0 })
    }

    pub(super) fn next(&mut self, line: &str, blanks: usize, is_log: impl FnOnce() -> bool) -> Next {
        let is_indented = line.starts_with([' ', '\t']);
        if is_header(line) && self.state != State::Raised {
            self.state = State::Frames;
            return Next::Continues;
        }
        match self.state {
            State::Announced if is_file(line) && blanks == 0 => {
                self.state = State::Frames;
                Next::Continues
            }
            State::Frames | State::Connected if line == GROUP_HEADER => self.to(State::Group),
            // loguru marks the frame in which the exception was caught.
            State::Frames if line.starts_with("> File ") => Next::Continues,
            State::Frames | State::Group if is_indented => Next::Continues,
            State::Frames if is_exception(line) && !is_log() => self.to(State::Raised),
            State::Frames if self.foreign < MAX_FOREIGN => {
                self.foreign += 1;
                Next::Foreign
            }
            State::Raised | State::Group if is_connection(line) && blanks <= 1 => self.to(State::Connected),
            State::Raised if is_indented && blanks == 0 || line == "\"\"\"" => Next::Continues,
            State::Connected if is_file(line) => self.to(State::Frames),
            _ => Next::Ended,
        }
    }

    pub(super) fn is_certain(&self) -> bool {
        self.state != State::Announced
    }

    fn to(&mut self, state: State) -> Next {
        self.state = state;
        Next::Continues
    }
}

/// The type and the message of the last exception.
pub(super) fn cause(text: &str) -> (String, String) {
    let (mut kind, mut message) = (String::new(), String::new());
    let mut is_inside = false;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if is_header(line) || is_file(line) || line == GROUP_HEADER {
            is_inside = true;
            continue;
        }
        // In a group, the outermost exception.
        let own = line.strip_prefix("  | ").unwrap_or(line);
        if !is_inside || own.starts_with([' ', '\t']) || !is_exception(own) {
            continue;
        }
        is_inside = false;
        (kind, message) = super::split_cause(own);
        let is_message = |line: &&str| line.starts_with([' ', '\t']) && !line.starts_with("  +");
        while let Some(more) = lines.next_if(is_message) {
            message.push('\n');
            message.push_str(more);
        }
    }
    (kind, message)
}

fn is_header(line: &str) -> bool {
    line == HEADER
}

/// `  File "…", line 1`, with which a traceback of a syntax error starts.
fn is_file(line: &str) -> bool {
    line.strip_prefix("  File \"").is_some_and(|rest| rest.contains("\", line "))
}

fn is_connection(line: &str) -> bool {
    let line = line.trim_start_matches([' ', '|']);
    line == "During handling of the above exception, another exception occurred:"
        || line == "The above exception was the direct cause of the following exception:"
}

/// `ValueError: …` or `module.Error`.
fn is_exception(line: &str) -> bool {
    let name = line.split(": ").next().unwrap_or_default().trim_end_matches(':');
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '<' | '>');
    name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(is_part)
}
