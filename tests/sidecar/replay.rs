//! Replaying recordings: everything is delivered, even to a slow subscriber.

use crate::support::{
    BINARY, Builder, Sidecar,
    http2::RawStream,
    line,
    refusal::{expect_one_line, expect_words},
    run, wait_for, wait_until,
};
use nix::{
    pty::openpty,
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    net::TcpStream,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};
use telemetry_sidecar::event::proto::sidecar::GetStatusResponse;
use tonic::Code;

/// A replay of this log that serves on a free port.
fn replay(options: &[&str], log: &str) -> Builder {
    let words = [&["replay", "--ready-file", "{dir}/ready"], options, &["{dir}/log"]].concat();
    let builder = Sidecar::command(&words);
    fs::write(builder.path("log"), log).unwrap();
    builder
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_delivered_to_a_slow_subscriber() {
    let count = 5_000;
    let log: String = (0..count).map(|count| line("a.b", count, "") + "text\n").collect();
    let sidecar = replay(&["--queue-capacity", "10"], &log).start();
    let mut subscriber = sidecar.subscribe().await;
    for expected in 0..count {
        let event = subscriber.next().await;
        assert_eq!(event.timestamp_ns, i64::try_from(expected).unwrap());
        if expected % 1000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert!(subscriber.rest().await.is_empty());
    drop(subscriber);
    assert_eq!(sidecar.finish().expect_code(0).stderr(), "text\n".repeat(count));
}

/// A test of a consumer would otherwise pass with nothing to consume.
#[test]
fn json_lines_are_refused() {
    let finished = replay(&["-q", "--no-stderr"], "{\"event\": \"a.b\"}\n").start().finish();
    let line = finished.expect_code(125).stderr();
    assert!(line.starts_with("telemetry-sidecar: no telemetry lines: "), "{line}");
    assert!(
        line.ends_with("/log has JSON lines, such as decode prints: put TELEMETRY: in front of each\n"),
        "{line}"
    );
}

/// HTTP/2 has accepted everything, but the subscriber's window allowed only the beginning to be sent.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_a_subscriber_with_a_small_window() {
    let count = 100;
    let log: String = (0..count).map(|count| line("a.b", count, &"x".repeat(100))).collect();
    let sidecar = replay(&["--drain-timeout", "0s"], &log).start();
    let mut stream = RawStream::open(sidecar.port(), "5S", 1000);
    let get = async || sidecar.status().await;
    let is_read = |status: &GetStatusResponse| status.stream.unwrap().events == count as u64;
    let status = wait_for("everything to be read", get, is_read).await;
    // What waits for the window is not delivered.
    let subscriber = &status.subscribers[0];
    assert_eq!(subscriber.delivered + subscriber.queued, count as u64);
    assert!(subscriber.delivered <= 10, "{subscriber:?}");
    let everything = stream.read_slowly(500);
    assert_eq!((everything.messages, everything.ended_with_trailers), (count, true));
    drop(stream);
    sidecar.finish().expect_code(0);
}

/// A signal ends a replay like any other program, and its sockets are removed.
#[test]
fn a_signal_ends_it_and_the_sockets_go() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        for subscribed in [false, true] {
            let words = ["--listen", "unix:{dir}/s", "--listen", "127.0.0.1:0"];
            let mut sidecar = replay(&words, &line("a", 1, "")).start();
            let port = sidecar.ready_lines()[1].parse().unwrap();
            // This subscriber never reads, so the replay cannot complete.
            let stuck = subscribed.then(|| RawStream::open(port, "5S", 0));
            let socket = sidecar.path("s");
            assert!(socket.exists());
            sidecar.signal(signal);
            sidecar.wait();
            assert!(!socket.exists(), "{signal}: the socket is still there");
            sidecar.finish().expect_signal(signal as i32);
            drop(stuck);
        }
    }
    // SIGHUP is ignored by the parent, so it does not end the replay.
    let ignoring = format!(
        "trap '' HUP; exec '{BINARY}' replay -q --ready-file \"$0/ready\" --wait-for-subscribers 1 \"$0/log\""
    );
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("log"), line("a", 1, "")).unwrap();
    let mut child = std::process::Command::new("sh").args(["-c", &ignoring]).arg(dir.path()).spawn().unwrap();
    wait_until("the ready file", || dir.path().join("ready").exists());
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, Signal::SIGHUP).unwrap();
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::SIGTERM as i32));
}

