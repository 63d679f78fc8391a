//! Services that the sidecar has and the worker may have, too: health and reflection. The worker's are served
//! if it has them. One call finds that out, once.

use super::{
    call::{Relayed, own_request},
    connection::{Connection, RelayError},
};
use crate::event::frame::Prefix;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tonic::{Code, Status};

/// A service of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builtin {
    /// `grpc.health.v1.Health`
    Health,
    /// `grpc.reflection.v1.ServerReflection`
    Reflection,
    /// `grpc.reflection.v1alpha.ServerReflection`
    ReflectionAlpha,
}

impl Builtin {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Health, Self::Reflection, Self::ReflectionAlpha];

    /// The service of this name.
    fn named(service: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|builtin| {
            let path = builtin.probe().0;
            path.strip_prefix('/')
                .and_then(|path| path.split_once('/'))
                .is_some_and(|(name, _)| name == service)
        })
    }

    /// The path and the body of a call that every server of this service answers, and that changes nothing.
    fn probe(self) -> (&'static str, Bytes) {
        // The health of the server as a whole: the name of the service is empty.
        let empty_message = Prefix { compressed: false, length: 0 }.to_bytes();
        match self {
            Self::Health => ("/grpc.health.v1.Health/Check", Bytes::copy_from_slice(&empty_message)),
            // A stream without a question.
            Self::Reflection => ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Bytes::new()),
            Self::ReflectionAlpha => {
                ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Bytes::new())
            }
        }
    }
}

impl Connection {
    /// Whether calls of this service are relayed. Those that the worker lacks and the sidecar has are not.
    ///
    /// # Errors
    ///
    /// If the worker cannot be reached.
    pub async fn relays(&self, name: &str) -> Result<bool, RelayError> {
        let Some(builtin) = Builtin::named(name) else { return Ok(true) };
        let known = self.upstream().serves(builtin);
        known.get_or_try_init(|| self.probe(builtin)).await.copied()
    }

    async fn probe(&self, builtin: Builtin) -> Result<bool, RelayError> {
        let (path, body) = builtin.probe();
        let answer = self.relay(own_request(path, Full::new(body))).await?;
        Ok(status(answer).await.is_some_and(|code| code != Code::Unimplemented))
    }
}

/// The gRPC status of an answer; none if it is not gRPC, or was lost.
async fn status(answer: Response<Relayed>) -> Option<Code> {
    let code = |headers: &HeaderMap| Some(Code::from_bytes(headers.get(Status::GRPC_STATUS)?.as_bytes()));
    if answer.status() != StatusCode::OK {
        return None;
    }
    if let Some(code) = code(answer.headers()) {
        return Some(code);
    }
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(trailers) = frame.ok()?.into_trailers() {
            return code(&trailers);
        }
    }
    None
}
