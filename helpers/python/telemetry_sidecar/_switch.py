"""Whether events are printed: decided by the environment, or by the program."""

from __future__ import annotations

import os
import sys

from ._writer import writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

    from ._event import Event

VARIABLE = "TELEMETRY_SIDECAR"


def _is_wrapped() -> bool:
    # Without a stderr at the start, descriptor 2 may be any file that was opened later.
    return os.environ.get(VARIABLE) == "1" and sys.__stderr__ is not None


def enabled() -> bool:
    """Whether events are printed. Use it to skip work that only telemetry needs."""
    return writer.on


def enable(on: Optional[bool] = True) -> None:
    """Prints events whatever the environment says, or prints none with ``False``.

    With ``True`` they go to descriptor 2 even if that is a file or a socket. ``None`` restores the default:
    events are printed if ``TELEMETRY_SIDECAR`` is ``1`` and stderr is a pipe or a terminal."""
    writer.is_forced = on is True
    writer.on = _is_wrapped() if on is None else bool(on)


def dropped() -> int:
    """How many events this process could not print: stderr was closed, full for a second, or no longer a pipe
    or a terminal, or an argument could not be used at all."""
    return writer.dropped


class capture:
    """Collects the events of a block instead of printing them, for tests of code that emits them.

        with telemetry_sidecar.capture() as events:
            work()
        assert [event.name for event in events] == ["work.start", "work.stop"]

    It applies to all threads of the process, whether a sidecar wraps it or not.
    """

    def __enter__(self) -> List[Event]:
        from ._event import Event

        events: List[Event] = []
        self._before = (writer.on, writer.sink)
        writer.sink = lambda line: events.append(Event.from_line(line))
        writer.on = True
        return events

    def __exit__(self, *_: object) -> None:
        writer.on, writer.sink = self._before


enable(None)
