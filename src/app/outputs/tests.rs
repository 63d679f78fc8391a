//! The order of the end, with paused time.

use super::*;
use crate::{
    control::Controls,
    event::{
        batch::{BatchBuilder, Event},
        stats::StreamStats,
    },
    grpc::{
        auth::{Access, AccessFiles},
        limits::ClientLimits,
        server::Server,
    },
    hub::{Limits, WhenFull},
    pipeline::output::{Context, Mode, channel},
};

const MINUTE: Duration = Duration::from_secs(60);

fn hub() -> Arc<Hub> {
    let limits = Limits { events: 10, bytes: 1_000, when_full: WhenFull::DropNewest };
    let hub = Hub::new(Controls::default(), limits);
    let event = Event { name: b"a", correlation_id: b"", timestamp_ns: 0, timestamp_given: true };
    let mut builder = BatchBuilder::default();
    builder.push(b"a", event);
    hub.publish(builder.take(), &StreamStats::default());
    hub
}

/// Outputs of a closed hub with a server that runs in this runtime. The drain timeout is half a second.
fn outputs(hub: &Arc<Hub>, linger: Duration, exporters: Vec<Running>) -> Outputs {
    let drain = Drain::Within(Duration::from_millis(500));
    let context = Context::new(Arc::clone(hub), Mode::Replay, drain, linger);
    let limits = ClientLimits::default();
    let access = Access::load(AccessFiles::default()).unwrap();
    let server = Server { listeners: Vec::new(), access, limits, snakepit: None, upstream: None };
    let (done, running) = channel("grpc");
    let shutdown = context.shutdown.clone();
    tokio::spawn(async move { server.serve(&context, done).await });
    hub.close();
    let drain_end = DrainEnd::default();
    let summary = None;
    Outputs { hub: Arc::clone(hub), exporters, summary, server: running, drain, linger, shutdown, drain_end }
}

