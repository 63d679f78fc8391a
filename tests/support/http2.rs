//! Just enough HTTP/2 to be rude with it.

use super::PATIENCE;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Instant,
};

/// What HTTP/2 starts with, and an empty SETTINGS frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A client that speaks just enough HTTP/2 to open a stream and to read when it wants to.
pub struct RawStream(pub TcpStream);

/// What a stream brought.
#[derive(Debug, Default)]
pub struct Everything {
    pub messages: usize,
    pub ended_with_trailers: bool,
}

impl RawStream {
    /// Opens StreamTelemetry with this `grpc-timeout` and windows of this many bytes, and waits for nothing but to be
    /// subscribed.
    pub fn open(port: u16, grpc_timeout: &str, window: u32) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut headers = vec![0x83, 0x86]; // :method POST, :scheme http
        let fields = [
            (":path", "/snakepit.bridge.BridgeService/StreamTelemetry"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", grpc_timeout),
        ];
        for (name, value) in fields {
            headers.push(0); // literal without indexing, new name
            for text in [name, value] {
                headers.push(u8::try_from(text.len()).unwrap());
                headers.extend_from_slice(text.as_bytes());
            }
        }
        let window = window.to_be_bytes();
        let settings = [&[0, 4][..], &window].concat(); // SETTINGS_INITIAL_WINDOW_SIZE
        stream.write_all(&PREFACE[..24]).unwrap();
        write_frame(&mut stream, 4, 0, 0, &settings);
        if window != [0; 4] {
            write_frame(&mut stream, 8, 0, 0, &window); // WINDOW_UPDATE of the connection
        }
        write_frame(&mut stream, 1, 4, 1, &headers); // HEADERS, END_HEADERS
        // Headers come back: it is subscribed.
        while read_frame(&mut stream).is_some_and(|frame| frame.kind != 1) {}
        Self(stream)
    }

    /// What is left of the stream.
    pub fn read_to_end(&mut self) -> Everything {
        let mut everything = Everything::default();
        let mut data = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while let Some(frame) = read_frame(&mut self.0) {
            assert!(Instant::now() < deadline, "the stream does not end: {everything:?}");
            match frame.kind {
                0 => data.extend(frame.payload),
                1 => {
                    everything.ended_with_trailers = frame.flags & 1 == 1;
                    break;
                }
                _ => {}
            }
        }
        let mut rest = &data[..];
        while let Some((prefix, after)) = rest.split_first_chunk::<5>() {
            let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
            rest = &after[length..];
            everything.messages += 1;
        }
        everything
    }
}

/// A frame.
pub struct RawFrame {
    pub kind: u8,
    pub flags: u8,
    pub payload: Vec<u8>,
}

pub fn write_frame(stream: &mut TcpStream, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &id.to_be_bytes()].concat();
    stream.write_all(&[&head[..], payload].concat()).unwrap();
}

/// The next frame, or nothing at the connection's end. A ping is answered.
pub fn read_frame(stream: &mut TcpStream) -> Option<RawFrame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).unwrap();
    if head[3] == 6 && head[4] & 1 == 0 {
        write_frame(stream, 6, 1, 0, &payload);
    }
    Some(RawFrame { kind: head[3], flags: head[4], payload })
}
