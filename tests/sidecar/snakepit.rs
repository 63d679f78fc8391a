//! `--snakepit`: what a Snakepit pool does with a worker, step by step, and what it gets.

use crate::support::{
    BINARY, Builder, Sidecar, TIMEOUT, connect, line,
    refusal::{expect_one_line, expect_words, refused, refused_without},
    run, wait_for, wait_until,
};
use http::uri::PathAndQuery;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::getpgid,
};
use std::{
    collections::BTreeMap,
    error::Error as _,
    fs,
    process::Stdio,
    time::{Duration, SystemTime},
};
use telemetry_sidecar::event::proto::bridge::{
    CleanupSessionRequest, ExecuteToolRequest, GetSessionRequest, HeartbeatRequest, InitializeSessionRequest,
    PingRequest, PingResponse, bridge_service_client::BridgeServiceClient,
};
use tonic::{Code, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

const ALONE: &str = "--snakepit=alone";

/// A worker that runs until its stdin is closed.
const IDLE: &str = "exec cat >&2";

/// A sidecar as a pool starts it; the pool's ready file is the one that [`Sidecar::port`] reads.
fn pooled(options: &[&str], script: &str) -> Builder {
    let words = [&[ALONE], options, &["--", "sh", "-c", script, "{dir}"]].concat();
    let builder = Sidecar::command(&words);
    let path = builder.path("ready");
    builder.env("SNAKEPIT_READY_FILE", path.to_str().unwrap())
}

async fn client(sidecar: &Sidecar) -> BridgeServiceClient<Channel> {
    BridgeServiceClient::new(sidecar.channel().await)
}

fn session(id: &str) -> InitializeSessionRequest {
    let metadata = [("elixir_node", "nonode@nohost"), ("initialized_at", "2026-01-01T00:00:00Z")];
    InitializeSessionRequest {
        session_id: id.into(),
        metadata: metadata.map(|(key, value)| (key.into(), value.into())).into(),
        ..InitializeSessionRequest::default()
    }
}

fn heartbeat(id: &str) -> HeartbeatRequest {
    HeartbeatRequest { session_id: id.into(), client_time: None }
}

#[track_caller]
fn assert_recent(timestamp: Option<prost_types::Timestamp>) {
    let time = SystemTime::try_from(timestamp.expect("no time")).unwrap();
    let age = SystemTime::now().duration_since(time).expect("a time in the future");
    assert!(age < TIMEOUT, "{age:?}");
}

#[track_caller]
fn expect_refusal<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, words: &[&str]) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    expect_words(status.message(), words);
}

/// A pool's sidecars can be found and scraped all the same: their own ready file has every port.
#[test]
fn the_sidecars_own_ready_file_is_written_beside_the_pools() {
    let options = ["--ready-file", "{dir}/own-{pid}", "--export-prometheus", "127.0.0.1:0"];
    let sidecar = pooled(&options, IDLE).start();
    let port = sidecar.port();
    let own = fs::read_to_string(sidecar.path(&format!("own-{}", sidecar.pid()))).unwrap();
    let metrics = own.strip_prefix(&format!("{port}\nprometheus ")).and_then(|rest| rest.strip_suffix('\n'));
    assert!(metrics.and_then(|port| port.parse::<u16>().ok()).is_some_and(|port| port > 0), "{own}");
    sidecar.finish().expect_code(0);
}

#[test]
fn without_a_ready_file_the_command_is_executed_in_place() {
    let script = "echo $$; ls /proc/$$/task | wc -l; \
                  env | grep -E '^(SNAKEPIT|TELEMETRY)' | sort; echo \"$0 $*\"; \
                  printf 'TELEMETRY:{\"event\": \"a\"}\\n' >&2; exit 7";
    for ready_file in [None, Some("")] {
        let words = [ALONE, "--ready-file", "{dir}/own", "--", "sh", "-c", script, "a b", "", "--"];
        let builder = Sidecar::command(&words);
        let builder = ready_file.into_iter().fold(builder, |all, path| all.env("SNAKEPIT_READY_FILE", path));
        let builder = builder.env("TELEMETRY_SIDECAR_VERBOSE", "2").env("SNAKEPIT_PROCESS_GROUP", "1");
        fs::write(builder.path("own"), "1\n").unwrap();
        let mut sidecar = builder.start();
        let pid = sidecar.pid();
        sidecar.wait();
        assert_eq!(fs::read_to_string(sidecar.path("own")).unwrap(), "1\n");
        let finished = sidecar.finish();
        finished.expect_code(7);
        let variables = ready_file.map_or("", |_| "\nSNAKEPIT_READY_FILE=");
        let expected = format!("{pid}\n1\nSNAKEPIT_PROCESS_GROUP=1{variables}\na b  --\n");
        assert_eq!(finished.stdout(), expected, "{}", finished.describe());
        assert_eq!(finished.stderr(), "TELEMETRY:{\"event\": \"a\"}\n");
    }
}

