"""`--otlp-logs`: what a worker logs, as a collector gets it that is not ours, and as OpenTelemetry's own SDK has it."""

import json
import sys
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from collector import Collector
from servers import free_ports
from sidecar import ECHO, python
from test_otlp import Rejecting, exporter
from waiting import wait_until

WORKER = (sys.executable, str(Path(__file__).with_name("logging_worker.py")))
PROTOCOLS = pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
OUTCOMES = ["logs_exported", "logs_rejected", "logs_failed", "logs_dropped"]
PROCESSES = 4
LINES = 250


@pytest.fixture(scope="module")
def module_collector(tmp_path_factory):
    with Collector(tmp_path_factory.mktemp("collector")) as one:
        yield one


@pytest.fixture
def collector(module_collector):
    module_collector.clear()
    return module_collector


@pytest.fixture
def export(start, monkeypatch):
    """Starts a sidecar that exports log records to this endpoint, soon."""

    def export(command, endpoint, protocol="grpc", **options):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        monkeypatch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "50")
        return start(command, export_otlp=endpoint, otlp_logs=True, **options)

    return export


def wait_for_lines(sidecar, count):
    """Waits until all lines are accounted for; returns the counters."""

    def accounted():
        counters = exporter(sidecar).counters
        done = sum(counters[outcome] for outcome in OUTCOMES)
        assert done <= counters["log_lines"] <= count, counters
        return counters if done == count else None

    return wait_until("the lines to be accounted for", accounted)


def exception(record):
    """The attributes of the exception; the SDK's stack trace ends with a newline."""
    attributes = record["attributes"].items()
    return {key: value.rstrip("\n") for key, value in attributes if key.startswith("exception.")}


@PROTOCOLS
def test_records_are_those_of_opentelemetrys_own_handler(export, collector, protocol):
    sidecar = export(WORKER, collector.endpoint(protocol), protocol)
    assert sidecar.wait() == 0
    expected = json.loads((sidecar.folder / "stdout").read_text())
    records = collector.logs()
    assert len(records) == len(expected) == 10
    stderr = sidecar.stderr().decode()
    for record, sdk in zip(records, expected, strict=True):
        for key in ("severity", "trace_id", "span_id"):
            assert record[key] == sdk[key], (key, record, sdk)
        # Whether it is sampled. The SDK's other flag, that the id is random, is not in the line.
        assert record["flags"] == sdk["flags"] & 1
        # The SDK has the message, the sidecar the line.
        assert record["body"].endswith(f"] - {sdk['body']}") and f"{record['body']}\n" in stderr
        assert exception(record) == exception(sdk)
        assert record["attributes"]["log.iostream"] == "stderr"
        # The line's time has no time zone.
        assert record["time"] == 0 < record["observed"]
    failure = records[6]
    assert exception(failure)["exception.type"] == "RuntimeError" and failure["trace_id"]
    assert "ValueError: no input" in exception(failure)["exception.stacktrace"]
    assert [records[2]["text"], records[4]["text"]] == ["WARNING", "CRITICAL"]
    assert records[0]["resource"]["service.name"].startswith("unknown_service:python")


# What a worker prints without a logger, in spans of its telemetry lines.
PRINTING = """
import json, sys, time

def emit(event, correlation_id):
    event = {"event": event, "correlation_id": correlation_id, "timestamp_ns": time.time_ns()}
    print("TELEMETRY:" + json.dumps(event), file=sys.stderr)

print("loading", file=sys.stderr)
emit("train.start", "first")
bar = [f"\\r{step:3}%|{'#' * (step // 10):10}| {step}/100" for step in range(101)]
print("".join(bar), file=sys.stderr)  # in one write: a bar that stops for a second is a record
emit("train.stop", "first")
emit("predict.start", "second")
emit("load.start", "third")
print("\\x1b[31mwhose?\\x1b[0m", file=sys.stderr)
print("correlation_id=second request", file=sys.stderr)
emit("load.stop", "third")
emit("predict.stop", "second")
raise LookupError("no model")
"""


