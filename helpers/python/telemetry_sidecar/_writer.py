"""Writing a line to stderr.

One line is one ``write(2)``, past ``sys.stderr`` and its buffer. A line of up to PIPE_BUF bytes is then never
mixed with what other threads and processes write, no lock can be held by another thread during a fork, and a
library that has replaced ``sys.stderr`` does not see it. Text that waits in the buffer of ``sys.stderr`` for
its newline is not flushed: it appears when it would have without telemetry, and the event does not end up in
the middle of its line."""

from __future__ import annotations

import os
from stat import S_ISCHR, S_ISFIFO
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

STDERR = 2

# How long a line waits for room on a stderr that does not block, in seconds.
PATIENCE = 1.0


class Writer:
    __slots__ = ("dropped", "fd", "is_forced", "is_full", "is_torn", "on", "sink")

    def __init__(self) -> None:
        self.on = False
        self.is_forced = False
        self.fd = STDERR
        self.sink: Optional[Callable[[bytes], None]] = None
        self.dropped = 0
        # Whether the last line found no room in time: then the next ones do not wait.
        self.is_full = False
        # Whether the last line was written in part.
        self.is_torn = False

    def write(self, line: bytes) -> None:
        """Writes a line, or counts it as dropped."""
        if self.sink is not None:
            self.sink(line)
            return
        try:
            written = self._takes_lines() and self._write(b"\n" + line if self.is_torn else line)
        except OSError:
            written = False
        if not written:
            self.dropped += 1

    def _takes_lines(self) -> bool:
        """Whether stderr can be a sidecar's. Descriptor 2 of a process that has closed its stderr may by now
        be a database, and a child's stderr may be redirected to a file."""
        if self.is_forced:
            return True
        mode = os.fstat(self.fd).st_mode
        return S_ISFIFO(mode) or S_ISCHR(mode)

    def _write(self, line: bytes) -> bool:
        try:
            length = os.write(self.fd, line)
        except BlockingIOError:
            length = 0
        if length != len(line):
            length = self._write_rest(line, length)
        self.is_torn = 0 < length < len(line) or self.is_torn and length == 0
        self.is_full = length != len(line)
        return not self.is_full

    def _write_rest(self, line: bytes, length: int) -> int:
        """Continues when a stderr that does not block has room again. Returns how much is written then."""
        if self.is_full and length == 0:
            return 0
        from select import POLLOUT, poll

        room = poll()
        room.register(self.fd, POLLOUT)
        end = monotonic() + PATIENCE
        while length < len(line):
            left = end - monotonic()
            if left <= 0 or not room.poll(left * 1000):
                break
            try:
                length += os.write(self.fd, line[length:])
            except BlockingIOError:
                continue
        return length


writer = Writer()
