//! `gather`: one page for several sidecars. Others may run on this host, and they are on the page, too: so
//! each test has events of its own.

use crate::{
    http::{Connection, get},
    support::{
        Builder, Sidecar, line,
        refusal::{expect_one_line, expect_words},
        run, wait_until,
    },
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    net::TcpStream,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Held by each test: the sidecars of one would wait for the gatherer of another, which has ended, to fetch
/// their last page.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A gatherer, and its address.
fn gather(options: &[&str]) -> (Sidecar, String) {
    gather_every("100ms", options)
}

fn gather_every(interval: &str, options: &[&str]) -> (Sidecar, String) {
    start(gather_command(interval, options))
}

fn gather_command(interval: &str, options: &[&str]) -> Builder {
    let start = ["gather", "--listen", "127.0.0.1:0", "--ready-file", "{dir}/ready", "--interval", interval];
    Sidecar::command(&[&start[..], options].concat())
}

fn start(gatherer: Builder) -> (Sidecar, String) {
    let gatherer = gatherer.start();
    let address = format!("127.0.0.1:{}", gatherer.port());
    (gatherer, address)
}

/// A sidecar with a metrics page, whose worker prints what it gets.
fn worker(options: &[&str]) -> Sidecar {
    Sidecar::wrap_echo(&[&["-q", "--export-prometheus", "127.0.0.1:0"], options].concat())
}

fn page(address: &str) -> String {
    let answer = get(address, "/metrics", "");
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    answer.body
}

/// The slot of a sidecar that runs.
fn slot(page: &str, sidecar: &Sidecar) -> Option<String> {
    let pid = format!("pid=\"{}\"", sidecar.pid());
    let is_it =
        |line: &&str| line.starts_with("telemetry_sidecar_gather_worker_info{") && line.contains(&pid);
    let info = page.lines().find(is_it)?;
    info.split("worker=\"").nth(1)?.split('"').next().map(ToOwned::to_owned)
}

fn wait_for_slot(address: &str, sidecar: &Sidecar) -> String {
    let mut found = None;
    wait_until("a slot", || {
        found = slot(&page(address), sidecar);
        found.is_some()
    });
    found.unwrap()
}

/// An event's name that the workers of other test runs on this host do not print.
fn own(event: &str) -> String {
    format!("{event}.{}", std::process::id())
}

/// The counts of an event, by slot.
fn counts(page: &str, event: &str) -> BTreeMap<String, u64> {
    let event = own(event);
    let series = page.lines().filter_map(|line| {
        let labels = line.strip_prefix("snakepit_events_total{worker=\"")?;
        let (worker, rest) = labels.split_once('"')?;
        let value = rest.strip_prefix(&format!(",event=\"{event}\"}} "))?;
        Some((worker.to_owned(), value.parse().unwrap()))
    });
    series.collect()
}

/// Waits until the counts of an event have this sum, which they never exceed, and returns them.
fn wait_for_sum(address: &str, event: &str, sum: u64) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    wait_until("the sum of the events", || {
        found = counts(&page(address), event);
        assert!(found.values().sum::<u64>() <= sum, "{found:?}");
        found.values().sum::<u64>() == sum
    });
    found
}

fn events(name: &str, count: usize) -> String {
    line(&own(name), 1, "").repeat(count)
}

