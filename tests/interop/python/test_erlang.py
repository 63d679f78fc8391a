"""A subscriber in Erlang that speaks HTTP/2 as gun does, the library of Snakepit's pools."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pool import PRINTER
from waiting import TIMEOUT, wait_until

SCRIPT = Path(__file__).parents[1] / "erlang/subscriber.escript"
ENDED = "end: status_0, goaway: none, bytes left: 0"

pytestmark = pytest.mark.skipif(not shutil.which("escript"), reason="Erlang is not installed")


class Subscriber:
    def __init__(self, folder, port, *options):
        self._output = folder / "subscriber"
        with open(self._output, "wb") as output:
            words = ["escript", str(SCRIPT), str(port), *options]
            self._process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        print(f"subscriber: {self.lines()}")

    def lines(self):
        """What it has printed: names of events, then how the stream ended."""
        return self._output.read_text().splitlines()

    def wait(self):
        return self._process.wait(TIMEOUT)


def controls_applied(sidecar):
    return [subscriber.controls_applied for subscriber in sidecar.status().subscribers]


@pytest.mark.parametrize("options", [{}, {"upstream": "127.0.0.1:1"}])
def test_events_that_pass_the_controls(start, tmp_path, options):
    sidecar = start(**options)
    with Subscriber(tmp_path, sidecar.port, "allow", "python.*", "rate", "1.0") as subscriber:
        wait_until("the controls", lambda: controls_applied(sidecar) == [3])
        sidecar.emit_and_wait("python.call.start", "tool.result_size", "python.call.stop")
        sidecar.end_worker()
        assert subscriber.wait() == 0
        assert subscriber.lines() == ["python.call.start", "python.call.stop", ENDED]
    assert sidecar.wait() == 0


def test_a_worker_of_a_pool(pool, tmp_path):
    worker = pool().start()
    with Subscriber(tmp_path, worker.port, "ping") as subscriber:
        for number in range(3):
            worker.tool("emit", number=number)
            worker.tool("print", number=number)
        wait_until("all events", lambda: subscriber.lines() == ["python.call.stop"] * 6)
        worker.stop()
        assert subscriber.wait() == 0
        assert subscriber.lines()[6:] == [ENDED]


def test_a_worker_of_a_pool_that_only_prints(pool, tmp_path):
    worker = pool(worker=PRINTER, sidecar=["--snakepit=alone"]).start()
    with Subscriber(tmp_path, worker.port, "ping") as subscriber:
        worker.write(b'TELEMETRY:{"event": "python.gc.completed"}\n')
        wait_until("the event", lambda: subscriber.lines() == ["python.gc.completed"])
        worker.stop()
        assert subscriber.wait() == 0
        assert subscriber.lines()[1:] == [ENDED]
