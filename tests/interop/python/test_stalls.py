"""Nothing stalls calls: no subscriber that does not read, no exporter that hangs, no flood of events."""

import socket
import statistics
import threading
from contextlib import ExitStack

from raw_http2 import RawSubscriber
from subscriber import toggle
from waiting import wait_until

SUBSCRIBERS = 16
HEARTBEATS = 300
# How long half of the calls may take, and 99 %: worker, sidecar and this test have two cores, if that. A pool makes
# a call every 2 s.
MEDIAN_SECONDS = 0.05
SLOWEST_SECONDS = 1


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


def measure(worker, what):
    """The seconds that Heartbeats take, sorted; prints percentiles."""
    begun = len(worker.heartbeats)
    wait_until("heartbeats", lambda: len(worker.heartbeats) >= begun + HEARTBEATS)
    taken = worker.heartbeats[begun:]
    assert None not in taken
    cuts = statistics.quantiles(taken, n=100)
    print(f"{what}: " + ", ".join(f"p{at} {cuts[at - 1] * 1000:.2f} ms" for at in (50, 90, 99)))
    return cuts


def test_heartbeats_pass_whatever_stalls(pool):
    with ExitStack() as stack:
        exporter = stack.enter_context(HangingServer())
        worker = pool("--flood", sidecar=["--snakepit", f"--export-otlp=http://{exporter.address}"])
        worker.heartbeat_seconds = 0.005
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
        cuts = measure(worker, "with stalled subscribers, a hanging exporter and a flood")
        # Nor does any of that stop the events.
        assert worker.status().events > before
        assert cuts[49] < MEDIAN_SECONDS and cuts[98] < SLOWEST_SECONDS
        worker.stop()
