"""The ways to run a worker, as an SVG with a panel of bars for each measure."""

from xml.sax.saxutils import escape

WIDTH, PANEL, GAP, TOP = 960, 448, 32, 84
LABEL, BAR, STEP, TITLE = 100, 190, 26, 34
STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f }
  .title { font-size: 19px; font-weight: 600 }
  .panel { font-size: 14px; font-weight: 600 }
  .faint { fill: #656d76; font-size: 12px }
  .own { font-weight: 600 }
  .bar { fill: #b8bfc7 }
  .bar.own { fill: #1a7f64 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .faint { fill: #9198a1 }
    .bar { fill: #565e68 }
    .bar.own { fill: #3fb994 }
  }
"""


def draw(panels, where):
    """Returns an SVG of the panels, two in a row."""
    parts = [text(0, 24, "What a wrapper costs", "title")]
    reference = next(iter(panels[0]["bars"]))
    parts.append(text(0, 46, f"{where}. × is in multiples of the {reference}.", "faint"))
    height = TOP
    for number, panel in enumerate(panels):
        rows = len(panel["bars"])
        top = TOP + number // 2 * (TITLE + STEP * rows + GAP)
        parts += bars(panel, number % 2 * (PANEL + GAP * 2), top)
        height = top + TITLE + STEP * rows
    label = "; ".join(summary(panel) for panel in panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-16 -4 {WIDTH + 32} {height + 16}" '
        f'width="{WIDTH + 32}" height="{height + 16}" role="img" aria-label="{escape(label)}">\n'
        f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def bars(panel, left, top):
    better = "more is better" if panel["more_is_better"] else "less is better"
    parts = [text(left, top, panel["title"], "panel")]
    parts.append(text(left, top + 17, f"{panel['unit']}, {better}", "faint"))
    most = max(panel["bars"].values())
    first = next(iter(panel["bars"].values()))
    for row, (name, value) in enumerate(panel["bars"].items()):
        y = top + TITLE + STEP * row
        own = " own" if name.startswith("sidecar") else ""
        parts.append(text(left + LABEL - 8, y + 13, name, own.strip(), "end"))
        width = max(value / most * BAR, 1)
        parts.append(
            f'<rect x="{left + LABEL}" y="{y}" width="{width:.1f}" height="17" rx="2" class="bar{own}"/>'
        )
        ratio = value / first
        number = number_text(value) + ("" if ratio == 1 else f" ({times(ratio)})")
        parts.append(text(left + LABEL + width + 7, y + 13, number, own.strip()))
    return parts


def summary(panel):
    values = ", ".join(f"{name} {number_text(value)}" for name, value in panel["bars"].items())
    return f"{panel['title']} in {panel['unit']}: {values}"


def number_text(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(ratio):
    return f"{ratio:.0f} ×" if ratio >= 10 else f"{ratio:.2g} ×"


def text(x, y, words, kind="", anchor="start"):
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{kind} text-anchor="{anchor}">{escape(words)}</text>'
