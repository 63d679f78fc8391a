//! Spans that have started and not ended, by age, by correlation id and by the ids that the worker gave them.
//!
//! Memory is bounded by a number of spans and of bytes. The oldest span beyond is given up: it is sent, and
//! of what is known of it the part remains that matches its end and makes it the parent of others, within
//! limits of its own. Of spans that are not open any more only their ids are kept ([`ended`](super::ended)).

use super::{
    attributes::{Attributes, Owner},
    ended::{Ended, EndedSpans},
    exact::{ByMetadata, hash},
    group::{Group, Overlaps},
    metadata::{Fingerprint, agrees},
    started::{Correlation, Number, Open, Parent},
};
use crate::exporter::trace_ids::{Context, SpanId, TraceId};
use std::collections::{BTreeMap, HashMap};

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most open spans: more than a worker runs at a time, so the oldest ones beyond were probably never
    /// ended.
    pub open: usize,
    /// The largest size of all open spans, in bytes.
    pub open_bytes: usize,
    /// The largest size of all spans that were given up, in bytes: two thousand or more.
    pub given_up_bytes: usize,
}

/// The limits of an exporter.
pub const LIMITS: Limits = Limits { open: 10_000, open_bytes: 8 * 1024 * 1024, given_up_bytes: 1024 * 1024 };

/// Where to find a span by the id that the worker gave it.
fn keys(span: &Open) -> Option<[(Scope, SpanId); 2]> {
    let Context { trace_id, span_id } = span.context;
    let keys = [(Scope::Correlation(span.correlation), span_id), (Scope::Trace(trace_id), span_id)];
    span.has_given_id.then_some(keys)
}

/// Where a span's id is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scope {
    Correlation(Correlation),
    Trace(TraceId),
}

/// All open spans, and those that were given up.
#[derive(Debug)]
pub struct OpenSpans {
    spans: BTreeMap<Number, Open>,
    groups: HashMap<Correlation, Group>,
    by_id: HashMap<(Scope, SpanId), Number>,
    by_metadata: ByMetadata,
    ended: EndedSpans,
    next: Number,
    /// Spans with lower numbers were given up: that is always the oldest one.
    first_open: Number,
    open: usize,
    open_bytes: usize,
    given_up_bytes: usize,
    limits: Limits,
}

