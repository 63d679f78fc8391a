//! Several sidecars, and all of this host.

use super::{address, counts, tail, with_backlog};
use crate::support::{BINARY, Finished, Sidecar, line};
use nix::sched::{CloneFlags, unshare};
use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

#[test]
fn several_are_followed_until_all_have_ended() {
    let (mut one, mut other) = (Sidecar::wrap_echo(&[]), Sidecar::wrap_echo(&[]));
    let (first, second) = (address(&one), address(&other));
    let tail = tail(&[], &[&one, &other]).start();
    one.write(line("a", 1, ""));
    let printed = tail.wait_for_stdout(1).len();
    one.finish().expect_code(0);
    tail.wait_for_stderr(&format!("telemetry-sidecar: {first}: exited with 0\n"));
    other.write(line("b", 2, ""));
    tail.wait_for_stdout(printed + 1);
    other.finish().expect_code(0);
    let finished = tail.finish();
    // The same lines as of one, so that they can be replayed.
    assert_eq!(counts(&finished.expect_code(0).stdout()), [1, 2]);
    assert!(finished.stderr().ends_with(&format!(" {second}: exited with 0\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_is_reported_and_the_others_go_on() {
    let sidecar = with_backlog(&["--queue-capacity", "1"], &["a", "a"]).await;
    let gone = Sidecar::wrap_echo(&[]);
    let (there, absent) = (address(&sidecar), address(&gone));
    gone.finish().expect_code(0);
    let tail = Sidecar::command(&["tail", "-n0", &absent, &there]).start();
    tail.wait_for_stderr(&format!("telemetry-sidecar: {absent}: cannot connect: "));
    for what in ["1 older event is missing: ", "1 older event left out (-n)\n"] {
        tail.wait_for_stderr(&format!("telemetry-sidecar: {there}: {what}"));
    }
    sidecar.finish().expect_code(0);
    let finished = tail.finish();
    assert_eq!(finished.expect_code(125).stderr().lines().count(), 4);
}

/// Runs a script with `tail` and sidecars that nobody else's `tail` finds, in a network namespace of its own;
/// none if that is not permitted. `$0` is the binary, `$1` an empty directory.
fn in_namespace(script: &str) -> Option<Finished> {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-ec", script, BINARY, dir.path().to_str().unwrap()]).stdin(Stdio::null());
    // SAFETY: the process has one thread, and this is a system call.
    unsafe {
        command.pre_exec(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .or_else(|_| unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET))
                .map_err(Into::into)
        });
    }
    let Ok(output) = command.output() else {
        eprintln!("not tested: a network namespace is not permitted");
        return None;
    };
    Some(Finished {
        command: script.into(),
        status: output.status,
        stdout: output.stdout,
        stderr: output.stderr,
    })
}

/// Starts a sidecar `NAME` whose worker prints an event of that name, and ends when the file `NAME.end` is
/// there.
const START: &str = r#"
    start() {
        "$0" -q --listen "unix:$1/$2" --ready-file "$1/$2.ready" -- sh -c '
            echo "TELEMETRY:{\"event\": \"$1\"}" >&2
            until [ -e "$0.end" ]; do sleep 0.02; done' "$1/$2" "$2" &
        until [ -e "$1/$2.ready" ]; do sleep 0.02; done
    }
    printed() { until grep -q "\"event\": \"$2\"" "$1/out"; do sleep 0.02; done; }
"#;

#[test]
fn without_an_address_all_are_followed_and_those_that_start_meanwhile() {
    let script = START.to_owned()
        + r#"
        start "$1" a; start "$1" b
        "$0" tail >"$1/out" 2>"$1/err" & tail=$!
        printed "$1" a; printed "$1" b
        start "$1" c
        printed "$1" c
        touch "$1/a.end" "$1/b.end"
        until [ "$(grep -c 'exited with 0' "$1/err")" = 2 ]; do sleep 0.02; done
        kill -0 $tail
        touch "$1/c.end"
        wait $tail && cat "$1/out" && cat "$1/err" >&2"#;
    let Some(finished) = in_namespace(&script) else { return };
    assert_eq!(finished.expect_code(0).stdout().lines().count(), 3);
    let stderr = finished.stderr();
    // Sidecars of other tests are in another namespace, which may be reported.
    let ends: Vec<_> = stderr.lines().filter(|line| line.starts_with("telemetry-sidecar: sh[")).collect();
    assert!(ends.len() == 3 && ends.iter().all(|line| line.ends_with("]: exited with 0")), "{stderr}");
}

#[test]
fn without_any_sidecar_the_first_one_is_waited_for() {
    let Some(finished) = in_namespace(r#""$0" tail"#) else { return };
    let expected = "telemetry-sidecar: no sidecar found, --wait DURATION waits for one";
    assert!(finished.expect_code(125).stderr().starts_with(expected), "{}", finished.describe());

    let finished = in_namespace(r#""$0" tail --wait 200ms"#).unwrap();
    let expected = "telemetry-sidecar: no sidecar found within 200ms";
    assert!(finished.expect_code(125).stderr().starts_with(expected), "{}", finished.describe());

    let script = START.to_owned()
        + r#"
        "$0" tail --wait 60s >"$1/out" & tail=$!
        start "$1" a
        printed "$1" a
        touch "$1/a.end"
        wait $tail"#;
    in_namespace(&script).unwrap().expect_code(0);
}

#[test]
fn of_one_the_end_of_a_worker_that_failed_is_reported() {
    for (script, how) in [("kill -KILL $$", "killed by SIGKILL"), ("exit 3", "exited with 3")] {
        let sidecar = Sidecar::wrap(&["--linger", "600s"], script);
        let finished = tail(&[], &[&sidecar]).start().finish();
        assert_eq!(finished.expect_code(0).stderr(), format!("telemetry-sidecar: {how}\n"));
    }
}
