//! Routes requests to services by path: the sidecar's own, or the worker's.

use super::{
    auth::Access,
    hold::{HEARTBEAT, Hold},
    payload::{ResponseBody, holding, relayed, without_events},
    service::{
        builtin::{BRIDGE_SERVICE, Handler, handlers},
        pool_calls::{Method as PoolMethod, PoolCalls, takes_no_calls},
        status::StatusService,
        telemetry::Telemetry,
    },
    stream_tracker::StreamTracker,
    unary::Requests,
};
use crate::{
    event::proto::{bridge::STREAM_TELEMETRY, sidecar::sidecar_server},
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

/// Who answers calls that are not the sidecar's own.
pub enum WorkerCalls {
    /// They are unimplemented.
    Unimplemented,
    /// The worker's own server.
    Relayed(Arc<Upstream>),
    /// The sidecar, for a worker of a pool that serves no gRPC.
    Answered(PoolCalls),
}

/// All services, shared by all connections.
pub struct Services {
    telemetry: Telemetry,
    status: StatusService,
    /// Who answers calls that are not the sidecar's own.
    worker_calls: WorkerCalls,
    access: Arc<Access>,
    /// Everything but telemetry, created at the first request: most sidecars never receive one, and parsing
    /// descriptors takes time and memory.
    others: OnceCell<Vec<Handler>>,
    requests: Requests,
    /// The relayed calls that are open.
    relayed_calls: TaskTracker,
    /// For a pool: holds heartbeats back that fail because the worker has exited.
    hold: Option<Hold>,
}

impl Services {
    pub fn new(
        telemetry: Telemetry,
        status: StatusService,
        worker_calls: WorkerCalls,
        access: Arc<Access>,
        requests: Requests,
        hold: Option<Hold>,
    ) -> Self {
        let (others, relayed_calls) = (OnceCell::new(), TaskTracker::new());
        Self { telemetry, status, worker_calls, access, others, requests, relayed_calls, hold }
    }

    /// Whether calls are relayed.
    pub fn relay(&self) -> bool {
        matches!(self.worker_calls, WorkerCalls::Relayed(_))
    }

    /// Whether nothing may fail before the process exits, because a pool is the client.
    pub fn serve_pool(&self) -> bool {
        self.hold.is_some()
    }

    /// Waits until no relayed call is open.
    pub async fn relayed_ended(&self) {
        self.relayed_calls.close();
        self.relayed_calls.wait().await;
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
            let open = self.relayed_calls.token();
            let hold = self.hold(request.uri().path());
            let relays = worker.relays(service(request.uri().path())).await;
            if !matches!(relays, Ok(false)) {
                let answer = match relays {
                    Ok(_) => worker.relay(request).await,
                    Err(error) => Err(error),
                };
                return relay_answer(answer, open, hold, streams).await;
            }
        }
        if request.uri().path() == STREAM_TELEMETRY {
            streams.admit();
            return Ok(self.telemetry.stream(peer, streams, request).await);
        }
        let answer = self.answer(request, streams, unread).await;
        Ok(answer.unwrap_or_else(|refusal| refusal.into_http().map(without_events)))
    }

    /// Holds a call of this path back, if it is a pool's heartbeat.
    fn hold(&self, path: &str) -> Option<&Hold> {
        self.hold.as_ref().filter(|_| path == HEARTBEAT)
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
        if let WorkerCalls::Answered(calls) = &self.worker_calls
            && service == BRIDGE_SERVICE
        {
            let method = PoolMethod::of_path(path)?;
            streams.admit();
            if let Some(hold) = self.hold(path) {
                hold.if_exited(streams).await;
            }
            return self.unary(request, unread, async |request| calls.answer(method, request).await).await;
        }
        let others = self.others.get_or_try_init(|| handlers(self.status.clone())).await;
        // The descriptors are part of the build, so this does not happen.
        let others = others.map_err(|error| Status::internal(error.to_string()))?;
        let Some(handler) = others.iter().find(|handler| handler.name == service) else {
            return Err(match self.worker_calls {
                WorkerCalls::Answered(_) => takes_no_calls(path),
                _ => Status::unimplemented(format!("{path} is not served here")),
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
    /// The connection to the worker, if calls are relayed.
    worker: Option<Connection>,
}

impl Router {
    pub fn new(services: Arc<Services>, peer: String, streams: Arc<StreamTracker>) -> Self {
        let unread = Arc::new(Semaphore::new(MAX_UNREAD_ANSWERS));
        let worker = match &services.worker_calls {
            WorkerCalls::Relayed(upstream) => Some(Connection::new(Arc::clone(upstream))),
            _ => None,
        };
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
async fn relay_answer(
    answer: Result<Response<Relayed>, RelayError>,
    open: TaskTrackerToken,
    hold: Option<&Hold>,
    streams: &StreamTracker,
) -> Result<Response<ResponseBody>, h2::Error> {
    match answer {
        Ok(answer) => Ok(answer.map(|body| relayed(body, open))),
        Err(RelayError::Reset(error)) => Err(error),
        Err(RelayError::Unavailable(cause)) => {
            // The end of the sidecar does not wait for it.
            drop(open);
            if let Some(hold) = hold {
                hold.if_exiting(streams).await;
            }
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
