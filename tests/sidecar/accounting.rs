//! The counters add up: thousands of events go to subscribers that toggle, filter, sample, stall, unsubscribe
//! and subscribe again. Every equation is checked through GetStatus throughout, and every count against a
//! model.

use crate::support::{Sidecar, StatusClient, Subscriber, fixture, line, wait_for};
use std::collections::HashMap;
use telemetry_sidecar::event::proto::{
    bridge::{TelemetryEventFilter, TelemetrySamplingUpdate, TelemetryToggle, telemetry_control::Control},
    sidecar::{Consumer, GetStatusResponse},
};
use xxhash_rust::xxh3::xxh3_64;

const NAMES: [&str; 3] = ["tool.execution.start", "tool.execution.stop", "python.call.start"];

/// The expected counts of a subscriber: events offered, and those excluded before its queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Expected {
    offered: u64,
    switched_off: u64,
    filtered: u64,
    sampled_out: u64,
    kept: u64,
    controls: u64,
}

/// The model's controls, simpler than the real ones.
#[derive(Debug, Clone)]
struct Model {
    enabled: bool,
    only: Option<&'static str>,
    rate: f64,
    expected: Expected,
}

impl Model {
    fn new() -> Self {
        Self { enabled: true, only: None, rate: 1.0, expected: Expected::default() }
    }

    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn offer(&mut self, name: &str, correlation_id: &str) {
        let position = (xxh3_64(correlation_id.as_bytes()) >> 11) as f64 * 0.5f64.powi(53);
        self.expected.offered += 1;
        let outcome = if !self.enabled {
            &mut self.expected.switched_off
        } else if self.only.is_some_and(|only| only != name) {
            &mut self.expected.filtered
        } else if position >= self.rate {
            &mut self.expected.sampled_out
        } else {
            &mut self.expected.kept
        };
        *outcome += 1;
    }
}

/// The worker's side of the test: what it has written so far.
struct Play {
    sidecar: Sidecar,
    status: StatusClient,
    written: u64,
    /// Connected subscribers by id.
    models: HashMap<u64, Model>,
}

impl Play {
    async fn new(options: &[&str]) -> Self {
        let sidecar = Sidecar::wrap_echo(options);
        let status = StatusClient::new(sidecar.channel().await);
        Self { sidecar, status, written: 0, models: HashMap::new() }
    }

    /// Writes events and waits until they are counted.
    async fn events(&mut self, count: usize) -> GetStatusResponse {
        for _ in 0..count {
            let name = NAMES[usize::try_from(self.written).unwrap() % NAMES.len()];
            // Long events, so that a client that does not read cannot buffer them in its windows (2 MiB for
            // tonic).
            let correlation_id = format!("trace-{}-{:0>1000}", self.written / 2, "");
            self.sidecar.write(line(name, usize::try_from(self.written).unwrap(), &correlation_id));
            self.written += 1;
            for model in self.models.values_mut() {
                model.offer(name, &correlation_id);
            }
        }
        let written = self.written;
        let read = |status: &GetStatusResponse| status.stream.unwrap().events == written;
        wait_for("all events to be read", async || self.status.get().await, read).await
    }

    /// Subscribes; a waiting backlog is replayed.
    async fn subscribe(&mut self) -> (u64, Subscriber) {
        let waiting = self.status.get().await.backlog.unwrap().waiting;
        let subscriber = self.sidecar.subscribe().await;
        let id = self.status.get().await.subscribers.iter().map(|subscriber| subscriber.id).max().unwrap();
        let mut model = Model::new();
        model.expected.offered = waiting;
        model.expected.kept = waiting;
        self.models.insert(id, model);
        (id, subscriber)
    }

    /// Sends a control and waits until it is applied.
    async fn control(&mut self, id: u64, subscriber: &Subscriber, control: Control) {
        let model = self.models.get_mut(&id).unwrap();
        match &control {
            Control::Toggle(toggle) => model.enabled = toggle.enabled,
            Control::Sampling(sampling) => model.rate = sampling.sampling_rate,
            Control::Filter(filter) => {
                let known = |glob: &String| NAMES.into_iter().find(|name| name == glob);
                model.only = filter.allow.first().and_then(known);
            }
        }
        model.expected.controls += 1;
        let applied = model.expected.controls;
        subscriber.control(control).await;
        let is_applied = |status: &GetStatusResponse| find(status, id).controls_applied == applied;
        wait_for("a control to be applied", async || self.status.get().await, is_applied).await;
    }

