//! The client. Each round makes the calls to one server after the other, starting with another one each time,
//! so that other load on the machine affects all equally. It prints a line of JSON: for each server the
//! seconds of each round, and percentiles of the durations of all calls in microseconds.

#![allow(clippy::cast_precision_loss, reason = "figures to look at")]

use super::{
    Failure,
    messages::{ANSWER_BYTES, ANSWER_MESSAGES, CONNECTION_WINDOW_BYTES, Messages, STREAM_WINDOW_BYTES},
};
use clap::Parser;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};
use tokio::{net::TcpStream, task::JoinSet};

#[derive(Parser)]
pub struct Options {
    /// A server; repeatable
    #[arg(long = "server", value_name = "NAME=HOST:PORT", required = true, value_parser = server)]
    servers: Vec<(String, String)>,
    /// How often each server has its turn
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Calls of a turn
    #[arg(long, default_value_t = 100)]
    calls: usize,
    /// Calls at a time, all on one connection
    #[arg(long, default_value_t = 1)]
    concurrency: usize,
    #[command(flatten)]
    shape: Shape,
}

/// The messages of a call.
#[derive(Parser, Clone, Copy)]
struct Shape {
    #[arg(long, default_value_t = 1)]
    request_messages: usize,
    #[arg(long, default_value_t = 100)]
    request_bytes: usize,
    #[arg(long, default_value_t = 1)]
    answer_messages: usize,
    #[arg(long, default_value_t = 100)]
    answer_bytes: usize,
}

fn server(text: &str) -> Result<(String, String), &'static str> {
    let (name, address) = text.split_once('=').ok_or("expected NAME=HOST:PORT")?;
    Ok((name.to_owned(), address.to_owned()))
}

struct Server {
    name: String,
    address: String,
    sender: SendRequest<Messages>,
    rounds_s: Vec<f64>,
    calls_us: Vec<f64>,
}

pub async fn measure(options: Options) -> Result<(), Failure> {
    let mut servers = Vec::new();
    for (name, address) in options.servers {
        let sender = connect(&address).await?;
        call(sender.clone(), &address, options.shape).await?;
        servers.push(Server { name, address, sender, rounds_s: Vec::new(), calls_us: Vec::new() });
    }
    for round in 0..options.rounds {
        let count = servers.len();
        for turn in 0..count {
            let server = &mut servers[(round + turn) % count];
            server.turn(options.calls, options.concurrency, options.shape).await?;
        }
    }
    let figures: Vec<String> = servers.into_iter().map(Server::figures).collect();
    println!("{{{}}}", figures.join(", "));
    Ok(())
}

async fn connect(address: &str) -> Result<SendRequest<Messages>, Failure> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .handshake(TokioIo::new(socket))
        .await?;
    tokio::spawn(connection);
    Ok(sender)
}

impl Server {
    async fn turn(&mut self, calls: usize, concurrency: usize, shape: Shape) -> Result<(), Failure> {
        let begin = Instant::now();
        let begun = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..concurrency {
            let (sender, address) = (self.sender.clone(), self.address.clone());
            let begun = Arc::clone(&begun);
            tasks.spawn(async move {
                let mut calls_us = Vec::new();
                while begun.fetch_add(1, Relaxed) < calls {
                    let begin = Instant::now();
                    call(sender.clone(), &address, shape).await?;
                    calls_us.push(begin.elapsed().as_secs_f64() * 1e6);
                }
                Ok::<_, Failure>(calls_us)
            });
        }
        while let Some(calls_us) = tasks.join_next().await {
            self.calls_us.append(&mut calls_us??);
        }
        self.rounds_s.push(begin.elapsed().as_secs_f64());
        Ok(())
    }

    fn figures(mut self) -> String {
        self.calls_us.sort_unstable_by(f64::total_cmp);
        let last = self.calls_us.len().saturating_sub(1);
        let percentile = |percent| self.calls_us.get(last * percent / 100).copied().unwrap_or_default();
        format!(
            r#""{}": {{"rounds_s": {:?}, "p50_us": {}, "p99_us": {}}}"#,
            self.name,
            self.rounds_s,
            percentile(50),
            percentile(99)
        )
    }
}

/// Makes one call and checks its answer.
async fn call(mut sender: SendRequest<Messages>, address: &str, shape: Shape) -> Result<(), Failure> {
    let request = Request::post(format!("http://{address}/measured.Calls/Call"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(ANSWER_MESSAGES, shape.answer_messages)
        .header(ANSWER_BYTES, shape.answer_bytes)
        .body(Messages::new(shape.request_messages, shape.request_bytes, None))?;
    let mut body = sender.send_request(request).await?.into_body();
    let (mut bytes, mut status) = (0, None);
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => bytes += data.len(),
            Err(frame) => {
                status = frame.trailers_ref().and_then(|trailers| trailers.get("grpc-status").cloned());
            }
        }
    }
    let expected = Messages::wire_bytes(shape.answer_messages, shape.answer_bytes);
    if bytes != expected || status.as_ref().is_none_or(|status| status != "0") {
        return Err(format!("{address}: {bytes} bytes of {expected}, grpc-status {status:?}").into());
    }
    Ok(())
}
