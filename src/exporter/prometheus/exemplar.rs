//! Exemplars: links from histogram buckets to traces.

use crate::exporter::{
    event::Event,
    metrics::aggregate::Exemplar,
    trace_ids::{Context, Traceparent, trace_id},
};

/// The exemplar of an event's value, with the trace id that the OTLP exporter would use, if the event has a
/// correlation id or a `traceparent`. The span id is known only from a `traceparent`; otherwise it is zero.
pub fn of(event: &Event, value: f64) -> Option<Exemplar> {
    let id = &event.event.correlation_id;
    let given = event.event.metadata.get("traceparent").and_then(|text| Traceparent::parse(text));
    let given = given.or_else(|| Traceparent::parse(id)).map(|given| given.parent);
    let from_id = || (!id.is_empty()).then(|| Context { trace_id: trace_id(id), span_id: [0; 8] });
    let Context { trace_id, span_id } = given.or_else(from_id)?;
    Some(Exemplar { value, timestamp_ns: event.event.timestamp_ns, trace_id, span_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::proto::bridge::TelemetryEvent;

    fn ids(correlation_id: &str, parent: Option<&str>) -> Option<(u128, u64)> {
        let metadata = parent.map(|parent| ("traceparent".to_owned(), parent.to_owned()));
        let event = TelemetryEvent {
            correlation_id: correlation_id.into(),
            metadata: metadata.into_iter().collect(),
            ..TelemetryEvent::default()
        };
        let exemplar = of(&event.into(), 1.0)?;
        Some((u128::from_be_bytes(exemplar.trace_id), u64::from_be_bytes(exemplar.span_id)))
    }

    #[test]
    fn trace_ids_equal_those_of_the_otlp_exporter() {
        let id = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
        assert_eq!(ids("0af7651916cd43dd8448eb211c80319c", None), Some((id, 0)));
        let parent = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
        assert_eq!(ids("abc", Some(parent)), Some((id, 0x00f0_67aa_0ba9_02b7)));
        assert_eq!(ids(parent, None), Some((id, 0x00f0_67aa_0ba9_02b7)));
        let hashed = Some((u128::from_be_bytes(trace_id("abc")), 0));
        assert_eq!(ids("abc", Some("00-x-y")), hashed);
        assert_eq!(ids("", None), None);
    }
}
