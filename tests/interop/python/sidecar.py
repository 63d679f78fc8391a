"""Starts the real binary, controls its worker, reads its counters, and always ends it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import grpc

from stubs import status, status_grpc
from subscriber import Subscriber
from waiting import TIMEOUT, wait_until

ROOT = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("SIDECAR", ROOT / "target/release/telemetry-sidecar")).resolve()
WORKERS = ROOT / "fixtures/workers"

# A worker that prints to stderr what the test writes to its stdin, until that ends.
ECHO = ("sh", "-c", "exec cat >&2")

# A subscriber that reads must get everything, however busy the machine; it ends the draining by leaving.
DEFAULT_OPTIONS = {"--drain-timeout": "60s", "--queue-capacity": "100000"}

CHANNEL_OPTIONS = [
    # Otherwise channels to the same target share a connection.
    ("grpc.use_local_subchannel_pool", 1),
    # Otherwise the authority of a unix target is its path, percent-encoded, which is no host's name.
    ("grpc.default_authority", "localhost"),
]


def fixture(name, *arguments):
    """The command line of a worker of fixtures/workers."""
    interpreter = sys.executable if name.endswith(".py") else "sh"
    return (interpreter, str(WORKERS / name), *map(str, arguments))


def python(script):
    """The command line of a worker that is a few lines of Python."""
    return (sys.executable, "-c", script)


def exits(code):
    """As ECHO, but a worker that ends with this exit code."""
    return ("sh", "-c", f"cat >&2; exit {code}")


def gated(command):
    """A worker that starts when the test says go()."""
    return ("sh", "-c", 'read -r go && exec "$@"', "gate", *command)


def steady(count, rate=0, size=0):
    """A gated worker that prints so many numbered events, by default as fast as it can."""
    return gated(fixture("steady.py", "--count", count, "--rate", rate, "--size", size))


class Sidecar:
    """A running sidecar with a worker."""

    def __init__(self, folder, command, options):
        self.folder = folder
        self.credentials = None  # without any, connections are plain
        self._channels = []
        self._subscribers = []
        ready_file = folder / "ready"
        words = [str(BINARY), "--ready-file", str(ready_file)]
        for name, value in (DEFAULT_OPTIONS | options).items():
            for one in value if isinstance(value, list) else [value]:
                words.append(name if one is True else f"{name}={one}")
        environment = {key: os.environ[key] for key in os.environ if not key.startswith("TELEMETRY_SIDECAR_")}
        with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
            self.process = subprocess.Popen(
                [*words, "--", *command], stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, env=environment
            )
        try:
            wait_until("the ready file", lambda: ready_file.exists() or self.process.poll() is not None)
            self.listeners = ready_file.read_text().split()
        except BaseException:
            self.reap()
            raise

    @property
    def port(self):
        return int(self.listeners[0])

    @property
    def target(self):
        """The first listener, as gRPC names it."""
        return self.listeners[0] if self.listeners[0].startswith("unix:") else f"127.0.0.1:{self.port}"

    # Being the worker

    def write(self, data):
        """Writes to the worker's stdin; an ECHO prints it to stderr."""
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def emit(self, event, count=0, correlation_id="", **fields):
        """Has an ECHO print an event with the measurement `count`."""
        event = {"event": event, "measurements": {"count": count}, "correlation_id": correlation_id} | fields
        self.write(f"TELEMETRY:{json.dumps(event)}\n".encode())

    def emit_and_wait(self, *events):
        """Has an ECHO print events of these names, and waits until the sidecar has evaluated them."""
        evaluated = self.status().stream.events + len(events)
        for event in events:
            self.emit(event)
        self.wait_for_events(evaluated)

    def wait_for_events(self, count):
        """Waits until the sidecar has evaluated so many events."""
        wait_until("the events to be read", lambda: self.status().stream.events == count)

    def go(self):
        """Starts a gated worker."""
        self.write(b"go\n")

    def end_worker(self):
        """Ends an ECHO by ending its stdin."""
        self.process.stdin.close()

    # Being a client

    def channel(self, target=None, options=()):
        """A connection of its own."""
        target, options = target or self.target, [*CHANNEL_OPTIONS, *options]
        if self.credentials:
            channel = grpc.secure_channel(target, self.credentials, options)
        else:
            channel = grpc.insecure_channel(target, options)
        self._channels.append(channel)
        return channel

    def subscribe(self, channel=None, **options):
        """A subscriber, with a connection of its own if none is given, once its subscription has begun.

        The options are those of `Subscriber`.
        """
        before = self._begun()
        subscriber = Subscriber(channel or self.channel(), **options)
        self._subscribers.append(subscriber)  # without a reference it would be cancelled
        wait_until("the subscription to begin", lambda: self._begun() > before)
        # Those who came before have lower numbers.
        subscriber.id = max(consumer.id for consumer in self.status().subscribers)
        return subscriber

    def _begun(self):
        """How many subscriptions have begun."""
        status = self.status()
        return len(status.subscribers) + status.departed_count

    def control(self, subscriber, *controls):
        """Sends controls one by one and waits until each is applied or refused."""
        for control in controls:
            before = self.account(subscriber)
            done = before.controls_applied + before.controls_refused + 1
            subscriber.send(control)
            wait_until("the control to be seen", lambda: self._controls_seen(subscriber) == done)

    def _controls_seen(self, subscriber):
        account = self.account(subscriber)
        return account.controls_applied + account.controls_refused

    def status(self):
        """The counters, which must balance."""
        if not hasattr(self, "_status"):
            self._status = status_grpc.SidecarStub(self.channel())
        counters = self._status.GetStatus(status.GetStatusRequest(), timeout=TIMEOUT, wait_for_ready=True)
        assert_balanced(counters)
        return counters

    def account(self, subscriber):
        """The counters of a connected subscriber."""
        [account] = [consumer for consumer in self.status().subscribers if consumer.id == subscriber.id]
        return account

    def worker_has_ended(self):
        return not self.status().worker.running

    def is_listening(self):
        """Whether it still accepts connections; it stops when all subscribers have been sent everything."""
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    # The end

    def wait(self):
        """Waits for the exit and returns the exit status, negative for a signal."""
        return self.process.wait(TIMEOUT)

    def stderr(self):
        """What the sidecar has written to stderr so far."""
        return (self.folder / "stderr").read_bytes()

    def reap(self):
        """Closes all connections and ends the process with its worker."""
        for channel in self._channels:
            channel.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # the test wrote to a worker that had exited
        print(f"exit status {self.process.returncode}, stderr: {self.stderr()!r:.2000}")


def assert_balanced(counters):
    """Checks every equation of the counters."""
    stream = counters.stream
    accounted = stream.bytes_passed + stream.bytes_removed + stream.bytes_dropped + stream.bytes_held
    assert stream.bytes_read == accounted, counters
    bad = stream.malformed
    malformed = bad.json + bad.not_object + bad.event + bad.shape
    assert stream.telemetry_lines == stream.decoded + malformed + stream.oversized, counters
    assert stream.events == stream.decoded + stream.embedded, counters
    upstream = counters.upstream
    assert upstream.messages == upstream.events + upstream.malformed + upstream.oversized, counters
    assert counters.events == stream.events + upstream.events + counters.observed_events, counters
    assert stream.embedded_markers == stream.embedded + stream.embedded_malformed, counters
    backlog = counters.backlog
    assert backlog.taken_in == backlog.handed_over + backlog.dropped + backlog.waiting, counters
    for consumer in [*counters.subscribers, *counters.exporters, counters.departed]:
        evaluated = consumer.switched_off + consumer.filtered + consumer.sampled_out
        finished = consumer.delivered + consumer.dropped + consumer.abandoned
        assert consumer.offered == evaluated + finished + consumer.queued, counters
