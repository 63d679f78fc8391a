"""Spans: operations with a start and an end."""

from __future__ import annotations

from time import perf_counter_ns, time_ns

from ._context import Scope, current, new_correlation_id, new_span_id
from ._emit import write
from ._values import text
from ._wrap import wrap
from ._writer import writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, Dict, Optional, Set, Type, TypeVar, Union

    F = TypeVar("F", bound=Callable[..., Any])

# Of an exception's text, in characters.
MAX_MESSAGE = 500
MAX_TRACEBACK = 2000


class Run:
    """One execution of a span: what ``with span(…) as run`` gives. Without a sidecar its methods do
    nothing."""

    __slots__ = ()

    # Both are empty without a sidecar.
    span_id = ""
    correlation_id = ""

    def measure(self, /, **measurements: Any) -> None:
        """Adds measurements to the event at the end: numbers, of which exporters make metrics."""

    def note(self, /, **metadata: Any) -> None:
        """Adds metadata to the event at the end."""


_IDLE = Run()


class _OpenRun(Scope, Run):
    __slots__ = ("_began", "_measurements", "_metadata", "_operation")

    def __init__(self, span: Span) -> None:
        around = current.get()
        metadata = dict(span._metadata)
        id = text(metadata.pop("correlation_id", ""))
        ids = {"span_id": new_span_id()}
        if around is not None and (not id or id == around.correlation_id):
            id = around.correlation_id
            if around.span_id:
                ids["parent_span_id"] = around.span_id
        Scope.__init__(self, around, id or new_correlation_id(), ids["span_id"])
        self._operation = text(span._operation)
        # The ids first, so that they are the last to be dropped of a line that is too long.
        self._metadata: Dict[str, Any] = {**ids, **metadata}
        self._measurements: Dict[str, Any] = {}
        if span._prints_start:
            self._print("start", {"system_time": time_ns()})
        self._began = perf_counter_ns()

    def measure(self, /, **measurements: Any) -> None:
        self._measurements.update(measurements)

    def note(self, /, **metadata: Any) -> None:
        self._metadata.update(metadata)

    def end(self, error: Optional[BaseException]) -> None:
        duration = perf_counter_ns() - self._began
        phase = "stop"
        # A generator that its caller has not exhausted has not failed.
        if error is not None and not isinstance(error, GeneratorExit):
            phase = "exception"
            self._metadata.update(failure(error))
        self._print(phase, {"duration": duration, **self._measurements})

    def _print(self, phase: str, measurements: Dict[str, Any]) -> None:
        if writer.on:
            write(f"{self._operation}.{phase}", measurements, self._metadata, self.correlation_id)


class Span:
    """An operation to measure: a context manager and a decorator. It can be used again, also at the same
    time."""

    __slots__ = ("_metadata", "_operation", "_prints_start", "_runs")

    def __init__(self, operation: Any, metadata: Dict[str, Any], prints_start: bool) -> None:
        self._operation = operation
        self._metadata = metadata
        self._prints_start = prints_start
        # The open ones that were entered as a block. Made when it is needed: not without a sidecar.
        self._runs: Optional[Set[_OpenRun]] = None

    def __enter__(self) -> Run:
        if not writer.on:
            return _IDLE
        run = self._begin()
        if run is None:
            return _IDLE
        if self._runs is None:
            self._runs = set()
        self._runs.add(run)
        current.set(run)
        return run

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if not self._runs:
            return
        run = self._innermost(self._runs)
        if run is not None:
            self._runs.discard(run)
            run.leave()
            _end(run, error)

    def __call__(self, function: F) -> F:
        wrapped: F = wrap(function, self._begin, _end)
        return wrapped

    def _begin(self) -> Optional[_OpenRun]:
        """A new run, if events are printed."""
        if not writer.on:
            return None
        try:
            if text(self._operation):
                return _OpenRun(self)
        except Exception:
            pass
        # Without a name nothing can be printed.
        writer.dropped += 1
        return None

    def _innermost(self, runs: Set[_OpenRun]) -> Optional[_OpenRun]:
        """The run that ends: of several at once, the last one that this thread or task has entered."""
        scope = current.get()
        while scope is not None:
            if isinstance(scope, _OpenRun) and scope in runs:
                return scope
            scope = scope.parent
        # Entered in another context, as in a generator that the garbage collector closes.
        return next(iter(runs)) if len(runs) == 1 else None


def _end(run: _OpenRun, error: Optional[BaseException]) -> None:
    try:
        run.end(error)
    except Exception:
        writer.dropped += 1


def span(operation: str, /, **metadata: Any) -> Span:
    """Measures an operation: ``with span("tool.execution", tool="add"):``, or ``@span("tool.execution")`` in
    front of a function, a coroutine or a generator.

    Prints ``OPERATION.start``, and at the end ``OPERATION.stop`` or ``OPERATION.exception``, with the
    ``duration`` in nanoseconds; an exception goes on. All have a ``span_id`` in their metadata, and a
    ``parent_span_id`` if they are within another span. A ``correlation_id`` in the metadata is that of the
    span and of everything within it; the outermost span without one gets a random one.

    A span whose operation is None or empty prints nothing and is counted as dropped."""
    return Span(operation, metadata, True) if type(operation) is str else _span(operation, metadata, True)


def timed(operation: str, /, **metadata: Any) -> Span:
    """The same as :func:`span` without the event ``OPERATION.start``: half as many lines. An operation that
    never ends is then not seen."""
    return Span(operation, metadata, False) if type(operation) is str else _span(operation, metadata, False)


def _span(operation: Union[str, Any], metadata: Dict[str, Any], prints_start: bool) -> Any:
    if callable(operation) and not metadata:
        # The decorator without parentheses.
        name = f"{getattr(operation, '__module__', '')}.{getattr(operation, '__qualname__', 'call')}"
        return Span(name.replace(".<locals>", ""), {}, prints_start)(operation)
    return Span(operation, metadata, prints_start)


def failure(error: BaseException) -> Dict[str, str]:
    """The metadata that consumers expect of an exception."""
    return {
        "error_type": type(error).__name__,
        "error_message": text(error)[:MAX_MESSAGE],
        "traceback": _traceback(error)[-MAX_TRACEBACK:],
    }


def _traceback(error: BaseException) -> str:
    try:
        import traceback

        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:
        return ""
