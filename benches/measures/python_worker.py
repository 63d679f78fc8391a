"""A Python worker that prints events in the way of docs/format.md, and then reports what that took.

    python_worker.py COUNT [RATE]

Without a rate it prints as fast as it can. With one it also reports the time of an emit: `json.dumps`, write
and flush, from the caller's view.
"""

import json
import statistics
import sys
import time


def emit(event, measurements=None, metadata=None, correlation_id=""):
    line = json.dumps(
        {
            "event": event,
            "measurements": measurements or {},
            "metadata": metadata or {},
            "timestamp_ns": time.time_ns(),
            "correlation_id": correlation_id,
        }
    )
    sys.stderr.write(f"TELEMETRY:{line}\n")
    sys.stderr.flush()


def emit_number(number):
    emit(
        "tool.execution.stop",
        {"duration": number},
        {"tool": "resize", "session_id": "s-0000042"},
        f"trace-{number}",
    )


def paced(count, rate):
    """Returns the nanoseconds of each emit."""
    took, start = [], time.perf_counter()
    for number in range(count):
        time.sleep(max(0, start + number / rate - time.perf_counter()))
        before = time.perf_counter_ns()
        emit_number(number)
        took.append(time.perf_counter_ns() - before)
    return took


def main():
    count, rate = int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else None
    sys.stdin.readline()
    report = {"events": count, "start_ns": time.monotonic_ns()}
    cpu_before = time.process_time_ns()
    if rate:
        took = paced(count, rate)
        report |= {"emit_p50_ns": statistics.median(took), "emit_mean_ns": statistics.fmean(took)}
    else:
        for number in range(count):
            emit_number(number)
    cpu_ns = time.process_time_ns()
    report |= {"end_ns": time.monotonic_ns(), "cpu_ns": cpu_ns, "running_ns": cpu_ns - cpu_before}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
