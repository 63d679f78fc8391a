"""A worker's gRPC server on grpcio, in the test's own process. Its messages are plain bytes."""

import queue
import threading
from concurrent import futures

import grpc

from waiting import TIMEOUT

SERVICE = "interop.Relayed"
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
DETAILS = b"\x08\x05\x12\x04gone\0\xff"


def path(method):
    return f"/{SERVICE}/{method}"


def unary(channel, method):
    return channel.unary_unary(path(method))


class Conversation:
    """A call of Chat."""

    def __init__(self, channel):
        self._questions = queue.SimpleQueue()
        self.call = channel.stream_stream(path("Chat"))(iter(self._questions.get, None), timeout=TIMEOUT)

    def ask(self, question):
        self._questions.put(question)
        return next(self.call)

    def end(self):
        """Ends it, which must be with status OK."""
        self._questions.put(None)
        assert list(self.call) == []


class Upstream:
    """A server that can be stopped and started again at its address; a context manager."""

    def __init__(self, address="127.0.0.1:0", options=(), compression=None, register=None, threads=32):
        """`register(server)` adds services of others."""
        self.address = address
        self.ended = queue.SimpleQueue()  # the method of each call of Wait, Chat and Flood that has ended
        self.produced = 0  # by Flood
        self.peers = set()  # the connections that calls came by
        self.calls = []  # the methods called so far, of those that say so
        self.metadata = {}  # of the latest call of each of them
        self._options = [*UNLIMITED, ("grpc.so_reuseport", 0), *options]
        self._compression = compression
        self._threads = threads
        self._register = register

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        threads = futures.ThreadPoolExecutor(self._threads)
        handlers = [self._own_handlers()]
        self.server = grpc.server(threads, handlers, options=self._options, compression=self._compression)
        if self._register:
            self._register(self.server)
        port = self.server.add_insecure_port(self.address)
        if not self.address.startswith("unix:"):
            self.address = f"127.0.0.1:{port}"
        self.server.start()

    def stop(self, grace=0):
        """Sends GOAWAY; calls that take longer than the grace period are cancelled."""
        self.server.stop(grace).wait(TIMEOUT)

    def _own_handlers(self):
        kinds = {
            grpc.unary_unary_rpc_method_handler: (self.Echo, self.Fail, self.TimeRemaining, self.Wait),
            grpc.unary_stream_rpc_method_handler: (self.Count, self.Flood, self.Break),
            grpc.stream_unary_rpc_method_handler: (self.Join,),
            grpc.stream_stream_rpc_method_handler: (self.Chat,),
        }
        handlers = {method.__name__: kind(method) for kind, methods in kinds.items() for method in methods}
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _seen(self, method, context):
        self.peers.add(context.peer())
        self.metadata[method] = list(context.invocation_metadata())
        self.calls.append(method)

    def Echo(self, request, context):
        """Returns the request, and in its metadata what it got in its own."""
        self._seen("Echo", context)
        theirs = [pair for pair in context.invocation_metadata() if pair[0].startswith("x-")]
        context.send_initial_metadata(theirs)
        context.set_trailing_metadata(theirs)
        return request

    def Fail(self, request, context):
        """Fails with the request as the message."""
        context.set_trailing_metadata([("grpc-status-details-bin", DETAILS), ("x-why", "asked")])
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode())

    def TimeRemaining(self, request, context):
        """The seconds until the deadline."""
        return str(context.time_remaining()).encode()

    def Wait(self, request, context):
        """Waits until the call is cancelled."""
        self._seen("Wait", context)
        ended = threading.Event()
        if context.add_callback(ended.set):
            ended.wait(TIMEOUT)
        self.ended.put("Wait")
        return b""

    def Count(self, request, context):
        """As many messages as the request says."""
        yield from (str(number).encode() for number in range(int(request)))

    def Flood(self, request, context):
        """Messages of 64 KiB without end."""
        context.add_callback(lambda: self.ended.put("Flood"))
        while context.is_active():
            self.produced += 1
            yield bytes(65536)

    def Break(self, request, context):
        """A message, then an error."""
        yield b"first"
        context.abort(grpc.StatusCode.DATA_LOSS, "in the middle")

    def Join(self, requests, context):
        return b",".join(requests)

    def Chat(self, requests, context):
        """Answers each message before it takes the next."""
        context.add_callback(lambda: self.ended.put("Chat"))
        for request in requests:
            yield b"re: " + request
