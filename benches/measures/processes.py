"""Starts wrappers, workers and subscribers, and reports their cost.

`PROGRAMS` has the compared wrappers: "sidecar", "naive" and, with `--before`, an earlier binary as "before".

The CPU time of a wrapper alone is what wait4 reports for it and its reaped children, minus what its worker
reports on stdout. wait4 counts in microseconds; /proc/PID/stat would count in hundredths of a second.
"""

import atexit
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release"
EMIT, DRAIN = (str(TARGET / "examples" / name) for name in ("emit", "drain"))
PROGRAMS = {"sidecar": str(TARGET / "telemetry-sidecar"), "naive": str(TARGET / "examples" / "naive")}
# The limit of any single step, in seconds.
TIMEOUT = 120

_running = set()


class Failed(Exception):
    """A measurement that could not be made, in one line."""


@atexit.register
def kill_what_runs():
    for process in list(_running):
        process.kill()
        process.wait()
        _running.discard(process)


def sidecars():
    """Returns the names of the compared sidecars: the present one and, if there is one, the earlier one."""
    return [name for name in PROGRAMS if name != "naive"]


def wrappers():
    return [*sidecars(), "naive"]


def quiet(name):
    """Returns the words that start a wrapper which prints nothing of its own."""
    return [PROGRAMS[name], *([] if name == "naive" else ["-q"]), "--"]


@cache
def supports(name, option):
    """Returns whether a sidecar has this option: an earlier one may lack it."""
    done = subprocess.run([PROGRAMS[name], "--help"], capture_output=True, text=True)
    return option in done.stdout


def shown(words):
    """Returns a command for a message, without the folders of its program."""
    return " ".join([Path(words[0]).name, *words[1:]])


class Process:
    """A child whose cost is reported when it ends."""

    def __init__(self, words, **how):
        self.popen = subprocess.Popen(
            words, **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **how}
        )
        self.pid = self.popen.pid
        self.words = words
        _running.add(self.popen)

    def line(self):
        """Reads the next line of its output; an empty one if it ends or takes too long."""
        with self._limit():
            return self.popen.stdout.readline().decode()

    @contextlib.contextmanager
    def _limit(self):
        watchdog = threading.Timer(TIMEOUT, self.popen.kill)
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()

    def finish(self):
        """Waits for its end; returns the rest of its output and the CPU seconds of it and its children."""
        with self._limit():
            output = self.popen.stdout.read() if self.popen.stdout else b""
            _, status, usage = os.wait4(self.pid, 0)
        self._ended(os.waitstatus_to_exitcode(status))
        if self.popen.returncode:
            raise Failed(f"{shown(self.words)}: exit status {self.popen.returncode}")
        return output.decode(), usage.ru_utime + usage.ru_stime

    def kill(self):
        self.popen.kill()
        self._ended(self.popen.wait())

    def terminate(self):
        """Ends it with SIGTERM, so that it can end its own processes."""
        self.popen.terminate()
        with self._limit():
            self._ended(self.popen.wait())

    def _ended(self, status):
        self.popen.returncode = status
        _running.discard(self.popen)
        for file in (self.popen.stdin, self.popen.stdout):
            if file and not file.closed:
                file.close()


@dataclass
class Outcome:
    """The final reports of a worker, its wrapper and its subscribers."""

    worker: dict
    subscribers: list
    wrapper_cpu_s: float

    @property
    def delivered(self):
        return sum(one["events"] for one in self.subscribers)

    @property
    def seconds(self):
        """The time from the worker's first write to the last arrival."""
        return (max(one["last_ns"] for one in self.subscribers) - self.worker["start_ns"]) / 1e9


class Wrapped:
    """A worker behind the sidecar or the naive design, with subscribers. The worker waits for `begin`."""

    def __init__(self, wrapper, worker, subscribers=1, subscriber_options=(), options=()):
        words = [PROGRAMS[wrapper], *([] if wrapper == "naive" else options)]
        with tempfile.TemporaryDirectory() as directory:
            ready = Path(directory, "ready")
            words += ["--ready-file", str(ready), "--", *worker]
            self.process = Process(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
            port = self._port(ready)
        drain = [DRAIN, "--address", f"127.0.0.1:{port}", *subscriber_options]
        self.subscribers = [Process(drain, stdin=subprocess.PIPE) for _ in range(subscribers)]
        for subscriber in self.subscribers:
            if subscriber.line() != "subscribed\n":
                raise Failed(f"{shown(drain)}: could not subscribe")
        if subscriber_options:
            # The server reads controls after it has confirmed the subscription.
            time.sleep(0.1)

    def _port(self, ready):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if ready.exists() and (text := ready.read_text()).endswith("\n"):
                # Other lines have the addresses of exporters.
                return int(text.splitlines()[0])
            if self.process.popen.poll() is not None:
                break
            time.sleep(0.001)
        raise Failed(f"{shown(self.process.words)}: did not start")

    def begin(self):
        self.process.popen.stdin.write(b"\n")
        self.process.popen.stdin.close()

    def finish(self):
        output, cpu = self.process.finish()
        worker = json.loads(output)
        # This ends a stalled subscriber.
        for subscriber in self.subscribers:
            subscriber.popen.stdin.close()
        reports = [json.loads(subscriber.finish()[0]) for subscriber in self.subscribers]
        return Outcome(worker, reports, cpu - worker["cpu_ns"] / 1e9)

    def kill(self):
        for process in (*self.subscribers, self.process):
            process.kill()


def run_wrapped(wrapper, worker, **how):
    """Starts, runs and finishes a wrapped worker."""
    wrapped = Wrapped(wrapper, worker, **how)
    wrapped.begin()
    return wrapped.finish()


def running_seconds(pid):
    """Returns the CPU seconds of a process's running threads, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_mb(pid, field="VmRSS", file="status"):
    """Returns a field of /proc/PID/status or smaps_rollup in MB of 10^6 bytes; None if it has exited."""
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024 / 1e6
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def in_turn(runs, measures):
    """Returns lists of results by name. Measures alternate, so that other load affects all equally."""
    results = {name: [] for name in measures}
    for _ in range(runs):
        for name, measure in measures.items():
            results[name].append(measure())
    return results


def medians(results):
    """Returns the median of each key of the results, which are dictionaries."""
    keys = results[0].keys()
    return {key: statistics.median(result[key] for result in results) for key in keys}


def medians_in_turn(runs, measures):
    return {name: medians(results) for name, results in in_turn(runs, measures).items()}