@PROTOCOLS
def test_lines_belong_to_open_spans_or_to_the_run(export, collector, protocol):
    sidecar = export(python(PRINTING), collector.endpoint(protocol), protocol, run_span="job")
    assert sidecar.wait() == 1
    spans = {(span["trace_id"], span["span_id"]): span["name"] for span in collector.spans()}
    assert sorted(spans.values()) == ["job", "load", "predict", "train"]
    records = collector.logs()
    lines = [(one["body"], spans[one["trace_id"], one["span_id"]]) for one in records]
    assert lines == [
        ("loading", "job"),
        ("100%|##########| 100/100", "train"),
        ("whose?", "job"),
        ("correlation_id=second request", "predict"),
        ("LookupError: no model", "job"),
    ]
    uncaught = records[-1]["attributes"]
    assert (uncaught["exception.type"], uncaught["exception.message"]) == ("LookupError", "no model")
    assert uncaught["exception.stacktrace"].startswith("Traceback (most recent call last):\n  File ")
    assert records[3]["attributes"]["snakepit.correlation_id"] == "second"
    resources = [one["resource"] for one in [*records, *collector.spans()]]
    assert all(resource == resources[0] for resource in resources)


SEVERAL = f"""
import logging, multiprocessing, sys

def run(name):
    logging.basicConfig(format="%(levelname)s:%(name)s:%(message)s")
    for number in range({LINES}):
        logging.getLogger(name).warning(number)

processes = [multiprocessing.Process(target=run, args=[str(n)]) for n in range({PROCESSES})]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.stdin.read()
"""


@PROTOCOLS
def test_lines_of_several_processes_all_arrive_in_their_order(export, collector, protocol):
    sidecar = export(python(SEVERAL), collector.endpoint(protocol), protocol)
    counters = wait_for_lines(sidecar, PROCESSES * LINES)
    assert counters["logs_exported"] == counters["log_lines"] == PROCESSES * LINES
    records = collector.logs()
    assert {(one["severity"], one["text"]) for one in records} == {("WARN", "WARNING")}
    bodies = [one["body"] for one in records]
    for name in range(PROCESSES):
        mine = [body for body in bodies if body.startswith(f"WARNING:{name}:")]
        assert mine == [f"WARNING:{name}:{number}" for number in range(LINES)]
    assert len(bodies) == PROCESSES * LINES
    # They are copied from stderr, not taken.
    sidecar.end_worker()
    assert sidecar.wait() == 0
    assert [line for line in sidecar.stderr().decode().splitlines() if line.startswith("WARNING:")] == bodies


def test_lines_that_a_collector_rejects_are_counted(export):
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([Rejecting()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        sidecar = export(ECHO, f"http://127.0.0.1:{port}")
        sidecar.write(b"one\ntwo\n")
        counters = wait_for_lines(sidecar, 2)
        # One of each request, and they may come in one or two.
        assert counters["logs_rejected"] >= 1
        assert counters["logs_exported"] == 2 - counters["logs_rejected"]
    finally:
        server.stop(None).wait()


def test_a_request_that_is_too_large_for_the_collector_fails_as_a_whole(export, collector):
    sidecar = export(ECHO, collector.endpoint("http"), "http/protobuf")
    sidecar.write(b"".join(b"%02d %s\n" % (number, b"x" * 60_000) for number in range(30)))  # it takes 1 MiB
    counters = wait_for_lines(sidecar, 30)
    assert counters["logs_failed"] > 0 and counters["retries"] == 0
    assert len(collector.logs()) == counters["logs_exported"]


def test_lines_for_a_collector_that_is_down_are_counted_and_stderr_has_them(export, monkeypatch):
    monkeypatch.setenv("OTEL_BLRP_EXPORT_TIMEOUT", "200")
    [port] = free_ports(1)
    sidecar = export(ECHO, f"http://127.0.0.1:{port}")
    lines = b"".join(b"line %d\n" % number for number in range(5000))
    sidecar.write(lines)
    counters = wait_for_lines(sidecar, 5000)
    assert counters["logs_failed"] + counters["logs_dropped"] == 5000
    sidecar.end_worker()
    assert sidecar.wait() == 0
    stderr = sidecar.stderr().decode().splitlines()
    assert [line for line in stderr if line.startswith("line ")] == lines.decode().splitlines()
    assert any(line.startswith("telemetry-sidecar: otlp: 5000 log lines not delivered: ") for line in stderr)
