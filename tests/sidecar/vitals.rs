//! `--vitals`: samples of what real workers use, compared with what the system's tools say.

use crate::support::{Builder, Sidecar, run, wait_until};
use serde_json::Value;
use std::{fs, process::Command};

/// A worker with children, threads, a child of another thread, one that was adopted in a session of its own,
/// and one that has ended and is not waited for. It prints the process ids of all that live, and waits.
const TREE: &str = r#"
import multiprocessing, os, subprocess, sys, threading, time

def child():
    data = b"1" * (24 << 20)
    threads = [threading.Thread(target=time.sleep, args=(1000,), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(1000)

context = multiprocessing.get_context("fork")
children = [context.Process(target=child, daemon=True) for _ in range(3)]
for process in children:
    process.start()
for _ in range(20):
    subprocess.run(["true"])
ids = [process.pid for process in children]
started = threading.Event()

def start():
    ids.append(subprocess.Popen(["sleep", "1000"]).pid)
    started.set()
    time.sleep(1000)

threading.Thread(target=start, daemon=True).start()
started.wait()
subprocess.Popen(["true"])
reader, writer = os.pipe()
between = os.fork()
if between == 0:
    os.setsid()
    adopted = os.fork()
    if adopted == 0:
        time.sleep(1000)
    os.write(writer, str(adopted).encode())
    # Until it was sampled.
    sys.stdin.readline()
    os._exit(0)
ids.append(int(os.read(reader, 99)))
print("\n".join(map(str, [os.getpid(), *ids])), flush=True)
os.waitpid(between, 0)
print("adopted", flush=True)
sys.stdin.readline()
for process in children:
    process.kill()
os.kill(ids[-1], 9)
os.kill(ids[-2], 9)
"#;

/// A command whose events go to a file.
fn command(options: &[&str], worker: &[&str]) -> Builder {
    Sidecar::command(&[&["--export-jsonl", "{dir}/events"], options, &["--"], worker].concat())
}

/// Waits until the worker has printed this many lines, and returns all of them.
fn lines(sidecar: &Sidecar, count: usize) -> String {
    wait_until("lines of the worker", || sidecar.wait_for_stdout(0).matches('\n').count() == count);
    sidecar.wait_for_stdout(0)
}

/// All events so far.
fn events(sidecar: &Sidecar) -> Vec<Value> {
    let lines = fs::read_to_string(sidecar.path("events")).unwrap_or_default();
    let whole = lines.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The latest measurements of all events of this name, counted from an index.
fn latest(events: &[Value], name: &str, from: usize) -> Option<Value> {
    let latest = events.iter().skip(from).rfind(|event| event["event"] == name)?;
    Some(latest["measurements"].clone())
}

/// The sums of columns of `ps`.
fn ps(pids: &[&str], columns: &str) -> Vec<u64> {
    let output = Command::new("ps").args(["-o", columns, "-p", &pids.join(",")]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = text.lines().map(|line| line.split_whitespace().map(|word| word.parse::<u64>().unwrap()));
    rows.fold(Vec::new(), |sums, row| {
        row.enumerate().map(|(at, number)| sums.get(at).unwrap_or(&0) + number).collect()
    })
}

/// The sum of a number that a file of `/proc` has behind a label.
fn sum(pids: &[&str], number: impl Fn(&str) -> u64) -> u64 {
    pids.iter().map(|pid| number(&format!("/proc/{pid}"))).sum()
}

#[track_caller]
fn assert_about(one: u64, other: u64) {
    assert!(one.abs_diff(other) <= other / 50, "{one} is not about {other}");
}

#[test]
fn samples_have_what_ps_says_of_the_worker_and_all_of_its_descendants() {
    let mut sidecar = command(&["--vitals", "100ms"], &["python3", "-c", TREE]).start();
    // The worker, three children, one of a thread, and the one to be adopted.
    let ids = lines(&sidecar, 6);
    let pids: Vec<_> = ids.lines().collect();
    let has_processes = |sidecar: &Sidecar, from: usize, count: u64| {
        let events = events(sidecar);
        latest(&events, "worker.process.sampled", from).is_some_and(|last| last["processes"] == count)
    };
    // With the one between the worker and the process that is to be adopted.
    wait_until("a sample of all", || has_processes(&sidecar, 0, 7));
    sidecar.write(b"\n");
    lines(&sidecar, 7);
    let from = events(&sidecar).len();
    wait_until("a sample without the one between", || has_processes(&sidecar, from, 6));
    let from = events(&sidecar).len();
    wait_until("further samples", || events(&sidecar).len() >= from + 6);

    let events = events(&sidecar);
    let process = latest(&events, "worker.process.sampled", from).unwrap();
    let memory = latest(&events, "worker.memory.sampled", from).unwrap();
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{memory} {process}"));
    let expected = ps(&pids, "rss=,vsz=,nlwp=");
    assert_about(number(&memory["rss_bytes"]), expected[0] * 1024);
    assert_eq!(number(&memory["vms_bytes"]), expected[1] * 1024);
    assert_eq!(number(&process["threads"]), expected[2]);
    let fds = sum(&pids, |directory| fs::read_dir(format!("{directory}/fd")).unwrap().count() as u64);
    assert_eq!(number(&process["fds"]), fds);
    let swap = sum(&pids, |directory| kib(&format!("{directory}/status"), "VmSwap:"));
    assert_about(number(&memory["swap_bytes"]), swap * 1024);
    sidecar.write(b"\n");
    sidecar.finish().expect_code(0);
}

/// A number in KiB.
fn kib(path: &str, label: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    let rest = text.lines().find_map(|line| line.strip_prefix(label)).unwrap();
    rest.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn the_proportional_memory_counts_shared_pages_once() {
    let script = "import os, sys, time\ndata = b'1' * (32 << 20)\n\
                  for _ in range(3):\n  if os.fork() == 0:\n    sys.stdin.read()\n    os._exit(0)\n\
                  print('ready', flush=True)\nsys.stdin.read()";
    let mut sidecar =
        command(&["--vitals", "100ms"], &["sh", "-c", &format!("python3 -c \"{script}\"")]).start();
    wait_until("the first proportional memory", || {
        let memory = latest(&events(&sidecar), "worker.memory.sampled", 0);
        memory.is_some_and(|memory| memory["pss_bytes"].is_u64())
    });
    let events = events(&sidecar);
    for event in events.iter().filter(|event| event["event"] == "worker.memory.sampled") {
        let measured = &event["measurements"];
        if let (Some(pss), Some(rss)) = (measured["pss_bytes"].as_u64(), measured["rss_bytes"].as_u64()) {
            assert!(pss > 0 && pss < rss, "{event}");
        }
    }
    sidecar.close_stdin();
    sidecar.finish().expect_code(0);
}

#[test]
fn a_worker_of_a_moment_and_one_that_does_not_start_are_no_error() {
    for (worker, code) in [("true", 0), ("/missing", 127)] {
        let mut sidecar = command(&["--vitals", "1s", "--lifecycle"], &[worker]).start();
        sidecar.close_stdin();
        sidecar.wait();
        let events = events(&sidecar);
        let finished = sidecar.finish();
        finished.expect_code(code);
        let last = events.last().map(|event| event["event"].as_str().unwrap());
        assert_eq!(last, (code == 0).then_some("worker.exited"), "{events:?}");
    }
}

#[test]
fn the_interval_has_a_lower_limit_and_a_replay_has_no_worker() {
    for (options, error) in [
        (&["--vitals", "5", "--", "true"][..], "--vitals: '5': expected a duration with a unit"),
        (
            &["--vitals", "99ms", "--", "true"],
            "--vitals: '99ms': expected a duration with a unit, at least 100ms",
        ),
        (&["replay", "--vitals", "1s", "file"], "--vitals"),
    ] {
        let finished = run(options);
        finished.expect_code(125);
        assert!(finished.stderr().contains(error), "{}", finished.describe());
    }
}

#[test]
fn a_worker_whose_first_thread_has_ended_runs_on() {
    let worker = r#"
import ctypes, os, sys, threading
data = b"1" * (64 << 20)
threading.Thread(target=lambda: (sys.stdin.readline(), os._exit(0))).start()
ctypes.CDLL(None).pthread_exit(None)
"#;
    let mut sidecar = command(&["--vitals", "100ms"], &["python3", "-c", worker]).start();
    let mut before = 0;
    wait_until("samples with one thread", || {
        let events = events(&sidecar);
        let processes = latest(&events, "worker.process.sampled", before);
        let memory = latest(&events, "worker.memory.sampled", before);
        before = events.len();
        processes.is_some_and(|sample| sample["processes"] == 1)
            && memory.is_some_and(|sample| sample["rss_bytes"].as_u64().unwrap() > 64 << 20)
            && fs::read_to_string(format!("/proc/{}/stat", worker_pid(&events))).unwrap().contains(") Z ")
    });
    sidecar.close_stdin();
    sidecar.finish().expect_code(0);
}

/// The worker's process id.
fn worker_pid(events: &[Value]) -> &str {
    events.last().unwrap()["metadata"]["worker_pid"].as_str().unwrap()
}

#[test]
fn without_the_proc_of_its_own_namespace_there_are_no_samples() {
    // The worker is process 2 or 3 there. What has such an id in this /proc is another process.
    let sidecar = env!("CARGO_BIN_EXE_telemetry-sidecar");
    let words =
        ["--user", "--map-root-user", "--pid", "--fork", sidecar, "-v", "--vitals", "100ms", "--", "true"];
    let output = Command::new("unshare").args(words).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.starts_with("unshare:") {
        return eprintln!("left out: no PID namespace can be made here: {stderr}");
    }
    assert!(stderr.contains("vitals: cannot read the /proc of this PID namespace"), "{stderr}");
    assert!(output.status.success() && !stderr.contains("observed"), "{stderr}");
}
