//! The sidecar's own log: `tracing` events of this crate, as lines on the stderr that it shares with the worker.
//!
//! Only the thread that writes stderr prints them, between the worker's lines and never within one. Every other
//! thread leaves its line in a short queue. If that is full because nobody reads stderr, the line is dropped:
//! logging never waits.
//!
//! Without `-v` there is no subscriber, and an event costs a comparison. Events of other crates are never enabled,
//! and `RUST_LOG` is not read.

use std::{
    collections::VecDeque,
    fmt::Display,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
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

/// What every line of the sidecar's own starts with.
pub const PROGRAM: &str = "telemetry-sidecar";

/// Prints an error in one line on stderr, whatever was typed and whatever files are called.
pub fn error_line(error: impl Display) {
    // If stderr is closed there is nowhere to report that.
    let _ = writeln!(io::stderr(), "{PROGRAM}: {}", one_line(&error.to_string()));
}

/// A text with its control characters made visible.
fn one_line(text: &str) -> String {
    let visible = |char: char| {
        if char.is_control() { char.escape_default().to_string() } else { char.to_string() }
    };
    text.chars().map(visible).collect()
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
            waiting.push_back(String::from_utf8_lossy(line).into_owned());
            drop(waiting);
            (self.notify)();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging for the whole process, unless it is off. `notify` is called when a line waits to be printed.
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
        writeln!(writer, "{PROGRAM}: {}", one_line(&text))
    }
}

/// A limit for the messages of one call site that peers and servers can cause again and again.
#[derive(Debug)]
pub struct RateLimit {
    max_lines: u32,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    start: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl RateLimit {
    /// How long a window is.
    const WINDOW: Duration = Duration::from_secs(10);
    /// Lines in a window at level INFO: for operators, who need to see that something fails, not each time.
    pub const INFO: u32 = 1;
    /// Lines in a window at level DEBUG: for those who look at single connections.
    pub const DEBUG: u32 = 10;

    /// A limit of so many lines in ten seconds.
    pub const fn new(max_lines: u32) -> Self {
        let window = Window { start: None, lines: 0, suppressed: 0 };
        Self { max_lines, window: Mutex::new(window) }
    }

    /// Whether a line may be logged now; if so, how many were suppressed since the last one.
    pub fn permit(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.start.is_none_or(|start| now.saturating_duration_since(start) >= Self::WINDOW) {
            window.start = Some(now);
            window.lines = 0;
        }
        if window.lines == self.max_lines {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

/// `limited!(INFO, "message")`: an event at this level, within the [`RateLimit`] of the call site. If events were
/// suppressed, the next one says how many.
macro_rules! limited {
    ($level:ident, $($event:tt)+) => {
        if tracing::enabled!(tracing::Level::$level) {
            use $crate::system::log::RateLimit;
            static LIMIT: RateLimit = RateLimit::new(RateLimit::$level);
            if let Some(suppressed) = LIMIT.permit(std::time::Instant::now()) {
                let suppressed = (suppressed > 0).then_some(suppressed);
                tracing::event!(tracing::Level::$level, suppressed, $($event)+);
            }
        }
    };
}
pub(crate) use limited;

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
    /// One subscriber serves all tests: with one for each, a test without any could switch off a call site for the
    /// others.
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
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tracing::{debug, info};

    /// What is logged in `log`, and how often the printing thread was notified.
    fn logged(level: Level, format: Format, log: impl FnOnce()) -> (Vec<String>, u32) {
        let notified = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&notified);
        let notify = Box::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let queue = Arc::new(Queue { waiting: Mutex::default(), notify });
        let subscriber = subscriber(Settings { level, format }, Arc::clone(&queue));
        dispatcher::with_default(&subscriber, log);
        (Lines(Some(queue)).take(), notified.load(Ordering::Relaxed))
    }

    #[test]
    fn text_lines_have_the_message_and_its_fields_and_no_control_characters() {
        let (lines, notified) = logged(Level::Debug, Format::Text, || {
            info!("one");
            debug!(peer = %"a\nb", count = 2, absent = None::<u64>, "two\x1b[31m: {}", "\u{85}ü");
        });
        let expected =
            ["telemetry-sidecar: one\n", "telemetry-sidecar: two\\u{1b}[31m: \\u{85}ü peer=a\\nb count=2\n"];
        assert_eq!(lines, expected);
        assert_eq!(notified, 2);
    }

    #[test]
    fn json_lines_are_objects_with_timestamp_level_target_message_and_fields() {
        let (lines, _) = logged(Level::Info, Format::Json, || info!(peer = %"a\"b", count = 2, "one\n{}", 1));
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(line.find('\n'), Some(line.len() - 1), "{line:?}");
        let mut object: serde_json::Map<_, _> = serde_json::from_str(line).unwrap();
        let timestamp = object.remove("timestamp").unwrap();
        let timestamp = timestamp.as_str().unwrap();
        assert!(timestamp.ends_with('Z'), "{timestamp}");
        let at = humantime::parse_rfc3339(timestamp).unwrap();
        assert!(at.elapsed().unwrap() < Duration::from_secs(3600), "{timestamp}");
        let expected = serde_json::json!({
            "level": "INFO", "target": module_path!(), "message": "one\n1", "peer": "a\"b", "count": 2,
        });
        assert_eq!(serde_json::Value::from(object), expected);
    }

    #[test]
    fn other_crates_and_less_important_levels_are_not_logged() {
        let log = || {
            info!(target: "h2", "other");
            debug!("debug");
            info!(target: "telemetry_sidecar::else", "info");
        };
        let names = |lines: Vec<String>| -> Vec<String> {
            lines.iter().map(|line| line.trim_start_matches("telemetry-sidecar: ").trim().into()).collect()
        };
        assert_eq!(names(logged(Level::Info, Format::Text, log).0), ["info"]);
        assert_eq!(names(logged(Level::Debug, Format::Text, log).0), ["debug", "info"]);
    }

    #[test]
    fn a_full_queue_drops_the_newest_lines() {
        let (lines, notified) = logged(Level::Info, Format::Text, || {
            for count in 0..=MAX_WAITING {
                info!("{count}");
            }
        });
        assert_eq!((lines.len(), notified as usize), (MAX_WAITING, MAX_WAITING));
        assert_eq!(lines[MAX_WAITING - 1], format!("telemetry-sidecar: {}\n", MAX_WAITING - 1));
    }

    #[test]
    fn logging_that_is_off_has_no_subscriber() {
        assert!(start(Settings::default(), || {}).0.is_none());
    }

    #[test]
    fn a_rate_limit_counts_what_it_suppresses_until_the_next_window() {
        let limit = RateLimit::new(2);
        let start = Instant::now();
        let permit = |seconds| limit.permit(start + Duration::from_secs(seconds));
        assert_eq!([permit(0), permit(9), permit(9), permit(9)], [Some(0), Some(0), None, None]);
        assert_eq!([permit(10), permit(19), permit(19)], [Some(2), Some(0), None]);
        assert_eq!(permit(100), Some(1));
        // A time that another thread took before is no error.
        assert_eq!(permit(99), Some(0));
    }

    #[test]
    fn a_limited_event_is_logged_once_in_a_window() {
        let (lines, _) = logged(Level::Info, Format::Text, || {
            for number in 0..3 {
                limited!(INFO, number, "event");
            }
        });
        assert_eq!(lines, ["telemetry-sidecar: event number=0\n"]);
    }
}
