//! The families of `--vitals`, compared with what the system says.

use super::series;
use crate::support::{Sidecar, wait_until};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// A worker that uses processor time with threads, with children that it waits for, many of them short, and
/// in ways in which its own times do not contain it: with a child that it ignores, and with one that another
/// process adopts. It prints what it and the children that it waited for have used, and what the others have.
const BUSY: &str = r#"
import multiprocessing, os, signal, subprocess, threading, time

def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

context = multiprocessing.get_context("fork")
children = [context.Process(target=burn, args=(0.2,)) for _ in range(2)]
for process in children:
    process.start()
thread = threading.Thread(target=burn, args=(0.2,))
thread.start()
for _ in range(20):
    subprocess.run(["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"])
for process in children:
    process.join()
thread.join()

reader, writer = os.pipe()
between = os.fork()
if between == 0:
    if os.fork() == 0:
        burn(0.6)
        os._exit(0)
    # Until it was sampled.
    time.sleep(0.5)
    os._exit(0)
os.waitpid(between, 0)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork() == 0:
    burn(0.6)
    os._exit(0)
os.close(writer)
# Until both have ended.
os.read(reader, 1)
times = os.times()
print(times.user + times.children_user + times.system + times.children_system, 1.2, flush=True)
"#;

/// The last page of a sidecar that lingers, after its worker's end and the last sample.
fn last_page(address: &str) -> BTreeMap<String, f64> {
    let mut page = BTreeMap::new();
    wait_until("the worker's end", || {
        page = series(address);
        let has_ended = page.keys().any(|series| series.starts_with("telemetry_sidecar_worker_exit_status"));
        has_ended && !page.contains_key("process_memory_usage_bytes")
    });
    page
}

/// The processor time of a page, in seconds.
fn cpu_seconds(page: &BTreeMap<String, f64>) -> f64 {
    let mode = |mode| page[&format!("process_cpu_time_seconds_total{{cpu_mode=\"{mode}\"}}")];
    mode("user") + mode("system")
}

/// A control group of its own that measures processor time.
struct Group(PathBuf);

impl Group {
    /// None if the system has no such group, or does not permit one.
    fn new() -> Option<Self> {
        let name = format!("telemetry-sidecar-test-{}", std::process::id());
        let parents = ["/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup"];
        let groups = parents.map(|parent| Path::new(parent).join(&name)).into_iter();
        let group =
            groups.filter(|path| fs::create_dir(path).is_ok()).map(Self).find(|group| group.used().is_some());
        if group.is_none() {
            eprintln!("no control group can be made here: only known times are compared");
        }
        group
    }

    /// Processor time in seconds.
    fn used(&self) -> Option<f64> {
        let read = |file| fs::read_to_string(self.0.join(file)).ok();
        if let Some(nanoseconds) = read("cpuacct.usage") {
            return Some(nanoseconds.trim().parse::<f64>().ok()? / 1e9);
        }
        let stat = read("cpu.stat")?;
        let microseconds = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        Some(microseconds.parse::<f64>().ok()? / 1e6)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Processes of a test that failed are being killed.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processor_time_is_that_of_all_processes_of_the_worker() {
    let group = Group::new();
    let script = match &group {
        Some(Group(path)) => format!("echo $$ > {}/cgroup.procs && exec python3 -c \"$0\"", path.display()),
        None => "exec python3 -c \"$0\"".into(),
    };
    let options = ["--export-prometheus", "127.0.0.1:0", "--vitals", "100ms", "--linger", "60s"];
    let sidecar = Sidecar::wrap_command(&options, &["sh", "-c", &script, BUSY]);
    let address = sidecar.status().await.prometheus_address;
    let mut before = 0.0;
    wait_until("the worker's times", || {
        let page = series(&address);
        if page.contains_key("process_memory_usage_bytes") {
            let now = cpu_seconds(&page);
            assert!(now >= before, "{now} after {before}");
            before = now;
        }
        sidecar.wait_for_stdout(0).ends_with('\n')
    });
    let page = last_page(&address);
    let used = cpu_seconds(&page);
    assert!(used >= before);
    let printed = sidecar.wait_for_stdout(0);
    let times: Vec<f64> = printed.split_whitespace().map(|number| number.parse().unwrap()).collect();
    // Up to an interval of each process that its parent did not wait for is lost.
    let expected = times[0] + times[1];
    assert!(used > expected - 0.3 && used < expected + 0.2, "{used} {times:?}");
    if let Some(measured) = group.as_ref().and_then(Group::used) {
        assert!(used > measured - 0.3 && used < measured + 0.05, "{used} {measured}");
    }
    sidecar.signal(nix::sys::signal::Signal::SIGTERM);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_are_families_of_their_own_and_what_a_worker_prints_stays_a_metric() {
    const DELIVERED: &str =
        r#"telemetry_sidecar_exporter_events_total{exporter="prometheus",outcome="delivered"}"#;
    let line = r#"TELEMETRY:{"event": "worker.memory.sampled", "measurements": {"rss_bytes": 5}}"#;
    let script = format!("echo '{line}' >&2; cat");
    let options = ["--export-prometheus", "127.0.0.1:0", "--vitals", "100ms"];
    let mut sidecar = Sidecar::wrap(&options, &script);
    let address = sidecar.status().await.prometheus_address;
    let mut page = BTreeMap::new();
    wait_until("samples", || {
        page = series(&address);
        page.get(DELIVERED).is_some_and(|count| *count > 5.0)
            && page.contains_key("snakepit_worker_memory_sampled_rss_bytes")
    });
    assert_eq!(page["snakepit_worker_memory_sampled_rss_bytes"], 5.0);
    let sampled: Vec<_> = page.keys().filter(|name| name.starts_with("snakepit_")).collect();
    assert_eq!(sampled.len(), 2, "its own event and measurement: {sampled:?}");
    for family in [
        "process_memory_usage_bytes",
        "process_memory_virtual_bytes",
        "process_thread_count",
        "process_unix_file_descriptor_count",
        "process_uptime_seconds",
        "telemetry_sidecar_worker_processes",
    ] {
        assert!(page[family] > 0.0, "{family}");
    }
    sidecar.close_stdin();
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_subscriptions_that_start_disabled_there_are_no_families_of_samples() {
    let options = ["--export-prometheus", "127.0.0.1:0", "--vitals", "100ms", "--disabled"];
    let mut sidecar = Sidecar::wrap(&options, "cat");
    let address = sidecar.status().await.prometheus_address;
    let mut page = BTreeMap::new();
    wait_until("samples", || {
        page = series(&address);
        page.get("telemetry_sidecar_events_total{source=\"observed\"}").is_some_and(|count| *count > 5.0)
    });
    let families: Vec<_> = page.keys().filter(|name| name.starts_with("process_")).collect();
    assert!(families.is_empty() && !page.contains_key("telemetry_sidecar_worker_processes"), "{families:?}");
    sidecar.close_stdin();
    sidecar.finish().expect_code(0);
}
