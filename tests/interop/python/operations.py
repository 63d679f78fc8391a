"""The same operations, reported to any tracer.

As a program it is a worker that reports them as lines, with `--ids` including the ids of spans and parents.
"""

import asyncio
import contextlib
import contextvars
import json
import os
import secrets
import sys
import threading
import time
import traceback

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"
THREADS = TASKS = 3


def run(tracer):
    """A tracer has `trace(name)`, in which a trace's spans are, and `span(name, n="", **options)`."""
    concurrent = (concurrent_threads, asyncio_tasks)
    for scenario in (nested, failing, *concurrent, remote_parent, unsampled_parent, kinds):
        with tracer.trace(scenario.__name__):
            scenario(tracer)


def nested(tracer):
    with tracer.span("call"):
        with tracer.span("load"):
            pass
        with tracer.span("predict"), tracer.span("postprocess"):
            pass


def failing(tracer):
    with contextlib.suppress(ValueError), tracer.span("outer"), tracer.span("broken"):
        raise ValueError("no input")


def concurrent_threads(tracer):
    all_run = threading.Barrier(THREADS)

    def fetch(n):
        with tracer.span("fetch", n):
            all_run.wait()

    with tracer.span("batch"):
        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(fetch, n)) for n in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def asyncio_tasks(tracer):
    async def task(n, all_run, ended):
        with tracer.span("task", n):
            if n == TASKS - 1:
                all_run.set()
            await all_run.wait()
            with tracer.span("part", n):
                await asyncio.sleep(0)
            # The first one lasts longest.
            if n < TASKS - 1:
                await ended[n + 1].wait()
        ended[n].set()

    async def gather():
        all_run, ended = asyncio.Event(), [asyncio.Event() for _ in range(TASKS)]
        with tracer.span("gather"):
            await asyncio.gather(*(task(n, all_run, ended) for n in range(TASKS)))

    asyncio.run(gather())


def remote_parent(tracer):
    with tracer.span("serve", kind="server", traceparent=SAMPLED), tracer.span("work"):
        pass


def unsampled_parent(tracer):
    with tracer.span("unseen", kind="server", traceparent=UNSAMPLED), tracer.span("below"):
        pass


def kinds(tracer):
    for kind in ("client", "producer", "consumer"):
        with tracer.span(kind, kind=kind):
            pass


class Lines:
    """Prints start and end events, as workers do."""

    def __init__(self, with_ids):
        self.with_ids = with_ids
        self.trace_name = contextvars.ContextVar("trace_name")
        self.current = contextvars.ContextVar("current", default=None)

    @contextlib.contextmanager
    def trace(self, name):
        self.trace_name.set(name)
        yield

    @contextlib.contextmanager
    def span(self, name, n="", kind=None, traceparent=None):
        metadata = {"n": n} | ({"traceparent": traceparent} if traceparent else {})
        # The kind of a caller's child need not be said.
        metadata |= {"span.kind": kind} if kind and not traceparent else {}
        identity = secrets.token_hex(8)
        if self.with_ids:
            metadata["span_id"] = identity
            metadata["parent_span_id"] = CALLER if traceparent else self.current.get()
        token = self.current.set(identity)
        started = time.perf_counter_ns()
        self._emit(f"{name}.start", {}, metadata)
        try:
            yield
        except Exception as error:
            took = time.perf_counter_ns() - started
            failure = {"error_type": type(error).__name__, "error_message": str(error)}
            failure |= {"traceback": traceback.format_exc()}
            self._emit(f"{name}.exception", {"duration": took}, metadata | failure)
            raise
        else:
            self._emit(f"{name}.stop", {"duration": time.perf_counter_ns() - started}, metadata)
        finally:
            self.current.reset(token)

    def _emit(self, event, measurements, metadata):
        fields = {"event": event, "measurements": measurements, "metadata": metadata}
        fields |= {"timestamp_ns": time.time_ns(), "correlation_id": self.trace_name.get()}
        os.write(2, f"TELEMETRY:{json.dumps(fields)}\n".encode())


if __name__ == "__main__":
    run(Lines("--ids" in sys.argv))
