//! A connection to a sidecar.

use super::{ANSWER_TIMEOUT, ClientError, channel::CONNECT_TIMEOUT};
use crate::{
    event::proto::sidecar::{GetStatusRequest, GetStatusResponse, sidecar_client::SidecarClient},
    net::address::Address,
};
use std::time::Duration;
use tokio::time::timeout;
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

/// The longest status that is read, in bytes: it has a part for each subscriber.
const MAX_STATUS_BYTES: usize = 64 * 1024 * 1024;

/// A connection to a sidecar. Clones share it.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(super) address: Address,
    pub(super) channel: Channel,
    pub(super) token: Option<MetadataValue<Ascii>>,
}

impl Connection {
    /// The address that was connected to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The channel, for clients of the services.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A request with the token, if there is one to send.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }

    /// The error of a call.
    pub fn error(&self, status: Status) -> ClientError {
        ClientError::Call { address: self.address.clone(), status }
    }

    /// All counters.
    ///
    /// # Errors
    ///
    /// If the call fails.
    pub async fn status(&self) -> Result<GetStatusResponse, ClientError> {
        let mut client = SidecarClient::new(self.channel()).max_decoding_message_size(MAX_STATUS_BYTES);
        let response = client.get_status(self.request(GetStatusRequest {})).await;
        response.map(Response::into_inner).map_err(|status| self.error(status))
    }

    /// All counters, within the time that a connection may take.
    ///
    /// # Errors
    ///
    /// If the call fails or takes longer.
    pub async fn status_later(&self) -> Result<GetStatusResponse, ClientError> {
        self.status_within(CONNECT_TIMEOUT).await
    }

    async fn status_within(&self, limit: Duration) -> Result<GetStatusResponse, ClientError> {
        let answered = timeout(limit, self.status()).await;
        answered.unwrap_or_else(|_| Err(ClientError::NoAnswer { address: self.address.clone() }))
    }

    /// All counters, within the time that a sidecar of this host may take.
    ///
    /// # Errors
    ///
    /// If the call fails or takes longer.
    pub async fn status_soon(&self) -> Result<GetStatusResponse, ClientError> {
        self.status_within(ANSWER_TIMEOUT).await
    }
}
