"""A worker that prints its telemetry as lines on stderr, to be run behind the sidecar.

    telemetry-sidecar -- python3 benches/peer/worker_stderr.py burst --events 10000     # --help for more

Then press Enter to start the workload, and Ctrl-D to end the worker. Needs Python 3.10 or later and nothing
else.
"""

import json
import sys
import time

import workload


def emit(name, measurements, metadata, correlation_id):
    """Prints one line in one write, because stderr is line-buffered."""
    event = {
        "event": name,
        "measurements": measurements,
        "metadata": metadata,
        "timestamp_ns": time.time_ns(),
        "correlation_id": correlation_id,
    }
    sys.stderr.write(f"TELEMETRY:{json.dumps(event)}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    try:
        workload.run(workload.argument_parser(__doc__).parse_args(), emit)
    except KeyboardInterrupt:
        sys.exit(130)
