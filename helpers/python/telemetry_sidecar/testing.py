"""Running the sidecar in tests: a wrapped command, or the replay of a log.

The fixtures ``telemetry_sidecar`` and ``telemetry_replay`` of the pytest plugin start these and stop them.
They need the program telemetry-sidecar and nothing else: events are read from its JSON lines, without gRPC.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from ._binary import VARIABLE, binary
from ._event import Event

StrPath = Union[str, "os.PathLike[str]"]

__all__ = ["Event", "Replay", "Sidecar", "SidecarError"]

# Until the sidecar serves, until a wait gives up, and until a stopped sidecar is killed, in seconds.
START_TIMEOUT = 30.0
WAIT_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0

_LOOK = 0.01


class SidecarError(AssertionError):
    """The sidecar did not do what the test waits for. The message has its command line, status, events and
    stderr."""


class _Process:
    """A running sidecar. stdout and stderr go to files, so that no amount of output makes it wait."""

    def __init__(
        self,
        folder: Path,
        own: Sequence[str],
        arguments: Sequence[StrPath],
        env: Optional[Mapping[str, str]],
        cwd: Optional[StrPath],
        stdin: Optional[int],
    ) -> None:
        __tracebackhide__ = True
        self._folder = folder
        serving = ["--listen", "127.0.0.1:0", "--ready-file", str(folder / "ready")]
        self._command = [binary(), *own, *serving, *(os.fspath(argument) for argument in arguments)]
        environment = dict(os.environ if env is None else env)
        # Its own configuration is the options alone, whatever the shell that runs the tests exports.
        for name in list(environment):
            if name.startswith("TELEMETRY_SIDECAR_") and name != VARIABLE:
                del environment[name]
        with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
            self.process = subprocess.Popen(
                self._command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, cwd=cwd
            )
        self.address = ""
        try:
            self._until(lambda: self._ready() or self.returncode is not None, START_TIMEOUT, "it serves")
            # It may have written the file and ended meanwhile.
            if not self._ready():
                raise self._error("the sidecar has ended before it served")
        except BaseException:
            self.stop()
            raise

    def _ready(self) -> bool:
        try:
            port = (self._folder / "ready").read_text().strip()
        except FileNotFoundError:
            return False
        self.address = port if port.startswith("unix:") else f"127.0.0.1:{port}"
        return True

    @property
    def returncode(self) -> Optional[int]:
        """The exit status, negative if a signal has ended the process; None while it runs."""
        return self.process.poll()

    @property
    def stdout(self) -> str:
        """What was written to stdout so far."""
        return (self._folder / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What was written to stderr so far, without telemetry."""
        return (self._folder / "stderr").read_text(errors="replace")

    @property
    def events(self) -> List[Event]:
        raise NotImplementedError

    def named(self, name: str) -> List[Event]:
        """The events with this name so far."""
        return [event for event in self.events if event.name == name]

    def wait(self, timeout: float = WAIT_TIMEOUT) -> int:
        """Waits until it has ended and returns the exit status. Raises SidecarError after ``timeout``
        seconds."""
        __tracebackhide__ = True
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._error(f"the sidecar has not ended within {timeout:g} s") from None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal, SIGTERM unless another is given, waits for the end and returns the exit status.
        After ten seconds it is killed. Of a sidecar that has ended it only returns the status."""
        if self.returncode is None:
            self.process.send_signal(number)
            try:
                self.process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def report(self) -> str:
        """What the sidecar did, for the message of a failed test."""
        lines = [f"$ {' '.join(self._command)}", f"({self._status()})"]
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            if text:
                lines += [f"--- {name}", text.rstrip("\n")]
        return "\n".join(lines)

    def _error(self, what: str) -> SidecarError:
        return SidecarError(f"{what}\n{self.report()}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(self._command)} ({self._status()})>"

    def _status(self) -> str:
        return "runs" if self.returncode is None else f"ended with {self.returncode}"

    def _until(self, is_done: Callable[[], bool], timeout: float, what: str) -> None:
        __tracebackhide__ = True
        end = time.monotonic() + timeout
        while not is_done():
            if time.monotonic() > end:
                raise self._error(f"waited {timeout:g} s until {what}")
            time.sleep(_LOOK)


class Sidecar(_Process):
    """A command wrapped by the sidecar. ``address`` serves its events over gRPC."""

    def __init__(
        self,
        folder: Path,
        command: Sequence[StrPath],
        options: Sequence[str] = (),
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[StrPath] = None,
        stdin: Optional[int] = subprocess.DEVNULL,
    ) -> None:
        __tracebackhide__ = True
        self._read: Tuple[int, List[Event]] = (0, [])
        own = ["-q", "--export-jsonl", str(folder / "events")]
        super().__init__(folder, own, [*options, "--", *command], env, cwd, stdin)

    @property
    def events(self) -> List[Event]:
        """The events so far, in order; all of them once the sidecar has ended."""
        offset, events = self._read
        try:
            with open(self._folder / "events", "rb") as file:
                file.seek(offset)
                new = file.read()
        except FileNotFoundError:
            # It did not start.
            new = b""
        complete = new[: new.rfind(b"\n") + 1]
        events = [*events, *map(Event.from_json, complete.splitlines())]
        self._read = (offset + len(complete), events)
        return list(events)

    def wait_for(
        self, event: Union[str, Callable[[Event], object]], count: int = 1, timeout: float = WAIT_TIMEOUT
    ) -> List[Event]:
        """Waits until ``count`` events have this name, or fulfil this condition, and returns them.

        Raises SidecarError after ``timeout`` seconds, or if the worker has ended without them.
        """
        __tracebackhide__ = True
        matches = (lambda each: each.name == event) if isinstance(event, str) else event
        found: List[Event] = []

        def is_done() -> bool:
            has_ended = self.returncode is not None
            found[:] = filter(matches, self.events)
            return has_ended or len(found) >= count

        self._until(is_done, timeout, f"there are {count} events {event!r}")
        if len(found) < count:
            raise self._error(f"{len(found)} of {count} events {event!r} until the worker's end")
        return list(found)

    def report(self) -> str:
        last = self.events[-20:]
        events = [f"{event.name} {event.measurements} {event.metadata}"[:200] for event in last]
        return "\n".join([super().report(), f"--- the last {len(events)} events", *events])


class Replay(_Process):
    """A log served as if a worker wrote it. ``address`` is that of the gRPC server: it waits for a
    subscriber, gives it every event, and ends when the subscriber has closed its connection."""

    def __init__(
        self,
        folder: Path,
        log: Union[StrPath, Iterable[Union[Event, bytes, str]]],
        options: Sequence[str] = (),
        timeout: float = WAIT_TIMEOUT,
    ) -> None:
        __tracebackhide__ = True
        if not isinstance(log, (str, os.PathLike)):
            log = _written(folder / "log", log)
        self._log = os.fspath(log)
        self._events: Optional[List[Event]] = None
        own = ["replay", "-q", "--no-stderr", f"--timeout={timeout:g}s"]
        super().__init__(folder, own, [*options, self._log], None, None, subprocess.DEVNULL)

    @property
    def events(self) -> List[Event]:
        """The events of the log: what a subscriber receives without a filter."""
        if self._events is None:
            output = subprocess.run([binary(), "decode", self._log], capture_output=True, check=False)
            self._events = [Event.from_json(line) for line in output.stdout.splitlines()]
        return list(self._events)

    def wait(self, timeout: float = WAIT_TIMEOUT) -> int:
        """Waits until every event is delivered and the subscriber has closed its connection. Raises
        SidecarError if that fails."""
        __tracebackhide__ = True
        status = super().wait(timeout)
        if status != 0:
            late = " (not everything was delivered in time)" if status == 124 else ""
            raise self._error(f"the replay has ended with {status}{late}")
        return status


def _written(path: Path, lines: Iterable[Union[Event, bytes, str]]) -> Path:
    """A log of these events and lines."""
    with open(path, "wb") as file:
        for line in lines:
            if isinstance(line, Event):
                line = line.to_line()
            elif isinstance(line, str):
                line = line.encode()
            file.write(line.rstrip(b"\n") + b"\n")
    return path
