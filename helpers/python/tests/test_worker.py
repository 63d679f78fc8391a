"""Workers that import the package, behind the real sidecar or with a stderr of every kind."""

import json
import os
import socket
import subprocess
import sys
import textwrap

import pytest

import telemetry_sidecar as package

WRAPPED = {**os.environ, "TELEMETRY_SIDECAR": "1"}
UNWRAPPED = {name: value for name, value in os.environ.items() if name != "TELEMETRY_SIDECAR"}


def script(text):
    return [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        "import os, sys\nfrom telemetry_sidecar import *\n" + textwrap.dedent(text),
    ]


@pytest.fixture
def run(telemetry_sidecar):
    def run(text, *options):
        # Unbuffered, stderr would not be as it is for most programs.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        sidecar = telemetry_sidecar(script(text), *options, env=environment)
        assert sidecar.wait() == 0, sidecar.report()
        return sidecar

    return run


def alone(text, env=WRAPPED, **options):
    return subprocess.run(script(text), env=env, check=True, timeout=60, **options)


def test_nothing_is_printed_without_a_sidecar():
    work = 'emit("a"); gauge("b", 1)\nwith span("c"): print("text", file=sys.stderr)'
    for value in (None, "", "0", "true"):
        env = UNWRAPPED if value is None else {**UNWRAPPED, "TELEMETRY_SIDECAR": value}
        assert alone(work, env, stderr=subprocess.PIPE).stderr == b"text\n"


def test_events_reach_the_sidecar(run):
    sidecar = run(
        'emit("a", {"n": float("nan"), "i": 2**70}, {"k": "\\ud800", "list": [1]}, "c"); print(dropped())'
    )
    (event,) = sidecar.events
    assert (event.name, event.correlation_id, sidecar.stdout, sidecar.stderr) == ("a", "c", "0\n", "")
    assert event.measurements["n"] != event.measurements["n"] and event.measurements["i"] == 2.0**70
    assert event.metadata == {"k": "\ufffd", "list": "[1]"}


def test_ordinary_text_is_as_without_telemetry(run):
    # Without the buffered text the event starts a line, and so is detected in this mode.
    sidecar = run(
        """
        print("text", end="", file=sys.stderr)
        emit("a")
        print(" and its end", file=sys.stderr)
        """,
        "--embedded=ignore",
    )
    assert (sidecar.stderr, [event.name for event in sidecar.events]) == ("text and its end\n", ["a"])


def test_threads_and_forks(run):
    sidecar = run(
        """
        import threading

        def work():
            for number in range(100):
                with span("work", padding="x" * 1000):
                    pass

        def start(target):
            threads = [threading.Thread(target=target) for _ in range(3)]
            for thread in threads:
                thread.start()
            return threads

        before = start(work)
        with span("parent"):
            child = os.fork()
            if child == 0:
                work()
                os._exit(dropped())
        assert os.waitpid(child, 0)[1] == 0
        for thread in before:
            thread.join()
        """
    )
    starts = sidecar.named("work.start")
    (parent,) = sidecar.named("parent.start")
    assert (
        len({event.metadata["span_id"] for event in starts})
        == len(starts)
        == len(sidecar.named("work.stop"))
        == 400
    )
    children = [event for event in starts if "parent_span_id" in event.metadata]
    assert {event.metadata["parent_span_id"] for event in children} == {parent.metadata["span_id"]}
    assert (len(children), sidecar.stderr) == (100, "")


def test_a_line_is_one_write():
    # A pipe in packet mode keeps writes apart.
    reader, writer = os.pipe2(os.O_DIRECT)
    with open(writer, "wb") as stderr:
        alone(
            'for n in range(5): emit("a", {"n": n}, {"text": "x" * 5000 if n % 2 else "y" * 3000})',
            stderr=stderr,
        )
    packets = [os.read(reader, 4096) for _ in range(6)]
    os.close(reader)
    assert [json.loads(packet[10:])["measurements"]["n"] for packet in packets[:5]] == list(range(5))
    assert packets[5] == b""


def test_descriptor_2_that_is_no_stderr_any_more(tmp_path):
    done = alone(
        f"""
        os.close(2)
        emit("a")
        assert os.open({str(tmp_path / "database")!r}, os.O_CREAT | os.O_RDWR) == 2
        emit("b")
        print(dropped())
        """,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert (done.stdout, (tmp_path / "database").read_bytes()) == (b"2\n", b"")
    # Without a stderr from the start nothing is printed at all.
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *script("print(enabled())")]
    assert subprocess.run(command, env=WRAPPED, check=True, stdout=subprocess.PIPE).stdout == b"False\n"


def test_a_redirected_stderr_gets_events_only_by_force(tmp_path):
    for force, lines in (("", 0), ("enable()", 1)):
        with open(tmp_path / "log", "wb") as stderr:
            alone(f'{force}\nemit("a")', stderr=stderr)
        assert (tmp_path / "log").read_bytes().count(b"TELEMETRY:") == lines


