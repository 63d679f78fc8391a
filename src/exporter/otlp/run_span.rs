//! `--run-span`: one span for the worker's whole run.
//!
//! It is what OpenTelemetry's conventions call the execution span of a CLI program:
//! <https://opentelemetry.io/docs/specs/semconv/cli/cli-spans/>. Its ids exist before the worker starts, so
//! that spans can be below it from the first event on; it is sent once the worker has ended.
//!
//! The parent is the `TRACEPARENT` of the environment, as in
//! <https://opentelemetry.io/docs/specs/otel/context/env-carriers/>. If that is not sampled, neither is the
//! run. The worker inherits the variable unchanged, unless `--run-span-env` replaces it by the run span.
//!
//! | how the worker ended | `process.exit.code` | `error.type` |
//! | --- | --- | --- |
//! | exit code 0 | 0 | |
//! | another exit code | the code | the code |
//! | SIGTERM, or exit code 143: it was stopped | 143 | |
//! | another signal | 128 + its number | the signal's name |
//! | it could not be started | 127, 126 or 125 | the name of the system's error, such as `ENOENT` |
//!
//! A span with an `error.type` has the status Error. Arguments are not attributes: they may be secrets.

use super::{
    attributes::{Attributes, MAX_NAME_BYTES, Owner, Value},
    finished::{Body, Finished},
    proto::trace::v1::{SpanFlags, span::SpanKind},
    queue::Queue,
    spans::INCOMPLETE,
    started::Events,
};
use crate::{
    event::ended::DEATH_BY_SIGNAL,
    exporter::{
        event::cut,
        trace_context::tracestate,
        trace_ids::{Context, Random, SAMPLED, SpanId, Traceparent},
    },
    worker::{Exit, state::WorkerState},
};
use nix::sys::signal::Signal;
use std::{
    ffi::OsString,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// The variable with the parent.
const TRACEPARENT: &str = "TRACEPARENT";

/// The variable with the state of the parent's tracing system.
const TRACESTATE: &str = "TRACESTATE";

/// The attribute with the signal that ended the worker. The conventions have none.
const SIGNAL: &str = "telemetry_sidecar.exit.signal";

/// The trace flag "random": the trace id was generated at random.
const RANDOM: u8 = 2;

/// The span of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSpan {
    /// Its ids.
    pub context: Context,
    /// Its trace flags.
    pub flags: u8,
    /// The state of the parent's tracing system.
    pub trace_state: Option<Arc<str>>,
    /// The variables of the environment that are not valid and not used.
    pub invalid: Vec<&'static str>,
    parent: Option<SpanId>,
    /// Otherwise it has the name of the worker's program.
    name: Option<String>,
    /// Whether the environment has a `TRACESTATE` that belongs to another trace.
    has_foreign_state: bool,
}

impl RunSpan {
    /// A span below the one that the environment names, or the root of a new trace. Without a name it has
    /// that of the worker's program.
    pub fn new(name: Option<String>, variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let read = |name| variable(name).filter(|value| !value.is_empty());
        let (parent, state) = (read(TRACEPARENT), read(TRACESTATE));
        let caller = parent.as_ref().and_then(|text| Traceparent::parse(text.to_str()?.trim()));
        let caller_state = state.as_ref().and_then(|text| tracestate(text.to_str()?));
        let is_invalid = [parent.is_some() && caller.is_none(), state.is_some() && caller_state.is_none()];
        let invalid = [TRACEPARENT, TRACESTATE].into_iter().zip(is_invalid);
        let mut random = Random::default();
        let trace_id = caller.map_or_else(|| random.trace_id(), |caller| caller.parent.trace_id);
        Self {
            context: Context { trace_id, span_id: random.span_id() },
            // Others are of later versions of the format than the one that is written.
            flags: caller.map_or(SAMPLED, |caller| caller.flags & (SAMPLED | RANDOM)),
            trace_state: caller_state.filter(|_| caller.is_some()).map(Into::into),
            invalid: invalid.filter(|(_, is_invalid)| *is_invalid).map(|(name, _)| name).collect(),
            parent: caller.map(|caller| caller.parent.span_id),
            name: name.map(|name| cut(&name, MAX_NAME_BYTES).to_owned()),
            has_foreign_state: state.is_some() && caller.is_none(),
        }
    }

    /// Whether it is exported.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What a worker inherits whose spans are to be below it: the changed variables. A valid `TRACESTATE`
    /// stays as it is.
    pub fn environment(&self) -> Vec<(&'static str, Option<OsString>)> {
        let traceparent = Traceparent { parent: self.context, flags: self.flags }.to_string();
        let state = self.has_foreign_state.then_some((TRACESTATE, None));
        [(TRACEPARENT, Some(traceparent.into()))].into_iter().chain(state).collect()
    }

    /// Queues the span of a worker that has ended or was never started, with the span's events, before all
    /// others.
    pub fn send(&self, worker: &WorkerState, events: &Events, queue: &mut Queue) {
        let mut attributes = Attributes::new(Owner::Span);
        attributes.text("process.executable.name", worker.program());
        if let Some(pid) = worker.pid() {
            attributes.set("process.pid", Value::Int(pid.into()));
        }
        let error = describe_end(worker, &mut attributes);
        let start_ns = worker.started_at().map_or_else(|| nanoseconds(SystemTime::now()), nanoseconds);
        let run_ns = u64::try_from(worker.run_time().as_nanos()).unwrap_or(u64::MAX);
        let remote = SpanFlags::ContextHasIsRemoteMask as u32
            | if self.parent.is_some() { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
        let span = Finished {
            context: self.context,
            parent: self.parent,
            flags: u32::from(self.flags) | remote,
            kind: SpanKind::Internal,
            start_ns,
            end_ns: start_ns.saturating_add(run_ns),
            adoptable: false,
            has_given_kind: true,
            identity: 0,
        };
        let body = Body {
            name: self.name.as_deref().unwrap_or(worker.program()),
            trace_state: self.trace_state.as_deref(),
            attributes: &attributes,
            events,
            error: error.as_deref(),
        };
        queue.push_first(span, &body);
    }
}

/// Sets the attributes of the worker's end, and returns the message of the status of a run that failed.
fn describe_end(worker: &WorkerState, attributes: &mut Attributes) -> Option<String> {
    let has_failed = worker.exit().is_some_and(Exit::has_failed);
    let (code, error) = match (worker.start_failure(), worker.exit()) {
        (Some(failure), _) => {
            let cause = failure.cause();
            (
                failure.exit_code(),
                Some((format!("{cause:?}"), format!("cannot be started: {}", cause.desc()))),
            )
        }
        (None, Some(Exit::Code(code))) => {
            (code, has_failed.then(|| (code.to_string(), format!("exit code {code}"))))
        }
        (None, Some(Exit::Signal(number))) => {
            let name =
                Signal::try_from(number).map_or_else(|_| format!("SIG{number}"), |signal| signal.to_string());
            attributes.text(SIGNAL, &name);
            let note = worker.end().map_or("", |end| end.reason.note());
            let message = format!("killed by {name}{note}");
            (DEATH_BY_SIGNAL + number, has_failed.then_some((name, message)))
        }
        (None, None) => {
            attributes.set(INCOMPLETE, Value::Bool(true));
            return None;
        }
    };
    attributes.set("process.exit.code", Value::Int(code.into()));
    let (kind, message) = error?;
    attributes.text("error.type", &kind);
    Some(message)
}

/// Since the Unix epoch.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
