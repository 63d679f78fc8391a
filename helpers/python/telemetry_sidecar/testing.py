"""Running the sidecar in tests: a wrapped command, or the replay of a log.

The fixtures ``telemetry_sidecar`` and ``telemetry_replay`` of the pytest plugin start these and stop them.
They need the program telemetry-sidecar and nothing else: events are read from its JSON lines, without gRPC.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Callable, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from . import _arguments
from ._arguments import StrPath
from ._binary import binary
from ._event import PREFIX, Event
from ._process import WAIT_TIMEOUT, Process, SidecarError

# Options of a replay that say what an event is: decode has them, too.
_DECODING = ("--embedded", "--max-line-bytes")

__all__ = ["Event", "Replay", "Sidecar", "SidecarError"]


class Sidecar(Process):
    """A command wrapped by the sidecar. ``address`` serves its events over gRPC.

    ``folder`` is for its files: one that exists, and another one for each Sidecar and Replay."""

    def __init__(
        self,
        folder: StrPath,
        command: Sequence[StrPath],
        options: Sequence[str] = (),
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[StrPath] = None,
        stdin: Optional[int] = subprocess.DEVNULL,
    ) -> None:
        __tracebackhide__ = True
        folder = Path(folder)
        self._read: Tuple[int, List[Event]] = (0, [])
        own = ["-q", "--export-jsonl", str(folder / "events")]
        # A second sidecar would append to the events of the first one.
        _arguments.check_folder(folder)
        arguments = [*_arguments.options(options), "--", *_arguments.words(command)]
        super().__init__(folder, own, arguments, env, cwd, _arguments.stdin(stdin))

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
        count, timeout = _arguments.count(count), _arguments.seconds(timeout)
        if callable(event):
            matches, wanted = event, f"that fulfil {getattr(event, '__qualname__', event)}"
        else:
            name = _arguments.name(event, " or a condition, such as lambda event: …")
            matches, wanted = (lambda each: each.name == name), repr(name)
        found: List[Event] = []

        def is_done() -> bool:
            has_ended = self.returncode is not None
            found[:] = filter(matches, self.events)
            return has_ended or len(found) >= count

        self._until(is_done, timeout, f"there are {count} events {wanted}")
        if len(found) < count:
            hint = ""
            if PREFIX.decode() in self.stdout:
                hint = "; stdout has lines with TELEMETRY:, but only stderr is read: print events to stderr"
            raise self._error(f"{len(found)} of {count} events {wanted} until the worker's end{hint}")
        return list(found)

    def report(self) -> str:
        last = self.events[-20:]
        events = [f"{event.name} {event.measurements} {event.metadata}"[:200] for event in last]
        return "\n".join([super().report(), f"--- the last {len(events)} events", *events])


class Replay(Process):
    """A log served as if a worker wrote it. ``address`` is that of the gRPC server: it waits for a
    subscriber, gives it every event, and ends when the subscriber has closed its connection."""

    def __init__(
        self,
        folder: StrPath,
        log: Union[StrPath, Iterable[Union[Event, bytes, str]]],
        options: Sequence[str] = (),
        timeout: float = WAIT_TIMEOUT,
        allow_empty: bool = False,
    ) -> None:
        __tracebackhide__ = True
        folder = Path(folder)
        _arguments.check_folder(folder)
        self._log = _arguments.log_path(log, folder / "log")
        self._events: Optional[List[Event]] = None
        options = _arguments.options(options)
        limit = f"--timeout={max(1, round(1000 * _arguments.seconds(timeout)))}ms"
        arguments = [*options, "--", self._log]
        self._decode = [binary(), "decode", *_arguments.named(_DECODING, options), "--", self._log]
        own = ["replay", "-q", "--no-stderr", limit]
        super().__init__(folder, own, arguments, None, None, subprocess.DEVNULL)
        # Afterwards, because the program explains a log that it cannot read.
        if not allow_empty and os.path.isfile(self._log):
            self._check_events()

    def _check_events(self) -> None:
        """Raises SidecarError if the log has no event. A large log is not read to its end."""
        __tracebackhide__ = True
        with subprocess.Popen(self._decode, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as decode:
            assert decode.stdout is not None and decode.stderr is not None
            if decode.stdout.read(1):
                decode.kill()
                return
            reason = decode.stderr.read().decode(errors="replace").strip()
        self.stop()
        raise self._error(
            f"the log has no event: {reason}; a log is a worker's stderr, as --record writes it; if this one "
            "has no event on purpose, add allow_empty=True"
        )

    @property
    def events(self) -> List[Event]:
        """The events of the log: what a subscriber receives without a filter."""
        if self._events is None:
            output = subprocess.run(self._decode, capture_output=True, check=False)
            if output.returncode != 0:
                raise self._error(f"the log cannot be read: {output.stderr.decode(errors='replace').strip()}")
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
