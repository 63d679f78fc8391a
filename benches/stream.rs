//! Many sidecars in one process: what a viewer costs that looks at all of them.
//!
//! ```text
//! cargo run --release --example stream -- 200 1000 20 target/release/telemetry-sidecar top
//! ```
//!
//! Serves `GetStatus` and `StreamTelemetry` on 200 ports, each with 1,000 events a second, encoded before.
//! The command gets the addresses as its last arguments, and a terminal of 160 x 50. After 20 seconds its
//! processor time is printed, of user and system together. Without a command the addresses are printed, and
//! it serves until it is killed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark may")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "figures to look at")]
#![allow(clippy::cast_sign_loss, clippy::cast_possible_wrap, reason = "figures to look at")]

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::pty::{Winsize, openpty};
use std::{
    convert::Infallible,
    env, fs,
    io::Read as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use telemetry_sidecar::event::{
    frame::Prefix,
    proto::{
        bridge::{TelemetryEvent, TelemetryValue, telemetry_value::Value},
        sidecar::{GetStatusResponse, Worker},
    },
};
use tokio::{net::TcpListener, sync::mpsc, time::MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;

/// As often as a sidecar sends events to the viewer.
const INTERVAL: Duration = Duration::from_millis(200);

/// What is not measured at the start: connections.
const WARM_UP: Duration = Duration::from_secs(3);

const OPERATIONS: [&str; 5] = ["tool.execution", "model.load", "cache.lookup", "train.step", "db.query"];

type Parts = ReceiverStream<Result<Frame<Bytes>, Infallible>>;

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<usize>().ok());
    let (Some(workers), Some(rate), Some(seconds)) = (number(0), number(1), number(2)) else {
        panic!("usage: stream WORKERS EVENTS-A-SECOND SECONDS [COMMAND...]");
    };
    let command = words.get(3..).unwrap_or_default().to_vec();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut addresses = Vec::new();
        for at in 0..workers {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap().to_string());
            let offset = INTERVAL * u32::try_from(at).unwrap() / u32::try_from(workers).unwrap();
            tokio::spawn(serve(listener, at, rate, offset));
        }
        if command.is_empty() {
            println!("{}", addresses.join(" "));
            return std::future::pending().await;
        }
        let measure = move || measure(&command, &addresses, Duration::from_secs(seconds as u64));
        tokio::task::spawn_blocking(measure).await.unwrap();
    });
}

async fn serve(listener: TcpListener, worker: usize, rate: usize, offset: Duration) {
    let (chunk, start) = (events(worker, rate), Instant::now());
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let chunk = chunk.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let chunk = chunk.clone();
            async move {
                let (sender, parts) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(4);
                if request.uri().path().ends_with("GetStatus") {
                    let events = start.elapsed().as_secs_f64() * rate as f64;
                    let worker = Worker { pid: 10_000 + worker as u32, running: true, ..Worker::default() };
                    let status = GetStatusResponse {
                        events: events as u64,
                        worker: Some(worker),
                        ..GetStatusResponse::default()
                    };
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from_static("0"));
                    let _ = sender.try_send(Ok(Frame::data(frame(&status))));
                    let _ = sender.try_send(Ok(Frame::trailers(trailers)));
                } else {
                    tokio::spawn(send(sender, chunk, offset));
                }
                let body = StreamBody::new(Parts::new(parts)).boxed();
                Response::builder().header("content-type", "application/grpc").body(body)
            }
        });
        tokio::spawn(async move {
            let connection = http2::Builder::new(TokioExecutor::new());
            let _ = connection.serve_connection(TokioIo::new(socket), answer).await;
        });
    }
}

async fn send(sender: mpsc::Sender<Result<Frame<Bytes>, Infallible>>, chunk: Bytes, offset: Duration) {
    tokio::time::sleep(offset).await;
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        interval.tick().await;
        if sender.send(Ok(Frame::data(chunk.clone()))).await.is_err() {
            return;
        }
    }
}

/// The events of one interval.
fn events(worker: usize, rate: usize) -> Bytes {
    let mut frames = Vec::new();
    for at in 0..rate * INTERVAL.as_millis() as usize / 1000 {
        let name = OPERATIONS[at % OPERATIONS.len()];
        let value = |value| TelemetryValue { value: Some(value) };
        let event = TelemetryEvent {
            event_parts: name.split('.').chain(["stop"]).map(str::to_owned).collect(),
            measurements: [
                ("duration".to_owned(), value(Value::IntValue((at as i64 * 7919 % 1000 + 1) * 10_000))),
                ("loss".to_owned(), value(Value::FloatValue(1.0 / (at + 1) as f64))),
            ]
            .into(),
            metadata: [("tool".to_owned(), "search".to_owned())].into(),
            timestamp_ns: 1_698_234_567_890_123_456,
            correlation_id: format!("{worker:08}-{at:08}"),
        };
        frames.extend_from_slice(&frame(&event));
    }
    frames.into()
}

fn frame(message: &impl prost::Message) -> Bytes {
    let message = message.encode_to_vec();
    let prefix = Prefix { compressed: false, length: message.len().try_into().unwrap() };
    [&prefix.to_bytes()[..], &message].concat().into()
}

/// Runs the command in a terminal, and prints its processor time.
fn measure(command: &[String], addresses: &[String], time: Duration) {
    let size = Winsize { ws_row: 50, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).unwrap();
    let side = || Stdio::from(terminal.slave.try_clone().unwrap());
    let (program, arguments) = command.split_first().unwrap();
    let mut child = Command::new(program)
        .args(arguments)
        .args(addresses)
        .env("TERM", "xterm-256color")
        .env("LANG", "C.UTF-8")
        .stdin(side())
        .stdout(side())
        .stderr(side())
        .spawn()
        .unwrap();
    let mut screen = fs::File::from(terminal.master);
    thread::spawn(move || {
        let mut drawn = [0; 8192];
        while screen.read(&mut drawn).is_ok() {}
    });
    thread::sleep(WARM_UP);
    let (start, before) = (Instant::now(), processor_seconds(child.id()));
    thread::sleep(time);
    let (took, used) = (start.elapsed().as_secs_f64(), processor_seconds(child.id()) - before);
    println!("{:.1} % of a processor ({used:.2} s in {took:.1} s)", used / took * 100.0);
    println!("{}", memory(child.id()));
    let _ = child.kill();
    let _ = child.wait();
}

/// User and system time so far. A clock tick is a hundredth of a second on Linux.
fn processor_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1;
    let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap());
    ticks.sum::<f64>() / 100.0
}

fn memory(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().to_owned()
}
