"""A worker with OpenTelemetry's SDK that takes its parent from the environment, says what it got, and fails."""

import json
import os
import sys
import time

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

carrier = {name.lower(): value for name, value in os.environ.items() if name in ("TRACEPARENT", "TRACESTATE")}
context = TraceContextTextMapPropagator().extract(carrier)
parent = trace.get_current_span(context).get_span_context()


def ids(of):
    return {"trace_id": f"{of.trace_id:032x}", "span_id": f"{of.span_id:016x}"}


def emit(event, **metadata):
    event = {"event": event, "timestamp_ns": time.time_ns(), "metadata": metadata}
    print("TELEMETRY:" + json.dumps(event), file=sys.stderr, flush=True)


with TracerProvider().get_tracer("worker").start_as_current_span("of the SDK", context) as span:
    mine = {}
    TraceContextTextMapPropagator().inject(mine)
    emit("printed.start")
    emit("printed.stop")
    emit("inner.start", **mine)
    emit("inner.stop")
    flags = {"is_valid": parent.is_valid, "is_remote": parent.is_remote, "is_sampled": parent.trace_flags.sampled}
    said = {"parent": ids(parent) | flags, "span": ids(span.get_span_context()), "is_recording": span.is_recording()}
    print(json.dumps(said | {"pid": os.getpid()}))
sys.exit(3)
