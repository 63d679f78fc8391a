//! The server: it reads each request to its end, whatever the method, and answers as its metadata says.

use super::{
    Failure,
    messages::{ANSWER_BYTES, ANSWER_MESSAGES, CONNECTION_WINDOW_BYTES, Messages, STREAM_WINDOW_BYTES},
};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io::Read as _;
use tokio::net::TcpListener;

pub async fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let connection = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .serve_connection(TokioIo::new(socket), service_fn(answer));
        tokio::spawn(connection);
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Messages>, Failure> {
    let (messages, bytes) =
        (number(request.headers(), ANSWER_MESSAGES)?, number(request.headers(), ANSWER_BYTES)?);
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let answer = Messages::new(messages, bytes, Some(trailers));
    Ok(Response::builder().header("content-type", "application/grpc").body(answer)?)
}

fn number(headers: &HeaderMap, name: &str) -> Result<usize, Failure> {
    let value = headers.get(name).ok_or_else(|| format!("no metadata {name}"))?;
    Ok(value.to_str()?.parse()?)
}
