"""Spans and metrics of real workers, as a collector gets them that is not ours."""

import hashlib
import math
from collections import Counter
from concurrent import futures

import grpc
import pytest
from opentelemetry.semconv._incubating.attributes import cpu_attributes
from opentelemetry.semconv._incubating.metrics import process_metrics

from collector import Collector, identifier
from sidecar import fixture
from waiting import wait_until

REQUESTS = 24


@pytest.fixture
def collector(tmp_path):
    with Collector(tmp_path / "collector") as one:
        yield one


def exporter(sidecar):
    [account] = sidecar.status().exporters
    return account


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_nested_failing_and_concurrent_spans_arrive(start, collector, monkeypatch, protocol, compression):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "trainer")
    worker = fixture("spans.py", "--requests", REQUESTS)
    sidecar = start(worker, export_otlp=collector.endpoint(protocol))
    assert sidecar.wait() == 0

    spans = collector.spans()
    assert len(spans) == REQUESTS * 4
    for number in range(REQUESTS):
        check_request(number, spans)
    check_resource(spans)
    check_durations(collector.metrics(), spans)
    if protocol != "grpc":
        encodings = {request.get("content-encoding", "none") for request in collector.requests()}
        assert encodings == {compression}


def check_request(number, spans):
    """A request's four spans: the third fails in its innermost one if the number says so."""
    identity = f"request-{number}"
    trace = [span for span in spans if span["attributes"]["snakepit.correlation_id"] == identity]
    by_what = {span["attributes"].get("tool", span["name"]): span for span in trace}
    call, load, predict, postprocess = (by_what[what] for what in ("python.call", "load", "predict", "postprocess"))
    trace_id = hashlib.sha256(identity.encode()).hexdigest()[:32]
    assert {span["trace_id"] for span in trace} == {trace_id}
    assert call["parent"] == ""
    assert load["parent"] == predict["parent"] == call["span_id"]
    assert postprocess["parent"] == predict["span_id"]
    for inner, outer in [(load, call), (predict, call), (postprocess, predict)]:
        assert outer["start"] <= inner["start"] < outer["end"]
    # A span lasts as long as the worker measured. So its end can differ from the time of its last event by what
    # the worker did between measuring and printing.
    for span in trace:
        assert span["end"] - span["start"] == span["attributes"]["duration"]
    assert load["end"] - load["start"] >= 5_000_000
    fails = number % 4 == 3
    for span in trace:
        if fails and span is not load:
            message = f"request {number} has no input"
            assert (span["status"], span["message"]) == ("ERROR", message)
            assert span["attributes"]["error.type"] == "ValueError"
            exception = {"exception.type": "ValueError", "exception.message": message}
            assert span["events"] == [{"name": "exception", "time": span["end"], "attributes": exception}]
        else:
            assert (span["status"], span["message"], span["events"]) == ("UNSET", "", [])
            assert "error.type" not in span["attributes"]


def check_resource(spans):
    resource = spans[0]["resource"]
    assert all(span["resource"] == resource for span in spans)
    assert resource["service.name"] == "trainer"
    assert resource["process.pid"] > 1
    assert resource["telemetry.sdk.language"] == "rust"
    assert len(resource["service.instance.id"]) == 36


def check_durations(metrics, spans):
    metric = metrics["snakepit.operation.duration"]
    assert metric["unit"] == "s"
    assert metric["histogram"]["aggregation_temporality"] == "AGGREGATION_TEMPORALITY_CUMULATIVE"
    expected = Counter((span["name"], "error" if span["status"] == "ERROR" else "ok") for span in spans)
    points = {(point["attributes"]["operation"], point["attributes"]["result"]): point for point in metric["points"]}
    assert {what: int(point["count"]) for what, point in points.items()} == expected
    by_id = {(span["trace_id"], span["span_id"]): span for span in spans}
    for what, point in points.items():
        assert sum(map(int, point["bucket_counts"])) == int(point["count"])
        for exemplar in point["exemplars"]:
            span = by_id[identifier(exemplar["trace_id"]), identifier(exemplar["span_id"])]
            assert span["name"] == what[0]
            seconds = span["attributes"]["duration"] / 1e9
            assert exemplar["as_double"] == pytest.approx(seconds)
            assert point["min"] <= exemplar["as_double"] <= point["max"]
    events = metrics["snakepit.events"]
    assert events["sum"]["is_monotonic"]
    assert sum(int(point["as_int"]) for point in events["points"]) == 2 * len(spans)


class Conventions:
    """Stands for a meter: notes the kind and unit of instruments that OpenTelemetry's conventions create."""

    def create_counter(self, name, description="", unit=""):
        return name, "counter", unit

    def create_up_down_counter(self, name, description="", unit=""):
        return name, "up-down counter", unit

    def create_observable_gauge(self, name, callbacks=None, description="", unit=""):
        return name, "gauge", unit


