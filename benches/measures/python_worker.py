"""A Python worker that prints events in the README's way, flat out, and then reports the time taken."""

import json
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


sys.stdin.readline()
start_ns = time.monotonic_ns()
for number in range(int(sys.argv[1])):
    emit(
        "tool.execution.stop",
        {"duration": number},
        {"tool": "resize", "session_id": "s-0000042"},
        f"trace-{number}",
    )
end_ns = time.monotonic_ns()
print(json.dumps({"start_ns": start_ns, "end_ns": end_ns, "cpu_ns": time.process_time_ns()}))
