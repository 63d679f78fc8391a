//! `--snakepit`: a worker writes its port to a file of its own, and the pool gets the sidecar's.

use super::server::{Server, call, client, request};
use crate::support::{
    BINARY, Builder, Finished, Sidecar,
    refusal::{refused, refused_without},
};
use nix::sys::signal::Signal;
use std::{fs, path::PathBuf};

/// The client's window.
const WINDOW: u32 = 1024 * 1024;

/// Writes the first argument to the ready file as Snakepit's Python workers do, and runs until stdin closes.
const WRITING: &str = "printf %s \"$SNAKEPIT_READY_FILE\" > $0/path
    printf %s \"$1\" > $SNAKEPIT_READY_FILE.tmp; mv $SNAKEPIT_READY_FILE.tmp $SNAKEPIT_READY_FILE
    exec cat";

/// A sidecar as a pool starts it; the pool's ready file is the one that [`Sidecar::port`] reads.
fn pooled(options: &[&str], script: &str, argument: &str) -> Builder {
    let words = [&["--snakepit"], options, &["--", "sh", "-c", script, "{dir}", argument]].concat();
    let builder = Sidecar::command(&words);
    let path = builder.path("ready");
    builder.env("SNAKEPIT_READY_FILE", path.to_str().unwrap())
}

/// Whether nothing is left of the worker's own ready file.
fn is_clean(sidecar: &Sidecar) -> bool {
    let mut files = fs::read_dir(sidecar.dir.path()).unwrap();
    files.all(|file| ["ready", "path"].iter().any(|known| file.as_ref().unwrap().file_name() == *known))
}

#[tokio::test]
async fn the_pool_gets_the_sidecars_port_and_the_worker_its_calls() {
    let server = Server::start().await;
    let sidecar = pooled(&[], WRITING, &server.port.to_string()).start();
    let port = sidecar.port();
    assert_ne!(port, server.port);
    assert!(is_clean(&sidecar));
    let path = PathBuf::from(fs::read_to_string(sidecar.path("path")).unwrap());
    assert_ne!(path, sidecar.path("ready"));
    assert_eq!(path.parent(), Some(sidecar.dir.path()));
    let answer = call(&client(port, WINDOW).await, request("/test/Refuse", &[])).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "5");
    let finished = sidecar.finish();
    assert_eq!(finished.expect_code(0).stderr(), "");
}

/// Waits for a line of the log, and ends the worker. The pool's file must not exist.
fn finish_without_port(sidecar: Sidecar, line: &str) -> Finished {
    sidecar.wait_for_stderr(line);
    assert!(!sidecar.path("ready").exists());
    assert!(is_clean(&sidecar));
    sidecar.finish()
}

#[test]
fn a_worker_without_a_port_goes_on_and_the_pool_gets_none() {
    let options = ["-v", "--upstream-timeout", "200ms"];
    let missing = pooled(&options, "cat; exit 7", "").start();
    let line = "it did not write its port to SNAKEPIT_READY_FILE within 200ms (--upstream-timeout)";
    finish_without_port(missing, line).expect_code(7);
    let garbage = pooled(&options, WRITING, "no port").start();
    let line = "it wrote 'no port' to SNAKEPIT_READY_FILE, which does not begin with a port";
    finish_without_port(garbage, line).expect_code(0);
}

#[test]
fn nothing_is_left_of_a_worker_that_does_not_get_ready() {
    let mut exiting = pooled(&[], "exit 3", "").start();
    assert_eq!(exiting.wait().code(), Some(3));
    assert!(is_clean(&exiting));
    assert!(!exiting.path("ready").exists());

    let mut stopped = pooled(&[], "echo started >&2; exec cat", "").start();
    stopped.wait_for_stderr("started");
    stopped.signal(Signal::SIGTERM);
    stopped.wait();
    assert!(is_clean(&stopped));

    let mut missing = pooled(&[], "", "").env("PATH", "/nowhere").start();
    assert_eq!(missing.wait().code(), Some(127));
    assert!(is_clean(&missing));
}

#[test]
fn what_a_worker_starts_runs_as_it_is_when_it_is_wrapped_too() {
    let script = "printf 1 > $SNAKEPIT_READY_FILE; until [ ! -e $SNAKEPIT_READY_FILE ]; do :; done
        echo $$; exec $1 --snakepit -- sh -c 'echo $$'";
    let finished = pooled(&[], script, BINARY).start().finish();
    let stdout = finished.expect_code(0).stdout();
    let [worker, wrapped] = stdout.lines().collect::<Vec<_>>()[..] else { panic!("{stdout}") };
    assert_eq!(worker, wrapped, "the sidecar is in between");
}

#[test]
fn a_worker_that_writes_its_port_too_late_leaves_no_file() {
    let script = "echo up >&2; cat; printf 1 > $SNAKEPIT_READY_FILE";
    let mut late = pooled(&["-v", "--upstream-timeout", "0s"], script, "").start();
    late.wait_for_stderr("the pool gets no port");
    assert_eq!(late.wait().code(), Some(0));
    assert!(is_clean(&late));
    assert!(!late.path("ready").exists());
}

#[test]
fn an_upstream_and_a_pool_exclude_each_other() {
    let sidecar = pooled(&["--upstream", "127.0.0.1:1"], "touch $0/started", "").start();
    let line = refused_without(sidecar, "started");
    let expected = "--upstream: '127.0.0.1:1': not together with --snakepit";
    assert_eq!(line, expected);
    // Also where the command would be executed in place.
    assert_eq!(refused(&["--snakepit", "--upstream", "127.0.0.1:1"]), expected);
}
