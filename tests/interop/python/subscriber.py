"""A subscriber as a Python program would be one, and short names for what it sends and receives."""

import queue
import threading

import grpc

from stubs import bridge, bridge_grpc
from waiting import TIMEOUT

CLOSE = object()
STREAM_TELEMETRY = "/snakepit.bridge.BridgeService/StreamTelemetry"


def toggle(enabled):
    return bridge.TelemetryControl(toggle=bridge.TelemetryToggle(enabled=enabled))


def sampling(rate, *patterns):
    update = bridge.TelemetrySamplingUpdate(sampling_rate=rate, event_patterns=patterns)
    return bridge.TelemetryControl(sampling=update)


def filtering(allow=(), deny=()):
    return bridge.TelemetryControl(filter=bridge.TelemetryEventFilter(allow=allow, deny=deny))


def name(event):
    return ".".join(event.event_parts)


def names(events):
    return [name(event) for event in events]


def measurements(event):
    """The measured values by name; None where nothing is set."""
    kinds = {key: (value, value.WhichOneof("value")) for key, value in event.measurements.items()}
    return {key: getattr(value, kind) if kind else None for key, (value, kind) in kinds.items()}


def counts(events):
    """The numbers that `emit` and steady.py give their events."""
    return [event.measurements["count"].int_value for event in events]


class Subscriber:
    """An open StreamTelemetry call, with its response headers already here."""

    def __init__(self, channel, reads=True, raw_controls=False, controls_end=False, **call_options):
        """Opens the call and waits for the response headers.

        `reads=False` never takes an event; with `raw_controls=True` controls are bytes, sent as they are;
        `controls_end=True` closes the control side at once.
        """
        self.channel = channel
        self._controls = queue.SimpleQueue()
        controls = iter(()) if controls_end else iter(self._controls.get, CLOSE)
        if raw_controls:
            method = channel.stream_stream(STREAM_TELEMETRY, bytes, bridge.TelemetryEvent.FromString)
        else:
            method = bridge_grpc.BridgeServiceStub(channel).StreamTelemetry
        self.call = method(controls, wait_for_ready=True, **call_options)
        self.headers = dict(self.call.initial_metadata())
        self._arrived = queue.SimpleQueue()
        if reads:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for event in self.call:
                self._arrived.put(event)
        except grpc.RpcError:
            pass  # `rest` looks at the status
        self._arrived.put(None)

    def send(self, control):
        self._controls.put(control)

    def close_controls(self):
        self._controls.put(CLOSE)

    def leave(self):
        self.call.cancel()

    def next(self):
        """The next event."""
        event = self._arrived.get(timeout=TIMEOUT)
        assert event is not None, f"the stream has ended: {self.call}"
        return event

    def take(self, count):
        """The next so many events."""
        return [self.next() for _ in range(count)]

    def rest(self):
        """All events until the stream ends, which must be with status OK."""
        events = list(iter(lambda: self._arrived.get(timeout=TIMEOUT), None))
        assert self.call.code() == grpc.StatusCode.OK, self.call
        return events
