"""The table that a run prints."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was measured, the same of a bare loop (where there is one), and the aim."""

    figure: str
    measured: float
    unit: str
    reference: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    of_ratio: bool = False
    """Whether the aim is about ``ratio`` and not about ``measured``."""
    before: float | None = None
    """What another commit has measured in the same run."""

    @property
    def ratio(self) -> float | None:
        """Measured to reference."""
        return self.measured / self.reference if self.reference else None

    @property
    def reached(self) -> bool | None:
        """Whether the aim was reached; None where there is none."""
        value = self.ratio if self.of_ratio else self.measured
        if value is None or (self.at_most is None and self.at_least is None):
            return None
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    def cells(self) -> tuple[str, ...]:
        """The texts of the line."""
        aim = ""
        if self.at_most is not None:
            aim = f"≤ {_number(self.at_most)}"
        elif self.at_least is not None:
            aim = f"≥ {_number(self.at_least)}"
        return (
            self.figure,
            _number(self.measured),
            self.unit,
            "" if self.reference is None else _number(self.reference),
            "" if self.ratio is None else f"{self.ratio:.2f}",
            f"{aim} (ratio)" if aim and self.of_ratio else aim,
            {True: "yes", False: "no", None: ""}[self.reached],
            *(() if self.before is None else (_number(self.before), f"{self.measured / self.before:.2f}")),
        )


HEADINGS = ("figure", "measured", "unit", "reference", "ratio", "aim", "reached")
COMPARED = ("before", "to before")
_RIGHT = {1, 3, 4, 5, 7, 8}


def table(rows: Sequence[Row]) -> str:
    """The rows below their headings, in columns."""
    lines = _lines(rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in _RIGHT else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown(rows: Sequence[Row]) -> str:
    """The same for a page."""
    head, *lines = _lines(rows)
    rule = ["--:" if column in _RIGHT else "---" for column in range(len(head))]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *lines))


def _lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    head = HEADINGS if all(row.before is None for row in rows) else (*HEADINGS, *COMPARED)
    return [head, *((*row.cells(), "", "")[: len(head)] for row in rows)]


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 10 else f"{value:.1f}"
