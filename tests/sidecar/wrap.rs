//! Wrapping a worker: its view, its parent's view, and the destination of each output.

use crate::support::{BINARY, Sidecar, fixture, line, run, wait_for, wait_until};
use nix::sys::signal::Signal;
use std::{
    fs,
    io::Write as _,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    process::Stdio,
};

#[test]
fn the_sidecar_exits_with_the_exit_code_of_the_worker() {
    for code in [0, 1, 42, 127, 255] {
        run(&["-q", "--", "sh", "-c", &format!("exit {code}")]).expect_code(code);
    }
}

#[test]
fn a_worker_killed_by_a_signal_ends_the_sidecar_with_that_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGPIPE] {
        run(&["-q", "--", "sh", "-c", &format!("kill -{} $$", signal as i32)]).expect_signal(signal as i32);
    }
}

#[test]
fn the_exit_code_is_correct_if_the_parent_ignores_sigchld() {
    let script = format!("trap '' CHLD; exec '{BINARY}' -q -- sh -c 'exit 3'");
    let status = std::process::Command::new("sh").args(["-c", &script]).status().unwrap();
    assert_eq!(status.code(), Some(3));
}

#[test]
fn json_lines_may_share_stdout_with_the_worker() {
    let words = [
        "-q",
        "--export-jsonl",
        "/dev/stdout",
        "--",
        "sh",
        "-c",
        "echo $0; echo TELEMETRY:$1 >&2; sleep 0.05; echo $0",
    ];
    let mut builder = Sidecar::command(&[&words[..], &["some output", "{\"event\":\"a\"}"]].concat());
    let path = builder.path("stdout");
    // Inherited descriptors of a file share one position, unless the file is opened again.
    builder = builder.stdout(fs::File::create(&path).unwrap().into());
    builder.start().finish_reading(&path, |stdout| {
        assert_eq!(stdout.lines().count(), 3, "{stdout}");
        assert_eq!(stdout.matches("some output\n").count(), 2, "{stdout}");
    });
}

#[test]
fn a_command_that_cannot_be_executed_is_reported_in_one_line() {
    let not_found = run(&["-q", "--", "/nonexistent/worker"]);
    assert!(
        not_found
            .expect_code(127)
            .stderr()
            .starts_with("telemetry-sidecar: '/nonexistent/worker': No such file")
    );
    let directory = run(&["-q", "--", "/tmp"]);
    assert!(
        directory
            .expect_code(126)
            .stderr()
            .ends_with("'/tmp': Permission denied (os error 13), it is a directory\n")
    );
    for finished in [not_found, directory] {
        assert_eq!(finished.stderr().lines().count(), 1);
    }
    for (word, shown) in [("", ""), ("no-such-worker", "no-such-worker"), ("a\nb", "a\\nb")] {
        let finished = run(&["-q", "--", word]);
        let expected = format!("telemetry-sidecar: '{shown}': not found in PATH\n");
        assert_eq!(finished.expect_code(127).stderr(), expected);
    }
    // Without -q its port would be announced, which is of no use.
    assert!(!run(&["--", "no-such-worker"]).expect_code(127).stderr().contains("GRPC_READY"));
    let builder = Sidecar::command(&["--ready-file", "{dir}/ready", "--", "{dir}/data"]);
    fs::write(builder.path("data"), "#!/bin/sh\n").unwrap();
    let mut sidecar = builder.start();
    sidecar.wait();
    assert!(!sidecar.path("ready").exists());
    let stderr = sidecar.finish().expect_code(126).stderr();
    assert!(stderr.ends_with(", it is not executable (chmod +x)\n"), "{stderr}");
    // The system reports a missing file, but the missing file is the interpreter.
    let builder = Sidecar::command(&["-q", "--", "{dir}/script"]);
    fs::write(builder.path("script"), "#!/nonexistent/interpreter\n").unwrap();
    fs::set_permissions(builder.path("script"), fs::Permissions::from_mode(0o755)).unwrap();
    let finished = builder.start().finish();
    assert!(finished.expect_code(127).stderr().ends_with("': its interpreter (#!) is not there\n"));
}

#[test]
fn the_worker_inherits_stdin_and_stdout() {
    let mut sidecar = Sidecar::wrap_command(&[], &["cat"]);
    let everything: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    sidecar.write(&everything);
    let finished = sidecar.finish();
    assert!(finished.expect_code(0).stdout == everything);
}

