"""What an exporter adds to the sidecar's CPU time for an event, at a steady rate and with nobody subscribed.

Servers are sockets that nobody reads: what arrives costs the kernel little and another process nothing.
"""

import socket

from .processes import EMIT, medians_in_turn, run_wrapped
from .rows import Row

RATE = 20_000


def measure(options):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        cases = {
            "no exporter": [],
            "--export-jsonl": ["--export-jsonl", "/dev/null"],
            "--export-statsd": ["--export-statsd", f"udp://127.0.0.1:{server.getsockname()[1]}"],
        }
        found = medians_in_turn(
            options.runs,
            {name: (lambda words=words: cpu_per_event(words, options)) for name, words in cases.items()},
        )
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
