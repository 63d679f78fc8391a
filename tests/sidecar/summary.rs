//! The summary at the end.

use crate::support::{Builder, Finished, Sidecar, run, wait_until};
use nix::{
    pty::{Winsize, openpty},
    sys::signal::Signal,
};
use serde_json::Value;
use std::{fs, fs::File, io::Read as _, process::Stdio, thread, time::Duration};

/// Three steps, of which one fails, and what is no step.
const STEPS: &str = r#"
for loss in 2.5 1.5 0.5; do
    printf 'TELEMETRY:{"event": "step.stop", "measurements": {"duration_ms": 20, "loss": %s}}\n' $loss >&2
done
printf 'TELEMETRY:{"event": "step.exception", "measurements": {"duration_ms": 40}}\nend' >&2
exit 3
"#;

const TABLES: &str = "
OPERATION  COUNT  ERRORS    P50    P95    P99   TOTAL
step           4       1  20 ms  40 ms  40 ms  100 ms

MEASUREMENT  COUNT  FIRST  LAST  MIN  MAX  COURSE
step.loss        3    2.5   0.5  0.5  2.5  █▅▁

DESTINATION    DELIVERED
0 subscribers          0
";

fn wrap(options: &[&str], script: &str) -> Builder {
    // A busy machine may need more than the default time to count the last events.
    let start = ["--drain-timeout", "30s", "--listen", "unix:{dir}/socket"];
    let words = [&start, options, &["--", "sh", "-c", script]].concat();
    Sidecar::command(&words).env("LC_ALL", "C.UTF-8").env("TERM", "dumb")
}

/// What a terminal of this width shows of a run.
fn on_terminal(sidecar: Builder, columns: u16) -> (Finished, String) {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).unwrap();
    let sidecar = sidecar.stderr(Stdio::from(terminal.slave)).start();
    let reading = thread::spawn(move || {
        let mut shown = Vec::new();
        // It fails with EIO when the last process has closed the terminal.
        let _ = File::from(terminal.master).read_to_end(&mut shown);
        String::from_utf8(shown).unwrap().replace("\r\n", "\n")
    });
    (sidecar.finish(), reading.join().unwrap())
}

/// The summary in this text, without its first line, which has the time. That line has to begin and end like
/// this.
#[track_caller]
fn summary(text: &str, begin: &str, end: &str) -> String {
    let (_, summary) = text.split_once("telemetry-sidecar: ").unwrap_or_else(|| panic!("none in {text:?}"));
    let (heading, rest) = summary.split_once('\n').unwrap();
    assert!(heading.starts_with(begin) && heading.ends_with(end), "{heading}");
    rest.to_owned()
}

#[test]
fn a_terminal_shows_it_behind_the_last_byte_of_the_worker() {
    let (finished, shown) = on_terminal(wrap(&[], STEPS), 80);
    finished.expect_code(3);
    assert!(shown.starts_with("end\n\ntelemetry-sidecar: sh exited with 3 after "), "{shown}");
    assert_eq!(summary(&shown, "sh exited with 3 after ", " MiB), 4 events"), TABLES);

    assert_eq!(on_terminal(wrap(&["-q"], STEPS), 80).1, "end");
    assert_eq!(on_terminal(wrap(&["--summary", "never"], STEPS), 80).1, "end");
    assert_eq!(on_terminal(wrap(&[], "echo text >&2"), 80).1, "text\n");
}

#[test]
fn nothing_is_printed_elsewhere_unless_it_is_asked_for() {
    assert_eq!(wrap(&[], STEPS).start().finish().expect_code(3).stderr(), "end");
    let asked = [wrap(&["-q", "--summary", "always"], STEPS), {
        wrap(&[], STEPS).env("TELEMETRY_SIDECAR_SUMMARY", "always")
    }];
    for sidecar in asked {
        let stderr = sidecar.start().finish().expect_code(3).stderr();
        assert_eq!(summary(&stderr, "sh exited with 3 after ", ", 4 events"), TABLES);
    }
    let stderr = wrap(&["--summary", "always"], "echo text >&2").start().finish().expect_code(0).stderr();
    assert_eq!(
        summary(&stderr, "sh exited with 0", ", 0 events"),
        "\nDESTINATION    DELIVERED\n0 subscribers          0\n"
    );
}

