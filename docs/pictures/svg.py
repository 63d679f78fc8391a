"""A terminal's screen as SVG: lines of text with the escape sequences of `tmux capture-pane -e`."""

import re
import unicodedata
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

CELL, LINE, MARGIN = 8.4, 18, 16
SEQUENCE = re.compile("\x1b\\[([0-9;]*)m|\x1b[()].|\x0e|\x0f")
BLOCKS = "▁▂▃▄▅▆▇█"
NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
LIGHT = ("#24292f", "#cf222e", "#116329", "#7d4e00", "#0969da", "#8250df", "#1b7c83", "#6e7781")
DARK = ("#6e7681", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#b1bac4")


@dataclass(frozen=True)
class Style:
    foreground: int | None = None
    background: int | None = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    reverse: bool = False


SWITCHES = {1: ("bold", True), 2: ("dim", True), 3: ("italic", True), 4: ("underline", True)}
SWITCHES |= {7: ("reverse", True), 23: ("italic", False), 24: ("underline", False), 27: ("reverse", False)}


def applied(style, codes):
    """The style after a sequence of codes."""
    codes = [int(code or 0) for code in codes.split(";")]
    while codes:
        code = codes.pop(0)
        if code == 0:
            style = Style()
        elif code == 22:
            style = replace(style, bold=False, dim=False)
        elif code in SWITCHES:
            name, value = SWITCHES[code]
            style = replace(style, **{name: value})
        elif code in (38, 48) and codes[:1] == [5]:
            # The 16 named colours only; others are drawn as the default.
            number = codes[1] % 8 if len(codes) > 1 and codes[1] < 16 else None
            codes = codes[2:]
            style = replace(style, **{"foreground" if code == 38 else "background": number})
        elif code in (38, 48):
            codes = codes[4:]
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style = replace(style, foreground=code % 10)
        elif 40 <= code <= 47 or 100 <= code <= 107:
            style = replace(style, background=code % 10)
        elif code in (39, 49):
            style = replace(style, **{"foreground" if code == 39 else "background": None})
    return style


def runs(line, style):
    """Returns the runs of a line, each with its first column, width, text and style; and the last style."""
    found, column, start = [], 0, 0
    for match in [*SEQUENCE.finditer(line), None]:
        text = line[start : match.start() if match else len(line)]
        if text:
            width = cell_width(text)
            found.append((column, width, text, style))
            column += width
        if match:
            start = match.end()
            style = applied(style, match.group(1)) if match.group(1) is not None else style
    return found, style


def cell_width(text):
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def draw(lines, columns, label):
    """Returns the SVG of a screen; empty lines at its end are left out."""
    while lines and not SEQUENCE.sub("", lines[-1]).strip():
        lines = lines[:-1]
    parts, style = [], Style()
    for number, line in enumerate(lines):
        found, style = runs(line, style)
        for column, width, text, run_style in found:
            parts += cells(MARGIN + column * CELL, MARGIN + number * LINE, width, text, run_style)
    width, height = columns * CELL + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" role="img" aria-label="{escape(label)}">\n<style>{stylesheet()}</style>\n'
        f'<rect class="page" x="0.5" y="0.5" width="{width - 1:.1f}" height="{height - 1}" rx="8"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def cells(x, y, width, text, style):
    """Returns the elements of a run: its background, its blocks, and its text."""
    foreground, background = style.foreground, style.background
    kinds = [name for name in ("bold", "dim", "italic", "underline") if getattr(style, name)]
    if style.reverse:
        foreground, background = background, foreground
        kinds.append("reversed")
    parts = []
    if style.reverse or background is not None:
        kind = "own" if background is None else NAMES[background]
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width * CELL:.1f}" height="{LINE}" class="{kind}"/>')
    if foreground is not None:
        kinds.append(NAMES[foreground])
    attribute = f' class="{" ".join(kinds)}"' if kinds else ""
    for at, char in enumerate(text):
        if char in BLOCKS:
            height = (BLOCKS.index(char) + 1) * (LINE - 4) / 8
            parts.append(
                f'<rect x="{x + at * CELL + 0.4:.1f}" y="{y + LINE - 2 - height:.1f}" '
                f'width="{CELL - 0.8:.1f}" height="{height:.1f}"{attribute}/>'
            )
    shown = "".join(" " if char in BLOCKS else char for char in text)
    # Words with one space between them at most: each starts at its own column, whatever the font's width is.
    for match in re.finditer(r"\S+(?: \S+)*", shown):
        begin, length = cell_width(shown[: match.start()]), cell_width(match.group())
        parts.append(
            f'<text x="{x + begin * CELL:.1f}" y="{y + 13}" textLength="{length * CELL:.1f}"{attribute}>'
            f"{escape(match.group())}</text>"
        )
    return parts


def stylesheet():
    def colours(values, text, page, border):
        rules = [f".{name} {{ fill: {value} }}" for name, value in zip(NAMES, values)]
        rules += [f"text, rect, .own {{ fill: {text} }}", f".reversed {{ fill: {page} }}"]
        # Later rules win: names of colours come after the defaults.
        rules = rules[-2:] + rules[:-2]
        return "\n  ".join([*rules, f".page {{ fill: {page}; stroke: {border} }}"])

    light = colours(LIGHT, "#24292f", "#ffffff", "#d0d7de")
    dark = colours(DARK, "#e6edf3", "#0d1117", "#30363d")
    return (
        '\n  text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; '
        "white-space: pre }\n"
        "  .bold { font-weight: 600 }\n  .dim { opacity: 0.6 }\n  .italic { font-style: italic }\n"
        f"  .underline {{ text-decoration: underline }}\n  {light}\n"
        f"  @media (prefers-color-scheme: dark) {{\n  {dark}\n  }}\n"
    )