def kind(metric):
    if "sum" not in metric:
        return "gauge"
    return "counter" if metric["sum"].get("is_monotonic") else "up-down counter"


def test_vitals_are_metrics_of_the_semantic_conventions(start, collector, monkeypatch):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    sidecar = start(export_otlp=collector.endpoint("grpc"), vitals="100ms")
    wait_until("the vitals", lambda: "process.memory.usage" in collector.metrics())
    metrics = collector.metrics()
    found = {(name, kind(metric), metric["unit"]) for name, metric in metrics.items() if name.startswith("process.")}
    meter = Conventions()
    conventions = process_metrics
    assert found == {
        conventions.create_process_cpu_time(meter),
        conventions.create_process_memory_usage(meter),
        conventions.create_process_memory_virtual(meter),
        conventions.create_process_thread_count(meter),
        conventions.create_process_unix_file_descriptor_count(meter),
        conventions.create_process_uptime(meter, None),
    }
    modes = {point["attributes"][cpu_attributes.CPU_MODE] for point in metrics["process.cpu.time"]["points"]}
    assert modes == {"user", "system"}
    [threads] = metrics["process.thread.count"]["points"]
    assert int(threads["as_int"]) == 1
    sidecar.end_worker()
    assert sidecar.wait() == 0


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_rejected_items_are_counted_and_not_retried(start, collector, monkeypatch, protocol):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100")
    sidecar = start(export_otlp=collector.endpoint(protocol))
    for number in range(100):  # more than 1 MiB together
        sidecar.emit("tool.execution.stop", number, f"trace-{number}", metadata={"text": "x" * 15_000})
    # By gRPC it is a partial success, by HTTP status 413.
    counter = "spans_rejected" if protocol == "grpc" else "spans_failed"
    wait_until("the request to be refused", lambda: exporter(sidecar).counters[counter] == 100)
    counters = exporter(sidecar).counters
    assert (counters["spans_exported"], counters["retries"]) == (0, 0)
    assert exporter(sidecar).delivered == 100


class Rejecting(grpc.GenericRpcHandler):
    """A collector that rejects one item of each request. Its message is long enough to be compressed."""

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self.answer())

    @staticmethod
    def answer():
        # ExportTraceServiceResponse and ExportMetricsServiceResponse have the same fields.
        message = b"quota exceeded" + b" " * 100
        partial = b"\x08\x01\x12" + bytes([len(message)]) + message
        return b"\x0a" + bytes([len(partial)]) + partial


@pytest.mark.parametrize("answers", ["NoCompression", "Gzip"])
@pytest.mark.parametrize("requests", ["none", "gzip"])
def test_rejected_items_are_counted_if_answers_are_compressed_or_not(start, monkeypatch, requests, answers):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", requests)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    server = grpc.server(futures.ThreadPoolExecutor(2), compression=grpc.Compression[answers])
    server.add_generic_rpc_handlers([Rejecting()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        sidecar = start(export_otlp=f"http://127.0.0.1:{port}")
        sidecar.emit("tool.execution.stop", 5, "trace")
        wait_until("an answer for metrics", lambda: exporter(sidecar).counters["points_rejected"] > 0)
        wait_until("an answer for spans", lambda: exporter(sidecar).counters["spans_rejected"] == 1)
        assert exporter(sidecar).counters["spans_exported"] == 0
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_exponential_histograms_and_integers_arrive(start, collector, monkeypatch, protocol):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    aggregation = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    monkeypatch.setenv(aggregation, "base2_exponential_bucket_histogram")
    sidecar = start(export_otlp=collector.endpoint(protocol), metric_kind="*.spread=histogram")
    for value in (-2.5, 0, 1, 4):
        sidecar.emit("tool.result", measurements={"spread": value, "rows": 2**53 + 1})
    sidecar.end_worker()
    assert sidecar.wait() == 0
    metrics = collector.metrics()
    [rows] = metrics["snakepit.tool.result.rows"]["points"]
    assert int(rows["as_int"]) == 2**53 + 1
    [spread] = metrics["snakepit.tool.result.spread"]["points"]
    assert (int(spread["count"]), int(spread["zero_count"])) == (4, 1)
    assert (spread["min"], spread["max"], spread["sum"]) == (-2.5, 4, 2.5)
    for sign, values in (("negative", [2.5]), ("positive", [1, 4])):
        buckets = spread[sign]
        for value in values:
            index = math.ceil(math.log2(value) * 2 ** spread["scale"]) - 1
            assert int(buckets["bucket_counts"][index - buckets["offset"]]) == 1, value
        assert sum(map(int, buckets["bucket_counts"])) == len(values)
