//! `--lifecycle`: events about the worker's start and end.

use crate::support::{self, Builder, Finished, Sidecar, Status, assert_balanced, wait_for, wait_until};
use nix::sys::signal::{Signal, killpg};
use serde_json::Value;
use std::{
    fs, io,
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};
use telemetry_sidecar::event::proto::sidecar::EndReason;

/// A command with these options, whose events go to a file.
fn command(options: &[&str], worker: &[&str]) -> Builder {
    Sidecar::command(&[&["--export-jsonl", "{dir}/events"], options, &["--"], worker].concat())
}

/// How it ends, and all of its events.
fn finish(command: Builder) -> (Finished, Vec<Value>) {
    let mut sidecar = command.start();
    sidecar.close_stdin();
    sidecar.wait();
    let lines = fs::read_to_string(sidecar.path("events")).unwrap();
    let events = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (sidecar.finish(), events)
}

/// The same for a shell script.
fn run(options: &[&str], script: &str) -> (Finished, Vec<Value>) {
    finish(command(options, &["sh", "-c", script]))
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[test]
fn start_and_end_enclose_the_events_of_the_worker() {
    let script = r#"echo 'TELEMETRY:{"event": "step.stop"}' >&2; echo $$; exit 3"#;
    let (finished, events) = run(&["--lifecycle"], script);
    finished.expect_code(3);
    assert_eq!(names(&events), ["worker.started", "step.stop", "worker.exited"]);
    let pid = finished.stdout().trim().to_owned();
    for event in [&events[0], &events[2]] {
        assert_eq!(event["metadata"]["worker_pid"], pid);
        assert_eq!(event["metadata"]["program"], "sh");
    }
    let exited = &events[2]["measurements"];
    assert_eq!((&exited["exit_code"], &exited["signal"]), (&3.into(), &Value::Null));
    assert_eq!(events[2]["metadata"]["reason"], "exit");
}

#[test]
fn the_end_has_the_time_and_the_memory_that_the_worker_took() {
    let program = "import time; data = b'1' * (64 << 20); end = time.process_time() + 0.2\n\
                   while time.process_time() < end: pass";
    let (finished, events) = run(&["--lifecycle"], &format!("python3 -c \"{program}\"; exit 0"));
    finished.expect_code(0);
    let exited = &events[1]["measurements"];
    let number = |key: &str| exited[key].as_u64().unwrap_or_else(|| panic!("{key}: {exited}"));
    let (duration, cpu) = (number("duration"), number("cpu"));
    assert!(duration >= 200_000_000 && cpu >= 200_000_000, "{exited}");
    assert!(Duration::from_nanos(duration) < Duration::from_secs(60), "{exited}");
    // Those of the child that the shell waited for.
    assert!((64 << 20..256 << 20).contains(&number("max_rss_bytes")), "{exited}");
}

#[test]
fn a_death_by_a_signal_has_its_number() {
    let (finished, events) = run(&["--lifecycle"], "kill -TERM $$");
    finished.expect_signal(15);
    let exited = &events[1];
    assert_eq!(exited["measurements"]["signal"], 15);
    assert_eq!(exited["measurements"]["exit_code"], Value::Null);
    assert_eq!(exited["metadata"]["reason"], "signal");
}

/// A shell passes a terminal's hang-up on, and when it has exited the kernel signals the group once more.
#[test]
fn the_end_is_in_the_file_however_often_its_signal_is_sent_to_the_group() {
    for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT].into_iter().cycle().take(15) {
        let mut sidecar = command(&["--lifecycle"], &["sleep", "600"]).in_its_group().start();
        let file = sidecar.path("events");
        let events = || fs::read_to_string(&file).unwrap_or_default();
        wait_until("the start", || events().contains("worker.started"));
        while !sidecar.has_exited() {
            killpg(sidecar.pid(), signal).unwrap();
            thread::yield_now();
        }
        assert!(events().contains("worker.exited"), "{signal}: {}", events());
        sidecar.finish().expect_signal(signal as i32);
    }
}

#[test]
fn the_end_of_a_worker_that_failed_has_its_last_lines() {
    let print = r#"i=0; while [ $i -lt 50 ]; do echo "line $i" >&2; i=$((i + 1)); done
        echo 'TELEMETRY:{"event": "a.b"}' >&2; printf '\033[31m 1%%\r99%%\007\033[0m\nend' >&2; "#;
    let output = |options: &[&str], end: &str| {
        let (finished, events) = run(options, &format!("{print}{end}"));
        assert!(
            finished.stderr().ends_with("\u{1b}[31m 1%\r99%\u{7}\u{1b}[0m\nend"),
            "{}",
            finished.stderr()
        );
        events.last().unwrap()["metadata"]["output"].clone()
    };
    let lines: Vec<_> = (32..50).map(|number| format!("line {number}")).collect();
    let expected = Value::from(lines.join("\n") + "\n99%\\u{7}\nend");
    assert_eq!(output(&["--lifecycle"], "exit 1"), expected);
    assert_eq!(output(&["--lifecycle"], "kill -KILL $$"), expected);
    assert_eq!(output(&["--lifecycle"], "exit 0"), Value::Null);
    assert_eq!(output(&["--lifecycle=no-output"], "exit 1"), Value::Null);
}

#[test]
fn the_last_lines_may_be_those_of_a_worker_that_never_ends_a_line() {
    let (_, events) = run(&["--lifecycle"], "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1");
    let output = events[1]["metadata"]["output"].as_str().unwrap();
    assert!(output.len() <= 8192 && output.starts_with("…x") && output.len() > 8000, "{}", output.len());
}

