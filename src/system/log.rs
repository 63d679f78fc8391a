//! The sidecar's own log: lines that share stderr with the worker's.
//!
//! Only the thread that writes stderr prints them, between the worker's lines and never within one. Whoever has
//! something to say leaves it in a short queue; when that is full because stderr is not read, the line is
//! dropped: a log must not make anything wait.

use std::{
    collections::VecDeque,
    fmt::Display,
    io::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

/// Lines that may wait. A person reads them; more than these in one go are of no use.
const MAX_WAITING: usize = 64;

/// What every line of the sidecar's own starts with.
pub const PROGRAM: &str = "telemetry-sidecar";

/// Says on stderr why the sidecar fails, in one line whatever was typed, and whatever files are called.
pub fn tell(what: impl Display) {
    // If stderr is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "{PROGRAM}: {}", one_line(what));
}

/// A text with its control characters made visible.
fn one_line(text: impl Display) -> String {
    let text = text.to_string();
    if !text.contains(char::is_control) {
        return text;
    }
    let visible = |char: char| {
        if char.is_control() { char.escape_default().to_string() } else { char.to_string() }
    };
    text.chars().map(visible).collect()
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verbosity {
    /// Nothing.
    #[default]
    Silent,
    /// What an operator wants to know once: `-v`.
    Info,
    /// Every coming and going: `-vv`.
    Debug,
}

impl Verbosity {
    /// The verbosity of so many `-v`.
    pub fn from_count(count: u8) -> Self {
        match count {
            0 => Self::Silent,
            1 => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// A handle to the log; clones are the same log.
#[derive(Clone)]
pub struct Log {
    verbosity: Verbosity,
    waiting: Arc<Mutex<VecDeque<String>>>,
    notify: Arc<dyn Fn() + Send + Sync>,
}

impl Log {
    /// A log that calls `notify` when a line waits to be printed.
    pub fn new(verbosity: Verbosity, notify: impl Fn() + Send + Sync + 'static) -> Self {
        Self { verbosity, waiting: Arc::default(), notify: Arc::new(notify) }
    }

    /// Says what an operator wants to know once.
    pub fn info(&self, message: impl Display) {
        self.say(Verbosity::Info, message);
    }

    /// Says what somebody who is looking for a fault wants to know.
    pub fn debug(&self, message: impl Display) {
        self.say(Verbosity::Debug, message);
    }

    fn say(&self, verbosity: Verbosity, message: impl Display) {
        if self.verbosity < verbosity {
            return;
        }
        // Not under the lock: a message that panics is told of here, too.
        let line = format!("{PROGRAM}: {}\n", one_line(message));
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_WAITING {
            waiting.push_back(line);
            drop(waiting);
            (self.notify)();
        }
    }

    /// The lines that wait, for the thread that prints them.
    pub fn take(&self) -> Vec<String> {
        if self.verbosity == Verbosity::Silent {
            return Vec::new();
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}