#[test]
fn signals_reach_the_worker() {
    let script = r"
        trap 'echo hup' HUP; trap 'echo int' INT; trap 'echo usr1' USR1; trap 'echo term; exit 7' TERM
        echo ready; while :; do sleep 0.01; done";
    let sidecar = Sidecar::wrap(&[], script);
    let mut expected = "ready\n".to_owned();
    sidecar.wait_for_stdout(expected.len());
    for (signal, word) in [
        (Signal::SIGHUP, "hup"),
        (Signal::SIGINT, "int"),
        (Signal::SIGUSR1, "usr1"),
        (Signal::SIGTERM, "term"),
    ] {
        sidecar.signal(signal);
        expected = expected + word + "\n";
        assert_eq!(sidecar.wait_for_stdout(expected.len()), expected);
    }
    sidecar.finish().expect_code(7);
}

#[test]
fn ordinary_output_passes_byte_for_byte() {
    let mut input =
        b"first\r\n\0\xff\xfe\r 10%\r 20%\n\n\nTELEM\nTELEMETRY_ERROR: x\n telemetry:{}\nTELEMETRY: no\n"
            .to_vec();
    input.extend((0..=255u8).cycle().take(1_000_000).filter(|byte| *byte != b'T'));
    input.extend_from_slice(b"no newline at the end");
    let mut sidecar = Sidecar::wrap_echo(&[]);
    sidecar.write(&input);
    assert!(sidecar.finish().expect_code(0).stderr == input);
}

#[test]
fn telemetry_lines_are_removed_from_stderr() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    sidecar.write(format!("a\n{}b\n{}{}c", line("x", 1, ""), line("y", 2, ""), line("z", 3, "")));
    assert_eq!(sidecar.finish().expect_code(0).stderr(), "a\nb\nc");
}

#[test]
fn an_event_in_mid_line_is_copied_stripped_or_ignored() {
    let bar = format!("\r 50%{}\r 60%\n", line("x", 1, ""));
    let stripped = "\r 50%\r 60%\n";
    for (mode, stderr, events) in
        [("auto", stripped, 1), ("copy", &bar[..], 1), ("strip", stripped, 1), ("ignore", &bar, 0)]
    {
        let mut sidecar = Sidecar::wrap_echo(&["--embedded", mode, "--export-jsonl", "{dir}/events"]);
        sidecar.write(&bar);
        let events_file = sidecar.path("events");
        sidecar.wait();
        assert_eq!(fs::read_to_string(events_file).unwrap().lines().count(), events, "{mode}");
        assert_eq!(sidecar.finish().expect_code(0).stderr(), stderr, "{mode}");
    }
}

#[test]
fn whole_events_on_a_coloured_line_are_delivered_and_the_colours_pass() {
    let lines = "\x1b[32mTELEMETRY:{\"event\":\"a\"}TELEMETRY: {\"event\":\"b\"}\x1b[0m\n\
                 INFO:root:TELEMETRY: {\"event\":\"c\"}\x1b[0m\n\
                 TELEMETRY:{\"event\":\"torTELEMETRY:{\"event\":\"d\"}\n";
    let mut sidecar = Sidecar::wrap_echo(&["--export-jsonl", "{dir}/events"]);
    sidecar.write(lines);
    let events_file = sidecar.path("events");
    sidecar.wait();
    let events = fs::read_to_string(events_file).unwrap();
    let names: Vec<_> = events.lines().map(|line| &line[..13]).collect();
    assert_eq!(names, ["a", "b", "c", "d"].map(|name| format!("{{\"event\": \"{name}\"")), "{events}");
    // Without its newline a line that is not redrawn would stick to the next one.
    let passed = format!("\x1b[32m\x1b[0m{}", lines.split_once('\n').unwrap().1);
    assert_eq!(sidecar.finish().expect_code(0).stderr(), passed);
}

#[test]
fn only_possible_telemetry_is_delayed() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    sidecar.write("\r 50%");
    sidecar.wait_for_stderr("\r 50%");
    sidecar.write("\npassword: ");
    sidecar.wait_for_stderr("password: ");
    sidecar.write("\nTELEM");
    // The rest of the line could pass only after the held bytes.
    sidecar.write("ENT\n");
    sidecar.wait_for_stderr("TELEMENT\n");
    sidecar.write("TELEM");
    assert_eq!(sidecar.finish().expect_code(0).stderr(), "\r 50%\npassword: \nTELEMENT\nTELEM");
}