    /// Ends a subscription and waits until its counters have moved to those of disconnected subscribers.
    async fn leave(&mut self, id: u64, subscriber: Subscriber) -> Expected {
        drop(subscriber);
        let gone = |status: &GetStatusResponse| status.subscribers.iter().all(|present| present.id != id);
        wait_for("a subscriber to leave", async || self.status.get().await, gone).await;
        self.models.remove(&id).unwrap().expected
    }

    /// Compares the counters of all connected subscribers with the model.
    #[track_caller]
    fn check(&self, status: &GetStatusResponse) {
        assert_eq!(status.subscribers.len(), self.models.len());
        for subscriber in &status.subscribers {
            let expected = &self.models[&subscriber.id].expected;
            let got = Expected {
                offered: subscriber.offered,
                switched_off: subscriber.switched_off,
                filtered: subscriber.filtered,
                sampled_out: subscriber.sampled_out,
                kept: subscriber.delivered + subscriber.dropped + subscriber.queued,
                controls: subscriber.controls_applied,
            };
            assert_eq!(&got, expected, "subscriber {}: {status:#?}", subscriber.id);
        }
    }
}

fn find(status: &GetStatusResponse, id: u64) -> &Consumer {
    status.subscribers.iter().find(|subscriber| subscriber.id == id).unwrap()
}

fn toggle(enabled: bool) -> Control {
    Control::Toggle(TelemetryToggle { enabled })
}

fn sampling(sampling_rate: f64) -> Control {
    Control::Sampling(TelemetrySamplingUpdate { sampling_rate, event_patterns: vec![] })
}

