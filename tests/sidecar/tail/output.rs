//! Standard output that is closed, slow or full, and signals.

use super::{tail, with_backlog};
use crate::support::{Sidecar, Status, line, memory_kib, wait_for, wait_until};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::signal::Signal,
};
use std::{fs::File, io, process::Stdio};

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_it_while_nothing_arrives() {
    let sidecar = with_backlog(&[], &[]).await;
    let (reader, writer) = io::pipe().unwrap();
    let mut tail = tail(&[], &[&sidecar]).stdout(writer.into()).start();
    let subscribed = |status: &Status| status.subscribers.len() == 1;
    wait_for("the subscription", async || sidecar.status().await, subscribed).await;
    assert!(!tail.has_exited());
    drop(reader);
    wait_until("its end", || tail.has_exited());
    assert_eq!(tail.finish().expect_code(0).stderr(), "");
    sidecar.finish().expect_code(0);
}

#[test]
fn a_stdout_that_takes_nothing_is_an_error() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let tail = tail(&[], &[&sidecar]).stdout(full.into()).start();
    sidecar.write(line("a", 1, ""));
    let expected = "telemetry-sidecar: standard output: No space left on device (os error 28)\n";
    assert_eq!(tail.finish().expect_code(125).stderr(), expected);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_kills_it_as_any_program() {
    let sidecar = with_backlog(&[], &["a"]).await;
    let tail = tail(&[], &[&sidecar]).start();
    tail.wait_for_stdout(1);
    tail.signal(Signal::SIGINT);
    tail.finish().expect_signal(Signal::SIGINT as i32);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_costs_no_memory() {
    const LONG: usize = 100_000;
    let mut sidecar = Sidecar::wrap_echo(&["--drain-timeout", "60s"]);
    let (mut reader, writer) = io::pipe().unwrap();
    let _ = fcntl(&reader, FcntlArg::F_SETPIPE_SZ(4096));
    let tail = tail(&[], &[&sidecar]).stdout(Stdio::from(writer)).start();
    let subscribed = |status: &Status| status.subscribers.len() == 1;
    wait_for("the subscription", async || sidecar.status().await, subscribed).await;
    // Much more than all buffers on the way hold.
    let event = line("a", 1, &"x".repeat(LONG));
    let mut written = 0;
    loop {
        for _ in 0..50 {
            sidecar.write(&event);
            written += 1;
        }
        let status = sidecar.status().await;
        if status.subscribers[0].dropped > 100 {
            break;
        }
        assert!(written < 10_000);
    }
    let kib = memory_kib(&tail);
    assert!(kib < 100 * 1024, "{kib} KiB");
    sidecar.close_stdin();
    // It reads at last.
    let mut printed = Vec::new();
    let reading = std::thread::spawn(move || {
        io::Read::read_to_end(&mut reader, &mut printed).unwrap();
        printed
    });
    tail.finish().expect_code(0);
    sidecar.finish().expect_code(0);
    let printed = reading.join().unwrap();
    assert!(printed.ends_with(b"\n") && printed.len() > LONG);
}
