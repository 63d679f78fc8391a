"""The latency from the worker's write to the client, and the CPU time, at a steady rate.

The reference is the minimum for a wrapper: `cat` between two pipes, read by the same client without gRPC. CPU
is that of the wrapper, or of `cat`, in per cent of one core, without start and end.
"""

import json
import subprocess
import time

from .processes import DRAIN, EMIT, Process, Wrapped, medians_in_turn, running_seconds
from .rows import Row

# p50 and p99 in µs, and per cent of a core.
TARGETS = {1000: (65, 145, 2.6)}


def measure(options):
    rows = []
    seconds = 1.5 if options.quick else 8
    for rate in (100, 1000, 10_000):
        found = medians_in_turn(
            options.runs,
            {
                "sidecar": lambda: through_wrapper("sidecar", rate, seconds),
                "cat": lambda: through_cat(rate, seconds),
                "naive": lambda: through_wrapper("naive", rate, seconds),
            },
        )
        keys = (("p50_us", "latency p50", "us"), ("p99_us", "latency p99", "us"), ("cpu", "CPU", "percent"))
        for (key, title, unit), target in zip(keys, TARGETS.get(rate, (None, None, None))):
            rows.append(
                Row(
                    f"{rate:,} events/s: {title}",
                    unit,
                    found["sidecar"][key],
                    found["naive"][key],
                    found["cat"][key],
                    "`cat` between pipes",
                    target=target,
                )
            )
    return rows, []


def worker_words(rate, seconds):
    return [EMIT, "--wait", "--rate", str(rate), "--count", str(int(rate * seconds))]


def through_wrapper(wrapper, rate, seconds):
    wrapped = Wrapped(wrapper, worker_words(rate, seconds), subscriber_options=["--latency"])
    wrapped.begin()
    cpu = cpu_while_running(wrapped.process.pid, seconds)
    report = wrapped.finish().subscribers[0]
    return {"p50_us": report["p50_us"], "p99_us": report["p99_us"], "cpu": cpu}


def through_cat(rate, seconds):
    worker = Process(worker_words(rate, seconds), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    cat = Process(["cat"], stdin=worker.popen.stderr)
    client = Process([DRAIN, "--stdin"], stdin=cat.popen.stdout)
    worker.popen.stderr.close()
    cat.popen.stdout.close()
    cat.popen.stdout = None
    worker.popen.stdin.close()
    cpu = cpu_while_running(cat.pid, seconds)
    worker.finish()
    cat.finish()
    report = json.loads(client.finish()[0])
    return {"p50_us": report["p50_us"], "p99_us": report["p99_us"], "cpu": cpu}


def cpu_while_running(pid, seconds):
    """Measures per cent of a core in the middle of the run."""
    margin = seconds / 10
    time.sleep(margin)
    before, start = running_seconds(pid), time.monotonic()
    time.sleep(seconds - 2 * margin)
    return 100 * (running_seconds(pid) - before) / (time.monotonic() - start)