#[test]
fn errors_of_the_execution_in_place_are_those_of_a_start() {
    let missing = run(&[ALONE, "--", "no-such-command"]);
    assert_eq!(
        missing.expect_code(127).stderr(),
        "telemetry-sidecar: 'no-such-command': not found in PATH\n"
    );
    let directory = run(&[ALONE, "--", "/"]);
    expect_words(&directory.expect_code(126).stderr(), &["telemetry-sidecar: '/': "]);
}

#[test]
fn the_pool_reads_the_port_when_the_worker_runs() {
    // Snakepit's own worker writes no newline.
    for old in [None, Some("12345"), Some("12345\n"), Some("")] {
        let builder = pooled(&[], "echo \"${SNAKEPIT_READY_FILE-unset}\"; cat");
        if let Some(old) = old {
            fs::write(builder.path("ready"), old).unwrap();
        }
        let sidecar = builder.start();
        sidecar.wait_for_stdout(6);
        wait_until("the port", || {
            let content = fs::read_to_string(sidecar.path("ready")).unwrap_or_default();
            content.ends_with('\n') && !content.starts_with("12345")
        });
        let port = sidecar.port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let finished = sidecar.finish();
        assert_eq!(finished.expect_code(0).stdout(), "unset\n");
        assert!(finished.stderr.is_empty(), "{}", finished.describe());
    }
}

#[test]
fn a_command_that_cannot_be_executed_leaves_no_port() {
    let builder = Sidecar::command(&[ALONE, "--", "no-such-command"]);
    let path = builder.path("ready");
    fs::write(&path, "12345").unwrap();
    let mut sidecar = builder.env("SNAKEPIT_READY_FILE", path.to_str().unwrap()).start();
    sidecar.wait();
    assert!(!path.exists());
    sidecar.finish().expect_code(127);
}

/// The adapter of docs/snakepit.md starts workers with these arguments.
#[test]
fn the_documented_adapter_starts_a_worker() {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/snakepit.md")).unwrap();
    let list = document.split_once("@sidecar [").unwrap().1.split_once(']').unwrap().0;
    let words: Vec<_> = list.split(", ").map(|word| word.trim_matches('"')).collect();
    let builder = Sidecar::command(&[&words[..], &["sh", "-c", IDLE, "worker", "--port", "0"]].concat());
    let path = builder.path("ready");
    let sidecar = builder.env("SNAKEPIT_READY_FILE", path.to_str().unwrap()).start();
    std::net::TcpStream::connect(("127.0.0.1", sidecar.port())).unwrap();
    sidecar.finish().expect_code(0);
}

#[test]
fn the_ready_file_of_the_option_is_written_as_well() {
    let listeners = ["--listen", "unix:{dir}/s", "--listen", "127.0.0.2:0", "--listen", "127.0.0.1:0"];
    let options = [&["--ready-file", "{dir}/own"][..], &listeners].concat();
    let sidecar = pooled(&options, "cat \"$0/own\"; cat").start();
    let port = sidecar.port();
    let stdout = sidecar.finish().expect_code(0).stdout();
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines[0].starts_with("unix:"), "{stdout}");
    assert_eq!((lines.len(), lines[2]), (3, &*port.to_string()), "{stdout}");
}

#[test]
fn a_pool_needs_a_listener_at_localhost() {
    for address in ["unix:{dir}/s", "127.0.0.2:0", "[::1]:0"] {
        let builder = pooled(&["--listen", address], "touch \"$0/started\"");
        let line = refused_without(builder.start(), "started");
        expect_words(&line, &["--listen: '", "with --snakepit", "add --listen 127.0.0.1:0"]);
    }
    let builder = pooled(&["--auth-token-file", "{dir}/tokens"], "touch \"$0/started\"");
    let line = refused_without(builder.start(), "started");
    expect_words(&line, &["--snakepit: a pool connects without TLS and tokens"]);
}

