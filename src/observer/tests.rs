use super::*;
use crate::{
    control::Controls,
    event::frame,
    hub::{Limits, WhenFull},
};
use prost::Message as _;
use std::task::{Context, Poll, Waker};

const LIMITS: Limits = Limits { events: 16, bytes: 1 << 20, when_full: WhenFull::DropNewest };

#[test]
fn observations_are_events_of_a_source_of_their_own() {
    let hub = Hub::new(Controls::default(), LIMITS);
    let subscription = hub.subscribe("test");
    let given = [("pool", "a"), ("reason", "given"), ("pool", "b")];
    let given = given.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let observer = Observer::new(Arc::clone(&hub), given);
    observer.publish([
        Observation::new("worker.started"),
        Observation::new("worker.exited")
            .measured("exit_code", Value::IntValue(3))
            .described("reason", "exit"),
    ]);
    observer.clone().publish([Observation::new("worker.started")]);

    let sources = hub.snapshot().sources;
    assert_eq!((sources.observed, sources.events(), sources.balances()), (Some(3), 3, true));
    let mut context = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    while let Poll::Ready(Some(chunk)) = subscription.poll_chunk(&mut context) {
        events.extend(
            frame::messages(chunk.frames.into_bytes())
                .map(|message| TelemetryEvent::decode(message).unwrap()),
        );
    }
    let names: Vec<_> = events.iter().map(|event| event.event_parts.join(".")).collect();
    assert_eq!(names, ["worker.started", "worker.exited", "worker.started"]);
    let exited = &events[1];
    assert_eq!(exited.measurements["exit_code"].value, Some(Value::IntValue(3)));
    let metadata: Vec<_> =
        exited.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(metadata, [("pool", "b"), ("reason", "exit")]);
    assert!(exited.timestamp_ns > 0);
}
