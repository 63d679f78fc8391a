//! Serves a page of metrics over HTTP/1.1, with limits on connections and time.

use super::{
    accept,
    host::AllowedHosts,
    page::Format,
    pages::{Pages, Variant},
    scrapers::{Scrapers, client},
};
use crate::{
    net::{
        self,
        accept::{AboveLimit, Acceptor, ConnectionLimit},
    },
    system::log,
};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, VARY},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    time::{error::Elapsed, timeout},
};
use tokio_util::sync::CancellationToken;

/// Maximum number of connections. Each may hold a page in memory; further ones wait in the system's queue.
const MAX_CONNECTIONS: usize = 64;

/// Timeout from the start of a connection, or the end of a request, to the end of the next request's headers.
/// Less frequent scrapes need a new connection each, which costs almost nothing.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum lifetime of a connection, after which it is closed gracefully: a client that does not read must
/// not hold it forever.
const CONNECTION_TIME: Duration = Duration::from_secs(300);

/// Timeout for finishing the last response then.
const LAST_RESPONSE_TIME: Duration = Duration::from_secs(30);

/// The response to a request for a host that is not allowed.
const WRONG_HOST: &str = "Host has to be an IP address, localhost or the name of this page's listener";

/// Content type of responses that are neither a page nor a resource.
pub(crate) const PLAIN: &str = "text/plain; charset=utf-8";

/// What a server serves.
pub(crate) trait Site: Send + Sync + 'static {
    /// What the log calls the server.
    const NAME: &'static str;
    /// The option that allows another host name.
    const ALLOWED_HOST: &'static str;
    /// What the response to a request for anything else names.
    const PATHS: &'static str;

    /// The format of the page for a client that prefers this one.
    fn format(&self, preferred: Format) -> Format;

    /// Brings up to date what the page shows.
    fn refresh(&self) -> impl Future<Output = ()> + Send;

    /// `/metrics`, and whether nothing will change any more.
    fn page(&self, format: Format) -> (String, bool);

    /// The content type and the content at another path.
    fn resource(&self, path: &str) -> Option<(&'static str, String)>;
}

/// A site and its limits.
#[derive(Debug)]
pub(crate) struct Server<S> {
    pub(crate) site: S,
    hosts: AllowedHosts,
    pages: Pages,
    scrapers: Scrapers,
}

impl<S: Site> Server<S> {
    /// Serves a site for these host names.
    pub(crate) fn new(site: S, hosts: AllowedHosts) -> Self {
        Self { site, hosts, pages: Pages::default(), scrapers: Scrapers::default() }
    }

    /// Waits until each regular scraper has a complete page, as [`Scrapers::all_served`].
    pub(super) async fn all_served(&self) {
        self.scrapers.all_served().await;
    }
}

/// Serves until it is dropped.
pub(crate) async fn serve<S: Site>(acceptor: Acceptor, server: Arc<Server<S>>) {
    let limit =
        ConnectionLimit { permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)), above: AboveLimit::Wait };
    let serve = |socket, peer| {
        let connection = Connection::new(Arc::clone(&server), peer);
        async move { connection.serve(socket).await }
    };
    net::accept::accept(S::NAME, acceptor, limit, pending(), serve).await;
}

/// A client's connection.
struct Connection<S: Site> {
    server: Arc<Server<S>>,
    peer: String,
    id: u64,
    /// Cancelled when the client's page is to be given up.
    stop: CancellationToken,
    /// The scraper that a complete page was sent to, once one was; 0 before.
    completed: AtomicU64,
}

