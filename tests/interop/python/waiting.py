"""Waiting for conditions. Tests never wait for a fixed time."""

import time

# The limit of any single wait, in seconds. Normal waits are far shorter; the machine may be busy.
TIMEOUT = 60
POLL_SECONDS = 0.005


def wait_until(what, probe):
    """Waits until `probe()` is true, and returns what it returned."""
    deadline = time.monotonic() + TIMEOUT
    while not (result := probe()):
        assert time.monotonic() < deadline, f"gave up waiting for {what}"
        time.sleep(POLL_SECONDS)
    return result
