"""A worker that serves gRPC as Snakepit's Python workers do, for the pool of `pool.py` to start.

In its process profile it is an asyncio server with StreamTelemetry, which has one queue and ends at the
client's deadline. In its thread profile it is a server with threads, where StreamTelemetry is UNIMPLEMENTED.
Tests control it by tools: ExecuteTool has the tool's name and, as binary parameters, its arguments.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from methods import response_class
from stubs import bridge, bridge_grpc

# As Snakepit's: what is emitted while the queue is full is dropped.
TELEMETRY_QUEUE_CAPACITY = 1024
THREADS = 8
GRACE_SECONDS = 2
MESSAGE_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=("process", "thread"), default="process")
    parser.add_argument("--start", choices=("ready", "silent", "garbage", "exit"), default="ready")
    parser.add_argument("--flood", action="store_true", help="print events flat out")
    # What a pool appends.
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--elixir-address", required=True)
    parser.add_argument("--snakepit-run-id", required=True)
    parser.add_argument("--snakepit-instance-name", required=True)
    parser.add_argument("--snakepit-instance-token", required=True)
    options = parser.parse_args()

    if os.environ.get("SNAKEPIT_PROCESS_GROUP") == "1":
        with contextlib.suppress(PermissionError):  # the leader of a session leads a group already
            os.setpgid(0, 0)
    if options.flood:
        threading.Thread(target=flood, daemon=True).start()
    if options.start == "exit":
        os.write(2, b"cannot start\n")
        sys.exit(3)
    if options.profile == "process":
        asyncio.run(serve_process(options))
    else:
        serve_threads(options)


async def serve_process(options):
    """Serves until SIGTERM, which ends the telemetry stream and lets calls finish."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    server = grpc.aio.server(futures.ThreadPoolExecutor(THREADS), options=MESSAGE_OPTIONS)
    telemetry = Telemetry(loop)
    servicer = ProcessBridge(telemetry)
    bridge_grpc.add_BridgeServiceServicer_to_server(servicer, server)
    port = servicer.port = server.add_insecure_port(f"[::]:{options.port}")
    await server.start()
    write_ready_file(options.start, port)
    await stopping.wait()
    telemetry.end_stream()
    await server.stop(GRACE_SECONDS)


def serve_threads(options):
    """Serves until a signal ends the process."""
    limit = [("grpc.max_concurrent_streams", THREADS)]
    server = grpc.server(futures.ThreadPoolExecutor(THREADS), options=MESSAGE_OPTIONS + limit)
    servicer = Bridge()
    bridge_grpc.add_BridgeServiceServicer_to_server(servicer, server)
    port = servicer.port = server.add_insecure_port(f"[::]:{options.port}")
    server.start()
    write_ready_file(options.start, port)
    server.wait_for_termination()


def write_ready_file(start, port):
    if start == "silent":
        return
    path = os.environ["SNAKEPIT_READY_FILE"]
    with open(f"{path}.tmp", "w") as file:
        file.write("no port\n" if start == "garbage" else str(port))
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{path}.tmp", path)


def flood():
    """Prints events as fast as they are read."""
    lines = b'TELEMETRY:{"event": "python.call.start", "measurements": {"count": 1}}\n' * 50
    while True:
        os.write(2, lines)


def now():
    return Timestamp(seconds=int(time.time()))


class Telemetry:
    """The one queue for events, and what was seen of the streams that take from it."""

    def __init__(self, loop):
        self.loop = loop
        self.queue = asyncio.Queue(TELEMETRY_QUEUE_CAPACITY)
        self.enabled = True
        self.streams = []  # of each: its deadline in seconds or None, and how many were open with it
        self.open = 0
        self.controls = 0

    def emit(self, number):
        """Called by any thread."""
        self.loop.call_soon_threadsafe(self._put, number)

    def _put(self, number):
        if self.enabled and not self.queue.full():
            event = bridge.TelemetryEvent(event_parts=["python", "call", "stop"], timestamp_ns=time.time_ns())
            event.measurements["count"].int_value = number
            event.metadata["via"] = "grpc"
            self.queue.put_nowait(event)

    def end_stream(self):
        """Ends the open stream with status OK. Called by any thread."""
        self.loop.call_soon_threadsafe(self.queue.put_nowait, None)

    def state(self):
        return {"streams": self.streams, "controls": self.controls, "enabled": self.enabled}


