//! The end of a connection as a raw HTTP/2 client sees it.

use crate::support::{
    Sidecar,
    http2::{
        DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, PREFACE, SETTINGS, WINDOW_UPDATE, dial,
        read_frame, stream_telemetry, write_frame,
    },
    line, wait_for,
};
use std::{fs, io::Write as _, net::TcpStream, time::Duration};

/// ACK, a flag of SETTINGS and PING.
const ACK: u8 = 1;

/// A client with a subscription on stream 1 that answers SETTINGS and PING like any library.
struct Client {
    stream: TcpStream,
    acknowledges: bool,
    frames: Vec<Frame>,
}

impl Client {
    /// Subscribes with a window of this many bytes.
    fn subscribe(port: u16, window: u32, acknowledges: bool) -> Self {
        let mut stream = dial(port);
        stream.write_all(&PREFACE[..24]).unwrap();
        let settings = [&[0, 4][..], &window.to_be_bytes()].concat(); // SETTINGS_INITIAL_WINDOW_SIZE
        write_frame(&mut stream, SETTINGS, 0, 0, &settings);
        write_frame(&mut stream, WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes());
        write_frame(&mut stream, HEADERS, END_HEADERS, 1, &stream_telemetry(&[]));
        let mut client = Self { stream, acknowledges, frames: Vec::new() };
        client.read_until(|frame| frame.kind == HEADERS);
        client
    }

    /// Reads up to the first frame that satisfies the condition, or to the end of the connection.
    fn read_until(&mut self, wanted: impl Fn(&Frame) -> bool) {
        while let Some(frame) = read_frame(&mut self.stream) {
            let answered = frame.flags & ACK == 0
                && match frame.kind {
                    SETTINGS => self.acknowledges,
                    kind => kind == PING,
                };
            if answered {
                // The sidecar may have closed the connection.
                let payload = if frame.kind == PING { &*frame.payload } else { &[] };
                let answer = crate::support::http2::frame(frame.kind, ACK, 0, payload);
                let _ = self.stream.write_all(&answer);
            }
            let is_wanted = wanted(&frame);
            self.frames.push(frame);
            if is_wanted {
                return;
            }
        }
    }

    /// Opens the stream's window.
    fn open_window(&mut self) {
        write_frame(&mut self.stream, WINDOW_UPDATE, 0, 1, &(1u32 << 30).to_be_bytes());
    }

    /// Reads the rest and checks it: the last DATA, trailers, and one GOAWAY as the last frame.
    fn expect_end(&mut self) {
        self.read_until(|_| false);
        let kinds: Vec<_> = self.frames.iter().map(|frame| frame.kind).collect();
        let last_data = kinds.iter().rposition(|kind| *kind == DATA).unwrap();
        // SETTINGS ask for an acknowledgement of the trailers.
        let behind: Vec<_> =
            kinds[last_data + 1..].iter().copied().filter(|kind| !matches!(*kind, SETTINGS | PING)).collect();
        assert_eq!(behind, [HEADERS, GOAWAY], "{kinds:?}");
        let trailers = self.frames.iter().rfind(|frame| frame.kind == HEADERS).unwrap();
        assert_eq!((trailers.id, trailers.flags & END_STREAM), (1, END_STREAM));
        let goaway = self.frames.last().unwrap();
        assert_eq!((goaway.kind, &*goaway.payload), (GOAWAY, &[0, 0, 0, 1, 0, 0, 0, 0][..]), "{kinds:?}");
    }
}

fn replay(options: &[&str], count: usize) -> Sidecar {
    let words = [&["replay", "--ready-file", "{dir}/ready"], options, &["{dir}/log"]].concat();
    let builder = Sidecar::command(&words);
    let log: String = (0..count).map(|count| line("a.b", count, &"x".repeat(200))).collect();
    fs::write(builder.path("log"), log).unwrap();
    builder.start()
}

#[test]
fn goaway_is_the_last_frame_after_the_trailers_of_a_live_worker() {
    for acknowledges in [true, false] {
        let mut sidecar = Sidecar::wrap_echo(&["--drain-timeout", "60s"]);
        let mut client = Client::subscribe(sidecar.port(), 1 << 30, acknowledges);
        sidecar.write((0..100).map(|count| line("a", count, "")).collect::<String>());
        sidecar.close_stdin();
        client.expect_end();
        drop(client);
        sidecar.finish().expect_code(0);
    }
}

#[test]
fn goaway_is_the_last_frame_after_the_trailers_of_a_replay() {
    for acknowledges in [true, false] {
        let sidecar = replay(&[], 5_000);
        let mut client = Client::subscribe(sidecar.port(), 1 << 30, acknowledges);
        client.expect_end();
        drop(client);
        sidecar.finish().expect_code(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_trailers_that_wait_for_the_window_come_before_goaway() {
    let sidecar = replay(&["--keepalive-interval", "20ms"], 100);
    let mut client = Client::subscribe(sidecar.port(), 1000, true);
    let get = async || sidecar.status().await;
    wait_for("everything to be read", get, |status| status.stream.unwrap().events == 100).await;
    // Keepalive goes on as long as the client has to be asked for a window.
    client.read_until(|frame| frame.kind == PING);
    client.open_window();
    client.expect_end();
    drop(client);
    sidecar.finish().expect_code(0);
}

#[test]
fn goaway_waits_until_the_peer_has_processed_the_trailers() {
    let sidecar = replay(&[], 10);
    let mut client = Client::subscribe(sidecar.port(), 1 << 30, true);
    client.acknowledges = false;
    client.read_until(|frame| frame.kind == HEADERS);
    client.read_until(|frame| frame.kind == SETTINGS);
    client.stream.set_nonblocking(true).unwrap();
    let early = read_frame(&mut client.stream);
    client.stream.set_nonblocking(false).unwrap();
    assert!(early.is_none());
    write_frame(&mut client.stream, SETTINGS, ACK, 0, &[]);
    client.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client.expect_end();
    drop(client);
    sidecar.finish().expect_code(0);
}

#[test]
fn a_peer_that_goes_on_sending_after_goaway_does_not_hold_a_replay() {
    let mut sidecar = replay(&[], 10);
    let mut client = Client::subscribe(sidecar.port(), 1 << 30, true);
    client.expect_end();
    let ping = crate::support::http2::frame(PING, 0, 0, &[0; 8]);
    while client.stream.write_all(&ping).is_ok() {
        std::thread::yield_now();
    }
    sidecar.wait();
    sidecar.finish().expect_code(0);
    drop(client);
}