#[track_caller]
fn assert_took(start: Instant, milliseconds: u64) {
    let (took, expected) = (start.elapsed(), Duration::from_millis(milliseconds));
    // The clock's ticks are milliseconds.
    assert!(expected <= took && took <= expected + Duration::from_millis(2), "{took:?}, not {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_linger_then_drains_up_to_the_deadline() {
    for (linger, somebody_was_there, expected) in
        [(Duration::ZERO, false, 0), (MINUTE, true, 0), (MINUTE, false, 60_000)]
    {
        let hub = hub();
        if somebody_was_there {
            hub.subscribe("");
        }
        let start = Instant::now();
        outputs(&hub, linger, Vec::new()).drain().await;
        assert_took(start, expected);
    }
    for (stays, expected) in [(Duration::from_millis(100), 10_100), (MINUTE, 10_500)] {
        let hub = hub();
        let start = Instant::now();
        let outputs = outputs(&hub, MINUTE, Vec::new());
        let coming = async {
            sleep(Duration::from_secs(10)).await;
            let subscriber = hub.subscribe("");
            sleep(stays).await;
            drop(subscriber);
        };
        tokio::select! {
            drained = outputs.drain() => assert_eq!(drained.cut.is_some(), stays == MINUTE),
            never = async { coming.await; std::future::pending().await } => never,
        }
        assert_took(start, expected);
    }
}

/// An exporter that drains in this time.
fn exporter(name: &'static str, takes: Duration) -> Running {
    let (done, running) = channel(name);
    tokio::spawn(async move {
        sleep(takes).await;
        let reason = "refused".into();
        done.drained([Loss::Undelivered { what: "event", count: 1, reason }]);
    });
    running
}

#[tokio::test(start_paused = true)]
async fn exporters_drain_though_the_server_has_panicked() {
    let hub = hub();
    let start = Instant::now();
    let (done, panicked) = channel("grpc");
    drop(done);
    let exporters = vec![exporter("slow", Duration::from_millis(300))];
    let drained = Outputs { server: panicked, ..outputs(&hub, Duration::ZERO, exporters) }.drain().await;
    assert_took(start, 300);
    let losses: Vec<_> = drained.losses.iter().map(|(name, loss)| format!("{name}: {loss}")).collect();
    assert_eq!(
        losses,
        ["slow: 1 event not delivered: refused", "grpc: ended early because of an internal error"]
    );
    assert_eq!(drained.cut, None);
}

#[tokio::test(start_paused = true)]
async fn outputs_that_hang_share_one_drain_timeout() {
    let hub = hub();
    let start = Instant::now();
    let hanging = || exporter("hanging", MINUTE);
    let exporters = vec![hanging(), hanging(), exporter("slow", Duration::from_millis(400))];
    let (_done, hanging_server) = channel("grpc");
    let drained =
        Outputs { server: hanging_server, ..outputs(&hub, Duration::ZERO, exporters) }.drain().await;
    // An eighth of a second before the drain timeout exporters are told to count, for half a second.
    assert_took(start, 875);
    assert_eq!(drained.cut, Some(DRAIN_TIMEOUT_EXPIRED));
    assert_eq!(drained.losses.len(), 1, "only the slow one drained");
}

#[tokio::test(start_paused = true)]
async fn open_connections_are_waited_for_up_to_the_deadline_and_are_no_loss() {
    for closes_after in [Duration::from_millis(100), MINUTE] {
        let hub = hub();
        let start = Instant::now();
        let (done, server) = channel("grpc");
        let open = done.drained_but_open(None);
        tokio::spawn(async move {
            sleep(closes_after).await;
            drop(open);
        });
        let drained = Outputs { server, ..outputs(&hub, Duration::ZERO, Vec::new()) }.drain().await;
        assert_took(start, if closes_after == MINUTE { 500 } else { 100 });
        assert!(drained.losses.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_complete_drain_waits_for_every_output() {
    let hub = hub();
    let start = Instant::now();
    let exporters = vec![exporter("slow", MINUTE), exporter("slower", 2 * MINUTE)];
    let drained = Outputs { drain: Drain::Complete, ..outputs(&hub, Duration::ZERO, exporters) };
    assert_eq!(drained.drain().await.losses.len(), 2);
    assert_took(start, 120_000);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_cut_short_leaves_exporters_the_time_to_count() {
    let (fast, slow) = (Duration::from_millis(50), MINUTE);
    for (drains_after, expected, counted) in [(Duration::ZERO, 0, 2), (fast, 50, 2), (slow, 500, 1)] {
        for linger in [Duration::ZERO, MINUTE] {
            let hub = hub();
            let start = Instant::now();
            let exporters = vec![exporter("slow", drains_after), exporter("fast", Duration::ZERO)];
            let outputs = outputs(&hub, linger, exporters);
            outputs.drain_end.end(ENDED_BY_SIGNAL);
            let drained = outputs.drain().await;
            assert_took(start, expected);
            assert_eq!(drained.losses.len(), counted);
            assert_eq!(drained.cut, Some(ENDED_BY_SIGNAL));
            let deadline = Some(Instant::now() + RECORDING);
            assert_eq!(drained.deadline, deadline, "only a recording is waited for");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn exporters_are_told_that_the_drain_ends_in_time_to_count() {
    for (limit, told_after) in [(0, 0), (100, 75), (500, 375), (5_000, 4_500)] {
        let hub = hub();
        let start = Instant::now();
        let (done, running) = channel("slow");
        let mut outputs = outputs(&hub, Duration::ZERO, vec![running]);
        outputs.drain = Drain::Within(Duration::from_millis(limit));
        let drain_end = outputs.drain_end.clone();
        tokio::spawn(async move {
            let reason = drain_end.ended().await.to_owned();
            done.drained([Loss::Undelivered { what: "event", count: 1, reason }]);
        });
        let drained = outputs.drain().await;
        assert_took(start, told_after);
        let [(_, loss)] = &drained.losses[..] else { panic!("{:?}", drained.losses) };
        assert_eq!(loss.to_string(), format!("1 event not delivered: {DRAIN_TIMEOUT_EXPIRED}"));
    }
}
