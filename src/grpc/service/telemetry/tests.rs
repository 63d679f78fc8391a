//! When a subscription begins, with paused time.

use super::*;
use crate::{
    control::Controls,
    event::{
        batch::{BatchBuilder, Event},
        frame::Prefix,
        proto::bridge::{
            TelemetryControl, TelemetryEventFilter, TelemetryToggle, telemetry_control::Control,
        },
        stats::StreamStats,
    },
    hub::{Limits, WhenFull},
};
use bytes::Buf as _;
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message as _;
use std::time::Duration;
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;

/// A client's side of a stream.
type Client = mpsc::Sender<Result<Frame<Bytes>, Status>>;

struct Server {
    hub: Arc<Hub>,
    telemetry: Telemetry,
    shutdown: CancellationToken,
}

impl Server {
    /// A server whose backlog has these events.
    fn new(events: &[&str], drain: Drain) -> Self {
        let limits = Limits { events: 10, bytes: 1_000, when_full: WhenFull::DropNewest };
        let hub = Hub::new(Controls::default(), limits);
        let mut builder = BatchBuilder::default();
        for name in events.iter().map(|name| name.as_bytes()) {
            let event = Event { name, correlation_id: b"", timestamp_ns: 0, timestamp_given: true };
            assert!(builder.push(name, event));
        }
        hub.publish(builder.take(), &StreamStats::default());
        let shutdown = CancellationToken::new();
        let limits = ClientLimits::default();
        let telemetry = Telemetry::new(Arc::clone(&hub), &limits, shutdown.clone(), drain);
        Self { hub, telemetry, shutdown }
    }

    async fn open(&self) -> (Client, Response<ResponseBody>) {
        let (client, body) = mpsc::channel(10);
        let body = StreamBody::new(ReceiverStream::new(body));
        (client, self.telemetry.stream("", &Arc::default(), Request::new(body)).await)
    }

    fn begun(&self) -> usize {
        self.hub.snapshot().subscribers.len()
    }
}

fn frame(control: Option<Control>) -> Bytes {
    let message = TelemetryControl { control }.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap();
    [&Prefix { compressed: false, length }.to_bytes()[..], &message].concat().into()
}

fn toggle(enabled: bool) -> Bytes {
    frame(Some(Control::Toggle(TelemetryToggle { enabled })))
}

fn deny(name: &str) -> Bytes {
    let filter = TelemetryEventFilter { allow: Vec::new(), deny: vec![name.into()] };
    frame(Some(Control::Filter(filter)))
}

async fn send(client: &Client, data: Bytes) {
    client.send(Ok(Frame::data(data))).await.unwrap();
}

/// The names of one letter in the next frame.
async fn next(response: &mut Response<ResponseBody>) -> String {
    let frame = response.frame().await.unwrap().unwrap().into_data().unwrap();
    let frame = frame.chunk();
    frame.chunks(6).map(|frame| char::from(frame[5])).collect()
}

#[tokio::test(start_paused = true)]
async fn a_subscription_begins_with_a_control_a_half_close_or_after_100_ms() {
    let ms = Duration::from_millis;
    for (acts_after, control, begins_after) in [
        (ms(50), Some(frame(None)), ms(50)),
        (ms(50), Some(toggle(true)), ms(50)),
        (ms(50), Some(Bytes::from_static(&[1, 0, 0, 0, 0])), ms(50)),
        (ms(50), None, ms(50)),
        (ms(500), Some(toggle(true)), ms(100)),
        (ms(500), None, ms(100)),
    ] {
        let server = Server::new(&["a"], Drain::Complete);
        let start = Instant::now();
        let (client, mut response) = server.open().await;
        assert_eq!(server.begun(), 0);
        let acting = tokio::spawn(async move {
            sleep(acts_after).await;
            match control {
                Some(control) => send(&client, control).await,
                None => return,
            }
            std::future::pending::<()>().await;
        });
        assert_eq!(next(&mut response).await, "a");
        let took = start.elapsed();
        // The clock's ticks are milliseconds.
        assert!((begins_after..=begins_after + ms(2)).contains(&took), "{took:?}, not {begins_after:?}");
        acting.abort();
    }
    // A client that closes its side with the headers.
    let server = Server::new(&["a"], Drain::Complete);
    let request = Request::new(http_body_util::Empty::<Bytes>::new());
    server.telemetry.stream("", &Arc::default(), request).await;
    assert_eq!(server.hub.snapshot().disconnected_count, 1);
}

#[tokio::test(start_paused = true)]
async fn controls_that_arrive_together_apply_to_the_backlog_in_their_order() {
    let server = Server::new(&["a", "b", "c"], Drain::Complete);
    let (client, mut response) = server.open().await;
    // Part of the first control is no control.
    let first = deny("a");
    send(&client, first.slice(..3)).await;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(server.begun(), 0);
    for control in [first.slice(3..), toggle(false), deny("b"), toggle(true)] {
        send(&client, control).await;
    }
    assert_eq!(next(&mut response).await, "ac");
    let stats = server.hub.snapshot().subscribers[0].stats;
    assert_eq!((stats.offered, stats.filtered, stats.controls_applied), (3, 1, 4));
    // Later ones apply as well.
    send(&client, deny("x")).await;
    while server.hub.snapshot().subscribers[0].stats.controls_applied < 5 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_headers_report_the_events_that_waited_and_pass_the_first_control() {
    for (control, expected) in [(Some(deny("a")), "1"), (Some(deny("*")), "0"), (None, "3")] {
        let server = Server::new(&["a", "b", "a"], Drain::Complete);
        let (client, body) = mpsc::channel(10);
        let mut request = Request::new(StreamBody::new(ReceiverStream::new(body)));
        request.headers_mut().insert(REPORT_BACKLOG, HeaderValue::from_static("1"));
        if let Some(control) = control {
            send(&client, control).await;
        }
        let response = server.telemetry.stream("", &Arc::default(), request).await;
        assert_eq!(response.headers()[BACKLOG_EVENTS], expected);
        // Others do not get it.
        let (_client, response) = server.open().await;
        assert!(!response.headers().contains_key(BACKLOG_EVENTS));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disconnects_at_once_leaves_the_backlog_to_others() {
    let server = Server::new(&["a"], Drain::Complete);
    let (client, response) = server.open().await;
    client.send(Err(Status::cancelled("reset"))).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    drop((client, response));
    sleep(Duration::from_millis(500)).await;
    let snapshot = server.hub.snapshot();
    assert_eq!((snapshot.backlog.waiting, snapshot.disconnected_count), (1, 0));
    server.hub.subscribers_left().await;
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_a_subscription_begins_in_time_for_the_drain() {
    let ms = Duration::from_millis;
    for (events, drain, expected) in [
        (&["a"][..], Drain::Within(ms(60)), ms(30)),
        (&["a"], Drain::Within(ms(1_000)), ms(100)),
        (&["a"], Drain::Complete, ms(100)),
        (&[], Drain::Within(ms(1_000)), ms(0)),
    ] {
        let server = Server::new(events, drain);
        let start = Instant::now();
        let (_client, mut response) = server.open().await;
        server.hub.close();
        server.shutdown.cancel();
        for name in events {
            assert_eq!(next(&mut response).await, *name);
        }
        assert!(response.frame().await.unwrap().unwrap().is_trailers());
        let took = start.elapsed();
        assert!((expected..=expected + ms(2)).contains(&took), "{drain:?}: {took:?}, not {expected:?}");
        drop(response);
        server.hub.subscribers_left().await;
    }
}
