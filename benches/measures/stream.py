"""The whole path, flat out: a worker that only writes, clients that only count.

The sidecar gets queues that hold everything, and time to drain them, so that it drops nothing and pays for
every event. The naive design keeps its queue of 1024; its drops show in the share delivered.
"""

from .processes import EMIT, medians_in_turn, run_wrapped
from .rows import Row, Table

EVERYTHING = ["-q", "--queue-capacity", "10000000", "--queue-bytes", str(2**31), "--drain-timeout", "100s"]
NAIVE_PART = 8


def measure(options):
    rows = []
    for subscribers in (1, 4, 16):
        count = options.scaled(2_000_000 if subscribers == 1 else 1_000_000)
        found = medians_in_turn(
            options.runs,
            {
                "sidecar": lambda: flat_out("sidecar", count, subscribers),
                "naive": lambda: flat_out("naive", count // NAIVE_PART, subscribers),
            },
        )
        clients = "one client" if subscribers == 1 else f"{subscribers} clients"
        for what, key, unit, target in (
            (
                f"flat out to {clients}: events delivered{' in all' if subscribers > 1 else ''}",
                "rate",
                "per_s",
                4.5e6,
            ),
            (f"flat out to {clients}: CPU per event read", "cpu_ns", "ns", 220),
            (f"flat out to {clients}: share delivered", "share", "percent", None),
        ):
            rows.append(
                Row(
                    what,
                    unit,
                    found["sidecar"][key],
                    found["naive"][key],
                    target=target if subscribers == 1 else None,
                    more_is_better=unit != "ns",
                )
            )
    return rows, []


def flat_out(wrapper, count, subscribers=1, worker_options=(), subscriber_options=(), events=None):
    """Measures a worker that prints `count` lines; `events` of them (all by default) are events."""
    events = count if events is None else events
    worker = [EMIT, "--wait", "--count", str(count), *worker_options]
    how = {"subscribers": subscribers, "subscriber_options": subscriber_options, "options": EVERYTHING}
    outcome = run_wrapped(wrapper, worker, **how)
    # Without events nothing arrives, and the time ends with the worker.
    end_ns = max([outcome.worker["end_ns"], *(one["last_ns"] for one in outcome.subscribers)])
    seconds = (end_ns - outcome.worker["start_ns"]) / 1e9
    return {
        "rate": outcome.delivered / seconds,
        "lines": count / seconds,
        "cpu_ns": outcome.wrapper_cpu_s * 1e9 / count,
        "share": 100 * outcome.delivered / (events * subscribers) if events else 100,
    }


def growth(options):
    """Measures growth with line length, share of telemetry, number of subscribers and of patterns."""
    base = options.scaled(1_000_000)
    yield grow(
        options,
        "Length of a telemetry line",
        {
            name: (max(20, min(base, base * 400 // size)), 1, ["--json-bytes", str(size - 11)], [], None)
            for name, size in lengths().items()
        },
    )
    yield grow(
        options,
        "Share of telemetry among the lines",
        {
            f"{share} %": (base, 1, ["--share", str(share)], [], base * share // 100)
            for share in (0, 1, 10, 25, 50, 75, 90, 100)
        },
    )
    yield grow(
        options,
        "Subscribers",
        {
            str(number): (max(1000, base // number), number, [], [], None)
            for number in (1, 2, 4, 8, 16, 32, 64)
        },
    )
    yield grow(
        options,
        "Patterns of the subscriber's filter, none of which matches",
        {
            str(number): (max(1000, base // max(1, number // 10)), 1, [], ["--patterns", str(number)], None)
            for number in (1, 10, 100, 1000)
        },
    )


def lengths():
    sizes = {"100 B": 100, "268 B": 268, "1 KB": 1000, "4 KB": 4000, "16 KB": 16_000, "64 KB": 64_000}
    return {**sizes, "256 KB": 256_000, "1 MB": 1_000_000}


def grow(options, title, cases):
    """Returns a table of cases; each case has the arguments of `flat_out` after the first."""
    found = medians_in_turn(
        options.runs,
        {name: (lambda case=case: flat_out("sidecar", *case)) for name, case in cases.items()},
    )
    table = Table(
        title, ["", "lines/s read", "events/s delivered", "sidecar's CPU per line", "share delivered"]
    )
    for name, case in found.items():
        cpu = f"{case['cpu_ns'] / 1000:,.2f} µs"
        table.rows.append(
            [name, f"{case['lines']:,.0f}", f"{case['rate']:,.0f}", cpu, f"{case['share']:.1f} %"]
        )
    return table
