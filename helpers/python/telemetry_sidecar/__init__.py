"""Prints telemetry for telemetry-sidecar: events, spans and metrics, one line of stderr each.

    from telemetry_sidecar import emit, span

    with span("tool.execution", tool="predict") as run:
        run.measure(rows=200)
    emit("cache.hit", {"bytes": 512}, {"key": "user-7"})

Nothing is printed unless a sidecar wraps the process: it sets ``TELEMETRY_SIDECAR=1``. No function here
raises because of its arguments or because of stderr, and none changes what the program prints."""

from ._context import correlation, correlation_id
from ._emit import count, emit, gauge
from ._span import Run, Span, span, timed
from ._switch import capture, dropped, enable, enabled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._binary import binary as binary
    from ._event import Event as Event
    from .handler import TelemetryHandler as TelemetryHandler
    from .snakepit import SnakepitBackend as SnakepitBackend

# Imported when they are used: they need modules that take milliseconds to load.
_LAZY = {
    "Event": "_event",
    "SnakepitBackend": "snakepit",
    "TelemetryHandler": "handler",
    "binary": "_binary",
}

__all__ = [
    "Event",
    "Run",
    "SnakepitBackend",
    "Span",
    "TelemetryHandler",
    "binary",
    "capture",
    "correlation",
    "correlation_id",
    "count",
    "dropped",
    "emit",
    "enable",
    "enabled",
    "gauge",
    "span",
    "timed",
]


def __getattr__(name: str) -> "Any":
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
