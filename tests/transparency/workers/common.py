"""How workers report to the test and wait for it: through files, so that no descriptor is changed."""

import json
import os
import time

FOLDER = os.environ["TRANSPARENCY_FOLDER"]


def report(**facts):
    """Reports these facts to the test."""
    descriptor = os.open(f"{FOLDER}/report", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, json.dumps(facts).encode() + b"\n")
    os.close(descriptor)


def is_released(name):
    """Whether the test has released workers that wait for this name."""
    return os.path.exists(f"{FOLDER}/{name}")


def wait_for(name):
    """Waits until the test releases this name."""
    while not is_released(name):
        time.sleep(0.003)
