"""A worker that serves its telemetry itself, as an in-process gRPC stream: what the sidecar replaces.

    python3 benches/peer/worker_grpc.py burst --events 10000     # --help for more

Then run client.py with the address, press Enter to start the workload, and Ctrl-D to end the worker.
Needs Python 3.10 or later and `pip install grpcio grpcio-tools`.

The design is that of a Snakepit worker, the code is not: an emit builds the protobuf message in the thread
that calls it and hands it with call_soon_threadsafe to the thread of a grpc.aio server, where a bounded queue
feeds the generator of the one subscriber's stream. A full queue drops the newest event and counts it. It is a
little leaner than Snakepit's: no sampling and no filter is looked at, and one generator is between queue and
server, not two.
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

import grpc  # noqa: E402, because stubs says in one line what to do if it is missing

# How long the streams may take to end, in seconds.
GRACE = 5


def message(name, measurements, metadata, correlation_id):
    """The event as protobuf."""
    event = bridge.TelemetryEvent(
        event_parts=name.split("."), timestamp_ns=time.time_ns(), correlation_id=correlation_id
    )
    for key, value in measurements.items():
        if isinstance(value, int):  # a bool is one
            event.measurements[key].int_value = value
        elif isinstance(value, float):
            event.measurements[key].float_value = value
        else:
            event.measurements[key].string_value = str(value)
    for key, value in metadata.items():
        event.metadata[key] = str(value)
    return event


class TelemetryStream(bridge_grpc.BridgeServiceServicer):
    """Takes events from the worker's thread, and sends them from the server's."""

    def __init__(self, capacity):
        self.dropped = 0
        self._enabled = True
        self._subscribed = False
        self._queue = asyncio.Queue(capacity)
        self._loop = asyncio.get_running_loop()

    def emit(self, *event):
        """Called by the worker."""
        if self._enabled:
            self._loop.call_soon_threadsafe(self._take, message(*event))

    def _take(self, event):
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.dropped += 1

    async def StreamTelemetry(self, request_iterator, context):  # noqa: N802, the name is the contract's
        """Sends what is queued, until None."""
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
        """Ends the subscriber's stream when all is sent that the worker has emitted."""
        # What was emitted before is in the queue or dropped by now: the loop keeps the order.
        while self._subscribed and not self._queue.empty():
            await asyncio.sleep(0.001)
        if self._subscribed:
            self._queue.put_nowait(None)
        return {"dropped": self.dropped}


def announce(port, ready_file):
    """Says where it listens, as the sidecar does."""
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
