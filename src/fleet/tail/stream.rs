//! One subscription.

use super::printer::{Printer, Source};
use crate::{
    event::proto::bridge::{
        TelemetryControl, TelemetryEventFilter, bridge_service_client::BridgeServiceClient,
        telemetry_control::Control,
    },
    fleet::client::{ClientError, Connection},
    grpc::service::{
        observer::{REPORT_EXIT, WORKER_EXIT},
        telemetry::{BACKLOG_EVENTS, MISSING_EVENTS, REPORT_BACKLOG},
    },
    system::visible::one_line,
    terminal::number::{counted, grouped},
};
use std::{future::poll_fn, pin::pin, task::Poll};
use tonic::metadata::{MetadataMap, MetadataValue};

/// The requested subscription.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The filter of the subscription, which replaces its default filter.
    pub filter: Option<TelemetryEventFilter>,
    /// How many of the events that have waited are printed: the newest. None is all.
    pub newest: Option<u64>,
}

/// Prints the events of a sidecar until the stream ends. Returns how its worker has ended, if it says so.
///
/// # Errors
///
/// If the call or the stream fails.
pub async fn follow(
    connection: &Connection,
    wanted: &Wanted,
    source: &Source,
    printer: &Printer,
) -> Result<Option<String>, ClientError> {
    // Sent with the request: the subscription begins with it. Without a filter it begins with the half-close.
    let filter =
        wanted.filter.clone().map(|filter| TelemetryControl { control: Some(Control::Filter(filter)) });
    let mut request = connection.request(tokio_stream::iter(filter));
    request.metadata_mut().insert(REPORT_EXIT, MetadataValue::from_static("1"));
    if wanted.newest.is_some() {
        request.metadata_mut().insert(REPORT_BACKLOG, MetadataValue::from_static("1"));
    }
    let mut client = BridgeServiceClient::new(connection.channel());
    let failed = |status| connection.error(status);
    let response = client.stream_telemetry(request).await.map_err(failed)?;
    if let Some(count) = count(response.metadata(), MISSING_EVENTS) {
        let events = if count == 1 { "event is" } else { "events are" };
        let message = format!(
            "{} older {events} missing: the backlog keeps only the newest (--queue-capacity, --queue-bytes)",
            grouped(count)
        );
        printer.report(source, message).await;
    }
    let mut left_out = 0;
    if let Some(newest) = wanted.newest {
        match count(response.metadata(), BACKLOG_EVENTS) {
            Some(waiting) => left_out = waiting.saturating_sub(newest),
            None => printer.report(source, "-n has no effect: this sidecar is of an older version").await,
        }
    }
    if left_out > 0 {
        printer.report(source, format!("{} left out (-n)", counted(left_out, "older event"))).await;
    }
    let mut events = response.into_inner();
    let mut buffer = Vec::new();
    loop {
        let next = {
            let mut next = pin!(events.message());
            match poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await {
                Poll::Ready(next) => next,
                Poll::Pending => {
                    printer.flush();
                    next.await
                }
            }
        };
        match next.map_err(failed)? {
            Some(_) if left_out > 0 => left_out -= 1,
            Some(event) => printer.print(source, &event, &mut buffer).await,
            None => {
                let trailers = events.trailers().await.map_err(failed)?.unwrap_or_default();
                return Ok(trailers.get(WORKER_EXIT).and_then(|exit| exit.to_str().ok()).map(one_line));
            }
        }
    }
}

/// A header that is a count.
fn count(metadata: &MetadataMap, header: &str) -> Option<u64> {
    metadata.get(header)?.to_str().ok()?.parse().ok()
}