impl OpenSpans {
    /// No spans yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            spans: BTreeMap::new(),
            groups: HashMap::new(),
            by_id: HashMap::new(),
            by_metadata: ByMetadata::default(),
            ended: EndedSpans::default(),
            next: 0,
            first_open: 0,
            open: 0,
            open_bytes: 0,
            given_up_bytes: 0,
            limits,
        }
    }

    /// Adds a span.
    pub fn insert(&mut self, span: Open) {
        self.open += 1;
        self.open_bytes += span.memory();
        self.groups.entry(span.correlation).or_default().numbers.push(self.next);
        self.by_id.extend(keys(&span).into_iter().flatten().map(|key| (key, self.next)));
        self.by_metadata.insert(self.next, &span);
        self.spans.insert(self.next, span);
        self.next += 1;
    }

    /// Gives a span up: returns what is to be sent, and keeps what matches a later end.
    pub fn give_up(&mut self, number: Number) -> Option<Open> {
        let span = self.spans.get_mut(&number)?;
        self.open -= 1;
        self.open_bytes -= span.memory();
        let sent = Open {
            operation: span.operation.clone(),
            trace_state: span.trace_state.clone(),
            attributes: std::mem::replace(&mut span.attributes, Attributes::new(Owner::Span)),
            events: std::mem::take(&mut span.events),
            overlaps: Overlaps::default(),
            metadata: Box::default(),
            ..*span
        };
        self.given_up_bytes += span.memory();
        self.first_open = number + 1;
        while self.given_up_bytes > self.limits.given_up_bytes
            && let Some((oldest, _)) = self.spans.first_key_value()
        {
            let oldest = *oldest;
            self.forget(oldest);
        }
        Some(sent)
    }

    /// Removes a span that was given up. It stays the parent of the spans within it.
    fn forget(&mut self, number: Number) {
        let Some(span) = self.remove_one(number) else { return };
        let parent = Some(Parent { span_id: span.context.span_id, is_remote: Some(false) });
        self.for_later(span.correlation, number, |later| {
            if later.around == Some(number) {
                later.around = None;
                later.parent = if later.nests { parent } else { later.parent };
            }
        });
    }

    /// Removes a span that has ended. What was within it and is still open is now within the span around it.
    pub fn end(&mut self, number: Number) -> Option<Open> {
        let span = self.remove_one(number)?;
        self.for_later(span.correlation, number, |later| {
            if later.identity != span.identity {
                later.overlaps.add(span.identity);
            }
            if later.around == Some(number) {
                later.around = span.around;
                later.parent = if later.nests { span.parent } else { later.parent };
                later.outlived_one = true;
            }
        });
        if let Some(group) = self.groups.get_mut(&span.correlation) {
            group.learn(span.identity, &span.overlaps);
        }
        Some(span)
    }

    /// Changes spans of a correlation id that started after another.
    fn for_later(&mut self, correlation: Correlation, number: Number, change: impl Fn(&mut Open)) {
        if correlation.is_none() {
            return;
        }
        let numbers = self.groups.get(&correlation).map(|group| group.after(number)).unwrap_or_default();
        for later in numbers {
            if let Some(later) = self.spans.get_mut(later) {
                change(later);
            }
        }
    }

    fn remove_one(&mut self, number: Number) -> Option<Open> {
        let span = self.spans.remove(&number)?;
        if self.is_given_up(number) {
            self.given_up_bytes -= span.memory();
        } else {
            self.open -= 1;
            self.open_bytes -= span.memory();
        }
        self.by_metadata.remove(number, &span);
        self.ended.add(&span);
        for key in keys(&span).into_iter().flatten() {
            // A later span may have the same id.
            if self.by_id.get(&key) == Some(&number) {
                self.by_id.remove(&key);
            }
        }
        if let Some(group) = self.groups.get_mut(&span.correlation) {
            group.remove(number);
            if group.numbers.is_empty() {
                self.groups.remove(&span.correlation);
            }
        }
        // A map does not shrink by itself, and there may have been very many entries.
        shrink(&mut self.groups);
        shrink(&mut self.by_id);
        Some(span)
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        *self = Self { next: self.next, ..Self::new(self.limits) };
    }

    /// A span by its number.
    pub fn get(&self, number: Number) -> Option<&Open> {
        self.spans.get(&number)
    }

    /// A span by its number, to change what does not use memory.
    pub fn get_mut(&mut self, number: Number) -> Option<&mut Open> {
        self.spans.get_mut(&number)
    }

    /// Counts a child of a span, if there is one.
    pub fn add_child(&mut self, number: Option<Number>) {
        if let Some(parent) = number.and_then(|number| self.spans.get_mut(&number)) {
            parent.children = parent.children.saturating_add(1);
        }
    }

    /// The spans of a correlation id, the latest first.
    pub fn of(&self, correlation: Correlation) -> impl Iterator<Item = (Number, &Open)> {
        let numbers = self.groups.get(&correlation).map(Group::latest).unwrap_or_default();
        numbers.iter().rev().filter_map(|number| Some((*number, self.spans.get(number)?)))
    }

    /// Of the spans with exactly this metadata that fit, the one whose start is nearest to a time.
    pub fn nearest_with_metadata(
        &self,
        (correlation, operation, metadata): (Correlation, &str, &[Fingerprint]),
        start_ns: u64,
        fits: impl Fn(&Open) -> bool,
    ) -> Option<Number> {
        let hash = hash(correlation, operation, metadata);
        let is_equal = |span: &Open| span.correlation == correlation && *span.operation == *operation;
        self.by_metadata.nearest(hash, start_ns, |number| {
            let span = self.spans.get(&number).filter(|span| is_equal(span) && fits(span));
            span.is_some_and(|span| agrees(&span.metadata, metadata) == Some(true))
        })
    }

    /// The innermost span that another one may be within: see [`Group::enclosing`].
    pub fn enclosing(
        &self,
        correlation: Correlation,
        identity: u64,
        before: Number,
        fits: impl Fn(&Open) -> bool,
    ) -> Option<Number> {
        self.groups.get(&correlation)?.enclosing(&self.spans, identity, before, fits)
    }

    /// A span to which the worker gave this id: in the same trace, if that is known, or else of the same
    /// correlation id.
    pub fn find(
        &self,
        span_id: SpanId,
        correlation: Correlation,
        trace_id: Option<TraceId>,
    ) -> Option<Number> {
        let scope = trace_id.map_or(Scope::Correlation(correlation), Scope::Trace);
        self.by_id.get(&(scope, span_id)).copied()
    }

    /// Remembers a span that was never open.
    pub fn add_ended(&mut self, span: &Open) {
        self.ended.add(span);
    }

    /// A span that is not open any more, in the same scope as for [`find`](Self::find).
    pub fn find_ended(
        &self,
        span_id: SpanId,
        correlation: Correlation,
        trace_id: Option<TraceId>,
    ) -> Option<&Ended> {
        self.ended.find(span_id, correlation, trace_id)
    }

    /// Adds an event to a span that is still open.
    pub fn add_event(&mut self, number: Number, name: &str, time_ns: u64, attributes: &Attributes) {
        let is_given_up = self.is_given_up(number);
        match self.spans.get_mut(&number) {
            Some(span) if is_given_up => span.events.dropped += 1,
            Some(span) => {
                self.open_bytes -= span.memory();
                span.events.push(name, time_ns, attributes);
                self.open_bytes += span.memory();
            }
            None => {}
        }
    }

    /// Whether a span was sent without an end.
    pub fn is_given_up(&self, number: Number) -> bool {
        number < self.first_open
    }

    /// The open spans from a number on, the oldest first.
    pub fn open_from(&self, number: Number) -> impl Iterator<Item = (Number, &Open)> {
        let open = self.spans.range(number.max(self.first_open)..);
        open.map(|(number, span)| (*number, span))
    }

    /// The number of the oldest open span.
    pub fn oldest(&self) -> Option<Number> {
        self.open_from(0).next().map(|(number, _)| number)
    }

    /// Whether there are none, and none that were given up.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The number of open spans.
    pub fn open_count(&self) -> usize {
        self.open
    }

    /// Whether a limit is exceeded.
    pub fn overfull(&self) -> bool {
        self.open > self.limits.open || self.open_bytes > self.limits.open_bytes
    }

    /// The number of spans, the size of the open ones, and of those that were given up.
    #[cfg(test)]
    pub fn size(&self) -> (usize, usize, usize) {
        (self.spans.len(), self.open_bytes, self.given_up_bytes)
    }
}

fn shrink<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 64 + 8 * map.len() {
        map.shrink_to(2 * map.len());
    }
}
