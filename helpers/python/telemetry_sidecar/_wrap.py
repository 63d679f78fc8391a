"""Functions of every kind, with a span around what they do."""

from __future__ import annotations

from functools import partial, wraps

from ._context import current
from ._writer import writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from ._context import Scope

    Begin = Callable[[], Optional[Any]]
    End = Callable[[Any, Optional[BaseException]], None]

# Flags of code objects; the module inspect takes long to load.
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200


def wrap(function: Any, begin: Begin, end: End) -> Any:
    """The function with a span around each call. Of a generator the span lasts from the first item to the
    last, and what its caller does between two items is not within it."""
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(wrap(function.__func__, begin, end))
    if isinstance(function, type) or not callable(function):
        # A class has to stay one.
        return function
    flags = _flags(function)
    if flags & _COROUTINE:
        make = _coroutine
    elif flags & _GENERATOR:
        make = _generator
    elif flags & _ASYNC_GENERATOR:
        make = _async_generator
    else:
        make = _function
    return wraps(function)(make(function, begin, end))


def _flags(function: Any) -> int:
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    if not hasattr(function, "__code__"):
        function = getattr(type(function), "__call__", None)
    return int(getattr(getattr(function, "__code__", None), "co_flags", 0))


class _Entered:
    """Makes a run the current scope for a call, and ends it with the error that the call raised."""

    __slots__ = ("_end", "_run")

    def __init__(self, run: Any, end: End) -> None:
        self._run = run
        self._end = end

    def __enter__(self) -> None:
        current.set(self._run)

    def __exit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        self._run.leave()
        self._end(self._run, error)


def _function(function: Any, begin: Begin, end: End) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        if not writer.on:
            return function(*args, **kwargs)
        run = begin()
        if run is None:
            return function(*args, **kwargs)
        with _Entered(run, end):
            return function(*args, **kwargs)

    return call


def _coroutine(function: Any, begin: Begin, end: End) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        run = begin()
        if run is None:
            return await function(*args, **kwargs)
        with _Entered(run, end):
            return await function(*args, **kwargs)

    return call


class _Inside:
    """Makes a generator's scope the current one while its code runs, and its caller's otherwise."""

    __slots__ = ("_outside", "_scope")

    def __init__(self, run: Optional[Scope]) -> None:
        self._scope: Optional[Scope] = run

    def __enter__(self) -> None:
        self._outside = current.get()
        current.set(self._scope)

    def __exit__(self, *_: Any) -> None:
        self._scope = current.get()
        current.set(self._outside)


def _generator(function: Any, begin: Begin, end: End) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        run = begin()
        if run is None:
            return (yield from function(*args, **kwargs))
        inside = _Inside(run)
        try:
            with inside:
                items = function(*args, **kwargs)
            step, argument = items.send, None
            while True:
                try:
                    with inside:
                        item = step(argument)
                except StopIteration as stop:
                    result = stop.value
                    break
                try:
                    argument = yield item
                    step = items.send
                except GeneratorExit:
                    with inside:
                        items.close()
                    raise
                except BaseException as error:
                    step, argument = items.throw, error
        except BaseException as error:
            end(run, error)
            raise
        end(run, None)
        return result

    return call


def _async_generator(function: Any, begin: Begin, end: End) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        run = begin()
        inside = _Inside(current.get() if run is None else run)
        try:
            with inside:
                items = function(*args, **kwargs)
            step, argument = items.asend, None
            while True:
                try:
                    with inside:
                        item = await step(argument)
                except StopAsyncIteration:
                    break
                try:
                    argument = yield item
                    step = items.asend
                except GeneratorExit:
                    with inside:
                        await items.aclose()
                    raise
                except BaseException as error:
                    step, argument = items.athrow, error
        except BaseException as error:
            if run is not None:
                end(run, error)
            raise
        if run is not None:
            end(run, None)

    return call
