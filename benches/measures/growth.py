"""How the cost of an event grows with its line, and with the number of those that get it.

Lines come as fast as the sidecar reads them, and every event is delivered. `flat_out` says how.
"""

from .processes import medians_in_turn
from .rows import Table
from .stream import flat_out

# In bytes, with "TELEMETRY:" and the end of the line.
LENGTHS = {"100 B": 100, "268 B": 268, "1 KB": 1000, "4 KB": 4000, "16 KB": 16_000}
LENGTHS |= {"64 KB": 64_000, "256 KB": 256_000, "1 MB": 1_000_000}
SHARES = (0, 1, 10, 25, 50, 75, 90, 100)
SUBSCRIBERS = (1, 2, 4, 8, 16, 32, 64)
PATTERNS = (1, 10, 100, 1000)
# The work of a case: at most this many bytes of lines, and at least this many lines.
BYTES = 400_000_000
LEAST = 400


def measure(options):
    return [], [length(options), share(options), subscribers(options), patterns(options)]


def length(options):
    base = options.scaled(1_000_000)
    cases = {
        name: (max(LEAST, min(base, options.scaled(BYTES) // size)), 1, ["--json-bytes", str(size - 11)])
        for name, size in LENGTHS.items()
    }
    found = run(options, cases)
    table = made("length of a telemetry line", "length", found)
    each = (f"{found[name]['cpu_ns'] / size:,.2f} ns" for name, size in LENGTHS.items())
    table.rows.append(["the same for each byte", *each])
    return table


def share(options):
    base = options.scaled(4_000_000)
    found = {}
    for percent in SHARES:
        # The fewer events, the more lines pass in the same time.
        found[f"{percent} %"] = (base, 1, ["--share", str(percent)], [], base * percent // 100)
    return made("share of telemetry among the lines", "share", run(options, found))


def subscribers(options):
    base = options.scaled(2_000_000)
    cases = {str(number): (max(20_000, base // number), number) for number in SUBSCRIBERS}
    found = run(options, cases)
    table = made("subscribers", "subscribers", found)
    each = (f"{found[str(number)]['cpu_ns'] / number / 1000:,.2f} µs" for number in SUBSCRIBERS)
    table.rows.append(["the same for each subscriber", *each])
    return table


def patterns(options):
    base = options.scaled(1_000_000)
    cases = {str(number): (base, 1, [], ["--patterns", str(number)]) for number in PATTERNS}
    return made("patterns in a filter, none matching", "patterns", run(options, cases))


def run(options, cases):
    """Measures cases; each has the arguments of `flat_out` after the first."""
    measures = {name: (lambda case=case: flat_out("sidecar", *case)) for name, case in cases.items()}
    return medians_in_turn(options.runs, measures)


def made(title, key, found):
    cpu = [f"{case['cpu_ns'] / 1000:,.2f} µs" for case in found.values()]
    lines = [number(case["lines"] / 1000) for case in found.values()]
    rows = [["thousand lines a second", *lines], ["the sidecar's CPU for each", *cpu]]
    lost = [f"{case['share']:.0f} %" for case in found.values()]
    if any(cell != "100 %" for cell in lost):
        rows.append(["share delivered", *lost])
    return Table(f"Growth: {title}", [title, *found], rows, key=f"growth {key}")


def number(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
