use super::*;

fn text(status: &GetStatusResponse) -> Vec<String> {
    topics(status).iter().map(ToString::to_string).collect()
}

#[test]
fn zeros_are_left_out() {
    assert_eq!(text(&GetStatusResponse::default()), ["worker: none, this is a replay", "events: 0"]);
    let waiting = GetStatusResponse { awaited_subscribers: 2, ..GetStatusResponse::default() };
    assert_eq!(text(&waiting)[0], "worker: none, this is a replay: it waits for 2 subscribers");
    let worker = Worker { pid: 7, running: true, ..Worker::default() };
    let stream = Stream { bytes_read: 1011, bytes_passed: 1011, ..Stream::default() };
    let backlog = Backlog { taken_in: 5, waiting: 5, ..Backlog::default() };
    let status = GetStatusResponse {
        worker: Some(worker),
        stream: Some(stream),
        backlog: Some(backlog),
        events: 5,
        ..GetStatusResponse::default()
    };
    let expected = [
        "worker: process 7, running",
        "stderr: 1,011 bytes read = 1,011 passed",
        "events: 5",
        "backlog: 5 accepted = 5 waiting",
    ];
    assert_eq!(text(&status), expected);
}

#[test]
fn what_is_wrong_comes_first() {
    let consumer = |dropped| Consumer { offered: 9, delivered: 9 - dropped, dropped, ..Consumer::default() };
    let counters = [("exports".to_owned(), 2), ("spans_failed".to_owned(), 3)];
    let exporter = Consumer { name: "otlp".into(), counters: counters.into(), ..consumer(0) };
    let stream = Stream {
        telemetry_lines: 4,
        decoded: 1,
        malformed: Some(Malformed { json: 2, ..Malformed::default() }),
        oversized: 1,
        ..Stream::default()
    };
    let status = GetStatusResponse {
        worker: Some(Worker {
            exit_signal: Some(9),
            end_reason: EndReason::OutOfMemory.into(),
            cpu_time_nano: 1_250_000_000,
            max_rss_bytes: 64 << 20,
            oom_kills: 1,
            ..Worker::default()
        }),
        stream: Some(stream),
        subscribers: vec![Consumer { id: 3, name: "a\nb".into(), ..consumer(1) }],
        departed: Some(Consumer { controls_refused: 2, ..consumer(4) }),
        departed_count: 2,
        exporters: vec![exporter],
        recording: Some(Recording { bytes_written: 1, bytes_lost: 5, stopped: true }),
        upstream: Some(Upstream { messages: 6, events: 3, malformed: 2, oversized: 1 }),
        events: 4,
        ..GetStatusResponse::default()
    };
    let expected = [
        "lost: 5 events of subscribers dropped: a queue was full",
        "otlp failures: spans_failed 3",
        "recording failures: it has stopped; 5 bytes missing",
        "malformed lines: 2 not JSON, 1 too long",
        "malformed messages: 2 malformed, 1 too long",
        "rejected controls: 2",
        "worker: killed by signal 9 (out of memory)",
        "worker usage: 1.25 s of processor time, 64 MiB of memory at most, out of memory: 1 kill",
        "telemetry lines: 4 = 1 decoded + 2 malformed + 1 too long",
        "upstream: 6 messages = 3 decoded + 2 malformed + 1 too long",
        "events: 4 = 1 decoded + 3 upstream",
        "subscribers: 1 connected, 2 disconnected; 18 offered = 13 delivered + 5 dropped",
        "subscriber 3: a\\nb; 9 offered = 8 delivered + 1 dropped",
        "otlp: 9 offered = 9 delivered; exports 2",
        "recording: 1 byte written",
    ];
    assert_eq!(text(&status), expected);
    assert_eq!(topics(&status).iter().filter(|topic| topic.is_problem).count(), 7);
    assert_eq!(lost_events(&status), 5);
}
