//! Calls pass as they are: heads, bodies, trailers, cancellation and flow control.

use super::{
    server::{FRAME_BYTES, Server, call, client, open, read, request},
    sidecar,
};
use crate::support::{TIMEOUT, wait_for};
use bytes::Bytes;
use h2::client::SendRequest;
use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::time::timeout;

/// Far more than all buffers between client and worker.
const MUCH: usize = 64 * 1024 * 1024;

/// More than all buffers: windows of the client, the sidecar and the worker, and what their systems hold.
const STALLED_BYTES: usize = 24 * 1024 * 1024;

/// The window of clients that read.
const WINDOW: u32 = 1024 * 1024;

#[tokio::test]
async fn heads_bodies_and_trailers_pass_unchanged() {
    let server = Server::start().await;
    let sidecar = sidecar(&server);
    let client = client(sidecar.port(), WINDOW).await;
    let headers = [
        ("x-text", "a value"),
        ("x-bin", "AAEC/w"),
        ("x-twice", "1"),
        ("x-twice", "2"),
        ("grpc-timeout", "10S"),
        ("grpc-encoding", "gzip"),
        ("grpc-accept-encoding", "gzip,identity"),
        ("user-agent", "test/1"),
    ];
    let (answer, mut body) = open(&client, request("/test/Echo?query", &headers)).await;
    // A compressed message whose bytes are no gzip: they pass all the same.
    body.send_data(Bytes::from_static(b"\x01\0\0\0\x03abc"), false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let twice: Vec<_> = answer.headers().get_all("x-twice").iter().collect();
    assert_eq!(twice, ["1", "2"]);
    let names: Vec<_> = answer.headers().keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["content-type", "x-text", "x-bin", "x-twice"], "nothing is added");
    body.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
    let (echoed, trailers) = read(answer.into_body()).await.unwrap();
    assert_eq!(echoed, b"\x01\0\0\0\x03abc\0\0\0\0\0");
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-bin"]),
        (&"0".parse().unwrap(), &"AAEC/w".parse().unwrap())
    );

    let seen = server.seen.requests.lock().unwrap();
    let [head] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(
        (head.method.as_str(), head.uri.to_string().as_str()),
        ("POST", "http://localhost/test/Echo?query")
    );
    let mut expected = vec![("content-type", "application/grpc"), ("te", "trailers")];
    expected.extend(headers);
    let mut names: Vec<_> =
        head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn an_answer_of_trailers_alone_stays_one() {
    let server = Server::start().await;
    let sidecar = sidecar(&server);
    let client = client(sidecar.port(), WINDOW).await;
    let answer = call(&client, request("/test/Refuse", &[])).await.unwrap();
    assert!(answer.body().is_end_stream());
    let headers: Vec<_> =
        answer.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let expected = [
        ("content-type", "application/grpc"),
        ("grpc-status", "5"),
        ("grpc-message", "no such thing"),
        ("grpc-status-details-bin", "AAECAw"),
    ];
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn long_messages_pass_in_both_directions() {
    let server = Server::start().await;
    let sidecar = sidecar(&server);
    echo_much(&client(sidecar.port(), WINDOW).await).await;
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_the_worker() {
    let server = Server::start().await;
    let sidecar = sidecar(&server);
    let client = client(sidecar.port(), WINDOW).await;
    let count = |counter: &AtomicUsize| counter.load(SeqCst);
    let begun = async |calls| {
        wait_for("the call to begin", async || count(&server.seen.begun), |begun| *begun == calls).await;
    };
    let cancelled = async |calls| {
        let counted = async || count(&server.seen.cancelled);
        wait_for("the call to be cancelled", counted, |cancelled| *cancelled == calls).await;
    };

    // While the request is open.
    let (answer, body) = open(&client, request("/test/Wait", &[])).await;
    begun(1).await;
    drop((answer, body));
    cancelled(1).await;
    // After its end.
    let (answer, mut body) = open(&client, request("/test/Wait", &[])).await;
    body.send_data(Bytes::new(), true).unwrap();
    begun(2).await;
    drop((answer, body));
    cancelled(2).await;
    // In the middle of the answer.
    let answer = call(&client, request("/test/Flood", &[])).await.unwrap();
    begun(3).await;
    drop(answer);
    cancelled(3).await;
    // With the connection.
    let (answer, body) = open(&client, request("/test/Wait", &[])).await;
    begun(4).await;
    drop((answer, body, client));
    cancelled(4).await;
}

#[tokio::test]
async fn an_answer_that_is_not_read_stops_the_worker_and_no_other_call() {
    let server = Server::start().await;
    let sidecar = sidecar(&server);
    let client = client(sidecar.port(), WINDOW).await;
    let stalled = call(&client, request("/test/Flood", &[])).await.unwrap();
    let flooded = async || server.seen.flooded.load(SeqCst);
    wait_for("the client's window to be full", flooded, |bytes| *bytes > WINDOW as usize).await;
    echo_much(&client).await;
    let bytes = flooded().await;
    assert!(bytes < STALLED_BYTES, "{bytes} bytes wait");
    drop(stalled);
}

#[tokio::test]
async fn a_request_that_is_not_read_stops_the_client_and_no_other_call() {
    let server = Server::start().await;
    let sidecar = sidecar(&server);
    let client = client(sidecar.port(), WINDOW).await;
    let (answer, mut body) = open(&client, request("/test/Sink", &[])).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        for _ in 0..MUCH / FRAME_BYTES {
            body.reserve_capacity(FRAME_BYTES);
            while body.capacity() < FRAME_BYTES {
                poll_fn(|context| body.poll_capacity(context)).await.unwrap().unwrap();
            }
            body.send_data(Bytes::from_static(&[0; FRAME_BYTES]), false).unwrap();
            counted.fetch_add(FRAME_BYTES, SeqCst);
        }
        body.send_data(Bytes::new(), true).unwrap();
    });
    echo_much(&client).await;
    let bytes = sent.load(SeqCst);
    assert!(bytes < STALLED_BYTES, "{bytes} bytes wait");
    server.reads.close();
    drop(answer);
    sending.abort();
}

