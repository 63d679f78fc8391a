"""The rows of the tables: measurements, their references and goals, and how numbers are formatted."""

from dataclasses import asdict, dataclass, field

# The format of each unit: a factor, digits after the point, a suffix.
FORMATS = {
    "s": (1, 2, " s"),
    "ms": (1, 2, " ms"),
    "us": (1, 0, " µs"),
    "us1": (1, 1, " µs"),
    "ns": (1, 0, " ns"),
    "MB": (1, 1, " MB"),
    "KiB": (1, 0, " KiB"),
    "MB/s": (1, 0, " MB/s"),
    "instructions": (1, 0, ""),
    "percent": (1, 1, " %"),
    "per_s": (1e-3, 0, " k/s"),
}


@dataclass
class Row:
    """One measurement. The reference is the usual alternative, or else the naive design."""

    what: str
    unit: str
    sidecar: float
    naive: float | None = None
    reference: float | None = None
    reference_name: str = ""
    # At most one of these two is set: a value, or a ratio to the reference.
    target: float | None = None
    target_ratio: float | None = None
    more_is_better: bool = False
    remark: str = ""
    # The figure of an earlier sidecar in the same run.
    before: float | None = None
    # Whether the target is one of the goals, which have a table of their own.
    goal: bool = False
    # What keeps the figure from a goal that it misses.
    bound: str = ""
    section: str = ""

    @property
    def base(self):
        return self.naive if self.reference is None else self.reference

    @property
    def base_name(self):
        return "naive" if self.reference is None else self.reference_name

    def ratio(self, value):
        return value / self.base if value is not None and self.base else None

    def number(self, value):
        if value is None:
            return ""
        factor, digits, suffix = FORMATS[self.unit]
        value *= factor
        # Small values get one more digit.
        if digits and abs(value) < 0.1:
            digits += 1
        return f"{value:,.{digits}f}{suffix}"

    def numbers(self, value):
        """Returns the value with its ratio to the reference."""
        return with_ratio(self.number(value), self.ratio(value))

    @property
    def wanted(self):
        sign = "≥" if self.more_is_better else "≤"
        if self.target_ratio is not None:
            return f"{sign} {self.target_ratio:g} ×"
        return f"{sign} {self.number(self.target)}" if self.target is not None else ""

    @property
    def reached(self):
        """The figure that the target limits."""
        if self.target_ratio is not None:
            return times(self.ratio(self.sidecar))
        return self.number(self.sidecar)

    @property
    def met(self):
        limit, value = self.target, self.sidecar
        if self.target_ratio is not None:
            limit, value = self.target_ratio, self.ratio(self.sidecar)
        return value >= limit if self.more_is_better else value <= limit

    def cells(self, with_before):
        reference = (
            f"{self.reference_name}: {self.number(self.reference)}" if self.reference is not None else ""
        )
        return [
            self.what + (f" ({self.remark})" if self.remark else ""),
            self.number(self.sidecar),
            *([self.number(self.before)] if with_before else []),
            reference,
            times(self.ratio(self.sidecar)),
            self.wanted,
            with_ratio(
                self.number(self.naive), self.ratio(self.naive) if self.reference is not None else None
            ),
        ]

    def goal_cells(self, with_before):
        base = f"{self.base_name}: {self.number(self.base)}" if self.base is not None else ""
        return [
            self.what,
            self.wanted,
            f"{self.reached} {'✓' if self.met else 'missed'}",
            self.number(self.sidecar),
            *([self.numbers(self.before)] if with_before else []),
            base,
        ]


def compared(what, unit, key, found, reference=None, reference_name="", **how):
    """Makes a row of one figure of the medians of the sidecars, the naive design and the reference."""

    def value(name):
        return found[name][key] if name in found else None

    sidecar, naive, before = (value(name) for name in ("sidecar", "naive", "before"))
    return Row(what, unit, sidecar, naive, value(reference), reference_name, before=before, **how)


@dataclass
class Table:
    """A separate table below the main one."""

    title: str
    headings: list
    rows: list = field(default_factory=list)
    # By which the documentation finds it.
    key: str = ""
    section: str = ""

    def text(self):
        return f"{self.title}\n\n{self.markdown()}"

    def markdown(self):
        return markdown(self.headings, self.rows)


def times(ratio):
    if ratio is None:
        return ""
    return f"{ratio:.2f} ×" if ratio < 10 else f"{ratio:.0f} ×"


def with_ratio(number, ratio):
    return f"{number} ({times(ratio)})" if ratio is not None else number


def markdown(headings, rows):
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def main_table(rows, with_before):
    headings = ["", "sidecar", *(["before"] if with_before else []), "reference", "ratio", "target", "naive"]
    return markdown(headings, [row.cells(with_before) for row in rows])


def goals_table(rows, with_before):
    headings = ["", "goal", "reached", "sidecar", *(["before"] if with_before else []), "reference"]
    return markdown(headings, [row.goal_cells(with_before) for row in rows if row.goal])


def missed(rows):
    """Returns a list of the goals that were missed, and of what keeps the figures from them."""
    found = {}
    for row in rows:
        if row.goal and not row.met:
            found.setdefault(row.bound, []).append(f"{row.what} ({row.reached} instead of {row.wanted})")
    lines = [f"- {'; '.join(figures)}. {bound}" for bound, figures in found.items()]
    return "\n".join(lines) or "All goals were met in this run."


def to_json(rows):
    return [asdict(row) for row in rows]


def from_json(rows):
    return [Row(**row) for row in rows]