#[test]
fn it_fits_a_narrow_terminal_without_unicode_and_shows_no_escape_sequences() {
    let script = r#"
        for name in 'a\u001b[31m\u202e-hostile-name-that-is-long' '写写写'; do
            printf 'TELEMETRY:{"event": "%s", "measurements": {"k\\u0007": 1}}\n' "$name" >&2
        done"#;
    let (_, shown) = on_terminal(wrap(&[], script).env("LC_ALL", "C"), 40);
    let summary = summary(&shown, "sh exited with 0", ", 2 events");
    assert!(summary.is_ascii() && !summary.contains('\u{1b}'), "{summary:?}");
    assert!(summary.lines().all(|line| line.len() <= 40), "{summary}");
    assert!(summary.contains(r"a\u{1b}[31m\u{202e}-hos") && summary.contains("??????"), "{summary}");
}

#[test]
fn long_names_are_cut_in_a_log_as_well() {
    let name = "n".repeat(120);
    let script = format!(
        "echo 'TELEMETRY:{{\"event\": \"{name}.stop\", \"measurements\": {{\"{name}_ms\": 1}}}}' >&2"
    );
    let sidecar = wrap(&["--summary", "always", "--export-jsonl", &format!("{{dir}}/{name}")], &script);
    let stderr = sidecar.start().finish().expect_code(0).stderr();
    let summary = summary(&stderr, "sh exited with 0", ", 1 event");
    assert!(summary.lines().all(|line| line.chars().count() <= 100), "{summary}");
    let rows = [("nnn", "nnn…  "), ("…nnn", "nnn_ms  "), ("jsonl /", "nnn…  ")];
    for (begin, end) in rows {
        assert!(summary.lines().any(|line| line.starts_with(begin) && line.contains(end)), "{summary}");
    }
}

#[test]
fn colours_follow_the_terminal_and_no_color() {
    let coloured = |sidecar: Builder| on_terminal(sidecar.env("TERM", "xterm"), 80).1.contains('\u{1b}');
    assert!(coloured(wrap(&[], STEPS)));
    assert!(!coloured(wrap(&[], STEPS).env("NO_COLOR", "1")));
    assert!(!on_terminal(wrap(&[], STEPS), 80).1.contains('\u{1b}'));
}

#[test]
fn a_worker_that_is_killed_is_summarized_and_its_signal_passed_on() {
    let script = format!("{} kill -INT $$", STEPS.replace("exit 3", ""));
    let (finished, shown) = on_terminal(wrap(&[], &script), 80);
    finished.expect_signal(Signal::SIGINT as i32);
    assert_eq!(summary(&shown, "sh was killed by SIGINT after ", ", 4 events"), TABLES);

    let sidecar =
        wrap(&["--summary", "always"], "echo 'TELEMETRY:{\"event\": \"a\"}' >&2; echo on >&2; exec sleep 60");
    let sidecar = sidecar.start();
    sidecar.wait_for_stderr("on\n");
    sidecar.signal(Signal::SIGTERM);
    let finished = sidecar.finish();
    let text = finished.expect_signal(Signal::SIGTERM as i32).stderr();
    assert!(
        summary(&text, "sh was killed by SIGTERM", ", 1 event").contains("\na              1\n"),
        "{text}"
    );
}

#[test]
fn losses_and_destinations_are_in_it() {
    let options = ["--summary", "always", "--export-jsonl", "/dev/full", "--deny", "step.exception"];
    let stderr = wrap(&options, STEPS).start().finish().expect_code(3).stderr();
    let expected = "\
DESTINATION      DELIVERED  NOT WANTED  LOST
0 subscribers            0
jsonl /dev/full          0           1     3
Not in this summary: 1 event left out by --allow and --deny
telemetry-sidecar: jsonl: 3 events not delivered: No space left on device (os error 28)
";
    assert!(stderr.ends_with(expected), "{stderr}");
}

