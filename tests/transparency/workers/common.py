"""How workers tell the test things, and wait for it: through files, so that no descriptor is in the way."""

import json
import os
import time

FOLDER = os.environ["TRANSPARENCY_FOLDER"]


def report(**facts):
    """Tells the test."""
    descriptor = os.open(f"{FOLDER}/report", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, json.dumps(facts).encode() + b"\n")
    os.close(descriptor)


def told(name):
    """Whether the test has said this word."""
    return os.path.exists(f"{FOLDER}/{name}")


def wait_for(name):
    """Waits until the test says this word."""
    while not told(name):
        time.sleep(0.003)
