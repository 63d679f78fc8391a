//! How events are printed: as JSON lines or, on a terminal, as one line for people, with the worker's name in
//! front if there are several.

use super::output::Output;
use crate::{
    event::{json, proto::bridge::TelemetryEvent, view::View},
    system::{
        log::error_line,
        visible::{escape_in_json, one_line},
    },
    terminal::{event_line::EventLines, screen::Screen},
};
use ratatui::{
    style::{Color, Style},
    text::Span,
};
use std::{
    fmt::Display,
    io::{self, IsTerminal as _},
    sync::{Mutex, PoisonError},
};
use unicode_width::UnicodeWidthStr as _;

/// The colours of names. Red is for errors.
const COLOURS: [Color; 6] =
    [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta, Color::Blue, Color::LightCyan];

/// Prints events of several sources.
pub struct Printer {
    output: Output,
    /// None for JSON lines.
    lines: Option<EventLines>,
    screen: Screen,
    sources: Mutex<Sources>,
}

/// All sources that there were.
#[derive(Debug, Default, Clone, Copy)]
struct Sources {
    count: usize,
    /// The width of the longest label.
    width: usize,
}

/// Where events come from.
#[derive(Debug)]
pub struct Source {
    label: String,
    style: Style,
}

impl Printer {
    /// A printer of lines for people if standard output is a terminal, unless JSON is asked for.
    pub fn new(output: Output, json: bool) -> Self {
        let screen = Screen::of(io::stdout());
        let for_people = !json && io::stdout().is_terminal();
        let lines = for_people.then(|| EventLines::new(screen.charset));
        Self { output, lines, screen, sources: Mutex::default() }
    }

    /// Adds a source. From the second one on lines have labels.
    pub fn add(&self, label: &str) -> Source {
        let label = self.lines.as_ref().map_or_else(|| one_line(label), |lines| lines.escaped(label));
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.width = sources.width.max(label.width());
        let colour = COLOURS.get(sources.count % COLOURS.len()).copied().unwrap_or_default();
        sources.count += 1;
        Source { label, style: Style::new().fg(colour) }
    }

    /// Whether there are or were several sources.
    pub fn has_several(&self) -> bool {
        self.sources().count > 1
    }

    fn sources(&self) -> Sources {
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints an event when there is room. It is certain to be written only after a [flush](Self::flush).
    pub async fn print(&self, source: &Source, event: &TelemetryEvent, buffer: &mut Vec<u8>) {
        self.output.room().await;
        buffer.clear();
        match &self.lines {
            None => {
                json::write(buffer, &View::from(event), Some(event.timestamp_ns));
                escape_in_json(buffer);
            }
            Some(lines) => {
                let mut line = lines.line(event);
                let Sources { count, width } = self.sources();
                if count > 1 {
                    let padding = " ".repeat(width.saturating_sub(source.label.width()));
                    let prefix = Span::styled(format!("{}{padding} | ", source.label), source.style);
                    line.spans.insert(0, prefix);
                }
                buffer.extend_from_slice(self.screen.text(&[line]).as_bytes());
            }
        }
        self.output.push(buffer);
    }

    /// Has everything written.
    pub fn flush(&self) {
        self.output.flush();
    }

    /// Reports an error, which names the address itself.
    pub async fn report_error(&self, source: &Source, error: &impl Display) {
        let message = error.to_string();
        if message.starts_with(&source.label) {
            self.output.written().await;
            error_line(message);
        } else {
            self.report(source, message).await;
        }
    }

    /// Reports something about a source on stderr, behind what was printed.
    pub async fn report(&self, source: &Source, message: impl Display) {
        self.output.written().await;
        if self.has_several() {
            error_line(format_args!("{}: {message}", source.label));
        } else {
            error_line(message);
        }
    }
}
