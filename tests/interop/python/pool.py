"""A pool with one worker: step by step what Snakepit 0.13 does with a worker that it starts."""

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc

from gun import CallFailed, Connection
from sidecar import BINARY
from stubs import status, status_grpc
from subscriber import toggle
from waiting import TIMEOUT, wait_until

POLL_SECONDS = 0.05
# Snakepit's are 2 s apart.
HEARTBEAT_SECONDS = 0.1
CONTROL_SECONDS = 2
DEADLINE = ("grpc-timeout", "5S")

# Workers, as arguments of the interpreter: one that serves gRPC, and one that prints to stderr what it reads.
BRIDGE = (Path(__file__).with_name("bridge_worker.py"),)
PRINTER = ("-c", "import os\nwhile data := os.read(0, 65536): os.write(2, data)")


def interpreter(folder, *options):
    """The script of docs/snakepit.md for `python_executable`, with this interpreter and these options."""
    document = Path(__file__).parents[3] / "docs/snakepit.md"
    documented = re.search(r"```sh\n(#!/bin/sh\n.*?)```", document.read_text(), re.DOTALL)[1]
    words = " ".join([str(BINARY), *(f"'{option}'" for option in options)])
    script = Path(folder) / "python-with-sidecar"
    replaced = documented.replace("telemetry-sidecar --snakepit", words).replace("python3", sys.executable)
    script.write_text(replaced)
    script.chmod(0o755)
    return script


