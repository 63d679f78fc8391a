"""Lines: whatever the values are, and never longer than PIPE_BUF."""

import datetime
import decimal
import enum
import fractions
import json
import pathlib
import types

import pytest

import telemetry_sidecar as telemetry
from telemetry_sidecar._line import encode


def fields(measurements=None, metadata=None, event="e", correlation_id=""):
    line = encode(event, measurements, metadata, 1, correlation_id)
    assert line.isascii() and line.endswith(b"\n") and line.count(b"\n") == 1 and len(line) <= 4096
    return json.loads(line[len("TELEMETRY:") :])


class Hostile:
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __iter__ = keys = __hash__ = __eq__ = __bool__ = __len__ = __str__


class Array:
    """Looks like an array or a scalar of NumPy."""

    def __init__(self, shape, values):
        self.shape, self.values, self.dtype = shape, values, "float32"

    def tolist(self):
        return self.values


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    def __str__(self):
        raise RuntimeError("no text")


recursive = []
recursive.append({"again": recursive})

VALUES = [
    # value, as a measurement, as metadata
    (5, 5, 5),
    (True, True, True),
    (1.5, 1.5, 1.5),
    (None, None, None),
    ("text\n\x00", "text\n\x00", "text\n\x00"),
    (float("inf"), float("inf"), float("inf")),
    (2**70, 2**70, 2**70),
    (10**5000, float("inf"), float("inf")),
    (-(10**5000), float("-inf"), float("-inf")),
    (decimal.Decimal("1.50"), 1.5, "1.50"),
    (decimal.Decimal("7"), 7, "7"),
    (decimal.Decimal("Infinity"), float("inf"), "Infinity"),
    (decimal.Decimal("sNaN"), "sNaN", "sNaN"),
    (fractions.Fraction(1, 4), 0.25, "1/4"),
    (datetime.timedelta(seconds=2), 2.0, "0:00:02"),
    (datetime.date(2026, 1, 2), "2026-01-02", "2026-01-02"),
    (pathlib.Path("/tmp/x"), "/tmp/x", "/tmp/x"),
    (b"ab\xff", "ab\\xff", "ab\\xff"),
    (memoryview(b"ab"), "ab", "ab"),
    ({3, 1, 2}, [1, 2, 3], [1, 2, 3]),
    (frozenset({1, "a"}), None, None),
    ((1, (2,)), [1, [2]], [1, [2]]),
    (types.MappingProxyType({1: {2}}), {"1": [2]}, {"1": [2]}),
    (Colour.RED, "red", "red"),
    (Level.HIGH, 3, 3),
    (Text("abc"), "abc", "abc"),
    (Array((), 2.5), 2.5, 2.5),
    (Array((2, 2), [[1, 2], [3, 4]]), [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
    (Array((1000, 1000), None), *["<Array of shape (1000, 1000), float32>"] * 2),
    (Hostile(), "<Hostile>", "<Hostile>"),
    (recursive, None, None),
    (Ellipsis, "Ellipsis", "Ellipsis"),
    (int, "<class 'int'>", "<class 'int'>"),
]


@pytest.mark.parametrize(("value", "measurement", "metadata"), VALUES, ids=lambda value: type(value).__name__)
def test_values(value, measurement, metadata):
    # Beside a value of another kind, which takes the slower way.
    for others in ({}, {"\ud800": {(1, 2): recursive}}):
        event = fields({"key": value, **others}, {"key": value, **others})
        if measurement is not None or value is None:
            assert event["measurements"]["key"] == measurement
            assert event["metadata"]["key"] == metadata


def test_nan_is_a_number():
    assert b'"measurements":{"a":NaN}' in encode("e", {"a": float("nan")}, None, 1, "")
    assert b'"measurements":{"a":NaN}' in encode("e", {"a": decimal.Decimal("NaN")}, None, 1, "")


@pytest.mark.parametrize(
    ("key", "expected"), [("duration", 1_500_000), ("duration_ms", 2), ("other", 0.0015)]
)
def test_a_timedelta_has_the_unit_of_its_key(key, expected):
    assert fields({key: datetime.timedelta(microseconds=1500)})["measurements"] == {key: expected}


def test_numpy():
    numpy = pytest.importorskip("numpy")
    values = {
        "i": numpy.int64(5),
        "f": numpy.float32(0.5),
        "d": numpy.float64(0.25),
        "b": numpy.bool_(True),
        "a": numpy.arange(3),
        "l": numpy.zeros((100, 100)),
        "n": numpy.float32("nan"),
    }
    event = fields(values, values)
    text = "<ndarray of shape (100, 100), float64>"
    expected = {"i": 5, "f": 0.5, "d": 0.25, "b": True, "a": [0, 1, 2], "l": text}
    for key in ("measurements", "metadata"):
        assert event[key].pop("n") != event[key]
        assert event[key] == expected


@pytest.mark.parametrize("odd", [5, "text", [1], [("a", 1)], Hostile(), Array((), 1), object(), {Hostile: 1}])
def test_arguments_of_the_wrong_kind(odd):
    fields(odd, odd, odd, "c")
    with telemetry.capture() as events:
        before = telemetry.dropped()
        telemetry.emit(odd, odd, odd, odd)
        telemetry.gauge(odd, odd)
        telemetry.count(odd, odd)
        with telemetry.span(odd, a=odd), telemetry.correlation(odd):
            pass
        assert (telemetry.dropped(), len(events)) == (before, 5)
    assert fields([("a", 1)], 5)["measurements"] == {"a": 1}


def test_an_event_without_a_name_is_none():
    with telemetry.capture() as events:
        before = telemetry.dropped()
        telemetry.emit("")
        telemetry.emit(None)
        telemetry.gauge(None, 1)
        telemetry.count("")
        for operation in (None, "", b""):
            with telemetry.span(operation) as run:
                run.measure(rows=1)
        assert telemetry.timed(None, tool="x")(lambda: 5)() == 5
    assert (events, telemetry.dropped() - before) == ([], 8)


def test_metadata_is_dropped_from_the_end():
    metadata = {"first": "a", "second": "b" * 2000, "third": "c" * 2000, "fourth": "d"}
    event = fields({"n": 1}, metadata)
    assert event["metadata"] == {"first": "a", "second": "b" * 2000, "telemetry_sidecar.dropped": "2"}
    assert event["measurements"] == {"n": 1}


def test_lines_are_as_long_as_they_may_be():
    for length in range(3900, 4100):
        metadata = {"first": "1", "long": "x" * length}
        event = fields({"n": 1}, metadata)["metadata"]
        assert event in (metadata, {"first": "1", "telemetry_sidecar.dropped": "1"})
    longest = max(
        length for length in range(3900, 4100) if "long" in fields(None, {"long": "x" * length})["metadata"]
    )
    assert len(encode("e", None, {"long": "x" * longest}, 1, "")) == 4096


def test_whatever_is_long():
    long = "\U0001f600" * 5000
    event = fields({long: long, "a": 1}, {long: long}, long, long)
    assert event["measurements"] == {} and event["metadata"] == {"telemetry_sidecar.dropped": "3"}
    assert (event["event"], event["correlation_id"]) == (long[:128], long[:128])
    assert fields({f"k{n}": n for n in range(5000)})["measurements"]["k0"] == 0
    with telemetry.capture() as events:
        with pytest.raises(ValueError), telemetry.span("s", **{f"k{n}": n for n in range(5000)}) as run:
            raise ValueError(long)
    assert all(event.metadata["span_id"] == run.span_id for event in events)


def test_gauges_and_counts():
    with telemetry.capture() as events:
        telemetry.gauge("queue.depth", 5, queue="a")
        telemetry.gauge("loss", 0.5)
        telemetry.gauge("end.", 1)
        telemetry.count("cache.hit")
        telemetry.count("cache.hit", 3, key="k")
        telemetry.gauge("queue.depth", value=5, name="a")
        telemetry.count("cache.hit", number=3, name="a")
    assert [(event.name, event.measurements, event.metadata) for event in events] == [
        ("queue", {"depth": 5}, {"queue": "a"}),
        ("loss", {"value": 0.5}, {}),
        ("end.", {"value": 1}, {}),
        ("cache.hit", {"count": 1}, {}),
        ("cache.hit", {"count": 3}, {"key": "k"}),
        ("queue", {"depth": 5}, {"name": "a"}),
        ("cache.hit", {"count": 3}, {"name": "a"}),
    ]
