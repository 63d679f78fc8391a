"""Events."""

from __future__ import annotations

from time import time_ns

from ._context import current
from ._line import encode
from ._values import plain_mapping, text
from ._writer import writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Optional


def emit(
    event: str,
    measurements: Optional[Mapping[str, Any]] = None,
    metadata: Optional[Mapping[str, Any]] = None,
    correlation_id: Optional[str] = "",
) -> None:
    """Prints an event.

    Numbers belong into ``measurements``: a ``duration`` is in nanoseconds, other keys become gauges. Without
    a ``correlation_id`` the event has the one in force, and it belongs to the open span. A line longer than
    4,096 bytes loses its last metadata; ``telemetry_sidecar.dropped`` there is the number of keys that are
    missing.

    No value makes it raise, and an event without a name is counted as dropped. Only wrong arguments, as in
    ``emit(bytes=5)``, are a TypeError, with a sidecar and without one."""
    if not writer.on:
        return
    try:
        id = correlation_id if type(correlation_id) is str else text(correlation_id)
        scope = current.get()
        if scope is not None:
            id = id or scope.correlation_id
            if scope.span_id and id == scope.correlation_id:
                metadata = _within(scope.span_id, metadata)
        write(event, measurements, metadata, id)
    except Exception:
        writer.dropped += 1


def gauge(name: str, /, value: Any, **metadata: Any) -> None:
    """Prints the value of a metric: ``gauge("queue.depth", 5)``.

    It is an event ``queue`` with the measurement ``depth``, which exporters call ``queue.depth``. A name
    without a dot has the measurement ``value``. Like :func:`emit` it never raises because of a value."""
    if not writer.on:
        return
    try:
        event, dot, key = text(name).rpartition(".")
        if not event or not key:
            event, key = event + dot + key, "value"
        emit(event, {key: value}, metadata)
    except Exception:
        writer.dropped += 1


def count(name: str, /, number: Any = 1, **metadata: Any) -> None:
    """Prints that something happened, ``number`` times: an event with the measurement ``count``.

    Exporters count events by name. For the sum of the numbers use ``--metric-kind 'NAME.count=counter'``.
    Like :func:`emit` it never raises because of a value."""
    if writer.on:
        emit(name, {"count": number}, metadata)


def write(
    event: str,
    measurements: Optional[Mapping[str, Any]],
    metadata: Optional[Mapping[str, Any]],
    correlation_id: str,
) -> None:
    """Prints an event exactly as it is."""
    line = encode(event, measurements, metadata, time_ns(), correlation_id)
    if line:
        writer.write(line)
    else:
        writer.dropped += 1


def _within(span_id: str, metadata: Optional[Mapping[str, Any]]) -> Mapping[str, Any]:
    # First, so that it is the last to be dropped.
    return {"span_id": span_id, **(metadata if type(metadata) is dict else plain_mapping(metadata))}
