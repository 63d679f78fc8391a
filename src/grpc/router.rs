//! Routes requests to services by path: the sidecar's own, or the worker's.

use super::{
    auth::Access,
    payload::{ResponseBody, holding, relayed, without_events},
    service::{
        builtin::{BRIDGE_SERVICE, Handler, handlers},
        pool_calls::{Method as PoolMethod, PoolCalls, takes_no_calls},
        status::StatusService,
        telemetry::{STREAM_TELEMETRY, StreamTracker, Telemetry},
    },
    unary::Requests,
};
use crate::{
    event::proto::sidecar::sidecar_server,
    system::log,
    upstream::{Connection, RelayError, Relayed, Upstream},
};
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use hyper::body::Incoming;
use std::{pin::Pin, sync::Arc};
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tonic::{Status, body::Body};

/// How many answers of a connection may be unread, telemetry and reflection excepted. Each takes some 12 KiB
/// with HTTP/2's own state. A client that reads needs one at a time, however many requests it sends at once.
const MAX_UNREAD_ANSWERS: usize = 16;

/// All services, shared by all connections.
pub struct Services {
    telemetry: Telemetry,
    status: StatusService,
    /// Answers a pool for a worker that serves no gRPC.
    pool_calls: Option<PoolCalls>,
    access: Arc<Access>,
    /// Everything but telemetry, created at the first request: most sidecars never receive one, and parsing
    /// descriptors takes time and memory.
    others: OnceCell<Vec<Handler>>,
    requests: Requests,
    /// The worker's server, to which all other calls are relayed.
    upstream: Option<Arc<Upstream>>,
    /// The relayed calls that are open.
    relayed: TaskTracker,
}

impl Services {
    pub fn new(
        telemetry: Telemetry,
        status: StatusService,
        pool_calls: Option<PoolCalls>,
        access: Arc<Access>,
        requests: Requests,
        upstream: Option<Arc<Upstream>>,
    ) -> Self {
        let (others, relayed) = (OnceCell::new(), TaskTracker::new());
        Self { telemetry, status, pool_calls, access, others, requests, upstream, relayed }
    }

    /// Whether calls are relayed.
    pub fn relay(&self) -> bool {
        self.upstream.is_some()
    }

    /// Waits until no relayed call is open.
    pub async fn relayed_ended(&self) {
        self.relayed.close();
        self.relayed.wait().await;
    }

    /// Answers a request of a client. A call that the worker has reset is an error: the client gets the same
    /// reset.
    async fn route(
        self: Arc<Self>,
        request: Request<Incoming>,
        client: &Client,
    ) -> Result<Response<ResponseBody>, h2::Error> {
        let Client { peer, streams, unread, .. } = client;
        let worker = client.worker.as_ref().filter(|_| !is_own(request.uri().path()));
        if worker.is_none()
            && let Some(refusal) = not_grpc(&request)
        {
            return Ok(refusal.map(without_events));
        }
        if let Some(cause) = self.access.refusal(&request).await {
            log::limited!(DEBUG, %peer, "unauthenticated: {cause}");
            return Ok(Status::unauthenticated(cause).into_http().map(without_events));
        }
        if let Some(worker) = worker {
            // Before the worker is waited for, or the connection would be closed meanwhile.
            streams.relay();
            let open = self.relayed.token();
            match worker.has_service(service(request.uri().path())).await {
                Ok(true) => return relay_answer(worker.relay(request).await, open),
                Ok(false) => {}
                Err(error) => return relay_answer(Err(error), open),
            }
        }
        if request.uri().path() == STREAM_TELEMETRY {
            streams.admit();
            return Ok(self.telemetry.stream(peer, streams, request.into_body()));
        }
        let answer = self.answer(request, streams, unread).await;
        Ok(answer.unwrap_or_else(|refusal| refusal.into_http().map(without_events)))
    }

