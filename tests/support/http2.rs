//! A raw HTTP/2 client that can send what no library sends. Tests and the fuzz target `http2` share it.

use super::TIMEOUT;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Instant,
};

/// The client preface, and an empty SETTINGS frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Frame types.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags of HEADERS. END_STREAM is also a flag of DATA; its value is ACK on PING and SETTINGS.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub id: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether the frame is a PING that expects an answer.
    pub fn is_question(&self) -> bool {
        self.kind == PING && self.flags & 1 == 0
    }
}

/// Connects without sending anything.
pub fn dial(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// An encoded frame.
pub fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &id.to_be_bytes(), payload].concat()
}

pub fn write_frame(stream: &mut TcpStream, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    stream.write_all(&frame(kind, flags, id, payload)).unwrap();
}

/// The next frame, or nothing at the end of the connection.
pub fn read_frame(stream: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).ok()?;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some(Frame { kind: head[3], flags: head[4], id, payload })
}

/// The headers of a StreamTelemetry request, with additional ones.
pub fn stream_telemetry(others: &[(&str, &str)]) -> Vec<u8> {
    call("/snakepit.bridge.BridgeService/StreamTelemetry", others)
}

/// The headers of a gRPC request, with additional ones.
pub fn call(path: &str, others: &[(&str, &str)]) -> Vec<u8> {
    let mut headers = vec![0x83, 0x86]; // :method POST, :scheme http
    let fields = [
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in fields.iter().chain(others) {
        headers.push(0); // literal without indexing, new name
        for text in [name, value] {
            headers.push(u8::try_from(text.len()).unwrap());
            headers.extend_from_slice(text.as_bytes());
        }
    }
    headers
}

/// A client that opens a stream and reads only on request.
pub struct RawStream(pub TcpStream);

/// The content of a stream.
#[derive(Debug, Default)]
pub struct Everything {
    pub messages: usize,
    pub ended_with_trailers: bool,
}

impl RawStream {
    /// Opens StreamTelemetry with this `grpc-timeout` and windows of this many bytes, closes this side, so
    /// that the subscription begins, and waits for that.
    pub fn open(port: u16, grpc_timeout: &str, window: u32) -> Self {
        let mut stream = dial(port);
        let window = window.to_be_bytes();
        let settings = [&[0, 4][..], &window].concat(); // SETTINGS_INITIAL_WINDOW_SIZE
        stream.write_all(&PREFACE[..24]).unwrap();
        write_frame(&mut stream, SETTINGS, 0, 0, &settings);
        if window != [0; 4] {
            write_frame(&mut stream, WINDOW_UPDATE, 0, 0, &window);
        }
        let headers = stream_telemetry(&[("grpc-timeout", grpc_timeout)]);
        write_frame(&mut stream, HEADERS, END_HEADERS | END_STREAM, 1, &headers);
        // The response headers confirm the subscription.
        while read_frame(&mut stream).is_some_and(|frame| frame.kind != HEADERS) {}
        Self(stream)
    }

    /// Reads the rest of the stream.
    pub fn read_to_end(&mut self) -> Everything {
        self.read_slowly(0)
    }

    /// Reads the rest of the stream with a flow-control window of this size.
    pub fn read_slowly(&mut self, window: u32) -> Everything {
        let more = |stream: &mut TcpStream, bytes: u32| {
            if window > 0 {
                for id in [0, 1] {
                    write_frame(stream, WINDOW_UPDATE, 0, id, &bytes.to_be_bytes());
                }
            }
        };
        more(&mut self.0, window);
        let mut everything = Everything::default();
        let mut data = Vec::new();
        let deadline = Instant::now() + TIMEOUT;
        while let Some(frame) = read_frame(&mut self.0) {
            assert!(Instant::now() < deadline, "the stream does not end: {everything:?}");
            match frame.kind {
                DATA => {
                    if let Ok(bytes @ 1..) = u32::try_from(frame.payload.len()) {
                        more(&mut self.0, bytes);
                    }
                    data.extend(frame.payload);
                }
                PING if frame.is_question() => write_frame(&mut self.0, PING, 1, 0, &frame.payload),
                HEADERS => {
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