#[test]
fn counters_stay_when_workers_end_and_the_last_page_is_waited_for() {
    let _alone = alone();
    let (gatherer, address) = gather(&["-v"]);
    let mut workers = [worker(&["--linger", "60s"]), worker(&[])];
    for (worker, count) in workers.iter_mut().zip([3, 4]) {
        worker.write(events("gather.stay", count));
    }
    let before = wait_for_sum(&address, "gather.stay", 7);
    let [mut first, mut second] = workers;
    let slots = [&first, &second].map(|worker| wait_for_slot(&address, worker));
    assert_eq!(slots.each_ref().map(|slot| before[slot]), [3, 4]);
    // A subscriber that came lets the sidecar go as soon as its page was fetched.
    let mut subscriber = Sidecar::command(&["tail", &format!("127.0.0.1:{}", first.port())]).start();
    subscriber.wait_for_stdout(1);
    first.write(events("gather.stay", 2));
    first.wait();
    subscriber.wait();
    let total = wait_for_sum(&address, "gather.stay", 9);
    assert_eq!(total[&slots[0]], 5);
    wait_until("the end", || slot(&page(&address), &first).is_none());
    assert_eq!(counts(&page(&address), "gather.stay"), total);
    let start = format!("worker {}: sidecar {}", slots[0], first.pid());
    wait_until("the line about it", || {
        let stderr = String::from_utf8(gatherer.stderr_so_far()).unwrap();
        stderr.lines().any(|line| line.contains(&start) && line.ends_with(" has ended"))
    });
    // The next worker adds to what a free slot has.
    let mut third = worker(&[]);
    third.write(events("gather.stay", 10));
    wait_for_sum(&address, "gather.stay", 19);
    second.signal(Signal::SIGKILL);
    second.wait();
    wait_until("the end", || slot(&page(&address), &second).is_none());
    let start = format!("worker {}: sidecar {}", slots[1], second.pid());
    wait_until("the line about it", || {
        let stderr = String::from_utf8(gatherer.stderr_so_far()).unwrap();
        let mut lines = stderr.lines().filter(|line| line.contains(&start));
        lines.any(|line| line.contains("): ended, exit status unknown: the sidecar was killed, or "))
    });
    wait_for_sum(&address, "gather.stay", 19);
    third.finish().expect_code(0);
    gatherer.signal(Signal::SIGINT);
    gatherer.finish().expect_code(0);
}

#[test]
fn a_worker_that_follows_at_the_same_port_is_another_one() {
    let _alone = alone();
    // Pages are fetched by the requests of this test long before the next look for sidecars.
    let (_gatherer, address) = gather_every("2s", &[]);
    let mut first = worker(&[]);
    let port = first.ready_lines()[1].replace("prometheus ", "127.0.0.1:");
    first.write(events("gather.port", 7));
    wait_for_sum(&address, "gather.port", 7);
    first.signal(Signal::SIGKILL);
    first.wait();
    let mut second = Sidecar::wrap_echo(&["-q", "--export-prometheus", &port]);
    second.port();
    second.write(events("gather.port", 2));
    let expected = format!("snakepit_events_total{{event=\"{}\"}} 2\n", own("gather.port"));
    wait_until("its page", || get(&port, "/metrics", "").body.contains(&expected));
    let mut last = 7;
    wait_until("both", || {
        let sum = counts(&page(&address), "gather.port").values().sum::<u64>();
        assert!((last..=9).contains(&sum), "{last}, then {sum}");
        last = sum;
        sum == 9
    });
    second.finish().expect_code(0);
    wait_for_sum(&address, "gather.port", 9);
}

#[test]
fn the_targets_and_the_other_paths() {
    let _alone = alone();
    let (gatherer, address) = gather(&["-q"]);
    let worker = worker(&[]);
    let slot = wait_for_slot(&address, &worker);
    let answer = get(&address, "/sd", "");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let targets: Value = serde_json::from_str(&answer.body).unwrap();
    let pid = worker.pid().to_string();
    let is_own = |target: &&Value| target["labels"]["__meta_telemetry_sidecar_pid"] == pid;
    let target = targets.as_array().unwrap().iter().find(is_own).unwrap();
    let port = worker.ready_lines()[1].replace("prometheus ", "127.0.0.1:");
    assert_eq!(target["targets"], serde_json::json!([port]));
    assert_eq!(target["labels"]["__meta_telemetry_sidecar_worker"], slot);
    // A shell that executes cat.
    let command = target["labels"]["__meta_telemetry_sidecar_command"].as_str().unwrap();
    assert!(["sh", "cat"].contains(&command), "{command}");

    assert!(get(&address, "/", "").body.contains("\n/sd "));
    assert_eq!(get(&address, "/-/healthy", "").body, "ok\n");
    assert_eq!(get(&address, "/x", "").status, 404);
    let mut connection = Connection::open(&address);
    assert_eq!(connection.request("POST", "/sd", "").status, 405);
    assert_eq!(connection.request("HEAD", "/sd", "").status, 200);
    let gzip = get(&address, "/metrics", "Accept-Encoding: gzip\r\nAccept: application/openmetrics-text\r\n");
    assert!(
        gzip.header("content-encoding") == "gzip" && gzip.header("content-type").starts_with("text/plain")
    );
    let mut connection = Connection::open(&address);
    let misdirected = connection.exchange("GET", "GET /sd HTTP/1.1\r\nHost: attacker.example\r\n\r\n");
    assert_eq!(misdirected.status, 421);
    expect_words(&misdirected.body, &["--allowed-host allows other names"]);
    worker.finish().expect_code(0);
    gatherer.signal(Signal::SIGTERM);
    assert_eq!(gatherer.finish().expect_code(0).stderr(), "");
}

