"""The fixtures ``telemetry_sidecar`` and ``telemetry_replay``."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Generator, Iterable, List, Mapping, Optional, Sequence, Union

import pytest

from ._arguments import StrPath
from ._process import Process
from ._writer import STDERR, writer
from .testing import Event, Replay, Sidecar, SidecarError

if TYPE_CHECKING:
    StartSidecar = Callable[..., Sidecar]
    StartReplay = Callable[..., Replay]

_started = pytest.StashKey[List[Process]]()

if writer.on:
    # A sidecar wraps pytest itself. Plugins are loaded before pytest captures descriptor 2, which would hide
    # events in its report.
    writer.fd = fcntl.fcntl(STDERR, fcntl.F_DUPFD_CLOEXEC, 3)


@pytest.fixture
def telemetry_sidecar(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[StartSidecar, None, None]:
    """Starts a command behind telemetry-sidecar; its events can be read and waited for.

    ``telemetry_sidecar(["python", "worker.py"], "--lifecycle", env=…, cwd=…, stdin=…)`` returns a
    :class:`telemetry_sidecar.testing.Sidecar`: ``address``, ``events``, ``wait_for(name)``, ``wait()``,
    ``stop()``, ``stdout``, ``stderr``. ``env`` is the whole environment: to add a variable write
    ``env={**os.environ, "NAME": "value"}``. What still runs at the end of the test is stopped."""
    started = _processes(request.node)

    def start(
        command: Sequence[StrPath],
        *options: str,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[StrPath] = None,
        stdin: Optional[int] = subprocess.DEVNULL,
    ) -> Sidecar:
        __tracebackhide__ = True
        sidecar = Sidecar(_folder(tmp_path_factory), command, options, env, cwd, stdin)
        started.append(sidecar)
        return sidecar

    yield _Start(start)
    _stop(started)


@pytest.fixture
def telemetry_replay(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[StartReplay, None, None]:
    """Serves a log, or a list of events, to a consumer of telemetry.

    ``telemetry_replay("spans.log", "--fail-after", "10", timeout=60)`` returns a
    :class:`telemetry_sidecar.testing.Replay`: ``address``, ``events``, ``wait()``, ``stop()``, ``stderr``.
    A log without events is an error unless ``allow_empty=True``. What still runs at the end of the test is
    stopped."""
    started = _processes(request.node)

    def start(
        log: Union[StrPath, Iterable[Union[Event, bytes, str]]],
        *options: str,
        timeout: float = 60,
        allow_empty: bool = False,
    ) -> Replay:
        __tracebackhide__ = True
        replay = Replay(_folder(tmp_path_factory), log, options, timeout, allow_empty)
        started.append(replay)
        return replay

    yield _Start(start)
    _stop(started)


class _Start:
    """What the fixtures are: called, they start a process."""

    def __init__(self, start: Callable[..., Any]) -> None:
        self._start = start

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        for name in kwargs:
            if name not in self._start.__annotations__:
                option = name.replace("_", "-")
                raise TypeError(f"no argument {name}; options are words of their own, such as '--{option}'")
        return self._start(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        fixture = self._start.__qualname__.partition(".")[0]
        raise AttributeError(
            f"'{name}': {fixture} is a fixture here; call it and use what it returns, and for the module "
            f"telemetry_sidecar write 'from telemetry_sidecar import {name}'"
        )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Adds to the report of a failed test what its sidecars did."""
    outcome = yield
    report = outcome.get_result()
    is_said = call.excinfo is not None and call.excinfo.errisinstance(SidecarError)
    if report.failed and not is_said:
        sections = [("telemetry-sidecar", process.report()) for process in item.stash.get(_started, [])]
        report.sections.extend(sections)


def _processes(item: pytest.Item) -> List[Process]:
    return item.stash.setdefault(_started, [])


def _folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("telemetry-sidecar")


def _stop(started: List[Process]) -> None:
    for process in started:
        process.stop()
