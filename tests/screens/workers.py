"""Sidecars with workers that print what a test writes to them."""

import json
import subprocess
import tempfile
from pathlib import Path

from screen import SIDECAR, wait_until


class Worker:
    """A sidecar at a unix socket whose worker copies its stdin to stderr, and then exits with this code."""

    def __init__(self, code=0, options=()):
        self.dir = tempfile.TemporaryDirectory(prefix="worker")
        self.address = f"unix:{self.dir.name}/s"
        ready = Path(self.dir.name, "ready")
        command = [SIDECAR, "-q", "--listen", self.address, "--ready-file", str(ready), *options]
        command += ["--", "sh", "-c", f"cat >&2; exit {code}"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        wait_until("the sidecar", ready.exists)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.dir.cleanup()

    def emit(self, event, measurements=None, metadata=None, timestamp_ns=None):
        fields = {"event": event, "measurements": measurements or {}, "metadata": metadata or {}}
        if timestamp_ns is not None:
            fields["timestamp_ns"] = timestamp_ns
        self.write("TELEMETRY:" + json.dumps(fields) + "\n")

    def write(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def end(self):
        """Ends the worker, and waits for the sidecar's exit."""
        self.process.stdin.close()
        return self.process.wait(timeout=60)