#[tokio::test]
async fn a_request_goes_on_while_the_answer_is_not_read() {
    let server = Server::start().await;
    let sidecar = sidecar(&server);
    let client = client(sidecar.port(), 1_000).await;
    let (answer, mut body) = open(&client, request("/test/Duplex", &[])).await;
    let answer = answer.await.unwrap();
    let message = Bytes::from(vec![0; MUCH / 16]);
    body.send_data(message.clone(), true).unwrap();
    wait_for("the request", async || server.seen.read.load(SeqCst), |read| *read == message.len()).await;
    drop(answer);
}

#[tokio::test]
async fn answers_before_the_end_of_requests_do_not_use_the_connection_up() {
    let server = Server::start().await;
    let sidecar = sidecar(&server);
    let client = client(sidecar.port(), WINDOW).await;
    for _ in 0..1_500 {
        let (answer, mut body) = open(&client, request("/test/Refuse", &[])).await;
        for _ in 0..3 {
            // It fails when the reset has arrived.
            let _ = body.send_data(Bytes::from_static(&[0; 100]), false);
            tokio::task::yield_now().await;
        }
        assert_eq!(answer.await.unwrap().headers()["grpc-status"], "5");
        let _ = body.send_data(Bytes::from_static(&[0; 100]), false);
    }
    echo_much(&client).await;
}

/// Sends a long message to and fro.
async fn echo_much(client: &SendRequest<Bytes>) {
    let pattern: Vec<u8> = (0..=250).collect();
    let message = Bytes::from(pattern.repeat(MUCH / pattern.len()));
    let (answer, mut body) = open(client, request("/test/Echo", &[])).await;
    body.send_data(message.clone(), true).unwrap();
    let echoed = timeout(TIMEOUT, async { read(answer.await.unwrap().into_body()).await });
    let (echoed, trailers) = echoed.await.expect("the call stands still").unwrap();
    assert!(echoed == message, "{} bytes of {}", echoed.len(), message.len());
    assert_eq!(trailers["grpc-status"], "0");
}
