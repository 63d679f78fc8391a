//! A client of `StreamTelemetry` that only reads: it counts events and bytes and can measure the delay of
//! events.
//!
//! It prints `subscribed` once it is subscribed and, when the stream ends, its counters as a line of JSON.

#![allow(clippy::cast_precision_loss, reason = "figures to look at")]

use bytes::{Buf as _, Bytes, BytesMut};
use clap::Parser;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::time::{ClockId, clock_gettime};
use prost::Message as _;
use std::{
    io::{self, BufRead as _, Read as _},
    time::{SystemTime, UNIX_EPOCH},
};
use telemetry_sidecar::event::{
    frame::{PREFIX_BYTES, Prefix},
    proto::bridge::{
        STREAM_TELEMETRY, TelemetryControl, TelemetryEvent, TelemetryEventFilter, telemetry_control::Control,
    },
};
use tokio::net::TcpStream;

/// As in Snakepit's client.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Options {
    /// The address of the gRPC server, HOST:PORT
    #[arg(long, required_unless_present = "stdin")]
    address: Option<String>,
    /// Print the time from each event's timestamp to its arrival
    #[arg(long)]
    latency: bool,
    /// Send a filter with this many deny patterns that match no event
    #[arg(long, default_value_t = 0)]
    patterns: usize,
    /// Subscribe and never read, until stdin ends
    #[arg(long)]
    stall: bool,
    /// Read a worker's lines from stdin, without gRPC
    #[arg(long, conflicts_with = "address")]
    stdin: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let mut measurements = Measurements { latency: options.latency, ..Measurements::default() };
    match &options.address {
        Some(address) => subscribe(address, &options, &mut measurements).await?,
        None => measurements.read_lines()?,
    }
    measurements.print();
    Ok(())
}

async fn subscribe(address: &str, options: &Options, measurements: &mut Measurements) -> Result<(), Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(connection);
    let request = hyper::Request::post(format!("http://{address}{STREAM_TELEMETRY}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(controls(options.patterns)))?;
    let mut body = sender.send_request(request).await?.into_body();
    println!("subscribed");
    if options.stall {
        // This blocks the only thread, so nothing reads the socket.
        io::stdin().read_to_end(&mut Vec::new())?;
        return Ok(());
    }
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            measurements.add(data)?;
        }
    }
    Ok(())
}

/// The request: no control, or one filter.
fn controls(patterns: usize) -> Bytes {
    if patterns == 0 {
        return Bytes::new();
    }
    let deny = (0..patterns).map(|number| format!("no.such-{number}.*")).collect();
    let filter = TelemetryEventFilter { allow: Vec::new(), deny };
    let control = TelemetryControl { control: Some(Control::Filter(filter)) }.encode_to_vec();
    let prefix = Prefix { compressed: false, length: control.len().try_into().unwrap_or(u32::MAX) };
    [&prefix.to_bytes()[..], &control].concat().into()
}

/// The events received so far.
#[derive(Default)]
struct Measurements {
    latency: bool,
    events: u64,
    bytes: u64,
    first_ns: i64,
    last_ns: i64,
    late_ns: Vec<i64>,
    /// The start of an incomplete message.
    rest: BytesMut,
}

impl Measurements {
    /// Counts the messages that end in this piece of the stream.
    fn add(&mut self, mut data: Bytes) -> Result<(), Failure> {
        let now = if self.latency { now_ns()? } else { 0 };
        self.bytes += data.len() as u64;
        self.last_ns = monotonic_ns()?;
        if self.first_ns == 0 {
            self.first_ns = self.last_ns;
        }
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(&data);
            data = self.rest.split().freeze();
        }
        while let Some(end) = message_end(&data) {
            self.events += 1;
            if self.latency {
                let event = TelemetryEvent::decode(&data[PREFIX_BYTES..end])?;
                self.late_ns.push(now - event.timestamp_ns);
            }
            data.advance(end);
        }
        self.rest.extend_from_slice(&data);
        Ok(())
    }

    /// Counts the lines that end in this piece of the stream.
    fn read_lines(&mut self) -> Result<(), Failure> {
        let (mut stdin, mut line) = (io::stdin().lock(), Vec::new());
        while stdin.read_until(b'\n', &mut line)? > 0 {
            let now = now_ns()?;
            self.events += 1;
            self.bytes += line.len() as u64;
            self.late_ns.extend(timestamp(&line).map(|timestamp| now - timestamp));
            line.clear();
        }
        Ok(())
    }

    fn print(mut self) {
        let Self { events, bytes, first_ns, last_ns, .. } = self;
        print!(r#"{{"events": {events}, "bytes": {bytes}, "first_ns": {first_ns}, "last_ns": {last_ns}"#);
        self.late_ns.sort_unstable();
        if let Some(last) = self.late_ns.len().checked_sub(1) {
            for (name, percent) in [("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)] {
                print!(r#", "{name}_us": {:.1}"#, self.late_ns[last * percent / 100] as f64 / 1000.0);
            }
        }
        println!("}}");
    }
}

/// The end of the first message, if it is complete.
fn message_end(data: &[u8]) -> Option<usize> {
    let (prefix, rest) = Prefix::split(data)?;
    let length = prefix.length as usize;
    (length <= rest.len()).then_some(PREFIX_BYTES + length)
}

/// The timestamp of a line.
fn timestamp(line: &[u8]) -> Option<i64> {
    let line = std::str::from_utf8(line).ok()?;
    let (_, value) = line.split_once(r#""timestamp_ns": "#)?;
    value.split(|other: char| !other.is_ascii_digit()).next()?.parse().ok()
}

fn now_ns() -> Result<i64, Failure> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

fn monotonic_ns() -> nix::Result<i64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(now.tv_sec() * 1_000_000_000 + now.tv_nsec())
}
