"""What `top` shows, and what keys do."""

import gzip
import json
import re

import pytest

from screen import SIDECAR, Screen, wait_until
from workers import Worker


def pid(worker):
    """The pid of a sidecar's worker."""
    path = f"/proc/{worker.process.pid}/task/{worker.process.pid}/children"

    def first():
        children = open(path).read().split()
        names = {child: open(f"/proc/{child}/comm").read().strip() for child in children}
        return next((child for child, name in names.items() if name in ("sh", "bash", "dash")), None)

    return wait_until("the worker", first)


@pytest.fixture
def two():
    with Worker() as one, Worker(code=3) as other:
        yield one, other


def top(screen, *workers, options=""):
    addresses = " ".join(worker.address for worker in workers)
    screen.run(f"$SIDECAR top {options} {addresses}")
    count = f"{len(workers)} worker{'s' * (len(workers) > 1)} "
    return screen.wait(count, *(pid(worker) for worker in workers), without=["connecting"])


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 50)])
def test_all_parts_are_shown(two, width, height):
    one, other = two
    with Screen(width, height) as screen:
        top(screen, one, other)
        one.emit("tool.execution.start")
        one.emit("tool.execution.stop", {"duration": 5_200_000})
        one.emit("train.step", {"loss": 2.0})
        one.emit("train.step", {"loss": 1.5})
        other.emit("tool.execution.exception", {"duration": 1_000_000}, {"message": "out of memory"})
        screen.wait("1 error", "train.step.loss", "out of memory", "duration=5.2ms")
        text = screen.wait_for(r"^ +tool\.execution +2 .* 1 ").string
        lines = text.split("\n")
        assert len(lines) == height and all(len(line) <= width for line in lines)
        assert lines[-1].startswith("q quit  ? help  Tab pane")
        assert re.search(r"train\.step\.loss +2 +2 +1\.5 ", text), text
        assert [title for line in lines for title in re.findall("^[─━] ([A-Z]+)", line)] == [
            *("WORKERS", "OPERATIONS", "MEASUREMENTS", "EVENTS"),
        ]
        screen.keys("q")
        screen.wait("prompt$", without=["WORKERS"])


def test_the_size_may_change(two):
    with Screen() as screen:
        top(screen, *two)
        for width, height in [(120, 30), (60, 15), (30, 8), (40, 10), (1, 1), (200, 60)]:
            screen.resize(width, height)
            if (width, height) == (30, 8):
                screen.wait("at least 40 columns")
            elif width >= 40:
                fits = lambda lines: len(lines) == height and lines[-1].startswith("q quit")
                wait_until(f"{width} x {height}", screen.lines, fits)
        two[0].emit("still.there")
        screen.wait("still.there")


def test_a_worker_that_ends_stays_with_its_exit(two):
    one, other = two
    with Screen() as screen:
        top(screen, one, other)
        pids = [pid(worker) for worker in (other, one)]
        other.emit("last.words")
        assert other.end() == 3
        screen.wait("1 worker ", "1 ended, 1 failed", "exited with 3", "last.words")
        one.end()
        screen.wait("0 workers", "2 ended, 1 failed", "exited with 0", "WORKERS by failure, start")
        # The one that has failed joined last.
        assert rows(screen, "WORKERS") == pids
        screen.keys("/")
        screen.type("exited with 0")
        screen.keys("Enter")
        wait_until("one filtered row", lambda: rows(screen, "WORKERS"), lambda rows: rows == [pids[1]])


def test_workers_and_operations_are_opened(two):
    one, other = two
    one.emit("before")
    with Screen() as screen:
        top(screen, one, other)
        one.emit("first.stop", {"duration": 1, "rows": 1})
        other.emit("second.stop", {"duration": 1, "rows": 2})
        other.emit("third", {"x": 3})
        screen.wait("first.rows", "second.rows", "third.x")
        screen.keys("j", "Enter")
        screen.wait(f"of {pid(other)}", "second.rows", "third.x", without=["first"])
        screen.keys("G", "Enter")
        # Only the operation's events and measurements are left.
        screen.wait("EVENTS of third", "third.x", without=["second.rows", "second.stop"])
        screen.keys("Escape")
        screen.wait("second.stop", f"* {pid(other)}", without=["EVENTS of third"])
        screen.keys("Escape")
        screen.wait("first.rows", "second.rows", without=[f"of {pid(other)}"])
        # It only observes: the event of before is not taken from anybody.
        assert "before" not in screen.text()