#[test]
fn a_stopped_sidecar_delays_nobody_and_its_values_stay() {
    let _alone = alone();
    let (_gatherer, address) = gather(&[]);
    let (mut stopped, mut other) = (worker(&[]), worker(&[]));
    stopped.write(events("gather.stopped", 2));
    other.write(events("gather.stopped", 1));
    wait_for_sum(&address, "gather.stopped", 3);
    stopped.signal(Signal::SIGSTOP);
    let late = "telemetry_sidecar_gather_workers{state=\"late\"} 1\n";
    wait_until("it to be late", || page(&address).contains(late));
    other.write(events("gather.stopped", 5));
    wait_for_sum(&address, "gather.stopped", 8);
    stopped.signal(Signal::SIGCONT);
    stopped.write(events("gather.stopped", 1));
    wait_for_sum(&address, "gather.stopped", 9);
    for worker in [stopped, other] {
        worker.finish().expect_code(0);
    }
}

#[test]
fn a_look_without_free_descriptors_ends_neither_the_gatherer_nor_a_worker() {
    let _alone = alone();
    let (gatherer, address) = start(gather_command("100ms", &[]).limited("-n 40"));
    let mut first = worker(&[]);
    first.write(events("gather.descriptors", 3));
    wait_for_sum(&address, "gather.descriptors", 3);
    let own_slot = wait_for_slot(&address, &first);
    // They are idle, and each has a descriptor of the gatherer.
    let idle: Vec<_> = (0..60).map(|_| TcpStream::connect(&address).unwrap()).collect();
    gatherer.wait_for_stderr("telemetry-sidecar: cannot look for new sidecars, trying again: Too many open");
    drop(idle);
    let mut second = worker(&[]);
    second.write(events("gather.descriptors", 4));
    let counts = wait_for_sum(&address, "gather.descriptors", 7);
    assert_eq!(counts[&own_slot], 3);
    assert_eq!(wait_for_slot(&address, &first), own_slot);
    for worker in [first, second] {
        worker.finish().expect_code(0);
    }
    gatherer.signal(Signal::SIGTERM);
    gatherer.finish().expect_code(0);
}

