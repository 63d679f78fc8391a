"""The cost of a relay in front of a gRPC server: the sidecar with --upstream, HAProxy and nginx.

`proxies.py` has the configurations. Each relay has one thread, as the sidecar always has. More threads would
let HAProxy and nginx serve several connections in parallel; a single connection stays with one thread.

`benches/rpc` has client and server, one thread each. Within a run the client alternates between the relays
and the server itself. Client, relay and server share the machine: with two cores the calls per second are
limited by all three together. CPU is the relay's alone.

Needs HAProxy and, if it is to be compared as well, nginx: `apt-get install haproxy nginx-light`.
"""

import json
import statistics
import subprocess

from . import proxies
from .processes import TARGET, Failed, Process
from .rows import FORMATS, Row, Table, times

RPC = str(TARGET / "examples" / "rpc")
MB = 1_000_000
DIRECT = "direct"

# The measured calls: options of `rpc call`, rounds, calls of a turn.
CASES = {
    "one": ([], 40, 250),
    "sixteen": (["--concurrency", "16"], 20, 2000),
    "stream down": (["--answer-messages", "1600", "--answer-bytes", "62500"], 5, 1),
    "stream up": (["--request-messages", "1600", "--request-bytes", "62500"], 5, 1),
    "message down": (["--answer-bytes", str(100 * MB)], 5, 1),
    "message up": (["--request-bytes", str(100 * MB)], 5, 1),
}

# A row: its name, case, figure, unit.
ROWS = [
    ("unary call, one at a time: p50", "one", "p50_us", "us"),
    ("unary call, one at a time: added p50", "one", "added_us", "us"),
    ("unary call, one at a time: p99", "one", "p99_us", "us"),
    ("unary call, one at a time: CPU of the relay", "one", "cpu_us", "us"),
    ("unary calls, 16 at a time: p50", "sixteen", "p50_us", "us"),
    ("unary calls, 16 at a time: p99", "sixteen", "p99_us", "us"),
    ("unary calls, 16 at a time: calls/s", "sixteen", "calls_per_s", "per_s"),
    ("unary calls, 16 at a time: CPU of the relay for each", "sixteen", "cpu_us", "us"),
    ("100 MB in 1,600 messages from the server", "stream down", "mb_per_s", "MB/s"),
    ("the same: CPU of the relay", "stream down", "cpu_ms", "ms"),
    ("100 MB in 1,600 messages from the client", "stream up", "mb_per_s", "MB/s"),
    ("the same: CPU of the relay", "stream up", "cpu_ms", "ms"),
    ("one message of 100 MB from the server", "message down", "mb_per_s", "MB/s"),
    ("one message of 100 MB from the client", "message up", "mb_per_s", "MB/s"),
    ("resident memory, idle", "idle", "rss_mb", "MB"),
    ("peak resident memory, unary calls", "sixteen", "peak_mb", "MB"),
    ("peak resident memory, 100 MB from the server", "stream down", "peak_mb", "MB"),
    ("peak resident memory, 100 MB from the client", "stream up", "peak_mb", "MB"),
]
CALLS = "A call wakes each relay twice and takes the same system calls; HAProxy keeps less state for it."
STREAMS = "Client, relay and server share two cores, and the kernel's copies are the same for all relays."
# By case and figure; the ratio is that to HAProxy.
GOALS = {
    ("one", "added_us"): {"target_ratio": 1.0, "bound": CALLS},
    ("stream down", "mb_per_s"): {"target_ratio": 1.0, "more_is_better": True, "bound": STREAMS},
}


def measure(options):
    if "HAProxy" not in proxies.names():
        raise Failed("HAProxy is not installed: apt-get install haproxy nginx-light")
    server = Process([RPC, "answer"], stdin=subprocess.PIPE)
    upstream = int(server.line())
    running = []
    try:
        for name in proxies.names():
            running.append(proxies.Proxy(name, upstream))
        runs = [run(options, upstream, running) for _ in range(options.runs)]
    finally:
        for proxy in running:
            proxy.stop()
        server.kill()
    found = {
        case: {
            name: {key: statistics.median(one[case][name][key] for one in runs) for key in figures}
            for name, figures in runs[0][case].items()
        }
        for case in runs[0]
    }
    return goals(found), [table(found)]


def run(options, upstream, running):
    """Measures all cases once: {case: {name: figures}}."""
    idle = {proxy.name: {"rss_mb": proxy.memory_mb()[0]} for proxy in running}
    found = {"idle": idle}
    for case, (words, rounds, calls) in CASES.items():
        found[case] = one_case(words, options.scaled(rounds), calls, upstream, running)
    return found


def one_case(words, rounds, calls, upstream, running):
    for proxy in running:
        proxy.forget_peak()
    before = {proxy.name: proxy.cpu_s() for proxy in running}
    servers = [(DIRECT, upstream), *((proxy.name, proxy.port) for proxy in running)]
    words = [RPC, "call", "--rounds", str(rounds), "--calls", str(calls), *words]
    for name, port in servers:
        words += ["--server", f"{name}=127.0.0.1:{port}"]
    found = json.loads(Process(words).finish()[0])
    for proxy in running:
        # One more call precedes the rounds.
        made = 1 + rounds * calls
        cpu_s = proxy.cpu_s() - before[proxy.name]
        figures = found[proxy.name]
        figures |= {"cpu_us": 1e6 * cpu_s / made, "cpu_ms": 1e3 * cpu_s / made}
        figures |= {"peak_mb": proxy.memory_mb()[1]}
        figures["added_us"] = figures["p50_us"] - found[DIRECT]["p50_us"]
    for figures in found.values():
        seconds = statistics.median(figures.pop("rounds_s"))
        figures |= {"calls_per_s": calls / seconds, "mb_per_s": 100 / seconds}
    return found


def goals(found):
    """Returns the rows in which HAProxy is the reference of a goal."""
    return [
        Row(
            f"relayed, {what}",
            unit,
            found[case]["sidecar"][key],
            reference=found[case]["HAProxy"][key],
            reference_name="HAProxy",
            before=found[case].get("before", {}).get(key),
            goal=True,
            **GOALS[case, key],
        )
        for what, case, key, unit in ROWS
        if (case, key) in GOALS
    ]


def table(found):
    names = [DIRECT, *(name for name in found["one"] if name not in (DIRECT, "before"))]
    title = f"Relayed gRPC calls. {proxies.versions()}, one thread each."
    made = Table(title, ["", *names, "sidecar : HAProxy"], key="relay")
    for what, case, key, unit in ROWS:
        figures = found[case]
        cells = [number(figures.get(name, {}).get(key), unit) for name in names]
        ratio = figures["sidecar"][key] / figures["HAProxy"][key]
        made.rows.append([what, *cells, times(ratio)])
    return made


def number(value, unit):
    if value is None:
        return ""
    factor, digits, suffix = FORMATS[unit]
    return f"{value * factor:,.{digits}f}{suffix}"
