//! The services other than telemetry: status, and tonic's health and reflection.

use super::status::StatusService;
use crate::{
    event::proto::{
        bridge,
        sidecar::{self, sidecar_server::SidecarServer},
    },
    grpc::unary::MAX_REQUEST_BYTES,
};
use http::{Request, Response};
use std::{convert::Infallible, pin::Pin};
use tonic::{body::Body, server::NamedService};
use tonic_health::{
    ServingStatus,
    pb::{FILE_DESCRIPTOR_SET, health_server::HealthServer},
    server::{HealthReporter, HealthService},
};
use tonic_reflection::server::Builder;
use tower_service::Service;

/// The service whose health is reported beside the sidecar's own.
pub const BRIDGE_SERVICE: &str = "snakepit.bridge.BridgeService";

/// The future of a response.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// A service behind the router.
pub struct Handler {
    pub name: &'static str,
    /// Whether its methods are unary.
    pub unary: bool,
    pub answer: Box<dyn Fn(Request<Body>) -> Answer + Send + Sync>,
}

/// Creates all of them.
///
/// # Errors
///
/// If a descriptor is invalid. The descriptors are part of the build.
pub async fn handlers(status: StatusService) -> Result<Vec<Handler>, tonic_reflection::server::Error> {
    let reporter = HealthReporter::new();
    // HealthReporter starts with the empty name, which stands for the whole server, as serving.
    for name in [BRIDGE_SERVICE, SidecarServer::<StatusService>::NAME] {
        reporter.set_service_status(name, ServingStatus::Serving).await;
    }
    let reflection = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(bridge::DESCRIPTOR)
            .register_encoded_file_descriptor_set(sidecar::DESCRIPTOR)
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
    };
    Ok(vec![
        handler(true, SidecarServer::new(status)),
        handler(true, HealthServer::new(HealthService::from_health_reporter(reporter))),
        handler(false, reflection().build_v1()?.max_decoding_message_size(MAX_REQUEST_BYTES)),
        handler(false, reflection().build_v1alpha()?.max_decoding_message_size(MAX_REQUEST_BYTES)),
    ])
}

fn handler<S>(unary: bool, service: S) -> Handler
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    Handler { name: S::NAME, unary, answer: Box::new(move |request| Box::pin(service.clone().call(request))) }
}