#[test]
fn the_limit_of_open_files_is_raised() {
    let _alone = alone();
    let (gatherer, _) = start(gather_command("10s", &[]).limited("-S -n 40"));
    let limits = fs::read_to_string(format!("/proc/{}/limits", gatherer.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let values: Vec<_> = line.split_ascii_whitespace().collect();
    assert_eq!(values[0], values[1]);
}

#[test]
fn the_first_workers_and_a_failed_one_are_said() {
    let _alone = alone();
    let (gatherer, address) = gather(&[]);
    gatherer.wait_for_stderr(&format!("telemetry-sidecar: gathering at http://{address}/metrics: 0 workers"));
    let options =
        ["-q", "--export-prometheus", "127.0.0.1:0", "--linger", "60s", "--metadata", "worker=seven"];
    let mut sidecar = Sidecar::wrap(&options, "read line; exit 3");
    let slot = wait_for_slot(&address, &sidecar);
    gatherer.wait_for_stderr("telemetry-sidecar: gathering 1 worker\n");
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", sidecar.pid())).unwrap();
    sidecar.write("\n");
    let exit = format!("telemetry_sidecar_worker_exit_status{{worker=\"{slot}\",kind=\"code\"}} 3\n");
    wait_until("the exit status", || page(&address).contains(&exit));
    sidecar.signal(Signal::SIGTERM);
    sidecar.wait();
    let is_about_it = |line: &str| {
        let start = format!("telemetry-sidecar: worker {slot}: sidecar {}, worker ", sidecar.pid());
        let Some((pid, rest)) = line.strip_prefix(&start).and_then(|rest| rest.split_once(' ')) else {
            return false;
        };
        children.split(' ').any(|child| child == pid) && rest == "(sh, worker=seven): exit 3"
    };
    wait_until("the line about it", || {
        String::from_utf8(gatherer.stderr_so_far()).unwrap().lines().any(is_about_it)
    });
}

#[test]
fn a_sidecar_without_a_page_is_named() {
    let _alone = alone();
    let without = Sidecar::wrap_echo(&["-q"]);
    without.port();
    let (gatherer, address) = gather(&[]);
    let named = format!("not gathered: sidecar {}, worker ", without.pid());
    let mut comment = String::new();
    wait_until("the comment", || {
        let page = page(&address);
        comment = page.lines().find(|line| line.contains(&named)).unwrap_or_default().to_owned();
        !comment.is_empty()
    });
    assert!(comment.starts_with("# not gathered: "), "{comment}");
    assert!(comment.ends_with("): started without --export-prometheus"), "{comment}");
    gatherer.wait_for_stderr(&format!("telemetry-sidecar: {named}"));
    gatherer.wait_for_stderr(&format!("telemetry-sidecar: gathering at http://{address}/metrics: "));
    without.finish().expect_code(0);
    wait_until("the comment to go", || !page(&address).contains(&named));
}

#[test]
fn a_sidecar_that_requires_a_token_is_reached_with_it() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    fs::write(&path, "secret-token\n").unwrap();
    let tokens = path.to_str().unwrap();
    let mut protected = worker(&["--auth-token-file", tokens]);
    protected.write(events("gather.token", 1));
    protected.port();
    let (without, address) = gather(&[]);
    let named = format!("not gathered: sidecar {}, worker ", protected.pid());
    wait_until("the comment", || page(&address).contains(&format!("# {named}")));
    let page_without = page(&address);
    let cause = page_without.lines().find(|line| line.contains(&named)).unwrap();
    assert!(cause.ends_with("): needs a token: --auth-token-file"), "{cause}");
    assert_eq!(slot(&page_without, &protected), None);
    without.wait_for_stderr(&format!("telemetry-sidecar: {named}"));
    let (_with, address) = gather(&["--auth-token-file", tokens]);
    wait_for_sum(&address, "gather.token", 1);
    protected.finish().expect_code(0);
}

#[test]
fn a_workers_own_label_of_that_name_is_kept() {
    let _alone = alone();
    let (_gatherer, address) = gather(&[]);
    let mut sidecar = worker(&["--metric-label", "worker"]);
    let event = r#"TELEMETRY:{"event": "gather.label", "metadata": {"worker": "w\"1"}}"#;
    sidecar.write(format!("{event}\n"));
    let slot = wait_for_slot(&address, &sidecar);
    let labels = format!(r#"{{worker="{slot}",event="gather.label",exported_worker="w\"1"}} 1"#);
    let series = format!("\nsnakepit_events_total{labels}\n");
    wait_until("the series", || page(&address).contains(&series));
    sidecar.finish().expect_code(0);
}

#[test]
fn wrong_options_are_refused() {
    let refused = |options: &[&str]| expect_one_line(&run(&[&["gather"], options].concat()), || true);
    expect_words(&refused(&["--listen", "0.0.0.0:0"]), &["--listen: '0.0.0.0:0'", "with --insecure"]);
    expect_words(&refused(&["--listen", "unix:/x"]), &["--listen: 'unix:/x'", "scrapes HOST:PORT only"]);
    expect_words(&refused(&["--interval", "0s"]), &["--interval: '0s'", "more than 0s"]);
    expect_words(&refused(&["--allowed-host", "*"]), &["--allowed-host: '*'", "without a port"]);
    expect_words(&refused(&["--tls-cert", "/x"]), &["--tls-cert", "--tls-key"]);
    expect_words(&refused(&["x"]), &["x"]);
}
