"""Events as a program reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Union

PREFIX = b"TELEMETRY:"


@dataclass(frozen=True)
class Event:
    """One event.

    Measurements are numbers or text, metadata is text. ``timestamp_ns`` is in nanoseconds since the Unix
    epoch; of an event that is printed, 0 means the time at which the sidecar reads it. An empty
    ``correlation_id`` means that there is none."""

    name: str
    measurements: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    timestamp_ns: int = 0
    correlation_id: str = ""

    @classmethod
    def from_json(cls, text: Union[str, bytes]) -> Event:
        """The event of a line that ``tail --json``, ``decode`` or ``--export-jsonl`` has written."""
        fields: Dict[str, Any] = json.loads(text)
        return cls(
            name=fields["event"],
            measurements={key: _number(value) for key, value in fields.get("measurements", {}).items()},
            metadata=fields.get("metadata", {}),
            # decode has null where the line has no time.
            timestamp_ns=fields.get("timestamp_ns") or 0,
            correlation_id=fields.get("correlation_id", ""),
        )

    @classmethod
    def from_line(cls, line: bytes) -> Event:
        """The event of a worker's line, which starts with ``TELEMETRY:``."""
        return cls.from_json(line[len(PREFIX) :])

    def to_line(self) -> bytes:
        """The line that a worker prints for this event, with its newline. Raises TypeError or ValueError if
        there is none, as for a name that is no text."""
        __tracebackhide__ = True
        self._check()
        fields: Dict[str, Any] = {
            "event": self.name,
            "measurements": dict(self.measurements),
            "metadata": dict(self.metadata),
            "correlation_id": self.correlation_id,
        }
        if self.timestamp_ns:
            fields["timestamp_ns"] = self.timestamp_ns
        try:
            return PREFIX + json.dumps(fields).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise ValueError(f"Event {self.name!r}: {error}") from None

    def _check(self) -> None:
        __tracebackhide__ = True
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"the name of an Event must be text and not empty, not {self.name!r}")
        for field_name, value in (("measurements", self.measurements), ("metadata", self.metadata)):
            if not isinstance(value, AnyMapping):
                raise TypeError(f"Event {self.name!r}: {field_name} must be a dict, not {value!r}")
            for key in value:
                if not isinstance(key, str):
                    raise TypeError(f"Event {self.name!r}: a key of {field_name} must be text, not {key!r}")
        time = self.timestamp_ns
        if not isinstance(time, int) or not -(1 << 63) <= time < 1 << 63:
            raise ValueError(f"Event {self.name!r}: timestamp_ns must be nanoseconds (int64), not {time!r}")
        if not isinstance(self.correlation_id, str):
            raise TypeError(f"Event {self.name!r}: correlation_id must be text, not {self.correlation_id!r}")


def _number(value: Any) -> Any:
    """JSON has no NaN, so the sidecar's JSON lines have it as text."""
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value
