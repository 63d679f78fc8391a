"""The pytest plugin, in tests of tests."""

import os
import subprocess
import sys
import urllib.request
from importlib.metadata import distributions

import pytest

from telemetry_sidecar import Event
from telemetry_sidecar.testing import Replay, Sidecar, SidecarError

# Without the wheel there is no entry point.
ENTRY_POINTS = [point.value for distribution in distributions() for point in distribution.entry_points]
IS_INSTALLED = "telemetry_sidecar.pytest_plugin" in ENTRY_POINTS
PLUGIN = [] if IS_INSTALLED else ["-p", "telemetry_sidecar.pytest_plugin"]

FAILING = """
def test_fails(telemetry_sidecar):
    sidecar = telemetry_sidecar(["sh", "-c", "echo the reason >&2; exit 3"])
    assert sidecar.wait() == 0

def test_never(telemetry_sidecar):
    telemetry_sidecar(["sh", "-c", "echo another reason >&2"]).wait_for("no.such.event")

def test_wrong(telemetry_sidecar):
    telemetry_sidecar(["true"], "--no-such-option")

def test_replay(telemetry_replay):
    telemetry_replay("/nonexistent.log")

def test_late(telemetry_replay):
    telemetry_replay(['TELEMETRY:{"event": "a"}'], timeout=0.1).wait()
"""