class Bridge(bridge_grpc.BridgeServiceServicer):
    """What both profiles have. The inherited StreamTelemetry is UNIMPLEMENTED."""

    telemetry = None
    port = 0

    def Ping(self, request, context):
        return response_class("Ping")(message=request.message, server_time=now())

    def InitializeSession(self, request, context):
        return response_class("InitializeSession")(success=True)

    def CleanupSession(self, request, context):
        return response_class("CleanupSession")(success=True, resources_cleaned=0)

    def GetSession(self, request, context):
        return response_class("GetSession")(session_id=request.session_id, created_at=now())

    def Heartbeat(self, request, context):
        return response_class("Heartbeat")(server_time=now(), session_valid=True)

    def ExecuteTool(self, request, context):
        tool = getattr(self, f"tool_{request.tool_name}", None)
        if tool is None:
            context.set_trailing_metadata([("grpc-status-details-bin", b"\x00details\xff")])
            context.abort(grpc.StatusCode.NOT_FOUND, f"no tool {request.tool_name!r}")
        result = tool(**request.binary_parameters) or b""
        return response_class("ExecuteTool")(success=True, binary_result=result)

    def ExecuteStreamingTool(self, request, context):
        """As many chunks as the tool's name says."""
        count = int(request.tool_name)
        for number in range(count):
            chunk = response_class("ExecuteStreamingTool")
            yield chunk(chunk_id=str(number), data=bytes(1000), is_final=number == count - 1)

    def tool_echo(self, data):
        return data

    def tool_emit(self, number):
        """Emits an event as Snakepit's gRPC backend does."""
        self.telemetry.emit(int(number))

    def tool_print(self, number):
        """Emits an event as Snakepit's stderr backend does."""
        event = {"event": "python.call.stop", "metadata": {"via": "stderr"}}
        event["measurements"] = {"count": int(number)}
        os.write(2, f"TELEMETRY:{json.dumps(event)}\n".encode())

    def tool_write(self, descriptor, data):
        """Writes bytes to standard output or error."""
        os.write(int(descriptor), data)

    def tool_end_stream(self):
        self.telemetry.end_stream()

    def tool_state(self):
        """What the worker can see of its surroundings."""
        state = {"pid": os.getpid(), "group": os.getpgid(0), "port": self.port, "arguments": sys.argv[1:]}
        state["environment"] = {name: value for name, value in os.environ.items() if "SNAKEPIT" in name}
        state["telemetry"] = self.telemetry.state() if self.telemetry else None
        return json.dumps(state).encode()

    def tool_python(self, script):
        """What a script prints that the pool's interpreter runs."""
        return subprocess.check_output([os.environ["SNAKEPIT_PYTHON"], "-c", script])

    def tool_signal(self, number):
        os.kill(os.getpid(), int(number))


class ProcessBridge(Bridge):
    def __init__(self, telemetry):
        self.telemetry = telemetry

    async def StreamTelemetry(self, controls, context):
        telemetry = self.telemetry
        reader = asyncio.create_task(self._read_controls(controls))
        telemetry.open += 1
        # Without a deadline grpcio has none, or that of the end of its clock.
        remaining = context.time_remaining()
        has_deadline = remaining is not None and remaining < 1_000_000
        telemetry.streams.append({"deadline": remaining if has_deadline else None, "open": telemetry.open})
        try:
            while event := await telemetry.queue.get():
                yield event
        finally:
            telemetry.open -= 1
            reader.cancel()

    async def _read_controls(self, controls):
        async for control in controls:
            self.telemetry.controls += 1
            if control.HasField("toggle"):
                self.telemetry.enabled = control.toggle.enabled


if __name__ == "__main__":
    main()
