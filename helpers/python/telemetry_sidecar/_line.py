"""The line of an event: ``TELEMETRY:`` and JSON, in ASCII."""

from __future__ import annotations

from json import JSONEncoder

from ._values import number_or_fail, plain_mapping, plain_measurements, plain_value, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Mapping, Optional

# PIPE_BUF: a line of up to this many bytes is written at once or not at all.
MAX_BYTES = 4096

# Metadata of an event whose line was too long: how many keys are missing.
DROPPED = "telemetry_sidecar.dropped"

# Of an event's name and its correlation id in a line that is too long, in characters: escaped, both fit
# together.
MAX_NAME = 128

_SEPARATORS = (",", ":")
_json = JSONEncoder(separators=_SEPARATORS).encode
_measurements = JSONEncoder(separators=_SEPARATORS, default=number_or_fail).encode
_metadata = JSONEncoder(separators=_SEPARATORS, default=plain_value).encode


def encode(
    event: str,
    measurements: Optional[Mapping[str, Any]],
    metadata: Optional[Mapping[str, Any]],
    timestamp_ns: int,
    correlation_id: str,
) -> bytes:
    """The whole line, empty if the event has no name."""
    name = event if type(event) is str else text(event)
    if not name:
        return b""
    id = correlation_id if type(correlation_id) is str else text(correlation_id)
    try:
        numbers = _measurements({} if measurements is None else measurements)
        words = _metadata({} if metadata is None else metadata)
    except Exception:
        # Something that JSON cannot express: keys that are no text, cycles, numbers of thousands of digits.
        numbers = words = ""
    if numbers[:1] != "{" or words[:1] != "{":
        measurements = plain_measurements(measurements)
        metadata = plain_mapping(metadata)
        numbers, words = _json(measurements), _json(metadata)
    line = _line(name, numbers, words, timestamp_ns, id)
    if len(line) > MAX_BYTES:
        line = _cut(name, plain_measurements(measurements), plain_mapping(metadata), timestamp_ns, id)
    return line.encode("ascii")


def _line(name: str, measurements: str, metadata: str, timestamp_ns: int, correlation_id: str) -> str:
    return (
        f'TELEMETRY:{{"event":{_json(name)},"measurements":{measurements},"metadata":{metadata},'
        f'"timestamp_ns":{timestamp_ns},"correlation_id":{_json(correlation_id)}}}\n'
    )


def _cut(
    name: str, measurements: Dict[str, Any], metadata: Dict[str, Any], timestamp_ns: int, correlation_id: str
) -> str:
    """The same without as much of its metadata, from the last key on, as is too long; if that is not enough,
    of its measurements, too."""
    name, correlation_id = name[:MAX_NAME], correlation_id[:MAX_NAME]
    mark = f'{_json(DROPPED)}:"{len(measurements) + len(metadata)}"'
    room = MAX_BYTES - len(_line(name, "{}", "{}", timestamp_ns, correlation_id)) - len(mark) - 1
    numbers, room = _items_within(measurements, room)
    words, room = _items_within(metadata, room)
    missing = len(measurements) - len(numbers) + len(metadata) - len(words)
    if missing:
        words.append(f'{_json(DROPPED)}:"{missing}"')
    return _line(name, _object(numbers), _object(words), timestamp_ns, correlation_id)


def _items_within(mapping: Dict[str, Any], room: int) -> tuple[list[str], int]:
    """As many of the first items as there is room for, and how much of it is left."""
    items = []
    for key, value in mapping.items():
        item = f"{_json(key)}:{_json(value)}"
        if len(item) + 1 > room:
            break
        room -= len(item) + 1
        items.append(item)
    return items, room


def _object(items: list[str]) -> str:
    return "{" + ",".join(items) + "}"
