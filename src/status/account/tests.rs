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
            cpu_time_nano: Some(1_250_000_000),
            max_rss_bytes: Some(64 << 20),
            oom_kills: Some(1),
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
        "worker: killed by SIGKILL (out of memory)",
        "worker usage: CPU time 1.25 s, largest process 64 MiB, out of memory: 1 kill",
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

#[test]
fn samples_say_what_a_worker_uses_and_has_used() {
    let usage = |worker: Worker| {
        let status = GetStatusResponse { worker: Some(worker), ..GetStatusResponse::default() };
        let topics = topics(&status).into_iter();
        topics.filter(|topic| topic.name == "worker usage").map(|topic| topic.text).collect::<String>()
    };
    let sample = Vitals {
        cpu_time_nano: 1_500_000_000,
        rss_bytes: Some(80 << 20),
        peak_rss_bytes: Some(96 << 20),
        processes: Some(3),
    };
    let running = Worker { pid: 7, running: true, vitals: Some(sample), ..Worker::default() };
    assert_eq!(usage(running), "CPU time 1.5 s, memory 80 MiB, peak memory 96 MiB, 3 processes");
    let ended = Worker {
        exit_code: Some(0),
        cpu_time_nano: Some(1_000_000),
        max_rss_bytes: Some(24 << 20),
        vitals: Some(Vitals { rss_bytes: None, processes: None, ..sample }),
        ..Worker::default()
    };
    assert_eq!(usage(ended), "CPU time 1.5 s, peak memory 96 MiB");
    assert_eq!(usage(Worker { vitals: None, ..ended }), "CPU time 1 ms, largest process 24 MiB");
    assert_eq!(usage(Worker { pid: 7, running: true, ..Worker::default() }), "");
}

#[test]
fn lines_that_no_collector_has_accepted_are_lost() {
    let counters = [("logs_failed", 3), ("logs_dropped", 4), ("logs_rejected", 5), ("logs_exported", 6)];
    let counters = counters.map(|(name, count)| (name.to_owned(), count)).into();
    let exporter = Consumer { name: "otlp".into(), counters, ..Consumer::default() };
    let status = GetStatusResponse { exporters: vec![exporter], ..GetStatusResponse::default() };
    assert_eq!((lost_log_lines(&status), lost_events(&status)), (12, 0));
    assert_eq!(text(&status)[0], "otlp failures: logs_dropped 4; logs_failed 3; logs_rejected 5");
}
