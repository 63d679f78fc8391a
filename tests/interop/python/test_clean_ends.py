"""Every stream ends completely and with status OK, for clients that lose what comes after a GOAWAY: grpclib, on
Python's h2, and curl."""

import asyncio
import json
import os
import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor

import grpclib.client
import pytest

from sidecar import BINARY, steady
from stubs import bridge
from subscriber import STREAM_TELEMETRY
from waiting import TIMEOUT, wait_until

ENDS = 100
REPLAYED_EVENTS = 2000
LIVE_EVENTS = 200

# A worker that has exited when its events are read.
SHORT_WORKER = ("sh", "-c", """i=0; while [ $i -lt 5 ]; do echo 'TELEMETRY:{"event": "a"}' >&2; i=$((i + 1)); done""")


def with_grpclib(port):
    """The number of events until the stream ends with status OK. grpclib raises an exception for any other end."""

    async def subscribe():
        channel = grpclib.client.Channel("127.0.0.1", port)
        method = grpclib.client.StreamStreamMethod(
            channel, STREAM_TELEMETRY, bridge.TelemetryControl, bridge.TelemetryEvent
        )
        try:
            async with method.open(timeout=TIMEOUT) as stream:
                enabled = bridge.TelemetryControl(toggle=bridge.TelemetryToggle(enabled=True))
                # grpclib requires that a client ends its side.
                await stream.send_message(enabled, end=True)
                return len([event async for event in stream])
        finally:
            channel.close()

    return asyncio.run(subscribe())


def with_curl(port, folder):
    """The number of events; curl fails if the connection ends before the stream."""
    headers, body = folder / "headers", folder / "body"
    words = [
        *("curl", "--http2-prior-knowledge", "--silent", "--show-error", "--fail", "--max-time", str(TIMEOUT)),
        *("--header", "content-type: application/grpc", "--header", "te: trailers", "--data-binary", ""),
        *("--dump-header", headers, "--output", body, f"http://127.0.0.1:{port}{STREAM_TELEMETRY}"),
    ]
    subprocess.run(words, check=True)
    assert "grpc-status: 0" in headers.read_text().splitlines()
    data, events = body.read_bytes(), 0
    while data:
        _, length = struct.unpack_from(">BI", data)
        data, events = data[5 + length :], events + 1
    return events


@pytest.fixture(params=["grpclib", "curl"])
def subscribe(request, tmp_path):
    if request.param == "grpclib":
        return with_grpclib
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    return lambda port: with_curl(port, tmp_path)


def replay(folder, log):
    """A running replay and its port."""
    ready_file = folder / "ready"
    ready_file.unlink(missing_ok=True)
    words = [BINARY, "replay", "-q", "--ready-file", ready_file, "--listen", "127.0.0.1:0", log]
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("TELEMETRY_SIDECAR_")}
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, env=environment)
    wait_until("the ready file", lambda: ready_file.exists() or process.poll() is not None)
    return process, int(ready_file.read_text())


@pytest.mark.timeout(600)
def test_replays(subscribe, tmp_path):
    log = tmp_path / "log"
    event = {"event": "a.b", "metadata": {"padding": "x" * 200}}
    log.write_text(f"TELEMETRY:{json.dumps(event)}\n" * REPLAYED_EVENTS)
    received = []
    for _ in range(ENDS):
        process, port = replay(tmp_path, log)
        try:
            received.append(subscribe(port))
            assert process.wait(TIMEOUT) == 0
        finally:
            process.kill()
            process.wait()
    assert received == [REPLAYED_EVENTS] * ENDS


@pytest.mark.timeout(600)
def test_workers_that_exit_with_their_last_event(start, subscribe):
    for _ in range(ENDS):
        sidecar = start(steady(LIVE_EVENTS))
        with ThreadPoolExecutor() as threads:
            events = threads.submit(subscribe, sidecar.port)
            wait_until("the subscription", lambda: sidecar.status().subscribers)
            sidecar.go()
            assert events.result() == LIVE_EVENTS
        assert sidecar.wait() == 0


@pytest.mark.timeout(600)
def test_workers_that_have_exited_before_the_subscription(start, subscribe):
    for _ in range(ENDS):
        sidecar = start(SHORT_WORKER, linger="60s")
        assert subscribe(sidecar.port) == 5
        assert sidecar.wait() == 0
