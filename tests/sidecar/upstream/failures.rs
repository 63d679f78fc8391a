//! Workers that are not there yet, not there any more, or end a call early.

use super::{
    server::{Server, call, client, open, read, request},
    sidecar,
};
use crate::support::{Sidecar, run, wait_for};
use bytes::Bytes;
use std::{net::TcpListener, sync::atomic::Ordering::SeqCst};

const WINDOW: u32 = 1024 * 1024;

/// A port at which nothing listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn text(headers: &http::HeaderMap, name: &str) -> String {
    let value = headers.get(name).map_or("", |value| value.to_str().unwrap());
    percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()
}

#[tokio::test]
async fn a_worker_that_is_not_there_yet_is_waited_for() {
    let port = free_port();
    let upstream = format!("127.0.0.1:{port}");
    let sidecar = Sidecar::wrap(&["--upstream", &upstream], "cat");
    let client = client(sidecar.port(), WINDOW).await;
    let answer = tokio::spawn({
        let client = client.clone();
        async move { call(&client, request("/test/Refuse", &[])).await }
    });
    // The call of the second client is answered although the first one waits.
    sidecar.status().await;
    let _server = Server::at(port).await;
    assert_eq!(answer.await.unwrap().unwrap().headers()["grpc-status"], "5");
}

#[tokio::test]
async fn a_worker_that_does_not_come_is_unavailable_and_the_exit_status_is_its_own() {
    let upstream = format!("127.0.0.1:{}", free_port());
    let options = ["--upstream", &upstream, "--upstream-timeout", "0s"];
    let mut sidecar = Sidecar::wrap(&options, "cat; exit 7");
    let client = client(sidecar.port(), WINDOW).await;
    for path in ["/test/Echo", "/grpc.health.v1.Health/Check"] {
        let answer = call(&client, request(path, &[])).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "14");
        let message = text(answer.headers(), "grpc-message");
        let expected = format!("worker at {upstream}: Connection refused (os error 111)");
        assert_eq!(message, expected);
    }
    sidecar.close_stdin();
    sidecar.finish().expect_code(7);
}

#[tokio::test]
async fn a_worker_that_is_lost_ends_its_calls_and_is_found_again() {
    let server = Server::start().await;
    let sidecar = sidecar(&server);
    let client = client(sidecar.port(), WINDOW).await;
    let (waiting, _request) = open(&client, request("/test/Wait", &[])).await;
    let (echoing, mut body) = open(&client, request("/test/Echo", &[])).await;
    body.send_data(Bytes::from_static(b"\0\0\0\0\x05cut"), false).unwrap();
    let mut echoing = echoing.await.unwrap().into_body();
    assert_eq!(echoing.data().await.unwrap().unwrap(), &b"\0\0\0\0\x05cut"[..]);
    wait_for("the other call", async || server.seen.begun.load(SeqCst), |begun| *begun == 1).await;
    let port = server.port;
    drop(server);

    let expected = format!("worker at 127.0.0.1:{port}: the connection was lost");
    let answer = waiting.await.unwrap();
    assert_eq!(
        (&answer.headers()["grpc-status"], text(answer.headers(), "grpc-message")),
        (&"14".parse().unwrap(), expected.clone())
    );
    let (_, trailers) = read(echoing).await.unwrap();
    assert_eq!(
        (&trailers["grpc-status"], text(&trailers, "grpc-message")),
        (&"14".parse().unwrap(), expected)
    );
    let refused = call(&client, request("/test/Refuse", &[])).await.unwrap();
    assert_eq!(refused.headers()["grpc-status"], "14");

    let _server = Server::at(port).await;
    let answer = call(&client, request("/test/Refuse", &[])).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "5");
}

#[tokio::test]
async fn a_reset_of_the_worker_reaches_the_client() {
    let server = Server::start().await;
    let sidecar = sidecar(&server);
    let client = client(sidecar.port(), WINDOW).await;
    let error = call(&client, request("/test/Reset", &[])).await.unwrap_err();
    assert_eq!((error.is_reset(), error.reason()), (true, Some(h2::Reason::ENHANCE_YOUR_CALM)));
}

#[tokio::test]
async fn services_that_the_worker_lacks_are_the_sidecars() {
    let server = Server::start().await;
    let sidecar = sidecar(&server);
    let client = client(sidecar.port(), WINDOW).await;
    let (answer, mut body) = open(&client, request("/grpc.health.v1.Health/Check", &[])).await;
    body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
    let (message, trailers) = read(answer.await.unwrap().into_body()).await.unwrap();
    assert_eq!(
        (message, &trailers["grpc-status"]),
        (b"\0\0\0\0\x02\x08\x01".to_vec(), &"0".parse().unwrap())
    );
    // The worker is asked once.
    let asked = server.seen.requests.lock().unwrap().len();
    assert_eq!(asked, 1);
}

#[test]
fn the_sidecar_does_not_relay_to_itself() {
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    for host in ["127.0.0.1", "localhost"] {
        let upstream = format!("{host}:{port}");
        let finished = run(&["--listen", &listen, "--upstream", &upstream, "--", "true"]);
        let line = format!("telemetry-sidecar: --upstream: '{upstream}': the sidecar itself listens there\n");
        assert_eq!(finished.expect_code(125).stderr(), line);
    }
}

#[test]
fn wrong_addresses_are_refused() {
    for (address, cause) in [
        ("127.0.0.1:0", "expected the port at which the worker listens"),
        ("8080", "expected HOST:PORT, unix:PATH or unix:@NAME, such as 127.0.0.1:8080"),
    ] {
        let finished = run(&["--upstream", address, "--", "true"]);
        let line = format!("telemetry-sidecar: --upstream: '{address}': {cause}\n");
        assert_eq!(finished.expect_code(125).stderr(), line);
    }
}
