//! The run span's context and message.

use super::*;
use crate::exporter::otlp::proto::{
    common::v1::any_value::Value,
    trace::v1::{Span, status::StatusCode},
};
use crate::worker::{End, Usage, end::Reason, spawn::SpawnError};
use nix::errno::Errno;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn run(variables: &[(&str, &str)]) -> RunSpan {
    RunSpan::new(None, &|name| {
        variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    })
}

/// What a receiver decodes.
fn sent(run: &RunSpan, worker: &WorkerState) -> Span {
    let mut queue = Queue::new(0, false);
    run.send(worker, &Events::default(), &mut queue);
    queue.all().remove(0)
}

fn message(change: impl FnOnce(&WorkerState)) -> Span {
    let worker = WorkerState::new("/usr/bin/python3".as_ref());
    worker.starting();
    change(&worker);
    sent(&run(&[]), &worker)
}

/// The exit code, the signal and the type of the error, and the message of the status.
fn end_of(exit: Exit) -> (Option<i64>, Option<String>, Option<String>, Option<String>) {
    let span = message(|worker| {
        worker.started(42);
        worker.ended(End::new(exit, Usage::default()));
    });
    described(&span)
}

fn described(span: &Span) -> (Option<i64>, Option<String>, Option<String>, Option<String>) {
    let value = |key| span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value;
    let text = |key| match value(key)? {
        Value::StringValue(text) => Some(text),
        other => panic!("{other:?}"),
    };
    let code = value("process.exit.code").map(|value| match value {
        Value::IntValue(code) => code,
        other => panic!("{other:?}"),
    });
    if let Some(status) = &span.status {
        assert_eq!(status.code, i32::from(StatusCode::Error));
    }
    (code, text(SIGNAL), text("error.type"), span.status.clone().map(|status| status.message))
}

#[test]
fn without_a_valid_traceparent_it_is_the_root_of_a_new_trace() {
    for variables in [
        &[][..],
        &[("TRACEPARENT", "")],
        &[("TRACEPARENT", "00-0-0-01")],
        &[("TRACEPARENT", "00-00000000000000000000000000000000-b7ad6b7169203331-01")],
        &[("TRACEPARENT", "x"), ("TRACESTATE", "a=1")],
        &[("TRACESTATE", "a=1")],
    ] {
        let run = run(variables);
        assert_eq!((run.parent, run.flags, &run.trace_state), (None, SAMPLED, &None), "{variables:?}");
        let is_invalid = variables.iter().any(|(name, value)| *name == "TRACEPARENT" && !value.is_empty());
        assert_eq!(run.invalid, if is_invalid { vec!["TRACEPARENT"] } else { Vec::new() });
        // The state of another trace must not become that of the run's.
        let removed: Vec<_> = run.environment().into_iter().filter(|(_, value)| value.is_none()).collect();
        let has_state = variables.iter().any(|(name, _)| *name == "TRACESTATE");
        assert_eq!(removed, if has_state { vec![("TRACESTATE", None)] } else { Vec::new() });
    }
    assert_ne!(run(&[]).context.trace_id, run(&[]).context.trace_id);
}

#[test]
fn a_traceparent_is_its_parent_and_is_replaced_for_the_worker() {
    let run = run(&[("TRACEPARENT", &format!("{CALLER}\n")), ("TRACESTATE", "vendor=x")]);
    let caller = Traceparent::parse(CALLER).unwrap();
    assert_eq!(run.context.trace_id, caller.parent.trace_id);
    assert_eq!((run.parent, run.trace_state.as_deref()), (Some(caller.parent.span_id), Some("vendor=x")));
    let [("TRACEPARENT", Some(handed_down))] = &run.environment()[..] else { panic!("{run:?}") };
    let handed_down = Traceparent::parse(handed_down.to_str().unwrap()).unwrap();
    assert_eq!(handed_down, Traceparent { parent: run.context, flags: SAMPLED });
    let span = sent(&run, &WorkerState::new("sh".as_ref()));
    assert_eq!((span.flags, span.trace_state.as_str()), (0x301, "vendor=x"));
    assert_eq!(span.parent_span_id, caller.parent.span_id);
}

#[test]
fn flags_of_the_parent_are_kept_as_far_as_the_written_version_has_them() {
    for (given, kept) in [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("ff", 3)] {
        let run = run(&[("TRACEPARENT", &format!("{}{given}", &CALLER[..53]))]);
        assert_eq!((run.flags, run.is_sampled()), (kept, kept & 1 == 1), "{given}");
    }
}

#[test]
fn an_invalid_tracestate_is_not_used_and_stays_the_workers() {
    let run = run(&[("TRACEPARENT", CALLER), ("TRACESTATE", "no members")]);
    assert_eq!((run.trace_state.as_deref(), &run.invalid[..]), (None, &["TRACESTATE"][..]));
    assert_eq!(run.environment().len(), 1);
}

#[test]
fn the_end_of_the_worker_is_in_code_error_and_status() {
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(end_of(Exit::Code(0)), (Some(0), None, None, None));
    assert_eq!(end_of(Exit::Code(3)), (Some(3), None, text("3"), text("exit code 3")));
    assert_eq!(end_of(Exit::Code(143)), (Some(143), None, None, None));
    let killed = (Some(137), text("SIGKILL"), text("SIGKILL"), text("killed by SIGKILL"));
    assert_eq!(end_of(Exit::Signal(9)), killed);
    assert_eq!(end_of(Exit::Signal(15)), (Some(143), text("SIGTERM"), None, None));
    let out_of_memory = message(|worker| {
        let end = End::new(Exit::Signal(9), Usage::default());
        worker.ended(End { reason: Reason::OutOfMemory, ..end });
    });
    assert_eq!(described(&out_of_memory).3, text("killed by SIGKILL (out of memory)"));
    let real_time = (Some(168), text("SIG40"), text("SIG40"), text("killed by SIG40"));
    assert_eq!(end_of(Exit::Signal(40)), real_time);
    for (error, code, name) in [
        (SpawnError::Execute(Errno::ENOENT), 127, "ENOENT"),
        (SpawnError::Execute(Errno::EACCES), 126, "EACCES"),
        (SpawnError::Prepare(Errno::EAGAIN), 125, "EAGAIN"),
    ] {
        let span = message(|worker| worker.failed_to_start(error));
        let (found, signal, kind, status) = described(&span);
        assert_eq!((found, signal, kind.as_deref()), (Some(code), None, Some(name)));
        assert!(status.unwrap().starts_with("cannot be started: "));
        assert!(!span.attributes.iter().any(|attribute| attribute.key == "process.pid"));
    }
}

#[test]
fn it_lasts_as_long_as_the_worker_and_not_until_it_is_sent() {
    let worker = WorkerState::new("/usr/bin/python3".as_ref());
    worker.starting();
    worker.started(42);
    worker.ended(End::new(Exit::Code(0), Usage::default()));
    let run_ns = u64::try_from(worker.run_time().as_nanos()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1));
    let run = RunSpan::new(Some("nightly".into()), &|_| None);
    let span = sent(&run, &worker);
    assert_eq!(span.start_time_unix_nano, nanoseconds(worker.started_at().unwrap()));
    assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, run_ns);
    assert_eq!((span.name.as_str(), span.kind), ("nightly", SpanKind::Internal as i32));
    assert_eq!((span.flags, span.parent_span_id.len()), (0x101, 0));
    assert_eq!(message(|_| {}).name, "python3");
}
