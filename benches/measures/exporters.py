"""The CPU time that an exporter adds for each event, at a steady rate and without subscribers.

The servers do as little as possible: a socket that is never read, and a collector that ignores requests. Of
20,000 spans a second the collector accepts as many as it can; the others are encoded, dropped and counted.
"""

import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .processes import EMIT, medians_in_turn, run_wrapped
from .rows import Row

RATE = 20_000


class Collector(BaseHTTPRequestHandler):
    """Accepts every request: an empty response means full success."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def measure(options):
    os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    collector.daemon_threads = True
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    with collector, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        cases = {
            "no exporter": [],
            "--export-jsonl": ["--export-jsonl", "/dev/null"],
            "--export-prometheus": ["--export-prometheus", "127.0.0.1:0"],
            "--export-otlp": [f"--export-otlp=http://127.0.0.1:{collector.server_port}"],
            "--export-statsd": ["--export-statsd", f"udp://127.0.0.1:{server.getsockname()[1]}"],
        }
        found = medians_in_turn(
            options.runs,
            {name: (lambda words=words: cpu_per_event(words, options)) for name, words in cases.items()},
        )
        collector.shutdown()
    base, *exporters = cases
    rate = f"{RATE:,} events/s"
    return [
        Row(f"{name}, {rate}: CPU per event", "ns", found[name]["ns"], None, found[base]["ns"], base)
        for name in exporters
    ], []


def cpu_per_event(words, options):
    count = options.scaled(RATE * 5)
    worker = [EMIT, "--wait", "--rate", str(RATE), "--count", str(count)]
    outcome = run_wrapped("sidecar", worker, subscribers=0, options=words)
    return {"ns": outcome.wrapper_cpu_s * 1e9 / count}
