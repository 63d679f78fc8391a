//! Stack traces whose frames start with `at`: those of Java and of Node.

use super::Next;

/// A stack trace, as far as it was read.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Frames {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// After the line with the exception.
    Head,
    /// Node: after the file and line in which an error was thrown.
    File,
    /// Node: after the source text.
    Source,
    /// Node: after the mark below the source text.
    Marked,
    /// Among frames.
    Frames,
    /// Node: in the properties of the error, which end with this many spaces and a brace.
    Properties(usize),
    /// Node: after the properties.
    Closed,
}

impl Frames {
    /// A line of Java with an exception that has a package, or the file and line with which an uncaught
    /// error of Node starts.
    pub(super) fn start(line: &str) -> Option<Self> {
        let state = if line.starts_with("Exception in thread \"") || is_qualified(line) {
            State::Head
        } else if is_place(line) {
            State::File
        } else {
            return None;
        };
        Some(Self { state })
    }

    /// A frame, after a line with the exception.
    pub(super) fn start_after(before: &str, line: &str) -> Option<(Self, usize)> {
        if !is_frame(line) {
            return None;
        }
        Some((Self { state: State::Frames }, start_of_cause(before)?))
    }

    pub(super) fn next(&mut self, line: &str, blanks: usize) -> Next {
        let is_indented = line.starts_with([' ', '\t']);
        self.state = match self.state {
            State::File if blanks == 0 => State::Source,
            State::Source if blanks == 0 && line.trim_matches([' ', '\t', '^']).is_empty() => State::Marked,
            State::Source if blanks == 0 && is_indented => State::Source,
            State::Marked if is_node_end(line) => return Next::Last,
            State::Marked if blanks == 1 => State::Head,
            State::Properties(indent) if blanks == 0 => match line.trim_start() {
                "}" if line.len() == indent + 1 => State::Closed,
                _ if line.len() > indent => State::Properties(indent),
                _ => return Next::Ended,
            },
            State::Frames | State::Closed | State::Head if is_node_end(line) && blanks == 1 => {
                return Next::Last;
            }
            State::Head | State::Frames if blanks == 0 && is_frame(line) => after_frame(line),
            State::Frames if blanks == 0 && (is_omission(line) || is_cause(line)) => State::Frames,
            State::Head if blanks == 0 && line.ends_with('{') => State::Properties(0),
            _ => return Next::Ended,
        };
        Next::Continues
    }

    pub(super) fn is_certain(self) -> bool {
        !matches!(self.state, State::Head | State::File | State::Source)
    }
}

/// The state after a frame: the last one may start the properties of the error.
fn after_frame(line: &str) -> State {
    if line.ends_with(" {") { State::Properties(0) } else { State::Frames }
}

/// The type and the message of the exception that was thrown last.
pub(super) fn cause(text: &str) -> (String, String) {
    let mut lines = text.lines();
    // In Node, the exception follows after the source text, which ends with a mark and a blank line.
    let is_mark = |line: &str| line.contains('^') && line.trim_matches([' ', '\t', '^']).is_empty();
    let mark = text.lines().take(16).position(is_mark);
    let head = match mark {
        Some(mark) => lines.nth(mark + 2),
        None => lines.next(),
    };
    let head = head.unwrap_or_default();
    let thrown = head.strip_prefix("Exception in thread \"").and_then(|rest| Some(rest.split_once("\" ")?.1));
    let thrown = thrown.unwrap_or(head);
    let thrown = thrown.strip_prefix("Uncaught ").unwrap_or(thrown).trim_end_matches(" {");
    let (kind, message) = super::split_cause(thrown);
    // `TypeError [CODE]: message`
    match thrown.split_once(" [") {
        Some((name, rest)) if kind.is_empty() && !name.contains(' ') => {
            let message = rest.split_once("]: ").map_or("", |(_, message)| message);
            (name.to_owned(), message.to_owned())
        }
        _ => (kind, message),
    }
}

/// `    at …`
pub(super) fn is_frame(line: &str) -> bool {
    let rest = line.trim_start_matches([' ', '\t']);
    (line.starts_with('\t') || line.starts_with("  ")) && rest.starts_with("at ")
}

/// `... 12 more`, `... 3 common frames omitted`
fn is_omission(line: &str) -> bool {
    line.starts_with(['\t', ' ']) && line.trim_start().starts_with("... ")
}

fn is_cause(line: &str) -> bool {
    let rest = line.trim_start_matches(['\t', ' ']);
    ["Caused by: ", "Suppressed: ", "[cause]: ", "[CIRCULAR REFERENCE"]
        .iter()
        .any(|start| rest.starts_with(start))
}

fn is_node_end(line: &str) -> bool {
    line.starts_with("Node.js v") || line.starts_with("(Use `node --trace")
}

/// `/path/file.js:3`
fn is_place(line: &str) -> bool {
    if !["/", "file:///", "node:"].iter().any(|start| line.starts_with(start)) {
        return false;
    }
    let Some((_, number)) = line.rsplit_once(':') else { return false };
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name of an exception with a package, alone or before a message.
fn is_qualified(line: &str) -> bool {
    let name = line.split([':', ' ']).next().unwrap_or_default();
    let after = line.get(name.len()..).unwrap_or_default();
    (after.is_empty() || after.starts_with(':')) && name.contains('.') && is_name(name)
}

/// A name that ends as those of exceptions do.
fn is_name(name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
    let is_exception = ["Exception", "Error", "Throwable"].iter().any(|end| name.ends_with(end));
    is_exception && name.chars().all(is_part)
}

/// Where in a line the exception starts: `Error: message` at its start or after other text.
fn start_of_cause(line: &str) -> Option<usize> {
    let is_at = |start: usize| {
        let rest = line.get(start..).unwrap_or_default();
        let word = rest.split([' ', ':']).next().unwrap_or_default();
        let after = rest.get(word.len()..).unwrap_or_default();
        is_name(word) && (after.is_empty() || after.starts_with(':') || after.starts_with(" ["))
    };
    let words = std::iter::once(0).chain(line.match_indices(' ').map(|(at, _)| at + 1)).take(64);
    let found = words.into_iter().find(|start| is_at(*start));
    found.or_else(|| line.starts_with("Exception in thread \"").then_some(0))
}