#[test]
fn a_path_of_the_pool_where_something_else_is_ends_the_start() {
    let builder = pooled(&[], "touch \"$0/started\"");
    fs::write(builder.path("ready"), "text\n").unwrap();
    let line = refused_without(builder.start(), "started");
    expect_words(&line, &["SNAKEPIT_READY_FILE: '", "not a ready file"]);
    let words = [ALONE, "--", "touch", "{dir}/started"];
    let builder = Sidecar::command(&words).env("SNAKEPIT_READY_FILE", "/nonexistent/ready");
    let line = refused_without(builder.start(), "started");
    expect_words(
        &line,
        &["SNAKEPIT_READY_FILE: '/nonexistent/ready'", "the directory /nonexistent does not exist"],
    );
}

#[test]
fn a_file_that_cannot_be_written_after_the_start_is_logged_and_the_worker_goes_on() {
    let sidecar = pooled(&["-v", "--export-jsonl", "{dir}/ready"], "echo runs; cat; exit 7").start();
    sidecar.wait_for_stderr("the port cannot be written for the pool: SNAKEPIT_READY_FILE: '");
    assert!(!sidecar.stderr_so_far().is_empty());
    assert_eq!(sidecar.finish().expect_code(7).stdout(), "runs\n");
}

#[test]
fn bad_values_are_refused_in_one_line() {
    for (option, words) in [
        ("--snakepit=", &["--snakepit: ''", "expected alone"][..]),
        ("--snakepit=pool", &["--snakepit: 'pool'", "expected alone"]),
        ("--snakepit=ALONE", &["--snakepit: 'ALONE'", "expected alone"]),
    ] {
        expect_words(&refused(&[option]), words);
    }
    let variable = |value| {
        let words = ["--", "touch", "{dir}/started"];
        Sidecar::command(&words).env("TELEMETRY_SIDECAR_SNAKEPIT", value).start()
    };
    let line = refused_without(variable("yes"), "started");
    expect_words(&line, &["TELEMETRY_SIDECAR_SNAKEPIT: 'yes'", "expected alone"]);
    // Off, and unset.
    for value in ["0", "false", ""] {
        let finished = variable(value).finish();
        expect_words(&finished.expect_code(0).stderr(), &["GRPC_READY:"]);
    }
    let line = expect_one_line(&run(&["replay", ALONE, "x"]), || true);
    expect_words(&line, &["--snakepit: cannot be used with replay, only when a worker is wrapped"]);
}

#[test]
fn a_relayed_worker_that_names_no_port_is_explained_at_its_end() {
    let relayed = |options: &[&str], script: &str| {
        let words = [&["--snakepit"], options, &["--", "sh", "-c", script]].concat();
        let builder = Sidecar::command(&words);
        let path = builder.path("ready");
        builder.env("SNAKEPIT_READY_FILE", path.to_str().unwrap()).start()
    };
    let hint = "a worker without gRPC needs --snakepit=alone\n";
    let stderr = relayed(&[], "exit 0").finish().expect_code(0).stderr();
    let cause = "it has exited without writing its port to SNAKEPIT_READY_FILE";
    assert_eq!(stderr, format!("telemetry-sidecar: --snakepit: the pool gets no port: {cause}; {hint}"));
    // A pool that has waited as long stops the worker.
    let sidecar = relayed(&["--upstream-timeout", "50ms", "-v"], "exec sleep 600");
    let cause = "it did not write its port to SNAKEPIT_READY_FILE within 50ms (--upstream-timeout)";
    sidecar.wait_for_stderr(&format!("--snakepit: the pool gets no port: {cause}; {hint}"));
    sidecar.signal(Signal::SIGTERM);
    let stderr = sidecar.finish().expect_signal(Signal::SIGTERM as i32).stderr();
    assert_eq!(stderr.matches(hint).count(), 1, "{stderr}");
    // A worker that has failed says why itself.
    assert_eq!(relayed(&[], "exit 3").finish().expect_code(3).stderr(), "");
    let script = "echo 1 > $SNAKEPIT_READY_FILE";
    assert_eq!(relayed(&[], script).finish().expect_code(0).stderr(), "");
}

