//! Unfinished requests and floods of controls: little memory, and an end.

use super::{read_until, wait_for_controls};
use crate::support::{
    Sidecar, StatusClient, TIMEOUT,
    http2::{
        DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, call, dial, read_frame,
        stream_telemetry, write_frame,
    },
    line, memory_kib, wait_for,
};
use std::{
    io::Write as _,
    net::TcpStream,
    time::{Duration, Instant},
};
use telemetry_sidecar::event::proto::sidecar::GetStatusResponse;
use tonic::Code;

/// The first bytes of a gRPC message of 4 MiB that is never completed.
const HALF_A_MESSAGE: [u8; 4_000] = {
    let mut bytes = [0; 4_000];
    bytes[2] = 0x40;
    bytes
};

/// A framed control: `toggle { enabled: true }`.
const TOGGLE: &[u8] = &[0, 0, 0, 0, 4, 0x0A, 2, 8, 1];

/// Starts HTTP/2 and waits until the connection window is 512 KiB. Streams have a window of 64 KiB as long as
/// the client does not acknowledge the server's settings.
fn begin(stream: &mut TcpStream) {
    stream.write_all(PREFACE).unwrap();
    read_until(stream, |frame| (frame.kind, frame.id) == (WINDOW_UPDATE, 0));
}

