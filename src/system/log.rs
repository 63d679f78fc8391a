//! The sidecar's own log: `tracing` events of this crate, as lines on the stderr that it shares with the
//! worker.
//!
//! Only the thread that writes stderr prints them, between the worker's lines and never within one. Every
//! other thread leaves its line in a short queue. If that is full because stderr is not read, the line is
//! dropped: logging never waits.
//!
//! Without `-v` there is no subscriber, and an event costs a comparison. Events of other crates are never
//! enabled, and `RUST_LOG` is not read.

pub(crate) use super::rate_limit::limited;
use super::visible::{escape_in_json, one_line};
use std::{
    collections::VecDeque,
    fmt::Display,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tracing::{Dispatch, Event, Subscriber, dispatcher, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::Targets,
    fmt::{self, FmtContext, FormatEvent, FormatFields, MakeWriter, format},
    layer::SubscriberExt as _,
    registry::{self, LookupSpan},
};

/// Lines that may wait. Those who read them by eye have no use for more at once.
const MAX_WAITING: usize = 64;

/// How often a thread that waits prints the lines that have come meanwhile.
pub const PRINT_INTERVAL: Duration = Duration::from_millis(100);

/// What every line of the sidecar's own starts with.
pub const PROGRAM: &str = "telemetry-sidecar";

/// A message as one line with its newline, whatever was typed and whatever files are called.
pub fn line(message: impl Display) -> String {
    format!("{PROGRAM}: {}\n", one_line(&message.to_string()))
}

/// Prints an error in one line on stderr.
pub fn error_line(error: impl Display) {
    // If stderr is closed there is nowhere to report that.
    let _ = io::stderr().write_all(line(error).as_bytes());
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// The least important level that is logged; `OFF` is the default.
    pub level: Level,
    /// How a line looks.
    pub format: Format,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Nothing.
    #[default]
    Off,
    /// What an operator wants to see once: `-v`.
    Info,
    /// Every connection and every failed attempt: `-vv`.
    Debug,
}

impl Level {
    /// The level for this number of `-v`.
    pub fn from_count(count: u8) -> Self {
        match count {
            0 => Self::Off,
            1 => Self::Info,
            _ => Self::Debug,
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

/// How a line of the log looks. The comments are the values' help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// `telemetry-sidecar: MESSAGE`, and fields as `name=value`
    #[default]
    Text,
    /// A JSON object with timestamp, level, message, fields and target
    Json,
}

/// Lines that wait to be printed; clones are the same queue. The default never holds any.
#[derive(Clone, Default)]
pub struct Lines(Option<Arc<Queue>>);

impl Lines {
    /// Whether anything is logged.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Takes the lines that wait, for the thread that prints them.
    pub fn take(&self) -> Vec<String> {
        let Some(queue) = &self.0 else { return Vec::new() };
        queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

struct Queue {
    waiting: Mutex<VecDeque<String>>,
    notify: Box<dyn Fn() + Send + Sync>,
}

/// Takes a whole line at each call, as `tracing_subscriber` writes them.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_WAITING {
            let mut line = line.to_vec();
            // A line of text has none of these characters any more.
            escape_in_json(&mut line);
            waiting.push_back(String::from_utf8_lossy(&line).into_owned());
            drop(waiting);
            (self.notify)();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging for the whole process, unless it is off. `notify` is called when a line waits to be
/// printed.
pub fn start(settings: Settings, notify: impl Fn() + Send + Sync + 'static) -> Lines {
    if settings.level == Level::Off {
        return Lines::default();
    }
    let queue = Arc::new(Queue { waiting: Mutex::default(), notify: Box::new(notify) });
    // It fails only if there is a subscriber already; then that one has the events.
    let _ = dispatcher::set_global_default(subscriber(settings, Arc::clone(&queue)));
    Lines(Some(queue))
}

fn subscriber<W>(settings: Settings, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let targets = Targets::new().with_target(env!("CARGO_CRATE_NAME"), settings.level.filter());
    let registry = registry::Registry::default().with(targets);
    // Nothing but the printing thread may write to stderr, not even a subscriber that fails.
    let lines = fmt::layer().with_writer(writer).with_ansi(false).log_internal_errors(false);
    match settings.format {
        Format::Text => Dispatch::new(registry.with(lines.event_format(TextLine).fmt_fields(text_fields()))),
        Format::Json => {
            Dispatch::new(registry.with(lines.json().flatten_event(true).with_current_span(false)))
        }
    }
}

/// The message, and then fields as ` name=value`.
fn text_fields() -> impl for<'a> FormatFields<'a> {
    format::debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{value:?}"),
        name => write!(writer, " {name}={value:?}"),
    })
}

struct TextLine;

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut text = String::new();
        context.format_fields(format::Writer::new(&mut text), event)?;
        writer.write_str(&line(text))
    }
}

/// What unit tests log, each thread for itself.
#[cfg(test)]
pub(crate) mod capture {
    use super::{Dispatch, Format, Level, Settings, Write, dispatcher, io, subscriber};
    use std::{cell::RefCell, sync::Once};

    thread_local! {
        static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    struct ThisThread;

    impl Write for ThisThread {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            LINES.with_borrow_mut(|lines| lines.push(String::from_utf8_lossy(line).into_owned()));
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes the lines that this thread has logged since the last call; the first call starts that.
    ///
    /// One subscriber serves all tests: with one for each, a test without any could switch off a call site
    /// for the others.
    pub(crate) fn take() -> Vec<String> {
        static START: Once = Once::new();
        START.call_once(|| {
            let settings = Settings { level: Level::Debug, format: Format::Text };
            let dispatch: Dispatch = subscriber(settings, || ThisThread);
            dispatcher::set_global_default(dispatch).unwrap();
        });
        LINES.take()
    }
}

#[cfg(test)]
mod tests;