    /// Answers every request other than telemetry.
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        streams: &StreamTracker,
        unread: &Arc<Semaphore>,
    ) -> Result<Response<ResponseBody>, Status> {
        let path = request.uri().path();
        let service = service(path);
        if let Some(calls) = self.pool_calls.as_ref().filter(|_| service == BRIDGE_SERVICE) {
            let method = PoolMethod::of_path(path)?;
            streams.admit();
            return self.unary(request, unread, async |request| calls.answer(method, request).await).await;
        }
        let others = self.others.get_or_try_init(|| handlers(self.status.clone())).await;
        // The descriptors are part of the build, so this does not happen.
        let others = others.map_err(|error| Status::internal(error.to_string()))?;
        let Some(handler) = others.iter().find(|handler| handler.name == service) else {
            return Err(match self.pool_calls {
                Some(_) => takes_no_calls(path),
                None => Status::unimplemented(format!("{path} is not served here")),
            });
        };
        streams.admit();
        let answer = async |request| {
            let Ok(response) = (handler.answer)(request).await;
            response
        };
        if !handler.unary {
            return Ok(self.requests.reflection(request, answer).await?.map(without_events));
        }
        self.unary(request, unread, answer).await
    }

    /// Answers a unary request, unless too many answers of the connection are unread.
    async fn unary(
        &self,
        request: Request<Incoming>,
        unread: &Arc<Semaphore>,
        answer: impl AsyncFnOnce(Request<Body>) -> Response<Body>,
    ) -> Result<Response<ResponseBody>, Status> {
        let mut permit = None;
        let within_limit = async |request| {
            permit = Arc::clone(unread).try_acquire_owned().ok();
            match permit {
                Some(_) => answer(request).await,
                None => Status::resource_exhausted("too many answers are not read").into_http(),
            }
        };
        let response = self.requests.unary(request, within_limit).await?;
        Ok(response.map(|body| holding(body, permit)))
    }
}

/// Routes the requests of one connection.
pub struct Router {
    services: Arc<Services>,
    client: Arc<Client>,
}

/// A client's connection.
struct Client {
    peer: String,
    streams: Arc<StreamTracker>,
    /// A permit for each answer that may be unread.
    unread: Arc<Semaphore>,
    /// The way to the worker, if calls are relayed.
    worker: Option<Connection>,
}

impl Router {
    pub fn new(services: Arc<Services>, peer: String, streams: Arc<StreamTracker>) -> Self {
        let unread = Arc::new(Semaphore::new(MAX_UNREAD_ANSWERS));
        let worker = services.upstream.clone().map(Connection::new);
        Self { services, client: Arc::new(Client { peer, streams, unread, worker }) }
    }
}

impl hyper::service::Service<Request<Incoming>> for Router {
    type Response = Response<ResponseBody>;
    type Error = h2::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, h2::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (services, client) = (Arc::clone(&self.services), Arc::clone(&self.client));
        Box::pin(async move { services.route(request, &client).await })
    }
}

/// The answer to a relayed call.
fn relay_answer(
    answer: Result<Response<Relayed<Incoming>>, RelayError>,
    open: TaskTrackerToken,
) -> Result<Response<ResponseBody>, h2::Error> {
    match answer {
        Ok(answer) => Ok(answer.map(|body| relayed(body, open))),
        Err(RelayError::Reset(error)) => Err(error),
        Err(RelayError::Unavailable(cause)) => {
            Ok(Status::unavailable(cause.to_string()).into_http().map(without_events))
        }
    }
}

/// Whether the sidecar itself answers this path in any case.
fn is_own(path: &str) -> bool {
    path == STREAM_TELEMETRY || service(path) == sidecar_server::SERVICE_NAME
}

/// The service of a path.
fn service(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}

/// The error response to a request that is not gRPC.
fn not_grpc(request: &Request<Incoming>) -> Option<Response<Body>> {
    let is_grpc = request.headers().get(CONTENT_TYPE).is_some_and(|kind| {
        // "application/grpc", "application/grpc+proto", "application/grpc;charset=…", but not grpc-web.
        let rest = kind.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    });
    let refused = match (request.method() == Method::POST, is_grpc) {
        (true, true) => return None,
        (true, false) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        (false, _) => StatusCode::METHOD_NOT_ALLOWED,
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = refused;
    Some(response)
}