def test_a_reader_that_has_gone():
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as stderr:
        done = alone(
            'emit("a")\nwith span("b"): pass\nprint(dropped())', stderr=stderr, stdout=subprocess.PIPE
        )
    assert done.stdout == b"3\n"


def test_a_pipe_that_does_not_block():
    """A full one delays a line once, for the time limit; when it is read, events are printed again."""
    code = """
        import time
        from telemetry_sidecar import _writer
        _writer.PATIENCE = 0.05
        os.set_blocking(2, False)
        try:
            while True: os.write(2, b"x" * 4095 + b"\\n")
        except BlockingIOError:
            pass
        began = time.monotonic()
        for n in range(1000): emit("lost", {"n": n})
        print(dropped(), time.monotonic() - began < 5, flush=True)
        sys.stdin.readline()
        emit("printed")
        print(dropped())
    """
    process = subprocess.Popen(
        script(code), env=WRAPPED, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"1000 True\n"
    filler = os.read(process.stderr.fileno(), 1 << 20)
    assert set(filler) == set(b"x\n")
    output, rest = process.communicate(b"\n", timeout=60)
    assert (output, json.loads(rest[10:])["event"], rest.count(b"\n")) == (b"1000\n", "printed", 1)


def test_a_line_that_was_written_in_part_is_ended():
    """A socket takes a part of a line; the rest follows if there is room in time, and otherwise a newline."""
    ours, theirs = socket.socketpair()
    code = """
        import socket
        from telemetry_sidecar import _writer
        _writer.PATIENCE = 0.05
        enable()
        os.set_blocking(2, False)
        own = socket.socket(fileno=os.dup(2))
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for n in range(100): emit("a", {"n": n}, {"text": "x" * 3000})
        print(dropped() > 0, flush=True)
        sys.stdin.readline()
        emit("last")
    """
    process = subprocess.Popen(
        script(code), env=WRAPPED, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs
    )
    theirs.close()
    assert process.stdout.readline() == b"True\n"
    ours.setblocking(False)
    data = ours.recv(1 << 20)
    process.stdin.write(b"\n")
    process.stdin.flush()
    ours.setblocking(True)
    while chunk := ours.recv(1 << 16):
        data += chunk
    process.communicate(timeout=60)
    lines = data.splitlines()
    assert json.loads(lines[-1][10:])["event"] == "last"
    assert all(line.startswith(b"TELEMETRY:") for line in lines)


def test_logging(run):
    sidecar = run(
        """
        import logging
        logging.getLogger().addHandler(TelemetryHandler(logging.INFO))
        log = logging.getLogger("my.module")
        log.setLevel(logging.DEBUG)
        log.debug("below the handler's level")
        with span("work", correlation_id="c"):
            log.info("loaded %d rows", 5, extra={"rows": 5, "level": "not this"})
        try:
            1 / 0
        except ZeroDivisionError:
            log.exception("failed")
        log.error("%d", "arguments that do not fit")
        # Records that no call of a logger makes: one is printed, the other counted.
        handler = logging.getLogger().handlers[0]
        handler.emit(logging.makeLogRecord({"levelname": None, "msg": "odd"}))
        handler.emit(logging.makeLogRecord({"exc_info": 5, "msg": "lost"}))
        assert dropped() == 1
        """
    )
    assert sidecar.named("log.")[0].metadata["message"] == "odd"
    logs = [event for event in sidecar.events if event.name in ("log.info", "log.error")]
    assert [event.name for event in logs] == ["log.info", "log.error", "log.error"]
    (start,) = sidecar.named("work.start")
    common = {"message": "loaded 5 rows", "logger": "my.module", "level": "INFO", "rows": "5"}
    assert logs[0].metadata == {**common, "span_id": start.metadata["span_id"]}
    assert (logs[0].correlation_id, logs[1].metadata["error_type"]) == ("c", "ZeroDivisionError")
    assert (logs[1].metadata["message"], logs[2].metadata["message"]) == ("failed", "%d")
    assert sidecar.stderr == ""


def test_snakepit_backend(run):
    # As snakepit_bridge.telemetry calls a backend.
    sidecar = run(
        """
        backend = SnakepitBackend()
        backend.emit("tool.execution.start", {"system_time": 1}, {"tool": "add"}, "abc")
        backend.emit("tool.execution.stop", {"duration": 5}, None, None)
        backend.close()
        """
    )
    assert [(event.name, event.correlation_id) for event in sidecar.events] == [
        ("tool.execution.start", "abc"),
        ("tool.execution.stop", ""),
    ]


def test_the_program_is_found(tmp_path):
    assert os.access(package.binary(), os.X_OK)
    command = [sys.executable, "-m", "telemetry_sidecar", "--version"]
    assert subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.startswith(
        b"telemetry-sidecar "
    )
    missing = {**os.environ, "TELEMETRY_SIDECAR_BIN": str(tmp_path / "x")}
    done = subprocess.run(command, env=missing, stderr=subprocess.PIPE, check=False, text=True)
    message = f"telemetry-sidecar: TELEMETRY_SIDECAR_BIN: '{tmp_path}/x' is not an executable file\n"
    assert (done.returncode, done.stderr) == (125, message)
