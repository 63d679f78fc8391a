"""Values as JSON can express them, whatever they are. Nothing here raises, and no result is large.

Types of other libraries (NumPy, PyTorch, pandas) are recognized by their methods, and so are those of the
standard library that take long to import."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

# The longest text in a value that JSON cannot express, in characters, and the most items in one container.
MAX_TEXT = 4096
MAX_ITEMS = 256
# Containers within containers; what is deeper becomes text.
MAX_DEPTH = 8

_NANOSECONDS = {"duration": 1_000_000_000, "duration_ms": 1_000}


def text(value: Any) -> str:
    """The value as text: names, correlation ids, error messages. None is empty."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    try:
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value[:MAX_TEXT]).decode("utf-8", "backslashreplace")
        if isinstance(value, os.PathLike):
            return text(os.fspath(value))
        words = str(value)
        return str.__str__(words)[:MAX_TEXT]
    except Exception:
        return f"<{type.__getattribute__(type(value), '__name__')}>"


def number_or_fail(value: Any) -> Any:
    """A measurement that JSON cannot express. A time raises TypeError: its unit depends on its key."""
    if hasattr(value, "total_seconds"):
        raise TypeError
    return number(value)


def number(value: Any) -> Any:
    """A measurement as a number if it is one, and otherwise as a value of JSON."""
    try:
        # Decimal, Fraction.
        is_ratio = hasattr(value, "as_integer_ratio") and not hasattr(value, "shape")
        if is_ratio and not isinstance(value, (int, float)):
            return int(value) if value == int(value) else float(value)
    except Exception:
        # An infinite number or NaN.
        return _converted(value, text(value))
    plain = plain_value(value)
    if type(plain) is str and not isinstance(value, (str, bytes)):
        return _converted(value, plain)
    return plain


def _converted(value: Any, otherwise: Any) -> Any:
    """A number of another library."""
    try:
        return _integer(operator.index(value))
    except Exception:
        pass
    try:
        return _float(value)
    except Exception:
        return otherwise


def plain_value(value: Any, depth: int = MAX_DEPTH) -> Any:
    """The value made of what JSON can express."""
    try:
        return _plain(value, depth)
    except Exception:
        return text(value)


def plain_mapping(mapping: Any) -> Dict[str, Any]:
    """Metadata with keys that are text."""
    if mapping is None:
        return {}
    try:
        # Copied first: another thread may change it meanwhile.
        items = dict(mapping).items()
    except Exception:
        return {"value": plain_value(mapping)}
    return {text(key): plain_value(value) for key, value in items}


def plain_measurements(mapping: Any) -> Dict[str, Any]:
    """Measurements with keys that are text."""
    if mapping is None:
        return {}
    try:
        items = dict(mapping).items()
    except Exception:
        return {"value": number(mapping)}
    return {text(key): _measurement(text(key), value) for key, value in items}


def _measurement(key: str, value: Any) -> Any:
    if hasattr(value, "total_seconds"):
        # A timedelta, in the unit that consumers expect of this key, and in seconds for all others.
        scale = _NANOSECONDS.get(key)
        return value.total_seconds() if scale is None else round(value.total_seconds() * scale)
    return number(value)


def _plain(value: Any, depth: int) -> Any:
    if value is None or type(value) in (bool, float, str):
        return value
    if isinstance(value, Enum):
        return text(value) if depth <= 0 else _plain(value.value, depth - 1)
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, (str, bytes, bytearray, memoryview, os.PathLike)):
        return text(value)
    if depth <= 0:
        return text(value)
    if isinstance(value, Mapping):
        items = list(dict(value).items())[:MAX_ITEMS]
        return {text(key): plain_value(item, depth - 1) for key, item in items}
    if isinstance(value, (list, tuple)):
        return [plain_value(item, depth - 1) for item in value[:MAX_ITEMS]]
    if isinstance(value, (set, frozenset)):
        return [plain_value(item, depth - 1) for item in _in_order(value)[:MAX_ITEMS]]
    if hasattr(value, "shape") and hasattr(value, "tolist"):
        return _array(value, depth)
    if hasattr(value, "isoformat"):
        return text(value.isoformat())
    return text(value)


def _integer(value: int) -> Any:
    """An int, unless it is too large for JSON's readers: Python writes none of more than 4,300 digits."""
    exact = int.__int__(value)
    return exact if exact.bit_length() <= 1024 else _float(exact)


def _float(value: Any) -> float:
    try:
        return float.__float__(float(value))
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _in_order(values: Any) -> list[Any]:
    in_some_order: list[Any] = list(values)
    try:
        return sorted(in_some_order)
    except Exception:
        return in_some_order


def _array(value: Any, depth: int) -> Any:
    """An array or scalar of NumPy or a library like it: its values, or of many only how many."""
    items = 1
    for length in value.shape:
        items *= int(length)
    if items > MAX_ITEMS:
        shape = tuple(int(length) for length in value.shape)
        return f"<{type(value).__name__} of shape {shape}, {text(getattr(value, 'dtype', ''))}>"
    return plain_value(value.tolist(), depth - 1)