#[tokio::test(flavor = "multi_thread")]
async fn held_bytes_are_counted() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    sidecar.write("a\nTELEMETRY:{");
    let held = |status: &telemetry_sidecar::event::proto::sidecar::GetStatusResponse| {
        status.stream.unwrap().bytes_held == 11
    };
    wait_for("11 held bytes", async || sidecar.status().await, held).await;
    sidecar.write("}\n");
    sidecar.wait_for_stderr("TELEMETRY:{}\n");
    let stream = wait_for(
        "no held bytes",
        async || sidecar.status().await.stream.unwrap(),
        |stream| stream.bytes_held == 0,
    )
    .await;
    assert_eq!((stream.bytes_passed, stream.malformed.unwrap().event), (15, 1));
}

#[test]
fn a_closed_stderr_does_not_affect_the_worker() {
    let (reader, writer) = std::io::pipe().unwrap();
    let script = "cat >&2; echo still here; exit 3";
    let words = ["-q", "--export-jsonl", "{dir}/events", "--", "sh", "-c", script];
    let mut sidecar = Sidecar::command(&words).stderr(writer.into()).start();
    drop(reader);
    sidecar.write("text\n".repeat(100_000));
    sidecar.write(line("x", 1, ""));
    let events = sidecar.path("events");
    sidecar.wait();
    assert_eq!(fs::read_to_string(events).unwrap().lines().count(), 1);
    assert_eq!(sidecar.finish().expect_code(3).stdout(), "still here\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_only_the_bytes_that_do_not_fit_are_lost() {
    let full: OwnedFd = fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into();
    let words = ["--ready-file", "{dir}/ready", "--", "sh", "-c", "exec cat >&2"];
    let mut sidecar = Sidecar::command(&words).stderr(Stdio::from(full)).start();
    sidecar.write("text\n");
    let get = async || sidecar.status().await.stream.unwrap();
    wait_for("dropped bytes", get, |stream| stream.bytes_dropped == 5).await;
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_stderr_blocks_the_worker_but_not_the_stream() {
    let (reader, writer) = std::io::pipe().unwrap();
    let words = ["--ready-file", "{dir}/ready", "--", "sh", "-c", "exec cat >&2"];
    let mut sidecar = Sidecar::command(&words).stderr(writer.into()).start();
    let mut subscriber = sidecar.subscribe().await;
    // More than fits in the pipe: the sidecar blocks in write.
    sidecar.write("x".repeat(100_000));
    sidecar.write("\n".to_owned() + &line("after", 1, ""));
    let get = async || sidecar.status().await.stream.unwrap();
    let blocked = wait_for("held bytes", get, |stream| stream.bytes_held > 0).await;
    assert_eq!(blocked.bytes_dropped, 0);
    // After the reader continues, nothing has been lost.
    let mut all = Vec::new();
    let drained = std::thread::spawn(move || {
        std::io::Read::read_to_end(&mut &reader, &mut all).unwrap();
        all
    });
    assert_eq!(subscriber.next().await.event_parts, ["after"]);
    drop(subscriber);
    sidecar.finish().expect_code(0);
    assert_eq!(drained.join().unwrap().len(), 100_001);
}

#[test]
fn a_non_blocking_stderr_loses_nothing_and_stays_non_blocking() {
    let (reader, writer) = std::io::pipe().unwrap();
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    let kept = writer.try_clone().unwrap();
    let words = ["-q", "--", "sh", "-c", "exec cat >&2"];
    let mut sidecar = Sidecar::command(&words).stderr(writer.into()).start();
    let drained = std::thread::spawn(move || {
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut &reader, &mut all).unwrap();
        all.len()
    });
    sidecar.write("0123456789\n".repeat(100_000));
    sidecar.finish().expect_code(0);
    let now = nix::fcntl::fcntl(&kept, nix::fcntl::FcntlArg::F_GETFL).unwrap();
    assert!(nix::fcntl::OFlag::from_bits_retain(now).contains(flags));
    drop(kept);
    assert_eq!(drained.join().unwrap(), 1_100_000);
}

#[test]
fn a_worker_may_close_its_stderr_and_continue() {
    let finished = Sidecar::wrap(&[], "echo last >&2; exec 2>&-; cat; exit 4").finish();
    assert_eq!(finished.expect_code(4).stderr(), "last\n");
}

#[test]
fn a_grandchild_with_stderr_open_does_not_delay_the_exit() {
    // The grandchild exits when its stdin, which this test holds open, is closed.
    let mut sidecar = Sidecar::wrap(&[], "cat <&0 >/dev/null & echo done >&2; exit 5");
    sidecar.wait_for_stderr("done\n");
    wait_until("the exit", || sidecar.has_exited());
    sidecar.finish().expect_code(5);
}

#[test]
fn the_last_output_of_the_worker_is_not_lost() {
    for _ in 0..20 {
        let finished = run(&["-q", "--", "sh", "-c", "head -c 300000 /dev/zero >&2"]);
        assert_eq!(finished.expect_code(0).stderr.len(), 300_000);
    }
}

#[test]
fn a_recording_replays_to_the_same_events_and_bytes() {
    let worker = fixture("workers/training.sh");
    let words = ["--record", "{dir}/log", "--export-jsonl", "{dir}/live"];
    let mut live = Sidecar::wrap_command(&words, &["sh", worker.to_str().unwrap(), "6"]);
    live.wait();
    let [log, live_events] = ["log", "live"].map(|name| live.path(name));
    let mode = fs::metadata(&log).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);

    let words = ["replay", "-q", "--export-jsonl", "{dir}/replayed", log.to_str().unwrap()];
    let mut replayed = Sidecar::command(&words).start();
    replayed.wait();
    let replayed_events = fs::read_to_string(replayed.path("replayed")).unwrap();
    assert!(!replayed_events.is_empty());
    assert_eq!(fs::read_to_string(live_events).unwrap(), replayed_events);
    let replayed = replayed.finish();
    assert_eq!(live.finish().expect_code(0).stderr(), replayed.expect_code(0).stderr());
}

