//! How the page is served: to whom, compressed or not, with little memory, and until when.

use super::{OPEN_METRICS, exposition, series, serving, stop};
use crate::http::{Answer, Connection, get};
use crate::support::{Status, StatusClient, connect, memory_kib, run, wait_for, wait_until};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn responses_conform_to_http() {
    let (sidecar, address) = serving(&[]).await;
    // All requests use one connection.
    let mut connection = Connection::open(&address);
    let page = connection.request("GET", "/metrics?name[]=x", "");
    assert_eq!((page.status, page.header("connection")), (200, ""));
    let head = connection.request("HEAD", "/metrics", OPEN_METRICS);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.header("content-length").parse::<usize>().unwrap() > 1000, "{head:?}");
    let health = connection.request("GET", "/healthz", "");
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    for path in ["/metrics", "/healthz"] {
        let refused = connection.request("DELETE", path, "");
        assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD"));
    }
    for path in ["/", "/metrics/", "/metricsx", "/../metrics"] {
        assert_eq!(connection.request("GET", path, "").status, 404, "{path}");
    }
    assert_eq!(get(&address, "/healthz", "Connection: close\r\n").header("connection"), "close");
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_delays_neither_other_clients_nor_the_exit() {
    let (sidecar, address) = serving(&["--drain-timeout", "600s"]).await;
    let mut silent: Vec<_> = (0..40).map(|_| Connection::open(&address)).collect();
    for half in &mut silent[..20] {
        half.send("GET /metrics HTTP/1.1\r\nHost: ");
    }
    // These clients request more than fits in the socket buffers, and read nothing.
    for deaf in &mut silent[30..] {
        deaf.send(&"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000));
    }
    let mut garbage = Connection::open(&address);
    garbage.send("\x16\x03\x01 no HTTP\r\n\r\n");
    assert_eq!(get(&address, "/healthz", "").status, 200);
    series(&address);
    let started = Instant::now();
    sidecar.finish().expect_code(0);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn linger_ends_after_a_scrape_of_the_final_values() {
    let (mut sidecar, address) = serving(&["--linger", "600s"]).await;
    // `--linger` waits for a first subscriber, too.
    let mut subscriber = sidecar.subscribe().await;
    let mut status = StatusClient::new(connect(&format!("http://127.0.0.1:{}", sidecar.port())).await);
    sidecar.write(stop(1, "x"));
    sidecar.close_stdin();
    assert_eq!(subscriber.rest().await.len(), 1);
    drop(subscriber);
    let ended = |status: &telemetry_sidecar::event::proto::sidecar::GetStatusResponse| {
        status.worker.is_some_and(|worker| worker.exit_code == Some(0) && worker.exit_signal.is_none())
    };
    wait_for("the worker's end", async || status.get().await, ended).await;
    // A HEAD request does not count as a scrape.
    assert_eq!(Connection::open(&address).request("HEAD", "/metrics", "").status, 200);
    assert!(!sidecar.has_exited());
    let mut connection = Connection::open(&address);
    let last = connection.request("GET", "/metrics", "");
    assert_eq!(last.header("connection"), "close");
    assert!(connection.is_closed());
    let page = exposition::read(&last.body, false).unwrap();
    assert_eq!(page[r#"snakepit_events_total{event="tool.execution.stop"}"#], 1.0);
    assert_eq!(page[r#"telemetry_sidecar_worker_exit_status{kind="code"}"#], 0.0);
    assert_eq!(page["telemetry_sidecar_worker_up"], 0.0);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_does_not_wait_for_a_scrape_without_linger() {
    let (mut sidecar, _) = serving(&["--drain-timeout", "600s"]).await;
    sidecar.write(stop(1, "x"));
    sidecar.finish().expect_code(0);
}

#[test]
fn each_insecure_option_opens_only_its_own_listeners() {
    let page = ["--export-prometheus", "0.0.0.0:0", "--", "true"];
    let listener = ["--export-prometheus", "127.0.0.1:0", "--listen", "0.0.0.0:0", "--", "true"];
    run(&[&["-q", "--prometheus-insecure"], &page[..]].concat()).expect_code(0);
    for (switch, words, refused) in [
        ("--insecure", &page[..], "--prometheus-insecure"),
        ("--prometheus-insecure", &listener, " --insecure"),
    ] {
        let finished = run(&[&[switch], words].concat());
        finished.expect_code(125);
        let stderr = finished.stderr();
        assert!(stderr.lines().count() == 1 && stderr.contains(refused), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_other_hosts_are_refused() {
    let (sidecar, address) = serving(&["--prometheus-allowed-host", "metrics.example"]).await;
    let mut connection = Connection::open(&address);
    let port = address.rsplit(':').next().unwrap();
    for path in ["/metrics", "/healthz"] {
        let mut status = |line: &str, headers: &str| {
            let request = format!("GET {line}\r\n{headers}\r\n");
            connection.exchange("GET", &request).status
        };
        let mut host = |host: &str| status(&format!("{path} HTTP/1.1"), &format!("Host: {host}\r\n"));
        for allowed in ["127.0.0.1", "localhost", "[::1]", "METRICS.example"] {
            assert_eq!(host(&format!("{allowed}:{port}")), 200, "{allowed}");
        }
        assert_eq!((host(&format!("attacker.example:{port}")), host("attacker.example")), (421, 421));
        assert_eq!((host("a/b"), host("")), (400, 400));
        let complete = |host: &str| format!("http://{host}{path} HTTP/1.1");
        assert_eq!(status(&complete("attacker.example"), "Host: localhost\r\n"), 421);
        assert_eq!(status(&complete(&address), "Host: localhost\r\n"), 200);
        assert_eq!(status(&format!("{path} HTTP/1.1"), ""), 400);
        let keep_alive = "Connection: keep-alive\r\n";
        assert_eq!(status(&format!("{path} HTTP/1.0"), keep_alive), 200);
    }
    let refused = connection.exchange("GET", "GET /metrics HTTP/1.1\r\nHost: attacker.example\r\n\r\n");
    assert!(refused.body.contains("--prometheus-allowed-host") && !refused.body.contains("attacker"));
    let from_a_page = get(&address, "/metrics", "Origin: http://attacker.example\r\n");
    assert_eq!((from_a_page.status, from_a_page.header("access-control-allow-origin")), (200, ""));
    sidecar.finish().expect_code(0);
}

#[test]
fn an_allowed_host_is_a_literal_name_without_a_port() {
    let name = "expected the name of a host, without a port";
    let literal = "expected the name of one host: '*' has no special meaning";
    for (name, cause) in [("a:80", name), ("a/b", name), ("", name), ("*", literal), ("*.example", literal)] {
        let finished = run(&["--prometheus-allowed-host", name, "--", "true"]);
        finished.expect_code(125);
        let line = format!("telemetry-sidecar: --prometheus-allowed-host: '{name}': {cause}\n");
        assert_eq!(finished.stderr(), line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_compressed_if_the_client_asks_for_it() {
    let (sidecar, address) = serving(&[]).await;
    for format in ["", OPEN_METRICS] {
        let page = |encoding: &str| get(&address, "/metrics", &format!("{format}{encoding}"));
        let plain = page("");
        let compressed = page("Accept-Encoding: gzip\r\n");
        assert_eq!(compressed.header("content-encoding"), "gzip");
        let length = |header: &str| header.parse::<usize>().unwrap();
        assert!(length(compressed.header("content-length")) < plain.body.len() / 3, "{compressed:?}");
        let names =
            |body: &str| exposition::read(body, !format.is_empty()).unwrap().into_keys().collect::<Vec<_>>();
        assert_eq!(names(&compressed.body), names(&plain.body));
        for answer in [&plain, &compressed] {
            assert_eq!(answer.header("vary"), "Accept, Accept-Encoding");
            assert_eq!(answer.header("content-type"), plain.header("content-type"));
        }
        for refused in ["", "Accept-Encoding: gzip;q=0\r\n", "Accept-Encoding: identity, gzip;q=0.5\r\n"] {
            assert_eq!(page(refused).header("content-encoding"), "", "{refused}");
        }
    }
    let head = Connection::open(&address).request("HEAD", "/metrics", "Accept-Encoding: gzip\r\n");
    assert_eq!((head.header("content-encoding"), head.body.as_str()), ("gzip", ""));
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_hold_little_memory() {
    const EVENTS: u32 = 250;
    let labels = ["--metric-label", "a", "--metric-label", "b", "--metric-label", "c", "--metric-label", "d"];
    let (mut sidecar, address) = serving(&labels).await;
    for number in 0..EVENTS {
        let value = format!("{number}{}", "x".repeat(250));
        let metadata = format!(r#"{{"a": "{value}", "b": "{value}", "c": "{value}", "d": "{value}"}}"#);
        sidecar.write(format!(
            r#"TELEMETRY:{{"event": "a.stop", "measurements": {{"duration": 1}}, "metadata": {metadata}}}{}"#,
            "\n"
        ));
    }
    let get_status = async || sidecar.status().await;
    let is_counted = |status: &Status| status.exporters[0].delivered == u64::from(EVENTS);
    wait_for("the events to be counted", get_status, is_counted).await;
    let page_kib = get(&address, "/metrics", "").body.len() as u64 / 1024;
    assert!(page_kib > 4000, "{page_kib}");
    let before = memory_kib(&sidecar);
    let mut unread = Vec::new();
    for _ in 0..30 {
        let mut connection = Connection::open(&address);
        connection.send(&format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n"));
        // A later request gets a page of its own.
        connection.begin_reading();
        unread.push(connection);
    }
    let held = memory_kib(&sidecar).saturating_sub(before) / 1024;
    assert!(held < 90, "{held} MiB, and a page has {page_kib} KiB");
    assert_eq!(get(&address, "/metrics", "").status, 200);
    drop(unread);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn linger_waits_for_each_scraper_that_has_come_twice() {
    let (mut sidecar, address) = serving(&["--linger", "600s"]).await;
    let mut subscriber = sidecar.subscribe().await;
    let scrape = |agent: &str| get(&address, "/metrics", &format!("User-Agent: {agent}\r\n"));
    // Two that are alike, with connections that stay open.
    let mut pair = [Connection::open(&address), Connection::open(&address)];
    for _ in 0..2 {
        scrape("a");
        scrape("b");
        for connection in &mut pair {
            connection.request("GET", "/metrics", "User-Agent: c\r\n");
        }
    }
    sidecar.close_stdin();
    subscriber.rest().await;
    drop(subscriber);
    // The connection is closed after a page with everything.
    let is_complete = |page: &Answer| {
        let closes = page.header("connection") == "close";
        closes && page.body.contains("worker_exit_status{kind=\"code\"} 0")
    };
    wait_until("a page with everything", || is_complete(&scrape("stranger")));
    for agent in ["a", "a"] {
        assert!(is_complete(&scrape(agent)), "{agent}");
    }
    for connection in &mut pair {
        assert!(is_complete(&connection.request("GET", "/metrics", "User-Agent: c\r\n")));
    }
    assert!(!sidecar.has_exited());
    assert!(is_complete(&scrape("b")));
    sidecar.finish().expect_code(0);
}