#[test]
fn nothing_is_printed_that_the_worker_did_not_print() {
    let script = "printf 'TELEMETRY:{\"event\": \"a\"}\\ntext\\n' >&2";
    let finished = pooled(&["--queue-capacity", "1"], script).start().finish();
    assert_eq!(finished.expect_code(0).stderr(), "text\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_a_pool_are_answered_as_by_a_living_worker() {
    let sidecar = pooled(&[], IDLE).start();
    let mut pool = client(&sidecar).await;
    let ping = pool.ping(PingRequest { message: "connection_test".into() }).await.unwrap().into_inner();
    assert_eq!(ping.message, "connection_test");
    assert_recent(ping.server_time);

    // A session that was not begun.
    let answer = pool.heartbeat(heartbeat("session_1")).await.unwrap().into_inner();
    assert!(!answer.session_valid);
    let get = |id: &str| GetSessionRequest { session_id: id.into() };
    expect_refusal(pool.get_session(get("session_1")).await, Code::NotFound, &["session_1"]);
    expect_refusal(pool.initialize_session(session("")).await, Code::InvalidArgument, &["empty"]);

    let begun = pool.initialize_session(session("session_1")).await.unwrap().into_inner();
    assert!(begun.success && begun.error_message.is_empty() && begun.available_tools.is_empty());
    let answer = pool.heartbeat(heartbeat("session_1")).await.unwrap().into_inner();
    assert!(answer.session_valid);
    assert_recent(answer.server_time);
    let described = pool.get_session(get("session_1")).await.unwrap().into_inner();
    assert_eq!((described.session_id.as_str(), described.tool_count), ("session_1", 0));
    assert_eq!(described.metadata, session("").metadata);
    assert_recent(described.created_at);

    for _ in 0..2 {
        let request = CleanupSessionRequest { session_id: "session_1".into(), force: true };
        let ended = pool.cleanup_session(request).await.unwrap().into_inner();
        assert_eq!((ended.success, ended.resources_cleaned), (true, 1));
    }
    assert!(!pool.heartbeat(heartbeat("session_1")).await.unwrap().into_inner().session_valid);
    drop(pool);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_too_long_are_refused() {
    let sidecar = pooled(&[], IDLE).start();
    let mut pool = client(&sidecar).await;
    let text = "x".repeat(3 * 1024);
    let long = |count: usize| InitializeSessionRequest {
        session_id: "s".into(),
        metadata: (0..count).map(|number| (number.to_string(), text.clone())).collect::<BTreeMap<_, _>>(),
        ..InitializeSessionRequest::default()
    };
    assert!(pool.initialize_session(long(1)).await.unwrap().into_inner().success);
    expect_refusal(pool.initialize_session(long(2)).await, Code::ResourceExhausted, &["too long"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_the_worker_would_have_to_answer_are_unimplemented() {
    let sidecar = pooled(&[], IDLE).start();
    let mut pool = client(&sidecar).await;
    let request = || ExecuteToolRequest {
        session_id: "s".into(),
        tool_name: "echo".into(),
        binary_parameters: [("data".to_owned(), vec![0; 8 << 20])].into(),
        ..ExecuteToolRequest::default()
    };
    let words = &["this worker takes no calls", "--snakepit=alone"];
    expect_refusal(pool.execute_tool(request()).await, Code::Unimplemented, words);
    expect_refusal(pool.execute_streaming_tool(request()).await, Code::Unimplemented, words);
    for path in ["/snakepit.bridge.BridgeService/Unknown", "/other.Service/Ping", "/Ping"] {
        let mut grpc = Grpc::new(sidecar.channel().await);
        grpc.ready().await.unwrap();
        let request = tonic::Request::new(PingRequest::default());
        let codec = ProstCodec::<PingRequest, PingResponse>::default();
        let answer = grpc.unary(request, PathAndQuery::from_static(path), codec).await;
        expect_refusal(answer, Code::Unimplemented, words);
    }
    // The connection still serves.
    pool.ping(PingRequest::default()).await.unwrap();
    // Status is the sidecar's own.
    assert!(sidecar.status().await.worker.unwrap().running);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_option_the_calls_are_unimplemented() {
    let sidecar = Sidecar::wrap_echo(&["--snakepit=0"]);
    let answer = client(&sidecar).await.ping(PingRequest::default()).await;
    expect_refusal(answer, Code::Unimplemented, &["Ping is not served here"]);
}

/// A subscriber of the same connection that does not read, others that do not read either, and a worker that
/// prints as fast as it can.
#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_do_not_wait_for_telemetry() {
    let script =
        format!("while :; do printf '{}' ; done >&2", line("a", 1, "c").trim_end().to_owned() + "\\n");
    let sidecar = pooled(&["--queue-bytes", "1000000"], &script).start();
    let mut pool = client(&sidecar).await;
    pool.initialize_session(session("s")).await.unwrap();
    let mut stalled = Vec::new();
    for _ in 0..4 {
        stalled.push(sidecar.subscribe().await);
    }
    wait_for(
        "queues to be full",
        async || sidecar.status().await.subscribers,
        |subscribers| subscribers.iter().all(|subscriber| subscriber.dropped > 0),
    )
    .await;
    for _ in 0..200 {
        let answer = tokio::time::timeout(Duration::from_secs(10), pool.heartbeat(heartbeat("s"))).await;
        assert!(answer.expect("a heartbeat is not answered").unwrap().into_inner().session_valid);
    }
    sidecar.signal(Signal::SIGTERM);
    drop(stalled);
    sidecar.finish().expect_signal(Signal::SIGTERM as i32);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_workers_exit_no_call_fails_before_the_process_exits() {
    let mut sidecar = pooled(&["--linger", "60s"], IDLE).start();
    let mut pool = client(&sidecar).await;
    pool.initialize_session(session("s")).await.unwrap();
    sidecar.end_worker().await;
    let exited = |status: &crate::support::Status| !status.worker.unwrap().running;
    wait_for("the exit to be known", async || sidecar.status().await, exited).await;
    let mut held = pool.clone();
    let held = tokio::spawn(async move { held.heartbeat(heartbeat("s")).await });
    // Other calls are answered after the heartbeat has arrived.
    for _ in 0..10 {
        sidecar.status().await;
    }
    assert!(!held.is_finished());
    sidecar.signal(Signal::SIGTERM);
    // The connection was closed; there is no status of the sidecar's.
    let status = held.await.unwrap().unwrap_err();
    assert!(status.source().is_some(), "{status:?}");
    sidecar.finish().expect_code(0);
}

/// A pool stops a worker by a signal to the group of the process that it has started.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_to_the_group_stops_the_worker_and_its_children() {
    let script = "sleep 1000 & echo $!; echo \"$SNAKEPIT_PROCESS_GROUP\"; wait";
    let sidecar = pooled(&[], script).env("SNAKEPIT_PROCESS_GROUP", "1").start();
    let mut pool = client(&sidecar).await;
    pool.ping(PingRequest::default()).await.unwrap();
    wait_until("the child's id", || sidecar.wait_for_stdout(1).lines().count() == 2);
    let stdout = sidecar.wait_for_stdout(1);
    let (child, variable) = stdout.trim_end().split_once('\n').unwrap();
    assert_eq!(variable, "0");
    assert_eq!(getpgid(Some(sidecar.pid())).unwrap(), sidecar.pid());
    killpg(sidecar.pid(), Signal::SIGTERM).unwrap();
    let child = std::path::PathBuf::from(format!("/proc/{child}/fd"));
    sidecar.finish().expect_signal(Signal::SIGTERM as i32);
    wait_until("the child to end", || fs::read_dir(&child).is_err());
}

/// A pool hides stderr in stdout, and events go to it over the connection with which it calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_gets_events_and_makes_calls_over_one_connection() {
    let mut sidecar = pooled(&[], IDLE).stdout(Stdio::null()).start();
    let channel = connect(&format!("http://localhost:{}", sidecar.port())).await;
    let mut pool = BridgeServiceClient::new(channel.clone());
    pool.ping(PingRequest { message: "connection_test".into() }).await.unwrap();
    pool.initialize_session(session("s")).await.unwrap();
    let mut subscriber = crate::support::Subscriber::open(channel).await;
    for count in 0..10 {
        sidecar.write(line("python.call.stop", count, ""));
        assert_eq!(subscriber.next().await.event_parts, ["python", "call", "stop"]);
        assert!(pool.heartbeat(heartbeat("s")).await.unwrap().into_inner().session_valid);
    }
    sidecar.close_stdin();
    assert!(subscriber.rest().await.is_empty());
    drop((subscriber, pool));
    sidecar.finish().expect_code(0);
}

/// The two-line script of a pool runs the sidecar by its name in a shell.
#[test]
fn a_script_passes_arguments_on() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("python");
    fs::write(&script, format!("#!/bin/sh\nexec {BINARY} {ALONE} -- printf '%s|' \"$@\"\n")).unwrap();
    let output = std::process::Command::new("sh").arg(&script).args(["-c", "a b", ""]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "-c|a b||");
}
