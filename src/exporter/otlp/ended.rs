//! Spans with an id from the worker that are not open any more. A span that starts later, as background tasks
//! do, may name one of them as its parent.

use super::started::{Correlation, Open};
use crate::exporter::trace_ids::{Context, SpanId, TraceId};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// How many are remembered: the latest ones, with about 100 bytes each and the `tracestate`.
const MAX_ENDED: usize = 2000;

/// What a child has in common with its parent.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The ids of the trace and the span.
    pub context: Context,
    /// The trace flags.
    pub flags: u8,
    /// The state of the caller's tracing system.
    pub trace_state: Option<Arc<str>>,
    correlation: Correlation,
}

impl Ended {
    /// The part of a span that its children need.
    pub fn of(span: &Open) -> Self {
        Self {
            context: span.context,
            flags: span.flags,
            trace_state: span.trace_state.clone(),
            correlation: span.correlation,
        }
    }
}

/// The latest spans that have ended.
#[derive(Debug, Default)]
pub struct EndedSpans {
    /// In the order in which they ended.
    spans: VecDeque<Ended>,
    /// Their ids, each with the number of spans that had ended before.
    by_id: BTreeSet<(SpanId, usize)>,
    /// How many were forgotten.
    forgotten: usize,
}

impl EndedSpans {
    /// Remembers a span if the worker gave its id.
    pub fn add(&mut self, span: &Open) {
        if !span.has_given_id {
            return;
        }
        if self.spans.len() == MAX_ENDED
            && let Some(oldest) = self.spans.pop_front()
        {
            self.by_id.remove(&(oldest.context.span_id, self.forgotten));
            self.forgotten += 1;
        }
        self.by_id.insert((span.context.span_id, self.forgotten + self.spans.len()));
        self.spans.push_back(Ended::of(span));
    }

    /// The latest span with an id: in the same trace, if that is known, or else of the same correlation id.
    pub fn find(
        &self,
        span_id: SpanId,
        correlation: Correlation,
        trace_id: Option<TraceId>,
    ) -> Option<&Ended> {
        let same_id = self.by_id.range((span_id, 0)..=(span_id, usize::MAX)).rev();
        let mut spans = same_id.filter_map(|(_, index)| self.spans.get(index - self.forgotten));
        spans.find(|span| match trace_id {
            Some(trace_id) => span.context.trace_id == trace_id,
            None => span.correlation == correlation,
        })
    }
}