fn only(name: &str) -> Control {
    Control::Filter(TelemetryEventFilter { allow: vec![name.to_owned()], deny: vec![] })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counters_always_add_up() {
    let options = ["--queue-capacity", "500", "--queue-bytes", "1000000", "--drain-timeout", "30s"];
    let mut play = Play::new(&options).await;

    // Without subscribers the backlog keeps 500 events and drops the rest.
    let status = play.events(700).await;
    let backlog = status.backlog.unwrap();
    assert_eq!((backlog.taken_in, backlog.waiting, backlog.dropped), (700, 500, 200));

    // Five subscribers: one reads everything, one toggles, one filters, one samples, and one never reads.
    let (_, mut reader) = play.subscribe().await;
    let (toggler_id, mut toggler) = play.subscribe().await;
    let (filterer_id, mut filterer) = play.subscribe().await;
    let (sampler_id, mut sampler) = play.subscribe().await;
    let (staller_id, staller) = play.subscribe().await;
    let status = play.events(50).await;
    play.check(&status);

    play.control(toggler_id, &toggler, toggle(false)).await;
    play.control(filterer_id, &filterer, only("tool.execution.stop")).await;
    play.control(sampler_id, &sampler, sampling(0.5)).await;
    let status = play.events(90).await;
    play.check(&status);

    play.control(toggler_id, &toggler, toggle(true)).await;
    play.control(sampler_id, &sampler, sampling(0.1)).await;
    let readers = async {
        let rest = (reader.rest(), toggler.rest(), filterer.rest(), sampler.rest());
        tokio::join!(rest.0, rest.1, rest.2, rest.3)
    };
    let play_on = async {
        // Far more events than fit in the stalled subscriber's queue and windows.
        for _ in 0..10 {
            let status = play.events(500).await;
            play.check(&status);
        }
        let status = play.events(1).await;
        let stalled = find(&status, staller_id).clone();
        assert!(stalled.dropped > 0, "{stalled:#?}");
        // A full queue, and what HTTP/2 has taken but cannot write: two chunks of 32 KiB at most.
        assert!((500..=564).contains(&stalled.queued), "{stalled:#?}");

        // The stalled subscriber disconnects: its queued events are abandoned. Another one connects for a
        // while.
        let left = play.leave(staller_id, staller).await;
        let status = play.status.get().await;
        let departed = status.departed.clone().unwrap();
        let expected = (1, stalled.queued, left.offered);
        assert_eq!((status.departed_count, departed.abandoned, departed.offered), expected);
        let (visitor_id, mut visitor) = play.subscribe().await;
        let status = play.events(20).await;
        play.check(&status);
        for _ in 0..20 {
            visitor.next().await;
        }
        let visit = play.leave(visitor_id, visitor).await;
        assert_eq!((visit.offered, visit.kept), (20, 20));
        let status = play.events(100).await;
        play.check(&status);

        let last = play.status.get().await;
        play.sidecar.close_stdin();
        (last, play)
    };
    let ((all, toggled, filtered, sampled), (last, play)) = tokio::join!(readers, play_on);

    // The clients have received the events that the counters show as kept, except those shown as dropped.
    for (id, got) in [(1, all), (toggler_id, toggled), (filterer_id, filtered), (sampler_id, sampled)] {
        let kept = play.models[&id].expected.kept;
        let account = find(&last, id);
        assert_eq!(got.len() as u64, kept - account.dropped, "subscriber {id}: {account:#?}");
        assert!(got.is_sorted_by_key(|event| event.timestamp_ns), "subscriber {id}: out of order");
    }
    play.sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_oldest_keeps_the_newest() {
    let mut play = Play::new(&["--queue-capacity", "10", "--when-full", "drop-oldest"]).await;
    let backlog = play.events(25).await.backlog.unwrap();
    assert_eq!((backlog.taken_in, backlog.waiting, backlog.dropped), (25, 10, 15));
    let (_, mut subscriber) = play.subscribe().await;
    for expected in 15..25 {
        assert_eq!(subscriber.next().await.timestamp_ns, expected);
    }
    drop(subscriber);
    play.sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_bounded_in_events_and_bytes_and_accepts_one_event_of_any_size() {
    let mut play = Play::new(&["--queue-bytes", "1000"]).await;
    let padding = "x".repeat(5000);
    // The backlog drops the oldest.
    play.sidecar.write(line("b", 2, "c"));
    play.sidecar.write(line("a", 1, &padding));
    play.sidecar.write("end\n");
    play.sidecar.wait_for_stderr("end\n");
    let status = play.status.get().await;
    let backlog = status.backlog.unwrap();
    assert_eq!((backlog.taken_in, backlog.waiting, backlog.dropped), (2, 1, 1));
    let mut subscriber = play.sidecar.subscribe().await;
    assert_eq!(subscriber.next().await.correlation_id, padding);
    drop(subscriber);
    play.sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounting_at_exit_has_a_line_for_each_topic() {
    let sidecar = Sidecar::wrap_command(&["-v"], &["sh", fixture("workers/hello.sh").to_str().unwrap()]);
    let finished = sidecar.finish();
    let stderr = finished.expect_code(0).stderr();
    let expected = [
        "telemetry-sidecar: worker: exited with 0",
        "telemetry-sidecar: telemetry lines: 5 = 5 decoded",
        "telemetry-sidecar: events: 5 = 5 decoded",
        "telemetry-sidecar: backlog: 5 accepted = 5 waiting",
    ];
    let lines: Vec<_> = stderr.lines().collect();
    assert!(expected.iter().all(|line| lines.contains(line)), "{stderr}");
    assert!(stderr.contains("telemetry-sidecar: worker usage: "), "{stderr}");
    assert!(lines.last() == expected.last() && !stderr.contains("malformed"), "{stderr}");

    let event = r#"TELEMETRY:{"event": "a"}\n"#;
    let lines = format!(r#"TELEMETRY:{{\nTELEMETRY:{{"a": 1}}\n{event}x {event}x TELEMETRY:{{\n"#);
    let words = ["sh", "-c", "printf \"$0\" >&2", &lines];
    let finished = Sidecar::wrap_command(&["-v"], &words).finish();
    let stderr = finished.expect_code(0).stderr();
    for expected in [
        "malformed lines: 1 not JSON, 1 without \"event\"\n",
        "telemetry lines: 3 = 1 decoded + 2 malformed\n",
        "in mid-line: 2 markers = 1 decoded + 1 malformed\n",
        "events: 2 = 1 decoded + 1 in mid-line\n",
    ] {
        assert!(stderr.contains(&format!("telemetry-sidecar: {expected}")), "{stderr}");
    }
}
