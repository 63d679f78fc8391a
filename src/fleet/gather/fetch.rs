//! Fetches pages of sidecars over HTTP/1.1. What a peer sends is limited in size and in time.

use super::{
    family::Family,
    parse::{PageError, parse},
};
use bytes::Bytes;
use http::{
    Request, StatusCode,
    header::{CONTENT_TYPE, HOST, USER_AGENT},
};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::{io, net::SocketAddr, time::Duration};
use thiserror::Error;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

/// How long a page may take, with its connection.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The longest page, in bytes: 100,000 lines.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Sidecars distinguish their scrapers by the user agent.
const AGENT: &str = concat!("telemetry-sidecar-gather/", env!("CARGO_PKG_VERSION"));

/// Why there is no page.
#[derive(Debug, Error)]
pub(super) enum FetchError {
    #[error("no page within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("the connection failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("its page has the status {0}")]
    Status(StatusCode),
    #[error("its page is not text 0.0.4")]
    Format,
    #[error("its page has more than {} MiB", MAX_BYTES >> 20)]
    TooLong,
    #[error("its page is not UTF-8")]
    Encoding,
    #[error(transparent)]
    Page(#[from] PageError),
}

/// Fetches the page at an address again and again, on one connection if the server keeps it open.
#[derive(Debug)]
pub(super) struct Fetcher {
    address: SocketAddr,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    task: JoinHandle<hyper::Result<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fetcher {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// The current page.
    ///
    /// # Errors
    ///
    /// If it is not there within [`TIMEOUT`], too long, or not what a sidecar serves.
    pub(super) async fn fetch(&mut self) -> Result<Vec<Family>, FetchError> {
        let text = timeout(TIMEOUT, self.text()).await.unwrap_or(Err(FetchError::Timeout));
        let page = text.and_then(|text| {
            let text = str::from_utf8(&text).map_err(|_| FetchError::Encoding)?;
            Ok(parse(text)?)
        });
        if page.is_err() {
            self.connection = None;
        }
        page
    }

    async fn text(&mut self) -> Result<Bytes, FetchError> {
        if let Some(open) = self.connection.take().filter(|open| !open.sender.is_closed()) {
            // The server may be closing a connection that has not been used for a while.
            if let Ok(text) = self.get(open).await {
                return Ok(text);
            }
        }
        let stream = TcpStream::connect(self.address).await.map_err(FetchError::Connect)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        self.get(Connection { sender, task: tokio::spawn(connection) }).await
    }

    /// Gets the page over a connection, which is kept for the next one.
    async fn get(&mut self, mut connection: Connection) -> Result<Bytes, FetchError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = http::Uri::from_static("/metrics");
        let host = self.address.to_string().try_into();
        request.headers_mut().extend(host.ok().map(|host| (HOST, host)));
        request.headers_mut().insert(USER_AGENT, http::HeaderValue::from_static(AGENT));
        connection.sender.ready().await?;
        let response = connection.sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if content_type != Some(super::page::FORMAT.content_type()) {
            return Err(FetchError::Format);
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => FetchError::Http(*error),
            Err(error) if error.is::<LengthLimitError>() => FetchError::TooLong,
            Err(_) => FetchError::Encoding,
        })?;
        self.connection = Some(connection);
        Ok(body.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    /// What a fetch says of a peer that answers this head and then this piece again and again.
    async fn fetched(head: &str, piece: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (head, piece) = (head.to_owned(), piece.repeat(4096 / piece.len().max(1)));
        let peer = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
                let mut written = stream.write_all(head.as_bytes()).await;
                while written.is_ok() && !piece.is_empty() {
                    written = stream.write_all(piece.as_bytes()).await;
                }
                // It stays open.
                tokio::spawn(async move { stream.read(&mut [0; 4096]).await });
            }
        });
        let mut fetcher = Fetcher::new(address);
        let error = fetcher.fetch().await.unwrap_err();
        assert!(fetcher.connection.is_none());
        peer.abort();
        error.to_string()
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n";

    #[tokio::test]
    async fn a_hostile_peer_is_given_up() {
        let endless = format!("{OK}\r\n");
        assert_eq!(fetched(&endless, "# HELP a A\n").await, "its page has more than 16 MiB");
        let wrong = format!("{OK}Content-Length: 5\r\n\r\nhello");
        assert_eq!(fetched(&wrong, "").await, "line 1 of its page is not what a sidecar writes");
        let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(fetched(html, "").await, "its page is not text 0.0.4");
        let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(fetched(missing, "").await, "its page has the status 404 Not Found");
        assert!(fetched("SSH-2.0-x\r\n", "").await.starts_with("the connection failed: "));
        assert!(fetched("HTTP/1.1 200 OK\r\n", "a: b\r\n").await.starts_with("the connection failed: "));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_given_up() {
        for head in ["", OK] {
            assert_eq!(fetched(head, "").await, "no page within 3 s", "{head}");
        }
    }

    // Paused time stands still while the peer writes.
    #[tokio::test]
    async fn a_peer_that_promises_for_ever_is_given_up() {
        let informational = "HTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(fetched(informational, informational).await, "no page within 3 s");
    }
}
