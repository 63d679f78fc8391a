"""The rows of the table: measurements, their references, and how numbers are formatted."""

from dataclasses import asdict, dataclass, field

# The format of each unit: a factor, digits after the point, a suffix.
FORMATS = {
    "s": (1, 2, " s"),
    "ms": (1, 2, " ms"),
    "us": (1, 0, " µs"),
    "ns": (1, 0, " ns"),
    "MB": (1, 1, " MB"),
    "KiB": (1, 0, " KiB"),
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
    # At most one of these two is set.
    target: float | None = None
    target_ratio: float | None = None
    more_is_better: bool = False
    remark: str = ""

    @property
    def base(self):
        return self.naive if self.reference is None else self.reference

    @property
    def base_name(self):
        return "naive" if self.reference is None else self.reference_name

    def ratio(self, value):
        return value / self.base if value is not None and self.base else None

    @property
    def wanted_ratio(self):
        return self.ratio(self.target) if self.target_ratio is None else self.target_ratio

    def number(self, value):
        if value is None:
            return ""
        factor, digits, suffix = FORMATS[self.unit]
        value *= factor
        # Small values get one more digit.
        if digits and abs(value) < 0.1:
            digits += 1
        return f"{value:,.{digits}f}{suffix}"

    def cells(self):
        sign = "≥" if self.more_is_better else "≤"
        target = f"{sign} {self.number(self.target)}" if self.target is not None else ""
        if self.target_ratio is not None:
            target = f"{sign} {self.target_ratio:g} ×"
        reference = (
            f"{self.reference_name}: {self.number(self.reference)}" if self.reference is not None else ""
        )
        return [
            self.what + (f" ({self.remark})" if self.remark else ""),
            self.number(self.sidecar),
            reference,
            times(self.ratio(self.sidecar)),
            target,
            with_ratio(
                self.number(self.naive), self.ratio(self.naive) if self.reference is not None else None
            ),
        ]


HEADINGS = ["", "sidecar", "reference", "ratio", "target", "naive"]


@dataclass
class Table:
    """A separate table below the main one."""

    title: str
    headings: list
    rows: list = field(default_factory=list)

    def text(self):
        return f"{self.title}\n\n{markdown(self.headings, self.rows)}"


def times(ratio):
    if ratio is None:
        return ""
    return f"{ratio:.2f} ×" if ratio < 10 else f"{ratio:.0f} ×"


def with_ratio(number, ratio):
    return f"{number} ({times(ratio)})" if ratio is not None else number


def markdown(headings, rows):
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def main_table(rows):
    return markdown(HEADINGS, [row.cells() for row in rows])


def to_json(rows):
    return [asdict(row) for row in rows]


def from_json(rows):
    return [Row(**row) for row in rows]
