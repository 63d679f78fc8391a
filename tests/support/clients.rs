//! gRPC clients of a sidecar: subscribers and GetStatus.

use super::{Sidecar, TIMEOUT, wait_for, wait_until};
use std::{path::PathBuf, time::Instant};
use telemetry_sidecar::event::proto::{
    bridge::{
        TelemetryControl, TelemetryEvent, bridge_service_client::BridgeServiceClient, telemetry_control,
    },
    sidecar::{GetStatusRequest, GetStatusResponse, sidecar_client::SidecarClient},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Streaming,
    transport::{Channel, Endpoint},
};

/// The answer to GetStatus.
pub type Status = GetStatusResponse;

impl Sidecar {
    pub async fn channel(&self) -> Channel {
        connect(&format!("http://127.0.0.1:{}", self.port())).await
    }

    /// Opens a subscription and waits until it has begun, or the sidecar has ended.
    pub async fn subscribe(&self) -> Subscriber {
        let begun = async || match self.status_if_served().await {
            Some(status) => status.subscribers.len() as u64 + status.departed_count,
            None => u64::MAX,
        };
        let before = begun().await;
        let subscriber = Subscriber::open(self.channel().await).await;
        wait_for("the subscription to begin", begun, |now| *now > before || *now == u64::MAX).await;
        subscriber
    }

    async fn status_if_served(&self) -> Option<GetStatusResponse> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port())).unwrap();
        let mut client = SidecarClient::new(endpoint.connect().await.ok()?);
        Some(client.get_status(GetStatusRequest {}).await.ok()?.into_inner())
    }

    pub async fn status(&self) -> GetStatusResponse {
        StatusClient::new(self.channel().await).get().await
    }

    /// Closes the worker's stdin and waits until the worker has ended and been reaped.
    pub async fn end_worker(&mut self) {
        let worker = PathBuf::from(format!("/proc/{}", self.status().await.worker.unwrap().pid));
        self.close_stdin();
        wait_until("the worker to be reaped", || !worker.exists());
    }
}

pub async fn connect(uri: &str) -> Channel {
    let endpoint = Endpoint::from_shared(uri.to_owned()).unwrap();
    endpoint.connect().await.unwrap_or_else(|error| panic!("{uri}: {error:?}"))
}

/// A client of GetStatus.
#[derive(Clone)]
pub struct StatusClient(SidecarClient<Channel>);

impl StatusClient {
    pub fn new(channel: Channel) -> Self {
        Self(SidecarClient::new(channel))
    }

    /// Requests the status, whose counters must add up.
    pub async fn get(&mut self) -> GetStatusResponse {
        let status = self.0.get_status(GetStatusRequest {}).await.unwrap().into_inner();
        assert_balanced(&status);
        status
    }
}

/// Checks every equation of the counters.
#[track_caller]
pub fn assert_balanced(status: &GetStatusResponse) {
    let stream = status.stream.unwrap();
    let malformed = stream.malformed.unwrap();
    let malformed = malformed.json + malformed.not_object + malformed.event + malformed.shape;
    let passed = stream.bytes_passed + stream.bytes_removed + stream.bytes_dropped + stream.bytes_held;
    assert_eq!(stream.bytes_read, passed, "bytes: {status:#?}");
    assert_eq!(stream.telemetry_lines, stream.decoded + malformed + stream.oversized, "lines: {status:#?}");
    let markers = stream.embedded + stream.embedded_malformed;
    assert_eq!(stream.embedded_markers, markers, "markers: {status:#?}");
    assert_eq!(stream.events, stream.decoded + stream.embedded, "events: {status:#?}");
    let upstream = status.upstream.unwrap_or_default();
    let messages = upstream.events + upstream.malformed + upstream.oversized;
    assert_eq!(upstream.messages, messages, "messages: {status:#?}");
    let events = stream.events + upstream.events + status.observed_events;
    assert_eq!(status.events, events, "sources: {status:#?}");
    let backlog = status.backlog.unwrap();
    assert_eq!(
        backlog.taken_in,
        backlog.handed_over + backlog.dropped + backlog.waiting,
        "backlog: {status:#?}"
    );
    for consumer in
        status.subscribers.iter().chain(&status.observers).chain(&status.exporters).chain(&status.departed)
    {
        let accounted = consumer.delivered
            + consumer.switched_off
            + consumer.filtered
            + consumer.sampled_out
            + consumer.dropped
            + consumer.abandoned
            + consumer.queued;
        assert_eq!(consumer.offered, accounted, "consumer: {consumer:#?}");
    }
}

/// A subscription.
pub struct Subscriber {
    controls: mpsc::Sender<TelemetryControl>,
    pub events: Streaming<TelemetryEvent>,
}

impl Subscriber {
    /// Opens a subscription that begins at once, with an empty control, and waits for the response headers.
    pub async fn open(channel: Channel) -> Self {
        Self::try_open(channel, None).await.unwrap()
    }

    /// Opens a subscription that observes at this interval, if one is given, and waits for the response
    /// headers.
    pub async fn try_open(channel: Channel, observe: Option<&'static str>) -> Result<Self, tonic::Status> {
        let (controls, receiver) = mpsc::channel(16);
        controls.send(TelemetryControl { control: None }).await.unwrap();
        let mut client = BridgeServiceClient::new(channel);
        let mut request = Request::new(ReceiverStream::new(receiver));
        if let Some(interval) = observe {
            request.metadata_mut().insert("telemetry-sidecar-observe", interval.parse().unwrap());
        }
        let events = client.stream_telemetry(request).await?.into_inner();
        Ok(Self { controls, events })
    }

    pub async fn control(&self, control: telemetry_control::Control) {
        self.controls.send(TelemetryControl { control: Some(control) }).await.unwrap();
    }

    /// The next event.
    pub async fn next(&mut self) -> TelemetryEvent {
        let event = tokio::time::timeout(TIMEOUT, self.events.message()).await.expect("no event comes");
        event.unwrap().expect("the stream has ended")
    }

    /// The code other than OK that the stream must end with now.
    pub async fn failure(&mut self) -> Code {
        let end = tokio::time::timeout(TIMEOUT, self.events.message()).await;
        end.expect("the stream does not end").expect_err("an event, or status OK").code()
    }

    /// All events until the stream ends, which must be with status OK.
    pub async fn rest(&mut self) -> Vec<TelemetryEvent> {
        let mut rest = Vec::new();
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.events.message()).await.expect("the stream does not end") {
                Ok(Some(event)) => rest.push(event),
                Ok(None) => return rest,
                Err(status) => panic!("the stream ended with {status:?} after {} events", rest.len()),
            }
        }
    }
}
