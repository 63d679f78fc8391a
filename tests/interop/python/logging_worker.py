"""A worker that logs with Python's logging to stderr, in the format of OpenTelemetry's instrumentation of it.

The same calls go to the log handler of OpenTelemetry's own SDK. Its records are printed to stdout as JSON.
"""

import json
import logging
import sys
import threading
import warnings

from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

FORMAT = (
    "%(asctime)s %(levelname)s [%(name)s] [%(filename)s:%(lineno)d] "
    "[trace_id=%(otelTraceID)s span_id=%(otelSpanID)s trace_sampled=%(otelTraceSampled)s] - %(message)s"
)


def add_ids(record):
    """As the instrumentation does: without a span the ids are zero."""
    context = trace.get_current_span().get_span_context()
    record.otelTraceID = f"{context.trace_id:032x}" if context.is_valid else "0"
    record.otelSpanID = f"{context.span_id:016x}" if context.is_valid else "0"
    record.otelTraceSampled = bool(context.trace_flags.sampled)
    return True


def work(log, tracer):
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(log, level)("a line at level %s", level)
    with tracer.start_as_current_span("predict"):
        log.info("in a span, got ERROR 500 from the cache")
        try:
            try:
                raise ValueError("no input")
            except ValueError as error:
                raise RuntimeError("prediction failed") from error
        except RuntimeError:
            log.exception("request failed")
        log.info("retrying")

    def fail():
        try:
            int("x")
        except ValueError:
            log.warning("in a thread", exc_info=True)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    log.info("done")


def main():
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the handler will move to another package
        sdk = LoggingHandler(logger_provider=provider)
    stderr = logging.StreamHandler()
    stderr.setFormatter(logging.Formatter(FORMAT))
    stderr.addFilter(add_ids)
    log = logging.getLogger("app")
    log.setLevel(logging.DEBUG)
    log.addHandler(stderr)
    log.addHandler(sdk)
    work(log, TracerProvider().get_tracer("app"))
    json.dump([describe(one.log_record) for one in exporter.get_finished_logs()], sys.stdout)


def describe(record):
    return {
        "severity": record.severity_number.name,
        "body": record.body,
        "trace_id": f"{record.trace_id:032x}" if record.trace_id else "",
        "span_id": f"{record.span_id:016x}" if record.span_id else "",
        "flags": int(record.trace_flags or 0),
        "attributes": dict(record.attributes),
    }


main()