#[test]
fn spans_and_data_points_that_no_collector_has_accepted_are_lost() {
    let options = [
        "--summary",
        "always",
        "--export-otlp",
        "--otlp-endpoint",
        "http://127.0.0.1:1",
        "--drain-timeout",
        "1s",
    ];
    let stderr = wrap(&options, STEPS).start().finish().expect_code(3).stderr();
    let row = stderr.lines().find(|line| line.starts_with("otlp http://127.0.0.1:1 ")).unwrap_or_default();
    assert!(row.contains(" 0 ") && row.ends_with(" 4 spans, 5 data points"), "{stderr}");
}

#[test]
fn an_operation_that_was_running_at_the_end_is_in_flight() {
    let script = "echo 'TELEMETRY:{\"event\": \"work.start\"}' >&2; kill -KILL $$";
    let stderr = wrap(&["--summary", "always"], script).start().finish().stderr();
    let text = summary(&stderr, "sh was killed by SIGKILL after ", ", 1 event");
    assert!(text.starts_with("\nOPERATION  COUNT  IN FLIGHT\nwork           0          1\n"), "{text}");
}

#[test]
fn what_is_observed_of_the_worker_is_in_the_first_line() {
    let options = ["--lifecycle", "--vitals", "100ms", "--export-jsonl", "{dir}/events"];
    let script = format!("sleep 0.2;{STEPS}");
    let (finished, shown) = on_terminal(wrap(&options, &script), 80);
    finished.expect_code(3);
    let heading = shown.lines().find(|line| line.starts_with("telemetry-sidecar: ")).unwrap();
    assert!(heading.contains(", peak memory ") && heading.contains(", 4 events and "), "{heading}");
    let observed: u64 = heading.rsplit(' ').nth(1).unwrap().parse().unwrap();
    assert!(heading.ends_with(" observed") && observed >= 5, "{heading}");
    assert!(!shown.contains("worker."), "{shown}");
    let jsonl = shown.lines().find(|line| line.starts_with("jsonl ")).unwrap();
    assert!(jsonl.ends_with(&format!(" {}", observed + 4)), "{shown}");

    assert!(!on_terminal(wrap(&["--lifecycle"], "echo text >&2"), 80).1.contains("telemetry-sidecar"));
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn scripts_get_an_object_in_a_file() {
    let sidecar = wrap(&["--summary", "json", "{dir}/run.json"], STEPS);
    let path = sidecar.path("run.json");
    let mut sidecar = sidecar.start();
    sidecar.wait();
    let object = json(&fs::read_to_string(&path).unwrap());
    assert_eq!(sidecar.finish().expect_code(3).stderr(), "end");
    assert_eq!(object["telemetry_sidecar"], env!("CARGO_PKG_VERSION"));
    let worker = &object["worker"];
    assert_eq!((&worker["program"], &worker["exit_code"]), (&"sh".into(), &3.into()));
    assert_eq!((&worker["reason"], &worker["oom_kills"]), (&"exit".into(), &Value::Null));
    assert!(
        worker["cpu_seconds"].as_f64() < Some(60.0) && worker["max_rss_bytes"].as_u64() > Some(0),
        "{worker}"
    );
    assert_eq!((&object["events"], &object["worker"]["signal"]), (&4.into(), &Value::Null));
    assert_eq!(
        (&object["command"], &object["recordings"]),
        (&serde_json::json!(["sh", "-c", STEPS]), &Value::Null)
    );
    let started = humantime::parse_rfc3339(object["started_at"].as_str().unwrap()).unwrap();
    assert!(started.elapsed().unwrap() < Duration::from_secs(600), "{object}");
    let operation = &object["operations"][0];
    assert_eq!(
        (&operation["name"], &operation["count"], &operation["errors"]),
        (&"step".into(), &4.into(), &1.into())
    );
    assert!((operation["duration_seconds"]["sum"].as_f64().unwrap() - 0.1).abs() < 1e-9);
    let measurement = &object["measurements"][0];
    assert_eq!(
        (&measurement["key"], &measurement["first"], &measurement["last"]),
        (&"loss".into(), &2.5.into(), &0.5.into())
    );
    assert_eq!(measurement["course"], serde_json::json!([2.5, 1.5, 0.5]));
}

#[test]
fn it_is_printed_and_written_if_both_are_asked_for() {
    let both = ["--summary", "always", "--summary", "json", "{dir}/run.json"];
    for options in [both, [both[2], both[3], both[4], both[0], both[1]]] {
        let sidecar = wrap(&options, STEPS);
        let path = sidecar.path("run.json");
        let mut sidecar = sidecar.start();
        sidecar.wait();
        assert_eq!(json(&fs::read_to_string(&path).unwrap())["events"], 4, "{options:?}");
        let stderr = sidecar.finish().expect_code(3).stderr();
        assert_eq!(summary(&stderr, "sh exited with 3 after ", ", 4 events"), TABLES);
    }
}

#[test]
fn an_old_summary_is_replaced_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.json");
    let option = format!("--summary=json:{}", path.display());
    for script in ["kill -9 $$", "exit 4"] {
        let finished = run(&["--listen", "unix:@summary-{dir}", &option, "--", "sh", "-c", script]);
        assert_eq!(finished.stderr(), "");
    }
    assert_eq!(json(&fs::read_to_string(&path).unwrap())["worker"]["exit_code"], 4);
    fs::write(&path, "[1]\n").unwrap();
    let finished = run(&[&option, "--", "sh", "-c", "echo started"]);
    let cause = "the file there is not a summary; remove it or name another path\n";
    assert!(finished.expect_code(125).stderr().ends_with(cause), "{}", finished.describe());
    assert_eq!((finished.stdout().as_str(), fs::read_to_string(&path).unwrap().as_str()), ("", "[1]\n"));
}

