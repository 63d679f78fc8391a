//! `telemetry_sidecar.v1.Sidecar`: the counters, readable while the sidecar runs.

use crate::{
    event::proto::sidecar::{GetStatusRequest, GetStatusResponse, sidecar_server::Sidecar},
    status::Status,
};
use tonic::{Request, Response};

/// The service.
#[derive(Debug, Clone)]
pub struct StatusService(pub Status);

#[tonic::async_trait]
impl Sidecar for StatusService {
    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, tonic::Status> {
        Ok(Response::new(self.0.report().into()))
    }
}
