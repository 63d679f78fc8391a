//! Which span an ordinary line belongs to.

use super::Spans;
use crate::exporter::{
    log::LineContext,
    otlp::started::{Correlation, Open},
};

impl Spans {
    /// The span of a line with this correlation id: the innermost one that is open. Of a line without one:
    /// the only open span, or the innermost if all that are open have the same correlation id.
    pub fn of_line(&self, correlation_id: Option<&str>) -> Option<LineContext> {
        let correlation = Correlation::new(correlation_id.unwrap_or_default());
        let span = if correlation.is_none() { self.only_one() } else { self.innermost(correlation) }?;
        Some(LineContext {
            trace_id: span.context.trace_id,
            span_id: Some(span.context.span_id),
            flags: span.flags,
        })
    }

    fn only_one(&self) -> Option<&Open> {
        let (_, oldest) = self.open.open_from(0).next()?;
        let is_alone = self.open.open_from(0).nth(1).is_none();
        if is_alone {
            return Some(oldest);
        }
        let correlation = oldest.correlation;
        let open = self.open.of(correlation).filter(|(number, _)| !self.open.is_given_up(*number)).count();
        (!correlation.is_none() && open == self.open.open_count())
            .then(|| self.innermost(correlation))
            .flatten()
    }

    fn innermost(&self, correlation: Correlation) -> Option<&Open> {
        let mut spans = self.open.of(correlation);
        spans.find(|(number, _)| !self.open.is_given_up(*number)).map(|(_, span)| span)
    }
}
