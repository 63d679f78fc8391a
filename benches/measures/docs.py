"""Writes figures into the documentation, between `<!-- figures: NAME -->` and `<!-- /figures -->`."""

import re
import textwrap

from . import plot, rows
from .processes import ROOT

PAGES = (ROOT / "README.md", ROOT / "docs" / "exporters.md", ROOT / "docs" / "performance.md")
PICTURE = ROOT / "docs" / "pictures" / "cost.svg"
BLOCK = re.compile(r"(<!-- figures: ([a-z ]+) -->\n)(.*?)(<!-- /figures -->)", re.DOTALL)
# Sections whose rows have a table of their own.
APART = ("exporters", "observed", "vitals")
WIDTH = 120


def where(found):
    """Describes the machine and the runs."""
    size = {1: "", 0.25: ", a quarter of the size", 0.1: ", a tenth of the size"}[found["scale"]]
    runs = "one run" if found["runs"] == 1 else f"medians of {found['runs']} runs in turn"
    return f"{found['where']}, {runs}{size}"


def write(found):
    for path, text in updated(found).items():
        path.write_text(text)


def outdated(found):
    """Returns the names of the files that have other figures."""
    return [
        path.name for path, text in updated(found).items() if not path.exists() or path.read_text() != text
    ]


def updated(found):
    """Returns the texts with these figures, by path."""

    def block(match):
        return f"{match[1]}\n{render(match[2], found)}\n\n{match[4]}"

    texts = {path: BLOCK.sub(block, path.read_text()) for path in PAGES}
    if found["panels"]:
        texts[PICTURE] = plot.draw(found["panels"], where(found))
    return texts


def render(name, found):
    """Returns the Markdown of a block."""
    measured = rows.from_json(found["rows"])
    tables = {table["key"]: rows.Table(**table) for table in found["tables"]}
    try:
        if name in tables:
            return tables[name].markdown()
        if name in APART:
            return apart([row for row in measured if row.section == name])
        return {
            "where": lambda: fill(f"{where(found)}."),
            "goals": lambda: rows.goals_table(measured, False),
            "missed": lambda: "\n".join(fill(line) for line in rows.missed(measured).splitlines()),
            "rows": lambda: rows.main_table([row for row in measured if row.section not in APART], False),
            "summary": lambda: summary(Lookup(measured)),
            "rates": lambda: rates(Lookup(measured)),
        }[name]()
    except LookupError:
        return "These figures were not measured."


def apart(measured):
    if not measured:
        raise LookupError
    cells = [
        [
            row.what,
            row.number(row.sidecar),
            f"{row.base_name}: {row.number(row.base)}" if row.base else "",
            times(row),
        ]
        for row in measured
    ]
    return rows.markdown(["", "sidecar", "compared with", "ratio"], cells)


class Lookup:
    """Rows by the start of their names."""

    def __init__(self, measured):
        self.rows = measured

    def __call__(self, start):
        for row in self.rows:
            if row.what.startswith(start):
                return row
        raise LookupError(start)


def summary(row):
    """Four numbers for the README."""
    cpu, late = row("1,000 events/s: CPU"), row("1,000 events/s: latency p99")
    bulk = next(one for one in row.rows if one.what.endswith("writes to /dev/null: CPU of the relay"))
    rate, each = row("flat out to one client: events/s"), row("flat out to one client: CPU")
    memory = row("200 at once, 100 events/s each: Pss")
    return "\n".join(
        fill(line)
        for line in (
            f"- At 1,000 events a second the sidecar takes {times(cpu)} the CPU of `cat` between two pipes "
            f"({cpu.number(cpu.sidecar)} of a core), and 99 % of the events arrive within "
            f"{late.sidecar / 1000:.1f} ms.",
            f"- Ordinary output in large writes costs {times(bulk)} the CPU that `cat` takes for it.",
            f"- Flat out, {rate.sidecar / 1e6:.1f} million events a second reach one client, "
            f"{times(rate)} as many as with a straightforward design, for {each.number(each.sidecar)} of CPU "
            "each.",
            "- Two hundred sidecars, each with a worker that prints 100 events a second and a subscriber, "
            f"take {memory.number(memory.sidecar)} in total; with the straightforward design it is "
            f"{memory.number(memory.naive)}.",
        )
    )


def rates(row):
    """What the exporters add, in words."""
    names = {"jsonl": "JSON lines", "prometheus": "Prometheus", "statsd": "StatsD", "otlp": "OpenTelemetry"}
    found = {name: row(f"--export-{option}, 20,000") for option, name in names.items()}
    flat = {name: row(f"--export-{option}, flat") for option, name in names.items()}
    base = next(iter(found.values())).reference
    steady = listed(f"{name} {(one.sidecar - base) / 1000:.1f} µs" for name, one in found.items())
    most = listed(f"{one.sidecar / 1000:.1f}" for one in flat.values())
    return fill(
        f"At 20,000 events a second, each in a write of its own, the sidecar takes {base / 1000:.1f} µs of "
        f"CPU per event. {steady} come on top; in a replay, as fast as possible, {most} µs "
        "(`benches/suite.py --only exporters`)."
    )


def listed(words):
    *most, last = words
    return f"{', '.join(most)} and {last}"


def times(row):
    return rows.times(row.ratio(row.sidecar))


def fill(line):
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(
        line, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
