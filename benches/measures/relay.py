"""The cost of a relay in front of a gRPC server: the sidecar with --upstream, HAProxy and nginx.

`proxies.py` has the configurations. Each relay has one thread, as the sidecar always has. More threads would
let HAProxy and nginx serve several connections in parallel; a single connection stays with one thread.

`benches/rpc` has client and server, one thread each. Within a run the client alternates between the relays
and the server itself. Client, relay and server share the machine: with two cores the calls per second are
limited by all three together. CPU is the relay's alone.

Needs HAProxy and nginx: `apt-get install haproxy nginx-light`.
"""

import json
import statistics
import subprocess

from . import proxies
from .processes import TARGET, Process
from .rows import Table, times

RPC = str(TARGET / "examples" / "rpc")
MB = 1_000_000
DIRECT = "direct"
STREAM = ["--request-messages", "0"]

# The measured calls: options of `rpc call`, rounds, calls of a turn.
CASES = {
    "one": ([], 40, 250),
    "sixteen": (["--concurrency", "16"], 20, 2000),
    "stream down": (["--answer-messages", "1600", "--answer-bytes", "62500"], 5, 1),
    "stream up": (["--request-messages", "1600", "--request-bytes", "62500"], 5, 1),
    "message down": (["--answer-bytes", str(100 * MB)], 5, 1),
    "message up": (["--request-bytes", str(100 * MB)], 5, 1),
}

# A row: its name, case, figure, format, and the target of the ratio to HAProxy; at least if negative.
ROWS = [
    ("unary call, one at a time: p50", "one", "p50_us", "{:,.0f} µs", None),
    ("unary call, one at a time: added p50", "one", "added_us", "{:,.0f} µs", 1.0),
    ("unary call, one at a time: p99", "one", "p99_us", "{:,.0f} µs", None),
    ("unary call, one at a time: CPU of the relay", "one", "cpu_us", "{:,.0f} µs", None),
    ("unary calls, 16 at a time: p50", "sixteen", "p50_us", "{:,.0f} µs", None),
    ("unary calls, 16 at a time: p99", "sixteen", "p99_us", "{:,.0f} µs", None),
    ("unary calls, 16 at a time: calls/s", "sixteen", "calls_per_s", "{:,.0f}", None),
    ("unary calls, 16 at a time: CPU of the relay for each", "sixteen", "cpu_us", "{:,.0f} µs", None),
    ("100 MB in 1,600 messages from the server", "stream down", "mb_per_s", "{:,.0f} MB/s", -1.0),
    ("the same: CPU of the relay", "stream down", "cpu_ms", "{:,.0f} ms", None),
    ("100 MB in 1,600 messages from the client", "stream up", "mb_per_s", "{:,.0f} MB/s", None),
    ("the same: CPU of the relay", "stream up", "cpu_ms", "{:,.0f} ms", None),
    ("one message of 100 MB from the server", "message down", "mb_per_s", "{:,.0f} MB/s", None),
    ("one message of 100 MB from the client", "message up", "mb_per_s", "{:,.0f} MB/s", None),
    ("resident memory, idle", "idle", "rss_mb", "{:,.1f} MB", None),
    ("peak resident memory, unary calls", "sixteen", "peak_mb", "{:,.1f} MB", None),
    ("peak resident memory, 100 MB from the server", "stream down", "peak_mb", "{:,.1f} MB", None),
    ("peak resident memory, 100 MB from the client", "stream up", "peak_mb", "{:,.1f} MB", None),
]


def measure(options):
    if missing := proxies.missing():
        raise SystemExit(f"{' and '.join(missing)}: not found; apt-get install haproxy nginx-light")
    server = Process([RPC, "answer"], stdin=subprocess.PIPE)
    upstream = int(server.line())
    running = [proxies.Proxy(name, upstream) for name in proxies.NAMES]
    found = {}
    try:
        runs = [run(options, upstream, running) for _ in range(options.runs)]
    finally:
        for proxy in running:
            proxy.stop()
        server.kill()
    for case in runs[0]:
        found[case] = {
            name: {key: statistics.median(one[case][name][key] for one in runs) for key in figures}
            for name, figures in runs[0][case].items()
        }
    return [], [table(found)]


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


def table(found):
    title = f"Relayed gRPC calls. {proxies.versions()}, one thread each."
    headings = ["", DIRECT, *proxies.NAMES, "sidecar : HAProxy", "target"]
    made = Table(title, headings)
    for what, case, key, form, target in ROWS:
        cells = found[case]
        row = [what]
        for name in (DIRECT, *proxies.NAMES):
            value = cells.get(name, {}).get(key)
            row.append("" if value is None else form.format(value))
        ratio = cells["sidecar"][key] / cells["HAProxy"][key]
        wanted = "" if target is None else f"{'≥' if target < 0 else '≤'} {abs(target):g} ×"
        made.rows.append([*row, times(ratio), wanted])
    return made
