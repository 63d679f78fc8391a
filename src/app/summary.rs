//! The summary at the end: whether it is printed, and the file that it is written to.

use super::{
    ready_file::{Old, ReadyFile},
    session::Finished,
};
use crate::{
    exporter::summary::{
        Run, Settings, When,
        json::{self, is_summary},
        text,
    },
    system::option::Given,
    terminal::screen::Screen,
    worker::startup::was_closed,
};
use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    path::PathBuf,
};

/// The width of the tables where stderr is not a terminal.
const LOG_WIDTH: usize = 100;

/// The file, checked before anything else is started.
pub(super) fn prepare(file: &Given<PathBuf>) -> Result<ReadyFile, String> {
    let old = Old { what: "a summary", max_bytes: json::MAX_BYTES, is_one: is_summary };
    ReadyFile::prepare_for_later(file, old)
}

/// What to do at the end.
pub(super) struct Plan {
    when: When,
    file: Option<ReadyFile>,
    /// The worker's command line, or the recordings of a replay.
    words: Vec<OsString>,
}

impl Plan {
    /// What the options say, which depends on what stderr is. The words are the worker's command line, or the
    /// recordings of a replay.
    pub(super) fn new(
        settings: &Settings,
        file: Option<ReadyFile>,
        is_quiet: bool,
        words: Vec<OsString>,
    ) -> Self {
        let is_watched = !is_quiet && io::stderr().is_terminal() && !was_closed(2);
        let when = if settings.when == When::Auto && !is_watched { When::Never } else { settings.when };
        Self { when, file, words }
    }

    /// Whether there is anything to do.
    pub(super) fn is_needed(&self) -> bool {
        self.when != When::Never || self.file.is_some()
    }

    /// Writes the file, and returns the text to print, if it is to be printed, and the error, if there was
    /// one.
    pub(super) fn carry_out(self, program: Option<&str>, finished: &Finished) -> Printed {
        let words = &self.words;
        let Finished { losses, undelivered, report, digest, destinations, time, .. } = finished;
        let Some(digest) = digest else { return Printed::default() };
        let run = Run { program, words, time: *time, digest, report, destinations, losses, undelivered };
        let error = self.file.and_then(|file| file.write_text(&json::text(&run)).err());
        let sources = &report.hub.sources;
        // Those that the sidecar observed do not count: every worker has an end.
        let has_events = sources.events() > sources.observed.unwrap_or(0);
        let is_printed = self.when == When::Always || self.when == When::Auto && has_events;
        let text = is_printed.then(|| {
            let screen = Screen::of(io::stderr());
            // A person reads it in a log as well.
            let screen = Screen { width: screen.width.or(Some(LOG_WIDTH)), ..screen };
            screen.text(&text::lines(&run, &screen))
        });
        Printed { text, error }
    }
}

/// The printed part of a summary.
#[derive(Default)]
pub(super) struct Printed {
    /// Its lines.
    pub(super) text: Option<String>,
    /// Why its file could not be written.
    pub(super) error: Option<String>,
}
