//! Routes requests to services by path.

use super::{
    auth::Access,
    payload::{ResponseBody, holding, without_events},
    service::{
        builtin::{BRIDGE_SERVICE, Handler, handlers},
        pool_calls::{Method as PoolMethod, PoolCalls, takes_no_calls},
        status::StatusService,
        telemetry::{STREAM_TELEMETRY, StreamTracker, Telemetry},
    },
    unary::Requests,
};
use crate::system::log;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use hyper::body::Incoming;
use std::{convert::Infallible, pin::Pin, sync::Arc};
use tokio::sync::{OnceCell, Semaphore};
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
}

impl Services {
    pub fn new(
        telemetry: Telemetry,
        status: StatusService,
        pool_calls: Option<PoolCalls>,
        access: Arc<Access>,
        requests: Requests,
    ) -> Self {
        Self { telemetry, status, pool_calls, access, others: OnceCell::new(), requests }
    }

    /// Answers a request of a peer.
    async fn route(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: &str,
        streams: &Arc<StreamTracker>,
        unread: &Arc<Semaphore>,
    ) -> Response<ResponseBody> {
        if let Some(refusal) = not_grpc(&request) {
            return refusal.map(without_events);
        }
        if let Some(cause) = self.access.refusal(&request).await {
            log::limited!(DEBUG, %peer, "unauthenticated: {cause}");
            return Status::unauthenticated(cause).into_http().map(without_events);
        }
        if request.uri().path() == STREAM_TELEMETRY {
            streams.admit();
            return self.telemetry.stream(peer, streams, request.into_body());
        }
        let answer = self.answer(request, streams, unread).await;
        answer.unwrap_or_else(|refusal| refusal.into_http().map(without_events))
    }

    /// Answers every request other than telemetry.
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        streams: &StreamTracker,
        unread: &Arc<Semaphore>,
    ) -> Result<Response<ResponseBody>, Status> {
        let path = request.uri().path();
        let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
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
    peer: String,
    streams: Arc<StreamTracker>,
    /// A permit for each answer that may be unread.
    unread: Arc<Semaphore>,
}

impl Router {
    pub fn new(services: Arc<Services>, peer: String, streams: Arc<StreamTracker>) -> Self {
        Self { services, peer, streams, unread: Arc::new(Semaphore::new(MAX_UNREAD_ANSWERS)) }
    }
}

impl hyper::service::Service<Request<Incoming>> for Router {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let services = Arc::clone(&self.services);
        let (peer, streams) = (self.peer.clone(), Arc::clone(&self.streams));
        let unread = Arc::clone(&self.unread);
        Box::pin(async move { Ok(services.route(request, &peer, &streams, &unread).await) })
    }
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
