use super::*;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
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
        debug!(peer = %"a\nb", count = 2, absent = None::<u64>, "two\x1b[31m: {}", "\u{85}ü\u{202e}");
    });
    let expected = [
        "telemetry-sidecar: one\n",
        "telemetry-sidecar: two\\u{1b}[31m: \\u{85}ü\\u{202e} peer=a\\nb count=2\n",
    ];
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
fn json_lines_escape_what_a_terminal_obeys() {
    let (lines, _) = logged(Level::Info, Format::Json, || info!(name = %"a\u{9b}31m\u{202e}", "one\x7f"));
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(line.contains(r"a\u009b31m\u202e") && line.contains(r"one\u007f"), "{line:?}");
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
