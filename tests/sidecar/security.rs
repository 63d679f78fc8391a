//! TLS, certificates and tokens that change, and configurations that prevent the worker's start.

use crate::support::{
    Sidecar, Subscriber, TIMEOUT,
    certificates::{Authority, Pair},
    connect,
    http2::{END_HEADERS, END_STREAM, HEADERS, PREFACE, dial, read_frame, stream_telemetry, write_frame},
    line,
    refusal::{expect_one_line, expect_words, refused},
    run, wait_for,
};
use std::{
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};
use telemetry_sidecar::event::proto::{
    bridge::{
        TelemetryControl, TelemetryEvent, TelemetryEventFilter, bridge_service_client::BridgeServiceClient,
        telemetry_control::Control,
    },
    sidecar::{GetStatusRequest, GetStatusResponse, sidecar_client::SidecarClient},
};
use tonic::{Code, Request, Status, Streaming, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

const TLS: [&str; 4] = ["--tls-cert", "{dir}/cert.pem", "--tls-key", "{dir}/key.pem"];
const TOKENS: [&str; 2] = ["--auth-token-file", "{dir}/tokens"];

/// Starts a sidecar whose worker echoes its stdin, with the files that the options name.
fn start(options: &[&[&str]], write_files: impl FnOnce(&Path)) -> Sidecar {
    let serve = ["-vv", "--ready-file", "{dir}/ready"];
    let words = [&serve, &*options.concat(), &["--", "sh", "-c", "exec cat >&2"]].concat();
    let builder = Sidecar::command(&words);
    write_files(&builder.path(""));
    builder.start()
}

/// A request with this bearer token, or with none.
fn bringing<T>(token: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

/// Opens a telemetry stream that may be refused.
async fn stream(channel: Channel, token: Option<&str>) -> Result<Streaming<TelemetryEvent>, Status> {
    let request = bringing(token, tokio_stream::pending::<TelemetryControl>());
    Ok(BridgeServiceClient::new(channel).stream_telemetry(request).await?.into_inner())
}

async fn status(channel: Channel, token: Option<&str>) -> Result<GetStatusResponse, Status> {
    let request = bringing(token, GetStatusRequest {});
    Ok(SidecarClient::new(channel).get_status(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tls_clients_that_trust_the_authority_are_served() {
    let authority = Authority::new();
    let mut sidecar = start(&[&TLS], |dir| authority.issue().write(dir));
    let port = sidecar.port();
    let mut subscriber = Subscriber::open(authority.connect(port, None).await.unwrap()).await;
    for count in 0..100 {
        sidecar.write(line("a", count, ""));
    }
    for count in 0..100 {
        assert_eq!(subscriber.next().await.timestamp_ns, count);
    }
    assert!(Authority::new().connect(port, None).await.is_err());
    let plain = connect(&format!("http://127.0.0.1:{port}")).await;
    assert!(stream(plain, None).await.is_err());

    sidecar.write(line("last", 0, ""));
    sidecar.close_stdin();
    assert_eq!(subscriber.rest().await.len(), 1);
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_handshake_delays_nobody_and_times_out() {
    let authority = Authority::new();
    let mut sidecar = start(&[&TLS, &["--handshake-timeout", "3s"]], |dir| authority.issue().write(dir));
    let port = sidecar.port();
    let mut silent = dial(port);
    let mut half = dial(port);
    // A TLS record of 512 bytes, of which one byte is sent.
    half.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    let mut subscriber = Subscriber::open(authority.connect(port, None).await.unwrap()).await;
    sidecar.write(line("a", 1, ""));
    assert_eq!(subscriber.next().await.timestamp_ns, 1);
    for stream in [&mut silent, &mut half] {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    sidecar.wait_for_stderr("handshake timeout expired during TLS");
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_ca_requires_certificates_that_it_signed() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let sidecar = start(&[&TLS, &["--tls-client-ca", "{dir}/ca.pem"]], |dir| {
        servers.issue().write(dir);
        fs::write(dir.join("ca.pem"), clients.pem()).unwrap();
    });
    let port = sidecar.port();
    let known = servers.connect(port, Some(&clients.issue())).await.unwrap();
    let subscriber = Subscriber::open(known).await;
    // With TLS 1.3 a client may consider itself connected before the server has verified its certificate.
    for stranger in [None, Some(servers.issue())] {
        if let Ok(channel) = servers.connect(port, stranger.as_ref()).await {
            assert!(stream(channel, None).await.is_err());
        }
    }
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_loaded_and_invalid_ones_reported() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut sidecar = start(&[&TLS], |dir| old.issue().write(dir));
    let port = sidecar.port();
    let mut subscriber = Subscriber::open(old.connect(port, None).await.unwrap()).await;

    fs::write(sidecar.path("cert.pem"), "half a certificate").unwrap();
    assert!(old.connect(port, None).await.is_ok());
    sidecar.wait_for_stderr("there is no certificate in it (PEM); the previous contents stay in force");
    let pair = new.issue();
    // Only the certificate is replaced, as by a tool that writes the two files one after the other.
    fs::write(sidecar.path("cert.pem"), &pair.certificate).unwrap();
    assert!(old.connect(port, None).await.is_ok());
    sidecar
        .wait_for_stderr("private key does not match the certificate in --tls-cert; the previous contents");

    pair.write(&sidecar.path(""));
    assert!(new.connect(port, None).await.is_ok());
    assert!(old.connect(port, None).await.is_err());
    // Established connections stay open.
    sidecar.write(line("a", 7, ""));
    assert_eq!(subscriber.next().await.timestamp_ns, 7);
    drop(subscriber);
    let finished = sidecar.finish();
    let log = finished.expect_code(0).stderr();
    assert_eq!(log.matches("stay in force").count(), 2, "{log}");
    assert!(!log.contains("BEGIN"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_only_health_checks_are_answered() {
    let sidecar = start(&[&TOKENS, &["--listen", "127.0.0.1:0", "--listen", "unix:{dir}/s"]], |dir| {
        fs::write(dir.join("tokens"), "right\n").unwrap();
    });
    let unix = sidecar.ready_lines()[1].clone();
    for (channel, begun) in [(sidecar.channel().await, 1), (connect(&unix).await, 2)] {
        for token in [None, Some(""), Some("wrong"), Some("righ"), Some("right2")] {
            let refused = stream(channel.clone(), token).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
            let refused = status(channel.clone(), token).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
        }
        let health = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
        assert!(health.is_ok(), "{health:?}");
        let mut nowhere = tonic::client::Grpc::new(channel.clone());
        nowhere.ready().await.unwrap();
        let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".parse().unwrap();
        let codec = tonic_prost::ProstCodec::<TelemetryControl, TelemetryEvent>::default();
        let refused = nowhere.unary(Request::new(TelemetryControl::default()), path, codec).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);

        let events = stream(channel.clone(), Some("right")).await.unwrap();
        let get = async || status(channel.clone(), Some("right")).await.unwrap();
        let has_begun =
            |status: &GetStatusResponse| status.subscribers.len() as u64 + status.departed_count == begun;
        wait_for("the subscription to begin", get, has_begun).await;
        drop(events);
    }
    // The response consists only of headers, which are also its trailers.
    let mut by_hand = dial(sidecar.port());
    by_hand.write_all(PREFACE).unwrap();
    write_frame(&mut by_hand, HEADERS, END_HEADERS, 1, &stream_telemetry(&[]));
    let answer = std::iter::from_fn(|| read_frame(&mut by_hand)).find(|frame| frame.id == 1).unwrap();
    assert_eq!((answer.kind, answer.flags & END_STREAM), (HEADERS, END_STREAM));
    // A refused client was never subscribed.
    let channel = sidecar.channel().await;
    let books = status(channel.clone(), Some("right")).await.unwrap();
    assert_eq!(books.subscribers.len() as u64 + books.departed_count, 2);
    drop(channel);
    let finished = sidecar.finish();
    let log = finished.expect_code(0).stderr();
    for secret in ["right", "wrong", "righ"] {
        assert!(!log.contains(secret), "{log}");
    }
    assert!(log.contains("unauthenticated: the token is not accepted"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_change_with_their_file() {
    let sidecar = start(&[&TOKENS], |dir| fs::write(dir.join("tokens"), "old").unwrap());
    let channel = sidecar.channel().await;
    let accepts = async |token| status(channel.clone(), Some(token)).await.is_ok();
    assert!(accepts("old").await && !accepts("new").await);
    fs::write(sidecar.path("tokens"), "old\nnew\n").unwrap();
    assert!(accepts("old").await && accepts("new").await);
    // As a tool that renames a complete file into place.
    fs::write(sidecar.path("next"), "new\n").unwrap();
    fs::rename(sidecar.path("next"), sidecar.path("tokens")).unwrap();
    assert!(!accepts("old").await && accepts("new").await);
    // A removed file does not change the tokens.
    fs::write(sidecar.path("tokens"), "\n").unwrap();
    assert!(!accepts("old").await && accepts("new").await);
    sidecar.wait_for_stderr("there is no token in it");
    drop(channel);
    sidecar.finish().expect_code(0);
}

#[test]
fn tail_authenticates_with_a_certificate_and_a_token() {
    let authority = Authority::new();
    let ca = ["--tls-client-ca", "{dir}/ca.pem"];
    let mut sidecar = start(&[&TLS, &TOKENS, &ca], |dir| {
        authority.issue().write(dir);
        fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
        fs::write(dir.join("tokens"), "right\n").unwrap();
    });
    let address = format!("127.0.0.1:{}", sidecar.port());
    let file = |name| sidecar.path(name).to_str().unwrap().to_owned();
    let (ca, cert, key, tokens) = (file("ca.pem"), file("cert.pem"), file("key.pem"), file("tokens"));
    let with_ca = ["tail", &address, "--tls-ca", &ca];
    let with_certificate = [&with_ca[..], &["--tls-cert", &cert, "--tls-key", &key]].concat();
    let with_all = [&with_certificate[..], &["--auth-token-file", &tokens]].concat();

    let tail = Sidecar::command(&with_all).start();
    sidecar.write("TELEMETRY:{\"event\": \"a.b\", \"timestamp_ns\": 7}\n");
    let expected = "{\"event\": \"a.b\", \"measurements\": {}, \"metadata\": {}, \"timestamp_ns\": 7, ";
    assert!(tail.wait_for_stdout(expected.len()).starts_with(expected));
    for (words, cause) in [
        (&["tail", &address][..], "failed"),
        // The client may see the server's alert or the end of the connection first.
        (&with_ca, ""),
        (&with_certificate, "needs a token: --auth-token-file"),
    ] {
        expect_words(&expect_one_line(&run(words), || true), &[&address, cause]);
    }
    sidecar.finish().expect_code(0);
    tail.finish().expect_code(0);

    let cases: &[(&[&str], &[&str])] = &[
        (&["--tls-cert", &cert], &["--tls-cert", &cert, "--tls-key"]),
        (&["--tls-cert", &cert, "--tls-key", &key], &["--tls-cert", "--tls-ca"]),
        (&["--tls-ca", "/nonexistent"], &["--tls-ca", "'/nonexistent'", "No such file"]),
        (&["--tls-ca", "/dev/null"], &["--tls-ca", "'/dev/null'", "no certificate"]),
        (&["--auth-token-file", "/dev/null"], &["--auth-token-file", "'/dev/null'", "no token"]),
    ];
    for (options, words) in cases {
        expect_words(&expect_one_line(&run(&[&["tail", &address], *options].concat()), || true), words);
    }
    let over_unix = run(&["tail", "unix:/nonexistent", "--tls-ca", &ca]);
    expect_words(&expect_one_line(&over_unix, || true), &["--tls-ca", "unix socket"]);
}

#[test]
fn tail_accepts_a_self_signed_certificate_that_it_is_given() {
    let mut sidecar = start(&[&TLS, &TOKENS], |dir| {
        Pair::self_signed_authority().write(dir);
        fs::write(dir.join("tokens"), "right\n").unwrap();
        // The same names, another key.
        fs::write(dir.join("other.pem"), Pair::self_signed_authority().certificate).unwrap();
    });
    let address = format!("127.0.0.1:{}", sidecar.port());
    let file = |name| sidecar.path(name).to_str().unwrap().to_owned();
    let (ours, other, tokens) = (file("cert.pem"), file("other.pem"), file("tokens"));
    let with = |ca| ["tail", &address, "--auth-token-file", &tokens, "--tls-ca", ca];
    expect_words(&expect_one_line(&run(&with(&other)), || true), &[&address, "invalid peer certificate"]);
    let tail = Sidecar::command(&with(&ours)).start();
    sidecar.write("TELEMETRY:{\"event\": \"a.b\"}\n");
    tail.wait_for_stdout("{\"event\": \"a.b\"".len());
    sidecar.finish().expect_code(0);
    tail.finish().expect_code(0);
}

#[test]
fn unusable_files_prevent_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue().write(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (cert, key, other_key, empty) = (path("cert.pem"), path("key.pem"), path("other.pem"), path("empty"));
    fs::write(&other_key, authority.issue().key).unwrap();
    fs::write(&empty, "\n").unwrap();
    let cases: &[(&[&str], &[&str])] = &[
        (&["--tls-cert", &cert], &["--tls-cert", &cert, "give --tls-key"]),
        (&["--tls-key", &key], &["--tls-key", &key, "give --tls-cert"]),
        (&["--tls-client-ca", &cert], &["--tls-client-ca", &cert, "give --tls-cert and --tls-key"]),
        (&["--tls-cert", "/nonexistent", "--tls-key", &key], &["--tls-cert: '/nonexistent'", "No such file"]),
        (&["--tls-cert", &cert, "--tls-key", "/nonexistent"], &["--tls-key: '/nonexistent'", "No such file"]),
        (&["--tls-cert", &key, "--tls-key", &key], &["--tls-cert", &key, "no certificate"]),
        (&["--tls-cert", &cert, "--tls-key", &cert], &["--tls-key", &cert, "no private key"]),
        (&["--tls-cert", &cert, "--tls-key", &other_key], &["--tls-key", &other_key, "does not match"]),
        (
            &["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &empty],
            &["--tls-client-ca", &empty, "no certificate"],
        ),
        (&["--auth-token-file", "/nonexistent"], &["--auth-token-file: '/nonexistent'", "No such file"]),
        (&["--auth-token-file", &empty], &["--auth-token-file", &empty, "no token"]),
        (&["--auth-token-file", "/bin/sh"], &["--auth-token-file: '/bin/sh'"]),
        (&["--auth-token-file", "/dev/zero"], &["--auth-token-file: '/dev/zero'", "longer than"]),
    ];
    for (options, words) in cases {
        expect_words(&refused(options), words);
    }
}

#[test]
fn a_reachable_address_needs_tls_and_authentication() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue().write(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (cert, key, ca, tokens) = (path("cert.pem"), path("key.pem"), path("ca.pem"), path("tokens"));
    fs::write(&ca, authority.pem()).unwrap();
    fs::write(&tokens, "right").unwrap();
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    let (token, client_ca) = (["--auth-token-file", &tokens], ["--tls-client-ca", &ca]);
    for address in ["0.0.0.0:0", "[::]:0"] {
        let listen = ["--listen", address];
        let refused = |options: &[&[&str]]| refused(&[&listen[..], &options.concat()].concat());
        expect_words(&refused(&[]), &["--listen", address, "--tls-cert", "--insecure"]);
        expect_words(&refused(&[&token]), &["--listen", address, "--tls-cert", "--insecure"]);
        expect_words(&refused(&[&tls]), &["--listen", address, "--auth-token-file", "--insecure"]);
    }
    for options in [[&tls[..], &token].concat(), [&tls[..], &client_ca].concat(), vec!["--insecure"]] {
        let words = [&["-q", "--listen", "0.0.0.0:0"], &options[..], &["--", "true"]].concat();
        run(&words).expect_code(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_contains_no_secrets_and_files_are_private() {
    let options = ["--record", "{dir}/record", "--export-jsonl", "{dir}/events", "--metadata", "k=secret-a"];
    let mut sidecar = start(&[&options, &TOKENS], |dir| {
        fs::write(dir.join("tokens"), "secret-b\n").unwrap();
        fs::set_permissions(dir.join("tokens"), Permissions::from_mode(0o640)).unwrap();
    });
    sidecar.wait_for_stderr("warning: other users have access (mode 640, not 600)");
    let channel = sidecar.channel().await;
    let filter = TelemetryEventFilter { allow: vec!["secret-c".into(), "x".repeat(2_000)], deny: vec![] };
    let control = TelemetryControl { control: Some(Control::Filter(filter)) };
    let request = bringing(Some("secret-b"), tokio_stream::iter([control]));
    let response = BridgeServiceClient::new(channel.clone()).stream_telemetry(request).await.unwrap();
    let mut events = response.into_inner();
    sidecar.write("TELEMETRY:{\"event\": \"secret-d\", \"metadata\": {\"secret-e\": \"secret-f\"}}\n");
    let event = tokio::time::timeout(TIMEOUT, events.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(event.event_parts, ["secret-d"]);
    for name in ["record", "events"] {
        let mode = fs::metadata(sidecar.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    drop((channel, events));
    let finished = sidecar.finish();
    let log = finished.expect_code(0).stderr();
    assert!(log.contains("connected") && !log.contains("secret-"), "{log}");
}
