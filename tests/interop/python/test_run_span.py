"""A run below the span of OpenTelemetry's own SDK, and spans of a worker's SDK below the run."""

import json
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from collector import Collector

WORKER = (sys.executable, str(Path(__file__).with_name("sdk_worker.py")))


@pytest.fixture
def run(start, tmp_path, monkeypatch):
    """Runs the worker below a span of this sampler; returns that span, what the worker says, and the collector's spans."""

    def run(sampler, **options):
        provider = TracerProvider(sampler=sampler)
        caller = provider.get_tracer("caller").start_span("deploy")
        carrier = {}
        TraceContextTextMapPropagator().inject(carrier, set_span_in_context(caller))
        for name, value in carrier.items():
            monkeypatch.setenv(name.upper(), value)
        with Collector(tmp_path / "collector") as collector:
            sidecar = start(WORKER, export_otlp=collector.endpoint("grpc"), run_span="job", **options)
            assert sidecar.wait() == 3
            spans = {span["name"]: span for span in collector.spans()}
        said = json.loads((sidecar.folder / "stdout").read_text())
        return caller.get_span_context(), said, spans

    return run


def test_the_workers_sdk_continues_the_trace(run):
    caller, said, spans = run(ALWAYS_ON, run_span_env=True)
    job = spans["job"]
    assert job["trace_id"] == f"{caller.trace_id:032x}"
    assert job["parent"] == f"{caller.span_id:016x}"
    assert (job["kind"], job["status"], job["message"]) == ("INTERNAL", "ERROR", "exit code 3")
    expected = {"process.executable.name", "process.pid", "process.exit.code", "error.type"}
    assert job["attributes"].keys() == expected
    assert job["attributes"]["process.pid"] == said["pid"] == job["resource"]["process.pid"]
    assert (job["attributes"]["process.exit.code"], job["attributes"]["error.type"]) == (3, "3")

    # What the SDK makes of the worker's environment.
    assert said["parent"] == {
        "trace_id": job["trace_id"], "span_id": job["span_id"], "is_valid": True, "is_remote": True, "is_sampled": True,
    }
    assert (said["span"]["trace_id"], said["is_recording"]) == (job["trace_id"], True)
    # Spans of printed events: below the run, and below the SDK's span.
    assert spans["printed"]["parent"] == job["span_id"]
    assert spans["inner"]["parent"] == said["span"]["span_id"]
    assert {span["trace_id"] for span in spans.values()} == {job["trace_id"]}
    assert all(job["start"] <= span["start"] and span["end"] <= job["end"] for span in spans.values())


def test_the_environment_is_the_callers_without_the_option(run):
    caller, said, spans = run(ALWAYS_ON)
    assert said["parent"]["span_id"] == spans["job"]["parent"] == f"{caller.span_id:016x}"
    assert spans["printed"]["parent"] == spans["job"]["span_id"]


def test_below_an_unsampled_span_neither_the_run_nor_the_sdk_records(run):
    caller, said, spans = run(ALWAYS_OFF, run_span_env=True)
    assert said["parent"]["trace_id"] == f"{caller.trace_id:032x}"
    assert said["parent"]["span_id"] != f"{caller.span_id:016x}"
    assert (said["parent"]["is_sampled"], said["is_recording"], spans) == (False, False, {})
