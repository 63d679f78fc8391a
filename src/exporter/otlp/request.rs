//! Requests. They are encoded once and may be sent several times.

use super::proto::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Metric, ResourceMetrics, ScopeMetrics},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use super::{
    endpoint::{Destination, Protocol},
    resource::scope,
};
use crate::event::frame::{PREFIX_BYTES, Prefix};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use prost::Message;
use std::io::Write as _;

/// The largest request that gRPC servers accept by default, uncompressed.
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// The most that a request has besides the resource and its items.
const OVERHEAD_BYTES: usize = 1024;

/// The room for items in a request below 4 MiB, in bytes.
pub fn room(resource: &Resource) -> usize {
    (MAX_REQUEST_BYTES - OVERHEAD_BYTES).saturating_sub(resource.encoded_len())
}

/// An encoded request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The body.
    pub body: Bytes,
    /// How many spans, data points or log lines it has.
    pub items: u64,
    /// How many items the server counts: log records instead of lines.
    pub records: u64,
}

impl Request {
    /// A request with spans.
    pub fn of_spans(spans: Vec<Span>, resource: Resource, destination: &Destination) -> Self {
        let items = spans.len() as u64;
        let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
        let resource_spans =
            vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
        let body = encode(&ExportTraceServiceRequest { resource_spans }, destination);
        Self { body, items, records: items }
    }

    /// A request with metrics, which have `items` data points.
    pub fn of_metrics(
        metrics: Vec<Metric>,
        items: u64,
        resource: Resource,
        destination: &Destination,
    ) -> Self {
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
        let resource_metrics =
            vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() }];
        let body = encode(&ExportMetricsServiceRequest { resource_metrics }, destination);
        Self { body, items, records: items }
    }

    /// A request with log records, which have this many lines.
    pub fn of_logs(
        log_records: Vec<LogRecord>,
        lines: u64,
        resource: Resource,
        destination: &Destination,
    ) -> Self {
        let records = log_records.len() as u64;
        let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() }];
        let resource_logs =
            vec![ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() }];
        let body = encode(&ExportLogsServiceRequest { resource_logs }, destination);
        Self { body, items: lines, records }
    }
}

fn encode(message: &impl Message, destination: &Destination) -> Bytes {
    let prefix_bytes = if destination.protocol == Protocol::Grpc { PREFIX_BYTES } else { 0 };
    let mut body = Vec::with_capacity(prefix_bytes + message.encoded_len());
    body.resize(prefix_bytes, 0);
    // Writing to a Vec does not fail.
    if destination.gzip {
        let mut encoder = GzEncoder::new(body, Compression::default());
        let _ = encoder.write_all(&message.encode_to_vec());
        body = encoder.finish().unwrap_or_default();
    } else {
        let _ = message.encode(&mut body);
    }
    // Requests are at most 4 MiB long.
    let length = u32::try_from(body.len() - prefix_bytes).unwrap_or(u32::MAX);
    if let Some(prefix) = body.get_mut(..prefix_bytes).and_then(|start| start.first_chunk_mut()) {
        *prefix = Prefix { compressed: destination.gzip, length }.to_bytes();
    }
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exporter::otlp::environment::Environment;
    use std::io::Read as _;

    fn destination(protocol: &str, gzip: bool) -> Destination {
        let variable = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.into()),
            "OTEL_EXPORTER_OTLP_COMPRESSION" if gzip => Some("gzip".into()),
            _ => None,
        };
        Environment::read(None, false, &variable).0.traces
    }

    #[test]
    fn the_body_is_framed_for_grpc_and_compressed_with_gzip() {
        let spans = || vec![Span { name: "a".repeat(1000), ..Span::default() }];
        let body = |protocol, gzip| {
            Request::of_spans(spans(), Resource::default(), &destination(protocol, gzip)).body
        };
        let plain = body("http/protobuf", false);
        let decoded = ExportTraceServiceRequest::decode(plain.clone()).unwrap();
        assert_eq!(decoded.resource_spans[0].scope_spans[0].spans, spans());
        let unzip = |bytes: &[u8]| {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
            plain
        };
        assert_eq!(unzip(&body("http/protobuf", true)), plain);
        for (gzip, flag) in [(false, 0), (true, 1)] {
            let framed = body("grpc", gzip);
            let (prefix, message) = framed.split_at(PREFIX_BYTES);
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            assert_eq!(prefix, [&[flag], &length[..]].concat());
            assert_eq!(if gzip { unzip(message) } else { message.to_vec() }, plain);
        }
    }
}