/// Unfinished requests on many streams use little memory and time out.
#[tokio::test(flavor = "multi_thread")]
async fn unfinished_requests_time_out_and_use_little_memory() {
    let mut sidecar = Sidecar::wrap_echo(&["--handshake-timeout", "1s"]);
    sidecar.status().await;
    let before = memory_kib(&sidecar);
    let ids = || (1..200).step_by(2);
    let mut connections: Vec<_> = (0..8).map(|_| dial(sidecar.port())).collect();
    for stream in &mut connections {
        begin(stream);
        for id in ids() {
            write_frame(stream, HEADERS, END_HEADERS, id, &call("/grpc.health.v1.Health/Check", &[]));
            write_frame(stream, DATA, 0, id, &HALF_A_MESSAGE);
        }
    }
    // All 800 are open, and others are still served.
    sidecar.status().await;
    let held = memory_kib(&sidecar) - before;
    assert!(held < 40 * 1024, "{held} KiB");
    for stream in &mut connections {
        let mut refused = 0;
        while refused < ids().count() {
            let answer = read_until(stream, |frame| frame.kind == HEADERS);
            assert!(answer.flags & END_STREAM != 0);
            refused += 1;
        }
    }
    let mut subscriber = sidecar.subscribe().await;
    sidecar.write(line("a", 1, ""));
    subscriber.next().await;
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

/// A client that never reads answers gets few of them, on its connection alone.
#[tokio::test(flavor = "multi_thread")]
async fn unread_answers_are_bounded_for_each_connection() {
    let sidecar = Sidecar::wrap_echo(&[]);
    let status = || call("/telemetry_sidecar.v1.Sidecar/GetStatus", &[]);
    let request = |stream: &mut TcpStream, id| {
        write_frame(stream, HEADERS, END_HEADERS, id, &status());
        write_frame(stream, DATA, END_STREAM, id, &[0; 5]);
    };
    let mut stream = dial(sidecar.port());
    stream.write_all(&PREFACE[..24]).unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE
    write_frame(&mut stream, SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let ids = || (1..200).step_by(2);
    ids().for_each(|id| request(&mut stream, id));
    let (mut answered, mut refused) = (Vec::new(), 0);
    while answered.len() + refused < ids().count() {
        let headers = read_until(&mut stream, |frame| frame.kind == HEADERS);
        match headers.flags & END_STREAM {
            0 => answered.push(headers.id),
            _ => refused += 1,
        }
    }
    assert_eq!((answered.len(), refused), (16, 84));
    // Other connections are served, and this one as soon as it reads.
    sidecar.status().await;
    for id in answered {
        write_frame(&mut stream, WINDOW_UPDATE, 0, id, &[0, 1, 0, 0]);
        read_until(&mut stream, |frame| frame.kind == HEADERS && frame.flags & END_STREAM != 0);
    }
    request(&mut stream, 201);
    assert_eq!(read_until(&mut stream, |frame| frame.kind == HEADERS).flags & END_STREAM, 0);
    drop(stream);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unary_request_over_4_kib_is_refused() {
    let sidecar = Sidecar::wrap_echo(&[]);
    let mut health = tonic_health::pb::health_client::HealthClient::new(sidecar.channel().await);
    let mut ask = async |length| {
        health
            .check(tonic_health::pb::HealthCheckRequest { service: "x".repeat(length) })
            .await
            .unwrap_err()
            .code()
    };
    assert_eq!(ask(4_000).await, Code::NotFound);
    assert_eq!(ask(5_000).await, Code::ResourceExhausted);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_control_is_refused_at_its_length_prefix() {
    let sidecar = Sidecar::wrap_echo(&[]);
    let mut stream = dial(sidecar.port());
    begin(&mut stream);
    for id in (1..20).step_by(2) {
        write_frame(&mut stream, HEADERS, END_HEADERS, id, &stream_telemetry(&[]));
        for part in 0..10 {
            let part = if part == 0 { HALF_A_MESSAGE } else { [0; 4_000] };
            write_frame(&mut stream, DATA, 0, id, &part);
        }
    }
    let refused = |status: &GetStatusResponse| {
        let mut subscribers = status.subscribers.iter();
        status.subscribers.len() == 10 && subscribers.all(|subscriber| subscriber.controls_refused == 1)
    };
    wait_for("all to be refused", async || sidecar.status().await, refused).await;
    drop(stream);
    sidecar.finish().expect_code(0);
}

/// A client that respects flow control and sends each control in its own frame.
struct Toggling {
    stream: TcpStream,
    window: usize,
}

impl Toggling {
    fn start(port: u16) -> Self {
        let mut stream = dial(port);
        stream.write_all(PREFACE).unwrap();
        let settings = read_until(&mut stream, |frame| frame.kind == SETTINGS).payload;
        write_frame(&mut stream, SETTINGS, 1, 0, &[]);
        let mut settings = settings.chunks(6).map(|setting| setting.split_at(2));
        let (_, window) = settings.find(|(id, _)| *id == [0, 4]).unwrap();
        let window = u32::from_be_bytes(window.try_into().unwrap()) as usize;
        write_frame(&mut stream, HEADERS, END_HEADERS, 1, &stream_telemetry(&[]));
        read_until(&mut stream, |frame| frame.kind == HEADERS);
        Self { stream, window }
    }

    /// Sends this many controls, as far as the window allows it in the given time, and returns the number
    /// sent.
    fn send(&mut self, count: usize, within: Duration) -> usize {
        self.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let deadline = Instant::now() + within;
        for sent in 0..count {
            while self.window < TOGGLE.len() {
                if Instant::now() > deadline {
                    return sent;
                }
                match self.stream.peek(&mut [0]) {
                    Ok(1) => {}
                    Ok(_) => panic!("the connection was closed after {sent} controls"),
                    Err(_) => continue,
                }
                let frame = read_frame(&mut self.stream).expect("the connection was closed");
                if (frame.kind, frame.id) == (WINDOW_UPDATE, 1) {
                    self.window += u32::from_be_bytes(frame.payload.try_into().unwrap()) as usize;
                }
            }
            write_frame(&mut self.stream, DATA, 0, 1, TOGGLE);
            self.window -= TOGGLE.len();
        }
        count
    }

    fn expect_event(&mut self) {
        self.stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        read_until(&mut self.stream, |frame| frame.kind == DATA);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_controls_in_separate_frames_are_all_applied() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let mut status = StatusClient::new(sidecar.channel().await);
    let mut client = Toggling::start(sidecar.port());
    let start = Instant::now();
    assert_eq!(tokio::task::block_in_place(|| client.send(5_000, TIMEOUT)), 5_000);
    wait_for_controls(&mut status, 5_000, 0).await;
    assert!(start.elapsed() >= Duration::from_millis(3_900), "{:?}", start.elapsed());
    sidecar.write(line("a", 1, ""));
    tokio::task::block_in_place(|| client.expect_event());
    drop(client);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_controls_is_slowed_by_flow_control() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let mut client = Toggling::start(sidecar.port());
    let start = Instant::now();
    let sent = tokio::task::block_in_place(|| client.send(40_000, Duration::from_secs(5)));
    // The queue of controls, one window, and the controls applied meanwhile.
    let applied = 1_000 + usize::try_from(start.elapsed().as_millis()).unwrap();
    assert!((7_000..8_900 + applied).contains(&sent), "{sent}, {applied} applied");
    sidecar.write(line("a", 1, ""));
    tokio::task::block_in_place(|| client.expect_event());
    drop(client);
    sidecar.finish().expect_code(0);
}
