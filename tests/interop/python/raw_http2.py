"""A subscriber on an HTTP/2 library and a plain socket: it sees the raw headers, sends frames that no gRPC
library sends, and reads only on request."""

import socket
import struct

import h2.config
import h2.connection
import h2.events
import h2.settings
from hyperframe.frame import Frame, GoAwayFrame

from stubs import bridge
from subscriber import STREAM_TELEMETRY
from waiting import TIMEOUT

# As large as gun's, the HTTP/2 client of Snakepit.
WINDOW_BYTES = 8 * 1024 * 1024
FRAME_HEADER_BYTES = 9
MESSAGE_PREFIX = struct.Struct(">BI")


def message(control):
    """A framed control."""
    body = control.SerializeToString()
    return MESSAGE_PREFIX.pack(0, len(body)) + body


class FrameFilter:
    """Hands on everything but GOAWAY, after which the HTTP/2 library rejects other frames."""

    def __init__(self):
        self.saw_goaway = False
        self._unparsed = bytearray()

    def feed(self, data):
        """The complete frames so far that were not handed on yet."""
        self._unparsed += data
        taken, start = bytearray(), 0
        while len(self._unparsed) - start >= FRAME_HEADER_BYTES:
            header = bytes(self._unparsed[start : start + FRAME_HEADER_BYTES])
            frame, length = Frame.parse_frame_header(memoryview(header))
            end = start + FRAME_HEADER_BYTES + length
            if len(self._unparsed) < end:
                break
            if isinstance(frame, GoAwayFrame):
                self.saw_goaway = True
            else:
                taken += self._unparsed[start:end]
            start = end
        del self._unparsed[:start]
        return bytes(taken)


class RawSubscriber:
    """A connection with one StreamTelemetry call."""

    def __init__(
        self, port, window_bytes=WINDOW_BYTES, receive_buffer_bytes=None, path=STREAM_TELEMETRY, headers=()
    ):
        """Connects and sends the request's headers, including `headers`; reads nothing."""
        self.response_headers = None
        self.trailers = None
        self.pings_per_read = 0
        self.body = bytearray()
        self._frames = FrameFilter()
        self.socket = socket.socket()
        self.socket.settimeout(TIMEOUT)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.connect(("127.0.0.1", port))
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.http2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window_bytes})
        if window_bytes > self.http2.inbound_flow_control_window:
            self.http2.increment_flow_control_window(window_bytes - self.http2.inbound_flow_control_window)
        self.stream = self.http2.get_next_available_stream_id()
        request = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": f"127.0.0.1:{port}",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        self.http2.send_headers(self.stream, [*request.items(), *headers])
        self._flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *controls):
        """Sends controls in a single frame."""
        self._send_frames(b"".join(map(message, controls)))

    def send_in_pieces(self, control):
        """Sends a control with a frame for every byte."""
        self._send_frames(*(bytes([byte]) for byte in message(control)))

    def _send_frames(self, *pieces):
        for piece in pieces:
            self.http2.send_data(self.stream, piece)
            self._flush()

    def send_last(self, data):
        """Sends bytes and ends the request."""
        self.http2.send_data(self.stream, data, end_stream=True)
        self._flush()

    def ping(self, times):
        for _ in range(times):
            self.http2.ping(b"anybody?")
        self._flush()

    def read_headers(self):
        """Reads until the response headers have arrived."""
        while self.response_headers is None:
            assert self._read_some(), "the connection was closed"
        return self.response_headers

    def read_to_trailers(self):
        """Reads until the call has ended, and returns its events."""
        self.read_call()
        return self.events()

    def read_call(self):
        """Reads until the call has ended, whatever its messages are."""
        while self.trailers is None:
            assert self._read_some(), "the connection was closed before the trailers"

    def read_to_end(self):
        """Reads until the sidecar closes its side. A reset connection raises an OSError."""
        while self._read_some():
            pass

    def messages(self):
        """The complete gRPC messages so far: whether each is compressed, and its bytes."""
        found, start = [], 0
        while start + MESSAGE_PREFIX.size <= len(self.body):
            compressed, length = MESSAGE_PREFIX.unpack_from(self.body, start)
            end = start + MESSAGE_PREFIX.size + length
            if end > len(self.body):
                break
            found.append((bool(compressed), bytes(self.body[start + MESSAGE_PREFIX.size : end])))
            start = end
        return found

    def events(self):
        return [bridge.TelemetryEvent.FromString(body) for _, body in self.messages()]

    @property
    def saw_goaway(self):
        return self._frames.saw_goaway

    def _read_some(self):
        data = self.socket.recv(65536)
        for event in self.http2.receive_data(self._frames.feed(data)):
            if isinstance(event, h2.events.ResponseReceived):
                self.response_headers = dict(event.headers)
                if event.stream_ended:  # a response that consists only of trailers
                    self.trailers = self.response_headers
            elif isinstance(event, h2.events.DataReceived):
                self.body += event.data
                self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                self.trailers = dict(event.headers)
            elif isinstance(event, h2.events.StreamReset):
                # After the trailers, NO_ERROR means that the server needs no more of the request.
                assert self.trailers and event.error_code == 0, f"the stream was reset: {event}"
        self.ping(self.pings_per_read)
        return bool(data)

    def _flush(self):
        self.socket.sendall(self.http2.data_to_send())
