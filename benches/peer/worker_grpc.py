"""A worker that serves its telemetry itself, as an in-process gRPC stream: what the sidecar replaces.

    python3 benches/peer/worker_grpc.py burst --events 10000     # --help for more

Then run client.py with the address, press Enter to start the workload, and Ctrl-D to end the worker.
Needs Python 3.10 or later and `pip install grpcio grpcio-tools`.

This has the design of a Snakepit worker, but not its code: emit builds the protobuf message in the calling
thread and passes it with call_soon_threadsafe to the thread of a grpc.aio server, where a bounded queue feeds
the generator of the only subscriber's stream. A full queue drops the newest event and counts it. It does a
little less than Snakepit: it ignores sampling and filters, and has one generator between queue and server
instead of two.
"""

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

import stubs
import workload

bridge, bridge_grpc = stubs.load("snakepit_bridge")

import grpc  # noqa: E402, because stubs reports in one line if it is missing

# The limit for ending the streams, in seconds.
GRACE = 5


def message(name, measurements, metadata, correlation_id):
    """Returns the event as a protobuf message."""
    event = bridge.TelemetryEvent(
        event_parts=name.split("."), timestamp_ns=time.time_ns(), correlation_id=correlation_id
    )
    for key, value in measurements.items():
        if isinstance(value, int):  # includes bool
            event.measurements[key].int_value = value
        elif isinstance(value, float):
            event.measurements[key].float_value = value
        else:
            event.measurements[key].string_value = str(value)
    for key, value in metadata.items():
        event.metadata[key] = str(value)
    return event


class TelemetryStream(bridge_grpc.BridgeServiceServicer):
    """Queues events from the worker's thread and sends them from the server's thread."""

    def __init__(self, capacity):
        self.dropped = 0
        self._enabled = True
        self._subscribed = False
        self._queue = asyncio.Queue(capacity)
        self._loop = asyncio.get_running_loop()

    def emit(self, *event):
        """Queues an event; called in the worker's thread."""
        if self._enabled:
            self._loop.call_soon_threadsafe(self._take, message(*event))

    def _take(self, event):
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.dropped += 1

    async def StreamTelemetry(self, request_iterator, context):  # noqa: N802, named by the proto file
        """Sends queued events until it takes None from the queue."""
        await context.send_initial_metadata(())
        controls = asyncio.create_task(self._obey(request_iterator))
        self._subscribed = True
        try:
            while (event := await self._queue.get()) is not None:
                yield event
        finally:
            self._subscribed = False
            controls.cancel()

    async def _obey(self, controls):
        async for control in controls:
            if control.HasField("toggle"):
                self._enabled = control.toggle.enabled

    async def drain(self):
        """Ends the subscriber's stream after all emitted events are sent."""
        # The loop keeps the order, so all earlier events are queued or dropped by now.
        while self._subscribed and not self._queue.empty():
            await asyncio.sleep(0.001)
        if self._subscribed:
            self._queue.put_nowait(None)
        return {"dropped": self.dropped}


def announce(port, ready_file):
    """Announces the port in the same way as the sidecar."""
    if not ready_file:
        print(f"GRPC_READY:{port}", file=sys.stderr, flush=True)
        return
    unfinished = ready_file.with_name(f"{ready_file.name}.new")
    unfinished.write_text(f"{port}\n")
    os.rename(unfinished, ready_file)


async def start(options):
    """Returns the running server and the stream it serves."""
    stream = TelemetryStream(options.queue_capacity)
    server = grpc.aio.server()
    bridge_grpc.add_BridgeServiceServicer_to_server(stream, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    announce(port, options.ready_file)
    return server, stream


def main():
    parser = workload.argument_parser(__doc__)
    number = workload.above_zero(int)
    parser.add_argument("--queue-capacity", type=number, default=1024, help="events that may wait")
    parser.add_argument("--ready-file", type=Path, help="write the port to this file")
    options = parser.parse_args()

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def on_loop(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    server, stream = on_loop(start(options))
    try:
        workload.run(options, stream.emit, lambda: on_loop(stream.drain()))
    finally:
        on_loop(server.stop(GRACE))


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"worker_grpc.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