#[test]
fn a_file_that_cannot_be_written_is_found_at_the_start() {
    for value in ["json:/nowhere/x.json", "json:/proc/x.json", "json:/", "json", "yes"] {
        let finished = run(&["--summary", value, "--", "echo", "started"]);
        let stderr = finished.expect_code(125).stderr();
        assert!(stderr.starts_with(&format!("telemetry-sidecar: --summary: '{value}': ")), "{stderr}");
        assert_eq!((stderr.lines().count(), finished.stdout()), (1, String::new()));
    }
}

#[test]
fn a_replay_is_summarized_and_waits_for_subscribers_as_without_it() {
    let log = "TELEMETRY:{\"event\": \"a.stop\", \"measurements\": {\"duration\": 2000000}}\n".repeat(20_000);
    let words = ["replay", "--listen", "unix:{dir}/socket", "--summary", "always", "{dir}/log"];
    let all = [&["replay", "--wait-for-subscribers", "0"], &words[1..]].concat();
    let sidecar = Sidecar::command(&all);
    fs::write(sidecar.path("log"), &log).unwrap();
    let stderr = sidecar.start().finish().expect_code(0).stderr();
    let text = summary(&stderr, "replay ended after ", ", 20,000 events");
    assert!(text.contains("\na          20,000  2 ms  2 ms  2 ms   40 s\n"), "{text}");

    let sidecar = Sidecar::command(&[&words[..1], &["--timeout", "200ms"], &words[1..]].concat());
    fs::write(sidecar.path("log"), &log).unwrap();
    let finished = sidecar.start().finish();
    assert!(finished.expect_code(124).stderr().contains("0 of 1 subscriber came"), "{}", finished.describe());
}

#[test]
fn reports_leave_it_out() {
    let mut sidecar = Sidecar::wrap_echo(&["--summary", "always", "-v"]);
    sidecar.write("TELEMETRY:{\"event\": \"a\"}\n");
    let socket = sidecar.port();
    wait_until("the server", || std::net::TcpStream::connect(("127.0.0.1", socket)).is_ok());
    let stderr = sidecar.finish().expect_code(0).stderr();
    assert!(stderr.contains(": events: 1 = 1 decoded\n") && !stderr.contains("summary"), "{stderr}");
}
