"""The open span and the correlation id of the code that runs, in a context variable: each thread and each
task of asyncio has its own, and a task starts with those of the code that created it."""

from __future__ import annotations

from contextvars import ContextVar
from os import urandom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional


class Scope:
    """A span or a correlation id that is in force, within another one."""

    __slots__ = ("correlation_id", "is_left", "parent", "span_id")

    def __init__(self, parent: Optional[Scope], correlation_id: str, span_id: str) -> None:
        self.parent = parent
        self.correlation_id = correlation_id
        # Empty outside of spans.
        self.span_id = span_id
        # Whether it has ended before a scope within it.
        self.is_left = False

    def leave(self) -> None:
        """Makes the scope around it the current one again."""
        if current.get() is not self:
            # The end of a generator, or in another context than the start.
            self.is_left = True
            return
        parent = self.parent
        while parent is not None and parent.is_left:
            parent = parent.parent
        current.set(parent)


current: ContextVar[Optional[Scope]] = ContextVar("telemetry_sidecar", default=None)


def correlation_id() -> str:
    """The correlation id in force, empty if there is none."""
    scope = current.get()
    return "" if scope is None else scope.correlation_id


class correlation:
    """Gives the events and spans of a block this correlation id: ``with correlation("request-7"):``.

    Another id than the one in force starts a new trace: spans in the block have no parent outside of it. A
    W3C ``traceparent`` continues the caller's trace."""

    __slots__ = ("_id", "_scopes")

    def __init__(self, id: str) -> None:
        self._id = id
        self._scopes: list[Scope] = []

    def __enter__(self) -> None:
        from ._values import text

        around = current.get()
        id = text(self._id)
        inherits = around is not None and around.correlation_id == id
        scope = Scope(around, id, around.span_id if around is not None and inherits else "")
        self._scopes.append(scope)
        current.set(scope)

    def __exit__(self, *_: object) -> None:
        if self._scopes:
            self._scopes.pop().leave()


def new_span_id() -> str:
    # The system's: the module random would repeat ids after a fork and after a program's own seed().
    return urandom(8).hex()


def new_correlation_id() -> str:
    return urandom(16).hex()
