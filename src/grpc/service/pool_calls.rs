//! The calls with which a Snakepit pool starts and watches a worker, answered for a worker that serves no
//! gRPC. They are answered as Snakepit's own worker does, which passes them on to the pool's session store.

use crate::{
    event::proto::bridge::{
        CleanupSessionRequest, CleanupSessionResponse, GetSessionRequest, GetSessionResponse,
        HeartbeatRequest, HeartbeatResponse, InitializeSessionRequest, InitializeSessionResponse,
        PingRequest, PingResponse,
    },
    worker::state::WorkerState,
};
use http::{Request, Response};
use prost::Message;
use prost_types::Timestamp;
use std::{
    collections::BTreeMap,
    future::{Ready, ready},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use tonic::{
    Status,
    body::Body,
    server::{Grpc, UnaryService},
};
use tonic_prost::ProstCodec;

/// What the paths of the service's methods start with.
const SERVICE: &str = "/snakepit.bridge.BridgeService/";

/// How many sessions are remembered. A pool begins one for each worker.
const MAX_SESSIONS: usize = 256;

/// The memory of all sessions in bytes. The longest request fits many times.
const MAX_SESSION_BYTES: usize = 256 * 1024;

/// The calls that are answered.
#[derive(Debug, Clone, Copy)]
pub enum Method {
    Ping,
    InitializeSession,
    CleanupSession,
    GetSession,
    Heartbeat,
}

impl Method {
    /// The method of a path.
    ///
    /// # Errors
    ///
    /// UNIMPLEMENTED for any other.
    pub fn of_path(path: &str) -> Result<Self, Status> {
        match path.strip_prefix(SERVICE) {
            Some("Ping") => Ok(Self::Ping),
            Some("InitializeSession") => Ok(Self::InitializeSession),
            Some("CleanupSession") => Ok(Self::CleanupSession),
            Some("GetSession") => Ok(Self::GetSession),
            Some("Heartbeat") => Ok(Self::Heartbeat),
            _ => Err(takes_no_calls(path)),
        }
    }
}

/// The error of a call that the worker would have to answer.
pub fn takes_no_calls(path: &str) -> Status {
    Status::unimplemented(format!("{path}: this worker takes no calls (telemetry-sidecar --snakepit=alone)"))
}

/// Answers the calls while the worker runs.
#[derive(Debug)]
pub struct PoolCalls {
    worker: Arc<WorkerState>,
    sessions: Mutex<Sessions>,
}

impl PoolCalls {
    pub fn new(worker: Arc<WorkerState>) -> Self {
        Self { worker, sessions: Mutex::default() }
    }

    /// Answers a call whose request has arrived completely.
    pub async fn answer(&self, method: Method, request: Request<Body>) -> Response<Body> {
        match method {
            Method::Ping => {
                let answer = |PingRequest { message }| Ok(PingResponse { message, server_time: Some(now()) });
                self.unary(request, answer).await
            }
            Method::InitializeSession => {
                self.unary(request, |request| self.sessions().initialize(request, now())).await
            }
            Method::CleanupSession => {
                let answer = |CleanupSessionRequest { session_id, .. }| {
                    self.sessions().remove(&session_id);
                    // Snakepit counts one, whether there was a session or not.
                    Ok(CleanupSessionResponse { success: true, resources_cleaned: 1 })
                };
                self.unary(request, answer).await
            }
            Method::GetSession => self.unary(request, |request| self.sessions().describe(request)).await,
            Method::Heartbeat => {
                let answer = |HeartbeatRequest { session_id, .. }| {
                    let session_valid = self.sessions().used(&session_id).is_some();
                    Ok(HeartbeatResponse { server_time: Some(now()), session_valid })
                };
                self.unary(request, answer).await
            }
        }
    }

    async fn unary<M, R>(
        &self,
        request: Request<Body>,
        answer: impl FnMut(M) -> Result<R, Status>,
    ) -> Response<Body>
    where
        M: Message + Default + Send + 'static,
        R: Message + Send + 'static,
    {
        match self.require_worker() {
            Ok(()) => Grpc::new(ProstCodec::<R, M>::default()).unary(Answer(answer), request).await,
            Err(status) => status.into_http(),
        }
    }

    fn require_worker(&self) -> Result<(), Status> {
        let exit = self.worker.exit();
        if self.worker.is_running(exit) {
            return Ok(());
        }
        Err(Status::unavailable(match exit {
            Some(_) => "the worker has exited",
            None => "the worker has not started yet",
        }))
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// A function of a request's message, as tonic calls services.
struct Answer<F>(F);

impl<M, R, F: FnMut(M) -> Result<R, Status>> UnaryService<M> for Answer<F> {
    type Response = R;
    type Future = Ready<Result<tonic::Response<R>, Status>>;

    fn call(&mut self, request: tonic::Request<M>) -> Self::Future {
        ready((self.0)(request.into_inner()).map(tonic::Response::new))
    }
}

/// The sessions that were begun. When there are too many, those that were not used for the longest time are
/// forgotten: heartbeats keep the one of the pool.
#[derive(Debug, Default)]
struct Sessions {
    by_id: BTreeMap<String, Session>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Session {
    metadata: BTreeMap<String, String>,
    created_at: Timestamp,
    bytes: usize,
    last_use: u64,
}

impl Sessions {
    fn initialize(
        &mut self,
        InitializeSessionRequest { session_id, metadata, .. }: InitializeSessionRequest,
        created_at: Timestamp,
    ) -> Result<InitializeSessionResponse, Status> {
        if session_id.is_empty() {
            return Err(Status::invalid_argument("session_id is empty"));
        }
        if self.used(&session_id).is_none() {
            let texts = metadata.iter().map(|(key, value)| key.len() + value.len());
            let entries = size_of::<Session>() + (1 + metadata.len()) * size_of::<(String, String)>();
            let bytes = entries + session_id.len() + texts.sum::<usize>();
            self.make_room_for(bytes);
            self.bytes += bytes;
            self.by_id.insert(session_id, Session { metadata, created_at, bytes, last_use: self.uses });
        }
        Ok(InitializeSessionResponse { success: true, ..InitializeSessionResponse::default() })
    }

    /// Forgets sessions until there is room for one more of this size.
    fn make_room_for(&mut self, bytes: usize) {
        while self.by_id.len() >= MAX_SESSIONS || self.bytes + bytes > MAX_SESSION_BYTES {
            let oldest = self.by_id.iter().min_by_key(|(_, session)| session.last_use);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else { return };
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(session) = self.by_id.remove(id) {
            self.bytes -= session.bytes;
        }
    }

    /// The session with this id, which counts as used now.
    fn used(&mut self, id: &str) -> Option<&Session> {
        self.uses += 1;
        let session = self.by_id.get_mut(id)?;
        session.last_use = self.uses;
        Some(session)
    }

    fn describe(
        &mut self,
        GetSessionRequest { session_id }: GetSessionRequest,
    ) -> Result<GetSessionResponse, Status> {
        let Some(session) = self.used(&session_id) else {
            return Err(Status::not_found(format!("no such session: {session_id}")));
        };
        let (metadata, created_at) = (session.metadata.clone(), Some(session.created_at));
        Ok(GetSessionResponse { session_id, metadata, created_at, tool_count: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(sessions: &mut Sessions, id: &str, metadata: &[(&str, &str)]) {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let request = InitializeSessionRequest {
            session_id: id.into(),
            metadata: metadata.collect(),
            ..InitializeSessionRequest::default()
        };
        assert!(sessions.initialize(request, Timestamp::default()).unwrap().success);
    }

    #[test]
    fn the_least_recently_used_session_is_forgotten_when_there_are_too_many() {
        let mut sessions = Sessions::default();
        begin(&mut sessions, "pool", &[]);
        for number in 0..2 * MAX_SESSIONS {
            assert!(sessions.used("pool").is_some());
            begin(&mut sessions, &number.to_string(), &[]);
        }
        assert_eq!(sessions.by_id.len(), MAX_SESSIONS);
        assert!(sessions.used("0").is_none());
        assert!(sessions.used(&(2 * MAX_SESSIONS - 1).to_string()).is_some());
    }

    #[test]
    fn sessions_are_forgotten_when_they_use_too_much_memory() {
        let mut sessions = Sessions::default();
        let text = "x".repeat(4000);
        for number in 0..100 {
            begin(&mut sessions, &number.to_string(), &[("key", &text)]);
            assert!(sessions.bytes <= MAX_SESSION_BYTES);
        }
        assert!((50..70).contains(&sessions.by_id.len()), "{}", sessions.by_id.len());
        let ids: Vec<_> = sessions.by_id.keys().cloned().collect();
        for id in &ids {
            sessions.remove(id);
        }
        assert_eq!(sessions.bytes, 0);
    }

    #[test]
    fn a_session_that_exists_keeps_its_metadata() {
        let mut sessions = Sessions::default();
        begin(&mut sessions, "a", &[("node", "1")]);
        begin(&mut sessions, "a", &[("node", "2")]);
        let described = sessions.describe(GetSessionRequest { session_id: "a".into() }).unwrap();
        assert_eq!(described.metadata["node"], "1");
        let request = InitializeSessionRequest::default();
        let refused = sessions.initialize(request, Timestamp::default()).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
}