def test_filters(two):
    one, other = two
    with Screen() as screen:
        top(screen, one, other)
        for name in ("tool.call.stop", "tool.load.stop", "cache.hit"):
            one.emit(name, {"duration": 1})
        screen.wait("tool.call", "tool.load", "cache.hit")
        screen.keys("Tab", "/")
        screen.wait("filter operations:")
        screen.type("TOOL")
        screen.wait("OPERATIONS by time /TOOL", "filter operations: TOOL_")
        screen.keys("Enter")
        wait_until("one filtered row", lambda: rows(screen, "OPERATIONS"), lambda rows: len(rows) == 2)
        screen.keys("/")
        screen.type("*.hit")
        screen.keys("Enter")
        wait_until("one row", lambda: rows(screen, "OPERATIONS"), lambda rows: rows == ["cache.hit"])
        screen.keys("/", "Escape")
        wait_until("all rows", lambda: rows(screen, "OPERATIONS"), lambda rows: len(rows) == 3)


def test_a_filter_without_hits_says_so(two):
    one, _ = two
    with Screen() as screen:
        top(screen, one)
        one.emit("tool.call.stop", {"duration": 1, "rows": 1})
        screen.wait("tool.call.rows")
        for what in ("worker", "operation", "measurement", "event"):
            screen.keys("/")
            screen.type("loss")
            screen.keys("Enter")
            screen.wait(f'no {what} matches "loss"')
            screen.keys("/", "Escape")
            screen.wait("WORKERS", without=["matches"])
            screen.keys("Tab")


def test_a_measurement_is_opened_as_a_chart(two):
    one, _ = two
    with Screen() as screen:
        top(screen, one)
        for rss in range(1, 65):
            one.emit("python.memory.sampled", {"rss_bytes": rss << 20})
        screen.wait("sampled.rss_bytes", "64 MiB")
        screen.keys("Tab", "Tab")
        screen.wait("━ MEASUREMENTS", "Enter open")
        screen.keys("Enter")
        screen.wait("count 64  first 1 MiB  last 64 MiB  min 1 MiB  max 64 MiB", without=["WORKERS", "Enter"])
        screen.wait_for("^ +64 MiB .*█$")
        one.emit("python.memory.sampled", {"rss_bytes": 100 << 20})
        screen.wait("max 100 MiB", "Esc back")
        screen.keys("Escape")
        screen.wait("WORKERS", "Enter open")


def rows(screen, pane):
    """The first words of the rows of a pane."""
    lines = screen.lines()
    start = next((at for at, line in enumerate(lines) if re.match(f"[─━=-] {pane}", line)), len(lines))
    found = []
    for line in lines[start + 2 :]:
        if re.match("[─━=-] [A-Z]|q quit|filter ", line):
            break
        found.append(line[2:].split()[0])
    return found


def test_a_long_filter_shows_its_end(two):
    with Screen() as screen:
        top(screen, two[0])
        screen.keys("/")
        screen.type("a" * 100 + "the-end")
        screen.wait("filter workers: aaa", "athe-end_")
        screen.keys("BSpace", "BSpace")
        screen.wait("athe-e_")


def test_orders(two):
    one, _ = two
    with Screen() as screen:
        top(screen, one)
        operations = [(3, "b.quick.stop", 1000), (1, "a.slow.stop", 10**9), (2, "c.error.exception", 10)]
        for count, name, duration in operations:
            for _ in range(count):
                one.emit(name, {"duration": duration})
        screen.wait("a.slow", "b.quick", "c.error")
        screen.keys("Tab")
        for order, expected in [
            ("time", ["a.slow", "b.quick", "c.error"]),
            ("count", ["b.quick", "c.error", "a.slow"]),
            ("errors", ["c.error", "b.quick", "a.slow"]),
            ("p95", ["a.slow", "b.quick", "c.error"]),
            ("name", ["a.slow", "b.quick", "c.error"]),
        ]:
            screen.wait(f"OPERATIONS by {order}")
            wait_until(order, lambda: rows(screen, "OPERATIONS"), lambda rows: rows == expected)
            screen.keys("s")


