//! Which events are printed.

use super::{super::support::line, address, counts, tail, with_backlog};
use crate::support::{Sidecar, run, wait_until};
use std::{fs, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn n_prints_the_newest_waiting_events_and_all_that_follow() {
    for (n, shown, left_out) in [
        ("0", &[6][..], "telemetry-sidecar: 5 older events left out (-n)\n"),
        ("2", &[4, 5, 6], "telemetry-sidecar: 3 older events left out (-n)\n"),
        ("4", &[2, 3, 4, 5, 6], "telemetry-sidecar: 1 older event left out (-n)\n"),
        ("5", &[1, 2, 3, 4, 5, 6], ""),
        ("100", &[1, 2, 3, 4, 5, 6], ""),
    ] {
        let mut sidecar = with_backlog(&[], &["a"; 5]).await;
        let tail = tail(&["-n", n], &[&sidecar]).start();
        let subscribed = async || sidecar.status().await.subscribers.len();
        crate::support::wait_for("the subscription", subscribed, |count| *count == 1).await;
        sidecar.write(line("a", 6, ""));
        sidecar.finish().expect_code(0);
        let finished = tail.finish();
        assert_eq!(counts(&finished.expect_code(0).stdout()), shown, "-n {n}");
        assert_eq!(finished.stderr(), left_out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n_counts_the_events_that_pass_the_filter() {
    let sidecar = with_backlog(&["--queue-capacity", "5"], &["a", "a", "b", "a", "b", "b"]).await;
    let tail = tail(&["-n1", "--allow", "a", "--allow", "c*"], &[&sidecar]).start();
    tail.wait_for_stdout(1);
    sidecar.finish().expect_code(0);
    let finished = tail.finish();
    assert_eq!(counts(&finished.expect_code(0).stdout()), [4]);
    let stderr = finished.stderr();
    let expected = "telemetry-sidecar: 1 older event is missing: the backlog keeps only the newest \
                    (--queue-capacity, --queue-bytes)\n\
                    telemetry-sidecar: 1 older event left out (-n)\n";
    assert_eq!(stderr, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_replaces_that_of_the_sidecar_for_all_that_is_printed() {
    for (options, shown) in
        [(&["--allow", "a.*"][..], &[1, 2][..]), (&["--deny", "*.b"], &[1, 3]), (&[], &[3])]
    {
        let sidecar = with_backlog(&["--deny", "a.*"], &["a.a", "a.b", "c"]).await;
        let tail = tail(options, &[&sidecar]).start();
        tail.wait_for_stdout(1);
        sidecar.finish().expect_code(0);
        let finished = tail.finish();
        assert_eq!(counts(&finished.expect_code(0).stdout()), shown, "{options:?}");
    }
    let refused = run(&["tail", "--deny", "", "127.0.0.1:1"]);
    assert!(refused.expect_code(125).stderr().contains("--deny: '': an empty glob matches no event"));
}

#[test]
fn a_sidecar_that_is_not_there_yet_is_waited_for() {
    let later = Sidecar::command(&[]);
    let path = later.path("socket");
    let address = format!("unix:{}", path.display());
    let tail = Sidecar::command(&["tail", "--wait", "60s", &address]).start();
    // A file that is no socket refuses connections.
    fs::write(&path, "").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    fs::remove_file(&path).unwrap();
    let mut sidecar = Sidecar::wrap_echo(&["--listen", &address]);
    sidecar.write(line("a", 1, ""));
    tail.wait_for_stdout(1);
    sidecar.finish().expect_code(0);
    assert_eq!(counts(&tail.finish().expect_code(0).stdout()), [1]);
    wait_until("the socket to be removed", || !path.exists());
    let refused = run(&["tail", "--wait", "200ms", &address]);
    let cause = "cannot connect: No such file or directory (os error 2)";
    let hint = "ps lists the sidecars of this host (waited 200ms)";
    assert_eq!(refused.expect_code(125).stderr(), format!("telemetry-sidecar: {address}: {cause}, {hint}\n"));
}

#[test]
fn an_address_without_a_sidecar_is_an_error_at_once() {
    let sidecar = Sidecar::wrap_echo(&[]);
    let address = address(&sidecar);
    sidecar.finish().expect_code(0);
    let refused = run(&["tail", &address]);
    let stderr = refused.expect_code(125).stderr();
    let cause = "cannot connect: Connection refused (os error 111), ps lists the sidecars of this host";
    assert_eq!(stderr, format!("telemetry-sidecar: {address}: {cause}\n"));
}