impl<S: Site> Connection<S> {
    fn new(server: Arc<Server<S>>, peer: String) -> Self {
        let id = server.scrapers.next_id();
        Self { server, peer, id, stop: CancellationToken::new(), completed: AtomicU64::new(0) }
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let result = tokio::select! {
            result = self.exchange(stream) => result,
            () = self.stop.cancelled() => {
                log::limited!(DEBUG, "{}: connection closed: the client reads too slowly", S::NAME);
                return;
            }
        };
        match result {
            // Only now has the system taken the whole page.
            Ok(Ok(())) => {
                let scraper = self.completed.load(Ordering::Relaxed);
                if scraper != 0 {
                    self.server.scrapers.served_completely(scraper);
                }
            }
            Ok(Err(error)) => log::limited!(DEBUG, "{}: connection failed: {error}", S::NAME),
            Err(_) => log::limited!(DEBUG, "{}: connection closed: the client does not read", S::NAME),
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<hyper::Result<()>, Elapsed> {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let answer = service_fn(async |request| Ok::<_, Infallible>(self.answer(&request).await));
        let mut connection = std::pin::pin!(http1.serve_connection(TokioIo::new(stream), answer));
        match timeout(CONNECTION_TIME, connection.as_mut()).await {
            Err(_) => {
                connection.as_mut().graceful_shutdown();
                timeout(LAST_RESPONSE_TIME, connection).await
            }
            ended => ended,
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if let Err(status) = self.server.hosts.check(request.version(), request.uri(), request.headers()) {
            let option = S::ALLOWED_HOST;
            return respond(status, PLAIN, format!("{WRONG_HOST}; {option} allows other names\n"));
        }
        let path = request.uri().path();
        let is_page = path == "/metrics";
        let resource = if is_page { None } else { self.server.site.resource(path) };
        match (request.method(), resource) {
            (&Method::GET | &Method::HEAD, None) if is_page => self.page(request).await,
            (&Method::GET | &Method::HEAD, Some((content_type, content))) => {
                respond(StatusCode::OK, content_type, content)
            }
            (_, None) if !is_page => respond(StatusCode::NOT_FOUND, PLAIN, S::PATHS),
            _ => {
                let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET or HEAD\n");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
        }
    }

    async fn page(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let Server { site, pages, scrapers, .. } = &*self.server;
        let format = site.format(accept::format(request.headers()));
        let gzip = accept::gzip(request.headers());
        let scraper = (request.method() == Method::GET)
            .then(|| scrapers.scraped(client(&self.peer, request.headers()), self.id));
        site.refresh().await;
        let render = || site.page(format);
        let (page, is_complete) = pages.get(Variant { format, gzip }, render, &self.stop).await;
        let mut response = respond(StatusCode::OK, format.content_type(), page);
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(scraper) = scraper.filter(|_| is_complete) {
            self.completed.store(scraper, Ordering::Relaxed);
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl<S: Site> Drop for Connection<S> {
    fn drop(&mut self) {
        self.server.scrapers.disconnected(self.id);
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Metrics, Scrape, SelfMetrics, State},
        *,
    };
    use crate::{
        control::Controls,
        exporter::metrics::sample::Measures,
        hub::{Hub, Limits, WhenFull},
        net::address::Address,
        status::Status,
    };
    use std::sync::Mutex;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::{Instant, sleep},
    };

    /// How long a client is served, in seconds.
    async fn served_for<F: Future<Output = ()>>(
        buffer_bytes: usize,
        client: impl FnOnce(DuplexStream) -> F,
    ) -> u64 {
        let limits = Limits { events: 1, bytes: 1, when_full: WhenFull::DropNewest };
        let hub = Hub::new(Controls::default(), limits);
        let metrics = Metrics::new(Measures::default(), 1, &"snakepit".parse().unwrap());
        let state =
            State { metrics, own: SelfMetrics::new(Status::new(hub, None, None), false), ended: false };
        let address = Address::default().resolve().unwrap();
        let hosts = AllowedHosts::new(&address, vec!["a".into()]);
        let server = Arc::new(Server::new(Scrape { state: Mutex::new(state) }, hosts));
        let connection = Connection::new(server, "127.0.0.1:1".into());
        let (ours, theirs) = duplex(buffer_bytes);
        let start = Instant::now();
        tokio::select! {
            () = connection.serve(ours) => start.elapsed().as_secs(),
            () = client(theirs) => panic!("the client gave up after {:?}", start.elapsed()),
        }
    }

    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn nobody_is_served_for_long() {
        let silent = async |mut stream: DuplexStream| {
            stream.write_all(&REQUEST[..20]).await.unwrap();
            std::future::pending::<()>().await;
        };
        assert_eq!(served_for(1024, silent).await, HEADER_TIMEOUT.as_secs());

        let busy = async |mut stream: DuplexStream| {
            while stream.write_all(REQUEST).await.is_ok() {
                assert!(stream.read(&mut [0; 1024]).await.is_ok());
                sleep(Duration::from_secs(20)).await;
            }
            std::future::pending::<()>().await;
        };
        assert_eq!(served_for(1024, busy).await, CONNECTION_TIME.as_secs());

        let unread = async |mut stream: DuplexStream| {
            stream.write_all(REQUEST).await.unwrap();
            std::future::pending::<()>().await;
        };
        assert_eq!(served_for(64, unread).await, (CONNECTION_TIME + LAST_RESPONSE_TIME).as_secs());
    }
}
