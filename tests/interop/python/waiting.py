"""How long tests wait: for a condition, never for a time."""

import time

# How long anything may take before a test gives up. Nothing takes that long; machines may be busy.
PATIENCE = 60
POLL_SECONDS = 0.005


def wait_until(what, probe):
    """Waits until `probe()` is true, and returns what it returned."""
    deadline = time.monotonic() + PATIENCE
    while not (result := probe()):
        assert time.monotonic() < deadline, f"gave up waiting for {what}"
        time.sleep(POLL_SECONDS)
    return result
