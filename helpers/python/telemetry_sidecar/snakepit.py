"""A backend for Snakepit's own telemetry in Python.

``snakepit_bridge.telemetry.set_backend(SnakepitBackend())`` in the module of the adapter.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

from ._emit import emit


class SnakepitBackend:
    """Prints the events of ``snakepit_bridge.telemetry`` for the sidecar.

    The same as Snakepit's ``StderrBackend`` for events that it can print, and those that it cannot: values of
    NumPy, paths, sets, lines that other threads would tear. Without a sidecar it prints nothing."""

    def emit(
        self,
        event_name: str,
        measurements: Dict[str, Any],
        metadata: Optional[Dict[str, Any]] = None,
        correlation_id: Optional[str] = None,
    ) -> None:
        """Prints an event."""
        emit(event_name, measurements, metadata, correlation_id)

    def close(self) -> None:
        """Does nothing: every event is printed at once."""
