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


class RawSubscriber:
    """A connection with one StreamTelemetry call."""

    def __init__(
        self, port, window_bytes=WINDOW_BYTES, receive_buffer_bytes=None, path=STREAM_TELEMETRY, headers=()
    ):
        """Connects and sends the request's headers, including `headers`; reads nothing."""
        self.response_headers = None
        self.trailers = None
        self.saw_goaway = False
        self.pings_per_read = 0
        self.body = bytearray()
        self._unparsed = bytearray()
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
        while self.trailers is None:
            assert self._read_some(), "the connection was closed before the trailers"
        return self.events()

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

    def _read_some(self):
        data = self.socket.recv(65536)
        self._unparsed += data
        for event in self.http2.receive_data(self._take_frames()):
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

    def _take_frames(self):
        """Complete frames for the library, except GOAWAY, after which the library rejects other frames."""
        taken = bytearray()
        while len(self._unparsed) >= FRAME_HEADER_BYTES:
            frame, length = Frame.parse_frame_header(memoryview(bytes(self._unparsed[:FRAME_HEADER_BYTES])))
            end = FRAME_HEADER_BYTES + length
            if len(self._unparsed) < end:
                break
            if isinstance(frame, GoAwayFrame):
                self.saw_goaway = True
            else:
                taken += self._unparsed[:end]
            del self._unparsed[:end]
        return bytes(taken)

    def _flush(self):
        self.socket.sendall(self.http2.data_to_send())
