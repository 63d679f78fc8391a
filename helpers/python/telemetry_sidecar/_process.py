"""A running sidecar, as tests start it."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, List, Mapping, Optional, Sequence

from . import _arguments
from ._arguments import StrPath
from ._binary import VARIABLE, binary
from ._event import Event

# Until the sidecar serves, until a wait gives up, and until a stopped sidecar is killed, in seconds.
START_TIMEOUT = 30.0
WAIT_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0

_LOOK = 0.01


class SidecarError(AssertionError):
    """The sidecar did not do what the test waits for. The message has its command line, status, events and
    stderr."""

    # Where tests import it from, for the message of a failed test.
    __module__ = "telemetry_sidecar.testing"


class Process:
    """A running sidecar. stdout and stderr go to files, so that no amount of output makes it wait.

    ``address`` is that of the gRPC server."""

    def __init__(
        self,
        folder: Path,
        own: Sequence[str],
        arguments: Sequence[str],
        env: Optional[Mapping[str, str]],
        cwd: Optional[StrPath],
        stdin: Optional[int],
    ) -> None:
        __tracebackhide__ = True
        self._folder = folder
        serving = ["--listen", "127.0.0.1:0", "--ready-file", str(folder / "ready")]
        self._command = [binary(), *own, *serving, *arguments]
        _arguments.check_cwd(cwd)
        environment = dict(_arguments.environment(env))
        # Its own configuration is the options alone, whatever the shell that runs the tests exports.
        for name in list(environment):
            if name.startswith("TELEMETRY_SIDECAR_") and name != VARIABLE:
                del environment[name]
        with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
            self.process = subprocess.Popen(
                self._command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, cwd=cwd
            )
        self.address = ""
        self._metrics_address = ""
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
            # Ports: of this class's own listener, of those of the test, and "prometheus PORT".
            first, *others = (self._folder / "ready").read_text().splitlines()
        except FileNotFoundError:
            return False
        self.address = f"127.0.0.1:{first}"
        for name, _, port in (other.partition(" ") for other in others):
            if name == "prometheus":
                self._metrics_address = f"127.0.0.1:{port}"
        return True

    @property
    def metrics_address(self) -> str:
        """The address of the page for Prometheus. Raises SidecarError without the option for it."""
        __tracebackhide__ = True
        if not self._metrics_address:
            raise self._error('there is no page: add the options "--export-prometheus", "127.0.0.1:0"')
        return self._metrics_address

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
        __tracebackhide__ = True
        name = _arguments.name(name)
        return [event for event in self.events if event.name == name]

    def wait(self, timeout: float = WAIT_TIMEOUT) -> int:
        """Waits until it has ended and returns the exit status. Raises SidecarError after ``timeout``
        seconds."""
        __tracebackhide__ = True
        try:
            return self.process.wait(_arguments.seconds(timeout))
        except subprocess.TimeoutExpired:
            raise self._error(f"the sidecar has not ended within {timeout:g} s") from None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal, SIGTERM unless another is given, waits for the end and returns the exit status.
        After ten seconds it is killed. Of a sidecar that has ended it only returns the status."""
        __tracebackhide__ = True
        number = _arguments.signal_number(number)
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