#[test]
fn a_recording_stops_on_a_full_disk_and_the_worker_continues() {
    let mut sidecar = Sidecar::wrap_echo(&["-v", "--record", "/dev/full"]);
    sidecar.write("text\n");
    let finished = sidecar.finish();
    let stderr = finished.expect_code(0).stderr();
    assert!(stderr.contains("text\n"), "{stderr}");
    assert!(stderr.contains("--record: recording stops: No space left on device"), "{stderr}");
    assert!(stderr.contains("recording failures: it has stopped; 5 bytes missing\n"), "{stderr}");
    assert!(stderr.ends_with("recording: 0 bytes written\n"), "{stderr}");
}

#[test]
fn the_log_is_written_between_the_workers_lines() {
    let mut sidecar = Sidecar::wrap_echo(&["-vv"]);
    sidecar.wait_for_stderr("started: sh\n");
    sidecar.write("in mid-line");
    sidecar.wait_for_stderr("in mid-line");
    // The closed connection is logged, but not in the middle of a line of the worker.
    drop(std::net::TcpStream::connect(("127.0.0.1", sidecar.port())).unwrap());
    let finished = sidecar.finish();
    let stderr = finished.expect_code(0).stderr();
    let lines: Vec<_> = stderr.lines().collect();
    assert!(lines[0].starts_with("telemetry-sidecar: listening at 127.0.0.1:"), "{stderr}");
    assert_eq!(lines[2], "in mid-line", "{stderr}");
    assert!(lines.contains(&"telemetry-sidecar: stderr: 11 bytes read = 11 passed"), "{stderr}");
    assert!(lines[3..].iter().all(|line| line.starts_with("telemetry-sidecar: ")), "{stderr}");
}

#[test]
fn the_json_log_has_one_object_a_line_and_no_event_of_another_crate() {
    let words = ["--ready-file", "{dir}/ready", "-vv", "--", "sh", "-c", "echo text >&2"];
    let sidecar =
        Sidecar::command(&words).env("TELEMETRY_SIDECAR_LOG_FORMAT", "json").env("RUST_LOG", "trace").start();
    let finished = sidecar.finish();
    let stderr = finished.expect_code(0).stderr();
    let own = stderr.lines().filter(|line| *line != "text");
    let objects: Vec<serde_json::Value> =
        own.map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(stderr.lines().count(), objects.len() + 1, "{stderr}");
    for object in &objects {
        assert!(object["target"].as_str().unwrap().starts_with("telemetry_sidecar::"), "{object}");
        assert!(object["timestamp"].as_str().unwrap().ends_with('Z'), "{object}");
    }
    let messages: Vec<_> = objects.iter().map(|object| object["message"].as_str().unwrap()).collect();
    assert!(messages[0].starts_with("listening at "), "{stderr}");
    assert!(messages.contains(&"stderr: 5 bytes read = 5 passed"), "{stderr}");
}

#[test]
fn decode_exits_silently_on_a_broken_pipe() {
    let mut log = tempfile::NamedTempFile::new().unwrap();
    for count in 0..20_000 {
        log.write_all(line("x", count, "").as_bytes()).unwrap();
    }
    let script = format!("'{BINARY}' decode {} | head -1", log.path().display());
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}
