use super::*;
use crate::{
    control::Controls,
    event::{frame, proto::bridge::TelemetryEvent},
    hub::{Hub, Limits, WhenFull},
    worker::{Usage, end::Reason},
};
use prost::Message as _;
use std::task::{Context, Poll, Waker};

const LIMITS: Limits = Limits { events: 16, bytes: 1 << 20, when_full: WhenFull::DropNewest };

/// The events of a worker that printed this and ended so.
fn events(is_snakepit: bool, end: End, printed: &str) -> Vec<TelemetryEvent> {
    let hub = Hub::new(Controls::default(), LIMITS);
    let subscription = hub.subscribe("test");
    let worker = Arc::new(WorkerState::new("/bin/x".as_ref()));
    let settings = Settings { has_output: true, is_snakepit };
    let observer = Observer::new(Arc::clone(&hub), Vec::new());
    let lifecycle = Lifecycle::new(settings, Arc::clone(&worker), observer);
    // Without an end there is nothing to say about it.
    lifecycle.publish_end(None);
    worker.starting();
    worker.started(77);
    lifecycle.publish_start();
    worker.ended(end);
    let mut output = LastBytes::new(100);
    output.add([printed.as_bytes()].into_iter());
    lifecycle.publish_end(Some(output));
    let mut context = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    while let Poll::Ready(Some(chunk)) = subscription.poll_chunk(&mut context) {
        events.extend(
            frame::messages(chunk.frames.into_bytes())
                .map(|message| TelemetryEvent::decode(message).unwrap()),
        );
    }
    events
}

fn ended(exit: Exit) -> End {
    let usage =
        Usage { user: Duration::from_millis(30), system: Duration::from_micros(5), max_rss_bytes: 1 << 20 };
    End::new(exit, usage)
}

fn names(events: &[TelemetryEvent]) -> Vec<String> {
    events.iter().map(|event| event.event_parts.join(".")).collect()
}

#[test]
fn the_end_has_what_is_known() {
    let end = End { reason: Reason::OutOfMemory, oom_kills: Some(2), ..ended(Exit::Signal(9)) };
    let events = events(false, end, "last\nwords\n");
    assert_eq!(names(&events), ["worker.started", "worker.exited"]);
    let TelemetryEvent { measurements, metadata, .. } = &events[1];
    let number = |key: &str| match measurements.get(key)?.value {
        Some(Value::IntValue(number)) => Some(number),
        _ => None,
    };
    assert_eq!(["signal", "exit_code", "cpu"].map(number), [Some(9), None, Some(30_005_000)]);
    assert_eq!(["max_rss_bytes", "oom_kills"].map(number), [Some(1 << 20), Some(2)]);
    assert!(number("duration") >= Some(0) && measurements.len() == 5, "{measurements:?}");
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let expected =
        [("output", "last\nwords"), ("program", "x"), ("reason", "out of memory"), ("worker_pid", "77")];
    assert_eq!(metadata, expected);
}

#[test]
fn snakepit_gets_a_failure_in_its_own_words() {
    let error = |exit, reason| {
        let mut events = events(true, End { reason, ..ended(exit) }, "words");
        assert_eq!(names(&events)[..2], ["worker.started", "worker.exited"]);
        let error = events.split_off(2).pop()?;
        assert_eq!(error.event_parts, ["python", "error", "occurred"]);
        assert_eq!(error.measurements.len(), 1);
        assert_eq!(error.measurements["count"].value, Some(Value::IntValue(1)));
        assert_eq!((&*error.metadata["output"], &*error.metadata["worker_pid"]), ("words", "77"));
        let text = ["error_type", "error_message", "exit_code"];
        Some(text.map(|key| error.metadata.get(key).cloned().unwrap_or_default()).join(", "))
    };
    let expected = Some("3, the worker exited with 3, 3".to_owned());
    assert_eq!(error(Exit::Code(3), Reason::Exit), expected);
    let expected = Some("SIGKILL, the worker was killed by SIGKILL (out of memory), ".to_owned());
    assert_eq!(error(Exit::Signal(9), Reason::OutOfMemory), expected);
    for end in [Exit::Code(0), Exit::Code(143), Exit::Signal(15)] {
        assert_eq!(error(end, Reason::Exit), None, "{end:?}");
    }
}