#[test]
fn it_does_not_append_to_what_it_reads() {
    for option in ["--record", "--export-jsonl"] {
        let builder = replay(&[option, "{dir}/link", "--wait-for-subscribers", "0"], &line("a", 1, ""));
        fs::hard_link(builder.path("log"), builder.path("link")).unwrap();
        let sidecar = builder.start();
        let line = expect_one_line(&sidecar.finish(), || true);
        expect_words(&line, &[option, "/link'", "one of the recordings"]);
    }
}

#[test]
fn standard_input_is_read_once() {
    for words in [&["replay", "-", "-"][..], &["decode", "-", "-"]] {
        expect_words(&expect_one_line(&run(words), || true), &["FILE", "'-'", "only once"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_when_enough_are_subscribed_and_all_of_them_get_everything() {
    let sidecar = replay(&["--wait-for-subscribers", "2"], &(line("a", 1, "") + "text\n")).start();
    let mut first = sidecar.subscribe().await;
    // The first event waits.
    let status = sidecar.status().await;
    assert_eq!((status.stream.unwrap().bytes_read, status.subscribers[0].offered), (0, 0));
    let mut second = sidecar.subscribe().await;
    assert_eq!(first.rest().await.len(), 1);
    assert_eq!(second.rest().await.len(), 1);
    drop((first, second));
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_subscriber_leaves_the_next_one_gets_what_is_left() {
    let count = 3_000;
    let log: String = (0..count).map(|count| line("a", count, &format!("{:0>1000}", 0))).collect();
    let sidecar = replay(&["--queue-capacity", "100"], &log).start();
    let mut first = sidecar.subscribe().await;
    first.next().await;
    drop(first);
    // The first subscriber's queue was discarded and counted.
    let get = async || sidecar.status().await;
    let status = wait_for("the first to leave", get, |status| status.departed_count == 1).await;
    let departed = status.departed.unwrap();
    let mut second = sidecar.subscribe().await;
    let rest = second.rest().await;
    assert_eq!(rest.len() as u64, count as u64 - departed.offered);
    assert_eq!(rest.last().unwrap().timestamp_ns, i64::try_from(count).unwrap() - 1);
    drop(second);
    sidecar.finish().expect_code(0);
}

#[test]
fn with_an_exporter_alone_it_waits_for_nobody() {
    let log: String = (0..5_000).map(|count| line("a", count, "")).collect();
    let words = ["replay", "-q", "--export-jsonl", "{dir}/events", "{dir}/log"];
    let builder = Sidecar::command(&words);
    fs::write(builder.path("log"), log).unwrap();
    let mut sidecar = builder.start();
    sidecar.wait();
    assert_eq!(fs::read_to_string(sidecar.path("events")).unwrap().lines().count(), 5_000);
    sidecar.finish().expect_code(0);
}

#[test]
fn files_are_streams_of_their_own_and_dash_is_stdin() {
    let words =
        ["replay", "-q", "--wait-for-subscribers", "0", "--export-jsonl", "{dir}/events", "{dir}/log", "-"];
    let builder = Sidecar::command(&words);
    // The last telemetry line of a file needs no newline.
    fs::write(builder.path("log"), "text without newline").unwrap();
    let mut sidecar = builder.start();
    sidecar.write(line("a", 1, "").trim_end());
    sidecar.wait();
    assert_eq!(fs::read_to_string(sidecar.path("events")).unwrap().lines().count(), 1);
    assert_eq!(sidecar.finish().expect_code(0).stderr(), "text without newline");
}

#[tokio::test(flavor = "multi_thread")]
async fn pace_keeps_the_recorded_time_between_events() {
    // A line without a timestamp is replayed without delay.
    let at = |ms: usize| line("a", 1_700_000_000_000_000_000 + ms * 1_000_000, "");
    let log = [&at(0), "TELEMETRY:{\"event\": \"b\"}\n", &at(400), &at(200), &at(500)].concat();
    let sidecar = replay(&["--pace"], &log).start();
    let started = Instant::now();
    let mut subscriber = sidecar.subscribe().await;
    assert_eq!(subscriber.rest().await.len(), 5);
    // Replaying starts with the subscription. There is no upper bound, because the machine may be slow.
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[test]
fn a_replay_that_cannot_write_its_events_reports_that_and_fails() {
    let words = ["replay", "-q", "--export-jsonl", "/dev/full", "{dir}/log"];
    let builder = Sidecar::command(&words);
    fs::write(builder.path("log"), line("a", 1, "") + "text").unwrap();
    let finished = builder.start().finish();
    finished.expect_code(125);
    let expected =
        "text\ntelemetry-sidecar: jsonl: 1 event not delivered: No space left on device (os error 28)\n";
    assert_eq!(finished.stderr(), expected, "{}", finished.describe());
}

/// Whatever it waits for: a subscriber, a subscriber that reads, a reader of stderr, the recording.
#[test]
fn timeout_ends_every_wait_with_status_124() {
    let words = ["--timeout", "200ms", "--listen", "unix:{dir}/s", "--listen", "127.0.0.1:0"];
    let mut sidecar = replay(&words, &line("a", 1, "")).start();
    sidecar.wait();
    assert!(!sidecar.path("s").exists());
    let finished = sidecar.finish();
    expect_words(
        &finished.expect_code(124).stderr(),
        &["telemetry-sidecar: --timeout: '200ms': ", "0 of 1 subscriber came"],
    );

    let log = line("a", 1, "").repeat(10);
    // What waits for a window is not delivered.
    for (window, words) in [
        (0, &["--timeout: '5s': 10 of the 10 events read so far not delivered"][..]),
        (1 << 20, &["--timeout: '5s': all events read so far are delivered", "connections"]),
    ] {
        let sidecar = replay(&["--timeout", "5s"], &log).start();
        let stuck = RawStream::open(sidecar.port(), "5S", window);
        expect_words(&sidecar.finish().expect_code(124).stderr(), words);
        drop(stuck);
    }

    let words = ["replay", "--timeout", "200ms", "{dir}/fifo"];
    let builder = Sidecar::command(&words);
    mkfifo(&builder.path("fifo"), Mode::S_IRWXU).unwrap();
    expect_words(&builder.start().finish().expect_code(124).stderr(), &["--timeout: '200ms'", "FIFO"]);

    let (unread, stderr) = io::pipe().unwrap();
    let words = ["--timeout", "500ms", "--wait-for-subscribers", "0"];
    let builder = replay(&words, &"text\n".repeat(100_000)).stderr(stderr.into());
    builder.start().finish().expect_code(124);
    drop(unread);

    let words = ["replay", "-q", "--timeout", "300ms", "--export-jsonl", "{dir}/events", "{dir}/log", "-"];
    let builder = Sidecar::command(&words);
    fs::write(builder.path("log"), &log).unwrap();
    let (reader, open) = io::pipe().unwrap();
    let mut sidecar = builder.stdin(reader.into()).start();
    sidecar.wait();
    assert_eq!(fs::read_to_string(sidecar.path("events")).unwrap().lines().count(), 10);
    expect_words(&sidecar.finish().expect_code(124).stderr(), &["the recording has not ended"]);
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_ends_in_time_has_status_0() {
    let sidecar = replay(&["--timeout", "1h"], &line("a", 1, "")).start();
    let mut subscriber = sidecar.subscribe().await;
    assert_eq!(subscriber.rest().await.len(), 1);
    drop(subscriber);
    assert_eq!(sidecar.finish().expect_code(0).stderr(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ordinary_lines_a_full_stderr_does_not_stop_a_replay() {
    let (unread, stderr) = io::pipe().unwrap();
    let log = "text\n".repeat(100_000) + &line("a", 1, "");
    let sidecar = replay(&["-v", "--no-stderr"], &log).stderr(stderr.into()).start();
    let mut subscriber = sidecar.subscribe().await;
    assert_eq!(subscriber.rest().await.len(), 1);
    drop(subscriber);
    sidecar.finish().expect_code(0);
    let own = io::read_to_string(unread).unwrap();
    assert!(own.lines().all(|line| line.starts_with("telemetry-sidecar: ")), "{own}");
    expect_words(&own, &[" bytes read = ", " removed + 500,000 dropped\n"]);
    assert!(!own.contains(" passed") && !own.contains("stderr failures"), "{own}");
}

#[test]
fn recordings_without_events_are_reported_and_nothing_is_waited_for() {
    let finished = replay(&[], "text").start().finish();
    let stderr = finished.expect_code(0).stderr();
    let (text, line) = stderr.split_once('\n').unwrap();
    assert_eq!(text, "text");
    assert!(line.starts_with("telemetry-sidecar: no events in ") && line.ends_with("/log\n"), "{line}");
    let finished = replay(&[], "TELEMETRY:{}\nTELEMETRY:x\n").start().finish();
    expect_words(
        &finished.expect_code(0).stderr(),
        &[
            "no events in ",
            "/log; 2 lines start with TELEMETRY: and are no events (json 1, event 1): the first one",
        ],
    );
    assert_eq!(replay(&["-q"], "text\n").start().finish().expect_code(0).stderr(), "text\n");
}

#[test]
fn the_log_is_printed_while_a_replay_waits() {
    let mut sidecar = replay(&["-vv"], &line("a", 1, "")).start();
    let port = sidecar.port();
    // It waits for a subscriber, and this connection is none.
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    sidecar.wait_for_stderr("connected peer=127.0.0.1:");
    // It waits for a subscriber that reads.
    let log = line("a", 1, "").repeat(10);
    sidecar = replay(&["-vv", "--queue-capacity", "1"], &log).start();
    let stuck = RawStream::open(sidecar.port(), "5S", 0);
    sidecar.wait_for_stderr("connected peer=127.0.0.1:");
    drop(stuck);
    // It waits for the rest of the recording.
    let words = ["replay", "-vv", "--ready-file", "{dir}/ready", "--wait-for-subscribers", "0", "-"];
    let (reader, open) = io::pipe().unwrap();
    sidecar = Sidecar::command(&words).stdin(reader.into()).start();
    drop(TcpStream::connect(("127.0.0.1", sidecar.port())).unwrap());
    sidecar.wait_for_stderr("connected peer=127.0.0.1:");
    drop(open);
    // It waits until an event is due.
    let log = line("a", 1, "") + &line("a", 3_600_000_000_000, "");
    sidecar = replay(&["-vv", "--pace"], &log).start();
    let stuck = RawStream::open(sidecar.port(), "5S", 1000);
    sidecar.wait_for_stderr("connected peer=127.0.0.1:");
    drop(stuck);
}

/// Runs a replay whose stderr is a terminal, with a subscriber that takes everything. Returns what the
/// terminal shows.
async fn on_a_terminal(options: &[&str], log: &str) -> String {
    let terminal = openpty(None, None).unwrap();
    let sidecar = replay(options, log).stderr(Stdio::from(terminal.slave)).start();
    let reading = thread::spawn(move || {
        let mut shown = Vec::new();
        // It fails with EIO when the last process has closed the terminal.
        let _ = File::from(terminal.master).read_to_end(&mut shown);
        String::from_utf8(shown).unwrap()
    });
    let mut subscriber = sidecar.subscribe().await;
    subscriber.rest().await;
    drop(subscriber);
    sidecar.finish().expect_code(0);
    reading.join().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_says_what_it_waits_for_and_what_it_served() {
    let log = line("a", 1, "") + "text\n" + &line("b", 2, "");
    assert_eq!(
        on_a_terminal(&["--deny", "b", "--summary", "never"], &log).await,
        "telemetry-sidecar: waiting for 1 subscriber\r\n\
         text\r\n\
         telemetry-sidecar: 2 events; 1 subscriber: 1 delivered, 1 not wanted\r\n"
    );
    assert_eq!(on_a_terminal(&["-q"], &log).await, "text\r\n");
}

/// The consumer that subscribes again receives the next events, and none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn fail_after_ends_the_streams_with_unavailable_again_and_again() {
    let count = 10;
    let log: String = (0..count).map(|count| line("a", count, "") + "text\n").collect();
    let sidecar = replay(&["--fail-after", "4"], &log).start();
    let mut received = Vec::new();
    for expected in [4, 4] {
        let mut subscriber = sidecar.subscribe().await;
        for _ in 0..expected {
            received.push(subscriber.next().await.timestamp_ns);
        }
        assert_eq!(subscriber.failure().await, Code::Unavailable);
    }
    let mut subscriber = sidecar.subscribe().await;
    received.extend(subscriber.rest().await.iter().map(|event| event.timestamp_ns));
    assert_eq!(received, (0..10).collect::<Vec<_>>());
    drop(subscriber);
    assert_eq!(sidecar.finish().expect_code(0).stderr(), "text\n".repeat(count));

    // The last stream ends with OK, however many events it had.
    let sidecar = replay(&["--fail-after", "5"], &log).start();
    let mut subscriber = sidecar.subscribe().await;
    for _ in 0..5 {
        subscriber.next().await;
    }
    assert_eq!(subscriber.failure().await, Code::Unavailable);
    let mut subscriber = sidecar.subscribe().await;
    assert_eq!(subscriber.rest().await.len(), 5);
    drop(subscriber);
    sidecar.finish().expect_code(0);
}
