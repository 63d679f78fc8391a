"""A pool whose worker serves no gRPC: the sidecar answers for it."""

import signal
import subprocess
import sys
import time

import pytest

from pool import PRINTER
from subscriber import names
from waiting import wait_until

UNIMPLEMENTED, NOT_FOUND = 12, 5
ALONE = ["--snakepit=alone"]


def is_now(timestamp):
    return abs(timestamp.seconds - time.time()) < 3600


def test_the_calls_of_a_pool_are_answered(pool):
    worker = pool(worker=PRINTER, sidecar=ALONE).start()
    session = worker.call("GetSession", session_id="default_session")
    assert session.session_id == "default_session" and is_now(session.created_at)
    heartbeat = worker.call("Heartbeat", session_id="default_session")
    assert heartbeat.session_valid and is_now(heartbeat.server_time)
    assert worker.call("CleanupSession", session_id="default_session").success
    assert worker.failure_of("GetSession", session_id="default_session").status == NOT_FOUND
    wait_until("some heartbeats", lambda: len(worker.heartbeats) > 3)
    assert None not in worker.heartbeats
    assert worker.stop() == -signal.SIGTERM


@pytest.mark.parametrize("method", ["ExecuteTool", "ExecuteStreamingTool"])
def test_a_worker_without_grpc_takes_no_calls(pool, method):
    worker = pool(worker=PRINTER, sidecar=ALONE).start()
    failed = worker.failure_of(method, session_id="default_session", tool_name="echo")
    assert failed.status == UNIMPLEMENTED
    assert "takes no calls" in failed.text


def test_printed_events_reach_the_pool_and_other_output_is_unchanged(pool):
    worker = pool(worker=PRINTER, sidecar=ALONE).start()
    worker.open_telemetry()
    worker.write(b'plain\xff\nTELEMETRY:{"event": "python.gc.completed"}\nno newline')
    wait_until("the event", lambda: names(worker.events) == ["python.gc.completed"])
    wait_until("the output", lambda: worker.output == b"plain\xff\nno newline")
    worker.process.stdin.close()
    assert worker.wait() == 0
    assert worker.telemetry_end == "OK"
    assert worker.output == b"plain\xff\nno newline"


def test_the_probe_for_the_interpreters_version_is_answered_by_the_interpreter(pool):
    assert pool(sidecar=ALONE).probe_version() == sys.version.split()[0].encode() + b"\n"


def test_without_the_ready_files_variable_the_interpreter_replaces_the_sidecar(pool):
    words = [pool(sidecar=ALONE).executable, "-c", "import os; print(os.getpid())"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert int(process.stdout.read()) == process.pid
