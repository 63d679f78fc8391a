"""Fixtures: real sidecars that do not outlive their test."""

import signal
from contextlib import ExitStack

import pytest

from pool import BRIDGE, Pool, interpreter
from sidecar import ECHO, Sidecar
from upstream import Upstream

# As a terminal's shell starts programs: below nohup and in a script's background some signals are ignored, and what is
# inherited as ignored stays so.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def start(tmp_path):
    """Starts sidecars: `start(command, **options)`; `drain_timeout="1s"` stands for `--drain-timeout 1s`.

    True stands for an option without a value. A list repeats an option. Without a command the test is the worker: what it
    `emit`s is printed.
    """
    started = []

    def start_one(command=ECHO, **options):
        folder = tmp_path / f"sidecar-{len(started)}"
        folder.mkdir()
        words = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
        sidecar = Sidecar(folder, command, words)
        started.append(sidecar)
        return sidecar

    yield start_one
    for sidecar in started:
        sidecar.reap()


@pytest.fixture
def relay(start):
    """`relay(**options of the sidecar)`: a sidecar and the server that it relays to."""
    with ExitStack() as stack:

        def connect(upstream=None, **options):
            upstream = stack.enter_context(upstream or Upstream())
            sidecar = start(upstream=upstream.address, **options)
            return sidecar, upstream

        yield connect


@pytest.fixture
def pool(tmp_path):
    """Pools of one worker that is not started yet: `pool("--flood", sidecar=["--snakepit", "-v"])`."""
    pools = []

    def make(*arguments, sidecar=("--snakepit",), worker=BRIDGE):
        folder = tmp_path / f"pool-{len(pools)}"
        folder.mkdir()
        pools.append(Pool(folder, interpreter(folder, *sidecar), *worker, *arguments))
        return pools[-1]

    yield make
    with ExitStack() as stack:
        for one in pools:
            stack.enter_context(one)
