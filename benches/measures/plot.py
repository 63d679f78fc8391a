"""The rows as an SVG: each result as a multiple of its reference; less is better."""

import math
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, STEP = 1000, 440, 96, 112, 38
COLOURS = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f }
  .title { font-size: 19px; font-weight: 600 }
  .faint { fill: #656d76; font-size: 12px }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .one { stroke: #656d76; stroke-width: 1.5 }
  .sidecar { fill: #1a7f64 }
  .naive { fill: #b8bfc7 }
  .target { stroke: #d1602b; stroke-width: 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .faint { fill: #9198a1 }
    .grid { stroke: #30363d }
    .one { stroke: #9198a1 }
    .sidecar { fill: #3fb994 }
    .naive { fill: #565e68 }
    .target { stroke: #f0883e }
  }
"""


def cost(row, value):
    """Returns the multiple of the reference's cost; speeds are inverted, so that less is always better."""
    ratio = row.ratio(value)
    if not ratio or ratio <= 0:
        return None
    return 1 / ratio if row.more_is_better else ratio


def draw(rows, where):
    """Returns an SVG of the rows that have a target."""
    rows = [row for row in rows if row.wanted_ratio and row.unit != "KiB" and cost(row, row.sidecar)]
    wanted = [1 / row.wanted_ratio if row.more_is_better else row.wanted_ratio for row in rows]
    costs = [cost(row, value) for row in rows for value in (row.sidecar, row.naive)]
    costs = [value for value in (*costs, *wanted) if value]
    low = math.floor(math.log10(min([*costs, 0.5])) * 2) / 2
    high = math.ceil(math.log10(max([*costs, 2])) * 2) / 2

    def x(value):
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    bottom = TOP + STEP * len(rows)
    parts = [text(24, 34, "telemetry-sidecar: what it costs, times the reference", "title")]
    parts.append(text(24, 56, f"{where}. Further left is cheaper; the scale is logarithmic.", "faint"))
    parts += legend()
    for tick in ticks(low, high):
        kind = "one" if tick == 1 else "grid"
        parts.append(line(x(tick), TOP - 8, x(tick), bottom, kind))
        parts.append(text(x(tick), bottom + 20, f"{tick:g} ×", "faint", "middle"))
    parts.append(
        text((LEFT + WIDTH - RIGHT) / 2, bottom + 44, "times the reference's cost", "faint", "middle")
    )
    for number, (row, target) in enumerate(zip(rows, wanted)):
        y = TOP + STEP * number
        parts.append(text(LEFT - 14, y + 13, plain(row.what), anchor="end"))
        parts.append(text(LEFT - 14, y + 28, f"1 × = {plain(row.base_name)}", "faint", "end"))
        own = cost(row, row.sidecar)
        parts.append(bar(x(1), x(own), y + 3, 14, "sidecar"))
        if row.reference is not None and row.naive is not None:
            parts.append(bar(x(1), x(cost(row, row.naive)), y + 19, 8, "naive"))
        parts.append(line(x(target), y + 1, x(target), y + 19, "target"))
        parts.append(text(WIDTH - 24, y + 15, f"{own:.2f} ×" if own < 10 else f"{own:.0f} ×", anchor="end"))
    height = bottom + 62
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="What telemetry-sidecar costs, times the reference">\n'
        f"<style>{COLOURS}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def ticks(low, high):
    # More labels would overlap.
    factors = (1, 3) if high - low <= 3 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    candidates = [factor * 10.0**power for power in powers for factor in factors]
    return [tick for tick in candidates if low - 1e-9 <= math.log10(tick) <= high + 1e-9]


def legend():
    y = 84
    return [
        bar(24, 44, y - 11, 12, "sidecar"),
        text(50, y, "sidecar"),
        bar(118, 138, y - 9, 8, "naive"),
        text(144, y, "naive design"),
        line(250, y - 13, 250, y + 3, "target"),
        text(258, y, "target"),
    ]


def plain(words):
    return words.replace("`", "")


def text(x, y, words, kind="", anchor="start"):
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{kind} text-anchor="{anchor}">{escape(words)}</text>'


def line(x1, y1, x2, y2, kind):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def bar(start, end, y, height, kind):
    left, width = min(start, end), max(abs(end - start), 1)
    return f'<rect x="{left:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="2" class="{kind}"/>'
