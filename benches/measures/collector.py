"""The same log, sent by the sidecar and by the OpenTelemetry Collector to the same receiver.

The log has events of finished spans. The Collector reads it with filelog, takes each line apart with a regex
and a JSON parser, batches, and sends log records. The sidecar replays it and sends spans and metrics. Both
send OTLP over gRPC without compression. The Collector has no memory limiter. Its cost is measured from the
moment that the log is there until the last record has arrived, without start and end; the sidecar's is that
of its whole run. `benches/collector/README.md` says how to build the Collector.
"""

import json
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from .exporters import grpc_environment, recording, sink
from .processes import PROGRAMS, Failed, Process, medians_in_turn, memory_mb, running_seconds, sidecars
from .rows import compared

EVENTS = 200_000
BUILT = Path(__file__).resolve().parents[2] / "target" / "collector" / "otelcol"
CONFIGURATION = """
receivers:
  filelog:
    include: ["{directory}/*.log"]
    start_at: beginning
    operators:
      - type: regex_parser
        regex: "^TELEMETRY:(?P<json>.*)$"
      - type: json_parser
        parse_from: attributes.json
processors:
  batch:
exporters:
  otlp:
    endpoint: "127.0.0.1:{port}"
    compression: none
    tls:
      insecure: true
service:
  telemetry:
    metrics:
      level: none
  pipelines:
    logs:
      receivers: [filelog]
      processors: [batch]
      exporters: [otlp]
"""
BOUND = (
    "Of each event the sidecar makes a span and points of metrics, the Collector one log record; both have "
    "to parse the line."
)


def measure(options):
    program = options.collector or BUILT
    if not program.is_file():
        raise Failed("the OpenTelemetry Collector is not there: see benches/collector/README.md")
    events = EVENTS // 4 if options.quick else EVENTS
    with recording(events) as log:
        measures = {"collector": lambda: with_collector(str(program), log, events)}
        for name in sidecars():
            measures[name] = lambda name=name: with_sidecar(name, log, events)
        found = medians_in_turn(options.runs, measures)
    what = f"a log of {events:,} events to OTLP"
    reference = ("collector", "OpenTelemetry Collector")
    return [
        compared(
            f"{what}: CPU per event", "ns", "ns", found, *reference, target_ratio=0.1, goal=True, bound=BOUND
        ),
        compared(f"{what}: events/s", "per_s", "rate", found, *reference, more_is_better=True),
        compared(f"{what}: peak resident memory", "MB", "peak_mb", found, *reference),
    ], []


def with_sidecar(name, log, events):
    with sink(str(events)) as (receiver, port):
        words = [PROGRAMS[name], "replay", "-q", "--drain-timeout", "60s"]
        words += ["--export-otlp", "--otlp-endpoint", f"http://127.0.0.1:{port}", str(log)]
        start = time.monotonic()
        replay = Process(words, env=grpc_environment())
        peak = Peak(replay.pid)
        _, cpu = replay.finish()
        complete(receiver, events, "spans")
        return figures(cpu, time.monotonic() - start, peak.stop(), events)


def with_collector(program, log, events):
    with sink(str(events)) as (receiver, port), tempfile.TemporaryDirectory() as directory:
        configuration = Path(directory, "configuration.yaml")
        configuration.write_text(CONFIGURATION.format(directory=directory, port=port))
        collector = Process([program, "--config", str(configuration)], stderr=subprocess.PIPE)
        for line in collector.popen.stderr:
            if b"Everything is ready" in line:
                break
        else:
            raise Failed("the OpenTelemetry Collector did not start")
        threading.Thread(target=collector.popen.stderr.read, daemon=True).start()
        peak, before, start = Peak(collector.pid), running_seconds(collector.pid), time.monotonic()
        # Under its final name only when it is complete.
        Path(directory, "run.log").symlink_to(log)
        line = receiver.line()
        cpu, took = running_seconds(collector.pid) - before, time.monotonic() - start
        most = peak.stop()
        collector.terminate()
        if line != "complete\n":
            raise Failed("the receiver ended early")
        complete(receiver, events, "logs")
        return figures(cpu, took, most, events)


def complete(receiver, events, kind):
    """Checks that every event has arrived."""
    receiver.popen.stdin.close()
    counters = json.loads(receiver.popen.stdout.read().decode().splitlines()[-1])
    if counters[kind] != events:
        raise Failed(f"{counters[kind]:,} of {events:,} events arrived as {kind}")


def figures(cpu_s, took_s, peak_mb, events):
    return {"ns": cpu_s * 1e9 / events, "rate": events / took_s, "peak_mb": peak_mb}


class Peak:
    """The peak resident memory of a process. wait4's also counts the process before its exec."""

    def __init__(self, pid):
        self.pid, self.most, self.stopped = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def _watch(self):
        while (now := memory_mb(self.pid, "VmHWM")) is not None:
            self.most = max(self.most, now)
            if self.stopped.wait(0.01):
                break

    def stop(self):
        self.stopped.set()
        self.thread.join()
        return self.most