def pytest_in(folder, text, *prefix):
    (folder / "test_it.py").write_text(text)
    command = [*prefix, sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider", "test_it.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_failures_are_explained(tmp_path):
    output = pytest_in(tmp_path, FAILING).stdout
    assert "5 failed" in output
    for words in (
        "the reason",
        "(ended with 3)",
        "SidecarError: 0 of 1 events 'no.such.event' until the worker's end",
        "another reason",
        "SidecarError: the sidecar has ended before it served",
        "telemetry-sidecar: --no-such-option: no such option",
        "/nonexistent.log: No such file or directory",
        "SidecarError: the replay has ended with 124 (not everything was delivered in time)",
    ):
        assert words in output, output


def test_events_of_tests_are_not_captured_by_pytest(tmp_path, telemetry_sidecar):
    (tmp_path / "test_it.py").write_text(
        "import telemetry_sidecar, sys\n"
        "def test_it():\n    print('hidden', file=sys.stderr)\n    telemetry_sidecar.emit('in.a.test')\n"
    )
    command = [sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider", "test_it.py"]
    sidecar = telemetry_sidecar(command, cwd=tmp_path)
    assert sidecar.wait() == 0, sidecar.report()
    assert ([event.name for event in sidecar.events], sidecar.stderr) == (["in.a.test"], "")


def test_a_wrapped_command(telemetry_sidecar):
    sidecar = telemetry_sidecar(
        [
            "sh",
            "-c",
            """echo 'TELEMETRY:{"event": "a", "measurements": {"n": NaN}}' >&2; echo text; read line""",
        ],
        "--metadata",
        "region=eu",
        stdin=subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    (event,) = sidecar.wait_for("a")
    assert event.measurements["n"] != event.measurements["n"] and event.metadata == {"region": "eu"}
    assert sidecar.wait_for(lambda event: event.metadata["region"] == "eu") == [event]
    assert sidecar.returncode is None and sidecar.address.startswith("127.0.0.1:")
    with pytest.raises(SidecarError, match="has not ended within 0.01 s"):
        sidecar.wait(0.01)
    sidecar.process.stdin.close()
    assert (sidecar.wait(), sidecar.stdout, sidecar.named("b")) == (1, "text\n", [])


def test_the_addresses_of_a_sidecar(telemetry_sidecar, tmp_path):
    options = ["--export-prometheus", "127.0.0.1:0", "--listen", f"unix:{tmp_path}/socket"]
    worker = """echo 'TELEMETRY:{"event": "a"}' >&2; exec sleep 60"""
    sidecar = telemetry_sidecar(["sh", "-c", worker], *options)
    sidecar.wait_for("a")
    with urllib.request.urlopen(f"http://{sidecar.metrics_address}/metrics", timeout=60) as page:
        assert b'snakepit_events_total{event="a"} 1' in page.read()
    command = [sidecar.process.args[0], "tail", "--json", "-n", "1", sidecar.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tail:
        assert Event.from_json(tail.stdout.readline()).name == "a"
        sidecar.stop()


def test_each_sidecar_has_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Sidecar(tmp_path / "missing", ["true"])
    Sidecar(str(tmp_path), ["true"]).wait()
    for again in (lambda: Sidecar(tmp_path, ["true"]), lambda: Replay(tmp_path, [Event("a")])):
        with pytest.raises(FileExistsError, match="make one for each"):
            again()


def test_a_sidecar_is_stopped(telemetry_sidecar):
    sidecar = telemetry_sidecar(["sleep", "60"])
    assert (sidecar.stop(), sidecar.stop()) == (-15, -15)


def test_a_replay_delivers_every_event(telemetry_replay):
    events = [
        Event("tool.execution.stop", {"duration": 5, "loss": float("inf")}, {"tool": "x"}, 7, "c"),
        Event("cache.hit", timestamp_ns=8),
    ]
    replay = telemetry_replay(["ordinary text", *events, b'TELEMETRY:{"event": "a", "timestamp_ns": 9}\n'])
    assert replay.events == [*events, Event("a", timestamp_ns=9)]
    # Any consumer: here the sidecar's own.
    command = [replay.process.args[0], "tail", "--json", replay.address]
    output = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    assert [Event.from_json(line) for line in output.splitlines()] == replay.events
    assert replay.wait() == 0


ODD = [
    ('telemetry_sidecar("python worker.py")', "the command must be a list of words, such as"),
    ("telemetry_sidecar([])", "the command is empty"),
    ("telemetry_sidecar(5)", "the command must be a list of words"),
    ('telemetry_sidecar(["sleep", 5])', "command[1] must be text or a path, not 5: write str(…)"),
    ('telemetry_sidecar(["true"], ["--lifecycle"])', "write *['--lifecycle']"),
    ('telemetry_sidecar(["true"], "--linger", 5)', "an option must be text or a path, not 5"),
    ('telemetry_sidecar(["true"], "--export-jsonl=x")', "is set by the fixture: use events"),
    ('telemetry_sidecar(["true"], "--ready-file", "x")', "is set by the fixture: use address"),
    ("telemetry_sidecar.capture()", "write 'from telemetry_sidecar import capture'"),
    ('telemetry_sidecar(["true"], env={"A": 1})', "env['A'] must be text or a path, not 1"),
    ('telemetry_sidecar(["true"], env=["A=1"])', "env must be a dict"),
    ('telemetry_sidecar(["cat"], stdin="text")', "write to sidecar.process.stdin"),
    ('telemetry_sidecar(["true"], cwd="/nonexistent")', "cwd: '/nonexistent' is not a directory"),
    ('telemetry_sidecar(["true"], lifecycle=True)', "options are words of their own, such as '--lifecycle'"),
    ('telemetry_sidecar(["true"]).metrics_address', "add the options"),
    ("telemetry_sidecar(['echo', 'TELEMETRY:{}']).wait_for('a')", "print events to stderr"),
    ('telemetry_sidecar(["true"]).wait("5")', "the timeout must be a number of seconds, not '5'"),
    ('telemetry_sidecar(["true"]).wait_for(5)', "text or a condition, such as lambda event: …, not 5"),
    ('telemetry_sidecar(["true"]).wait_for("a", count=0)', "the count of events must be at least 1"),
    ('telemetry_sidecar(["true"]).named(Event("a"))', "write the name of the event, 'a', not an Event"),
    ('telemetry_sidecar(["true"]).stop("TERM")', "the signal must be a number, such as signal.SIGINT"),
    ('telemetry_replay({"event": "a"})', "a list of events and lines"),
    ('telemetry_replay(Event("a"))', "a list of events and lines"),
    ("telemetry_replay(b'TELEMETRY:{}')", "a list of events and lines"),
    ("telemetry_replay('TELEMETRY:{}')", "put the text into a list"),
    ('telemetry_replay([{"event": "a"}])', "log[0] must be an Event, such as"),
    ('telemetry_replay([Event("a"), Event(5)])', "log[1]: the name of an Event must be text"),
    ('telemetry_replay([Event("a", 5)])', "log[0]: Event 'a': measurements must be a dict, not 5"),
    ('telemetry_replay([Event("a", {"x": {1}})])', "Event 'a': Object of type set is not JSON serializable"),
    ('telemetry_replay([Event("a")], timeout="1s")', "the timeout must be a number of seconds, not '1s'"),
    ('telemetry_replay(["text"])', "the log has no event: telemetry-sidecar: no telemetry lines"),
    ('telemetry_replay([\'TELEMETRY:{"event": "a"\'])', "1 line starts with TELEMETRY: and is no event"),
    ("telemetry_replay([])", "the log has no event"),
    ("telemetry_replay(__file__)", "allow_empty=True"),
]


def test_odd_arguments_are_explained_in_one_line(tmp_path):
    text = "from telemetry_sidecar import Event\n"
    for number, (call, _) in enumerate(ODD):
        fixture = call.partition("(")[0].partition(".")[0]
        text += f"\ndef test_{number}({fixture}):\n    {call}\n"
    output = pytest_in(tmp_path, text, "env", "COLUMNS=200").stdout
    assert f"{len(ODD)} failed" in output
    for number, (call, expected) in enumerate(ODD):
        report = output.partition(f" test_{number} ")[2].partition("\n____")[0]
        (error, *_) = [line for line in report.splitlines() if line.startswith("E ")]
        assert expected in error, (call, report)
        # The report shows the test's own frame, and no other one.
        assert "\n_ _ " not in report or "subprocess.py" in report, report


def test_a_log_without_events_is_replayed_on_request(telemetry_replay):
    replay = telemetry_replay(["text"], allow_empty=True)
    assert (replay.wait(), replay.events) == (0, [])


@pytest.mark.parametrize("options", [["--embedded", "ignore"], ["--embedded=ignore"], []])
def test_options_that_say_what_an_event_is_apply_to_the_events_of_a_log(telemetry_replay, options):
    lines = ['TELEMETRY:{"event": "a"}', 'bar TELEMETRY:{"event": "b"}']
    replay = telemetry_replay(lines, "--pace", *options)
    expected = [Event("a"), Event("b")][: 1 if options else 2]
    assert replay.events == expected
    # They can be replayed in turn.
    assert telemetry_replay(replay.events).events == expected


def test_a_missing_program_is_named(tmp_path):
    text = 'def test_it(telemetry_replay):\n    telemetry_replay(["text"])\n'
    # The program beside the interpreter and in PATH is not found.
    environment = ["env", "-u", "TELEMETRY_SIDECAR_BIN", "PATH=/nonexistent"]
    hide = "import sysconfig, sys\nsysconfig.get_path = lambda *_: '/none'\nsys.executable = '/none/python'\n"
    output = pytest_in(tmp_path, hide + text, *environment).stdout
    assert "put telemetry-sidecar in PATH or set TELEMETRY_SIDECAR_BIN" in output
    output = pytest_in(tmp_path, text, "env", "TELEMETRY_SIDECAR_BIN=/nonexistent").stdout
    assert "TELEMETRY_SIDECAR_BIN: '/nonexistent' is not an executable file" in output