def test_pause_keeps_what_is_shown(two):
    one, _ = two
    with Screen() as screen:
        top(screen, one)
        one.emit("a.b")
        screen.wait("a.b")
        screen.keys("p")
        screen.wait("PAUSED")
        one.emit("c.d")
        # Something that happens for sure: the help is drawn, and the paused screen again.
        screen.keys("?")
        screen.wait("any key closes this")
        screen.keys("x")
        screen.wait("PAUSED", "a.b", without=["c.d", "any key"])
        screen.keys("Space")
        screen.wait("c.d", without=["PAUSED"])


def test_only_events(two):
    one, _ = two
    with Screen() as screen:
        top(screen, one)
        for count in range(40):
            one.emit("a.b", {"count": count})
        screen.wait("count=39")
        screen.keys("e")
        screen.wait("count=39", "count=20", without=["WORKERS"])
        screen.keys("PPage")
        screen.wait("newer below", "count=0", without=["count=39"])
        screen.keys("e")
        screen.wait("WORKERS", "count=39")


def test_text_of_workers_is_only_text(two):
    one, _ = two
    with Screen() as screen:
        top(screen, one)
        one.emit("a\x1b[2J.b\u009b31m", {"x\x07": 1}, {"k": "\x1b]0;title\x07"})
        screen.wait("a\\u{1b}[2J.b", "WORKERS")


def test_all_sidecars_of_the_host_are_found(two):
    one, other = two
    with Screen(width=120) as screen:
        screen.run("$SIDECAR top")
        screen.wait("WORKERS")
        screen.keys("/")
        screen.type(pid(one))
        screen.keys("Enter")
        screen.wait_for(rf"^. {pid(one)} +sh -c cat >&2; exit 0 ")
        with Worker(code=4) as late:
            screen.keys("/")
            screen.type(pid(late))
            screen.keys("Enter")
            screen.wait_for(rf"^. {pid(late)} +sh -c cat >&2; exit 4 ")
            late_pid = pid(late)
            late.end()
            screen.wait_for(rf"^. {late_pid} .* exit 4 ")
        screen.keys("q")
        screen.wait("prompt$", without=["WORKERS"])


def events(count):
    measurements = {"duration": 10**6}
    event = {"event": "tool.stop", "measurements": measurements}
    return [event | {"timestamp_ns": at * 10**8} for at in range(count)]


def recording(path, form):
    # As decode prints them.
    lines = [json.dumps(event | {"metadata": {}, "correlation_id": ""}) for event in events(101)]
    if form != "json":
        lines = ["text", *(f"TELEMETRY:{line}" for line in lines)]
    content = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if form == "gzip" else content)


@pytest.mark.parametrize("form", ["stderr", "gzip", "json"])
def test_a_recording(tmp_path, form):
    recording(tmp_path / "log", form)
    with Screen() as screen:
        screen.run(f"$SIDECAR top {tmp_path}/log")
        # 101 events in 10 seconds.
        screen.wait("1 recording ", "complete", "10s", "10.1/s", "101")
        screen.keys("q")
        screen.wait("prompt$", without=["WORKERS"])
        screen.run(f"$SIDECAR decode {tmp_path}/log | $SIDECAR top -")
        if form != "json":
            # Keys come from the terminal.
            screen.wait("1 recording ", "complete", "10.1/s")
            screen.keys("q")
            screen.wait("prompt$", without=["WORKERS"])


def test_what_is_neither_a_file_nor_an_address():
    with Screen() as screen:
        screen.run("$SIDECAR top missing.log; echo status $?")
        screen.wait("'missing.log': neither a file nor a sidecar", "status 125")
        screen.run("clear; $SIDECAR top -; echo status $?")
        screen.wait("standard input is the terminal", "status 125")


def test_once(two):
    one, _ = two
    with Screen(width=100) as screen:
        once = f"$SIDECAR top --once --interval 300ms {one.address}"
        screen.run(f"{once} | cat; echo status ${{PIPESTATUS[0]}}")
        screen.wait("1 worker ", pid(one), "status 0", without=["q quit"])
        screen.run(f"clear; $SIDECAR top {one.address} | cat; echo end")
        screen.wait("1 worker ", "end", without=["q quit"])
