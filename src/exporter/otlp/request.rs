//! Requests. They are encoded once and may be sent several times.
//!
//! The messages of the three signals have the same fields around their items: a request has one resource,
//! that has one scope, and the scope has spans, metrics or log records.

use super::{
    endpoint::{Destination, Protocol},
    resource::scope,
    wire,
};
use crate::event::frame::{PREFIX_BYTES, Prefix};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use prost::Message as _;
use std::io::{self, Write as _};

/// The largest request that gRPC servers accept by default, uncompressed.
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// The most that a request has besides the resource and its items.
const OVERHEAD_BYTES: usize = 1024;

/// The field of a request with the items of one resource.
const RESOURCES: u8 = 1;
/// The field with the resource, or with the scope, that the other fields of the message belong to.
const OF: u8 = 1;
/// The field with the items of one scope of a resource.
const SCOPES: u8 = 2;

/// The room in requests with a resource.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// The bytes before the items.
    pub front: usize,
    /// The bytes of items in a request below 4 MiB.
    pub items: usize,
}

impl Room {
    /// The room beside an encoded resource.
    pub fn beside(resource: &[u8]) -> Self {
        let items = (MAX_REQUEST_BYTES - OVERHEAD_BYTES).saturating_sub(resource.len());
        Self { front: OVERHEAD_BYTES + resource.len(), items }
    }
}

/// Encoded items for a request.
#[derive(Debug)]
pub struct Items {
    /// Room for the fields before the items, and the items as fields of their scope.
    pub buffer: Vec<u8>,
    front: usize,
    /// How many spans, data points or log lines they are.
    pub items: u64,
    /// How many of them the server counts: log records instead of lines.
    pub records: u64,
}

impl Items {
    /// No items yet, with room for these bytes before and for them.
    pub fn new(front: usize, bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(front + bytes);
        buffer.resize(front, 0);
        Self { buffer, front, items: 0, records: 0 }
    }

    /// The encoded items.
    pub fn encoded(&self) -> &[u8] {
        self.buffer.get(self.front..).unwrap_or_default()
    }
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
    /// A request with items of this encoded resource.
    pub fn new(items: Items, resource: &[u8], destination: &Destination) -> Self {
        let Items { items: count, records, .. } = items;
        let prefix_bytes = if destination.protocol == Protocol::Grpc { PREFIX_BYTES } else { 0 };
        let front = front(items.encoded().len(), resource);
        // Requests are at most 4 MiB long, or as long as one item.
        let prefix = |compressed, bytes: usize| {
            let length = u32::try_from(bytes).unwrap_or(u32::MAX);
            Prefix { compressed, length }.to_bytes().into_iter().take(prefix_bytes)
        };
        let body = if destination.gzip {
            // Writing to a Vec does not fail.
            let compressed = gzip(&front, items.encoded()).unwrap_or_default();
            prefix(true, compressed.len()).chain(compressed.iter().copied()).collect()
        } else {
            let length = front.len() + items.encoded().len();
            let front: Vec<u8> = prefix(false, length).chain(front).collect();
            before(&front, items)
        };
        Self { body, items: count, records }
    }
}

/// The encoded fields before the items, which have this many bytes.
fn front(items: usize, resource: &[u8]) -> Vec<u8> {
    let scope = scope().encode_to_vec();
    let scope_bytes = wire::field_bytes(scope.len()) + items;
    let resource_bytes = wire::field_bytes(resource.len()) + wire::field_bytes(scope_bytes);
    let mut front = Vec::new();
    wire::length(&mut front, RESOURCES, resource_bytes);
    wire::bytes(&mut front, OF, resource);
    wire::length(&mut front, SCOPES, scope_bytes);
    wire::bytes(&mut front, OF, &scope);
    front
}

/// The items behind `front`, which is copied into the room before them if it fits.
fn before(front: &[u8], mut items: Items) -> Bytes {
    match items.front.checked_sub(front.len()) {
        Some(start) => {
            if let Some(room) = items.buffer.get_mut(start..items.front) {
                room.copy_from_slice(front);
            }
            Bytes::from(items.buffer).slice(start..)
        }
        None => [front, items.encoded()].concat().into(),
    }
}

fn gzip(front: &[u8], items: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(front)?;
    encoder.write_all(items)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exporter::otlp::{
        environment::Environment,
        proto::{
            collector::trace::v1::ExportTraceServiceRequest,
            resource::v1::Resource,
            trace::v1::{ResourceSpans, ScopeSpans, Span},
        },
        waiting::ITEMS,
    };
    use std::io::Read as _;

    fn destination(protocol: &str, gzip: bool) -> Destination {
        let variable = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.into()),
            "OTEL_EXPORTER_OTLP_COMPRESSION" if gzip => Some("gzip".into()),
            _ => None,
        };
        Environment::read(None, false, &variable).0.traces
    }

    /// The body of a request with these spans.
    fn body(spans: &[Span], resource: &Resource, front: usize, destination: &Destination) -> Bytes {
        let mut items = Items::new(front, 0);
        for span in spans {
            wire::bytes(&mut items.buffer, ITEMS, &span.encode_to_vec());
        }
        Request::new(items, &resource.encode_to_vec(), destination).body
    }

    #[test]
    fn a_request_is_what_the_generated_messages_encode() {
        let span = |bytes: usize| Span { name: "a".repeat(bytes), ..Span::default() };
        for spans in [vec![], vec![span(1)], vec![span(1000); 3], vec![span(300_000); 2]] {
            for dropped_attributes_count in [0, 7] {
                let resource = Resource { dropped_attributes_count, ..Resource::default() };
                let scope_spans =
                    vec![ScopeSpans { scope: Some(scope()), spans: spans.clone(), ..ScopeSpans::default() }];
                let whole = ResourceSpans {
                    resource: Some(resource.clone()),
                    scope_spans,
                    ..ResourceSpans::default()
                };
                let expected = ExportTraceServiceRequest { resource_spans: vec![whole] }.encode_to_vec();
                let room = Room::beside(&resource.encode_to_vec());
                for front in [0, room.front] {
                    assert_eq!(
                        body(&spans, &resource, front, &destination("http/protobuf", false)),
                        expected
                    );
                }
                let items: usize = spans.iter().map(|span| wire::field_bytes(span.encoded_len())).sum();
                assert!(expected.len() - items + PREFIX_BYTES <= room.front);
            }
        }
    }

    #[test]
    fn the_body_is_framed_for_grpc_and_compressed_with_gzip() {
        let spans = vec![Span { name: "a".repeat(1000), ..Span::default() }];
        let body = |protocol, gzip| body(&spans, &Resource::default(), 1024, &destination(protocol, gzip));
        let plain = body("http/protobuf", false);
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
