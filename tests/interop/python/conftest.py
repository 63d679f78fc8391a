"""Fixtures: real sidecars that do not outlive their test."""

import signal

import pytest

from sidecar import ECHO, Sidecar

# As a terminal's shell starts programs: below nohup and in a script's background some signals are ignored, and what is
# inherited as ignored stays so.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def start(tmp_path):
    """Starts sidecars: `start(command, **options)`; `drain_timeout="1s"` stands for `--drain-timeout 1s`.

    A list repeats an option. Without a command the test is the worker: what it `emit`s is printed.
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
