//! `status`: the counters of a sidecar as text and as JSON.

use super::{Finished, on_terminal, run, with_dropped, with_events};
use crate::support::{Sidecar, line, refusal::expect_words, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;

fn status(arguments: &[&str]) -> Finished {
    run(&[&["status"], arguments].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_comes_first_and_zeros_are_left_out() {
    let mut sidecar = Sidecar::wrap_echo(&["--export-jsonl", "/dev/full"]);
    sidecar.write(["TELEMETRY:{\n".to_owned(), line("a", 1, ""), line("b", 2, "")].concat());
    with_dropped(&sidecar, 2).await;
    let pid = sidecar.pid().to_string();
    let printed = status(&[&pid]).expect_code(0).stdout();
    let mut lines = printed.lines();
    assert_eq!(lines.next().unwrap(), format!("sidecar {pid}  cat"));
    let lines: Vec<_> = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = ["jsonl failures 2 events dropped or not sent", "malformed lines 1 not JSON"];
    assert_eq!(lines[..2], expected, "{printed}");
    assert_eq!(lines[2], format!("at 127.0.0.1:{}", sidecar.port()), "{printed}");
    for line in
        ["telemetry lines 3 = 2 decoded + 1 malformed", "events 2 = 2 decoded", "jsonl 2 offered = 2 dropped"]
    {
        assert!(lines.iter().any(|found| found == line), "{line}: {printed}");
    }
    assert!(!printed.contains("filtered") && !printed.contains("subscribers"), "{printed}");

    let shown = on_terminal(&["status", &pid], 60);
    assert!(shown.contains("\u{1b}[38;5;1m  malformed lines"), "{shown:?}");
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_is_named_by_its_address_its_process_or_its_worker() {
    let mut sidecar = Sidecar::wrap_echo(&["--listen", "127.0.0.1:0", "--listen", "unix:{dir}/s"]);
    sidecar.write(line("a", 1, ""));
    with_events(&sidecar, 1).await;
    let worker = sidecar.status().await.worker.unwrap().pid.to_string();
    let unix = format!("unix:{}", sidecar.path("s").display());
    let tcp = format!("127.0.0.1:{}", sidecar.port());
    for target in [sidecar.pid().to_string(), worker, unix, tcp] {
        let printed = status(&["--json", &target]).expect_code(0).stdout();
        let object: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(object["pid"], sidecar.pid().as_raw(), "{target}: {printed}");
        assert_eq!(object["status"]["stream"]["decoded"], 1, "{target}: {printed}");
        assert_eq!(object["status"]["backlog"]["waiting"], 1, "{target}: {printed}");
    }
    sidecar.finish().expect_code(0);
}

#[test]
fn those_that_do_not_answer_are_reported_and_the_others_printed() {
    let sidecar = Sidecar::wrap_echo(&[]);
    let address = format!("127.0.0.1:{}", sidecar.port());
    let finished = status(&["unix:/nonexistent/socket", &address, "4294967295"]);
    finished.expect_code(125);
    assert!(
        finished.stdout().starts_with(&format!("sidecar {}\n", sidecar.pid())),
        "{}",
        finished.describe()
    );
    let stderr = finished.stderr();
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{stderr}");
    expect_words(lines[0], &["unix:/nonexistent/socket", "cannot connect", "No such file"]);
    expect_words(lines[1], &["4294967295", "process id"]);

    let finished = status(&["--json", "4294967295"]);
    let object: Value = serde_json::from_str(&finished.expect_code(125).stdout()).unwrap();
    assert!(
        object["status"].is_null() && object["error"].as_str().unwrap().contains("process id"),
        "{object}"
    );

    let finished = status(&["nothing"]);
    expect_words(&finished.expect_code(125).stderr(), &["nothing", "HOST:PORT"]);
    sidecar.finish().expect_code(0);
}

#[test]
fn json_has_null_for_what_is_not_known_of_the_worker() {
    let ends = ["end_reason", "cpu_time_nano", "max_rss_bytes", "oom_kills", "vitals"];
    // A sidecar at a given address is waited for on a busy machine.
    let worker = |sidecar: &Sidecar| {
        let printed = status(&["--json", &format!("127.0.0.1:{}", sidecar.port())]).expect_code(0).stdout();
        serde_json::from_str::<Value>(&printed).unwrap()["status"]["worker"].clone()
    };
    let sidecar = Sidecar::wrap_echo(&[]);
    let running = worker(&sidecar);
    assert!(ends.iter().all(|key| running[key].is_null() && running.get(key).is_some()), "{running}");
    sidecar.finish().expect_code(0);

    let mut sidecar = Sidecar::wrap(&["--linger", "600s", "--vitals", "100ms"], "read line; exit 3");
    wait_until("a sample", || worker(&sidecar)["vitals"]["rss_bytes"].as_u64() > Some(0));
    sidecar.write("\n");
    let mut ended = Value::Null;
    wait_until("the worker's end", || {
        ended = worker(&sidecar);
        ended["exit_code"] == 3 && ended["vitals"]["rss_bytes"].is_null()
    });
    assert_eq!((&ended["end_reason"], &ended["oom_kills"]), (&"exit".into(), &Value::Null), "{ended}");
    for number in [&ended["cpu_time_nano"], &ended["max_rss_bytes"], &ended["vitals"]["peak_rss_bytes"]] {
        assert!(number.as_u64() > Some(0), "{ended}");
    }
    sidecar.signal(Signal::SIGTERM);
}
