"""A gRPC connection in the manner of gun, the HTTP/2 client of a Snakepit pool: windows of 8,000,000 bytes,
no compression, a DATA frame for each message, and streams whose deadline is only announced."""

import contextlib
import queue
import socket
import threading
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from methods import path, request_class, response_class
from raw_http2 import MESSAGE_PREFIX, FrameFilter, message
from waiting import TIMEOUT

WINDOW_BYTES = 8_000_000


class CallFailed(Exception):
    """A call that ended with another status than OK."""

    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text


class Connection:
    """One connection for all calls, read by a thread. Any thread may call.

    After a GOAWAY it is closed as soon as no call is open.
    """

    def __init__(self, port):
        self._authority = f"localhost:{port}"
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(None)
        self._streams = {}  # those that are open
        self._closed = False
        # Guards everything of the HTTP/2 library; notified when a window has grown.
        self._changed = threading.Condition()
        self._http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._http2.initiate_connection()
        self._http2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES})
        self._http2.increment_flow_control_window(WINDOW_BYTES - self._http2.inbound_flow_control_window)
        self._flush()
        threading.Thread(target=self._read, daemon=True).start()

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    def call(self, method, timeout=TIMEOUT, **fields):
        """The response of a unary call."""
        [response] = self.responses(method, timeout, **fields)
        return response

    def responses(self, method, timeout=TIMEOUT, **fields):
        """All responses of a call with one request."""
        stream = self.open(method)
        stream.send(request_class(method)(**fields), end=True)
        return list(iter(lambda: stream.next(timeout), None))

    def open(self, method, headers=()):
        """Sends a call's headers. Its request side stays open until the last message is sent with `end`."""
        request = {
            ":method": "POST",
            ":scheme": "http",
            ":authority": self._authority,
            ":path": path(method),
            "te": "trailers",
            "content-type": "application/grpc+proto",
            "user-agent": "grpc-elixir/0.11.5 (gun)",
        }
        with self._changed:
            if self._closed:
                raise CallFailed(None, "the connection is closed")
            number = self._http2.get_next_available_stream_id()
            stream = self._streams[number] = Stream(self, number, response_class(method))
            self._http2.send_headers(number, [*request.items(), *headers])
            self._flush()
        return stream

    def send(self, number, data, end):
        """Sends a message: a DATA frame, or as many as flow control demands.

        A server may answer before it has the request, and close the stream: then the rest is not sent.
        """
        with self._changed, contextlib.suppress(h2.exceptions.StreamClosedError):
            while data:
                room = min(self._http2.local_flow_control_window(number), self._http2.max_outbound_frame_size)
                if room == 0:
                    assert self._changed.wait(TIMEOUT), "the window did not grow"
                    continue
                piece, data = data[:room], data[room:]
                self._http2.send_data(number, piece, end_stream=end and not data)
                self._flush()

    def cancel(self, number):
        with self._changed:
            self._http2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
            self._finish(number, None, "cancelled")
            self._flush()

    def _flush(self):
        self._socket.sendall(self._http2.data_to_send())

    def _read(self):
        frames = FrameFilter()
        why = "the connection was closed"
        try:
            while data := self._socket.recv(65536):
                with self._changed:
                    for event in self._http2.receive_data(frames.feed(data)):
                        self._handle(event)
                    self._flush()
                    self._changed.notify_all()
                    if frames.saw_goaway and not self._streams:
                        why = "the connection was closed after GOAWAY"
                        self._socket.close()
                        break
        except (OSError, h2.exceptions.ProtocolError) as error:
            why = f"the connection failed: {error!r}"
        with self._changed:
            self._closed = True
            for number in list(self._streams):
                self._finish(number, None, why)

    def _handle(self, event):
        stream = self._streams.get(getattr(event, "stream_id", None))
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            stream.headers = dict(event.headers)
            if event.stream_ended:  # a response that consists only of trailers
                self._finish_with(event)
        elif isinstance(event, h2.events.DataReceived):
            self._http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            stream.got_data(event.data)
        elif isinstance(event, h2.events.TrailersReceived):
            self._finish_with(event)
        elif isinstance(event, h2.events.StreamReset):
            self._finish(event.stream_id, None, f"the stream was reset with {event.error_code}")

    def _finish_with(self, event):
        """Ends a call with its trailers."""
        trailers = dict(event.headers)
        text = unquote(trailers.get("grpc-message", ""))
        self._finish(event.stream_id, int(trailers["grpc-status"]), text)

    def _finish(self, number, status, text):
        self._streams.pop(number).finish(status, text)


class Stream:
    """A call. It ends with trailers that have a status, or with the connection."""

    def __init__(self, connection, number, response):
        self.number = number
        self.headers = None
        self._connection = connection
        self._response = response
        self._body = bytearray()
        self._arrived = queue.SimpleQueue()

    def send(self, request, end=False):
        self._connection.send(self.number, message(request), end)

    def cancel(self):
        self._connection.cancel(self.number)

    def next(self, timeout=TIMEOUT):
        """The next response, or None after the last one. Raises CallFailed at any other end."""
        arrived = self._arrived.get(timeout=timeout)
        if isinstance(arrived, CallFailed):
            raise arrived
        return arrived

    def got_data(self, data):
        self._body += data
        while len(self._body) >= MESSAGE_PREFIX.size:
            compressed, length = MESSAGE_PREFIX.unpack_from(self._body)
            end = MESSAGE_PREFIX.size + length
            if len(self._body) < end:
                break
            assert not compressed, "a compressed message for a client that accepts none"
            self._arrived.put(self._response.FromString(bytes(self._body[MESSAGE_PREFIX.size : end])))
            del self._body[:end]

    def finish(self, status, text):
        self._arrived.put(None if status == 0 else CallFailed(status, text))
