//! Panics of Rust, with and without a backtrace.

use super::Next;

/// A panic, as far as it was read.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Rust {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The message follows on its own line.
    Head,
    /// After the first line of the message.
    Message,
    /// In the backtrace.
    Backtrace,
}

impl Rust {
    /// `thread 'main' panicked at src/main.rs:2:5:`, and what older versions print.
    pub(super) fn start(line: &str) -> Option<Self> {
        let (_, place) = line.strip_prefix("thread '")?.split_once(" panicked at ")?;
        let state = if place.ends_with(':') { State::Head } else { State::Message };
        Some(Self { state })
    }

    pub(super) fn next(&mut self, line: &str, blanks: usize, is_log: impl FnOnce() -> bool) -> Next {
        let is_indented = line.starts_with([' ', '\t']);
        if line.starts_with("note: ") && self.state != State::Head {
            return Next::Last;
        }
        match self.state {
            State::Head if !is_log() => {
                self.state = State::Message;
                Next::Continues
            }
            State::Message if line == "stack backtrace:" => {
                self.state = State::Backtrace;
                Next::Continues
            }
            State::Message | State::Backtrace if is_indented && blanks == 0 => Next::Continues,
            _ => Next::Ended,
        }
    }
}

/// `panic`, and the message.
pub(super) fn cause(text: &str) -> (String, String) {
    let (head, rest) = text.split_once('\n').unwrap_or((text, ""));
    let place = head.split_once(" panicked at ").map_or("", |(_, place)| place);
    let mut message = match place.strip_prefix('\'').and_then(|rest| rest.rsplit_once("', ")) {
        Some((message, _)) => message.to_owned(),
        None => String::new(),
    };
    let is_end = |line: &&str| line.starts_with("note: ") || *line == "stack backtrace:";
    for line in rest.lines().take_while(|line| !is_end(line)) {
        if !message.is_empty() {
            message.push('\n');
        }
        message.push_str(line);
    }
    ("panic".to_owned(), message)
}
