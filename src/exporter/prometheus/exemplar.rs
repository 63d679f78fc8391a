//! Exemplars: links from histogram buckets to traces.

use crate::{
    event::view::View,
    exporter::{
        metrics::histogram::Exemplar,
        otlp::{resource::instance_id, run_span::RunSpan},
        trace_context::TraceContext,
        trace_ids::{SAMPLED, Traceparent, trace_id},
    },
};

/// The exemplar of an event's value, if the event has a correlation id, or a `traceparent` or a `trace_id` in
/// its metadata, or there is a run span, and the caller has not decided against sampling. The trace id is the
/// one that the OTLP exporter would use for this event alone: what only the start of the operation says is
/// not known here. The span id is known only from the metadata or a `traceparent`; otherwise it is zero.
pub fn of(event: &View<'_>, value: f64, run: Option<&RunSpan>) -> Option<Exemplar> {
    let id = event.correlation_id();
    let context = TraceContext::of(event);
    let caller = context.traceparent.or_else(|| Traceparent::parse(id));
    if caller.is_some_and(|caller| caller.flags & SAMPLED == 0) {
        return None;
    }
    let caller = caller.map(|caller| caller.parent);
    let from_id = || (!id.is_empty()).then(|| trace_id(id, instance_id()));
    let runs = run.map(|run| run.context.trace_id);
    let trace_id = context.trace_id.or(caller.map(|caller| caller.trace_id)).or(runs).or_else(from_id)?;
    if caller.is_none() && run.is_some_and(|run| run.context.trace_id == trace_id && !run.is_sampled()) {
        return None;
    }
    let callers_span = caller.filter(|caller| caller.trace_id == trace_id).map(|caller| caller.span_id);
    let span_id = context.span_id.or(callers_span).unwrap_or_default();
    Some(Exemplar { value, timestamp_ns: event.timestamp_ns(), trace_id, span_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::proto::bridge::TelemetryEvent;

    fn ids(correlation_id: &str, parent: Option<&str>) -> Option<(u128, u64)> {
        let metadata: Vec<_> = parent.map(|parent| ("traceparent", parent)).into_iter().collect();
        ids_of(correlation_id, &metadata)
    }

    fn ids_of(correlation_id: &str, metadata: &[(&str, &str)]) -> Option<(u128, u64)> {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let event = TelemetryEvent {
            correlation_id: correlation_id.into(),
            metadata: metadata.collect(),
            ..TelemetryEvent::default()
        };
        let exemplar = of(&View::from(&event), 1.0, None)?;
        Some((u128::from_be_bytes(exemplar.trace_id), u64::from_be_bytes(exemplar.span_id)))
    }

    #[test]
    fn trace_ids_equal_those_of_the_otlp_exporter() {
        let id = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
        assert_eq!(ids("0af7651916cd43dd8448eb211c80319c", None), Some((id, 0)));
        let parent = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
        assert_eq!(ids("abc", Some(parent)), Some((id, 0x00f0_67aa_0ba9_02b7)));
        assert_eq!(ids(parent, None), Some((id, 0x00f0_67aa_0ba9_02b7)));
        let hashed = Some((u128::from_be_bytes(trace_id("abc", instance_id())), 0));
        assert_eq!(ids("abc", Some("00-x-y")), hashed);
        assert_eq!(ids("", None), None);
        let span = ("span_id", "00F067AA0BA902B7");
        let trace = ("trace_id", "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(ids_of("", &[span, trace]), Some((id, 0x00f0_67aa_0ba9_02b7)));
        assert_eq!(ids_of("abc", &[trace]), Some((id, 0)));
    }

    #[test]
    fn an_unsampled_trace_has_no_exemplar() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00";
        assert_eq!((ids("abc", Some(parent)), ids(parent, None)), (None, None));
    }

    #[test]
    fn events_without_a_trace_of_their_own_are_in_the_trace_of_the_run() {
        let other = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
        for (flags, is_sampled) in [("01", true), ("00", false)] {
            let parent = format!("00-11111111111111111111111111111111-2222222222222222-{flags}");
            let run = RunSpan::new(None, &|name| (name == "TRACEPARENT").then(|| parent.clone().into()));
            let trace_of = |correlation_id: &str| {
                let event =
                    TelemetryEvent { correlation_id: correlation_id.into(), ..TelemetryEvent::default() };
                of(&View::from(&event), 1.0, Some(&run)).map(|exemplar| exemplar.trace_id)
            };
            for id in ["", "abc", "0af7651916cd43dd8448eb211c80319c"] {
                assert_eq!(trace_of(id), is_sampled.then_some([0x11; 16]), "{id}");
            }
            assert_eq!(trace_of(other), Some(Traceparent::parse(other).unwrap().parent.trace_id));
        }
    }
}