class Pool:
    """A pool of one worker. As a context manager it leaves no process behind."""

    process = None

    def __init__(self, folder, executable, *arguments):
        """`arguments` come before those that a pool appends: the worker's script and its own."""
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.executable = str(executable)
        self.arguments = [str(argument) for argument in arguments]
        self.ready_file = self.folder / f"snakepit_ready_{secrets.token_hex(4)}"
        self.appended = ["--port", "0", "--elixir-address", "localhost:50051"]
        self.appended += ["--snakepit-run-id", "1a2b3c4d", "--snakepit-instance-name", "interop"]
        self.appended += ["--snakepit-instance-token", "0123456789abcdef"]
        self.given_environment = {
            "SNAKEPIT_PROCESS_GROUP": "1",
            "SNAKEPIT_HEARTBEAT_CONFIG": '{"enabled":true,"interval_ms":2000,"max_missed_heartbeats":3}',
            "SNAKEPIT_LOG_LEVEL": "error",
            "SNAKEPIT_PYTHON": self.executable,
        }
        self.output = b""
        self.connection = None
        self.heartbeats = []  # how long each took, in seconds
        self.events = []
        self.telemetry_end = None
        self._stopping = threading.Event()
        self._threads = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stopping.set()
        if self.connection:
            self.connection.close()
        if not self.process:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        for thread in self._threads:
            thread.join(TIMEOUT)
        print(f"exit status {self.process.returncode}, output: {self.output!r:.2000}")

    # Start

    def probe_version(self):
        """The output of the command that asks for the interpreter's version, without a worker's variables."""
        words = [self.executable, "-c", "import sys; print(sys.version.split()[0])"]
        outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.run(words, env=plain_environment(), timeout=TIMEOUT, check=True, **outputs).stdout

    def spawn(self):
        """Starts the worker as an Erlang port does: in a session of its own, stderr to stdout."""
        environment = plain_environment() | self.given_environment
        environment |= {"SNAKEPIT_READY_FILE": str(self.ready_file), "PYTHONPATH": str(Path(__file__).parent)}
        self.process = subprocess.Popen(
            [self.executable, *self.arguments, *self.appended],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        self._run(self._read_output)

    def start(self):
        """Starts the worker, and goes on as a pool does when it has its port. Returns this pool."""
        self.spawn()
        self.connect(self.wait_for_port())
        self._run(self._send_heartbeats)
        return self

    def wait_for_port(self):
        """The port that stands first in the ready file, which is removed."""
        deadline = time.monotonic() + TIMEOUT
        while not self.ready_file.exists():
            assert self.process.poll() is None, f"exit status {self.process.returncode} during start"
            assert time.monotonic() < deadline, "no ready file"
            time.sleep(POLL_SECONDS)
        text = self.ready_file.read_text()
        self.ready_file.unlink()
        digits = text[: len(text) - len(text.lstrip("0123456789"))]
        assert digits, f"no port in {text!r}"
        return int(digits)

    def connect(self, port):
        self.port = port
        self.connection = Connection(port)
        assert self.call("Ping", message="connection_test").message == "connection_test"
        assert self.call("InitializeSession", session_id="default_session").success

    # Calls

    def call(self, method, **fields):
        return self.connection.call(method, **fields)

    def failure_of(self, method, **fields):
        """The CallFailed of a call that must fail."""
        try:
            self.connection.responses(method, **fields)
        except CallFailed as failed:
            return failed
        raise AssertionError(f"{method} has not failed")

    def tool(self, tool, **arguments):
        """The result of a tool of bridge_worker.py."""
        for name, value in arguments.items():
            arguments[name] = value if isinstance(value, bytes) else str(value).encode()
        response = self.call("ExecuteTool", tool_name=tool, binary_parameters=arguments)
        assert response.success
        return response.binary_result

    def state(self):
        """What bridge_worker.py sees of its surroundings."""
        return json.loads(self.tool("state"))

    def status(self):
        """The sidecar's counters."""
        with grpc.insecure_channel(f"localhost:{self.port}") as channel:
            return status_grpc.SidecarStub(channel).GetStatus(status.GetStatusRequest(), timeout=TIMEOUT)

    def write(self, data):
        """Writes to the worker's stdin."""
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def stream(self, count):
        """The chunks of a streaming call."""
        return self.connection.responses("ExecuteStreamingTool", tool_name=str(count), stream=True)

    def _send_heartbeats(self):
        while not self._stopping.wait(HEARTBEAT_SECONDS):
            began = time.monotonic()
            try:
                self.call("Heartbeat", session_id="default_session")
            except CallFailed:
                if not self._stopping.is_set():
                    self.heartbeats.append(None)
                return
            self.heartbeats.append(time.monotonic() - began)

    # Telemetry

    def open_telemetry(self):
        """Opens StreamTelemetry with a deadline of 5 s, switches it on, and then reads with no time limit."""
        self.telemetry = self.connection.open("StreamTelemetry", [DEADLINE])
        self.control(toggle(True))
        self._run(self._read_telemetry)

    def control(self, control):
        began = time.monotonic()
        self.telemetry.send(control)
        assert time.monotonic() - began < CONTROL_SECONDS

    def _read_telemetry(self):
        try:
            while event := self.telemetry.next(timeout=None):
                self.events.append(event)
            self.telemetry_end = "OK"
        except CallFailed as failed:
            self.telemetry_end = failed

    # The end

    def stop(self):
        """TERM, then KILL, to the group. Returns the exit status, negative for a signal."""
        self._stopping.set()
        os.killpg(self.process.pid, signal.SIGTERM)
        return self.wait()

    def wait(self):
        try:
            status = self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        wait_until("all processes to end", lambda: not self.processes())
        for thread in self._threads:
            thread.join(TIMEOUT)
        return status

    def processes(self):
        """The processes of the worker's session, which was made for it."""
        return [pid for pid in os.listdir("/proc") if pid.isdecimal() and session_of(pid) == self.process.pid]

    def _read_output(self):
        while data := os.read(self.process.stdout.fileno(), 65536):
            self.output += data

    def _run(self, function):
        thread = threading.Thread(target=function, daemon=True)
        thread.start()
        self._threads.append(thread)


def plain_environment():
    left_out = ("TELEMETRY_SIDECAR_", "SNAKEPIT_")
    return {key: os.environ[key] for key in os.environ if not key.startswith(left_out)}


def session_of(pid):
    """The session of a process that has not ended, or None."""
    try:
        # Behind the name, which may contain anything: state, parent, group, session.
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return None
    return int(session) if state not in "ZX" else None
