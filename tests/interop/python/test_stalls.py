"""Nothing stalls calls: no subscriber that does not read, no exporter that hangs, no flood of events."""

import socket
import statistics
import threading
import time
from contextlib import ExitStack

from gun import Connection
from raw_http2 import RawSubscriber
from subscriber import toggle
from waiting import wait_until

SUBSCRIBERS = 16
HEARTBEATS = 200
# Half of the calls take no longer, unless the machine is so busy that those without the sidecar do, too.
MEDIAN_SECONDS = 0.05
TIMES_DIRECT = 5


class HangingServer:
    """Accepts connections and never answers."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in [self._listener, *self.connections]:
            each.close()

    def _accept(self):
        try:
            while True:
                self.connections.append(self._listener.accept()[0])
        except OSError:
            pass  # closed


def measure(connections):
    """The median of the seconds that Heartbeats take on each connection, in turn; prints percentiles."""
    taken = {name: [] for name in connections}
    for _ in range(HEARTBEATS):
        for name, connection in connections.items():
            began = time.monotonic()
            connection.call("Heartbeat", session_id="default_session")
            taken[name].append(time.monotonic() - began)
    cuts = {name: statistics.quantiles(seconds, n=100) for name, seconds in taken.items()}
    for name, seconds in cuts.items():
        print(f"{name}: " + ", ".join(f"p{at} {seconds[at - 1] * 1000:.2f} ms" for at in (50, 90, 99)))
    return {name: seconds[49] for name, seconds in cuts.items()}


def test_heartbeats_pass_whatever_stalls(pool):
    with ExitStack() as stack:
        exporter = stack.enter_context(HangingServer())
        worker = pool("--flood", sidecar=["--snakepit", f"--export-otlp=http://{exporter.address}"])
        worker.start()
        for _ in range(SUBSCRIBERS):
            one = stack.enter_context(RawSubscriber(worker.port, receive_buffer_bytes=4096))
            one.read_headers()
            one.send(toggle(True))
        wait_until("the exporter's connection", lambda: exporter.connections)
        wait_until(
            "every subscriber to lose events",
            lambda: sum(one.dropped > 0 for one in worker.status().subscribers) == SUBSCRIBERS,
        )
        before = worker.status().events
        direct = Connection(worker.state()["port"])
        stack.callback(direct.close)
        median = measure({"relayed": worker.connection, "direct": direct})
        # Nor does any of that stop the events.
        assert worker.status().events > before
        assert median["relayed"] < max(MEDIAN_SECONDS, TIMES_DIRECT * median["direct"])
        assert None not in worker.heartbeats
        worker.stop()