#[tokio::test]
async fn the_end_reaches_a_subscriber_whose_queue_is_full() {
    // More than its connection and its queue hold.
    let flood = r#"read line; text=$(head -c 2000 /dev/zero | tr '\0' x); i=0
        while [ $i -lt 3000 ]; do echo "TELEMETRY:{\"event\": \"a\", \"metadata\": {\"x\": \"$text\"}}" >&2
        i=$((i + 1)); done; exit 3"#;
    let options = ["--lifecycle=no-output", "--queue-capacity", "5", "--drain-timeout", "60s", "-q"];
    let mut sidecar = Sidecar::wrap(&options, flood);
    let mut subscriber = sidecar.subscribe().await;
    sidecar.close_stdin();
    // This blocks the thread that would read.
    let address = format!("127.0.0.1:{}", sidecar.port());
    // Once it drains the queues it accepts no connection.
    wait_until("the worker's end", || {
        support::run(&["status", &address]).stderr().contains("cannot connect")
    });
    let events = subscriber.rest().await;
    assert!(events.len() < 3000, "it was read in time");
    assert_eq!(events.last().unwrap().event_parts.join("."), "worker.exited");
    drop(subscriber);
    let finished = tokio::task::spawn_blocking(|| sidecar.finish()).await.unwrap();
    finished.expect_code(3);
}

/// A control group with this limit, or why there is none. It is removed when dropped.
struct Limited(PathBuf);

impl Limited {
    fn new(limit: &str) -> io::Result<Self> {
        let name = format!("telemetry-sidecar-test-{}", process::id());
        let version_1 = Path::new("/sys/fs/cgroup/memory");
        let is_version_1 = version_1.join("memory.limit_in_bytes").exists();
        let (parent, file) = if is_version_1 {
            (version_1, "memory.limit_in_bytes")
        } else {
            (Path::new("/sys/fs/cgroup"), "memory.max")
        };
        let group = Self(parent.join(name));
        fs::create_dir(&group.0)?;
        fs::write(group.0.join(file), limit)?;
        // Where there is swap, it must not take the rest.
        let _ = fs::write(group.0.join("memory.swap.max"), "0");
        let _ = fs::write(group.0.join("memory.memsw.limit_in_bytes"), limit);
        Ok(group)
    }

    /// The same command in this group.
    fn run(&self, command: Builder) -> (Finished, Vec<Value>) {
        finish(command.after(&format!("echo $$ >{}", self.0.join("cgroup.procs").display())))
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_worker_that_the_kernel_kills_for_its_memory_says_so() {
    let group = match Limited::new("100000000") {
        Ok(group) => group,
        Err(error) => return eprintln!("left out: no control group can be made here: {error}"),
    };
    let take = "data = b'1' * (300 << 20)";
    let (finished, events) = group.run(command(&["--lifecycle"], &["python3", "-c", take]));
    finished.expect_signal(9);
    let exited = &events[1];
    assert_eq!(exited["metadata"]["reason"], "out of memory", "{exited}");
    assert_eq!(
        (&exited["measurements"]["signal"], &exited["measurements"]["oom_kills"]),
        (&9.into(), &1.into())
    );

    // A child that the worker outlives.
    let script = format!("python3 -c \"{take}\"; echo \"child: $?\" >&2; exit 3");
    let (finished, events) = group.run(command(&["--lifecycle"], &["sh", "-c", &script]));
    finished.expect_code(3);
    let exited = &events[1];
    assert_eq!(
        (&exited["metadata"]["reason"], &exited["measurements"]["oom_kills"]),
        (&"exit".into(), &1.into())
    );
    assert!(exited["metadata"]["output"].as_str().unwrap().contains("child: 137"), "{exited}");

    // Killed by another process, in a group that counts earlier kills.
    let (finished, events) = group.run(command(&["--lifecycle"], &["sh", "-c", "kill -KILL $$"]));
    finished.expect_signal(9);
    assert_eq!(events[1]["measurements"]["oom_kills"], Value::Null);
    assert_ne!(events[1]["metadata"]["reason"], "out of memory");
}

#[test]
fn without_the_option_and_without_a_worker_there_are_no_events() {
    assert!(run(&[], "true").1.is_empty());
    let (finished, events) = finish(command(&["--lifecycle"], &["/missing"]));
    finished.expect_code(127);
    assert!(events.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_comes_after_the_end_gets_both() {
    let sidecar = Sidecar::wrap(&["--lifecycle", "--linger", "60s"], "true");
    let has_ended = |status: &Status| {
        status.worker.is_some_and(|worker| worker.exit_code.is_some()) && status.observed_events == 2
    };
    let status = wait_for("the worker's end", async || sidecar.status().await, has_ended).await;
    assert_balanced(&status);
    let worker = status.worker.unwrap();
    assert_eq!((worker.end_reason(), worker.oom_kills.unwrap_or(0)), (EndReason::Exit, 0));
    assert!(worker.cpu_time_nano > Some(0) && worker.max_rss_bytes > Some(0), "{worker:?}");
    let mut subscriber = sidecar.subscribe().await;
    let events: Vec<_> = subscriber.rest().await.iter().map(|event| event.event_parts.join(".")).collect();
    assert_eq!(events, ["worker.started", "worker.exited"]);
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[test]
fn variables_take_the_same_words() {
    for (word, count) in [("1", 2), ("true", 2), ("no-output", 2), ("0", 0), ("false", 0), ("", 0)] {
        let (finished, events) = finish(command(&[], &["true"]).env("TELEMETRY_SIDECAR_LIFECYCLE", word));
        finished.expect_code(0);
        assert_eq!(events.len(), count, "{word}");
    }
    let refused = Sidecar::command(&["--lifecycle=all", "--", "true"]).start().finish();
    let cause = "telemetry-sidecar: --lifecycle: 'all': expected no-output, 0, 1, true or false\n";
    assert_eq!(refused.expect_code(125).stderr(), cause);
}
