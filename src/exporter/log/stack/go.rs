//! Panics and fatal errors of Go, with their goroutines.

use super::Next;

/// A panic, as far as it was read.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Go {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// After `runtime: …` or `fatal error: …`: others print that, too.
    Possible,
    /// After `panic: …`.
    Panic,
    /// Among goroutines.
    Trace,
}

impl Go {
    pub(super) fn start(line: &str) -> Option<Self> {
        let state = if line.starts_with("panic: ") {
            State::Panic
        } else if is_goroutine(line) {
            State::Trace
        } else if line.starts_with("fatal error: ") || line.starts_with("runtime: ") || is_signal(line) {
            State::Possible
        } else {
            return None;
        };
        Some(Self { state })
    }

    /// Whether it starts with a goroutine.
    pub(super) fn is_trace(self) -> bool {
        self.state == State::Trace
    }

    pub(super) fn next(&mut self, line: &str, blanks: usize) -> Next {
        let is_indented = line.starts_with('\t');
        if is_goroutine(line) || line == "runtime stack:" {
            self.state = State::Trace;
            return Next::Continues;
        }
        let continues = match self.state {
            State::Possible => {
                line.starts_with("fatal error: ")
                    || line.starts_with("runtime: ")
                    || line.starts_with("[signal ")
                    || line.starts_with("PC=")
            }
            State::Panic => {
                line.starts_with("[signal ") || line.starts_with("panic: ") || is_indented && blanks == 0
            }
            State::Trace => {
                is_indented && blanks == 0
                    || line.starts_with("created by ")
                    || line.starts_with("...")
                    || is_call(line)
                    || is_register(line)
            }
        };
        if line.starts_with("[signal ") {
            self.state = State::Panic;
        }
        if continues { Next::Continues } else { Next::Ended }
    }

    pub(super) fn is_certain(self) -> bool {
        self.state != State::Possible
    }
}

/// `panic` or `fatal error`, and the message.
pub(super) fn cause(before: &str, text: &str) -> (String, String) {
    let heads = text.lines().take_while(|line| !is_goroutine(line)).take(16);
    // Of several, the last one was not recovered from.
    let found = heads.filter_map(|line| {
        let line = line.trim_start_matches('\t');
        let (kind, message) =
            line.split_once(": ").filter(|(kind, _)| matches!(*kind, "panic" | "fatal error"))?;
        Some((kind.to_owned(), message.split(" [recovered").next().unwrap_or_default().to_owned()))
    });
    if let Some(found) = found.last() {
        return found;
    }
    match before.split_once("panic") {
        // `http: panic serving 127.0.0.1:1234: message`, and `panic: message`.
        Some((_, rest)) => {
            let message = rest.split_once(": ").map_or("", |(_, message)| message);
            ("panic".to_owned(), message.to_owned())
        }
        None => (String::new(), text.lines().next().unwrap_or_default().to_owned()),
    }
}

/// `goroutine 1 [running]:`
fn is_goroutine(line: &str) -> bool {
    line.strip_prefix("goroutine ")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.ends_with("]:"))
}

/// `SIGSEGV: segmentation violation`
fn is_signal(line: &str) -> bool {
    line.strip_prefix("SIG")
        .and_then(|rest| rest.split_once(": "))
        .is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase()))
}

/// `main.f(0x1, …)`
fn is_call(line: &str) -> bool {
    let (name, arguments) = line.split_once('(').unwrap_or_default();
    !arguments.is_empty() && line.ends_with(')') && !name.is_empty() && !name.contains(' ')
}

/// `rax    0x0`
fn is_register(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let is_name = |word: &str| word.len() <= 6 && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    words.next().is_some_and(is_name)
        && words.next().is_some_and(|word| word.starts_with("0x"))
        && words.next().is_none()
}
